//! What a stage has on a Docker Engine: containers, networks and volumes with the label of its daemon.
//!
//! Asks the Engine itself, so that what is said of it is not what Mainstay says. Touches nothing without that label.

use super::api::Api;
use crate::machine::{Process, complain};
use anyhow::Context as _;
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// On everything of Mainstay's: which daemon it belongs to.
const OWNER: &str = "app.mainstay.owner";
/// On a container: the replica.
const REPLICA: &str = "app.mainstay.replica";

/// An Engine, and whose things are meant.
pub struct Containers {
    socket: PathBuf,
    api: Api,
    owner: String,
}

/// A container as a list has it.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Listed {
    id: String,
    names: Vec<String>,
    #[serde(default)]
    labels: BTreeMap<String, String>,
}

/// A container in full.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Inspected {
    state: State,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    running: bool,
    pid: i32,
}

/// A network or a volume.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Named {
    name: String,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Volumes {
    volumes: Option<Vec<Named>>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Image {
    repo_tags: Option<Vec<String>>,
}

impl Containers {
    /// On the Engine that `MAINSTAY_DOCKER` names.
    pub fn of(owner: String) -> anyhow::Result<Self> {
        let url = std::env::var("MAINSTAY_DOCKER").context(
            "MAINSTAY_DOCKER names no Docker Engine: call this through `./dev`, or run `eval \"$(./dev docker start)\"` first",
        )?;
        let path =
            url.strip_prefix("unix://").with_context(|| format!("MAINSTAY_DOCKER is `{url}`, not `unix://…`"))?;
        Ok(Self { socket: path.into(), api: Api::at(path.into()), owner })
    }

    /// As `DOCKER_HOST` has it.
    pub fn url(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// Its interface.
    pub fn api(&self) -> Api {
        Api::at(self.socket.clone())
    }

    /// Where its interface lists all containers of the daemon.
    pub fn list_path(&self, all: bool) -> String {
        format!("/containers/json?all={all}&filters={}", self.filter())
    }

    /// The running replicas, by id (`api.1`): the container's first process, and the one that holds it.
    pub fn running(&self) -> anyhow::Result<BTreeMap<String, (Process, Process)>> {
        let mut found = BTreeMap::new();
        for listed in self.listed(false)? {
            // One that has been removed since is none of those running; so is one whose process has just ended.
            let path = format!("/containers/{}/json", listed.id);
            let Some(Inspected { state }) = self.api.find(&path)? else { continue };
            let workload = Process::with_pid(state.pid).filter(|_| state.running);
            let Some((workload, holder)) = workload.and_then(|process| Some((process, process.parent()?))) else {
                continue;
            };
            if let Some(id) = listed.labels.get(REPLICA) {
                found.insert(id.clone(), (workload, holder));
            }
        }
        Ok(found)
    }

    /// Everything with the label that is there, one line each.
    pub fn left(&self) -> anyhow::Result<Vec<String>> {
        let containers = self.listed(true)?;
        let mut left: Vec<String> =
            containers.into_iter().map(|found| format!("container {}", found.names.join(" "))).collect();
        left.extend(self.networks()?.into_iter().map(|name| format!("network {name}")));
        left.extend(self.volumes()?.into_iter().map(|name| format!("volume {name}")));
        Ok(left)
    }

    /// Whether anything is there, or may be: an Engine that is away cannot tell.
    pub fn has_any(&self) -> bool {
        self.left().map_or(true, |left| !left.is_empty())
    }

    /// Removes everything, without asking the daemon: for the way out after a failure.
    pub fn remove_all(&self, project: &str) {
        let paths = || -> anyhow::Result<Vec<String>> {
            let containers =
                self.listed(true)?.into_iter().map(|found| format!("/containers/{}?force=1&v=1", found.id));
            let networks = self.networks()?.into_iter().map(|name| format!("/networks/{name}"));
            let volumes = self.volumes()?.into_iter().map(|name| format!("/volumes/{name}?force=1"));
            Ok(containers.chain(networks).chain(volumes).collect())
        };
        let removed = paths().and_then(|paths| paths.iter().try_for_each(|path| self.api.delete(path)));
        let removed = removed.and_then(|()| self.remove_images(project));
        if let Err(error) = removed {
            complain(&format!("could not remove everything from the Docker Engine: {error:#}"));
        }
    }

    /// The names of images that were built for a project.
    pub fn images(&self, project: &str) -> anyhow::Result<Vec<String>> {
        let wanted = format!("%7B%22reference%22%3A%5B%22mainstay/{project}%22%5D%7D");
        let found: Vec<Image> = self.api.get(&format!("/images/json?filters={wanted}"))?;
        let own = format!("mainstay/{project}:");
        // Equal images have the names of all who built them.
        let names = found.into_iter().flat_map(|image| image.repo_tags.unwrap_or_default());
        Ok(names.filter(|name| name.starts_with(&own)).collect())
    }

    /// Removes them; what they were built from stays in the Engine's cache.
    pub fn remove_images(&self, project: &str) -> anyhow::Result<()> {
        self.images(project)?.iter().try_for_each(|name| self.api.delete(&format!("/images/{name}")))
    }

    fn listed(&self, all: bool) -> anyhow::Result<Vec<Listed>> {
        self.api.get(&self.list_path(all))
    }

    fn networks(&self) -> anyhow::Result<Vec<String>> {
        let found: Vec<Named> = self.api.get(&format!("/networks?filters={}", self.filter()))?;
        Ok(found.into_iter().map(|network| network.name).collect())
    }

    fn volumes(&self) -> anyhow::Result<Vec<String>> {
        let found: Volumes = self.api.get(&format!("/volumes?filters={}", self.filter()))?;
        Ok(found.volumes.unwrap_or_default().into_iter().map(|volume| volume.name).collect())
    }

    /// `{"label":["…"]}`, as it stands in a URL.
    fn filter(&self) -> String {
        format!("%7B%22label%22%3A%5B%22{OWNER}%3D{}%22%5D%7D", self.owner)
    }
}
