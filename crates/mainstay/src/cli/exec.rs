//! `mainstay exec` and `mainstay run`: a command inside a replica, as if it ran here.
//!
//! With a terminal on both sides ours is raw: every key, Ctrl-C included, belongs to the command. Without one, signals
//! are passed on. The command's exit code becomes ours.

mod session;
mod terminal;

use super::Context;
use super::args::{Exec, How, Run};
use crate::client::of_stack;
use crate::daemon;
use crate::exit::{Exit, Failure};
use server::api::exec::{ExecRequest, PROTOCOL};
use std::collections::BTreeMap;
use std::io::{self, IsTerminal as _};

pub async fn exec(args: Exec, cx: &Context) -> Result<Exit, Failure> {
    begin(cx, "/exec", args.target, args.argv, args.how).await
}

pub async fn run(args: Run, cx: &Context) -> Result<Exit, Failure> {
    begin(cx, "/run", args.service, args.argv, args.how).await
}

async fn begin(cx: &Context, path: &str, target: String, argv: Vec<String>, how: How) -> Result<Exit, Failure> {
    let stack = cx.stack()?;
    let tty = !how.no_tty && io::stdin().is_terminal() && io::stdout().is_terminal();
    let mut environment = variables(&how.variables, &cx.settings.variables)?;
    if let (true, Some(term)) = (tty, cx.settings.variables.get("TERM")) {
        // What draws on our terminal has to know which one it is.
        environment.entry("TERM".to_owned()).or_insert_with(|| term.clone());
    }
    let request = ExecRequest {
        target,
        argv,
        environment,
        working_dir: how.workdir,
        user: how.user,
        tty: tty.then(terminal::size),
    };
    daemon::revive(cx.client(), &cx.settings, &cx.ui).await?;
    let stream = cx.client().upgrade(&of_stack(&stack, path), PROTOCOL).await?;
    let result = session::serve(stream, &request).await?;
    cx.ui.detail(&result.text);
    if result.code == 127 {
        cx.ui.say(&result.text);
    }
    Ok(Exit::Passed(u8::try_from(result.code).unwrap_or(1)))
}

fn variables(words: &[String], here: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Failure> {
    let mut variables = BTreeMap::new();
    for word in words {
        let (name, value) = match word.split_once('=') {
            Some((name, value)) => (name, value.to_owned()),
            None => {
                let unset =
                    || Failure::usage(format!("`{word}` is not set here")).help(format!("write `-e {word}=VALUE`"));
                (word.as_str(), here.get(word).cloned().ok_or_else(unset)?)
            }
        };
        if name.is_empty() {
            return Err(Failure::usage(format!("`{word}` has no name")).help("write `-e NAME=VALUE`"));
        }
        variables.insert(name.to_owned(), value);
    }
    Ok(variables)
}
