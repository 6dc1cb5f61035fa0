//! One stack on one engine, with the short words the tests are written in.

use crate::world::World;
use engine::{Engine, EngineError, Exec, ExecExit, Retry};
use mainstay_engine_docker::{Address, DockerEngine};
use model::container::ImageId;
use model::project::{Role, Runs, Template};
use model::stack::Subnet;
use model::{NetworkName, ReleaseNumber, ReplicaId, SpecHash, StackId};
use plan::Addresses;
use plan::action::replica::{Action, Start};
use plan::observed::{NetworkState, Phase, Placed, Replica};
use std::collections::BTreeMap;
use std::error::Error;
use std::io::Read as _;
use std::net::Ipv4Addr;
use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

/// How long anything may take before a test gives up.
pub const SOON: Duration = Duration::from_secs(30);

/// Runs until it is asked to stop.
pub const RUNS: &str = "trap 'exit 0' TERM; while :; do sleep 1000 & wait; done";

pub struct Bench {
    pub world: World,
    pub stack: StackId,
}

impl Deref for Bench {
    type Target = World;
    fn deref(&self) -> &World {
        &self.world
    }
}

impl Bench {
    pub async fn new() -> Self {
        Self::of(World::new().await)
    }

    pub async fn at(address: &Address) -> Self {
        Self::of(World::at(address).await)
    }

    fn of(world: World) -> Self {
        let stack = format!("{}@test", world.ground.prefix()).parse().unwrap();
        Self { world, stack }
    }

    /// What one of the stack's things is called on the Engine: `web-1`, or `_data`.
    pub fn called(&self, rest: &str) -> String {
        format!("{}-test{rest}", self.ground.prefix())
    }

    pub fn start(&self, id: &str, template: Template) -> Start {
        Start {
            id: id.parse().unwrap(),
            role: Role::Service,
            template: Arc::new(template),
            hash: SpecHash::from_digest([1; 16]),
            release: ReleaseNumber(1),
            bundle: "0".repeat(64).parse().unwrap(),
            uid_base: 0,
            addresses: Addresses::default(),
            failures: 0,
        }
    }

    pub fn shell(&self, script: &str) -> Template {
        crate::world::shell(&self.world, script)
    }

    /// Runs this in a shell until it ends.
    pub async fn run(&self, id: &str, script: &str) -> ReplicaId {
        let start = self.start(id, self.shell(script));
        self.perform(Action::Start(Box::new(start.clone()))).await;
        start.id
    }

    pub async fn begin(&self, start: Start) -> ReplicaId {
        let id = start.id.clone();
        self.perform(Action::Start(start.into())).await;
        id
    }

    #[track_caller]
    pub fn perform(&self, action: Action) -> impl Future<Output = ()> + '_ {
        perform(&self.engine, &self.stack, action)
    }

    /// It is refused for good, with words that hold all of `parts`.
    pub async fn refuses(&self, action: Action, parts: &[&str]) -> String {
        let error = self.engine.perform(&self.stack, &action).await.expect_err("it is refused");
        let text = chain(&error);
        assert_eq!(error.retry, Retry::Never, "{text}");
        for part in parts {
            assert!(text.contains(part), "`{part}` is not said: {text}");
        }
        text
    }

    pub async fn stop(&self, id: &ReplicaId) {
        self.perform(Action::Stop { id: id.clone(), signal: 15, grace: Duration::from_secs(10) }).await;
    }

    pub async fn remove(&self, id: &ReplicaId) {
        self.perform(Action::Remove { id: id.clone() }).await;
    }

    pub async fn placed(&self) -> Placed {
        self.engine.observe(&self.stack).await.unwrap()
    }

    pub async fn replica(&self, id: &ReplicaId) -> Replica {
        let found = self.placed().await.replicas.remove(id);
        found.unwrap_or_else(|| panic!("`{id}` is not observed"))
    }

    pub async fn phase(&self, id: &ReplicaId) -> Phase {
        self.replica(id).await.phase
    }

    /// Waits until a replica has ended: woken by the engine, never by a timer.
    pub async fn end(&self, id: &ReplicaId) -> Phase {
        self.once("an end", async || Some(self.phase(id).await).filter(|phase| !matches!(phase, Phase::Running { .. })))
            .await
    }

    /// Looks each time the engine says that something happened.
    pub async fn once<T>(&self, what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
        let looks = async {
            loop {
                if let Some(seen) = look().await {
                    return seen;
                }
                assert_eq!(self.engine.changed().await, self.stack);
            }
        };
        tokio::time::timeout(SOON, looks).await.unwrap_or_else(|_| panic!("nobody told of {what}"))
    }

    /// A network with these names, each at the next stable address.
    pub async fn network(&self, name: &str, subnet: &Subnet, names: &[&str]) -> NetworkState {
        let state = state(subnet, names);
        self.perform(Action::EnsureNetwork {
            name: name.parse().unwrap(),
            state: Box::new(state.clone()),
            made: Default::default(),
        })
        .await;
        state
    }

    pub async fn volume(&self, name: &str) {
        self.perform(Action::EnsureVolume { name: name.parse().unwrap(), made: Default::default() }).await;
    }

    /// What a command in a replica says.
    pub async fn asked(&self, id: &ReplicaId, script: &str) -> String {
        self.asked_as(id, None, script).await
    }

    pub async fn asked_as(&self, id: &ReplicaId, user: Option<u32>, script: &str) -> String {
        let (reader, writer) = std::io::pipe().unwrap();
        let (nothing, _) = std::io::pipe().unwrap();
        let exec = Exec {
            argv: ["sh", "-c", script].map(str::to_owned).into(),
            environment: BTreeMap::new(),
            working_dir: None,
            user,
            stdio: [nothing.into(), writer.try_clone().unwrap().into(), writer.into()],
            tty: false,
            timeout: Some(SOON),
        };
        let read = tokio::task::spawn_blocking(move || {
            let (mut reader, mut text) = (reader, String::new());
            reader.read_to_string(&mut text).map(|_| text)
        });
        let exit = self.engine.exec(&self.stack, id, exec).await.unwrap_or_else(|error| panic!("{}", chain(&error)));
        let text = read.await.unwrap().unwrap();
        assert_eq!(exit, ExecExit::Code(0), "{text}");
        text.trim_end().to_owned()
    }

    /// An image made by these lines of a Dockerfile, from the one with a shell.
    pub fn image(&self, lines: &str) -> ImageId {
        let folder = self.folder().join("image");
        std::fs::create_dir_all(&folder).unwrap();
        std::fs::write(folder.join("Dockerfile"), format!("FROM {}\n{lines}\n", crate::world::BASE)).unwrap();
        let (label, folder) = (self.ground.label(), folder.to_str().unwrap().to_owned());
        docker(&["build", "--quiet", "--label", &label, &folder]).parse().unwrap()
    }
}

/// What `docker` says.
pub fn docker(args: &[&str]) -> String {
    testkit::docker::docker(args)
}

/// With another image.
pub fn on(mut template: Template, id: &ImageId) -> Template {
    if let Runs::Image { pin, .. } = &mut template.runs {
        *pin = Some(id.clone());
    }
    template
}

/// On a network, at this address.
pub fn attached(mut start: Start, network: &str, ip: Ipv4Addr) -> Start {
    let name: NetworkName = network.parse().unwrap();
    let template = Arc::make_mut(&mut start.template);
    template.networks.insert(name.clone(), Default::default());
    start.addresses = Addresses::from([(name, ip)]);
    start
}

pub fn state(subnet: &Subnet, names: &[&str]) -> NetworkState {
    let first = u32::from(subnet.gateway) + 1;
    let names: BTreeMap<String, Ipv4Addr> =
        names.iter().zip(first..).map(|(name, ip)| ((*name).to_owned(), Ipv4Addr::from(ip))).collect();
    NetworkState { subnet: subnet.clone(), stable: names.values().copied().collect(), names }
}

/// As whoever carries out plans does: what may succeed later is tried again.
pub async fn perform(engine: &DockerEngine, stack: &StackId, action: Action) {
    let begun = std::time::Instant::now();
    while let Err(error) = engine.perform(stack, &action).await {
        let text = chain(&error);
        assert!(error.retry == Retry::Later && begun.elapsed() < SOON, "{text}");
        tokio::task::yield_now().await;
    }
}

/// An error with its causes.
pub fn chain(error: &EngineError) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text.push_str(&format!(": {cause}"));
        source = cause.source();
    }
    text
}
