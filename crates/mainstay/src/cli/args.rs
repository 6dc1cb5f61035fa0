//! The command line as typed: names, types and help texts, no logic. What the values mean is in `settings`.

use super::host::args::Host;
use clap::{Args, Parser, Subcommand, ValueEnum};
use clap_complete::Shell;
use std::path::PathBuf;

/// Carries a web application through its whole life in production
#[derive(Debug, Parser)]
#[command(
    name = "mainstay",
    version,
    about,
    propagate_version = false,
    max_term_width = 100,
    infer_subcommands = false
)]
#[command(after_help = "Start with `mainstay init`, then `mainstay up`. Exit codes: 0 done, 1 failed, 2 usage or \
                        declaration, 3 changes pending, 4 refused by policy, 130 interrupted.")]
pub struct Cli {
    /// Options of every command.
    #[command(flatten)]
    pub global: Global,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Options of every command.
#[derive(Debug, Clone, Args)]
#[command(next_help_heading = "Global options")]
pub struct Global {
    /// The project's folder [default: the nearest one upwards with a compose.yaml or mainstay.yaml]
    #[arg(short = 'C', long, global = true, value_name = "DIR")]
    pub directory: Option<PathBuf>,
    /// A Compose file; may be repeated, later ones win [env: COMPOSE_FILE]
    #[arg(short, long, global = true, value_name = "FILE")]
    pub file: Vec<PathBuf>,
    /// The operations file [default: mainstay.yaml]
    #[arg(long, global = true, value_name = "FILE")]
    pub policy: Option<PathBuf>,
    /// The project's name, for commands outside its folder
    #[arg(short, long, global = true, value_name = "NAME")]
    pub project: Option<String>,
    /// The environment [env: MAINSTAY_ENVIRONMENT]
    #[arg(short, long, global = true, value_name = "NAME")]
    pub environment: Option<String>,
    /// The engine, whatever the files say: docker, process [env: MAINSTAY_ENGINE] [default: docker where it
    /// answers on this machine]
    #[arg(long, global = true, value_name = "NAME")]
    pub engine: Option<String>,
    /// A Compose profile to activate; may be repeated [env: COMPOSE_PROFILES]
    #[arg(long, global = true, value_name = "NAME")]
    pub profile: Vec<String>,
    /// A file of variables instead of `.env`; may be repeated
    #[arg(long, global = true, value_name = "FILE")]
    pub env_file: Vec<PathBuf>,
    /// Print data as JSON on standard output
    #[arg(long, global = true)]
    pub json: bool,
    /// The daemon's socket [env: MAINSTAY_SOCKET]
    #[arg(long, global = true, value_name = "PATH")]
    pub socket: Option<PathBuf>,
    /// The machine whose daemon is meant, `ssh://user@host`, or `local` [env: MAINSTAY_HOST] [default: `host` of the
    /// environment in mainstay.yaml]
    #[arg(long, global = true, value_name = "URL", conflicts_with = "socket")]
    pub host: Option<String>,
    /// Say only what is wrong
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    pub quiet: bool,
    /// Say more
    #[arg(short, long, global = true)]
    pub verbose: bool,
    /// When to use colours: auto, always, never [env: NO_COLOR]
    #[arg(
        long,
        global = true,
        value_name = "WHEN",
        value_enum,
        default_value_t,
        hide_possible_values = true,
        hide_default_value = true
    )]
    pub color: When,
}

/// When to use colours.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum When {
    /// On a terminal.
    #[default]
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented mainstay.yaml, or a small new project
    Init(Init),
    /// Check the project's files and show every problem
    Validate(Validate),
    /// Show the project as it was understood, with values masked
    Config(Config),
    /// Bring mainstay.yaml, or any YAML file, into the usual layout
    Fmt(Fmt),
    /// Print the JSON Schema of mainstay.yaml, for editors
    Schema,
    /// Show what `up` would do (exit code 3: changes pending)
    Plan(Plan),
    /// Bring the project up, or release what changed
    Up(Up),
    /// Take the project down; volumes stay
    Down(Down),
    /// Show what runs, and how it is
    #[command(visible_alias = "ps")]
    Status,
    /// Show what replicas have written
    Logs(Logs),
    /// Replace replicas by fresh ones, without a gap
    Restart(Restart),
    /// Set the number of replicas
    Scale(Scale),
    /// Run a command inside a replica
    Exec(Exec),
    /// Run a one-off replica of a service
    Run(Run),
    /// Show the health of every service (exit code 1: degraded)
    Health,
    /// Show what happened
    Events(Events),
    /// Show the releases, compare them, keep what they run from
    Releases(Releases),
    /// Run an earlier release again, without a build
    Rollback(Rollback),
    /// Explain a code (MS0107), or why a release failed (release 4)
    Explain(Explain),
    /// Run the daemon in the foreground
    Serve(Serve),
    /// Have the daemon started by systemd
    Service(Service),
    /// Make other machines ready to run projects, and look after them
    Host(Host),
    /// Print completions for a shell
    Completions(Completions),
    /// Show the versions of this program and of the daemon
    Version,
    /// The data plane; started by the daemon
    #[command(hide = true)]
    Edge(Edge),
    /// The far side of a connection through ssh; started by other machines' `mainstay`
    #[command(hide = true)]
    Connect(Connect),
}

/// `init`
#[derive(Debug, Args)]
pub struct Init {
    /// Overwrite files that are there
    #[arg(long)]
    pub force: bool,
    /// Print what would be written, and write nothing
    #[arg(long)]
    pub print: bool,
}

/// `validate`
#[derive(Debug, Args)]
pub struct Validate {
    /// Print the problems as SARIF, for editors and code hosts
    #[arg(long, conflicts_with = "json")]
    pub sarif: bool,
}

/// `fmt`
#[derive(Debug, Args)]
pub struct Fmt {
    /// The files, `-` for standard input [default: the project's mainstay.yaml]
    #[arg(value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Change nothing; say which files would change (exit code 1)
    #[arg(long)]
    pub check: bool,
}

/// `config`
#[derive(Debug, Args)]
pub struct Config {
    /// Show values instead of masking them
    #[arg(long)]
    pub reveal: bool,
    /// Show where the values at and below a key come from, for example `services.api` [default: all]
    #[arg(long, value_name = "KEY", num_args = 0..=1, default_missing_value = "")]
    pub explain: Option<String>,
    /// Show the Compose part alone, as `docker compose config --format json` does
    #[arg(long, requires = "reveal", conflicts_with = "explain")]
    pub compose: bool,
}

/// `plan`
#[derive(Debug, Args)]
pub struct Plan {
    /// Keep the plan in a file for `up --plan`
    #[arg(short, long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// Show every step with what it waits for, and how each key is honoured
    #[arg(long)]
    pub detailed: bool,
    /// Use the artifacts that are there
    #[arg(long)]
    pub no_build: bool,
    /// Take over the containers and volumes of the project that `docker compose` runs [default: of the same name]
    #[arg(long, value_name = "PROJECT", num_args = 0..=1, require_equals = true, default_missing_value = "")]
    pub adopt: Option<String>,
}

/// `up`
#[derive(Debug, Args)]
pub struct Up {
    /// Do exactly what this file says, or nothing
    #[arg(long, value_name = "FILE", conflicts_with_all = ["no_build", "dry_run"])]
    pub plan: Option<PathBuf>,
    /// Why, for the history
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Use the artifacts that are there
    #[arg(long)]
    pub no_build: bool,
    /// Take the place of a release that is under way
    #[arg(long)]
    pub replace: bool,
    /// Take over the containers and volumes of the project that `docker compose` runs [default: of the same name]
    #[arg(
        long,
        value_name = "PROJECT",
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "",
        conflicts_with = "plan"
    )]
    pub adopt: Option<String>,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
    /// Show the plan and change nothing
    #[arg(long)]
    pub dry_run: bool,
}

/// `down`
#[derive(Debug, Args)]
pub struct Down {
    /// Delete the volumes and what is in them
    #[arg(long)]
    pub volumes: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
}

/// `logs`
#[derive(Debug, Args)]
pub struct Logs {
    /// Services or replicas (`api`, `api.2`) [default: all]
    #[arg(value_name = "SERVICE|REPLICA")]
    pub targets: Vec<String>,
    /// Go on with what is written from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Begin with so many lines of each replica, or `all`
    #[arg(short = 'n', long, value_name = "N", default_value = "100", value_parser = tail)]
    pub tail: String,
    /// Show when each line was written
    #[arg(short, long)]
    pub timestamps: bool,
}

/// `restart`
#[derive(Debug, Args)]
pub struct Restart {
    /// The services [default: all]
    #[arg(value_name = "SERVICE")]
    pub services: Vec<String>,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
}

/// `scale`
#[derive(Debug, Args)]
pub struct Scale {
    /// How many replicas of which service
    #[arg(value_name = "SERVICE=N", required = true, value_parser = replicas)]
    pub replicas: Vec<(String, u32)>,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
}

/// `exec`
#[derive(Debug, Args)]
pub struct Exec {
    /// How the command is run.
    #[command(flatten)]
    pub how: How,
    /// A replica (`api.2`), or a service for any of its replicas
    #[arg(value_name = "TARGET")]
    pub target: String,
    /// The command
    #[arg(value_name = "COMMAND", required = true, trailing_var_arg = true, allow_hyphen_values = true)]
    pub argv: Vec<String>,
}

/// `run`
#[derive(Debug, Args)]
pub struct Run {
    /// How the command is run.
    #[command(flatten)]
    pub how: How,
    /// The service
    #[arg(value_name = "SERVICE")]
    pub service: String,
    /// The command [default: the service's own]
    #[arg(value_name = "COMMAND", trailing_var_arg = true, allow_hyphen_values = true)]
    pub argv: Vec<String>,
}

/// How `exec` and `run` run a command.
#[derive(Debug, Args)]
pub struct How {
    /// No terminal [default: a terminal when standard input is one]
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// A variable, or one to take over from here; may be repeated
    #[arg(short = 'e', long = "env", value_name = "NAME[=VALUE]")]
    pub variables: Vec<String>,
    /// Working directory inside the replica
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// User number inside the replica
    #[arg(short, long, value_name = "UID")]
    pub user: Option<u32>,
}

/// `events`
#[derive(Debug, Args)]
pub struct Events {
    /// Go on with what happens from now on
    #[arg(short, long)]
    pub follow: bool,
    /// Begin with so many recorded events
    #[arg(short = 'n', long, value_name = "N", default_value_t = 50)]
    pub last: u32,
    /// Events of every stack of this machine
    #[arg(short, long)]
    pub all: bool,
}

/// `releases`
#[derive(Debug, Args)]
pub struct Releases {
    /// What to show.
    #[command(subcommand)]
    pub what: Option<ReleasesWhat>,
}

/// What `releases` shows.
#[derive(Debug, Subcommand)]
pub enum ReleasesWhat {
    /// Show all releases, newest first
    List,
    /// Show one release
    Show {
        /// Its number
        number: u64,
    },
    /// Show what differs between two releases
    Diff {
        /// The earlier one
        from: u64,
        /// The later one [default: the one after it]
        to: Option<u64>,
    },
    /// Have what a release runs from stay, however many come after it
    Keep {
        /// Its number
        number: u64,
        /// Let it go with its age again
        #[arg(long)]
        not: bool,
    },
}

/// `rollback`
#[derive(Debug, Args)]
pub struct Rollback {
    /// The release to run again [default: the last good one before]
    #[arg(value_name = "RELEASE")]
    pub release: Option<u64>,
    /// Why, for the record [default: back to release N]
    #[arg(short, long, value_name = "TEXT")]
    pub message: Option<String>,
    /// Only show what would be done (exit code 3: changes pending)
    #[arg(long)]
    pub dry_run: bool,
    /// Take the place of a release that is under way
    #[arg(long)]
    pub replace: bool,
    /// Do not wait for the end
    #[arg(short, long)]
    pub detach: bool,
}

/// `explain`
#[derive(Debug, Args)]
pub struct Explain {
    /// A code, or `release` and a number; nothing lists all codes
    #[arg(value_name = "CODE | release N", num_args = 0..=2)]
    pub what: Vec<String>,
}

/// `serve`
#[derive(Debug, Clone, Args)]
pub struct Serve {
    /// Where everything is kept [env: MAINSTAY_STATE]
    #[arg(long, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Where sockets lie [env: MAINSTAY_RUN]
    #[arg(long, value_name = "DIR")]
    pub run: Option<PathBuf>,
    /// The port routes are served on [env: MAINSTAY_HTTP_PORT] [default: 80 as root, else 8080]
    #[arg(long, value_name = "PORT")]
    pub http_port: Option<u16>,
    /// How log lines look: text, json
    #[arg(long, value_enum, value_name = "FORMAT", default_value_t, hide_possible_values = true)]
    pub log_format: LogFormat,
    /// End the daemon that runs and take its place; what runs goes on
    #[arg(long)]
    pub replace: bool,
    /// Leave the terminal's session; `up` starts the daemon so
    #[arg(long, hide = true)]
    pub background: bool,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line.
    Json,
}

/// `service`
#[derive(Debug, Args)]
pub struct Service {
    /// What to do with the unit.
    #[command(subcommand)]
    pub what: ServiceWhat,
}

/// What to do with the systemd unit.
#[derive(Debug, Subcommand)]
pub enum ServiceWhat {
    /// Write the unit, enable and start it
    Install {
        /// Print the unit and change nothing
        #[arg(long)]
        print: bool,
        /// The unit's options.
        #[command(flatten)]
        unit: Unit,
    },
    /// Stop the unit, disable and remove it; what runs goes on
    Uninstall,
    /// Print the unit
    Print(Unit),
}

/// Options of the unit.
#[derive(Debug, Clone, Args)]
pub struct Unit {
    /// Where everything is kept
    #[arg(long, value_name = "DIR", default_value = "/var/lib/mainstay")]
    pub state: PathBuf,
    /// The port routes are served on
    #[arg(long, value_name = "PORT", default_value_t = 80)]
    pub http_port: u16,
}

/// `completions`
#[derive(Debug, Args)]
pub struct Completions {
    /// The shell
    pub shell: Shell,
}

/// `edge`
#[derive(Debug, Args)]
pub struct Edge {
    /// The number of the inherited control socket
    #[arg(long, value_name = "FD")]
    pub control_fd: i32,
}

/// `connect`
#[derive(Debug, Args)]
pub struct Connect {
    /// Start a daemon where none runs
    #[arg(long, group = "what")]
    pub start: bool,
    /// Start a daemon where none runs and one has worked before
    #[arg(long, group = "what")]
    pub revive: bool,
    /// Have the daemon run the installed program; what runs goes on
    #[arg(long, group = "what")]
    pub replace: bool,
    /// Say which program this is, and leave the daemon alone
    #[arg(long, group = "what")]
    pub identify: bool,
}

fn tail(text: &str) -> Result<String, String> {
    match text {
        "all" => Ok(text.to_owned()),
        _ if text.parse::<u32>().is_ok() => Ok(text.to_owned()),
        _ => Err("write a number of lines, or `all`".to_owned()),
    }
}

fn replicas(text: &str) -> Result<(String, u32), String> {
    let wrong = || "write SERVICE=N, for example `api=3`".to_owned();
    let (service, number) = text.split_once('=').ok_or_else(wrong)?;
    match number.parse() {
        Ok(number) if !service.is_empty() => Ok((service.to_owned(), number)),
        _ => Err(wrong()),
    }
}
