//! What the machine has installed of the catalogue's programs. Looked up at every start: packages come and go.
#![expect(clippy::disallowed_methods, reason = "looks for the machine's programs")]

use crate::catalogue::{self, Entry, Installation, PATH};
use runtime::Clock;
use runtime::processes::Spawn;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Printing a version takes milliseconds.
const LIMIT: Duration = Duration::from_secs(10);
const MOST_WORDS: u64 = 4096;

/// The installations of an entry's program. One that does not tell its version is none.
pub(crate) async fn installed(clock: &dyn Clock, entry: &Entry) -> Vec<Installation> {
    let mut found = catalogue::versioned(entry, list);
    for dir in PATH.split(':') {
        // Links lead from here to the versioned folders, whose version is known without asking.
        let Ok(program) = std::fs::canonicalize(Path::new(dir).join(entry.program)) else { continue };
        let Some(bin) = program.parent().map(Path::to_owned) else { continue };
        if found.iter().any(|known| known.bin == bin) {
            continue;
        }
        let output = Spawn::new(program).args(["--version"]).output(clock, LIMIT, MOST_WORDS).await;
        let text = output.map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
        // The folder it was found in, not the one it leads to: the image's other programs lie beside the link.
        let bin = if bin.join(entry.program).exists() { bin } else { dir.into() };
        found.extend(text.ok().and_then(|text| catalogue::major_in(&text)).map(|major| Installation { bin, major }));
    }
    found
}

/// Whether a program without `/` is found in `path`.
pub(crate) fn is_in_path(program: &str, path: &str) -> bool {
    path.split(':').any(|dir| Path::new(dir).join(program).is_file())
}

fn list(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).into_iter().flatten();
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}
