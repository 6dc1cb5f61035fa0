//! How an image comes to be: `build`, and when one is fetched.

use super::service::{ServiceReader, texts_of};
use super::{Kind, Reference};
use crate::codes;
use crate::compose::is_folder;
use crate::findings::{note, warning};
use crate::syntax::{Map, Node};
use model::container::{Build, Context, Pull, Recipe};
use model::image::ImageRef;
use model::project::FileKind;
use model::secret::Secret;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

impl ServiceReader<'_> {
    /// When the image is fetched; `is_built` says that there is a `build` as well.
    pub(super) fn pull(&mut self, map: &Map, is_built: bool) -> Pull {
        let Some(node) = map.get("pull_policy").filter(|node| !node.is_null()) else { return Pull::default() };
        let Some(text) = self.read.scalar(node, "pull_policy") else { return Pull::default() };
        if is_built {
            if !matches!(text.as_str(), "build" | "missing" | "if_not_present" | "never") {
                self.read.found.push(
                    warning(codes::IGNORED, format!("`pull_policy: {text}` has no effect: the image is built"))
                        .at(node.span, "")
                        .help("write `build.pull: true` to ask for base images anew, or remove `build`"),
                );
            }
            return Pull::default();
        }
        match text.as_str() {
            "" | "missing" | "if_not_present" => Pull::Missing,
            "always" => Pull::Always,
            "never" => Pull::Never,
            "daily" => Pull::Every(DAY),
            "weekly" => Pull::Every(DAY * 7),
            "build" => {
                let help = "write a `build`, or remove `pull_policy`";
                self.read.wrong(codes::CONFLICT, node, "`pull_policy` says `build`, but nothing is built", help);
                Pull::default()
            }
            "refresh" => {
                let help = "write `every_12h`, or how often you want";
                self.read.wrong(codes::NOT_YET, node, "`pull_policy: refresh` is not supported yet", help);
                Pull::default()
            }
            // Its form has been judged with the values of all services.
            every => every.strip_prefix("every_").and_then(every_so_long).map_or(Pull::default(), Pull::Every),
        }
    }

    /// How the image is built. `image` is what it is called beside the name we give it.
    pub(super) fn build(&mut self, service: &Map, node: &Node, image: Option<ImageRef>) -> Build {
        let Some(map) = self.read.map(node, "build") else { return Build::default() };
        self.pull(service, true);
        let mut names: BTreeSet<ImageRef> = image.into_iter().collect();
        for tag in map.get("tags").map_or(&[][..], |node| self.read.list(node, "tags")) {
            names.extend(self.read.parse::<ImageRef>(codes::VALUE, tag, "tags"));
        }
        let flag = |reader: &mut Self, key: &str| {
            map.get(key).filter(|node| !node.is_null()).and_then(|node| reader.read.boolean(node, key)) == Some(true)
        };
        let shm = map.get("shm_size").filter(|node| !node.is_null());
        Build {
            context: self.main_context(map),
            recipe: self.build_recipe(map),
            target: self.word_of(map, "target"),
            args: texts_of(map, "args", &mut self.read).into_iter().map(|(k, v)| (k, Secret::new(v))).collect(),
            contexts: self.further_contexts(map),
            secrets: self.build_secrets(map),
            labels: texts_of(map, "labels", &mut self.read),
            cache_from: self.cache_from(map),
            no_cache: flag(self, "no_cache"),
            pull: flag(self, "pull"),
            network: self.build_network(map),
            extra_hosts: self.build_hosts(map),
            shm: shm.and_then(|node| self.read.bytes(node, "shm_size")).filter(|size| size.0 > 0),
            platform: self.build_platform(service, map),
            names,
        }
    }

    /// A text that says something.
    pub(super) fn word_of(&mut self, map: &Map, key: &str) -> Option<String> {
        let node = map.get(key).filter(|node| !node.is_null())?;
        self.read.scalar(node, key).filter(|text| !text.is_empty())
    }

    fn main_context(&mut self, map: &Map) -> Context {
        let Some(node) = map.get("context").filter(|node| !node.is_null()) else { return Context::default() };
        let context = self.context(node);
        if let Some(Context::Image(_)) = context {
            let help = "name a folder, and use the image as `FROM`";
            self.read.wrong(codes::VALUE, node, "an image is no context of a build", help);
        }
        context.unwrap_or_default()
    }

    fn context(&mut self, node: &Node) -> Option<Context> {
        let text = self.read.scalar(node, "context")?;
        if let Some(image) = text.strip_prefix("docker-image://") {
            return Some(Context::Image(image.to_owned()));
        }
        for (prefix, what) in [("service:", "the image of another service"), ("oci-layout://", "a stored layout")] {
            if text.starts_with(prefix) {
                let message = format!("{what} as a context is not supported yet");
                let help = "use a folder, or an image that is there already: `docker-image://name:tag`";
                self.read.wrong(codes::NOT_YET, node, message, help);
                return None;
            }
        }
        Some(if is_folder(&text) { Context::Bundle(text) } else { Context::Remote(text) })
    }

    fn further_contexts(&mut self, map: &Map) -> BTreeMap<String, Context> {
        let entries = self.below(map, "additional_contexts").map_or(&[][..], |map| &map.entries);
        entries.iter().filter_map(|entry| Some((entry.key.to_string(), self.context(&entry.value)?))).collect()
    }

    fn build_recipe(&mut self, map: &Map) -> Recipe {
        if let Some(text) = map.get("dockerfile_inline").and_then(Node::as_scalar).filter(|s| !s.text.is_empty()) {
            return Recipe::Inline(text.text.to_string());
        }
        self.word_of(map, "dockerfile").map_or_else(Recipe::default, Recipe::File)
    }

    /// What steps may see, by the name they ask for it.
    fn build_secrets(&mut self, map: &Map) -> BTreeMap<String, Secret> {
        let mut secrets = BTreeMap::new();
        for item in map.get("secrets").map_or(&[][..], |node| self.read.list(node, "secrets")) {
            let Some(grant) = self.read.map(item, "secrets") else { continue };
            let Some(name) = self.word_of(grant, "source") else { continue };
            self.references.push(Reference { kind: Kind::Secret, name: name.clone(), at: item.span });
            let id = self.word_of(grant, "target").unwrap_or_else(|| name.clone());
            if let Some(content) = self.contents.get(FileKind::Secret, &name) {
                secrets.insert(id, content.clone());
            }
        }
        secrets
    }

    /// Images by their names, also behind `type=registry,ref=`.
    fn cache_from(&mut self, map: &Map) -> Vec<String> {
        let mut images = Vec::new();
        for item in map.get("cache_from").map_or(&[][..], |node| self.read.list(node, "cache_from")) {
            let Some(text) = self.read.scalar(item, "cache_from") else { continue };
            let fields: BTreeMap<&str, &str> = text.split(',').filter_map(|field| field.split_once('=')).collect();
            match (fields.get("type"), fields.get("ref")) {
                (None, _) => images.push(text),
                (Some(&"registry"), Some(image)) => images.push((*image).to_owned()),
                (Some(_), _) => self.read.found.push(
                    warning(codes::IGNORED, format!("`{text}` has no effect: layers are taken from images only"))
                        .at(item.span, "")
                        .help("name an image, or remove it; the engine keeps the layers it has made"),
                ),
            }
        }
        images
    }

    fn build_network(&mut self, map: &Map) -> Option<String> {
        let text = self.word_of(map, "network")?;
        match text.as_str() {
            "default" | "bridge" => None,
            "host" | "none" => Some(text),
            _ => {
                let node = map.get("network").expect("read above");
                let message = format!("a build on the network `{text}` is not supported yet");
                self.read.wrong(codes::NOT_YET, node, message, "write `network: host`, or leave it out");
                None
            }
        }
    }

    fn build_hosts(&mut self, map: &Map) -> BTreeMap<String, std::net::IpAddr> {
        let (hosts, gateways) = self.extra_hosts(map);
        if let (false, Some(node)) = (gateways.is_empty(), map.get("extra_hosts")) {
            let help = "name the address, or write `network: host`";
            self.read.wrong(codes::NOT_YET, node, "`host-gateway` is not supported yet for a build", help);
        }
        hosts
    }

    fn build_platform(&mut self, service: &Map, map: &Map) -> Option<String> {
        let own = self.word_of(service, "platform");
        let Some(node) = map.get("platforms") else { return own };
        let platforms = self.read.scalars(node, "platforms");
        match (&platforms[..], &own) {
            (_, Some(_)) | ([], None) => own,
            ([only], None) => Some(only.clone()),
            (_, None) => {
                let message = "of several `platforms` that of the machine is built";
                self.read.found.push(note(codes::EMULATED, message).at(node.span, ""));
                None
            }
        }
    }
}

/// `12h`, `1w2d`, `90m`.
fn every_so_long(text: &str) -> Option<Duration> {
    let mut all = Duration::ZERO;
    let mut rest = text;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit())?;
        let number: u32 = rest[..digits].parse().ok()?;
        let unit = rest[digits..].chars().next()?;
        let seconds = match unit {
            'w' => 7 * 24 * 60 * 60,
            'd' => 24 * 60 * 60,
            'h' => 60 * 60,
            'm' => 60,
            's' => 1,
            _ => return None,
        };
        all = all.checked_add(Duration::from_secs(seconds).checked_mul(number)?)?;
        rest = &rest[digits + unit.len_utf8()..];
    }
    Some(all)
}
