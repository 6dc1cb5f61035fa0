//! What a host's facts mean for us: one line each, with a verdict and what to do.
//!
//! Pure. A verdict of `bad` keeps a host from being made ready; what only may hurt is a warning.

use super::facts::Facts;
use crate::progress::words;
use model::policy::EngineKind;
use serde::Serialize;

/// How something is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// May hurt.
    Warn,
    /// Does not do.
    Bad,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What.
    pub name: &'static str,
    /// How it is.
    pub verdict: Verdict,
    /// What was found.
    pub found: String,
    /// What to do about it; empty when nothing.
    pub help: String,
}

/// What a host must be fit for.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// What projects run on.
    pub engine: EngineKind,
    /// The architecture of the program we would copy.
    pub machine: &'static str,
    /// How far the host's clock is ahead of ours, seconds, and how sure that is.
    pub ahead: Option<(f64, f64)>,
}

const MIB: u64 = 1 << 20;

/// The oldest kernel that the process engine works on.
const KERNEL: (u32, u32) = (5, 9);

/// The oldest releases that are looked after.
const RELEASES: [(&str, u32); 2] = [("debian", 11), ("ubuntu", 20)];

/// Judges a host.
pub fn judge(facts: &Facts, wanted: Wanted) -> Vec<Check> {
    let mut checks = vec![system(facts), architecture(facts, wanted), kernel(facts, wanted.engine)];
    checks.extend([memory(facts), disk(facts)]);
    checks.extend(wanted.ahead.map(clock));
    checks.extend([rights(facts), manager(facts), engine(facts, wanted.engine)]);
    checks.extend(facts.ports.iter().zip([80, 443]).map(|(holder, port)| port_of(holder.as_deref(), port)));
    checks.push(firewall(facts));
    checks
}

fn check(name: &'static str, verdict: Verdict, found: impl Into<String>, help: &str) -> Check {
    Check { name, verdict, found: found.into(), help: help.to_owned() }
}

fn system(facts: &Facts) -> Check {
    let found = if facts.name.is_empty() { "unknown" } else { &facts.name };
    let major = facts.release.split('.').next().and_then(|major| major.parse::<u32>().ok());
    let known = RELEASES.iter().find(|(id, _)| *id == facts.id);
    match (known, major) {
        (Some((_, least)), Some(major)) if major >= *least => check("system", Verdict::Good, found, ""),
        (Some(_), _) => {
            check("system", Verdict::Warn, found, "it is old: Debian 11 or Ubuntu 20.04 and newer are tested")
        }
        (None, _) if facts.has_apt => check("system", Verdict::Warn, found, "only Debian and Ubuntu are tested"),
        (None, _) => check("system", Verdict::Bad, found, "use Debian or Ubuntu: packages are installed by apt"),
    }
}

fn architecture(facts: &Facts, wanted: Wanted) -> Check {
    let help = format!("run `mainstay` for {} there: this one is for {}", facts.machine, wanted.machine);
    match facts.machine == wanted.machine {
        true => check("architecture", Verdict::Good, &*facts.machine, ""),
        false => check("architecture", Verdict::Bad, &*facts.machine, &help),
    }
}

fn kernel(facts: &Facts, engine: EngineKind) -> Check {
    let mut parts = facts.kernel.split(|c: char| !c.is_ascii_digit()).map(|part| part.parse::<u32>().unwrap_or(0));
    let version = (parts.next().unwrap_or(0), parts.next().unwrap_or(0));
    let verdict = match (version >= KERNEL, engine) {
        (true, _) => Verdict::Good,
        (false, EngineKind::Process) => Verdict::Bad,
        (false, _) => Verdict::Warn,
    };
    let help = if verdict == Verdict::Good { "" } else { "the process engine needs Linux 5.9 or newer" };
    check("kernel", verdict, &*facts.kernel, help)
}

fn memory(facts: &Facts) -> Check {
    amount("memory", facts.memory, [256 * MIB, 900 * MIB], "", "1 GiB leaves room for an application and its database")
}

fn disk(facts: &Facts) -> Check {
    let help = "releases, images, volumes and logs lie below /var/lib: have 10 GiB there";
    amount("disk", facts.disk, [500 * MIB, 5 * 1024 * MIB], " free", help)
}

fn amount(name: &'static str, bytes: Option<u64>, [least, enough]: [u64; 2], of: &str, help: &str) -> Check {
    match bytes {
        None => check(name, Verdict::Warn, "unknown", ""),
        Some(bytes) => {
            let verdict = match bytes {
                _ if bytes < least => Verdict::Bad,
                _ if bytes < enough => Verdict::Warn,
                _ => Verdict::Good,
            };
            let help = if verdict == Verdict::Good { "" } else { help };
            check(name, verdict, format!("{}{of}", words::bytes(bytes)), help)
        }
    }
}

fn clock((ahead, sure): (f64, f64)) -> Check {
    let off = ahead.abs();
    // What the way there takes cannot be told from a clock that is off by so much.
    if off <= sure + 0.5 {
        return check("clock", Verdict::Good, format!("as ours, within {:.1} s", sure.max(0.1)), "");
    }
    let found = format!("{off:.1} s {} ours", if ahead > 0.0 { "ahead of" } else { "behind" });
    check("clock", Verdict::Warn, found, "have it set by NTP: certificates and logs depend on it")
}

fn rights(facts: &Facts) -> Check {
    match (facts.is_root, facts.has_sudo) {
        (true, _) => check("rights", Verdict::Good, "root", ""),
        (false, true) => check("rights", Verdict::Good, format!("{}, with sudo", facts.user), ""),
        (false, false) => {
            let help = "log in as root, or let the user run sudo without a password while the host is prepared";
            check("rights", Verdict::Bad, &*facts.user, help)
        }
    }
}

fn manager(facts: &Facts) -> Check {
    let help = "the daemon will be a plain process: after a reboot run `mainstay host prepare` again, or have the init \
                system run `mainstay serve`";
    match facts.has_systemd {
        true => check("services", Verdict::Good, "systemd", ""),
        false => check("services", Verdict::Warn, "no systemd", help),
    }
}

fn engine(facts: &Facts, engine: EngineKind) -> Check {
    if engine == EngineKind::Process {
        return match facts.has_tools {
            true => check("process", Verdict::Good, "nft and ip are there", ""),
            false => check("process", Verdict::Warn, "nft or ip is missing", "`mainstay host prepare` installs both"),
        };
    }
    match (&facts.docker_version, facts.has_docker) {
        (Some(version), _) => check("docker", Verdict::Good, format!("Docker Engine {version}"), ""),
        (None, true) => {
            check("docker", Verdict::Warn, "does not answer", "start the Docker Engine, `docker info` says why")
        }
        (None, false) => check("docker", Verdict::Warn, "not installed", "`mainstay host prepare` installs it"),
    }
}

fn port_of(holder: Option<&str>, port: u16) -> Check {
    let name = if port == 80 { "port 80" } else { "port 443" };
    match holder {
        None => check(name, Verdict::Good, "free", ""),
        Some("unknown") => check(name, Verdict::Warn, "unknown", ""),
        // What the edge calls itself.
        Some(holder) if holder.starts_with("mainstay") => check(name, Verdict::Good, "ours", ""),
        Some(holder) => {
            let help = "stop what listens there, or have it listen elsewhere: routes are served on this port";
            check(name, Verdict::Warn, format!("taken by {holder}"), help)
        }
    }
}

fn firewall(facts: &Facts) -> Check {
    match &facts.firewall {
        None => check("firewall", Verdict::Good, "none", ""),
        Some(name) => check("firewall", Verdict::Good, &**name, "let in what your routes are served on: 80, 443"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn fit() -> Facts {
        Facts {
            id: "debian".into(),
            release: "12".into(),
            name: "Debian GNU/Linux 12 (bookworm)".into(),
            machine: "x86_64".into(),
            kernel: "6.1.0-18-amd64".into(),
            memory: Some(4 << 30),
            disk: Some(40 << 30),
            user: "root".into(),
            is_root: true,
            has_systemd: true,
            has_apt: true,
            has_docker: true,
            docker_version: Some("20.10.24".into()),
            ..Facts::default()
        }
    }

    fn show(facts: &Facts, engine: EngineKind, ahead: (f64, f64), want: Expect) {
        let checks = judge(facts, Wanted { engine, machine: "x86_64", ahead: Some(ahead) });
        let line = |check: &Check| format!("{:?} {}: {} | {}\n", check.verdict, check.name, check.found, check.help);
        want.assert_eq(&checks.iter().map(line).collect::<String>());
    }

    #[test]
    fn a_plain_host_is_fit() {
        show(
            &fit(),
            EngineKind::Docker,
            (0.2, 0.1),
            expect![[r#"
                Good system: Debian GNU/Linux 12 (bookworm) | 
                Good architecture: x86_64 | 
                Good kernel: 6.1.0-18-amd64 | 
                Good memory: 4.0 GiB | 
                Good disk: 40.0 GiB free | 
                Good clock: as ours, within 0.1 s | 
                Good rights: root | 
                Good services: systemd | 
                Good docker: Docker Engine 20.10.24 | 
                Good port 80: free | 
                Good port 443: free | 
                Good firewall: none | 
            "#]],
        );
    }

    #[test]
    fn what_is_wrong_comes_with_what_to_do() {
        let facts = Facts {
            id: "alpine".into(),
            name: String::new(),
            machine: "aarch64".into(),
            kernel: "5.8.18".into(),
            memory: Some(128 * MIB),
            disk: None,
            user: "deploy".into(),
            is_root: false,
            has_systemd: false,
            has_apt: false,
            ports: [Some("nginx".into()), Some("mainstay-edge".into())],
            firewall: Some("ufw".into()),
            ..fit()
        };
        show(
            &facts,
            EngineKind::Process,
            (-90.0, 0.1),
            expect![[r#"
                Bad system: unknown | use Debian or Ubuntu: packages are installed by apt
                Bad architecture: aarch64 | run `mainstay` for aarch64 there: this one is for x86_64
                Bad kernel: 5.8.18 | the process engine needs Linux 5.9 or newer
                Bad memory: 128.0 MiB | 1 GiB leaves room for an application and its database
                Warn disk: unknown | 
                Warn clock: 90.0 s behind ours | have it set by NTP: certificates and logs depend on it
                Bad rights: deploy | log in as root, or let the user run sudo without a password while the host is prepared
                Warn services: no systemd | the daemon will be a plain process: after a reboot run `mainstay host prepare` again, or have the init system run `mainstay serve`
                Warn process: nft or ip is missing | `mainstay host prepare` installs both
                Warn port 80: taken by nginx | stop what listens there, or have it listen elsewhere: routes are served on this port
                Good port 443: ours | 
                Good firewall: ufw | let in what your routes are served on: 80, 443
            "#]],
        );
    }

    #[test]
    fn versions_are_numbers() {
        let old = Facts { id: "ubuntu".into(), release: "18.04".into(), ..fit() };
        assert_eq!(system(&old).verdict, Verdict::Warn);
        assert_eq!(system(&Facts { id: "ubuntu".into(), release: "24.04".into(), ..fit() }).verdict, Verdict::Good);
        assert_eq!(kernel(&Facts { kernel: "5.10.0-28".into(), ..fit() }, EngineKind::Process).verdict, Verdict::Good);
    }
}
