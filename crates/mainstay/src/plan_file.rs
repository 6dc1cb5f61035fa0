//! Plan files: what `plan --out` keeps and `up --plan` does, or nothing.
//!
//! Holds no values: the bundle lies at the daemon, the file has its id and the plan's digest.

use crate::exit::Failure;
use serde::{Deserialize, Serialize};
use server::api::plan::PlanView;
use std::collections::BTreeMap;
use std::path::Path;

const VERSION: u32 = 1;

/// A kept plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PlanFile {
    /// Version of this form.
    pub version: u32,
    /// `project@environment`.
    pub stack: String,
    /// The bundle it was made for.
    pub bundle: String,
    /// The image of each service that it was made for.
    #[serde(default)]
    pub images: BTreeMap<String, String>,
    /// The project of another tool that is taken over with it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<String>,
    /// The state of the stack it was made for.
    pub basis: u64,
    /// Digest of the complete plan.
    pub digest: String,
    /// For people.
    pub text: Vec<String>,
}

impl PlanFile {
    /// The file of a plan.
    pub fn of(view: &PlanView, adopt: Option<String>, text: Vec<String>) -> Self {
        let PlanView { stack, bundle, images, basis, digest, .. } = view.clone();
        Self { version: VERSION, stack, bundle, images, adopt, basis, digest, text }
    }

    /// Writes it; a file that is there is replaced as a whole or not at all.
    pub fn write(&self, path: &Path) -> Result<(), Failure> {
        let mut text = serde_json::to_string_pretty(self).expect("plain data");
        text.push('\n');
        runtime::files::write(path, text.as_bytes(), 0o644)
            .map_err(|error| Failure::of(&error).help("name another file for `--out`"))
    }

    /// Reads one.
    pub fn read(path: &Path) -> Result<Self, Failure> {
        let wrong = |why: String| {
            Failure::usage(format!("{} is no plan that can be carried out", path.display()))
                .because(why)
                .help("make one with `mainstay plan --out FILE`")
        };
        let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
        let file: Self = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
        match file.version {
            VERSION => Ok(file),
            other => Err(wrong(format!("its version is {other}, this program reads {VERSION}"))),
        }
    }
}
