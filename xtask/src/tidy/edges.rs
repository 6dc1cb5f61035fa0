//! Which crate may know which: arrows never turn back, siblings never cross.
//!
//! ```text
//! model ← declare, plan ← engine ← engines/* ← mainstay
//!       ← store, probe, apply ← server ← mainstay      runtime, shim, edge: know nobody
//! ```

use super::Finding;
use anyhow::Context as _;
use serde::Deserialize;

/// A crate of ours and what its code (not its tests) may use of ours.
const ALLOWED: &[(&str, &[&str])] = &[
    ("mainstay-model", &[]),
    ("mainstay-declare", &["mainstay-model"]),
    ("mainstay-plan", &["mainstay-model"]),
    ("mainstay-runtime", &[]),
    ("mainstay-network", &["mainstay-model", "mainstay-runtime"]),
    ("mainstay-shim", &[]),
    ("mainstay-edge", &[]),
    ("mainstay-engine", &["mainstay-model", "mainstay-plan"]),
    ("mainstay-store", &["mainstay-model", "mainstay-plan", "mainstay-runtime"]),
    ("mainstay-probe", &["mainstay-model", "mainstay-plan", "mainstay-runtime"]),
    (
        "mainstay-engine-process",
        &[
            "mainstay-model",
            "mainstay-plan",
            "mainstay-engine",
            "mainstay-network",
            "mainstay-runtime",
            "mainstay-shim",
        ],
    ),
    (
        "mainstay-engine-docker",
        &["mainstay-model", "mainstay-plan", "mainstay-engine", "mainstay-network", "mainstay-runtime"],
    ),
    ("mainstay-apply", &["mainstay-model", "mainstay-plan", "mainstay-engine", "mainstay-runtime"]),
    (
        "mainstay-server",
        &[
            "mainstay-model",
            "mainstay-declare",
            "mainstay-plan",
            "mainstay-engine",
            "mainstay-network",
            "mainstay-apply",
            "mainstay-store",
            "mainstay-edge",
            "mainstay-probe",
            "mainstay-runtime",
        ],
    ),
    (
        "mainstay",
        &[
            "mainstay-model",
            "mainstay-declare",
            "mainstay-engine",
            "mainstay-engine-docker",
            "mainstay-engine-process",
            "mainstay-edge",
            "mainstay-server",
            "mainstay-runtime",
        ],
    ),
    ("mainstay-testkit", &["mainstay-model", "mainstay-runtime"]),
    ("xtask", &[]),
];

/// Crates that decide: pure, so nothing that waits, reads files or asks the kernel.
const CORE: &[&str] = &["mainstay-model", "mainstay-declare", "mainstay-plan"];

/// What pure code has no use for.
const EFFECTS: &[&str] =
    &["tokio", "tokio-util", "hyper", "hyper-util", "axum", "rusqlite", "rustix", "libc", "tempfile", "tracing"];

/// One dependency.
#[derive(Debug, Clone, Deserialize)]
pub struct Edge {
    /// The dependency's package.
    name: String,
    /// None for ordinary ones, `dev`, `build`.
    kind: Option<String>,
    /// Its folder, when it is ours.
    path: Option<String>,
}

impl Edge {
    fn is_test(&self) -> bool {
        self.kind.as_deref() == Some("dev")
    }
}

/// A crate and its dependencies.
#[derive(Debug, Clone, Deserialize)]
pub struct Package {
    name: String,
    dependencies: Vec<Edge>,
}

/// Reads what `cargo metadata` printed.
pub fn read(metadata: &serde_json::Value) -> anyhow::Result<Vec<Package>> {
    let packages = metadata.get("packages").context("cargo metadata has no `packages`")?;
    Vec::deserialize(packages).context("read the packages of cargo metadata")
}

/// Edges that point the wrong way.
pub fn check(packages: &[Package]) -> Vec<Finding> {
    packages.iter().flat_map(check_package).collect()
}

fn check_package(package: &Package) -> Vec<Finding> {
    let Some((name, allowed)) = ALLOWED.iter().find(|(name, _)| *name == package.name) else {
        let what = format!("nobody has said what `{}` may use", package.name);
        return vec![finding("unplaced crate", what, "give it a line in ALLOWED, xtask/src/tidy/edges.rs")];
    };
    let is_core = CORE.contains(name);
    let wrong = |edge: &&Edge| {
        match (edge.path.is_some(), edge.is_test()) {
            (true, false) => !allowed.contains(&edge.name.as_str()),
            // Tests may use what lies beside them, but nothing drags the whole binary in, and core stays core.
            (true, true) => {
                !allowed.contains(&edge.name.as_str())
                    && edge.name != "mainstay-testkit"
                    && (is_core && !CORE.contains(&edge.name.as_str()) || edge.name == "mainstay")
            }
            (false, false) => is_core && EFFECTS.contains(&edge.name.as_str()),
            (false, true) => false,
        }
    };
    let describe = |edge: &Edge| {
        let what = format!("`{name}` must not use `{}`", edge.name);
        finding("forbidden dependency", what, "turn the arrow round: pass a value or a trait, or move the code")
    };
    let mut findings: Vec<Finding> = package.dependencies.iter().filter(wrong).map(describe).collect();
    let is_used = |other: &&str| package.dependencies.iter().any(|edge| edge.name == **other && !edge.is_test());
    findings.extend(allowed.iter().filter(|other| !is_used(other)).map(|other| {
        let what = format!("`{name}` may use `{other}` and does not");
        finding("loose rule", what, "take it out of ALLOWED, xtask/src/tidy/edges.rs: what nobody needs is not allowed")
    }));
    findings
}

fn finding(rule: &'static str, what: String, cure: &'static str) -> Finding {
    Finding { file: "Cargo.toml".into(), line: 0, rule, what, cure }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_one(name: &str, dependencies: serde_json::Value) -> Vec<String> {
        let metadata = serde_json::json!({ "packages": [{ "name": name, "dependencies": dependencies }] });
        let findings = check(&read(&metadata).unwrap()).into_iter();
        findings.filter(|finding| finding.rule != "loose rule").map(|finding| finding.what).collect()
    }

    fn ours(name: &str, kind: Option<&str>) -> serde_json::Value {
        serde_json::json!([{ "name": name, "kind": kind, "path": "/somewhere" }])
    }

    fn theirs(name: &str, kind: Option<&str>) -> serde_json::Value {
        serde_json::json!([{ "name": name, "kind": kind, "path": null }])
    }

    #[test]
    fn arrows_never_turn_back() {
        assert_eq!(check_one("mainstay-apply", ours("mainstay-plan", None)), Vec::<String>::new());
        let back = check_one("mainstay-plan", ours("mainstay-apply", None));
        assert_eq!(back, ["`mainstay-plan` must not use `mainstay-apply`"]);
        assert_eq!(check_one("mainstay-edge", ours("mainstay-model", None)).len(), 1);
        assert_eq!(check_one("mainstay-model", ours("mainstay-plan", Some("build"))).len(), 1);
    }

    #[test]
    fn an_arrow_that_nobody_needs_is_not_allowed() {
        let loose = |kind: Option<&str>| {
            let dependencies = ours("mainstay-model", kind);
            let metadata =
                serde_json::json!({ "packages": [{ "name": "mainstay-plan", "dependencies": dependencies }] });
            check(&read(&metadata).unwrap()).into_iter().map(|finding| finding.what).collect::<Vec<_>>()
        };
        assert_eq!(loose(None), Vec::<String>::new());
        assert_eq!(loose(Some("dev")), ["`mainstay-plan` may use `mainstay-model` and does not"]);
    }

    #[test]
    fn core_knows_no_effects_outside_its_tests() {
        assert_eq!(check_one("mainstay-declare", theirs("tokio", None)), ["`mainstay-declare` must not use `tokio`"]);
        assert_eq!(check_one("mainstay-declare", theirs("tokio", Some("dev"))), Vec::<String>::new());
        assert_eq!(check_one("mainstay-store", theirs("tokio", None)), Vec::<String>::new());
    }

    #[test]
    fn tests_may_use_the_testkit_but_never_the_binary() {
        assert_eq!(check_one("mainstay-plan", ours("mainstay-testkit", Some("dev"))), Vec::<String>::new());
        assert_eq!(check_one("mainstay-plan", ours("mainstay-apply", Some("dev"))).len(), 1);
        assert_eq!(check_one("mainstay-server", ours("mainstay", Some("dev"))).len(), 1);
        assert_eq!(check_one("mainstay-server", ours("mainstay-testkit", None)).len(), 1);
    }

    #[test]
    fn a_crate_nobody_placed_is_found() {
        assert_eq!(check_one("mainstay-new", serde_json::json!([])), ["nobody has said what `mainstay-new` may use"]);
    }
}
