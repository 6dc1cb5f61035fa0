//! Relative paths of a file that lies elsewhere become relative to the project's folder.

use crate::files::absolute;
use crate::syntax::{Map, Node, Value};

/// Rewrites the relative paths of a model whose folder is `dir`, so that they start from `to`.
pub(super) fn rebase(model: &mut Node, dir: &str, to: &str) {
    if absolute("/", dir) == absolute("/", to) {
        return;
    }
    let move_path = |node: &mut Node| {
        let Some(scalar) = node.as_scalar().filter(|scalar| is_relative(&scalar.text)) else { return };
        let moved = relative(to, &absolute(dir, &scalar.text));
        *node = Node::text(moved, node.span).tagged(node.tag);
    };
    each(model, &mut { move_path });
}

/// Goes to every path of a model in long forms.
pub(super) fn each(model: &mut Node, visit: &mut impl FnMut(&mut Node)) {
    let Some(top) = model.as_map_mut() else { return };
    for section in ["services", "jobs"] {
        for service in objects(top, section) {
            of_service(service, visit);
            items(service.get_mut("pre_start")).filter_map(Node::as_map_mut).for_each(|hook| of_service(hook, visit));
        }
    }
    for section in ["configs", "secrets"] {
        objects(top, section).filter_map(|object| object.get_mut("file")).for_each(&mut *visit);
    }
    for volume in objects(top, "volumes") {
        let is = |map: &Map, key: &str, text: &str| {
            map.get(key).and_then(Node::as_scalar).is_some_and(|scalar| &*scalar.text == text)
        };
        let is_local = is(volume, "driver", "local");
        if let Some(options) = volume.get_mut("driver_opts").and_then(Node::as_map_mut).filter(|_| is_local)
            && is(options, "o", "bind")
        {
            options.get_mut("device").into_iter().for_each(&mut *visit);
        }
    }
}

fn of_service(service: &mut Map, visit: &mut impl FnMut(&mut Node)) {
    if let Some(build) = service.get_mut("build").and_then(Node::as_map_mut) {
        for key in ["context", "additional_contexts"] {
            let Some(node) = build.get_mut(key) else { continue };
            if node.as_scalar().is_some_and(|scalar| scalar.text.is_empty()) {
                continue;
            }
            if is_local(node) {
                visit(node);
            } else if let Some(map) = node.as_map_mut() {
                let local = map.entries.iter_mut().map(|entry| &mut entry.value).filter(|node| is_local(node));
                local.for_each(&mut *visit);
            }
        }
    }
    for (list, key) in [("env_file", Some("path")), ("label_file", None)] {
        for item in items(service.get_mut(list)) {
            let node = match key {
                Some(key) => item.as_map_mut().and_then(|map| map.get_mut(key)),
                None => Some(item),
            };
            let is_said = |node: &&mut Node| node.as_scalar().is_some_and(|scalar| !scalar.text.is_empty());
            node.filter(is_said).into_iter().for_each(&mut *visit);
        }
    }
    let watch = service.get_mut("develop").and_then(Node::as_map_mut).and_then(|develop| develop.get_mut("watch"));
    for item in items(watch) {
        let path = item.as_map_mut().and_then(|map| map.get_mut("path"));
        path.filter(|node| node.as_scalar().is_some_and(|scalar| !scalar.text.is_empty()))
            .into_iter()
            .for_each(&mut *visit);
    }
    for mount in items(service.get_mut("volumes")).filter_map(Node::as_map_mut) {
        let is_bind = mount.get("type").and_then(Node::as_scalar).is_some_and(|scalar| &*scalar.text == "bind");
        mount.get_mut("source").filter(|_| is_bind).into_iter().for_each(&mut *visit);
    }
}

fn objects<'m>(top: &'m mut Map, key: &str) -> impl Iterator<Item = &'m mut Map> {
    let map = top.get_mut(key).and_then(Node::as_map_mut);
    map.into_iter().flat_map(|map| &mut map.entries).filter_map(|entry| entry.value.as_map_mut())
}

fn items(node: Option<&mut Node>) -> impl Iterator<Item = &mut Node> {
    let list = node.and_then(|node| match &mut node.value {
        Value::List(items) => Some(items),
        _ => None,
    });
    list.into_iter().flatten()
}

fn is_local(node: &Node) -> bool {
    node.as_scalar().is_some_and(|scalar| is_folder(&scalar.text))
}

/// Whether a build context is a folder of this machine.
pub(crate) fn is_folder(text: &str) -> bool {
    const ELSEWHERE: [&str; 7] = ["https://", "http://", "git://", "ssh://", "github.com/", "git@", "service:"];
    !text.contains("://") && !ELSEWHERE.iter().any(|prefix| text.starts_with(prefix))
}

fn is_relative(path: &str) -> bool {
    !path.is_empty() && !path.starts_with(['/', '~'])
}

/// The way from one absolute folder to an absolute path; begins with `.`.
fn relative(from: &str, to: &str) -> String {
    let from: Vec<&str> = from.split('/').filter(|part| !part.is_empty()).collect();
    let to: Vec<&str> = to.split('/').filter(|part| !part.is_empty()).collect();
    let shared = from.iter().zip(&to).take_while(|(a, b)| a == b).count();
    let up = from.len() - shared;
    let first = if up == 0 { vec!["."] } else { vec![".."; up] };
    first.into_iter().chain(to[shared..].iter().copied()).collect::<Vec<_>>().join("/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_way_between_folders() {
        let check = |to: &str, want: &str| assert_eq!(relative("/srv/shop", to), want);
        check("/srv/shop/sub/x", "./sub/x");
        check("/srv/shop", ".");
        check("/srv/other/x", "../other/x");
        check("/x", "../../x");
    }
}
