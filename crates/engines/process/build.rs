//! Builds the shim as a small executable of its own, to be carried inside the daemon's.
//!
//! A nested Cargo with its own target folder: the outer one holds the lock of its own. It needs no network, for the
//! shim's library is a dependency of this crate, so everything it needs has been fetched already.
#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_macros,
    reason = "a build script talks to cargo and the machine"
)]

use std::env;
use std::path::PathBuf;
use std::process::Command;

fn main() {
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo sets it"));
    let here = PathBuf::from(env::var_os("CARGO_MANIFEST_DIR").expect("cargo sets it"));
    let workspace = here.join("../../..").canonicalize().expect("this crate lies three folders below the workspace");
    for path in ["crates/shim/src", "crates/shim/Cargo.toml", "Cargo.toml", "Cargo.lock", ".cargo/config.toml"] {
        println!("cargo:rerun-if-changed={}", workspace.join(path).display());
    }
    println!("cargo:rerun-if-changed=build.rs");
    let target = env::var("TARGET").expect("cargo sets it");
    let folder = out.join("shim-target");
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.current_dir(&workspace).args([
        "build",
        "--quiet",
        "--offline",
        "--profile",
        "shim",
        "--package",
        "mainstay-shim",
    ]);
    cargo.args(["--bin", "mainstay-shim", "--target", &target]).arg("--target-dir").arg(&folder);
    // What the outer build says to its own compilers (wrappers such as clippy's, coverage flags, features) is not
    // for this one; where Cargo and its toolchain live is.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        let is_cargos = text.starts_with("CARGO") || text.starts_with("RUSTC") || text.ends_with("RUSTFLAGS");
        let is_place = ["CARGO_HOME", "RUSTC"].contains(&&*text);
        let is_profile = ["OUT_DIR", "TARGET", "HOST", "PROFILE", "OPT_LEVEL", "DEBUG", "NUM_JOBS"].contains(&&*text);
        if (is_cargos && !is_place) || is_profile {
            cargo.env_remove(&name);
        }
    }
    let status = cargo.status().expect("cargo can be started");
    assert!(status.success(), "the shim could not be built: {status}");
    let shim = folder.join(&target).join("shim/mainstay-shim");
    println!("cargo:rustc-env=MAINSTAY_SHIM={}", shim.display());
}
