//! The loops with a manual clock and real sockets.

use super::*;
use crate::check::CommandEnd;
use async_trait::async_trait;
use model::probe::Check;
use runtime::BoxError;
use std::num::NonZeroU32;
use std::sync::atomic::AtomicBool;
use testkit::ManualClock;
use tokio::net::TcpListener;

/// A command that passes when told so.
#[derive(Default)]
struct Switch(AtomicBool);

#[async_trait]
impl CommandRunner for Switch {
    async fn run(
        &self,
        _: &StackId,
        _: &ReplicaId,
        _: &[String],
        _: Duration,
    ) -> Result<(CommandEnd, Vec<u8>), BoxError> {
        Ok((CommandEnd::Code(i32::from(!self.0.load(Ordering::SeqCst))), b"switched".to_vec()))
    }
}

struct Scene {
    clock: ManualClock,
    probes: Probes,
    switch: Arc<Switch>,
    stack: StackId,
    id: ReplicaId,
}

/// Pauses are at most this long in these tests, timeouts longer.
const INTERVAL: Duration = Duration::from_secs(10);

fn scene() -> Scene {
    let clock = ManualClock::new();
    let switch = Arc::new(Switch::default());
    let tasks = Tasks::new(clock.shared());
    let runner: Arc<dyn CommandRunner> = Arc::<Switch>::clone(&switch);
    let probes = Probes::new(&tasks, clock.shared(), runner);
    let (stack, id) = ("shop@test".parse().expect("legal"), "api.1".parse().expect("legal"));
    Scene { clock, probes, switch, stack, id }
}

fn probe(check: Check) -> Option<Probe> {
    let retries = NonZeroU32::MIN.saturating_add(1);
    Some(Probe { interval: INTERVAL, timeout: INTERVAL * 100, retries, ..Probe::with_defaults(check) })
}

fn switch() -> Check {
    Check::Command { argv: vec!["ok".into()] }
}

impl Scene {
    fn watch(&self, ready: Option<Probe>, live: Option<Probe>) {
        let probes = Spec { ready, live, disabled: false };
        let watch = Watch { since: self.clock.now(), address: Some([127, 0, 0, 1].into()), probes };
        self.probes.watch(&self.stack, &self.id, watch);
    }

    fn health(&self) -> Option<Health> {
        self.probes.health(&self.stack).remove(&self.id)
    }

    /// Moves time from waking to waking until the health is as wanted.
    async fn until(&self, wanted: impl Fn(&Health) -> bool) {
        let mut version = self.probes.version();
        loop {
            if self.health().as_ref().is_some_and(&wanted) {
                return;
            }
            tokio::select! {
                biased;
                _ = version.changed() => {}
                _ = self.clock.advance_within(INTERVAL) => {}
            }
        }
    }
}

#[tokio::test]
async fn without_a_probe_a_replica_is_ready_because_it_runs() {
    let scene = scene();
    let waiting = scene.probes.clone();
    let (stack, id) = (scene.stack.clone(), scene.id.clone());
    let wait = waiting.wait_ready(&stack, &id, INTERVAL);
    let (ready, ()) = tokio::join!(wait, async { scene.watch(None, None) });
    assert_eq!(ready, Ok(()));
    scene.probes.forget(&scene.stack, &scene.id);
    assert_eq!(scene.health(), None);
}

#[tokio::test]
async fn a_port_that_opens_makes_it_ready_and_one_that_closes_unready() {
    let scene = scene();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    scene.watch(probe(Check::Tcp { port }), None);
    assert_eq!(scene.health(), Some(Health::Starting));
    scene.until(|health| *health == Health::Ready).await;
    assert!(scene.clock.now().duration_since(scene.probes.snapshot(&scene.stack)[&scene.id].since).is_zero());
    drop(listener);
    scene.until(|health| matches!(health, Health::Unready(_))).await;
    let observation = scene.probes.observation(&scene.stack, &scene.id).expect("watched");
    let answer = observation.ready.expect("asked");
    assert_eq!((answer.failures, answer.passed), (2, false));
    assert_eq!(answer.detail, format!("connecting to 127.0.0.1:{port}: connection refused"));
    assert_eq!(observation.health, Health::Unready(answer.detail));
}

#[tokio::test]
async fn a_replica_whose_live_probe_fails_is_dead_although_it_is_ready() {
    let scene = scene();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
    let port = listener.local_addr().expect("bound").port();
    scene.watch(probe(Check::Tcp { port }), probe(switch()));
    scene.until(|health| *health == Health::Ready).await;
    scene.until(|health| matches!(health, Health::Dead(_))).await;
    assert_eq!(scene.health(), Some(Health::Dead("`ok` exited with 1: switched".into())));
    scene.switch.0.store(true, Ordering::SeqCst);
    scene.until(|health| *health == Health::Ready).await;
}

#[tokio::test]
async fn who_waits_in_vain_learns_what_the_probe_answered() {
    let scene = scene();
    scene.watch(probe(switch()), None);
    assert!(scene.probes.all_asked(&scene.stack, INTERVAL).await);
    let wait = scene.probes.wait_ready(&scene.stack, &scene.id, Duration::from_secs(25));
    let moving = async {
        for _ in 0..100 {
            scene.clock.advance_within(INTERVAL).await;
            tokio::task::yield_now().await;
        }
    };
    let error = tokio::select! {
        result = wait => result.expect_err("it never passes"),
        () = moving => panic!("the deadline never came"),
    };
    assert_eq!(error.to_string(), "`api.1` did not become ready within 25s: `ok` exited with 1: switched");
    let unseen = scene.probes.wait_ready(&scene.stack, &"web.1".parse().expect("legal"), Duration::ZERO).await;
    assert_eq!(unseen.expect_err("never seen").why(), "it was not seen running");
}

#[tokio::test]
async fn changes_are_told_once_each_and_a_new_start_begins_anew() {
    let scene = scene();
    let mut changes = scene.probes.changes();
    scene.switch.0.store(true, Ordering::SeqCst);
    scene.watch(probe(switch()), None);
    scene.watch(probe(switch()), None);
    scene.until(|health| *health == Health::Ready).await;
    scene.clock.advance(Duration::from_secs(1));
    scene.switch.0.store(false, Ordering::SeqCst);
    scene.watch(probe(switch()), None);
    assert_eq!(scene.health(), Some(Health::Starting));
    scene.probes.settle(&scene.stack, &BTreeMap::new());
    let mut told = Vec::new();
    while let Ok(change) = changes.try_recv() {
        told.push((change.from, change.to));
    }
    let (starting, ready) = (Some(Health::Starting), Some(Health::Ready));
    let want = [(None, starting.clone()), (starting.clone(), ready), (None, starting.clone()), (starting, None)];
    assert_eq!(told, want);
}
