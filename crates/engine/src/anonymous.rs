//! Volumes without a name: which one a replica gets, and what it is called.
//!
//! They belong to a place of the service, not to a slot: a replacement comes in a new slot and must find its
//! predecessor's data. A place is the lowest number that no other replica of the service has; an engine keeps it beside
//! the replica. Each becomes an ordinary volume with a name made here, so that it is listed, and removed only by that
//! name. One-off replicas are the exception: what they leave is nobody's, and goes with them.

use model::fingerprint::short_hash;
use model::{ReplicaId, ServiceName, VolumeName};
use std::collections::BTreeSet;

/// Whether the replica was made to run one command in.
pub fn is_one_off(id: &ReplicaId) -> bool {
    id.slot.number() >= plan::FIRST_ONE_OFF_SLOT
}

/// The place of a replica: the one it had, or the lowest that is free.
pub fn place(before: Option<u32>, taken: &BTreeSet<u32>) -> u32 {
    let free = |place: &u32| !taken.contains(place);
    before.filter(free).or_else(|| (1..).find(free)).expect("there are fewer replicas than numbers")
}

/// `db.1.var-lib-postgresql-data`; a hash in place of a target that does not fit into a name unchanged.
pub fn name(service: &ServiceName, place: u32, target: &str) -> VolumeName {
    let is_plain = target.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '/'));
    let plain = || format!("{service}.{place}.{}", target.trim_matches('/').replace('/', "-")).parse().ok();
    is_plain.then(plain).flatten().unwrap_or_else(|| {
        // At most 40 + 1 + 10 + 1 + 10 of the 63 bytes that a name may have.
        let start: String = service.as_str().chars().take(40).collect();
        let hash = short_hash(format!("{service}:{target}"));
        format!("{start}.{place}.{hash}").parse().expect("letters of a service's name, digits and dots are a name")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_service_place_and_target_apart() {
        let check =
            |service: &str, place, target: &str| name(&service.parse().expect("a service"), place, target).to_string();
        assert_eq!(check("db", 1, "/var/lib/postgresql/data"), "db.1.var-lib-postgresql-data");
        assert_eq!(check("db", 12, "/data/"), "db.12.data");
        let long = "s".repeat(63);
        let names = [("db", "/a-b"), ("db", "/a.b"), ("d", "/a-b"), (&long, "/data"), ("db", "/a/b")];
        let names: BTreeSet<String> = names.iter().map(|(service, target)| check(service, 1, target)).collect();
        assert_eq!(names.len(), 5, "{names:?}");
    }

    #[test]
    fn a_place_is_kept_or_the_lowest_free_one() {
        let taken = |places: &[u32]| places.iter().copied().collect::<BTreeSet<_>>();
        assert_eq!(place(None, &taken(&[])), 1);
        assert_eq!(place(None, &taken(&[1, 3])), 2);
        assert_eq!(place(Some(3), &taken(&[1])), 3);
        assert_eq!(place(Some(1), &taken(&[1, 2])), 3);
    }
}
