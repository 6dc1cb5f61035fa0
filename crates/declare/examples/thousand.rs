//! Times the whole way from text to project: `thousand [SERVICES]`, release build, median of nine runs.

#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "an example is a process of its own")]

use mainstay_declare::findings::Findings;
use mainstay_declare::syntax::build;
use mainstay_declare::{Input, MemoryFiles, from_canonical, load, to_canonical};
use model::span::FileId;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::time::{Duration, Instant};

fn text(services: usize) -> String {
    let mut text = String::from("services:\n");
    for n in 0..services {
        let before = n.saturating_sub(1);
        let depends = if n > 0 {
            format!("    depends_on: {{ s{before}: {{ condition: service_started }} }}\n")
        } else {
            String::new()
        };
        write!(
            text,
            "  s{n}:\n    image: registry.example/shop/service-{n}:1.{n}\n    command: [\"/app/run\", \"--port\", \"3000\"]\n    \
             environment:\n      DATABASE_URL: postgres://db:5432/s{n}\n      LOG_LEVEL: ${{LOG_LEVEL:-info}}\n      PORT: \"3000\"\n{depends}    \
             ports: [\"{}:3000\"]\n    volumes: [\"data-{n}:/data\", \"./conf:/etc/app:ro\"]\n    networks: [front, back]\n    \
             healthcheck:\n      test: [\"CMD\", \"/app/run\", \"health\"]\n      interval: 5s\n    \
             deploy:\n      replicas: 10\n      resources: {{ limits: {{ cpus: \"0.5\", memory: 128M }} }}\n    restart: unless-stopped\n",
            10_000 + n
        )
        .expect("text takes text");
    }
    text.push_str("networks: { front: {}, back: { internal: true } }\nvolumes:\n");
    (0..services).for_each(|n| writeln!(text, "  data-{n}: {{}}").expect("text takes text"));
    text
}

fn median(mut run: impl FnMut()) -> Duration {
    let mut times: Vec<Duration> = (0..9)
        .map(|_| {
            let start = Instant::now();
            run();
            start.elapsed()
        })
        .collect();
    times.sort();
    times[4]
}

fn main() {
    let services = std::env::args().nth(1).and_then(|arg| arg.parse().ok()).unwrap_or(1000);
    let text = text(services);
    let files = MemoryFiles::new().with("/srv/demo/compose.yaml", &text).with("/srv/demo/conf/x", "");
    let input = Input {
        files: &files,
        project_dir: "/srv/demo",
        compose: None,
        policy: None,
        environment: None,
        profiles: BTreeSet::new(),
        process_env: BTreeMap::new(),
        env_files: None,
    };
    let peak = || {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        status.lines().find(|line| line.starts_with("VmHWM")).unwrap_or_default().to_owned()
    };
    println!("before: {}", peak());
    let loaded = load(&input);
    println!("loaded: {}", peak());
    let declared = loaded.declared.unwrap_or_else(|| panic!("{:#?}", loaded.diagnostics));
    let canonical = to_canonical(&declared);
    println!("{services} services, {} bytes of text, {} of declaration", text.len(), canonical.len());
    println!("parse           {:?}", median(|| drop(build::parse(FileId(0), &text, &mut Findings::default()))));
    println!("load            {:?}", median(|| drop(load(&input))));
    println!("to_canonical    {:?}", median(|| drop(to_canonical(&declared))));
    println!("from_canonical  {:?}", median(|| drop(from_canonical(&canonical))));
}
