//! Carries the pages of `docs/errors` into the binary, for `mainstay explain`.
//!
//! Writes one table: code, text. A page that is added or changed is there after the next build.
#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a build script speaks to cargo by these")]

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

fn main() {
    let manifest = std::env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it");
    let folder = Path::new(&manifest).join("../../docs/errors");
    println!("cargo::rerun-if-changed={}", folder.display());
    let mut pages: Vec<PathBuf> = match std::fs::read_dir(&folder) {
        Ok(entries) => entries.filter_map(Result::ok).map(|entry| entry.path()).collect(),
        Err(error) => panic!("{}: {error}", folder.display()),
    };
    pages.retain(|path| path.extension().is_some_and(|extension| extension == "md"));
    pages.sort();

    let mut table =
        String::from("/// Code and text of every page, sorted by code.\npub const PAGES: &[(&str, &str)] = &[\n");
    for page in pages {
        let code = page.file_stem().and_then(|stem| stem.to_str()).expect("a page is called MSnnnn.md");
        let path = page.canonicalize().expect("it was just listed");
        writeln!(table, "    ({code:?}, include_str!({path:?})),").expect("a String takes everything");
    }
    table.push_str("];\n");
    let out = std::env::var_os("OUT_DIR").expect("cargo sets it");
    std::fs::write(Path::new(&out).join("pages.rs"), table).expect("cargo's own folder can be written");
}
