//! What `README.md` shows is what a reader gets: the example's files, and the plan of its first `up`.

use crate::hut::Hut;
use std::path::Path;

const ROOT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");

fn read(name: &str) -> String {
    std::fs::read_to_string(Path::new(ROOT).join(name)).unwrap()
}

/// What stands between a line and the end of its code block.
#[track_caller]
fn block(readme: &str, after: &str) -> String {
    let (_, rest) = readme.split_once(after).unwrap_or_else(|| panic!("README.md shows no `{after}`"));
    rest.split_once("```").expect("a code block ends").0.trim_end().to_owned()
}

#[test]
fn the_policy_that_the_readme_shows_is_the_examples() {
    let (readme, policy) = (read("README.md"), read("examples/shop/mainstay.yaml"));
    let shown = block(&readme, "```yaml\n");
    assert!(policy.contains(&shown), "examples/shop/mainstay.yaml has no such lines:\n{shown}");
}

#[test]
fn the_plan_that_the_readme_shows_is_the_examples() {
    let hut = Hut::new();
    let copied = std::process::Command::new("cp")
        .arg("-r")
        .args(
            ["compose.yaml", "mainstay.yaml", "web", "nginx", "secrets"]
                .map(|name| Path::new(ROOT).join("examples/shop").join(name)),
        )
        .arg(hut.project())
        .status();
    assert!(copied.unwrap().success());
    // Planning does not ask what a program does, only that it is there.
    std::fs::create_dir_all(hut.project().join("target/release")).unwrap();
    for program in ["target/release/shop-api", "target/release/shop-worker"] {
        hut.write(program, "#!/bin/sh\n");
    }
    let plan = hut.run(&["plan", "--no-build"]).code(3);
    let (_, last) = plan.err.split_once("shop@development: ").unwrap_or_else(|| panic!("{plan:?}"));
    let shown = block(&read("README.md"), "$ mainstay plan\n");
    for part in [plan.out.trim(), last.trim()] {
        assert!(shown.contains(part), "README.md shows another plan than this:\n{part}");
    }
}
