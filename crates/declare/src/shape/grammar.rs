//! The notation that the table of shapes is written in, read once.
//!
//! ```text
//! definition  name = shape
//! shape       one | other
//! one         text  int  exact  number  bool  null  any  'word'  name-of-a-definition
//!             [shape]            a list
//!             { key: shape, … }  a mapping: `*` behind a key that must be there, `<name>` any legal name,
//!                                `<any>` any key, `..other` the keys of another mapping; notes (`x-…`) are welcome,
//!                                except after `{!`
//! ```

use std::collections::BTreeMap;

/// What a value may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Shape {
    /// Text.
    Text,
    /// A whole number.
    Int,
    /// A whole number that is written as one.
    Exact,
    /// A number.
    Number,
    /// `true` or `false`.
    Bool,
    /// Nothing.
    Null,
    /// Anything.
    Any,
    /// Exactly this word.
    Word(&'static str),
    /// A list of such items.
    List(Box<Shape>),
    /// A mapping with these keys.
    Map(Fields),
    /// One of several.
    OneOf(Vec<Shape>),
    /// What a definition says.
    Ref(&'static str),
}

/// The keys of a mapping.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fields {
    /// Those with a name of their own.
    pub named: BTreeMap<&'static str, Shape>,
    /// Those that must be there.
    pub required: Vec<&'static str>,
    /// Any legal name.
    pub names: Option<Box<Shape>>,
    /// Notes are refused.
    pub is_strict: bool,
    /// Any key at all.
    pub any: Option<Box<Shape>>,
    /// Mappings whose keys it has too.
    bases: Vec<&'static str>,
}

/// Reads definitions.
///
/// Panics when the text is not in the notation: it is part of the program.
pub fn read(text: &'static str) -> BTreeMap<&'static str, Shape> {
    let mut words = Words { text, at: 0 };
    let mut all = BTreeMap::new();
    while let Some(name) = words.next() {
        words.expect("=");
        all.insert(name, words.shape());
    }
    let bases = all.clone();
    all.values_mut().for_each(|shape| whole(shape, &bases));
    all
}

/// Puts in the keys that a mapping has from others.
fn whole(shape: &mut Shape, all: &BTreeMap<&'static str, Shape>) {
    let Shape::Map(fields) = shape else { return };
    for base in std::mem::take(&mut fields.bases) {
        let Shape::Map(base) = &all[base] else { panic!("`{base}` is no mapping") };
        fields.named.extend(base.named.iter().map(|(key, shape)| (*key, shape.clone())));
    }
}

struct Words {
    text: &'static str,
    at: usize,
}

impl Words {
    fn peek(&self) -> Option<&'static str> {
        let rest = &self.text[self.at..];
        let rest = rest.trim_start();
        let first = rest.chars().next()?;
        let len = match first {
            '[' | ']' | '{' | '}' | '|' | ':' | ',' | '=' | '*' | '!' => 1,
            '\'' => rest[1..].find('\'').expect("a word in quotes ends") + 2,
            _ => rest.find(|c: char| c.is_whitespace() || "[]{}|:,=*!".contains(c)).unwrap_or(rest.len()),
        };
        Some(&rest[..len])
    }

    fn next(&mut self) -> Option<&'static str> {
        let word = self.peek()?;
        let skipped = self.text[self.at..].len() - self.text[self.at..].trim_start().len();
        self.at += skipped + word.len();
        Some(word)
    }

    fn take(&mut self, wanted: &str) -> bool {
        let is_next = self.peek() == Some(wanted);
        if is_next {
            self.next();
        }
        is_next
    }

    fn expect(&mut self, wanted: &str) {
        let got = self.next();
        assert_eq!(got, Some(wanted), "in the table of shapes at byte {}", self.at);
    }

    fn shape(&mut self) -> Shape {
        let mut all = vec![self.one()];
        while self.take("|") {
            all.push(self.one());
        }
        if all.len() == 1 { all.remove(0) } else { Shape::OneOf(all) }
    }

    fn one(&mut self) -> Shape {
        match self.next().expect("a shape") {
            "text" => Shape::Text,
            "int" => Shape::Int,
            "exact" => Shape::Exact,
            "number" => Shape::Number,
            "bool" => Shape::Bool,
            "null" => Shape::Null,
            "any" => Shape::Any,
            "[" => {
                let item = self.shape();
                self.expect("]");
                Shape::List(Box::new(item))
            }
            "{" => Shape::Map(self.fields()),
            word => match word.strip_prefix('\'') {
                Some(rest) => Shape::Word(rest.strip_suffix('\'').expect("found above")),
                None => Shape::Ref(word),
            },
        }
    }

    fn fields(&mut self) -> Fields {
        let mut fields = Fields { is_strict: self.take("!"), ..Fields::default() };
        while !self.take("}") {
            let key = self.next().expect("a key");
            if let Some(base) = key.strip_prefix("..") {
                fields.bases.push(base);
                self.take(",");
                continue;
            }
            if self.take("*") {
                fields.required.push(key);
            }
            self.expect(":");
            let shape = self.shape();
            match key {
                "<name>" => fields.names = Some(Box::new(shape)),
                "<any>" => fields.any = Some(Box::new(shape)),
                _ => {
                    fields.named.insert(key, shape);
                }
            }
            self.take(",");
        }
        fields
    }
}
