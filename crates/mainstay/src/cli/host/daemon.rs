//! The daemon of a prepared host: started, put in another's place, asked whether it answers.

use super::super::{Context, place};
use super::client_of;
use super::far::{Far, Script};
use super::program::PROGRAM;
use crate::client::greeting::{Greeting, Started};
use crate::client::ssh::{Error, Trouble};
use crate::exit::Failure;
use server::api::status::Version;

const CURRENT: Script =
    Script { doing: "compare the daemon's program", text: include_str!("current.sh"), is_long: false };

/// The daemon that answers; none when none runs, or the user may not ask it.
pub async fn answering(far: &Far) -> Result<Option<Version>, Failure> {
    match client_of(far).get::<Version>("/v1/version").await {
        Ok(version) => Ok(Some(version)),
        Err(error) if error.finds_no_daemon() || NOT_YET.contains(&error.code()) => Ok(None),
        Err(error) => Err(error.into()),
    }
}

/// No program yet, an old one, a user who is not in the group yet.
const NOT_YET: [&str; 3] = ["MS0305", "MS0306", "MS0310"];

/// Whether it runs the program that is installed.
pub async fn is_current(far: &Far, daemon: &Version) -> Result<bool, Failure> {
    Ok(far.run_as_root(CURRENT, &[&daemon.pid.to_string()]).await?.trim() == "yes")
}

/// Has systemd run it, where there is one: as `mainstay service install` does.
pub async fn install_unit(far: &Far) -> Result<(), Failure> {
    far.call_as_root("install the unit", &[PROGRAM, "service", "install", "--quiet"]).await.map(drop)
}

/// Starts it where none runs, or puts the installed program in its place.
pub async fn run_installed(far: &Far, replaces: bool) -> Result<Option<Started>, Failure> {
    let option = if replaces { "--replace" } else { "--start" };
    let said = far.call_as_root("start the daemon", &[PROGRAM, "connect", option]).await?;
    let greeting = said.lines().find_map(Greeting::read).and_then(Result::ok);
    let error = |trouble| Failure::from(Error { host: far.ssh.host().clone(), trouble, said: Vec::new() });
    match greeting {
        Some(Greeting { refused: Some(refused), .. }) => Err(error(Trouble::Refused(Box::new(refused)))),
        Some(greeting) => Ok(greeting.started),
        None => Err(error(Trouble::Protocol("unknown".to_owned()))),
    }
}

/// The daemon that answers, started first where none does.
pub async fn revived(far: &Far) -> Result<Option<Version>, Failure> {
    run_installed(far, false).await?;
    answering(far).await
}

/// Asks it by a login of its own, as every later command does: a group counts from the next login on.
pub async fn verified(cx: &Context, far: &Far) -> Result<Version, Failure> {
    far.ssh.forget().await;
    let far = Far { ssh: place::way(&cx.settings, far.ssh.host().clone()), ..*far };
    Ok(client_of(&far).get("/v1/version").await?)
}
