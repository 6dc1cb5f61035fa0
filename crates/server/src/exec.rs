//! One `exec` or `run`: frames on one side, a command inside a replica on the other.
//!
//! Owns the pipes or the terminal in between. The client is always listened to, whatever the command does: input has a
//! window, so that what a command does not read stops the client and never us. A client that goes away or passes a
//! signal on ends the command, and a one-off replica is removed.

use crate::api::ApiError;
use crate::api::exec::{ExecRequest, ExecResult, Frame, MAX_FRAME, Resize, WINDOW};
use crate::daemon::Daemon;
use crate::stack::Handle;
use engine::images::Facts;
use engine::{Engine, Exec, ExecExit};
use model::project::Runs;
use model::{ReplicaId, StackId};
use plan::action::replica;
use runtime::{BoxError, CancellationToken, OnError, Tasks};
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::unix::pipe;
use tokio::sync::mpsc;

#[cfg(test)]
mod tests;

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
        let result = self.run(&mut read, &out, &stop).await;
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

    async fn run(
        &self,
        read: &mut (impl AsyncRead + Unpin),
        out: &Out,
        stop: &CancellationToken,
    ) -> Result<ExecResult, ApiError> {
        let first = stop.run_until_cancelled(read_frame(read)).await.ok_or_else(shutting_down)?;
        let (kind, bytes) = first.map_err(broken)?.ok_or_else(|| broken_text("it ended early"))?;
        if kind != Frame::Request {
            return Err(broken_text("its first frame is no request"));
        }
        let request: ExecRequest = serde_json::from_slice(&bytes).map_err(|error| broken_text(&error.to_string()))?;
        match self.what {
            What::InReplica => {
                let id = self.handle.pick(request.target.clone()).await?;
                self.command(&id, request, read, out, stop).await
            }
            What::OneOff => self.one_off(request, read, out, stop).await,
        }
    }

    /// A replica that idles, in which the command is run: so it has a terminal, input and an exit code of its own.
    async fn one_off(
        &self,
        mut request: ExecRequest,
        read: &mut (impl AsyncRead + Unpin),
        out: &Out,
        stop: &CancellationToken,
    ) -> Result<ExecResult, ApiError> {
        let mut start = self.handle.one_off(request.target.clone()).await?;
        let engine = self.daemon.engine(self.handle.id());
        let facts = facts(engine, &start).await?;
        let own = crate::stack::one_off::idle(&mut start, facts.as_ref());
        if request.argv.is_empty() {
            request.argv = own.command.ok_or_else(|| {
                ApiError::new(
                    400,
                    "MS0210",
                    format!("`{}` runs an image, whose command is not known here", request.target),
                )
                .help("name the command after the service")
            })?;
        }
        request.argv.splice(0..0, own.entrypoint);
        let (stack, id) = (self.handle.id(), start.id.clone());
        let result = match engine.perform(stack, &replica::Action::Start(Box::new(start))).await {
            Ok(()) => self.command(&id, request, read, out, stop).await,
            Err(error) => Err(crate::failed(&error)),
        };
        crate::stack::one_off::remove(engine, stack, id).await.map_err(|error| crate::failed(&error))?;
        result
    }

    async fn command(
        &self,
        id: &ReplicaId,
        request: ExecRequest,
        read: &mut (impl AsyncRead + Unpin),
        out: &Out,
        stop: &CancellationToken,
    ) -> Result<ExecResult, ApiError> {
        let place = Place { engine: self.daemon.engine(self.handle.id()), stack: self.handle.id(), id };
        tokio::select! {
            result = converse(place, request, self.daemon.tasks(), read, out) => result,
            () = stop.cancelled() => Err(shutting_down()),
        }
    }
}

/// What its image says of itself, where the engine runs images.
async fn facts(engine: &dyn Engine, start: &replica::Start) -> Result<Option<Facts>, ApiError> {
    let pin = match &start.template.runs {
        Runs::Image { pin, .. } | Runs::Build { pin, .. } => pin.as_ref(),
        Runs::Process { .. } | Runs::Static { .. } => None,
    };
    match engine.images().zip(pin) {
        Some((images, pin)) => images.inspect(pin).await.map_err(|error| crate::failed(&error)),
        None => Ok(None),
    }
}

/// The replica a command runs in.
#[derive(Clone, Copy)]
struct Place<'a> {
    engine: &'a dyn Engine,
    stack: &'a StackId,
    id: &'a ReplicaId,
}

/// Runs a command to its end, or until the client ends it. Dropping the future ends the command as well.
async fn converse(
    place: Place<'_>,
    request: ExecRequest,
    tasks: &Tasks,
    read: &mut (impl AsyncRead + Unpin),
    out: &Out,
) -> Result<ExecResult, ApiError> {
    let Some(program) = request.argv.first().cloned() else {
        return Err(ApiError::new(400, "MS0235", "no command is named, `argv` is empty").help("name a program to run"));
    };
    let io = Io::open(request.tty).map_err(|error| crate::failed(&error))?;
    let Io { stdio, terminal, stdin, outputs } = io;
    let exec = Exec {
        argv: request.argv,
        environment: request.environment,
        working_dir: request.working_dir,
        user: request.user,
        stdio,
        tty: request.tty.is_some(),
        timeout: None,
    };
    // Whoever holds the command's input and output open after it must not hold us.
    let over = CancellationToken::new();
    let _over = over.clone().drop_guard();
    let pumps: Vec<_> =
        outputs.into_iter().map(|(kind, source)| pump(tasks, kind, source, out.clone(), over.clone())).collect();
    let mut client = Client { input: Some(Input::begin(tasks, stdin, out.clone(), over)), terminal };
    let ended = tokio::select! {
        ended = place.engine.exec(place.stack, place.id, exec) => ended.map_err(|error| crate::failed(&error))?,
        left = client.listen(read) => ExecExit::Signal(left?),
    };
    client.terminal = None;
    // What the command left behind may hold its output open for longer than anybody wants to wait.
    let pumped = async {
        for pump in pumps {
            pump.ended().await;
        }
    };
    tokio::select! {
        () = pumped => {}
        _ = client.listen(read) => {}
    }
    Ok(words(ended, &program))
}

fn pump(
    tasks: &Tasks,
    kind: Frame,
    mut source: Box<dyn AsyncRead + Send + Unpin>,
    out: Out,
    over: CancellationToken,
) -> runtime::tasks::Task {
    tasks.spawn("exec pump", OnError::Log, move |_| async move {
        let mut bytes = vec![0; 16 << 10];
        // A terminal whose last user has gone answers with an error: that is its end.
        while let Some(Ok(count @ 1..)) = over.run_until_cancelled(source.read(&mut bytes)).await {
            if out.send((kind, bytes[..count].to_vec())).await.is_err() {
                break;
            }
        }
    })
}

/// The way to a command's standard input; dropping it is the input's end, after what was sent.
struct Input {
    bytes: mpsc::UnboundedSender<Vec<u8>>,
    /// Bytes that wait for the command to read them; the client keeps it within the window.
    waiting: Arc<AtomicUsize>,
}

impl Input {
    fn begin(tasks: &Tasks, mut stdin: Box<dyn AsyncWrite + Send + Unpin>, out: Out, over: CancellationToken) -> Self {
        let (bytes, mut arriving) = mpsc::unbounded_channel::<Vec<u8>>();
        let waiting = Arc::new(AtomicUsize::new(0));
        let taken = waiting.clone();
        tasks.spawn("exec input", OnError::Log, move |_| async move {
            let mut open = true;
            while let Some(Some(bytes)) = over.run_until_cancelled(arriving.recv()).await {
                // A command that has closed its input does not want the rest.
                open = open && matches!(over.run_until_cancelled(stdin.write_all(&bytes)).await, Some(Ok(())));
                taken.fetch_sub(bytes.len(), Ordering::Relaxed);
                let count = u32::try_from(bytes.len()).expect("frames are far shorter than 4 GiB").to_be_bytes();
                if out.send((Frame::Taken, count.to_vec())).await.is_err() {
                    break;
                }
            }
        });
        Self { bytes, waiting }
    }

    fn push(&self, bytes: Vec<u8>) -> Result<(), ApiError> {
        let waiting = self.waiting.fetch_add(bytes.len(), Ordering::Relaxed) + bytes.len();
        if waiting > WINDOW {
            return Err(broken_text(&format!("{waiting} bytes of input were sent ahead, at most {WINDOW} may be")));
        }
        // A command that has ended reads no more.
        let _ = self.bytes.send(bytes);
        Ok(())
    }
}

/// What the client's frames act on.
struct Client {
    input: Option<Input>,
    terminal: Option<OwnedFd>,
}

impl Client {
    /// Passes the client's frames on; returns the signal that shall end the command.
    ///
    /// Errors: the client has gone, or speaks nonsense.
    async fn listen(&mut self, read: &mut (impl AsyncRead + Unpin)) -> Result<i32, ApiError> {
        loop {
            match read_frame(read).await.map_err(broken)? {
                Some((Frame::Stdin, bytes)) => {
                    if let Some(input) = &self.input {
                        input.push(bytes)?;
                    }
                }
                Some((Frame::StdinEnd, _)) => self.input = None,
                Some((Frame::Resize, bytes)) => {
                    if let (Some(terminal), Ok(size)) = (&self.terminal, serde_json::from_slice::<Resize>(&bytes)) {
                        // A window that cannot be resized keeps its size.
                        let _ = runtime::terminal::resize(terminal.as_fd(), size.rows, size.columns);
                    }
                }
                Some((Frame::Signal, bytes)) => match bytes[..] {
                    [signal @ 1..=64] => return Ok(signal.into()),
                    _ => return Err(broken_text("a signal is one byte, from 1 to 64")),
                },
                Some(_) => {}
                None => return Err(broken_text("the client has gone")),
            }
        }
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

fn words(exit: ExecExit, program: &str) -> ExecResult {
    match exit {
        ExecExit::Code(code) => ExecResult { code, text: format!("exited with code {code}") },
        ExecExit::Signal(signal) => ExecResult { code: 128 + signal, text: format!("ended by signal {signal}") },
        ExecExit::TimedOut => ExecResult { code: 124, text: "took too long and was ended".into() },
        ExecExit::NotFound => ExecResult { code: 127, text: format!("`{program}` is not there inside the replica") },
    }
}

fn shutting_down() -> ApiError {
    ApiError::new(503, "MS0201", "the daemon is shutting down").help("try again once it is back")
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
