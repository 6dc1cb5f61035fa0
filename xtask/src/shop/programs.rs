//! Programs of the workspace, built when they are needed.

use anyhow::{Context as _, ensure};
use std::path::{Path, PathBuf};
use std::process::Command;

/// How a program is built.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Profile {
    /// As tests build it: what the demo shows is what the tests tested.
    Dev,
    /// As users get it.
    Release,
}

/// Builds the `mainstay` binary and says where it lies.
pub fn build(root: &Path, profile: Profile) -> anyhow::Result<PathBuf> {
    let mut arguments = vec!["build", "--quiet", "--workspace", "--bins", "--message-format=json-render-diagnostics"];
    if profile == Profile::Release {
        arguments.push("--release");
    }
    executable(root, &arguments, "mainstay")
}

/// Runs cargo and finds the executable `name` among what it built.
pub fn executable(root: &Path, arguments: &[&str], name: &str) -> anyhow::Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let output = Command::new(cargo)
        .args(arguments)
        .current_dir(root)
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("run cargo")?;
    ensure!(output.status.success(), "`cargo {}` failed", arguments.join(" "));
    let messages = String::from_utf8_lossy(&output.stdout);
    find(&messages, name).with_context(|| format!("`cargo {}` built no `{name}`", arguments.join(" ")))
}

fn find(messages: &str, name: &str) -> Option<PathBuf> {
    messages.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok()).find_map(|message| {
        let is_it = message["reason"] == "compiler-artifact" && message["target"]["name"] == name;
        is_it.then(|| message["executable"].as_str().map(PathBuf::from))?
    })
}

/// Where cargo keeps what it compiles on the way, for the shop's builds: none if cargo's own default serves.
pub fn build_folder() -> Option<PathBuf> {
    let shared = std::env::var_os("CARGO_BUILD_BUILD_DIR").map(PathBuf::from);
    shared.or_else(|| Some(PathBuf::from(std::env::var_os("CARGO_TARGET_DIR")?).join("shop")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_executable_is_found_among_cargos_messages() {
        let messages = "not json\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"other\"},\"executable\":\"/x/other\"}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"mainstay\"},\"executable\":null}\n\
            {\"reason\":\"compiler-artifact\",\"target\":{\"name\":\"mainstay\"},\"executable\":\"/x/mainstay\"}\n";
        assert_eq!(find(messages, "mainstay"), Some(PathBuf::from("/x/mainstay")));
        assert_eq!(find(messages, "shim"), None);
    }
}
