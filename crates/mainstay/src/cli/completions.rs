//! `mainstay completions`: a script for the shell.

use super::Context;
use super::args::Completions;
use crate::exit::{Exit, Failure};
use clap_complete::Shell;

pub fn run(args: &Completions, cx: &Context) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut super::command(), "mainstay", &mut script);
    cx.ui.data(String::from_utf8_lossy(&script).trim_end());
    let place = match args.shell {
        Shell::Bash => "`~/.local/share/bash-completion/completions/mainstay`",
        Shell::Fish => "`~/.config/fish/completions/mainstay.fish`",
        Shell::Zsh => "`_mainstay` in a folder of `$fpath`",
        _ => "your shell's profile",
    };
    cx.ui.next(format!("put this into {place}, then open a new shell"));
    Ok(Exit::Done)
}
