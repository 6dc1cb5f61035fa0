//! Keyed hashes of what a replica is started with.
//!
//! A hash of secret values can be guessed at, so every hash that leaves the daemon is keyed with a key that
//! does not. Fields are fed with their length, so that no two templates share an encoding.

use crate::container::{Build, Container, Context, Logging, Namespaces, Recipe};
use crate::project::{Artifact, File, FileKind, Mount, MountSource, Runs, Template};
use crate::secret::Secret;
use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

/// The keyed hash of a template: equal hashes, equal replicas.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpecHash([u8; 16]);

impl SpecHash {
    /// The hash with these bytes. Whoever makes one of values that may be secret uses a keyed hash.
    pub fn from_digest(bytes: [u8; 16]) -> Self {
        Self(bytes)
    }
}

impl fmt::Display for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpecHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SpecHash {
    type Err = crate::id::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "32 lower-case hex digits";
        from_hex(text).map(Self).ok_or_else(|| crate::id::IdError { kind: "spec hash", text: text.to_owned(), form })
    }
}

/// The bytes that exactly so many lower-case hex digits stand for.
fn from_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    if text.len() != 2 * N || !text.bytes().all(|b| matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, pair) in bytes.iter_mut().zip(text.as_bytes().chunks(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok()?;
    }
    Some(bytes)
}

/// The plain BLAKE3 digest of a file's content, or of a folder's listing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ContentDigest(pub [u8; 32]);

impl ContentDigest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self(*blake3::hash(bytes).as_bytes())
    }
}

impl fmt::Display for ContentDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl FromStr for ContentDigest {
    type Err = crate::id::IdError;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let form = "64 lower-case hex digits";
        from_hex(text).map(Self).ok_or_else(|| crate::id::IdError { kind: "digest", text: text.to_owned(), form })
    }
}

/// Ten hexadecimal digits of an FNV-1a hash: short enough for the name of a link, and the same in every build.
pub fn short_hash(text: impl AsRef<[u8]>) -> String {
    let step = |hash: u64, byte: u8| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    let hash = text.as_ref().iter().copied().fold(0xcbf2_9ce4_8422_2325, step);
    format!("{:010x}", hash & 0xff_ffff_ffff)
}

/// The key of a daemon's hashes; never leaves its state folder.
#[derive(Clone)]
pub struct HashKey(pub [u8; 32]);

/// The hash of `template`, where `content` tells the digest of a file or folder of the bundle.
///
/// Errors: the first path of the bundle that `content` does not know.
pub fn of_template(
    key: &HashKey,
    template: &Template,
    content: &dyn Fn(&str) -> Option<ContentDigest>,
) -> Result<SpecHash, String> {
    let mut feed = Feed { hasher: blake3::Hasher::new_keyed(&key.0), content };
    feed.template(template)?;
    let mut short = [0; 16];
    short.copy_from_slice(&feed.hasher.finalize().as_bytes()[..16]);
    Ok(SpecHash(short))
}

/// The digest of everything an image is built of: equal digests, equal images. Keyed, as arguments may be secret.
///
/// Errors: the first path of the bundle that `content` does not know.
pub fn of_build(
    key: &HashKey,
    build: &Build,
    content: &dyn Fn(&str) -> Option<ContentDigest>,
) -> Result<ContentDigest, String> {
    let mut feed = Feed { hasher: blake3::Hasher::new_keyed(&key.0), content };
    feed.build(build)?;
    Ok(ContentDigest(*feed.hasher.finalize().as_bytes()))
}

struct Feed<'a> {
    hasher: blake3::Hasher,
    content: &'a dyn Fn(&str) -> Option<ContentDigest>,
}

impl Feed<'_> {
    fn bytes(&mut self, bytes: &[u8]) {
        self.hasher.update(&(bytes.len() as u64).to_le_bytes());
        self.hasher.update(bytes);
    }

    fn text(&mut self, text: &str) {
        self.bytes(text.as_bytes());
    }

    fn number(&mut self, number: u64) {
        self.hasher.update(&number.to_le_bytes());
    }

    fn option<T>(&mut self, value: Option<T>, feed: impl FnOnce(&mut Self, T)) {
        self.number(u64::from(value.is_some()));
        if let Some(value) = value {
            feed(self, value);
        }
    }

    fn list<T>(&mut self, values: impl ExactSizeIterator<Item = T>, mut feed: impl FnMut(&mut Self, T)) {
        self.number(values.len() as u64);
        for value in values {
            feed(self, value);
        }
    }

    fn in_bundle(&mut self, path: &str) -> Result<(), String> {
        let digest = (self.content)(path).ok_or_else(|| path.to_owned())?;
        self.bytes(&digest.0);
        Ok(())
    }

    // Every field is named, so that a new one cannot be forgotten here.
    fn template(&mut self, template: &Template) -> Result<(), String> {
        let Template {
            runs,
            environment,
            working_dir,
            user,
            hostname,
            mounts,
            files,
            networks,
            extra_hosts,
            limits,
            cap_add,
            cap_drop,
            read_only,
            stop_signal,
            stop_grace,
            labels,
            container,
        } = template;
        self.runs(runs)?;
        self.list(environment.iter(), |f, (name, value)| {
            f.text(name);
            f.bytes(value.reveal());
        });
        self.option(working_dir.as_deref(), Self::text);
        self.option(user.as_ref(), |f, user| {
            f.number(user.uid.into());
            f.number(user.gid.into());
        });
        self.option(hostname.as_deref(), Self::text);
        self.number(mounts.len() as u64);
        for mount in mounts {
            self.mount(mount)?;
        }
        self.list(files.iter(), Self::file);
        self.list(networks.iter(), |f, (name, attachment)| {
            f.text(name.as_str());
            f.list(attachment.aliases.iter(), |f, alias| f.text(alias));
        });
        self.list(extra_hosts.iter(), |f, (name, address)| {
            f.text(name);
            f.text(&address.to_string());
        });
        self.option(limits.cpus, |f, v| f.number(v.0.into()));
        self.option(limits.memory, |f, v| f.number(v.0));
        self.option(limits.pids, |f, v| f.number(v.get().into()));
        self.option(limits.shm, |f, v| f.number(v.0));
        self.list(limits.ulimits.iter(), |f, (name, (soft, hard))| {
            f.text(name);
            f.number(*soft);
            f.number(*hard);
        });
        self.list(cap_add.iter(), |f, v| f.text(v));
        self.list(cap_drop.iter(), |f, v| f.text(v));
        self.number(u64::from(*read_only));
        self.option(*stop_signal, |f, v| f.number(v as u64));
        self.number(stop_grace.as_nanos() as u64);
        self.list(labels.iter(), |f, (name, value)| {
            f.text(name);
            f.text(value);
        });
        // At the end, and only where there is something: what runs since before there were containers keeps its hash.
        if *container != Container::default() {
            self.container(container);
        }
        Ok(())
    }

    fn runs(&mut self, runs: &Runs) -> Result<(), String> {
        match runs {
            // When it is fetched is nothing a replica is started with; of one that is known, its name is not either.
            Runs::Image { image, pull: _, pin, entrypoint, command } => {
                self.number(0);
                match pin {
                    Some(id) => self.text(id.as_str()),
                    None => self.text(&image.to_string()),
                }
                self.argv([entrypoint, command]);
            }
            Runs::Build { build, pin, entrypoint, command } => {
                self.number(3);
                match pin {
                    Some(id) => self.text(id.as_str()),
                    None => self.build(build)?,
                }
                self.argv([entrypoint, command]);
            }
            Runs::Process { command, artifacts } => {
                self.number(1);
                self.list(command.iter(), |f, v| f.text(v));
                self.number(artifacts.len() as u64);
                for Artifact { source, target } in artifacts {
                    self.text(target);
                    self.in_bundle(source)?;
                }
            }
            // The edge serves it; its content is not a replica's.
            Runs::Static { root, spa } => {
                self.number(2);
                self.number(u64::from(*spa));
                self.in_bundle(root)?;
            }
        }
        Ok(())
    }

    fn argv(&mut self, argvs: [&Option<Vec<String>>; 2]) {
        for argv in argvs {
            self.option(argv.as_ref(), |f, argv| f.list(argv.iter(), |f, v| f.text(v)));
        }
    }

    fn map<V: AsRef<str>>(&mut self, map: &BTreeMap<String, V>) {
        self.list(map.iter(), |f, (name, value)| {
            f.text(name);
            f.text(value.as_ref());
        });
    }

    fn secrets(&mut self, map: &BTreeMap<String, Secret>) {
        self.list(map.iter(), |f, (name, value)| {
            f.text(name);
            f.bytes(value.reveal());
        });
    }

    fn context(&mut self, context: &Context) -> Result<(), String> {
        match context {
            Context::Bundle(path) => {
                self.number(0);
                self.in_bundle(path)
            }
            Context::Remote(text) => {
                self.number(1);
                self.text(text);
                Ok(())
            }
            Context::Image(text) => {
                self.number(2);
                self.text(text);
                Ok(())
            }
        }
    }

    fn build(&mut self, build: &Build) -> Result<(), String> {
        let Build {
            context,
            recipe,
            target,
            args,
            contexts,
            secrets,
            labels,
            // From where layers are taken, and what else the image is called, changes nothing in it.
            cache_from: _,
            no_cache: _,
            pull: _,
            names: _,
            network,
            extra_hosts,
            shm,
            platform,
        } = build;
        self.context(context)?;
        let (number, text) = match recipe {
            Recipe::File(path) => (0, path),
            Recipe::Inline(text) => (1, text),
        };
        self.number(number);
        self.text(text);
        self.option(target.as_deref(), Self::text);
        self.secrets(args);
        self.number(contexts.len() as u64);
        for (name, context) in contexts {
            self.text(name);
            self.context(context)?;
        }
        self.secrets(secrets);
        self.map(labels);
        self.option(network.as_deref(), Self::text);
        self.list(extra_hosts.iter(), |f, (name, address)| {
            f.text(name);
            f.text(&address.to_string());
        });
        self.option(*shm, |f, v| f.number(v.0));
        self.option(platform.as_deref(), Self::text);
        Ok(())
    }

    fn container(&mut self, container: &Container) {
        let Container {
            user,
            group_add,
            init,
            privileged,
            tty,
            stdin_open,
            platform,
            runtime,
            devices,
            device_cgroup_rules,
            sysctls,
            security_opt,
            dns,
            dns_opt,
            dns_search,
            domainname,
            namespaces: Namespaces { network, ipc, pid, uts, user: user_space, cgroup },
            logging,
            memory_reservation,
            memory_swap,
            mem_swappiness,
            cpu_shares,
            cpu_period,
            cpu_quota,
            cpuset,
            oom_score_adj,
            oom_kill_disable,
            cgroup_parent,
            storage_opt,
            host_gateway,
            external_networks,
            annotations,
        } = container;
        for flag in [init, privileged, tty, stdin_open, oom_kill_disable] {
            self.number(u64::from(*flag));
        }
        for text in [user, platform, runtime, domainname, network, ipc, pid, uts, user_space, cgroup, cpuset] {
            self.option(text.as_deref(), Self::text);
        }
        self.option(cgroup_parent.as_deref(), Self::text);
        for list in [group_add, device_cgroup_rules, security_opt, dns_opt, dns_search] {
            self.list(list.iter(), |f, v| f.text(v));
        }
        self.list(devices.iter(), |f, device| {
            [&device.host, &device.inside, &device.permissions].into_iter().for_each(|v| f.text(v));
        });
        self.list(dns.iter(), |f, address| f.text(&address.to_string()));
        [sysctls, storage_opt, annotations].into_iter().for_each(|map| self.map(map));
        self.option(logging.as_ref(), |f, Logging { driver, options }| {
            f.option(driver.as_deref(), Self::text);
            f.map(options);
        });
        self.option(*memory_reservation, Self::number);
        self.option(*memory_swap, |f, v| f.number(v as u64));
        self.option(*mem_swappiness, |f, v| f.number(v.into()));
        [cpu_shares, cpu_period].into_iter().for_each(|v| self.option(*v, Self::number));
        self.option(*cpu_quota, |f, v| f.number(v as u64));
        self.option(*oom_score_adj, |f, v| f.number(v as u64));
        self.list(host_gateway.iter(), |f, v| f.text(v));
        self.list(external_networks.iter(), |f, (name, attachment)| {
            f.text(name);
            f.list(attachment.aliases.iter(), |f, alias| f.text(alias));
        });
    }

    fn mount(&mut self, mount: &Mount) -> Result<(), String> {
        self.text(&mount.target);
        self.number(u64::from(mount.read_only));
        match &mount.source {
            MountSource::Volume(name) => {
                self.number(0);
                self.text(name.as_str());
            }
            MountSource::Anonymous => self.number(1),
            MountSource::Host(path) => {
                self.number(2);
                self.text(path);
            }
            MountSource::Bundle(path) => {
                self.number(3);
                self.in_bundle(path)?;
            }
            MountSource::External(name) => {
                self.number(5);
                self.text(name);
            }
            MountSource::Tmpfs { size } => {
                self.number(4);
                self.option(*size, |f, v| f.number(v.0));
            }
        }
        Ok(())
    }

    fn file(&mut self, file: &File) {
        self.text(&file.target);
        self.bytes(file.content.reveal());
        self.number(file.mode.into());
        self.option(file.uid, |f, v| f.number(v.into()));
        self.option(file.gid, |f, v| f.number(v.into()));
        self.number(u64::from(file.kind == FileKind::Secret));
    }
}
