//! How registries know the user, as the Docker command line has kept it: `~/.docker/config.json` and its helpers.
//!
//! Read where the user is, and sent with a release: the daemon never looks into anybody's home. Never writes. What cannot
//! be read is told beside what can: a broken entry of a registry that nobody needs stops nothing.
//! Start with [`from_docker_config`]; [`run_helper`] is the helper's real side.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use engine::images::{Credentials, Login};
use model::Secret;
use runtime::processes::{Exit, ProcessError, Spawn, Stdio};
use runtime::{Clock, tasks};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::io::Write;
use std::time::Duration;

/// What a helper says when it has nothing for a registry, in the words of the protocol's own library.
const NOTHING: &str = "credentials not found";

/// The user of an identity token, in the words of the protocol.
const TOKEN_USER: &str = "<token>";

/// A helper may ask the user to unlock a keychain, but not for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// An answer is some hundred bytes.
const MOST: u64 = 64 * 1024;

/// A login that could not be read.
#[derive(Debug, thiserror::Error)]
pub enum Problem {
    /// The file is no JSON, or not Docker's.
    #[error("the Docker configuration cannot be read: correct it, or run `docker login` again")]
    File(#[source] serde_json::Error),
    /// An entry of it.
    #[error(
        "the login for `{registry}` in the Docker configuration cannot be read: run `docker login {registry}` again"
    )]
    Entry {
        /// Whose.
        registry: String,
    },
    /// A helper.
    #[error(
        "`{program}` did not tell the login for `{registry}`: run `docker login {registry}` again, or take the helper out"
    )]
    Helper {
        /// The helper.
        program: String,
        /// Whose login.
        registry: String,
        /// Why not.
        #[source]
        source: HelperError,
    },
}

/// A helper did not answer.
#[derive(Debug, thiserror::Error)]
pub enum HelperError {
    /// Its name would be the path of another program.
    #[error("its name is no name of a helper")]
    Name,
    /// It could not be run.
    #[error(transparent)]
    Process(#[from] ProcessError),
    /// It could not be asked.
    #[error("it could not be asked")]
    Pipe(#[source] std::io::Error),
    /// It said no.
    #[error("it {0}")]
    Refused(Exit),
    /// It answered something else than a login.
    #[error("its answer is no login")]
    Answer,
}

/// The parts of the file that are about logins.
#[derive(Deserialize)]
struct Config {
    #[serde(default)]
    auths: BTreeMap<String, Entry>,
    #[serde(default, rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(default, rename = "credsStore")]
    store: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Entry {
    auth: String,
    username: String,
    password: String,
    #[serde(rename = "identitytoken")]
    identity_token: String,
}

/// What a helper answers.
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// How registries know the user, by this text of a Docker configuration. `run_helper` is given a helper's program and a
/// registry, and tells what the program writes; none when it has nothing for it.
///
/// Shape: registries by their host; Docker Hub is `docker.io`.
pub async fn from_docker_config(
    text: &str,
    run_helper: impl AsyncFn(&str, &str) -> Result<Option<Vec<u8>>, HelperError>,
) -> (Credentials, Vec<Problem>) {
    let (mut known, mut problems) = (BTreeMap::new(), Vec::new());
    let config: Config = match serde_json::from_str(text) {
        Ok(config) => config,
        Err(error) => return (Credentials::default(), vec![Problem::File(error)]),
    };
    for (registry, entry) in &config.auths {
        match login(entry) {
            Ok(Some(login)) => drop(known.insert(host(registry).to_owned(), login)),
            Ok(None) => {}
            Err(()) => problems.push(Problem::Entry { registry: host(registry).to_owned() }),
        }
    }
    for (helper, registry) in questions(&config) {
        match ask(&helper, &registry, &run_helper).await {
            Ok(Some(login)) => drop(known.insert(host(&registry).to_owned(), login)),
            Ok(None) => {}
            Err(source) => {
                let program = program(&helper);
                problems.push(Problem::Helper { program, registry: host(&registry).to_owned(), source });
            }
        }
    }
    (Credentials(known), problems)
}

/// Whom to ask for what: a registry's own helper, else the common store. The store has what `docker login` has left an
/// empty entry for.
fn questions(config: &Config) -> Vec<(String, String)> {
    let own = config.helpers.iter().map(|(registry, helper)| (helper.clone(), registry.clone()));
    let has_own = |registry: &&String| config.helpers.contains_key(*registry);
    let common = config.auths.iter().filter(|(registry, entry)| {
        !config.store.is_empty() && !has_own(registry) && entry.auth.is_empty() && entry.identity_token.is_empty()
    });
    own.chain(common.map(|(registry, _)| (config.store.clone(), registry.clone()))).collect()
}

async fn ask(
    helper: &str,
    registry: &str,
    run_helper: &impl AsyncFn(&str, &str) -> Result<Option<Vec<u8>>, HelperError>,
) -> Result<Option<Login>, HelperError> {
    let is_name = !helper.is_empty() && helper.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b));
    if !is_name {
        return Err(HelperError::Name);
    }
    let Some(answer) = run_helper(&program(helper), registry).await? else { return Ok(None) };
    let answer: Answer = serde_json::from_slice(&answer).map_err(|_| HelperError::Answer)?;
    Ok(Some(known_as(answer.username, &answer.secret)))
}

fn program(helper: &str) -> String {
    format!("docker-credential-{helper}")
}

/// A login that stands in the file itself; none when the entry is empty.
fn login(entry: &Entry) -> Result<Option<Login>, ()> {
    if !entry.identity_token.is_empty() {
        return Ok(Some(known_as(TOKEN_USER.to_owned(), &entry.identity_token)));
    }
    if entry.auth.is_empty() {
        let written = !entry.username.is_empty();
        return Ok(written.then(|| known_as(entry.username.clone(), &entry.password)));
    }
    let text = STANDARD.decode(entry.auth.trim()).map_err(drop)?;
    let text = String::from_utf8(text).map_err(drop)?;
    // Docker itself has written a NUL behind some passwords.
    let (user, password) = text.trim_end_matches('\0').split_once(':').ok_or(())?;
    Ok(Some(known_as(user.to_owned(), password)))
}

fn known_as(user: String, secret: &str) -> Login {
    match user == TOKEN_USER {
        true => Login { username: String::new(), password: Secret::new(""), identity_token: Some(Secret::new(secret)) },
        false => Login { username: user, password: Secret::new(secret), identity_token: None },
    }
}

/// The host of a registry's name or address; Docker Hub's is `docker.io`.
fn host(registry: &str) -> &str {
    let name = registry.trim_start_matches("https://").trim_start_matches("http://");
    match name.split('/').next().unwrap_or(name) {
        "index.docker.io" | "registry-1.docker.io" | "registry.hub.docker.com" => "docker.io",
        host => host,
    }
}

/// Asks a helper: the registry goes in by its standard input, the login comes out.
pub async fn run_helper(clock: &dyn Clock, program: &str, registry: &str) -> Result<Option<Vec<u8>>, HelperError> {
    let (read, write) = std::io::pipe().map_err(HelperError::Pipe)?;
    // A registry's name fits into the pipe, so that nobody waits for the helper to read.
    let mut write = write;
    write.write_all(registry.as_bytes()).map_err(HelperError::Pipe)?;
    drop(write);
    let mut spawn = Spawn::new(program).args(["get"]);
    spawn.stdio[0] = Stdio::Fd(read.into());
    let output = spawn.output(clock, PATIENCE, MOST).await?;
    let said = String::from_utf8_lossy(&output.stdout).to_lowercase();
    match output.exit {
        exit if exit.is_success() => Ok(Some(output.stdout)),
        _ if said.contains(NOTHING) => Ok(None),
        exit => Err(HelperError::Refused(exit)),
    }
}

/// The problem and its causes in one line, for a warning.
pub fn warning(problem: &Problem) -> String {
    tasks::chain(problem)
}

#[cfg(test)]
mod tests {
    use super::*;
    use runtime::SystemClock;
    use std::os::unix::fs::PermissionsExt;

    /// Logins as `host user secret`, problems as text; helpers know `store` and `own`.
    async fn read(text: &str) -> (Vec<String>, Vec<String>) {
        let helper = async |program: &str, registry: &str| match (program, registry) {
            ("docker-credential-store", "https://index.docker.io/v1/") => {
                Ok(Some(br#"{"ServerURL":"x","Username":"hubert","Secret":"s1"}"#.to_vec()))
            }
            ("docker-credential-own", "ghcr.io") => Ok(Some(br#"{"Username":"<token>","Secret":"t1"}"#.to_vec())),
            ("docker-credential-own", "bad.example") => Ok(Some(b"nonsense".to_vec())),
            _ => Ok(None),
        };
        let (Credentials(known), problems) = from_docker_config(text, helper).await;
        let shown = known.iter().map(|(host, login)| {
            let token = login.identity_token.as_ref().map(|token| format!("token {}", token.reveal_text()));
            let secret = token.unwrap_or_else(|| login.password.reveal_text().into_owned());
            format!("{host} {} {secret}", login.username)
        });
        (shown.collect(), problems.iter().map(warning).collect())
    }

    #[tokio::test]
    async fn logins_in_the_file_are_read() {
        let auth = STANDARD.encode("bob:pa:ss?>");
        let text = format!(
            r#"{{"auths":{{"https://index.docker.io/v1/":{{"auth":"{auth}"}},"ghcr.io":{{"identitytoken":"t0"}},
            "r.example:5000":{{"username":"u","password":"p"}},"empty.example":{{}}}},"HttpHeaders":{{"a":"b"}}}}"#
        );
        let (known, problems) = read(&text).await;
        assert_eq!(known, ["docker.io bob pa:ss?>", "ghcr.io  token t0", "r.example:5000 u p"]);
        assert!(problems.is_empty(), "{problems:?}");
        assert_eq!(read("{}").await, (vec![], vec![]));
    }

    #[tokio::test]
    async fn helpers_are_asked_for_what_they_keep() {
        let text = r#"{"auths":{"https://index.docker.io/v1/":{},"ghcr.io":{},"none.example":{}},
            "credsStore":"store","credHelpers":{"ghcr.io":"own"}}"#;
        let (known, problems) = read(text).await;
        assert_eq!(known, ["docker.io hubert s1", "ghcr.io  token t1"]);
        assert!(problems.is_empty(), "{problems:?}");
    }

    #[tokio::test]
    async fn what_cannot_be_read_stops_nothing() {
        let text = r#"{"auths":{"a.example":{"auth":"%%%"},"b.example":{"username":"u","password":"p"}},
            "credHelpers":{"bad.example":"own","c.example":"../sh"}}"#;
        let (known, problems) = read(text).await;
        assert_eq!(known, ["b.example u p"]);
        let expected = [
            "the login for `a.example` in the Docker configuration cannot be read: run `docker login a.example` again",
            "`docker-credential-own` did not tell the login for `bad.example`: run `docker login bad.example` again, or take the helper out: its answer is no login",
            "`docker-credential-../sh` did not tell the login for `c.example`: run `docker login c.example` again, or take the helper out: its name is no name of a helper",
        ];
        assert_eq!(problems, expected);
        assert_eq!(read("[").await.1.len(), 1);
    }

    #[tokio::test]
    async fn a_helper_gets_the_registry_by_its_input() {
        let dir = tempfile::tempdir().unwrap();
        let helper = |name: &str, text: &str| {
            let path = dir.path().join(name);
            std::fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
            path.to_str().unwrap().to_owned()
        };
        let ask = async |program: &str| run_helper(&SystemClock, program, "ghcr.io").await;
        let asked = ask(&helper("a", r#"echo "$1 $(cat)""#)).await.unwrap();
        assert_eq!(asked.as_deref(), Some("get ghcr.io\n".as_bytes()));
        let nothing = helper("b", "echo 'credentials not found in native keychain'; exit 1");
        assert_eq!(ask(&nothing).await.unwrap(), None);
        assert!(matches!(ask(&helper("c", "exit 3")).await, Err(HelperError::Refused(Exit::Code(3)))));
        assert!(matches!(ask("/nowhere/docker-credential-x").await, Err(HelperError::Process(_))));
    }
}
