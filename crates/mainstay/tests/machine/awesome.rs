//! Other people's Compose files, unchanged, with our applications behind them: up, asked as their readers would, down.
//!
//! They name ports of the machine, so one of them runs at a time, also of two test runs; a port that somebody else has
//! fails the test with who must go. Which requests show that a project works is written down beside the applications.

use crate::corpus;
use crate::hut::{Docker, Ended, Hut, ask};
use std::fs::File;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use testkit::docker::docker;

const APPLICATIONS: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../examples/awesome");

/// Held by the test whose project has the ports.
const TURN: &str = "/run/mainstay-test-ports";

/// A test for each project. Not a function: a failure names its project, and one does not hide the next.
macro_rules! projects {
    ($($test:ident: $project:literal,)*) => {
        const PROJECTS: &[&str] = &[$($project),*];

        $(#[test]
        fn $test() {
            check($project);
        })*
    };
}

projects! {
    flask_is_up_unchanged: "flask",
    flask_with_redis_is_up_unchanged: "flask-redis",
    nginx_with_go_is_up_unchanged: "nginx-golang",
    nginx_with_go_and_postgres_is_up_unchanged: "nginx-golang-postgres",
    nginx_with_flask_and_mysql_is_up_unchanged: "nginx-flask-mysql",
    nginx_with_two_of_node_and_redis_is_up_unchanged: "nginx-nodejs-redis",
    apache_with_php_is_up_unchanged: "apache-php",
    fastapi_is_up_unchanged: "fastapi",
}

#[test]
fn each_project_with_requests_has_its_test() {
    let mut named: Vec<String> = requests().into_iter().map(|request| request.project).collect();
    named.dedup();
    assert_eq!(named, PROJECTS);
}

struct Request {
    project: String,
    port: u16,
    path: String,
    answer: String,
}

fn requests() -> Vec<Request> {
    let text = std::fs::read_to_string(format!("{APPLICATIONS}/requests.txt")).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let request = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        let mut next = || words.next().unwrap_or_else(|| panic!("cut short: {line}"));
        let (project, port, path) = (next(), next().parse().unwrap(), next());
        Request { project, port, path, answer: words.collect::<Vec<_>>().join(" ") }
    };
    lines.map(request).collect()
}

/// A project of somebody else's in a folder of its own name.
struct Project {
    folder: PathBuf,
    name: &'static str,
    hut: Hut,
    _turn: File,
}

impl Project {
    fn new(corpus: &Path, name: &'static str) -> Self {
        let turn = File::create(TURN).unwrap();
        turn.lock().unwrap();
        let hut = Hut::on(Docker::Shared);
        let folder = hut.path().join(name);
        copy(&Path::new(APPLICATIONS).join(name), &folder);
        let theirs = corpus.join("awesome-compose").join(name).join("compose.yaml");
        std::fs::copy(&theirs, folder.join("compose.yaml")).unwrap_or_else(|error| panic!("{theirs:?}: {error}"));
        Self { folder, name, hut, _turn: turn }
    }

    #[track_caller]
    fn run(&self, words: &[&str]) -> Ended {
        Hut::ended(self.hut.command(words).current_dir(&self.folder).spawn().unwrap(), words)
    }

    /// What the Engine has of it.
    fn on_the_engine(&self) -> String {
        let filter = format!("label=com.docker.compose.project={}-development", self.name);
        let lists = [
            &["ps", "--all", "--format", "container {{.Names}}"][..],
            &["network", "ls", "--format", "network {{.Name}}"],
            &["volume", "ls", "--format", "volume {{.Name}}"],
        ];
        lists.map(|list| docker(&[list, &["--filter", &filter]].concat())).join("")
    }
}

impl Drop for Project {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.run(&["status"]);
            self.run(&["logs", "--tail", "20"]);
        }
        self.run(&["down", "--yes", "--volumes"]);
        // Built anew each time, from the Engine's cache.
        let images = docker(&["image", "ls", "--quiet", "--filter", &format!("reference=mainstay/{}", self.name)]);
        let images: Vec<&str> = images.lines().collect();
        if !images.is_empty() {
            let removed = [&["image", "rm", "--force"], &images[..]].concat();
            // A panic in here would hide the test's own.
            Command::new("docker").arg("--host").arg(testkit::docker::url()).args(removed).status().unwrap();
        }
    }
}

fn check(name: &'static str) {
    let Some(corpus) = corpus::folder() else { return };
    let project = Project::new(&corpus, name);
    let requests: Vec<Request> = requests().into_iter().filter(|request| request.project == name).collect();
    for port in requests.iter().map(|request| request.port) {
        let bound = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port));
        bound.unwrap_or_else(|error| panic!("{name} publishes port {port}, end whoever listens there: {error}"));
    }
    project.run(&["up"]).code(0);
    for Request { port, path, answer, .. } in requests {
        let body = ask((Ipv4Addr::LOCALHOST, port).into(), &path).unwrap();
        assert!(body.contains(&answer), "port {port}, {path}: `{answer}` is not in `{body}`");
    }
    project.run(&["plan"]).code(0).says("nothing to do");
    project.run(&["down", "--volumes", "--yes"]).code(0);
    assert_eq!(project.on_the_engine(), "");
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        match path.is_dir() {
            true => copy(&path, &target),
            false => assert!(std::fs::copy(&path, &target).is_ok(), "{}", path.display()),
        }
    }
}
