//! Starts a daemon where there is none.
//!
//! Owns the way from "nobody answers" to "it answers": the new daemon leaves this terminal's session, writes its log
//! into the state folder, and outlives us. Never stops one.

use crate::cli::settings::{Origin, Places, SOCKET, Settings};
use crate::client::{self, Client};
use crate::exit::Failure;
use crate::ui::Ui;
use server::api::status::Version;
use std::fs::{DirBuilder, OpenOptions};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;
use tokio::time::Instant;

/// A start with a large state file takes a second or two.
const PATIENCE: Duration = Duration::from_secs(20);

/// Makes sure that a daemon answers.
pub async fn ensure(client: &Client, settings: &Settings, ui: &Ui) -> Result<Version, Failure> {
    let asked = Instant::now();
    loop {
        match client.get("/v1/version").await {
            Ok(version) => return Ok(version),
            Err(client::Error::NoDaemon { .. }) => break,
            // A daemon that is just ending takes connections and answers none.
            Err(error) if error.is_absence() && asked.elapsed() < PATIENCE => {}
            Err(error) => return Err(error.into()),
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let run = run_folder(settings)?;
    let state = &settings.places.state.value;
    let log = state.join("daemon.log");
    let log = Log { before: std::fs::metadata(&log).map_or(0, |metadata| metadata.len()), path: log };
    let mut child = spawn(&settings.places, &run, &log.path)?;
    let begun = Instant::now();
    loop {
        match client.get::<Version>("/v1/version").await {
            Ok(version) => {
                ui.note(format!("started the daemon (process {}), state in {}", version.pid, state.display()));
                return Ok(version);
            }
            Err(error) if begun.elapsed() > PATIENCE => return Err(never_answered(&error, &log)),
            Err(_) => {}
        }
        if let Ok(Some(status)) = child.try_wait() {
            // Two commands may have started one at the same time: the other's daemon is as good.
            if let Ok(version) = client.get::<Version>("/v1/version").await {
                return Ok(version);
            }
            return Err(ended(&status.to_string(), &log));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
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

fn spawn(places: &Places, run: &Path, log: &Path) -> Result<Child, Failure> {
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
    let mut command = Command::new(&program);
    command.arg("serve").arg("--background").arg("--run").arg(run).arg("--state").arg(state);
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

fn never_answered(error: &client::Error, log: &Log) -> Failure {
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
