//! A small project with a daemon of its own, and an end that leaves nothing.

use crate::{leftovers, processes};
use model::ContentDigest;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};
use testkit::docker::Engine;

/// How long anything may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(30);

/// The folder, the ports and the daemon.
pub struct Hut {
    folder: tempfile::TempDir,
    run: PathBuf,
    tag: u16,
    docker: Option<Docker>,
}

/// The Docker Engine that a hut's stacks lie on.
pub enum Docker {
    /// That of all tests.
    Shared,
    /// One that the test may kill; the daemon is in its network namespace.
    Own(Box<Engine>),
}

impl Docker {
    pub fn url(&self) -> String {
        match self {
            Self::Shared => testkit::docker::url(),
            Self::Own(engine) => engine.url(),
        }
    }
}

/// How a command ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

/// What `compose.yaml` and `mainstay.yaml` say of the one service `web`.
pub struct Web<'a> {
    pub command: Vec<&'a str>,
    pub replicas: u32,
    pub probe: &'a str,
    /// How long a replica may take to become ready.
    pub ready_within: &'a str,
}

const PROBE: &str = "{ http: /, port: 3000, interval: 500ms, timeout: 2s, start_interval: 50ms, start_period: 10s }";

impl Web<'_> {
    /// The web server with two replicas.
    pub fn version(version: &str) -> Web<'_> {
        Web { command: vec!["perl", "/app/server.pl", "3000", version], replicas: 2, probe: PROBE, ready_within: "2m" }
    }

    /// Something else in its place.
    pub fn of<'a>(command: &[&'a str]) -> Web<'a> {
        Web { command: command.to_vec(), replicas: 1, probe: PROBE, ready_within: "2m" }
    }

    pub fn replicas(self, replicas: u32) -> Self {
        Self { replicas, ..self }
    }

    /// The web server takes so many seconds before it listens.
    pub fn slow(mut self, seconds: &'static str) -> Self {
        self.command.push(seconds);
        self
    }
}

impl Hut {
    /// A folder with the web server in it; no daemon yet.
    pub fn new() -> Self {
        Self::of(None)
    }

    /// The same with a Docker Engine as its usual engine.
    pub fn on(docker: Docker) -> Self {
        Self::of(Some(docker))
    }

    fn of(docker: Option<Docker>) -> Self {
        // Not below `/tmp`: that is each replica's own.
        let folder = tempfile::Builder::new().prefix("mainstay-hut-").tempdir_in("/var/tmp").unwrap();
        let (tag, run) = claim(folder.path());
        let hut = Self { folder, run, tag, docker };
        std::fs::create_dir(hut.project()).unwrap();
        hut.write("server.pl", include_str!("hut/server.pl"));
        hut
    }

    /// A project with this service, up.
    pub fn up(web: &Web<'_>) -> Self {
        let hut = Self::new();
        hut.declare(web);
        hut.run(&["up"]).code(0);
        hut
    }

    pub fn path(&self) -> &Path {
        self.folder.path()
    }

    pub fn project(&self) -> PathBuf {
        self.path().join("project")
    }

    /// Its run folder.
    pub fn run_folder(&self) -> &Path {
        &self.run
    }

    /// A number that no other hut has at the same time.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// The first three numbers of the addresses that its networks may have.
    pub fn net(&self) -> String {
        let [_, high, low, _] = subnet(self.tag).octets();
        format!("10.{high}.{low}")
    }

    /// Panics: when it is on none.
    pub fn docker(&self) -> &Docker {
        self.docker.as_ref().unwrap()
    }

    /// Where the Docker Engine of its daemon is; none when nobody says.
    pub fn docker_url(&self) -> Option<String> {
        self.docker.as_ref().map(Docker::url)
    }

    /// Panics: when it has none of its own.
    pub fn own(&mut self) -> &mut Engine {
        let Some(Docker::Own(engine)) = &mut self.docker else { panic!("no Engine of its own") };
        engine
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub fn socket(&self) -> PathBuf {
        self.run.join("mainstay.sock")
    }

    /// The port of the route.
    pub fn http(&self) -> u16 {
        ports(self.tag).0
    }

    /// The port the service publishes.
    pub fn published(&self) -> u16 {
        ports(self.tag).1
    }

    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.project().join(name), text).unwrap();
    }

    pub fn declare(&self, web: &Web<'_>) {
        self.declare_with(web, "");
    }

    /// With more keys of the service.
    pub fn declare_with(&self, web: &Web<'_>, keys: &str) {
        let [_, high, low, _] = subnet(self.tag).octets();
        let command = format!("{:?}", web.command);
        let compose = format!(
            "name: hut
services:
  web:
    image: hut-web
    command: {command}
    environment: {{ HUT: \"{tag}\" }}
    expose: [\"3000\"]
    ports: [\"127.0.0.1:{published}:3000\"]
    restart: unless-stopped
    stop_grace_period: 3s
    deploy: {{ replicas: {replicas} }}
{keys}
networks:
  default: {{ ipam: {{ config: [{{ subnet: 10.{high}.{low}.0/24 }}] }} }}
",
            tag = self.tag,
            published = self.published(),
            replicas = web.replicas,
        );
        let policy = format!(
            "project: hut
environments:
  development: {{ engine: process }}
routes:
  - host: \"*\"
    paths: {{ /: \"web:3000\" }}
processes:
  web:
    artifacts:
      - {{ from: server.pl, to: /app/server.pl }}
    command: {command}
probes:
  web:
    ready: {probe}
services:
  web: {{ ready_within: {ready_within} }}
",
            probe = web.probe,
            ready_within = web.ready_within,
        );
        self.write("compose.yaml", &compose);
        self.write("mainstay.yaml", &policy);
    }

    /// The program with these words in the project's folder.
    pub fn command(&self, words: &[&str]) -> Command {
        self.command_of(Path::new(env!("CARGO_BIN_EXE_mainstay")), words)
    }

    /// The same with a copy of the program.
    pub fn command_of(&self, program: &Path, words: &[&str]) -> Command {
        let mut command = match &self.docker {
            Some(Docker::Own(engine)) => engine.command(program),
            _ => Command::new(program),
        };
        command.args(words).env_clear().current_dir(self.project());
        command.env("PATH", std::env::var_os("PATH").unwrap()).env("HOME", self.path()).env("TZ", "UTC");
        command.env("MAINSTAY_STATE", self.state()).env("MAINSTAY_RUN", &self.run);
        command.env("MAINSTAY_SOCKET", self.socket()).env("MAINSTAY_HTTP_PORT", self.http().to_string());
        match &self.docker {
            Some(docker) => command.env("MAINSTAY_ENGINE", "docker").env("DOCKER_HOST", docker.url()),
            None => command.env("MAINSTAY_ENGINE", "process"),
        };
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs the program to its end.
    #[track_caller]
    pub fn run(&self, words: &[&str]) -> Ended {
        Self::ended(self.command(words).spawn().unwrap(), words)
    }

    /// Waits for the end of a command; one that takes too long is killed, which fails the test.
    #[track_caller]
    pub fn ended(child: Child, words: &[&str]) -> Ended {
        Self::ended_within(2 * SOON, child, words)
    }

    /// The same for what takes longer.
    #[track_caller]
    pub fn ended_within(limit: Duration, child: Child, words: &[&str]) -> Ended {
        let pid = i32::try_from(child.id()).unwrap();
        let (done, watched) = std::sync::mpsc::channel::<()>();
        let guard = std::thread::spawn(move || {
            if watched.recv_timeout(limit).is_err() {
                processes::kill(pid);
            }
        });
        let output = child.wait_with_output().unwrap();
        let _ = done.send(());
        guard.join().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        let ended =
            Ended { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) };
        println!("$ mainstay {}\n{}{}[{}]", words.join(" "), ended.out, ended.err, ended.code);
        ended
    }

    /// What a command prints as JSON.
    #[track_caller]
    pub fn json(&self, words: &[&str]) -> serde_json::Value {
        let ended = self.run(&[words, &["--json"]].concat());
        serde_json::from_str(&ended.out).unwrap_or_else(|error| panic!("{error}: {ended:?}"))
    }

    /// Process numbers of daemon and edge; none when no daemon answers.
    pub fn pids(&self) -> Option<(i32, Option<i32>)> {
        let ended = Self::ended(self.command(&["version", "--json"]).spawn().unwrap(), &["version", "--json"]);
        let version: serde_json::Value = serde_json::from_str(&ended.out).ok()?;
        let number = |key: &str| version["daemon"][key].as_i64().and_then(|pid| i32::try_from(pid).ok());
        Some((number("pid")?, number("edgePid")))
    }

    #[track_caller]
    pub fn daemon(&self) -> i32 {
        self.pids().expect("a daemon answers").0
    }

    #[track_caller]
    pub fn edge(&self) -> i32 {
        self.pids().expect("a daemon answers").1.expect("an edge")
    }

    /// Process numbers of the replicas' own programs.
    pub fn replicas(&self) -> Vec<i32> {
        let mark = format!("HUT={}", self.tag);
        let servers = processes::with(&["/app/server.pl"]).into_iter().filter(|pid| {
            let variables = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            variables.split(|byte| *byte == 0).any(|variable| variable == mark.as_bytes())
        });
        let servers: Vec<i32> = servers.collect();
        // A child of one of them serves a connection.
        let is_child = |pid: &i32| processes::parent(*pid).is_some_and(|parent| servers.contains(&parent));
        servers.iter().copied().filter(|pid| !is_child(pid)).collect()
    }

    /// Kills the daemon without a word and waits until it is gone.
    pub fn kill_daemon(&self) {
        let pid = self.daemon();
        processes::kill(pid);
        until("the daemon's end", || !processes::is_alive(pid));
    }

    /// What the route answers.
    pub fn get(&self) -> Result<String, String> {
        let Some(Docker::Own(engine)) = &self.docker else { return get(self.http()) };
        let asked =
            engine.command("curl").args(["-fsS", &format!("http://127.0.0.1:{}/", self.http())]).output().unwrap();
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
        if asked.status.success() { Ok(text(&asked.stdout)) } else { Err(text(&asked.stderr)) }
    }

    /// What the machine has of this hut's stacks.
    pub fn leftovers(&self) -> Vec<String> {
        let mut found = leftovers::of(&self.run, &format!("{:03x}", self.tag));
        found.extend(self.replicas().iter().map(|pid| format!("process {pid}")));
        found
    }

    /// Ends the daemon and its edge.
    pub fn end_daemon(&self) {
        let Some((daemon, edge)) = self.pids() else { return };
        self.post("/v1/shutdown?edge=true");
        let begun = Instant::now();
        let pids: Vec<i32> = edge.into_iter().chain([daemon]).collect();
        while pids.iter().any(|pid| processes::is_alive(*pid)) && begun.elapsed() < SOON {
            std::thread::sleep(Duration::from_millis(20));
        }
        for pid in pids.into_iter().filter(|pid| processes::is_alive(*pid)) {
            processes::terminate(pid);
        }
    }

    /// Sends a request to the daemon's socket by hand.
    fn post(&self, path: &str) {
        let Ok(mut socket) = UnixStream::connect(self.socket()) else { return };
        let _ =
            write!(socket, "POST {path} HTTP/1.1\r\nhost: mainstay\r\nconnection: close\r\ncontent-length: 0\r\n\r\n");
        let _ = socket.read_to_end(&mut Vec::new());
    }
}

impl Drop for Hut {
    fn drop(&mut self) {
        let down = self.run(&["down", "--yes"]);
        self.end_daemon();
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.state().join("daemon.log")).unwrap_or_default();
            println!("daemon.log:\n{log}");
        } else {
            assert_eq!(self.leftovers(), Vec::<String>::new(), "{}", down.err);
        }
    }
}

impl Ended {
    /// Checks the exit code.
    #[track_caller]
    pub fn code(self, code: i32) -> Self {
        assert_eq!(self.code, code, "exit code\n{}\n{}", self.out, self.err);
        self
    }

    /// Checks that it was said.
    #[track_caller]
    pub fn says(self, part: &str) -> Self {
        let text = format!("{}\n{}", self.out, self.err);
        assert!(text.contains(part), "`{part}` is not said:\n{text}");
        self
    }
}

/// Waits until something holds.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let begun = Instant::now();
    while !holds() {
        assert!(begun.elapsed() < SOON, "still waiting for {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// The body of an answer with status 200, on a connection of its own.
pub fn get(port: u16) -> Result<String, String> {
    get_from((Ipv4Addr::LOCALHOST, port).into())
}

/// The same of another machine.
pub fn get_from(address: SocketAddr) -> Result<String, String> {
    ask(address, "/")
}

/// What is answered under a path.
pub fn ask(address: SocketAddr, path: &str) -> Result<String, String> {
    let text = |error: std::io::Error| error.to_string();
    let mut socket = TcpStream::connect(address).map_err(text)?;
    socket.set_read_timeout(Some(SOON)).map_err(text)?;
    write!(socket, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").map_err(text)?;
    let mut reader = BufReader::new(socket);
    let mut status = String::new();
    reader.read_line(&mut status).map_err(text)?;
    let mut rest = String::new();
    reader.read_to_string(&mut rest).map_err(text)?;
    let (_, body) = rest.split_once("\r\n\r\n").ok_or_else(|| format!("cut short: {status}{rest}"))?;
    if status.starts_with("HTTP/1.1 200 ") { Ok(body.trim().to_owned()) } else { Err(format!("{status}{rest}")) }
}

/// A number that no other test has at the same time, and a run folder whose names in the kernel follow from it.
fn claim(folder: &Path) -> (u16, PathBuf) {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    // Tests are processes or threads; numbers of processes that run at the same time lie close together.
    let first = std::process::id().wrapping_add(COUNT.fetch_add(1, Ordering::Relaxed).wrapping_mul(512));
    let is_free = |port| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let routes = std::fs::read_to_string("/proc/net/route").unwrap();
    let tag = (0..4096)
        .map(|step| u16::try_from(first.wrapping_add(step * 64) & 0xfff).unwrap())
        .find(|tag| is_free(ports(*tag).0) && is_free(ports(*tag).1) && !is_routed(&routes, subnet(*tag)))
        .expect("no two ports and subnet of 10.160.0.0/12 are free on this machine");
    let names = (0_u32..).map(|number| folder.join(format!("run-{number}")));
    let wanted = format!("{tag:03x}");
    let matches =
        |run: &PathBuf| ContentDigest::of(run.as_os_str().as_encoded_bytes()).to_string().starts_with(&wanted);
    (tag, names.into_iter().find(matches).expect("one in 4096"))
}

/// The network of the hut's services, 256 addresses long.
fn subnet(tag: u16) -> Ipv4Addr {
    let [high, low] = tag.to_be_bytes();
    Ipv4Addr::new(10, 160 + high, low, 0)
}

/// Whether the machine has a way to that address, beside the way to everywhere. `routes` as in `/proc/net/route`.
fn is_routed(routes: &str, to: Ipv4Addr) -> bool {
    let to = u32::from_le_bytes(to.octets());
    routes.lines().skip(1).any(|line| {
        let number = |n| line.split_whitespace().nth(n).and_then(|text| u32::from_str_radix(text, 16).ok());
        matches!((number(1), number(7)), (Some(destination), Some(mask)) if mask != 0 && to & mask == destination)
    })
}

/// Below the ports that the kernel gives to clients.
fn ports(tag: u16) -> (u16, u16) {
    (12_000 + 2 * tag, 12_001 + 2 * tag)
}

#[test]
fn a_subnet_that_the_machine_has_a_way_to_is_not_taken() {
    let routes = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\n\
        eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n\
        tun0\t0000A10A\t00000000\t0001\t0\t0\t0\t0000FFFF\t0\t0\t0\n";
    assert!(is_routed(routes, subnet(0x100)) && is_routed(routes, subnet(0x1ff)));
    assert!(!is_routed(routes, subnet(0x0ff)) && !is_routed(routes, subnet(0x200)));
}
