//! An engine over the Engine that `./dev` starts, with names and folders of its own for each test.

use bollard::Docker;
use mainstay_engine_docker::{Address, DockerEngine, Layout, Names, Settings};
use model::container::ImageId;
use model::project::{Mount, MountSource, Runs, Template};
use model::stack::Subnet;
use runtime::{SystemClock, Tasks};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use tempfile::TempDir;
use testkit::docker::Ground;

/// A small image with a shell.
pub const BASE: &str = "mainstay-test/base";

static NUMBER: AtomicU32 = AtomicU32::new(0);

pub struct World {
    pub engine: DockerEngine,
    pub settings: Settings,
    pub docker: Docker,
    pub base: ImageId,
    tasks: Tasks,
    number: u32,
    folder: TempDir,
    /// What is made by hand bears its label; all of it and all of the engine's goes in the end.
    pub ground: Ground,
}

impl World {
    pub async fn new() -> Self {
        Self::at(&testkit::docker::url().parse().unwrap()).await
    }

    /// On another Engine than the one that all tests share.
    pub async fn at(address: &Address) -> Self {
        let path = address.path().to_str().unwrap().to_owned();
        let docker = Docker::connect_with_unix(&path, 60, bollard::API_DEFAULT_VERSION).unwrap();
        let docker = docker.negotiate_version().await.expect("the Engine for tests answers");
        let found = docker.inspect_image(BASE).await.expect("`./dev` has built the images for tests");
        let folder = tempfile::tempdir().unwrap();
        let number = std::process::id() * 4 + NUMBER.fetch_add(1, Ordering::Relaxed);
        let bundles = folder.path().join("bundles");
        std::fs::create_dir_all(&bundles).unwrap();
        let settings = Settings {
            address: address.clone(),
            layout: Layout {
                run: folder.path().join("run"),
                logs: folder.path().join("logs"),
                ledgers: folder.path().join("ledgers"),
            },
            hidden: vec![folder.path().join("run"), folder.path().join("logs")],
            bundle: Arc::new(move |_| bundles.clone()),
            names: Names {
                links: format!("d{:04x}", number % 0x1_0000),
                table: format!("mainstay-test-{number}"),
                owner: format!("test-{number}"),
            },
        };
        let (engine, tasks) = begin(&settings);
        let ground = Ground::new().and(format!("app.mainstay.owner={}", settings.names.owner));
        let base = found.id.unwrap().parse().unwrap();
        Self { engine, settings, docker, base, tasks, number, folder, ground }
    }

    /// The same engine as the next daemon opens it.
    pub fn open(&self) -> DockerEngine {
        open(&self.settings)
    }

    /// Ends what the engine does by itself, as the end of its daemon does.
    pub async fn close(&mut self) {
        self.tasks.shutdown(std::time::Duration::from_secs(10)).await;
    }

    /// The next daemon's engine in place of this one's.
    pub async fn reopen(&mut self) {
        self.close().await;
        (self.engine, self.tasks) = begin(&self.settings);
    }

    /// A folder that goes with the test.
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub fn bundle(&self) -> PathBuf {
        self.folder.path().join("bundles")
    }

    /// A subnet that no other test has at the same time: numbers of processes that run together lie close together.
    pub fn subnet(&self, n: u8, internal: bool) -> Subnet {
        let [second, third] = ((self.number & 0x7ff) as u16 * 4).to_be_bytes();
        let (second, third) = (192 + second, third + n);
        let ip = |last| std::net::Ipv4Addr::new(10, second, third, last);
        let net = format!("10.{second}.{third}.0/24").parse().unwrap();
        Subnet { net, gateway: ip(1), replicas_from: ip(64), internal }
    }
}

impl Drop for World {
    /// Rules that stay would keep others out of the same subnet.
    fn drop(&mut self) {
        let _ = std::process::Command::new("nft").args(["delete", "table", "ip", &self.settings.names.table]).output();
    }
}

pub fn open(settings: &Settings) -> DockerEngine {
    begin(settings).0
}

fn begin(settings: &Settings) -> (DockerEngine, Tasks) {
    let clock = SystemClock::shared();
    let tasks = Tasks::new(clock.clone());
    (DockerEngine::open(settings.clone(), tasks.clone(), clock), tasks)
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
