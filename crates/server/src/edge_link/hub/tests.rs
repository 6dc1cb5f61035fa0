//! A hub with a real edge in this process: who has a port, and what an edge that fails costs.
#![expect(clippy::disallowed_methods, reason = "tests stand where the machine and clients do")]

use super::*;
use crate::edge_link::process::Launcher;
use model::policy::{Route, RoutePath, RouteTarget};
use model::project::{PortProtocol, PublishedPort, Runs};
use runtime::{SystemClock, Tasks};
use std::io::{Read as _, Write as _};
use std::net::{IpAddr, TcpListener, TcpStream};
use std::os::fd::IntoRawFd as _;
use std::os::unix::net::UnixListener;
use testkit::project::{self, NOWHERE, name, with};

/// A hub with an edge in this process.
struct Rig {
    hub: Hub,
    folder: tempfile::TempDir,
    http: u16,
}

impl Rig {
    async fn new() -> Self {
        let rig = Self::without_edge();
        rig.start_edge();
        rig.hub.connect().await.expect("the edge answers");
        rig
    }

    fn without_edge() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let clock = SystemClock::shared();
        let launcher = Launcher {
            program: "/nowhere".into(),
            socket: folder.path().join("edge.sock"),
            logs: folder.path().to_owned(),
            user: None,
            tasks: Tasks::new(clock.clone()),
            clock,
        };
        let http = free_port();
        let ground = Ground { http: SocketAddr::from(([0, 0, 0, 0], http)), ipv6: false };
        let root = folder.path().to_owned();
        let balancer = Balancer::new("mainstay-test-balances".into(), SystemClock::shared(), launcher.tasks.clone());
        let hub = Hub::new(ground, Box::new(move |_| Ok(root.clone())), launcher, "mainstay-test".into(), balancer);
        Self { hub, folder, http }
    }

    fn start_edge(&self) {
        let control = UnixListener::bind(self.folder.path().join("edge.sock")).expect("a socket");
        let options = edge::Options::new(control.into_raw_fd(), rustix::process::getuid().as_raw());
        std::thread::spawn(move || edge::serve(options));
    }

    async fn open(&self, stack: &Stack) -> Result<(), HubError> {
        let opened = Arc::new(stack.clone());
        self.hub.change(&stack.id, |routing| routing.opened = Some(opened)).await
    }

    async fn settle(&self, stack: &Stack) -> Result<(), HubError> {
        let settled = (Arc::new(stack.clone()), plan::routing::routing_hash(stack));
        let change = |routing: &mut StackRouting| (routing.settled, routing.opened) = (Some(settled), None);
        self.hub.change(&stack.id, change).await
    }
}

fn free_port() -> u16 {
    TcpListener::bind("0.0.0.0:0").and_then(|socket| socket.local_addr()).expect("a port").port()
}

fn published(host: Option<&str>, port: u16) -> PublishedPort {
    let host = host.map(|host| host.parse::<IpAddr>().expect("an address"));
    PublishedPort { host, published: Some(port), target: 80, protocol: PortProtocol::Auto, at: NOWHERE }
}

/// A project whose `web` is a folder, with these ports and perhaps a route for everything.
fn stack(id: &str, ports: &[PublishedPort], has_routes: bool) -> Stack {
    let mut project = with(project::project(), "web", |web| {
        let mut template = project::template("-");
        template.runs = Runs::Static { root: ".".into(), spa: false };
        web.template = Arc::new(template);
        web.published = ports.to_vec();
    });
    project.name = name(id);
    if has_routes {
        let target = RouteTarget::Service { service: name("web"), port: 80 };
        let paths = vec![RoutePath { prefix: "/".into(), target, at: NOWHERE }];
        project.routes.push(Route { host: format!("{id}.localhost"), paths, at: NOWHERE });
    }
    crate::testing::stack(&project)
}

/// The status of a request for a file that is not there.
async fn status(address: &str, port: u16, host: &str) -> String {
    let (address, host) = (format!("{address}:{port}"), host.to_owned());
    let asking = move || {
        let mut stream = TcpStream::connect(&address)?;
        stream.set_read_timeout(Some(Duration::from_secs(10)))?;
        write!(stream, "GET /none HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::task::spawn_blocking(asking).await.expect("joined").expect("an answer");
    answer.lines().next().unwrap_or_default().to_owned() + " " + answer.lines().last().unwrap_or_default()
}

fn clash_of(outcome: Result<(), HubError>) -> String {
    match outcome {
        Err(HubError::Clash(clash)) => clash.to_string(),
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_port_of_routes_is_nobody_elses_while_there_are_routes() {
    let rig = Rig::new().await;
    let on_it = [published(None, rig.http)];
    let both = stack("both", &on_it, true);
    let text = clash_of(rig.open(&both).await);
    assert!(
        text.contains("`web` of `both@production` publishes 0.0.0.0:") && text.contains("routes of `both@"),
        "{text}"
    );
    let routed = stack("routed", &[], true);
    rig.open(&routed).await.expect("nobody has it");
    rig.settle(&routed).await.expect("settled");
    assert!(status("127.0.0.1", rig.http, "routed.localhost").await.starts_with("HTTP/1.1 404"));
    let late = stack("late", &[published(Some("127.0.0.1"), rig.http)], false);
    assert!(rig.hub.clash(&late).is_some(), "a plan tells it as well");
    assert!(clash_of(rig.open(&late).await).contains("routes of `routed@production`"));
    rig.hub.forget(&routed.id).await.expect("forgotten");
    rig.open(&late).await.expect("there are no routes any more");
    let text = clash_of(rig.open(&routed).await);
    assert!(text.contains("`web` of `late@production`") && text.contains("routes of `routed@production`"), "{text}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_belongs_to_one_stack_however_it_is_written() {
    let rig = Rig::new().await;
    let port = free_port();
    rig.open(&stack("one", &[published(None, port)], false)).await.expect("free");
    let text = clash_of(rig.open(&stack("other", &[published(Some("127.0.0.1"), port)], false)).await);
    assert_eq!(text, format!("`web` publishes 127.0.0.1:{port}, which `one@production` has already"));
    let twice = stack("twice", &[published(None, port + 1), published(Some("127.0.0.1"), port + 1)], false);
    assert!(clash_of(rig.open(&twice).await).contains("both publish"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_port_moves_from_every_address_to_one_and_back() {
    let rig = Rig::new().await;
    let port = free_port();
    for host in [None, Some("127.0.0.1"), None] {
        let wanted = stack("moving", &[published(host, port)], false);
        rig.open(&wanted).await.expect("its own port is not taken");
        assert!(status("127.0.0.1", port, "x").await.starts_with("HTTP/1.1 404"));
        rig.settle(&wanted).await.expect("settled");
        assert!(status("127.0.0.1", port, "x").await.starts_with("HTTP/1.1 404"), "{host:?}");
    }
    rig.settle(&stack("moving", &[published(Some("127.0.0.1"), port)], false)).await.expect("settled");
    TcpListener::bind(("127.0.0.2", port)).expect("every other address is free again");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_is_counted_for_its_service_and_a_lost_one_hurts_nobody_else() {
    let rig = Rig::new().await;
    let port = free_port();
    let (one, other) = (stack("one", &[], true), stack("other", &[published(None, port)], false));
    rig.settle(&one).await.expect("settled");
    status("127.0.0.1", rig.http, "one.localhost").await;
    let stats = rig.hub.stats().await.expect("stats");
    let counted = stats.services.iter().find(|row| row.project == "one@production").expect("a row");
    assert_eq!((counted.service.as_str(), counted.responses[3]), ("web", 1));
    // The next edge has to be given every folder again.
    let lost = rig.folder.path().join("gone");
    let mut broken = other.clone();
    let web = broken.services.get_mut("web").expect("it is there");
    let mut template = project::template("-");
    template.runs = Runs::Static { root: "gone".into(), spa: false };
    web.template = Arc::new(template);
    let refused = rig.settle(&broken).await;
    assert!(matches!(&refused, Err(HubError::Folder { path, .. }) if path == "gone"), "{refused:?}");
    std::fs::create_dir(&lost).expect("a folder");
    rig.settle(&broken).await.expect("it is there now");
    std::fs::remove_dir(&lost).expect("removed");
    rig.hub.link.lock().await.dirs.clear();
    rig.hub.change(&one.id, |routing| routing.documents = None).await.expect("nothing new");
    rig.open(&one).await.expect("the other stack's folder is not its concern");
    assert!(status("127.0.0.1", port, "x").await.starts_with("HTTP/1.1 503"));
    assert!(status("127.0.0.1", rig.http, "one.localhost").await.starts_with("HTTP/1.1 404"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_edge_that_cannot_be_replaced_goes_on() {
    let rig = Rig::new().await;
    let one = stack("one", &[], true);
    rig.settle(&one).await.expect("settled");
    rig.hub.link.lock().await.is_foreign = true;
    assert!(rig.hub.renew().await.is_err(), "there is no program to start");
    rig.hub.forget(&one.id).await.expect("the old one does as it is told");
    rig.settle(&one).await.expect("settled");
    assert!(status("127.0.0.1", rig.http, "one.localhost").await.starts_with("HTTP/1.1 404"));
    assert!(Client::connect(rig.folder.path().join("edge.sock")).await.is_ok(), "and has its name");
}

#[tokio::test]
async fn an_edge_that_hangs_costs_an_error_and_blocks_no_reader() {
    let mut rig = Rig::without_edge();
    let clock = testkit::ManualClock::new();
    rig.hub.launcher.clock = clock.shared();
    let (ours, _theirs) = tokio::net::UnixStream::pair().expect("a pair");
    rig.hub.client.send_replace(Some(Client::over(ours)));
    let wanted = stack("hung", &[], true);
    let looking = async {
        clock.asleep_within(ANSWER).await;
        let seen = rig.hub.routing(&wanted.id).await;
        clock.advance(ANSWER);
        seen
    };
    let (changed, seen) = tokio::join!(rig.open(&wanted), looking);
    assert!(matches!(changed, Err(HubError::Silent(_))), "{changed:?}");
    assert_eq!((seen.opened, rig.hub.routing(&wanted.id).await.opened), (None, None));
}
