//! One figure with everything that it is judged by.

use std::fmt;

/// What a figure should be.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Goal {
    /// Small is good.
    AtMost(f64),
    /// Large is good.
    AtLeast(f64),
    /// Nobody has said; small is good.
    Low,
    /// Nobody has said; large is good.
    High,
}

/// One figure of ours.
#[derive(Debug, Clone, PartialEq)]
pub struct Row {
    /// What was measured.
    pub name: String,
    /// In which unit.
    pub unit: &'static str,
    /// Ours.
    pub ours: f64,
    /// The peers', by name.
    pub peers: Vec<(&'static str, f64)>,
    /// What ours should be.
    pub goal: Goal,
    /// Why there is no figure.
    pub failure: Option<String>,
}

impl Goal {
    /// Whether a figure is as it should be; none without a goal.
    pub fn is_met(self, figure: f64) -> Option<bool> {
        match self {
            Self::AtMost(most) => Some(figure <= most),
            Self::AtLeast(least) => Some(figure >= least),
            Self::Low | Self::High => None,
        }
    }

    fn is_low_good(self) -> bool {
        matches!(self, Self::AtMost(_) | Self::Low)
    }
}

impl fmt::Display for Goal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::AtMost(most) => write!(f, "≤ {}", figure(*most)),
            Self::AtLeast(least) => write!(f, "≥ {}", figure(*least)),
            Self::Low | Self::High => f.write_str("–"),
        }
    }
}

impl Row {
    /// A figure without peers.
    pub fn new(name: impl Into<String>, unit: &'static str, ours: f64, goal: Goal) -> Self {
        Self { name: name.into(), unit, ours, peers: Vec::new(), goal, failure: None }
    }

    /// The same beside a peer's figure.
    pub fn beside(mut self, peer: &'static str, figure: f64) -> Self {
        self.peers.push((peer, figure));
        self
    }

    /// A bench that could not be run.
    pub fn failed(name: &str, failure: &str) -> Self {
        Self { failure: Some(failure.to_owned()), ..Self::new(name, "", f64::NAN, Goal::Low) }
    }

    /// Ours divided by the best peer's figure. None also where noise made a difference negative: it would say nothing.
    pub fn ratio(&self) -> Option<f64> {
        let figures = self.peers.iter().map(|(_, figure)| *figure);
        let best = if self.goal.is_low_good() { figures.reduce(f64::min) } else { figures.reduce(f64::max) };
        best.filter(|best| *best > 0.0 && self.ours >= 0.0).map(|best| self.ours / best)
    }

    /// `yes`, `NOT MET`, or why there is no verdict.
    pub fn verdict(&self) -> &'static str {
        match (&self.failure, self.goal.is_met(self.ours)) {
            (Some(_), _) => "FAILED",
            (None, Some(true)) => "yes",
            (None, Some(false)) => "NOT MET",
            (None, None) => "–",
        }
    }
}

/// A figure with as many digits as mean something.
pub fn figure(figure: f64) -> String {
    match figure.abs() {
        _ if figure.is_nan() => "–".to_owned(),
        large if large >= 100.0 => format!("{figure:.0}"),
        middle if middle >= 10.0 => format!("{figure:.1}"),
        _ => format!("{figure:.2}"),
    }
}

/// The one in the middle. `figures` has at least one.
pub fn median(figures: &[f64]) -> f64 {
    let mut sorted = figures.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 { sorted[middle] } else { f64::midpoint(sorted[middle - 1], sorted[middle]) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_peer_is_the_smallest_where_small_is_good() {
        let row = |goal| Row::new("x", "ms", 2.0, goal).beside("a", 1.0).beside("b", 4.0);
        assert_eq!(row(Goal::AtMost(3.0)).ratio(), Some(2.0));
        assert_eq!(row(Goal::High).ratio(), Some(0.5));
        assert_eq!(Row::new("x", "ms", 2.0, Goal::Low).ratio(), None);
        assert_eq!(Row::new("x", "ms", -0.1, Goal::Low).beside("a", -0.2).ratio(), None);
    }

    #[test]
    fn verdicts_say_what_is_not_met() {
        assert_eq!(Row::new("x", "ms", 2.0, Goal::AtMost(2.0)).verdict(), "yes");
        assert_eq!(Row::new("x", "ms", 2.1, Goal::AtMost(2.0)).verdict(), "NOT MET");
        assert_eq!(Row::new("x", "×", 0.9, Goal::AtLeast(0.9)).verdict(), "yes");
        assert_eq!(Row::new("x", "×", 0.8, Goal::AtLeast(0.9)).verdict(), "NOT MET");
        assert_eq!(Row::new("x", "ms", 2.0, Goal::Low).verdict(), "–");
        assert_eq!(Row::failed("x", "no wrk").verdict(), "FAILED");
    }

    #[test]
    fn medians_are_in_the_middle() {
        assert_eq!(median(&[3.0, 1.0, 2.0]), 2.0);
        assert_eq!(median(&[4.0, 1.0]), 2.5);
    }
}
