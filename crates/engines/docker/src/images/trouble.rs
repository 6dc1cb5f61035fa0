//! What the Engine means by its words when it cannot get an image. Pure.
//!
//! The Engine passes on what registries and networks say as one text, and gives most of it the same status; the words
//! here are those of Engine 18.09 to 29 and of the registries' specification.

use engine::Retry;

/// Why an image could not be had.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// Its registry does not answer.
    Unreachable,
    /// Its registry answers in a way that the Engine does not trust.
    Distrusted,
    /// Its registry wants to know who asks, or does not like who does.
    Denied,
    /// There is no such image, or not in this version.
    Absent,
    /// It is there, for other machines.
    OtherPlatform,
    /// Its registry was asked too often.
    TooOften,
    /// The machine's disk is full.
    Full,
}

/// The words of each, in lower case; the first that is found counts.
const WORDS: [(Trouble, &[&str]); 7] = [
    (Trouble::Full, &["no space left on device", "disk quota exceeded"]),
    (Trouble::TooOften, &["toomanyrequests", "too many requests", "rate limit"]),
    (
        Trouble::OtherPlatform,
        &["no matching manifest for", "does not match the specified platform", "no match for platform in manifest"],
    ),
    (
        Trouble::Distrusted,
        &["server gave http response to https client", "x509:", "certificate signed by unknown authority", "tls: "],
    ),
    (
        Trouble::Unreachable,
        &[
            "connection refused",
            "no such host",
            "i/o timeout",
            "timeout exceeded",
            "handshake timeout",
            "network is unreachable",
            "no route to host",
            "connection reset",
            "server misbehaving",
            "temporary failure in name resolution",
            "unexpected eof",
            "502 bad gateway",
            "503 service unavailable",
            "504 gateway",
        ],
    ),
    (
        Trouble::Denied,
        &[
            "unauthorized",
            "authentication required",
            "no basic auth credentials",
            "access denied",
            "access to the resource is denied",
            "denied:",
            "401 unauthorized",
            "403 forbidden",
            "insufficient_scope",
        ],
    ),
    (
        Trouble::Absent,
        &["manifest unknown", "name unknown", "name_unknown", "repository name not known", "not found", "404"],
    ),
];

impl Trouble {
    /// Why a step of a build failed with these words and this output; none when the fault is its own.
    ///
    /// Output may say anything, also "not found": a step that has some did run. A full disk it names as the Engine does.
    pub fn of_step(message: &str, output: &[String]) -> Option<Self> {
        if output.is_empty() {
            return Self::of(message);
        }
        output.iter().any(|line| Self::of(line) == Some(Self::Full)).then_some(Self::Full)
    }

    /// What these words mean; none when they say something else.
    pub fn of(message: &str) -> Option<Self> {
        let message = message.to_lowercase();
        let meant = |(_, words): &&(Self, &[&str])| words.iter().any(|word| message.contains(word));
        WORDS.iter().find(meant).map(|(trouble, _)| *trouble)
    }

    /// Whether the same may go well later.
    pub fn retry(self) -> Retry {
        match self {
            Self::Unreachable | Self::TooOften | Self::Full => Retry::Later,
            Self::Distrusted | Self::Denied | Self::Absent | Self::OtherPlatform => Retry::Never,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_a_step_tells_of_a_full_disk_and_of_nothing_else() {
        let check = |output: &[&str]| {
            let output: Vec<String> = output.iter().map(|line| (*line).to_owned()).collect();
            Trouble::of_step("exit code: 1", &output)
        };
        assert_eq!(check(&["cat: write error: No space left on device", "exiting"]), Some(Trouble::Full));
        assert_eq!(check(&["make: connection refused", "404 not found"]), None);
        assert_eq!(Trouble::of_step("manifest unknown", &[]), Some(Trouble::Absent));
    }

    #[test]
    fn words_are_understood() {
        let check = |message: &str, expected: Option<Trouble>| assert_eq!(Trouble::of(message), expected, "{message}");
        check(
            r#"Get "http://127.0.0.1:1/v2/": dial tcp 127.0.0.1:1: connect: connection refused"#,
            Some(Trouble::Unreachable),
        );
        check("Get https://r.example/v2/: x509: certificate signed by unknown authority", Some(Trouble::Distrusted));
        check("http: server gave HTTP response to HTTPS client", Some(Trouble::Distrusted));
        check("manifest for localhost:5000/a:x not found: manifest unknown", Some(Trouble::Absent));
        check(
            "pull access denied for x, repository does not exist or may require 'docker login'",
            Some(Trouble::Denied),
        );
        check("Head http://localhost:5000/v2/a/manifests/1: no basic auth credentials", Some(Trouble::Denied));
        check("toomanyrequests: You have reached your pull rate limit", Some(Trouble::TooOften));
        check("no matching manifest for linux/arm64 in the manifest list entries", Some(Trouble::OtherPlatform));
        check("write /var/lib/docker/tmp/x: no space left on device", Some(Trouble::Full));
        check("exit code: 1", None);
    }
}
