//! In which order services are gone through: dependencies first.

use model::ServiceName;
use std::collections::{BTreeSet, HashMap};

/// In which order services are gone through, and which they depend on, by their places among the names.
pub(super) struct Order {
    /// Each comes after those it depends on; by name where there is a choice.
    pub(super) indices: Vec<usize>,
    /// For each service what it depends on, as declared; none for what is not among the names.
    pub(super) dependencies: Vec<Vec<Option<usize>>>,
}

/// The order of `names`, which are sorted; `depends_on` tells what each depends on.
///
/// A cycle, which declarations do not have, is cut at its first name: planning never loops.
pub(super) fn dependencies_first<'a, I>(names: &[&'a ServiceName], depends_on: impl Fn(usize) -> I) -> Order
where
    I: Iterator<Item = &'a ServiceName>,
{
    // Halving would read a dozen names for each, of which few are at hand where there are many.
    let places: HashMap<&ServiceName, usize> = names.iter().copied().zip(0..).collect();
    let dependencies: Vec<Vec<Option<usize>>> =
        (0..names.len()).map(|index| depends_on(index).map(|name| places.get(name).copied()).collect()).collect();
    let mut dependents = vec![Vec::new(); names.len()];
    let mut waits_for = vec![0usize; names.len()];
    for (index, waits) in waits_for.iter_mut().enumerate() {
        for dependency in dependencies[index].iter().copied().flatten().filter(|found| *found != index) {
            dependents[dependency].push(index);
            *waits += 1;
        }
    }
    let mut free: BTreeSet<usize> = (0..names.len()).filter(|index| waits_for[*index] == 0).collect();
    let mut left: BTreeSet<usize> = (0..names.len()).filter(|index| waits_for[*index] > 0).collect();
    let mut indices = Vec::with_capacity(names.len());
    while let Some(index) = free.pop_first().or_else(|| left.pop_first()) {
        indices.push(index);
        for dependent in &dependents[index] {
            waits_for[*dependent] = waits_for[*dependent].saturating_sub(1);
            if waits_for[*dependent] == 0 && left.remove(dependent) {
                free.insert(*dependent);
            }
        }
    }
    Order { indices, dependencies }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(edges: &[(&str, &str)], want: &str) {
        let all: BTreeSet<ServiceName> =
            edges.iter().flat_map(|(a, b)| [a, b]).map(|name| name.parse().expect("legal")).collect();
        let names: Vec<&ServiceName> = all.iter().collect();
        let of = |index: usize| {
            let name: &str = names[index].as_str();
            let wanted: Vec<&str> = edges.iter().filter(|(a, _)| *a == name).map(|(_, b)| *b).collect();
            names.iter().copied().filter(move |other| wanted.contains(&other.as_str())).collect::<Vec<_>>().into_iter()
        };
        let order = dependencies_first(&names, of);
        let words: Vec<&str> = order.indices.into_iter().map(|index| names[index].as_str()).collect();
        assert_eq!(words.join(" "), want);
    }

    #[test]
    fn dependencies_come_first_and_names_decide_the_rest() {
        check(&[("api", "db"), ("web", "api"), ("api", "cache")], "cache db api web");
        check(&[("a", "b"), ("c", "d")], "b a d c");
    }

    #[test]
    fn a_cycle_is_cut_and_nothing_is_lost() {
        check(&[("a", "b"), ("b", "a"), ("c", "b")], "a b c");
    }
}
