//! `mainstay service`: the systemd unit that keeps the daemon running.

use super::Context;
use super::args::{Service, ServiceWhat, Unit};
use super::settings::SOCKET;
use crate::client::Client;
use crate::daemon;
use crate::exit::{Exit, Failure};
use crate::ui::paint::Tone;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const NAME: &str = "mainstay.service";
const FOLDER: &str = "/etc/systemd/system";

/// The run folder of the unit's daemon.
pub const RUN: &str = "/run/mainstay";

pub async fn run(args: &Service, cx: &Context) -> Result<Exit, Failure> {
    match &args.what {
        ServiceWhat::Print(unit) | ServiceWhat::Install { print: true, unit } => {
            cx.ui.data(text(&program()?, unit)?.trim_end());
            cx.ui.next("`mainstay service install` writes, enables and starts it");
            Ok(Exit::Done)
        }
        ServiceWhat::Install { print: false, unit } => install(unit, cx).await,
        ServiceWhat::Uninstall => uninstall(cx),
    }
}

async fn install(unit: &Unit, cx: &Context) -> Result<Exit, Failure> {
    let text = text(&program()?, unit)?;
    needs_systemd()?;
    let path = Path::new(FOLDER).join(NAME);
    runtime::files::write(&path, text.as_bytes(), 0o644)
        .map_err(|error| Failure::of(&error).help("run the command as root"))?;
    cx.ui.note(format!("{} wrote {}", cx.ui.err.tone(Tone::Good, "✔"), path.display()));
    // Whoever is in this group may give the daemon orders.
    if let Err(failure) = call("groupadd", &["--system", "--force", "mainstay"]) {
        cx.ui.warn(format!("the group `mainstay` was not made, only root may give orders: {}", failure.message));
    }
    call("systemctl", &["daemon-reload"])?;
    call("systemctl", &["enable", NAME])?;
    let client = Client::new(Path::new(RUN).join(SOCKET));
    // A daemon that `up` has started holds the state's lock: the unit's would fail for as long as it runs.
    if call("systemctl", &["is-active", "--quiet", NAME]).is_err()
        && let Some(old) = daemon::shut_down(&client).await?
    {
        cx.ui.note(format!("{} ended the daemon that ran (process {})", cx.ui.err.tone(Tone::Good, "✔"), old.pid));
    }
    // One of an earlier unit takes up what this one says; what runs goes on.
    call("systemctl", &["restart", NAME])?;
    let version = daemon::answered(&client).await.map_err(|failure| {
        failure.help(format!("read `journalctl -u {NAME}`; it is tried again every second until it starts"))
    })?;
    cx.ui.note(format!(
        "{} {NAME} is enabled and answers (process {}, version {}, routes on port {})",
        cx.ui.err.tone(Tone::Good, "✔"),
        version.pid,
        version.version,
        version.http_port
    ));
    if cx.ui.json {
        cx.ui.json(&version);
    }
    cx.ui.next("`usermod -aG mainstay USER` lets a user give orders; that is as much as root");
    Ok(Exit::Done)
}

fn uninstall(cx: &Context) -> Result<Exit, Failure> {
    needs_systemd()?;
    let path = Path::new(FOLDER).join(NAME);
    if !path.exists() {
        return Err(Failure::failed(format!("{} is not there", path.display()))
            .help("install it with `mainstay service install`"));
    }
    call("systemctl", &["disable", "--now", NAME])?;
    runtime::files::remove(&path).map_err(|error| Failure::of(&error).help("run the command as root"))?;
    call("systemctl", &["daemon-reload"])?;
    cx.ui.note(format!(
        "{} removed {}; what runs goes on, the state stays",
        cx.ui.err.tone(Tone::Good, "✔"),
        path.display()
    ));
    cx.ui.next("`mainstay serve` runs the daemon by hand");
    Ok(Exit::Done)
}

/// Whether systemd runs this machine and has our unit.
pub fn is_installed() -> bool {
    needs_systemd().is_ok() && Path::new(FOLDER).join(NAME).exists()
}

/// Has systemd do this to our unit.
pub fn systemctl(verb: &str) -> Result<(), Failure> {
    call("systemctl", &[verb, NAME])
}

/// Another daemon was to answer.
pub fn never_answered(patience: Duration) -> Failure {
    Failure::failed(format!("{NAME} was restarted and no other daemon answered within {} s", patience.as_secs()))
        .help(format!("read `journalctl -u {NAME}`"))
}

fn needs_systemd() -> Result<(), Failure> {
    if Path::new("/run/systemd/system").is_dir() {
        return Ok(());
    }
    Err(Failure::failed("systemd does not run this machine")
        .because("/run/systemd/system is not there")
        .help("have your init system run `mainstay serve`, and never let it kill the processes below it"))
}

fn program() -> Result<PathBuf, Failure> {
    std::env::current_exe().map_err(|error| Failure::failed("our own program cannot be found").because(error))
}

fn call(program: &str, arguments: &[&str]) -> Result<(), Failure> {
    let line = format!("{program} {}", arguments.join(" "));
    let output = Command::new(program)
        .args(arguments)
        .output()
        .map_err(|error| Failure::failed(format!("`{line}` cannot be run")).because(error))?;
    if output.status.success() {
        return Ok(());
    }
    let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(Failure::failed(format!("`{line}` failed ({})", output.status)).because(words))
}

/// The unit. Options that need a mount namespace (`ProtectSystem=`, `PrivateTmp=` …) are left out on purpose.
fn text(program: &Path, unit: &Unit) -> Result<String, Failure> {
    let (program, state) = (word(program)?, word(&unit.state)?);
    let port = unit.http_port;
    Ok(format!(
        "\
# Written by `mainstay service install`.
[Unit]
Description=Mainstay, the daemon of this machine's applications
Wants=network-online.target
After=network-online.target
# It is restarted for as long as it takes: what runs does not depend on it.
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart={program} serve --state {state} --run {RUN} --http-port {port} --log-format json
Restart=always
RestartSec=1
# Shims, replicas and the edge outlive the daemon, and the next one adopts them.
KillMode=process
RuntimeDirectory=mainstay
RuntimeDirectoryMode=0755
RuntimeDirectoryPreserve=yes
# The limits of replicas are control groups below this unit's.
Delegate=yes
TasksMax=infinity
LimitNOFILE=1048576
OOMPolicy=continue
OOMScoreAdjust=-900
UMask=0077

# As hard as it can be. Everything here is inherited by the replicas. What would give the daemon a mount namespace of
# its own (ProtectSystem=, PrivateTmp=, ProtectHome= and the like) must stay out: network namespaces and private roots
# mounted there would be gone for the next daemon.
NoNewPrivileges=yes
LockPersonality=yes
RestrictRealtime=yes
KeyringMode=private
CapabilityBoundingSet=~CAP_SYS_MODULE CAP_SYS_RAWIO CAP_SYS_BOOT CAP_MAC_ADMIN CAP_MAC_OVERRIDE CAP_WAKE_ALARM CAP_BLOCK_SUSPEND
SystemCallFilter=~@module @raw-io @reboot @swap @cpu-emulation @obsolete
SystemCallErrorNumber=EPERM

[Install]
WantedBy=multi-user.target
"
    ))
}

// A word of `ExecStart=`: quoted, with systemd's own signs escaped.
fn word(path: &Path) -> Result<String, Failure> {
    let text = path.to_str().filter(|text| !text.chars().any(char::is_control));
    let text = text.ok_or_else(|| {
        Failure::usage(format!("{} cannot be written into a unit", path.display())).help("use a plain path")
    })?;
    if !path.is_absolute() {
        return Err(Failure::usage(format!("`{text}` is no absolute path")).help("write it from `/`"));
    }
    let plain = text.chars().all(|c| c.is_ascii_alphanumeric() || "/._-+@".contains(c));
    let escaped = text.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    Ok(if plain { text.to_owned() } else { format!("\"{escaped}\"") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_unit_lets_replicas_live_and_survives_odd_paths() {
        let unit = Unit { state: "/srv/my state/100%".into(), http_port: 8080 };
        let text = text(Path::new("/usr/local/bin/mainstay"), &unit).expect("legal");
        for line in [
            "ExecStart=/usr/local/bin/mainstay serve --state \"/srv/my state/100%%\" --run /run/mainstay --http-port 8080 --log-format json",
            "KillMode=process",
            "Delegate=yes",
            "Restart=always",
            "RuntimeDirectoryPreserve=yes",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(super::text(Path::new("mainstay"), &unit).is_err());
    }
}
