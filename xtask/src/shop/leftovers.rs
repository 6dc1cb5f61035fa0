//! What a run leaves on the machine beside its processes: mounts (network namespaces are held by some), links, control
//! groups, rules.
//!
//! Others may use the machine meanwhile, Mainstay's own tests among them: only names that this run's daemon gives count,
//! and mounts below the stage's folder.

use crate::machine::{Process, complain};
use anyhow::{Context as _, ensure};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What is there of the daemon with this run folder, one line each.
pub fn of(stage: &Path, run: &Path) -> anyhow::Result<Vec<String>> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").context("read the mounts")?;
    let below = mounts.lines().filter_map(mount_point).filter(|at| Path::new(at).starts_with(stage));
    let mut found: Vec<String> = below.map(|at| format!("mount {at}")).collect();
    let tag = tag(run);
    let name = owner(run);
    // Of processes, and of containers.
    let links = [format!("ms{tag}"), format!("md{tag}")];
    let is_ours = |link: &String| links.iter().any(|own| link.starts_with(own));
    let ours = names("/sys/class/net").into_iter().filter(is_ours);
    found.extend(ours.map(|link| format!("link {link}")));
    found.extend(
        groups(Path::new("/sys/fs/cgroup"), &name, 4).into_iter().map(|group| format!("control group {group}")),
    );
    let tables = rules(&[name, format!("mainstay-docker-{tag}")])?;
    found.extend(tables.into_iter().map(|table| format!("nft {table}")));
    Ok(found)
}

/// What a daemon with a run folder of its own calls itself, on what it owns.
pub fn owner(run: &Path) -> String {
    format!("mainstay-{}", tag(run))
}

/// What a daemon with a run folder of its own has in its names.
pub fn tag(run: &Path) -> String {
    blake3::hash(run.as_os_str().as_encoded_bytes()).to_hex().chars().take(3).collect()
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

/// Control groups of this name, down to `depth` folders.
fn groups(folder: &Path, wanted: &str, depth: usize) -> Vec<String> {
    let mut found = Vec::new();
    for name in names(folder) {
        let path = folder.join(&name);
        // Links repeat controllers that are mounted together.
        if !path.is_dir() || path.is_symlink() {
            continue;
        }
        if name == wanted {
            found.push(path.display().to_string());
        }
        if depth > 1 {
            found.extend(groups(&path, wanted, depth - 1));
        }
    }
    found
}

/// Tables of these names in the machine's own network namespace.
fn rules(names: &[String]) -> anyhow::Result<Vec<String>> {
    let output = Command::new("nft").args(["list", "tables"]).output().context("run nft list tables")?;
    // Nothing read is not nothing there.
    ensure!(output.status.success(), "nft list tables: {}", String::from_utf8_lossy(&output.stderr).trim());
    let text = String::from_utf8_lossy(&output.stdout);
    let is_ours = |line: &&str| names.iter().any(|name| line.rsplit(' ').next() == Some(name));
    Ok(text.lines().filter(is_ours).map(str::to_owned).collect())
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
            complain(&format!("could not unmount {at}: {error}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_of_this_run_are_left_over_and_those_of_others_are_not() {
        let (stage, run) = (Path::new("/nowhere"), Path::new("/nowhere/run"));
        assert_eq!(tag(run).len(), 3);
        assert_eq!(of(stage, run).unwrap(), Vec::<String>::new());
        // A mount point of every machine stands for one that was left.
        assert!(of(Path::new("/proc"), run).unwrap().contains(&"mount /proc".to_owned()));
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
        let found = groups(folder.path(), "mainstay", 4);
        assert_eq!(found, [folder.path().join("cpu/mainstay").display().to_string()]);
    }
}
