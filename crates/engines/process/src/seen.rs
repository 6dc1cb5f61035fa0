//! What there is of a stack: folders, locks and links read into the plan's words. Changes nothing but a loss's date.
//!
//! One damaged file hides one replica or one network: it is unknown, with the reason, and everything else is seen.
#![expect(clippy::disallowed_methods, reason = "replicas' own files")]

use crate::error::Error;
use crate::machine::Machine;
use crate::phase::{self, Found};
use crate::stored::{Labels, Meaning};
use jiff::Timestamp;
use model::project::Role;
use model::{ReleaseNumber, StackId};
use plan::Addresses;
use plan::observed::{Phase, Placed, Replica};
use shim::{life, status};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;
use std::time::Duration;

impl Machine {
    /// What is there of a stack.
    pub(crate) fn observe(&self, stack: &StackId, now: Timestamp) -> Result<Placed, Error> {
        let kernel = |source| Error::Kernel { doing: "list what exists", source };
        let boot_id = life::boot_id().map_err(kernel)?;
        let mut replicas = BTreeMap::new();
        for id in self.layout.replicas_of(stack).map_err(kernel)? {
            let dir = self.layout.replica(stack, &id);
            let replica = match Labels::read(&dir).and_then(|labels| labels.map(|labels| labels.meaning()).transpose())
            {
                Ok(Some(labels)) => replica(labels, phase_in(&dir, &boot_id, now)),
                // A start that was cut short before its labels, or a removal after them: nothing that counts is left.
                Ok(None) => continue,
                Err(error) => {
                    let why = format!("{}: {error}", dir.join("labels.json").display());
                    damaged(self.networks.addresses_of(stack, &id), why)
                }
            };
            replicas.insert(id, replica);
        }
        let networks = self.networks.observe(stack).map_err(kernel)?;
        let volumes = self.layout.volumes_of(stack).map_err(kernel)?.into_iter().collect();
        Ok(Placed { replicas, networks, volumes })
    }
}

fn replica(labels: Meaning, phase: Phase) -> Replica {
    Replica {
        role: labels.role,
        hash: labels.hash,
        release: labels.release,
        bundle: labels.bundle,
        addresses: labels.addresses,
        failures: labels.failures,
        stop_signal: labels.stop_signal,
        stop_grace: labels.stop_grace,
        phase,
    }
}

/// A replica whose labels cannot be read: it keeps its slot and its addresses, and nothing is done to it.
fn damaged(addresses: Addresses, why: String) -> Replica {
    Replica {
        role: Role::Service,
        hash: "0".repeat(32).parse().expect("32 digits are a hash"),
        release: ReleaseNumber(0),
        bundle: "0".repeat(64).parse().expect("64 digits are a bundle's id"),
        addresses,
        failures: 0,
        stop_signal: libc::SIGTERM,
        stop_grace: Duration::ZERO,
        phase: Phase::Unknown(why),
    }
}

fn phase_in(dir: &Path, boot_id: &str, now: Timestamp) -> Phase {
    // The lock first: a shim that ends in between has written its final status before it lets go of the lock.
    let read = || io::Result::Ok((life::is_held(dir)?, status::read(dir)?));
    match read() {
        Err(error) => Phase::Unknown(format!("{}: {error}", dir.display())),
        Ok((is_held, status)) => {
            let status = status.as_ref();
            let lost_at = if phase::is_lost(is_held, status) { lost_at(dir, now) } else { now };
            phase::phase(&Found { is_held, status, boot_id, lost_at })
        }
    }
}

/// When the loss of a shim was first noticed: kept in a file, so that it stays the same.
///
/// Where no file can be written, the last word of the shim has a time that stays the same too.
fn lost_at(dir: &Path, now: Timestamp) -> Timestamp {
    let path = dir.join("lost");
    if let Some(at) = fs::read_to_string(&path).ok().and_then(|text| text.parse().ok()) {
        return at;
    }
    if fs::write(&path, now.to_string()).is_ok() {
        return now;
    }
    let last_word = fs::metadata(dir.join("status")).and_then(|status| status.modified());
    last_word.ok().and_then(|at| Timestamp::try_from(at).ok()).unwrap_or(now)
}
