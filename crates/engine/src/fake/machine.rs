//! What a fake engine has of one stack, and what each action makes of it.

use super::refused;
use crate::{EngineError, Retry};
use jiff::{SignedDuration, Timestamp};
use model::project::{MountSource, Runs, Template};
use model::{NetworkName, ReplicaId, VolumeName};
use plan::action::replica::Start;
use plan::observed::{Exit, Known, NetworkState, Phase, Placed, Replica};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

const SIGKILL: i32 = 9;
const SIGTERM: i32 = 15;

#[derive(Default)]
pub(super) struct Machine {
    pub(super) placed: Placed,
    /// Volumes that a replica has written to.
    written: BTreeSet<VolumeName>,
    templates: BTreeMap<ReplicaId, Arc<Template>>,
}

impl Machine {
    pub(super) fn is_empty(&self) -> bool {
        self.placed == Placed::default()
    }

    pub(super) fn ensure_network(&mut self, name: &NetworkName, state: &NetworkState) -> Result<(), EngineError> {
        let moves = |known: &Known<NetworkState>| match known {
            Known::Is(known) => known.subnet != state.subnet,
            Known::Unknown(_) => false,
        };
        if self.placed.networks.get(name).is_some_and(moves) {
            self.refuse_under_replicas("move", name)?;
        }
        self.placed.networks.insert(name.clone(), Known::Is(state.clone()));
        Ok(())
    }

    pub(super) fn remove_network(&mut self, name: &NetworkName) -> Result<(), EngineError> {
        self.refuse_under_replicas("remove", name)?;
        self.placed.networks.remove(name);
        Ok(())
    }

    fn refuse_under_replicas(&self, verb: &str, name: &NetworkName) -> Result<(), EngineError> {
        match self.placed.replicas.iter().find(|(_, replica)| replica.addresses.contains_key(name)) {
            Some((id, _)) => {
                Err(refused(format!("{verb} network `{name}`"), format!("`{id}` stands on it"), Retry::Never))
            }
            None => Ok(()),
        }
    }

    pub(super) fn ensure_volume(&mut self, name: &VolumeName) {
        self.placed.volumes.insert(name.clone());
    }

    pub(super) fn remove_volume(&mut self, name: &VolumeName) {
        self.placed.volumes.remove(name);
        self.written.remove(name);
    }

    /// The first half of a start: its slot is taken. Whether the very replica runs already.
    pub(super) fn begin(&mut self, start: &Start) -> Result<bool, EngineError> {
        let refuse = |why: String| Err(refused(format!("start `{}`", start.id), why, Retry::Never));
        if let Some(there) = self.placed.replicas.get(&start.id)
            && matches!(there.phase, Phase::Running { .. })
        {
            let is_same =
                (there.hash, there.release, &there.addresses) == (start.hash, start.release, &start.addresses);
            return if is_same { Ok(true) } else { refuse("another replica runs in its slot".into()) };
        }
        if let Some(network) = start.addresses.keys().find(|name| !self.placed.networks.contains_key(*name)) {
            return refuse(format!("there is no network `{network}`"));
        }
        if let Some(volume) = volumes(&start.template).find(|name| !self.placed.volumes.contains(*name)) {
            return refuse(format!("there is no volume `{volume}`"));
        }
        let replica = Replica {
            role: start.role,
            hash: start.hash,
            release: start.release,
            bundle: start.bundle.clone(),
            addresses: start.addresses.clone(),
            failures: start.failures,
            stop_signal: start.template.stop_signal.unwrap_or(SIGTERM),
            stop_grace: start.template.stop_grace,
            phase: Phase::Half,
        };
        self.placed.replicas.insert(start.id.clone(), replica);
        self.templates.insert(start.id.clone(), Arc::clone(&start.template));
        Ok(false)
    }

    /// The second half of a start. Whether it has ended by itself already.
    pub(super) fn run(&mut self, start: &Start, now: Timestamp) -> bool {
        let words = words(&start.template);
        let exit = match words.as_slice() {
            ["exit", code] => code.parse().ok(),
            ["remember", target] => Some(self.remember(&start.template, target)),
            _ => None,
        };
        if let Some(replica) = self.placed.replicas.get_mut(&start.id) {
            replica.phase = match exit {
                Some(code) => Phase::Exited { since: now, at: now, how: Exit::Code(code) },
                None => Phase::Running { since: now },
            };
        }
        exit.is_some()
    }

    fn remember(&mut self, template: &Template, target: &str) -> i32 {
        let at = template.mounts.iter().filter(|mount| mount.target == target);
        let mut volumes = at.filter_map(|mount| match &mount.source {
            MountSource::Volume(name) => Some(name.clone()),
            _ => None,
        });
        // 1 as any program would that finds no such folder.
        volumes.next_back().map_or(1, |name| if self.written.insert(name) { 0 } else { 7 })
    }

    /// Ends a running replica; how long that took.
    pub(super) fn stop(&mut self, id: &ReplicaId, signal: i32, grace: Duration, now: Timestamp) -> SignedDuration {
        let is_deaf = self.templates.get(id).is_some_and(|template| words(template).first() == Some(&"deaf"));
        let took = match is_deaf {
            true => SignedDuration::try_from(grace).unwrap_or(SignedDuration::MAX),
            false => SignedDuration::ZERO,
        };
        let how = if is_deaf { SIGKILL } else { signal };
        if self.end(id, Exit::Signal(how), now + took) { took } else { SignedDuration::ZERO }
    }

    /// The replica's process ends, if it runs.
    pub(super) fn end(&mut self, id: &ReplicaId, how: Exit, at: Timestamp) -> bool {
        let Some(replica) = self.placed.replicas.get_mut(id) else { return false };
        let Phase::Running { since } = replica.phase else { return false };
        replica.phase = Phase::Exited { since, at, how };
        true
    }

    pub(super) fn remove(&mut self, id: &ReplicaId) -> Result<(), EngineError> {
        if let Some(replica) = self.placed.replicas.get(id)
            && matches!(replica.phase, Phase::Running { .. })
        {
            return Err(refused(format!("remove `{id}`"), "it still runs", Retry::Never));
        }
        self.placed.replicas.remove(id);
        self.templates.remove(id);
        Ok(())
    }
}

fn words(template: &Template) -> Vec<&str> {
    match &template.runs {
        Runs::Process { command, .. } => command.iter().map(String::as_str).collect(),
        _ => Vec::new(),
    }
}

fn volumes(template: &Template) -> impl Iterator<Item = &VolumeName> {
    template.mounts.iter().filter_map(|mount| match &mount.source {
        MountSource::Volume(name) => Some(name),
        _ => None,
    })
}
