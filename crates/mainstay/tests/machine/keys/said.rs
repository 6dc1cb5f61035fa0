//! What is said of keys that are not honoured, through the very reading that a command does.
//!
//! A case names its key and gives a file in which what is meant stands between `«` and `»`; lines with four blanks are keys
//! of a service. By the key's standing on each engine there must be, right there:
//!
//! - without effect: a warning, and the same project as without it;
//! - refused: an error with the cure;
//! - emulated: a note that says how;
//! - within limits: an error with a cure, as the value is beyond them; `warned` or `noted` behind the key where the page says
//!   that it is no error.

use super::proof::{Proofs, standing};
use declare::keys::Standing;
use declare::keys::compose::ENGINES;
use declare::{Input, Loaded, MemoryFiles, load};
use model::Diagnostic;
use model::diagnostic::Severity;
use model::policy::EngineKind;

const SERVICE: &str =
    "services:\n  b: { image: example, restart: always }\n  a:\n    image: example\n    restart: always\n";

/// Takes every case.
pub fn prove(text: &str, proofs: &mut Proofs) {
    for case in text.split("=== ").skip(1) {
        let (head, file) = case.split_once('\n').unwrap();
        let mut words = head.split_whitespace();
        let key = words.next().unwrap();
        let (mut only, mut beyond) = (None, Severity::Error);
        for word in words {
            match word {
                "warned" => beyond = Severity::Warning,
                "noted" => beyond = Severity::Note,
                _ => only = Some(word.trim_matches(['[', ']']).parse::<EngineKind>().unwrap()),
            }
        }
        for engine in ENGINES.into_iter().filter(|engine| only.is_none_or(|only| only == *engine)) {
            let Some(standing) = standing(key, engine) else {
                proofs.fail(format!("`{key}` is in no row of the table"));
                break;
            };
            match check(standing, file, engine, beyond) {
                Ok(true) => proofs.say(key, engine, matches!(standing, Standing::Within(_))),
                Ok(false) => {}
                Err(what) => proofs.fail(format!("{key} on {engine}: {what}")),
            }
        }
    }
}

/// Whether a case is about a key of this standing, and what it shows then.
fn check(standing: Standing, file: &str, engine: EngineKind, beyond: Severity) -> Result<bool, String> {
    let whole = if file.starts_with("    ") { format!("{SERVICE}{file}") } else { file.to_owned() };
    let (head, rest) = whole.split_once('«').expect("it says what is meant");
    let (meant, tail) = rest.split_once('»').expect("it says what is meant");
    let with = read(&format!("{head}{meant}{tail}"), engine);
    let range = head.len()..head.len() + meant.len();
    let found: Vec<&Diagnostic> = with
        .diagnostics
        .iter()
        .filter(|one| one.labels.first().is_some_and(|label| range.contains(&(label.span.start as usize))))
        .collect();
    let at_key = |one: &&&Diagnostic| one.labels[0].span.start as usize == range.start;
    let all = || format!("not said: {}", told(&with));
    match standing {
        Standing::Harmless(why) => {
            let is_warned = |one: &&Diagnostic| one.severity == Severity::Warning && one.message.ends_with(why);
            found.iter().filter(at_key).find(|one| is_warned(one)).ok_or_else(all)?;
            let blank: String = meant.chars().map(|c| if c == '\n' { '\n' } else { ' ' }).collect();
            let without = read(&format!("{head}{blank}{tail}"), engine);
            match (&with.declared, &without.declared) {
                (Some(with), Some(without)) if with.project == without.project => Ok(true),
                (Some(_), Some(_)) => Err("the project is another one without it".to_owned()),
                _ => Err(format!("refused: {}{}", told(&with), told(&without))),
            }
        }
        Standing::NotYet(cure) | Standing::Refused(_, cure) => {
            let is_refused = |one: &&Diagnostic| one.severity == Severity::Error && one.help.as_deref() == Some(cure);
            found.iter().filter(at_key).find(|one| is_refused(one)).map(|_| true).ok_or_else(all)
        }
        Standing::Emulated(how) => {
            let is_noted = |one: &&Diagnostic| one.severity == Severity::Note && one.message.ends_with(how);
            found.iter().filter(at_key).find(|one| is_noted(one)).map(|_| true).ok_or_else(all)
        }
        Standing::Within(_) => {
            let is_beyond =
                |one: &&&Diagnostic| one.severity == beyond && (one.help.is_some() || beyond == Severity::Note);
            found.iter().find(is_beyond).map(|_| true).ok_or_else(all)
        }
        Standing::Elsewhere(_) => {
            let is_told = |one: &&&Diagnostic| one.severity != Severity::Note && one.help.is_some();
            found.iter().filter(at_key).find(is_told).map(|_| true).ok_or_else(all)
        }
        // The other engine's case.
        Standing::Honoured => Ok(false),
    }
}

/// What was said, a line each.
fn told(loaded: &Loaded) -> String {
    let line = |one: &Diagnostic| format!("\n  {:?}[{}] {}, help: {:?}", one.severity, one.code, one.message, one.help);
    loaded.diagnostics.iter().filter(|one| !one.code.starts_with("MS005")).map(line).collect()
}

fn read(compose: &str, engine: EngineKind) -> Loaded {
    let files = MemoryFiles::default()
        .with("/srv/project/compose.yaml", compose)
        .with("/srv/project/Dockerfile", "FROM scratch\n")
        .with("/srv/project/file", "a=b\n");
    load(&Input {
        files: &files,
        project_dir: "/srv/project",
        compose: None,
        policy: None,
        environment: None,
        profiles: Default::default(),
        process_env: Default::default(),
        env_files: None,
        engine: Some(engine),
        default_engine: engine,
        keeps_layers: false,
    })
}
