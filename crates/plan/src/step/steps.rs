//! The steps of a plan by number.
//!
//! Owns how they are kept: in one piece, in order. Numbers are mostly dense from 1, so a step is mostly found where its
//! number says; any other numbers are found by halving. Read as a map is.

use super::{Step, StepId};
use std::ops::Index;

/// The steps of a plan by number, in ascending order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Steps(Vec<(StepId, Step)>);

impl Steps {
    /// No steps, with room for so many; memory that is not written costs nothing.
    pub fn with_capacity(n_steps: usize) -> Self {
        Self(Vec::with_capacity(n_steps))
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the step is, or where it would be.
    fn position(&self, id: StepId) -> Result<usize, usize> {
        let dense = (id.0 as usize).wrapping_sub(1);
        match self.0.get(dense) {
            Some((found, _)) if *found == id => Ok(dense),
            _ => self.0.binary_search_by_key(&id, |(id, _)| *id),
        }
    }

    /// The step with this number.
    pub fn get(&self, id: &StepId) -> Option<&Step> {
        self.position(*id).ok().map(|at| &self.0[at].1)
    }

    /// The step with this number, to be changed.
    pub fn get_mut(&mut self, id: &StepId) -> Option<&mut Step> {
        self.position(*id).ok().map(|at| &mut self.0[at].1)
    }

    /// Whether there is a step with this number.
    pub fn contains_key(&self, id: &StepId) -> bool {
        self.position(*id).is_ok()
    }

    /// Adds a step, or puts it in the place of the one with this number, which is returned. Cheap for the highest.
    pub fn insert(&mut self, id: StepId, step: Step) -> Option<Step> {
        match self.position(id) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, step)),
            Err(at) => {
                self.0.insert(at, (id, step));
                None
            }
        }
    }

    /// Adds a step under the next number.
    pub fn push(&mut self, step: Step) -> StepId {
        let id = StepId(self.0.last().map_or(0, |(last, _)| last.0) + 1);
        self.0.push((id, step));
        id
    }

    /// The steps with their numbers.
    pub fn iter(&self) -> Iter<'_> {
        self.0.iter().map(pair)
    }

    /// The numbers.
    pub fn keys(&self) -> impl DoubleEndedIterator<Item = &StepId> + ExactSizeIterator {
        self.0.iter().map(|(id, _)| id)
    }

    /// The steps.
    pub fn values(&self) -> impl DoubleEndedIterator<Item = &Step> + ExactSizeIterator {
        self.0.iter().map(|(_, step)| step)
    }

    /// The steps, to be changed.
    pub fn values_mut(&mut self) -> impl DoubleEndedIterator<Item = &mut Step> + ExactSizeIterator {
        self.0.iter_mut().map(|(_, step)| step)
    }

    /// The steps, taken out.
    pub fn into_values(self) -> impl DoubleEndedIterator<Item = Step> + ExactSizeIterator {
        self.0.into_iter().map(|(_, step)| step)
    }
}

/// Steps with their numbers.
pub type Iter<'a> = std::iter::Map<std::slice::Iter<'a, (StepId, Step)>, fn(&(StepId, Step)) -> (&StepId, &Step)>;

fn pair((id, step): &(StepId, Step)) -> (&StepId, &Step) {
    (id, step)
}

impl Index<&StepId> for Steps {
    type Output = Step;
    fn index(&self, id: &StepId) -> &Step {
        self.get(id).expect("whoever names a step knows that it is there")
    }
}

impl<'a> IntoIterator for &'a Steps {
    type Item = (&'a StepId, &'a Step);
    type IntoIter = Iter<'a>;
    fn into_iter(self) -> Iter<'a> {
        self.iter()
    }
}

impl FromIterator<(StepId, Step)> for Steps {
    /// In any order; of two with one number the later stays.
    fn from_iter<I: IntoIterator<Item = (StepId, Step)>>(steps: I) -> Self {
        let mut steps: Vec<_> = steps.into_iter().collect();
        steps.sort_by_key(|(id, _)| *id);
        steps.reverse();
        steps.dedup_by_key(|(id, _)| *id);
        steps.reverse();
        Self(steps)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::action::{Action, edge};
    use crate::{After, Reason};

    fn step(why: &str) -> Step {
        Step { after: After::default(), action: Action::Edge(edge::Change::Open), why: Reason::Exited(why.into()) }
    }

    fn text(steps: &Steps) -> String {
        let one = |(id, step): (&StepId, &Step)| format!("{id}:{}", step.why);
        steps.iter().map(one).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn they_are_kept_in_order_of_their_numbers() {
        let made: Steps =
            [(7, "a"), (1, "b"), (7, "c"), (3, "d")].map(|(id, why)| (StepId(id), step(why))).into_iter().collect();
        assert_eq!(text(&made), "1:b 3:d 7:c");
        let mut steps = made.clone();
        assert_eq!(steps.insert(StepId(3), step("e")), Some(step("d")));
        assert_eq!(steps.insert(StepId(2), step("f")), None);
        assert_eq!(steps.push(step("g")), StepId(8));
        assert_eq!(text(&steps), "1:b 2:f 3:e 7:c 8:g");
        for id in 0..10 {
            let is_there = text(&steps).split(' ').any(|word| word.starts_with(&format!("{id}:")));
            assert_eq!(steps.contains_key(&StepId(id)), is_there, "{id}");
            assert_eq!(steps.get(&StepId(id)).is_some(), is_there, "{id}");
        }
    }
}
