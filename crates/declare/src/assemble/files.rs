//! Secrets and configs: their content, and the files a service gets of them.

use super::read::Reader;
use super::{Kind, Reference};
use crate::codes;
use crate::findings::error;
use crate::syntax::scalar::Meaning;
use crate::syntax::{Map, Node};
use model::project::{File, FileKind};
use model::secret::Secret;
use std::collections::BTreeMap;

/// The contents of all secrets and configs of a project.
#[derive(Default)]
pub struct Contents {
    secrets: BTreeMap<String, Secret>,
    configs: BTreeMap<String, Secret>,
}

impl Contents {
    /// The content of one of them.
    pub fn get(&self, kind: FileKind, name: &str) -> Option<&Secret> {
        match kind {
            FileKind::Secret => self.secrets.get(name),
            FileKind::Config => self.configs.get(name),
        }
    }
}

/// Reads the contents that the resolve stage put inline.
pub fn contents(top: &Map, read: &mut Reader<'_>) -> Contents {
    let mut of = |key: &str| {
        let mut contents = BTreeMap::new();
        for entry in super::section(top, key, read) {
            let Some(map) = read.map(&entry.value, &entry.key) else { continue };
            let content = match (map.get("content"), map.get("content_hex")) {
                (Some(text), _) => text.as_scalar().map(|scalar| Secret::new(scalar.text.as_bytes())),
                (None, Some(hex)) => hex.as_scalar().and_then(|scalar| from_hex(&scalar.text)).map(Secret::new),
                (None, None) => None,
            };
            match content {
                Some(content) => {
                    contents.insert(entry.key.to_string(), content);
                }
                None => read.found.push(
                    error(codes::CONTENT_SOURCE, format!("`{}` has no content", entry.key))
                        .at(entry.key_span, "")
                        .help("give it a `file` or an `environment` variable"),
                ),
            }
        }
        contents
    };
    Contents { secrets: of("secrets"), configs: of("configs") }
}

/// Bytes as hexadecimal digits, for contents that are no text.
pub fn to_hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digits: Option<Vec<u8>> = text.chars().map(|c| c.to_digit(16).map(|d| d as u8)).collect();
    let digits = digits.filter(|digits| digits.len() % 2 == 0)?;
    Some(digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect())
}

/// The files a service gets: `secrets` or `configs` of its mapping.
pub fn grants(
    service: &Map,
    kind: FileKind,
    contents: &Contents,
    references: &mut Vec<Reference>,
    read: &mut Reader<'_>,
) -> Vec<File> {
    let (key, of) = match kind {
        FileKind::Secret => ("secrets", Kind::Secret),
        FileKind::Config => ("configs", Kind::Config),
    };
    let Some(node) = service.get(key) else { return Vec::new() };
    let mut files = Vec::new();
    for item in read.list(node, key) {
        let Some(map) = read.map(item, key) else { continue };
        let Some(source) = map.get("source") else {
            read.wrong(codes::MISSING, item, format!("an entry of `{key}` needs a `source`"), "name what is meant");
            continue;
        };
        let Some(name) = read.text(source, "source") else { continue };
        references.push(Reference { kind: of, name: name.clone(), at: source.span });
        let target = map.get("target").and_then(|node| read.text(node, "target"));
        let mode = map.get("mode").and_then(|node| mode(node, read)).unwrap_or(0o444);
        let mut id =
            |key: &str| map.get(key).and_then(|node| read.number(node, key, 0, u32::MAX.into())).map(|n| n as u32);
        let (uid, gid) = (id("uid"), id("gid"));
        if let Some(content) = contents.get(kind, &name) {
            let target = target_path(kind, &name, target.as_deref());
            files.push(File { target, content: content.clone(), mode, uid, gid, kind });
        }
    }
    files
}

fn target_path(kind: FileKind, name: &str, target: Option<&str>) -> String {
    let folder = match kind {
        FileKind::Secret => "/run/secrets",
        FileKind::Config => "/",
    };
    crate::files::absolute(folder, target.unwrap_or(name))
}

/// Permission bits: text is octal as people write it, bare numbers are what YAML reads (`0440` is octal, `288` the same).
fn mode(node: &Node, read: &mut Reader<'_>) -> Option<u32> {
    let text = read.scalar(node, "mode")?;
    let is_number = node.as_scalar().is_some_and(|scalar| matches!(scalar.meaning(), Meaning::Int(_)));
    let mode = match is_number {
        true => text.parse().ok(),
        false => u32::from_str_radix(text.strip_prefix("0o").unwrap_or(&text), 8).ok(),
    };
    let mode = mode.filter(|mode| *mode <= 0o7777);
    if mode.is_none() {
        read.wrong(
            codes::VALUE,
            node,
            format!("`{text}` is no file mode"),
            "write it in octal, for example `\"0440\"`",
        );
    }
    mode
}
