//! A world of its own for each test: a bundle, names nobody else uses, and an end that leaves no image.

use bollard::Docker;
use bollard::query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use engine::images::{Credentials, News, Prepared, Progress, Wanted};
use futures_util::TryStreamExt;
use mainstay_engine_docker::{ImageError, ImageStore};
use model::container::{Build, Pull, Recipe};
use model::project::{Runs, Template};
use model::{BundleId, ContentDigest, ServiceName, StackId};
use runtime::{SystemClock, Tasks};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// How long anything may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(60);

pub struct World {
    pub docker: Docker,
    pub store: ImageStore,
    pub project: String,
    pub bundle: PathBuf,
    dir: tempfile::TempDir,
    names: Mutex<Vec<String>>,
}

/// Where the Engine listens.
fn socket() -> PathBuf {
    let address = std::env::var("MAINSTAY_DOCKER")
        .expect("MAINSTAY_DOCKER says no Engine: set it to unix:///…/docker.sock, as `./dev test` does");
    PathBuf::from(address.strip_prefix("unix://").expect("MAINSTAY_DOCKER is unix://…"))
}

/// A number that nobody has had: tests are processes, and images stay when one is killed.
fn unique() -> String {
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    format!("{:x}", now.as_nanos())
}

impl World {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let bundle = dir.path().join("bundle");
        std::fs::create_dir(&bundle).unwrap();
        let socket = socket();
        let docker = Docker::connect_with_unix(&socket.to_string_lossy(), 120, bollard::API_DEFAULT_VERSION)
            .expect("MAINSTAY_DOCKER leads to no Engine");
        let folder = bundle.clone();
        let clock = SystemClock::shared();
        let tasks = Tasks::new(clock.clone());
        let find = Arc::new(move |_: &BundleId| folder.clone());
        // Speaks the newest version that the Engine has; bollard's own is too new for old ones.
        let docker = docker.with_version();
        let store = ImageStore::new(docker.clone(), &socket, clock, tasks, find);
        let project = format!("t{}", unique());
        Self { docker, store, project, bundle, dir, names: Mutex::default() }
    }

    /// The same, with a bound for a registry that sends nothing.
    pub fn with_stall(stall: Duration) -> Self {
        let Self { docker, store, project, bundle, dir, names } = Self::new();
        Self { docker, store: store.with_stall(stall), project, bundle, dir, names }
    }

    pub fn scratch(&self) -> &Path {
        self.dir.path()
    }

    /// A file of the bundle.
    pub fn file(&self, path: &str, text: &str) -> PathBuf {
        let at = self.bundle.join(path);
        std::fs::create_dir_all(at.parent().unwrap()).unwrap();
        std::fs::write(&at, text).unwrap();
        at
    }

    pub fn mode(&self, path: &str, mode: u32) {
        std::fs::set_permissions(self.bundle.join(path), std::fs::Permissions::from_mode(mode)).unwrap();
    }

    /// A static busybox in the bundle, so that recipes have something to run.
    pub fn busybox(&self) {
        std::fs::copy("/bin/busybox", self.bundle.join("busybox")).expect("a static busybox at /bin/busybox");
        self.mode("busybox", 0o755);
    }

    /// A recipe on busybox; the bundle has it.
    pub fn recipe(&self, lines: &str) -> String {
        self.busybox();
        let busybox = r#"COPY busybox /bin/busybox
RUN ["/bin/busybox", "mkdir", "-p", "/tmp"]
RUN ["/bin/busybox", "--install", "-s", "/bin"]"#;
        format!("FROM scratch\n{busybox}\n{lines}\n")
    }

    pub async fn prepare(&self, runs: Runs, inputs: &str, login: &Credentials) -> Result<Prepared, ImageError> {
        self.prepare_telling(runs, inputs, login, &engine::images::Silent).await
    }

    pub async fn prepare_telling(
        &self,
        runs: Runs,
        inputs: &str,
        credentials: &Credentials,
        progress: &dyn Progress,
    ) -> Result<Prepared, ImageError> {
        self.prepare_template(&Template { runs, ..template() }, inputs, credentials, progress).await
    }

    pub async fn prepare_template(
        &self,
        template: &Template,
        inputs: &str,
        credentials: &Credentials,
        progress: &dyn Progress,
    ) -> Result<Prepared, ImageError> {
        let stack: StackId = format!("{}@test", self.project).parse().unwrap();
        let service: ServiceName = "web".parse().unwrap();
        let bundle: BundleId = "a".repeat(64).parse().unwrap();
        let inputs = ContentDigest::of(inputs.as_bytes());
        let wanted = Wanted {
            stack: &stack,
            service: &service,
            template,
            bundle: &bundle,
            inputs,
            source: Some("https://code.example/shop"),
            revision: Some("0123abc"),
            credentials,
        };
        let built = format!("mainstay/{}:{}", self.project, &inputs.to_string()[..24]);
        self.names.lock().unwrap().push(built);
        tokio::time::timeout(SOON, self.store.prepare(&wanted, progress)).await.expect("prepared in time")
    }

    /// Builds as `build` says, of these inputs.
    pub async fn build(&self, build: Build, inputs: &str) -> Result<Prepared, ImageError> {
        self.prepare(building(build), inputs, &Credentials::default()).await
    }

    /// An image that prints `mark`, with this name; it is removed at the end.
    pub async fn image(&self, name: &str, mark: &str) -> Prepared {
        self.busybox();
        let recipe = format!("FROM scratch\nCOPY busybox /bin/busybox\nLABEL mark={mark}\n");
        let build = Build { recipe: Recipe::Inline(recipe), ..Build::default() };
        let built = self.build(build, &format!("{name} {mark}")).await.unwrap();
        self.tag(built.id.as_str(), name).await;
        built
    }

    pub async fn tag(&self, id: &str, name: &str) {
        let (repository, tag) = name.rsplit_once(':').unwrap();
        let options = TagImageOptionsBuilder::default().repo(repository).tag(tag).build();
        self.docker.tag_image(id, Some(options)).await.unwrap();
        self.remember(name);
    }

    /// Removes this name at the end.
    pub fn remember(&self, name: &str) {
        self.names.lock().unwrap().push(name.to_owned());
    }

    /// Removes the names of an image, so that the Engine does not have it any more.
    pub async fn forget(&self, id: &str) {
        let options = RemoveImageOptionsBuilder::default().force(true).build();
        self.docker.remove_image(id, Some(options), None).await.unwrap();
    }

    /// All that the Engine stores of an image, layers and configuration, in one piece.
    pub async fn bytes(&self, id: &str) -> Vec<u8> {
        let archive: Vec<bytes::Bytes> = self.docker.export_image(id).try_collect().await.unwrap();
        archive.concat()
    }

    /// Removes what was made, and asserts that nothing is left.
    pub async fn end(self) {
        let names = std::mem::take(&mut *self.names.lock().unwrap());
        for name in names {
            let options = RemoveImageOptionsBuilder::default().force(true).build();
            // Not every name was given to an image.
            let _gone = self.docker.remove_image(&name, Some(options), None).await;
            assert!(self.docker.inspect_image(&name).await.is_err(), "{name} is left");
        }
    }
}

pub fn template() -> Template {
    testkit::project::process(&["true"])
}

pub fn building(build: Build) -> Runs {
    Runs::Build { build: Box::new(build), pin: None, entrypoint: None, command: None }
}

pub fn image(name: &str, pull: Pull) -> Runs {
    Runs::Image { image: name.parse().expect(name), pull, pin: None, entrypoint: None, command: None }
}

pub fn inline(text: &str) -> Build {
    Build { recipe: Recipe::Inline(text.to_owned()), ..Build::default() }
}

/// Whether an archive has these bytes.
pub fn has(archive: &[u8], text: &str) -> bool {
    archive.windows(text.len()).any(|window| window == text.as_bytes())
}

/// Keeps all news.
#[derive(Default)]
pub struct Listener(Mutex<Vec<News>>, tokio::sync::Notify);

impl Progress for Listener {
    fn tell(&self, news: News) {
        self.0.lock().unwrap().push(news);
        self.1.notify_one();
    }
}

impl Listener {
    pub fn all(&self) -> Vec<News> {
        self.0.lock().unwrap().clone()
    }

    pub fn lines(&self) -> Vec<String> {
        let line = |news| if let News::Line(line) = news { Some(line) } else { None };
        self.all().into_iter().filter_map(line).collect()
    }

    /// Waits for a step with these words.
    pub async fn step(&self, words: &str) {
        let is_it = |news: &News| matches!(news, News::Step { text, .. } if text.contains(words));
        while !self.all().iter().any(is_it) {
            self.1.notified().await;
        }
    }
}
