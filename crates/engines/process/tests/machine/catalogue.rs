//! PostgreSQL and Redis, with their images' contracts, asked from another replica.

use crate::world::{World, image, volume};
use engine::Engine;
use model::project::{Artifact, Runs, Template};
use plan::action::replica::Action;
use plan::observed::{Exit, Phase};
use std::time::{Duration, Instant};

async fn client(world: &World) -> model::ReplicaId {
    let mut start = world.shell("client.1", "exec sleep 1000");
    start.addresses = [("front".parse().unwrap(), world.address(0, 20))].into();
    world.run(start).await
}

async fn until(world: &World, client: &model::ReplicaId, script: &str, want: &str) {
    let deadline = Instant::now() + crate::world::SOON;
    loop {
        let (_, text) = world.exec(client, script).await;
        if text.contains(want) {
            return;
        }
        assert!(Instant::now() < deadline, "{script}: {text}\n{}", world.log(&"db.1".parse().unwrap()));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn postgres(world: &World, env: &[(&str, &str)]) -> plan::action::replica::Start {
    let mut template = image("postgres:15-alpine", env);
    template.mounts = vec![volume("db", "/var/lib/postgresql/data")];
    let mut start = world.start("db.1", template);
    start.addresses = [("front".parse().unwrap(), world.address(0, 10))].into();
    start
}

#[tokio::test(flavor = "multi_thread")]
async fn redis_answers_another_replica() {
    let world = World::new().await;
    world.network("front", 0, true).await;
    let mut template = image("redis:7-alpine", &[]);
    template.runs = Runs::Image {
        pull: Default::default(),
        pin: None,
        image: "redis:7-alpine".parse().unwrap(),
        entrypoint: None,
        command: Some(["redis-server", "--appendonly", "yes"].map(str::to_owned).to_vec()),
    };
    let mut start = world.start("db.1", template);
    start.addresses = [("front".parse().unwrap(), world.address(0, 10))].into();
    let id = world.run(start).await;
    let client = client(&world).await;
    until(&world, &client, &format!("redis-cli -h {} ping 2>&1", world.address(0, 10)), "PONG").await;
    assert_eq!(world.exec(&id, "id -un; ls /data").await.1, "redis\nappendonlydir\n");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_is_made_once_and_keeps_its_data() {
    let world = World::new().await;
    world.network("front", 0, true).await;
    world.perform(Action::EnsureVolume { name: "db".parse().unwrap(), made: Default::default() }).await;
    std::fs::write(world.bundle().join("1.sql"), "create table t (n int); insert into t values (42);").unwrap();
    let env = [("POSTGRES_PASSWORD", "it's"), ("POSTGRES_DB", "shop"), ("POSTGRES_USER", "keeper")];
    let mut start = postgres(&world, &env);
    let template: &mut Template = std::sync::Arc::make_mut(&mut start.template);
    template.mounts.push(model::project::Mount {
        target: "/docker-entrypoint-initdb.d/1.sql".into(),
        source: model::project::MountSource::Bundle("1.sql".into()),
        read_only: true,
    });
    let client = client(&world).await;
    let ip = world.address(0, 10);
    let ready = format!("/usr/lib/postgresql/15/bin/pg_isready -h {ip} 2>&1");
    let query = format!(
        "PGPASSWORD=\"it's\" /usr/lib/postgresql/15/bin/psql -h {ip} -U keeper shop -tAc 'select n from t' 2>&1"
    );
    for _ in 0..2 {
        let id = world.run(start.clone()).await;
        until(&world, &client, &ready, "accepting connections").await;
        assert_eq!(world.exec(&client, &query).await.1, "42\n");
        assert_eq!(world.exec(&id, "id -un").await.1, "postgres\n");
        world.stop(&id, Duration::from_secs(20)).await;
        assert_eq!(world.end(&id).await, Exit::Code(0));
    }
    let wrong = query.replace("it's", "wrong");
    world.run(start).await;
    until(&world, &client, &ready, "accepting connections").await;
    assert!(world.exec(&client, &wrong).await.1.contains("password authentication failed"));
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn postgres_ends_at_once_while_a_client_is_connected() {
    let world = World::new().await;
    world.network("front", 0, true).await;
    let mut start = postgres(&world, &[("POSTGRES_PASSWORD", "x")]);
    std::sync::Arc::make_mut(&mut start.template).mounts = Vec::new();
    let id = world.run(start).await;
    let client = client(&world).await;
    let ip = world.address(0, 10);
    let ready = format!("/usr/lib/postgresql/15/bin/pg_isready -h {ip} 2>&1");
    until(&world, &client, &ready, "accepting connections").await;
    let psql = format!("PGPASSWORD=x /usr/lib/postgresql/15/bin/psql -h {ip} -U postgres -c");
    let session = format!("nohup sh -c \"{psql} 'select pg_sleep(1000)'\" >/dev/null 2>&1 & exit 0");
    world.exec(&client, &session).await;
    let sessions = format!("{psql} \"select query from pg_stat_activity where query like '%sleep(1000)%'\" -tA 2>&1");
    until(&world, &client, &sessions, "select pg_sleep(1000)").await;
    world.stop(&id, Duration::from_secs(20)).await;
    assert_eq!(world.end(&id).await, Exit::Code(0), "not killed when its grace was over");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_interrupted_initialisation_is_done_again_and_foreign_data_are_refused() {
    let world = World::new().await;
    world.network("front", 0, true).await;
    world.perform(Action::EnsureVolume { name: "db".parse().unwrap(), made: Default::default() }).await;
    let start = postgres(&world, &[("POSTGRES_PASSWORD", "x")]);
    let data = world.layout.volume(&world.stack, &"db".parse().unwrap());
    // What a kill in the middle of its making leaves.
    let half = data.join(".mainstay-init/data");
    std::fs::create_dir_all(half.join("base")).unwrap();
    std::fs::write(half.join("PG_VERSION"), "15\n").unwrap();
    for path in [&data, &data.join(".mainstay-init"), &half, &half.join("base"), &half.join("PG_VERSION")] {
        std::os::unix::fs::chown(path, Some(300_999), Some(300_999)).unwrap();
    }
    world.run(start.clone()).await;
    let client = client(&world).await;
    let ready = format!("/usr/lib/postgresql/15/bin/pg_isready -h {} 2>&1", world.address(0, 10));
    until(&world, &client, &ready, "accepting connections").await;
    assert!(data.join("PG_VERSION").exists() && !data.join(".mainstay-init").exists());
    let id = start.id.clone();
    world.stop(&id, Duration::from_secs(20)).await;

    let refused = async |why: &str| {
        world.run(start.clone()).await;
        let deadline = Instant::now() + crate::world::SOON;
        loop {
            match world.phase(&id).await {
                Some(Phase::Failed { why: found, .. }) => break assert!(found.contains(why), "{found}"),
                phase => assert!(Instant::now() < deadline, "{phase:?}"),
            }
        }
    };
    std::fs::write(data.join("PG_VERSION"), "14\n").unwrap();
    refused("was made by PostgreSQL 14, but this is 15").await;
    std::fs::remove_file(data.join("PG_VERSION")).unwrap();
    refused("is neither empty nor a PostgreSQL cluster").await;
    assert!(data.join("base").exists(), "nothing was thrown away");
    world.end_of_the_world().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn shortcomings_are_known_before_anything_starts() {
    let world = World::new().await;
    let check = async |template: &Template| {
        let found = world.engine.check(template).await;
        found.into_iter().map(|s| format!("{} {}; {}", s.fatal, s.what, s.cure)).collect::<Vec<_>>().join("\n")
    };
    // A machine may have other things to say, none of them fatal.
    assert!(!check(&image("redis", &[])).await.contains("true "));
    assert!(
        check(&image("postgres:9", &[("POSTGRES_PASSWORD", "x")])).await.contains("this machine has PostgreSQL 15")
    );
    assert!(
        check(&image("example/app", &[]))
            .await
            .starts_with("true the process engine does not know image `example/app`")
    );
    let mut template = crate::world::template(&["no-such-program"]);
    template.cap_add = ["SYS_ADMIN", "CHOWN"].map(str::to_owned).into();
    let text = check(&template).await;
    assert!(text.contains("true `no-such-program` is not installed"), "{text}");
    assert!(text.contains("true capability `SYS_ADMIN` would reach the machine itself"), "{text}");
    assert!(text.contains("false capability `CHOWN` has no effect"), "{text}");
    let Runs::Process { artifacts, .. } = &mut template.runs else { unreachable!() };
    artifacts.push(Artifact { source: "x".into(), target: "/usr/local/bin/no-such-program".into() });
    assert!(!check(&template).await.contains("not installed"));
    let id = "client.1".parse().unwrap();
    let stdio = || std::fs::File::open("/dev/null").unwrap().into();
    let exec = crate::world::exec(&["true"], [stdio(), stdio(), stdio()]);
    let error = world.engine.exec(&world.stack, &id, exec).await.expect_err("nothing runs");
    assert!(crate::world::chain(&error).contains("it does not run"));
    world.end_of_the_world().await;
}
