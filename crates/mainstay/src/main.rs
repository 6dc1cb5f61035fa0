//! The `mainstay` binary: one program for the command line, the daemon and the data plane.
//!
//! `main` reads as the life of the process: arguments → settings → one of three kinds of process → exit code.
//! Start with [`cli`] for the commands; `serve` and `edge` hand over to their crates.

#![expect(
    clippy::disallowed_methods,
    reason = "the command line is the root of a process: clock, files and tasks come from here"
)]

mod bundle;
mod cli;
mod client;
mod daemon;
mod declaration;
mod exit;
mod follow;
mod interrupt;
mod plan_file;
mod plan_text;
mod progress;
mod registry_credentials;
mod report;
mod ui;
mod wiring;

use cli::Context;
use cli::args::Command;
use cli::settings::{Reach, Settings, World};
use exit::{Exit, Failure};
use runtime::Environment;
use std::path::Path;
use std::process::ExitCode;
use ui::{Surroundings, Ui};

fn main() -> ExitCode {
    let cli = cli::parse();
    let global = &cli.global;
    let environment = match Environment::of_process() {
        Ok(environment) => environment,
        // The folder we are in was removed: every relative path would be a guess.
        Err(_) => Environment::new(Path::new("/"), []),
    };
    let ui = Ui::new(global.color, global.json, global.quiet, global.verbose, Surroundings::of(&environment));
    let uid = rustix::process::geteuid().as_raw();
    let world = World { environment: &environment, uid, is_file: &|path: &Path| path.is_file(), reach: &Reach::of };
    let ended = match &cli.command {
        Command::Serve(args) => cli::serve(args, &world),
        Command::Edge(args) => cli::edge(args, &world),
        _ => match Settings::resolve(&cli, &world) {
            Ok(settings) => Context::new(ui.clone(), settings, &cli.command).and_then(|cx| command(cli.command, cx)),
            Err(failure) => Err(failure),
        },
    };
    let exit = ended.unwrap_or_else(|failure| {
        ui.failure(&failure);
        failure.exit
    });
    exit.into()
}

/// A command: one thread is enough to ask and to show.
fn command(command: Command, cx: Context) -> Result<Exit, Failure> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::failed("the runtime cannot be started").because(error))?;
    let ended = runtime.block_on(cli::run(command, &cx));
    // A thread that waits for a key must not keep us.
    runtime.shutdown_background();
    ended
}
