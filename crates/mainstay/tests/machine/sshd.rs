//! A real sshd on a free port of loopback, with keys of its own, and a client that knows them.

use crate::hut::{Hut, until};
use crate::processes;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The server, and the folder of both sides.
pub struct Sshd {
    folder: PathBuf,
    address: SocketAddr,
    server: Option<Child>,
}

impl Sshd {
    /// A server whose sessions are on the hut's machine: its daemon's folders, and a `mainstay` to be found.
    pub fn of(hut: &Hut) -> Self {
        let bin = hut.path().join("far-bin");
        std::fs::create_dir(&bin).unwrap();
        std::os::unix::fs::symlink(env!("CARGO_BIN_EXE_mainstay"), bin.join("mainstay")).unwrap();
        let path = format!("{}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", bin.display());
        let state = hut.state().display().to_string();
        let run = hut.socket().parent().unwrap().display().to_string();
        let port = hut.http().to_string();
        let mut variables =
            vec![("PATH", path), ("MAINSTAY_STATE", state), ("MAINSTAY_RUN", run), ("MAINSTAY_HTTP_PORT", port)];
        variables.extend(hut.docker_url().map(|url| ("DOCKER_HOST", url)));
        let address = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
        let mut sshd = Self::in_folder(&hut.path().join("ssh"), address, &variables);
        sshd.start();
        sshd
    }

    /// Keys and settings; nothing runs yet.
    pub fn in_folder(folder: &Path, address: SocketAddr, variables: &[(&str, String)]) -> Self {
        std::fs::create_dir(folder).unwrap();
        std::fs::create_dir(folder.parent().unwrap().join("r")).unwrap();
        let sshd = Self { folder: folder.to_owned(), address, server: None };
        for name in ["host", "user", "stranger"] {
            sshd.keygen(name);
        }
        std::fs::copy(folder.join("user.pub"), folder.join("authorized_keys")).unwrap();
        let set: Vec<String> = variables.iter().map(|(name, value)| format!("\"{name}={value}\"")).collect();
        let folder = folder.display();
        let config = format!(
            "ListenAddress {address}\nHostKey {folder}/host\nAuthorizedKeysFile {folder}/authorized_keys\n\
             PidFile none\nStrictModes no\nUsePAM no\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n\
             KbdInteractiveAuthentication no\nMaxStartups 100\n{}",
            if set.is_empty() { String::new() } else { format!("SetEnv {}\n", set.join(" ")) }
        );
        sshd.write("sshd_config", &config);
        sshd.trust("host");
        sshd.identify("user");
        // `ssh` finds its settings by the user's number, not by HOME: the tests' own are named to it.
        let bin = sshd.folder.join("bin");
        std::fs::create_dir(&bin).unwrap();
        sshd.write("bin/ssh", &format!("#!/bin/sh\nexec /usr/bin/ssh -F {folder}/ssh_config \"$@\"\n"));
        std::fs::set_permissions(bin.join("ssh"), std::fs::Permissions::from_mode(0o755)).unwrap();
        sshd
    }

    fn keygen(&self, name: &str) {
        let file = self.folder.join(name);
        let words = ["-q", "-t", "ed25519", "-N", "", "-C", name, "-f"];
        assert!(Command::new("ssh-keygen").args(words).arg(file).status().unwrap().success());
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.folder.join(name), text).unwrap();
    }

    /// Has the client expect this key of the server.
    pub fn trust(&self, name: &str) {
        let key = std::fs::read_to_string(self.folder.join(name).with_extension("pub")).unwrap();
        let name = match (self.address.ip(), self.address.port()) {
            (ip, 22) => ip.to_string(),
            (ip, port) => format!("[{ip}]:{port}"),
        };
        self.write("known_hosts", &format!("{name} {key}"));
    }

    /// Has the client show this key.
    pub fn identify(&self, name: &str) {
        let folder = self.folder.display();
        self.write(
            "ssh_config",
            &format!(
                "UserKnownHostsFile {folder}/known_hosts\nGlobalKnownHostsFile /dev/null\nIdentityFile {folder}/{name}\n\
                 IdentitiesOnly yes\nIdentityAgent none\n"
            ),
        );
    }

    /// Where each user's own folder is no place for keys: all may log in with the client's.
    pub fn allow_everybody(&self, folder: &Path) {
        for name in ["", "authorized_keys"] {
            let mode = if name.is_empty() { 0o755 } else { 0o644 };
            std::fs::set_permissions(folder.join(name), std::fs::Permissions::from_mode(mode)).unwrap();
        }
        std::fs::set_permissions(folder.parent().unwrap(), std::fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// Ends the login that the client keeps for a minute.
    pub fn log_out(&self, hut: &Hut, url: &str) {
        let user = url.trim_start_matches("ssh://").split('@').next().unwrap();
        let mut command = Command::new("ssh");
        let typed = self.command(hut, &[]);
        command.env_clear().envs(typed.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let path = format!("ControlPath={}/mainstay-ssh/%C", self.run_folder().display());
        command.args(["-O", "exit", "-o", &path, "-l", user, "-p", &self.address.port().to_string()]);
        command.arg(self.address.ip().to_string()).stderr(Stdio::null());
        assert!(command.status().unwrap().success());
    }

    /// Starts the server and waits until it listens.
    pub fn start(&mut self) {
        // Where its package has never been started by an init system.
        std::fs::create_dir_all("/run/sshd").unwrap();
        let log = std::fs::File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f"]).arg(self.folder.join("sshd_config"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        self.server = Some(command.spawn().unwrap());
        until("sshd", || TcpStream::connect(self.address).is_ok());
    }

    /// Ends the server with all its sessions, as a machine that loses its network does.
    pub fn vanish(&mut self) {
        let Some(mut server) = self.server.take() else { return };
        let pid = i32::try_from(server.id()).unwrap();
        let mut all = vec![pid];
        while let Some(parent) = all.pop() {
            all.extend(processes::children(parent).into_iter().filter(|child| processes::name(*child) == "sshd"));
            processes::kill(parent);
        }
        server.wait().unwrap();
    }

    fn run_folder(&self) -> PathBuf {
        self.folder.parent().unwrap().join("r")
    }

    pub fn url(&self) -> String {
        self.url_of("root")
    }

    pub fn url_of(&self, user: &str) -> String {
        format!("ssh://{user}@{}", self.address)
    }

    /// The program on our machine, which knows nothing of the other one's folders.
    pub fn command(&self, hut: &Hut, words: &[&str]) -> Command {
        self.command_of(hut, Path::new(env!("CARGO_BIN_EXE_mainstay")), words)
    }

    /// The same with a copy of the program.
    pub fn command_of(&self, hut: &Hut, program: &Path, words: &[&str]) -> Command {
        let mut command = Command::new(program);
        command.args(words).env_clear().current_dir(hut.project());
        let path = std::env::var("PATH").unwrap();
        command.env("PATH", format!("{}/bin:{path}", self.folder.display())).env("TZ", "UTC");
        command.env("HOME", &self.folder).env("MAINSTAY_HOST", self.url());
        // A short path: ssh keeps a socket there.
        command.env("XDG_RUNTIME_DIR", self.run_folder());
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub fn run(&self, hut: &Hut, words: &[&str]) -> crate::hut::Ended {
        Hut::ended(self.command(hut, words).spawn().unwrap(), words)
    }
}

impl Drop for Sshd {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("sshd:\n{}", std::fs::read_to_string(self.folder.join("log")).unwrap_or_default());
        }
        self.vanish();
    }
}
