//! Stacks on a Docker Engine: releases, and what goes wrong with them.

use crate::hut::{Ended, Hut, until};
use crate::load::Load;
use crate::yard::{Site, Yard};
use std::time::{Duration, Instant};
use testkit::docker::{BASE, docker};

const EXITS: [&str; 3] = ["sh", "-c", "echo the reason is here >&2; exit 3"];

#[test]
fn a_release_under_load_drops_no_request_and_down_leaves_the_volume() {
    let yard = Yard::up(&Site::version("1"));
    yard.run(&["plan"]).code(0).says("nothing to do");
    yard.run(&["exec", "web", "touch", "/data/kept"]).code(0);
    let load = Load::start(yard.http());
    load.at_least(50);
    yard.declare(&Site { recipe: "ENV MORE=1", ..Site::version("2") });
    yard.run(&["up"]).code(0);
    load.at_least(50);
    let bodies = load.end().without_failure();
    assert_eq!(bodies, ["version 1", "version 2"].map(str::to_owned).into());
    yard.run(&["down", "--yes"]).code(0);
    assert_eq!(yard.on_the_engine(), [format!("volume {}", yard.called("_data"))]);
    assert_eq!(yard.kept(), "kept");
    yard.run(&["up"]).code(0);
    yard.run(&["exec", "web", "test", "-e", "/data/kept"]).code(0);
    yard.run(&["down", "--volumes", "--yes"]).code(0);
    assert_eq!(yard.on_the_engine(), Vec::<String>::new());
    assert_eq!(yard.leftovers(), Vec::<String>::new());
}

/// A second release that cannot do its work leaves the first one serving.
#[track_caller]
fn check_rolled_back(bad: &Site<'_>, reasons: &[&str]) {
    let yard = Yard::up(&Site::version("1"));
    let load = Load::start(yard.http());
    yard.declare(bad);
    let mut up = yard.run(&["up"]).code(1);
    for reason in reasons {
        up = up.says(reason);
    }
    load.at_least(20);
    assert_eq!(load.end().without_failure(), ["version 1".to_owned()].into());
    let releases = yard.json(&["releases"]);
    assert_eq!((&releases[0]["state"], &releases[1]["state"]), (&"failed".into(), &"done".into()), "{releases}");
    assert_eq!(yard.json(&["status"])["release"], 1);
    assert_eq!(yard.containers().len(), 2);
    yard.run(&["explain", "release", "2"]).code(0).says(reasons[0]);
    yard.declare(&Site::version("3"));
    yard.run(&["up"]).code(0);
    assert_eq!(yard.get().unwrap(), "version 3");
}

#[test]
fn a_release_whose_containers_exit_is_explained_and_leaves_the_one_before_it_serving() {
    check_rolled_back(&Site::of(&EXITS), &["exited with code 3", "the reason is here"]);
}

#[test]
fn a_release_that_listens_elsewhere_is_explained_and_leaves_the_one_before_it_serving() {
    let deaf = Site { ready_within: "3s", ..Site::of(&["sh", "/app/server.sh", "3999", "2"]) };
    check_rolled_back(&deaf, &["not ready after 3s", "3000", "refused"]);
}

#[test]
fn a_release_without_its_program_is_explained_in_plain_words() {
    let yard = Yard::new();
    yard.declare(&Site::of(&["/app/missing"]));
    let up = yard.run(&["up"]).code(1).says("/app/missing").says("no such file");
    assert!(!up.err.contains("OCI runtime"), "{}", up.err);
}

#[test]
fn a_daemon_killed_in_a_rollout_loses_no_request_and_the_next_one_finishes_it() {
    let yard = Yard::up(&Site::version("1"));
    let load = Load::start(yard.http());
    yard.declare(&Site::version("2").slow("0.5"));
    let up = yard.command(&["up"]).spawn().unwrap();
    until("a third container", || yard.containers().len() == 3);
    yard.kill_daemon();
    load.at_least(20);
    yard.run(&["plan"]);
    Hut::ended(up, &["up"]).code(0);
    load.end().without_failure();
    assert_eq!(yard.get().unwrap(), "version 2");
    assert_eq!(yard.containers().len(), 2);
    yard.run(&["plan"]).code(0);
}

#[test]
fn a_kept_plan_is_carried_out_once_and_with_the_images_it_was_made_with() {
    let yard = Yard::new();
    yard.declare(&Site::version("1"));
    let plan = yard.path().join("plan.json");
    let plan = plan.to_str().unwrap();
    yard.run(&["plan", "--out", plan]).code(3);
    assert_eq!(yard.on_the_engine(), Vec::<String>::new(), "a plan makes nothing but images");
    yard.run(&["up", "--plan", plan]).code(0);
    assert_eq!(yard.get().unwrap(), "version 1");
    yard.run(&["up", "--plan", plan]).code(1).says("MS0213");
    assert_eq!(yard.json(&["releases"]).as_array().unwrap().len(), 1);
}

#[test]
fn an_earlier_release_runs_again_without_a_build_and_drops_no_request() {
    let yard = Yard::up(&Site::version("1"));
    yard.declare(&Site { recipe: "ENV MORE=1", ..Site::version("2") });
    yard.run(&["up"]).code(0);
    let differs = yard.json(&["releases", "diff", "1"]);
    assert_eq!(differs["services"]["web"]["kind"], "changed", "{differs}");
    // Whatever becomes of the files: a release has its own.
    std::fs::remove_file(yard.project().join("Dockerfile")).unwrap();
    let load = Load::start(yard.http());
    load.at_least(50);
    yard.run(&["rollback", "--dry-run"]).code(3).says("mainstay rollback 1");
    yard.run(&["rollback"]).code(0).says("what release 1 ran");
    assert_eq!(yard.get().unwrap(), "version 1");
    yard.run(&["rollback", "2", "-m", "the first one was worse"]).code(0);
    load.at_least(50);
    load.end().without_failure();
    assert_eq!(yard.get().unwrap(), "version 2");
    let releases = yard.json(&["releases"]);
    assert_eq!(
        (&releases[1]["again"], &releases[1]["message"]),
        (&1.into(), &"back to release 1".into()),
        "{releases}"
    );
    assert_eq!((&releases[0]["again"], &releases[0]["images"]), (&2.into(), &releases[2]["images"]), "{releases}");
    yard.run(&["releases", "diff", "2", "4"]).code(0).says("nothing differs");
    yard.run(&["rollback", "9"]).code(2).says("there is no release 9");
    yard.run(&["plan"]).code(2);
}

#[test]
fn a_release_whose_image_was_removed_is_not_gone_back_to_and_the_running_one_stays() {
    let yard = Yard::up(&Site { replicas: 1, ..Site::version("1") });
    let images = yard.images();
    yard.declare(&Site { replicas: 1, recipe: "ENV MORE=1", ..Site::version("2") });
    yard.run(&["up"]).code(0);
    docker(&["image", "rm", "--force", &images[0]]);
    yard.run(&["rollback"]).code(2).says("MS0247").says("has been removed since");
    assert_eq!(yard.get().unwrap(), "version 2");
}

#[test]
fn a_second_release_at_the_same_time_is_refused_with_the_first_ones_name() {
    let yard = Yard::new();
    yard.declare(&Site::version("1").slow("2"));
    let first = yard.command(&["up"]).spawn().unwrap();
    until("a container", || !yard.containers().is_empty());
    yard.run(&["up"]).code(1).says("MS0215").says("mainstay up --replace");
    Hut::ended(first, &["up"]).code(0);
    assert_eq!(yard.get().unwrap(), "version 1");
    assert_eq!(yard.json(&["releases"]).as_array().unwrap().len(), 1);
}

#[test]
fn two_clients_that_build_the_same_at_once_end_in_one_release_at_a_time() {
    let yard = Yard::new();
    yard.declare(&Site::version("1"));
    let both: Vec<_> = (0..2).map(|_| yard.command(&["up"]).spawn().unwrap()).collect();
    let ended: Vec<Ended> = both.into_iter().map(|child| Hut::ended(child, &["up"])).collect();
    assert!(ended.iter().any(|ended| ended.code == 0), "{ended:?}");
    let refused = ended.iter().filter(|ended| ended.code != 0);
    refused.for_each(|ended| assert!(ended.err.contains("MS0215"), "{ended:?}"));
    assert_eq!(yard.containers().len(), 2);
    assert_eq!(yard.images().len(), 1, "it was built once");
    yard.run(&["plan"]).code(0);
}

#[test]
fn an_image_that_was_removed_by_hand_is_named_and_built_again_by_the_next_up() {
    let yard = Yard::up(&Site { replicas: 1, ..Site::version("1") });
    let images = yard.images();
    // While no daemon runs: it would be quicker than the second command.
    yard.kill_daemon();
    docker(&["rm", "--force", &yard.called("-web-1")]);
    docker(&["image", "rm", "--force", &images[0]]);
    // This starts the next one, which goes on only once there is an image again.
    yard.run(&["exec", "web", "true"]).code(1);
    let told = || yard.run(&["events"]).out;
    until("the reason", || told().contains("run `mainstay up` again"));
    yard.run(&["health"]).code(1);
    yard.run(&["up"]).code(0);
    assert_eq!(yard.get().unwrap(), "version 1");
    assert_eq!(yard.images().len(), 1);
    yard.run(&["plan"]).code(0);
}

#[test]
fn a_stack_stays_on_its_engine_until_it_is_down() {
    let yard = Yard::up(&Site { replicas: 1, ..Site::version("1") });
    let policy = std::fs::read_to_string(yard.project().join("mainstay.yaml")).unwrap();
    let processes = policy.replace("engine: docker", "engine: process")
        + "processes: { web: { command: [sh, /app/server.sh, \"3000\", \"2\"], artifacts: [{ from: server.sh, to: /app/server.sh }] } }\n";
    yard.write("mainstay.yaml", &processes);
    let mut up = yard.command(&["up"]);
    up.env("MAINSTAY_ENGINE", "process");
    Hut::ended(up.spawn().unwrap(), &["up"]).code(1).says("MS0246").says("mainstay down");
    assert_eq!(yard.get().unwrap(), "version 1");
    assert_eq!(yard.containers().len(), 1);
}

#[test]
fn an_image_that_cannot_be_had_is_named_with_its_cure_and_changes_nothing() {
    let yard = Yard::up(&Site { replicas: 1, ..Site::version("1") });
    let compose = std::fs::read_to_string(yard.project().join("compose.yaml")).unwrap();
    // Nobody listens there.
    yard.write("compose.yaml", &compose.replace("build: .", "image: localhost:9/nothing:1"));
    let begun = Instant::now();
    yard.run(&["up"]).code(1).says("MS0248").says("localhost:9").says("web");
    assert!(begun.elapsed() < Duration::from_secs(30), "{:?}", begun.elapsed());
    assert_eq!(yard.get().unwrap(), "version 1");
    assert_eq!(yard.json(&["releases"]).as_array().unwrap().len(), 1);
}

#[test]
fn names_that_somebody_else_has_are_told_with_their_cure_and_the_next_up_goes_on() {
    let yard = Yard::new();
    yard.declare(&Site { replicas: 1, ..Site::version("1") });
    let (container, network, volume) = (yard.called("-web-1"), yard.called("_default"), yard.called("_data"));
    docker(&["run", "--detach", "--name", &container, BASE, "sleep", "1000"]);
    docker(&["network", "create", &network]);
    docker(&["volume", "create", &volume]);
    let remove: [&[&str]; 3] =
        [&["network", "rm", &network], &["volume", "rm", &volume], &["rm", "--force", &container]];
    // In the order in which they are needed, or any other: each is told once it is in the way.
    let mut left: Vec<&[&str]> = remove.to_vec();
    while !left.is_empty() {
        let up = yard.run(&["up"]).code(1).says("not this project's");
        let named = left.iter().position(|words| up.err.contains(words[words.len() - 1]));
        let words = left.remove(named.unwrap_or_else(|| panic!("none is named: {}", up.err)));
        docker(words);
    }
    yard.run(&["up"]).code(0);
    assert_eq!(yard.get().unwrap(), "version 1");
}

#[test]
fn a_guest_on_a_network_is_named_by_down_which_goes_on_once_it_has_left() {
    let yard = Yard::up(&Site { replicas: 1, ..Site::version("1") });
    let guest = format!("{}-guest", yard.name());
    docker(&["run", "--detach", "--name", &guest, "--network", &yard.called("_default"), BASE, "sleep", "1000"]);
    let down = yard.run(&["down", "--yes"]);
    docker(&["rm", "--force", &guest]);
    down.code(1).says(&guest).says("default");
    yard.run(&["down", "--yes"]).code(0);
    assert_eq!(yard.on_the_engine(), [format!("volume {}", yard.called("_data"))]);
}

#[test]
fn containers_that_were_stopped_or_removed_by_hand_come_back_by_themselves() {
    let yard = Yard::up(&Site::version("1"));
    let ids = || yard.ask(&["ps", "--quiet", "--no-trunc", "--filter", &format!("name={}", yard.called("-web"))]);
    for words in [&["rm", "--force"][..], &["stop", "--time", "1"]] {
        let before = ids();
        docker(&[words, &[&yard.containers()[0]]].concat());
        until("two containers", || {
            let now = ids();
            now.lines().count() == 2 && now != before
        });
        until("health", || yard.run(&["health"]).code == 0);
    }
    assert_eq!(yard.get().unwrap(), "version 1");
    yard.run(&["plan"]).code(0);
}
