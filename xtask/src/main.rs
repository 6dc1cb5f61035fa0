//! Tasks of the repository: `tidy` holds its rules, `demo` shows the main job, `bench` measures against goals.
//!
//! Nothing of the product lives here, and nothing here knows the product's insides: `demo` and `bench` drive the
//! real binary from outside. Start at [`Task`]; people call these through `./dev`.

mod bench;
mod demo;
mod load;
mod machine;
mod shop;
mod tidy;

use clap::Parser;
use std::path::Path;
use std::process::ExitCode;

/// What to do.
#[derive(Debug, Parser)]
#[command(name = "xtask", about = "Tasks of the repository", disable_help_subcommand = true)]
enum Task {
    /// Checks the rules of the repository that no compiler checks.
    Tidy,
    /// Runs the main job on a copy of the example shop, under load.
    Demo(demo::Options),
    /// Measures against goals and peers.
    Bench(bench::Options),
}

fn main() -> ExitCode {
    let outcome = match Task::parse() {
        Task::Tidy => tidy::run(root()),
        Task::Demo(options) => demo::run(root(), &options),
        Task::Bench(options) => bench::run(root(), &options),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The checkout this was built from.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the root of the repository")
}
