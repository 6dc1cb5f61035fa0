//! Builds that fail, are refused, or are given up.

use crate::world::{Listener, SOON, World, building, inline};
use engine::Retry;
use engine::images::{Credentials, How};
use mainstay_engine_docker::{FailedBuild, ImageError, Trouble};
use model::Secret;
use model::container::{Build, Context, Recipe};
use model::units::Bytes;
use std::time::{Duration, Instant};

fn failed(error: ImageError) -> FailedBuild {
    assert_eq!(error.retry(), Retry::Never, "{error}");
    match error {
        ImageError::Build(failed) => *failed,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_failed_build_shows_its_step_and_its_last_lines() {
    let world = World::new();
    let lines = "ARG TOKEN\nRUN i=0; while [ $i -lt 30 ]; do i=$((i+1)); echo line $i; done; echo token $TOKEN; exit 7\nRUN echo never";
    let recipe = world.recipe(lines);
    for shm in [None, Some(Bytes(1 << 20))] {
        let args = [("TOKEN".to_owned(), Secret::new("tell-nobody"))].into();
        let build = Build { shm, args, ..inline(&recipe) };
        let error = world.build(build, "fails").await.unwrap_err();
        let text = error.to_string();
        let failed = failed(error);
        let step = failed.step.as_deref().unwrap();
        assert!(step.contains("6/7") && step.contains("exit 7"), "{step}");
        assert_eq!(failed.output.len(), 20);
        assert_eq!(failed.output.last().map(String::as_str), Some("token ***"));
        assert!(failed.message.contains('7') && text.contains("correct that step"), "{text}");
        assert!(!text.contains("tell-nobody"), "{text}");
    }
    // Nothing of it is found as if it were done.
    world.build(inline(&world.recipe("")), "fails").await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_file_that_is_not_there_is_named() {
    let world = World::new();
    let error = world.build(inline("FROM scratch\nCOPY nowhere /\n"), "copy").await.unwrap_err();
    let failed = failed(error);
    assert!(failed.message.contains("nowhere"), "{failed}");
    let error = world.build(Build { recipe: Recipe::File("no.Dockerfile".into()), ..Build::default() }, "no").await;
    let text = error.unwrap_err().to_string();
    assert!(text.contains("`no.Dockerfile`") && text.contains("dockerfile"), "{text}");
    let context = Context::Bundle("no".into());
    let error = world.build(Build { context, ..Build::default() }, "folder").await.unwrap_err();
    assert!(error.to_string().contains("no"), "{error}");
    world.end().await;
}

#[tokio::test]
async fn a_recipe_that_makes_no_sense_is_refused() {
    let world = World::new();
    for shm in [None, Some(Bytes(1 << 20))] {
        let build = Build { shm, ..inline("FROM scratch\nDANCE now\n") };
        let failed = failed(world.build(build, "dance").await.unwrap_err());
        assert!(failed.message.to_lowercase().contains("dance"), "{failed}");
    }
    world.end().await;
}

#[tokio::test]
async fn a_base_image_whose_registry_is_down_may_come_later() {
    let world = World::new();
    for shm in [None, Some(Bytes(1 << 20))] {
        let build = Build { shm, ..inline("FROM 127.0.0.1:1/base:1\n") };
        let error = world.build(build, "down").await.unwrap_err();
        assert_eq!(error.retry(), Retry::Later, "{error}");
        let ImageError::Build(failed) = error else { panic!("{error:?}") };
        assert_eq!(failed.trouble, Some(Trouble::Unreachable), "{failed}");
    }
    world.end().await;
}

#[tokio::test]
async fn nothing_leads_out_of_the_bundle() {
    let world = World::new();
    std::os::unix::fs::symlink("/etc", world.bundle.join("etc")).unwrap();
    std::os::unix::fs::symlink("/etc/passwd", world.bundle.join("Dockerfile")).unwrap();
    let contexts =
        ["..", "etc", "/etc"].map(|path| Build { context: Context::Bundle(path.into()), ..inline("FROM scratch") });
    let recipes = ["Dockerfile", "../../etc/passwd", "/etc/passwd"]
        .map(|path| Build { recipe: Recipe::File(path.into()), ..Build::default() });
    for build in contexts.into_iter().chain(recipes) {
        let error = world.build(build.clone(), "out").await.unwrap_err();
        assert!(error.to_string().contains("leads out of the bundle"), "{build:?}: {error}");
    }
    world.end().await;
}

#[tokio::test]
async fn what_the_engine_cannot_do_is_refused() {
    let world = World::new();
    let secrets = [("a".to_owned(), Secret::new("x"))].into();
    let build = Build { secrets, network: Some("own".into()), ..inline("FROM scratch") };
    let error = world.build(build, "refused").await.unwrap_err();
    assert!(matches!(&error, ImageError::Unsupported { .. }), "{error:?}");
    assert!(error.to_string().contains("network"), "{error}");
    world.end().await;
}

/// Whether a process with these words runs on this machine: the Engine runs steps on it.
fn runs(words: &str) -> bool {
    let processes = std::fs::read_dir("/proc").unwrap().filter_map(Result::ok);
    let mut lines = processes.filter_map(|process| std::fs::read(process.path().join("cmdline")).ok());
    lines.any(|line| line.split(|&byte| byte == 0).collect::<Vec<_>>().join(&b' ') == words.as_bytes())
}

#[tokio::test]
async fn a_build_that_is_given_up_ends() {
    let world = World::new();
    for (n, shm) in [None, Some(Bytes(1 << 20))].into_iter().enumerate() {
        let number = 100_000_000 + u64::from(std::process::id()) * 10 + n as u64;
        let words = format!("sleep {number}");
        let build = Build { shm, network: Some("host".into()), ..inline(&world.recipe(&format!("RUN exec {words}"))) };
        let listener = Listener::default();
        let nobody = Credentials::default();
        let given_up = async {
            tokio::select! {
                outcome = world.prepare_telling(building(build), &words, &nobody, &listener) => panic!("{outcome:?}"),
                () = until(|| runs(&words)) => {}
            }
        };
        given_up.await;
        until(|| !runs(&words)).await;
        let again = world.build(inline(&world.recipe("")), &words).await.unwrap();
        assert_eq!(again.how, How::Built, "nothing is left that could be found");
    }
    world.end().await;
}

/// Looks again and again: no one tells when a process of the Engine ends.
async fn until(is_so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !is_so() {
        assert!(begun.elapsed() < SOON, "it has not happened in time");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}
