//! The usual layout of a YAML file: what `fmt` writes. Comments stay, and so does what the file says.

use crate::codes;
use crate::findings::{Findings, error};
use crate::syntax::{Node, Value, build};
use model::diagnostic::Diagnostic;
use model::span::{FileId, Span};
use pretty_yaml::config::{FormatOptions, LayoutOptions};

/// Longer lines are broken where that is possible.
const WIDTH: usize = 120;

/// The text in the usual layout; laid out again it stays as it is.
///
/// Errors: the text is no YAML that we read, or is in a form that cannot be laid out without changing what it says.
pub fn usual(file: FileId, text: &str) -> Result<String, Vec<Diagnostic>> {
    let mut found = Findings::default();
    let before = build::documents(file, text, &mut found);
    let Some(before) = before.filter(|_| !found.has_errors()) else { return Err(found.into_sorted()) };
    if text.trim().is_empty() {
        return Ok(String::new());
    }
    let layout = LayoutOptions { print_width: WIDTH, ..LayoutOptions::default() };
    let options = FormatOptions { layout, ..FormatOptions::default() };
    let wrong = |message: &str| {
        let help = "write it in a plainer way, or leave this file as it is";
        vec![error(codes::YAML, message).at(Span { file, start: 0, end: 0 }, "").help(help)]
    };
    // The printer gives up on forms that nobody writes, such as lines that begin beyond the sixtieth column.
    let laid_out = std::panic::catch_unwind(|| pretty_yaml::format_text(text, &options));
    let Ok(Ok(laid_out)) = laid_out else { return Err(wrong("this file cannot be laid out")) };
    // A mistake of the layout must never cost a value.
    match build::documents(file, &laid_out, &mut Findings::default()) {
        Some(after) if says_the_same(&before, &after) => Ok(laid_out),
        _ => Err(wrong("this file cannot be laid out without changing what it says")),
    }
}

fn says_the_same(a: &[Node], b: &[Node]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
}

fn same(a: &Node, b: &Node) -> bool {
    a.tag == b.tag
        && match (&a.value, &b.value) {
            (Value::Scalar(a), Value::Scalar(b)) => a.text == b.text && a.style == b.style,
            (Value::List(a), Value::List(b)) => says_the_same(a, b),
            (Value::Map(a), Value::Map(b)) => {
                let mut pairs = a.entries.iter().zip(&b.entries);
                a.entries.len() == b.entries.len() && pairs.all(|(a, b)| a.key == b.key && same(&a.value, &b.value))
            }
            _ => false,
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    fn laid_out(text: &str) -> String {
        let once = usual(FileId(0), text).unwrap_or_else(|found| panic!("{text}\n{found:#?}"));
        assert_eq!(usual(FileId(0), &once).as_ref(), Ok(&once), "laid out again it changes");
        once
    }

    #[test]
    fn comments_and_values_stay() {
        let text = "# head\nproject:   shop\nenvironments:\n    development: {engine: process}   # dev\n\n\n\nroutes:\n- host: \
                    '${DOMAIN:-x}'\n  # inner\n  paths: { /api: \"api:3000\" ,/: web}\nprocesses:\n  api:\n    build: >\n       \
                    make\n       all\n    artifacts:\n    -   {from: a,\n        to: b}\n  x: !reset null\n";
        expect![[r#"
            # head
            project: shop
            environments:
              development: { engine: process } # dev

            routes:
              - host: "${DOMAIN:-x}"
                # inner
                paths: { /api: "api:3000", /: web }
            processes:
              api:
                build: >
                  make
                  all
                artifacts:
                  - { from: a, to: b }
              x: !reset null
        "#]]
        .assert_eq(&laid_out(text));
    }

    #[test]
    fn what_cannot_be_read_is_refused_with_its_place() {
        let found = usual(FileId(0), "a: [1\nb: 2").expect_err("no YAML");
        assert!(found[0].is_error() && found[0].code == "MS0001", "{found:#?}");
        assert!(usual(FileId(0), "a: 1\na: 2").is_err());
        let deep: String = (0..200).map(|n| format!("{}k{n}:\n", "  ".repeat(n))).collect();
        let found = usual(FileId(0), &deep).expect_err("too deep");
        assert_eq!(found[0].message, "this file cannot be laid out");
        assert_eq!(laid_out(""), "");
        assert_eq!(laid_out("a: 1\r\nb: 2\r\n"), "a: 1\nb: 2\n");
    }
}
