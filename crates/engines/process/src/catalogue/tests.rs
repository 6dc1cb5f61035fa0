use super::*;
use model::Secret;
use model::project::{File, FileKind};
use testkit::project::process as template;

fn installed(majors: &[u32]) -> Vec<Installation> {
    majors.iter().map(|&major| Installation { bin: format!("/usr/lib/x/{major}/bin").into(), major }).collect()
}

fn check(image: &str, env: &[(&str, &str)], command: &[&str], majors: &[u32]) -> Result<Program, Refusal> {
    let mut template = template(&[]);
    template.environment = env.iter().map(|(k, v)| ((*k).to_owned(), Secret::new(v))).collect();
    template.files = vec![File {
        target: "/run/secrets/user".into(),
        content: Secret::new("from-file\n"),
        mode: 0o400,
        uid: None,
        gid: None,
        kind: FileKind::Secret,
    }];
    let command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
    resolve(&image.parse().expect("an image"), None, Some(&command), &template, &installed(majors))
}

#[test]
fn postgres_keeps_the_images_contract() {
    let env =
        [("POSTGRES_PASSWORD", "s3"), ("POSTGRES_DB", "shop"), ("POSTGRES_INITDB_ARGS", "--data-checksums -E 'UTF 8'")];
    let program = check("postgres:15-alpine", &env, &["-c", "max_connections=20"], &[13, 15]).expect("runs");
    let own = "-D /var/lib/postgresql/data -c listen_addresses=* -c unix_socket_directories=/var/run/postgresql";
    assert_eq!(program.argv.join(" "), format!("/usr/lib/x/15/bin/postgres {own} -c max_connections=20"));
    let Some(Prepare::Postgres(init)) = program.prepare else { panic!("prepares") };
    assert_eq!((init.user.as_str(), init.database.as_str(), init.major), ("postgres", "shop", 15));
    assert_eq!(init.initdb_args, ["--data-checksums", "-E", "UTF 8"]);
    assert_eq!(init.password, Password::Text("s3".into()));
}

#[test]
fn values_are_read_from_the_files_that_variables_name() {
    let env = [("POSTGRES_USER_FILE", "/run/secrets/user"), ("POSTGRES_PASSWORD_FILE", "/run/secrets/p")];
    let program = check("postgres", &env, &[], &[15]).expect("runs");
    let Some(Prepare::Postgres(init)) = program.prepare else { panic!("prepares") };
    assert_eq!((init.user.as_str(), init.database.as_str()), ("from-file", "from-file"));
    assert_eq!(init.password, Password::File("/run/secrets/p".into()));
    let unknown = check("postgres", &[("POSTGRES_USER_FILE", "/nowhere"), ("POSTGRES_PASSWORD", "x")], &[], &[15]);
    assert!(matches!(unknown, Err(Refusal::Value { variable: "POSTGRES_USER_FILE", .. })), "{unknown:?}");
}

#[test]
fn what_cannot_run_is_refused_with_its_cure() {
    let refused = |image, env: &[_], majors: &[u32]| {
        let refusal = check(image, env, &[], majors).expect_err("is refused");
        format!("{refusal}; {}", refusal.cure())
    };
    let password = [("POSTGRES_PASSWORD", "x")];
    assert_eq!(
        refused("postgres:17", &password, &[15]),
        "image `postgres:17` is PostgreSQL 17, this machine has PostgreSQL 15; Install PostgreSQL 17, or write `postgres:15`"
    );
    assert!(refused("postgres", &password, &[]).ends_with("Install the package `postgresql`"));
    assert!(refused("postgres", &[], &[15]).starts_with("image `postgres` needs `POSTGRES_PASSWORD`"));
    assert!(refused("ghcr.io/a/postgres", &[], &[15]).starts_with("the process engine does not know image"));
    assert!(check("postgres", &[("POSTGRES_HOST_AUTH_METHOD", "trust")], &[], &[15]).is_ok());
}

#[test]
fn redis_takes_arguments_files_and_other_commands() {
    let argv = |command: &[&str]| check("redis:7", &[], command, &[7]).expect("runs").argv.join(" ");
    let server = "/usr/lib/x/7/bin/redis-server";
    assert_eq!(argv(&[]), format!("{server} --protected-mode no"));
    assert_eq!(
        argv(&["redis-server", "--appendonly", "yes"]),
        format!("{server} --protected-mode no --appendonly yes")
    );
    assert_eq!(
        argv(&["/etc/redis.conf", "--port", "1"]),
        format!("{server} /etc/redis.conf --protected-mode no --port 1")
    );
    assert_eq!(argv(&["redis-cli", "ping"]), "redis-cli ping");
}

#[test]
fn versions_are_read_from_what_programs_print() {
    assert_eq!(major_in("postgres (PostgreSQL) 15.14 (Debian 15.14-0+deb12u1)"), Some(15));
    assert_eq!(major_in("Redis server v=7.0.15 sha=00000000:0 malloc=jemalloc-5.3.0 bits=64"), Some(7));
    assert_eq!(major_in("no version"), None);
}
