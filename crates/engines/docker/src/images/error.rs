//! What could not be done about an image, each with its cure; the engine boundary wraps it in `EngineError`.

use super::trouble::Trouble;
use super::wire::WireError;
use bollard::errors::Error as Bollard;
use engine::Retry;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

/// What could not be done about an image.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The service runs no image.
    #[error("it runs a program of the machine, not an image: use the process engine, or write `image:` or `build:`")]
    NoImage,
    /// It may not be fetched.
    #[error(
        "`{0}` is not on the machine, and `pull_policy: never` forbids to fetch it: load it with `docker load`, or write `pull_policy: missing`"
    )]
    NotThere(String),
    /// It cannot be fetched.
    #[error("{}", denied(.image, .registry, *.trouble, .user.as_deref(), .message))]
    Registry {
        /// The image that was asked for.
        image: String,
        /// Where.
        registry: String,
        /// As whom; none when as nobody.
        user: Option<String>,
        /// What is wrong.
        trouble: Trouble,
        /// The Engine's words.
        message: String,
    },
    /// Its registry does not go on.
    #[error("`{registry}` has sent nothing of `{image}` for {} s: look at the network and the registry, then try again", .after.as_secs_f32())]
    Stalled {
        /// The image that was asked for.
        image: String,
        /// Where.
        registry: String,
        /// For so long.
        after: Duration,
    },
    /// It is there, but for other machines.
    #[error("`{image}` is for {there}, {wanted} is needed: {}", platform_cure(*.asked, .there))]
    Platform {
        /// The image.
        image: String,
        /// What it is for.
        there: String,
        /// What is needed.
        wanted: String,
        /// Whether `platform` of the service asks for that.
        asked: bool,
    },
    /// It was there a moment ago.
    #[error("`{0}` was removed while it was being prepared: try again, and look for a job that prunes images")]
    Vanished(String),
    /// The declaration of a build asks for what this Engine cannot give.
    #[error("the build asks for {what}, which {lacks}: {cure}")]
    Unsupported {
        /// What.
        what: String,
        /// Why not.
        lacks: &'static str,
        /// What to do.
        cure: &'static str,
    },
    /// The context or the recipe cannot be used.
    #[error("{what}: {cure}")]
    Context {
        /// What is wrong.
        what: String,
        /// What to do.
        cure: &'static str,
    },
    /// A file of the context cannot be read.
    #[error(transparent)]
    File(#[from] runtime::files::FileError),
    /// A step failed.
    #[error("{0}")]
    Build(Box<FailedBuild>),
    /// The Engine cannot be talked to, or says no.
    #[error("could not {doing}")]
    Engine {
        /// What was being done.
        doing: String,
        /// Why not.
        #[source]
        source: EngineTrouble,
    },
    /// A task of ours failed.
    #[error(transparent)]
    Task(#[from] runtime::tasks::Failure),
}

/// A build that failed.
#[derive(Debug)]
pub struct FailedBuild {
    /// The step, as the builder names it; none when it failed before or after its steps.
    pub step: Option<String>,
    /// The builder's words.
    pub message: String,
    /// The last lines that the step wrote.
    pub output: Vec<String>,
    /// What is wrong, when the fault is not the recipe's.
    pub trouble: Option<Trouble>,
}

impl FailedBuild {
    /// Of what the builder has said. A step that ran may say anything, also "not found": only a full disk is no fault of it.
    pub(crate) fn new(step: Option<String>, message: String, output: Vec<String>) -> Self {
        let ran = !output.is_empty() || step.as_deref().is_some_and(|step| step.contains("RUN "));
        let trouble = Trouble::of_step(&message, &output).filter(|trouble| !ran || *trouble == Trouble::Full);
        Self { step, message, output, trouble }
    }
}

impl fmt::Display for FailedBuild {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.step {
            Some(step) => write!(f, "the build failed at `{step}`: {}", self.message)?,
            None => write!(f, "the build failed: {}", self.message)?,
        }
        for line in &self.output {
            write!(f, "\n  | {line}")?;
        }
        if !self.output.is_empty() {
            f.write_str("\n")?;
        } else {
            f.write_str("; ")?;
        }
        f.write_str(match self.trouble {
            Some(Trouble::Denied) => {
                "run `docker login` for the registry of its base image, and check the image's name"
            }
            Some(Trouble::Absent) => "check the names and tags of its base images and the paths that it copies",
            Some(Trouble::Full) => "free space with `docker system prune`, or enlarge the disk",
            Some(Trouble::OtherPlatform) => "choose a base image for this machine, or write `platform:`",
            Some(trouble) => cure(trouble),
            None => "correct that step or the files it uses",
        })
    }
}

/// Why the Engine did not do something.
#[derive(Debug, thiserror::Error)]
pub enum EngineTrouble {
    /// Through bollard.
    #[error(transparent)]
    Bollard(#[from] Bollard),
    /// Through a connection of our own.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Through a builder's interface.
    #[error("{0}")]
    Builder(String),
}

impl EngineTrouble {
    fn retry(&self) -> Retry {
        match self {
            Self::Bollard(Bollard::DockerResponseServerError { status_code, .. }) if *status_code < 500 => Retry::Never,
            Self::Wire(WireError::Refused { status, .. }) if status.is_client_error() => Retry::Never,
            _ => Retry::Later,
        }
    }
}

impl Error {
    /// Whether trying again may help.
    pub fn retry(&self) -> Retry {
        match self {
            Self::NoImage | Self::NotThere(_) | Self::Platform { .. } => Retry::Never,
            Self::Unsupported { .. } | Self::Context { .. } => Retry::Never,
            Self::Registry { trouble, .. } => trouble.retry(),
            Self::Build(failed) => failed.trouble.map_or(Retry::Never, Trouble::retry),
            Self::Engine { source, .. } => source.retry(),
            Self::Stalled { .. } | Self::Vanished(_) | Self::File(_) | Self::Task(_) => Retry::Later,
        }
    }

    /// A path of the bundle that cannot be used.
    pub(crate) fn outside(path: PathBuf) -> Self {
        Self::Context {
            what: format!("`{}` leads out of the bundle", path.display()),
            cure: "keep everything that a build uses below the project's folder",
        }
    }
}

/// Says what was being done with the Engine.
pub(crate) fn engine<E: Into<EngineTrouble>>(doing: impl Into<String>) -> impl FnOnce(E) -> Error {
    let doing = doing.into();
    move |source| Error::Engine { doing, source: source.into() }
}

fn denied(image: &str, registry: &str, trouble: Trouble, user: Option<&str>, message: &str) -> String {
    let asked = match user {
        Some(user) => format!("as {user}"),
        None => "without a login".to_owned(),
    };
    let what = match trouble {
        Trouble::Unreachable => format!("`{registry}` cannot be reached for `{image}`"),
        Trouble::Distrusted => format!("`{registry}` cannot be trusted with `{image}`"),
        Trouble::Denied => format!("`{registry}` does not give `{image}` to us; it was asked {asked}"),
        Trouble::Absent => format!("there is no `{image}` at `{registry}`; it was asked {asked}"),
        Trouble::OtherPlatform => format!("`{registry}` has `{image}` for other platforms only"),
        Trouble::TooOften => format!("`{registry}` was asked too often to give `{image}` now; it was asked {asked}"),
        Trouble::Full => format!("there is no space left for `{image}`"),
    };
    let cure = match (trouble, user) {
        (Trouble::Denied, None) => format!("run `docker login {registry}`, and check the image's name"),
        (Trouble::Denied, Some(_)) => {
            format!("run `docker login {registry}` as a user who may read it, and check the image's name")
        }
        (Trouble::TooOften, None) => format!("run `docker login {registry}`, or wait"),
        _ => cure(trouble).to_owned(),
    };
    format!("{what} ({message}): {cure}")
}

fn cure(trouble: Trouble) -> &'static str {
    match trouble {
        Trouble::Unreachable => "check the registry's name, that it runs, and the machine's network and proxy",
        Trouble::Distrusted => {
            "give the Engine the registry's certificate under /etc/docker/certs.d, or list it in `insecure-registries`"
        }
        Trouble::Denied => "run `docker login` for that registry",
        Trouble::Absent => "check its name and tag",
        Trouble::OtherPlatform => "choose an image for this machine, or write `platform:` with one that it has",
        Trouble::TooOften => "wait, or use a registry of your own",
        Trouble::Full => "free space with `docker system prune`, or enlarge the disk of the Engine",
    }
}

fn platform_cure(asked: bool, there: &str) -> String {
    match asked {
        true => "choose an image for that platform, or leave `platform` out".to_owned(),
        false => format!(
            "remove it and fetch it again with `pull_policy: always`, or write `platform: {there}` where the machine can emulate it"
        ),
    }
}
