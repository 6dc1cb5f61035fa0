//! What every [`Engine`] does alike, and every [`StackEngine`]: one suite each, run by the fakes and by each real engine.
//!
//! Owns the behaviour; what is run is the engine's own matter ([`Workloads`], [`Objects`]). Each check has a stack of its
//! own and leaves nothing behind. Panics where an engine behaves otherwise. It never gives up waiting: whoever runs it
//! sets the deadline. Start with [`run`] and [`run_stacks`].

mod bench;
mod cuts;
mod ground;
mod lives;
mod stacks;

pub use stacks::{Objects, run as run_stacks};

use crate::Engine;
#[cfg(doc)]
use crate::StackEngine;
use model::VolumeName;
use model::project::Template;
use model::stack::Subnet;

/// What the suite runs on an engine. Networks and mounts of templates are the suite's own, except where it says so.
pub trait Workloads: Send + Sync {
    /// Runs until it is asked to stop, and ends by that.
    fn runs(&self) -> Template;
    /// Ends by itself at once, with this code.
    fn exits(&self, code: i32) -> Template;
    /// Runs and does not end when it is asked to.
    fn is_deaf(&self) -> Template;
    /// A command for inside that one, which exits with 0 once it does not hear any more.
    fn deaf_command(&self) -> Vec<String>;
    /// Mounts the volume, and exits with 0 when it has not seen it before, with 7 when it has.
    fn remembers(&self, volume: &VolumeName) -> Template;
    /// A command for inside a replica that exits with this code.
    fn exit_command(&self, code: i32) -> Vec<String>;
    /// A command for inside a replica that never ends by itself.
    fn endless_command(&self) -> Vec<String>;
    /// A free subnet with a dozen addresses or more, half of them below `replicas_from`.
    fn subnet(&self) -> Subnet;
    /// User 0 of replicas.
    fn uid_base(&self) -> u32;
}

/// Runs the whole suite; `next` is the same engine as the next daemon opens it, another object over the same machine.
///
/// Panics: at the first behaviour that differs.
pub async fn run(engine: &dyn Engine, next: &dyn Engine, workloads: &dyn Workloads) {
    lives::a_start_is_idempotent_and_takes_its_slot(engine, workloads).await;
    lives::labels_are_kept(engine, workloads).await;
    lives::stopping_and_removing_may_be_repeated(engine, workloads).await;
    lives::what_runs_is_not_removed(engine, workloads).await;
    lives::one_that_is_deaf_is_ended_after_its_grace(engine, workloads).await;
    lives::an_exit_is_seen_with_its_code_and_wakes(engine, workloads).await;
    lives::a_slot_is_used_again_after_an_exit(engine, workloads).await;
    lives::commands_tell_their_exit(engine, workloads).await;
    lives::a_command_that_takes_too_long_is_ended(engine, workloads).await;
    lives::what_runs_tells_what_it_uses(engine, workloads).await;
    ground::networks_are_as_asked_for(engine, workloads).await;
    ground::volumes_keep_what_they_hold(engine, workloads).await;
    ground::a_start_without_ground_is_refused(engine, workloads).await;
    ground::a_network_is_not_taken_from_its_replicas(engine, workloads).await;
    ground::stacks_keep_apart(engine, workloads).await;
    cuts::a_start_that_is_cut_is_seen_and_done_again(engine, workloads).await;
    cuts::the_next_object_has_what_the_first_one_started(engine, next, workloads).await;
}
