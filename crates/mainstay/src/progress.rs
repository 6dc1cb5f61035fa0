//! A run as people follow it: one row for each thing it is about.
//!
//! Pure: events in, rows out; time is an argument. A run that is read again from its beginning, because the daemon
//! was restarted, ends in the same state. Never prints: [`crate::follow`] does. Start with [`Progress`].

pub mod words;

use crate::ui::paint::{Paint, Tone, tame};
use jiff::Timestamp;
use server::api::plan::StepView;
use server::api::release::{Explanation, RunEvent};
use std::collections::BTreeMap;

/// How far a step is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum State {
    /// Its turn has not come.
    Waiting,
    /// Under way.
    Running {
        /// Since when.
        since: Timestamp,
    },
    /// Done.
    Done {
        /// How long it took.
        millis: u64,
    },
    /// Failed.
    Failed {
        /// Why.
        error: String,
    },
}

/// How a run ended.
#[derive(Debug, Clone, PartialEq)]
pub struct Ending {
    /// `done`, `failed`, `superseded`.
    pub outcome: String,
    /// Why it failed.
    pub explanation: Option<Explanation>,
    /// From the order to the end.
    pub millis: u64,
}

/// A run.
#[derive(Debug, Default)]
pub struct Progress {
    steps: BTreeMap<u32, (StepView, State)>,
    rows: Vec<Row>,
    ending: Option<Ending>,
}

/// Everything that is done to one thing.
#[derive(Debug)]
struct Row {
    name: String,
    // Steps of the plan in force.
    steps: Vec<u32>,
    // What was done to it under earlier plans.
    past: Vec<StepView>,
    // What went wrong with it under an earlier plan: a new plan that puts things right must not hide it.
    failed: Option<String>,
    millis: u64,
}

/// How a row looks as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Look {
    /// Nothing has begun.
    Waiting,
    /// Something is under way.
    Running,
    /// Between two steps.
    Between,
    /// All is done.
    Done,
    /// Something failed.
    Failed,
}

impl Progress {
    /// A run with the steps of its first plan.
    pub fn new(steps: &[StepView]) -> Self {
        let mut progress = Self::default();
        progress.plan(steps);
        progress
    }

    /// Takes an event in.
    pub fn take(&mut self, event: RunEvent) {
        match event {
            RunEvent::Began { step, at } => {
                // A daemon that writes no time is none of ours; what it says of the step still holds.
                let since = at.parse().unwrap_or(Timestamp::UNIX_EPOCH);
                self.set(step, State::Running { since });
            }
            RunEvent::Ended { step, millis, .. } => {
                self.set(step, State::Done { millis });
                if let Some(row) = self.rows.iter_mut().find(|row| row.steps.contains(&step)) {
                    row.millis += millis;
                }
            }
            RunEvent::Failed { step, error, .. } => self.set(step, State::Failed { error }),
            RunEvent::Replanned { steps } => self.plan(&steps),
            RunEvent::Finished { outcome, explanation, millis } => {
                self.ending = Some(Ending { outcome, explanation, millis });
            }
            RunEvent::Unknown => {}
        }
    }

    /// How it ended, once it has.
    pub fn ending(&self) -> Option<&Ending> {
        self.ending.as_ref()
    }

    /// Whether anything was begun, under this plan or an earlier one.
    pub fn has_begun(&self) -> bool {
        self.rows.iter().any(|row| !row.past.is_empty())
            || self.steps.values().any(|(_, state)| *state != State::Waiting)
    }

    /// The step with this number in the plan in force.
    pub fn step(&self, id: u32) -> Option<&StepView> {
        self.steps.get(&id).map(|(step, _)| step)
    }

    /// How many steps of the plan in force are done, and how many there are.
    pub fn count(&self) -> (usize, usize) {
        let done = self.steps.values().filter(|(_, state)| matches!(state, State::Done { .. })).count();
        (done, self.steps.len())
    }

    /// The lines of a live block, at most `height`: what runs and what failed first, the rest as numbers.
    pub fn lines(&self, now: Timestamp, spinner: &str, paint: Paint, width: usize, height: usize) -> Vec<String> {
        let label = self.label();
        let looks: Vec<(&Row, Look)> = self.rows.iter().map(|row| (row, self.look(row))).collect();
        let fits = looks.len() <= height;
        let shown = |look: Look| fits || matches!(look, Look::Running | Look::Failed | Look::Between);
        let mut lines: Vec<String> = looks
            .iter()
            .filter(|(_, look)| shown(*look))
            .take(height.saturating_sub(usize::from(!fits)))
            .map(|(row, look)| self.line(row, *look, now, spinner, paint, label))
            .collect();
        if !fits {
            let count = |wanted: Look| looks.iter().filter(|(_, look)| *look == wanted).count();
            let rest = format!("  {} done, {} to come", count(Look::Done), count(Look::Waiting));
            lines.push(paint.tone(Tone::Dim, &rest));
        }
        for line in &mut lines {
            *line = console::truncate_str(line, width.saturating_sub(1), "…").into_owned();
        }
        lines
    }

    /// All rows as they are in the end.
    pub fn summary(&self, now: Timestamp, paint: Paint) -> Vec<String> {
        let label = self.label();
        self.rows.iter().map(|row| self.line(row, self.look(row), now, "·", paint, label)).collect()
    }

    fn plan(&mut self, steps: &[StepView]) {
        for row in &mut self.rows {
            // What was not finished is planned again, or no longer wanted.
            for (step, state) in row.steps.drain(..).filter_map(|id| self.steps.remove(&id)) {
                match state {
                    State::Done { .. } => row.past.push(step),
                    State::Failed { error } => row.failed = Some(failure(&step, &error)),
                    State::Waiting | State::Running { .. } => {}
                }
            }
        }
        self.steps.clear();
        for step in steps {
            let name = words::thing(step);
            let at = self.rows.iter().position(|row| row.name == name).unwrap_or_else(|| {
                self.rows.push(Row { name, steps: Vec::new(), past: Vec::new(), failed: None, millis: 0 });
                self.rows.len() - 1
            });
            self.rows[at].steps.push(step.id);
            self.steps.insert(step.id, (step.clone(), State::Waiting));
        }
        self.rows.retain(|row| !row.steps.is_empty() || !row.past.is_empty() || row.failed.is_some());
    }

    fn set(&mut self, step: u32, state: State) {
        if let Some((_, old)) = self.steps.get_mut(&step) {
            *old = state;
        }
    }

    fn look(&self, row: &Row) -> Look {
        let states: Vec<&State> =
            row.steps.iter().filter_map(|id| self.steps.get(id)).map(|(_, state)| state).collect();
        let any = |wanted: fn(&State) -> bool| states.iter().any(|state| wanted(state));
        if any(|state| matches!(state, State::Failed { .. })) {
            Look::Failed
        } else if any(|state| matches!(state, State::Running { .. })) {
            Look::Running
        } else if states.iter().all(|state| matches!(state, State::Done { .. })) {
            Look::Done
        } else if self.ending.is_none() && any(|state| matches!(state, State::Done { .. })) {
            Look::Between
        } else {
            Look::Waiting
        }
    }

    fn label(&self) -> usize {
        self.rows.iter().map(|row| console::measure_text_width(&row.name)).max().unwrap_or(0)
    }

    fn line(&self, row: &Row, look: Look, now: Timestamp, spinner: &str, paint: Paint, label: usize) -> String {
        let steps = || row.steps.iter().filter_map(|id| self.steps.get(id));
        let running = steps().find_map(|(step, state)| match state {
            State::Running { since } => Some((step, *since)),
            _ => None,
        });
        let name = format!("{:label$}", row.name);
        let millis = |millis: u64| paint.tone(Tone::Dim, &words::seconds(millis));
        match look {
            Look::Waiting if self.ending.is_some() => {
                let rest = row
                    .past
                    .last()
                    .map_or("not begun".to_owned(), |step| format!("{}; the rest not begun", words::done(step)));
                paint.tone(Tone::Dim, &format!("  · {name}  {rest}"))
            }
            Look::Waiting => paint.tone(Tone::Dim, &format!("  · {name}  {}", self.waits_for(row))),
            Look::Between => format!("  {} {name}  {}", paint.tone(Tone::Accent, "·"), self.waits_for(row)),
            Look::Running => {
                let (step, since) = running.expect("this look says so");
                let so_far = u64::try_from(now.duration_since(since).as_millis()).unwrap_or(0);
                let doing = words::doing(step);
                format!("  {} {name}  {doing}  {}", paint.tone(Tone::Accent, spinner), millis(row.millis + so_far))
            }
            Look::Done => {
                let last = row.steps.last().and_then(|id| self.step(*id)).or(row.past.last());
                let done = last.map_or("done", words::done);
                match &row.failed {
                    None => format!("  {} {name}  {done}  {}", paint.tone(Tone::Good, "✔"), millis(row.millis)),
                    Some(failed) => format!("  {} {name}  {failed}; now {done}", paint.tone(Tone::Bad, "✘")),
                }
            }
            Look::Failed => {
                let failed = steps().find_map(|(step, state)| match state {
                    State::Failed { error } => Some((step, error)),
                    _ => None,
                });
                let (step, error) = failed.expect("this look says so");
                format!("  {} {name}  {}", paint.tone(Tone::Bad, "✘"), failure(step, error))
            }
        }
    }

    // What the first step that has not begun is waiting for.
    fn waits_for(&self, row: &Row) -> String {
        let next = row.steps.iter().find_map(|id| match self.steps.get(id) {
            Some((step, State::Waiting)) => Some(step),
            _ => None,
        });
        let open = |id: &u32| match self.steps.get(id) {
            Some((_, State::Done { .. })) | None => None,
            Some((step, _)) => Some(words::thing(step)).filter(|name| *name != row.name),
        };
        let mut names: Vec<String> = next.into_iter().flat_map(|step| &step.after).filter_map(open).collect();
        names.dedup();
        match names.split_first() {
            None => "next".to_owned(),
            Some((first, [])) => format!("waits for {first}"),
            Some((first, rest)) => format!("waits for {first} and {} more", rest.len()),
        }
    }
}

fn failure(step: &StepView, error: &str) -> String {
    let error = error.lines().next().unwrap_or_default();
    tame(&format!("{} failed: {error}", words::doing(step)), false)
}

#[cfg(test)]
mod tests;
