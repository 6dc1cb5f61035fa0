//! Measures the edge beside nginx: throughput with keep-alive and small responses, and latency at a fixed rate.
//!
//! `cargo run --release -p mainstay-edge --example bench_edge [-- [--seconds N] [--rounds N] [--json FILE]]`
//!
//! The upstream, the edge and nginx are processes of their own, with two workers each. `wrk` loads them in interleaved
//! rounds and medians are shown. Latency is measured by this process, which sends at a fixed rate and counts from the
//! time a request was due, so that a stall is not hidden by the requests it held up.
#![expect(clippy::disallowed_methods, reason = "a benchmark measures real processes")]
#![expect(clippy::disallowed_macros, reason = "its output is its result")]
#![allow(clippy::unwrap_used, reason = "a benchmark that cannot go on stops")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::fd::{AsFd as _, IntoRawFd as _};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use mainstay_edge::control::{Client, Listener, ListenerTarget, Pool, Protocol, Readiness, Table, Target, Upstream};

const RESPONSE: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 12\r\n\r\nHello, edge!";
const WORKERS: usize = 2;
const CONNECTIONS: usize = 64;
const RATE: u64 = 1000;
const RATE_CONNECTIONS: u64 = 20;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let after = |flag: &str| {
        arguments.iter().position(|argument| argument == flag).and_then(|at| arguments.get(at + 1)).cloned()
    };
    match arguments.first().map(String::as_str) {
        Some("upstream") => serve_upstream(),
        Some("edge") => serve_edge(Path::new(&arguments[1])),
        _ => {
            let number =
                |flag, default| after(flag).map_or(default, |text| text.parse().expect("the bench owns both ends"));
            let figures = measure(number("--seconds", 4), number("--rounds", 5) as usize);
            figures.print();
            if let Some(file) = after("--json") {
                std::fs::write(file, figures.json()).expect("the bench owns both ends");
            }
        }
    }
}

/// Answers every request head with the same bytes, a thread per connection.
fn serve_upstream() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("the bench owns both ends");
    println!("{}", listener.local_addr().expect("the bench owns both ends"));
    for stream in listener.incoming() {
        let stream = stream.expect("the bench owns both ends");
        std::thread::Builder::new()
            .stack_size(64 << 10)
            .spawn(move || answer(stream))
            .expect("the bench owns both ends");
    }
}

fn answer(mut stream: TcpStream) {
    stream.set_nodelay(true).expect("the bench owns both ends");
    let (mut buffer, mut have) = ([0u8; 8192], 0);
    loop {
        match stream.read(&mut buffer[have..]) {
            Ok(0) | Err(_) => return,
            Ok(read) => have += read,
        }
        while let Some(end) = buffer[..have].windows(4).position(|window| window == b"\r\n\r\n") {
            buffer.copy_within(end + 4..have, 0);
            have -= end + 4;
            if stream.write_all(RESPONSE).is_err() {
                return;
            }
        }
    }
}

fn serve_edge(control: &Path) {
    let socket = UnixListener::bind(control).expect("the bench owns both ends");
    let mut options = mainstay_edge::Options::new(socket.into_raw_fd(), rustix::process::getuid().as_raw());
    options.workers = Some(WORKERS.try_into().expect("the bench owns both ends"));
    mainstay_edge::serve(options).expect("the bench owns both ends");
}

/// A process that ends with the benchmark.
struct Process(Child);

impl Process {
    fn own(arguments: &[&str]) -> Self {
        let mut command = Command::new(std::env::current_exe().expect("the bench owns both ends"));
        Self(command.args(arguments).stdout(Stdio::piped()).spawn().expect("the bench owns both ends"))
    }

    fn resident_mib(&self) -> f64 {
        let status =
            std::fs::read_to_string(format!("/proc/{}/status", self.0.id())).expect("the bench owns both ends");
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).expect("the bench owns both ends");
        line.split_whitespace()
            .nth(1)
            .expect("the bench owns both ends")
            .parse::<f64>()
            .expect("the bench owns both ends")
            / 1024.0
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // nginx's master takes its workers with it on a TERM, which `kill` would not let it do.
        if let Some(pid) = rustix::process::Pid::from_raw(self.0.id().cast_signed()) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::TERM);
        }
        let _ = self.0.wait();
    }
}

/// What was measured; medians over the rounds.
struct Figures {
    direct: f64,
    edge: f64,
    nginx: f64,
    /// p50 and p99 in microseconds.
    latency_direct: (f64, f64),
    latency_edge: (f64, f64),
    latency_nginx: (f64, f64),
    edge_mib: f64,
}

impl Figures {
    fn print(&self) {
        println!("throughput, {CONNECTIONS} keep-alive connections, 12 bytes (requests per second)");
        println!("  upstream alone {:>9.0}", self.direct);
        println!("  nginx          {:>9.0}", self.nginx);
        println!("  edge           {:>9.0}   {:.2} x nginx", self.edge, self.edge / self.nginx);
        println!("latency at {RATE} requests per second (microseconds, p50 / p99)");
        for (name, (p50, p99)) in
            [("upstream alone", self.latency_direct), ("nginx", self.latency_nginx), ("edge", self.latency_edge)]
        {
            println!("  {name:<14} {p50:>6.0} / {p99:>6.0}");
        }
        println!("  added by the edge: p99 {:.0}", self.latency_edge.1 - self.latency_direct.1);
        println!("edge, resident: {:.1} MiB", self.edge_mib);
    }

    fn json(&self) -> String {
        serde_json::json!({
            "throughput": { "unit": "requests/s", "direct": self.direct, "edge": self.edge, "nginx": self.nginx },
            "latency": {
                "unit": "us", "rate": RATE,
                "direct": { "p50": self.latency_direct.0, "p99": self.latency_direct.1 },
                "edge": { "p50": self.latency_edge.0, "p99": self.latency_edge.1 },
                "nginx": { "p50": self.latency_nginx.0, "p99": self.latency_nginx.1 },
                "added_p99": self.latency_edge.1 - self.latency_direct.1,
            },
            "resident_mib": self.edge_mib,
        })
        .to_string()
    }
}

fn measure(seconds: u64, rounds: usize) -> Figures {
    let dir = tempfile::tempdir().expect("the bench owns both ends");
    let mut upstream = Process::own(&["upstream"]);
    let mut line = String::new();
    BufReader::new(upstream.0.stdout.take().expect("the bench owns both ends"))
        .read_line(&mut line)
        .expect("the bench owns both ends");
    let direct: SocketAddr = line.trim().parse().expect("the bench owns both ends");
    let control = dir.path().join("edge.sock");
    let edge_process = Process::own(&["edge", control.to_str().expect("the bench owns both ends")]);
    let edge = set_up_edge(&control, direct);
    let (_nginx_process, nginx) = start_nginx(dir.path(), direct);
    let targets = [direct, edge, nginx];
    for target in targets {
        let _warm_up = wrk(target, 1);
    }
    let mut throughput = [const { Vec::new() }; 3];
    let mut p50 = [const { Vec::new() }; 3];
    let mut p99 = [const { Vec::new() }; 3];
    for round in 0..rounds {
        // Each round begins with another one, so that none is always measured on a warmer machine.
        for at in (0..3).map(|offset| (round + offset) % 3) {
            throughput[at].push(wrk(targets[at], seconds));
        }
        for at in (0..3).map(|offset| (round + offset) % 3) {
            let (half, most) = paced(targets[at], seconds);
            p50[at].push(half);
            p99[at].push(most);
        }
    }
    let [direct, edge, nginx] = throughput.map(median);
    let latencies: Vec<(f64, f64)> = p50.map(median).into_iter().zip(p99.map(median)).collect();
    Figures {
        direct,
        edge,
        nginx,
        latency_direct: latencies[0],
        latency_edge: latencies[1],
        latency_nginx: latencies[2],
        edge_mib: edge_process.resident_mib(),
    }
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn set_up_edge(control: &Path, upstream: SocketAddr) -> SocketAddr {
    let socket = TcpListener::bind("127.0.0.1:0").expect("the bench owns both ends");
    let address = socket.local_addr().expect("the bench owns both ends");
    let table = Table {
        version: 1,
        listeners: vec![Listener {
            id: address.to_string(),
            protocol: Protocol::Auto,
            target: ListenerTarget::Target(Target::Pool("api".into())),
            trust_forwarded: false,
            project: "bench".into(),
        }],
        pools: [(
            "api".to_owned(),
            Pool {
                service: "api".into(),
                upstreams: vec![Upstream { id: "api-1".into(), address: upstream, state: Readiness::Ready }],
            },
        )]
        .into(),
        ..Table::default()
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("the bench owns both ends");
    runtime.block_on(async {
        let client = retry(|| Client::connect(control)).await;
        client.add_listeners(&[(address.to_string(), socket.as_fd())]).await.expect("the bench owns both ends");
        client.apply(table).await.expect("the bench owns both ends");
    });
    address
}

async fn retry<T, E: std::fmt::Debug, F: Future<Output = Result<T, E>>>(mut attempt: impl FnMut() -> F) -> T {
    for _ in 0..200 {
        if let Ok(done) = attempt().await {
            return done;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    attempt().await.expect("the bench owns both ends")
}

/// nginx as an operator would set it up for the same duty, without an access log.
fn start_nginx(dir: &Path, upstream: SocketAddr) -> (Process, SocketAddr) {
    let address = TcpListener::bind("127.0.0.1:0")
        .expect("the bench owns both ends")
        .local_addr()
        .expect("the bench owns both ends");
    let dir_text = dir.display();
    let config = format!(
        "worker_processes {WORKERS}; daemon off; pid {dir_text}/nginx.pid; error_log {dir_text}/error.log;\n\
         events {{ worker_connections 4096; }}\n\
         http {{\n access_log off; keepalive_requests 1000000000;\n\
         client_body_temp_path {dir_text}/b; proxy_temp_path {dir_text}/p; fastcgi_temp_path {dir_text}/f;\n\
         uwsgi_temp_path {dir_text}/u; scgi_temp_path {dir_text}/s;\n\
         upstream api {{ server {upstream}; keepalive 256; keepalive_requests 1000000000; }}\n\
         server {{ listen {address}; location / {{\n proxy_pass http://api; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host $host; proxy_set_header X-Real-IP $remote_addr;\n\
         proxy_set_header X-Forwarded-For $remote_addr; proxy_set_header X-Forwarded-Proto $scheme;\n\
         proxy_set_header X-Forwarded-Host $host; proxy_set_header X-Request-Id $request_id; }} }} }}\n"
    );
    let file = dir.join("nginx.conf");
    std::fs::write(&file, config).expect("the bench owns both ends");
    let mut command = Command::new("nginx");
    command.arg("-c").arg(&file).arg("-p").arg(dir).stderr(Stdio::null());
    let process = Process(command.spawn().expect("the bench owns both ends"));
    let give_up = Instant::now() + Duration::from_secs(5);
    while TcpStream::connect(address).is_err() {
        assert!(Instant::now() < give_up, "nginx did not start");
        std::thread::sleep(Duration::from_millis(10));
    }
    (process, address)
}

/// Requests per second; a failed request ends the benchmark.
fn wrk(target: SocketAddr, seconds: u64) -> f64 {
    let mut command = Command::new("wrk");
    command.args(["-t", "2", "-c", &CONNECTIONS.to_string(), "-d", &format!("{seconds}s")]);
    let output = command.arg(format!("http://{target}/hello")).output().expect("the bench owns both ends");
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(!text.contains("Non-2xx") && !text.contains("Socket errors"), "{text}");
    let line = text.lines().find(|line| line.starts_with("Requests/sec:")).expect("the bench owns both ends");
    line.split_whitespace().nth(1).expect("the bench owns both ends").parse().expect("the bench owns both ends")
}

/// p50 and p99 in microseconds from the time each request was due.
fn paced(target: SocketAddr, seconds: u64) -> (f64, f64) {
    let took = Arc::new(Mutex::new(Vec::new()));
    let start = Instant::now() + Duration::from_millis(20);
    let senders: Vec<_> = (0..RATE_CONNECTIONS)
        .map(|number| {
            let took = took.clone();
            std::thread::spawn(move || {
                let mine = paced_connection(target, start, number, seconds);
                took.lock().expect("the bench owns both ends").extend(mine);
            })
        })
        .collect();
    senders.into_iter().for_each(|sender| sender.join().expect("the bench owns both ends"));
    let mut took = std::mem::take(&mut *took.lock().expect("the bench owns both ends"));
    took.sort_by(f64::total_cmp);
    (took[took.len() / 2], took[took.len() * 99 / 100])
}

fn paced_connection(target: SocketAddr, start: Instant, number: u64, seconds: u64) -> Vec<f64> {
    let mut stream = TcpStream::connect(target).expect("the bench owns both ends");
    stream.set_nodelay(true).expect("the bench owns both ends");
    let request = b"GET /hello HTTP/1.1\r\nHost: bench\r\n\r\n";
    let mut buffer = [0u8; 4096];
    (0..seconds * RATE / RATE_CONNECTIONS)
        .map(|round| {
            let due = start + Duration::from_micros((round * RATE_CONNECTIONS + number) * 1_000_000 / RATE);
            let wait = due.saturating_duration_since(Instant::now());
            std::thread::sleep(wait);
            // A request that its predecessor held up counts from when it was due; a late timer is not the target's.
            let began = if wait.is_zero() { due } else { Instant::now() };
            stream.write_all(request).expect("the bench owns both ends");
            let mut have = 0;
            while !buffer[..have].ends_with(b"Hello, edge!") {
                have += stream.read(&mut buffer[have..]).expect("the bench owns both ends");
            }
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect()
}
