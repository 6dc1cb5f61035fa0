//! Volumes, bind mounts and memory of a service.

use super::read::Reader;
use super::{Kind, Reference};
use crate::codes;
use crate::findings::warning;
use crate::syntax::{Map, Node};
use model::project::{Mount, MountSource};
use model::units::Bytes;
use std::collections::BTreeMap;

/// All mounts of a service: `volumes`, then `tmpfs`.
///
/// `outside` are the volumes that are not the project's, by the name they have on the engine.
pub fn mounts(
    service: &Map,
    outside: &BTreeMap<String, String>,
    references: &mut Vec<Reference>,
    read: &mut Reader<'_>,
) -> Vec<Mount> {
    let mut mounts = Vec::new();
    if let Some(node) = service.get("volumes") {
        for item in read.list(node, "volumes") {
            mounts.extend(mount(item, outside, references, read));
        }
    }
    if let Some(node) = service.get("tmpfs") {
        for item in read.list(node, "tmpfs") {
            mounts.extend(tmpfs(item, read));
        }
    }
    mounts
}

#[derive(Clone, Copy)]
enum MountKind {
    Volume,
    Bind,
    Tmpfs,
    Unsupported,
    Invalid,
}

const KINDS: &[(&str, MountKind)] = &[
    ("volume", MountKind::Volume),
    ("bind", MountKind::Bind),
    ("tmpfs", MountKind::Tmpfs),
    ("npipe", MountKind::Unsupported),
    ("cluster", MountKind::Unsupported),
    ("image", MountKind::Unsupported),
    // Reported when its short form was read.
    ("invalid", MountKind::Invalid),
];

fn mount(
    item: &Node,
    outside: &BTreeMap<String, String>,
    references: &mut Vec<Reference>,
    read: &mut Reader<'_>,
) -> Option<Mount> {
    let map = read.map(item, "volumes")?;
    let Some(kind) = map.get("type") else {
        read.wrong(
            codes::MISSING,
            item,
            "an entry of `volumes` needs a `type`",
            "write `type: volume` or `type: bind`",
        );
        return None;
    };
    let kind_word = read.word(kind, "type", KINDS)?;
    if matches!(kind_word, MountKind::Invalid) {
        return None;
    }
    if matches!(kind_word, MountKind::Unsupported) {
        read.wrong(
            codes::NOT_YET,
            kind,
            "volumes of this type are not supported yet",
            "use a named volume or a bind mount",
        );
        return None;
    }
    let Some(target) = map.get("target") else {
        read.wrong(codes::MISSING, item, "an entry of `volumes` needs a `target`", "write the path inside the replica");
        return None;
    };
    let target = read.target(target, "target")?;
    let read_only = map.get("read_only").and_then(|node| read.boolean(node, "read_only")).unwrap_or(false);
    let source = match source(kind_word, item, map, references, read)? {
        MountSource::Volume(name) if outside.contains_key(name.as_str()) => {
            MountSource::External(outside[name.as_str()].clone())
        }
        source => source,
    };
    Some(Mount { target, source, read_only })
}

fn source(
    kind: MountKind,
    item: &Node,
    map: &Map,
    references: &mut Vec<Reference>,
    read: &mut Reader<'_>,
) -> Option<MountSource> {
    let source = map.get("source").filter(|node| !node.is_null());
    match (kind, source) {
        (MountKind::Volume, None) => Some(MountSource::Anonymous),
        (MountKind::Volume, Some(node)) => {
            let name = read.text(node, "source")?;
            references.push(Reference { kind: Kind::Volume, name: name.clone(), at: node.span });
            read.parse(codes::NAME, node, "source").map(MountSource::Volume)
        }
        (MountKind::Bind, Some(node)) => {
            let path = read.text(node, "source")?;
            // The resolve stage left `./…` for what the bundle carries and made everything else absolute.
            Some(match path.strip_prefix("./") {
                Some(inside) => MountSource::Bundle(inside.to_owned()),
                None if path == "." => MountSource::Bundle(".".to_owned()),
                None => MountSource::Host(path),
            })
        }
        (MountKind::Bind, None) => {
            read.wrong(codes::MISSING, item, "a bind mount needs a `source`", "write the path to mount");
            None
        }
        _ => {
            let options = map.get("tmpfs").and_then(|node| read.map(node, "tmpfs"));
            let size = options.and_then(|map| map.get("size")).and_then(|node| read.bytes(node, "size"));
            Some(MountSource::Tmpfs { size })
        }
    }
}

/// `/path` or `/path:size=64m,mode=1777`.
fn tmpfs(item: &Node, read: &mut Reader<'_>) -> Option<Mount> {
    let text = read.text(item, "tmpfs")?;
    let (path, options) = text.split_once(':').unwrap_or((&text, ""));
    if !path.starts_with('/') {
        let message = format!("`tmpfs` must be an absolute path, not `{path}`");
        read.wrong(codes::VALUE, item, message, format!("write `/{path}`"));
        return None;
    }
    let mut size = None;
    let mut read_only = false;
    for option in options.split(',').filter(|option| !option.is_empty()) {
        match option.split_once('=') {
            Some(("size", text)) => match text.parse::<Bytes>() {
                Ok(bytes) => size = Some(bytes),
                Err(problem) => read.wrong(codes::VALUE, item, problem.to_string(), "write for example `size=64m`"),
            },
            _ if option == "ro" => read_only = true,
            // Memory is private to the replica, and everybody in it may write there.
            _ if ["rw", "mode=1777"].contains(&option) => {}
            _ => read.found.push(
                warning(codes::IGNORED, format!("the option `{option}` of `tmpfs` has no effect"))
                    .at(item.span, "")
                    .help("remove it; `size`, `ro` and `rw` are known"),
            ),
        }
    }
    Some(Mount { target: crate::files::absolute("/", path), source: MountSource::Tmpfs { size }, read_only })
}
