//! The rows that other tests show: `crate: test, test`, with ` [docker]` for one engine only, and below it the keys; ` beyond`
//! behind one: that a value beyond its limits is refused.

use super::proof::{Proofs, standing};
use declare::keys::compose::ENGINES;
use model::policy::EngineKind;
use std::path::Path;

/// Takes every row, and looks whether its test is there.
pub fn prove(text: &str, proofs: &mut Proofs) {
    let mut shown_by: Option<(String, Vec<EngineKind>)> = None;
    for line in text.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let Some(key) = line.strip_prefix("    ") else {
            let (test, engines) = match line.split_once(" [") {
                Some((test, engine)) => (test, vec![engine.trim_end_matches(']').parse().unwrap()]),
                None => (line, ENGINES.to_vec()),
            };
            if !is_there(test) {
                proofs.fail(format!("there is no test `{test}`"));
            }
            shown_by = Some((test.to_owned(), engines));
            continue;
        };
        let (test, engines) = shown_by.as_ref().expect("a test comes first");
        let (key, is_beyond) = key.strip_suffix(" beyond").map_or((key, false), |key| (key, true));
        for engine in engines {
            match standing(key, *engine) {
                Some(_) if is_beyond => proofs.say(key, *engine, true),
                Some(_) => proofs.name(key, *engine, test),
                None => proofs.fail(format!("`{key}` is in no row of the table")),
            }
        }
    }
}

/// Whether a crate has tests of these names.
fn is_there(tests: &str) -> bool {
    let (package, names) = tests.split_once(": ").expect("`crate: test`");
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let folder = match package.strip_prefix("engine-") {
        Some(engine) => crates.join("engines").join(engine),
        None => crates.join(package),
    };
    names.split(", ").all(|name| has(&folder, &format!("fn {name}(")))
}

fn has(folder: &Path, text: &str) -> bool {
    std::fs::read_dir(folder).unwrap().any(|entry| {
        let path = entry.unwrap().path();
        if path.is_dir() {
            return has(&path, text);
        }
        path.extension().is_some_and(|end| end == "rs") && std::fs::read_to_string(&path).unwrap().contains(text)
    })
}
