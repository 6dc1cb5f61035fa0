//! One-off replicas: a replica of a service that idles, so that a command can be run in it.

use engine::images::Facts;
use engine::{Engine, EngineError};
use model::project::{Role, Runs, Template};
use model::stack::{Stack, Target};
use model::{NetworkName, ReplicaId, Slot, StackId};
use plan::action::replica::{Action, Start};
use plan::{Addresses, Observed};
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

/// Slots of one-off replicas begin here; the planner leaves them alone.
pub const FIRST_SLOT: u32 = plan::FIRST_ONE_OFF_SLOT;

/// The lowest free slot for a one-off replica of a service.
pub fn slot(service: &model::ServiceName, have: &Observed) -> Slot {
    let mut slot = Slot::new(FIRST_SLOT).expect("the first slot of one-off replicas is above 0");
    while have.placed.replicas.contains_key(&ReplicaId::new(service.clone(), slot)) {
        slot = slot.next();
    }
    slot
}

/// A free address on each network of a service; never its stable one, even where it is direct.
///
/// Errors: the network that has none left.
pub fn addresses(stack: &Stack, target: &Target, have: &Observed) -> Result<Addresses, NetworkName> {
    let taken: BTreeSet<_> = have.placed.replicas.values().flat_map(|replica| replica.addresses.values()).collect();
    let networks = target.template.networks.keys().filter_map(|name| Some((name, stack.networks.get(name)?)));
    let free = networks.map(|(name, subnet)| {
        let address = subnet.replica_addresses().find(|address| !taken.contains(address));
        address.map(|address| (name.clone(), address)).ok_or_else(|| name.clone())
    });
    free.collect()
}

/// Ends and removes a one-off replica; nothing in it is waited for.
pub async fn remove(engine: &dyn Engine, stack: &StackId, id: ReplicaId) -> Result<(), EngineError> {
    const SIGKILL: i32 = 9;
    engine.perform(stack, &Action::Stop { id: id.clone(), signal: SIGKILL, grace: Duration::ZERO }).await?;
    engine.perform(stack, &Action::Remove { id }).await
}

/// Removes the one-off replicas that a daemon left when it died: their clients went with it.
pub async fn sweep(engine: &dyn Engine, stack: &StackId) -> Result<u32, EngineError> {
    let mut removed = 0;
    for id in engine.observe(stack).await?.replicas.into_keys().filter(|id| id.slot.number() >= FIRST_SLOT) {
        remove(engine, stack, id).await?;
        removed += 1;
    }
    Ok(removed)
}

/// What a command of a one-off replica is made of.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Own {
    /// Comes before whatever command is given.
    pub entrypoint: Vec<String>,
    /// The service's own command, where it is known.
    pub command: Option<Vec<String>>,
}

/// Longer than any machine runs; not every `sleep` knows `infinity`.
const FOR_EVER: &str = "2147483647";

/// Makes the replica idle; gives the service's own command. `facts` are those of its image, where an engine runs images.
pub fn idle(start: &mut Start, facts: Option<&Facts>) -> Own {
    let template = Template::clone(&start.template);
    start.role = Role::Job;
    let mut runs = template.runs.clone();
    let own = match (&mut runs, facts) {
        (Runs::Image { entrypoint, command, .. } | Runs::Build { entrypoint, command, .. }, Some(facts)) => {
            let own = of_image(entrypoint.as_ref(), command.as_ref(), facts);
            *entrypoint = Some(vec!["sleep".into(), FOR_EVER.into()]);
            *command = Some(Vec::new());
            own
        }
        (Runs::Process { command, .. }, _) => {
            let own = std::mem::replace(command, vec!["/bin/sleep".into(), FOR_EVER.into()]);
            Own { command: Some(own), ..Own::default() }
        }
        _ => {
            runs = Runs::Process { command: vec!["/bin/sleep".into(), FOR_EVER.into()], artifacts: Vec::new() };
            Own::default()
        }
    };
    start.template = Arc::new(Template { runs, ..template });
    own
}

/// As the Engine puts them together: another entry point takes the image's command with it.
fn of_image(entrypoint: Option<&Vec<String>>, command: Option<&Vec<String>>, facts: &Facts) -> Own {
    let usual = if entrypoint.is_some() { Vec::new() } else { facts.command.clone() };
    let command = command.cloned().unwrap_or(usual);
    let entrypoint = entrypoint.cloned().unwrap_or_else(|| facts.entrypoint.clone());
    let is_something = !entrypoint.is_empty() || !command.is_empty();
    Own { command: is_something.then_some(command), entrypoint }
}
