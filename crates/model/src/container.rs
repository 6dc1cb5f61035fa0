//! What only a container engine can give: images that are built or pinned, and the keys of a container that no process of
//! ours has.
//!
//! Values are as Compose writes them once variables are in them; which of them an engine honours is said by
//! `declare`'s table of keys.

use crate::image::ImageRef;
use crate::project::Attachment;
use crate::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;

/// The content address of an image on the engine: `sha256:` and 64 hexadecimal digits. Equal ids, equal files.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageId(String);

impl ImageId {
    /// As it is written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The first twelve digits, as people are shown it.
    pub fn short(&self) -> &str {
        &self.0["sha256:".len()..][..12]
    }
}

impl fmt::Display for ImageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&self.0)
    }
}

impl FromStr for ImageId {
    type Err = crate::id::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let digits = text.strip_prefix("sha256:");
        let is_legal =
            digits.is_some_and(|d| d.len() == 64 && d.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')));
        let form = "`sha256:` and 64 lower-case hex digits";
        let legal = is_legal.then(|| Self(text.to_owned()));
        legal.ok_or_else(|| crate::id::IdError { kind: "image id", text: text.to_owned(), form })
    }
}

/// When an image is fetched from its registry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub enum Pull {
    /// When the machine does not have it.
    #[default]
    Missing,
    /// Before each release.
    Always,
    /// Never: the machine has it, or the release is refused.
    Never,
    /// Before a release when what the machine has is older than this.
    Every(std::time::Duration),
}

/// How an image is made.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Build {
    /// Where its files come from.
    pub context: Context,
    /// What is done with them.
    pub recipe: Recipe,
    /// The stage that is wanted; the last one when none.
    pub target: Option<String>,
    /// Arguments of the recipe; an empty one is taken from nowhere.
    pub args: BTreeMap<String, Secret>,
    /// Further contexts by name.
    pub contexts: BTreeMap<String, Context>,
    /// Files that steps may see and that never become part of a layer.
    pub secrets: BTreeMap<String, Secret>,
    /// Labels of the image.
    pub labels: BTreeMap<String, String>,
    /// Images whose layers may be taken instead of building them.
    pub cache_from: Vec<String>,
    /// Every step is done anew.
    pub no_cache: bool,
    /// Base images are asked for at their registry, also when the machine has them.
    pub pull: bool,
    /// The network of the steps: `host`, `none`, or the engine's usual one when none.
    pub network: Option<String>,
    /// Extra lines of `/etc/hosts` of the steps.
    pub extra_hosts: BTreeMap<String, IpAddr>,
    /// Size of `/dev/shm` of the steps.
    pub shm: Option<crate::units::Bytes>,
    /// The platform, `linux/amd64`; the machine's when none.
    pub platform: Option<String>,
    /// What the image is called beside the name we give it: `image` and `build.tags`.
    pub names: BTreeSet<ImageRef>,
}

/// Where the files of a build come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Context {
    /// A folder of the bundle, already without what `.dockerignore` leaves out.
    Bundle(String),
    /// A repository or an archive that the engine fetches.
    Remote(String),
    /// Another image.
    Image(String),
}

impl Default for Context {
    /// The project's folder.
    fn default() -> Self {
        Self::Bundle(String::new())
    }
}

/// What a build does with its files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Recipe {
    /// A file of the context, relative to it.
    File(String),
    /// Text of the declaration.
    Inline(String),
}

impl Default for Recipe {
    /// `Dockerfile`.
    fn default() -> Self {
        Self::File("Dockerfile".into())
    }
}

/// The keys of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Container {
    /// The user as written: a name or a number, with or without a group.
    pub user: Option<String>,
    /// Further groups, names or numbers.
    pub group_add: Vec<String>,
    /// A small init as process 1 that passes signals on and reaps.
    pub init: bool,
    /// Everything the machine may do.
    pub privileged: bool,
    /// A terminal as standard output.
    pub tty: bool,
    /// Standard input stays open.
    pub stdin_open: bool,
    /// The platform of the image, `linux/amd64`; the machine's when none.
    pub platform: Option<String>,
    /// Another runtime than the engine's usual one.
    pub runtime: Option<String>,
    /// Devices of the machine.
    pub devices: Vec<Device>,
    /// Rules of the device control group.
    pub device_cgroup_rules: Vec<String>,
    /// Kernel settings of its namespaces.
    pub sysctls: BTreeMap<String, String>,
    /// Options such as `no-new-privileges:true`, `seccomp=…`.
    pub security_opt: Vec<String>,
    /// Name servers.
    pub dns: Vec<IpAddr>,
    /// Options of the resolver.
    pub dns_opt: Vec<String>,
    /// Domains that are searched.
    pub dns_search: Vec<String>,
    /// The domain of its host name.
    pub domainname: Option<String>,
    /// Namespaces that are shared with the machine or made otherwise.
    pub namespaces: Namespaces,
    /// Where its output goes beside us.
    pub logging: Option<Logging>,
    /// Memory that is kept for it, in bytes.
    pub memory_reservation: Option<u64>,
    /// Memory and swap together in bytes; -1 for no bound.
    pub memory_swap: Option<i64>,
    /// How readily it is swapped, 0–100.
    pub mem_swappiness: Option<u8>,
    /// Its share of processors under load; 1024 is usual.
    pub cpu_shares: Option<u64>,
    /// The period of its share in microseconds.
    pub cpu_period: Option<u64>,
    /// The share of each period in microseconds.
    pub cpu_quota: Option<i64>,
    /// The processors it may run on, `0-3,5`.
    pub cpuset: Option<String>,
    /// How readily it is ended when memory is short, -1000–1000.
    pub oom_score_adj: Option<i32>,
    /// Whether the kernel leaves it alone then.
    pub oom_kill_disable: bool,
    /// The control group above its own.
    pub cgroup_parent: Option<String>,
    /// Options of its writable layer.
    pub storage_opt: BTreeMap<String, String>,
    /// Names that resolve to the machine (`extra_hosts: name:host-gateway`).
    pub host_gateway: BTreeSet<String>,
    /// Networks that are not the project's, by the name they have on the engine.
    pub external_networks: BTreeMap<String, Attachment>,
    /// Notes for other tools, kept with the container.
    pub annotations: BTreeMap<String, String>,
}

/// Namespaces that are shared with the machine or made otherwise; as Compose writes them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Namespaces {
    /// `network_mode`: `host` or `none`.
    pub network: Option<String>,
    /// `host`, `private`, `shareable`.
    pub ipc: Option<String>,
    /// `host`.
    pub pid: Option<String>,
    /// `host`.
    pub uts: Option<String>,
    /// `host`.
    pub user: Option<String>,
    /// `host`, `private`.
    pub cgroup: Option<String>,
}

/// A device of the machine inside a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Device {
    /// Its path on the machine.
    pub host: String,
    /// Its path inside.
    pub inside: String,
    /// `rwm` or a part of it.
    pub permissions: String,
}

/// Where a container's output goes beside us.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Logging {
    /// The engine's usual one when none.
    pub driver: Option<String>,
    /// Options of the driver.
    pub options: BTreeMap<String, String>,
}

/// The image of a service of a release, with what it says of itself as far as a stack depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pinned {
    /// Which image.
    pub id: ImageId,
    /// `repository@sha256:…` as its registry knows it; none of one that was built here.
    pub digest: Option<String>,
    /// TCP ports that it exposes.
    pub ports: BTreeSet<u16>,
    /// The check that it brings.
    pub ready: Option<crate::probe::Probe>,
}
