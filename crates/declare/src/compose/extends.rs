//! `extends`: a service that begins as a copy of another one, of the same file or of another.

use super::{Loader, Place, codes, error, paths};
use crate::files::{absolute, folder_of};
use crate::merge;
use crate::syntax::{Entry, Node};
use model::span::Span;
use std::collections::{BTreeMap, HashMap};
use std::rc::Rc;
use std::sync::Arc;

/// Longer chains are refused: nobody writes them, and each link is a step deeper.
const MAX_DEPTH: usize = 100;

/// The services of one file.
struct Home {
    path: String,
    /// The folder its own `extends` start from.
    dir: String,
    services: BTreeMap<Arc<str>, Entry>,
}

/// A service of a file.
type Who = (String, Arc<str>);

/// What is known while the services of one file are made whole.
#[derive(Default)]
struct Known {
    /// Files that were read for their services, by path.
    homes: HashMap<String, Option<Rc<Home>>>,
    /// Services with what they extend.
    whole: HashMap<Who, Option<Node>>,
    /// The services that led here.
    way: Vec<Who>,
}

impl Loader<'_> {
    /// Makes every service of `tree`, the file at `path`, whole.
    pub(super) fn extend(&mut self, tree: &mut Node, path: &str, place: Place<'_>) {
        let services = tree.as_map_mut().and_then(|top| top.get_mut("services")).and_then(Node::as_map_mut);
        let Some(services) = services.filter(|map| map.entries.iter().any(|entry| extends_of(entry).is_some())) else {
            return;
        };
        let written = services.entries.iter().map(|entry| (entry.key.clone(), entry.clone())).collect();
        let home = Rc::new(Home { path: path.to_owned(), dir: place.dir.to_owned(), services: written });
        let mut known = Known::default();
        for entry in &mut services.entries {
            if let Some(whole) = self.whole(&home.services[&entry.key], &home, place, &mut known) {
                entry.value = whole;
            }
        }
    }

    /// A service with what it extends; none when that cannot be found, which is reported.
    fn whole(&mut self, entry: &Entry, home: &Rc<Home>, place: Place<'_>, known: &mut Known) -> Option<Node> {
        let Some((base, file, span)) = extends_of(entry) else { return Some(entry.value.clone()) };
        let who = (home.path.clone(), entry.key.clone());
        if let Some(whole) = known.whole.get(&who) {
            return whole.clone();
        }
        if known.way.contains(&who) {
            let names: Vec<String> = known.way.iter().chain([&who]).map(|(_, name)| format!("`{name}`")).collect();
            let message = format!("these services extend each other: {}", names.join(" ► "));
            self.found.push(error(codes::CYCLE, message).at(span, "").help("take one of the `extends` out"));
            return None;
        }
        if known.way.len() >= MAX_DEPTH {
            let message = format!("more than {MAX_DEPTH} services extend each other in a row");
            self.found.push(error(codes::TOO_LARGE, message).at(span, "").help("extend a service further down"));
            return None;
        }
        known.way.push(who.clone());
        let base = self.base(&base, file.as_deref(), span, home, place, known);
        known.way.pop();
        let whole = base.and_then(|base| {
            let mut service = entry.value.clone();
            service.as_map_mut()?.remove("extends");
            Some(if base.as_map().is_none() { service } else { merge::service(base, service) })
        });
        known.whole.insert(who, whole.clone());
        whole
    }

    fn base(
        &mut self,
        base: &str,
        file: Option<&str>,
        span: Span,
        home: &Rc<Home>,
        place: Place<'_>,
        known: &mut Known,
    ) -> Option<Node> {
        let home = match file {
            None => Rc::clone(home),
            Some(file) => self.home_of(&absolute(&home.dir, file), place, span, known)?,
        };
        let Some(entry) = home.services.get(base) else {
            let names = home.services.keys().map(|name| &**name);
            let file = self.shown(&home.path);
            let help = self.found.did_you_mean(base, names, || format!("declare it in `{file}`, or correct the name"));
            let message = format!("there is no service `{base}` to extend in `{file}`");
            self.found.push(error(codes::REFERENCE, message).at(span, "").help(help));
            return None;
        };
        self.whole(entry, &home, place, known)
    }

    /// The services of another file in long forms; their relative paths start from the model's folder.
    fn home_of(&mut self, path: &str, place: Place<'_>, span: Span, known: &mut Known) -> Option<Rc<Home>> {
        if let Some(home) = known.homes.get(path) {
            return home.clone();
        }
        let home = self.sources_of(path, Some(span)).and_then(|sources| {
            let mut trees = Vec::new();
            for source in sources {
                let mut tree = source.tree;
                self.long_forms(&mut tree, place.variables, false);
                trees.push(tree);
            }
            let mut tree = trees.into_iter().reduce(merge::under)?;
            let dir = folder_of(path);
            paths::rebase(&mut tree, &dir, place.dir);
            let services = tree.as_map().and_then(|top| top.get("services")).and_then(Node::as_map);
            let Some(services) = services else {
                let message = format!("`{}` has no services to extend", self.shown(path));
                self.found.push(error(codes::REFERENCE, message).at(span, "").help("name another file"));
                return None;
            };
            let services = services.entries.iter().map(|entry| (entry.key.clone(), entry.clone())).collect();
            Some(Rc::new(Home { path: path.to_owned(), dir, services }))
        });
        known.homes.insert(path.to_owned(), home.clone());
        home
    }
}

/// What a service extends: the other's name, its file, and where that is said.
fn extends_of(entry: &Entry) -> Option<(String, Option<String>, Span)> {
    let node = entry.value.as_map()?.get("extends")?;
    if let Some(scalar) = node.as_scalar().filter(|scalar| !scalar.is_null()) {
        return Some((scalar.text.to_string(), None, node.span));
    }
    let text = |key: &str| Some(node.as_map()?.get(key)?.as_scalar()?.text.to_string());
    Some((text("service")?, text("file"), node.span))
}
