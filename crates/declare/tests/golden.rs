//! Whole declarations: `tests/data/*.txt` hold files, a line `----`, and what comes of them.
//!
//! `UPDATE_EXPECT=1` rewrites the second half. Each case that loads also makes the round trip of a bundle.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]

mod support;

use mainstay_declare::declaration::without_places;
use mainstay_declare::{from_canonical, to_canonical};
use std::fmt::Write;
use std::path::Path;
use support::{Case, diagnostics};

const LINE: &str = "\n----\n";

fn outcome(case: &Case) -> String {
    let loaded = case.load();
    let mut out = diagnostics(&loaded);
    let Some(declared) = &loaded.declared else { return out };
    let canonical = to_canonical(declared);
    let project = from_canonical(&canonical).unwrap_or_else(|found| panic!("{found:#?}\n{canonical}"));
    assert_eq!(without_places(project), without_places(declared.project.clone()), "{canonical}");
    if !out.is_empty() {
        out.push('\n');
    }
    out.push_str(&declared.resolved.to_yaml(false));
    let paths = &declared.bundle_paths;
    if !paths.is_empty() {
        writeln!(out, "\nbundle: {}", paths.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
            .expect("text takes text");
    }
    for build in &declared.builds {
        writeln!(out, "build for {}: {:?}", build.services.join(", "), build.invocation).expect("text takes text");
    }
    out
}

#[test]
fn every_golden_file_comes_out_as_written() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data");
    let mut cases = 0;
    for entry in std::fs::read_dir(&folder).expect("tests/data exists") {
        let path = entry.expect("readable").path();
        let text = std::fs::read_to_string(&path).expect("UTF-8");
        let Some((input, expected)) = text.split_once(LINE) else { continue };
        cases += 1;
        let got = outcome(&Case::parse(&format!("{input}\n")));
        if std::env::var_os("UPDATE_EXPECT").is_some() {
            std::fs::write(&path, format!("{input}{LINE}{got}")).expect("writable");
        } else {
            assert!(got == expected, "{}: run with UPDATE_EXPECT=1 if this is right\n{got}", path.display());
        }
    }
    assert!(cases >= 8, "the golden files are not where they should be");
}

#[test]
fn a_start_may_take_as_long_as_its_probe_or_the_policy_says() {
    let case = Case::parse(
        "==> compose.yaml
services:
  usual: { image: redis }
  patient: { image: redis, healthcheck: { test: [CMD, a], start_period: 10m, interval: 5s, timeout: 1s, retries: 5 } }
  quick: { image: redis, healthcheck: { test: [CMD, a], start_period: 10m } }
==> mainstay.yaml
services: { quick: { ready_within: 20s } }
",
    );
    let loaded = case.load();
    let project = &loaded.declared.as_ref().unwrap_or_else(|| panic!("{}", diagnostics(&loaded))).project;
    let seconds: Vec<(String, u64)> =
        project.services.iter().map(|(name, service)| (name.to_string(), service.update.deadline.as_secs())).collect();
    assert_eq!(seconds, [("patient".into(), 630), ("quick".into(), 20), ("usual".into(), 120)]);
}
