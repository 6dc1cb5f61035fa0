//! The commands: one file each, from resolved settings to an exit code.
//!
//! Owns what they have in common: [`Context`], and the way from the command line to a command. Never prints except
//! through [`Ui`].

pub mod args;
pub mod host;
pub mod service;
pub mod settings;

mod completions;
mod config;
mod connect;
mod down;
pub mod engine;
mod events;
mod exec;
mod explain;
mod fmt;
mod health;
mod init;
mod logs;
mod order;
mod place;
mod plan;
mod releases;
mod rollback;
mod serve;
mod status;
mod up;
mod validate;
mod version;

use crate::client::{self, Client};
use crate::daemon;
use crate::declaration::{self, Declaration};
use crate::exit::{Exit, Failure};
use crate::interrupt::Interrupt;
use crate::ui::Ui;
use args::{Cli, Command};
use clap::{CommandFactory as _, FromArgMatches as _};
use model::{RemoteHost, StackId};
use server::api::status::EngineView;
use settings::Settings;
use std::future::Future;

pub use serve::{edge, serve};

/// The environment of a project that names none.
const DEFAULT_ENVIRONMENT: &str = "development";

/// What every command works with.
#[derive(Debug)]
pub struct Context {
    /// Where things are said.
    pub ui: Ui,
    /// What was asked for.
    pub settings: Settings,
    client: Client,
    interrupt: Interrupt,
}

impl Context {
    /// The context of a command with these settings.
    pub fn new(ui: Ui, settings: Settings, command: &Command) -> Result<Self, Failure> {
        let client = match place::matters_to(command) {
            true => Client::at(place::resolve(&settings, &ui)?),
            false => Client::new(settings.socket.value.clone()),
        };
        Ok(Self { ui, settings, client, interrupt: Interrupt::default() })
    }

    /// The daemon.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// Does this unless Ctrl-C is pressed before it is done; `so_far` says what that means.
    pub async fn unless_interrupted<T>(
        &self,
        so_far: &str,
        work: impl Future<Output = Result<T, Failure>>,
    ) -> Result<T, Failure> {
        // Watched for before any of the work begins, which may start programs.
        let interrupted = self.interrupt.pressed();
        tokio::select! {
            done = work => done,
            () = interrupted => {
                Err(Failure { exit: Exit::Interrupted, ..Failure::failed(format!("interrupted; {so_far}")) })
            }
        }
    }

    /// Returns once Ctrl-C was pressed.
    pub async fn interrupted(&self) {
        self.interrupt.pressed().await;
    }

    /// The project's declaration without errors; what is wrong with it is shown. Where nobody names an engine, the daemon
    /// of the other machine says what it has.
    pub async fn declaration(&self) -> Result<Declaration, Failure> {
        let loaded = declaration::load(&self.settings)?;
        let Some(host) = self.client.host().filter(|_| loaded.is_by_offer()) else {
            return loaded.checked(&self.ui, self.ui.verbose);
        };
        let docker = self.offered_on(host).await?;
        let loaded = declaration::load(&Settings { docker, ..self.settings.clone() })?;
        if let (None, Some(resolved)) = (&loaded.declaration, &loaded.resolved) {
            self.ui.note(format!("judged for the engine `{}` ({})", resolved.engine.kind, loaded.engine_from));
        }
        loaded.checked(&self.ui, self.ui.verbose)
    }

    async fn offered_on(&self, host: &RemoteHost) -> Result<engine::Docker, Failure> {
        daemon::ensure(&self.client, &self.settings, &self.ui).await?;
        match self.client.get::<Vec<EngineView>>("/v1/engines").await {
            Ok(engines) => Ok(engine::offered_there(&engines, host)),
            Err(client::Error::Refused(refused)) if refused.status == 404 => {
                let (kind, why) = self.settings.docker.offered();
                self.ui.warn(format!(
                    "the daemon on {host} is too old to say which engines it has: taken is `{kind}`, as on this machine; \
                     name one with `--engine`, or run `mainstay host upgrade {host}`"
                ));
                Ok(engine::Docker::Told(kind, why))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// The stack that is meant: as typed, else the project's we are in.
    ///
    /// Files that are not valid must not keep anybody from the logs of what runs: then only the name is looked for.
    pub fn stack(&self) -> Result<StackId, Failure> {
        if let Some(project) = &self.settings.project {
            return self.named(project);
        }
        let loaded = declaration::load(&self.settings)?;
        match written_name(&self.settings).filter(|_| loaded.declaration.is_none()) {
            Some(project) => {
                self.ui.detail("the project's files are not valid; only its name was taken from them");
                self.named(&project)
            }
            None => loaded.stack(&self.ui),
        }
    }

    fn named(&self, project: &str) -> Result<StackId, Failure> {
        let environment = self.settings.environment.value.as_deref().unwrap_or(DEFAULT_ENVIRONMENT);
        let wrong = |error: model::name::NameError| Failure::usage(error.to_string());
        Ok(StackId { project: project.parse().map_err(wrong)?, environment: environment.parse().map_err(wrong)? })
    }
}

/// The project's name as it stands in files that may be wrong everywhere else.
fn written_name(settings: &Settings) -> Option<String> {
    if let Some(name) = settings.variables.get("COMPOSE_PROJECT_NAME") {
        return Some(name.clone());
    }
    let usual = settings::PROJECT_FILES.iter().map(|name| settings.directory.value.join(name));
    let files: Vec<_> = if settings.files.is_empty() { usual.collect() } else { settings.files.clone() };
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(file).ok()?;
        text.lines().find_map(|line| {
            let value = line.strip_prefix("name:").or_else(|| line.strip_prefix("project:"))?;
            let value = value.split(" #").next()?.trim().trim_matches(['"', '\'']);
            value.parse::<model::ProjectName>().ok().map(|name| name.to_string())
        })
    })
}

/// The command line with the short options that some commands use for themselves.
///
/// `-f` is `--file` everywhere except in `logs` and `events`, where it is `--follow`; `-e` is `--environment` everywhere
/// except in `exec` and `run`, where it is `--env`; `-u`, `-p` and the rest never clash. The long forms work everywhere.
pub fn command() -> clap::Command {
    let mut top = Cli::command();
    let clashes = [("logs", "file"), ("events", "file"), ("exec", "environment"), ("run", "environment")];
    for (name, id) in clashes {
        let global = top.get_arguments().find(|arg| arg.get_id() == id).cloned();
        let global = global.expect("it is an option of every command").short(None);
        top = top.mut_subcommand(name, |command| command.arg(global));
    }
    top
}

/// Reads the command line; help, versions and mistakes end the program here.
pub fn parse() -> Cli {
    let matches = command().get_matches();
    Cli::from_arg_matches(&matches).unwrap_or_else(|error| error.exit())
}

/// Runs a command that talks to the daemon or to nobody.
pub async fn run(command: Command, cx: &Context) -> Result<Exit, Failure> {
    match command {
        Command::Init(args) => init::run(&args, cx),
        Command::Validate(args) => validate::run(&args, cx),
        Command::Fmt(args) => fmt::run(&args, cx),
        Command::Schema => {
            cx.ui.data(format!("{:#}", declare::schema::policy()));
            Ok(Exit::Done)
        }
        Command::Config(args) => config::run(&args, cx),
        Command::Plan(args) => plan::run(&args, cx).await,
        Command::Up(args) => up::run(&args, cx).await,
        Command::Down(args) => down::run(&args, cx).await,
        Command::Status => status::run(cx).await,
        Command::Logs(args) => logs::run(&args, cx).await,
        Command::Restart(args) => order::restart(&args, cx).await,
        Command::Scale(args) => order::scale(&args, cx).await,
        Command::Exec(args) => exec::exec(args, cx).await,
        Command::Run(args) => exec::run(args, cx).await,
        Command::Health => health::run(cx).await,
        Command::Events(args) => events::run(&args, cx).await,
        Command::Releases(args) => releases::run(&args, cx).await,
        Command::Rollback(args) => rollback::run(&args, cx).await,
        Command::Explain(args) => explain::run(&args, cx).await,
        Command::Service(args) => service::run(&args, cx).await,
        Command::Host(args) => host::run(&args, cx).await,
        Command::Connect(args) => connect::run(&args, cx).await,
        Command::Completions(args) => completions::run(&args, cx),
        Command::Version => version::run(cx).await,
        Command::Serve(_) | Command::Edge(_) => unreachable!("main runs the processes itself"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(words: &str) -> Cli {
        let matches = command().try_get_matches_from(words.split(' ')).expect("legal");
        Cli::from_arg_matches(&matches).expect("legal")
    }

    #[test]
    fn short_options_mean_what_the_command_says() {
        command().debug_assert();
        let cli = parse("mainstay -f a.yaml -e staging logs -f api");
        assert_eq!(cli.global.file, [std::path::PathBuf::from("a.yaml")]);
        assert_eq!(cli.global.environment.as_deref(), Some("staging"));
        assert!(matches!(cli.command, Command::Logs(logs) if logs.follow && logs.targets == ["api"]));

        let cli = parse("mainstay exec -e A=1 --environment staging api.1 -- sh -c -e");
        assert_eq!(cli.global.environment.as_deref(), Some("staging"));
        let Command::Exec(exec) = cli.command else { panic!("exec") };
        assert_eq!(
            (exec.how.variables, exec.argv),
            (vec!["A=1".to_owned()], ["sh", "-c", "-e"].map(str::to_owned).to_vec())
        );

        let cli = parse("mainstay up -e production -f x.yaml");
        assert_eq!(cli.global.environment.as_deref(), Some("production"));
        assert_eq!(cli.global.file.len(), 1);
    }
}
