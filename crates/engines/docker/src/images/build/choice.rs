//! Which builder a build is given to, or why none can do it. Pure.

use super::super::error::Error;
use model::container::{Build, Context, Recipe};

/// The Engine's two builders.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Builder {
    /// Parallel, with secrets.
    BuildKit,
    /// The first one: a container per step.
    Classic,
}

/// What the Engine's BuildKit can do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Abilities {
    /// There is one.
    pub buildkit: bool,
    /// It knows further contexts and the size of `/dev/shm`: Engine 23.
    pub modern: bool,
}

/// The version of the Engine's interface that came with Engine 23.
const MODERN: (u32, u32) = (1, 42);

impl Abilities {
    /// Of an Engine with this version of its interface.
    pub fn of(buildkit: bool, api: Option<&str>) -> Self {
        let parsed = api.and_then(|api| api.split_once('.'));
        let parsed = parsed.and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)));
        Self { buildkit, modern: parsed.is_some_and(|version: (u32, u32)| version >= MODERN) }
    }
}

/// What only BuildKit has, as the declaration calls it.
fn needs_buildkit(build: &Build) -> Option<&'static str> {
    let is_remote = matches!(build.context, Context::Remote(_));
    match build {
        _ if !build.secrets.is_empty() => Some("`secrets`"),
        _ if !build.contexts.is_empty() => Some("`additional_contexts`"),
        _ if is_remote && matches!(build.recipe, Recipe::Inline(_)) => Some("`dockerfile_inline` for a remote context"),
        _ => None,
    }
}

/// What this BuildKit lacks and the classic builder has.
fn needs_classic(build: &Build, abilities: Abilities) -> Option<&'static str> {
    match build.network.as_deref() {
        None | Some("host" | "none" | "default") => {}
        Some(_) => return Some("a `network` other than `host` and `none`"),
    }
    (build.shm.is_some() && !abilities.modern).then_some("`shm_size`")
}

/// The builder that can do it.
pub fn choose(build: &Build, abilities: Abilities) -> Result<Builder, Error> {
    let unsupported = |what: &str, lacks, cure| Err(Error::Unsupported { what: what.to_owned(), lacks, cure });
    if let Context::Image(_) = build.context {
        let cure = "write a folder or a repository as `context`, and the image under `additional_contexts`";
        return unsupported("an image as its `context`", "no builder takes", cure);
    }
    match (needs_buildkit(build), needs_classic(build, abilities)) {
        (Some(what), _) if !abilities.buildkit => {
            let cure = "update the Docker Engine to 23 or newer; Podman has no such builder";
            unsupported(what, "this Engine's builder does not know", cure)
        }
        (Some(what), _) if !build.contexts.is_empty() && !abilities.modern => {
            unsupported(what, "this Docker Engine is too old for", "update the Docker Engine to 23 or newer")
        }
        (Some(_), Some(what)) => unsupported(
            what,
            "BuildKit does not know, and the build needs BuildKit",
            "leave it out, or update the Engine",
        ),
        (None, Some(_)) => Ok(Builder::Classic),
        (_, None) if abilities.buildkit => Ok(Builder::BuildKit),
        (_, None) => Ok(Builder::Classic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Secret;
    use model::units::Bytes;

    #[test]
    fn a_build_is_given_to_the_builder_that_can_do_it() {
        let none = Abilities::of(false, Some("1.41"));
        let old = Abilities::of(true, Some("1.41"));
        let new = Abilities::of(true, Some("1.52"));
        let check = |what: &str, change: fn(&mut Build), abilities, expected: Option<Builder>| {
            let mut build = Build::default();
            change(&mut build);
            assert_eq!(choose(&build, abilities).ok(), expected, "{what}");
        };
        let secret: fn(&mut Build) = |build| drop(build.secrets.insert("a".into(), Secret::new("x")));
        let contexts: fn(&mut Build) = |build| drop(build.contexts.insert("a".into(), Context::Image("b".into())));
        let shm: fn(&mut Build) = |build| build.shm = Some(Bytes(1));
        let network: fn(&mut Build) = |build| build.network = Some("own".into());
        let image: fn(&mut Build) = |build| build.context = Context::Image("a".into());
        let both: fn(&mut Build) = |build| {
            build.secrets.insert("a".into(), Secret::new("x"));
            build.shm = Some(Bytes(1));
        };
        check("plain", |_| {}, old, Some(Builder::BuildKit));
        check("plain", |_| {}, none, Some(Builder::Classic));
        check("secret", secret, old, Some(Builder::BuildKit));
        check("secret", secret, none, None);
        check("contexts", contexts, old, None);
        check("contexts", contexts, new, Some(Builder::BuildKit));
        check("shm", shm, old, Some(Builder::Classic));
        check("shm", shm, new, Some(Builder::BuildKit));
        check("network", network, new, Some(Builder::Classic));
        check("secret and shm", both, old, None);
        check("secret and shm", both, new, Some(Builder::BuildKit));
        check("image", image, new, None);
    }
}
