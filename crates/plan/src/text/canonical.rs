//! The complete text: one line per step, every value that decides what happens, nothing that depends on the machine.
//!
//! ```text
//! 3 start api.2 role=service hash=… release=4 bundle=… uid=100000 failures=0 default=10.210.0.66  missing  after 1,2
//! ```

use super::OneLine;
use crate::action::{edge, object, replica};
use crate::observed::NetworkState;
use crate::{Action, Plan, Step, StepId};
use model::project::{Made, Role};
use model::units::format_duration;
use std::fmt::{self, Write};

/// The complete text of a plan's steps; ends with a line break unless there are none.
pub fn canonical(plan: &Plan) -> String {
    let mut out = String::with_capacity(plan.steps.len() * 96);
    for (id, step) in &plan.steps {
        line(&mut out, *id, step).expect("writing to a string does not fail");
    }
    out
}

fn line(out: &mut String, id: StepId, step: &Step) -> fmt::Result {
    write!(out, "{id} ")?;
    action(out, &step.action)?;
    write!(out, "  {}", OneLine(&step.why.to_string()))?;
    for (index, before) in step.after.iter().enumerate() {
        let lead = if index == 0 { "  after " } else { "," };
        write!(out, "{lead}{before}")?;
    }
    out.push('\n');
    Ok(())
}

fn action(out: &mut String, action: &Action) -> fmt::Result {
    match action {
        Action::Replica(action) => replica(out, action),
        Action::Object(action) => object(out, action),
        Action::Probe(wait) => write!(out, "await {} deadline={}", wait.id, format_duration(wait.deadline)),
        Action::Job(job) => write!(out, "complete {}", job.id),
        Action::Edge(change) => edge(out, change),
    }
}

fn replica(out: &mut String, action: &replica::Action) -> fmt::Result {
    match action {
        replica::Action::EnsureNetwork { name, state, made: how } => {
            network(out, name.as_str(), state)?;
            made(out, how)
        }
        replica::Action::RemoveNetwork { name } => write!(out, "remove-network {name}"),
        replica::Action::EnsureVolume { name, made: how } => {
            write!(out, "ensure-volume {name}")?;
            made(out, how)
        }
        replica::Action::RemoveVolume { name } => write!(out, "remove-volume {name}"),
        replica::Action::Start(start) => self::start(out, start),
        replica::Action::Stop { id, signal, grace } => {
            write!(out, "stop {id} signal={signal} grace={}", format_duration(*grace))
        }
        replica::Action::Remove { id } => write!(out, "remove {id}"),
    }
}

/// How something is made that is not made as usual.
fn made(out: &mut String, made: &Made) -> fmt::Result {
    if let Some(name) = &made.name {
        write!(out, " name={name:?}")?;
    }
    for (what, map) in [("option", &made.driver_opts), ("label", &made.labels)] {
        for (name, value) in map {
            write!(out, " {what}={name:?}={value:?}")?;
        }
    }
    Ok(())
}

fn start(out: &mut String, start: &replica::Start) -> fmt::Result {
    // The template itself stands behind its hash.
    let replica::Start { id, role, template: _, hash, release, bundle, uid_base, addresses, failures } = start;
    let role = match role {
        Role::Service => "service",
        Role::Job => "job",
    };
    write!(out, "start {id} role={role} hash={hash} release={release} bundle={bundle} uid={uid_base}")?;
    write!(out, " failures={failures}")?;
    addresses.iter().try_for_each(|(network, address)| write!(out, " {network}={address}"))
}

fn network(out: &mut String, name: &str, state: &NetworkState) -> fmt::Result {
    let NetworkState { subnet, stable, names } = state;
    write!(out, "ensure-network {name} subnet={} gateway={}", subnet.net, subnet.gateway)?;
    write!(out, " replicas-from={} internal={} stable=", subnet.replicas_from, subnet.internal)?;
    list(out, stable.iter())?;
    out.push_str(" names=");
    list(out, names.iter().map(|(name, address)| format!("{name}:{address}")))
}

fn list(out: &mut String, values: impl Iterator<Item = impl fmt::Display>) -> fmt::Result {
    for (index, value) in values.enumerate() {
        let lead = if index == 0 { "" } else { "," };
        write!(out, "{lead}{value}")?;
    }
    Ok(())
}

fn object(out: &mut String, action: &object::Action) -> fmt::Result {
    match action {
        object::Action::Apply { id, manifest } => write!(out, "apply {id} hash={}", manifest.hash),
        object::Action::Watch { id, deadline } => write!(out, "watch {id} deadline={}", format_duration(*deadline)),
        object::Action::Delete { id } => write!(out, "delete {id}"),
    }
}

fn edge(out: &mut String, change: &edge::Change) -> fmt::Result {
    match change {
        edge::Change::Open => out.write_str("open"),
        edge::Change::Route { id } => write!(out, "route {id}"),
        edge::Change::Drain { id, grace } => write!(out, "drain {id} grace={}", format_duration(*grace)),
        edge::Change::Settle { hash } => write!(out, "settle hash={hash}"),
    }
}
