//! Networks of a stack: bridges of the Engine, with the stable addresses of services on the machine's side.
//!
//! ```text
//! machine                        the Engine
//! mdk<hash> gateway, stable ──── network shop-production_back ──── eth0 of containers
//! ```
//! The Engine makes the bridge and gives replicas the addresses that the plan chose; the stable addresses are put on the
//! bridge beside its own, where containers reach them on internal networks too. What names resolve to is written into
//! each container's hosts file, in place, as it is mounted.

use crate::engine::Inner;
use crate::error::Error;
use crate::labels::{self, StartedWith};
use crate::names;
use ::network::Wall;
use bollard::models::{ContainerSummary, Ipam, IpamConfig, Network, NetworkCreateRequest};
use bollard::query_parameters::{InspectNetworkOptions, ListNetworksOptionsBuilder};
use ipnet::Ipv4Net;
use model::project::Made;
use model::stack::Subnet;
use model::{NetworkName, ReplicaId, StackId};
use plan::observed::{Known, NetworkState};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::net::Ipv4Addr;

/// The Engine's name for the option that names a bridge.
const BRIDGE: &str = "com.docker.network.bridge.name";

impl Inner {
    /// Makes the network be so.
    pub(crate) async fn ensure_network(
        &self,
        stack: &StackId,
        name: &NetworkName,
        state: &NetworkState,
        made: &Made,
    ) -> Result<(), Error> {
        let found = self.network(stack, name).await?;
        let bridge = match found {
            Some(found) if subnet(&found).as_ref() == Ok(&state.subnet) => bridge(&found),
            Some(found) => {
                self.refuse_carried("move", stack, name, &found).await?;
                self.drop_network(&found).await?;
                self.create_network(stack, name, &state.subnet, made).await?
            }
            None => self.create_network(stack, name, &state.subnet, made).await?,
        };
        let mut addresses = state.stable.clone();
        addresses.insert(state.subnet.gateway);
        let prefix = state.subnet.net.prefix_len();
        let kernel =
            |source| Error::Kernel { network: name.clone(), doing: "set the machine's addresses on it", source };
        let set = move || {
            // Podman makes it for its first container, and takes it away with the last.
            ::network::ensure_bridge(&bridge)?;
            ::network::set_addresses(&bridge, &addresses, prefix)
        };
        self.tasks.blocking("set addresses", set).await?.map_err(kernel)?;
        self.layout().keep_names(stack, name, &state.names)?;
        self.renew_hosts(stack).await?;
        self.settle_rules().await
    }

    async fn create_network(
        &self,
        stack: &StackId,
        name: &NetworkName,
        subnet: &Subnet,
        made: &Made,
    ) -> Result<String, Error> {
        let usual = names::network(stack, name);
        let full_name = match self.name_behind(stack, &usual).await? {
            Some(behind) => behind,
            None => made.name.clone().unwrap_or(usual),
        };
        // Older Engines make a second one of the same name without a word.
        if self.network_called(&full_name).await? {
            return Err(Error::Taken { kind: "network", name: full_name });
        }
        let mut options: HashMap<String, String> = made.driver_opts.clone().into_iter().collect();
        let bridge =
            options.entry(BRIDGE.to_owned()).or_insert_with(|| self.settings.names.bridge(stack, name)).clone();
        let addresses = IpamConfig {
            subnet: Some(subnet.net.trunc().to_string()),
            gateway: Some(subnet.gateway.to_string()),
            ip_range: guests(subnet).map(|range| range.to_string()),
            ..IpamConfig::default()
        };
        let request = NetworkCreateRequest {
            name: full_name,
            driver: Some("bridge".into()),
            internal: Some(subnet.internal),
            // Others may join by hand, for a look; they get addresses that no replica or service has.
            attachable: Some(true),
            ipam: Some(Ipam { config: Some(vec![addresses]), ..Ipam::default() }),
            options: Some(options),
            labels: Some(labels::of_network(&self.settings.names, stack, name, subnet, &bridge)),
            ..NetworkCreateRequest::default()
        };
        let docker = self.docker().await?;
        docker.create_network(request).await.map(|_| bridge).map_err(|error| self.refused(error))
    }

    async fn network_called(&self, full_name: &str) -> Result<bool, Error> {
        let filters = HashMap::from([("name".to_owned(), vec![format!("^{full_name}$")])]);
        let found = self.list_networks(filters).await?;
        Ok(found.iter().any(|network| network.name.as_deref() == Some(full_name)))
    }

    /// Removes the network.
    pub(crate) async fn remove_network(&self, stack: &StackId, name: &NetworkName) -> Result<(), Error> {
        if let Some(found) = self.network(stack, name).await? {
            self.refuse_carried("remove", stack, name, &found).await?;
            self.drop_network(&found).await?;
        }
        self.layout().forget_names(stack, name)?;
        self.settle_rules().await
    }

    async fn drop_network(&self, found: &Network) -> Result<(), Error> {
        let docker = self.docker().await?;
        match docker.remove_network(found.id.as_deref().unwrap_or_default()).await.map_err(|error| self.refused(error))
        {
            Err(error) if !error.is_missing() => return Err(error),
            _ => {}
        }
        let bridge = bridge(found);
        if !bridge.starts_with(&self.settings.names.links) {
            return Ok(());
        }
        // One that Podman found there stays behind.
        let kernel = |source| Error::Rules(::network::Error::Kernel { doing: "remove a bridge", source });
        self.tasks.blocking("remove a bridge", move || ::network::remove_link(&bridge)).await?.map_err(kernel)
    }

    /// Who stands on a network keeps it as it is.
    async fn refuse_carried(
        &self,
        verb: &'static str,
        stack: &StackId,
        name: &NetworkName,
        found: &Network,
    ) -> Result<(), Error> {
        let containers = self.containers(Some(stack)).await?;
        let stands = |container: &ContainerSummary| {
            let labels = container.labels.as_ref()?;
            let with = StartedWith::read(labels).ok()?;
            let id = labels.get(labels::ID)?;
            with.addresses().contains_key(name.as_str()).then(|| format!("`{id}`"))
        };
        let carries = |by| Error::Carries { verb, network: name.clone(), by };
        if let Some(by) = containers.iter().find_map(stands) {
            return Err(carries(by));
        }
        // Somebody else's container that was connected by hand.
        let docker = self.docker().await?;
        let id = found.id.clone().unwrap_or_default();
        let detailed = docker.inspect_network(&id, None::<InspectNetworkOptions>).await.map_err(|e| self.refused(e))?;
        let guest = detailed.containers.into_iter().flatten().find_map(|(_, endpoint)| endpoint.name);
        guest.map_or(Ok(()), |guest| Err(carries(format!("container `{guest}`"))))
    }

    /// The network as the Engine knows it, whatever it is called there; none when there is none of ours.
    pub(crate) async fn network(&self, stack: &StackId, name: &NetworkName) -> Result<Option<Network>, Error> {
        let mut filters = labels::filter(&self.settings.names, Some(stack));
        filters.entry("label".into()).or_default().push(format!("{}={name}", labels::NETWORK));
        Ok(self.list_networks(filters).await?.into_iter().next())
    }

    async fn list_networks(&self, filters: HashMap<String, Vec<String>>) -> Result<Vec<Network>, Error> {
        let options = ListNetworksOptionsBuilder::default().filters(&filters).build();
        let listed = self.docker().await?.list_networks(Some(options)).await;
        let mut networks = listed.map_err(|error| self.refused(error))?;
        networks.retain(|network| labels::meet(network.labels.as_ref(), &filters));
        Ok(networks)
    }

    /// All networks of a stack as they are.
    pub(crate) async fn networks(&self, stack: &StackId) -> Result<BTreeMap<NetworkName, Known<NetworkState>>, Error> {
        let found = self.list_networks(labels::filter(&self.settings.names, Some(stack))).await?;
        let mut networks = BTreeMap::new();
        for network in found {
            let Some(name) = name_of(&network) else { continue };
            let known = self.state(stack, &name, &network).await?;
            networks.insert(name, known);
        }
        Ok(networks)
    }

    async fn state(
        &self,
        stack: &StackId,
        name: &NetworkName,
        network: &Network,
    ) -> Result<Known<NetworkState>, Error> {
        let subnet = match subnet(network) {
            Ok(subnet) => subnet,
            Err(why) => return Ok(Known::Unknown(why)),
        };
        let bridge = bridge(network);
        let addresses = self.tasks.blocking("read addresses", move || ::network::addresses_of(&bridge)).await?;
        let kernel = |source| Error::Kernel { network: name.clone(), doing: "read its addresses", source };
        let mut stable = addresses.map_err(kernel)?.unwrap_or_default();
        stable.remove(&subnet.gateway);
        let names = self.layout().names(stack, name);
        Ok(Known::Is(NetworkState { subnet, stable, names }))
    }

    /// All networks of all stacks, as the rules between them need to know them.
    pub(crate) async fn walls(&self) -> Result<Vec<Wall>, Error> {
        let found = self.list_networks(labels::filter(&self.settings.names, None)).await?;
        let wall = |network: &Network| {
            let subnet = subnet(network).ok()?;
            let first = u32::from(subnet.gateway).saturating_add(1);
            let last = u32::from(subnet.replicas_from).saturating_sub(1);
            let stable = (first <= last).then(|| (first.into(), last.into()));
            Some(Wall { link: bridge(network), net: subnet.net.trunc(), stable, internal: subnet.internal })
        };
        let mut walls: Vec<Wall> = found.iter().filter_map(wall).collect();
        walls.sort();
        Ok(walls)
    }

    /// Writes the hosts file of each container of the stack.
    pub(crate) async fn renew_hosts(&self, stack: &StackId) -> Result<(), Error> {
        for container in self.containers(Some(stack)).await? {
            let Some(labels) = &container.labels else { continue };
            let Some(id) = labels.get(labels::ID).and_then(|text| text.parse::<ReplicaId>().ok()) else { continue };
            let Ok(with) = StartedWith::read(labels) else { continue };
            let path = self.layout().hosts(stack, &id);
            if runtime::files::metadata(&path)?.is_some() {
                runtime::files::write_in_place(&path, self.hosts(stack, &with).as_bytes(), 0o644)?;
            }
        }
        Ok(())
    }

    /// The text of a replica's hosts file.
    pub(crate) fn hosts(&self, stack: &StackId, with: &StartedWith) -> String {
        let addresses: Vec<Ipv4Addr> = with.addresses().values().copied().collect();
        let named = with.addresses().keys().filter_map(|name| name.parse::<NetworkName>().ok());
        let known: Vec<_> = named.map(|name| self.layout().names(stack, &name)).collect();
        engine::hosts::hosts(&with.hostname, &addresses, &known.iter().collect::<Vec<_>>(), &with.extra_hosts)
    }
}

/// Where guests that are connected by hand get addresses: the last quarter, which replicas reach last.
fn guests(subnet: &Subnet) -> Option<Ipv4Net> {
    let net = subnet.net.trunc();
    (net.prefix_len() <= 28).then(|| net.subnets(net.prefix_len() + 2).ok()?.last()).flatten()
}

fn name_of(network: &Network) -> Option<NetworkName> {
    network.labels.as_ref()?.get(labels::NETWORK)?.parse().ok()
}

/// The link of the machine that a network lies behind.
fn bridge(network: &Network) -> String {
    let told = network.options.as_ref().and_then(|options| options.get(BRIDGE));
    let named = told.or_else(|| network.labels.as_ref()?.get(labels::BRIDGE)).cloned();
    let usual = || network.id.as_deref().map_or_else(String::new, |id| format!("br-{}", &id[..id.len().min(12)]));
    named.unwrap_or_else(usual)
}

/// The addresses of a network; why they cannot be told, in words.
pub(crate) fn subnet(network: &Network) -> Result<Subnet, String> {
    let config = network.ipam.as_ref().and_then(|ipam| ipam.config.as_ref()?.first());
    let config = config.ok_or("it has no addresses")?;
    let net = config.subnet.as_deref().ok_or("it has no subnet")?;
    let gateway = config.gateway.as_deref().ok_or("it has no gateway")?;
    let empty = HashMap::new();
    Ok(Subnet {
        net: net.parse().map_err(|_| format!("its subnet `{net}` is none of IPv4"))?,
        gateway: gateway.parse().map_err(|_| format!("its gateway `{gateway}` is none of IPv4"))?,
        replicas_from: labels::replicas_from(network.labels.as_ref().unwrap_or(&empty))?,
        internal: network.internal.unwrap_or_default(),
    })
}

/// Names of networks that nobody knows any more resolve to nothing.
pub(crate) fn open(network: &mut Known<NetworkState>) {
    if let Known::Is(state) = network {
        state.stable = BTreeSet::new();
        state.names.clear();
    }
}
