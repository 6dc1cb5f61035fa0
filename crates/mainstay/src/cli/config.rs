//! `mainstay config`: the project as it was understood.

use super::Context;
use super::args::Config;
use crate::exit::{Exit, Failure};

pub fn run(args: &Config, cx: &Context) -> Result<Exit, Failure> {
    if args.compose {
        cx.ui.data(crate::declaration::compose(&cx.settings, &cx.ui)?.trim_end());
        return Ok(Exit::Done);
    }
    let declaration = cx.declaration()?;
    if cx.ui.json {
        cx.ui.data(declaration.to_json(args.reveal).trim_end());
    } else {
        cx.ui.data(declaration.to_yaml(args.reveal).trim_end());
    }
    let settings = &cx.settings;
    cx.ui.detail(format!("folder       {} (from {})", settings.directory.value.display(), settings.directory.origin));
    cx.ui.detail(format!("environment  {} (from {})", declaration.stack.environment, settings.environment.origin));
    cx.ui.detail(format!("socket       {} (from {})", settings.socket.value.display(), settings.socket.origin));
    if !args.reveal {
        cx.ui.next("values are masked; `mainstay config --reveal` shows them");
    }
    Ok(Exit::Done)
}
