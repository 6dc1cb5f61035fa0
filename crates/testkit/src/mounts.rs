//! Small and read-only disks.

#![expect(clippy::disallowed_methods, reason = "sets the scene on the real machine")]

use std::path::Path;
use std::process::Command;
use tempfile::TempDir;

/// A file system in memory with the given options, unmounted when dropped. Needs root.
#[derive(Debug)]
pub struct Tmpfs {
    dir: TempDir,
}

impl Tmpfs {
    /// Mounts one, e.g. with `size=64k` or `size=64k,ro`.
    ///
    /// Panics when it cannot be mounted: a test that needs it must not pass without it.
    pub fn mount(options: &str) -> Self {
        let dir = tempfile::tempdir().expect("a temporary folder can be made");
        run("mount", &["-t", "tmpfs", "-o", options, "mainstay-test", text(dir.path())]);
        Self { dir }
    }

    /// Makes it read-only or writable again.
    pub fn remount(&self, options: &str) {
        run("mount", &["-o", &format!("remount,{options}"), text(self.path())]);
    }

    /// Where it is mounted.
    pub fn path(&self) -> &Path {
        self.dir.path()
    }
}

impl Drop for Tmpfs {
    fn drop(&mut self) {
        // Lazily, so that a file still open in the test does not keep the mount.
        run("umount", &["-l", text(self.dir.path())]);
    }
}

fn text(path: &Path) -> &str {
    path.to_str().expect("temporary folders have plain names")
}

fn run(program: &str, args: &[&str]) {
    let status = Command::new(program).args(args).status().expect("mount and umount are installed");
    assert!(status.success(), "`{program} {}` failed ({status}): this test needs root", args.join(" "));
}
