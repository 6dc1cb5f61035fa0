//! Networks: how they shall be, what has to change, and who is in the way of a change.
//!
//! Owns the wanted state of each network and the steps that bring it about. A network whose subnet changes is empty
//! while it does: its replicas leave first ([`evict`]), which is the one change that cannot be had without a gap.

use super::depart;
use super::draft::Draft;
use super::seen::{Gone, Seen};
use crate::action::replica;
use crate::observed::{Known, NetworkState};
use crate::{Action, Observed, Reason, StepId};
use model::project::Role;
use model::stack::{Stack, Subnet};
use model::{NetworkName, ReplicaId, ServiceName, Slot};
use std::collections::{BTreeMap, BTreeSet};
use std::net::Ipv4Addr;

/// How the networks of `stack` shall be.
fn wanted(stack: &Stack) -> BTreeMap<&NetworkName, Wanted<'_>> {
    // Services come in order, so what is gathered in lists becomes sets and maps in one go.
    let mut gathered: BTreeMap<&NetworkName, Gathered<'_>> =
        stack.networks.keys().map(|name| (name, Gathered::default())).collect();
    for (service, target) in &stack.services {
        for (network, address) in &target.addresses {
            let Some(gathered) = gathered.get_mut(network) else { continue };
            gathered.names.push((service.as_str(), *address));
            if !target.direct {
                gathered.stable.push(*address);
            }
            let attachment = target.template.networks.get(network).filter(|_| target.role == Role::Service);
            let aliases = attachment.into_iter().flat_map(|attachment| &attachment.aliases);
            gathered.aliases.extend(aliases.map(|alias| (alias.as_str(), *address)));
        }
    }
    gathered.into_iter().map(|(name, gathered)| (name, gathered.on(&stack.networks[name]))).collect()
}

/// What one network is made of.
#[derive(Default)]
struct Gathered<'a> {
    names: Vec<(&'a str, Ipv4Addr)>,
    stable: Vec<Ipv4Addr>,
    aliases: Vec<(&'a str, Ipv4Addr)>,
}

impl<'a> Gathered<'a> {
    fn on(self, subnet: &'a Subnet) -> Wanted<'a> {
        let mut names: BTreeMap<&str, Ipv4Addr> = self.names.into_iter().collect();
        // A service's own name is never taken by another's alias.
        for (alias, address) in self.aliases {
            names.entry(alias).or_insert(address);
        }
        Wanted { subnet, stable: self.stable.into_iter().collect(), names }
    }
}

/// How one network shall be: a [`NetworkState`] that owns no text, since most are as they shall be.
struct Wanted<'a> {
    subnet: &'a Subnet,
    stable: BTreeSet<Ipv4Addr>,
    names: BTreeMap<&'a str, Ipv4Addr>,
}

impl Wanted<'_> {
    fn is(&self, state: &NetworkState) -> bool {
        let names = state.names.iter().map(|(name, address)| (name.as_str(), address));
        *self.subnet == state.subnet && self.stable == state.stable && self.names.iter().map(|(n, a)| (*n, a)).eq(names)
    }

    fn into_state(self) -> NetworkState {
        let names = self.names.into_iter().map(|(name, address)| (name.to_owned(), address));
        NetworkState { subnet: self.subnet.clone(), stable: self.stable, names: names.collect() }
    }
}

/// What the networks mean for the rest of the plan.
#[derive(Default)]
pub(super) struct Ground<'a> {
    /// Steps that make a network be so.
    pub(super) ensured: BTreeMap<&'a NetworkName, StepId>,
    /// Networks nothing can be started on, and why.
    pub(super) blocked: BTreeMap<&'a NetworkName, String>,
    /// Replicas that leave before anything else happens, and the step after which each is gone.
    pub(super) evicted: BTreeMap<&'a ReplicaId, StepId>,
}

impl Ground<'_> {
    /// The steps after which the replicas of `service` that had to leave first are gone.
    pub(super) fn evicted_of(&self, service: &ServiceName) -> Vec<StepId> {
        let first = ReplicaId::new(service.clone(), Slot::FIRST);
        self.evicted
            .range::<&ReplicaId, _>(&first..)
            .take_while(|(id, _)| id.service == *service)
            .map(|(_, step)| *step)
            .collect()
    }
}

/// Makes every network be as wanted.
pub(super) fn ensure<'a>(stack: &'a Stack, have: &'a Observed, seen: &[Seen<'a>], draft: &mut Draft) -> Ground<'a> {
    let mut ground = Ground::default();
    for (name, shall) in wanted(stack) {
        let after = match have.placed.networks.get(name) {
            Some(Known::Unknown(why)) => {
                draft.note(format_args!("network {name}"), format!("cannot be read: {why}"));
                ground.blocked.insert(name, format!("network `{name}` cannot be read"));
                continue;
            }
            Some(Known::Is(is)) if shall.is(is) => continue,
            Some(Known::Is(is)) => match evict(stack, name, (is, &shall), have, seen, draft, &mut ground) {
                Ok(after) => after,
                Err(why) => {
                    draft.note(format_args!("network {name}"), format!("cannot be changed yet: {why}"));
                    ground.blocked.insert(name, format!("network `{name}` cannot be changed yet"));
                    continue;
                }
            },
            None => Vec::new(),
        };
        let is_new = !have.placed.networks.contains_key(name);
        let why = if is_new { Reason::Missing } else { Reason::RoutingChanged };
        let (state, made) = (Box::new(shall.into_state()), stack.makes.network(name).into());
        let action = replica::Action::EnsureNetwork { name: name.clone(), state, made };
        ground.ensured.insert(name, draft.push(Action::Replica(action), why, &after));
    }
    ground
}

/// Takes away the replicas that stand in the way of a network's change; the steps after which they are gone.
///
/// In the way are all when the subnet itself changes, else those on an address that becomes another's: the edge's, or
/// that of another direct service.
fn evict<'a>(
    stack: &Stack,
    name: &NetworkName,
    (is, shall): (&NetworkState, &Wanted<'_>),
    have: &Observed,
    seen: &[Seen<'a>],
    draft: &mut Draft,
    ground: &mut Ground<'a>,
) -> Result<Vec<StepId>, String> {
    let moves = is.subnet.net != shall.subnet.net || is.subnet.gateway != shall.subnet.gateway;
    let direct = stack.services.iter().filter(|(_, target)| target.direct);
    let owners: BTreeMap<&Ipv4Addr, &ServiceName> =
        direct.filter_map(|(service, target)| Some((target.addresses.get(name)?, service))).collect();
    let becomes_anothers = |seen: &Seen<'a>, address: &Ipv4Addr| {
        shall.stable.contains(address) || owners.get(address).is_some_and(|owner| **owner != seen.id.service)
    };
    let stands = |seen: &&Seen<'a>| {
        let address = seen.replica.addresses.get(name);
        address.is_some_and(|address| moves || becomes_anothers(seen, address))
    };
    let leaving: Vec<Seen<'a>> = seen.iter().filter(stands).copied().collect();
    if let Some(stays) = leaving.iter().find(|seen| seen.is_unknown() || seen.is_one_off()) {
        return Err(format!("`{}` stands on it and is not to be touched", stays.id));
    }
    let is_stuck = |seen: &&Seen<'a>| seen.routed && matches!(have.edge, Known::Unknown(_));
    if let Some(stays) = leaving.iter().find(is_stuck) {
        return Err(format!("`{}` stands on it and the edge cannot be told to drain it", stays.id));
    }
    let gone = |seen: Seen<'a>| {
        let step = ground.evicted.get(seen.id).copied();
        let step = step.unwrap_or_else(|| depart::depart(draft, &seen, Reason::AddressChanged, &[]));
        ground.evicted.insert(seen.id, step);
        step
    };
    Ok(leaving.into_iter().map(gone).collect())
}

/// Removes the networks that are not wanted and on which nothing stands once the steps in `removed` are done.
pub(super) fn remove(
    have: &Observed,
    is_wanted: impl Fn(&NetworkName) -> bool,
    seen: &[Seen<'_>],
    removed: &Gone,
    after: &[StepId],
    why: &Reason,
    draft: &mut Draft,
) {
    for (name, state) in have.placed.networks.iter().filter(|(name, _)| !is_wanted(name)) {
        if let Known::Unknown(why) = state {
            draft.note(format_args!("network {name}"), format!("cannot be read and is left: {why}"));
            continue;
        }
        let on_it = seen.iter().filter(|seen| seen.replica.addresses.contains_key(name));
        let gone: Result<Vec<StepId>, &ReplicaId> = on_it.map(|seen| removed.step(seen).ok_or(seen.id)).collect();
        match gone {
            Ok(mut gone) => {
                gone.extend_from_slice(after);
                let action = replica::Action::RemoveNetwork { name: name.clone() };
                draft.push(Action::Replica(action), why.clone(), &gone);
            }
            Err(stays) => draft.note(format_args!("network {name}"), format!("is left while `{stays}` stands on it")),
        }
    }
}
