//! One upgraded connection: our input, size and signals in, the command's output and result out.

use super::terminal::{self, Raw};
use crate::client::frames;
use crate::exit::Failure;
use server::api::ApiError;
use server::api::exec::{ExecRequest, ExecResult, Frame, WINDOW};
use std::io::{self, Read as _};
use std::sync::Arc;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};

type Frames = mpsc::Sender<(Frame, Vec<u8>)>;

/// Serves a session to its end.
pub async fn serve(
    stream: impl AsyncRead + AsyncWrite + Send + 'static,
    request: &ExecRequest,
) -> Result<ExecResult, Failure> {
    let (mut read, mut write) = tokio::io::split(stream);
    let raw = match request.tty {
        Some(_) => {
            Some(Raw::begin().map_err(|error| Failure::failed("the terminal cannot be made raw").because(error))?)
        }
        None => None,
    };
    let request_frame = serde_json::to_vec(request).expect("plain data");
    frames::write(&mut write, Frame::Request, &request_frame).await.map_err(broken)?;

    let (out, mut outgoing) = mpsc::channel::<(Frame, Vec<u8>)>(16);
    let writer = tokio::spawn(async move {
        while let Some((kind, bytes)) = outgoing.recv().await {
            // The daemon has ended the session: its last frame says why.
            if frames::write(&mut write, kind, &bytes).await.is_err() {
                break;
            }
        }
        // Kept open to here: an end of the connection would end the command.
        write
    });
    // A command that does not read stops our input, and neither our memory nor our signals.
    let window = Arc::new(Semaphore::new(WINDOW));
    input(out.clone(), window.clone(), Handle::current());
    tokio::spawn(signals(out, request.tty.is_some()));
    let result = output(&mut read, &window).await;
    writer.abort();
    drop(raw);
    result
}

async fn output(read: &mut (impl AsyncRead + Unpin), window: &Semaphore) -> Result<ExecResult, Failure> {
    loop {
        let Some((kind, bytes)) = frames::read(read).await.map_err(broken)? else {
            return Err(broken(io::ErrorKind::UnexpectedEof.into()));
        };
        let unreadable =
            |error: serde_json::Error| Failure::failed("the daemon's answer cannot be read").because(error);
        match kind {
            Frame::Stdout => show(io::stdout().lock(), &bytes)?,
            Frame::Stderr => show(io::stderr().lock(), &bytes)?,
            Frame::Taken => {
                let taken = <[u8; 4]>::try_from(&bytes[..]).map(u32::from_be_bytes).unwrap_or_default() as usize;
                window.add_permits(taken.min(WINDOW));
            }
            Frame::Result => return serde_json::from_slice(&bytes).map_err(unreadable),
            Frame::Error => return Err(serde_json::from_slice::<ApiError>(&bytes).map_err(unreadable)?.into()),
            // Only clients send these.
            Frame::Request | Frame::Stdin | Frame::Resize | Frame::StdinEnd | Frame::Signal => {}
        }
    }
}

fn show(mut to: impl io::Write, bytes: &[u8]) -> Result<(), Failure> {
    match to.write_all(bytes).and_then(|()| to.flush()) {
        // Whoever read us has seen enough; the command is ended with the connection.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
            let exit = crate::exit::Exit::Passed(141);
            Err(Failure { exit, ..Failure::failed("nobody reads the output any more") })
        }
        Err(error) => Err(Failure::failed("the command's output cannot be written").because(error)),
        Ok(()) => Ok(()),
    }
}

// A thread of its own: a read of a terminal cannot be cancelled, and must not keep the program from ending.
fn input(to: Frames, window: Arc<Semaphore>, runtime: Handle) {
    std::thread::spawn(move || {
        let mut buffer = vec![0; 64 << 10];
        loop {
            match io::stdin().lock().read(&mut buffer) {
                Ok(0) => break,
                Ok(count) => {
                    let room = u32::try_from(count).expect("the buffer is small");
                    match runtime.block_on(window.acquire_many(room)) {
                        Ok(permit) => permit.forget(),
                        Err(_) => return,
                    }
                    if to.blocking_send((Frame::Stdin, buffer[..count].to_vec())).is_err() {
                        return;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Input that cannot be read has ended.
                Err(_) => break,
            }
        }
        // The session may be over already.
        let _ = to.blocking_send((Frame::StdinEnd, Vec::new()));
    });
}

// Sizes of the terminal, or signals where there is none.
async fn signals(to: Frames, tty: bool) {
    if tty {
        let Ok(mut changes) = signal(SignalKind::window_change()) else { return };
        while changes.recv().await.is_some() {
            let size = serde_json::to_vec(&terminal::size()).expect("plain data");
            if to.send((Frame::Resize, size)).await.is_err() {
                return;
            }
        }
        return;
    }
    let kinds = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()].map(signal);
    let [Ok(mut interrupt), Ok(mut terminate), Ok(mut hangup)] = kinds else { return };
    loop {
        let number = tokio::select! {
            _ = interrupt.recv() => SignalKind::interrupt(),
            _ = terminate.recv() => SignalKind::terminate(),
            _ = hangup.recv() => SignalKind::hangup(),
        };
        let number = u8::try_from(number.as_raw_value()).expect("signals are small numbers");
        if to.send((Frame::Signal, vec![number])).await.is_err() {
            return;
        }
    }
}

fn broken(error: io::Error) -> Failure {
    Failure::failed("the connection to the daemon broke; the command was ended with it").because(error)
}
