//! Volumes without a name: whose they are, and that nobody else gets them.

use crate::bench::{Bench, RUNS, docker, on};
use engine::anonymous;
use model::project::{Mount, MountSource};
use plan::action::replica::Action;

const WRITES: &str = "date +%N >> /data/who; ";

#[tokio::test]
async fn the_volume_that_an_image_asks_for_is_kept_and_found_by_the_replacement() {
    let bench = Bench::new().await;
    let image = bench.image("VOLUME /data");
    let template = on(bench.shell(&format!("{WRITES}{RUNS}")), &image);
    let first = bench.begin(bench.start("db.1", template.clone())).await;
    let before = bench.asked(&first, "cat /data/who").await;
    bench.stop(&first).await;
    bench.remove(&first).await;
    // A replacement comes in a new slot.
    let second = bench.begin(bench.start("db.2", template)).await;
    let after = bench.asked(&second, "cat /data/who").await;
    assert!(after.starts_with(&before) && after.lines().count() == 2, "{before}\n{after}");
    let volumes = bench.placed().await.volumes;
    let names: Vec<String> = volumes.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["db.1.data"], "it is listed under its name");
    bench.stop(&second).await;
    bench.remove(&second).await;
    bench.perform(Action::RemoveVolume { name: "db.1.data".parse().unwrap() }).await;
    assert_eq!(docker(&["volume", "ls", "--quiet", "--filter", &format!("name={}", bench.called(""))]), "");
}

#[tokio::test]
async fn replicas_that_are_started_at_once_never_share_a_volume() {
    let bench = Bench::new().await;
    let image = bench.image("VOLUME /data");
    let template = on(bench.shell(&format!("hostname >> /data/who; {RUNS}")), &image);
    let starts = (1..=4).map(|slot| bench.begin(bench.start(&format!("db.{slot}"), template.clone())));
    let ids = futures_util::future::join_all(starts).await;
    for id in &ids {
        let who = bench.asked(id, "cat /data/who").await;
        assert_eq!(who, format!("db-{}", id.slot.number()), "`{id}` has a volume for itself");
    }
    assert_eq!(bench.placed().await.volumes.len(), 4);
}

#[tokio::test]
async fn what_a_one_off_leaves_in_a_volume_without_a_name_goes_with_it() {
    let bench = Bench::new().await;
    let mut template = bench.shell("touch /data/left");
    template.mounts.push(Mount { target: "/data".into(), source: MountSource::Anonymous, read_only: false });
    let id = bench.begin(bench.start(&format!("db.{}", plan::FIRST_ONE_OFF_SLOT), template)).await;
    assert!(anonymous::is_one_off(&id));
    bench.end(&id).await;
    let volume = docker(&[
        "inspect",
        "--format",
        "{{range .Mounts}}{{.Name}}{{end}}",
        &bench.called(&format!("-db-{}", plan::FIRST_ONE_OFF_SLOT)),
    ]);
    assert!(!volume.is_empty());
    bench.remove(&id).await;
    assert_eq!(docker(&["volume", "ls", "--quiet", "--filter", &format!("name={volume}")]), "");
    assert!(bench.placed().await.volumes.is_empty());
}
