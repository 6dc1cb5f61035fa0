//! What an Engine says of itself, as far as it decides whether we can work with it. Pure.
//!
//! A rootless one has its bridges in a network namespace of its own: neither stable addresses nor probes nor the edge reach
//! a container there.

use serde::Deserialize;

/// The parts of `GET /info` that matter.
#[derive(Debug, Deserialize)]
struct Info {
    /// Docker's word for it.
    #[serde(default, rename = "SecurityOptions")]
    security: Option<Vec<String>>,
    /// Podman's.
    #[serde(default, rename = "Rootless")]
    rootless: bool,
}

/// Whether the answer to `GET /info` is that of an Engine which runs without root.
pub(crate) fn is_rootless(info: &[u8]) -> Result<bool, serde_json::Error> {
    let info: Info = serde_json::from_slice(info)?;
    let is_mark = |option: &String| option.split(',').any(|part| part == "name=rootless");
    Ok(info.rootless || info.security.iter().flatten().any(is_mark))
}

#[cfg(test)]
mod tests {
    use super::is_rootless;

    #[track_caller]
    fn check(recorded: &str, is: bool) {
        assert_eq!(is_rootless(recorded.as_bytes()).expect("JSON"), is, "{recorded}");
    }

    // What Docker 20.10.24 and Podman 4.3.1 of Debian 12 answered, shortened.
    #[test]
    fn engines_without_root_are_told_by_what_they_say() {
        check(include_str!("about/docker.json"), false);
        check(include_str!("about/docker-rootless.json"), true);
        check(include_str!("about/podman.json"), false);
        check(include_str!("about/podman-rootless.json"), true);
        check(r#"{"SecurityOptions":null}"#, false);
        check("{}", false);
        assert!(is_rootless(b"page not found").is_err());
    }
}
