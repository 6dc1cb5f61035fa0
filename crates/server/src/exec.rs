//! One `exec` or `run`: frames on one side, a command inside a replica on the other.
//!
//! Owns the pipes or the terminal in between. A client that goes away ends the command: its standard input and
//! output are closed, and a one-off replica is removed.

use crate::api::ApiError;
use crate::api::exec::{ExecRequest, ExecResult, Frame, MAX_FRAME, Resize};
use crate::daemon::Daemon;
use crate::stack::Handle;
use engine::{Exec, ExecExit};
use model::{ReplicaId, StackId};
use plan::action::replica;
use runtime::{BoxError, CancellationToken, OnError};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

/// Where the command runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum What {
    /// In a replica that runs.
    InReplica,
    /// In a replica of its own.
    OneOff,
}

/// One session.
pub struct Session {
    daemon: Arc<Daemon>,
    handle: Handle,
    what: What,
}

type Out = mpsc::Sender<(Frame, Vec<u8>)>;

impl Session {
    /// A session of `daemon` on a stack.
    pub fn new(daemon: Arc<Daemon>, handle: Handle, what: What) -> Self {
        Self { daemon, handle, what }
    }

    /// Serves the upgraded connection to its end.
    pub async fn serve(
        self,
        stream: impl AsyncRead + AsyncWrite + Send + 'static,
        stop: CancellationToken,
    ) -> Result<(), BoxError> {
        let (mut read, mut write) = tokio::io::split(stream);
        let (out, mut frames) = mpsc::channel::<(Frame, Vec<u8>)>(64);
        let writer = self.daemon.tasks().spawn("exec output", OnError::Log, move |_| async move {
            while let Some((kind, bytes)) = frames.recv().await {
                write_frame(&mut write, kind, &bytes).await?;
            }
            write.shutdown().await
        });
        let result = tokio::select! {
            result = self.run(&mut read, &out) => result,
            () = stop.cancelled() => Err(ApiError::new(503, "MS0201", "the daemon is shutting down")),
        };
        let (kind, bytes) = match result {
            Ok(result) => (Frame::Result, serde_json::to_vec(&result)?),
            Err(error) => (Frame::Error, serde_json::to_vec(&error)?),
        };
        // Whoever has gone does not learn how it ended.
        let _ = out.send((kind, bytes)).await;
        drop(out);
        writer.ended().await;
        Ok(())
    }

    async fn run(&self, read: &mut (impl AsyncRead + Unpin), out: &Out) -> Result<ExecResult, ApiError> {
        let (kind, bytes) = read_frame(read).await.map_err(broken)?.ok_or_else(|| broken_text("it ended early"))?;
        if kind != Frame::Request {
            return Err(broken_text("its first frame is no request"));
        }
        let request: ExecRequest = serde_json::from_slice(&bytes).map_err(|error| broken_text(&error.to_string()))?;
        match self.what {
            What::InReplica => {
                let id = self.handle.pick(request.target.clone()).await?;
                self.command(&id, request, read, out).await
            }
            What::OneOff => self.one_off(request, read, out).await,
        }
    }

    /// A replica that idles, in which the command is run: so it has a terminal, input and an exit code of its own.
    async fn one_off(
        &self,
        mut request: ExecRequest,
        read: &mut (impl AsyncRead + Unpin),
        out: &Out,
    ) -> Result<ExecResult, ApiError> {
        let mut start = self.handle.one_off(request.target.clone()).await?;
        let own = crate::stack::one_off::idle(&mut start);
        if request.argv.is_empty() {
            request.argv = own.ok_or_else(|| {
                ApiError::new(
                    400,
                    "MS0210",
                    format!("`{}` runs an image, whose command is not known here", request.target),
                )
                .help("name the command after the service")
            })?;
        }
        let stack = self.handle.id().clone();
        let id = start.id.clone();
        let engine = self.daemon.engine();
        let perform = async |action| engine.perform(&stack, &action).await.map_err(|error| crate::failed(&error));
        let result = match perform(replica::Action::Start(Box::new(start))).await {
            Ok(()) => self.command(&id, request, read, out).await,
            Err(error) => Err(error),
        };
        let signal = 9;
        perform(replica::Action::Stop { id: id.clone(), signal, grace: Duration::ZERO }).await?;
        perform(replica::Action::Remove { id }).await?;
        result
    }

    async fn command(
        &self,
        id: &ReplicaId,
        request: ExecRequest,
        read: &mut (impl AsyncRead + Unpin),
        out: &Out,
    ) -> Result<ExecResult, ApiError> {
        let tty = request.tty;
        let io = Io::open(tty).map_err(|error| crate::failed(&error))?;
        let Io { stdio, terminal, stdin, outputs } = io;
        let exec = Exec {
            argv: request.argv.clone(),
            environment: request.environment,
            working_dir: request.working_dir,
            user: request.user,
            stdio,
            tty: tty.is_some(),
            timeout: None,
        };
        let pumps: Vec<_> = outputs.into_iter().map(|(kind, source)| self.pump(kind, source, out.clone())).collect();
        let engine = self.daemon.engine();
        let stack: &StackId = self.handle.id();
        let ended = tokio::select! {
            ended = engine.exec(stack, id, exec) => ended.map_err(|error| crate::failed(&error))?,
            gone = feed(read, stdin, terminal.as_ref()) => return Err(gone),
        };
        drop(terminal);
        for pump in pumps {
            pump.ended().await;
        }
        Ok(words(ended, &request.argv[0]))
    }

    fn pump(&self, kind: Frame, mut source: Box<dyn AsyncRead + Send + Unpin>, out: Out) -> runtime::tasks::Task {
        self.daemon.tasks().spawn("exec pump", OnError::Log, move |_| async move {
            let mut bytes = vec![0; 16 << 10];
            // A terminal whose last user has gone answers with an error: that is its end.
            while let Ok(count @ 1..) = source.read(&mut bytes).await {
                if out.send((kind, bytes[..count].to_vec())).await.is_err() {
                    break;
                }
            }
        })
    }
}

/// Both ends of a command's input and output.
struct Io {
    stdio: [OwnedFd; 3],
    terminal: Option<OwnedFd>,
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    outputs: Vec<(Frame, Box<dyn AsyncRead + Send + Unpin>)>,
}

impl Io {
    fn open(tty: Option<Resize>) -> std::io::Result<Self> {
        match tty {
            Some(size) => Self::terminal(size),
            None => Self::pipes(),
        }
    }

    fn pipes() -> std::io::Result<Self> {
        let (stdin, in_read) = pipe::pipe()?;
        let (stdin, in_read) = (stdin, in_read);
        let (out_write, stdout) = pipe::pipe()?;
        let (err_write, stderr) = pipe::pipe()?;
        let stdio = [in_read.into_blocking_fd()?, out_write.into_blocking_fd()?, err_write.into_blocking_fd()?];
        let outputs: Vec<(Frame, Box<dyn AsyncRead + Send + Unpin>)> =
            vec![(Frame::Stdout, Box::new(stdout)), (Frame::Stderr, Box::new(stderr))];
        Ok(Self { stdio, terminal: None, stdin: Box::new(stdin), outputs })
    }

    fn terminal(size: Resize) -> std::io::Result<Self> {
        let pair = runtime::terminal::open(size.rows, size.columns)?;
        let user = pair.user;
        let stdio = [user.try_clone()?, user.try_clone()?, user];
        let stream = runtime::terminal::Stream::new(pair.controller.try_clone()?)?;
        let (read, write) = tokio::io::split(stream);
        let outputs: Vec<(Frame, Box<dyn AsyncRead + Send + Unpin>)> = vec![(Frame::Stdout, Box::new(read))];
        Ok(Self { stdio, terminal: Some(pair.controller), stdin: Box::new(write), outputs })
    }
}

/// Passes the client's frames on; returns only when the client has gone or speaks nonsense.
async fn feed(
    read: &mut (impl AsyncRead + Unpin),
    stdin: Box<dyn AsyncWrite + Send + Unpin>,
    terminal: Option<&OwnedFd>,
) -> ApiError {
    let mut stdin = Some(stdin);
    loop {
        match read_frame(read).await {
            Ok(Some((Frame::Stdin, bytes))) => {
                // A command that has closed its input does not want the rest.
                if let Some(open) = &mut stdin
                    && open.write_all(&bytes).await.is_err()
                {
                    stdin = None;
                }
            }
            Ok(Some((Frame::StdinEnd, _))) => stdin = None,
            Ok(Some((Frame::Resize, bytes))) => {
                if let (Some(terminal), Ok(size)) = (terminal, serde_json::from_slice::<Resize>(&bytes)) {
                    // A window that cannot be resized keeps its size.
                    let _ = runtime::terminal::resize(terminal.as_fd(), size.rows, size.columns);
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => return broken_text("the client has gone"),
            Err(error) => return broken(error),
        }
    }
}

fn words(exit: ExecExit, program: &str) -> ExecResult {
    match exit {
        ExecExit::Code(code) => ExecResult { code, text: format!("exited with code {code}") },
        ExecExit::Signal(signal) => ExecResult { code: 128 + signal, text: format!("ended by signal {signal}") },
        ExecExit::TimedOut => ExecResult { code: 124, text: "took too long and was ended".into() },
        ExecExit::NotFound => ExecResult { code: 127, text: format!("`{program}` is not there inside the replica") },
    }
}

fn broken(error: std::io::Error) -> ApiError {
    broken_text(&error.to_string())
}

fn broken_text(why: &str) -> ApiError {
    ApiError::new(400, "MS0211", format!("the connection for the command broke: {why}"))
}

async fn read_frame(read: &mut (impl AsyncRead + Unpin)) -> std::io::Result<Option<(Frame, Vec<u8>)>> {
    let mut head = [0; 5];
    if read.read(&mut head[..1]).await? == 0 {
        return Ok(None);
    }
    read.read_exact(&mut head[1..]).await?;
    let length = u32::from_be_bytes([head[1], head[2], head[3], head[4]]);
    let bad = |text: String| std::io::Error::new(std::io::ErrorKind::InvalidData, text);
    let kind = Frame::from_byte(head[0]).ok_or_else(|| bad(format!("there is no frame {}", head[0])))?;
    if length > MAX_FRAME {
        return Err(bad(format!("a frame of {length} bytes is over the limit of {MAX_FRAME}")));
    }
    let mut bytes = vec![0; length as usize];
    read.read_exact(&mut bytes).await?;
    Ok(Some((kind, bytes)))
}

async fn write_frame(write: &mut (impl AsyncWrite + Unpin), kind: Frame, bytes: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(bytes.len()).expect("pumps read far less than 4 GiB at once");
    write.write_all(&[kind as u8]).await?;
    write.write_all(&length.to_be_bytes()).await?;
    write.write_all(bytes).await?;
    write.flush().await
}
