//! In which order services are gone through: dependencies first.

use model::ServiceName;
use std::collections::BTreeSet;

/// The indices of `names` such that each comes after those it depends on; by name where there is a choice.
///
/// `names` is sorted. A cycle, which declarations do not have, is cut at its first name: planning never loops.
pub(super) fn dependencies_first<'a, I>(names: &[&'a ServiceName], depends_on: impl Fn(usize) -> I) -> Vec<usize>
where
    I: Iterator<Item = &'a ServiceName>,
{
    let mut dependents = vec![Vec::new(); names.len()];
    let mut waits_for = vec![0usize; names.len()];
    for (index, waits) in waits_for.iter_mut().enumerate() {
        for dependency in depends_on(index) {
            if let Ok(found) = names.binary_search(&dependency)
                && found != index
            {
                dependents[found].push(index);
                *waits += 1;
            }
        }
    }
    let mut free: BTreeSet<usize> = (0..names.len()).filter(|index| waits_for[*index] == 0).collect();
    let mut left: BTreeSet<usize> = (0..names.len()).filter(|index| waits_for[*index] > 0).collect();
    let mut order = Vec::with_capacity(names.len());
    while let Some(index) = free.pop_first().or_else(|| left.pop_first()) {
        order.push(index);
        for dependent in &dependents[index] {
            waits_for[*dependent] = waits_for[*dependent].saturating_sub(1);
            if waits_for[*dependent] == 0 && left.remove(dependent) {
                free.insert(*dependent);
            }
        }
    }
    order
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
        let words: Vec<&str> = order.into_iter().map(|index| names[index].as_str()).collect();
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
