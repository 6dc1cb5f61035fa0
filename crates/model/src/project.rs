//! What the two files declare, for one environment: every value legal, defaults filled in.

use crate::container::{Build, Container, ImageId, Pull};
use crate::image::ImageRef;
use crate::name::{EnvironmentName, NetworkName, ProjectName, ServiceName, VolumeName};
use crate::policy::{Balancing, EngineKind, Route};
use crate::probe::Probes;
use crate::secret::Secret;
use crate::span::Span;
use crate::units::{Bytes, MilliCpus};
use ipnet::Ipv4Net;
use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// A project in one environment, as declared.
///
/// Invariants, upheld by `declare`'s consistency stage: every service, network and volume that is referred to
/// exists; `depends_on` has no cycle; no two services publish the same port of the same address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Project {
    /// Its name.
    pub name: ProjectName,
    /// The environment the declaration was resolved for.
    pub environment: EnvironmentName,
    /// Where it runs: the files were read for this engine. None of one that was made without files.
    pub engine: Option<EngineKind>,
    /// What runs.
    pub services: BTreeMap<ServiceName, Service>,
    /// The networks.
    pub networks: BTreeMap<NetworkName, Network>,
    /// The named volumes.
    pub volumes: BTreeMap<VolumeName, Volume>,
    /// What the edge listens for on the machine's HTTP port.
    pub routes: Vec<Route>,
}

/// One service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Service {
    /// What each replica is started with; a change of anything in it replaces the replicas.
    pub template: Arc<Template>,
    /// Runs until told otherwise, or once.
    pub role: Role,
    /// How many replicas.
    pub replicas: u32,
    /// What must be there before it starts.
    pub depends_on: BTreeMap<ServiceName, Dependency>,
    /// Ports of the machine that lead to it.
    pub published: Vec<PublishedPort>,
    /// All ports its replicas are known to listen on: exposed, published, routed, the catalogue's.
    pub ports: BTreeSet<u16>,
    /// What is asked of its replicas.
    pub probes: Probes,
    /// What happens when a replica exits by itself.
    pub restart: RestartPolicy,
    /// How a release goes about it.
    pub update: Update,
    /// Its name resolves to its one replica itself, not to the edge; such a service is replaced stop-first.
    pub direct: bool,
    /// What of the calls to its name is spread over its replicas.
    pub balance: Balancing,
    /// Where it was written.
    pub at: Span,
}

/// Whether a service runs on or once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Runs until told otherwise.
    Service,
    /// Runs once per change of its template and is done when it exits with 0.
    Job,
}

/// What a replica is started with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Template {
    /// What is run.
    pub runs: Runs,
    /// Environment variables; values count as secrets.
    pub environment: BTreeMap<String, Secret>,
    /// Working directory inside the replica.
    pub working_dir: Option<String>,
    /// The user as Compose writes it.
    pub user: Option<User>,
    /// Host name inside; the replica's id when none.
    pub hostname: Option<String>,
    /// Volumes, bind mounts, tmpfs.
    pub mounts: Vec<Mount>,
    /// Secrets and configs.
    pub files: Vec<File>,
    /// The networks and the extra names on each.
    pub networks: BTreeMap<NetworkName, Attachment>,
    /// Extra lines of `/etc/hosts`.
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// What it may use.
    pub limits: Limits,
    /// Capabilities beyond the default set, without `CAP_`, upper case.
    pub cap_add: BTreeSet<String>,
    /// Capabilities taken from the default set; `ALL` takes all.
    pub cap_drop: BTreeSet<String>,
    /// The private root cannot be written.
    pub read_only: bool,
    /// The signal that asks it to stop: a number, 15 when none.
    pub stop_signal: Option<i32>,
    /// How long it has after that signal.
    pub stop_grace: Duration,
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What only a container engine can give; the process engine's table refuses each of them.
    pub container: Container,
}

/// What a replica runs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Runs {
    /// An image; the process engine looks it up in its catalogue.
    Image {
        /// The image.
        image: ImageRef,
        /// When it is fetched.
        pull: Pull,
        /// Which one it is on the engine; none until a release is settled, and where images are only names.
        pin: Option<ImageId>,
        /// Replaces the image's entry point.
        entrypoint: Option<Vec<String>>,
        /// Replaces the image's command.
        command: Option<Vec<String>>,
    },
    /// An image that is made of the bundle.
    Build {
        /// How.
        build: Box<Build>,
        /// Which one it has become; none until a release is settled.
        pin: Option<ImageId>,
        /// Replaces the image's entry point.
        entrypoint: Option<Vec<String>>,
        /// Replaces the image's command.
        command: Option<Vec<String>>,
    },
    /// A program of the bundle or of the machine.
    Process {
        /// Program and arguments; never empty.
        command: Vec<String>,
        /// Files and folders of the bundle that it sees.
        artifacts: Vec<Artifact>,
    },
    /// A folder of the bundle that the edge serves itself; has no replicas.
    Static {
        /// The folder within the bundle.
        root: String,
        /// Unknown paths answer with `index.html`.
        spa: bool,
    },
}

/// A file or folder of the bundle, seen read-only inside a replica.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Artifact {
    /// Path within the bundle.
    pub source: String,
    /// Absolute path inside the replica.
    pub target: String,
}

/// A user inside a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User number inside the replica.
    pub uid: u32,
    /// Group number inside the replica.
    pub gid: u32,
}

/// Something mounted into a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mount {
    /// Absolute path inside the replica.
    pub target: String,
    /// What is mounted.
    pub source: MountSource,
    /// Cannot be written.
    pub read_only: bool,
}

/// What is mounted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MountSource {
    /// A named volume of the project.
    Volume(VolumeName),
    /// A volume without a name: lives as long as the replica's slot.
    Anonymous,
    /// A volume of the engine that is not the project's, by the name it has there.
    External(String),
    /// An absolute path of the machine.
    Host(String),
    /// A path within the bundle, seen read-only: a bind mount of the project's own files.
    Bundle(String),
    /// Memory.
    Tmpfs {
        /// At most this much.
        size: Option<Bytes>,
    },
}

/// A secret or config as a file inside a replica.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct File {
    /// Absolute path inside the replica.
    pub target: String,
    /// What it holds.
    pub content: Secret,
    /// Permission bits.
    pub mode: u32,
    /// Owner inside the replica; the replica's user when none.
    pub uid: Option<u32>,
    /// Group inside the replica.
    pub gid: Option<u32>,
    /// A config may be shown to people, a secret not.
    pub kind: FileKind,
}

/// Whether a file may be shown.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum FileKind {
    /// Never shown.
    Secret,
    /// May be shown.
    Config,
}

/// A replica's place on a network.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attachment {
    /// Names beside the service's own.
    pub aliases: BTreeSet<String>,
}

/// What a replica may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Limits {
    /// Processor time.
    pub cpus: Option<MilliCpus>,
    /// Memory.
    pub memory: Option<Bytes>,
    /// Processes and threads.
    pub pids: Option<NonZeroU32>,
    /// Size of `/dev/shm`; 64 MiB when none.
    pub shm: Option<Bytes>,
    /// Resource limits by Compose's name (`nofile`): soft, hard.
    pub ulimits: BTreeMap<String, (u64, u64)>,
}

/// What a service needs of another before it starts.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dependency {
    /// How far the other must be.
    pub condition: Condition,
    /// Where it was written.
    pub at: Span,
}

/// How far a dependency must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Condition {
    /// Its replicas run.
    Started,
    /// Its replicas are ready.
    Healthy,
    /// It ran and exited with 0.
    Completed,
}

/// A port of the machine that leads to a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublishedPort {
    /// The address listened on; every address when none.
    pub host: Option<IpAddr>,
    /// The machine's port; chosen by the daemon and kept when none.
    pub published: Option<u16>,
    /// The replicas' port.
    pub target: u16,
    /// How connections are treated.
    pub protocol: PortProtocol,
    /// Where it was written.
    pub at: Span,
}

/// How connections to a published port are treated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PortProtocol {
    /// Found out from the first bytes.
    Auto,
    /// HTTP.
    Http,
    /// A stream of bytes.
    Tcp,
}

/// What happens when a replica exits by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum RestartPolicy {
    /// Nothing.
    No,
    /// It is started again, whatever the exit code.
    Always,
    /// It is started again unless the exit code was 0.
    OnFailure {
        /// At most so many times in a row.
        max: Option<NonZeroU32>,
    },
}

/// How a release replaces the replicas of a service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// So many at once.
    pub parallelism: NonZeroU32,
    /// Which comes first.
    pub order: Order,
    /// How long a new replica may take to become ready.
    pub deadline: Duration,
}

impl Default for Update {
    /// One at a time, start-first, two minutes.
    fn default() -> Self {
        Self { parallelism: NonZeroU32::MIN, order: Order::StartFirst, deadline: Duration::from_secs(120) }
    }
}

/// Which comes first when a replica is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Order {
    /// The new replica is ready before the old one is drained.
    StartFirst,
    /// The old replica is gone before the new one starts: for what must not run twice.
    StopFirst,
}

/// A network of the project.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Network {
    /// Nothing outside can be reached from it.
    pub internal: bool,
    /// The subnet wanted by `ipam`, if any.
    pub subnet: Option<Ipv4Net>,
    /// What it is called on a container engine; after its project and environment when none.
    pub name: Option<String>,
    /// Options of the driver of a container engine.
    pub driver_opts: BTreeMap<String, String>,
}

/// A named volume.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Volume {
    /// Labels.
    pub labels: BTreeMap<String, String>,
    /// What it is called on a container engine; after its project and environment when none.
    pub name: Option<String>,
    /// Options of the `local` driver of a container engine.
    pub driver_opts: BTreeMap<String, String>,
}

/// How a container engine makes a network or a volume; read once, when it is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Made {
    /// What it is called there; after its project and environment when none.
    pub name: Option<String>,
    /// Options of its driver.
    pub driver_opts: BTreeMap<String, String>,
    /// Labels.
    pub labels: BTreeMap<String, String>,
}

impl From<&Network> for Made {
    fn from(network: &Network) -> Self {
        Self { name: network.name.clone(), driver_opts: network.driver_opts.clone(), labels: BTreeMap::new() }
    }
}

impl From<&Volume> for Made {
    fn from(volume: &Volume) -> Self {
        let Volume { labels, name, driver_opts } = volume.clone();
        Self { name, driver_opts, labels }
    }
}
