//! Serving connections of the unix socket, each with the user it comes from.

use axum::Router;
use axum::extract::Extension;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use runtime::{CancellationToken, Clock, OnError, Tasks};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{UnixListener, UnixStream};

/// Who speaks.
#[derive(Debug, Clone)]
pub struct Peer {
    /// The user's name, or `uid N` when the machine has no name for it.
    pub name: String,
}

/// Serves the API on the socket until `stop`.
pub async fn serve(
    listener: UnixListener,
    router: Router,
    tasks: Tasks,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) {
    loop {
        let accepted = tokio::select! {
            () = stop.cancelled() => return,
            accepted = listener.accept() => accepted,
        };
        match accepted {
            Ok((stream, _)) => {
                let router = router.clone();
                tasks.spawn("api connection", OnError::Log, move |stop| connection(stream, router, stop));
            }
            Err(error) => {
                // Out of descriptors: wait for some connections to end.
                tracing::warn!(%error, "could not accept an API connection");
                clock.sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

async fn connection(stream: UnixStream, router: Router, stop: CancellationToken) {
    let peer = Peer { name: name_of(&stream) };
    let service = router.layer(Extension(peer));
    let served = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(service))
        .with_upgrades();
    tokio::select! {
        result = served => if let Err(error) = result {
            tracing::debug!(%error, "an API connection ended");
        },
        () = stop.cancelled() => {}
    }
}

fn name_of(stream: &UnixStream) -> String {
    match stream.peer_cred() {
        Ok(credentials) => user_name(credentials.uid()).unwrap_or_else(|| format!("uid {}", credentials.uid())),
        Err(_) => "unknown".into(),
    }
}

/// The name of a user in `/etc/passwd`; directories of users beyond it are not asked, the number is shown then.
fn user_name(uid: u32) -> Option<String> {
    let users = runtime::files::read_text(Path::new("/etc/passwd")).ok()?;
    let uid = uid.to_string();
    users.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == uid).then(|| name.to_owned())
    })
}
