//! From the text of a Compose file to the resolved project, beside the reference implementation: whole processes, from
//! start to end, in turn. Both write the same project as JSON. The reference refuses files of more than 100,000 values, so
//! the large one is ours alone.

use super::Bench;
use super::row::{Goal, Row, median};
use anyhow::{Context as _, ensure};
use std::fmt::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const MANY: usize = 1_000;
/// Text of about ten mebibytes.
const HUGE: usize = 10 << 20;

/// What one process took.
struct Took {
    millis: f64,
    /// The most memory it had, in bytes.
    peak: f64,
}

pub fn measure(bench: &Bench) -> anyhow::Result<Vec<Row>> {
    let ours = bench.binary()?;
    let theirs = std::env::var_os("MAINSTAY_REFERENCE").context("MAINSTAY_REFERENCE names no docker-compose")?;
    let folder = tempfile::tempdir().context("make a folder")?;
    let mut rows = Vec::new();
    let sizes = [
        ("1,000 services", text(|n, _| n == MANY), "ms", 1.0, 130.0),
        ("10 MiB", text(|_, len| len >= HUGE), "s", 1e-3, 2.0),
    ];
    let is_huge = |text: &str| text.len() >= HUGE;
    for (words, text, unit, scale, goal) in sizes {
        let file = folder.path().join("compose.yaml");
        std::fs::write(&file, &text).with_context(|| format!("write {}", file.display()))?;
        let ask = |program: &Path, arguments: &[&str]| took(program, arguments, folder.path());
        let (mut mine, mut peer, mut memory) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..bench.rounds {
            let one = ask(&ours, &["config", "--compose", "--reveal", "--quiet"])?;
            mine.push(one.millis * scale);
            memory.push(one.peak / text.len() as f64);
            if !is_huge(&text) {
                peer.push(ask(Path::new(&theirs), &["config", "--format", "json"])?.millis * scale);
            }
        }
        let row =
            Row::new(format!("compose: {words}, text to resolved project"), unit, median(&mine), Goal::AtMost(goal));
        rows.push(if peer.is_empty() { row } else { row.beside("docker-compose", median(&peer)) });
        if is_huge(&text) {
            let name = format!("compose: {words}, most memory against the text's size");
            rows.push(Row::new(name, "×", median(&memory), Goal::AtMost(20.0)));
        }
    }
    Ok(rows)
}

/// Runs a program to its end.
fn took(program: &Path, arguments: &[&str], folder: &Path) -> anyhow::Result<Took> {
    let begin = Instant::now();
    let mut command = Command::new(program);
    command.args(arguments).current_dir(folder).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.spawn().with_context(|| format!("run {}", program.display()))?;
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0f64;
    loop {
        let text = std::fs::read_to_string(&status).unwrap_or_default();
        let most = text.lines().find_map(|line| line.strip_prefix("VmHWM:")?.trim().strip_suffix(" kB")?.parse().ok());
        peak = peak.max(most.map_or(0.0, |kib: f64| kib * 1024.0));
        if let Some(end) = child.try_wait().context("wait for it")? {
            ensure!(end.success(), "{} {} failed: {end}", program.display(), arguments.join(" "));
            return Ok(Took { millis: begin.elapsed().as_secs_f64() * 1000.0, peak });
        }
        std::thread::sleep(std::time::Duration::from_micros(500));
    }
}

/// Services as people write them (an image, variables, a health check, a dependency, limits), until `is_enough` says so of
/// their number and the text's length.
fn text(is_enough: impl Fn(usize, usize) -> bool) -> String {
    let mut text = "services:\n".to_owned();
    let mut n = 0;
    while !is_enough(n, text.len()) {
        service(&mut text, n);
        n += 1;
    }
    text
}

fn service(text: &mut String, n: usize) {
    // Writing to a String cannot fail.
    let _ = write!(
        text,
        "  service-{n:05}:\n    image: registry.example.com/team/service-{n}:1.0\n    command: [\"/app/run\", \"--port\", \"3000\"]\n\
         \x20   environment:\n      LOG_LEVEL: ${{LOG_LEVEL:-info}}\n      NUMBER: \"{n}\"\n      URL: http://service-{n:05}:3000/\n\
         \x20   ports: [\"{}:3000\"]\n    restart: unless-stopped\n\
         \x20   healthcheck: {{ test: [CMD, curl, -f, \"http://localhost:3000/health\"], interval: 10s, timeout: 2s, retries: 3 }}\n\
         \x20   deploy:\n      resources: {{ limits: {{ cpus: \"0.5\", memory: 256M }} }}\n",
        1024 + n % 60_000
    );
    if !n.is_multiple_of(50) {
        let _ = writeln!(text, "    depends_on:\n      service-{:05}: {{ condition: service_healthy }}", n - 1);
    }
}
