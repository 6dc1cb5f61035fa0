//! The hosts that are known here: those that were prepared, and those that mainstay.yaml names.
//!
//! Owns `hosts.json` in the user's settings folder. It only remembers: whatever a host is, the host itself says.

use super::super::settings::Settings;
use crate::declaration;
use crate::exit::Failure;
use model::RemoteHost;
use runtime::files;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;

/// The number of the form that is written.
const VERSION: u32 = 1;

#[derive(Debug, Serialize, Deserialize)]
struct Book {
    version: u32,
    hosts: BTreeSet<String>,
}

/// The hosts that were prepared from here.
pub fn remembered(settings: &Settings) -> Result<BTreeSet<RemoteHost>, Failure> {
    let Some(path) = path(settings) else { return Ok(BTreeSet::new()) };
    let Some(bytes) = files::read_if_there(&path).map_err(|error| Failure::of(&error))? else {
        return Ok(BTreeSet::new());
    };
    read(&bytes).map_err(|why| {
        Failure::failed(format!("the list of hosts {} cannot be read", path.display()))
            .because(why)
            .help("mend it, or remove it: `mainstay host prepare` writes it anew")
    })
}

fn read(bytes: &[u8]) -> Result<BTreeSet<RemoteHost>, String> {
    let book: Book = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
    if book.version > VERSION {
        return Err(format!("its form is {}, this program knows {VERSION}", book.version));
    }
    book.hosts.iter().map(|host| host.parse().map_err(|error| format!("{error}"))).collect()
}

/// Remembers a host, or forgets it. Where there is no folder for it, nothing is kept.
pub fn remember(settings: &Settings, host: &RemoteHost, keep: bool) -> Result<(), Failure> {
    let Some(path) = path(settings) else { return Ok(()) };
    let mut hosts = remembered(settings)?;
    if keep {
        hosts.insert(host.clone())
    } else {
        hosts.remove(host)
    };
    let book = Book { version: VERSION, hosts: hosts.iter().map(ToString::to_string).collect() };
    let text = serde_json::to_vec_pretty(&book).expect("plain data");
    let folder = path.parent().expect("it lies in a folder");
    let written = files::create_dir(folder, 0o700).and_then(|()| files::write(&path, &text, 0o600));
    written.map_err(|error| Failure::of(&error))
}

fn path(settings: &Settings) -> Option<PathBuf> {
    settings.config_folder.as_ref().map(|folder| folder.join("hosts.json"))
}

/// All that are known, each with the environments of this project that live there.
pub fn all(settings: &Settings) -> Result<BTreeMap<RemoteHost, BTreeSet<String>>, Failure> {
    let mut all: BTreeMap<RemoteHost, BTreeSet<String>> =
        remembered(settings)?.into_iter().map(|host| (host, BTreeSet::new())).collect();
    if !settings.is_outside() {
        for (environment, host) in declaration::hosts(settings) {
            all.entry(host).or_default().insert(environment);
        }
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_wrote_is_not_guessed_at() {
        let legal = br#"{"version":1,"hosts":["ssh://root@box"],"later":true}"#;
        assert_eq!(read(legal).expect("legal").len(), 1);
        for text in ["", "[]", r#"{"version":2,"hosts":[]}"#, r#"{"version":1,"hosts":["box"]}"#] {
            assert!(read(text.as_bytes()).is_err(), "{text}");
        }
    }
}
