//! The few system calls that no safe wrapper offers. Everything unsafe of the shim is here.
//!
//! The shim is single-threaded in every one of its processes, which is what makes `fork` harmless.

use rustix::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd};
use std::ffi::{CStr, CString};
use std::io;

/// Which side of a fork this is.
pub(crate) enum Fork {
    Parent(rustix::process::Pid),
    Child,
}

/// Splits this process in two.
#[expect(unsafe_code, reason = "there is no safe fork")]
pub(crate) fn fork() -> io::Result<Fork> {
    // SAFETY: there is one thread only, so no lock can be left held in the child.
    match unsafe { libc::fork() } {
        -1 => Err(io::Error::last_os_error()),
        0 => Ok(Fork::Child),
        pid => Ok(Fork::Parent(rustix::process::Pid::from_raw(pid).expect("a child's number is positive"))),
    }
}

/// Ends this process at once, without running anything that belongs to its parent's half.
#[expect(unsafe_code, reason = "a forked child must not run exit handlers")]
pub(crate) fn exit(code: i32) -> ! {
    // SAFETY: has no preconditions.
    unsafe { libc::_exit(code) }
}

/// Leaves namespaces behind; those of children for `NEWPID`.
#[expect(unsafe_code, reason = "unsafe for CLONE_FILES only, which is not among the flags")]
pub(crate) fn unshare(flags: rustix::thread::UnshareFlags) -> io::Result<()> {
    assert!(!flags.contains(rustix::thread::UnshareFlags::FILES), "the table of open files stays shared");
    // SAFETY: asserted above.
    Ok(unsafe { rustix::thread::unshare_unsafe(flags) }?)
}

/// Blocks the signals a shim lives on and returns where they arrive instead.
#[expect(unsafe_code, reason = "rustix has no signalfd")]
pub(crate) fn signal_fd(signals: &[i32]) -> io::Result<OwnedFd> {
    // SAFETY: an all-zero set is a valid place to initialise; every pointer is to a live local.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        for &signal in signals {
            libc::sigaddset(&mut set, signal);
        }
        if libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) == -1 {
            return Err(io::Error::last_os_error());
        }
        match libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) {
            -1 => Err(io::Error::last_os_error()),
            fd => Ok(OwnedFd::from_raw_fd(fd)),
        }
    }
}

/// The signals that have arrived.
pub(crate) fn read_signals(fd: &OwnedFd) -> Vec<i32> {
    const SIZE: usize = size_of::<libc::signalfd_siginfo>();
    let mut signals = Vec::new();
    let mut buffer = [0u8; SIZE];
    while matches!(rustix::io::read(fd, &mut buffer), Ok(SIZE)) {
        let number = u32::from_ne_bytes([buffer[0], buffer[1], buffer[2], buffer[3]]);
        signals.push(number as i32);
    }
    signals
}

/// Gives every signal its default meaning and lets all of them through, as a fresh program expects.
#[expect(unsafe_code, reason = "rustix leaves signal dispositions to libc")]
pub(crate) fn reset_signals() {
    // SAFETY: no handler is installed, only defaults; the set is initialised before use.
    unsafe {
        for signal in 1..=64 {
            libc::signal(signal, libc::SIG_DFL);
        }
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&mut set);
        libc::sigprocmask(libc::SIG_SETMASK, &set, std::ptr::null_mut());
    }
}

/// Has the kernel reap every child of this process, its own and those it inherits.
#[expect(unsafe_code, reason = "rustix leaves signal dispositions to libc")]
pub(crate) fn reap_by_itself() {
    // SAFETY: no handler is installed.
    unsafe {
        libc::signal(libc::SIGCHLD, libc::SIG_IGN);
    }
}

/// Sleeps until the process is killed.
#[expect(unsafe_code, reason = "rustix has no pause")]
pub(crate) fn pause() {
    // SAFETY: has no preconditions.
    unsafe {
        libc::pause();
    }
}

/// Replaces this process by a program. Returns only when that fails.
#[expect(unsafe_code, reason = "rustix has no execve outside its runtime")]
pub(crate) fn exec(path: &CStr, argv: &[CString], env: &[CString]) -> io::Error {
    let pointers = |list: &[CString]| -> Vec<*const libc::c_char> {
        list.iter().map(|text| text.as_ptr()).chain([std::ptr::null()]).collect()
    };
    let (argv, env) = (pointers(argv), pointers(env));
    // SAFETY: both arrays end with a null pointer, and what they point to outlives the call.
    unsafe {
        libc::execve(path.as_ptr(), argv.as_ptr(), env.as_ptr());
    }
    io::Error::last_os_error()
}

/// Closes every file descriptor from 3 on, apart from these.
#[expect(unsafe_code, reason = "closing what one does not own is the purpose")]
pub(crate) fn close_all_but(keep: &[BorrowedFd<'_>]) -> io::Result<()> {
    let mut keep: Vec<u32> = keep.iter().map(|fd| fd.as_raw_fd() as u32).collect();
    keep.sort_unstable();
    let mut first = 3;
    for last in keep.into_iter().map(Some).chain([None]) {
        let until = last.map_or(u32::MAX, |fd| fd.saturating_sub(1));
        if first <= until {
            // SAFETY: nothing in this process uses a descriptor that is not in `keep`: it owns no others yet.
            if unsafe { libc::close_range(first, until, 0) } == -1 {
                return Err(io::Error::last_os_error());
            }
        }
        first = last.map_or(first, |fd| fd + 1);
    }
    Ok(())
}

/// Leaves the keys of whoever started the daemon behind, for an empty keyring. A kernel without keys has none.
#[expect(unsafe_code, reason = "the C library has no keyctl")]
pub(crate) fn leave_keyring() {
    const JOIN_SESSION_KEYRING: libc::c_long = 1;
    // SAFETY: without a name no pointer is read.
    unsafe {
        libc::syscall(libc::SYS_keyctl, JOIN_SESSION_KEYRING, 0);
    }
}

/// Has the kernel ask this program at every system call of this process and of all that it becomes.
#[expect(unsafe_code, reason = "rustix has no filters of system calls")]
pub(crate) fn filter_system_calls(program: &mut [libc::sock_filter]) -> io::Result<()> {
    let len = program.len().try_into().map_err(|_| io::Error::other("the filter is too long"))?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: the kernel copies the program, which outlives the call.
    match unsafe { libc::prctl(libc::PR_SET_SECCOMP, libc::SECCOMP_MODE_FILTER, &program) } {
        -1 => Err(io::Error::last_os_error()),
        _ => Ok(()),
    }
}

/// Gives freed memory back to the machine: a shim lives long and needs little after its start.
#[expect(unsafe_code, reason = "a call of the C library's allocator")]
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: has no preconditions.
    unsafe {
        libc::malloc_trim(0);
    }
}
