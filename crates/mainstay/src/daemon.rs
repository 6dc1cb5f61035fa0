//! Starts a daemon where there is none, and ends one that another shall take the place of.
//!
//! Owns the way from "nobody answers" to "it answers" and back: the new daemon leaves this terminal's session, writes its
//! log into the state folder, and outlives us. What runs is touched by neither.

use crate::cli::service;
use crate::cli::settings::{Origin, Places, SOCKET, Settings};
use crate::client::greeting::Started;
use crate::client::ssh::{Ask, Ssh};
use crate::client::{self, Client, Place};
use crate::exit::Failure;
use crate::ui::Ui;
use crate::ui::paint::Tone;
use model::RemoteHost;
use server::api::status::Version;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// The program that runs, whatever has become of its path: the edge's user may be kept out of the folder it lies in
/// (a home folder, say), and an upgrade may have put another one there.
pub const OURSELVES: &str = "/proc/self/exe";

/// A daemon's log that is longer is put aside before another daemon writes to it.
const LONG: u64 = 16 << 20;

/// A start with a large state file takes a second or two.
const PATIENCE: Duration = Duration::from_secs(20);

/// A daemon that was started.
#[derive(Debug)]
pub struct Running {
    /// What it says of itself.
    pub version: Version,
    /// `systemd`, or `process` where there is none.
    pub by: String,
}

/// Makes sure that a daemon answers, here or on the other machine.
pub async fn ensure(client: &Client, settings: &Settings, ui: &Ui) -> Result<Version, Failure> {
    if let Place::Remote(ssh) = client.place() {
        return far(client, ssh, Ask::Start, ui).await;
    }
    match answering(client).await? {
        Some(version) => {
            compare(&version, None, ui);
            Ok(version)
        }
        None => {
            let running = running(client, settings).await?;
            let version = running.version;
            ui.note(format!("started the daemon (process {}), state in {}", version.pid, version.state));
            Ok(version)
        }
    }
}

/// Makes sure that a daemon answers where one has worked before: an order for what runs does not fail because the daemon
/// was killed. Where none ever was, nothing is started, and the order says that nobody answers.
pub async fn revive(client: &Client, settings: &Settings, ui: &Ui) -> Result<(), Failure> {
    match client.place() {
        Place::Remote(ssh) => far(client, ssh, Ask::Revive, ui).await.map(drop),
        Place::Local(_) if has_worked(settings) => ensure(client, settings, ui).await.map(drop),
        Place::Local(_) => Ok(()),
    }
}

/// Whether a daemon has worked here before.
pub fn has_worked(settings: &Settings) -> bool {
    settings.places.state.value.join("state.db").exists()
}

async fn far(client: &Client, ssh: &Ssh, ask: Ask, ui: &Ui) -> Result<Version, Failure> {
    if let Some(Started { pid, state, .. }) = client.greet(ssh, ask).await?.started {
        ui.note(format!("started the daemon on {} (process {pid}), state in {state}", ssh.host()));
    }
    let version = client.get("/v1/version").await?;
    compare(&version, client.host(), ui);
    Ok(version)
}

/// The daemon that answers; none when nobody listens.
async fn answering(client: &Client) -> Result<Option<Version>, Failure> {
    let asked = Instant::now();
    loop {
        match client.get("/v1/version").await {
            Ok(version) => return Ok(Some(version)),
            Err(client::Error::NoDaemon { .. }) => return Ok(None),
            // A daemon that is just ending takes connections and answers none.
            Err(error) if error.is_absence() && asked.elapsed() < PATIENCE => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Starts a daemon on this machine: by its unit where there is one, else as a process of its own.
pub async fn running(client: &Client, settings: &Settings) -> Result<Running, Failure> {
    if by_unit(settings) {
        service::systemctl("start")?;
        return Ok(Running { version: answered(client).await?, by: "systemd".to_owned() });
    }
    spawned(client, settings, false).await
}

/// Puts this program in the place of the daemon that runs; what runs goes on.
pub async fn replace(client: &Client, settings: &Settings) -> Result<Running, Failure> {
    if !by_unit(settings) {
        return spawned(client, settings, true).await;
    }
    let old = answering(client).await?.map(|version| version.pid);
    service::systemctl("restart")?;
    let begun = Instant::now();
    loop {
        match client.get::<Version>("/v1/version").await {
            Ok(version) if Some(version.pid) != old => return Ok(Running { version, by: "systemd".to_owned() }),
            _ if begun.elapsed() > PATIENCE => return Err(service::never_answered(PATIENCE)),
            _ => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

// The unit's daemon is the machine's; another socket's is somebody else's.
fn by_unit(settings: &Settings) -> bool {
    settings.socket.value.parent() == Some(Path::new(service::RUN)) && service::is_installed()
}

async fn spawned(client: &Client, settings: &Settings, replaces: bool) -> Result<Running, Failure> {
    let run = run_folder(settings)?;
    let state = &settings.places.state.value;
    let log = state.join("daemon.log");
    turn(&log);
    let log = Log { before: std::fs::metadata(&log).map_or(0, |metadata| metadata.len()), path: log };
    let mut child = spawn(&settings.places, &run, &log.path, replaces)?;
    let pid = child.id();
    let is_meant = |version: &Version| !replaces || version.pid == pid;
    let running = |version| Running { version, by: "process".to_owned() };
    let begun = Instant::now();
    loop {
        match client.get::<Version>("/v1/version").await {
            Ok(version) if is_meant(&version) => return Ok(running(version)),
            Err(error) if begun.elapsed() > PATIENCE => return Err(never_answered(&error.to_string(), &log)),
            Ok(_) if begun.elapsed() > PATIENCE => return Err(never_answered("the earlier one still does", &log)),
            Ok(_) | Err(_) => {}
        }
        if let Ok(Some(status)) = child.try_wait() {
            // Two commands may have started one at the same time: the other's daemon is as good.
            if let Ok(version) = client.get::<Version>("/v1/version").await
                && !replaces
            {
                return Ok(running(version));
            }
            return Err(ended(&status.to_string(), &log));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Ends the daemon that answers, and waits until its process has gone; none when there was none.
pub async fn shut_down(client: &Client) -> Result<Option<Version>, Failure> {
    let version: Version = match client.get("/v1/version").await {
        Ok(version) => version,
        Err(client::Error::NoDaemon { .. }) => return Ok(None),
        Err(error) => return Err(error.into()),
    };
    match client.tell("/v1/shutdown").await {
        // It may be gone before its answer is.
        Ok(()) | Err(client::Error::Broken { .. }) => {}
        Err(error) => return Err(error.into()),
    }
    let asked = Instant::now();
    while is_alive(version.pid) {
        if asked.elapsed() > PATIENCE {
            let message = format!("the daemon (process {}) did not end within {} s", version.pid, PATIENCE.as_secs());
            return Err(Failure::failed(message).help("read its log, then end the process; what runs goes on"));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    Ok(Some(version))
}

/// Waits until a daemon answers that somebody else has started.
pub async fn answered(client: &Client) -> Result<Version, Failure> {
    let begun = Instant::now();
    loop {
        match client.get::<Version>("/v1/version").await {
            Ok(version) => return Ok(version),
            Err(error) if begun.elapsed() > PATIENCE => return Err(error.into()),
            Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

// One that nobody has waited for yet has ended.
fn is_alive(pid: u32) -> bool {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| !rest.trim_start().starts_with(['Z', 'X']))
}

fn compare(daemon: &Version, host: Option<&RemoteHost>, ui: &Ui) {
    let ours = env!("CARGO_PKG_VERSION");
    if daemon.version == ours {
        return;
    }
    let cure = match host {
        None => "`mainstay serve --replace`, or restart its unit".to_owned(),
        Some(host) => format!("`mainstay host upgrade {}`", host.machine()),
    };
    ui.warn(format!("the daemon has version {}, this command {ours}", daemon.version));
    ui.say(&format!(
        "  {} have the daemon run this program with {}; what runs goes on",
        ui.err.tone(Tone::Accent, "help:"),
        ui.err.commands(&cure)
    ));
}

// What a daemon writes of itself is little; what many wrote, one after the other, is not kept for ever.
fn turn(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > LONG) {
        // A log that cannot be moved grows on.
        let _ = std::fs::rename(log, log.with_extension("log.1"));
    }
}

// The daemon makes its socket in its run folder; another name can only be somebody else's socket.
fn run_folder(settings: &Settings) -> Result<PathBuf, Failure> {
    let socket = &settings.socket;
    let folder = socket.value.parent().filter(|_| socket.value.file_name().is_some_and(|name| name == SOCKET));
    folder.map(Path::to_owned).ok_or_else(|| {
        Failure::failed(format!("no daemon answers at {} (from {})", socket.value.display(), socket.origin))
            .help(format!("start the daemon there yourself, or name a path that ends in `{SOCKET}`"))
    })
}

fn spawn(places: &Places, run: &Path, log: &Path, replaces: bool) -> Result<Child, Failure> {
    let could_not = |what: String, error: std::io::Error| {
        Failure::failed(what).because(error).help("check `MAINSTAY_STATE`, or run the command as root")
    };
    let state = &places.state.value;
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(state)
        .map_err(|error| could_not(format!("the state folder {} cannot be made", state.display()), error))?;
    let log_file = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .open(log)
        .map_err(|error| could_not(format!("the daemon's log {} cannot be written", log.display()), error))?;
    let both = log_file.try_clone().map_err(|error| could_not("the daemon's log cannot be shared".into(), error))?;
    let program =
        std::env::current_exe().map_err(|error| could_not("our own program cannot be found".into(), error))?;
    // An upgrade may have taken our file away meanwhile; what runs can be started again all the same.
    let program = if program.exists() { program } else { OURSELVES.into() };
    let mut command = Command::new(&program);
    command.arg("serve").arg("--background").arg("--run").arg(run).arg("--state").arg(state);
    if replaces {
        command.arg("--replace");
    }
    if places.http_port.origin != Origin::Default {
        command.arg("--http-port").arg(places.http_port.value.to_string());
    }
    command.current_dir("/").stdin(Stdio::null()).stdout(log_file).stderr(both);
    command.spawn().map_err(|error| could_not(format!("the daemon {} cannot be started", program.display()), error))
}

/// The daemon's log, and how long it was before.
struct Log {
    path: PathBuf,
    before: u64,
}

fn never_answered(error: &str, log: &Log) -> Failure {
    let failure = Failure::failed(format!("the daemon was started and did not answer within {} s", PATIENCE.as_secs()));
    with_log(failure.because(error), log)
}

fn ended(status: &str, log: &Log) -> Failure {
    with_log(Failure::failed(format!("the daemon was started and ended at once ({status})")), log)
}

// The first lines it wrote say what was wrong; what follows is where in the program that was noticed.
fn with_log(mut failure: Failure, log: &Log) -> Failure {
    let bytes = std::fs::read(&log.path).unwrap_or_default();
    let new = bytes.get(usize::try_from(log.before).unwrap_or(usize::MAX)..).unwrap_or_default();
    let text = String::from_utf8_lossy(new);
    for line in text.lines().filter(|line| !line.trim().is_empty()).take(6) {
        failure = failure.because(crate::ui::paint::tame(line, false));
    }
    failure.help(format!("read {}", log.path.display()))
}
