//! Templates for this crate's tests.

use model::project::{Limits, Runs, Template};
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

/// A process without anything.
pub(crate) fn template(argv: &[&str]) -> Template {
    let command = argv.iter().map(|word| (*word).to_owned()).collect();
    Template {
        runs: Runs::Process { command, artifacts: Vec::new() },
        environment: BTreeMap::new(),
        working_dir: None,
        user: None,
        hostname: None,
        mounts: Vec::new(),
        files: Vec::new(),
        networks: BTreeMap::new(),
        extra_hosts: BTreeMap::new(),
        limits: Limits::default(),
        cap_add: BTreeSet::new(),
        cap_drop: BTreeSet::new(),
        read_only: false,
        stop_signal: None,
        stop_grace: Duration::from_secs(10),
        labels: BTreeMap::new(),
    }
}
