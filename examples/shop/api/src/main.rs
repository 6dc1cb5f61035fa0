//! `shop-api`: the HTTP API of the shop, its migrations, and the check of its own health.
//!
//! Owns the subcommands and the exit codes (0 done, 1 failed, 2 wrong settings or usage); [`serve`] is the life of
//! the server, [`app`] its routes.

mod app;
mod database;
mod error;
mod health;
mod migrate;
mod observe;
mod orders;
mod products;
mod queue;
mod serve;
mod settings;
mod socket;
mod version;

use std::process::ExitCode;

use service::environment::{Environment, SettingError};
use service::faults::Faults;
use service::program::Program;
use service::{log, self_check};

const SERVICE: &str = "api";
const USAGE: &str = "usage: shop-api [serve | migrate | health | --version]";

fn main() -> ExitCode {
    let program = Program { service: SERVICE, usage: USAGE, version: format!("shop-api {}", version::VERSION) };
    program.main(|arguments, environment| {
        Some(match arguments {
            [] | ["serve"] => run(environment, Command::Serve),
            ["migrate"] => run(environment, Command::Migrate),
            ["health"] => settings::port(environment).map(|port| self_check::run(port, "/ready")),
            _ => return None,
        })
    })
}

enum Command {
    Serve,
    Migrate,
}

fn run(environment: &Environment, command: Command) -> Result<ExitCode, SettingError> {
    log::start(SERVICE, environment)?;
    let faults = Faults::from_environment(environment)?;
    if let Some(code) = faults.exit_code() {
        tracing::error!(code, "ending at once on purpose");
        return Ok(ExitCode::from(code));
    }
    let settings = settings::Settings::from_environment(environment)?;
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build() {
        Ok(runtime) => runtime,
        Err(failure) => {
            tracing::error!(error = %failure, "could not start the runtime");
            return Ok(ExitCode::FAILURE);
        }
    };
    Ok(match command {
        Command::Serve => runtime.block_on(serve::run(settings, faults)),
        Command::Migrate => runtime.block_on(migrate::run(&settings, &faults)),
    })
}
