//! Hosts and paths: who answers a request.
//!
//! Owns the lookup and the reading of host names and paths for it. It never changes what is forwarded, except for a
//! prefix that is to be stripped. Start with [`Routes::find`].
//!
//! A path is compared in its plain form (dot segments resolved, escapes of unreserved characters undone, empty segments
//! dropped), because the application behind will read it so: `/public/../admin` belongs to whoever has `/admin`.

use std::borrow::Cow;
use std::collections::HashMap;

use crate::control::Refusal;
use crate::snapshot::Destination;

/// The table of hosts and paths.
#[derive(Debug, Default)]
pub(crate) struct Routes {
    exact: HashMap<String, HostRules>,
    /// By what follows `*.`.
    wildcards: HashMap<String, HostRules>,
    any: Option<HostRules>,
}

/// The paths of a host, longest prefix first.
#[derive(Debug, Default)]
struct HostRules {
    paths: Vec<std::sync::Arc<PathRule>>,
}

/// Who answers below a prefix.
#[derive(Debug)]
pub(crate) struct PathRule {
    /// Without a trailing slash, so the root is empty.
    prefix: String,
    pub strip: bool,
    pub destination: Destination,
    /// Whom requests count for: an index into the snapshot's services.
    pub service: usize,
}

impl PathRule {
    pub(crate) fn new(prefix: &str, strip: bool, destination: Destination, service: usize) -> Self {
        Self { prefix: prefix.trim_end_matches('/').to_owned(), strip, destination, service }
    }

    /// The prefix that is stripped, if any.
    pub(crate) fn stripped(&self) -> Option<&str> {
        (self.strip && !self.prefix.is_empty()).then_some(self.prefix.as_str())
    }

    fn covers(&self, path: &str) -> bool {
        path.strip_prefix(self.prefix.as_str()).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

impl Routes {
    /// Adds a rule; `finish` has to follow the last.
    pub(crate) fn add(&mut self, host: &str, rule: PathRule) -> Result<(), Refusal> {
        let name = host.to_ascii_lowercase();
        let name = name.strip_suffix('.').unwrap_or(&name);
        let rules = if name == "*" {
            self.any.get_or_insert_default()
        } else if let Some(suffix) = name.strip_prefix("*.") {
            self.wildcards.entry(host_name(host, suffix)?).or_default()
        } else {
            self.exact.entry(host_name(host, name)?).or_default()
        };
        if rules.paths.iter().any(|there| there.prefix == rule.prefix) {
            return Err(Refusal::DuplicateRoute { host: host.to_owned(), prefix: rule.prefix });
        }
        rules.paths.push(std::sync::Arc::new(rule));
        Ok(())
    }

    /// Puts the longest prefixes first.
    pub(crate) fn finish(&mut self) {
        let all = self.exact.values_mut().chain(self.wildcards.values_mut()).chain(&mut self.any);
        all.for_each(|rules| rules.paths.sort_by_key(|rule| std::cmp::Reverse(rule.prefix.len())));
    }

    /// Who answers for `host` (as in the `Host` header) and `path`.
    pub(crate) fn find(&self, host: &str, path: &str) -> Option<&std::sync::Arc<PathRule>> {
        let path = plain(path);
        let rules = self.host(host)?;
        rules.paths.iter().find(|rule| rule.covers(&path))
    }

    fn host(&self, host: &str) -> Option<&HostRules> {
        let host = without_port(host);
        let lower;
        let host = if host.bytes().any(|byte| byte.is_ascii_uppercase()) {
            lower = host.to_ascii_lowercase();
            lower.as_str()
        } else {
            host
        };
        if let Some(rules) = self.exact.get(host) {
            return Some(rules);
        }
        if !self.wildcards.is_empty() {
            let mut rest = host;
            while let Some((_, parent)) = rest.split_once('.') {
                if let Some(rules) = self.wildcards.get(parent) {
                    return Some(rules);
                }
                rest = parent;
            }
        }
        self.any.as_ref()
    }
}

fn host_name(given: &str, name: &str) -> Result<String, Refusal> {
    let sane = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b':' | b'[' | b']');
    if name.is_empty() || !name.bytes().all(sane) {
        return Err(Refusal::BadValue {
            place: format!("host {given}"),
            value: given.to_owned(),
            problem: "is no host name; write `shop.example`, `*.shop.example` or `*`".to_owned(),
        });
    }
    Ok(name.to_owned())
}

/// The host without port and without the root's dot; `[::1]:80` becomes `[::1]`.
fn without_port(host: &str) -> &str {
    let host = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => name,
        _ => host,
    };
    host.strip_suffix('.').unwrap_or(host)
}

/// The plain form of a path: dot segments resolved, unreserved escapes undone, empty segments dropped.
///
/// Most paths are in it already and are borrowed.
pub(crate) fn plain(path: &str) -> Cow<'_, str> {
    let odd = |pair: &[u8]| matches!(pair, b"/." | b"//");
    if !path.contains('%') && !path.as_bytes().windows(2).any(odd) {
        return Cow::Borrowed(path);
    }
    let decoded = decode_unreserved(path);
    let mut segments: Vec<&str> = Vec::new();
    let mut open = false;
    for segment in decoded.split('/').skip(1) {
        open = false;
        match segment {
            "" | "." => open = true,
            ".." => {
                segments.pop();
                open = true;
            }
            other => segments.push(other),
        }
    }
    let mut out = String::with_capacity(decoded.len());
    for segment in &segments {
        out.push('/');
        out.push_str(segment);
    }
    if open || segments.is_empty() {
        out.push('/');
    }
    Cow::Owned(out)
}

/// Undoes the escapes of characters that never needed one (RFC 3986 §2.3); all others mean something and stay.
fn decode_unreserved(path: &str) -> String {
    let mut out = String::with_capacity(path.len());
    let mut rest = path;
    while let Some(at) = rest.find('%') {
        out.push_str(&rest[..at]);
        let byte = rest.get(at + 1..at + 3).and_then(|digits| u8::from_str_radix(digits, 16).ok());
        match byte {
            Some(byte) if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') => {
                out.push(char::from(byte));
                rest = &rest[at + 3..];
            }
            _ => {
                out.push('%');
                rest = &rest[at + 1..];
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::{Fixed, Host, ListenerTarget, PathRoute, Table, Target};
    use crate::snapshot::{Holdings, Snapshot};

    /// Routes each given as `host/prefix`; the answer's body is the route itself.
    fn check(routes: &[&str], cases: &[(&str, &str, &str)]) {
        let hosts = routes
            .iter()
            .map(|route| {
                let at = route.find('/').expect("a route has a path");
                let body = (*route).to_owned();
                let fixed = Fixed { status: 200, content_type: "text/plain".into(), body, retry_after: None };
                let prefix = route[at..].to_owned();
                let paths = vec![PathRoute { prefix, target: Target::Fixed(fixed), strip_prefix: false }];
                Host { host: route[..at].to_owned(), project: String::new(), paths }
            })
            .collect();
        let dirs = HashMap::new();
        let holdings = Holdings { listeners: Default::default(), dirs: &dirs };
        let table = Table { hosts, ..Table::default() };
        let snapshot = Snapshot::compile(table, &Snapshot::empty(), &holdings).expect("routes compile");
        for (host, path, want) in cases {
            let found = snapshot.routes.find(host, path).map(|rule| match &rule.destination {
                Destination::Fixed(answer) => String::from_utf8_lossy(&answer.body).into_owned(),
                other => panic!("{other:?}"),
            });
            assert_eq!(found.as_deref().unwrap_or("-"), *want, "{host} {path}");
        }
        let _ = ListenerTarget::Routes;
    }

    #[test]
    fn the_longest_prefix_on_a_segment_border_wins() {
        check(
            &["a.x/", "a.x/api", "a.x/api/v2/", "b.x/only"],
            &[
                ("a.x", "/", "a.x/"),
                ("a.x", "/apix", "a.x/"),
                ("a.x", "/api", "a.x/api"),
                ("a.x", "/api/", "a.x/api"),
                ("a.x", "/api/v2", "a.x/api/v2/"),
                ("a.x", "/api/v2/x", "a.x/api/v2/"),
                ("a.x", "/api/v22", "a.x/api"),
                ("b.x", "/", "-"),
                ("b.x", "/only/x", "b.x/only"),
                ("c.x", "/", "-"),
            ],
        );
    }

    #[test]
    fn an_exact_host_beats_a_wildcard_beats_any() {
        check(
            &["a.x/", "*.x/", "*.deep.x/", "*/"],
            &[
                ("a.x", "/", "a.x/"),
                ("A.X:8080", "/", "a.x/"),
                ("a.x.", "/", "a.x/"),
                ("b.x", "/", "*.x/"),
                ("b.c.x", "/", "*.x/"),
                ("b.deep.x", "/", "*.deep.x/"),
                ("deep.x", "/", "*.x/"),
                ("x", "/", "*/"),
                ("[::1]:80", "/", "*/"),
                ("", "/", "*/"),
            ],
        );
    }

    #[test]
    fn a_path_is_compared_as_the_application_will_read_it() {
        check(
            &["*/", "*/admin"],
            &[
                ("x", "/public/../admin", "*/admin"),
                ("x", "/public/%2e%2E/admin/x", "*/admin"),
                ("x", "//admin", "*/admin"),
                ("x", "/./admin", "*/admin"),
                ("x", "/%61dmin", "*/admin"),
                ("x", "/admin/..", "*/"),
                ("x", "/admin%2fx", "*/"),
                ("x", "/../../..", "*/"),
                ("x", "/%", "*/"),
                ("x", "/%zz/admin", "*/"),
                ("x", "/%\u{e9}/a", "*/"),
            ],
        );
    }
}
