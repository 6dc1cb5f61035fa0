//! Hosts that are made ready, upgraded and left: machines of their own within this one, with their own root, processes,
//! network and sshd. They have the usual paths and ports; what is written to them is gone with them.

use crate::hut::{Ended, Hut, SOON, Web, get_from, until};
use crate::load::Load;
use crate::sshd::Sshd;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// A machine, and a project here that may run there.
struct Machine {
    sshd: Sshd,
    /// `unshare`, whose end is the machine's.
    power: Child,
    /// Its process 1, as seen from here.
    init: i32,
    address: Ipv4Addr,
    hut: Hut,
}

impl Machine {
    fn boot() -> Self {
        let hut = Hut::new();
        let folder = hut.path().join("far");
        // Of 10.191.0.0/16 four addresses for a test, and tests are processes.
        let number = u16::try_from(std::process::id() % 0x3fff).unwrap() * 4;
        let [high, low] = number.to_be_bytes();
        let address = Ipv4Addr::new(10, 191, high, low + 2);
        let sshd = Sshd::in_folder(&folder, SocketAddr::from((address, 22)), &[]);
        sshd.allow_everybody(&folder);
        std::fs::write(folder.join("boot.sh"), include_str!("hosts/boot.sh")).unwrap();
        let mut power = Command::new("unshare")
            .args(["--mount", "--uts", "--ipc", "--net", "--pid", "--fork", "--kill-child", "--propagation", "private"])
            .args(["sh", "boot.sh"])
            .arg(&folder)
            .current_dir(&folder)
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let pid = i32::try_from(power.id()).unwrap();
        until("process 1", || !crate::processes::children(pid).is_empty() || power.try_wait().unwrap().is_some());
        let init = crate::processes::children(pid)[0];
        let machine = Self { sshd, power, init, address, hut };
        machine.connect(Ipv4Addr::new(10, 191, high, low + 1));
        until("sshd", || TcpStream::connect((address, 22)).is_ok());
        machine
    }

    /// A cable between this machine and that one.
    fn connect(&self, here: Ipv4Addr) {
        let name = format!("mst{:x}", self.init);
        let init = self.init.to_string();
        let ip = |words: &[&str]| assert!(Command::new("ip").args(words).status().unwrap().success(), "{words:?}");
        ip(&["link", "add", &name, "type", "veth", "peer", "name", "eth0", "netns", &init]);
        ip(&["addr", "add", &format!("{here}/30"), "dev", &name]);
        ip(&["link", "set", &name, "up"]);
        let address = format!("{}/30", self.address);
        for words in [&["addr", "add", &address, "dev", "eth0"][..], &["link", "set", "eth0", "up"]] {
            let inside = Command::new("nsenter").args(["--target", &init, "--net", "ip"]).args(words).status();
            assert!(inside.unwrap().success(), "{words:?}");
        }
    }

    fn url(&self) -> String {
        self.sshd.url()
    }

    /// A file over there.
    fn path(&self, path: &str) -> PathBuf {
        let process = self.some_process().expect("its sshd runs");
        Path::new(&format!("/proc/{process}/root")).join(path.trim_start_matches('/'))
    }

    /// One of its processes whose root it is.
    fn some_process(&self) -> Option<i32> {
        crate::processes::children(self.init).first().copied()
    }

    fn inode(&self, path: &str) -> Option<u64> {
        std::fs::metadata(self.path(path)).ok().map(|metadata| metadata.ino())
    }

    /// A command over there, without ssh.
    fn inside(&self, words: &[&str]) -> Command {
        let process = self.some_process().expect("its sshd runs").to_string();
        let mut command = Command::new("nsenter");
        command.args(["--target", &process, "--all", "--root", "--wd=/", "--"]).args(words);
        command
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Ended {
        self.run_with(Path::new(env!("CARGO_BIN_EXE_mainstay")), words)
    }

    // An unstripped program travels in each, on a machine that runs other tests.
    #[track_caller]
    fn run_with(&self, program: &Path, words: &[&str]) -> Ended {
        Hut::ended_within(5 * SOON, self.sshd.command_of(&self.hut, program, words).spawn().unwrap(), words)
    }

    #[track_caller]
    fn json(&self, words: &[&str]) -> serde_json::Value {
        let ended = self.run(&[words, &["--json"]].concat());
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    #[track_caller]
    fn daemon(&self) -> i64 {
        self.json(&["version"])["daemon"]["pid"].as_i64().expect("a daemon answers")
    }

    /// What the route answers there.
    fn route(&self) -> SocketAddr {
        (self.address, 80).into()
    }

    /// A program of another build: the bytes behind its end are no business of the kernel's.
    fn other_build(&self, name: &str) -> PathBuf {
        let path = self.hut.path().join(name);
        std::fs::copy(env!("CARGO_BIN_EXE_mainstay"), &path).unwrap();
        let mut file = std::fs::File::options().append(true).open(&path).unwrap();
        std::io::Write::write_all(&mut file, name.as_bytes()).unwrap();
        path
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = self.some_process().map(|_| self.path("/var/lib/mainstay/daemon.log"));
            let log = log.and_then(|path| std::fs::read_to_string(path).ok()).unwrap_or_default();
            println!("daemon.log over there:\n{log}");
        } else {
            // What it has in the kernel beside its own namespaces.
            self.run(&["host", "remove", &self.url(), "--yes", "--state"]);
        }
        let _ = self.power.kill();
        let _ = self.power.wait();
        until("the machine's end", || !crate::processes::is_alive(self.init));
    }
}

const PREPARE: [&str; 5] = ["host", "prepare", "--engine", "process", "--yes"];

#[test]
fn a_plain_host_is_made_ready_used_and_left() {
    let machine = Machine::boot();
    let url = machine.url();
    let prepare = [&PREPARE[..], &[&url]].concat();
    machine.run(&["status"]).code(1).says("MS0305").says("mainstay host prepare");
    machine
        .run(&["host", "prepare", "--engine", "process", "--check", &url])
        .code(0)
        .says("port 80")
        .says("no systemd");
    machine.run(&["host", "prepare", "--engine", "process", &url]).code(2).says("--yes");
    assert_eq!(machine.inode("/usr/local/bin/mainstay"), None, "checks change nothing");

    machine.run(&prepare).code(0).says("program  done").says("daemon  done").says("is ready");
    let (daemon, program) = (machine.daemon(), machine.inode("/usr/local/bin/mainstay"));
    let state = std::fs::metadata(machine.path("/var/lib/mainstay")).unwrap();
    assert_eq!((state.mode() & 0o777, state.uid()), (0o700, 0));
    let again = machine.json(&prepare);
    let changed: Vec<_> = again["steps"].as_array().unwrap().iter().filter(|step| step["changed"] == true).collect();
    assert_eq!(changed, Vec::<&serde_json::Value>::new());
    assert_eq!((machine.daemon(), machine.inode("/usr/local/bin/mainstay")), (daemon, program));

    machine.hut.declare(&Web::version("1"));
    machine.run(&["up"]).code(0);
    assert_eq!(get_from(machine.route()).unwrap(), "version 1");
    machine.run(&["host", "doctor"]).code(0).says("1 stack up").says("as ours");
    let list = machine.json(&["host", "list"]);
    assert_eq!((&list[0]["reachable"], &list[0]["stacks"][0]), (&true.into(), &"hut@development".into()), "{list}");

    machine.run(&["host", "remove", &url]).code(2).says("MS0315").says("hut@development");
    machine.run(&["host", "remove", &url, "--yes"]).code(0).says("/var/lib/mainstay stays");
    assert_eq!(machine.inode("/usr/local/bin/mainstay"), None);
    assert!(machine.inode("/var/lib/mainstay/state.db").is_some());
    assert_eq!(machine.hut.replicas(), Vec::<i32>::new());
    assert!(get_from(machine.route()).is_err(), "the edge is gone");
    machine.run(&["host", "list"]).code(0).says("no host is known");
    machine.run(&prepare).code(0);
    machine.run(&["releases"]).code(0).says("done");
}

#[test]
fn an_upgrade_of_the_host_drops_nothing_and_is_taken_back_when_it_fails() {
    let machine = Machine::boot();
    let url = machine.url();
    let earlier = machine.other_build("earlier");
    machine.run_with(&earlier, &[&PREPARE[..], &[&url]].concat()).code(0);
    machine.hut.declare(&Web::version("1"));
    machine.run(&["up"]).code(0);
    let (replicas, daemon) = (machine.hut.replicas(), machine.daemon());
    machine.run(&["host", "doctor"]).code(0).says("another build");
    let load = Load::at(machine.route());
    load.at_least(50);

    machine.run(&["host", "upgrade", &url]).code(0).says("runs this program now").says("1 stack up");
    assert_ne!(machine.daemon(), daemon);
    machine.run(&["host", "doctor"]).code(0).says("as ours");
    let daemon = machine.daemon();
    machine.run(&["host", "upgrade"]).code(0).says("had this program already");
    assert_eq!(machine.daemon(), daemon);
    load.at_least(50);

    // Something holds the daemon's lock until the earlier program is back.
    let program = machine.inode("/usr/local/bin/mainstay").unwrap();
    let hold = format!("until [ \"$(stat -c %i /usr/local/bin/mainstay)\" = {program} ]; do sleep 0.1; done");
    let mut holder = machine.inside(&["flock", "/run/mainstay/lock", "sh", "-c", &hold]).spawn().unwrap();
    let later = machine.other_build("later");
    machine.run_with(&later, &["host", "upgrade", &url]).code(1).says("MS0314").says("the earlier one is back");
    holder.wait().unwrap();
    assert_eq!(machine.inode("/usr/local/bin/mainstay"), Some(program));
    machine.run(&["host", "doctor"]).code(0).says("as ours");
    load.at_least(50);
    assert_eq!(load.end().without_failure(), ["version 1".to_owned()].into());
    assert_eq!(machine.hut.replicas(), replicas);
    machine.run(&["down", "--yes"]).code(0);
}

#[test]
fn a_user_without_rights_prepares_nothing_and_orders_once_in_the_group() {
    let machine = Machine::boot();
    let visitor = machine.sshd.url_of("visitor");
    let as_visitor = |words: &[&str]| machine.run(&[&["--host", &visitor], words].concat());
    machine.run(&[&PREPARE[..], &[&visitor]].concat()).code(1).says("MS0313").says("rights");
    machine.run(&[&PREPARE[..], &[&machine.url()]].concat()).code(0);
    as_visitor(&["version"]).code(1).says("MS0310").says("usermod -aG mainstay");
    machine.run(&["host", "doctor", &visitor]).code(1).says("not in the group");
    assert!(machine.inside(&["usermod", "-aG", "mainstay", "visitor"]).status().unwrap().success());
    // A group counts from the next login on, and this one is kept for a minute.
    machine.sshd.log_out(&machine.hut, &visitor);
    as_visitor(&["version"]).code(0).says("state in /var/lib/mainstay");
    machine.hut.declare(&Web::version("1").replicas(1));
    as_visitor(&["up"]).code(0);
    as_visitor(&["events", "-n", "500"]).code(0).says("by visitor");
    as_visitor(&["down", "--yes"]).code(0);
    let daemon = i32::try_from(machine.daemon()).unwrap();
    assert!(machine.inside(&["kill", "-9", &daemon.to_string()]).status().unwrap().success());
    as_visitor(&["up"]).code(1).says("MS0311").says("log in as root");
    machine.run(&["up"]).code(0).says("started the daemon on");
    machine.run(&["down", "--yes"]).code(0);
}
