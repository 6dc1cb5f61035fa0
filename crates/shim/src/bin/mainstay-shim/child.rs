//! What a shim starts and reads: children that report until their program has taken over, and their output.

use crate::failure::{At, Failure, Reports};
use crate::log::{Lines, Stream};
use crate::sys;
use rustix::fd::OwnedFd;
use rustix::process::Pid;
use shim::spec::Spec;
use shim::status::Step;

/// A forked child.
pub(crate) struct Child {
    pub(crate) pid: Pid,
    /// Open until its program has taken over.
    pub(crate) report: Option<(OwnedFd, Reports)>,
    pub(crate) failure: Option<Failure>,
    pub(crate) has_exec: bool,
}

/// One of the workload's streams.
pub(crate) struct Output {
    pub(crate) pipe: Option<OwnedFd>,
    pub(crate) lines: Lines,
}

/// Forks a child that reports through a pipe until its program takes over.
pub(crate) fn spawn(run: impl FnOnce(OwnedFd)) -> Result<Child, Failure> {
    let (read, write) = crate::pipe(Step::Namespaces)?;
    match sys::fork().at(Step::Namespaces, || "fork".into())? {
        sys::Fork::Parent(pid) => {
            rustix::io::ioctl_fionbio(&read, true).at(Step::Namespaces, || "reports".into())?;
            Ok(Child { pid, report: Some((read, Reports::default())), failure: None, has_exec: false })
        }
        sys::Fork::Child => {
            drop(read);
            run(write);
            sys::exit(1)
        }
    }
}

pub(crate) fn output(stream: Stream, spec: &Spec) -> Result<(Output, OwnedFd), Failure> {
    let (read, write) = crate::pipe(Step::Folder)?;
    rustix::io::ioctl_fionbio(&read, true).at(Step::Folder, || "pipes".into())?;
    // Programs open `/dev/stdout` by name, which needs the right to.
    let (uid, gid) = (rustix::fs::Uid::from_raw(spec.identity.uid), rustix::fs::Gid::from_raw(spec.identity.gid));
    rustix::fs::fchown(&write, Some(uid), Some(gid)).at(Step::Folder, || "pipes".into())?;
    Ok((Output { pipe: Some(read), lines: Lines::new(stream) }, write))
}
