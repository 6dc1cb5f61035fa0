//! Compose's `cap_add` and `cap_drop` as the kernel's sets, and which of them a replica here can have.
//!
//! A replica shares the machine's user namespace, so a capability over files or other users would reach the machine.
//! Those that stay within its own namespaces are granted; those of Docker's default set that only serve a root
//! user are kept in the bounding set without effect; all others are refused.

use std::collections::BTreeSet;

/// The kernel's capabilities in the order of their numbers.
const NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];
/// What Docker gives.
const DEFAULT: [&str; 14] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "FSETID",
    "FOWNER",
    "MKNOD",
    "NET_RAW",
    "SETGID",
    "SETUID",
    "SETFCAP",
    "SETPCAP",
    "NET_BIND_SERVICE",
    "SYS_CHROOT",
    "KILL",
    "AUDIT_WRITE",
];
/// What reaches no further than the replica's own namespaces and groups.
const GRANTED: [&str; 7] =
    ["NET_BIND_SERVICE", "NET_BROADCAST", "NET_ADMIN", "NET_RAW", "IPC_LOCK", "SYS_NICE", "SYS_CHROOT"];

/// What is wrong with a list of capabilities.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, thiserror::Error)]
pub enum CapabilityError {
    /// It would reach the machine.
    #[error("capability `{0}` would reach the machine itself, the process engine does not grant it")]
    Refused(String),
    /// The kernel has none of this name.
    #[error("there is no capability `{0}`")]
    Unknown(String),
}

/// The sets for a replica.
///
/// Errors: every entry that cannot be had.
pub fn sets(add: &BTreeSet<String>, drop: &BTreeSet<String>) -> Result<shim::spec::Capabilities, Vec<CapabilityError>> {
    let mut errors = Vec::new();
    let mut bounding = 0;
    if !drop.contains("ALL") {
        bounding = DEFAULT.iter().filter_map(|name| bit(name)).fold(0, |all, bit| all | bit);
    }
    for name in drop.iter().filter(|name| *name != "ALL") {
        match bit(name) {
            Some(bit) => bounding &= !bit,
            None => errors.push(CapabilityError::Unknown(name.clone())),
        }
    }
    let mut ambient = 0;
    for name in add {
        match bit(name) {
            Some(bit) if GRANTED.contains(&name.as_str()) => {
                ambient |= bit;
                bounding |= bit;
            }
            Some(bit) if DEFAULT.contains(&name.as_str()) => bounding |= bit,
            None if name != "ALL" => errors.push(CapabilityError::Unknown(name.clone())),
            _ => errors.push(CapabilityError::Refused(name.clone())),
        }
    }
    if errors.is_empty() { Ok(shim::spec::Capabilities { bounding, ambient }) } else { Err(errors) }
}

/// Those of `add` that make no difference, since only a root user could use them.
pub fn without_effect(add: &BTreeSet<String>) -> impl Iterator<Item = &String> {
    add.iter().filter(|name| DEFAULT.contains(&name.as_str()) && !GRANTED.contains(&name.as_str()))
}

fn bit(name: &str) -> Option<u64> {
    NAMES.iter().position(|known| *known == name).map(|number| 1 << number)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(add: &[&str], drop: &[&str], want: Result<(&[&str], &[&str]), usize>) {
        let set = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
        let bits = |names: &[&str]| names.iter().map(|name| bit(name).expect("known")).sum::<u64>();
        let found = sets(&set(add), &set(drop)).map(|c| (c.bounding, c.ambient)).map_err(|errors| errors.len());
        assert_eq!(found, want.map(|(bounding, ambient)| (bits(bounding), bits(ambient))), "+{add:?} -{drop:?}");
    }

    #[test]
    fn capabilities_are_dockers_unless_they_reach_the_machine() {
        check(&[], &[], Ok((&DEFAULT, &[])));
        check(&[], &["ALL"], Ok((&[], &[])));
        check(&["NET_BIND_SERVICE"], &["ALL"], Ok((&["NET_BIND_SERVICE"], &["NET_BIND_SERVICE"])));
        check(&["CHOWN"], &["ALL"], Ok((&["CHOWN"], &[])));
        check(&["SYS_ADMIN", "NONSENSE"], &["NOTHING"], Err(3));
        check(&["ALL"], &[], Err(1));
    }

    #[test]
    fn numbers_are_the_kernels() {
        assert_eq!((bit("CHOWN"), bit("NET_RAW"), bit("SYS_ADMIN")), (Some(1), Some(1 << 13), Some(1 << 21)));
        assert_eq!(bit("CHECKPOINT_RESTORE"), Some(1 << 40));
    }
}
