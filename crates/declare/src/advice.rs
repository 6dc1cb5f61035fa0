//! What works and will hurt: advice, never an error.
//!
//! Judges a project that has been put together; the places come from the tree it was made of.

use crate::assemble::datastore;
use crate::codes::{self, Code};
use crate::findings::{Findings, warning, with_places};
use crate::syntax::{Map, Node};
use model::image::ImageRef;
use model::name::ServiceName;
use model::policy::RouteTarget;
use model::project::{Project, Role, Runs, Service};
use model::span::{FileId, Span};
use std::collections::BTreeSet;

/// Says what will hurt of a project; `compose` is the tree it was made of.
///
/// `expanded` are the places where variables were put in, `private` the files that are not for everybody's eyes: what
/// comes from there is no secret that lies open. Gives the places of those that do.
pub fn advise(
    project: &Project,
    compose: &Node,
    expanded: &BTreeSet<Span>,
    private: &BTreeSet<FileId>,
    found: &mut Findings,
) -> Vec<Span> {
    let mut open = Vec::new();
    let services = compose.as_map().and_then(|map| map.get("services")).and_then(Node::as_map);
    let mut unprobed = Group::default();
    let mut not_restarted = Group::default();
    let routed: BTreeSet<&ServiceName> = routed(project).collect();
    for entry in services.map_or(&[][..], |map| &map.entries) {
        let (Some(map), Ok(name)) = (entry.value.as_map(), entry.key.parse::<ServiceName>()) else { continue };
        let Some(service) = project.services.get(&name) else { continue };
        if let Runs::Image { image, .. } = &service.template.runs {
            fixed_version(image, map, found);
            open_store(image, map, found);
        }
        open.extend(plain_secrets(map, expanded, private, found));
        let runs_on = service.role == Role::Service && !matches!(service.template.runs, Runs::Static { .. });
        if runs_on && service.probes.ready.is_none() && (routed.contains(&name) || !service.published.is_empty()) {
            unprobed.add(&name, entry.key_span);
        }
        if runs_on && !says_restart(map, service) {
            not_restarted.add(&name, entry.key_span);
        }
    }
    unprobed.say(
        codes::UNPROBED,
        "nothing tells when this can answer, and it gets traffic",
        "nothing tells when these can answer, and they get traffic",
        "give it a `healthcheck`, or `probes.<service>.ready` in mainstay.yaml",
        found,
    );
    not_restarted.say(
        codes::NOT_RESTARTED,
        "this is not started again when it ends",
        "these are not started again when they end",
        "write `restart: unless-stopped`, or `restart: \"no\"` if that is meant",
        found,
    );
    open
}

/// Services of which the same is to be said.
#[derive(Default)]
struct Group {
    names: Vec<String>,
    places: Vec<Span>,
}

impl Group {
    fn add(&mut self, name: &ServiceName, place: Span) {
        self.names.push(format!("`{name}`"));
        self.places.push(place);
    }

    fn say(&self, code: Code, one: &str, many: &str, help: &str, found: &mut Findings) {
        const MOST: usize = 4;
        if self.names.is_empty() {
            return;
        }
        let words = if self.names.len() == 1 { one } else { many };
        let more = if self.names.len() > MOST { ", …" } else { "" };
        let message = format!("{words}: {}{more}", self.names[..self.names.len().min(MOST)].join(", "));
        found.push(with_places(warning(code, message), &self.places).help(help));
    }
}

fn routed(project: &Project) -> impl Iterator<Item = &ServiceName> {
    project.routes.iter().flat_map(|route| &route.paths).filter_map(|path| match &path.target {
        RouteTarget::Service { service, .. } => Some(service),
        RouteTarget::Health | RouteTarget::Ready => None,
    })
}

fn says_restart(map: &Map, service: &Service) -> bool {
    let deploy = map.get("deploy").and_then(Node::as_map);
    let is_written = |node: Option<&Node>| node.is_some_and(|node| !node.is_null());
    is_written(map.get("restart"))
        || is_written(deploy.and_then(|map| map.get("restart_policy")))
        // Where nothing can be run nothing ends.
        || matches!(service.template.runs, Runs::Build { .. })
}

fn fixed_version(image: &ImageRef, map: &Map, found: &mut Findings) {
    let Some(node) = map.get("image") else { return };
    if image.digest().is_some() || image.tag().is_some_and(|tag| tag != "latest") {
        return;
    }
    let message = format!("`{image}` has no fixed version: what runs depends on the day it is pulled");
    let help = format!("name a version, for example `{}:1.2`", image.repository());
    found.push(warning(codes::FLOATING, message).at(node.span, "").help(help));
}

fn open_store(image: &ImageRef, map: &Map, found: &mut Findings) {
    if !datastore::is_store(image) {
        return;
    }
    for item in map.get("ports").and_then(Node::as_list).unwrap_or_default() {
        let host = item.as_map().and_then(|map| map.get("host_ip")).and_then(Node::as_scalar);
        let Some(address) = host.and_then(|scalar| scalar.text.parse::<std::net::IpAddr>().ok()) else { continue };
        if !address.is_loopback() {
            let message = format!("other machines reach the data store `{image}` at {address}");
            let help = "remove the port: services reach it by its name; or publish it on `127.0.0.1`";
            found.push(warning(codes::EXPOSED, message).at(item.span, "").help(help));
        }
    }
}

fn plain_secrets(map: &Map, expanded: &BTreeSet<Span>, private: &BTreeSet<FileId>, found: &mut Findings) -> Vec<Span> {
    let mut open = Vec::new();
    for entry in map.get("environment").and_then(Node::as_map).map_or(&[][..], |map| &map.entries) {
        let Some(value) = entry.value.as_scalar().map(|scalar| &*scalar.text) else { continue };
        let span = entry.value.span;
        let is_elsewhere = value.is_empty() || expanded.contains(&span) || private.contains(&span.file);
        if is_elsewhere || !is_secret(&entry.key, value) {
            continue;
        }
        let name = &entry.key;
        let message = format!("the secret `{name}` stands in this file, for everybody who can read it");
        let help = format!("write `${{{name}:?}}` and set it in `.env`, or give it as one of `secrets`");
        found.push(warning(codes::PLAIN_SECRET, message).at(span, "").help(help));
        open.push(span);
    }
    open
}

/// Whether the name says that the value is a secret, or the value has a password in it.
fn is_secret(name: &str, value: &str) -> bool {
    const ENDS: &[&str] = &[
        "PASSWORD",
        "PASSWD",
        "PASSPHRASE",
        "SECRET",
        "TOKEN",
        "CREDENTIALS",
        "API_KEY",
        "APIKEY",
        "ACCESS_KEY",
        "PRIVATE_KEY",
        "SECRET_KEY",
        "ENCRYPTION_KEY",
        "SECRET_KEY_BASE",
    ];
    let name = name.to_ascii_uppercase();
    let name = name.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    let is_switch =
        matches!(value.to_ascii_lowercase().as_str(), "true" | "false" | "yes" | "no" | "on" | "off" | "1" | "0");
    ENDS.iter().any(|end| name.ends_with(end)) && !is_switch || has_password(value)
}

/// Whether it is an address such as `postgres://user:password@db/shop`.
fn has_password(value: &str) -> bool {
    let authority = value.split_once("://").map_or("", |(_, rest)| rest.split(['/', '?']).next().unwrap_or_default());
    let user = authority.rsplit_once('@').map_or("", |(user, _)| user);
    user.split_once(':').is_some_and(|(_, password)| !password.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_are_known_by_their_name_or_form() {
        let check = |name: &str, value: &str, want: bool| assert_eq!(is_secret(name, value), want, "{name}={value}");
        check("POSTGRES_PASSWORD", "hunter2", true);
        check("jwt_secret", "x", true);
        check("SECRET_KEY_BASE", "x", true);
        check("TOKEN_2", "x", true);
        check("DATABASE_URL", "postgres://shop:hunter2@db/shop", true);
        check("POSTGRES_PASSWORD_FILE", "/run/secrets/password", false);
        check("ALLOW_EMPTY_PASSWORD", "yes", false);
        check("TOKEN_EXPIRY", "3600", false);
        check("DATABASE_URL", "postgres://shop@db:5432/shop", false);
        check("CALLBACK", "https://shop.example/a:b@c", false);
    }
}
