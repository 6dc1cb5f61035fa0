//! The Compose files of a project as one tree, by the specification alone.
//!
//! Owns the order in which files come together; never asks what an engine can do. Each file is brought into long forms
//! before anything is laid over it, so that merging knows one form only:
//!
//! ```text
//! variables ► kinds ► shapes ► long forms ► include ► extends ► laid over the files before it
//! ```

mod cast;
mod check;
mod complete;
mod extends;
mod include;
mod paths;

pub(crate) use check::{Beside, check, check_values};
pub(crate) use complete::{absolute_paths, complete, name_used};
pub(crate) use paths::is_folder;

use crate::findings::{error, warning};
use crate::interpolate::Interpolation;
use crate::load::Loader;
use crate::syntax::{Node, Tag, Value};
use crate::variables::Variables;
use crate::{canonical, codes, merge, shape};

/// A file that was read, and where it lies.
pub(crate) struct Source {
    /// Its absolute path.
    pub(crate) path: String,
    /// What it says.
    pub(crate) tree: Node,
}

/// What the files of one model share: those of the project, or of one `include`.
#[derive(Clone, Copy)]
struct Place<'a> {
    /// The folder that relative paths start from.
    dir: &'a str,
    variables: &'a Variables,
    /// The files that led here, the outermost first.
    way: &'a [String],
}

impl Loader<'_> {
    /// The Compose files laid over each other, whole and without tags.
    pub(crate) fn compose(&mut self, sources: Vec<Source>) -> Node {
        let variables = std::mem::take(&mut self.variables);
        let place = Place { dir: self.project_dir, variables: &variables, way: &[] };
        let merged = self.model(sources, place);
        self.variables = variables;
        shape::complete(&merged, &mut self.found);
        merged
    }

    /// The files of one model laid over each other; relative paths start from the model's folder.
    fn model(&mut self, sources: Vec<Source>, place: Place<'_>) -> Node {
        let mut merged: Option<Node> = None;
        for Source { path, mut tree } in sources {
            self.long_forms(&mut tree, place.variables, true);
            let way: Vec<String> = place.way.iter().cloned().chain([path.clone()]).collect();
            self.include(&mut tree, Place { way: &way, ..place });
            self.extend(&mut tree, &path, place);
            if self.keeps_layers {
                self.layers.compose.push(tree.clone());
            }
            merged = Some(match merged {
                Some(base) => merge::merge(base, tree),
                None => {
                    merge::settle(&mut tree);
                    tree
                }
            });
        }
        merged.expect("a model has at least one file")
    }

    /// Expands variables, and brings the file into long forms; what only lends a service is judged with what takes it.
    fn long_forms(&mut self, tree: &mut Node, variables: &Variables, is_judged: bool) {
        let mut interpolation = Interpolation::within(variables, self.room);
        interpolation.apply(tree, &self.sources, &mut self.found);
        self.room = interpolation.room();
        let expanded = interpolation.finish(&mut self.found);
        self.expanded.extend(expanded);
        hollow(tree);
        cast::apply(tree, &mut self.found);
        if is_judged {
            shape::check(tree, &mut self.found);
        }
        canonical::compose(tree, &mut self.found);
        if is_judged {
            check::repeated(tree, &mut self.found);
            self.hidden(tree);
        }
    }

    /// Of two entries of a list that stand for the same only the later one counts.
    fn hidden(&mut self, tree: &Node) {
        for (before, after) in merge::hidden(tree) {
            let message = "this entry has no effect: another one below stands for the same";
            self.found.push(
                warning(codes::TARGET_TWICE, message)
                    .at(before, "")
                    .at(after, "this one counts")
                    .help("remove one of the two"),
            );
        }
    }
}

/// Takes out what stands behind `!reset`: it takes something back, whatever it says itself.
fn hollow(node: &mut Node) {
    if node.tag == Tag::Reset {
        node.value = Node::null(node.span).value;
        return;
    }
    match &mut node.value {
        Value::Map(map) => map.entries.iter_mut().for_each(|entry| hollow(&mut entry.value)),
        Value::List(items) => items.iter_mut().for_each(hollow),
        Value::Scalar(_) => {}
    }
}
