//! A hut whose one service is a container of an image that is built of its files.

use crate::hut::{Docker, Hut};
use std::ops::{Deref, DerefMut};
use testkit::docker::{BASE, Engine};

pub struct Yard {
    hut: Hut,
    name: String,
}

/// What the files say of the service `web`.
pub struct Site<'a> {
    pub command: Vec<&'a str>,
    pub replicas: u32,
    /// More keys of it, four blanks before each line.
    pub keys: &'a str,
    /// More lines of its Dockerfile.
    pub recipe: &'a str,
    pub ready_within: &'a str,
}

impl Site<'_> {
    /// The web server with two replicas and a volume.
    pub fn version(version: &str) -> Site<'_> {
        Site::of(&["sh", "/app/server.sh", "3000", version])
    }

    pub fn of<'a>(command: &[&'a str]) -> Site<'a> {
        Site { command: command.to_vec(), replicas: 2, keys: "", recipe: "", ready_within: "1m" }
    }

    /// The web server takes so many seconds before it listens.
    pub fn slow(mut self, seconds: &'static str) -> Self {
        self.command.push(seconds);
        self
    }
}

impl Deref for Yard {
    type Target = Hut;
    fn deref(&self) -> &Hut {
        &self.hut
    }
}

impl DerefMut for Yard {
    fn deref_mut(&mut self) -> &mut Hut {
        &mut self.hut
    }
}

impl Yard {
    pub fn new() -> Self {
        Self::on(Docker::Shared)
    }

    /// With an Engine of its own, which has the image that all are built from.
    pub fn of_its_own(engine: Engine) -> Self {
        engine.load(BASE);
        Self::on(Docker::Own(Box::new(engine)))
    }

    fn on(docker: Docker) -> Self {
        let hut = Hut::on(docker);
        // Names of containers are the machine's: no other test may have the same.
        let yard = Self { name: format!("yard{:03x}", hut.tag()), hut };
        yard.write("server.sh", include_str!("hut/server.sh"));
        yard
    }

    /// A project with this service, up.
    pub fn up(site: &Site<'_>) -> Self {
        let yard = Self::new();
        yard.declare(site);
        yard.run(&["up"]).code(0);
        yard
    }

    /// The project's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What one of its things is called on the Engine: `-web-1`, `_data`.
    pub fn called(&self, rest: &str) -> String {
        format!("{}-development{rest}", self.name)
    }

    pub fn declare(&self, site: &Site<'_>) {
        let Self { name, hut } = self;
        let Site { command, replicas, keys, recipe, ready_within } = site;
        let (net, published) = (hut.net(), hut.published());
        let compose = format!(
            "name: {name}
services:
  web:
    build: .
    command: {command:?}
    expose: [\"3000\"]
    ports: [\"127.0.0.1:{published}:3000\"]
    volumes: [\"data:/data\"]
    restart: unless-stopped
    stop_grace_period: 3s
    deploy: {{ replicas: {replicas} }}
{keys}
volumes: {{ data: {{}} }}
networks:
  default: {{ ipam: {{ config: [{{ subnet: {net}.0/24 }}] }} }}
"
        );
        let probe = "{ http: /, port: 3000, interval: 500ms, timeout: 2s, start_interval: 50ms, start_period: 10s, retries: 2 }";
        let policy = format!(
            "project: {name}
environments:
  development: {{ engine: docker }}
routes:
  - host: \"*\"
    paths: {{ /: \"web:3000\" }}
probes:
  web:
    ready: {probe}
services:
  web: {{ ready_within: {ready_within} }}
"
        );
        hut.write("Dockerfile", &format!("FROM {BASE}\nENV YARD={name}\nCOPY server.sh /app/\n{recipe}\n"));
        hut.write("compose.yaml", &compose);
        hut.write("mainstay.yaml", &policy);
    }

    /// What `docker` says of the Engine.
    pub fn ask(&self, args: &[&str]) -> String {
        match self.hut.docker() {
            Docker::Shared => testkit::docker::docker(args),
            Docker::Own(engine) => engine.docker(args),
        }
    }

    /// The containers that run, by name.
    pub fn containers(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.called(""));
        let listed = self.ask(&["ps", "--filter", &filter, "--format", "{{.Names}}"]);
        let mut names: Vec<String> = listed.lines().map(str::to_owned).collect();
        names.sort_unstable();
        names
    }

    /// What is in the volume.
    pub fn kept(&self) -> String {
        let volume = format!("{}:/data", self.called("_data"));
        self.ask(&["run", "--rm", "--network", "none", "--volume", &volume, BASE, "ls", "/data"])
    }

    /// The built images, by name.
    pub fn images(&self) -> Vec<String> {
        let filter = format!("reference=mainstay/{}", self.name);
        let listed = self.ask(&["image", "ls", "--filter", &filter, "--format", "{{.Repository}}:{{.Tag}}"]);
        listed.lines().map(str::to_owned).collect()
    }

    /// Everything of the project on the Engine beside images.
    pub fn on_the_engine(&self) -> Vec<String> {
        let filter = format!("label=com.docker.compose.project={}", self.called(""));
        let lists = [
            &["ps", "--all", "--format", "container {{.Names}}", "--filter"][..],
            &["network", "ls", "--format", "network {{.Name}}", "--filter"],
            &["volume", "ls", "--format", "volume {{.Name}}", "--filter"],
        ];
        let listed = lists.map(|list| self.ask(&[list, &[&filter]].concat()));
        listed.iter().flat_map(|text| text.lines()).map(str::to_owned).collect()
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        // An Engine of its own takes all along.
        if !matches!(self.hut.docker(), Docker::Shared) {
            return;
        }
        self.hut.run(&["down", "--yes", "--volumes"]);
        let images = self.images();
        let remove = [&["image", "rm", "--force"][..], &images.iter().map(|name| &**name).collect::<Vec<_>>()].concat();
        if !images.is_empty() {
            self.ask(&remove);
        }
        let left = self.on_the_engine();
        if !std::thread::panicking() {
            assert_eq!(left, Vec::<String>::new());
        }
    }
}
