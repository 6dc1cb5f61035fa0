//! The shim: one small process per native replica that makes its namespaces, owns its pipes and outlives the daemon.
//!
//! The life of it, in order: read the spec from fd 0, take the folder's lock, leave the daemon (fork, new session),
//! build the sandbox, start the workload, supervise until it has ended, write the final status.
//! It decides nothing about restarts and never talks to the network. Start reading at [`supervisor`].
//!
//! Exit codes of the process that the daemon started (the shim proper is its child and goes on):
//! 0 the workload runs or prepares its data; 1 it failed, the status says how; 2 the shim could not even begin,
//! stderr says why; 3 another shim holds the folder.
#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a process of its own: here is the machine")]

mod child;
mod clock;
mod failure;
mod init;
mod inside;
mod log;
mod oom;
mod postgres;
mod record;
mod root;
mod seccomp;
mod server;
mod supervisor;
mod sys;
mod workload;

use failure::{At, Failure};
use rustix::fd::{AsFd, OwnedFd};
use shim::spec::{self, Spec};
use shim::status::Step;
use std::fs::File;
use std::io::Read;
use std::process::ExitCode;

fn main() -> ExitCode {
    let _ = rustix::thread::set_name(c"mainstay-shim");
    match begin() {
        Ok(code) => code,
        Err(failure) => {
            eprintln!("could not {}: {}", failure.step, failure.message);
            ExitCode::from(2)
        }
    }
}

fn begin() -> Result<ExitCode, Failure> {
    let spec = read_spec()?;
    let Some(lock) = shim::life::hold(&spec.dir).at(Step::Folder, || spec.dir.join("lock").display().to_string())?
    else {
        eprintln!("another shim holds {}", spec.dir.display());
        return Ok(ExitCode::from(3));
    };
    let (answer, promise) = pipe(Step::Folder)?;
    match sys::fork().at(Step::Namespaces, || "fork".into())? {
        sys::Fork::Parent(_) => {
            drop(promise);
            let mut byte = [0];
            let is_up = matches!(File::from(answer).read(&mut byte), Ok(1)) && byte[0] == supervisor::UP;
            Ok(if is_up { ExitCode::SUCCESS } else { ExitCode::from(1) })
        }
        sys::Fork::Child => {
            drop(answer);
            detach(&lock, &promise)?;
            supervisor::run(spec, lock, promise);
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn read_spec() -> Result<Spec, Failure> {
    let mut json = Vec::new();
    std::io::stdin().lock().read_to_end(&mut json).at(Step::Spec, || "read it".into())?;
    let spec: Spec = serde_json::from_slice(&json).at(Step::Spec, || "understand it".into())?;
    let wrong = |message: String| Err(Failure::new(Step::Spec, message));
    if spec.version != spec::VERSION {
        return wrong(format!("it has version {}, this shim reads {}", spec.version, spec::VERSION));
    }
    if spec.workload.argv.is_empty() {
        return wrong("there is no program in it".into());
    }
    if spec.identity.uid == 0 || spec.identity.gid == 0 {
        return wrong("a workload never runs as the machine's root".into());
    }
    Ok(spec)
}

/// Leaves everything of the daemon behind: session, standard streams, open files, working directory.
fn detach(lock: &File, promise: &OwnedFd) -> Result<(), Failure> {
    rustix::process::setsid().at(Step::Folder, || "begin a session".into())?;
    rustix::process::chdir("/").at(Step::Folder, || "leave the working directory".into())?;
    let null = File::options().read(true).write(true).open("/dev/null").at(Step::Folder, || "/dev/null".into())?;
    rustix::stdio::dup2_stdin(&null).at(Step::Folder, || "stdin".into())?;
    rustix::stdio::dup2_stdout(&null).at(Step::Folder, || "stdout".into())?;
    rustix::stdio::dup2_stderr(&null).at(Step::Folder, || "stderr".into())?;
    sys::close_all_but(&[lock.as_fd(), promise.as_fd()]).at(Step::Folder, || "close inherited files".into())
}

fn pipe(step: Step) -> Result<(OwnedFd, OwnedFd), Failure> {
    rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).at(step, || "make a pipe".into())
}
