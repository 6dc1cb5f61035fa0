//! The front end's files: their names tell their contents, and nothing in them needs a lax content security policy.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

fn web() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../web")
}

fn assets() -> Vec<PathBuf> {
    let entries = std::fs::read_dir(web().join("assets")).unwrap();
    entries.map(|entry| entry.unwrap().path()).collect()
}

#[test]
fn asset_names_carry_the_hash_of_their_contents() {
    for path in assets() {
        let output = Command::new("sha256sum").arg(&path).output().expect("coreutils has sha256sum");
        let hash = String::from_utf8(output.stdout).unwrap()[..8].to_owned();
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(name.contains(&format!(".{hash}.")), "{name} holds {hash}: rename it, here and in what names it");
    }
}

#[test]
fn every_asset_is_named_by_the_page_or_by_another_asset() {
    let page = std::fs::read_to_string(web().join("index.html")).unwrap();
    let texts: String =
        assets().iter().map(|path| std::fs::read_to_string(path).unwrap()).fold(page, |all, text| all + &text);
    for path in assets() {
        let name = path.file_name().unwrap().to_str().unwrap();
        assert!(texts.contains(&format!("/assets/{name}")), "{name} is used by nothing");
    }
    let named: BTreeSet<_> =
        texts.split("/assets/").skip(1).map(|rest| rest.split(['"', '\'', '#', ')', '`']).next().unwrap()).collect();
    for name in named {
        assert!(web().join("assets").join(name).exists(), "{name} is named but does not exist");
    }
}

#[test]
fn nothing_is_inline_and_no_other_host_is_named() {
    let page = std::fs::read_to_string(web().join("index.html")).unwrap();
    for forbidden in ["<style", " style=", "onclick", "onload", "javascript:", "http://", "https://"] {
        assert!(!page.contains(forbidden), "index.html has `{forbidden}`");
    }
    for script in page.split("<script").skip(1) {
        assert!(script.contains("src=") && script.contains("></script>"), "a script is inline: {script}");
    }
}
