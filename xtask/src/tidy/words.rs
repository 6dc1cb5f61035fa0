//! Names that say nothing, and paths that only exist on one machine.

use super::{File, Finding};
use std::path::Path;

/// Module names under which anything could stand.
const EMPTY_NAMES: &[&str] = &["utils", "util", "helpers", "helper", "common", "misc"];

/// Where people keep checkouts. Written in two halves, so that this file passes its own rule.
const PLACES: &[&str] = &[concat!("/wo", "rk/"), concat!("/Use", "rs/")];

/// Who may look beside the checkout: other people's Compose files are not ours to keep here.
const MAY_LEAVE: &[&str] = &["crates/declare/tests/support/folder.rs"];

/// Findings in all files.
pub fn check(files: &[File]) -> Vec<Finding> {
    let crates: Vec<&Path> = files.iter().filter(|file| file.path.ends_with("Cargo.toml")).map(folder).collect();
    files.iter().flat_map(|file| named(file).into_iter().chain(placed(file)).chain(strayed(file, &crates))).collect()
}

fn folder(file: &File) -> &Path {
    file.path.parent().unwrap_or(Path::new(""))
}

/// Paths from a crate's own folder that climb out of the repository.
fn strayed(file: &File, crates: &[&Path]) -> Vec<Finding> {
    let own = file.path.ancestors().skip(1).find(|folder| crates.contains(folder));
    let is_judged = file.is_rust() && !MAY_LEAVE.iter().any(|path| file.path == Path::new(path));
    let (true, Some(own)) = (is_judged, own) else { return Vec::new() };
    let depth = own.components().count();
    let is_stray = |line: &str| line.contains("CARGO_MANIFEST_DIR") && line.matches("..").count() > depth;
    let lines = file.text.lines().enumerate().filter(|(_, line)| is_stray(line));
    lines
        .map(|(n, line)| Finding {
            file: file.path.clone(),
            line: n + 1,
            rule: "path out of the repository",
            what: format!("`{}` leaves the repository", line.trim()),
            cure: "put what it reads into the repository",
        })
        .collect()
}

fn named(file: &File) -> Option<Finding> {
    let is_empty = |part: &Path| part.file_stem().is_some_and(|stem| EMPTY_NAMES.iter().any(|name| stem == *name));
    let is_ours = file.is_rust() && file.path.ancestors().any(is_empty);
    is_ours.then(|| Finding {
        file: file.path.clone(),
        line: 0,
        rule: "empty name",
        what: "the name says nothing about what it owns".to_owned(),
        cure: "name it after what it owns, or move its functions to those who do",
    })
}

fn placed(file: &File) -> Vec<Finding> {
    let place = |line: &str| PLACES.iter().find(|place| line.contains(*place));
    let found = file.text.lines().enumerate().filter_map(|(n, line)| place(line).map(|place| (n + 1, place)));
    found
        .map(|(line, place)| Finding {
            file: file.path.clone(),
            line,
            rule: "path of one machine",
            what: format!("`{place}` exists on its author's machine only"),
            cure: "use a path from the repository's root, or a temporary folder",
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::super::{brief, file};
    use super::*;

    #[test]
    fn empty_names_are_found_in_files_and_folders() {
        let check = |path: &str| brief(&check(&[file(path, "")]));
        assert_eq!(check("crates/a/src/utils.rs"), ["crates/a/src/utils.rs:0 empty name"]);
        assert_eq!(check("crates/common/src/lib.rs"), ["crates/common/src/lib.rs:0 empty name"]);
        assert_eq!(check("crates/a/src/utilisation.rs"), Vec::<String>::new());
    }

    #[test]
    fn paths_that_climb_out_of_the_repository_are_found() {
        let check = |path: &str| {
            let line = format!("const A: &str = concat!(env!(\"CARGO_MANIFEST_DIR\"), \"{path}\");\n");
            let files = [file("Cargo.toml", ""), file("crates/a/Cargo.toml", ""), file("crates/a/tests/b.rs", &line)];
            brief(&check(&files))
        };
        assert_eq!(check("/../../docs"), Vec::<String>::new());
        assert_eq!(check("/../../../data"), ["crates/a/tests/b.rs:1 path out of the repository"]);
    }

    #[test]
    fn paths_of_one_machine_are_found() {
        let text = format!("fine\n{}x\n", PLACES[0]);
        assert_eq!(brief(&check(&[file("README.md", &text)])), ["README.md:2 path of one machine"]);
        assert_eq!(brief(&check(&[file("README.md", "a workplace, /workers/, target/work\n")])), Vec::<String>::new());
    }
}
