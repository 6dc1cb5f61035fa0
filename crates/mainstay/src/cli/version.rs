//! `mainstay version`: of this program and of the daemon.

use super::Context;
use crate::exit::{Exit, Failure};
use crate::ui::paint::Tone;
use serde::Serialize;
use server::api::status;

#[derive(Serialize)]
struct Versions {
    version: &'static str,
    daemon: Option<status::Version>,
}

pub async fn run(cx: &Context) -> Result<Exit, Failure> {
    let version = env!("CARGO_PKG_VERSION");
    let daemon = match cx.client().get::<status::Version>("/v1/version").await {
        Ok(daemon) => Some(daemon),
        Err(error) if error.finds_no_daemon() => None,
        Err(error) => return Err(error.into()),
    };
    if cx.ui.json {
        cx.ui.json(&Versions { version, daemon });
        return Ok(Exit::Done);
    }
    cx.ui.data(format!("mainstay {version}"));
    match daemon {
        None => cx.ui.next("no daemon runs; `mainstay up` starts one"),
        Some(daemon) => {
            let edge = daemon.edge_pid.map_or("none".to_owned(), |pid| pid.to_string());
            cx.ui.data(format!(
                "daemon   {} (process {}, since {}, state in {}, routes on port {}, edge process {edge})",
                daemon.version, daemon.pid, daemon.started, daemon.state, daemon.http_port,
            ));
            if daemon.version != version {
                let differ = cx.ui.err.tone(Tone::Warn, "the versions differ");
                cx.ui.next(format!("{differ}: `mainstay serve --replace` or a restart of its unit; what runs goes on"));
            }
        }
    }
    Ok(Exit::Done)
}
