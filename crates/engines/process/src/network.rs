//! Networks of a stack: a bridge in a namespace of its own, a pair of links to the machine and one to each replica.
//!
//! ```text
//! machine                      network's namespace             replica's namespace
//! ms<hash> gateway, stable ─── host ┐
//!                                   ├ br0
//!                              p<hash> ┴────────────────────── eth0 address
//! ```
//! A bridge on the machine itself breaks where Docker has bridged packets pass its dropping FORWARD chain; in a
//! namespace of its own nobody else's rules apply. Owns links, addresses and namespaces; never decides on an
//! address. All calls block and are idempotent. Start reading at [`Networks::ensure`].
#![expect(clippy::disallowed_methods, reason = "the engine's own folders, read where blocking is allowed")]

pub mod names;
pub mod namespace;

use crate::layout::Layout;
use crate::stored::NetworkFile;
use model::fingerprint::short_hash;
use model::stack::Subnet;
use model::{NetworkName, ReplicaId, StackId};
use network::{Address, FarEnd, Netlink, Wall};
use plan::Addresses;
use plan::observed::{Known, NetworkState};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io;
use std::net::Ipv4Addr;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};

const BRIDGE: &str = "br0";
const HOST_PORT: &str = "host";

/// Something about networks could not be done.
#[derive(Debug, thiserror::Error)]
pub enum NetworkError {
    /// A link, an address or a namespace.
    #[error("network `{network}`: could not {doing}")]
    Kernel {
        /// The network.
        network: NetworkName,
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// What a replica needs to be attached.
    #[error("could not {doing} of the replica")]
    Replica {
        /// What was being done.
        doing: &'static str,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A replica shall be attached to what is not there.
    #[error("network `{0}` does not exist, its step must come first")]
    Missing(NetworkName),
}

/// The networks below one run folder.
#[derive(Debug, Clone)]
pub struct Networks {
    layout: Layout,
    /// All links of ours on the machine begin with this.
    links: String,
}

impl Networks {
    /// Those of `layout`, with links whose names begin with `links` (at most 5 characters).
    pub fn new(layout: Layout, links: String) -> Self {
        Self { layout, links }
    }

    /// The name of the machine's link into a network: within the kernel's 15 characters.
    pub fn link_name(&self, stack: &StackId, name: &NetworkName) -> String {
        format!("{}{}", self.links, short_hash(format!("{stack}/{name}")))
    }

    /// Makes the network be so.
    pub fn ensure(&self, stack: &StackId, name: &NetworkName, state: &NetworkState) -> Result<(), NetworkError> {
        let kernel = |doing| move |source| NetworkError::Kernel { network: name.clone(), doing, source };
        let dir = self.layout.network(stack, name);
        keep(&dir, state).map_err(kernel("write what it shall be"))?;
        let namespace = namespace::ensure(&dir.join("netns")).map_err(kernel("make its namespace"))?;
        let link = self.link_name(stack, name);
        namespace::inside(&namespace, || Netlink::open()?.ensure_bridge(BRIDGE)).map_err(kernel("make its bridge"))?;
        host_link(&link, &namespace).map_err(kernel("make the machine's link into it"))?;
        namespace::inside(&namespace, || {
            let mut netlink = Netlink::open()?;
            let (bridge, port) = (netlink.index(BRIDGE)?, netlink.index(HOST_PORT)?);
            netlink.up(bridge)?;
            netlink.put_on_bridge(port, bridge)?;
            netlink.up(port)
        })
        .map_err(kernel("switch its bridge on"))?;
        host_addresses(&link, state).map_err(kernel("set the machine's addresses on it"))
    }

    /// Removes the network. Replicas that are still on it keep running, cut off.
    pub fn remove(&self, stack: &StackId, name: &NetworkName) -> Result<(), NetworkError> {
        let kernel = |doing| move |source| NetworkError::Kernel { network: name.clone(), doing, source };
        let dir = self.layout.network(stack, name);
        let link = self.link_name(stack, name);
        Netlink::open().and_then(|mut netlink| netlink.remove(&link)).map_err(kernel("remove its link"))?;
        namespace::remove(&dir.join("netns")).map_err(kernel("let go of its namespace"))?;
        match std::fs::remove_dir_all(&dir) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(kernel("remove its folder")(error)),
            _ => Ok(()),
        }
    }

    /// The networks of a stack as they are. One that is only half there has neither names nor stable addresses.
    pub fn observe(&self, stack: &StackId) -> io::Result<BTreeMap<NetworkName, Known<NetworkState>>> {
        let mut netlink = Netlink::open()?;
        let links = netlink.links()?;
        let addresses = netlink.addresses()?;
        let mut found = BTreeMap::new();
        for name in self.layout.networks_of(stack)? {
            let link = links.iter().find(|link| link.name == self.link_name(stack, &name));
            let on_link = |address: &&Address| link.is_some_and(|link| link.index == address.link);
            let present: BTreeSet<Ipv4Addr> = addresses.iter().filter(on_link).map(|address| address.ip).collect();
            found.insert(name.clone(), self.observe_one(stack, &name, &present));
        }
        Ok(found)
    }

    fn observe_one(&self, stack: &StackId, name: &NetworkName, present: &BTreeSet<Ipv4Addr>) -> Known<NetworkState> {
        let dir = self.layout.network(stack, name);
        let mut state = match NetworkFile::read(&dir) {
            Ok(file) => NetworkState::from(file),
            Err(error) => return Known::Unknown(format!("{}: {error}", dir.display())),
        };
        let has_namespace = matches!(namespace::find(&dir.join("netns")), Ok(Some(_)));
        if has_namespace && present.contains(&state.subnet.gateway) {
            state.stable = present.iter().copied().filter(|ip| *ip != state.subnet.gateway).collect();
        } else {
            state.stable.clear();
            state.names.clear();
        }
        Known::Is(state)
    }

    /// Makes the replica's namespace with a link into each of its networks; returns the namespace's path.
    pub fn attach(&self, stack: &StackId, replica: &ReplicaId, addresses: &Addresses) -> Result<PathBuf, NetworkError> {
        let path = self.layout.replica(stack, replica).join("netns");
        let own = namespace::ensure(&path)
            .map_err(|source| NetworkError::Replica { doing: "make the network namespace", source })?;
        let mut has_way_out = false;
        for (number, (name, ip)) in addresses.iter().enumerate() {
            let kernel = |doing| move |source| NetworkError::Kernel { network: name.clone(), doing, source };
            let dir = self.layout.network(stack, name);
            let found = namespace::find(&dir.join("netns")).map_err(kernel("open its namespace"))?;
            let (Some(network), Ok(file)) = (found, NetworkFile::read(&dir)) else {
                return Err(NetworkError::Missing(name.clone()));
            };
            let state = NetworkState::from(file);
            let gateway = (!state.subnet.internal && !has_way_out).then_some(state.subnet.gateway);
            has_way_out |= gateway.is_some();
            let end =
                ReplicaEnd { link: format!("eth{number}"), ip: *ip, prefix: state.subnet.net.prefix_len(), gateway };
            end.attach(&port_name(replica), &network, &own).map_err(kernel("attach the replica"))?;
        }
        Ok(path)
    }

    /// Removes the replica's links and namespace.
    pub fn detach(&self, stack: &StackId, replica: &ReplicaId) -> Result<(), NetworkError> {
        let replica_error = |doing| move |source| NetworkError::Replica { doing, source };
        for name in self.layout.networks_of(stack).map_err(replica_error("list the networks"))? {
            // The kernel removes the links with the namespace too, but later: a new replica may come first.
            let kernel = |source| NetworkError::Kernel { network: name.clone(), doing: "detach the replica", source };
            let path = self.layout.network(stack, &name).join("netns");
            if let Some(network) = namespace::find(&path).map_err(kernel)? {
                namespace::inside(&network, || Netlink::open()?.remove(&port_name(replica))).map_err(kernel)?;
            }
        }
        let path = self.layout.replica(stack, replica).join("netns");
        namespace::remove(&path).map_err(replica_error("let go of the network namespace"))
    }

    /// The addresses a replica has by what its namespace tells; those that cannot be read are left out.
    pub fn addresses_of(&self, stack: &StackId, replica: &ReplicaId) -> Addresses {
        let namespace = namespace::find(&self.layout.replica(stack, replica).join("netns")).ok().flatten();
        let listed = namespace.and_then(|own| namespace::inside(&own, || Netlink::open()?.addresses()).ok());
        let listed = listed.unwrap_or_default();
        let on = |name: NetworkName| {
            let file = NetworkFile::read(&self.layout.network(stack, &name)).ok()?;
            let net = NetworkState::from(file).subnet.net;
            listed.iter().find(|address| net.contains(&address.ip)).map(|address| (name, address.ip))
        };
        self.layout.networks_of(stack).unwrap_or_default().into_iter().filter_map(on).collect()
    }

    /// All networks of all stacks, as the rules between them need to know them.
    pub fn walls(&self) -> io::Result<Vec<Wall>> {
        let mut walls = Vec::new();
        for stack in self.layout.stacks()? {
            for name in self.layout.networks_of(&stack)? {
                let dir = self.layout.network(&stack, &name);
                match NetworkFile::read(&dir) {
                    Ok(file) => walls.push(wall(self.link_name(&stack, &name), &NetworkState::from(file).subnet)),
                    // Removed since it was listed.
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    // Its own stack sees it as unknown; its link reaches nothing, and all others work on.
                    Err(error) => {
                        tracing::warn!(dir = %dir.display(), %error, "a network cannot be read, it is cut off")
                    }
                }
            }
        }
        walls.sort();
        Ok(walls)
    }
}

fn wall(link: String, subnet: &Subnet) -> Wall {
    let first = u32::from(subnet.gateway).saturating_add(1);
    let last = u32::from(subnet.replicas_from).saturating_sub(1);
    let stable = (first <= last).then(|| (first.into(), last.into()));
    Wall { link, net: subnet.net.trunc(), stable, internal: subnet.internal }
}

/// A network without its walls is as one that is only half there: what it lacks is mended by making it again.
pub fn open(network: &mut Known<NetworkState>) {
    if let Known::Is(state) = network {
        state.stable.clear();
        state.names.clear();
    }
}

/// Writes what a network shall be. Its folder appears together with the file, never without it.
fn keep(dir: &Path, state: &NetworkState) -> io::Result<()> {
    if dir.exists() {
        return NetworkFile::from(state).write(dir);
    }
    let name = dir.file_name().unwrap_or_default().to_string_lossy();
    // No network's name begins with a dot.
    let stage = dir.with_file_name(format!(".new-{name}"));
    std::fs::create_dir_all(&stage)?;
    NetworkFile::from(state).write(&stage)?;
    std::fs::rename(stage, dir)
}

fn port_name(replica: &ReplicaId) -> String {
    format!("p{}", short_hash(replica.to_string()))
}

/// An address fixes the hardware address, so that a neighbour's memory of a replica holds for its successor.
fn hardware(ip: Ipv4Addr) -> [u8; 6] {
    let [a, b, c, d] = ip.octets();
    [0x02, 0x4d, a, b, c, d]
}

fn host_link(link: &str, network: &File) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let has_port = namespace::inside(network, || Ok(Netlink::open()?.find(HOST_PORT)?.is_some()))?;
    if !has_port {
        // Its other end went with a namespace that is gone.
        netlink.remove(link)?;
    }
    netlink.ensure_pair(link, FarEnd { name: HOST_PORT, namespace: network.as_fd(), hardware: None })?;
    let index = netlink.index(link)?;
    netlink.up(index)
}

/// Exactly the gateway and the stable addresses: what is missing is added before what is too much goes.
fn host_addresses(link: &str, state: &NetworkState) -> io::Result<()> {
    let mut netlink = Netlink::open()?;
    let index = netlink.index(link)?;
    let gateway = Address { link: index, ip: state.subnet.gateway, prefix: state.subnet.net.prefix_len() };
    let stable = state.stable.iter().map(|ip| Address { link: index, ip: *ip, prefix: 32 });
    let wanted: BTreeSet<Address> = [gateway].into_iter().chain(stable).collect();
    for address in &wanted {
        netlink.ensure_address(*address)?;
    }
    for address in netlink.addresses()? {
        if address.link == index && !wanted.contains(&address) {
            netlink.remove_address(address)?;
        }
    }
    Ok(())
}

struct ReplicaEnd {
    link: String,
    ip: Ipv4Addr,
    prefix: u8,
    gateway: Option<Ipv4Addr>,
}

impl ReplicaEnd {
    fn attach(&self, port: &str, network: &File, own: &File) -> io::Result<()> {
        let has_end = namespace::inside(own, || Ok(Netlink::open()?.find(&self.link)?.is_some()))?;
        namespace::inside(network, || {
            let mut netlink = Netlink::open()?;
            if !has_end {
                netlink.remove(port)?;
            }
            let hardware = Some(hardware(self.ip));
            netlink.ensure_pair(port, FarEnd { name: &self.link, namespace: own.as_fd(), hardware })?;
            let (bridge, port) = (netlink.index(BRIDGE)?, netlink.index(port)?);
            netlink.put_on_bridge(port, bridge)?;
            netlink.up(port)
        })?;
        namespace::inside(own, || {
            let mut netlink = Netlink::open()?;
            let link = netlink.index(&self.link)?;
            netlink.ensure_address(Address { link, ip: self.ip, prefix: self.prefix })?;
            netlink.up(link)?;
            self.gateway.map_or(Ok(()), |gateway| netlink.ensure_default_route(gateway))
        })
    }
}
