//! The Docker engine passes the suite that every engine passes.
//!
//! Needs a Docker Engine at `MAINSTAY_DOCKER` (`./dev docker start`) with the images that tests use; without it fails.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    dead_code,
    missing_docs,
    reason = "tests; not every one uses all"
)]

mod world;

use engine::conformance::{self, Workloads};
use model::VolumeName;
use model::project::Template;
use model::stack::Subnet;
use std::time::Duration;
use world::{World, shell, volume};

struct Containers {
    world: World,
}

impl Workloads for Containers {
    fn runs(&self) -> Template {
        shell(&self.world, "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done")
    }
    fn exits(&self, code: i32) -> Template {
        shell(&self.world, &format!("exit {code}"))
    }
    fn is_deaf(&self) -> Template {
        shell(&self.world, "trap '' TERM; touch /tmp/deaf; while :; do sleep 0.1; done")
    }
    fn deaf_command(&self) -> Vec<String> {
        ["sh", "-c", "until test -e /tmp/deaf; do sleep 0.01; done"].map(str::to_owned).into()
    }
    fn remembers(&self, name: &VolumeName) -> Template {
        let mut template = shell(&self.world, "test -e /data/kept && exit 7; touch /data/kept");
        template.mounts.push(volume(name.as_str(), "/data"));
        template
    }
    fn exit_command(&self, code: i32) -> Vec<String> {
        ["sh", "-c", &format!("exit {code}")].map(str::to_owned).into()
    }
    fn endless_command(&self) -> Vec<String> {
        ["sh", "-c", "sleep 1000 & wait"].map(str::to_owned).into()
    }
    fn subnet(&self) -> Subnet {
        self.world.subnet(0, true)
    }
    fn uid_base(&self) -> u32 {
        0
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_docker_engine_is_an_engine() {
    let world = World::new().await;
    let next = world.open();
    let containers = Containers { world };
    let suite = conformance::run(&containers.world.engine, &next, &containers);
    tokio::time::timeout(Duration::from_secs(240), suite).await.expect("no check waits for ever");
}
