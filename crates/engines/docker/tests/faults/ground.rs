//! Names that somebody else has, guests on our networks, and things outside that are missing.

use crate::bench::{Bench, RUNS, attached, docker, state};
use crate::world::{BASE, volume};
use engine::{Engine, Retry};
use model::project::{Mount, MountSource};
use plan::action::replica::Action;
use plan::observed::{Known, Phase};

#[tokio::test]
async fn a_container_of_that_name_that_is_not_ours_is_named_and_left_alone() {
    let bench = Bench::new().await;
    let name = bench.called("-web-1");
    docker(&["run", "--detach", "--name", &name, "--label", &bench.ground.label(), BASE, "sleep", "1000"]);
    let start = bench.start("web.1", bench.shell(RUNS));
    let words = ["container", &name, "not this project's", &format!("docker container rm {name}")];
    bench.refuses(Action::Start(Box::new(start.clone())), &words).await;
    assert_eq!(docker(&["inspect", "--format", "{{.State.Running}}", &name]), "true");
    assert!(bench.placed().await.replicas.is_empty(), "it is not taken for ours");
    docker(&["rm", "--force", &name]);
    let id = bench.begin(start).await;
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }));
}

#[tokio::test]
async fn a_network_or_volume_of_that_name_that_is_not_ours_is_named_and_left_alone() {
    let bench = Bench::new().await;
    let (label, network, data) = (bench.ground.label(), bench.called("_back"), bench.called("_data"));
    // As another project's Compose file would have them.
    docker(&["network", "create", "--label", &label, "--label", "com.docker.compose.project=other", &network]);
    docker(&["volume", "create", "--label", &label, "--label", "com.docker.compose.project=other", &data]);
    docker(&["run", "--rm", "--volume", &format!("{data}:/data"), BASE, "touch", "/data/theirs"]);
    let ensure = Action::EnsureNetwork {
        name: "back".parse().unwrap(),
        state: Box::new(state(&bench.subnet(0, true), &["web"])),
        made: Default::default(),
    };
    let keep = Action::EnsureVolume { name: "data".parse().unwrap(), made: Default::default() };
    let mut start = bench.start("web.1", bench.shell(RUNS));
    std::sync::Arc::make_mut(&mut start.template).mounts.push(volume("data", "/data"));
    for (action, name) in [(ensure, &network), (keep, &data)] {
        bench.refuses(action, &[name, "not this project's", "remove or rename it"]).await;
    }
    bench.refuses(Action::Start(start.into()), &["`data` does not exist"]).await;
    // There is none of ours to be removed.
    bench.perform(Action::RemoveNetwork { name: "back".parse().unwrap() }).await;
    bench.perform(Action::RemoveVolume { name: "data".parse().unwrap() }).await;
    let placed = bench.placed().await;
    assert!(placed.networks.is_empty() && placed.volumes.is_empty(), "{placed:?}");
    docker(&["network", "inspect", &network]);
    docker(&["run", "--rm", "--volume", &format!("{data}:/data"), BASE, "test", "-e", "/data/theirs"]);
}

#[tokio::test]
async fn a_network_with_a_guest_on_it_is_kept_and_the_guest_is_named() {
    let bench = Bench::new().await;
    let subnet = bench.subnet(0, true);
    bench.network("back", &subnet, &["web"]).await;
    let (network, guest) = (bench.called("_back"), bench.ground.name("guest"));
    let (label, remove) = (bench.ground.label(), Action::RemoveNetwork { name: "back".parse().unwrap() });
    docker(&["run", "--detach", "--name", &guest, "--label", &label, "--network", &network, BASE, "sleep", "1000"]);
    bench.refuses(remove.clone(), &[&guest, "stands on it"]).await;
    let moved = Box::new(state(&bench.subnet(1, true), &["web"]));
    bench
        .refuses(
            Action::EnsureNetwork { name: "back".parse().unwrap(), state: moved, made: Default::default() },
            &[&guest],
        )
        .await;
    // Names may change under a guest.
    bench.network("back", &subnet, &["web", "db"]).await;
    docker(&["rm", "--force", &guest]);
    bench.perform(remove).await;
    assert!(bench.placed().await.networks.is_empty());
}

#[tokio::test]
async fn a_network_that_was_removed_by_hand_is_seen_and_made_again() {
    let bench = Bench::new().await;
    let wanted = bench.network("back", &bench.subnet(0, true), &["web"]).await;
    docker(&["network", "rm", &bench.called("_back")]);
    assert!(bench.placed().await.networks.is_empty());
    let again = bench.network("back", &bench.subnet(0, true), &["web"]).await;
    assert_eq!(again, wanted);
    assert_eq!(bench.placed().await.networks.into_values().collect::<Vec<_>>(), [Known::Is(wanted)]);
}

#[tokio::test]
async fn an_external_network_or_volume_that_is_missing_is_named_with_what_makes_it() {
    let bench = Bench::new().await;
    let (network, data) = (bench.ground.name("shared"), bench.ground.name("data"));
    let mut template = bench.shell(&format!("test -e /data && {RUNS}"));
    template.container.external_networks.insert(network.clone(), Default::default());
    template.mounts.push(Mount {
        target: "/data".into(),
        source: MountSource::External(data.clone()),
        read_only: false,
    });
    let start = Action::Start(bench.start("web.1", template).into());
    bench.refuses(start.clone(), &["external network", &format!("docker network create {network}")]).await;
    docker(&["network", "create", "--label", &bench.ground.label(), &network]);
    bench.refuses(start.clone(), &["external volume", &format!("docker volume create {data}")]).await;
    assert!(bench.placed().await.replicas.is_empty(), "nothing was begun");
    docker(&["volume", "create", "--label", &bench.ground.label(), &data]);
    bench.perform(start).await;
    let id = "web.1".parse().unwrap();
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }));
    assert!(bench.asked(&id, "hostname -i").await.starts_with(|c: char| c.is_ascii_digit()));
}

#[tokio::test]
async fn what_the_machine_keeps_to_itself_is_mounted_into_no_replica() {
    let bench = Bench::new().await;
    let run = bench.settings.layout.run.clone();
    std::fs::create_dir_all(&run).unwrap();
    let link = bench.folder().join("link");
    std::os::unix::fs::symlink(&run, &link).unwrap();
    // The last two are not there yet, and would be made by the Engine.
    for path in [run.clone(), link.clone(), run.join("secrets"), link.join("secrets/deep")] {
        let path = path.to_str().unwrap();
        let mut template = bench.shell(RUNS);
        template.mounts.push(Mount { target: "/seen".into(), source: MountSource::Host(path.into()), read_only: true });
        let short = bench.engine.check(&template).await;
        assert!(short.iter().any(|short| short.fatal && short.what.contains(path)), "{path}: {short:?}");
        bench.refuses(Action::Start(bench.start("web.1", template).into()), &[path, "control plane"]).await;
    }
    assert_eq!(std::fs::read_dir(&run).unwrap().count(), 0, "nothing was made there");
}

#[tokio::test]
async fn a_container_whose_labels_cannot_be_read_is_unknown_and_never_absent() {
    let bench = Bench::new().await;
    let owner = format!("app.mainstay.owner={}", bench.settings.names.owner);
    let stack = format!("app.mainstay.stack={}", bench.stack);
    let run = |id: &str, with: &str| {
        let (id, with) = (format!("app.mainstay.replica={id}"), format!("app.mainstay.started-with={with}"));
        docker(&[
            "run", "--detach", "--label", &owner, "--label", &stack, "--label", &id, "--label", &with, BASE, "sleep",
            "1000",
        ]);
    };
    run("web.1", "{");
    run("web.2", r#"{"v":99}"#);
    run("web.3", "");
    let placed = bench.placed().await;
    assert_eq!(placed.replicas.len(), 3, "{placed:?}");
    for replica in placed.replicas.values() {
        assert!(matches!(&replica.phase, Phase::Unknown(why) if why.contains("started-with")), "{replica:?}");
    }
    // It runs something, so that nothing takes its slot before it was stopped.
    let id = "web.1".parse().unwrap();
    let start = Action::Start(bench.start("web.1", bench.shell(RUNS)).into());
    bench.refuses(start.clone(), &["web.1", "stopped first"]).await;
    bench.stop(&id).await;
    bench.perform(start).await;
    assert!(matches!(bench.phase(&id).await, Phase::Running { .. }));
}

#[tokio::test]
async fn a_network_whose_labels_cannot_be_read_is_unknown_and_never_absent() {
    let bench = Bench::new().await;
    let owner = format!("app.mainstay.owner={}", bench.settings.names.owner);
    let stack = format!("app.mainstay.stack={}", bench.stack);
    let network = ["network", "create", "--label", &owner, "--label", &stack, "--label", "app.mainstay.network=back"];
    docker(&[&network[..], &["--internal", &bench.called("_back")]].concat());
    let placed = bench.placed().await;
    let seen = placed.networks.get("back");
    assert!(matches!(seen, Some(Known::Unknown(why)) if why.contains("replicas-from")), "{placed:?}");
    // Ours, so that it may be made right.
    let wanted = bench.network("back", &bench.subnet(0, true), &["web"]).await;
    assert_eq!(bench.placed().await.networks.into_values().collect::<Vec<_>>(), [Known::Is(wanted)]);
}

#[tokio::test]
async fn other_tools_find_containers_by_the_labels_of_compose() {
    let bench = Bench::new().await;
    let subnet = bench.subnet(0, true);
    bench.network("back", &subnet, &["web"]).await;
    let start = attached(bench.start("web.7", bench.shell(RUNS)), "back", subnet.replicas_from);
    bench.begin(start).await;
    let labels = docker(&["inspect", "--format", "{{json .Config.Labels}}", &bench.called("-web-7")]);
    let labels: serde_json::Value = serde_json::from_str(&labels).unwrap();
    let compose = |name: &str| labels[format!("com.docker.compose.{name}")].as_str().unwrap().to_owned();
    assert_eq!(compose("project"), bench.called(""));
    assert_eq!(
        (compose("service"), compose("container-number"), compose("oneoff")),
        ("web".into(), "7".into(), "False".into())
    );
    let format = "{{index .Labels \"com.docker.compose.network\"}}";
    assert_eq!(docker(&["network", "inspect", "--format", format, &bench.called("_back")]), "back");
}

#[tokio::test]
async fn an_image_that_has_gone_is_named_with_its_cure() {
    let bench = Bench::new().await;
    let image = bench.image("ENV A=1");
    let template = crate::bench::on(bench.shell(RUNS), &image);
    docker(&["image", "rm", "--force", image.as_str()]);
    let start = Action::Start(bench.start("web.1", template).into());
    bench.refuses(start, &[image.short(), "run `mainstay up` again"]).await;
    assert!(bench.placed().await.replicas.is_empty());
}

#[tokio::test]
async fn an_engine_that_is_away_is_named_with_its_cure_and_may_come_back() {
    let bench = Bench::new().await;
    let mut settings = bench.settings.clone();
    settings.address = "unix:///nowhere/docker.sock".parse().unwrap();
    let away = crate::world::open(&settings);
    let error = away.observe(&bench.stack).await.expect_err("nobody answers");
    assert_eq!(error.retry, Retry::Later);
    let text = crate::bench::chain(&error);
    assert!(text.contains("unix:///nowhere/docker.sock") && text.contains("systemctl start docker"), "{text}");
}
