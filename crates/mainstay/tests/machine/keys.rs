//! The conformance suite of keys: what `docs/conformance.md` says of each key holds on the engine.
//!
//! - `keys/*.keys`: projects that run on the engines, and what their replicas then show ([`script`], [`live`]);
//! - `keys/said.cases`: what is said of keys without effect, refused ones and values beyond limits ([`said`]);
//! - `keys/elsewhere.txt`: rows that other tests show, by the names of those tests ([`elsewhere`]);
//! - `keys/head.md` and what came of all that make the page ([`page`]).
//!
//! A row that nothing shows fails, and so does a case of a key that is in no row. `KEYS=networks` runs the scripts whose
//! names begin so, and looks at nothing else; `UPDATE_EXPECT=1` writes the page.

mod elsewhere;
mod live;
mod page;
mod proof;
mod said;
mod script;

use proof::{Proofs, column};
use script::Script;
use std::cmp::Reverse;
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

const FOLDER: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/machine/keys");

/// How many projects go up at a time.
const AT_ONCE: usize = 3;

#[test]
fn every_key_is_what_the_page_says_of_it() {
    let chosen = std::env::var("KEYS").ok();
    let scripts: Vec<Script> = names()
        .iter()
        .filter(|name| chosen.as_ref().is_none_or(|chosen| name.starts_with(chosen.as_str())))
        .map(|name| Script::parse(name.trim_end_matches(".keys"), &text(name)))
        .collect();
    let mut proofs = run(&scripts);
    if chosen.is_none() {
        said::prove(&text("said.cases"), &mut proofs);
        elsewhere::prove(&text("elsewhere.txt"), &mut proofs);
        proofs.must_be_whole();
    }
    proofs.must_have_held();
    if chosen.is_none() {
        page::hold(&text("head.md"), &proofs);
    }
}

/// The scripts; each is a project of its own on each of its engines.
fn names() -> Vec<String> {
    let entries = std::fs::read_dir(FOLDER).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.filter(|name| name.ends_with(".keys")).collect();
    names.sort_unstable();
    names
}

fn text(name: &str) -> String {
    std::fs::read_to_string(Path::new(FOLDER).join(name)).unwrap()
}

/// All scripts on all of their engines.
fn run(scripts: &[Script]) -> Proofs {
    let mut jobs: Vec<_> = scripts.iter().flat_map(|script| script.engines.iter().map(move |e| (script, *e))).collect();
    // The longest first, so that nothing waits for one of them in the end.
    jobs.sort_by_key(|(script, engine)| Reverse((column(*engine), script.size())));
    let (next, proofs) = (AtomicUsize::new(0), Mutex::new(Proofs::default()));
    std::thread::scope(|scope| {
        let work = || {
            while let Some((script, engine)) = jobs.get(next.fetch_add(1, Ordering::Relaxed)) {
                let found = std::panic::catch_unwind(|| live::run(script, *engine));
                let found = found.unwrap_or_else(|_| Proofs::failed(format!("{} on {engine}: see above", script.name)));
                proofs.lock().unwrap().extend(found);
            }
        };
        (0..AT_ONCE).for_each(|_| drop(scope.spawn(work)));
    });
    proofs.into_inner().unwrap()
}
