//! `mainstay config`: the project as it was understood, whatever engine it is for, and which file set what.

use super::Context;
use super::args::Config;
use crate::declaration::{self, Loaded};
use crate::exit::{Exit, Failure};
use crate::report;
use crate::ui::paint::Tone;
use declare::keys::policy::{Default, about};
use declare::provenance::{self, How, Provenance};
use declare::variables::Origin;
use declare::{Resolved, syntax};
use model::span::{Sources, Span};
use serde::Serialize;
use std::io;

pub fn run(args: &Config, cx: &Context) -> Result<Exit, Failure> {
    if args.compose {
        let json = declaration::compose(&cx.settings, &cx.ui)?;
        cx.ui.data_from(|out| Ok(serde_json::to_writer_pretty(Dollars(out), &json)?));
        return Ok(Exit::Done);
    }
    let loaded = match &args.explain {
        Some(_) => declaration::load_with_layers(&cx.settings)?,
        None => declaration::load(&cx.settings)?,
    };
    let Some(resolved) = loaded.resolved.clone() else {
        return loaded.checked(&cx.ui, cx.ui.verbose).map(|_| Exit::Done);
    };
    match &args.explain {
        Some(key) => explain(&resolved, &loaded.sources, key, args.reveal, cx)?,
        None => {
            let yaml = resolved.to_yaml(args.reveal, Some(&loaded.engine_from));
            cx.ui.data(if cx.ui.json { as_json(&yaml) } else { yaml }.trim_end());
        }
    }
    let settings = &cx.settings;
    cx.ui.detail(format!("folder       {} (from {})", settings.directory.value.display(), settings.directory.origin));
    cx.ui.detail(format!("environment  {} (from {})", resolved.environment, settings.environment.origin));
    cx.ui.detail(format!("engine       {} (from {})", resolved.engine.kind, loaded.engine_from));
    cx.ui.detail(format!("socket       {} (from {})", settings.socket.value.display(), settings.socket.origin));
    judge(&loaded, cx);
    if !args.reveal {
        cx.ui.next("values are masked; `mainstay config --reveal` shows them");
    }
    Ok(Exit::Done)
}

/// Writes every dollar sign twice, as it is written in a Compose file.
struct Dollars<'a>(&'a mut dyn io::Write);

impl io::Write for Dollars<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        for part in bytes.split_inclusive(|byte| *byte == b'$') {
            self.0.write_all(part)?;
            if part.ends_with(b"$") {
                self.0.write_all(b"$")?;
            }
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// That the files can be read does not mean that they can be run.
fn judge(loaded: &Loaded, cx: &Context) {
    let warnings: Vec<_> = loaded.diagnostics.iter().filter(|d| !d.is_error()).cloned().collect();
    report::show(&cx.ui, &report::pressing(&warnings), &loaded.sources, cx.ui.verbose);
    if loaded.declaration.is_none()
        && let Some(tally) = report::tally(&cx.ui, &loaded.diagnostics)
    {
        cx.ui.warn(format!("this cannot be run as it is: {tally}; `mainstay validate` shows them"));
    }
}

fn as_json(yaml: &str) -> String {
    let (mut sources, mut found) = (Sources::default(), declare::findings::Findings::default());
    let file = sources.add("config", yaml);
    let tree = syntax::build::parse(file, yaml, &mut found);
    syntax::emit::json(&tree.expect("what `declare` writes it can read"))
}

/// A value and where it comes from, for programs.
#[derive(Serialize)]
struct Explained<'a> {
    key: &'a str,
    value: &'a str,
    /// `written`, or `implied` by what stands there.
    how: &'static str,
    at: Place,
    /// What it replaced, the nearest first.
    before: Vec<Before<'a>>,
    variables: Vec<Variable<'a>>,
}

#[derive(Serialize)]
struct Place {
    file: String,
    line: usize,
    column: usize,
}

#[derive(Serialize)]
struct Before<'a> {
    value: &'a str,
    at: Place,
}

#[derive(Serialize)]
struct Variable<'a> {
    name: &'a str,
    /// `file`, `environment` of the command, `built-in`, or `unset`.
    origin: &'static str,
    at: Option<Place>,
}

fn explain(resolved: &Resolved, sources: &Sources, key: &str, reveal: bool, cx: &Context) -> Result<(), Failure> {
    let all = provenance::explain(resolved, sources, key, reveal).map_err(|missing| {
        if let Some(known) = about(key.strip_prefix("policy.").unwrap_or(key)) {
            let default = match known.default {
                Default::Required => "it must be written".to_owned(),
                Default::Value(value) => format!("it is `{value}` then"),
                Default::Words("") => "it is empty then".to_owned(),
                Default::Words(words) => format!("then: {words}"),
            };
            return Failure::usage(format!("`{key}` is left out")).because(default).help(known.about);
        }
        let help = match missing.nearest {
            Some(nearest) => format!("did you mean `{nearest}`?"),
            None => "`mainstay config` shows all keys".to_owned(),
        };
        Failure::usage(format!("nothing is set at `{key}`")).help(help)
    })?;
    if cx.ui.json {
        cx.ui.json(&all.iter().map(|one| explained(one, sources)).collect::<Vec<_>>());
        return Ok(());
    }
    let paint = cx.ui.out;
    let shown = |span: Span| {
        let (line, column) = sources.position(span);
        format!("{}:{line}:{column}", sources.get(span.file).name)
    };
    let mut table = crate::ui::table::Table::new(["KEY", "VALUE", "SET IN"]);
    for one in &all {
        let place = match one.how {
            How::Written(span) => shown(span),
            How::Implied(span) => paint.tone(Tone::Dim, &format!("follows from {}", shown(span))),
        };
        table.row([one.key.clone(), short(&one.value), place]);
        for (span, value) in &one.before {
            let cells =
                [format!("  instead of {}", short(value)), shown(*span)].map(|cell| paint.tone(Tone::Dim, &cell));
            table.row([String::new()].into_iter().chain(cells));
        }
        for (name, origin) in &one.variables {
            let origin = match origin {
                Some(Origin::Process) => "the environment of this command".to_owned(),
                Some(Origin::File(span)) => shown(*span),
                Some(Origin::BuiltIn) => "Mainstay itself".to_owned(),
                None => "not set".to_owned(),
            };
            let cells = [format!("  with ${name}"), origin].map(|cell| paint.tone(Tone::Dim, &cell));
            table.row([String::new()].into_iter().chain(cells));
        }
    }
    cx.ui.data(table.lines(paint).join("\n"));
    Ok(())
}

/// Enough of a value to know it by.
fn short(value: &str) -> String {
    const MOST: usize = 60;
    match value.char_indices().nth(MOST) {
        Some((at, _)) => format!("{}…", &value[..at]),
        None => value.to_owned(),
    }
}

fn explained<'a>(one: &'a Provenance, sources: &Sources) -> Explained<'a> {
    let place = |span: Span| {
        let (line, column) = sources.position(span);
        Place { file: sources.get(span.file).name.to_string(), line, column }
    };
    let (how, span) = match one.how {
        How::Written(span) => ("written", span),
        How::Implied(span) => ("implied", span),
    };
    let variable = |(name, origin): &'a (String, Option<Origin>)| {
        let (origin, at) = match origin {
            Some(Origin::Process) => ("environment", None),
            Some(Origin::File(span)) => ("file", Some(place(*span))),
            Some(Origin::BuiltIn) => ("built-in", None),
            None => ("unset", None),
        };
        Variable { name, origin, at }
    };
    Explained {
        key: &one.key,
        value: &one.value,
        how,
        at: place(span),
        before: one.before.iter().map(|(span, value)| Before { value, at: place(*span) }).collect(),
        variables: one.variables.iter().map(variable).collect(),
    }
}
