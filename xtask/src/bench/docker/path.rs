//! The way from one service to another: from inside a container, to the stable address of a service and to its only
//! replica's own, in turn; once through the edge, which spreads requests, and once by packet rules, which spread
//! connections. `wrk` runs in the container's network.

use super::super::Bench;
use super::super::row::{Goal, Row, median};
use super::{IDLE_IMAGE, succeed};
use crate::machine::Process;
use crate::shop::{Engine, Stage};
use anyhow::{Context as _, ensure};
use std::net::IpAddr;
use std::process::Command;

const SERVER: &str = "\
server {
  listen 8000;
  access_log off;
  keepalive_requests 1000000;
  location / { return 200 \"fine\\n\"; }
}
";
/// Kept connections: of the throughput's measure, and of the latency's, where none waits for another.
const MANY: u32 = 32;
const ONE: u32 = 1;

/// One run of `wrk`.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Figures {
    per_second: f64,
    /// In milliseconds.
    p99: f64,
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let server =
        "image: nginx:1\n    expose: [\"8000\"]\n    volumes: [\"./server.conf:/etc/nginx/conf.d/default.conf:ro\"]";
    let compose = format!(
        "services:\n  requests:\n    {server}\n  connections:\n    {server}\n\
         \x20 client:\n    image: {IDLE_IMAGE}\n    command: [sleep, infinity]\n    stop_signal: SIGKILL\n"
    );
    let policy = "project: paths\nservices: { connections: { balance: connections } }\n";
    let files = [("compose.yaml", compose.as_str()), ("mainstay.yaml", policy), ("server.conf", SERVER)];
    let mut stage = Stage::of_files(bench.binary()?, "paths", Engine::Docker, &files)?;
    stage.run(&["up"])?;
    let ways = [Way::of(&mut stage, "requests")?, Way::of(&mut stage, "connections")?];
    let mut figures = [Compared::default(), Compared::default()];
    for _ in 0..bench.rounds {
        for (way, figures) in ways.iter().zip(&mut figures) {
            let [ours, direct] = way.in_turn(MANY, 4, |figures| figures.per_second)?;
            figures.ours.push(ours);
            figures.direct.push(direct);
            figures.share.push(ours / direct);
            let [ours, direct] = way.in_turn(ONE, 2, |figures| figures.p99)?;
            figures.added.push(ours - direct);
        }
    }
    stage.strike()?;
    let [requests, connections] = figures;
    Ok(requests.rows("requests spread").into_iter().chain(connections.rows("connections spread")).collect())
}

/// Where a service's name leads, and where its only replica is.
struct Way {
    client: Process,
    stable: IpAddr,
    direct: IpAddr,
}

impl Way {
    fn of(stage: &mut Stage, service: &str) -> anyhow::Result<Self> {
        let status = stage.status()?;
        let replica = status.service(service)?.instances.first().context("the server has no replica")?;
        let direct = *replica.addresses.values().next().context("the server has no address")?;
        let client = stage.replicas()?.get("client.1").context("the client does not run")?.workload;
        let stable = resolved(client, service)?;
        ensure!(stable != direct, "`{service}` resolves to its replica's own address");
        Ok(Self { client, stable, direct })
    }

    /// The mean of so many runs to each, the stable address first. They take turns, and the turns turn round: the
    /// machine is faster at one moment than at the next by more than what is measured.
    fn in_turn(&self, connections: u32, runs: u32, figure: fn(Figures) -> f64) -> anyhow::Result<[f64; 2]> {
        let mut sums = [0.0; 2];
        for run in 0..runs {
            let order = if run.is_multiple_of(2) { [0, 1] } else { [1, 0] };
            for which in order {
                sums[which] += figure(wrk(self.client, [self.stable, self.direct][which], connections)?);
            }
        }
        Ok(sums.map(|sum| sum / f64::from(runs)))
    }
}

/// Figures of each round.
#[derive(Default)]
struct Compared {
    ours: Vec<f64>,
    direct: Vec<f64>,
    share: Vec<f64>,
    /// In milliseconds.
    added: Vec<f64>,
}

impl Compared {
    fn rows(&self, how: &str) -> [Row; 3] {
        let name = |what: &str| format!("docker: {what}, {how}");
        [
            Row::new(name("most requests a second between services"), "1/s", median(&self.ours), Goal::High)
                .beside("direct", median(&self.direct)),
            Row::new(name("the same, against direct"), "×", median(&self.share), Goal::AtLeast(0.9)),
            Row::new(name("added p99 of one kept connection"), "ms", median(&self.added), Goal::AtMost(0.5)),
        ]
    }
}

/// What a name stands for inside a container.
fn resolved(client: Process, name: &str) -> anyhow::Result<IpAddr> {
    let path = format!("/proc/{}/root/etc/hosts", client.pid);
    let text = std::fs::read_to_string(&path).with_context(|| format!("read {path}"))?;
    let of_name = text.lines().find(|line| line.split_whitespace().skip(1).any(|word| word == name));
    let address =
        of_name.and_then(|line| line.split_whitespace().next()).with_context(|| format!("no {name} in {path}"))?;
    address.parse().with_context(|| format!("`{address}` of {path}"))
}

fn wrk(client: Process, to: IpAddr, connections: u32) -> anyhow::Result<Figures> {
    let mut command = Command::new("nsenter");
    command.args(["--net", "--target", &client.pid.to_string(), "wrk", "--latency", "-t", "1", "-d", "2s", "-c"]);
    let text = succeed(command.arg(connections.to_string()).arg(format!("http://{to}:8000/")))?;
    read(&text).with_context(|| format!("wrk printed\n{text}"))
}

/// None when requests failed: a fast refusal is no throughput.
fn read(text: &str) -> Option<Figures> {
    if text.contains("Non-2xx") || text.contains("Socket errors") {
        return None;
    }
    let after = |word: &str| text.lines().find_map(|line| line.trim().strip_prefix(word)).map(str::trim);
    Some(Figures { per_second: after("Requests/sec:")?.parse().ok()?, p99: millis(after("99%")?)? })
}

/// `1.50ms`, `87.00us` or `1.02s`.
fn millis(text: &str) -> Option<f64> {
    let micros = [("us", 1.0), ("ms", 1e3), ("s", 1e6)];
    micros.iter().find_map(|(unit, scale)| Some(text.strip_suffix(unit)?.parse::<f64>().ok()? * scale / 1e3))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_of_wrk_count_only_without_errors() {
        let text = "  Latency Distribution\n     50%   87.00us\n     99%    1.50ms\n  123 requests in 5.00s\nRequests/sec:  24658.10\n";
        assert_eq!(read(text), Some(Figures { per_second: 24658.10, p99: 1.5 }));
        assert_eq!(read(&format!("{text}  Non-2xx or 3xx responses: 3\n")), None);
        assert_eq!(read(&format!("{text}  Socket errors: connect 1\n")), None);
        assert_eq!(["87.00us", "1.02s", "1"].map(millis), [Some(0.087), Some(1020.0), None]);
    }
}
