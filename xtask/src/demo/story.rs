//! The acts of the demo, in order. Each does one thing through the binary, and checks from outside what it claims.

use super::Options;
use super::aim::{self, KEY_PREFIX};
use super::judge;
use super::screen::{Screen, seconds};
use super::watch::Watch;
use crate::load::socket::Echoes;
use crate::load::{Load, Pool, Report, Running, Shot};
use crate::machine::{pause, take_interrupt, wait_for};
use crate::shop::{Replica, Stage, counts};
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
/// WebSockets that are kept busy.
const SOCKETS: usize = 8;
/// What the shop's worker does by itself, in calls a second.
const WORKER_RATE: f64 = 20.0;

/// Plays everything; whether everything held.
pub fn tell(
    stage: &mut Stage,
    screen: &mut Screen,
    runtime: &Runtime,
    options: &Options,
    stays: bool,
) -> anyhow::Result<bool> {
    let to = SocketAddr::from((Ipv4Addr::LOCALHOST, stage.http_port));
    let mut play = Play { stage, screen, runtime, to, pool: Pool::new(to) };
    play.up()?;
    let (order, page) = play.requests()?;
    let (worker, since) = (play.worker_counts()?, Instant::now());
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
        Echoes::start(SOCKETS, to, HOST, "/socket", Duration::from_millis(250))
    };
    pause(Duration::from_secs(5))?;
    let echoed_before = echoes.counts();
    play.release(&load, &page)?;
    let echoed_until = echoes.counts();
    let echoed_in_release = echoed_until.since(echoed_before);
    let killed = play.kill_replica(&load)?;
    let echoed_in_death = echoes.counts().since(echoed_until);
    play.kill_daemon(&load)?;
    // A little more, as the last ones may still be under way when it stops; twice the time it takes is patience enough.
    let wanted = options.requests + 100;
    let patience = Duration::from_secs_f64(2.0 * wanted as f64 / options.rate) + PATIENCE;
    load.wait_for_idempotent(wanted, patience)?;
    let report = load.stop()?;
    let echoed = play.runtime.block_on(echoes.stop());
    play.claim(judge::requests(&report, options.requests, killed));
    play.claim(judge::sockets(echoed, echoed_in_release, echoed_in_death, SOCKETS as u64));
    play.judge_orders(&report)?;
    play.judge_worker(&worker, since)?;
    play.screen.table(&report, echoed);
    if stays {
        play.stay();
    }
    play.down()?;
    Ok(play.screen.verdict())
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
        self.screen.note(&format!("replicas run as {}", stage.engine()));
        self.screen.during("mainstay up (builds the shop, starts everything)", || stage.run(&["up"]))?;
        let status = stage.wait_until_ready(Duration::from_secs(5))?;
        stage.daemon()?;
        let running = stage.replicas()?.len();
        self.screen.note(&format!("  ready: {} · {}", status.in_words(), self.stage.url()));
        if self.stage.has_containers() {
            // A job that is done counts as ready.
            let all = status.services.iter().flat_map(|service| &service.instances);
            let ready = all.filter(|replica| replica.phase == "running").count();
            let text = format!("each of {ready} replicas is a running container of this Engine ({running})");
            self.screen.check(ready > 0 && ready == running, &text);
        }
        Ok(())
    }

    /// One of each kind; the id of the order that was placed, and the front end's page.
    fn requests(&mut self) -> anyhow::Result<(i64, bytes::Bytes)> {
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
        Ok((order, page))
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
    fn release(&mut self, load: &Running, page: &bytes::Bytes) -> anyhow::Result<()> {
        let (before, web) = (self.stage.replicas()?, self.stage.status()?.service("web")?.instances.clone());
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
        let (_, page_now) = self.ask(&Shot::get("/"))?;
        let screen = &mut *self.screen;
        screen.check(aim::version(&answer).as_deref() == Some("2"), "version 2 answers");
        for (service, name) in kept(self.stage) {
            screen.check(stayed(&before, &after, service), &format!("the {name} is the same process as before"));
        }
        let is_same = page_now == *page && status.service("web")?.instances == web;
        screen.check(is_same, "the front end is the same as before");
        let is_gone = of("api", &before).all(|(_, old)| !old.workload.is_alive());
        screen.check(is_gone, "the old replicas of the API have ended");
        let is_new = status.service("api")?.instances.iter().all(|replica| Some(replica.release) == status.release);
        screen.check(is_new, "every replica of the API belongs to the new release");
        let looks = seen.looks;
        let text = format!("never fewer than 2 replicas got traffic (fewest {}, {looks} looks)", seen.fewest);
        screen.check(looks > 0 && seen.fewest >= 2, &text);
        screen.check(seen.most == 3, &format!("start-first, one at a time: {} replicas at once (3)", seen.most));
        let labels = load.so_far().phases.last().map(|phase| phase.labels.clone()).unwrap_or_default();
        screen.check(labels.keys().eq(["2"]), &format!("after the release only version 2 answers ({labels:?})"));
        Ok(())
    }

    /// When it was killed.
    fn kill_replica(&mut self, load: &Running) -> anyhow::Result<Instant> {
        let before = self.stage.replicas()?;
        let (id, victim) = of("api", &before).next().context("the API has no replica")?;
        load.begin_apart(judge::VIOLENT, PATIENCE)?;
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
        let others = kept(self.stage);
        let others_stay = others.iter().all(|(service, _)| stayed(&before, &after, service));
        let names: Vec<&str> = others.iter().map(|(_, name)| *name).collect();
        self.screen.check(others_stay, &format!("so did the {}", names.join(", the ")));
        pause(Duration::from_secs(2))?;
        Ok(begin)
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

    fn claim(&mut self, claims: Vec<judge::Claim>) {
        claims.into_iter().for_each(|claim| self.screen.check(claim.holds, &claim.text));
    }

    /// No order that was acknowledged is lost, and all there are get carried out.
    fn judge_orders(&mut self, report: &Report) -> anyhow::Result<()> {
        let orders = report.others();
        let ours = format!("key LIKE '{KEY_PREFIX}%'");
        let rows = self.rows(&ours)?;
        let acknowledged = orders.sent - orders.failed - orders.cut;
        let text = format!("{rows} orders in PostgreSQL, {acknowledged} acknowledged: none is lost");
        self.screen.check((acknowledged..=orders.sent).contains(&rows), &text);
        let open = format!("{ours} AND state <> 'shipped'");
        let shipped = wait_for("every order to be shipped", Duration::from_secs(60), || {
            let left = self.rows(&open)?;
            if left == 0 { Ok(Some(())) } else { bail!("{left} are not") }
        });
        let text = shipped.as_ref().err().map(|error| format!(": {error:#}")).unwrap_or_default();
        self.screen.check(shipped.is_ok(), &format!("the worker shipped every one of them{text}"));
        Ok(())
    }

    fn judge_worker(&mut self, before: &BTreeMap<String, u64>, since: Instant) -> anyhow::Result<()> {
        // The worker writes its sums down once a second: what the next ones do not have did not happen until now.
        let (now, time) = (self.worker_counts()?, since.elapsed());
        let after = wait_for("the worker to write its sums down", PATIENCE, || {
            let after = self.worker_counts()?;
            Ok((after.get("steady") != now.get("steady")).then_some(after))
        })?;
        self.claim(judge::worker(before, &after, WORKER_RATE, time));
        Ok(())
    }

    fn stay(&self) {
        self.screen.invitation(&self.stage.url());
        while !take_interrupt() {
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn down(&mut self) -> anyhow::Result<()> {
        let stage = &mut *self.stage;
        stage.replicas()?;
        self.screen.during("mainstay down, and the end of daemon and edge", || stage.strike())?;
        let left = wait_for("nothing to be left over", Duration::from_secs(5), || {
            let left = self.stage.leftovers()?;
            if left.is_empty() { Ok(Some(())) } else { bail!("{}", left.join(", ")) }
        });
        let text = left.as_ref().err().map(|error| format!(": {error:#}")).unwrap_or_default();
        if self.stage.has_containers() {
            self.screen.note("  (the images are removed by the demo: Mainstay keeps them, the Engine its build cache)");
            let kinds = "process, container, network, volume, image, mount, link or rule";
            self.screen.check(left.is_ok(), &format!("no {kinds} is left{text}"));
        } else {
            self.screen.check(left.is_ok(), &format!("no process, mount, control group, link or rule is left{text}"));
        }
        Ok(())
    }
}

/// The services that nothing in the story may touch, with their names. As processes, the front end is the edge's work
/// and has no replica.
fn kept(stage: &Stage) -> Vec<(&'static str, &'static str)> {
    let mut kept = vec![("db", "database"), ("cache", "cache"), ("worker", "worker")];
    if stage.has_containers() {
        kept.push(("web", "front end"));
    }
    kept
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
