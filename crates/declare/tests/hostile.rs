//! Hostile and broken input: always an answer, never a panic, never much memory.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]

mod support;

use mainstay_declare::declaration::without_places;
use mainstay_declare::{MemoryFiles, from_canonical, to_canonical, to_yaml};
use proptest::prelude::*;
use support::Case;

fn files() -> Vec<(String, String)> {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data");
    let mut all = Vec::new();
    for name in ["shop", "overrides", "mistakes", "binary", "profiles", "interpolation", "stores", "jobs"] {
        let text = std::fs::read_to_string(format!("{folder}/{name}.txt")).expect("the golden file exists");
        let input = text.split("\n----\n").next().expect("there is a first part");
        for section in input.split("==> ").skip(1) {
            let (path, content) = section.split_once('\n').unwrap_or((section, ""));
            all.push((path.trim().to_owned(), content.to_owned()));
        }
    }
    all
}

fn code_of(compose: impl AsRef<[u8]>) -> &'static str {
    let case = Case { files: MemoryFiles::new().with("/srv/demo/compose.yaml", compose), ..Case::default() };
    let loaded = case.load();
    assert!(loaded.declared.is_none(), "must be refused");
    loaded.diagnostics.iter().find(|d| d.is_error()).expect("there is an error").code
}

#[test]
fn hostile_files_are_refused_with_a_code() {
    assert_eq!(code_of("[".repeat(100_000)), "MS0003");
    assert_eq!(code_of("a: ".repeat(100_000)), "MS0001");
    assert_eq!(code_of(b"services: \xff\xfe"), "MS0002");
    assert_eq!(code_of(b"services:\0"), "MS0002");
    assert_eq!(code_of(b"\xfe\xff\0s"), "MS0002");
    assert_eq!(code_of("services:\n\ta: {}"), "MS0001");
    assert_eq!(code_of("- a"), "MS0015");
    assert_eq!(code_of("services: [a]"), "MS0015");
    assert_eq!(code_of("services: {a: {image: x, ports: ['1-65535:1-65535', '1-65535', '1-9']}}"), "MS0003");
    let long = format!("x-a: &a \"{}\"\nservices: {{a: {{image: x, command: [*a]}}}}", "$X".repeat(1_000_000));
    let case = Case {
        files: MemoryFiles::new().with("/srv/demo/compose.yaml", long),
        process_env: [("X".to_owned(), "x".repeat(100_000))].into(),
        ..Case::default()
    };
    let loaded = case.load();
    assert!(loaded.diagnostics.iter().any(|d| d.code == "MS0034"), "{:?}", loaded.diagnostics);
}

#[test]
fn a_chain_of_ten_thousand_services_is_legal() {
    let mut text = String::from("services:\n  s0: {image: x}\n");
    for n in 1..10_000 {
        text.push_str(&format!("  s{n}: {{image: x, depends_on: [s{}]}}\n", n - 1));
    }
    let case = Case { files: MemoryFiles::new().with("/srv/demo/compose.yaml", text), ..Case::default() };
    assert!(case.load().declared.is_some());
}

/// Cuts, doubles and replaces parts of a text.
fn mutated(text: &[u8], edits: &[(usize, usize, u8, Vec<u8>)]) -> Vec<u8> {
    let mut text = text.to_vec();
    for (at, len, kind, bytes) in edits {
        let start = at % (text.len() + 1);
        let end = (start + len).min(text.len());
        match kind % 4 {
            0 => drop(text.drain(start..end)),
            1 => drop(text.splice(start..end, bytes.iter().copied())),
            2 => {
                let part = text[start..end].to_vec();
                text.splice(start..start, part);
            }
            _ => drop(text.splice(start..start, bytes.iter().copied())),
        }
    }
    text
}

fn edits() -> impl Strategy<Value = Vec<(usize, usize, u8, Vec<u8>)>> {
    let bytes = prop_oneof![
        prop::collection::vec(any::<u8>(), 0..4),
        prop::sample::select(vec![
            ": ", "- ", "[", "]", "{", "}", "\n", "\"", "'", "$", "${", "&a", "*a", "<<: ", "#", "!reset "
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
        prop::sample::select(vec![
            "null",
            "-1",
            "0",
            "99999999999999999999",
            "1e999",
            "true",
            "0x",
            "~",
            "9999999h",
            "\u{feff}"
        ])
        .prop_map(|s| s.as_bytes().to_vec()),
    ];
    prop::collection::vec((any::<usize>(), 0..12usize, any::<u8>(), bytes), 1..6)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn mutations_of_real_files_never_panic_and_what_loads_travels(pick in any::<prop::sample::Index>(), edits in edits()) {
        let all = files();
        let (path, text) = pick.get(&all);
        let changed = mutated(text.as_bytes(), &edits);
        let compose = "services: {a: {image: x, env_file: api.env}}";
        let case = Case {
            files: MemoryFiles::new()
                .with("/srv/demo/compose.yaml", compose)
                .with("/srv/demo/api.env", "A=1")
                .with("/srv/demo/web/index.html", "x")
                .with("/srv/demo/password.txt", "x")
                .with(&format!("/srv/demo/{path}"), changed),
            ..Case::default()
        };
        let loaded = case.load();
        for d in &loaded.diagnostics {
            for label in &d.labels {
                let (line, _) = loaded.sources.position(label.span);
                prop_assert!(line > 0);
            }
        }
        prop_assert!(loaded.declared.is_some() || loaded.diagnostics.iter().any(|d| d.is_error()));
        if let Some(declared) = &loaded.declared {
            let canonical = to_canonical(declared);
            let project = from_canonical(&canonical).unwrap_or_else(|found| panic!("{found:#?}\n{canonical}"));
            prop_assert_eq!(without_places(project), without_places(declared.project.clone()));
            to_yaml(declared, true);
        }
    }
}
