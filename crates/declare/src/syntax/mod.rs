//! The tree of a YAML or JSON file: every value with its place.
//!
//! Owns the shape of the tree; [`build`] makes it from text, [`emit`] writes it. Knows nothing of Compose.
//! A tree is at most [`build::MAX_DEPTH`] deep, so walking it recursively is safe.

pub mod build;
pub mod emit;
pub mod scalar;

use model::span::Span;
use std::sync::Arc;

/// A value, its place and its tag.
#[derive(Debug, Clone)]
pub struct Node {
    /// What it is.
    pub value: Value,
    /// Where it was written; of a list or map the first line.
    pub span: Span,
    /// What was written before it.
    pub tag: Tag,
}

/// What a node is.
#[derive(Debug, Clone)]
pub enum Value {
    /// Text, number, boolean or null: which of them is decided by the reader.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping with text keys, each once.
    Map(Map),
}

/// Tags that change a value's meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tag {
    /// None, or one without effect.
    None,
    /// `!reset`: takes back what earlier files say.
    Reset,
    /// `!override`: replaces what earlier files say.
    Override,
}

/// A scalar as written, quotes and escapes resolved.
#[derive(Debug, Clone)]
pub struct Scalar {
    /// Its text; shared by all copies of an alias.
    pub text: Arc<str>,
    /// How it was written.
    pub style: Style,
}

/// How a scalar was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Style {
    /// Bare: may be a number, boolean or null.
    Plain,
    /// In quotes or as a block: always text.
    Quoted,
    /// Bare, with a variable in it: text that may be read as a number.
    Substituted,
}

/// A mapping in the order it was written.
#[derive(Debug, Clone, Default)]
pub struct Map {
    /// The entries; keys are unique.
    pub entries: Vec<Entry>,
}

/// One entry of a mapping.
#[derive(Debug, Clone)]
pub struct Entry {
    /// The key.
    pub key: Arc<str>,
    /// Where the key was written.
    pub key_span: Span,
    /// The value.
    pub value: Node,
}

impl Node {
    /// A quoted text at a place.
    pub fn text(text: impl Into<Arc<str>>, span: Span) -> Self {
        Self::scalar(Scalar { text: text.into(), style: Style::Quoted }, span)
    }

    /// A bare scalar (number, boolean, null) at a place.
    pub fn plain(text: impl Into<Arc<str>>, span: Span) -> Self {
        Self::scalar(Scalar { text: text.into(), style: Style::Plain }, span)
    }

    /// The null value at a place.
    pub fn null(span: Span) -> Self {
        Self::plain("", span)
    }

    /// A list at a place.
    pub fn list(items: Vec<Node>, span: Span) -> Self {
        Self { value: Value::List(items), span, tag: Tag::None }
    }

    /// A mapping at a place.
    pub fn map(map: Map, span: Span) -> Self {
        Self { value: Value::Map(map), span, tag: Tag::None }
    }

    fn scalar(scalar: Scalar, span: Span) -> Self {
        Self { value: Value::Scalar(scalar), span, tag: Tag::None }
    }

    /// The same value with a tag.
    #[must_use]
    pub fn tagged(mut self, tag: Tag) -> Self {
        self.tag = tag;
        self
    }

    /// Its scalar, if it is one.
    pub fn as_scalar(&self) -> Option<&Scalar> {
        match &self.value {
            Value::Scalar(scalar) => Some(scalar),
            _ => None,
        }
    }

    /// Its mapping, if it is one.
    pub fn as_map(&self) -> Option<&Map> {
        match &self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Its mapping, if it is one.
    pub fn as_map_mut(&mut self) -> Option<&mut Map> {
        match &mut self.value {
            Value::Map(map) => Some(map),
            _ => None,
        }
    }

    /// Its items, if it is a list.
    pub fn as_list(&self) -> Option<&[Node]> {
        match &self.value {
            Value::List(items) => Some(items),
            _ => None,
        }
    }

    /// Whether nothing was written.
    pub fn is_null(&self) -> bool {
        self.as_scalar().is_some_and(Scalar::is_null)
    }

    /// What it is, for people.
    pub fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar(scalar) => scalar.kind(),
        }
    }
}

/// Asks about a way of keys in the form that can be matched; none when it is longer than any that has an answer.
pub(crate) fn ask<T>(way: &[Arc<str>], answer: impl FnOnce(&[&str]) -> Option<T>) -> Option<T> {
    /// No way that anybody asks about has more keys.
    const DEEPEST: usize = 9;
    let mut keys = [""; DEEPEST];
    let keys = keys.get_mut(..way.len())?;
    keys.iter_mut().zip(way).for_each(|(to, key)| *to = key);
    answer(keys)
}

impl Map {
    /// The value of a key.
    pub fn get(&self, key: &str) -> Option<&Node> {
        self.entry(key).map(|entry| &entry.value)
    }

    /// The value of a key.
    pub fn get_mut(&mut self, key: &str) -> Option<&mut Node> {
        self.entries.iter_mut().find(|entry| &*entry.key == key).map(|entry| &mut entry.value)
    }

    /// The entry of a key.
    pub fn entry(&self, key: &str) -> Option<&Entry> {
        self.entries.iter().find(|entry| &*entry.key == key)
    }

    /// Takes an entry out.
    pub fn remove(&mut self, key: &str) -> Option<Entry> {
        let at = self.entries.iter().position(|entry| &*entry.key == key)?;
        Some(self.entries.remove(at))
    }

    /// Adds an entry whose key is not there yet; its place is the value's.
    pub fn push(&mut self, key: impl Into<Arc<str>>, value: Node) {
        self.entries.push(Entry { key: key.into(), key_span: value.span, value });
    }

    /// Sets a key, in place if it is there.
    pub fn set(&mut self, key: &str, value: Node) {
        match self.get_mut(key) {
            Some(old) => *old = value,
            None => self.push(key, value),
        }
    }
}
