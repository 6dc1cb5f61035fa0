//! The conversation with the daemon.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::{AsFd as _, BorrowedFd, OwnedFd};
use std::time::Duration;

use mainstay_edge::control::{
    ClientError, Listener, ListenerTarget, Pool, Protocol, Readiness, Refusal, Table, Target, Upstream,
};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};

use crate::rig::{Edge, get, named_upstream, pool_table, ready, request, route_table, send, until};

async fn check_refused(edge: &Edge, table: Table, want: &str) {
    match edge.client.apply(table).await {
        Err(ClientError::Refused(refusal)) => assert_eq!(refusal.to_string(), want),
        other => panic!("{other:?} instead of {want}"),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_table_that_names_what_is_not_there_changes_nothing() {
    let (upstream, _) = named_upstream("up").await;
    let (edge, address) = Edge::pool(Protocol::Http, &[upstream]).await;
    let good = pool_table(address, Protocol::Http, ready(&[upstream]));
    let newer = |table: Table| Table { version: 9, ..table };
    let unknown: SocketAddr = "127.0.0.9:1".parse().expect("an address");
    check_refused(
        &edge,
        newer(pool_table(unknown, Protocol::Http, vec![])),
        "the table names listener `127.0.0.9:1`, whose socket was never passed",
    )
    .await;
    let mut no_pool = newer(good.clone());
    no_pool.pools.clear();
    let used_by = format!("listener {address}");
    check_refused(&edge, no_pool, &format!("the table names pool `api`, which it does not hold ({used_by})")).await;
    let files = Target::Static { dir: "web".into(), spa: false, service: "web".into() };
    check_refused(
        &edge,
        newer(route_table(address, vec![("/x", files, false)], vec![])),
        "the table names directory `web`, which was never passed (route */x)",
    )
    .await;
    let api = || Target::Pool("api".into());
    check_refused(
        &edge,
        newer(route_table(address, vec![("/a", api(), false), ("/a/", api(), false)], vec![])),
        "`*/a` is routed twice",
    )
    .await;
    check_refused(&edge, Table { version: 0, ..good.clone() }, "table 0 is older than table 1, which is in use").await;
    assert_eq!(edge.client.table().await.expect("a table"), Table { version: 1, ..good });
    assert_eq!(get(address, "/").await.body, "up");
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_sockets_and_ten_thousand_upstreams_fit() {
    let mut edge = Edge::start().await;
    // It raises the limit of open files before it answers.
    edge.client.ping().await.expect("it answers");
    let sockets: Vec<(String, TcpListener)> = (0..450)
        .map(|_| TcpListener::bind("127.0.0.1:0").expect("a port"))
        .map(|socket| (socket.local_addr().expect("an address").to_string(), socket))
        .collect();
    let borrowed: Vec<(String, BorrowedFd<'_>)> = sockets.iter().map(|(id, fd)| (id.clone(), fd.as_fd())).collect();
    edge.client.add_listeners(&borrowed).await.expect("taken");
    let upstream = |number: u16| Upstream {
        id: format!("shop-api-{number}"),
        address: SocketAddr::from(([127, 0, (number >> 8) as u8, number as u8], 80)),
        state: Readiness::Ready,
    };
    let listeners = sockets
        .iter()
        .map(|(id, _)| Listener {
            id: id.clone(),
            protocol: Protocol::Auto,
            target: ListenerTarget::Target(Target::Pool("pool-7".into())),
            trust_forwarded: true,
            project: "shop".into(),
        })
        .collect();
    let pools = (0..100)
        .map(|pool| {
            let upstreams = (0..100).map(|number| upstream(pool * 100 + number)).collect();
            (format!("pool-{pool}"), Pool { service: format!("s{pool}"), upstreams })
        })
        .collect();
    edge.apply(Table { listeners, pools, ..Table::default() }).await;
    assert_eq!(edge.client.stats().await.expect("stats").upstreams.len(), 10_000);
    let back: Vec<(String, OwnedFd)> = edge.client.listeners().await.expect("sockets");
    assert_eq!(back.len(), 450);
    for (id, fd) in back {
        assert_eq!(TcpListener::from(fd).local_addr().expect("an address").to_string(), id);
    }
    // Listeners that no table names are closed.
    edge.apply(Table::default()).await;
    assert_eq!(edge.client.listeners().await.expect("none").len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_listening_socket_is_refused() {
    let edge = Edge::start().await;
    let file = std::fs::File::open("/dev/null").expect("a file");
    let add = edge.client.add_listeners(&[("x".to_owned(), file.as_fd())]).await;
    assert!(matches!(add, Err(ClientError::Refused(Refusal::BadDescriptor { .. }))), "{add:?}");
    let dir = edge.client.add_dir("x", file.as_fd()).await;
    assert!(matches!(dir, Err(ClientError::Refused(Refusal::BadDescriptor { .. }))), "{dir:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stranger_form_is_answered_and_the_conversation_goes_on() {
    let edge = Edge::start().await;
    let stream = tokio::net::UnixStream::connect(&edge.control).await.expect("connected");
    let (read, mut write) = stream.into_split();
    let mut lines = BufReader::new(read).lines();
    write.write_all(b"{\"v\":1,\"id\":7,\"request\":{\"dance\":{}}}\n").await.expect("written");
    let reply = lines.next_line().await.expect("read").expect("a reply");
    assert!(reply.contains("\"id\":7") && reply.contains("not_understood"), "{reply}");
    write
        .write_all(b"{\"v\":2,\"id\":8,\"request\":\"ping\"}\n{\"v\":1,\"id\":9,\"request\":\"ping\"}\n")
        .await
        .expect("written");
    let (first, second) = (
        lines.next_line().await.expect("read").expect("a reply"),
        lines.next_line().await.expect("read").expect("a reply"),
    );
    assert!(first.contains("not_understood") && second.contains("pong"), "{first} {second}");
    write.write_all(b"no json\n").await.expect("written");
    assert_eq!(lines.next_line().await.expect("read"), None, "what has no number cannot be answered");
    assert!(edge.client.ping().await.is_ok(), "others are not concerned");
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_and_log_lines_tell_what_happened() {
    let (upstream, _) = named_upstream("up").await;
    let (edge, address) = Edge::pool(Protocol::Auto, &[upstream]).await;
    let log = tempfile::NamedTempFile::new().expect("a file");
    edge.client.set_access_log(log.as_file().as_fd()).await.expect("taken");
    send(address, request("POST", "/a?token=secret", "12345")).await;
    let lines = || std::fs::read_to_string(log.path()).expect("a log");
    until("the line is written", || async { lines().ends_with('\n') }).await;
    let text = lines();
    assert!(!text.contains("secret"), "{text}");
    let line: serde_json::Value = serde_json::from_str(&text).expect("JSON");
    for (field, want) in [
        ("client", "127.0.0.1".into()),
        ("host", "shop.example".into()),
        ("method", "POST".into()),
        ("path", "/a".into()),
        ("status", 200.into()),
        ("bytesIn", 5.into()),
        ("bytesOut", 2.into()),
        ("project", "shop".into()),
        ("service", "api".into()),
        ("upstream", "u0".into()),
        ("retries", serde_json::Value::from(0)),
        ("protocol", "HTTP/1.1".into()),
    ] {
        assert_eq!(line[field], want, "{field} in {text}");
    }
    let stats = edge.client.stats().await.expect("stats");
    let api = stats.services.iter().find(|service| service.service == "api").expect("a row");
    assert_eq!((api.responses, api.latency.count(), api.bytes_in, api.bytes_out), ([0, 1, 0, 0, 0], 1, 5, 2));
    assert_eq!((stats.upstreams[0].requests, stats.upstreams[0].in_flight, stats.upstreams[0].idle), (1, 0, 1));
    let pong = edge.client.ping().await.expect("a pong");
    assert_eq!((pong.pid, pong.table_version), (std::process::id(), 1));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_blocked_log_does_not_block_traffic() {
    let (upstream, _) = named_upstream("up").await;
    let (edge, address) = Edge::pool(Protocol::Http, &[upstream]).await;
    // A pipe that nobody reads.
    let (_reader, writer) = rustix::pipe::pipe().expect("a pipe");
    edge.client.set_access_log(writer.as_fd()).await.expect("taken");
    let mut client = crate::rig::Http::connect(address).await;
    let path = format!("/{}", "x".repeat(4000));
    for _ in 0..300 {
        assert_eq!(client.send(request("GET", &path, "")).await.status, 200);
    }
    let file = tempfile::NamedTempFile::new().expect("a file");
    edge.client.set_access_log(file.as_file().as_fd()).await.expect("another log is taken");
    client.send(request("GET", "/last", "")).await;
    until("the new log is written", || async {
        std::fs::read_to_string(file.path()).expect("a log").contains("/last")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_edge_ends_when_it_is_told_to() {
    let (upstream, _) = named_upstream("up").await;
    let (edge, address) = Edge::pool(Protocol::Http, &[upstream]).await;
    get(address, "/").await;
    edge.stop(Duration::from_secs(5)).await.expect("a clean end");
    assert!(std::net::TcpStream::connect(address).is_err(), "nobody listens any more");
}
