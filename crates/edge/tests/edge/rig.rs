//! What the tests share: an edge in this process, upstreams that do as told, a client for requests.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use mainstay_edge::control::{
    Client, Host, Listener, ListenerTarget, PathRoute, Pool, Protocol, Readiness, Table, Target, Upstream,
};
use mainstay_edge::{Options, ServeError};
use tempfile::TempDir;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};

/// Nothing in a test may take longer.
pub const DEADLINE: Duration = Duration::from_secs(20);

/// An edge in a thread of its own.
pub struct Edge {
    pub client: Client,
    pub control: PathBuf,
    version: u64,
    thread: Option<JoinHandle<Result<(), ServeError>>>,
    _dir: TempDir,
}

impl Edge {
    pub async fn start() -> Self {
        Self::start_with(|_| {}).await
    }

    pub async fn start_with(adjust: impl FnOnce(&mut Options)) -> Self {
        let dir = tempfile::tempdir().expect("a temp dir");
        let control = dir.path().join("edge.sock");
        let listener = UnixListener::bind(&control).expect("a control socket");
        let mut options = Options::new(listener.into_raw_fd(), rustix::process::getuid().as_raw());
        options.workers = Some(2.try_into().expect("two"));
        adjust(&mut options);
        let thread = std::thread::spawn(move || mainstay_edge::serve(options));
        let client = Client::connect(&control).await.expect("the edge answers");
        Self { client, control, version: 0, thread: Some(thread), _dir: dir }
    }

    /// Passes a fresh loopback socket and returns its address, which is its id as well.
    pub async fn listen(&self) -> SocketAddr {
        let socket = StdListener::bind("127.0.0.1:0").expect("a port");
        let address = socket.local_addr().expect("an address");
        self.client.add_listeners(&[(address.to_string(), socket.as_fd())]).await.expect("taken");
        address
    }

    /// Applies a table under the next version.
    pub async fn apply(&mut self, mut table: Table) {
        self.version += 1;
        table.version = self.version;
        assert_eq!(self.client.apply(table).await.expect("applied"), self.version);
    }

    /// One listener whose connections go to a pool of these upstreams.
    pub async fn pool(protocol: Protocol, upstreams: &[SocketAddr]) -> (Self, SocketAddr) {
        let mut edge = Self::start().await;
        let address = edge.listen().await;
        edge.apply(pool_table(address, protocol, ready(upstreams))).await;
        (edge, address)
    }

    /// Ends the edge and returns what it returned.
    pub async fn stop(mut self, grace: Duration) -> Result<(), ServeError> {
        // An edge that ended already takes no more requests.
        let _ = self.client.shutdown(grace).await;
        let thread = self.thread.take().expect("a running edge");
        tokio::task::spawn_blocking(move || thread.join().expect("the edge does not panic")).await.expect("joined")
    }
}

impl Drop for Edge {
    fn drop(&mut self) {
        // A test that failed leaves the edge to the end of the process.
        if let (Some(thread), false) = (self.thread.take(), std::thread::panicking()) {
            let client = self.client.clone();
            drop(tokio::spawn(async move { client.shutdown(Duration::ZERO).await }));
            drop(thread);
        }
    }
}

/// Upstreams by the ids `u0`, `u1`, …, all ready.
pub fn ready(addresses: &[SocketAddr]) -> Vec<Upstream> {
    addresses
        .iter()
        .enumerate()
        .map(|(number, address)| Upstream { id: format!("u{number}"), address: *address, state: Readiness::Ready })
        .collect()
}

pub fn pool_table(listener: SocketAddr, protocol: Protocol, upstreams: Vec<Upstream>) -> Table {
    Table {
        listeners: vec![Listener {
            id: listener.to_string(),
            protocol,
            target: ListenerTarget::Target(Target::Pool("api".into())),
            trust_forwarded: false,
            project: "shop".into(),
        }],
        pools: pools(upstreams),
        ..Table::default()
    }
}

pub fn pools(upstreams: Vec<Upstream>) -> BTreeMap<String, Pool> {
    BTreeMap::from([("api".to_owned(), Pool { service: "api".into(), upstreams })])
}

/// One listener for routes: prefix, target and whether the prefix is stripped, all for any host.
pub fn route_table(listener: SocketAddr, paths: Vec<(&str, Target, bool)>, upstreams: Vec<Upstream>) -> Table {
    let paths = paths
        .into_iter()
        .map(|(prefix, target, strip_prefix)| PathRoute { prefix: prefix.to_owned(), target, strip_prefix })
        .collect();
    Table {
        listeners: vec![Listener {
            id: listener.to_string(),
            protocol: Protocol::Http,
            target: ListenerTarget::Routes,
            trust_forwarded: false,
            project: String::new(),
        }],
        hosts: vec![Host { host: "*".into(), project: "shop".into(), paths }],
        pools: pools(upstreams),
        ..Table::default()
    }
}

/// Runs `serve` for every connection to a fresh port; ends with the test's runtime.
pub async fn tcp_upstream<F, R>(serve: F) -> SocketAddr
where
    F: Fn(TcpStream, usize) -> R + Send + Sync + 'static,
    R: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("an address");
    tokio::spawn(async move {
        for number in 0.. {
            let Ok((stream, _)) = listener.accept().await else { return };
            tokio::spawn(serve(stream, number));
        }
    });
    address
}

/// An HTTP upstream that answers by `answer`, and the number of requests it got.
pub async fn http_upstream<F, R>(answer: F) -> (SocketAddr, Arc<AtomicUsize>)
where
    F: Fn(Request<Incoming>) -> R + Clone + Send + Sync + 'static,
    R: Future<Output = Response<Full<Bytes>>> + Send + 'static,
{
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let address = tcp_upstream(move |stream, _| {
        let (answer, counter) = (answer.clone(), counter.clone());
        async move {
            let service = service_fn(move |request| {
                counter.fetch_add(1, Ordering::SeqCst);
                let answering = answer(request);
                async move { Ok::<_, std::convert::Infallible>(answering.await) }
            });
            let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        }
    })
    .await;
    (address, count)
}

/// An HTTP upstream that answers with its name.
pub async fn named_upstream(name: &'static str) -> (SocketAddr, Arc<AtomicUsize>) {
    http_upstream(move |_| async move { Response::new(Full::from(name)) }).await
}

/// An HTTP upstream that answers with the head it got, one header per line, and the body below.
pub async fn mirror() -> SocketAddr {
    let answer = |request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let mut text = format!("{} {}\n", head.method, head.uri);
        for (name, value) in &head.headers {
            text += &format!("{name}: {}\n", String::from_utf8_lossy(value.as_bytes()));
        }
        text.push('\n');
        let body = body.collect().await.expect("a body").to_bytes();
        text += &String::from_utf8_lossy(&body);
        Response::new(Full::from(text))
    };
    http_upstream(answer).await.0
}

/// A port that nobody listens on.
pub fn dead_port() -> SocketAddr {
    let socket = StdListener::bind("127.0.0.1:0").expect("a port");
    socket.local_addr().expect("an address")
}

/// Sends `request` as it stands and returns all that comes until the edge closes.
pub async fn raw(address: SocketAddr, request: &[u8]) -> String {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await.expect("connected");
        stream.write_all(request).await.expect("written");
        let mut answer = Vec::new();
        // A reset after the answer is an end as well.
        let _ = stream.read_to_end(&mut answer).await;
        String::from_utf8_lossy(&answer).into_owned()
    };
    tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
}

/// An answer in the form that tests compare.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().expect("visible ASCII"))
    }
}

/// A client connection that stays open from request to request.
pub struct Http {
    sender: hyper::client::conn::http1::SendRequest<Full<Bytes>>,
}

impl Http {
    pub async fn connect(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).await.expect("connected");
        let (sender, connection) =
            hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.expect("a handshake");
        tokio::spawn(connection.with_upgrades());
        Self { sender }
    }

    pub async fn try_send(&mut self, request: Request<Full<Bytes>>) -> hyper::Result<Answer> {
        let exchange = async {
            self.sender.ready().await?;
            let (head, body) = self.sender.send_request(request).await?.into_parts();
            let body = body.collect().await?.to_bytes();
            let body = String::from_utf8_lossy(&body).into_owned();
            Ok(Answer { status: head.status.as_u16(), headers: head.headers, body })
        };
        tokio::time::timeout(DEADLINE, exchange).await.expect("an answer in time")
    }

    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Answer {
        self.try_send(request).await.expect("an answer")
    }
}

pub fn request(method: &str, path: &str, body: &str) -> Request<Full<Bytes>> {
    Request::builder()
        .method(method)
        .uri(path)
        .header("host", "shop.example")
        .body(Full::from(body.to_owned()))
        .expect("a request")
}

/// One request on a connection of its own.
pub async fn send(address: SocketAddr, request: Request<Full<Bytes>>) -> Answer {
    Http::connect(address).await.send(request).await
}

pub async fn get(address: SocketAddr, path: &str) -> Answer {
    send(address, request("GET", path, "")).await
}

/// Waits for `future`, with a deadline.
pub async fn within<F: Future>(future: F) -> F::Output {
    tokio::time::timeout(DEADLINE, future).await.expect("in time")
}

/// Polls until `is_so`, with a deadline.
pub async fn until<F, R>(what: &str, mut is_so: F)
where
    F: FnMut() -> R,
    R: Future<Output = bool>,
{
    let give_up = tokio::time::Instant::now() + DEADLINE;
    while !is_so().await {
        assert!(tokio::time::Instant::now() < give_up, "never came true: {what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
