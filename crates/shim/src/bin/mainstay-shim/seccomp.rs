//! The filter of system calls: what no application needs and what has led out of containers before.
//!
//! A short list of refused calls rather than a long one of allowed ones: a workload has no rights of root anyway, so
//! the filter only takes away what an ordinary user may ask of the kernel beyond files, memory, processes and
//! sockets. Tracing one's own processes stays allowed, as container engines do on kernels like these.

use crate::sys;
use std::io;

/// Flags of `clone` and `unshare` that make namespaces; in a new user namespace everybody is root.
const NAMESPACES: u32 = (libc::CLONE_NEWNS
    | libc::CLONE_NEWCGROUP
    | libc::CLONE_NEWUTS
    | libc::CLONE_NEWIPC
    | libc::CLONE_NEWUSER
    | libc::CLONE_NEWPID
    | libc::CLONE_NEWNET) as u32;

/// Refused whatever their arguments are.
const REFUSED: &[libc::c_long] = &[
    // Keys are not kept apart by any namespace.
    libc::SYS_add_key,
    libc::SYS_keyctl,
    libc::SYS_request_key,
    // Programs inside the kernel, and rings of calls that no filter sees.
    libc::SYS_bpf,
    libc::SYS_io_uring_setup,
    libc::SYS_io_uring_enter,
    libc::SYS_io_uring_register,
    libc::SYS_perf_event_open,
    libc::SYS_userfaultfd,
    // Mounts and other namespaces.
    libc::SYS_mount,
    libc::SYS_umount2,
    libc::SYS_pivot_root,
    libc::SYS_setns,
    libc::SYS_open_tree,
    libc::SYS_move_mount,
    libc::SYS_fsopen,
    libc::SYS_fsconfig,
    libc::SYS_fsmount,
    libc::SYS_fspick,
    libc::SYS_mount_setattr,
    // Files by number, past every folder.
    libc::SYS_open_by_handle_at,
    // The machine itself.
    libc::SYS_init_module,
    libc::SYS_finit_module,
    libc::SYS_delete_module,
    libc::SYS_kexec_load,
    libc::SYS_kexec_file_load,
    libc::SYS_reboot,
    libc::SYS_swapon,
    libc::SYS_swapoff,
    libc::SYS_acct,
    libc::SYS_quotactl,
    libc::SYS_syslog,
    libc::SYS_settimeofday,
    libc::SYS_clock_settime,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_iopl,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_ioperm,
];

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;
/// On x86-64 numbers from here on are another interface to the same calls.
const X32: u32 = 0x4000_0000;

/// Where a call's number, architecture and first argument (its lower half) lie in what the kernel shows.
const NUMBER: u32 = 0;
const ARCH: u32 = 4;
const ARGUMENT: u32 = 16;

const ALLOW: u32 = libc::SECCOMP_RET_ALLOW;
const REFUSE: u32 = libc::SECCOMP_RET_ERRNO | libc::EPERM as u32;
/// Libraries then use the older call.
const UNKNOWN: u32 = libc::SECCOMP_RET_ERRNO | libc::ENOSYS as u32;

/// Filters the calls of this process from now on; it must have given up gaining rights before.
pub(crate) fn filter() -> io::Result<()> {
    sys::filter_system_calls(&mut program())
}

fn program() -> Vec<libc::sock_filter> {
    let mut code = vec![
        load(ARCH),
        unless_equal(ARCHITECTURE, 1),
        skip(1),
        ret(UNKNOWN),
        load(NUMBER),
        step(libc::BPF_JMP | libc::BPF_JGE | libc::BPF_K, X32, 0, 1),
        ret(UNKNOWN),
        // Its flags lie in memory, where no filter can look.
        unless_equal(libc::SYS_clone3 as u32, 1),
        ret(UNKNOWN),
    ];
    for call in REFUSED {
        code.extend([unless_equal(*call as u32, 1), ret(REFUSE)]);
    }
    for call in [libc::SYS_clone, libc::SYS_unshare] {
        code.extend([
            unless_equal(call as u32, 4),
            load(ARGUMENT),
            step(libc::BPF_JMP | libc::BPF_JSET | libc::BPF_K, NAMESPACES, 0, 1),
            ret(REFUSE),
            ret(ALLOW),
        ]);
    }
    code.push(ret(ALLOW));
    code
}

fn step(code: u32, k: u32, jt: u8, jf: u8) -> libc::sock_filter {
    libc::sock_filter { code: code as u16, jt, jf, k }
}

fn load(at: u32) -> libc::sock_filter {
    step(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, at, 0, 0)
}

/// Skips so many steps when what was loaded is something else.
fn unless_equal(value: u32, steps: u8) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K, value, 0, steps)
}

fn skip(steps: u32) -> libc::sock_filter {
    step(libc::BPF_JMP | libc::BPF_JA, steps, 0, 0)
}

fn ret(value: u32) -> libc::sock_filter {
    step(libc::BPF_RET | libc::BPF_K, value, 0, 0)
}
