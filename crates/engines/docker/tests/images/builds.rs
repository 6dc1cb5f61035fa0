//! Images that are built.

use crate::world::{Listener, World, building, has, inline};
use engine::images::{Credentials, Healthcheck, How, News};
use model::Secret;
use model::container::{Build, Context, Recipe};
use model::units::Bytes;
use std::time::Duration;

fn nobody() -> Credentials {
    Credentials::default()
}

fn folder(path: &str) -> Context {
    Context::Bundle(path.to_owned())
}

#[tokio::test]
async fn equal_inputs_are_built_once() {
    let world = World::new().await;
    let recipe = world.recipe("COPY page /page\nEXPOSE 8080 53/udp\nVOLUME /data\nUSER 1000\nSTOPSIGNAL SIGQUIT\nHEALTHCHECK --interval=3s --retries=4 CMD wget -q x");
    world.file("Dockerfile", &recipe);
    world.file("page", "one");
    let first = world.build(Build::default(), "one").await.unwrap();
    assert_eq!((first.how, &first.digest), (How::Built, &None));
    let facts = &first.facts;
    assert!(facts.size > 1_000_000 && facts.ports == [8080].into(), "{facts:?}");
    assert_eq!((facts.volumes.clone(), facts.user.as_deref()), (["/data".to_owned()].into(), Some("1000")));
    assert_eq!(facts.stop_signal.as_deref(), Some("SIGQUIT"));
    let check = Healthcheck {
        command: ["/bin/sh", "-c", "wget -q x"].map(str::to_owned).into(),
        interval: Some(Duration::from_secs(3)),
        timeout: None,
        start_period: None,
        retries: Some(4),
    };
    assert_eq!(facts.healthcheck, Some(check));

    // Only the digest of the inputs says whether there is something to do.
    world.file("page", "two");
    let again = world.build(Build::default(), "one").await.unwrap();
    assert_eq!((again.how, &again.id), (How::Found, &first.id));
    let other = world.build(Build::default(), "two").await.unwrap();
    assert_eq!(other.how, How::Built);
    assert_ne!(other.id, first.id);
    world.end().await;
}

#[tokio::test]
async fn a_file_is_newer_than_what_an_earlier_build_made_of_it() {
    let world = World::new().await;
    // As `make` and `cargo` do it: what was made is kept between builds, and made anew when its source is newer.
    let made = "{ [ ! -e /made/page ] || [ /page -nt /made/page ]; } && cp /page /made/page";
    let steps = format!("{made}; touch -d '2010-01-01 00:00' /made/page; cmp /page /made/page");
    let cache = format!("--mount=type=cache,id={},target=/made", world.project);
    world.file("Dockerfile", &world.recipe(&format!("COPY page /page\nRUN {cache} {steps}")));
    for page in ["one", "two"] {
        world.file("page", page);
        world.build(Build::default(), page).await.unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn a_build_has_its_target_arguments_labels_and_names() {
    let world = World::new().await;
    let lines =
        "ARG WORD\nRUN echo \"word is $WORD\" > /word && echo told $(cat /word)\nFROM scratch AS last\nCOPY page /";
    world.file("page", "x");
    let recipe = world.recipe(lines).replacen("FROM scratch", "FROM scratch AS first", 1);
    let name = format!("mainstay-test/{}:named", world.project);
    let build = Build {
        target: Some("first".into()),
        args: [("WORD".to_owned(), Secret::new("short"))].into(),
        labels: [("a".to_owned(), "b c".to_owned())].into(),
        names: [name.parse().unwrap()].into(),
        extra_hosts: [("db.example".to_owned(), "10.1.2.3".parse().unwrap())].into(),
        ..inline(&recipe.replace("> /word", "> /word && grep 10.1.2.3 /etc/hosts"))
    };
    let listener = Listener::default();
    let built = world.prepare_telling(building(build), "args", &nobody(), &listener).await.unwrap();
    world.remember(&name);
    let lines = listener.lines();
    assert!(lines.iter().any(|line| line == "told word is short"), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("db.example")), "{lines:?}");
    let seen = world.docker.inspect_image(&name).await.unwrap();
    assert_eq!(seen.id.as_deref(), Some(built.id.as_str()));
    let labels = seen.config.unwrap().labels.unwrap();
    let label = |name: &str| labels.get(name).map(String::as_str);
    assert_eq!((label("a"), label("app.mainstay.project")), (Some("b c"), Some(world.project.as_str())));
    assert_eq!(label("org.opencontainers.image.revision"), Some("0123abc"));
    assert_eq!(label("org.opencontainers.image.source"), Some("https://code.example/shop"));
    let steps: Vec<News> = listener.all();
    let is_run = |news: &News| matches!(news, News::Step { number, of, text, cached: false } if number == of && text.contains("RUN echo"));
    assert!(steps.iter().any(is_run), "{steps:?}");
    world.end().await;
}

#[tokio::test]
async fn unchanged_steps_are_told_as_cached() {
    let world = World::new().await;
    let recipe = world.recipe(&format!("RUN echo {}", world.project));
    world.build(inline(&recipe), "a").await.unwrap();
    let listener = Listener::default();
    let runs = building(inline(&format!("{recipe}LABEL a=b\n")));
    world.prepare_telling(runs, "b", &nobody(), &listener).await.unwrap();
    let is_cached =
        |news: &News| matches!(news, News::Step { text, cached: true, .. } if text.contains(&world.project));
    assert!(listener.all().iter().any(is_cached), "{:?}", listener.all());
    let listener = Listener::default();
    let runs = building(Build { no_cache: true, ..inline(&recipe) });
    world.prepare_telling(runs, "c", &nobody(), &listener).await.unwrap();
    assert!(!listener.all().iter().any(is_cached), "{:?}", listener.all());
    world.end().await;
}

#[tokio::test]
async fn a_secret_is_seen_by_its_step_and_is_nowhere_else() {
    let world = World::new().await;
    let secret = format!("very-secret-{}", world.project);
    let lines = "RUN --mount=type=secret,id=token cp /run/secrets/token /tmp/t && wc -c < /tmp/t && cat /tmp/t && echo && rm /tmp/t";
    let build = Build { secrets: [("token".to_owned(), Secret::new(&secret))].into(), ..inline(&world.recipe(lines)) };
    let listener = Listener::default();
    let built = world.prepare_telling(building(build), "secret", &nobody(), &listener).await.unwrap();
    let lines = listener.lines();
    assert!(lines.iter().any(|line| *line == secret.len().to_string()), "the step has read it: {lines:?}");
    assert!(lines.iter().any(|line| line == "***"), "and it is masked: {lines:?}");
    assert!(!format!("{:?}", listener.all()).contains(&secret));
    let archive = world.bytes(built.id.as_str()).await;
    assert!(has(&archive, "/run/secrets/token"), "the archive can be searched");
    assert!(!has(&archive, &secret));
    let history = world.docker.image_history(built.id.as_str()).await.unwrap();
    assert!(!format!("{history:?}").contains(&secret));
    world.end().await;
}

#[tokio::test]
async fn files_keep_their_modes_and_links_and_nothing_follows_them() {
    let world = World::new().await;
    let kept = world.file("app/kept", "kept");
    world.mode("app/kept", 0o440);
    std::fs::hard_link(&kept, world.bundle.join("app/again")).unwrap();
    world.file("app/run.sh", "#!/bin/sh\n");
    world.mode("app/run.sh", 0o755);
    std::os::unix::fs::symlink("kept", world.bundle.join("app/link")).unwrap();
    std::os::unix::fs::symlink("/etc/shadow", world.bundle.join("app/outside")).unwrap();
    std::fs::create_dir(world.bundle.join("app/empty")).unwrap();
    world.file("app-b", "sorts between");
    world.file("app.c", "sorts between");
    let lines = "COPY app /app
COPY app-b app.c /
RUN test \"$(readlink /app/link)\" = kept && test \"$(cat /app/link)\" = kept && test -d /app/empty
RUN test \"$(readlink /app/outside)\" = /etc/shadow && ! test -e /app/outside
RUN test \"$(stat -c %a /app/kept /app/again /app/run.sh | tr '\\n' ' ')\" = '440 440 755 '
RUN test \"$(stat -c %u /app/kept)\" = 0 && test \"$(cat /app/again)\" = kept";
    let recipe = world.recipe(lines);
    for (what, build) in both(&recipe) {
        world.build(build, what).await.unwrap();
    }
    world.end().await;
}

/// The same for both builders: an Engine before 23 gives `shm_size` to the classic one.
fn both(recipe: &str) -> [(&'static str, Build); 2] {
    let classic = Build { shm: Some(Bytes(32 << 20)), network: Some("host".into()), ..inline(recipe) };
    [("buildkit", inline(recipe)), ("classic", classic)]
}

#[tokio::test]
async fn a_recipe_may_lie_anywhere_in_the_bundle() {
    let world = World::new().await;
    world.file("site/page", "x");
    world.file("site/.dockerignore", "page\n");
    let recipe = "FROM scratch\nCOPY page /page\n";
    for path in ["site/docker/web.Dockerfile", "docker/web.Dockerfile"] {
        world.file(path, recipe);
    }
    let build = |path: &str, shm| Build {
        context: folder("site"),
        recipe: Recipe::File(path.to_owned()),
        shm,
        ..Build::default()
    };
    for (n, path) in ["docker/web.Dockerfile", "../docker/web.Dockerfile"].into_iter().enumerate() {
        world.build(build(path, None), &format!("{n} buildkit")).await.unwrap();
        std::fs::remove_file(world.bundle.join("site/.dockerignore")).ok();
        world.build(build(path, Some(Bytes(1 << 20))), &format!("{n} classic")).await.unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn an_inline_recipe_is_no_part_of_the_context() {
    let world = World::new().await;
    world.file("site/Dockerfile", "another");
    let lines =
        "COPY site /site\nRUN test \"$(ls -A /site)\" = Dockerfile && test \"$(cat /site/Dockerfile)\" = another";
    world.build(inline(&world.recipe(lines)), "inline").await.unwrap();
    world.end().await;
}

#[tokio::test]
async fn a_large_context_of_many_files_arrives_whole() {
    let world = World::new().await;
    for n in 0..3000 {
        world.file(&format!("many/{}/{n}", n % 7), &n.to_string());
    }
    let large: String = (0..600_000).map(|n| format!("{n:x}\n")).collect();
    world.file("large", &large);
    let lines = format!(
        "COPY many /many\nCOPY large /\nRUN test \"$(find /many -type f | wc -l)\" = 3000 && test \"$(cat /many/6/2995)\" = 2995\nRUN test \"$(wc -c < /large)\" = {}",
        large.len()
    );
    let recipe = world.recipe(&lines);
    for (what, build) in both(&recipe) {
        world.build(build, what).await.unwrap();
    }
    world.end().await;
}

#[tokio::test]
async fn two_that_want_equal_inputs_build_once() {
    let world = World::new().await;
    let recipe = world.recipe("RUN sleep 1");
    let one = || world.build(inline(&recipe), "same");
    let (a, b, c) = tokio::join!(one(), one(), one());
    let all = [a.unwrap(), b.unwrap(), c.unwrap()];
    let built = all.iter().filter(|prepared| prepared.how == How::Built).count();
    assert_eq!(built, 1, "{all:?}");
    assert!(all.iter().all(|prepared| prepared.id == all[0].id));
    world.end().await;
}
