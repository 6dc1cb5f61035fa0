//! `volumes` of a service: `[source:]target[:options]` and the long form.

use super::{Forms, one};
use crate::codes;
use crate::files::clean;
use crate::findings::{Findings, error, warning};
use crate::syntax::{Map, Node, Value};
use model::span::Span;

impl Forms<'_> {
    pub(super) fn mounts(&mut self, node: &mut Node) {
        let Value::List(items) = &mut node.value else { return };
        for item in items {
            self.at(item, "volume", |forms, volume| forms.at(volume, "labels", Self::labels));
            let Some(scalar) = item.as_scalar().filter(|scalar| !scalar.is_null()) else { continue };
            match short(&scalar.text, item.span, self.found) {
                Ok(map) => item.value = Value::Map(map),
                Err(problem) => {
                    let message = format!("`{}` is no volume: {problem}", scalar.text);
                    self.found.push(
                        error(codes::MOUNT, message)
                            .at(item.span, "")
                            .help("write `source:/target` or `source:/target:ro`"),
                    );
                    item.value = Value::Map(one("type", Node::text("invalid", item.span)));
                    self.found.spoil(item.span);
                }
            }
        }
    }
}

fn short(text: &str, span: Span, found: &mut Findings) -> Result<Map, String> {
    let parts = sections(text);
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err("it has more than three parts between colons".into()),
    };
    if target.is_empty() || source == Some("") || (parts.len() == 3 && options.is_empty()) {
        return Err("a part is empty".into());
    }
    let bind = source.is_some_and(is_path);
    let mut map = one("type", Node::text(if bind { "bind" } else { "volume" }, span));
    if let Some(source) = source {
        map.push("source", Node::text(source, span));
    }
    map.push("target", Node::text(clean(target), span));
    let below = |map: &mut Map, section: &str, key: &str, value: Node| {
        if map.get(section).is_none() {
            map.push(section, Node::map(Map::default(), span));
        }
        map.get_mut(section).and_then(Node::as_map_mut).expect("set above").set(key, value);
    };
    for option in options.split(',').filter(|option| !option.is_empty()) {
        // In the long form, the table of keys says what comes of it.
        match option {
            "ro" => map.set("read_only", Node::plain("true", span)),
            "rw" => {
                map.remove("read_only");
            }
            "z" | "Z" => below(&mut map, "bind", "selinux", Node::text(option, span)),
            "nocopy" => map.set("volume", Node::map(one("nocopy", Node::plain("true", span)), span)),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                below(&mut map, "bind", "propagation", Node::text(option, span));
            }
            _ => {
                let why = match option {
                    "cached" | "delegated" | "consistent" => "files are the machine's own",
                    _ => "it is not known",
                };
                let message = format!("the option `{option}` of this volume has no effect: {why}");
                let help = "remove it; `ro` and `rw` are known";
                found.push(warning(codes::IGNORED, message).at(span, "").help(help));
            }
        }
    }
    let section = if bind { "bind" } else { "volume" };
    if map.get(section).is_none() && text.len() > 2 {
        map.push(section, Node::map(Map::default(), span));
    }
    Ok(map)
}

/// The parts between colons; a single letter before one is a drive of Windows and belongs to its part.
fn sections(text: &str) -> Vec<&str> {
    let mut parts = Vec::new();
    let mut from = 0;
    for (at, _) in text.match_indices(':') {
        let is_drive = at == from + 1 && text.as_bytes()[from].is_ascii_alphabetic();
        if !is_drive {
            parts.push(&text[from..at]);
            from = at + 1;
        }
    }
    parts.push(&text[from..]);
    parts
}

fn is_path(source: &str) -> bool {
    let drive = source.as_bytes();
    let is_drive = drive.len() > 1 && drive[0].is_ascii_alphabetic() && drive[1] == b':';
    source.starts_with(['.', '/', '~']) || source.starts_with(r"\\") || is_drive
}
