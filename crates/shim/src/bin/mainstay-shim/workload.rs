//! From a forked child of the shim to the workload's program: enter the sandbox, become nobody, hand over.
//!
//! The order matters: control groups are joined while the machine's files are still in sight, limits and groups are
//! set while there is still the right to, and the user is given up last.

use crate::failure::{At, Failure, Report, Reporter};
use crate::{postgres, seccomp, sys};
use rustix::fd::OwnedFd;
use rustix::process::{Resource, Rlimit};
use rustix::thread::{CapabilitySet, CapabilitySets, ThreadNameSpaceType, UnshareFlags};
use shim::spec::{Prepare, Spec};
use shim::status::Step;
use std::ffi::CString;
use std::io;
use std::path::Path;

const DEFAULT_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// A program to be run inside a replica.
pub(crate) struct Program<'a> {
    pub(crate) argv: &'a [String],
    pub(crate) env: Vec<(String, String)>,
    pub(crate) cwd: &'a str,
    pub(crate) user: (u32, u32),
    pub(crate) prepare: Option<&'a Prepare>,
    /// The null device of the replica when none.
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: OwnedFd,
    pub(crate) stderr: OwnedFd,
    pub(crate) tty: bool,
}

/// Never returns: the program takes over, or the process ends after reporting why not.
pub(crate) fn run(program: Program<'_>, spec: &Spec, init: &OwnedFd, report: OwnedFd) -> ! {
    let mut reporter = Reporter::new(report);
    let Err(failure) = hand_over(program, spec, init, &mut reporter);
    reporter.send(&Report::Failed(failure));
    sys::exit(127)
}

fn hand_over(
    program: Program<'_>,
    spec: &Spec,
    init: &OwnedFd,
    reporter: &mut Reporter,
) -> Result<std::convert::Infallible, Failure> {
    rustix::process::setsid().at(Step::Namespaces, || "begin a session".into())?;
    sys::leave_keyring();
    for cgroup in &spec.cgroups {
        let procs = cgroup.dir.join("cgroup.procs");
        std::fs::write(&procs, "0").at(Step::Cgroups, || procs.display().to_string())?;
    }
    enter(init)?;
    limits(spec, reporter)?;
    rustix::process::chdir(program.cwd).at(Step::Root, || format!("working directory {}", program.cwd))?;
    let tty = program.tty;
    streams(program.stdin, program.stdout, program.stderr)?;
    if tty {
        rustix::process::ioctl_tiocsctty(rustix::stdio::stdin()).at(Step::Namespaces, || "take the terminal".into())?;
    }
    become_user(spec, program.user).at(Step::Identity, || format!("user {}", program.user.0))?;
    seccomp::filter().at(Step::Identity, || "filter its system calls".into())?;
    sys::reset_signals();
    if let Some(Prepare::Postgres(init)) = program.prepare {
        reporter.send(&Report::Step(Step::Prepare));
        postgres::prepare(init, &program.env)?;
    }
    reporter.send(&Report::Exec);
    Err(exec(program.argv, &program.env))
}

fn enter(init: &OwnedFd) -> Result<(), Failure> {
    use ThreadNameSpaceType as Kind;
    let kinds = Kind::MOUNT | Kind::INTER_PROCESS_COMMUNICATION | Kind::HOST_NAME_AND_NIS_DOMAIN_NAME | Kind::NETWORK;
    rustix::thread::move_into_thread_name_spaces(rustix::fd::AsFd::as_fd(init), kinds)
        .at(Step::Namespaces, || "enter those of its first process".into())?;
    // Hides the machine's groups from it. A kernel without control groups has nothing to hide.
    let _ = sys::unshare(UnshareFlags::NEWCGROUP);
    Ok(())
}

fn limits(spec: &Spec, reporter: &mut Reporter) -> Result<(), Failure> {
    if let Some(score) = spec.oom_score_adj
        && let Err(error) = std::fs::write("/proc/self/oom_score_adj", score.to_string())
    {
        reporter.send(&Report::Note(format!("its out-of-memory score could not be set to {score}: {error}")));
    }
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(spec.identity.umask));
    for limit in &spec.rlimits {
        let resource = resource(&limit.resource)
            .ok_or_else(|| Failure::new(Step::Limits, format!("there is no limit `{}`", limit.resource)))?;
        let number = |value| (value != u64::MAX).then_some(value);
        let new = Rlimit { current: number(limit.soft), maximum: number(limit.hard) };
        let subject = || format!("`{}` {}:{}", limit.resource, limit.soft, limit.hard);
        match rustix::process::setrlimit(resource, new) {
            Err(rustix::io::Errno::PERM) => {
                // Raising one takes a right that the daemon itself may lack, in a container for example.
                let most = rustix::process::getrlimit(resource).maximum;
                let least = |wanted: Option<u64>| [wanted, most].into_iter().flatten().min();
                let possible = Rlimit { current: least(new.current), maximum: least(new.maximum) };
                rustix::process::setrlimit(resource, possible).at(Step::Limits, subject)?;
                let most = most.map_or("unlimited".to_owned(), |most| most.to_string());
                if limit.is_wanted {
                    let note = format!("limit {} was lowered to {most}: more is not permitted", subject());
                    reporter.send(&Report::Note(note));
                }
            }
            result => result.at(Step::Limits, subject)?,
        }
    }
    Ok(())
}

fn resource(name: &str) -> Option<Resource> {
    Some(match name {
        "as" => Resource::As,
        "core" => Resource::Core,
        "cpu" => Resource::Cpu,
        "data" => Resource::Data,
        "fsize" => Resource::Fsize,
        "locks" => Resource::Locks,
        "memlock" => Resource::Memlock,
        "msgqueue" => Resource::Msgqueue,
        "nice" => Resource::Nice,
        "nofile" => Resource::Nofile,
        "nproc" => Resource::Nproc,
        "rss" => Resource::Rss,
        "rtprio" => Resource::Rtprio,
        "rttime" => Resource::Rttime,
        "sigpending" => Resource::Sigpending,
        "stack" => Resource::Stack,
        _ => return None,
    })
}

fn streams(stdin: Option<OwnedFd>, stdout: OwnedFd, stderr: OwnedFd) -> Result<(), Failure> {
    let stdin = match stdin {
        Some(fd) => fd,
        None => std::fs::File::open("/dev/null").at(Step::Root, || "/dev/null".into())?.into(),
    };
    // Pipes and terminals are made by others; the program must be able to open them again by name.
    let set = (|| {
        rustix::stdio::dup2_stdin(&stdin)?;
        rustix::stdio::dup2_stdout(&stdout)?;
        rustix::stdio::dup2_stderr(&stderr)
    })();
    set.at(Step::Root, || "standard streams".into())
}

/// Gives up being root, for good: afterwards nothing the program runs can gain anything.
fn become_user(spec: &Spec, (uid, gid): (u32, u32)) -> io::Result<()> {
    use rustix::fs::{Gid, Uid};
    for number in 0..64 {
        if spec.capabilities.bounding & (1 << number) == 0 {
            match rustix::thread::remove_capability_from_bounding_set(capability(number)) {
                // The kernel knows no capability of this number, nor any above it.
                Err(rustix::io::Errno::INVAL) => break,
                result => result?,
            }
        }
    }
    let groups: Vec<Gid> = spec.identity.groups.iter().map(|&gid| Gid::from_raw(gid)).collect();
    rustix::thread::set_thread_groups(&groups)?;
    let gid = Gid::from_raw(gid);
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_keep_capabilities(true)?;
    let uid = Uid::from_raw(uid);
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    rustix::thread::set_keep_capabilities(false)?;
    let ambient = CapabilitySet::from_bits_retain(spec.capabilities.ambient);
    let sets = CapabilitySets { effective: ambient, permitted: ambient, inheritable: ambient };
    rustix::thread::set_capabilities(None, sets)?;
    for number in (0..64).filter(|number| spec.capabilities.ambient & (1 << number) != 0) {
        rustix::thread::configure_capability_in_ambient_set(capability(number), true)?;
    }
    Ok(rustix::thread::set_no_new_privs(true)?)
}

fn capability(number: u32) -> CapabilitySet {
    CapabilitySet::from_bits_retain(1 << number)
}

/// Replaces this process by the program. Returns only when that fails.
fn exec(argv: &[String], env: &[(String, String)]) -> Failure {
    let program = argv[0].as_str();
    let text = |text: &str| CString::new(text);
    let args: Result<Vec<CString>, _> = argv.iter().map(|arg| text(arg)).collect();
    let vars: Result<Vec<CString>, _> = env.iter().map(|(name, value)| text(&format!("{name}={value}"))).collect();
    let (Ok(args), Ok(vars)) = (args, vars) else {
        return Failure::new(Step::Exec, "an argument or a variable holds a zero byte");
    };
    let path = env.iter().find(|(name, _)| name == "PATH").map_or(DEFAULT_PATH, |(_, value)| value);
    let candidates: Vec<String> = match program.contains('/') {
        true => vec![program.to_owned()],
        false => path.split(':').map(|dir| format!("{}/{program}", if dir.is_empty() { "." } else { dir })).collect(),
    };
    let mut denied = None;
    for candidate in &candidates {
        let Ok(file) = text(candidate) else { continue };
        let error = sys::exec(&file, &args, &vars);
        match error.kind() {
            io::ErrorKind::NotFound if !Path::new(candidate).exists() => {}
            io::ErrorKind::NotADirectory => {}
            _ => {
                denied.get_or_insert((candidate.clone(), error));
            }
        }
    }
    match denied {
        Some((path, error)) => Failure::new(Step::Exec, explain(&path, &error)),
        None => {
            let place = if program.contains('/') { String::new() } else { format!(" in PATH ({path})") };
            let message = format!("`{program}` not found{place} in the private root");
            Failure { step: Step::Exec, message, not_found: true }
        }
    }
}

fn explain(path: &str, error: &io::Error) -> String {
    match error.raw_os_error() {
        Some(libc::ENOEXEC) => {
            format!("`{path}` is no program for this machine; a script begins with `#!` and its interpreter")
        }
        Some(libc::ENOENT) => format!("`{path}` exists, but its interpreter or loader does not"),
        Some(libc::EACCES) => format!("no permission to run `{path}`: it must be executable for the service's user"),
        _ => format!("`{path}`: {error}"),
    }
}
