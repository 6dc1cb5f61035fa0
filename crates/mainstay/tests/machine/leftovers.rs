//! What a daemon's stacks have on the machine beside files: mounts, links, control groups, rules.

use model::fingerprint::short_hash;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Everything below `folder` or with `tag` in its name, one line each.
pub fn of(folder: &Path, tag: &str) -> Vec<String> {
    let mut found = mounts(folder);
    let links = names("/sys/class/net")
        .into_iter()
        .filter(|name| ["ms", "md"].iter().any(|kind| name.starts_with(&format!("{kind}{tag}"))));
    found.extend(links.map(|name| format!("link {name}")));
    let name = format!("mainstay-{tag}");
    found.extend(groups(&name).into_iter().map(|path| format!("control group {}", path.display())));
    let output = Command::new("nft").args(["list", "tables"]).output().expect("nft");
    let tables = String::from_utf8_lossy(&output.stdout).into_owned();
    let of_docker = format!("mainstay-docker-{tag}");
    let names = [name, of_docker, table("balances", folder), table("detours", folder)];
    let is_ours = |line: &&str| names.iter().any(|name| line.ends_with(name));
    found.extend(tables.lines().filter(is_ours).map(str::to_owned));
    found
}

/// The table of packet rules that leads connections for the daemon whose run folder this is.
pub fn table(what: &str, run: &Path) -> String {
    format!("mainstay-{what}-{}", short_hash(run.to_string_lossy().as_bytes()))
}

fn mounts(folder: &Path) -> Vec<String> {
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let points = table.lines().filter_map(|line| line.split(' ').nth(4));
    points.filter(|at| Path::new(at).starts_with(folder)).map(|at| format!("mount {at}")).collect()
}

fn groups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut roots = vec![PathBuf::from("/sys/fs/cgroup")];
    roots.extend(names("/sys/fs/cgroup").iter().map(|root| Path::new("/sys/fs/cgroup").join(root)));
    for root in roots.iter().filter(|root| !root.is_symlink()) {
        let group = root.join(name);
        // The group of a daemon's own may stay; those of replicas lie below.
        found.extend(names(&group).iter().map(|below| group.join(below)).filter(|path| path.is_dir()));
    }
    found
}

fn names(folder: impl AsRef<Path>) -> Vec<String> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
