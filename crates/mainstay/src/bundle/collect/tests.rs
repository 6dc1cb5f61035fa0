use super::*;
use expect_test::{Expect, expect};
use std::fs;
use std::os::unix::fs::symlink;

const SMALL: Limits = Limits { file: 100, all: 150, count: 5 };

fn project() -> tempfile::TempDir {
    let root = tempfile::tempdir().expect("a temp folder");
    let write = |path: &str, text: &str| {
        let file = root.path().join(path);
        fs::create_dir_all(file.parent().expect("it has one")).expect("made");
        fs::write(file, text).expect("written");
    };
    write("web/index.html", "<h1>");
    write("web/js/app.js", "1");
    write("bin/api", "#!");
    write("other", "x");
    fs::set_permissions(root.path().join("bin/api"), fs::Permissions::from_mode(0o700)).expect("set");
    root
}

fn check(root: &Path, paths: &[&str], want: Expect) {
    let paths: Vec<String> = paths.iter().map(|path| (*path).to_owned()).collect();
    let lines: Vec<String> = match find(root, &paths, SMALL).and_then(|found| hash(&found)) {
        Ok(files) => files.iter().map(|f| format!("{} {:o} {} {}", f.path, f.mode, f.size, &f.digest[..8])).collect(),
        Err(problems) => problems.iter().map(ToString::to_string).collect(),
    };
    want.assert_eq(&lines.join("\n").replace(&root.display().to_string(), "ROOT"));
}

#[test]
fn files_and_folders_are_found_once_with_their_modes() {
    let root = project();
    check(
        root.path(),
        &["web", "bin/api", "web/index.html"],
        expect![[r#"
            bin/api 755 2 5771f17b
            web/index.html 644 4 0ca49a46
            web/js/app.js 644 1 d63bd9a8"#]],
    );
}

#[test]
fn links_are_followed_inside_and_refused_beyond() {
    let root = project();
    symlink("web/index.html", root.path().join("inside")).expect("linked");
    check(root.path(), &["inside"], expect!["inside 644 4 0ca49a46"]);
    symlink("/etc/passwd", root.path().join("web/passwd")).expect("linked");
    symlink("..", root.path().join("web/js/up")).expect("linked");
    check(
        root.path(),
        &["web"],
        expect![[r#"
            `web/passwd` leads to /etc/passwd, outside the project
            `web/js/up` is a link to a folder that holds it"#]],
    );
}

#[test]
fn all_problems_are_told_at_once() {
    let root = project();
    fs::create_dir(root.path().join("empty")).expect("made");
    fs::write(root.path().join("large"), "x".repeat(101)).expect("written");
    rustix::fs::mkfifoat(rustix::fs::CWD, root.path().join("pipe"), rustix::fs::Mode::RUSR).expect("made");
    check(
        root.path(),
        &["empty", "missing", "large", "pipe", "../no-such-neighbour"],
        expect![[r#"
            `empty` is an empty folder
            `missing` is not there
            `large` has 101 B, a file of a bundle has at most 100 B
            `pipe` is neither a file nor a folder
            `../no-such-neighbour` is not there"#]],
    );
}

#[test]
fn a_folder_named_by_mistake_ends_early() {
    let root = project();
    for n in 0..10 {
        fs::write(root.path().join(format!("web/{n}")), "").expect("written");
    }
    check(root.path(), &["web"], expect!["the bundle has more than 5 files, at most 5 are taken"]);
}
