//! The first process of a replica's process namespace: builds its root, then only keeps the namespace alive.
//!
//! It reaps what nobody waits for (the kernel does it, once asked), holds no open file, and dies with the shim:
//! with it the kernel ends every process of the namespace, so that none is ever left unobserved.

use crate::failure::{At, Failure, Report, Reporter};
use crate::{root, sys};
use rustix::event::{PollFd, PollFlags, Timespec};
use rustix::fd::OwnedFd;
use rustix::process::Signal;
use rustix::thread::{CapabilitySet, CapabilitySets, LinkNameSpaceType, UnshareFlags};
use shim::spec::Spec;
use shim::status::Step;
use std::fs::File;

/// Never returns: the process ends by being killed, or after a failure that it has reported.
pub(crate) fn run(spec: &Spec, report: OwnedFd) -> ! {
    let tied = tie_to_shim(&report);
    let mut reporter = Reporter::new(report);
    if let Err(failure) = tied.and_then(|()| build(spec, &mut reporter)) {
        reporter.send(&Report::Failed(failure));
        sys::exit(1);
    }
    reporter.send(&Report::RootReady);
    drop(reporter);
    let _ = sys::close_all_but(&[]);
    let none = CapabilitySet::empty();
    let _ =
        rustix::thread::set_capabilities(None, CapabilitySets { effective: none, permitted: none, inheritable: none });
    loop {
        sys::pause();
    }
}

/// Has the kernel end this process with the shim.
///
/// A shim that died before it was asked for is noticed by its end of the pipe, which is closed then: the number of a
/// parent outside the namespace reads as 0, dead or alive.
fn tie_to_shim(report: &OwnedFd) -> Result<(), Failure> {
    let subject = || "tie its life to the shim's".to_owned();
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL)).at(Step::Namespaces, subject)?;
    let mut fds = [PollFd::new(report, PollFlags::OUT)];
    rustix::event::poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).at(Step::Namespaces, subject)?;
    if fds[0].revents().contains(PollFlags::ERR) {
        sys::exit(1);
    }
    Ok(())
}

fn build(spec: &Spec, reporter: &mut Reporter) -> Result<(), Failure> {
    let _ = rustix::thread::set_name(c"mainstay-init");
    sys::leave_keyring();
    sys::reap_by_itself();
    if let Some(path) = &spec.network {
        let subject = || path.display().to_string();
        let namespace = File::open(path).at(Step::Network, subject)?;
        rustix::thread::move_into_link_name_space(
            rustix::fd::AsFd::as_fd(&namespace),
            Some(LinkNameSpaceType::Network),
        )
        .at(Step::Network, subject)?;
    }
    sys::unshare(UnshareFlags::NEWNS | UnshareFlags::NEWIPC | UnshareFlags::NEWUTS)
        .at(Step::Namespaces, || "mount, ipc and host name".into())?;
    rustix::system::sethostname(spec.identity.hostname.as_bytes())
        .at(Step::Namespaces, || format!("host name `{}`", spec.identity.hostname))?;
    root::build(spec, &mut |note| reporter.send(&Report::Note(note)))
}
