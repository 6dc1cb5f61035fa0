//! Puts variables into the scalars of a tree; keys are left alone, as Compose does.
//!
//! A missing variable is a warning and empty text (Compose's rule), a missing `?` variable an error. All of
//! them are reported in one run, once per variable with the places that use it.

pub mod template;

use crate::codes;
use crate::findings::{Findings, error, warning, with_places};
use crate::syntax::{Node, Scalar, Style, Tag, Value};
use crate::variables::Variables;
use model::span::{Sources, Span};
use std::collections::{BTreeMap, BTreeSet};
use template::Problem;

/// More text from variables than this is refused: a long value used a million times would fill the memory.
pub(crate) const MAX_EXPANDED_BYTES: usize = 64 << 20;

/// Puts variables into trees and collects what is missing across all of them.
pub struct Interpolation<'a> {
    variables: &'a Variables,
    room: usize,
    undefined: BTreeMap<String, Vec<Span>>,
    required: BTreeMap<String, (String, Vec<Span>)>,
    expanded: BTreeSet<Span>,
}

impl<'a> Interpolation<'a> {
    /// With these variables.
    pub fn new(variables: &'a Variables) -> Self {
        Self {
            variables,
            room: MAX_EXPANDED_BYTES,
            undefined: BTreeMap::new(),
            required: BTreeMap::new(),
            expanded: BTreeSet::new(),
        }
    }

    /// With room for so much text from variables.
    pub fn within(variables: &'a Variables, room: usize) -> Self {
        Self { room, ..Self::new(variables) }
    }

    /// How much room is left.
    pub fn room(&self) -> usize {
        self.room
    }

    /// Expands every scalar below `node`.
    pub fn apply(&mut self, node: &mut Node, sources: &Sources, found: &mut Findings) {
        let span = node.span;
        // What is taken back is not looked at.
        if node.tag == Tag::Reset {
            return;
        }
        match &mut node.value {
            Value::Scalar(scalar) => self.scalar(scalar, span, sources, found),
            Value::List(items) => items.iter_mut().for_each(|item| self.apply(item, sources, found)),
            Value::Map(map) => map.entries.iter_mut().for_each(|e| self.apply(&mut e.value, sources, found)),
        }
    }

    fn scalar(&mut self, scalar: &mut Scalar, span: Span, sources: &Sources, found: &mut Findings) {
        if !scalar.text.contains('$') {
            return;
        }
        let text = scalar.text.clone();
        let mut problems = Vec::new();
        let lookup = |name: &str| self.variables.get(name).map(str::to_owned);
        let out = template::expand(&text, &lookup, &mut self.room, &mut |problem| problems.push(problem));
        if problems.iter().any(|problem| !matches!(problem, Problem::Undefined { .. })) {
            found.spoil(span);
        }
        for problem in problems {
            self.note(problem, |at| place(sources, span, &text, at), found);
        }
        self.expanded.insert(span);
        scalar.text = out.into();
        if scalar.style == Style::Plain {
            scalar.style = Style::Substituted;
        }
    }

    fn note(&mut self, problem: Problem, place: impl Fn(usize) -> Span, found: &mut Findings) {
        match problem {
            Problem::Syntax { at, what } => found.insist(
                error(codes::INTERPOLATION, format!("this is no variable expression: {what}"))
                    .at(place(at), "")
                    .help("write `$$` for a dollar sign, or `${NAME}` for a variable"),
            ),
            Problem::TooLong { at } => {
                let message = format!("variables expand to more than {} MiB", MAX_EXPANDED_BYTES >> 20);
                let at = place(at);
                found.insist(
                    error(codes::EXPANSION, message).at(at, "the limit is passed here").help("shorten the values"),
                );
            }
            Problem::Undefined { at, name } => self.undefined.entry(name).or_default().push(place(at)),
            Problem::Required { at, name, message } => {
                self.required.entry(name).or_insert_with(|| (message, Vec::new())).1.push(place(at));
            }
        }
    }

    /// Reports what was missing, and gives the places where variables were put in.
    pub fn finish(self, found: &mut Findings) -> BTreeSet<Span> {
        let Self { variables, undefined, required, expanded, .. } = self;
        for (name, (message, places)) in &required {
            let reason = if message.is_empty() { String::new() } else { format!(": {message}") };
            let text = format!("the variable `{name}` must be set{reason}");
            let help = found.did_you_mean(name, variables.names().filter(|n| n != name), || {
                format!("set `{name}` in `.env`, in `environments.<name>.variables` or in the environment")
            });
            found.insist(with_places(error(codes::REQUIRED, text), places).help(help));
        }
        for (name, places) in &undefined {
            let text = format!("the variable `{name}` is not set, the empty text is used");
            let help = found.did_you_mean(name, variables.names(), || {
                format!("set it in `.env`, or write `${{{name}:-}}` if empty is what you mean")
            });
            found.insist(with_places(warning(codes::UNDEFINED, text), places).help(help));
        }
        expanded
    }
}

/// The place of a byte of a scalar's text, if the text stands in the file as it is; else the whole scalar.
fn place(sources: &Sources, span: Span, text: &str, at: usize) -> Span {
    let source = &sources.get(span.file).text;
    let written = source.get(span.start as usize..span.end as usize).unwrap_or_default();
    let Some(before) = written.find(text) else { return span };
    let start = span.start + (before + at) as u32;
    let rest = &text[at..];
    let name = rest.find(|c: char| !(c.is_ascii_alphanumeric() || "${_".contains(c))).unwrap_or(rest.len());
    let closing = usize::from(rest[name..].starts_with('}'));
    Span { start, end: (start + (name + closing) as u32).min(span.end), ..span }
}
