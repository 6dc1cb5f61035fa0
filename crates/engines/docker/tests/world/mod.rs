//! An engine over the Engine that `./dev` starts, with names and folders of its own for each test.

use bollard::Docker;
use mainstay_engine_docker::{DockerEngine, Layout, Names, Settings};
use model::container::ImageId;
use model::project::{Mount, MountSource, Runs, Template};
use model::stack::Subnet;
use runtime::{SystemClock, Tasks};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;

/// A small image with a shell.
pub const BASE: &str = "mainstay-test/base";

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct World {
    pub engine: DockerEngine,
    pub settings: Settings,
    pub docker: Docker,
    pub base: ImageId,
    number: u32,
    folder: TempDir,
}

impl World {
    pub async fn new() -> Self {
        let address = std::env::var("MAINSTAY_DOCKER")
            .expect("MAINSTAY_DOCKER says where a Docker Engine for tests listens: `eval \"$(./dev docker env)\"`");
        let address: mainstay_engine_docker::Address = address.parse().unwrap();
        let path = address.path().to_str().unwrap().to_owned();
        let docker = Docker::connect_with_unix(&path, 60, bollard::API_DEFAULT_VERSION).unwrap();
        let docker = docker.negotiate_version().await.expect("the Engine for tests answers");
        let found = docker.inspect_image(BASE).await.expect("`./dev` has built the images for tests");
        let folder = tempfile::tempdir().unwrap();
        let number = std::process::id() * 16 + NUMBER.fetch_add(1, Ordering::Relaxed);
        let bundles = folder.path().join("bundles");
        std::fs::create_dir_all(&bundles).unwrap();
        let settings = Settings {
            address,
            layout: Layout { run: folder.path().join("run"), logs: folder.path().join("logs") },
            hidden: vec![folder.path().join("run"), folder.path().join("logs")],
            bundle: Arc::new(move |_| bundles.clone()),
            names: Names {
                links: format!("d{:03x}", number % 4096),
                table: format!("mainstay-test-{number}"),
                owner: format!("test-{number}"),
            },
        };
        let engine = open(&settings);
        Self { engine, settings, docker, base: found.id.unwrap().parse().unwrap(), number, folder }
    }

    /// The same engine as the next daemon opens it.
    pub fn open(&self) -> DockerEngine {
        open(&self.settings)
    }

    pub fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundles")
    }

    /// A subnet that no other test has.
    pub fn subnet(&self, n: u8, internal: bool) -> Subnet {
        let third = (self.number % 60) as u8 * 4 + n;
        let ip = |last| std::net::Ipv4Addr::new(10, 199, third, last);
        Subnet { net: format!("10.199.{third}.0/24").parse().unwrap(), gateway: ip(1), replicas_from: ip(64), internal }
    }
}

pub fn open(settings: &Settings) -> DockerEngine {
    let clock = SystemClock::shared();
    DockerEngine::open(settings.clone(), Tasks::new(clock.clone()), clock)
}

/// Runs this in a shell.
pub fn shell(world: &World, script: &str) -> Template {
    let mut template = testkit::project::process(&["true"]);
    template.runs = Runs::Image {
        image: BASE.parse().unwrap(),
        pull: Default::default(),
        pin: Some(world.base.clone()),
        entrypoint: Some(["sh", "-c"].map(str::to_owned).into()),
        command: Some(vec![script.to_owned()]),
    };
    template
}

pub fn volume(name: &str, target: &str) -> Mount {
    Mount { target: target.into(), source: MountSource::Volume(name.parse().unwrap()), read_only: false }
}
