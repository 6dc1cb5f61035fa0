//! Keeps what all stacks want of the edge, and makes the edge serve it.

use super::process::{LaunchError, Launcher};
use super::table::{self, Kept, Memo, Needs, StackRouting};
use edge::control::{Client, ClientError, DrainReport, Stats, Table};
use model::{BundleId, ReplicaId, SpecHash, StackId};
use runtime::BoxError;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::{Mutex, Notify};

/// How long an order waits for an edge that is being started again.
const EDGE_WAIT: Duration = Duration::from_secs(15);

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
    /// Another stack has the address.
    #[error("{address} is already published by `{owner}`")]
    Taken {
        /// Where.
        address: SocketAddr,
        /// Who has it.
        owner: StackId,
    },
    /// Another stack has the route.
    #[error("`{host}{prefix}` is already routed by `{owner}`")]
    Routed {
        /// The host.
        host: String,
        /// The path.
        prefix: String,
        /// Who has it.
        owner: String,
    },
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
    /// There is no edge.
    #[error("no edge is running and none came up within {} s", EDGE_WAIT.as_secs())]
    NoEdge,
}

/// Where the folder of a bundle lies.
pub type Folders = Box<dyn Fn(&BundleId) -> Result<PathBuf, BoxError> + Send + Sync>;

/// What a running edge does for a stack.
#[derive(Debug)]
pub struct Found {
    /// What it remembers.
    pub memo: Memo,
    /// The replicas it holds for ready.
    pub ready: BTreeSet<ReplicaId>,
    /// Its part of the table, for when the release cannot be read.
    pub served: Kept,
}

/// Keeps what all stacks want of the edge.
pub struct Hub {
    state: Mutex<State>,
    connected: Notify,
    http: SocketAddr,
    folders: Folders,
    launcher: Launcher,
    /// The edge is being ended on purpose: nobody starts another one.
    ending: AtomicBool,
}

#[derive(Default)]
struct State {
    client: Option<Client>,
    /// Copies of every socket the edge listens on.
    sockets: BTreeMap<String, OwnedFd>,
    stacks: BTreeMap<StackId, StackRouting>,
    served: Table,
    /// The edge was ended on purpose: nobody starts it again.
    is_over: bool,
}

impl Hub {
    /// A hub whose routes are served on `http`.
    pub fn new(http: SocketAddr, folders: Folders, launcher: Launcher) -> Self {
        Self {
            state: Mutex::default(),
            connected: Notify::new(),
            http,
            folders,
            launcher,
            ending: AtomicBool::new(false),
        }
    }

    /// Finds the edge that runs and what it remembers of each stack, or starts one.
    ///
    /// Sockets that it holds are taken back, so that none is ever bound a second time.
    pub async fn connect(&self) -> Result<BTreeMap<StackId, Found>, LaunchError> {
        let mut state = self.state.lock().await;
        let (client, found) = self.launcher.find_or_start().await?;
        let mut memos = BTreeMap::new();
        if found {
            let table = client.table().await.map_err(LaunchError::Talk)?;
            for (id, fd) in client.listeners().await.map_err(LaunchError::Talk)? {
                state.sockets.entry(id).or_insert(fd);
            }
            for (stack, memo) in &table.memo {
                if let Ok(stack) = stack.parse::<StackId>() {
                    // One of another version's form tells nothing; what is served is kept all the same.
                    let memo = serde_json::from_str(memo).unwrap_or_default();
                    let (ready, served) = (table::ready_in(&table, &stack), Kept::of(&table, &stack));
                    memos.insert(stack, Found { memo, ready, served });
                }
            }
            state.served = table;
        }
        self.launcher.pass_access_log(&client).await?;
        state.client = Some(client);
        Ok(memos)
    }

    /// Puts back what the edge already does for a stack; nothing is changed there.
    pub async fn restore(&self, stack: &StackId, routing: StackRouting) {
        self.state.lock().await.stacks.insert(stack.clone(), routing);
    }

    /// Watches over the edge until the end of time: starts it again when it dies and gives it all it needs.
    pub async fn supervise(&self, on_loss: impl Fn(String) + Send) {
        let mut pause = Duration::from_millis(50);
        loop {
            let client = self.state.lock().await.client.clone();
            let lost = match client {
                Some(client) => self.launcher.lost(&client).await,
                None => "it is not connected".to_owned(),
            };
            if self.ending.load(Ordering::SeqCst) {
                return;
            }
            on_loss(lost);
            match self.restart().await {
                Ok(()) => pause = Duration::from_millis(50),
                Err(error) => {
                    on_loss(crate::chain(&error));
                    self.launcher.clock.sleep(pause).await;
                    pause = (pause * 2).min(Duration::from_secs(5));
                }
            }
        }
    }

    async fn restart(&self) -> Result<(), LaunchError> {
        let mut state = self.state.lock().await;
        state.client = None;
        if state.is_over {
            drop(state);
            // The daemon ends next, and whoever supervises with it.
            return std::future::pending().await;
        }
        let (client, found) = self.launcher.find_or_start().await?;
        self.launcher.pass_access_log(&client).await?;
        if !found {
            state.served = Table::default();
            state.stacks.values_mut().filter_map(|routing| routing.kept.as_mut()).for_each(Kept::forget_folders);
            let sockets: Vec<_> = state.sockets.iter().map(|(id, fd)| (id.clone(), fd.as_fd())).collect();
            client.add_listeners(&sockets).await.map_err(LaunchError::Talk)?;
        }
        state.client = Some(client);
        let pushed = self.push(&mut state).await;
        drop(state);
        self.connected.notify_waiters();
        pushed.map_err(|error| LaunchError::Restore(Box::new(error)))
    }

    /// What the edge counted.
    pub async fn stats(&self) -> Option<Stats> {
        let client = self.state.lock().await.client.clone()?;
        client.stats().await.ok()
    }

    /// The edge's process id.
    pub async fn pid(&self) -> Option<u32> {
        let client = self.state.lock().await.client.clone()?;
        client.ping().await.ok().map(|pong| pong.pid)
    }

    /// What the edge does for this stack.
    pub async fn routing(&self, stack: &StackId) -> StackRouting {
        self.state.lock().await.stacks.get(stack).cloned().unwrap_or_default()
    }

    /// Changes what one stack wants and makes the edge serve it. When the edge does not take it, nothing has changed.
    pub async fn change(&self, stack: &StackId, change: impl FnOnce(&mut StackRouting)) -> Result<(), HubError> {
        let mut state = self.with_edge().await?;
        let before = state.stacks.get(stack).cloned();
        let mut after = before.clone().unwrap_or_default();
        change(&mut after);
        let refused = conflict(&state.stacks, stack, &after);
        state.stacks.insert(stack.clone(), after);
        let pushed = match refused {
            Some(conflict) => Err(conflict),
            None => self.push(&mut state).await,
        };
        if pushed.is_err() {
            match before {
                Some(before) => state.stacks.insert(stack.clone(), before),
                None => state.stacks.remove(stack),
            };
        }
        pushed
    }

    /// Forgets the stack: its listeners are closed.
    pub async fn forget(&self, stack: &StackId) -> Result<(), HubError> {
        let mut state = self.with_edge().await?;
        state.stacks.remove(stack);
        self.push(&mut state).await
    }

    /// Takes the replica out of rotation and waits for what is in flight, at most `grace`.
    pub async fn drain(&self, stack: &StackId, replica: &ReplicaId, grace: Duration) -> Result<DrainReport, HubError> {
        self.change(stack, |routing| {
            if routing.routed.contains(replica) {
                routing.draining.insert(replica.clone());
            }
        })
        .await?;
        let client = self.with_edge().await?.client.clone().ok_or(HubError::NoEdge)?;
        let report = client.drain(vec![table::upstream_id(stack, replica)], grace).await.map_err(HubError::Edge)?;
        self.change(stack, |routing| {
            routing.routed.remove(replica);
            routing.draining.remove(replica);
        })
        .await?;
        Ok(report)
    }

    /// Whether nothing is served for any stack.
    pub async fn is_idle(&self) -> bool {
        // By what it listens on: a stack without ports and routes settles on nothing, and taking it down changes nothing.
        self.state.lock().await.served.listeners.is_empty()
    }

    /// Ends the edge for good.
    pub async fn shutdown(&self) {
        let mut state = self.state.lock().await;
        state.is_over = true;
        if let Some(client) = state.client.take() {
            // It may have ended by itself meanwhile, which is what is wanted.
            let _ = client.shutdown(Duration::from_secs(1)).await;
        }
    }

    /// The routing hash that was settled last, and who gets traffic.
    pub async fn settled(&self, stack: &StackId) -> Option<SpecHash> {
        self.state.lock().await.stacks.get(stack).and_then(|routing| routing.settled.as_ref().map(|(_, hash)| *hash))
    }

    async fn with_edge(&self) -> Result<tokio::sync::MutexGuard<'_, State>, HubError> {
        let wait = async {
            loop {
                let connected = self.connected.notified();
                let state = self.state.lock().await;
                if state.client.is_some() {
                    return state;
                }
                drop(state);
                connected.await;
            }
        };
        runtime::clock::timeout(&*self.launcher.clock, EDGE_WAIT, wait).await.map_err(|_| HubError::NoEdge)
    }

    async fn push(&self, state: &mut State) -> Result<(), HubError> {
        let Some(client) = state.client.clone() else {
            return Err(HubError::NoEdge);
        };
        let (mut table, needs) = table::table(&state.stacks, self.http);
        table.version = state.served.version;
        if table == state.served {
            return Ok(());
        }
        table.version += 1;
        self.open(&client, state, &needs).await?;
        client.apply(table.clone()).await.map_err(HubError::Edge)?;
        state.sockets.retain(|id, _| needs.sockets.contains_key(id));
        state.served = table;
        Ok(())
    }

    async fn open(&self, client: &Client, state: &mut State, needs: &Needs) -> Result<(), HubError> {
        let mut opened = BTreeMap::new();
        for (id, (address, _)) in &needs.sockets {
            if !state.sockets.contains_key(id) {
                let socket = runtime::sockets::listen_tcp(*address, runtime::sockets::Address::Present)
                    .map_err(|source| HubError::Listen { address: *address, source })?;
                opened.insert(id.clone(), OwnedFd::from(socket));
            }
        }
        let passed: Vec<_> = opened.iter().map(|(id, fd)| (id.clone(), fd.as_fd())).collect();
        if !passed.is_empty() {
            client.add_listeners(&passed).await.map_err(HubError::Edge)?;
        }
        for (id, (bundle, root)) in &needs.dirs {
            let failed = |source: BoxError| HubError::Folder { path: root.clone(), source };
            let path = (self.folders)(bundle).map_err(failed)?.join(root);
            let dir = runtime::files::open(&path).map_err(|error| failed(error.into()))?;
            client.add_dir(id, dir).await.map_err(HubError::Edge)?;
        }
        state.sockets.append(&mut opened);
        Ok(())
    }
}

/// What `stack` wants that another one already has.
fn conflict(stacks: &BTreeMap<StackId, StackRouting>, stack: &StackId, wanted: &StackRouting) -> Option<HubError> {
    let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
    let (mine, mine_needs) = table::table(&BTreeMap::from([(stack.clone(), wanted.clone())]), nowhere);
    let others = stacks.iter().filter(|(id, _)| *id != stack).map(|(id, routing)| (id.clone(), routing.clone()));
    let (theirs, theirs_needs) = table::table(&others.collect(), nowhere);
    for (id, (address, _)) in mine_needs.sockets.iter().filter(|(_, (_, owner))| owner.is_some()) {
        if let Some((_, Some(owner))) = theirs_needs.sockets.get(id) {
            return Some(HubError::Taken { address: *address, owner: owner.clone() });
        }
    }
    for host in &mine.hosts {
        for other in theirs.hosts.iter().filter(|other| other.host == host.host) {
            if let Some(path) = host.paths.iter().find(|path| other.paths.iter().any(|o| o.prefix == path.prefix)) {
                let (host, prefix) = (host.host.clone(), path.prefix.clone());
                return Some(HubError::Routed { host, prefix, owner: other.project.clone() });
            }
        }
    }
    None
}
