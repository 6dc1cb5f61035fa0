//! The process engine passes the suite that every engine passes.
//!
//! Needs root on Linux and nftables; without them it fails.
#![expect(clippy::disallowed_methods, reason = "tests touch the machine")]
#![allow(
    clippy::disallowed_macros,
    clippy::unwrap_used,
    dead_code,
    missing_docs,
    reason = "tests; not every test uses all of the world"
)]

#[path = "machine/world.rs"]
mod world;

use engine::conformance::{self, Workloads};
use model::VolumeName;
use model::project::Template;
use model::stack::Subnet;
use std::time::Duration;
use world::{World, template, volume};

struct Processes {
    subnet: Subnet,
    uid_base: u32,
}

fn shell(script: &str) -> Template {
    template(&["sh", "-c", script])
}

impl Workloads for Processes {
    fn runs(&self) -> Template {
        template(&["sleep", "1000"])
    }
    fn exits(&self, code: i32) -> Template {
        shell(&format!("exit {code}"))
    }
    fn is_deaf(&self) -> Template {
        shell("trap '' TERM; touch /tmp/deaf; while :; do sleep 0.1; done")
    }
    fn deaf_command(&self) -> Vec<String> {
        ["sh", "-c", "until test -e /tmp/deaf; do sleep 0.01; done"].map(str::to_owned).into()
    }
    fn remembers(&self, name: &VolumeName) -> Template {
        let mut template = shell("test -e /data/kept && exit 7; touch /data/kept");
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
        self.subnet.clone()
    }
    fn uid_base(&self) -> u32 {
        self.uid_base
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_process_engine_is_an_engine() {
    let world = World::new().await;
    let processes = Processes { subnet: world.subnet(0, true), uid_base: world.uid_base };
    let next = world::open(&world.settings).await;
    let suite = conformance::run(&world.engine, &next, &processes);
    tokio::time::timeout(Duration::from_secs(120), suite).await.expect("no check waits for ever");
    world.end_of_the_world().await;
}
