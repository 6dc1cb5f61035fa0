//! Whole declarations: `tests/data/*.txt` hold files, a line `----`, and what comes of them.
//!
//! `UPDATE_EXPECT=1` rewrites the second half. Each case that loads also makes the round trip of a bundle.

#![allow(clippy::disallowed_methods, reason = "tests read and update their own files")]

mod support;

use mainstay_declare::declaration::without_places;
use mainstay_declare::{from_canonical, to_canonical};
use std::fmt::Write;
use support::{Case, diagnostics};

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
    out.push_str(&declared.resolved.to_yaml(false, None));
    let paths = &declared.bundle_paths;
    if !paths.is_empty() {
        writeln!(out, "\nbundle: {}", paths.iter().map(String::as_str).collect::<Vec<_>>().join(" "))
            .expect("text takes text");
    }
    for context in &declared.contexts {
        let kept: Vec<&str> = context.kept.iter().map(String::as_str).collect();
        let (place, folder, ignore) = (&context.bundle, &context.folder, &context.ignore);
        writeln!(out, "context {place}: {folder} without {ignore:?}, with {}", kept.join(" "))
            .expect("text takes text");
    }
    for build in &declared.builds {
        writeln!(out, "build for {}: {:?}", build.services.join(", "), build.invocation).expect("text takes text");
    }
    out
}

#[test]
fn every_golden_file_comes_out_as_written() {
    let cases = support::golden("tests/data", outcome);
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

#[test]
fn open_secrets_are_starred_in_what_is_shown() {
    let loaded = Case::parse(
        "==> compose.yaml
services:
  a: { image: \"redis:7\", environment: { A_TOKEN: \"hüntér\", LEVEL: info, B_SECRET: two } }
  b: { image: \"redis:7\", environment: [DB_PASSWORD=three, LEVEL=info] }
",
    )
    .load();
    let shown = loaded.sources.iter().next().expect("one file").1.text.clone();
    assert_eq!(
        &*shown,
        "services:
  a: { image: \"redis:7\", environment: { A_TOKEN: **********, LEVEL: info, B_SECRET: *** } }
  b: { image: \"redis:7\", environment: [*****************, LEVEL=info] }
"
    );
}

#[test]
fn many_open_secrets_cost_no_more_than_reading_them() {
    let mut text = String::from("services:\n  a:\n    image: redis:7\n    environment:\n");
    (0..100_000).for_each(|n| text.push_str(&format!("      S{n}_TOKEN: a-secret-that-stands-in-the-file\n")));
    let case =
        Case { files: mainstay_declare::MemoryFiles::new().with("/srv/demo/compose.yaml", text), ..Case::default() };
    let loaded = case.load();
    assert!(loaded.declared.is_some());
    assert!(!loaded.sources.iter().any(|(_, source)| source.text.contains("a-secret")));
}
