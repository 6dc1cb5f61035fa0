//! Raw arguments to settings: flag, then environment, then file, then default; each value knows where it is from.
//!
//! Owns where things lie: the project's folder, the socket, the state folder. Never reads the project's files.

use super::args::{Cli, Global};
use super::engine::Docker;
use crate::exit::Failure;
use model::RemoteHost;
use model::policy::EngineKind;
use model::remote::RemoteHostError;
use runtime::Environment;
use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

/// Where a value came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// Typed.
    Flag(&'static str),
    /// A variable of the environment.
    Variable(&'static str),
    /// A file that was found.
    File(PathBuf),
    /// Nobody said anything.
    Default,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Flag(name) => write!(f, "`--{name}`"),
            Self::Variable(name) => write!(f, "${name}"),
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Default => f.write_str("default"),
        }
    }
}

/// A value and where it came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Setting<T> {
    /// The value.
    pub value: T,
    /// Where it came from.
    pub origin: Origin,
}

impl<T> Setting<T> {
    fn new(value: T, origin: Origin) -> Self {
        Self { value, origin }
    }
}

/// Everything a command needs to know beside its own arguments.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The project's folder; where there is no project, the folder we are in.
    pub directory: Setting<PathBuf>,
    /// The Compose files that were named; else `COMPOSE_FILE` of an environment file or the usual names count.
    pub files: Vec<PathBuf>,
    /// The operations file; none when it is to be looked for.
    pub policy: Option<PathBuf>,
    /// The project's name, when it was typed.
    pub project: Option<String>,
    /// The environment, when it was said outside the files.
    pub environment: Setting<Option<String>>,
    /// The engine, when it was said outside the files.
    pub engine: Setting<Option<EngineKind>>,
    /// Where Docker is looked for when nobody names an engine.
    pub docker: Docker,
    /// Profiles to activate beside those of `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// Files of variables instead of `.env`.
    pub env_files: Vec<PathBuf>,
    /// The environment of the command: what the project's files may refer to.
    pub variables: BTreeMap<String, String>,
    /// The daemon's socket.
    pub socket: Setting<PathBuf>,
    /// The machine whose daemon is meant; none when nobody said, which leaves it to the project's files.
    pub host: Option<Setting<Whose>>,
    /// Where ssh keeps the socket that connections share; none where there is no place for it.
    pub ssh_folder: Option<PathBuf>,
    /// Where the user's own settings lie.
    pub config_folder: Option<PathBuf>,
    /// What the environment says of the daemon's folders.
    pub places: Places,
}

/// Whose daemon is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Whose {
    /// This machine's.
    Ours,
    /// Another one's.
    Theirs(RemoteHost),
}

/// Where the daemon keeps its things.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Places {
    /// State: releases, logs, volumes.
    pub state: Setting<PathBuf>,
    /// Sockets.
    pub run: Setting<PathBuf>,
    /// The port routes are served on.
    pub http_port: Setting<u16>,
}

/// The names under which a project is found, in this order.
pub const PROJECT_FILES: [&str; 6] =
    ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml", "mainstay.yaml", "mainstay.yml"];

/// The socket's name within the run folder.
pub const SOCKET: &str = "mainstay.sock";

/// The run folder of root's daemon, which is the machine's.
const MACHINE: &str = "/run/mainstay";

/// What settings are made from beside the arguments.
pub struct World<'a> {
    /// Variables, and the folder we are in.
    pub environment: &'a Environment,
    /// Our user number.
    pub uid: u32,
    /// Whether there is a file.
    pub is_file: &'a dyn Fn(&Path) -> bool,
    /// Whether there is a socket that we may use.
    pub reach: &'a dyn Fn(&Path) -> Reach,
}

/// Whether a socket can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reach {
    /// It is not there, or we cannot see it.
    Missing,
    /// It is there and belongs to others.
    Denied,
    /// We may use it.
    Open,
}

impl Reach {
    /// Of the socket at this path.
    pub fn of(path: &Path) -> Self {
        match (path.exists(), rustix::fs::access(path, rustix::fs::Access::WRITE_OK)) {
            (false, _) => Self::Missing,
            (true, Ok(())) => Self::Open,
            (true, Err(_)) => Self::Denied,
        }
    }
}

impl Settings {
    /// Resolves the arguments of every command.
    pub fn resolve(cli: &Cli, world: &World<'_>) -> Result<Self, Failure> {
        let global = &cli.global;
        let here = |path: &PathBuf| world.environment.working_dir().join(path);
        let files = files(global, world);
        let directory = directory(global, &files, world);
        let places = Places::resolve(None, None, None, world)?;
        let socket = match (&global.socket, world.environment.get("MAINSTAY_SOCKET")) {
            (Some(path), _) => Setting::new(world.environment.working_dir().join(path), Origin::Flag("socket")),
            (None, Some(path)) => {
                Setting::new(world.environment.working_dir().join(path), Origin::Variable("MAINSTAY_SOCKET"))
            }
            (None, None) if places.run.origin == Origin::Default => {
                Setting::new(default_socket(world), Origin::Default)
            }
            (None, None) => Setting::new(places.run.value.join(SOCKET), places.run.origin.clone()),
        };
        Ok(Self {
            files: files.value,
            policy: global.policy.as_ref().map(here),
            project: global.project.clone(),
            environment: one(&global.environment, "environment", "MAINSTAY_ENVIRONMENT", world),
            engine: engine(global, world)?,
            docker: Docker::of(world.environment),
            profiles: global.profile.clone(),
            env_files: global.env_file.iter().map(here).collect(),
            variables: variables(world.environment),
            host: host(global, &socket.origin, world)?,
            ssh_folder: user_folder(world, "XDG_RUNTIME_DIR", "mainstay-ssh")
                .or_else(|| user_folder(world, "XDG_CACHE_HOME", "mainstay/ssh"))
                .or_else(|| user_folder(world, "HOME", ".cache/mainstay/ssh")),
            config_folder: user_folder(world, "XDG_CONFIG_HOME", "mainstay")
                .or_else(|| user_folder(world, "HOME", ".config/mainstay")),
            directory,
            socket,
            places,
        })
    }
}

/// A folder below the one that a variable names.
fn user_folder(world: &World<'_>, variable: &str, below: &str) -> Option<PathBuf> {
    world.environment.get(variable).map(|folder| Path::new(folder).join(below))
}

/// The machine that was named; a socket that was named is this machine's.
fn host(global: &Global, socket: &Origin, world: &World<'_>) -> Result<Option<Setting<Whose>>, Failure> {
    let (text, origin) = match (&global.host, socket, world.environment.get("MAINSTAY_HOST")) {
        (Some(typed), ..) => (typed.as_str(), Origin::Flag("host")),
        (None, Origin::Flag(_), _) => return Ok(Some(Setting::new(Whose::Ours, socket.clone()))),
        (None, _, Some(text)) => (text, Origin::Variable("MAINSTAY_HOST")),
        (None, Origin::Variable(_), None) => return Ok(Some(Setting::new(Whose::Ours, socket.clone()))),
        (None, ..) => return Ok(None),
    };
    let whose = match text {
        "local" => Whose::Ours,
        _ => Whose::Theirs(text.parse().map_err(|error: RemoteHostError| {
            Failure::usage(format!("{origin}: {error}")).help("name a machine such as `ssh://deploy@staging.example`")
        })?),
    };
    Ok(Some(Setting::new(whose, origin)))
}

impl Settings {
    /// Whether nothing says which project is meant.
    pub fn is_outside(&self) -> bool {
        self.project.is_none() && self.directory.origin == Origin::Default
    }
}

impl Places {
    /// The daemon's folders: what was typed, else the environment, else by user.
    pub fn resolve(
        state: Option<&Path>,
        run: Option<&Path>,
        http_port: Option<u16>,
        world: &World<'_>,
    ) -> Result<Self, Failure> {
        let root = world.uid == 0;
        let folder =
            |typed: Option<&Path>, flag, variable, default: PathBuf| match (typed, world.environment.get(variable)) {
                (Some(path), _) => Setting::new(world.environment.working_dir().join(path), Origin::Flag(flag)),
                (None, Some(path)) => {
                    Setting::new(world.environment.working_dir().join(path), Origin::Variable(variable))
                }
                (None, None) => Setting::new(default, Origin::Default),
            };
        Ok(Self {
            state: folder(state, "state", "MAINSTAY_STATE", default_state(root, world)),
            run: folder(run, "run", "MAINSTAY_RUN", default_run(root, world)),
            http_port: port(http_port, root, world)?,
        })
    }
}

fn default_state(root: bool, world: &World<'_>) -> PathBuf {
    if root {
        return "/var/lib/mainstay".into();
    }
    let home = || world.environment.get("HOME").map_or_else(|| "/tmp".into(), PathBuf::from);
    world.environment.get("XDG_STATE_HOME").map_or_else(|| home().join(".local/state"), PathBuf::from).join("mainstay")
}

/// The machine's daemon, where this user may give it orders; else the user's own. Where there is only the machine's,
/// that one as well: its refusal says what to do.
fn default_socket(world: &World<'_>) -> PathBuf {
    let machine = Path::new(MACHINE).join(SOCKET);
    let own = default_run(world.uid == 0, world).join(SOCKET);
    match ((world.reach)(&machine), (world.reach)(&own)) {
        (Reach::Open, _) | (Reach::Denied, Reach::Missing) => machine,
        _ => own,
    }
}

fn default_run(root: bool, world: &World<'_>) -> PathBuf {
    if root {
        return MACHINE.into();
    }
    match world.environment.get("XDG_RUNTIME_DIR") {
        Some(folder) => Path::new(&folder).join("mainstay"),
        // No login session (cron, su): a name of our own, so that users do not meet in one folder.
        None => format!("/tmp/mainstay-{}", world.uid).into(),
    }
}

fn port(typed: Option<u16>, root: bool, world: &World<'_>) -> Result<Setting<u16>, Failure> {
    match (typed, world.environment.get("MAINSTAY_HTTP_PORT")) {
        (Some(port), _) => Ok(Setting::new(port, Origin::Flag("http-port"))),
        (None, Some(text)) => {
            let wrong = || {
                Failure::usage(format!("`MAINSTAY_HTTP_PORT` is `{text}`, which is no port"))
                    .help("write a number up to 65535")
            };
            Ok(Setting::new(text.parse().map_err(|_| wrong())?, Origin::Variable("MAINSTAY_HTTP_PORT")))
        }
        (None, None) => Ok(Setting::new(if root { 80 } else { 8080 }, Origin::Default)),
    }
}

/// The Compose files that were named, by `--file` or by `COMPOSE_FILE`; their paths count from where we are.
fn files(global: &Global, world: &World<'_>) -> Setting<Vec<PathBuf>> {
    let here = |path: &Path| world.environment.working_dir().join(path);
    let variable = |name: &str| world.environment.get(name).filter(|value| !value.is_empty());
    match (&global.file[..], variable("COMPOSE_FILE")) {
        ([], None) => Setting::new(Vec::new(), Origin::Default),
        ([], Some(list)) => {
            let separator = variable("COMPOSE_PATH_SEPARATOR").unwrap_or(":");
            let names = list.split(separator).filter(|name| !name.is_empty());
            Setting::new(names.map(|name| here(Path::new(name))).collect(), Origin::Variable("COMPOSE_FILE"))
        }
        (typed, _) => Setting::new(typed.iter().map(|path| here(path)).collect(), Origin::Flag("file")),
    }
}

fn directory(global: &Global, files: &Setting<Vec<PathBuf>>, world: &World<'_>) -> Setting<PathBuf> {
    if let Some(path) = &global.directory {
        return Setting::new(world.environment.working_dir().join(path), Origin::Flag("directory"));
    }
    let here = world.environment.working_dir().to_owned();
    // With files named, paths in them count from the first one's folder, as Compose has it.
    if let (Some(first), origin) = (files.value.first(), &files.origin) {
        return Setting::new(first.parent().unwrap_or(&here).to_owned(), origin.clone());
    }
    let found = here
        .ancestors()
        .find_map(|folder| PROJECT_FILES.iter().map(|name| folder.join(name)).find(|path| (world.is_file)(path)));
    match found {
        Some(file) => Setting::new(file.parent().unwrap_or(&here).to_owned(), Origin::File(file.clone())),
        None => Setting::new(here, Origin::Default),
    }
}

/// Those of the environment; `PWD` is known even where no shell has set it.
fn variables(environment: &Environment) -> BTreeMap<String, String> {
    let mut all = environment.variables().clone();
    if let Some(here) = environment.working_dir().to_str() {
        all.entry("PWD".into()).or_insert_with(|| here.to_owned());
    }
    all
}

fn engine(global: &Global, world: &World<'_>) -> Result<Setting<Option<EngineKind>>, Failure> {
    let said = one(&global.engine, "engine", "MAINSTAY_ENGINE", world);
    let text = said.value.as_deref().filter(|text| !text.is_empty());
    let kind = text.map(str::parse::<EngineKind>).transpose().map_err(|unknown| {
        Failure::usage(format!("{} names no engine", said.origin)).because(unknown).help("write `docker` or `process`")
    })?;
    Ok(Setting::new(kind, said.origin))
}

fn one(
    typed: &Option<String>,
    flag: &'static str,
    variable: &'static str,
    world: &World<'_>,
) -> Setting<Option<String>> {
    match (typed, world.environment.get(variable)) {
        (Some(value), _) => Setting::new(Some(value.clone()), Origin::Flag(flag)),
        (None, Some(value)) => Setting::new(Some(value.to_owned()), Origin::Variable(variable)),
        (None, None) => Setting::new(None, Origin::Default),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser as _;

    fn resolve(words: &[&str], variables: &[(&str, &str)], files: &[&str], uid: u32) -> Settings {
        let variables = variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let environment = Environment::new(Path::new("/srv/shop/web/src"), variables);
        let is_file = |path: &Path| files.iter().any(|file| path == Path::new(file));
        let words = ["mainstay"].iter().chain(words).chain(&["status"]);
        let cli = Cli::try_parse_from(words).expect("legal");
        let reach = |path: &Path| match files.iter().find(|file| file.trim_start_matches('!') == path.as_os_str()) {
            None => Reach::Missing,
            Some(file) if file.starts_with('!') => Reach::Denied,
            Some(_) => Reach::Open,
        };
        let world = World { environment: &environment, uid, is_file: &is_file, reach: &reach };
        Settings::resolve(&cli, &world).expect("legal")
    }

    #[test]
    fn the_project_is_the_nearest_folder_upwards() {
        let check = |words: &[&str], files: &[&str], want: &str, origin: Origin| {
            let settings = resolve(words, &[], files, 0);
            assert_eq!(settings.directory, Setting::new(want.into(), origin));
        };
        check(
            &[],
            &["/srv/shop/compose.yaml", "/srv/compose.yaml"],
            "/srv/shop",
            Origin::File("/srv/shop/compose.yaml".into()),
        );
        check(&[], &["/srv/mainstay.yaml"], "/srv", Origin::File("/srv/mainstay.yaml".into()));
        check(&[], &[], "/srv/shop/web/src", Origin::Default);
        check(&["-C", "/opt/x"], &["/srv/shop/compose.yaml"], "/opt/x", Origin::Flag("directory"));
        check(&["-f", "/opt/y/a.yaml", "-f", "b.yaml"], &["/srv/shop/compose.yaml"], "/opt/y", Origin::Flag("file"));
    }

    #[test]
    fn files_of_the_environment_count_from_where_we_are() {
        let variables = [("COMPOSE_FILE", "../app/a.yaml;b.yaml"), ("COMPOSE_PATH_SEPARATOR", ";")];
        let settings = resolve(&[], &variables, &["/srv/shop/compose.yaml"], 0);
        let files = ["/srv/shop/web/src/../app/a.yaml", "/srv/shop/web/src/b.yaml"].map(PathBuf::from);
        assert_eq!(settings.files, files);
        let folder = "/srv/shop/web/src/../app".into();
        assert_eq!(settings.directory, Setting::new(folder, Origin::Variable("COMPOSE_FILE")));
        assert_eq!(resolve(&["-f", "c.yaml"], &variables, &[], 0).files, [Path::new("/srv/shop/web/src/c.yaml")]);
        assert!(resolve(&[], &[("COMPOSE_FILE", "")], &[], 0).files.is_empty());
    }

    #[test]
    fn flags_win_over_the_environment_over_defaults() {
        let variables = [("MAINSTAY_ENVIRONMENT", "staging"), ("MAINSTAY_SOCKET", "/run/a.sock")];
        let settings = resolve(&[], &variables, &[], 0);
        assert_eq!(
            settings.environment,
            Setting::new(Some("staging".into()), Origin::Variable("MAINSTAY_ENVIRONMENT"))
        );
        assert_eq!(settings.socket.value, Path::new("/run/a.sock"));
        let settings = resolve(&["-e", "production", "--socket", "b.sock"], &variables, &[], 0);
        assert_eq!(settings.environment, Setting::new(Some("production".into()), Origin::Flag("environment")));
        assert_eq!(settings.socket.value, Path::new("/srv/shop/web/src/b.sock"));
    }

    #[test]
    fn an_engine_is_said_by_flag_or_variable() {
        let of = |words: &[&str], variables: &[(&str, &str)]| resolve(words, variables, &[], 0).engine;
        let variables = [("MAINSTAY_ENGINE", "process")];
        assert_eq!(of(&[], &[]), Setting::new(None, Origin::Default));
        assert_eq!(of(&[], &variables).value, Some(EngineKind::Process));
        let typed = Setting::new(Some(EngineKind::Docker), Origin::Flag("engine"));
        assert_eq!(of(&["--engine", "docker"], &variables), typed);
    }

    #[test]
    fn a_host_that_was_named_wins_and_a_socket_is_this_machines() {
        let check = |words: &[&str], variables: &[(&str, &str)], want: Option<Option<&str>>| {
            let whose = resolve(words, variables, &[], 0).host.map(|host| match host.value {
                Whose::Ours => None,
                Whose::Theirs(host) => Some(host.to_string()),
            });
            assert_eq!(whose.as_ref().map(Option::as_deref), want, "{words:?} {variables:?}");
        };
        let (a, b) = ("ssh://a@box", "ssh://b@box");
        check(&[], &[], None);
        check(&["--host", a], &[("MAINSTAY_HOST", b), ("MAINSTAY_SOCKET", "/x")], Some(Some(a)));
        check(&["--host", "local"], &[("MAINSTAY_HOST", b)], Some(None));
        check(&["--socket", "/x"], &[("MAINSTAY_HOST", b)], Some(None));
        check(&[], &[("MAINSTAY_HOST", b), ("MAINSTAY_SOCKET", "/x")], Some(Some(b)));
        check(&[], &[("MAINSTAY_SOCKET", "/x")], Some(None));
    }

    #[test]
    fn who_may_use_the_machines_daemon_does() {
        let (machine, own) = ("/run/mainstay/mainstay.sock", "/run/user/7/mainstay/mainstay.sock");
        let check = |files: &[&str], variables: &[(&str, &str)], want: &str| {
            let variables = [&[("XDG_RUNTIME_DIR", "/run/user/7")], variables].concat();
            assert_eq!(resolve(&[], &variables, files, 7).socket.value, Path::new(want), "{files:?} {variables:?}");
        };
        check(&[machine], &[], machine);
        check(&[machine, own], &[], machine);
        check(&["!/run/mainstay/mainstay.sock"], &[], machine);
        check(&["!/run/mainstay/mainstay.sock", own], &[], own);
        check(&[own], &[], own);
        check(&[], &[], own);
        check(&[machine], &[("MAINSTAY_RUN", "/x")], "/x/mainstay.sock");
    }

    #[test]
    fn the_socket_lies_where_this_user_may_write() {
        let check = |uid, variables: &[(&str, &str)], socket: &str, state: &str| {
            let settings = resolve(&[], variables, &[], uid);
            assert_eq!(settings.socket.value, Path::new(socket));
            assert_eq!(settings.places.state.value, Path::new(state));
        };
        check(0, &[("HOME", "/root")], "/run/mainstay/mainstay.sock", "/var/lib/mainstay");
        check(
            7,
            &[("XDG_RUNTIME_DIR", "/run/user/7"), ("HOME", "/h")],
            "/run/user/7/mainstay/mainstay.sock",
            "/h/.local/state/mainstay",
        );
        check(7, &[("HOME", "/h")], "/tmp/mainstay-7/mainstay.sock", "/h/.local/state/mainstay");
        check(0, &[("MAINSTAY_RUN", "/x")], "/x/mainstay.sock", "/var/lib/mainstay");
    }
}
