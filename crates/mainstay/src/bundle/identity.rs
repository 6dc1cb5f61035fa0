//! What goes along with a request for images: how registries know the user, and where the sources come from.
//!
//! Read where the user is: the daemon never looks into anybody's home or folder. What cannot be found out is left out.

use crate::cli::Context;
use crate::registry_credentials;
use engine::images::Login;
use model::project::{Project, Runs};
use server::api::images::LoginView;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;

/// How registries know the user: those that the project's images come from, and all where something is built, as nobody
/// knows what a build begins with.
pub async fn logins(cx: &Context, project: &Project) -> BTreeMap<String, LoginView> {
    let home = || cx.settings.variables.get("HOME").map(|home| Path::new(home).join(".docker"));
    let folder = cx.settings.variables.get("DOCKER_CONFIG").map(PathBuf::from).or_else(home);
    let Some(text) = folder.and_then(|folder| std::fs::read_to_string(folder.join("config.json")).ok()) else {
        return BTreeMap::new();
    };
    let clock = runtime::SystemClock::shared();
    let ask = async |program: &str, registry: &str| registry_credentials::run_helper(&*clock, program, registry).await;
    let (credentials, problems) = registry_credentials::from_docker_config(&text, ask).await;
    problems.iter().for_each(|problem| cx.ui.warn(registry_credentials::warning(problem)));
    let runs = || project.services.values().map(|service| &service.template.runs);
    let builds = runs().any(|runs| matches!(runs, Runs::Build { .. }));
    let used: BTreeSet<&str> = runs().filter_map(registry).collect();
    let needed = credentials.0.into_iter().filter(|(host, _)| builds || used.contains(host.as_str()));
    needed.map(|(host, login)| (host, view(&login))).collect()
}

/// The revision of the sources in a folder.
pub async fn revision(folder: &Path) -> Option<String> {
    git(folder, &["rev-parse", "HEAD"]).await
}

/// Where the sources in a folder are kept.
pub async fn source(folder: &Path) -> Option<String> {
    git(folder, &["remote", "get-url", "origin"]).await.map(|url| without_login(&url))
}

/// The host that an image comes from; Docker Hub's is called `docker.io`.
fn registry(runs: &Runs) -> Option<&str> {
    let Runs::Image { image, .. } = runs else { return None };
    let host = image.repository().split_once('/').map(|(host, _)| host);
    let is_host = |host: &&str| host.contains(['.', ':']) || *host == "localhost";
    Some(host.filter(is_host).unwrap_or("docker.io"))
}

fn view(login: &Login) -> LoginView {
    LoginView {
        username: login.username.clone(),
        password: login.password.reveal_text().into_owned(),
        identity_token: login.identity_token.as_ref().map(|token| token.reveal_text().into_owned()),
    }
}

/// What git says; nothing where there is no git, or no repository.
async fn git(folder: &Path, words: &[&str]) -> Option<String> {
    let mut command = tokio::process::Command::new("git");
    command.arg("-C").arg(folder).args(words).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.ok().filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}

/// An address without the user and password that may stand in it: it becomes a label that everybody sees.
fn without_login(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else { return url.to_owned() };
    let (host, path) = rest.split_once('/').map_or((rest, None), |(host, path)| (host, Some(path)));
    let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
    path.map_or_else(|| format!("{scheme}://{host}"), |path| format!("{scheme}://{host}/{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_never_becomes_a_label() {
        let check = |url: &str, want: &str| assert_eq!(without_login(url), want);
        check("https://user:token@git.example/a/b.git", "https://git.example/a/b.git");
        check("https://git.example", "https://git.example");
        check("ssh://git@git.example:22/a", "ssh://git.example:22/a");
        check("git@git.example:a/b.git", "git@git.example:a/b.git");
    }

    #[test]
    fn an_image_tells_its_registry() {
        let check = |image: &str, want: &str| {
            let image = image.parse().expect("a legal image");
            let runs = Runs::Image { image, pull: Default::default(), pin: None, entrypoint: None, command: None };
            assert_eq!(registry(&runs), Some(want));
        };
        check("postgres:15", "docker.io");
        check("library/postgres", "docker.io");
        check("ghcr.io/a/b:1", "ghcr.io");
        check("localhost:5000/a", "localhost:5000");
    }
}
