//! `extends`: a service that begins as a copy of another one, of the same file or of another.

use super::{Loader, Place, codes, error, paths};
use crate::files::absolute;
use crate::merge;
use crate::syntax::{Entry, Map, Node};
use model::span::Span;
use std::collections::BTreeMap;
use std::sync::Arc;

/// Files that were read for their services, by path.
type Read = BTreeMap<String, Option<Map>>;

/// The services of one file.
struct Home<'a> {
    path: &'a str,
    /// The folder its own `extends` start from.
    dir: &'a str,
    services: &'a Map,
}

impl Loader<'_> {
    /// Makes every service of `tree`, the file at `path`, whole.
    pub(super) fn extend(&mut self, tree: &mut Node, path: &str, place: Place<'_>) {
        let Some(services) = tree.as_map_mut().and_then(|top| top.get_mut("services")).and_then(Node::as_map_mut)
        else {
            return;
        };
        if services.entries.iter().all(|entry| extends_of(entry).is_none()) {
            return;
        }
        let written = services.clone();
        let home = Home { path, dir: place.dir, services: &written };
        let mut read = Read::new();
        for entry in &mut services.entries {
            let mut way = Vec::new();
            if let Some(whole) = self.whole(&entry.key, &home, place, &mut way, &mut read) {
                entry.value = whole;
            }
        }
    }

    /// A service with what it extends; none when that cannot be found, which is reported.
    fn whole(
        &mut self,
        name: &str,
        home: &Home<'_>,
        place: Place<'_>,
        way: &mut Vec<(String, Arc<str>)>,
        read: &mut Read,
    ) -> Option<Node> {
        let entry = home.services.entry(name)?;
        let Some((base, file, span)) = extends_of(entry) else { return Some(entry.value.clone()) };
        let here = (home.path.to_owned(), entry.key.clone());
        if way.contains(&here) {
            let names: Vec<String> = way.iter().chain([&here]).map(|(_, name)| format!("`{name}`")).collect();
            let message = format!("these services extend each other: {}", names.join(" ► "));
            self.found.push(error(codes::CYCLE, message).at(span, "").help("take one of the `extends` out"));
            return None;
        }
        way.push(here);
        let base = match file {
            None => self.base_in(&base, home, span, place, way, read),
            Some(file) => {
                let path = absolute(home.dir, &file);
                let services = self.services_of(&path, place, span, read)?;
                let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir).to_owned();
                self.base_in(&base, &Home { path: &path, dir: &dir, services: &services }, span, place, way, read)
            }
        }?;
        way.pop();
        let mut service = entry.value.clone();
        service.as_map_mut()?.remove("extends");
        if base.as_map().is_none() {
            return Some(service);
        }
        Some(merge::service(base, service))
    }

    fn base_in(
        &mut self,
        base: &str,
        home: &Home<'_>,
        span: Span,
        place: Place<'_>,
        way: &mut Vec<(String, Arc<str>)>,
        read: &mut Read,
    ) -> Option<Node> {
        if home.services.entry(base).is_none() {
            let known = home.services.entries.iter().map(|entry| &*entry.key);
            let file = self.shown(home.path);
            let help = self.found.did_you_mean(base, known, || format!("declare it in `{file}`, or correct the name"));
            let message = format!("there is no service `{base}` to extend in `{file}`");
            self.found.push(error(codes::REFERENCE, message).at(span, "").help(help));
            return None;
        }
        self.whole(base, home, place, way, read)
    }

    /// The services of another file in long forms; their relative paths start from the model's folder.
    fn services_of(&mut self, path: &str, place: Place<'_>, span: Span, read: &mut Read) -> Option<Map> {
        if let Some(known) = read.get(path) {
            return known.clone();
        }
        let services = self.sources_of(path, Some(span)).and_then(|sources| {
            let tree = sources.into_iter().map(|source| source.tree).map(|mut tree| {
                self.long_forms(&mut tree, place.variables, false);
                tree
            });
            let mut tree = tree.reduce(merge::under)?;
            let dir = path.rsplit_once('/').map_or("/", |(dir, _)| dir);
            paths::rebase(&mut tree, if dir.is_empty() { "/" } else { dir }, place.dir);
            let services = tree.as_map().and_then(|top| top.get("services")).and_then(Node::as_map).cloned();
            if services.is_none() {
                let message = format!("`{}` has no services to extend", self.shown(path));
                self.found.push(error(codes::REFERENCE, message).at(span, "").help("name another file"));
            }
            services
        });
        read.insert(path.to_owned(), services.clone());
        services
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
