//! Keeps what all stacks want of the edge, and makes the edge serve it.
//!
//! Whatever is asked of the edge has a deadline: one that hangs costs an error and, by [`Hub::supervise`], its life,
//! never the daemon. What is wanted can be read at any time, also while the edge is being told.

use super::balances::Drained;
use super::clash::{Clash, clash, overlap};
use super::process::{Found, LaunchError, Launcher};
use super::table::{self, Folder, Ground, Kept, Memo, Needs, StackRouting};
use edge::control::{Client, ClientError, Fixed, ListenerTarget, Stats, Table, Target};
use model::stack::Stack;
use model::{BundleId, ReplicaId, StackId};
use network::balances::Balancer;
use network::detours::Detour as Leads;
use runtime::{BoxError, Clock};
use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;
use tokio::sync::watch;

/// How long an order waits for an edge that is being started again.
const EDGE_WAIT: Duration = Duration::from_secs(15);

/// How long the edge may take to answer anything.
pub(super) const ANSWER: Duration = Duration::from_secs(5);

/// How long an edge that was replaced may take to end what it has.
const REPLACED_GRACE: Duration = Duration::from_secs(30);

/// Why the edge could not be made to serve what is wanted.
#[derive(Debug, thiserror::Error)]
pub enum HubError {
    /// A socket could not be opened.
    #[error("could not listen on {address}")]
    Listen {
        /// Where.
        address: SocketAddr,
        /// Why.
        #[source]
        source: runtime::sockets::ListenError,
    },
    /// Somebody else has what is wanted.
    #[error("{clash}; {cure}", clash = .0, cure = .0.cure())]
    Clash(Clash),
    /// A folder of a bundle could not be opened.
    #[error("could not open folder `{path}` of the bundle")]
    Folder {
        /// Where.
        path: String,
        /// Why.
        #[source]
        source: BoxError,
    },
    /// The edge did not do it.
    #[error("the edge did not take the change")]
    Edge(#[source] ClientError),
    /// The edge said nothing.
    #[error("the edge did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    /// Stable addresses could not be led to replicas.
    #[error("calls to the services could not be led to their replicas")]
    Balance(#[source] network::Error),
    /// Connections could not be led to another port.
    #[error("a port that a container holds could not be listened for beside it")]
    Detour(#[source] network::Error),
    /// There is no edge.
    #[error("no edge is running and none came up within {} s", EDGE_WAIT.as_secs())]
    NoEdge,
}

/// Where the folder of a bundle lies.
pub type Folders = Box<dyn Fn(&BundleId) -> Result<PathBuf, BoxError> + Send + Sync>;

/// What a running edge does for a stack.
#[derive(Debug)]
pub struct Remembered {
    /// What it remembers.
    pub memo: Memo,
    /// The replicas it holds for ready.
    pub ready: BTreeSet<ReplicaId>,
    /// Its part of the table, for when the release cannot be read.
    pub served: Kept,
}

type Stacks = BTreeMap<StackId, StackRouting>;

/// Keeps what all stacks want of the edge.
pub struct Hub {
    /// What is wanted. Never held while somebody waits.
    stacks: Mutex<Stacks>,
    /// Held while the edge is told, so that one change follows the other.
    link: tokio::sync::Mutex<Link>,
    client: watch::Sender<Option<Client>>,
    ground: Ground,
    folders: Folders,
    launcher: Launcher,
    /// Names the packet rules of detours, and what they said last.
    detours: (String, tokio::sync::Mutex<Option<Vec<Leads>>>),
    /// Keeps the packet rules of stable addresses.
    balancer: Balancer,
    /// The edge was ended on purpose: nobody starts it again.
    is_over: AtomicBool,
}

/// What the running edge has.
#[derive(Default)]
struct Link {
    /// Copies of every socket it listens on.
    sockets: BTreeMap<String, (SocketAddr, OwnedFd)>,
    /// Folders it was given.
    dirs: BTreeSet<String>,
    served: Table,
    /// Its program is another than ours.
    is_foreign: bool,
}

impl Hub {
    /// A hub whose routes are served on `ground.http`; `detours` names packet rules.
    pub fn new(ground: Ground, folders: Folders, launcher: Launcher, detours: String, balancer: Balancer) -> Self {
        Self {
            stacks: Mutex::default(),
            link: tokio::sync::Mutex::default(),
            client: watch::Sender::new(None),
            ground,
            folders,
            launcher,
            detours: (detours, tokio::sync::Mutex::default()),
            balancer,
            is_over: AtomicBool::new(false),
        }
    }

    pub(super) fn stacks(&self) -> MutexGuard<'_, Stacks> {
        self.stacks.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Finds the edge that runs and what it remembers of each stack, or starts one.
    ///
    /// Sockets that it holds are taken back, so that none is ever bound a second time.
    pub async fn connect(&self) -> Result<BTreeMap<StackId, Remembered>, LaunchError> {
        let mut link = self.link.lock().await;
        let Found { client, is_old, is_foreign } = self.launcher.find_or_start().await?;
        let mut memos = BTreeMap::new();
        if is_old {
            let table = self.launcher.ask(client.table()).await?;
            link.take(self.launcher.ask(client.listeners()).await?);
            for (stack, memo) in &table.memo {
                if let Ok(stack) = stack.parse::<StackId>() {
                    // One of another version's form tells nothing; what is served is kept all the same.
                    let memo = serde_json::from_str(memo).unwrap_or_default();
                    let (ready, served) = (table::ready_in(&table, &stack), Kept::of(&table, &stack));
                    memos.insert(stack, Remembered { memo, ready, served });
                }
            }
            link.dirs = dirs_in(&table);
            link.served = table;
            link.is_foreign = is_foreign;
        }
        self.client.send_replace(Some(client));
        Ok(memos)
    }

    /// Puts another edge in the place of one whose program is not ours; to be called once every stack is restored.
    ///
    /// The new one listens on the same sockets before the old one stops, so no connection is refused.
    pub async fn renew(&self) -> Result<bool, LaunchError> {
        let mut link = self.link.lock().await;
        let Some(old) = self.current().filter(|_| link.is_foreign) else { return Ok(false) };
        let before = (link.served.clone(), link.dirs.clone());
        let taking = async |client: Client| self.hand_all(&mut link, &client).await;
        let client = match self.launcher.replace(taking).await {
            Ok(client) => client,
            Err(error) => {
                (link.served, link.dirs) = before;
                return Err(error);
            }
        };
        self.client.send_replace(Some(client));
        // It may have ended by itself meanwhile, which is what is wanted.
        let _ = self.launcher.ask(old.shutdown(REPLACED_GRACE)).await;
        Ok(true)
    }

    /// Puts back what the edge already does for a stack; nothing is changed there.
    pub async fn restore(&self, stack: &StackId, routing: StackRouting) {
        self.stacks().insert(stack.clone(), routing);
    }

    /// Watches over the edge until the end of time: starts it again when it dies and gives it all it needs.
    ///
    /// What becomes of it is told by `tell`, as an event's kind and text.
    pub async fn supervise(&self, tell: impl Fn(&'static str, String) + Send + Sync) {
        let mut pause = Duration::from_millis(50);
        let mut clients = self.client.subscribe();
        loop {
            let client = clients.borrow_and_update().clone();
            let lost = match client {
                Some(client) => tokio::select! {
                    lost = self.launcher.watch(&client, &tell) => lost,
                    // Another one has taken its place on purpose.
                    _ = clients.changed() => continue,
                },
                None => "it is not connected".to_owned(),
            };
            if self.is_over.load(Ordering::SeqCst) {
                // The daemon ends next, and whoever supervises with it.
                return std::future::pending().await;
            }
            tell("edge.lost", lost);
            match self.restart().await {
                Ok(()) => pause = Duration::from_millis(50),
                Err(error) => {
                    tell("edge.lost", crate::chain(&error));
                    self.launcher.clock.sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    async fn restart(&self) -> Result<(), LaunchError> {
        let mut link = self.link.lock().await;
        if self.client.borrow().as_ref().is_some_and(|client| !client.is_closed()) {
            // Another one has taken its place already.
            return Ok(());
        }
        self.client.send_replace(None);
        let Found { client, is_old, .. } = self.launcher.find_or_start().await?;
        if is_old {
            self.client.send_replace(Some(client));
            let stacks = self.stacks().clone();
            return self.push(&mut link, &stacks, None).await.map_err(restoring);
        }
        self.hand_all(&mut link, &client).await?;
        self.client.send_replace(Some(client));
        Ok(())
    }

    /// Gives a fresh edge all sockets and the whole table.
    async fn hand_all(&self, link: &mut Link, client: &Client) -> Result<(), LaunchError> {
        (link.served, link.dirs, link.is_foreign) = (Table::default(), BTreeSet::new(), false);
        let sockets: Vec<_> = link.sockets.iter().map(|(id, (_, fd))| (id.clone(), fd.as_fd())).collect();
        self.launcher.ask(client.add_listeners(&sockets)).await?;
        let stacks = {
            let mut stacks = self.stacks();
            stacks.values_mut().filter_map(|routing| routing.kept.as_mut()).for_each(Kept::forget_folders);
            stacks.clone()
        };
        self.push_to(client, link, &stacks, None).await.map_err(restoring)
    }

    pub(super) fn ground(&self) -> &Ground {
        &self.ground
    }

    pub(super) fn clock(&self) -> &dyn Clock {
        &*self.launcher.clock
    }

    /// The table of packet rules, and the detours that it was last seen to lead.
    pub(super) fn rules(&self) -> (&str, &tokio::sync::Mutex<Option<Vec<Leads>>>) {
        (&self.detours.0, &self.detours.1)
    }

    /// Keeps the packet rules of stable addresses.
    pub fn balancer(&self) -> &Balancer {
        &self.balancer
    }

    /// Nobody else changes anything while it is held.
    pub(super) async fn link(&self) -> impl Drop + '_ {
        self.link.lock().await
    }

    fn current(&self) -> Option<Client> {
        self.client.borrow().clone()
    }

    /// What the edge counted.
    pub async fn stats(&self) -> Option<Stats> {
        self.launcher.ask(self.current()?.stats()).await.ok()
    }

    /// The edge's process id.
    pub async fn pid(&self) -> Option<u32> {
        self.launcher.ask(self.current()?.ping()).await.ok().map(|pong| pong.pid)
    }

    /// What the edge does for this stack.
    pub async fn routing(&self, stack: &StackId) -> StackRouting {
        self.stacks().get(stack).cloned().unwrap_or_default()
    }

    /// What stands against serving this stack beside all others, as far as it can be told without trying.
    pub fn clash(&self, wanted: &Stack) -> Option<Clash> {
        let stacks = self.stacks();
        let others = stacks.iter().filter(|(id, _)| **id != wanted.id);
        let others = others.flat_map(|(id, routing)| routing.stacks().map(move |stack| (id, &**stack)));
        clash(wanted, &others.collect::<Vec<_>>(), &self.ground)
    }

    /// Changes what one stack wants and makes the edge serve it. When the edge does not take it, nothing has changed.
    pub async fn change(&self, stack: &StackId, change: impl FnOnce(&mut StackRouting)) -> Result<(), HubError> {
        let mut link = self.with_edge().await?;
        let mut stacks = self.stacks().clone();
        let before = stacks.get(stack).cloned().unwrap_or_default();
        let mut after = before.clone();
        change(&mut after);
        // Asked of what is new only: what is served already is not taken away by a change of who is ready.
        let is_new = |wanted: &&Arc<Stack>| !before.stacks().any(|there| Arc::ptr_eq(there, wanted));
        if let Some(clash) = after.stacks().filter(is_new).find_map(|wanted| self.clash(wanted)) {
            return Err(HubError::Clash(clash));
        }
        stacks.insert(stack.clone(), after.clone());
        self.push(&mut link, &stacks, Some(stack)).await?;
        self.stacks().insert(stack.clone(), after);
        Ok(())
    }

    /// Forgets the stack: its listeners are closed.
    pub async fn forget(&self, stack: &StackId) -> Result<(), HubError> {
        let mut link = self.with_edge().await?;
        let mut stacks = self.stacks().clone();
        stacks.remove(stack);
        self.push(&mut link, &stacks, Some(stack)).await?;
        self.stacks().remove(stack);
        self.lead().await
    }

    /// Takes the replica out of rotation and waits for what is in flight, at most `grace`.
    pub async fn drain(&self, stack: &StackId, replica: &ReplicaId, grace: Duration) -> Result<Drained, HubError> {
        self.change(stack, |routing| {
            if routing.routed.contains(replica) {
                routing.draining.insert(replica.clone());
            }
        })
        .await?;
        let client = self.current().ok_or(HubError::NoEdge)?;
        let draining = client.drain(vec![table::upstream_id(stack, replica)], grace);
        let (report, flows) =
            tokio::join!(self.within(grace + ANSWER, draining), self.flows_end(stack, replica, grace));
        let report = report?;
        self.change(stack, |routing| {
            routing.routed.remove(replica);
            routing.draining.remove(replica);
        })
        .await?;
        Ok(Drained { report, flows })
    }

    /// Whether nothing is served for any stack.
    pub async fn is_idle(&self) -> bool {
        // By what it listens on: a stack without ports and routes settles on nothing, and taking it down changes nothing.
        self.link.lock().await.served.listeners.is_empty()
    }

    /// Ends the edge for good.
    pub async fn shutdown(&self) {
        self.is_over.store(true, Ordering::SeqCst);
        let _link = self.link.lock().await;
        if let Some(client) = self.client.send_replace(None) {
            // It may have ended by itself meanwhile, which is what is wanted.
            let _ = self.launcher.ask(client.shutdown(Duration::from_secs(1))).await;
        }
    }

    async fn with_edge(&self) -> Result<tokio::sync::MutexGuard<'_, Link>, HubError> {
        let mut client = self.client.subscribe();
        let wait = async {
            loop {
                // The sender lives as long as the hub.
                let _ = client.wait_for(Option::is_some).await;
                let link = self.link.lock().await;
                if self.client.borrow().is_some() {
                    return link;
                }
            }
        };
        runtime::clock::timeout(&*self.launcher.clock, EDGE_WAIT, wait).await.map_err(|_| HubError::NoEdge)
    }

    async fn within<T>(
        &self,
        limit: Duration,
        asked: impl Future<Output = Result<T, ClientError>>,
    ) -> Result<T, HubError> {
        let answer = runtime::clock::timeout(&*self.launcher.clock, limit, asked).await;
        answer.map_err(|_| HubError::Silent(limit))?.map_err(HubError::Edge)
    }

    /// Makes the edge serve these stacks; `of` is the one that has asked for it.
    async fn push(&self, link: &mut Link, stacks: &Stacks, of: Option<&StackId>) -> Result<(), HubError> {
        let client = self.current().ok_or(HubError::NoEdge)?;
        self.push_to(&client, link, stacks, of).await
    }

    async fn push_to(
        &self,
        client: &Client,
        link: &mut Link,
        stacks: &Stacks,
        of: Option<&StackId>,
    ) -> Result<(), HubError> {
        let (mut table, needs) = table::table(stacks, &self.ground);
        table.version = link.served.version;
        if table == link.served {
            return Ok(());
        }
        table.version += 1;
        self.give_dirs(client, link, &mut table, &needs, of).await?;
        let mut opened = open(link, &needs)?;
        let passed: Vec<_> = opened.iter().map(|(id, (_, fd))| (id.clone(), fd.as_fd())).collect();
        if !passed.is_empty() {
            self.within(ANSWER, client.add_listeners(&passed)).await?;
        }
        self.balancer.set(needs.balances).await.map_err(HubError::Balance)?;
        self.within(ANSWER, client.apply(table.clone())).await?;
        link.sockets.append(&mut opened);
        link.sockets.retain(|id, _| needs.sockets.contains_key(id));
        link.dirs = dirs_in(&table);
        link.served = table;
        Ok(())
    }

    /// Gives the edge the folders it does not have yet. One that cannot be opened fails the stack that asks for it; for
    /// all others it is answered for until it is there again.
    async fn give_dirs(
        &self,
        client: &Client,
        link: &Link,
        table: &mut Table,
        needs: &Needs,
        of: Option<&StackId>,
    ) -> Result<(), HubError> {
        for (id, folder) in needs.dirs.iter().filter(|(id, _)| !link.dirs.contains(*id)) {
            match self.open_dir(folder) {
                Ok(dir) => self.within(ANSWER, client.add_dir(id, dir)).await?,
                Err(source) if of == Some(&folder.stack) => {
                    return Err(HubError::Folder { path: folder.root.clone(), source });
                }
                Err(error) => {
                    tracing::error!(stack = %folder.stack, folder = folder.root, error = &*error, "cannot be served");
                    leave_out(table, id);
                }
            }
        }
        Ok(())
    }

    fn open_dir(&self, folder: &Folder) -> Result<File, BoxError> {
        let path = (self.folders)(&folder.bundle)?.join(&folder.root);
        Ok(runtime::files::open(&path)?)
    }
}

impl Link {
    fn take(&mut self, sockets: Vec<(String, OwnedFd)>) {
        for (id, fd) in sockets {
            // Its id is its address; one that is named otherwise is of no use to us.
            if let Ok(address) = id.parse() {
                self.sockets.entry(id).or_insert((address, fd));
            }
        }
    }
}

/// Opens the sockets that are not there yet.
fn open(link: &Link, needs: &Needs) -> Result<BTreeMap<String, (SocketAddr, OwnedFd)>, HubError> {
    let mut opened: BTreeMap<String, (SocketAddr, OwnedFd)> = BTreeMap::new();
    for (id, address) in needs.sockets.iter().filter(|(id, _)| !link.sockets.contains_key(*id)) {
        let failed = |source| HubError::Listen { address: *address, source };
        let own = link.sockets.values().chain(opened.values()).filter(|(there, _)| overlap(*there, *address));
        let own: Vec<BorrowedFd<'_>> = own.map(|(_, fd)| fd.as_fd()).collect();
        // A service's stable address lies on the machine too, and a port may move from every address to one.
        let socket = if own.is_empty() {
            runtime::sockets::listen_tcp(*address, runtime::sockets::Address::Present)
        } else {
            runtime::sockets::listen_tcp_beside(*address, &own)
        };
        opened.insert(id.clone(), (*address, OwnedFd::from(socket.map_err(failed)?)));
    }
    Ok(opened)
}

fn restoring(error: HubError) -> LaunchError {
    LaunchError::Restore(Box::new(error))
}

fn targets(table: &mut Table) -> impl Iterator<Item = &mut Target> {
    let of_listeners = table.listeners.iter_mut().filter_map(|listener| match &mut listener.target {
        ListenerTarget::Target(target) => Some(target),
        ListenerTarget::Routes => None,
    });
    let paths = table.hosts.iter_mut().flat_map(|host| &mut host.paths);
    of_listeners.chain(paths.map(|path| &mut path.target))
}

fn dirs_in(table: &Table) -> BTreeSet<String> {
    let mut table = table.clone();
    targets(&mut table)
        .filter_map(|target| match target {
            Target::Static { dir, .. } => Some(dir.clone()),
            _ => None,
        })
        .collect()
}

/// Answers for a folder that cannot be served.
fn leave_out(table: &mut Table, id: &str) {
    let body = "{\"error\":\"the files of this service cannot be read\"}\n".to_owned();
    let answer = Fixed { status: 503, content_type: "application/json".into(), body, retry_after: Some(5) };
    for target in targets(table) {
        if matches!(target, Target::Static { dir, .. } if dir == id) {
            *target = Target::Fixed(answer.clone());
        }
    }
}

#[cfg(test)]
mod tests;
