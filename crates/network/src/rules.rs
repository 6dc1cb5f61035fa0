//! The machine's packet rules: brought in line with the networks that exist, and looked at whether they still are.
//!
//! Others replace rules too (`nft flush ruleset`, `ufw reload`). The kernel counts every change; as long as its count
//! stands where the rules were last seen in force, nothing is asked. What the rules say is decided in
//! [`crate::walls`] and [`crate::passage`].
#![expect(clippy::disallowed_methods, reason = "kernel settings")]

use crate::error::Error;
use crate::nft::{LIMIT, MOST_WORDS, accepted};
use crate::walls::{self, Duty, Wall};
use crate::{generation, nft, passage};
use model::fingerprint::short_hash;
use runtime::processes::{Output, ProcessError, Spawn};
use runtime::{Clock, Tasks};
use std::ffi::OsString;
use std::io;
use std::sync::Arc;

/// Tells which networks there are.
pub type ListWalls = Arc<dyn Fn() -> io::Result<Vec<Wall>> + Send + Sync>;

/// What rules are made for, and what they are called.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scope {
    /// The nftables table.
    pub table: String,
    /// The prefix of all links into networks of ours.
    pub links: String,
    /// What the table has to do.
    pub duty: Duty,
}

/// The rules around the networks of one engine.
pub struct Rules {
    scope: Scope,
    list: ListWalls,
    clock: Arc<dyn Clock>,
    tasks: Tasks,
    /// The kernel's count of changes at which they were seen in force; changes go one at a time.
    seen_at: tokio::sync::Mutex<Option<u32>>,
}

impl Rules {
    /// Rules around the networks that `list` tells of, which may block.
    pub fn new(scope: Scope, list: ListWalls, clock: Arc<dyn Clock>, tasks: Tasks) -> Self {
        Self { scope, list, clock, tasks, seen_at: tokio::sync::Mutex::default() }
    }

    /// Brings the rules in line with the networks that exist.
    pub async fn settle(&self) -> Result<(), Error> {
        let mut seen_at = self.seen_at.lock().await;
        *seen_at = None;
        let walls = self.walls().await?;
        let has_way_out = self.scope.duty == Duty::Whole && walls.iter().any(|wall| !wall.internal);
        let script = self.script(&walls, &self.sign(&walls));
        match nft::feed(&script, &*self.clock).await {
            Err(Error::NoNft) if !has_way_out => return Ok(()),
            result => result?,
        }
        for change in self.missing_passages(&self.listing().await?, &walls).await? {
            match change {
                Change::Nft(text) => nft::feed(&text, &*self.clock).await?,
                Change::Iptables(args) => accepted(&self.iptables(args).await?)?,
            }
        }
        if has_way_out {
            self.tasks.blocking("switch forwarding on", forward).await??;
        }
        *seen_at = self.look(&walls).await?;
        Ok(())
    }

    /// Whether the rules are in force as they were settled. Without `nft` there are none to be lost.
    pub async fn hold(&self) -> Result<bool, Error> {
        let mut seen_at = self.seen_at.lock().await;
        if seen_at.is_some() && *seen_at == self.generation().await? {
            return Ok(true);
        }
        let walls = self.walls().await?;
        let needs_nothing = self.scope.duty == Duty::Input || walls.iter().all(|wall| wall.internal);
        *seen_at = match self.look(&walls).await {
            Err(Error::NoNft) if needs_nothing => return Ok(true),
            result => result?,
        };
        Ok(seen_at.is_some())
    }

    /// The kernel's count when everything is in force, none when something is not.
    async fn look(&self, walls: &[Wall]) -> Result<Option<u32>, Error> {
        // Asked for first: a change while we look makes us look again.
        let generation = self.generation().await?;
        let listing = self.listing().await?;
        let sign = format!("comment \"{}\"", self.sign(walls));
        let is_ours = |chain: &passage::Chain<'_>| chain.table == self.scope.table && chain.text.contains(&sign);
        let n_ours = passage::chains(&listing).iter().filter(|chain| is_ours(chain)).count();
        let is_whole = walls.is_empty() || n_ours == self.scope.duty.n_chains();
        let is_open = self.missing_passages(&listing, walls).await?.is_empty();
        Ok(generation.filter(|_| is_whole && is_open))
    }

    fn sign(&self, walls: &[Wall]) -> String {
        format!("{} {}", self.scope.table, short_hash(self.script(walls, "")))
    }

    fn script(&self, walls: &[Wall], sign: &str) -> String {
        walls::script(self.scope.duty, &self.scope.table, &self.scope.links, walls, sign)
    }

    async fn walls(&self) -> Result<Vec<Wall>, Error> {
        let list = Arc::clone(&self.list);
        let kernel = |source| Error::Kernel { doing: "list the networks", source };
        self.tasks.blocking("list networks", move || list()).await?.map_err(kernel)
    }

    async fn generation(&self) -> Result<Option<u32>, Error> {
        let kernel = |source| Error::Kernel { doing: "ask for the count of rule changes", source };
        self.tasks.blocking("count rule changes", generation::now).await?.map_err(kernel)
    }

    /// What has to be done so that nobody else's chain drops what is ours.
    async fn missing_passages(&self, listing: &str, walls: &[Wall]) -> Result<Vec<Change>, Error> {
        let Scope { table, links, .. } = &self.scope;
        let mut changes = Vec::new();
        let mut by_iptables = false;
        for name in ["INPUT", "FORWARD"] {
            let listing = match self.iptables(["-S", name]).await {
                // Without the program its chains are as good as any other's.
                Err(error) if error.is_missing() => break,
                result => result?,
            };
            by_iptables |= listing.exit.is_success();
            let text = String::from_utf8_lossy(&listing.stdout);
            changes.extend(passage::legacy_rules(name, &text, table, links, walls).into_iter().map(Change::Iptables));
        }
        for chain in passage::chains(listing) {
            if chain.table != *table && !(by_iptables && chain.is_iptables()) {
                changes.extend(passage::rules(&chain, table, links, walls).map(Change::Nft));
            }
        }
        Ok(changes)
    }

    /// Runs `iptables`, which waits for others that are at it.
    async fn iptables(&self, args: impl IntoIterator<Item = impl Into<OsString>>) -> Result<Output, ProcessError> {
        let spawn = Spawn::new("iptables").args(["-w", "5"]).args(args);
        spawn.output(&*self.clock, LIMIT, MOST_WORDS).await
    }

    /// All rules of the machine, without the elements of sets.
    async fn listing(&self) -> Result<String, Error> {
        let list = Spawn::new("nft").args(["-a", "-t", "list", "ruleset"]);
        match list.output(&*self.clock, LIMIT, MOST_WORDS).await {
            Err(error) if error.is_missing() => Err(Error::NoNft),
            result => {
                let output = result?;
                accepted(&output)?;
                Ok(String::from_utf8_lossy(&output.stdout).into_owned())
            }
        }
    }
}

enum Change {
    Nft(String),
    Iptables(Vec<String>),
}

/// Has the machine pass on what is not for itself.
pub(crate) fn forward() -> Result<(), Error> {
    let path = std::path::Path::new("/proc/sys/net/ipv4/ip_forward");
    let text = std::fs::read_to_string(path).map_err(setting("read", path))?;
    if text.trim() == "0" {
        std::fs::write(path, "1").map_err(setting("switch on", path))?;
        tracing::info!("switched net.ipv4.ip_forward on: networks of the stack need it");
    }
    Ok(())
}

fn setting(doing: &'static str, path: &std::path::Path) -> impl FnOnce(io::Error) -> Error {
    let path = path.to_owned();
    move |source| Error::Setting { doing, path, source }
}
