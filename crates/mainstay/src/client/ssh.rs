//! Another machine through the system's `ssh`: its keys, agents, known hosts, settings and jump hosts are the user's own.
//!
//! Owns the command line of `ssh` and what its end means; never a key and never a prompt. A [`Tunnel`] is one such child
//! whose input and output are a connection to the daemon over there. Start with [`Ssh`].

mod trouble;
mod tunnel;

pub use trouble::{Error, NO_DAEMON, Trouble};
pub use tunnel::Tunnel;

use super::greeting::Greeting;
use model::RemoteHost;
use std::ffi::OsString;
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use tokio::process::Command;

/// What `mainstay connect` shall do over there before it passes bytes on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ask {
    /// Connect to the daemon that runs.
    Connect,
    /// Start one where none runs.
    Start,
    /// The same, where one has worked before.
    Revive,
}

impl Ask {
    /// The option of `mainstay connect`.
    pub fn option(self) -> Option<&'static str> {
        match self {
            Self::Connect => None,
            Self::Start => Some("--start"),
            Self::Revive => Some("--revive"),
        }
    }
}

/// What comes in the place of a greeting, before an exit code.
const ENDED: &str = "mainstay-ended-";

/// The way to one machine.
#[derive(Debug, Clone)]
pub struct Ssh {
    host: RemoteHost,
    shared: Option<PathBuf>,
}

/// So long may the longest path of a socket be, its end included.
const LONGEST_SOCKET: usize = 108;

/// What `ssh` appends to a control path: the digest of `%C`, and while it makes the socket a dot and 16 letters.
const CONTROL_NAME: usize = "/".len() + 40 + 17;

impl Ssh {
    /// The way to this machine. Connections share one login when `folder`, which is made, can hold ssh's socket.
    pub fn new(host: RemoteHost, folder: Option<&Path>) -> Self {
        let shared = folder.filter(|folder| fits(folder) && is_ours(folder)).map(Path::to_owned);
        Self { host, shared }
    }

    /// The machine.
    pub fn host(&self) -> &RemoteHost {
        &self.host
    }

    /// The command line that runs `remote` in the user's shell over there.
    pub fn argv(&self, remote: &str) -> Vec<OsString> {
        let mut argv: Vec<OsString> = Vec::new();
        let mut option = |text: String| argv.extend(["-o".into(), OsString::from(text)]);
        // Nobody is asked anything: a question would meet a pipe. And a network that died is noticed within 15 s.
        for fixed in [
            "BatchMode=yes",
            "ConnectTimeout=10",
            "ServerAliveInterval=5",
            "ServerAliveCountMax=3",
            "ClearAllForwardings=yes",
            "ForwardX11=no",
            "PermitLocalCommand=no",
            "RemoteCommand=none",
            "LogLevel=INFO",
        ] {
            option(fixed.to_owned());
        }
        match &self.shared {
            Some(folder) => {
                option("ControlMaster=auto".to_owned());
                option("ControlPersist=60".to_owned());
                option(format!("ControlPath={}/%C", folder.display()));
            }
            None => option("ControlPath=none".to_owned()),
        }
        argv.push("-T".into());
        if let Some(port) = self.host.port() {
            argv.extend(["-p".into(), port.to_string().into()]);
        }
        if let Some(user) = self.host.user() {
            argv.extend(["-l".into(), user.into()]);
        }
        argv.extend(["--".into(), self.host.host().into(), remote.into()]);
        argv
    }

    /// `ssh` with piped input, output and errors, ended with its handle.
    pub fn command(&self, remote: &str) -> Command {
        let mut command = Command::new("ssh");
        command.args(self.argv(remote)).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        // Ctrl-C is ours: it must not end the connection through which we say so.
        command.process_group(0);
        command
    }

    /// Ends the login that connections share: what a user may do over there counts from the next one on.
    pub async fn forget(&self) {
        if self.shared.is_none() {
            return;
        }
        let mut argv = self.argv("");
        argv.pop();
        let mut command = Command::new("ssh");
        command.args(["-O", "exit"]).args(argv).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        // Where there is none, that is as well.
        let _ = command.status().await;
    }

    /// Connects to the daemon over there.
    pub async fn open(&self, ask: Ask) -> Result<(Greeting, Tunnel), Error> {
        let mut words = vec!["mainstay", "connect"];
        words.extend(ask.option());
        if let Some(socket) = self.host.socket() {
            // Without blanks and quotes, as `RemoteHost` has it.
            words.extend(["--socket", socket]);
        }
        // That there is none, or that it ended early, is said where the greeting would be: an `ssh` that shares a login may
        // miss the end of what it runs for as long as the login is kept.
        let remote = format!("{} || echo {ENDED}$?", words.join(" "));
        if self.shared.is_some()
            && let Some(opened) = Tunnel::open_soon(self, &remote).await
        {
            return opened;
        }
        Tunnel::open(&Self { shared: None, ..self.clone() }, &remote).await
    }
}

/// Words for a shell over there: each one word again, whatever is in it.
pub fn quoted<'a>(words: impl IntoIterator<Item = &'a str>) -> String {
    let word = |word: &str| {
        let is_plain = !word.is_empty() && word.bytes().all(|c| c.is_ascii_alphanumeric() || b"/._-+@:=,".contains(&c));
        if is_plain { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
    };
    words.into_iter().map(word).collect::<Vec<_>>().join(" ")
}

// Written into an option of `ssh`, which knows signs of its own.
fn fits(folder: &Path) -> bool {
    let text = folder.to_str().unwrap_or_default();
    folder.is_absolute()
        && text.len() + CONTROL_NAME < LONGEST_SOCKET
        && text.bytes().all(|c| c.is_ascii_alphanumeric() || b"/._-+@".contains(&c))
}

// Whoever may open the socket in it is logged in over there.
fn is_ours(folder: &Path) -> bool {
    let made = std::fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
    let uid = rustix::process::geteuid().as_raw();
    let metadata = std::fs::symlink_metadata(folder);
    made.is_ok() && metadata.is_ok_and(|folder| folder.is_dir() && folder.uid() == uid && folder.mode() & 0o077 == 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::expect;

    #[test]
    fn ssh_is_asked_with_words_that_stay_words() {
        let host = "ssh://deploy@[fe80::1%eth0]:2222/run/m.sock".parse().expect("legal");
        let argv = Ssh { host, shared: Some("/run/user/7/mainstay-ssh".into()) }.argv("mainstay connect");
        let argv: Vec<_> = argv.iter().map(|word| word.to_str().expect("text")).filter(|word| *word != "-o").collect();
        expect![[r#"
            BatchMode=yes
            ConnectTimeout=10
            ServerAliveInterval=5
            ServerAliveCountMax=3
            ClearAllForwardings=yes
            ForwardX11=no
            PermitLocalCommand=no
            RemoteCommand=none
            LogLevel=INFO
            ControlMaster=auto
            ControlPersist=60
            ControlPath=/run/user/7/mainstay-ssh/%C
            -T
            -p
            2222
            -l
            deploy
            --
            fe80::1%eth0
            mainstay connect"#]]
        .assert_eq(&argv.join("\n"));
    }

    #[test]
    fn quoted_words_come_out_of_a_shell_as_they_went_in() {
        let words = ["", "a b", "it's", "$(id)", "`id`", "a\nb", "\\", "\"", "-x", "*", "~", "ü", "!", "#"];
        let line = format!("printf '%s\\0' {}", quoted(words));
        let output = std::process::Command::new("sh").args(["-c", &line]).output().expect("a shell");
        let found = String::from_utf8(output.stdout).expect("text");
        assert_eq!(found.split_terminator('\0').collect::<Vec<_>>(), words);
    }

    #[test]
    fn a_folder_that_ssh_would_misread_is_not_used() {
        for folder in
            ["/home/a b/x", "/home/%h", "relative", "/very/long/path/of/a/home/folder/that/does/not/fit/any/socket"]
        {
            assert!(!fits(Path::new(folder)), "{folder}");
        }
        assert!(fits(Path::new("/run/user/1000/mainstay-ssh")));
    }

    #[test]
    fn a_folder_that_others_may_open_is_not_used() {
        use std::os::unix::fs::PermissionsExt as _;
        let temp = tempfile::tempdir().expect("a folder");
        let folder = temp.path().join("a/ssh");
        assert!(is_ours(&folder));
        std::fs::set_permissions(&folder, std::fs::Permissions::from_mode(0o755)).expect("ours");
        assert!(!is_ours(&folder));
    }
}
