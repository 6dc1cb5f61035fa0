//! Where other people's Compose files lie. They are not ours to keep here: they are looked for in the folder that
//! `MAINSTAY_COMPOSE_CORPUS` names, else beside the checkout; in CI they must be there.

use std::path::PathBuf;

const BESIDE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/data/compose");

/// The folder of the files; none where a checkout stands alone, which is said.
pub fn folder() -> Option<PathBuf> {
    let folder = std::env::var_os("MAINSTAY_COMPOSE_CORPUS").map_or_else(|| PathBuf::from(BESIDE), PathBuf::from);
    let found = std::fs::canonicalize(&folder);
    if let Err(error) = &found {
        assert!(std::env::var_os("CI").is_none(), "the Compose files must lie in {}: {error}", folder.display());
        eprintln!("NOT TESTED: other people's Compose files; name their folder in MAINSTAY_COMPOSE_CORPUS");
    }
    found.ok()
}
