//! Another machine's daemon, as people write it: `ssh://deploy@staging.example:2222`.

use std::fmt;
use std::net::Ipv6Addr;
use std::num::NonZeroU16;
use std::str::FromStr;

/// A machine that is reached through ssh: `ssh://[user@]host[:port][/path/to/the/daemon's.sock]`.
///
/// Shape: no part begins with `-` or holds a blank, a quote or a control character, so that each may stand as one
///        word of a command line, here and in a shell over there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RemoteHost {
    user: Option<String>,
    host: String,
    port: Option<NonZeroU16>,
    socket: Option<String>,
}

/// A text that names no such machine.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no host: {why}")]
pub struct RemoteHostError {
    /// What was found; never a password.
    pub text: String,
    /// What is wrong, and how it is written.
    pub why: &'static str,
}

const FORM: &str = "write `ssh://user@host`, with `:port` where it is not 22";

impl RemoteHost {
    /// The user over there; none when ssh's own settings say it.
    pub fn user(&self) -> Option<&str> {
        self.user.as_deref()
    }

    /// Name or address, or an alias of ssh's own settings; an IPv6 address without brackets.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port of sshd; none when ssh's own settings say it.
    pub fn port(&self) -> Option<u16> {
        self.port.map(NonZeroU16::get)
    }

    /// The path of the daemon's socket over there; none for the usual one.
    pub fn socket(&self) -> Option<&str> {
        self.socket.as_deref()
    }

    /// The same machine, whichever socket.
    #[must_use]
    pub fn machine(&self) -> Self {
        Self { socket: None, ..self.clone() }
    }

    /// `user@host` as a person would type it behind `ssh`.
    pub fn destination(&self) -> String {
        let port = self.port.map(|port| format!("-p {port} ")).unwrap_or_default();
        let user = self.user.as_ref().map(|user| format!("{user}@")).unwrap_or_default();
        format!("{port}{user}{}", self.host)
    }
}

impl FromStr for RemoteHost {
    type Err = RemoteHostError;

    fn from_str(text: &str) -> Result<Self, RemoteHostError> {
        let wrong = |why| RemoteHostError { text: without_password(text), why };
        let rest = text.strip_prefix("ssh://").ok_or_else(|| wrong(FORM))?;
        let (machine, socket) = match rest.find('/') {
            Some(at) => (&rest[..at], Some(&rest[at..]).filter(|path| *path != "/")),
            None => (rest, None),
        };
        let (user, address) = match machine.rsplit_once('@') {
            Some((user, address)) => (Some(user), address),
            None => (None, machine),
        };
        if user.is_some_and(|user| user.contains(':')) {
            return Err(wrong("ssh takes no password from here: use a key, and write the user alone"));
        }
        if user.is_some_and(|user| !is_word(user, "._-+")) {
            return Err(wrong("its user has an odd sign in it"));
        }
        let (host, port) = address_of(address).ok_or_else(|| wrong(FORM))?;
        if socket.is_some_and(|path| !is_word(path, "/._-+@") || path.ends_with('/')) {
            return Err(wrong("what follows the host is no path of a socket"));
        }
        let own = |text: &str| text.to_owned();
        Ok(Self { user: user.map(own), host, port, socket: socket.map(own) })
    }
}

/// Host and port; an IPv6 address stands in brackets, as its colons would be taken for a port's.
fn address_of(address: &str) -> Option<(String, Option<NonZeroU16>)> {
    let (host, port) = match address.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']')?;
            let (plain, zone) = host.split_once('%').unwrap_or((host, "lo"));
            plain.parse::<Ipv6Addr>().ok().filter(|_| is_word(zone, "._-"))?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':')?) })
        }
        None => {
            let (host, port) = address.split_once(':').map_or((address, None), |(host, port)| (host, Some(port)));
            (is_word(host, "._-").then_some(host)?, port)
        }
    };
    let Some(port) = port else { return Some((host.to_owned(), None)) };
    // `+22` is a number as well, but no port.
    let port = port.parse().ok().filter(|_| port.bytes().all(|digit| digit.is_ascii_digit()))?;
    Some((host.to_owned(), Some(port)))
}

fn is_word(text: &str, signs: &str) -> bool {
    !text.is_empty()
        && text.len() <= 255
        && !text.starts_with('-')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || signs.contains(c))
}

fn without_password(text: &str) -> String {
    let Some((before, after)) = text.rsplit_once('@') else { return text.to_owned() };
    let (scheme, user) = before.split_once("://").map_or(("", before), |(scheme, user)| (scheme, user));
    match user.split_once(':') {
        Some((user, _)) => format!("{scheme}://{user}:***@{after}"),
        None => text.to_owned(),
    }
}

impl fmt::Display for RemoteHost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("ssh://")?;
        if let Some(user) = &self.user {
            write!(f, "{user}@")?;
        }
        if self.host.contains(':') {
            write!(f, "[{}]", self.host)?
        } else {
            f.write_str(&self.host)?
        }
        if let Some(port) = self.port {
            write!(f, ":{port}")?;
        }
        f.write_str(self.socket.as_deref().unwrap_or_default())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_are_read_as_people_write_them() {
        let check = |text: &str, user: Option<&str>, host: &str, port: Option<u16>, socket: Option<&str>| {
            let found: RemoteHost = text.parse().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(
                (found.user(), found.host(), found.port(), found.socket()),
                (user, host, port, socket),
                "{text}"
            );
            assert_eq!(found.to_string(), text.strip_suffix('/').unwrap_or(text));
        };
        check("ssh://deploy@staging.example", Some("deploy"), "staging.example", None, None);
        check("ssh://box", None, "box", None, None);
        check("ssh://root@10.0.0.7:2222/", Some("root"), "10.0.0.7", Some(2222), None);
        check("ssh://a@[fe80::1%eth0]:22", Some("a"), "fe80::1%eth0", Some(22), None);
        check("ssh://a@[::1]/run/x/mainstay.sock", Some("a"), "::1", None, Some("/run/x/mainstay.sock"));
    }

    #[test]
    fn what_could_be_an_option_or_a_command_is_no_host() {
        for text in [
            "",
            "box",
            "http://box",
            "ssh://",
            "ssh://-oProxyCommand=x",
            "ssh://-l@box",
            "ssh://@box",
            "ssh://a b@box",
            "ssh://box;id",
            "ssh://$(id)",
            "ssh://a@b@c;",
            "ssh://box:",
            "ssh://box:0",
            "ssh://box:70000",
            "ssh://box:+1",
            "ssh://::1",
            "ssh://[box]",
            "ssh://[::1]x",
            "ssh://[::1",
            "ssh://box/a b",
            "ssh://box/$(id)",
            "ssh://box/run/",
            "ssh://bücher.example",
            "ssh://box\n",
        ] {
            assert!(text.parse::<RemoteHost>().is_err(), "{text}");
        }
    }

    #[test]
    fn a_password_is_refused_and_not_repeated() {
        let error = "ssh://deploy:hunter2@box".parse::<RemoteHost>().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("no password") && !text.contains("hunter2"), "{text}");
    }
}
