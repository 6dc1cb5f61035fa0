//! The acts of the demo, in order. Each does one thing through the binary, and checks from outside what it claims.

use super::Options;
use super::aim::{self, KEY_PREFIX};
use super::screen::{Screen, seconds};
use super::watch::Watch;
use crate::load::socket::Echoes;
use crate::load::{Load, Pool, Report, Running, Shot};
use crate::machine::{is_interrupted, pause, wait_for};
use crate::shop::{Machine, Replica, Stage, counts};
use anyhow::{Context as _, bail};
use http::{Method, StatusCode};
use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;

/// The host that the shop's route names.
const HOST: &str = "shop.localhost";
/// Long enough for a machine that compiles meanwhile, short enough that nobody would call it waiting.
const PATIENCE: Duration = Duration::from_secs(10);

/// Plays everything; whether everything held.
pub fn tell(
    stage: &mut Stage,
    screen: &mut Screen,
    runtime: &Runtime,
    options: &Options,
    stays: bool,
) -> anyhow::Result<bool> {
    let before = Machine::read(stage.folder())?;
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, stage.http_port));
    let mut play = Play { stage, screen, runtime, to, pool: Pool::new(to) };
    play.up()?;
    let order = play.requests()?;
    let worker = play.worker_counts()?;
    let load = Load {
        to,
        host: HOST.into(),
        per_second: options.rate,
        fresh_every: 50,
        patience: PATIENCE,
        aim: Box::new(move |n| aim::shot(n, order)),
    };
    let load = load.start("nothing changes")?;
    let echoes = {
        let _inside = play.runtime.enter();
        Echoes::start(8, to, HOST, "/socket", Duration::from_millis(250))
    };
    pause(Duration::from_secs(5))?;
    play.release(&load)?;
    play.kill_replica(&load)?;
    play.kill_daemon(&load)?;
    play.send_the_rest(&load, options.requests)?;
    let report = load.stop()?;
    let echoed = play.runtime.block_on(echoes.stop());
    play.judge(&report, options)?;
    play.judge_worker(&worker)?;
    play.screen.table(&report, echoed);
    if stays {
        play.stay();
    }
    play.down(&before)?;
    Ok(play.verdict())
}

/// The stage with everything that plays on it.
struct Play<'a> {
    stage: &'a mut Stage,
    screen: &'a mut Screen,
    runtime: &'a Runtime,
    to: SocketAddr,
    pool: Pool,
}

impl Play<'_> {
    fn up(&mut self) -> anyhow::Result<()> {
        let stage = &mut *self.stage;
        self.screen.during("mainstay up (builds the shop, starts everything)", || stage.run(&["up"]))?;
        let status = stage.wait_until_ready(Duration::from_secs(5))?;
        stage.daemon()?;
        stage.replicas()?;
        self.screen.note(&format!("  ready: {} · {}", status.in_words(), self.stage.url()));
        Ok(())
    }

    /// One of each kind; the id of the order that was placed.
    fn requests(&mut self) -> anyhow::Result<i64> {
        let (status, page) = self.ask(&Shot::get("/"))?;
        let is_page = status == StatusCode::OK && String::from_utf8_lossy(&page).contains("<html");
        self.screen.check(is_page, "GET / is the front end");
        let (_, answer) = self.ask(&Shot::get("/api/version"))?;
        self.screen.check(aim::version(&answer).as_deref() == Some("1"), "GET /api/version says version 1");
        let body = aim::order_text("first", 1);
        let (status, answer) = self.ask(&Shot::with_json(Method::POST, "/api/orders", body))?;
        self.screen.check(status == StatusCode::CREATED, "POST /api/orders places an order");
        let answer: serde_json::Value = serde_json::from_slice(&answer).context("read the order's answer")?;
        let order = answer["id"].as_i64().with_context(|| format!("the order has no id: {answer}"))?;
        self.echo()?;
        let rows = self.rows("key = 'first'")?;
        self.screen.check(rows == 1, "the order is a row in PostgreSQL");
        Ok(order)
    }

    fn ask(&self, shot: &Shot) -> anyhow::Result<(StatusCode, bytes::Bytes)> {
        let asked = self.runtime.block_on(self.pool.ask(HOST, shot, PATIENCE));
        asked.with_context(|| format!("{} {}", shot.method, shot.path))
    }

    fn echo(&mut self) -> anyhow::Result<()> {
        use crate::load::socket::{Said, Socket};
        let said = self.runtime.block_on(async {
            let mut socket = Socket::connect(self.to, HOST, "/socket").await?;
            socket.send("hello").await?;
            tokio::time::timeout(PATIENCE, socket.next()).await.context("wait for the echo")?
        })?;
        let is_echo = matches!(&said, Said::Text(text) if text.contains("\"hello\""));
        self.screen.check(is_echo, "a WebSocket at /socket echoes");
        Ok(())
    }

    /// Orders in the database.
    fn rows(&self, which: &str) -> anyhow::Result<u64> {
        let query = format!("SELECT count(*) FROM orders WHERE {which}");
        let text = self.stage.exec("db", &["psql", "-U", "shop", "-d", "shop", "-Atc", &query])?;
        text.parse().with_context(|| format!("psql printed `{text}`"))
    }

    /// What all workers together have done, from Redis: it outlives each of them.
    fn worker_counts(&self) -> anyhow::Result<BTreeMap<String, u64>> {
        Ok(counts(&self.stage.exec("cache", &["redis-cli", "HGETALL", "shop:worker:counts"])?))
    }

    /// A new version of the API under load: start-first, the database untouched.
    fn release(&mut self, load: &Running) -> anyhow::Result<()> {
        let before = self.stage.replicas()?;
        self.stage.edit("api/src/version.rs", "\"1\"", "\"2\"")?;
        load.begin_apart("release of version 2", PATIENCE)?;
        let watch = Watch::start(self.stage, "api");
        let stage = &mut *self.stage;
        self.screen.during("mainstay up (version 2: build and rolling release)", || stage.run_behind(&["up"]))?;
        let seen = watch.stop()?;
        let status = self.stage.wait_until_ready(Duration::from_secs(5))?;
        let after = self.stage.replicas()?;
        load.begin("after the release");
        pause(Duration::from_secs(3))?;

        let (_, answer) = self.ask(&Shot::get("/api/version"))?;
        let screen = &mut *self.screen;
        screen.check(aim::version(&answer).as_deref() == Some("2"), "version 2 answers");
        screen.check(stayed(&before, &after, "db"), "the database is the same process as before");
        screen.check(stayed(&before, &after, "cache"), "the cache is the same process as before");
        let is_gone = of("api", &before).all(|(_, old)| !old.workload.is_alive());
        screen.check(is_gone, "the old replicas of the API have ended");
        let is_new = status.service("api")?.instances.iter().all(|replica| Some(replica.release) == status.release);
        screen.check(is_new, "every replica of the API belongs to the new release");
        let looks = seen.looks;
        let text = format!("never fewer than 2 replicas got traffic (fewest {}, {looks} looks)", seen.fewest);
        screen.check(looks > 0 && seen.fewest >= 2, &text);
        let labels = load.so_far().phases.last().map(|phase| phase.labels.clone()).unwrap_or_default();
        screen.check(labels.keys().eq(["2"]), &format!("after the release only version 2 answers ({labels:?})"));
        Ok(())
    }

    fn kill_replica(&mut self, load: &Running) -> anyhow::Result<()> {
        let before = self.stage.replicas()?;
        let (id, victim) = of("api", &before).next().context("the API has no replica")?;
        load.begin_apart("a replica is killed", PATIENCE)?;
        let begin = Instant::now();
        victim.workload.kill()?;
        let stage = &mut *self.stage;
        wait_for("the killed replica to be replaced", Duration::from_secs(30), || {
            let is_new = stage.replicas()?.get(id).is_none_or(|replica| replica.workload != victim.workload);
            Ok((is_new && stage.status()?.is_ready() && of("api", &stage.replicas()?).count() == 2).then_some(()))
        })?;
        let took = seconds(begin.elapsed());
        self.screen.note(&format!("{id} killed with SIGKILL, back and ready after {took}"));
        let after = self.stage.replicas()?;
        let others_stay =
            of("api", &before).filter(|(other, _)| *other != id).all(|(_, other)| other.workload.is_alive());
        self.screen.check(others_stay, "the API's other replica stayed");
        self.screen.check(stayed(&before, &after, "db"), "so did the database");
        pause(Duration::from_secs(2))
    }

    fn kill_daemon(&mut self, load: &Running) -> anyhow::Result<()> {
        let before = self.stage.replicas()?;
        let (daemon, edge) = (self.stage.daemon()?, self.stage.edge()?);
        load.begin_apart("the daemon is away", PATIENCE)?;
        daemon.kill()?;
        wait_for("the daemon's end", Duration::from_secs(5), || Ok((!daemon.is_alive()).then_some(())))?;
        pause(Duration::from_secs(3))?;
        self.screen.note("the daemon was killed with SIGKILL; 3 s without daemon");
        load.begin_apart("the daemon is back", PATIENCE)?;
        let stage = &mut *self.stage;
        self.screen.during("mainstay serve (adopts what runs)", || {
            stage.start_daemon()?;
            stage.wait_until_ready(Duration::from_secs(10))
        })?;
        let after = self.stage.replicas()?;
        let same = before == after;
        self.screen.check(same, "every replica and shim is the same process as before");
        let is_edge = self.stage.edge()? == edge;
        self.screen.check(is_edge, "so is the edge");
        let words = self.stage.status()?.in_words();
        self.screen.note(&format!("  status: {words}"));
        Ok(())
    }

    fn send_the_rest(&mut self, load: &Running, wanted: u64) -> anyhow::Result<()> {
        // A little more, as the last ones may still be under way when it stops.
        while load.so_far().idempotent().sent < wanted + 100 {
            pause(Duration::from_millis(200))?;
        }
        Ok(())
    }

    fn judge(&mut self, report: &Report, options: &Options) -> anyhow::Result<()> {
        let (idempotent, orders) = (report.idempotent(), report.others());
        let rows = self.rows(&format!("key LIKE '{KEY_PREFIX}%'"))?;
        let acknowledged = orders.sent - orders.failed - orders.cut;
        let screen = &mut *self.screen;
        screen.check(idempotent.sent >= options.requests, &format!("{} idempotent requests sent", idempotent.sent));
        screen.check(idempotent.failed == 0, &format!("{} idempotent requests failed", idempotent.failed));
        let text = format!("{rows} orders in PostgreSQL, {acknowledged} acknowledged: none is lost");
        screen.check((acknowledged..=orders.sent).contains(&rows), &text);
        let violent = "a replica is killed";
        for phase in report.phases.iter().filter(|phase| phase.name != violent) {
            let bad = phase.idempotent.failed + phase.idempotent.cut + phase.others.failed + phase.others.cut;
            screen.check(bad == 0, &format!("nothing failed at all: {}", phase.name));
        }
        Ok(())
    }

    fn judge_worker(&mut self, before: &BTreeMap<String, u64>) -> anyhow::Result<()> {
        let after = self.worker_counts()?;
        let new = |name: &str| after.get(name).copied().unwrap_or(0) - before.get(name).copied().unwrap_or(0);
        let (calls, failed) = (new("calls"), new("calls_failed"));
        self.screen.check(calls > 0 && failed == 0, &format!("worker → API: {calls} calls, {failed} failed"));
        self.screen.check(new("jobs_done") > 0, &format!("worker: {} orders carried out", new("jobs_done")));
        Ok(())
    }

    fn stay(&self) {
        println!("\nThe shop is up: {}   (Ctrl-C takes it down)", self.stage.url());
        while !is_interrupted() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn down(&mut self, before: &Machine) -> anyhow::Result<()> {
        let stage = &mut *self.stage;
        stage.replicas()?;
        self.screen.during("mainstay down, and the end of daemon and edge", || stage.strike())?;
        let left = wait_for("nothing to be left over", Duration::from_secs(5), || {
            let left = left_over(self.stage, before)?;
            if left.is_empty() { Ok(Some(())) } else { bail!("{}", left.join(", ")) }
        });
        let text = left.as_ref().err().map(|error| format!(": {error:#}")).unwrap_or_default();
        self.screen
            .check(left.is_ok(), &format!("no process, mount, namespace, control group, link or rule is left{text}"));
        Ok(())
    }

    fn verdict(&self) -> bool {
        let problems = self.screen.problems();
        match problems {
            [] => println!("\nEverything held."),
            _ => println!("\nDid not hold:\n  {}", problems.join("\n  ")),
        }
        problems.is_empty()
    }
}

fn left_over(stage: &Stage, before: &Machine) -> anyhow::Result<Vec<String>> {
    let mut left = Machine::read(stage.folder())?.since(before);
    left.extend(stage.survivors().into_iter().map(|process| format!("process {}", process.pid)));
    Ok(left)
}

/// The replicas of one service.
fn of<'a>(service: &'a str, replicas: &'a BTreeMap<String, Replica>) -> impl Iterator<Item = (&'a str, Replica)> {
    let is_its = move |id: &str| id.rsplit_once('.').is_some_and(|(name, _)| name == service);
    replicas.iter().filter(move |(id, _)| is_its(id)).map(|(id, replica)| (id.as_str(), *replica))
}

/// Whether a service has the same processes as before.
fn stayed(before: &BTreeMap<String, Replica>, after: &BTreeMap<String, Replica>, service: &str) -> bool {
    of(service, before).count() > 0 && of(service, before).eq(of(service, after))
}
