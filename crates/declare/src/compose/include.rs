//! `include`: other models whose services and objects become part of this one.

use super::{Loader, Place, codes, error, paths};
use crate::dotenv::{self, Format};
use crate::files::{absolute, folder_of};
use crate::merge;
use crate::syntax::{Map, Node, Value};
use crate::variables::{Origin, Variables};
use model::span::Span;

/// What an included model gives to the one that includes it.
const SECTIONS: [&str; 6] = ["services", "volumes", "networks", "secrets", "configs", "models"];

/// More files in a row than this are refused.
const MAX_DEPTH: usize = 100;
/// More includes of one project are refused: two files that each include the next one twice make a million in no time.
const MAX_INCLUDED: usize = 1_000;

/// One entry of `include`.
struct Include {
    /// The files, laid over each other, with the place that names each.
    paths: Vec<(String, Span)>,
    env_files: Option<Vec<(String, Span)>>,
    project_dir: Option<String>,
    span: Span,
}

impl Loader<'_> {
    /// Takes in what `tree` includes: its own words go over what comes from there.
    pub(super) fn include(&mut self, tree: &mut Node, place: Place<'_>) {
        let Some(entry) = tree.as_map_mut().and_then(|top| top.remove("include")) else { return };
        for item in entry.value.as_list().unwrap_or_default() {
            let Some(included) = self.included(&read(item), place) else { continue };
            let span = tree.span;
            let own = std::mem::replace(tree, Node::null(span));
            *tree = merge::under(only_sections(included), own);
        }
    }

    /// The model of one entry; none when it cannot be read, which is reported.
    fn included(&mut self, include: &Include, place: Place<'_>) -> Option<Node> {
        self.n_included += 1;
        if self.n_included > MAX_INCLUDED {
            if self.n_included == MAX_INCLUDED + 1 {
                let message = format!("more than {MAX_INCLUDED} includes");
                let help = "include each file once";
                self.found
                    .push(error(codes::TOO_LARGE, message).at(include.span, "the limit is passed here").help(help));
            }
            return None;
        }
        let mut sources = Vec::new();
        for (path, span) in &include.paths {
            let path = absolute(place.dir, path);
            if place.way.len() > MAX_DEPTH {
                let message = format!("more than {MAX_DEPTH} files include each other in a row");
                self.found.push(error(codes::TOO_LARGE, message).at(*span, "").help("include files further up"));
                return None;
            }
            if sources.is_empty() && place.way.contains(&path) {
                let way: Vec<String> = place.way.iter().chain([&path]).map(|path| self.shown(path)).collect();
                let message = format!("these files include each other: {}", way.join(" ► "));
                self.found.push(error(codes::CYCLE, message).at(*span, "").help("take one of the includes out"));
                return None;
            }
            sources.extend(self.sources_of(&path, Some(*span))?);
        }
        let first = sources.first()?.path.clone();
        let dir = match &include.project_dir {
            Some(dir) => absolute(place.dir, dir),
            None => folder_of(&first),
        };
        let variables = self.variables_within(include, &dir, place)?;
        let mut model = self.model(sources, Place { dir: &dir, variables: &variables, way: place.way });
        settle_here(&mut model, &variables);
        paths::rebase(&mut model, &dir, place.dir);
        Some(model)
    }

    /// The variables of an included model: those outside, and below them its own environment file.
    fn variables_within(&mut self, include: &Include, dir: &str, place: Place<'_>) -> Option<Variables> {
        let mut variables = place.variables.clone();
        let usual = || {
            let path = absolute(dir, ".env");
            if self.files.exists(&path) { vec![(path, include.span)] } else { Vec::new() }
        };
        let named = include.env_files.as_ref().map(|files| {
            let files = files.iter().filter(|(path, _)| path != "/dev/null");
            files.map(|(path, span)| (absolute(place.dir, path), *span)).collect::<Vec<_>>()
        });
        let is_named = named.is_some();
        let mut set: Vec<(String, String, Span)> = Vec::new();
        for (path, span) in named.unwrap_or_else(usual) {
            let Some((file, text)) = self.read_text(&path, span, !is_named) else {
                if is_named {
                    return None;
                }
                continue;
            };
            let set_before = |name: &str| set.iter().rev().find(|(known, ..)| known == name).map(|(_, value, _)| value);
            let outside = |name: &str| variables.get(name).or(set_before(name).map(String::as_str)).map(str::to_owned);
            let settings = dotenv::parse(file, &text, Format::Compose, &outside, &mut self.found);
            set.extend(settings.into_iter().filter_map(|s| Some((s.name, s.value?, s.span))));
        }
        for (name, value, span) in set.into_iter().rev() {
            variables.add_below(&name, value, Origin::File(span));
        }
        Some(variables)
    }
}

fn read(item: &Node) -> Include {
    let texts = |node: &Node| -> Vec<(String, Span)> {
        let items = match &node.value {
            Value::List(items) => &items[..],
            _ => std::slice::from_ref(node),
        };
        items.iter().filter_map(|item| Some((item.as_scalar()?.text.to_string(), item.span))).collect()
    };
    let Some(map) = item.as_map() else {
        return Include { paths: texts(item), env_files: None, project_dir: None, span: item.span };
    };
    let project_dir = map.get("project_directory").and_then(Node::as_scalar).map(|scalar| scalar.text.to_string());
    Include {
        paths: map.get("path").map(texts).unwrap_or_default(),
        env_files: map.get("env_file").map(texts).filter(|files| !files.is_empty()),
        project_dir: project_dir.filter(|dir| !dir.is_empty()),
        span: item.span,
    }
}

/// What is not said means what it means in its own model: names without a value are looked up in its variables, a build
/// without a context is one of its folder.
fn settle_here(model: &mut Node, variables: &Variables) {
    let Some(top) = model.as_map_mut() else { return };
    let services = top.get_mut("services").and_then(Node::as_map_mut).map_or(&mut [][..], |map| &mut map.entries);
    for service in services.iter_mut().filter_map(|entry| entry.value.as_map_mut()) {
        if let Some(build) =
            service.get_mut("build").filter(|build| build.as_map().is_some_and(|map| map.get("context").is_none()))
        {
            let span = build.span;
            build.as_map_mut().expect("asked above").push("context", Node::text(".", span));
        }
        let Some(environment) = service.get_mut("environment").and_then(Node::as_map_mut) else { continue };
        for entry in environment.entries.iter_mut().filter(|entry| entry.value.is_null()) {
            if let Some(value) = variables.get(&entry.key) {
                entry.value = Node::text(value, entry.key_span);
            }
        }
    }
}

fn only_sections(model: Node) -> Node {
    let span = model.span;
    let Value::Map(map) = model.value else { return Node::map(Map::default(), span) };
    let entries = map.entries.into_iter().filter(|entry| SECTIONS.contains(&&*entry.key));
    Node::map(Map { entries: entries.collect() }, span)
}
