//! `volumes` of a service: `[source:]target[:options]` and the long form.

use super::{Forms, one};
use crate::codes;
use crate::findings::{Findings, error, warning};
use crate::syntax::{Map, Node, Value};
use model::span::Span;

impl Forms<'_> {
    pub(super) fn mounts(&mut self, node: &mut Node) {
        let Value::List(items) = &mut node.value else { return };
        for item in items {
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
                }
            }
        }
    }
}

fn short(text: &str, span: Span, found: &mut Findings) -> Result<Map, String> {
    let drive = text.as_bytes();
    if drive.len() > 2 && drive[0].is_ascii_alphabetic() && drive[1] == b':' && drive[2] == b'\\' {
        return Err("a path of Windows cannot be mounted here".into());
    }
    let parts: Vec<&str> = text.split(':').collect();
    let (source, target, options) = match parts[..] {
        [target] => (None, target, ""),
        [source, target] => (Some(source), target, ""),
        [source, target, options] => (Some(source), target, options),
        _ => return Err("it has more than three parts between colons".into()),
    };
    if target.is_empty() || source == Some("") {
        return Err("a part is empty".into());
    }
    let bind = source.is_some_and(|source| source.starts_with(['.', '/', '~']));
    let mut map = one("type", Node::text(if bind { "bind" } else { "volume" }, span));
    if let Some(source) = source {
        map.push("source", Node::text(source, span));
    }
    map.push("target", Node::text(target, span));
    let below = |key: &str, value: Node| Node::map(one(key, value), span);
    for option in options.split(',').filter(|option| !option.is_empty()) {
        // In the long form, the table of keys says what comes of it.
        match option {
            "ro" => map.set("read_only", Node::plain("true", span)),
            "rw" => {}
            "z" | "Z" => map.set("bind", below("selinux", Node::text(option, span))),
            "cached" | "delegated" | "consistent" => map.set("consistency", Node::text(option, span)),
            "nocopy" => map.set("volume", below("nocopy", Node::plain("true", span))),
            "private" | "rprivate" | "shared" | "rshared" | "slave" | "rslave" => {
                map.set("bind", below("propagation", Node::text(option, span)));
            }
            _ => {
                let message = format!("the option `{option}` of this volume has no effect: it is not known");
                let help = "remove it; `ro` and `rw` are known";
                found.push(warning(codes::IGNORED, message).at(span, "").help(help));
            }
        }
    }
    Ok(map)
}
