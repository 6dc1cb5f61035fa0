//! Times the whole pure way: `text_to_plan SERVICES REPLICAS` prints the milliseconds from the text of a Compose file to
//! a plan: the first of this process, as a user's command makes it. `./dev bench plan` runs it. The text looks like files of people: each service has an
//! image, variables, a health check, a dependency, limits; fifty share a network.

#![expect(clippy::disallowed_methods, clippy::disallowed_macros, reason = "a benchmark is a process of its own")]

use jiff::Timestamp;
use mainstay_declare::{Input, MemoryFiles, load};
use model::ReleaseNumber;
use model::fingerprint::HashKey;
use plan::desired::Up;
use plan::{Allocation, Desired, InUse, Observed, Terms, allocate, reconcile, settle_stack};
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::Instant;

/// Services of one network; the first of them waits for nobody.
const NEIGHBOURS: usize = 50;

fn main() {
    let mut numbers = std::env::args().skip(1).map(|text| text.parse().expect("numbers of services and replicas"));
    let (services, replicas): (usize, usize) = (numbers.next().unwrap_or(1000), numbers.next().unwrap_or(10));
    let text = text(services, replicas);
    let files = MemoryFiles::new().with("/bench/compose.yaml", &text);
    let begin = Instant::now();
    let steps = steps(&files);
    let took = begin.elapsed();
    assert!(steps >= services * replicas, "every replica has its start");
    println!("{:.3}", took.as_secs_f64() * 1000.0);
}

/// Reads the files and plans; the number of the plan's steps.
fn steps(files: &MemoryFiles) -> usize {
    let loaded = load(&Input {
        files,
        project_dir: "/bench",
        compose: None,
        policy: None,
        environment: None,
        profiles: BTreeSet::new(),
        process_env: BTreeMap::new(),
        env_files: None,
        engine: None,
        default_engine: model::policy::EngineKind::Process,
        keeps_layers: false,
    });
    let errors: Vec<_> = loaded.diagnostics.iter().filter(|diagnostic| diagnostic.is_error()).collect();
    assert!(errors.is_empty(), "the text is legal: {errors:?}");
    let project = loaded.declared.expect("a declaration without errors").project;
    let allocation = allocate(&project, &Allocation::default(), &InUse::default()).expect("there is room for all");
    let terms = Terms {
        release: ReleaseNumber(1),
        bundle: "0".repeat(64).parse().expect("a legal bundle"),
        uid_base: 100_000,
        key: HashKey([7; 32]),
    };
    let stack = settle_stack(&project, &allocation, &terms, &|_| None).expect("no service uses files of the bundle");
    let want =
        Desired::Up(Up { stack, asked_at: Timestamp::UNIX_EPOCH, restart: BTreeMap::new(), former: BTreeMap::new() });
    reconcile(&want, &Observed::default(), Timestamp::UNIX_EPOCH).steps.len()
}

fn text(services: usize, replicas: usize) -> String {
    let mut text = "name: bench\nservices:\n".to_owned();
    for n in 0..services {
        let network = n / NEIGHBOURS;
        let dependency = if n % NEIGHBOURS > 0 {
            format!("    depends_on:\n      service-{:05}: {{ condition: service_healthy }}\n", n - 1)
        } else {
            String::new()
        };
        // Writing to a String cannot fail.
        let _ = write!(
            text,
            "  service-{n:05}:\n    image: redis:7\n    command: [\"redis-server\", \"--save\", \"\"]\n\
             \x20   environment:\n      LOG_LEVEL: ${{LOG_LEVEL:-info}}\n      NUMBER: \"{n}\"\n      URL: redis://service-{n:05}:6379/0\n\
             \x20   networks: [net-{network}]\n{dependency}\
             \x20   healthcheck:\n      test: [\"CMD\", \"redis-cli\", \"ping\"]\n      interval: 5s\n      start_interval: 200ms\n\
             \x20   deploy:\n      replicas: {replicas}\n      resources:\n        limits: {{ cpus: \"0.5\", memory: 64M }}\n\
             \x20   restart: unless-stopped\n"
        );
    }
    text.push_str("networks:\n");
    for network in 0..services.div_ceil(NEIGHBOURS) {
        let _ = writeln!(text, "  net-{network}: {{}}");
    }
    text
}
