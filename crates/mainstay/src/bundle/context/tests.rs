use super::*;
use expect_test::{Expect, expect};
use std::fs;
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixListener;

const SMALL: Limits = Limits { all: 1000, count: 20 };

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temp folder");
    for (path, text) in files {
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().expect("it has one")).expect("made");
        fs::write(file, text).expect("written");
    }
    root
}

fn check(root: &Path, kept: &[&str], want: Expect) {
    let ignore = root.join(".dockerignore");
    let context = BuildContext {
        bundle: "place".into(),
        folder: root.display().to_string(),
        shown: "api".into(),
        ignore: ignore.exists().then(|| ignore.display().to_string()),
        kept: kept.iter().map(|path| (*path).to_owned()).collect(),
        services: ["one".to_owned(), "two".to_owned()].into(),
    };
    let mut lines: Vec<String> = match find(&[context], SMALL) {
        Ok(found) => found
            .iter()
            .map(|f| format!("{} {}{}", f.path, f.size, if f.executable { " executable" } else { "" }))
            .collect(),
        Err(problems) => problems.iter().map(|problem| format!("{problem}\n  {}", problem.cure())).collect(),
    };
    lines.sort();
    want.assert_eq(&lines.join("\n").replace(&root.display().to_string(), "ROOT"));
}

#[test]
fn what_is_not_left_out_goes_below_a_place_of_its_own() {
    let root = folder(&[
        (".dockerignore", "*\n!src\n**/*.log\n"),
        ("docker/Dockerfile", "FROM scratch"),
        ("docker/other", "x"),
        ("src/main.rs", "fn"),
        ("src/a/debug.log", "x"),
        ("node_modules/x/y", "x"),
    ]);
    fs::set_permissions(root.path().join("src/main.rs"), fs::Permissions::from_mode(0o700)).expect("set");
    check(
        root.path(),
        &[".dockerignore", "docker/Dockerfile"],
        expect![[r#"
            place/.dockerignore 16
            place/docker/Dockerfile 12
            place/src/main.rs 2 executable"#]],
    );
}

#[test]
fn links_are_followed_inside_and_refused_beyond_unless_they_are_left_out() {
    let root = folder(&[("a/x", "x"), ("Dockerfile", "")]);
    symlink("a", root.path().join("b")).expect("linked");
    symlink("../Dockerfile", root.path().join("a/y")).expect("linked");
    let _socket = UnixListener::bind(root.path().join("socket")).expect("bound");
    let inside = || {
        expect![[r#"
        place/Dockerfile 0
        place/a/x 1
        place/a/y 0
        place/b/x 1
        place/b/y 0"#]]
    };
    check(root.path(), &[], inside());
    symlink("/usr/bin/python3-nowhere", root.path().join("python")).expect("linked");
    symlink("..", root.path().join("a/up")).expect("linked");
    check(
        root.path(),
        &[],
        expect![[r#"
            `api/a/up` is a link to a folder that holds it
              put the files themselves where the link is
            `api/b/up` is a link to a folder that holds it
              put the files themselves where the link is
            `api/python` is a link to /usr/bin/python3-nowhere, which does not lie in `api`
              put the file itself there, or name the link in `.dockerignore`"#]],
    );
    fs::write(root.path().join(".dockerignore"), "python\n**/up\n.dockerignore").expect("written");
    check(root.path(), &[], inside());
}

#[test]
fn a_folder_that_is_too_large_tells_what_is_large_in_it() {
    let large = "x".repeat(400);
    let root = folder(&[
        ("web/app/node_modules/a/1", &large),
        ("web/app/node_modules/b/2", &large),
        ("web/app/src/3", "x"),
        ("data/4", &large),
        ("5", "x"),
    ]);
    check(
        root.path(),
        &[],
        expect![[r#"
            `api`, which `one`, `two` is built of, has 1.2 KiB, at most 1000 B are sent; most of it is `web/app/node_modules` 800 B, `data` 400 B
              name what the image does not need in `api/.dockerignore`, a line for each folder"#]],
    );
    (0..21).for_each(|n| fs::write(root.path().join(format!("data/n{n}")), "").expect("written"));
    fs::write(root.path().join(".dockerignore"), "web").expect("written");
    check(
        root.path(),
        &[],
        expect![[r#"
            `api`, which `one`, `two` is built of, has 24 files, at most 20 are sent; most of it is `data` 22 files
              name what the image does not need in `api/.dockerignore`, a line for each folder"#]],
    );
}

#[test]
fn a_folder_of_nothing_and_rules_that_cannot_be_read_are_said() {
    let root = folder(&[(".dockerignore", "*")]);
    check(
        root.path(),
        &[],
        expect![[r#"
            `api` has no file that an image could be built of
              correct `.dockerignore`, or the path of the context"#]],
    );
    fs::write(root.path().join(".dockerignore"), "[").expect("written");
    check(
        root.path(),
        &[],
        expect![[r#"
            `ROOT/.dockerignore`: line 1: `[` is no pattern: `[` without `]`
              correct the pattern"#]],
    );
}
