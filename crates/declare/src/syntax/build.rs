//! Builds the tree from the parser's events, with bounds on depth and on what aliases expand to.
//!
//! Never recurses: open collections are on a stack of our own. Where the text is no YAML it stops at that
//! place; everything else (duplicate keys, odd tags) is reported and building goes on.

use super::{Entry, Map, Node, Scalar, Style, Tag, Value};
use crate::codes;
use crate::findings::{Findings, error, warning};
use libyaml_safer::{Error, Event, EventData, Mark, Parser, ScalarStyle};
use model::span::{FileId, Span};
use std::collections::{HashMap, HashSet};
use std::io::Read as _;
use std::sync::Arc;

/// Deeper nesting is refused: no declaration comes near it, and every later stage may recurse that far.
pub const MAX_DEPTH: usize = 256;
/// More nodes copied for anchors and aliases are refused: an alias bomb makes billions from a few lines.
pub const MAX_ALIASED_NODES: usize = 1_000_000;
/// More text copied for them is refused, for the same reason.
pub const MAX_ALIASED_BYTES: usize = 64 << 20;
/// Larger files are refused: spans are 32 bits wide and people write no such files.
pub const MAX_FILE_BYTES: u64 = 64 << 20;

/// More values in one file are refused: ten thousand services have a tenth of that, and a file of commas has more.
pub const MAX_NODES: usize = 4_000_000;

/// Longer texts hardly come twice.
const MAX_SHARED: usize = 24;

/// The text of a file without its byte order mark, or why it is no text.
///
/// Errors: UTF-16, invalid UTF-8, a NUL byte; with the byte offset.
pub fn decode(bytes: &[u8]) -> Result<&str, (usize, &'static str)> {
    if bytes.starts_with(&[0xff, 0xfe]) || bytes.starts_with(&[0xfe, 0xff]) {
        return Err((0, "it is UTF-16"));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let text = std::str::from_utf8(bytes).map_err(|e| (e.valid_up_to(), "invalid UTF-8"))?;
    match text.bytes().position(|b| b == 0) {
        Some(at) => Err((at, "a NUL byte")),
        None => Ok(text),
    }
}

/// The tree of a text with one document; none when it is no YAML, or holds nothing or more.
pub fn parse(file: FileId, text: &str, found: &mut Findings) -> Option<Node> {
    let mut all = documents(file, text, found)?;
    if all.len() == 1 { all.pop() } else { None }
}

/// The trees of all documents of a file; none when the text is no YAML.
pub fn documents(file: FileId, text: &str, found: &mut Findings) -> Option<Vec<Node>> {
    let builder = Builder {
        file,
        text,
        found,
        open: Vec::new(),
        anchors: HashMap::new(),
        aliased: Size::default(),
        nodes: 0,
        shared: HashSet::new(),
        root: None,
        done: Vec::new(),
    };
    builder.run()
}

/// What a subtree costs when an alias copies it.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
    depth: usize,
}

impl Size {
    fn add(&mut self, child: Size) {
        self.nodes = self.nodes.saturating_add(child.nodes);
        self.bytes = self.bytes.saturating_add(child.bytes);
        self.depth = self.depth.max(child.depth + 1);
    }
}

struct Open {
    kind: OpenKind,
    start: Mark,
    anchor: Option<String>,
    tag: Tag,
    size: Size,
}

enum OpenKind {
    List(Vec<Node>),
    Map(OpenMap),
}

#[derive(Default)]
struct OpenMap {
    map: Map,
    /// Where each key is, once there are too many to look through.
    index: HashMap<Arc<str>, usize>,
    merges: Vec<Node>,
    key: Option<Key>,
}

enum Key {
    Text(Arc<str>, Span),
    Merge,
    /// Reported already; its value is dropped.
    Illegal,
}

struct Builder<'a> {
    file: FileId,
    text: &'a str,
    found: &'a mut Findings,
    open: Vec<Open>,
    /// The values that have a name; none for one that is not whole yet.
    anchors: HashMap<String, Option<(Node, Size)>>,
    /// What was copied so far: anchored values when they are kept, and once more for each alias.
    aliased: Size,
    /// How many values were read.
    nodes: usize,
    /// Short texts, each once: the same keys and words come again and again.
    shared: HashSet<Arc<str>>,
    root: Option<Node>,
    /// The documents before the one that is read.
    done: Vec<Node>,
}

/// The builder has reported why it cannot go on.
struct Stop;

impl<'a> Builder<'a> {
    fn run(mut self) -> Option<Vec<Node>> {
        // The parser wants its last line to end; what that adds is taken off again. Blanks alone are no last line.
        let text = match self.text.rsplit_once('\n') {
            Some((before, last)) if last.bytes().all(|byte| byte == b' ') => &self.text[..before.len() + 1],
            _ => self.text,
        };
        let is_cut = !text.is_empty() && !text.ends_with(['\n', '\r']);
        let mut input = text.as_bytes().chain(if is_cut { "\n".as_bytes() } else { &[] });
        let mut parser = Parser::new();
        parser.set_input(&mut input);
        let mut last = Mark::default();
        loop {
            // It has places where it gives up on what it did not expect: a file must not end the program.
            let event = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| parser.parse()));
            let Event { mut data, start_mark, end_mark, .. } = match event {
                Ok(Ok(event)) => event,
                Ok(Err(error)) => {
                    self.scan_error(&error);
                    return None;
                }
                Err(_) => {
                    let help = "write what stands here in a plainer way";
                    let message = "this is no YAML that can be read here";
                    self.found.push(error(codes::YAML, message).at(self.span(last, last), "").help(help));
                    return None;
                }
            };
            last = end_mark;
            if is_cut && end_mark.index as usize > self.text.len() {
                cut(&mut data);
            }
            match data {
                EventData::StreamEnd => break,
                EventData::DocumentStart { .. } => {
                    self.done.extend(self.root.take());
                }
                data => self.event(data, start_mark, end_mark).ok()?,
            }
        }
        self.done.extend(self.root);
        Some(self.done)
    }

    fn span(&self, start: Mark, end: Mark) -> Span {
        let byte = |mark: Mark| (mark.index as usize).min(self.text.len()) as u32;
        let start = byte(start);
        Span { file: self.file, start, end: byte(end).max(start) }
    }

    /// A collection is shown by its first line: its whole would hide the message.
    fn first_line(&self, start: Mark, end: Mark) -> Span {
        let mut span = self.span(start, end);
        let text = &self.text[span.start as usize..span.end as usize];
        let line = text.lines().next().unwrap_or_default();
        span.end = span.start + line.trim_end().len() as u32;
        span
    }

    fn scan_error(&mut self, scan: &Error) {
        let Some(mark) = scan.problem_mark() else {
            // What no YAML text may hold, wherever it stands.
            let is_legal = |c: char| !c.is_control() || matches!(c, '\t' | '\n' | '\r' | '\u{85}');
            let at = self.text.char_indices().find(|(_, c)| !is_legal(*c)).map_or(0, |(at, _)| at);
            let at = Span { file: self.file, start: at as u32, end: at as u32 };
            let help = "remove the character, or write it in double quotes as `\\u0007`";
            self.found.push(error(codes::YAML, format!("this is no YAML: {}", scan.problem())).at(at, "").help(help));
            return;
        };
        let at = self.span(mark, mark);
        let line = self.text.lines().nth(mark.line as usize).unwrap_or_default();
        let indent = &line[..line.len() - line.trim_start().len()];
        let help = if indent.contains('\t') {
            "indent with spaces: YAML forbids tabs there"
        } else {
            "mend the YAML here; often an indentation, a missing `:` or an unclosed quote or bracket is the cause"
        };
        let mut diagnostic = error(codes::YAML, format!("this is no YAML: {}", scan.problem())).at(at, "");
        if let (Some(context), Some(mark)) = (scan.context(), scan.context_mark()) {
            let from = self.span(mark, mark);
            if from != at {
                diagnostic = diagnostic.at(from, context);
            }
        }
        self.found.push(diagnostic.help(help));
    }

    fn event(&mut self, event: EventData, start: Mark, end: Mark) -> Result<(), Stop> {
        match event {
            EventData::Scalar { anchor, tag, value, style, .. } => {
                let at = self.span(start, end);
                let is_text = tag.as_deref() == Some(libyaml_safer::STR_TAG);
                let tag = self.tag(tag.as_deref(), at);
                let style = match style {
                    ScalarStyle::Plain if !is_text => Style::Plain,
                    _ => Style::Quoted,
                };
                let size = Size { nodes: 1, bytes: value.len(), depth: 0 };
                let scalar = Scalar { text: self.share(&value), style };
                let node = Node { value: Value::Scalar(scalar), span: at, tag };
                self.add(node, size, anchor)
            }
            EventData::SequenceStart { anchor, tag, .. } => {
                self.begin(OpenKind::List(Vec::new()), start, end, anchor, tag.as_deref())
            }
            EventData::MappingStart { anchor, tag, .. } => {
                self.begin(OpenKind::Map(OpenMap::default()), start, end, anchor, tag.as_deref())
            }
            EventData::SequenceEnd | EventData::MappingEnd => self.end(end),
            EventData::Alias { anchor } => self.alias(&anchor, self.span(start, end)),
            _ => Ok(()),
        }
    }

    fn share(&mut self, text: &str) -> Arc<str> {
        if text.len() > MAX_SHARED {
            return text.into();
        }
        if let Some(known) = self.shared.get(text) {
            return known.clone();
        }
        let new: Arc<str> = text.into();
        self.shared.insert(new.clone());
        new
    }

    fn tag(&mut self, tag: Option<&str>, at: Span) -> Tag {
        match tag {
            None | Some("!") => Tag::None,
            Some("!reset") => Tag::Reset,
            Some("!override") => Tag::Override,
            Some(tag) if tag.starts_with("tag:yaml.org,2002:") => Tag::None,
            Some(tag) => {
                self.found.push(
                    warning(codes::TAG, format!("the tag `{tag}` has no meaning here"))
                        .at(at, "")
                        .help("remove it; `!reset` and `!override` are the ones that are known"),
                );
                Tag::None
            }
        }
    }

    fn begin(
        &mut self,
        kind: OpenKind,
        start: Mark,
        end: Mark,
        anchor: Option<String>,
        tag: Option<&str>,
    ) -> Result<(), Stop> {
        let at = self.span(start, end);
        if self.open.len() >= MAX_DEPTH {
            self.too_deep(at);
            return Err(Stop);
        }
        if let Some(anchor) = &anchor {
            self.anchors.insert(anchor.clone(), None);
        }
        let tag = self.tag(tag, at);
        self.open.push(Open { kind, start, anchor, tag, size: Size { nodes: 1, bytes: 0, depth: 0 } });
        Ok(())
    }

    fn too_deep(&mut self, at: Span) {
        self.found.push(
            error(codes::TOO_LARGE, format!("nested more than {MAX_DEPTH} levels deep"))
                .at(at, "")
                .help("flatten the file"),
        );
    }

    fn end(&mut self, end: Mark) -> Result<(), Stop> {
        let open = self.open.pop().expect("the parser closes only what it opened");
        let span = self.first_line(open.start, end);
        // Most collections are small and never grow again: their room for more would be a quarter of the tree.
        let value = match open.kind {
            OpenKind::List(mut items) => {
                items.shrink_to_fit();
                Value::List(items)
            }
            OpenKind::Map(map) => {
                let mut map = self.merged(map);
                map.entries.shrink_to_fit();
                Value::Map(map)
            }
        };
        self.add(Node { value, span, tag: open.tag }, open.size, open.anchor)
    }

    /// Puts a finished node where it belongs.
    fn add(&mut self, node: Node, size: Size, anchor: Option<String>) -> Result<(), Stop> {
        self.nodes += 1;
        if self.nodes > MAX_NODES {
            self.found.push(
                error(codes::TOO_LARGE, format!("more than {MAX_NODES} values in one file"))
                    .at(node.span, "the limit is passed here")
                    .help("split the project"),
            );
            return Err(Stop);
        }
        if let Some(anchor) = anchor {
            self.charge(size, node.span)?;
            self.anchors.insert(anchor, Some((node.clone(), size)));
        }
        let Some(parent) = self.open.last_mut() else {
            self.root = Some(node);
            return Ok(());
        };
        parent.size.add(size);
        match &mut parent.kind {
            OpenKind::List(items) => items.push(node),
            OpenKind::Map(map) => match map.key.take() {
                None => map.key = Some(key(node, self.found)),
                Some(key) => map.insert(key, node, self.found),
            },
        }
        Ok(())
    }

    fn alias(&mut self, name: &str, at: Span) -> Result<(), Stop> {
        let Some(Some((node, size))) = self.anchors.get(name) else {
            let (message, help) = if self.anchors.contains_key(name) {
                let help = "move the anchor to a value that does not contain the alias".to_owned();
                ("this alias stands inside the value it refers to".to_owned(), help)
            } else {
                let known = self.anchors.keys().map(String::as_str);
                let help = self.found.did_you_mean(name, known, || format!("write `&{name}` before a value above"));
                (format!("there is no anchor `&{name}` above"), help)
            };
            self.found.push(error(codes::ALIAS, message).at(at, "").help(help));
            return Err(Stop);
        };
        let (node, size) = (node.clone(), *size);
        self.charge(size, at)?;
        if self.open.len() + size.depth > MAX_DEPTH {
            self.too_deep(at);
            return Err(Stop);
        }
        self.add(node, size, None)
    }

    /// Takes a copy off the budget that anchors and aliases share.
    fn charge(&mut self, size: Size, at: Span) -> Result<(), Stop> {
        self.aliased.add(size);
        if self.aliased.nodes <= MAX_ALIASED_NODES && self.aliased.bytes <= MAX_ALIASED_BYTES {
            return Ok(());
        }
        let limit = format!("{MAX_ALIASED_NODES} values or {} MiB", MAX_ALIASED_BYTES >> 20);
        self.found.push(
            error(codes::ALIAS, format!("anchors and aliases copy more than {limit}"))
                .at(at, "the limit is passed here")
                .help("write the values out, or use fewer anchors and aliases within each other"),
        );
        Err(Stop)
    }

    /// Applies `<<`: keys that are written win over merged ones, earlier merges over later ones.
    fn merged(&mut self, mut open: OpenMap) -> Map {
        for source in std::mem::take(&mut open.merges) {
            let maps = match source.value {
                Value::List(items) => items,
                _ => vec![source],
            };
            for node in maps {
                match node.value {
                    Value::Map(map) => map.entries.into_iter().for_each(|entry| open.insert_if_absent(entry)),
                    _ if node.is_null() => {}
                    _ => self.found.push(
                        error(codes::ALIAS, format!("`<<` merges mappings, this is {}", node.kind()))
                            .at(node.span, "")
                            .help("write the alias of a mapping, or a list of them"),
                    ),
                }
            }
        }
        open.map
    }
}

impl OpenMap {
    fn position(&self, key: &str) -> Option<usize> {
        if self.index.is_empty() {
            self.map.entries.iter().position(|entry| &*entry.key == key)
        } else {
            self.index.get(key).copied()
        }
    }

    fn push(&mut self, entry: Entry) {
        let at = self.map.entries.len();
        // Short mappings are quicker looked through than hashed.
        if at == 16 {
            self.index = self.map.entries.iter().enumerate().map(|(at, entry)| (entry.key.clone(), at)).collect();
        }
        if at >= 16 {
            self.index.insert(entry.key.clone(), at);
        }
        self.map.entries.push(entry);
    }

    fn insert_if_absent(&mut self, entry: Entry) {
        if self.position(&entry.key).is_none() {
            self.push(entry);
        }
    }

    fn insert(&mut self, key: Key, value: Node, found: &mut Findings) {
        match key {
            Key::Illegal => {}
            Key::Merge => self.merges.push(value),
            Key::Text(key, key_span) => match self.position(&key) {
                None => self.push(Entry { key, key_span, value }),
                Some(first) => found.push(
                    error(codes::DUPLICATE_KEY, format!("`{key}` is written twice"))
                        .at(key_span, "again here")
                        .at(self.map.entries[first].key_span, "first here")
                        .help("keep one of the two"),
                ),
            },
        }
    }
}

/// A text in block style whose last line has no end has none either.
fn cut(data: &mut EventData) {
    if let EventData::Scalar { value, style: ScalarStyle::Literal | ScalarStyle::Folded, .. } = data
        && value.ends_with('\n')
    {
        value.pop();
    }
}

fn key(node: Node, found: &mut Findings) -> Key {
    match node.value {
        Value::Scalar(scalar) if &*scalar.text == "<<" && scalar.style == Style::Plain => Key::Merge,
        // A number or a boolean as a key is refused, as the reference does: it is another key to other readers.
        Value::Scalar(scalar) if scalar.meaning() == super::scalar::Meaning::Text => Key::Text(scalar.text, node.span),
        _ => {
            found.push(
                error(codes::KEY_FORM, format!("a key must be text, this is {}", node.kind()))
                    .at(node.span, "")
                    .help("write a name, in quotes if it has special characters"),
            );
            Key::Illegal
        }
    }
}

#[cfg(test)]
mod tests;
