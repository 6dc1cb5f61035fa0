use super::*;
use crate::syntax::emit;
use model::span::Sources;

/// Parses and gives the tree as one line of JSON, or the first finding.
fn tree(text: &str) -> Result<String, String> {
    let mut sources = Sources::default();
    let file = sources.add("t.yaml", text);
    let mut found = Findings::default();
    let node = parse(file, text, &mut found);
    let found = found.into_sorted();
    match found.first() {
        Some(d) => {
            let (line, column) = sources.position(d.labels[0].span);
            Err(format!("{} {line}:{column} {}", d.code, d.message))
        }
        None => Ok(node.map_or("nothing".into(), |n| emit::json(&n).split_whitespace().collect::<Vec<_>>().join(" "))),
    }
}

fn check(text: &str, want: &str) {
    assert_eq!(tree(text).as_deref(), Ok(want), "{text}");
}

fn check_error(text: &str, want: &str) {
    let got = tree(text).expect_err("must be refused");
    assert!(got.starts_with(want), "{:.200}\n got: {got}\nwant: {want}", text);
}

#[test]
fn yaml_and_json_give_the_same_tree() {
    check("a: 1\nb: [x, 'y']\n", r#"{ "a": 1, "b": ["x", "y"] }"#);
    check(r#"{"a": 1, "b": ["x", "y"]}"#, r#"{ "a": 1, "b": ["x", "y"] }"#);
    check("a: |\n  x\n  y\n", r#"{ "a": "x\ny\n" }"#);
    check("a: ~\nb:\n", r#"{ "a": null, "b": null }"#);
    check("a: !!str 5\n", r#"{ "a": "5" }"#);
    check("a: 1\r\nb: 2\r\n", r#"{ "a": 1, "b": 2 }"#);
    check("", "nothing");
    check("# only a comment\n", "nothing");
}

#[test]
fn merges_and_aliases_are_followed() {
    check("x: &x {a: 1, b: 2}\ny: {<<: *x, b: 3}", r#"{ "x": { "a": 1, "b": 2 }, "y": { "b": 3, "a": 1 } }"#);
    check("x: &x {a: 1}\nz: &z {a: 2, c: 3}\ny: {<<: [*x, *z]}", {
        r#"{ "x": { "a": 1 }, "z": { "a": 2, "c": 3 }, "y": { "a": 1, "c": 3 } }"#
    });
    check("k: &k name\n*k : 1", r#"{ "k": "name", "name": 1 }"#);
    check_error("y: {<<: 3}", "MS0005 1:9 `<<` merges mappings, this is a number");
    check_error("a: &a [*a]", "MS0005 1:8 this alias stands inside");
    check_error("a: *b", "MS0005 1:4 there is no anchor `&b` above");
}

#[test]
fn what_cannot_be_meant_is_refused_with_its_place() {
    check_error("a: 1\nb: 2\na: 3", "MS0004 3:1 `a` is written twice");
    check_error("1: a", "MS0007 1:1 a key must be text, this is a number");
    check_error("[1, 2]: 3", "MS0007 1:1 a key must be text, this is a list");
    check_error("a: !foo 1", "MS0009 1:");
    check_error("a:\n\tb: 1", "MS0001 2:");
    check_error("a: [1, 2", "MS0001 ");
    check_error("a: 'x", "MS0001 ");
    check_error("äöü: 1\näöü: 2", "MS0004 2:1 `äöü` is written twice");
    let many: String = (0..40).map(|n| format!("k{n}: {n}\n")).collect();
    check_error(&format!("{many}k3: 0\n"), "MS0004 41:1 `k3` is written twice");
}

#[test]
fn depth_and_aliases_are_bounded() {
    for deep in ["[", "{a: ", "- ", "? "] {
        check_error(&deep.repeat(10_000), "MS000");
    }
    check_error(&format!("a: {}", "[".repeat(10_000)), "MS0003 1:259 nested more than 256 levels deep");
    let lines: String = (0..10_000).map(|n| format!("{}a:\n", " ".repeat(n))).collect();
    check_error(&lines, "MS0003 257:");
    // Each line holds ten of the line before: 10^9 values from ten lines.
    let mut bomb = String::from("a0: &a0 x\n");
    (1..10).for_each(|n| {
        let refs = vec![format!("*a{}", n - 1); 10].join(", ");
        bomb.push_str(&format!("a{n}: &a{n} [{refs}]\n"));
    });
    check_error(&bomb, "MS0005 ");
    // One level deeper on each line, through aliases only.
    let mut tower = String::from("a0: &a0 [x]\n");
    (1..400).for_each(|n| tower.push_str(&format!("a{n}: &a{n} [*a{}]\n", n - 1)));
    check_error(&tower, "MS0003 ");
    let long = format!("a: &a \"{}\"\nb: [{}]", "x".repeat(1 << 20), "*a, ".repeat(100));
    check_error(&long, "MS0005 ");
    // Each anchored value lies in the next one, so each would be kept with all that lies in it.
    let body = "x, ".repeat(100_000);
    let nested = format!("{}{body}{}", (0..200).map(|n| format!("&a{n} [")).collect::<String>(), "]".repeat(200));
    check_error(&nested, "MS0005 ");
    check_error(&format!("[{}]", "1,".repeat(4_000_001)), "MS0003 ");
}

#[test]
fn bytes_that_are_no_text_are_named() {
    assert_eq!(decode(b"\xef\xbb\xbfa: 1"), Ok("a: 1"));
    assert_eq!(decode(b"a: \xff"), Err((3, "invalid UTF-8")));
    assert_eq!(decode(b"a: \0"), Err((3, "a NUL byte")));
    assert_eq!(decode(b"\xff\xfea\0"), Err((0, "it is UTF-16")));
}

#[test]
fn a_last_line_without_an_end_adds_none() {
    let check = |text: &str, want: &str| {
        let tree = parse(model::span::FileId(0), text, &mut Findings::default()).unwrap_or_else(|| panic!("{text:?}"));
        let node = tree.as_map().and_then(|map| map.get("a")).expect("a");
        assert_eq!(emit::line(node), want, "{text:?}");
    };
    check("a: |\n  x\n  y", r#""x\ny""#);
    check("a: |\n  x\n  y\n", r#""x\ny\n""#);
    check("a: |-\n  x", "x");
    check("a: |+\n  x", "x");
    check("a: >\n  x\n  y", r#""x y""#);
    check("a: |\n  x\n    ", r#""x\n""#);
    check("a: x", "x");
    check("a: 'x\n\n  y'", r#""x\ny""#);
}

#[test]
fn what_the_parser_gives_up_on_is_refused() {
    for text in [
        "a: [!!str, b]",
        "a: \"\\",
        "a: \"\\x",
        "%TAG ! %",
        "a: !%",
        "!<",
        "a: \"x",
        "- |",
        "a: >",
        "? ",
        "&",
        "*",
        "!",
    ] {
        let mut found = Findings::default();
        let tree = documents(model::span::FileId(0), text, &mut found);
        assert!(tree.is_some() || found.has_errors(), "{text:?}");
    }
}

mod round_trip {
    use super::*;
    use proptest::prelude::*;

    fn shape() -> impl Strategy<Value = serde_json::Value> {
        use serde_json::Value;
        let leaf = prop_oneof![
            Just(Value::Null),
            any::<bool>().prop_map(Value::from),
            any::<i32>().prop_map(Value::from),
            ".{0,12}".prop_map(Value::from),
            "[ -~\n\t:#'\"]{0,8}".prop_map(Value::from),
            prop::sample::select(vec!["yes", "1.0", "0x1", "~", "- a", "a: b", "#", "", " x ", "..", "---"])
                .prop_map(Value::from),
        ];
        leaf.prop_recursive(4, 40, 5, |inner| {
            prop_oneof![
                prop::collection::vec(inner.clone(), 0..5).prop_map(Value::from),
                prop::collection::btree_map("[a-z :#\n]{1,6}|yes|5", inner, 0..5)
                    .prop_map(|m| Value::Object(m.into_iter().collect())),
            ]
        })
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(value in shape()) {
            let text = serde_json::to_string(&value).expect("values are JSON");
            let mut found = Findings::default();
            let file = model::span::FileId(0);
            // Legal in JSON; YAML has no place for most of them, and U+0085, U+2028 and U+2029 end its lines.
            let is_yaml =
                |c: char| !matches!(c, '\x7f'..='\u{9f}' | '\u{2028}' | '\u{2029}' | '\u{fffe}' | '\u{ffff}');
            let escaped = |c: char| if is_yaml(c) { c.to_string() } else { format!("\\u{:04x}", u32::from(c)) };
            let text: String = text.chars().map(escaped).collect();
            let node = parse(file, &text, &mut found).expect("JSON is YAML");
            let json = emit::json(&node);
            prop_assert_eq!(&serde_json::from_str::<serde_json::Value>(&json).expect("our JSON is JSON"), &value);
            let again = parse(file, &emit::yaml(&node), &mut found).expect("our YAML is YAML");
            prop_assert_eq!(emit::json(&again), json);
            prop_assert!(!found.has_errors());
        }

        #[test]
        fn any_text_is_read_or_refused(text in "\\PC{0,200}|[\\[\\]{}:,&*!|>'\"%@`#?\\- \n\ta-c<]{0,120}") {
            let mut found = Findings::default();
            let node = parse(model::span::FileId(0), &text, &mut found);
            prop_assert!(node.is_some() || found.has_errors() || !text.contains(|c: char| c.is_alphabetic()) || text.contains('#') || text.contains('%'));
        }
    }
}
