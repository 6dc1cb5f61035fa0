//! How registries know us, in the forms that the Engine and its builders ask for. Pure.

use super::names;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE;
use engine::images::{Credentials, Login};
use serde_json::{Map, Value, json};

/// Docker Hub's name in logins, older than all others.
const HUB_ADDRESS: &str = "https://index.docker.io/v1/";

/// The login for a registry, however its name is written.
pub fn find<'a>(credentials: &'a Credentials, registry: &str) -> Option<&'a Login> {
    let wanted = names::canonical_registry(registry);
    let is_it = |(name, _): &(&'a String, &'a Login)| names::canonical_registry(name) == wanted;
    credentials.0.iter().find(is_it).map(|(_, login)| login)
}

/// The value of `X-Registry-Auth`. Secret.
pub fn auth(login: &Login, registry: &str) -> String {
    URL_SAFE.encode(form(login, registry).to_string())
}

/// The value of `X-Registry-Config`: all logins, for the base images of a build. Secret.
pub fn config(credentials: &Credentials) -> String {
    let all: Map<String, Value> =
        credentials.0.iter().map(|(registry, login)| (address(registry).to_owned(), form(login, registry))).collect();
    URL_SAFE.encode(Value::Object(all).to_string())
}

fn address(registry: &str) -> &str {
    let name = names::canonical_registry(registry);
    if name == names::HUB { HUB_ADDRESS } else { name }
}

fn form(login: &Login, registry: &str) -> Value {
    match &login.identity_token {
        Some(token) => json!({ "serveraddress": address(registry), "identitytoken": token.reveal_text() }),
        None => json!({
            "serveraddress": address(registry),
            "username": login.username,
            "password": login.password.reveal_text(),
        }),
    }
}

/// Who we are there, for people; none when nobody.
pub fn user(login: Option<&Login>) -> Option<String> {
    let login = login?;
    Some(if login.username.is_empty() { "an identity token".to_owned() } else { format!("`{}`", login.username) })
}

#[cfg(test)]
mod tests {
    use super::*;
    use model::Secret;
    use std::collections::BTreeMap;

    fn credentials(registry: &str, token: Option<&str>) -> Credentials {
        // Its encoding has both characters in which the two alphabets differ.
        let login = Login {
            username: "bob".into(),
            password: Secret::new("?~>?~>?~>"),
            identity_token: token.map(Secret::new),
        };
        Credentials(BTreeMap::from([(registry.to_owned(), login)]))
    }

    #[test]
    fn a_login_is_found_by_any_name_of_its_registry() {
        let hub = credentials("https://index.docker.io/v1/", None);
        assert!(find(&hub, "docker.io").is_some() && find(&hub, "registry-1.docker.io").is_some());
        assert!(find(&hub, "ghcr.io").is_none());
    }

    #[test]
    fn logins_are_written_for_urls() {
        let decode =
            |text: &str| -> Value { serde_json::from_slice(&URL_SAFE.decode(text).expect("URL-safe")).expect("JSON") };
        let own = credentials("localhost:5000", None);
        let login = find(&own, "localhost:5000").expect("there");
        let expected = json!({ "serveraddress": "localhost:5000", "username": "bob", "password": "?~>?~>?~>" });
        assert_eq!(decode(&auth(login, "localhost:5000")), expected);
        let hub = credentials("docker.io", Some("t0ken"));
        let expected = json!({ HUB_ADDRESS: { "serveraddress": HUB_ADDRESS, "identitytoken": "t0ken" } });
        assert_eq!(decode(&config(&hub)), expected);
    }
}
