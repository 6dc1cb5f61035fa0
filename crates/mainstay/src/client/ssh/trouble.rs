//! Why a machine cannot be used through ssh, read from how `ssh` ended and what it said.
//!
//! Owns the cases people meet, each with its code and its cure; what `ssh` said is shown with all of them.

use crate::client::greeting::Refused;
use crate::ui::paint::tame;
use model::RemoteHost;
use std::fmt;
use std::process::ExitStatus;

/// What `ssh` ends with when the trouble is its own.
const SSH_FAILED: i32 = 255;

/// What a shell ends with when there is no such command.
const NO_SUCH_COMMAND: i32 = 127;

/// A machine could not be used.
#[derive(Debug)]
pub struct Error {
    /// Which.
    pub host: RemoteHost,
    /// Why.
    pub trouble: Trouble,
    /// The last lines that `ssh`, or the program over there, said.
    pub said: Vec<String>,
}

/// Why a machine could not be used.
#[derive(Debug)]
pub enum Trouble {
    /// There is no `ssh` here, or it cannot be started.
    NoClient,
    /// Nobody answers there.
    Unreachable,
    /// Its key is not known here.
    UnknownKey,
    /// Its key is another one than before.
    ChangedKey,
    /// It does not let us in.
    Denied,
    /// It has no Mainstay.
    NotInstalled,
    /// Its Mainstay does not know how to connect.
    TooOld,
    /// Its Mainstay greets in another form, of this version.
    Protocol(String),
    /// Nothing came within so many seconds.
    Silent(u64),
    /// The connection ended; how.
    Ended(String),
    /// The program over there says why.
    Refused(Box<Refused>),
}

impl Error {
    /// How `ssh` ended without a greeting.
    pub fn of_end(host: RemoteHost, status: Option<ExitStatus>, said: Vec<String>) -> Self {
        Self { host, trouble: classify(status, &said), said }
    }

    /// Its stable code.
    pub fn code(&self) -> &str {
        match &self.trouble {
            Trouble::NoClient => "MS0300",
            Trouble::Unreachable => "MS0301",
            Trouble::UnknownKey => "MS0302",
            Trouble::ChangedKey => "MS0303",
            Trouble::Denied => "MS0304",
            Trouble::NotInstalled => "MS0305",
            Trouble::TooOld | Trouble::Protocol(_) => "MS0306",
            Trouble::Silent(_) => "MS0307",
            Trouble::Ended(_) => "MS0308",
            Trouble::Refused(refused) => refused.code.as_deref().unwrap_or_default(),
        }
    }

    /// What to do.
    pub fn help(&self) -> Option<String> {
        let (url, by_hand) = (self.host.machine(), self.host.destination());
        Some(match &self.trouble {
            Trouble::NoClient => "install the OpenSSH client (Debian: `apt-get install openssh-client`)".to_owned(),
            Trouble::Unreachable => format!("check the name, the port and the network: `ssh {by_hand} true`"),
            Trouble::UnknownKey => {
                format!("log in once by hand, compare the key's fingerprint, and accept it: `ssh {by_hand}`")
            }
            Trouble::ChangedKey => "find out why the key changed before you trust it: ask whoever runs the host, then \
                                    remove the old one with `ssh-keygen -R`"
                .to_owned(),
            Trouble::Denied => format!(
                "have a key that needs no question: load it with `ssh-add`, allow it there with `ssh-copy-id {by_hand}`"
            ),
            Trouble::NotInstalled => format!("make the host ready with `mainstay host prepare {url}`"),
            Trouble::TooOld | Trouble::Protocol(_) => {
                format!("have both run one version: `mainstay host upgrade {url}`, or upgrade this machine")
            }
            Trouble::Silent(_) => format!("look at the host by hand: `ssh {by_hand} mainstay version`"),
            Trouble::Ended(_) => "what was ordered goes on in the daemon there; look with `mainstay status` and \
                                  `mainstay events -f` once the host is reachable"
                .to_owned(),
            Trouble::Refused(refused) => return refused.help.clone(),
        })
    }

    /// Whether the same may succeed in a while.
    pub fn is_absence(&self) -> bool {
        match &self.trouble {
            Trouble::Unreachable | Trouble::Silent(_) | Trouble::Ended(_) => true,
            Trouble::Refused(_) => self.finds_no_daemon(),
            _ => false,
        }
    }

    /// Whether the way is fine and only the daemon does not run.
    pub fn finds_no_daemon(&self) -> bool {
        matches!(&self.trouble, Trouble::Refused(refused) if refused.code.as_deref() == Some(NO_DAEMON))
    }
}

/// What the far side says when nobody listens there.
pub const NO_DAEMON: &str = "MS0309";

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let host = self.host.machine();
        match &self.trouble {
            Trouble::NoClient => write!(f, "`ssh` cannot be started, so `{host}` cannot be reached"),
            Trouble::Unreachable => write!(f, "`{host}` cannot be reached"),
            Trouble::UnknownKey => write!(f, "the key of `{host}` is not known here"),
            Trouble::ChangedKey => write!(f, "`{host}` shows another key than before"),
            Trouble::Denied => write!(f, "`{host}` does not let this user in"),
            Trouble::NotInstalled => write!(f, "`{host}` has no `mainstay`"),
            Trouble::TooOld => write!(f, "the `mainstay` of `{host}` is too old to be spoken to"),
            Trouble::Protocol(version) => {
                let ours = env!("CARGO_PKG_VERSION");
                write!(f, "the `mainstay` of `{host}` has version {version} and speaks otherwise than this one, {ours}")
            }
            Trouble::Silent(seconds) => write!(f, "`{host}` did not answer within {seconds} s"),
            Trouble::Ended(how) => write!(f, "the connection to `{host}` ended ({how})"),
            Trouble::Refused(refused) => write!(f, "{} (on `{host}`)", tame(&refused.message, false)),
        }
    }
}

// What `ssh` said is shown as causes by `Failure::from`: an error has one source at most, and these are many.
impl std::error::Error for Error {}

fn classify(status: Option<ExitStatus>, said: &[String]) -> Trouble {
    let has = |words: &[&str]| said.iter().any(|line| words.iter().any(|word| line.contains(word)));
    let code = status.and_then(|status| status.code());
    match code {
        Some(NO_SUCH_COMMAND) => return Trouble::NotInstalled,
        // Clap's word for a command it does not know.
        Some(2) if has(&["unrecognized subcommand", "unexpected argument"]) => return Trouble::TooOld,
        Some(SSH_FAILED) => {}
        _ => return Trouble::Ended(end_of(status)),
    }
    if has(&["REMOTE HOST IDENTIFICATION HAS CHANGED", "Offending "]) {
        Trouble::ChangedKey
    } else if has(&["Host key verification failed", "host key is known for"]) {
        Trouble::UnknownKey
    } else if has(&["Permission denied (", "Too many authentication failures", "no mutual signature"]) {
        Trouble::Denied
    } else if has(&[
        "Could not resolve hostname",
        "Connection refused",
        "Connection timed out",
        "Operation timed out",
        "No route to host",
        "Network is unreachable",
        "Connection closed by UNKNOWN",
        "kex_exchange_identification",
        "Connection reset by",
    ]) {
        Trouble::Unreachable
    } else {
        Trouble::Ended(end_of(status))
    }
}

/// How a child ended, in words.
pub fn end_of(status: Option<ExitStatus>) -> String {
    match status {
        None => "it was let go".to_owned(),
        Some(status) => match status.code() {
            Some(code) => format!("exit code {code}"),
            None => status.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[track_caller]
    fn check(code: i32, said: &str, want: &str) {
        let said: Vec<String> = said.lines().map(str::to_owned).collect();
        let host = "ssh://deploy@box:2222".parse().expect("legal");
        let error = Error::of_end(host, Some(ExitStatus::from_raw(code << 8)), said);
        assert_eq!(error.code(), want, "{error}");
        assert!(error.help().is_some());
    }

    // As OpenSSH 9 says it.
    #[test]
    fn what_ssh_says_becomes_what_to_do() {
        check(255, "ssh: Could not resolve hostname box: Name or service not known", "MS0301");
        check(255, "ssh: connect to host 127.0.0.1 port 1: Connection refused", "MS0301");
        check(255, "ssh: connect to host 10.255.255.1 port 22: Connection timed out", "MS0301");
        check(255, "kex_exchange_identification: Connection closed by remote host", "MS0301");
        check(255, "No ED25519 host key is known for box and you have requested strict checking.", "MS0302");
        check(255, "Host key verification failed.", "MS0302");
        let changed = "@ WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED! @\nHost key verification failed.";
        check(255, changed, "MS0303");
        check(255, "deploy@box: Permission denied (publickey,password).", "MS0304");
        check(127, "sh: 1: mainstay: not found", "MS0305");
        check(2, "error: unrecognized subcommand 'connect'", "MS0306");
        check(255, "Connection to box closed by remote host.", "MS0308");
        check(1, "", "MS0308");
    }
}
