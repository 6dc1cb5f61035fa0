//! Requests all the time, and what became of them.

use crate::hut::{Hut, Web, get_from, until};
use crate::processes;
use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// Clients of a load, each with one request at a time.
pub const CLIENTS: usize = 4;

/// From one request of a client to its next: some three hundred a second by all of them.
const PAUSE: Duration = Duration::from_millis(10);

/// Clients that ask until they are told to end.
pub struct Load {
    stop: Arc<AtomicBool>,
    seen: Arc<Seen>,
    clients: Vec<JoinHandle<()>>,
}

#[derive(Default)]
struct Seen {
    answered: AtomicUsize,
    bodies: Mutex<BTreeSet<String>>,
    failures: Mutex<Vec<String>>,
}

/// What became of the requests.
pub struct Outcome {
    answered: usize,
    bodies: BTreeSet<String>,
    failures: Vec<String>,
}

impl Load {
    pub fn start(port: u16) -> Self {
        Self::at((Ipv4Addr::LOCALHOST, port).into())
    }

    /// Asks another machine.
    pub fn at(address: SocketAddr) -> Self {
        let (stop, seen) = (Arc::new(AtomicBool::new(false)), Arc::new(Seen::default()));
        let client = |_| {
            let (stop, seen) = (stop.clone(), seen.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    seen.note(get_from(address));
                    std::thread::sleep(PAUSE);
                }
            })
        };
        let clients = (0..CLIENTS).map(client).collect();
        Self { stop, seen, clients }
    }

    /// Waits until so many more requests were answered.
    #[track_caller]
    pub fn at_least(&self, more: usize) {
        let wanted = self.seen.answered.load(Ordering::Relaxed) + more;
        until("answers", || self.seen.answered.load(Ordering::Relaxed) >= wanted);
    }

    pub fn end(mut self) -> Outcome {
        self.stop.store(true, Ordering::Relaxed);
        self.clients.drain(..).for_each(|client| client.join().unwrap());
        Outcome {
            answered: self.seen.answered.load(Ordering::Relaxed),
            bodies: self.seen.bodies.lock().unwrap().clone(),
            failures: self.seen.failures.lock().unwrap().clone(),
        }
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
    }
}

impl Seen {
    fn note(&self, answer: Result<String, String>) {
        match answer {
            Ok(body) => {
                self.bodies.lock().unwrap().insert(body);
                self.answered.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => self.failures.lock().unwrap().push(error),
        }
    }
}

impl Outcome {
    /// Checks that every request had its answer; which there were.
    #[track_caller]
    pub fn without_failure(self) -> BTreeSet<String> {
        self.with_failures_at_most(0)
    }

    /// Checks that all but so many requests had their answer; which there were.
    #[track_caller]
    pub fn with_failures_at_most(self, most: usize) -> BTreeSet<String> {
        let failures = &self.failures;
        assert!(failures.len() <= most, "{} of {} failed: {:?}", failures.len(), self.answered, failures.first());
        assert!(self.answered > 0);
        self.bodies
    }
}

#[test]
fn a_release_under_load_drops_no_request() {
    let hut = Hut::up(&Web::version("1"));
    let load = Load::start(hut.http());
    load.at_least(100);
    for version in ["2", "3"] {
        hut.declare(&Web::version(version));
        hut.run(&["up"]).code(0);
        load.at_least(100);
    }
    let bodies = load.end().without_failure();
    assert_eq!(bodies, ["version 1", "version 2", "version 3"].map(str::to_owned).into());
}

#[test]
fn restart_and_scale_under_load_drop_no_request() {
    let hut = Hut::up(&Web::version("1"));
    let load = Load::start(hut.published());
    load.at_least(50);
    hut.run(&["restart"]).code(0);
    hut.run(&["scale", "web=3"]).code(0);
    hut.run(&["scale", "web=1"]).code(0);
    load.at_least(50);
    load.end().without_failure();
}

#[test]
fn more_clients_than_the_edge_may_have_descriptors_keep_nobody_out() {
    let hut = Hut::new();
    hut.declare(&Web::version("1"));
    let shell = hut
        .command_of("sh".as_ref(), &["-c", "ulimit -n 128 && exec \"$0\" up", env!("CARGO_BIN_EXE_mainstay")])
        .spawn();
    Hut::ended(shell.unwrap(), &["up"]).code(0);
    let edge = hut.edge();
    let idle: Vec<_> = (0..300).map(|_| TcpStream::connect(("127.0.0.1", hut.http())).unwrap()).collect();
    std::thread::sleep(Duration::from_secs(1));
    let before = processes::cpu(edge);
    std::thread::sleep(Duration::from_secs(1));
    assert!(processes::cpu(edge) - before < Duration::from_millis(500), "it spins");
    until("an answer in the place of one that is idle", || hut.get().is_ok());
    drop(idle);
    until("an answer", || hut.get().is_ok_and(|body| body == "version 1"));
    assert_eq!(hut.edge(), edge);
}
