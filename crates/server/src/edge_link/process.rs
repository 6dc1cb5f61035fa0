//! The edge's process: found when it runs, started when it does not.

use super::hub::HubError;
use edge::control::{Client, ClientError};
use runtime::files::{self, FileError};
use runtime::processes::{ProcessError, Spawn, Stdio};
use runtime::sockets::{self, ListenError};
use runtime::{Clock, Tasks};
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

/// The number the control socket has in the edge.
pub const CONTROL_FD: i32 = 3;

/// How long a started edge may take to answer.
const START: Duration = Duration::from_secs(10);

/// Why there is no edge.
#[derive(Debug, thiserror::Error)]
pub enum LaunchError {
    /// The control socket could not be made.
    #[error("could not make the edge's control socket")]
    Socket(#[source] ListenError),
    /// The control socket could not be copied or handed over.
    #[error("could not hand the control socket over")]
    HandOver(#[source] std::io::Error),
    /// A log could not be opened.
    #[error("could not open a log of the edge")]
    Log(#[source] FileError),
    /// It could not be started.
    #[error("could not start the edge")]
    Start(#[source] ProcessError),
    /// It was started and does not answer.
    #[error("the edge was started and did not answer within {} s; see `{}`", START.as_secs(), log.display())]
    Silent {
        /// Where it writes why.
        log: PathBuf,
    },
    /// It answers and does not do what it shall.
    #[error("the edge answers with an error")]
    Talk(#[source] ClientError),
    /// What it served before could not be given to it again.
    #[error("could not give the edge what it served before")]
    Restore(#[source] Box<HubError>),
}

/// Finds or starts the edge.
pub struct Launcher {
    /// The program: ourselves.
    pub program: PathBuf,
    /// Its control socket.
    pub socket: PathBuf,
    /// The folder of its logs.
    pub logs: PathBuf,
    /// The user it runs as; ours when none (for tests without root).
    pub user: Option<(u32, u32)>,
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Where blocking work is done.
    pub tasks: Tasks,
}

impl Launcher {
    /// A connection to the edge, and whether it was running already.
    pub async fn find_or_start(&self) -> Result<(Client, bool), LaunchError> {
        if let Some(client) = self.find().await {
            return Ok((client, true));
        }
        self.start().await?;
        let deadline = self.clock.monotonic() + START;
        loop {
            if let Some(client) = self.find().await {
                return Ok((client, false));
            }
            if self.clock.monotonic() > deadline {
                return Err(LaunchError::Silent { log: self.log() });
            }
            self.clock.sleep(Duration::from_millis(5)).await;
        }
    }

    async fn find(&self) -> Option<Client> {
        let client = Client::connect(&self.socket).await.ok()?;
        let ping = runtime::clock::timeout(&*self.clock, Duration::from_secs(2), client.ping());
        matches!(ping.await, Ok(Ok(_))).then_some(client)
    }

    async fn start(&self) -> Result<(), LaunchError> {
        let control = sockets::listen_unix(&self.socket, 0o600, None).map_err(LaunchError::Socket)?;
        let log = files::open_append(&self.log(), 0o640).map_err(LaunchError::Log)?;
        let copy = log.try_clone().map_err(LaunchError::HandOver)?;
        let mut spawn = Spawn::new(&self.program).args(["edge", "--control-fd", &CONTROL_FD.to_string()]);
        spawn.name = Some("mainstay".into());
        spawn.stdio = [Stdio::Null, Stdio::Fd(log.into()), Stdio::Fd(copy.into())];
        spawn.fds = vec![(OwnedFd::from(control), CONTROL_FD)];
        spawn.user = self.user;
        spawn.new_session = true;
        let child = spawn.start().map_err(LaunchError::Start)?;
        // It lives on when we end; as long as we live, we reap it.
        self.tasks.spawn("reap the edge", runtime::OnError::Log, move |stop| async move {
            let mut child = child;
            let ended = stop.run_until_cancelled(child.wait()).await;
            ended.map_or(Ok(()), |exit| exit.map(drop))
        });
        Ok(())
    }

    /// Gives the edge the file its access log goes to.
    pub async fn pass_access_log(&self, client: &Client) -> Result<(), LaunchError> {
        let log = files::open_append(&self.logs.join("access.log"), 0o640).map_err(LaunchError::Log)?;
        client.set_access_log(log).await.map_err(LaunchError::Talk)
    }

    /// Waits until the edge has gone; tells why in words.
    pub async fn lost(&self, client: &Client) -> String {
        client.closed().await;
        "the edge has gone".into()
    }

    fn log(&self) -> PathBuf {
        self.logs.join("edge.log")
    }
}
