//! The one place that picks adapters: which engines a daemon has.

use crate::cli::settings::Places;
use crate::exit::Failure;
use engine::Engine;
use engine_docker::{Address, DockerEngine};
use engine_process::layout::Layout;
use engine_process::{Names, ProcessEngine};
use model::{BundleId, ContentDigest};
use runtime::{SystemClock, Tasks};
use server::{OpenEngines, Wiring};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The run folder of the machine's one daemon.
const RUN: &str = "/run/mainstay";

/// Everything the daemon needs beside its settings. The process engine is the usual one: it is there on every machine.
pub fn of_daemon(places: &Places, docker: Address) -> Result<Wiring, Failure> {
    let clock = SystemClock::shared();
    let tasks = Tasks::new(clock.clone());
    let rng = runtime::Rng::from_system().map_err(|error| Failure::of(&error))?;
    let (state, run) = (places.state.value.clone(), places.run.value.clone());
    let (engine_tasks, engine_clock) = (tasks.clone(), clock.clone());
    let engines: OpenEngines = Box::new(move || {
        Box::pin(async move {
            let (tasks, clock) = (engine_tasks, engine_clock);
            let processes = ProcessEngine::open(process(&state, &run), tasks.clone(), clock.clone()).await?;
            let containers = DockerEngine::open(containers(&state, &run, docker), tasks, clock);
            Ok(vec![Arc::new(processes) as Arc<dyn Engine>, Arc::new(containers)])
        })
    });
    Ok(Wiring { engines, clock, tasks, rng })
}

fn containers(state: &Path, run: &Path, address: Address) -> engine_docker::Settings {
    let bundles = state.to_owned();
    engine_docker::Settings {
        address,
        layout: engine_docker::Layout {
            run: run.join("containers"),
            logs: state.join("logs"),
            ledgers: state.join("taken-over"),
        },
        hidden: vec![state.to_owned(), run.to_owned()],
        bundle: Arc::new(move |bundle: &BundleId| bundle_folder(&bundles, bundle)),
        names: match tag(run) {
            None => engine_docker::Names::default(),
            Some(tag) => engine_docker::Names {
                links: format!("md{tag}"),
                table: format!("mainstay-docker-{tag}"),
                owner: format!("mainstay-{tag}"),
            },
        },
    }
}

fn process(state: &Path, run: &Path) -> engine_process::Settings {
    let bundles = state.to_owned();
    engine_process::Settings {
        layout: Layout {
            run: run.join("stacks"),
            scratch: state.join("scratch"),
            volumes: state.join("volumes"),
            logs: state.join("logs"),
        },
        programs: state.join("programs"),
        // Docker's socket is as good as root; ours as well.
        hidden: vec![state.to_owned(), run.to_owned(), "/run/docker.sock".into(), "/run/containerd".into()],
        bundle: Arc::new(move |bundle: &BundleId| bundle_folder(&bundles, bundle)),
        names: names(run),
    }
}

/// What the engine names in the kernel.
fn names(run: &Path) -> Names {
    tag(run).map_or_else(Names::default, |tag| Names {
        links: format!("ms{tag}"),
        table: format!("mainstay-{tag}"),
        cgroup: format!("mainstay-{tag}"),
    })
}

/// Beside the machine's one daemon others may run for tests, in run folders of their own: each has names of its own, so
/// that none takes another's networks for its own.
fn tag(run: &Path) -> Option<String> {
    let is_usual = run == Path::new(RUN);
    let digest = || ContentDigest::of(run.as_os_str().as_encoded_bytes()).to_string();
    (!is_usual).then(|| digest().chars().take(3).collect())
}

// Where `store::bundles` lays bundles out.
fn bundle_folder(state: &Path, bundle: &BundleId) -> PathBuf {
    state.join("bundles").join("trees").join(bundle.as_str())
}
