//! The hidden `mainstay connect`: the far side of a connection through ssh.
//!
//! Greets with one line on standard output, then passes bytes between the daemon's socket and its own input and output,
//! until either ends. Starts or replaces the daemon before that, when asked to. Nothing else may be printed there.

use super::Context;
use super::args::Connect;
use super::service;
use super::settings::{Origin, SOCKET, Setting};
use crate::client::greeting::{Greeting, Started};
use crate::client::ssh::NO_DAEMON;
use crate::client::{Client, Error};
use crate::daemon::{self, Running};
use crate::exit::{Exit, Failure};
use model::ContentDigest;
use server::api::status::Version;
use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

/// As much as a pipe holds.
const CHUNK: usize = 64 << 10;

/// What the far side says when its user may not use the daemon.
const NOT_ALLOWED: &str = "MS0310";

/// What the far side says when its user may not start the daemon.
const NOT_STARTED: &str = "MS0311";

pub async fn run(args: &Connect, cx: &Context) -> Result<Exit, Failure> {
    match prepare(args, cx).await {
        Ok((greeting, None)) => say(&greeting).map(|()| Exit::Done),
        Ok((greeting, Some(socket))) => {
            say(&greeting)?;
            pass(socket).map_err(|error| Failure::failed("the connection ended").because(error))?;
            Ok(Exit::Done)
        }
        Err(failure) => {
            let greeting = Greeting { refused: Some((&failure).into()), ..Greeting::of_this_program() };
            say(&greeting)?;
            Ok(failure.exit)
        }
    }
}

async fn prepare(args: &Connect, cx: &Context) -> Result<(Greeting, Option<UnixStream>), Failure> {
    let greeting = Greeting::of_this_program();
    if args.identify {
        let digest = digest().map_err(|error| Failure::failed("our own program cannot be read").because(error))?;
        return Ok((Greeting { digest: Some(digest), ..greeting }, None));
    }
    let started = match args {
        Connect { replace: true, .. } => {
            may_start()?;
            Some(daemon::replace(cx.client(), &cx.settings).await?)
        }
        Connect { start: true, .. } => start(cx).await?,
        Connect { revive: true, .. } if daemon::has_worked(&cx.settings) => start(cx).await?,
        _ => None,
    };
    let started = started.map(|Running { version: Version { pid, state, .. }, by }| Started { pid, state, by });
    Ok((Greeting { started, ..greeting }, Some(connect(cx)?)))
}

async fn start(cx: &Context) -> Result<Option<Running>, Failure> {
    let client = Client::new(socket(cx));
    match client.get::<Version>("/v1/version").await {
        Ok(_) => Ok(None),
        Err(Error::Denied { .. }) => Err(denied(cx)),
        Err(_) => {
            may_start()?;
            daemon::running(&client, &cx.settings).await.map(Some)
        }
    }
}

fn connect(cx: &Context) -> Result<UnixStream, Failure> {
    let socket = socket(cx);
    UnixStream::connect(&socket).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => denied(cx),
        _ => {
            let message = format!("no daemon answers at {}", socket.display());
            let help = "start one with an order such as `mainstay up`; see `mainstay host doctor` for why it ended";
            Failure { code: Some(NO_DAEMON.to_owned()), ..Failure::failed(message).because(error).help(help) }
        }
    })
}

// Nobody's own: only the machine's daemon can run projects for others.
fn socket(cx: &Context) -> PathBuf {
    match &cx.settings.socket {
        Setting { origin: Origin::Default, .. } => Path::new(service::RUN).join(SOCKET),
        named => named.value.clone(),
    }
}

fn denied(cx: &Context) -> Failure {
    let message = format!("this user may not open the daemon's socket {}", socket(cx).display());
    let help = "let root add the user with `usermod -aG mainstay USER`, or run `mainstay host prepare` for this user";
    Failure { code: Some(NOT_ALLOWED.to_owned()), ..Failure::failed(message).help(help) }
}

// A daemon of another user could run nothing here, and would only be in the way of the machine's.
fn may_start() -> Result<(), Failure> {
    if rustix::process::geteuid().is_root() {
        return Ok(());
    }
    let help =
        "log in as root, have systemd start it (`sudo systemctl start mainstay`), or run `mainstay host prepare`";
    let failure = Failure::failed("the daemon does not run, and this user may not start it").help(help);
    Err(Failure { code: Some(NOT_STARTED.to_owned()), ..failure })
}

/// BLAKE3 of the program that runs, whatever has become of its path.
pub fn digest() -> io::Result<String> {
    std::fs::read(daemon::OURSELVES).map(|program| ContentDigest::of(&program).to_string())
}

fn say(greeting: &Greeting) -> Result<(), Failure> {
    let line = greeting.line();
    let said = plain(io::stdout()).and_then(|mut out| out.write_all(line.as_bytes()));
    said.map_err(|error| Failure::failed("nobody listens").because(error))
}

/// Passes bytes on until one side ends.
fn pass(socket: UnixStream) -> io::Result<()> {
    let (mut output, mut input) = (plain(io::stdout())?, plain(io::stdin())?);
    let to = socket.try_clone()?;
    std::thread::spawn(move || {
        // Whichever way it ended, nobody will say more: the daemon learns it, and so does the other direction.
        let _ = copy(&mut input, &mut &to);
        let _ = to.shutdown(Shutdown::Both);
    });
    match copy(&mut &socket, &mut output) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe && error.kind() != io::ErrorKind::ConnectionReset => {
            Err(error)
        }
        _ => Ok(()),
    }
}

// Not `io::copy`: it splices, and a splice that waits for a socket holds the lock of the pipe it goes to, in which sshd
// would then be stuck with everything else it serves.
fn copy(from: &mut impl Read, to: &mut impl Write) -> io::Result<()> {
    let mut buffer = vec![0; CHUNK];
    loop {
        match from.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(count) => to.write_all(&buffer[..count])?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

// Without the standard library's buffer, which keeps bytes back until a line ends.
fn plain(stream: impl AsFd) -> io::Result<File> {
    Ok(File::from(stream.as_fd().try_clone_to_owned()?))
}
