//! The edge's process: found when it runs, started when it does not.

use super::hub::{ANSWER, HubError};
use super::log::AccessLog;
use edge::control::{Client, ClientError};
use runtime::files::{self, FileError};
use runtime::processes::{self, ProcessError, ProcessId, Spawn, Stdio};
use runtime::sockets::{self, ListenError};
use runtime::{Clock, Tasks};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// The number the control socket has in the edge.
pub const CONTROL_FD: i32 = 3;

/// How often the edge is asked whether it is there.
const LOOK: Duration = Duration::from_secs(5);

/// How often in a row it may say nothing.
const MISSED: u32 = 2;

/// The signal that ends a process that hangs.
const KILL: i32 = 9;

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
    /// A file beside the control socket could not be written or renamed.
    #[error("could not keep the edge's files")]
    Files(#[source] FileError),
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
    /// It says nothing.
    #[error("the edge did not answer within {} s", .0.as_secs())]
    Mute(Duration),
    /// What it served before could not be given to it again.
    #[error("could not give the edge what it served before")]
    Restore(#[source] Box<HubError>),
}

/// An edge that answers.
pub struct Found {
    /// The conversation.
    pub client: Client,
    /// It ran already.
    pub is_old: bool,
    /// Its program is not ours: of another version, or another file.
    pub is_foreign: bool,
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
    /// The edge that runs, or a new one.
    pub async fn find_or_start(&self) -> Result<Found, LaunchError> {
        for _ in 0..MISSED {
            match self.find().await {
                Some(Ok(found)) => return Ok(found),
                Some(Err(error)) => {
                    tracing::warn!(error = crate::chain(&error), "an edge is there and does not answer")
                }
                None => return self.start_and_find().await,
            }
        }
        // It takes connections and says nothing: nobody could serve beside it.
        self.end_by_force().await;
        self.start_and_find().await
    }

    /// Starts another edge under the name of the one that runs, which goes on without one, and has it take `over`.
    ///
    /// When that fails, the old one has its name back.
    pub async fn replace<F>(&self, over: impl FnOnce(Client) -> F) -> Result<Client, LaunchError>
    where
        F: Future<Output = Result<(), LaunchError>>,
    {
        let names = [self.socket.clone(), self.identity()].map(|path| (path.with_added_extension("old"), path));
        for (old, path) in &names {
            rename_if_there(path, old)?;
        }
        let taken = async {
            let client = self.start_and_find().await?.client;
            match over(client.clone()).await {
                Ok(()) => Ok(client),
                Err(error) => {
                    // It serves nothing yet; it ends with the next signal if it does not hear.
                    let _ = self.ask(client.shutdown(Duration::ZERO)).await;
                    Err(error)
                }
            }
        };
        let taken = taken.await;
        for (old, path) in &names {
            if taken.is_ok() {
                files::remove(old).map_err(LaunchError::Files)?;
            } else {
                rename_if_there(old, path)?;
            }
        }
        taken
    }

    async fn start_and_find(&self) -> Result<Found, LaunchError> {
        self.start()?;
        let deadline = self.clock.monotonic() + START;
        loop {
            if let Some(Ok(found)) = self.find().await {
                return Ok(Found { is_old: false, ..found });
            }
            if self.clock.monotonic() > deadline {
                return Err(LaunchError::Silent { log: self.log() });
            }
            self.clock.sleep(Duration::from_millis(5)).await;
        }
    }

    /// The edge at the socket; none when nobody listens there.
    async fn find(&self) -> Option<Result<Found, LaunchError>> {
        let client = Client::connect(&self.socket).await.ok()?;
        let pong = match self.ask(client.ping()).await {
            Ok(pong) => pong,
            Err(error) => return Some(Err(error)),
        };
        let is_foreign =
            pong.version != env!("CARGO_PKG_VERSION") || processes::runs_our_program(pong.pid) == Some(false);
        Some(Ok(Found { client, is_old: true, is_foreign }))
    }

    /// Waits for an answer of the edge, but not for ever.
    pub async fn ask<T>(&self, asked: impl Future<Output = Result<T, ClientError>>) -> Result<T, LaunchError> {
        let answer = runtime::clock::timeout(&*self.clock, ANSWER, asked).await;
        answer.map_err(|_| LaunchError::Mute(ANSWER))?.map_err(LaunchError::Talk)
    }

    fn start(&self) -> Result<(), LaunchError> {
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
        if let Some(id) = child.id() {
            let text = format!("{} {}\n", id.pid, id.started);
            files::write(&self.identity(), text.as_bytes(), 0o600).map_err(LaunchError::Files)?;
        }
        // It lives on when we end; as long as we live, we reap it.
        self.tasks.spawn("reap the edge", runtime::OnError::Log, move |stop| async move {
            let mut child = child;
            let ended = stop.run_until_cancelled(child.wait()).await;
            ended.map_or(Ok(()), |exit| exit.map(drop))
        });
        Ok(())
    }

    /// Looks after a running edge until it has gone; tells why in words.
    ///
    /// One that says nothing twice in a row is ended. Its log is kept from growing without end.
    pub async fn watch(&self, client: &Client, tell: &(impl Fn(&'static str, String) + Sync)) -> String {
        let log = AccessLog::new(&self.logs);
        let mut missed = 0;
        let mut is_told = false;
        let mut is_passed = false;
        loop {
            if !is_passed || log.is_full() {
                let passed = self.pass_access_log(&log, client).await;
                is_passed = passed.is_ok();
                if let (Err(error), false) = (passed, std::mem::replace(&mut is_told, true)) {
                    tell("edge.unlogged", format!("requests are not logged: {}", crate::chain(&error)));
                }
            }
            tokio::select! {
                () = client.closed() => return "the edge has gone".into(),
                () = self.clock.sleep(LOOK) => {}
            }
            missed = if self.ask(client.ping()).await.is_ok() { 0 } else { missed + 1 };
            if missed == MISSED {
                self.end_by_force().await;
                client.closed().await;
                return format!("the edge did not answer {MISSED} times in a row and was ended");
            }
        }
    }

    /// Gives the edge the file its access log goes to.
    async fn pass_access_log(&self, log: &AccessLog, client: &Client) -> Result<(), LaunchError> {
        let file = log.open().map_err(LaunchError::Log)?;
        self.ask(client.set_access_log(file)).await
    }

    /// Ends the edge that we, or a daemon before us, started last, and no other process.
    async fn end_by_force(&self) {
        let text = files::read_text(&self.identity()).unwrap_or_default();
        let mut numbers = text.split_whitespace().map(str::parse::<u64>);
        let (Some(Ok(pid)), Some(Ok(started))) = (numbers.next(), numbers.next()) else { return };
        let Ok(pid) = u32::try_from(pid) else { return };
        let edge = ProcessId { pid, started };
        match edge.signal(KILL) {
            Ok(_) => drop(runtime::clock::timeout(&*self.clock, START, edge.gone()).await),
            Err(error) => tracing::error!(error = crate::chain(&error), "could not end an edge that hangs"),
        }
    }

    /// Where the number and the start of the edge's process are written down.
    fn identity(&self) -> PathBuf {
        self.socket.with_extension("process")
    }

    fn log(&self) -> PathBuf {
        self.logs.join("edge.log")
    }
}

fn rename_if_there(from: &Path, to: &Path) -> Result<(), LaunchError> {
    match files::metadata(from).map_err(LaunchError::Files)? {
        Some(_) => files::rename(from, to).map_err(LaunchError::Files),
        None => Ok(()),
    }
}
