//! Images that are fetched.

use crate::registry::{PASSWORD, Registry, login, stopping_line};
use crate::world::{Listener, World, image, inline, template};
use engine::Retry;
use engine::images::{Credentials, How, News, Silent};
use mainstay_engine_docker::{ImageError, Trouble};
use model::container::{Build, Container, Pull};
use model::project::Template;
use std::time::{Duration, Instant};

fn nobody() -> Credentials {
    Credentials::default()
}

#[tokio::test]
async fn a_missing_image_is_fetched_once_and_then_found_without_its_registry() {
    let world = World::new();
    let registry = Registry::open(world.scratch()).await;
    let built = world.image("mainstay-test/a:1", &world.project).await;
    let name = registry.push(&world, built.id.as_str(), "a:1").await;
    world.forget(built.id.as_str()).await;

    let listener = Listener::default();
    let pulled = world.prepare_telling(image(&name, Pull::Missing), "", &nobody(), &listener).await.unwrap();
    assert_eq!((pulled.how, &pulled.id), (How::Pulled, &built.id));
    let digest = pulled.digest.clone().expect("a digest");
    assert!(digest.starts_with(&format!("{}/a@sha256:", registry.host)), "{digest}");
    assert!(pulled.facts.size > 100_000, "{:?}", pulled.facts);
    let heard = listener.all();
    let bytes = |news: &News| if let News::Bytes { done, total } = news { Some((*done, *total)) } else { None };
    let (done, total) = heard.iter().rev().find_map(bytes).expect("bytes are told");
    assert!(done == total && total > 100_000, "{heard:?}");

    drop(registry);
    let found = world.prepare(image(&name, Pull::Missing), "", &nobody()).await.unwrap();
    assert_eq!((found.how, &found.id, &found.digest), (How::Found, &built.id, &pulled.digest));
    let pinned = format!("{}@{}", name.rsplit_once(':').unwrap().0, digest.split_once('@').unwrap().1);
    let found = world.prepare(image(&pinned, Pull::Always), "", &nobody()).await.unwrap();
    assert_eq!((found.how, &found.id), (How::Found, &built.id), "a digest needs no asking");
    assert_eq!(world.store.inspect(&built.id).await.unwrap(), Some(found.facts));
    world.end().await;
}

#[tokio::test]
async fn a_digest_that_is_not_there_is_fetched() {
    let world = World::new();
    let registry = Registry::open(world.scratch()).await;
    let built = world.image("mainstay-test/d:1", &world.project).await;
    let name = registry.push(&world, built.id.as_str(), "d:1").await;
    let found = world.prepare(image(&name, Pull::Missing), "", &nobody()).await.unwrap();
    let pinned = found.digest.unwrap();
    world.forget(built.id.as_str()).await;
    let pulled = world.prepare(image(&pinned, Pull::Missing), "", &nobody()).await.unwrap();
    assert_eq!((pulled.how, &pulled.id, pulled.digest), (How::Pulled, &built.id, Some(pinned)));
    world.forget(built.id.as_str()).await;
    assert_eq!(world.store.inspect(&built.id).await.unwrap(), None);
    world.end().await;
}

#[tokio::test]
async fn always_follows_a_tag_that_moves_and_every_waits() {
    let world = World::new();
    let registry = Registry::open(world.scratch()).await;
    let first = world.image("mainstay-test/m:1", "first").await;
    let second = world.image("mainstay-test/m:2", "second").await;
    let name = registry.push(&world, first.id.as_str(), "m:1").await;
    let (always, hour) = (Pull::Always, Pull::Every(Duration::from_secs(3600)));
    let same = world.prepare(image(&name, always), "", &nobody()).await.unwrap();
    assert_eq!((same.how, &same.id), (How::Found, &first.id));
    registry.push(&world, second.id.as_str(), "m:1").await;
    world.tag(first.id.as_str(), &name).await;

    let early = world.prepare(image(&name, hour), "", &nobody()).await.unwrap();
    assert_eq!((early.how, &early.id), (How::Found, &first.id), "it was asked a moment ago");
    let moved = world.prepare(image(&name, always), "", &nobody()).await.unwrap();
    assert_eq!((moved.how, &moved.id), (How::Pulled, &second.id));
    world.end().await;
}

#[tokio::test]
async fn never_asks_nobody() {
    let world = World::new();
    let name = format!("127.0.0.1:1/{}:1", world.project);
    let error = world.prepare(image(&name, Pull::Never), "", &nobody()).await.unwrap_err();
    assert!(matches!(&error, ImageError::NotThere(image) if *image == name), "{error}");
    assert_eq!(error.retry(), Retry::Never);
    world.image(&name, "there").await;
    assert_eq!(world.prepare(image(&name, Pull::Never), "", &nobody()).await.unwrap().how, How::Found);
    world.end().await;
}

#[tokio::test]
async fn a_registry_that_wants_a_login_gets_it() {
    let world = World::new();
    let registry = Registry::closed(world.scratch()).await;
    let built = world.image("mainstay-test/l:1", &world.project).await;
    let name = registry.push(&world, built.id.as_str(), "l:1").await;
    let ask = |credentials| {
        let (world, name) = (&world, &name);
        async move { world.prepare(image(name, Pull::Always), "", &credentials).await }
    };
    let check = |error: ImageError, who: &str| {
        let text = error.to_string();
        assert!(matches!(error, ImageError::Registry { trouble: Trouble::Denied, .. }), "{error:?}");
        let cure = format!("docker login {}", registry.host);
        assert!(text.contains(who) && text.contains(&cure) && !text.contains("wrong-password"), "{text}");
        assert_eq!(error.retry(), Retry::Never);
    };
    check(ask(nobody()).await.unwrap_err(), "without a login");
    check(ask(login(&registry.host, "bob", "wrong-password")).await.unwrap_err(), "as `bob`");
    assert_eq!(ask(login(&registry.host, "bob", PASSWORD)).await.unwrap().id, built.id);

    // The base image of a build is asked for with the same login.
    let build = || Build { pull: true, ..inline(&format!("FROM {name}\nLABEL a={}\n", world.project)) };
    let runs = crate::world::building(build());
    world.forget(built.id.as_str()).await;
    let error = world.prepare(runs.clone(), "base", &nobody()).await.unwrap_err();
    assert!(matches!(&error, ImageError::Build(failed) if failed.trouble == Some(Trouble::Denied)), "{error}");
    let known = login(&registry.host, "bob", PASSWORD);
    assert_eq!(world.prepare(runs, "base", &known).await.unwrap().how, How::Built);
    world.end().await;
}

#[tokio::test]
async fn a_registry_that_is_down_is_named() {
    let world = World::new();
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let name = format!("127.0.0.1:{port}/a:1");
    let error = world.prepare(image(&name, Pull::Missing), "", &nobody()).await.unwrap_err();
    assert!(matches!(&error, ImageError::Registry { trouble: Trouble::Unreachable, .. }), "{error:?}");
    assert!(error.to_string().contains(&format!("`127.0.0.1:{port}` cannot be reached")), "{error}");
    assert_eq!(error.retry(), Retry::Later);
    world.end().await;
}

#[tokio::test]
async fn a_tag_that_is_not_there_is_named() {
    let world = World::new();
    let registry = Registry::open(world.scratch()).await;
    let built = world.image("mainstay-test/t:1", &world.project).await;
    let name = registry.push(&world, built.id.as_str(), "t:1").await;
    for missing in [name.replace("t:1", "t:2"), name.replace("t:1", "u:1")] {
        let error = world.prepare(image(&missing, Pull::Missing), "", &nobody()).await.unwrap_err();
        assert!(matches!(&error, ImageError::Registry { trouble: Trouble::Absent, .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("there is no `{missing}`")), "{error}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_registry_that_stops_is_given_up() {
    let stall = Duration::from_secs(2);
    let world = World::with_stall(stall);
    let registry = Registry::open(world.scratch()).await;
    let built = world.image("mainstay-test/s:1", &world.project).await;
    registry.push(&world, built.id.as_str(), "s:1").await;
    world.forget(built.id.as_str()).await;
    // It stops before its first byte, and in the middle of a layer.
    for most in [0, 50_000] {
        let line = stopping_line(&registry.host, most).await;
        let begun = Instant::now();
        let name = format!("{line}/s:1");
        let error = world.prepare(image(&name, Pull::Missing), "", &nobody()).await.unwrap_err();
        assert!(matches!(&error, ImageError::Stalled { .. }), "{error:?}");
        assert!(error.to_string().contains(&format!("`{line}`")), "{error}");
        assert_eq!(error.retry(), Retry::Later);
        assert!((stall..stall * 5).contains(&begun.elapsed()), "{:?}", begun.elapsed());
    }
    world.end().await;
}

#[tokio::test]
async fn an_image_for_another_machine_is_refused_unless_it_is_asked_for() {
    let world = World::new();
    let other = if std::env::consts::ARCH == "aarch64" { "linux/amd64" } else { "linux/arm64" };
    let name = format!("127.0.0.1:1/{}:1", world.project);
    world.busybox();
    let recipe = format!("FROM scratch\nCOPY busybox /{}\n", world.project);
    let build = Build { platform: Some(other.to_owned()), names: [name.parse().unwrap()].into(), ..inline(&recipe) };
    let built = world.build(build, "other").await.unwrap();
    world.remember(&name);
    let error = world.prepare(image(&name, Pull::Missing), "", &nobody()).await.unwrap_err();
    assert!(matches!(&error, ImageError::Platform { there, .. } if there == other), "{error:?}");
    assert!(error.to_string().contains(&format!("`platform: {other}`")), "{error}");
    let container = Container { platform: Some(other.to_owned()), ..Container::default() };
    let template = Template { runs: image(&name, Pull::Missing), container, ..template() };
    let found = world.prepare_template(&template, "", &nobody(), &Silent).await.unwrap();
    assert_eq!((found.how, found.id), (How::Found, built.id));
    world.end().await;
}

#[tokio::test]
async fn a_registry_without_the_platform_is_refused() {
    let world = World::new();
    let registry = Registry::open(world.scratch()).await;
    let built = world.image("mainstay-test/p:1", &world.project).await;
    let name = registry.push(&world, built.id.as_str(), "p:1").await;
    let container = Container { platform: Some("linux/s390x".to_owned()), ..Container::default() };
    let template = Template { runs: image(&name, Pull::Missing), container, ..template() };
    let error = world.prepare_template(&template, "", &nobody(), &Silent).await.unwrap_err();
    let is_platform = matches!(&error, ImageError::Platform { .. })
        || matches!(&error, ImageError::Registry { trouble: Trouble::OtherPlatform, .. });
    assert!(is_platform, "{error:?}");
    world.end().await;
}
