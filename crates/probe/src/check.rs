//! Asking one question of one replica: http, tcp, command.
//!
//! Owns how an answer is got and how it is put into words. Never decides what it means: that is [`crate::judge`].
//! An answer is hostile input: what is kept of it is short and printable.

mod http;
#[cfg(test)]
mod tests;

use async_trait::async_trait;
use model::probe::Check;
use model::{ReplicaId, StackId};
use runtime::{BoxError, Clock};
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;
use tokio::net::TcpStream;

/// Bytes of an answer that are kept for people.
const KEPT: usize = 200;

/// Runs a probe's command inside a replica.
///
/// Cancel-safe: when the future is dropped the command may run on until its timeout and nobody hears of it.
#[async_trait]
pub trait CommandRunner: Send + Sync {
    /// Runs `argv`; ends it after `timeout`. Output is standard output and error in one, at most 4 KiB of it.
    async fn run(
        &self,
        stack: &StackId,
        id: &ReplicaId,
        argv: &[String],
        timeout: Duration,
    ) -> Result<(CommandEnd, Vec<u8>), BoxError>;
}

/// How a probe's command ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CommandEnd {
    /// With this code.
    Code(i32),
    /// By this signal.
    Signal(i32),
    /// It took longer than its timeout and was ended.
    TimedOut,
    /// No such program inside the replica.
    NotFound,
}

/// What a check found, in words.
pub type Found = Result<String, String>;

/// Whom a check asks.
#[derive(Clone, Copy)]
pub struct Whom<'a> {
    /// Its stack.
    pub stack: &'a StackId,
    /// The replica.
    pub id: &'a ReplicaId,
    /// Where it can be reached from here.
    pub address: Option<IpAddr>,
}

/// Asks once; the answer must be there within `timeout`. Both sides of the result are for people.
pub async fn ask(
    clock: &dyn Clock,
    runner: &dyn CommandRunner,
    whom: Whom<'_>,
    check: &Check,
    timeout: Duration,
) -> Found {
    let limit = match check {
        // The runner keeps the time and says so better; this is for a runner that hangs.
        Check::Command { .. } => timeout + Duration::from_secs(5),
        _ => timeout,
    };
    let asked = async {
        match check {
            Check::Http { port, path } => http::get(reach(whom, *port)?, path).await,
            Check::Tcp { port } => tcp(reach(whom, *port)?).await,
            Check::Command { argv } => command(runner, whom, argv, timeout).await,
        }
    };
    let found = runtime::clock::timeout(clock, limit, asked).await;
    found.unwrap_or_else(|_| Err(format!("{} gave no answer within {timeout:?}", question(whom, check))))
}

fn reach(whom: Whom<'_>, port: u16) -> Result<SocketAddr, String> {
    let address =
        whom.address.ok_or_else(|| format!("`{}` has no address that port {port} could be asked at", whom.id))?;
    Ok(SocketAddr::new(address, port))
}

/// The question in words.
fn question(whom: Whom<'_>, check: &Check) -> String {
    let host = whom.address.map_or_else(|| whom.id.to_string(), |ip| ip.to_string());
    match check {
        Check::Http { port, path } => format!("GET http://{host}:{port}{path}"),
        Check::Tcp { port } => format!("connecting to {host}:{port}"),
        Check::Command { argv } => format!("`{}`", shown(argv)),
    }
}

async fn tcp(address: SocketAddr) -> Found {
    match TcpStream::connect(address).await {
        Ok(_) => Ok(format!("connected to {address}")),
        Err(error) => Err(format!("connecting to {address}: {}", reason(&error))),
    }
}

async fn command(runner: &dyn CommandRunner, whom: Whom<'_>, argv: &[String], timeout: Duration) -> Found {
    let line = shown(argv);
    let (end, output) = match runner.run(whom.stack, whom.id, argv, timeout).await {
        Ok(answer) => answer,
        Err(error) => return Err(format!("`{line}` could not be run: {}", runtime::tasks::chain(&*error))),
    };
    let said = head(&output);
    let said = if said.is_empty() { String::new() } else { format!(": {said}") };
    match end {
        CommandEnd::Code(0) => Ok(format!("`{line}` exited with 0{said}")),
        CommandEnd::Code(code) => Err(format!("`{line}` exited with {code}{said}")),
        CommandEnd::Signal(signal) => Err(format!("`{line}` was ended by signal {signal}{said}")),
        CommandEnd::TimedOut => Err(format!("`{line}` took longer than {timeout:?}{said}")),
        CommandEnd::NotFound => Err(format!("`{line}`: no such program inside the replica")),
    }
}

/// A command line as far as it may be shown: its program. Arguments are where passwords are given.
pub fn shown(argv: &[String]) -> String {
    match argv {
        [] => String::new(),
        [program] => program.clone(),
        [program, ..] => format!("{program} …"),
    }
}

/// An input/output error without the number that the standard library appends.
fn reason(error: &std::io::Error) -> String {
    match error.kind() {
        std::io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        std::io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        _ => error.to_string(),
    }
}

/// The begin of an answer as one printable line.
fn head(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(&bytes[..bytes.len().min(KEPT)]);
    let printable = |c: char| if c.is_control() { ' ' } else { c };
    let line: String = text.chars().map(printable).collect();
    line.split_whitespace().collect::<Vec<_>>().join(" ")
}
