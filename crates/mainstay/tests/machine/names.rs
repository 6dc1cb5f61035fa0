//! Calls between containers of services that say nothing of their ports: by name, as Compose files have it.

use crate::hut::{Hut, Web, get, until};
use crate::leftovers;
use crate::load::Load;
use crate::yard::Yard;
use std::io::{BufRead as _, BufReader};
use std::net::TcpListener;
use std::process::{Command, Stdio};
use testkit::docker::{BASE, DEBIAN, NGINX, docker, url};

/// nginx asks for the name once, when it starts.
const PROXY: &str = "server { listen 80; location / { proxy_pass http://web:3000; } }\n";

/// `web` behind nginx; no port of it is written down anywhere, nor how to tell that it is ready.
fn declare(yard: &Yard, version: &str, replicas: u32, network: &str) {
    let (name, net, published) = (yard.name(), yard.net(), yard.published());
    yard.write("proxy.conf", PROXY);
    yard.write("Dockerfile", &format!("FROM {BASE}\nENV YARD={name}\nCOPY server.sh /app/\n"));
    yard.write(
        "compose.yaml",
        &format!(
            "name: {name}
services:
  front:
    image: {NGINX}
    volumes: [\"./proxy.conf:/etc/nginx/conf.d/default.conf:ro\"]
    ports: [\"127.0.0.1:{published}:80\"]
    networks: [default, inner]
    depends_on: [web]
  web:
    build: .
    command: [sh, /app/server.sh, \"3000\", \"{version}\", \"1\"]
    networks: [{network}]
    stop_grace_period: 3s
    deploy: {{ replicas: {replicas}, update_config: {{ order: start-first }} }}
networks:
  default: {{ ipam: {{ config: [{{ subnet: {net}.0/25 }}] }} }}
  inner: {{ internal: true, ipam: {{ config: [{{ subnet: {net}.128/25 }}] }} }}
"
        ),
    );
    yard.write("mainstay.yaml", &format!("project: {name}\nenvironments:\n  development: {{ engine: docker }}\n"));
}

#[test]
fn whoever_asked_for_a_name_once_reaches_the_next_release_and_no_request_is_lost() {
    for network in ["default", "inner"] {
        let yard = Yard::new();
        declare(&yard, "1", 2, network);
        yard.run(&["up"]).code(0);
        // With the first release there is nobody to compare with: `up` has not waited for them to listen.
        let answers = || get(yard.published()).is_ok_and(|body| body == "version 1");
        until("answers of both replicas", || (0..4).all(|_| answers()));
        let load = Load::start(yard.published());
        load.at_least(50);
        for version in ["2", "3"] {
            declare(&yard, version, 2, network);
            yard.run(&["up"]).code(0);
            load.at_least(50);
        }
        declare(&yard, "3", 1, network);
        yard.run(&["up"]).code(0);
        yard.run(&["restart", "web"]).code(0);
        load.at_least(50);
        let bodies = load.end().without_failure();
        assert_eq!(bodies, ["version 1", "version 2", "version 3"].map(str::to_owned).into());
        yard.run(&["plan"]).code(0).says("nothing to do");
    }
}

/// Answers what it was told, over UDP and TCP alike: PORT VERSION.
const ECHO: &str = r#"
use strict; use IO::Socket::INET; $| = 1;
my ($port, $version) = @ARGV;
my $udp = IO::Socket::INET->new(Proto => "udp", LocalPort => $port) or die "udp: $!";
my $tcp = IO::Socket::INET->new(LocalPort => $port, Listen => 64, ReuseAddr => 1) or die "tcp: $!";
$SIG{TERM} = sub { exit 0 };
if (!fork) { while (my $client = $tcp->accept) { print $client "version $version\n"; close $client } }
while (1) { $udp->recv(my $said, 99); $udp->send("version $version: $said") }
"#;

/// Says a number ten times a second from one port, and what is answered.
const TALK: &str = r#"
use strict; use IO::Socket::INET; use IO::Select; $| = 1;
my $udp = IO::Socket::INET->new(Proto => "udp", PeerAddr => $ARGV[0], PeerPort => $ARGV[1]) or die "udp: $!";
for my $n (1 .. 200) {
    $udp->send($n);
    while (IO::Select->new($udp)->can_read(0.1)) { defined $udp->recv(my $answer, 99) or last; print "$answer\n" }
}
"#;

/// Connects and says what is answered, or why it is not: HOST PORT.
const ASK: &str = r#"use IO::Socket::INET; my $s = IO::Socket::INET->new(PeerAddr => $ARGV[0], PeerPort => $ARGV[1], Timeout => 5); print $s ? <$s> : "$!""#;

/// `echo` listens on a port that nobody knows of and on none of those that are written down.
fn declare_echo(yard: &Yard, version: &str, replicas: u32) {
    let (name, net) = (yard.name(), yard.net());
    yard.write("echo.pl", ECHO);
    yard.write("talk.pl", TALK);
    yard.write("ask.pl", ASK);
    yard.write(
        "compose.yaml",
        &format!(
            "name: {name}
services:
  caller:
    image: {DEBIAN}
    command: [sleep, infinity]
    init: true
    volumes: [\"./talk.pl:/app/talk.pl:ro\", \"./ask.pl:/app/ask.pl:ro\"]
  echo:
    image: {DEBIAN}
    command: [perl, /app/echo.pl, \"9000\", \"{version}\"]
    expose: [\"8000\"]
    volumes: [\"./echo.pl:/app/echo.pl:ro\", \"./ask.pl:/app/ask.pl:ro\"]
    stop_grace_period: 3s
    deploy: {{ replicas: {replicas}, update_config: {{ order: start-first }} }}
networks:
  default: {{ ipam: {{ config: [{{ subnet: {net}.0/24 }}] }} }}
"
        ),
    );
    yard.write("mainstay.yaml", &format!("project: {name}\nenvironments:\n  development: {{ engine: docker }}\n"));
}

/// What a container of the stack is answered there.
fn ask(yard: &Yard, service: &str, host: &str, port: u16) -> String {
    let container = yard.containers().into_iter().find(|name| name.contains(&format!("-{service}-"))).unwrap();
    docker(&["exec", &container, "perl", "/app/ask.pl", host, &port.to_string()])
}

#[test]
fn a_port_that_nobody_wrote_down_is_reached_by_name_over_tcp_and_udp() {
    let yard = Yard::new();
    declare_echo(&yard, "1", 2);
    yard.run(&["up"]).code(0);
    for _ in 0..4 {
        assert_eq!(ask(&yard, "caller", "echo", 9000), "version 1");
        // Two replicas in turns: every second call would come back to the caller.
        assert_eq!(ask(&yard, "echo", "echo", 9000), "version 1");
    }
    let mut talk = Command::new("docker");
    talk.args(["--host", &url(), "exec", &yard.called("-caller-1"), "perl", "/app/talk.pl", "echo", "9000"]);
    let mut talk = talk.stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(talk.stdout.take().unwrap()).lines().map(Result::unwrap);
    let before: Vec<String> = lines.by_ref().take(5).collect();
    assert!(before.iter().all(|line| line.starts_with("version 1")), "{before:?}");
    declare_echo(&yard, "2", 2);
    yard.run(&["up"]).code(0);
    assert_eq!(ask(&yard, "caller", "echo", 9000), "version 2");
    // Whoever never pauses is led to the next release as well.
    let last = lines.last().unwrap();
    let number = last.strip_prefix("version 2: ").and_then(|number| number.parse::<u32>().ok());
    assert!(number.is_some_and(|number| number > 150), "{last}");
    assert!(talk.wait().unwrap().success());
}

#[test]
fn rules_that_somebody_flushed_are_back_and_a_name_without_replicas_never_leads_to_the_machine() {
    let yard = Yard::new();
    declare_echo(&yard, "1", 1);
    yard.run(&["up"]).code(0);
    let table = leftovers::table("balances", yard.run_folder());
    let deleted = Command::new("nft").args(["delete", "table", "ip", &table]).status().unwrap();
    assert!(deleted.success(), "{table}");
    until("the rules", || ask(&yard, "caller", "echo", 9000) == "version 1");
    assert_eq!(ask(&yard, "echo", "echo", 9000), "version 1", "the only replica calls itself");
    // Somebody listens on the machine where the service does not.
    let machine = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = machine.local_addr().unwrap().port();
    assert!(ask(&yard, "caller", "echo", port).contains("refused"));
    yard.run(&["scale", "echo=0"]).code(0);
    assert!(ask(&yard, "caller", "echo", 9000).contains("refused"));
    yard.run(&["down", "--yes"]).code(0);
    assert_eq!(yard.leftovers(), Vec::<String>::new());
}

/// A hut whose `web` has its connections spread, and a service beside it that calls it.
fn declare_spread(hut: &Hut, version: &str) {
    hut.declare(&Web::version(version));
    let change = |file: &str, places: &[(&str, &str)]| {
        let mut text = std::fs::read_to_string(hut.project().join(file)).unwrap();
        for (before, after) in places {
            assert!(text.contains(before), "{before} is not in {text}");
            text = text.replacen(before, after, 1);
        }
        hut.write(file, &text);
    };
    let caller = format!("services:\n  caller: {{ image: caller, environment: {{ HUT: \"{}\" }} }}\n", hut.tag());
    change("compose.yaml", &[("services:\n", &caller)]);
    let caller = "processes:\n  caller: { command: [sleep, infinity] }\n";
    change("mainstay.yaml", &[("ready_within", "balance: connections, ready_within"), ("processes:\n", caller)]);
}

#[test]
fn connections_are_spread_on_the_process_engine_as_well_and_none_is_lost_in_a_release() {
    let hut = Hut::new();
    declare_spread(&hut, "1");
    hut.run(&["up"]).code(0);
    // Two replicas in turns: one of two calls comes back to the caller.
    for _ in 0..4 {
        hut.run(&["exec", "web", "--", "curl", "-fsS", "--max-time", "5", "http://web:3000/"])
            .code(0)
            .says("version 1");
    }
    let script = "for n in $(seq 150); do curl -fsS --max-time 5 http://web:3000/ || echo failed; sleep 0.03; done";
    let words = ["exec", "caller", "--", "sh", "-c", script];
    let mut calls = hut.command(&words).stdout(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(calls.stdout.take().unwrap()).lines().map(Result::unwrap);
    let before: Vec<String> = lines.by_ref().take(10).collect();
    declare_spread(&hut, "2");
    hut.run(&["up"]).code(0);
    let said: Vec<String> = before.into_iter().chain(lines).collect();
    Hut::ended(calls, &words).code(0);
    let of = |what: &str| said.iter().filter(|line| *line == what).count();
    assert_eq!((of("failed"), of("version 1") + of("version 2")), (0, 150), "{said:?}");
    assert!(of("version 1") >= 10 && of("version 2") > 5, "{said:?}");
    // The edge was not asked for any of them.
    let table = leftovers::table("balances", hut.run_folder());
    let listed = Command::new("nft").args(["list", "table", "ip", &table]).output().unwrap();
    let listing = String::from_utf8_lossy(&listed.stdout);
    assert!(!listing.contains("dport") && listing.contains("dnat to numgen"), "{listing}");
    hut.run(&["down", "--yes"]).code(0);
    assert_eq!(hut.leftovers(), Vec::<String>::new());
}
