//! Writes a tree as JSON (for machines) and as YAML (for people); both read back as the same tree.
//!
//! Tags are not written: they have done their work once files are merged.

use super::scalar::Meaning;
use super::{Node, Scalar, Value};

/// The tree as JSON, one entry of a mapping per line so that places stay readable.
pub fn json(node: &Node) -> String {
    let mut out = String::new();
    json_node(node, 0, &mut out);
    out.push('\n');
    out
}

fn json_node(node: &Node, depth: usize, out: &mut String) {
    match &node.value {
        Value::Scalar(scalar) => json_scalar(scalar, out),
        Value::List(items) => {
            out.push('[');
            for (at, item) in items.iter().enumerate() {
                if at > 0 {
                    out.push_str(", ");
                }
                json_node(item, depth, out);
            }
            out.push(']');
        }
        Value::Map(map) => {
            out.push('{');
            for (at, entry) in map.entries.iter().enumerate() {
                out.push_str(if at > 0 { ",\n" } else { "\n" });
                indent(depth + 1, out);
                json_text(&entry.key, out);
                out.push_str(": ");
                json_node(&entry.value, depth + 1, out);
            }
            if !map.entries.is_empty() {
                out.push('\n');
                indent(depth, out);
            }
            out.push('}');
        }
    }
}

fn indent(depth: usize, out: &mut String) {
    (0..depth).for_each(|_| out.push_str("  "));
}

fn json_scalar(scalar: &Scalar, out: &mut String) {
    match scalar.meaning() {
        Meaning::Null => out.push_str("null"),
        Meaning::Bool(value) => out.push_str(if value { "true" } else { "false" }),
        // In decimal: `0644` and `1_000` are no JSON numbers, and as text they would be read as other ones.
        Meaning::Int(value) => out.push_str(&value.to_string()),
        _ => json_text(&scalar.text, out),
    }
}

/// A text as a JSON string, which is also a YAML one.
fn json_text(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            // Line breaks to YAML, control characters to both: escaped for either reader.
            '\0'..='\x1f' | '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{feff}' | '\u{fffe}' | '\u{ffff}' => {
                out.push_str(&format!("\\u{:04x}", u32::from(c)));
            }
            _ => out.push(c),
        }
    }
    out.push('"');
}

/// The tree as YAML in block style.
pub fn yaml(node: &Node) -> String {
    let mut out = String::new();
    yaml_block(node, 0, &mut out);
    out
}

/// The tree on one line: a scalar as YAML, all else as JSON.
pub fn line(node: &Node) -> String {
    let mut out = String::new();
    if is_leaf(node) {
        yaml_leaf(node, &mut out);
        return out;
    }
    json_node(node, 0, &mut out);
    out.split('\n').map(str::trim_start).collect::<Vec<_>>().join(" ")
}

/// A text as a word of YAML, in quotes where it would be read as something else.
pub fn word(text: &str) -> String {
    let mut out = String::new();
    yaml_text(text, &mut out);
    out
}

/// Writes a node that begins on a line of its own, at `depth`.
fn yaml_block(node: &Node, depth: usize, out: &mut String) {
    match &node.value {
        Value::Map(map) if !map.entries.is_empty() => {
            for entry in &map.entries {
                indent(depth, out);
                yaml_entry(&entry.key, &entry.value, depth, out);
            }
        }
        Value::List(items) if !items.is_empty() => {
            for item in items {
                indent(depth, out);
                yaml_item(item, depth, out);
            }
        }
        _ => {
            indent(depth, out);
            yaml_leaf(node, out);
            out.push('\n');
        }
    }
}

fn yaml_entry(key: &str, value: &Node, depth: usize, out: &mut String) {
    yaml_text(key, out);
    out.push(':');
    if is_leaf(value) {
        if !value.is_null() {
            out.push(' ');
            yaml_leaf(value, out);
        }
        out.push('\n');
    } else {
        out.push('\n');
        yaml_block(value, depth + 1, out);
    }
}

fn yaml_item(item: &Node, depth: usize, out: &mut String) {
    out.push_str("- ");
    match &item.value {
        Value::Map(map) if !map.entries.is_empty() => {
            for (at, entry) in map.entries.iter().enumerate() {
                if at > 0 {
                    indent(depth + 1, out);
                }
                yaml_entry(&entry.key, &entry.value, depth + 1, out);
            }
        }
        Value::List(items) if !items.is_empty() => {
            for (at, inner) in items.iter().enumerate() {
                if at > 0 {
                    indent(depth + 1, out);
                }
                yaml_item(inner, depth + 1, out);
            }
        }
        _ => {
            yaml_leaf(item, out);
            out.push('\n');
        }
    }
}

fn is_leaf(node: &Node) -> bool {
    match &node.value {
        Value::Scalar(_) => true,
        Value::List(items) => items.is_empty(),
        Value::Map(map) => map.entries.is_empty(),
    }
}

fn yaml_leaf(node: &Node, out: &mut String) {
    match &node.value {
        Value::Scalar(scalar) => match scalar.meaning() {
            Meaning::Text => yaml_text(&scalar.text, out),
            Meaning::Null => out.push_str("null"),
            _ => out.push_str(&scalar.text),
        },
        Value::List(_) => out.push_str("[]"),
        Value::Map(_) => out.push_str("{}"),
    }
}

fn yaml_text(text: &str, out: &mut String) {
    if reads_as_itself(text) {
        out.push_str(text);
    } else {
        json_text(text, out);
    }
}

/// Whether a bare text is read as this text by every YAML reader, the old ones included.
fn reads_as_itself(text: &str) -> bool {
    let plain = Scalar { text: text.into(), style: super::Style::Plain };
    let first = |c: char| c.is_ascii_alphabetic() || matches!(c, '/' | '.' | '_');
    let rest = |c: char| c.is_ascii_alphanumeric() || "/._-+=@,".contains(c);
    let colon_safe = |(at, c): (usize, char)| c == ':' && !text[at + 1..].starts_with(' ') && at + 1 < text.len();
    let old_word = ["y", "n", "yes", "no", "on", "off"].contains(&text.to_ascii_lowercase().as_str());
    let quantity = text.starts_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_alphanumeric());
    (text.starts_with(first) || quantity)
        && text.char_indices().all(|(at, c)| rest(c) || colon_safe((at, c)))
        && plain.meaning() == Meaning::Text
        && !old_word
        && !text.starts_with("..")
        && text != "."
}
