//! `mainstay validate`: every problem of the project's files at once.

use super::Context;
use super::args::Validate;
use crate::declaration;
use crate::exit::{Exit, Failure};
use crate::report;
use crate::ui::paint::Tone;
use serde::Serialize;

#[derive(Serialize)]
struct Verdict<'a> {
    valid: bool,
    diagnostics: Vec<report::JsonDiagnostic<'a>>,
}

pub fn run(args: &Validate, cx: &Context) -> Result<Exit, Failure> {
    let loaded = declaration::load(&cx.settings)?;
    let valid = loaded.declaration.is_some();
    if args.sarif {
        cx.ui.data(format!("{:#}", report::sarif::log(&loaded.diagnostics, &loaded.sources)));
    } else if cx.ui.json {
        cx.ui.json(&Verdict { valid, diagnostics: report::json(&loaded.diagnostics, &loaded.sources) });
    } else {
        report::show(&cx.ui, &loaded.diagnostics, &loaded.sources, true);
    }
    let ui = &cx.ui;
    if let Some(resolved) = &loaded.resolved {
        ui.detail(format!("engine {} (from {})", resolved.engine.kind, loaded.engine_from));
    }
    let tally = report::tally(ui, &loaded.diagnostics);
    let Some(declaration) = loaded.declaration else {
        ui.say(&format!("{} {}", ui.err.tone(Tone::Bad, "✘ not valid:"), tally.unwrap_or_default()));
        if let Some(code) = loaded.diagnostics.iter().find(|diagnostic| diagnostic.is_error()).map(|error| error.code) {
            ui.next(format!("mend the files; `mainstay explain {code}` tells more about a code"));
        }
        return Ok(Exit::Usage);
    };
    let words = crate::progress::words::count;
    let project = &declaration.project;
    ui.note(format!(
        "{} {}: {}, {}{}",
        ui.err.tone(Tone::Good, "✔ valid"),
        declaration.stack,
        words(project.services.len(), "service"),
        words(project.routes.len(), "route"),
        tally.map(|tally| format!(" ({tally})")).unwrap_or_default(),
    ));
    ui.next("`mainstay plan` shows what `mainstay up` would do");
    Ok(Exit::Done)
}
