//! The Docker Engine that tests run on, the images they find there, and the removal of what they leave.
//!
//! Nothing here starts an Engine: `./dev` does, and names it in `MAINSTAY_DOCKER`. Tests of several processes share it, so
//! each takes names of its own from a [`Ground`] and removes only what bears its labels. Start with [`Ground::new`]; a test
//! that stops or kills its Engine has an [`Engine`] of its own.

#![expect(clippy::disallowed_methods, reason = "sets the scene on the real machine")]

mod engine;

pub use engine::Engine;

use std::path::PathBuf;
use std::process::{Command, Output};

/// BusyBox (shell, httpd, nc, wget, nslookup) and curl, 20 MB: for when any container will do.
pub const BASE: &str = "mainstay-test/base";
/// Debian 12 with bash, curl and certificates: what Dockerfiles start from.
pub const DEBIAN: &str = "debian:bookworm-slim";
/// PostgreSQL 15, with the official image's environment, volume and entry point.
pub const POSTGRES: &str = "postgres:15";
/// Redis 7.0, likewise.
pub const REDIS: &str = "redis:7";
/// nginx 1.22, likewise.
pub const NGINX: &str = "nginx:1";
/// The example shop's API, by its own Dockerfile.
pub const SHOP_API: &str = "shop-api";
/// The example shop's worker, by its own Dockerfile.
pub const SHOP_WORKER: &str = "shop-worker";

/// Where the Engine is, e.g. `unix:///run/docker.sock`.
///
/// Panics when nobody said so: a test that needs an Engine must not pass without one.
pub fn url() -> String {
    std::env::var("MAINSTAY_DOCKER")
        .expect("MAINSTAY_DOCKER names no Docker Engine: run `eval \"$(./dev docker start)\"` first, or `./dev test`")
}

/// The Engine's socket. Panics when [`url`] names none on this machine.
pub fn socket() -> PathBuf {
    let url = url();
    let path = url.strip_prefix("unix://");
    PathBuf::from(path.unwrap_or_else(|| panic!("MAINSTAY_DOCKER is `{url}`, and these tests need a `unix://` socket")))
}

/// A name of its own for one test's project, and the removal of whatever bears its labels when dropped.
#[derive(Debug)]
pub struct Ground {
    prefix: String,
    labels: Vec<String>,
}

impl Ground {
    /// A prefix that no other test has, e.g. `t3f9a01c2`: a valid name of a project.
    pub fn new() -> Self {
        let id = std::fs::read_to_string("/proc/sys/kernel/random/uuid").expect("Linux gives random names");
        let prefix = format!("t{}", &id[..8]);
        let labels = vec![format!("com.docker.compose.project={prefix}"), format!("mainstay.test={prefix}")];
        Self { prefix, labels }
    }

    /// The prefix: to be the project's name, or the beginning of one.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }

    /// A name with the prefix, e.g. `t3f9a01c2-web`.
    pub fn name(&self, what: &str) -> String {
        format!("{}-{what}", self.prefix)
    }

    /// A label for what a test makes by hand, e.g. `mainstay.test=t3f9a01c2`.
    pub fn label(&self) -> String {
        format!("mainstay.test={}", self.prefix)
    }

    /// Also removes what bears `label` (`key=value`) in the end. By itself that is what bears [`Ground::label`] or belongs
    /// to the Compose project of this name.
    #[must_use]
    pub fn and(mut self, label: impl Into<String>) -> Self {
        self.labels.push(label.into());
        self
    }

    /// Removes now what would be removed in the end: containers, networks, volumes and images.
    pub fn clear(&self) {
        for label in &self.labels {
            let filter = format!("label={label}");
            remove(&["ps", "--all", "--quiet", "--filter", &filter], &["rm", "--force", "--volumes"]);
            remove(&["network", "ls", "--quiet", "--filter", &filter], &["network", "rm"]);
            remove(&["volume", "ls", "--quiet", "--filter", &filter], &["volume", "rm", "--force"]);
            remove(&["image", "ls", "--quiet", "--filter", &filter], &["image", "rm", "--force"]);
        }
    }
}

impl Default for Ground {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Ground {
    fn drop(&mut self) {
        self.clear();
    }
}

/// Runs `docker` with these arguments on the Engine and returns what it wrote, without the last line's end.
///
/// Panics with what it complained of when it fails.
pub fn docker(args: &[&str]) -> String {
    docker_at(&url(), args)
}

fn docker_at(url: &str, args: &[&str]) -> String {
    let output = run(url, args);
    let complaint = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "`docker {}` failed ({}): {complaint}", args.join(" "), output.status);
    String::from_utf8_lossy(&output.stdout).trim_end().to_owned()
}

fn run(url: &str, args: &[&str]) -> Output {
    client(url, args).output().expect("`docker`, the Engine's client, is installed")
}

fn client(url: &str, args: &[&str]) -> Command {
    let mut command = Command::new("docker");
    command.arg("--host").arg(url).args(args);
    command
}

/// Removes what `list` lists. What others removed meanwhile, or still use, is left to them and to the Engine's end: a
/// panic here would hide the test's own.
fn remove(list: &[&str], removal: &[&str]) {
    let url = url();
    let listed = run(&url, list);
    let ids = String::from_utf8_lossy(&listed.stdout);
    let ids: Vec<&str> = ids.lines().collect();
    if !ids.is_empty() {
        run(&url, &[removal, &ids].concat());
    }
}

#[cfg(test)]
mod tests {
    use super::{BASE, DEBIAN, Ground, NGINX, POSTGRES, REDIS, SHOP_API, SHOP_WORKER, docker, socket};

    #[test]
    fn every_image_that_tests_name_is_there() {
        assert!(socket().exists(), "{} is no socket", socket().display());
        docker(&["image", "inspect", BASE, DEBIAN, POSTGRES, REDIS, NGINX, SHOP_API, SHOP_WORKER]);
    }

    #[test]
    fn what_a_test_made_goes_with_it_and_nothing_else() {
        let (ours, theirs) = (Ground::new(), Ground::new());
        for ground in [&ours, &theirs] {
            let label = ground.label();
            docker(&["network", "create", "--label", &label, &ground.name("net")]);
            docker(&["volume", "create", "--label", &label, &ground.name("data")]);
            let (name, network, volume) = (ground.name("web"), ground.name("net"), ground.name("data") + ":/data");
            let run =
                ["run", "--detach", "--label", &label, "--name", &name, "--network", &network, "--volume", &volume];
            docker(&[&run[..], &[BASE, "sleep", "1000"]].concat());
        }
        let gone = ours.prefix().to_owned();
        drop(ours);
        let left = [["ps", "--all"], ["network", "ls"], ["volume", "ls"]].map(|list| docker(&list)).join("\n");
        assert!(!left.contains(&gone), "{left}");
        for what in ["web", "net", "data"] {
            assert!(left.contains(&theirs.name(what)), "{left}");
        }
    }

    #[test]
    fn names_are_looked_up_and_answers_fetched_between_containers() {
        let ground = Ground::new();
        let (label, network, name) = (ground.label(), ground.name("net"), ground.name("web"));
        docker(&["network", "create", "--internal", "--label", &label, &network]);
        let on_it = ["run", "--label", &label, "--network", &network];
        let serve = "echo it answers >/var/www/index.html; exec httpd -f -p 80 -h /var/www";
        docker(&[&on_it[..], &["--detach", "--name", &name, BASE, "sh", "-c", serve]].concat());
        let ask = format!("until wget -q -O - http://{name}/; do usleep 50000; done");
        assert_eq!(docker(&[&on_it[..], &["--rm", BASE, "timeout", "20", "sh", "-c", &ask]].concat()), "it answers");
    }
}
