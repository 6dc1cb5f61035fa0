//! What a Compose file tells of a project at a glance: what is built, what is reached, what keeps data. `init` writes its
//! proposals from it.

use crate::assemble::datastore;
use crate::resolved::Resolved;
use crate::syntax::{Map, Node};
use model::image::ImageRef;
use std::collections::{BTreeMap, BTreeSet};

/// One service at a glance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surveyed {
    /// Its name.
    pub name: String,
    /// Its image, when it names one.
    pub image: Option<ImageRef>,
    /// Whether it is built.
    pub is_built: bool,
    /// Whether it keeps data: an image that is well known for it.
    pub is_store: bool,
    /// The ports inside that are published.
    pub published: Vec<u16>,
    /// All ports inside that are known.
    pub ports: BTreeSet<u16>,
    /// Whether it has a health check.
    pub has_health: bool,
    /// The named volumes it mounts.
    pub volumes: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
}

/// The services of a project, in the order they are written.
pub fn survey(resolved: &Resolved) -> Vec<Surveyed> {
    let services = resolved.compose.as_map().and_then(|map| map.get("services")).and_then(Node::as_map);
    let entries = services.map_or(&[][..], |map| &map.entries);
    entries.iter().filter_map(|entry| Some(one(&entry.key, entry.value.as_map()?))).collect()
}

fn one(name: &str, service: &Map) -> Surveyed {
    let text = |node: Option<&Node>| node.and_then(Node::as_scalar).map(|scalar| scalar.to_text());
    let list = |key: &str| service.get(key).and_then(Node::as_list).unwrap_or_default();
    let field = |item: &Node, key: &str| text(item.as_map().and_then(|map| map.get(key)));
    let image: Option<ImageRef> = text(service.get("image")).and_then(|text| text.parse().ok());
    let number = |text: String| text.split(['/', '-']).next().and_then(|port| port.parse::<u16>().ok());
    let published: Vec<u16> = list("ports").iter().filter_map(|item| field(item, "target").and_then(number)).collect();
    let exposed = list("expose").iter().filter_map(|item| text(Some(item)).and_then(number));
    let labels = service.get("labels").and_then(Node::as_map).map_or(&[][..], |map| &map.entries);
    let health = service.get("healthcheck").and_then(Node::as_map);
    let is_off = text(health.and_then(|map| map.get("disable"))).as_deref() == Some("true");
    Surveyed {
        name: name.to_owned(),
        is_built: service.get("build").is_some_and(|node| !node.is_null()),
        is_store: image.as_ref().is_some_and(datastore::is_store),
        ports: published.iter().copied().chain(exposed).chain(image.as_ref().and_then(datastore::port)).collect(),
        published,
        has_health: health.is_some_and(|map| map.get("test").is_some()) && !is_off,
        volumes: list("volumes")
            .iter()
            .filter(|item| field(item, "type").as_deref() == Some("volume"))
            .filter_map(|item| field(item, "source"))
            .collect(),
        labels: labels.iter().filter_map(|label| Some((label.key.to_string(), text(Some(&label.value))?))).collect(),
        image,
    }
}
