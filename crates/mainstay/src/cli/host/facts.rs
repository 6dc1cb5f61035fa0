//! What a host is, as `probe.sh` says it.
//!
//! Pure: text in, facts out. What they mean for us is said by [`super::checks`].

use crate::ui::paint::tame;
use std::collections::BTreeMap;

/// What a host is. What it did not say, or not in a form we know, is empty or none.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Facts {
    /// The distribution's short name, `debian`.
    pub id: String,
    /// Its version, `12`.
    pub release: String,
    /// Its name for people.
    pub name: String,
    /// The processor's architecture, `x86_64`.
    pub machine: String,
    /// The kernel's version.
    pub kernel: String,
    /// Memory, bytes.
    pub memory: Option<u64>,
    /// Free space below `/var/lib`, bytes.
    pub disk: Option<u64>,
    /// Who is logged in.
    pub user: String,
    /// Whether that is root.
    pub is_root: bool,
    /// Whether that user may become root without a password.
    pub has_sudo: bool,
    /// Groups of that user.
    pub groups: Vec<String>,
    /// Whether systemd runs the machine.
    pub has_systemd: bool,
    /// Whether packages come by apt.
    pub has_apt: bool,
    /// Whether there is a `docker`.
    pub has_docker: bool,
    /// Version of the Docker Engine that answers.
    pub docker_version: Option<String>,
    /// Whether there are the tools that the process engine uses.
    pub has_tools: bool,
    /// Who listens on ports 80 and 443; none when nobody does.
    pub ports: [Option<String>; 2],
    /// The firewall that is active.
    pub firewall: Option<String>,
    /// Whether the program is installed.
    pub has_program: bool,
    /// Whether our unit is.
    pub has_unit: bool,
    /// Whether our group is.
    pub has_group: bool,
    /// The clock, seconds since 1970.
    pub time: Option<f64>,
}

impl Facts {
    /// Reads what the script printed; lines of others (a login's greeting) are skipped.
    pub fn read(text: &str) -> Self {
        let lines: BTreeMap<&str, String> = text
            .lines()
            .filter_map(|line| line.split_once(' '))
            .map(|(key, value)| (key, tame(value, false)))
            .collect();
        let text = |key: &str| lines.get(key).map(|value| value.trim().to_owned()).unwrap_or_default();
        let some = |key: &str| Some(text(key)).filter(|value| !value.is_empty());
        let is = |key: &str| text(key) == "yes";
        let kib = |key: &str| text(key).parse::<u64>().ok().and_then(|kib| kib.checked_mul(1024));
        let port = |key: &str| some(key).filter(|holder| holder != "free");
        Self {
            id: text("id"),
            release: text("release"),
            name: text("name"),
            machine: text("machine"),
            kernel: text("kernel"),
            memory: kib("memory_kib"),
            disk: kib("disk_kib"),
            user: text("user"),
            is_root: text("uid") == "0",
            has_sudo: is("sudo"),
            groups: text("groups").split(' ').map(str::to_owned).collect(),
            has_systemd: is("systemd"),
            has_apt: is("apt"),
            has_docker: is("docker"),
            docker_version: some("docker_version"),
            has_tools: is("tools"),
            ports: [port("port_80"), port("port_443")],
            firewall: some("firewall").filter(|name| name != "none"),
            has_program: is("program"),
            has_unit: is("unit"),
            has_group: is("group"),
            time: text("time").parse().ok().filter(|time: &f64| time.is_finite()),
        }
    }

    /// Whether its user may do what root may.
    pub fn is_mighty(&self) -> bool {
        self.is_root || self.has_sudo
    }

    /// Whether its user may give the daemon orders.
    pub fn may_order(&self) -> bool {
        self.is_root || self.groups.iter().any(|group| group == "mainstay")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn facts_are_read_whatever_a_login_says_before() {
        let text = "Welcome to box!\n\nid debian\nmemory_kib 1048576\nuid 0\nsystemd yes\nport_80 nginx\nport_443 free\n\
                    firewall none\ntime 1700000000.5\ndocker_version \nname a\x1b[2Jb\n";
        let facts = Facts::read(text);
        assert_eq!((facts.id.as_str(), facts.memory, facts.is_root), ("debian", Some(1 << 30), true));
        assert_eq!(facts.ports, [Some("nginx".to_owned()), None]);
        assert_eq!((facts.firewall, facts.docker_version, facts.time), (None, None, Some(1_700_000_000.5)));
        assert_eq!(facts.name, "ab");
    }

    #[test]
    fn what_is_no_number_is_not_known() {
        let facts = Facts::read("memory_kib 99999999999999999999\ndisk_kib x\ntime NaN\n");
        assert_eq!((facts.memory, facts.disk, facts.time), (None, None, None));
        assert_eq!(Facts::read(""), Facts { groups: vec![String::new()], ..Facts::default() });
    }

    #[test]
    fn this_machine_tells_everything() {
        let output = std::process::Command::new("sh").args(["-c", super::super::PROBE.text]).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let facts = Facts::read(&String::from_utf8_lossy(&output.stdout));
        assert_eq!(facts.machine, std::env::consts::ARCH);
        assert!(facts.memory.is_some() && facts.disk.is_some() && facts.time.is_some(), "{facts:?}");
        assert!(!facts.kernel.is_empty() && !facts.user.is_empty(), "{facts:?}");
    }
}
