//! What a run leaves on the machine beside its processes: mounts, network namespaces, control groups, links, rules.
//!
//! The machine is read before and after; what is new and ours is left over. Others may use the machine meanwhile, so
//! only names that Mainstay gives count, and mounts below the stage's folder.

use crate::machine::Process;
use anyhow::Context as _;
use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What names of ours have in them.
const OURS: &[&str] = &["mainstay", "shop", "ms-", "ms_"];

/// Things of ours on the machine, one line each.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Machine(BTreeSet<String>);

impl Machine {
    /// Reads the machine.
    pub fn read(stage: &Path) -> anyhow::Result<Self> {
        let mut found = BTreeSet::new();
        let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
        let below = mounts.lines().filter_map(mount_point).filter(|at| Path::new(at).starts_with(stage));
        found.extend(below.map(|at| format!("mount {at}")));
        for folder in ["/run/netns", "/var/run/netns"] {
            found
                .extend(names(folder).into_iter().filter(|name| is_ours(name)).map(|name| format!("namespace {name}")));
        }
        found.extend(names("/sys/class/net").into_iter().map(|name| format!("link {name}")));
        found.extend(groups(Path::new("/sys/fs/cgroup"), 4).into_iter().map(|name| format!("control group {name}")));
        found.extend(rules()?.into_iter().map(|name| format!("nft {name}")));
        Ok(Self(found))
    }

    /// What is here and was not there before.
    pub fn since(&self, before: &Self) -> Vec<String> {
        self.0.difference(&before.0).cloned().collect()
    }
}

fn is_ours(name: &str) -> bool {
    OURS.iter().any(|part| name.contains(part))
}

/// The fifth field, with the blanks that the kernel wrote as `\040`.
fn mount_point(line: &str) -> Option<String> {
    Some(line.split(' ').nth(4)?.replace("\\040", " "))
}

/// Names in a folder; none where there is no folder.
fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

/// Control groups of ours, down to `depth` folders.
fn groups(folder: &Path, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        // Links repeat controllers that are mounted together.
        if !path.is_dir() || path.is_symlink() {
            continue;
        }
        if is_ours(&name) {
            found.push(path.display().to_string());
        }
        if depth > 1 {
            found.extend(groups(&path, depth - 1));
        }
    }
    found
}

/// Tables of ours in the machine's own network namespace.
fn rules() -> anyhow::Result<Vec<String>> {
    let output = Command::new("nft").args(["list", "tables"]).output().context("run nft list tables")?;
    let text = String::from_utf8_lossy(&output.stdout);
    Ok(text.lines().filter(|line| is_ours(line)).map(str::to_owned).collect())
}

/// Processes that hold something below a folder open, or run a program there.
pub fn processes_below(folder: &Path) -> Vec<Process> {
    let holds = |pid: i32| {
        let own = PathBuf::from(format!("/proc/{pid}"));
        let open = names(own.join("fd")).into_iter().map(|name| own.join("fd").join(name));
        // What is gone meanwhile, or is the kernel's own, leads nowhere.
        open.chain([own.join("cwd"), own.join("exe")])
            .any(|link| fs::read_link(link).is_ok_and(|to| to.starts_with(folder)))
    };
    let me = i32::try_from(std::process::id()).unwrap_or_default();
    let pids = names("/proc").into_iter().filter_map(|name| name.parse().ok());
    pids.filter(|pid| *pid != me && holds(*pid)).filter_map(Process::with_pid).collect()
}

/// Takes mounts below a folder away, the deepest first. For the way out after a failure.
pub fn unmount_below(folder: &Path) {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else { return };
    for at in mounts.lines().rev().filter_map(mount_point).filter(|at| Path::new(at).starts_with(folder)) {
        if let Err(error) = rustix::mount::unmount(&at, rustix::mount::UnmountFlags::DETACH) {
            eprintln!("could not unmount {at}: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_difference_is_what_is_left_over() {
        let machine = |lines: &[&str]| Machine(lines.iter().map(|line| (*line).to_owned()).collect());
        let before = machine(&["link lo", "link gone"]);
        assert_eq!(machine(&["link lo", "mount /x"]).since(&before), ["mount /x"]);
    }

    #[test]
    fn mount_points_are_the_fifth_field() {
        let line = "36 35 98:0 /mnt1 /mnt/a\\040b rw,noatime master:1 - ext3 /dev/root rw";
        assert_eq!(mount_point(line).as_deref(), Some("/mnt/a b"));
    }

    #[test]
    fn a_process_that_holds_a_file_below_is_found() {
        let folder = tempfile::tempdir().unwrap();
        let log = fs::File::create(folder.path().join("log")).unwrap();
        let mut child = Command::new("sleep").arg("60").stdout(log).spawn().unwrap();
        let found = processes_below(folder.path());
        child.kill().unwrap();
        child.wait().unwrap();
        assert_eq!(found.iter().map(|process| process.pid).collect::<Vec<_>>(), [i32::try_from(child.id()).unwrap()]);
    }

    #[test]
    fn groups_of_ours_are_found_at_any_depth() {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("cpu/mainstay/x")).unwrap();
        fs::create_dir_all(folder.path().join("cpu/other")).unwrap();
        let found = groups(folder.path(), 4);
        assert_eq!(found, [folder.path().join("cpu/mainstay").display().to_string()]);
    }
}
