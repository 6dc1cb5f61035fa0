//! What a request pays for going through the edge, beside what it pays in nginx.
//!
//! The same upstream for all: an nginx that answers a short text, run by Mainstay as a service. Asked directly at the
//! replica's address, through the edge, and through an nginx of one worker per core that proxies with kept connections. Rounds
//! are interleaved, so that a machine that slows down slows everybody.

use super::Bench;
use super::row::{Goal, Row, median};
use crate::load::{Load, Phase, Shot};
use crate::machine::{free_port, pause, wait_for};
use crate::shop::{Engine, Stage};
use anyhow::{Context as _, ensure};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

const HOST: &str = "bench.localhost";
const UPSTREAM_PORT: u16 = 8000;
const PER_SECOND: f64 = 1000.0;
const LATENCY_TIME: Duration = Duration::from_secs(5);
const THROUGHPUT_TIME: &str = "5s";

const POLICY: &str = "\
project: bench
routes:
  - host: bench.localhost
    paths: { /: \"upstream:8000\" }
processes:
  upstream:
    artifacts:
      - { from: upstream.conf, to: /app/upstream.conf }
    command: [nginx, -c, /app/upstream.conf, -e, stderr]
";

const COMPOSE: &str = "\
services:
  upstream:
    image: upstream
    expose: [\"8000\"]
    tmpfs: [/tmp]
";

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let upstream = upstream_text();
    let files = [("compose.yaml", COMPOSE), ("mainstay.yaml", POLICY), ("upstream.conf", upstream.as_str())];
    let mut stage = Stage::of_files(bench.binary()?, "bench", Engine::Process, &files)?;
    let rows = measure_on(&mut stage, bench.rounds);
    stage.clear();
    rows
}

fn measure_on(stage: &mut Stage, rounds: usize) -> anyhow::Result<Vec<Row>> {
    stage.run(&["up"])?;
    let replica =
        stage.status()?.service("upstream")?.instances.first().cloned().context("the upstream has no replica")?;
    let address = *replica.addresses.values().next().context("the upstream's replica has no address")?;
    let direct = SocketAddr::new(address, UPSTREAM_PORT);
    let edge = SocketAddr::from((Ipv4Addr::LOCALHOST, stage.http_port));
    let nginx = Nginx::start(stage.folder(), direct)?;
    let targets = [direct, edge, nginx.address];

    let (mut p50, mut p99, mut throughput) = (Columns::default(), Columns::default(), Columns::default());
    for _ in 0..rounds {
        for (target, n) in targets.into_iter().zip(0..) {
            let phase = latencies(target)?;
            p50.0[n].push(millis(&phase, 0.5)?);
            p99.0[n].push(millis(&phase, 0.99)?);
        }
        for (target, n) in targets.into_iter().zip(0..) {
            throughput.0[n].push(requests_per_second(target)?);
        }
    }
    drop(nginx);
    stage.strike()?;
    let added = |columns: &Columns, goal| -> (f64, f64, Goal) {
        let [direct, edge, nginx] = columns.medians();
        (edge - direct, nginx - direct, goal)
    };
    let row = |name: &str, (ours, peer, goal): (f64, f64, Goal)| Row::new(name, "ms", ours, goal).beside("nginx", peer);
    let [_, ours, peer] = throughput.medians();
    Ok(vec![
        row("edge: added p50 at 1,000 requests/s", added(&p50, Goal::Low)),
        row("edge: added p99 at 1,000 requests/s", added(&p99, Goal::AtMost(1.0))),
        Row::new("edge: most requests a second", "1/s", ours, Goal::High).beside("nginx", peer),
    ])
}

/// Figures of the three targets, one per round.
#[derive(Default)]
struct Columns([Vec<f64>; 3]);

impl Columns {
    fn medians(&self) -> [f64; 3] {
        [&self.0[0], &self.0[1], &self.0[2]].map(|figures| median(figures))
    }
}

/// Puts the load on one target for a while. The first requests, which open connections, do not count.
fn latencies(to: SocketAddr) -> anyhow::Result<Phase> {
    let load = Load {
        to,
        host: HOST.to_owned(),
        per_second: PER_SECOND,
        fresh_every: 0,
        patience: Duration::from_secs(5),
        aim: Box::new(|_| Shot::get("/")),
    };
    let running = load.start("warm")?;
    pause(Duration::from_secs(1))?;
    running.begin("measured");
    pause(LATENCY_TIME)?;
    let phase = running.stop()?.phases.pop().context("a load has phases")?;
    ensure!(phase.idempotent.failed + phase.idempotent.cut == 0, "requests failed: {:?}", phase.failures);
    Ok(phase)
}

fn millis(phase: &Phase, share: f64) -> anyhow::Result<f64> {
    Ok(phase.quantile(share).context("nothing was answered")?.as_secs_f64() * 1000.0)
}

fn requests_per_second(to: SocketAddr) -> anyhow::Result<f64> {
    let host = format!("Host: {HOST}");
    let url = format!("http://{to}/");
    let arguments = ["-t", "1", "-c", "32", "-d", THROUGHPUT_TIME, "-H", &host, &url];
    let output = Command::new("wrk").args(arguments).output().context("run wrk")?;
    let text = String::from_utf8_lossy(&output.stdout);
    ensure!(output.status.success(), "wrk failed: {}", String::from_utf8_lossy(&output.stderr));
    read_wrk(&text).with_context(|| format!("wrk printed no good figure:\n{text}"))
}

/// None also when an answer was an error: a fast refusal is no throughput.
fn read_wrk(text: &str) -> Option<f64> {
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return None;
    }
    text.lines().find_map(|line| line.trim().strip_prefix("Requests/sec:")).and_then(|text| text.trim().parse().ok())
}

fn upstream_text() -> String {
    let server = format!("server {{ listen {UPSTREAM_PORT}; location / {{ return 200 \"fine\\n\"; }} }}");
    nginx_text("/tmp", &server)
}

/// An nginx in the foreground that writes nothing outside `folder`.
fn nginx_text(folder: &str, servers: &str) -> String {
    let temporary: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .iter()
        .map(|name| format!("{name}_temp_path {folder}/{name}; "))
        .collect();
    format!(
        "daemon off; master_process on; worker_processes auto; pid {folder}/nginx.pid;\n\
         events {{ worker_connections 1024; }}\n\
         http {{ access_log off; keepalive_requests 1000000; {temporary}\n{servers} }}\n"
    )
}

/// The peer.
struct Nginx {
    address: SocketAddr,
    process: Child,
}

impl Nginx {
    fn start(folder: &Path, upstream: SocketAddr) -> anyhow::Result<Self> {
        let folder = folder.join("nginx");
        std::fs::create_dir(&folder).context("make nginx's folder")?;
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, free_port()?));
        let servers = format!(
            "upstream up {{ server {upstream}; keepalive 64; }}\n\
             server {{ listen {address}; location / {{ proxy_pass http://up; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_set_header Host $host;\n\
             proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; }} }}"
        );
        let text = nginx_text(&folder.display().to_string(), &servers);
        let file = folder.join("nginx.conf");
        std::fs::write(&file, text).context("write nginx's configuration")?;
        let mut command = Command::new("nginx");
        command
            .arg("-c")
            .arg(&file)
            .args(["-e", "stderr"])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let nginx = Self { address, process: command.spawn().context("start nginx")? };
        wait_for("nginx to listen", Duration::from_secs(5), || Ok(Some(TcpStream::connect(address).map(drop)?)))?;
        Ok(nginx)
    }
}

/// A quick shutdown: its workers end with it.
impl Drop for Nginx {
    fn drop(&mut self) {
        let pid = i32::try_from(self.process.id()).ok().and_then(rustix::process::Pid::from_raw);
        if let Some(pid) = pid
            && let Err(error) = rustix::process::kill_process(pid, rustix::process::Signal::TERM)
        {
            eprintln!("could not end nginx: {error}");
        }
        if let Err(error) = self.process.wait() {
            eprintln!("could not wait for nginx's end: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_figure_of_wrk_counts_only_without_errors() {
        let text = "Running 5s test\n  123 requests in 5.00s\nRequests/sec:  24658.10\nTransfer/sec: 1MB\n";
        assert_eq!(read_wrk(text), Some(24658.10));
        assert_eq!(read_wrk(&format!("{text}  Non-2xx or 3xx responses: 3\n")), None);
        assert_eq!(read_wrk(""), None);
    }
}
