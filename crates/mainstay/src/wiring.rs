//! The one place that picks adapters: which engine a daemon puts replicas on.

use crate::cli::settings::Places;
use crate::exit::Failure;
use engine::Engine;
use engine_process::layout::Layout;
use engine_process::{Names, ProcessEngine};
use model::policy::EngineKind;
use model::{BundleId, ContentDigest};
use runtime::{SystemClock, Tasks};
use server::{OpenEngine, Wiring};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The run folder of the machine's one daemon.
const RUN: &str = "/run/mainstay";

/// Everything the daemon needs beside its settings.
pub fn of_daemon(kind: EngineKind, places: &Places) -> Result<Wiring, Failure> {
    let clock = SystemClock::shared();
    let tasks = Tasks::new(clock.clone());
    let rng = runtime::Rng::from_system().map_err(|error| Failure::of(&error))?;
    let engine: OpenEngine = match kind {
        EngineKind::Process => {
            let settings = process(&places.state.value, &places.run.value);
            let (tasks, clock) = (tasks.clone(), clock.clone());
            Box::new(move || {
                Box::pin(async move {
                    let opened = ProcessEngine::open(settings, tasks, clock).await?;
                    Ok(Arc::new(opened) as Arc<dyn Engine>)
                })
            })
        }
        EngineKind::Docker | EngineKind::Swarm | EngineKind::Kubernetes | EngineKind::Ecs => {
            return Err(
                Failure::usage(format!("the engine `{kind}` is not supported yet")).help("use the engine `process`")
            );
        }
    };
    Ok(Wiring { engine, clock, tasks, rng })
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

/// What the engine names in the kernel. Beside the machine's one daemon others may run for tests, in run folders of
/// their own: each has names of its own, so that none takes another's networks for its own.
fn names(run: &Path) -> Names {
    if run == Path::new(RUN) {
        return Names::default();
    }
    let tag: String = ContentDigest::of(run.as_os_str().as_encoded_bytes()).to_string().chars().take(3).collect();
    Names { links: format!("ms{tag}"), table: format!("mainstay-{tag}"), cgroup: format!("mainstay-{tag}") }
}

// Where `store::bundles` lays bundles out.
fn bundle_folder(state: &Path, bundle: &BundleId) -> PathBuf {
    state.join("bundles").join("trees").join(bundle.as_str())
}
