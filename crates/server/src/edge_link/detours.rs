//! Ports that containers hold which are taken over: the edge listens beside them, and has them itself once they are free.
//!
//! ```text
//! held ── open: the edge listens on another port ── lead: new connections go there ── free: it listens on the port itself
//!                                                     (packet rules)                     └── a while later on that alone
//! ```

use super::clash::overlap;
use super::hub::{Hub, HubError};
use super::table::{self, Detour};
use model::StackId;
use model::stack::Stack;
use network::detours::{self, Detour as Leads};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// Clients that were on their way when a port became free have arrived by then.
const LINGER: Duration = Duration::from_secs(5);

impl Hub {
    /// Opens the listeners of a stack that is being released, beside ports that `held` names.
    pub async fn open(&self, stack: &StackId, opened: Arc<Stack>, held: &BTreeSet<SocketAddr>) -> Result<(), HubError> {
        let more = if held.is_empty() { BTreeMap::new() } else { self.beside(stack, &opened, held)? };
        if !more.is_empty() {
            // Before anything is taken over.
            detours::check(self.clock()).await.map_err(HubError::Detour)?;
        }
        self.change(stack, |routing| {
            routing.opened = Some(opened);
            routing.detours.extend(more);
        })
        .await
    }

    /// Another port for each socket of the stack that `held` stands in the way of.
    fn beside(
        &self,
        id: &StackId,
        opened: &Arc<Stack>,
        held: &BTreeSet<SocketAddr>,
    ) -> Result<BTreeMap<SocketAddr, Detour>, HubError> {
        let mut stacks = self.stacks().clone();
        stacks.entry(id.clone()).or_default().opened = Some(opened.clone());
        let (_, needs) = table::table(&stacks, self.ground());
        let wanted = needs.sockets.into_values().filter(|wanted| held.iter().any(|there| overlap(*there, *wanted)));
        let aside = |wanted: SocketAddr| {
            let anywhere = SocketAddr::new(wanted.ip(), 0);
            let failed = |source| HubError::Listen { address: anywhere, source };
            let found = runtime::sockets::free_port(anywhere).map_err(failed)?;
            Ok((wanted, Detour { port: found, over: None }))
        };
        wanted.map(aside).collect()
    }

    /// Leads new connections where the edge listens instead.
    pub async fn lead(&self) -> Result<(), HubError> {
        let (table, led) = self.rules();
        let mut led = led.lock().await;
        let is_active = |(_, detour): &(&SocketAddr, &Detour)| detour.over.is_none();
        let wanted: Vec<Leads> = {
            let stacks = self.stacks();
            let active = stacks.values().flat_map(|routing| routing.detours.iter().filter(is_active));
            active.map(|(wanted, detour)| Leads { wanted: *wanted, port: detour.port }).collect()
        };
        if led.as_ref() != Some(&wanted) {
            detours::set(table, &wanted, self.clock()).await.map_err(HubError::Detour)?;
            *led = Some(wanted);
        }
        Ok(())
    }

    /// Whether the stack is reached by detours.
    pub fn has_detours(&self, stack: &StackId) -> bool {
        self.stacks().get(stack).is_some_and(|routing| !routing.detours.is_empty())
    }

    /// Has the edge listen itself on what nobody holds any more; how soon to ask again, if at all.
    pub async fn free(&self, stack: &StackId, held: &BTreeSet<SocketAddr>) -> Result<Option<Duration>, HubError> {
        let now = self.clock().monotonic();
        let before = self.stacks().get(stack).map(|routing| routing.detours.clone()).unwrap_or_default();
        let is_held = |wanted: &SocketAddr| held.iter().any(|there| overlap(*there, *wanted));
        let mut after = before.clone();
        after.retain(|_, detour| detour.over.is_none_or(|since| now.saturating_duration_since(since) < LINGER));
        for (_, detour) in after.iter_mut().filter(|(wanted, _)| !is_held(wanted)) {
            detour.over.get_or_insert(now);
        }
        if after != before {
            let next = after.clone();
            // It listens on the port itself before connections are led there.
            self.change(stack, |routing| routing.detours = next).await?;
            self.lead().await?;
        }
        Ok(after.values().any(|detour| detour.over.is_some()).then_some(LINGER))
    }

    /// The first of these sockets, with its holder, that the stack would listen on.
    pub fn taken_by(
        &self,
        stack: &Stack,
        held: impl IntoIterator<Item = (SocketAddr, String)>,
    ) -> Option<(SocketAddr, String)> {
        let alone = table::StackRouting { opened: Some(Arc::new(stack.clone())), ..Default::default() };
        let (_, needs) = table::table(&BTreeMap::from([(stack.id.clone(), alone)]), self.ground());
        held.into_iter().find(|(there, _)| needs.sockets.values().any(|wanted| overlap(*there, *wanted)))
    }
}
