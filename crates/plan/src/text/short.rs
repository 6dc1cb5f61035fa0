//! The short text for people: what happens to what, and why.

use super::OneLine;
use crate::action::{edge, object, replica};
use crate::{Action, Plan};
use model::units::format_duration;

/// One line per step in columns: verb, subject, detail, reason.
pub fn short(plan: &Plan) -> String {
    let rows: Vec<[String; 4]> =
        plan.steps.values().map(|step| row(&step.action, OneLine(&step.why.to_string()).to_string())).collect();
    let mut widths = [0; 4];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = cell.chars().count().max(*width);
        }
    }
    let mut out = String::new();
    for row in &rows {
        let cells: Vec<String> = row
            .iter()
            .zip(widths)
            .filter(|(_, width)| *width > 0)
            .map(|(cell, width)| format!("{cell:<width$}"))
            .collect();
        out.push_str(cells.join("  ").trim_end());
        out.push('\n');
    }
    out
}

fn row(action: &Action, why: String) -> [String; 4] {
    let (verb, subject, detail) = match action {
        Action::Replica(action) => replica(action),
        Action::Object(object::Action::Apply { id, .. }) => ("apply", id.to_string(), String::new()),
        Action::Object(object::Action::Watch { id, deadline }) => ("watch", id.to_string(), format_duration(*deadline)),
        Action::Object(object::Action::Delete { id }) => ("delete", id.to_string(), String::new()),
        Action::Probe(wait) => ("await", wait.id.to_string(), format_duration(wait.deadline)),
        Action::Job(job) => ("complete", job.id.to_string(), String::new()),
        Action::Edge(edge::Change::Open) => ("open", "listeners".into(), String::new()),
        Action::Edge(edge::Change::Route { id }) => ("route", id.to_string(), String::new()),
        Action::Edge(edge::Change::Drain { id, grace }) => ("drain", id.to_string(), format_duration(*grace)),
        Action::Edge(edge::Change::Settle { .. }) => ("settle", "routes".into(), String::new()),
    };
    [verb.into(), subject, detail, why]
}

fn replica(action: &replica::Action) -> (&'static str, String, String) {
    match action {
        replica::Action::EnsureNetwork { name, state, .. } => {
            ("network", name.to_string(), state.subnet.net.to_string())
        }
        replica::Action::RemoveNetwork { name } => ("remove", format!("network {name}"), String::new()),
        replica::Action::EnsureVolume { name, .. } => ("volume", name.to_string(), String::new()),
        replica::Action::RemoveVolume { name } => ("remove", format!("volume {name}"), String::new()),
        replica::Action::Start(start) => ("start", start.id.to_string(), format!("release {}", start.release)),
        replica::Action::Stop { id, grace, .. } => ("stop", id.to_string(), format_duration(*grace)),
        replica::Action::Remove { id } => ("remove", id.to_string(), String::new()),
    }
}
