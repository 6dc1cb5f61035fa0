//! The steps that one step waits for: mostly none or one, so those cost no memory of their own.

use super::StepId;
use std::ops::Deref;
use std::sync::Arc;

/// A set of steps, read as a slice in ascending order. Copies of one with many steps share them.
#[derive(Clone)]
pub struct After(Held);

#[derive(Clone)]
enum Held {
    /// None or one.
    Few(Option<StepId>),
    /// Two or more.
    Many(Arc<[StepId]>),
}

impl After {
    /// Whether the step is one of them.
    pub fn contains(&self, id: &StepId) -> bool {
        self.binary_search(id).is_ok()
    }

    /// Adds a step; false when it was there.
    pub fn insert(&mut self, id: StepId) -> bool {
        let is_new = !self.contains(&id);
        if is_new {
            *self = self.iter().copied().chain([id]).collect();
        }
        is_new
    }

    /// Takes a step away; false when it was not there.
    pub fn remove(&mut self, id: &StepId) -> bool {
        let was_there = self.contains(id);
        if was_there {
            *self = self.iter().copied().filter(|other| other != id).collect();
        }
        was_there
    }

    /// Takes all away.
    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

impl Default for After {
    fn default() -> Self {
        Self(Held::Few(None))
    }
}

impl Deref for After {
    type Target = [StepId];
    fn deref(&self) -> &[StepId] {
        match &self.0 {
            Held::Few(id) => id.as_slice(),
            Held::Many(ids) => ids,
        }
    }
}

impl From<&[StepId]> for After {
    /// In any order, and repeated or not.
    fn from(ids: &[StepId]) -> Self {
        match ids {
            [] => Self::default(),
            [id] => Self(Held::Few(Some(*id))),
            _ if ids.is_sorted_by(|a, b| a < b) => Self(Held::Many(ids.into())),
            _ => {
                let mut ids = ids.to_vec();
                ids.sort_unstable();
                ids.dedup();
                Self::from(&ids[..])
            }
        }
    }
}

impl FromIterator<StepId> for After {
    fn from_iter<I: IntoIterator<Item = StepId>>(ids: I) -> Self {
        Self::from(&ids.into_iter().collect::<Vec<_>>()[..])
    }
}

impl Extend<StepId> for After {
    fn extend<I: IntoIterator<Item = StepId>>(&mut self, ids: I) {
        *self = self.iter().copied().chain(ids).collect();
    }
}

impl<'a> IntoIterator for &'a After {
    type Item = &'a StepId;
    type IntoIter = std::slice::Iter<'a, StepId>;
    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl PartialEq for After {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for After {}

impl std::fmt::Debug for After {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_a_set_whatever_it_is_made_from() {
        let check = |ids: &[u32], want: &[u32]| {
            let after: After = ids.iter().copied().map(StepId).collect();
            let want: Vec<StepId> = want.iter().copied().map(StepId).collect();
            assert_eq!(*after, *want);
            assert_eq!(after, After::from(&want[..]));
            assert!((0..9).all(|n| after.contains(&StepId(n)) == want.contains(&StepId(n))));
        };
        check(&[], &[]);
        check(&[3], &[3]);
        check(&[3, 3], &[3]);
        check(&[1, 2, 7], &[1, 2, 7]);
        check(&[7, 1, 7, 2], &[1, 2, 7]);
    }

    #[test]
    fn steps_come_and_go() {
        let mut after = After::default();
        assert!(after.insert(StepId(5)) && after.insert(StepId(2)) && !after.insert(StepId(5)));
        let copy = after.clone();
        assert!(after.remove(&StepId(2)) && !after.remove(&StepId(2)));
        assert_eq!((&*after, &*copy), (&[StepId(5)][..], &[StepId(2), StepId(5)][..]));
        after.extend([StepId(9), StepId(1)]);
        assert_eq!(&*after, &[StepId(1), StepId(5), StepId(9)]);
        after.clear();
        assert!(after.is_empty());
    }
}
