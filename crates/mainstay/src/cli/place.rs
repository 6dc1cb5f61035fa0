//! Where the daemon is that a command speaks to: what was named, else what mainstay.yaml says of the environment, else here.
//!
//! Owns that order. Never connects. A file that cannot tell where the project lives is an error: another machine's
//! project must not be looked for here.

use super::args::Command;
use super::settings::{Settings, Whose};
use crate::client::Place;
use crate::client::ssh::Ssh;
use crate::declaration;
use crate::exit::Failure;
use crate::ui::Ui;
use model::RemoteHost;

/// The place of a command's daemon.
pub fn resolve(settings: &Settings, ui: &Ui) -> Result<Place, Failure> {
    let whose = match &settings.host {
        Some(named) => named.value.clone(),
        None if settings.is_outside() => Whose::Ours,
        None => declaration::host(settings, ui)?.map_or(Whose::Ours, Whose::Theirs),
    };
    Ok(match whose {
        Whose::Ours => Place::Local(settings.socket.value.clone()),
        Whose::Theirs(host) => Place::Remote(way(settings, host)),
    })
}

/// The way to a machine.
pub fn way(settings: &Settings, host: RemoteHost) -> Ssh {
    Ssh::new(host, settings.ssh_folder.as_deref())
}

/// Whether a command speaks to a daemon that may be another machine's; the others must not trip over a host.
pub fn matters_to(command: &Command) -> bool {
    match command {
        Command::Plan(_)
        | Command::Up(_)
        | Command::Down(_)
        | Command::Status
        | Command::Logs(_)
        | Command::Restart(_)
        | Command::Scale(_)
        | Command::Exec(_)
        | Command::Run(_)
        | Command::Health
        | Command::Events(_)
        | Command::Releases(_)
        | Command::Rollback(_)
        | Command::Version => true,
        Command::Explain(explain) => explain.what.len() > 1,
        Command::Init(_)
        | Command::Validate(_)
        | Command::Config(_)
        | Command::Fmt(_)
        | Command::Schema
        | Command::Serve(_)
        | Command::Service(_)
        | Command::Host(_)
        | Command::Completions(_)
        | Command::Edge(_)
        | Command::Connect(_) => false,
    }
}
