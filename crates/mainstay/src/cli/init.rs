//! `mainstay init`: a commented mainstay.yaml for a Compose project that is there, or a small new project.
//!
//! Writes nothing when one of the files is there already, unless told to.

mod proposal;

use super::Context;
use super::args::Init;
use super::settings::PROJECT_FILES;
use crate::declaration;
use crate::exit::{Exit, Failure};
use crate::ui::paint::Tone;
use declare::syntax::emit::word;
use model::policy::EngineKind;
use std::path::Path;

/// The names of the policy: each of them is read.
const POLICY_NAMES: [&str; 2] = ["mainstay.yaml", "mainstay.yml"];

pub fn run(args: &Init, cx: &Context) -> Result<Exit, Failure> {
    let folder = &cx.settings.directory.value;
    let is_compose = |name: &&&str| name.contains("compose") && folder.join(name).exists();
    let files = match PROJECT_FILES.iter().find(is_compose) {
        Some(_) => vec![("mainstay.yaml", beside_compose(cx, args.force || args.print)?)],
        None => small_project(folder, usual_engine(cx)),
    };
    // The other spelling counts too: of two policies only one would be read.
    let names = || files.iter().map(|(name, _)| *name).chain(POLICY_NAMES);
    if let Some(there) = names().find(|name| folder.join(name).exists()).filter(|_| !args.force && !args.print) {
        return Err(self::there(there));
    }
    if args.print {
        files.iter().for_each(|(name, text)| cx.ui.data(format!("# {name}\n{}", text.trim_end())));
        return Ok(Exit::Done);
    }
    for (name, text) in &files {
        let path = folder.join(name);
        if let Some(parent) = path.parent() {
            runtime::files::create_dir(parent, 0o755).map_err(|error| Failure::of(&error))?;
        }
        runtime::files::write(&path, text.as_bytes(), 0o644).map_err(|error| Failure::of(&error))?;
        cx.ui.note(format!("{} wrote {name}", cx.ui.err.tone(Tone::Good, "✔")));
    }
    if cx.ui.json {
        cx.ui.json(&files.iter().map(|(name, _)| *name).collect::<Vec<_>>());
    }
    cx.ui.next("`mainstay validate` checks the files, `mainstay up` brings the project up");
    Ok(Exit::Done)
}

fn there(name: &str) -> Failure {
    Failure::usage(format!("{name} is there already; nothing was written"))
        .help("keep it, or overwrite it with `--force`")
}

fn beside_compose(cx: &Context, force: bool) -> Result<String, Failure> {
    // Before the files are judged: with a policy that is there nothing will be written anyway.
    let is_there = |name: &&str| cx.settings.directory.value.join(name).exists();
    if let Some(name) = POLICY_NAMES.into_iter().find(is_there).filter(|_| !force) {
        return Err(there(name));
    }
    // What no engine can run yet can still be operated one day: only files that cannot be read are in the way.
    let loaded = declaration::load(&cx.settings)?;
    match &loaded.resolved {
        Some(resolved) => {
            let services = declare::survey::survey(resolved);
            Ok(proposal::policy(resolved.name.as_str(), resolved.engine.kind, &services))
        }
        None => loaded.checked(&cx.ui, false).map(|_| String::new()),
    }
}

/// The engine of a project whose files name none.
fn usual_engine(cx: &Context) -> EngineKind {
    cx.settings.engine.value.unwrap_or_else(|| cx.settings.docker.offered().0)
}

fn small_project(folder: &Path, engine: EngineKind) -> Vec<(&'static str, String)> {
    let name = folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_lowercase();
    let kept: String =
        name.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c)).collect();
    let name = match kept.trim_start_matches(['-', '_']) {
        "" => "app",
        name => &name[..name.len().min(63)],
    };
    // An image needs no recipe where images run.
    let policy = match engine {
        EngineKind::Docker => POLICY.to_owned(),
        _ => format!("{POLICY}{RECIPE}"),
    };
    vec![
        ("compose.yaml", COMPOSE.replace("name: NAME", &format!("name: {}", word(name))).replace("NAME", name)),
        ("mainstay.yaml", policy.replace("project: NAME", &format!("project: {}", word(name))).replace("NAME", name)),
        ("public/index.html", PAGE.replace("NAME", name)),
    ]
}

const COMPOSE: &str = "\
# What runs: a Compose file, as `docker compose` reads it.
name: NAME

services:
  web:
    image: nginx:1
    expose: [\"80\"]
    volumes:
      - ./public:/usr/share/nginx/html:ro
";

const POLICY: &str = "\
# How NAME is operated. All of it is optional; compose.yaml says what runs.
project: NAME

routes:
  - host: \"${DOMAIN:-NAME.localhost}\"
    paths: { /: \"web:80\" }
";

const RECIPE: &str = "
# How services run without a container. The edge serves a static folder itself.
processes:
  web: { static: public }
";

const PAGE: &str = "\
<!doctype html>
<html lang=\"en\">
<meta charset=\"utf-8\">
<title>NAME</title>
<h1>NAME is up</h1>
<p>This page is <code>public/index.html</code>. Change it and run <code>mainstay up</code> again.</p>
</html>
";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_named_like_a_number_gives_a_name() {
        let files = small_project(Path::new("/srv/0123"), EngineKind::Process);
        let (compose, policy) = (&files[0].1, &files[1].1);
        assert!(
            compose.contains("\nname: \"0123\"\n") && policy.contains("\nproject: \"0123\"\n"),
            "{compose}{policy}"
        );
        assert!(policy.ends_with("\nprocesses:\n  web: { static: public }\n"), "{policy}");
        let on_docker = small_project(Path::new("/srv/0123"), EngineKind::Docker);
        assert!(!on_docker[1].1.contains("processes"), "{}", on_docker[1].1);
        assert!(small_project(Path::new("/srv/shop"), EngineKind::Process)[0].1.contains("\nname: shop\n"));
    }
}
