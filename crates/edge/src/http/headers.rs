//! Headers on their way through.
//!
//! Owns what is removed and added in either direction (RFC 9110 §7.6). It never looks at bodies.

use std::net::IpAddr;

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

pub(crate) const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
pub(crate) const X_FORWARDED_PREFIX: HeaderName = HeaderName::from_static("x-forwarded-prefix");
const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_REAL_IP: HeaderName = HeaderName::from_static("x-real-ip");
const KEEP_ALIVE: HeaderName = HeaderName::from_static("keep-alive");
const HTTP2_SETTINGS: HeaderName = HeaderName::from_static("http2-settings");
const PROXY_CONNECTION: HeaderName = HeaderName::from_static("proxy-connection");

/// What the removed headers said that still matters.
#[derive(Debug, Default)]
pub(crate) struct Removed {
    /// The protocol of a complete upgrade offer or acceptance.
    pub upgrade: Option<HeaderValue>,
    /// Whether the sender takes trailers.
    pub takes_trailers: bool,
    /// Whether the body was chunked.
    pub chunked: bool,
}

/// Removes what is meant for the next hop only: the known ones and those that `Connection` names.
pub(crate) fn remove_hop_by_hop(headers: &mut HeaderMap) -> Removed {
    let mut removed = Removed::default();
    let mut wants_upgrade = false;
    if headers.contains_key(header::CONNECTION) {
        let named: Vec<HeaderValue> = headers.get_all(header::CONNECTION).iter().cloned().collect();
        headers.remove(header::CONNECTION);
        for name in named.iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')) {
            let name = name.trim();
            if name.eq_ignore_ascii_case("upgrade") {
                wants_upgrade = true;
            } else if is_removable(name) {
                headers.remove(name);
            }
        }
    }
    headers.remove(KEEP_ALIVE);
    headers.remove(PROXY_CONNECTION);
    headers.remove(HTTP2_SETTINGS);
    if let Some(protocol) = headers.remove(header::UPGRADE) {
        removed.upgrade = wants_upgrade.then_some(protocol);
    }
    if let Some(te) = headers.remove(header::TE) {
        removed.takes_trailers = te.to_str().is_ok_and(|te| te.split(',').any(is_trailers));
    }
    if headers.remove(header::TRANSFER_ENCODING).is_some() {
        // A length beside an encoding is a smuggler's (RFC 9112 §6.1); the encoding is what was read.
        headers.remove(header::CONTENT_LENGTH);
        removed.chunked = true;
    }
    removed
}

/// `Connection` cannot take away what the next hop needs to understand the message, nor what is removed below anyway
/// once it has been read.
fn is_removable(name: &str) -> bool {
    const KEPT: [&str; 5] = ["host", "content-length", "transfer-encoding", "te", "close"];
    !name.is_empty() && !KEPT.iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

fn is_trailers(coding: &str) -> bool {
    coding.trim().get(..8).is_some_and(|name| name.eq_ignore_ascii_case("trailers"))
}

/// Removes what only a proxy before us may say, in every spelling that a server may read as the same name: CGI and its
/// heirs make `_` of `-`.
pub(crate) fn distrust(headers: &mut HeaderMap) {
    let is_claim = |name: &&HeaderName| {
        let name = name.as_str();
        if !name.contains('_') {
            return claims(name);
        }
        let plain = name.replace('_', "-");
        claims(&plain) || plain == X_REQUEST_ID.as_str()
    };
    let claims: Vec<HeaderName> = headers.keys().filter(is_claim).cloned().collect();
    for name in claims {
        headers.remove(name);
    }
}

fn claims(name: &str) -> bool {
    name.starts_with("x-forwarded-") || name == X_REAL_IP.as_str() || name == header::FORWARDED.as_str()
}

/// Tells the upstream on whose behalf it is asked.
///
/// What is there already is a trusted peer's own word, since [`distrust`] has removed anybody else's: it is kept and
/// added to.
pub(crate) fn add_forwarded(headers: &mut HeaderMap, peer: &HeaderValue) {
    append_peer(headers, peer);
    keep_or_set(headers, X_REAL_IP, || Some(peer.clone()));
    keep_or_set(headers, X_FORWARDED_PROTO, || Some(HeaderValue::from_static("http")));
    if !headers.contains_key(X_FORWARDED_HOST)
        && let Some(host) = headers.get(header::HOST).cloned()
    {
        headers.insert(X_FORWARDED_HOST, host);
    }
}

/// Whether an offered protocol is passed on: others than WebSocket would carry requests past the edge.
pub(crate) fn is_websocket(protocol: &HeaderValue) -> bool {
    protocol.as_bytes().eq_ignore_ascii_case(b"websocket")
}

/// Whether a body is chunked and nothing else: what is around it in another coding is not taken off here.
pub(crate) fn is_chunked(coding: &HeaderValue) -> bool {
    coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked")
}

/// Whether a `Host` is a name or address with at most a port (RFC 9112 §3.2, RFC 3986 §3.2.2).
pub(crate) fn is_host(host: &[u8]) -> bool {
    let is_name = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=".contains(byte);
    let is_inside_brackets = |byte: &u8| byte.is_ascii_alphanumeric() || b":.".contains(byte);
    let (is_good, rest) = if let Some(literal) = host.strip_prefix(b"[") {
        let end = literal.iter().position(|byte| *byte == b']').unwrap_or(0);
        (end > 0 && literal[..end].iter().all(is_inside_brackets), &literal[(end + 1).min(literal.len())..])
    } else {
        let end = host.iter().position(|byte| *byte == b':').unwrap_or(host.len());
        (end > 0 && host[..end].iter().all(is_name), &host[end..])
    };
    is_good && (rest.is_empty() || (rest[0] == b':' && rest[1..].iter().all(u8::is_ascii_digit)))
}

/// How long the upstream keeps an idle connection, if it says so (`Keep-Alive: timeout=5`).
pub(crate) fn kept_for(headers: &HeaderMap) -> Option<std::time::Duration> {
    let words = headers.get(KEEP_ALIVE)?.to_str().ok()?.split(',');
    let seconds = words.filter_map(|word| word.trim().strip_prefix("timeout=")?.trim().parse().ok()).next()?;
    Some(std::time::Duration::from_secs(seconds))
}

fn keep_or_set(headers: &mut HeaderMap, name: HeaderName, value: impl FnOnce() -> Option<HeaderValue>) {
    if !headers.contains_key(&name)
        && let Some(value) = value()
    {
        headers.insert(name, value);
    }
}

fn append_peer(headers: &mut HeaderMap, peer: &HeaderValue) {
    let mut joined = Vec::new();
    for value in headers.get_all(X_FORWARDED_FOR) {
        joined.extend_from_slice(value.as_bytes());
        joined.extend_from_slice(b", ");
    }
    joined.extend_from_slice(peer.as_bytes());
    headers.insert(X_FORWARDED_FOR, HeaderValue::from_bytes(&joined).unwrap_or_else(|_| peer.clone()));
}

/// A peer's address as a header value; an IPv4 address that arrived on an IPv6 socket is written as IPv4.
pub(crate) fn address_value(address: IpAddr) -> HeaderValue {
    HeaderValue::try_from(address.to_canonical().to_string()).expect("an address is visible ASCII")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&str, &str)]) -> HeaderMap {
        let pair = |(name, value): &(&str, &str)| {
            (HeaderName::try_from(*name).expect("a name"), HeaderValue::try_from(*value).expect("a value"))
        };
        lines.iter().map(pair).collect()
    }

    fn check(mut given: HeaderMap, act: impl FnOnce(&mut HeaderMap), want: &[(&str, &str)]) {
        act(&mut given);
        let mut have: Vec<_> =
            given.iter().map(|(name, value)| (name.as_str(), value.to_str().expect("ASCII"))).collect();
        have.sort_unstable();
        assert_eq!(have, want);
    }

    #[test]
    fn what_is_for_the_next_hop_only_is_removed() {
        let given = headers(&[
            ("connection", "close, X-Secret"),
            ("connection", "keep-alive, host"),
            ("keep-alive", "timeout=5"),
            ("proxy-connection", "keep-alive"),
            ("x-secret", "1"),
            ("te", "gzip"),
            ("transfer-encoding", "chunked"),
            ("content-length", "5"),
            ("upgrade", "h2c"),
            ("host", "a"),
            ("trailer", "x-sum"),
        ]);
        check(given, |headers| drop(remove_hop_by_hop(headers)), &[("host", "a"), ("trailer", "x-sum")]);
    }

    #[test]
    fn an_upgrade_counts_only_when_connection_names_it() {
        let upgrade = |lines| remove_hop_by_hop(&mut headers(lines)).upgrade.is_some();
        assert!(upgrade(&[("connection", "keep-alive, Upgrade"), ("upgrade", "websocket")]));
        assert!(!upgrade(&[("connection", "keep-alive"), ("upgrade", "websocket")]));
        assert!(!upgrade(&[("connection", "upgrade")]));
    }

    #[test]
    fn an_untrusted_peer_cannot_speak_for_others() {
        let given = headers(&[
            ("host", "a"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-real-ip", "1.1.1.1"),
            ("x-forwarded-host", "evil"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-port", "1"),
            ("x-forwarded-prefix", "/evil"),
            ("x-forwarded-ssl", "on"),
            ("forwarded", "for=1.1.1.1"),
            ("x_forwarded_for", "1.1.1.1"),
            ("x-forwarded_host", "evil"),
            ("x_real_ip", "1.1.1.1"),
            ("x_request_id", "1"),
            ("x_other", "kept"),
        ]);
        let peer = HeaderValue::from_static("10.0.0.9");
        check(
            given,
            |headers| {
                distrust(headers);
                add_forwarded(headers, &peer);
            },
            &[
                ("host", "a"),
                ("x-forwarded-for", "10.0.0.9"),
                ("x-forwarded-host", "a"),
                ("x-forwarded-proto", "http"),
                ("x-real-ip", "10.0.0.9"),
                ("x_other", "kept"),
            ],
        );
    }

    #[test]
    fn a_host_is_a_name_or_an_address_with_at_most_a_port() {
        for good in ["a", "shop.example", "shop_1.example:80", "10.0.0.1:8080", "[::1]", "[::1]:80", "a:"] {
            assert!(is_host(good.as_bytes()), "{good}");
        }
        for bad in ["", "a/b", "a b", "u@a", "a:80a", "a:80:80", "[::1", "[]", "[::1]x", "::1", "a?b", "\"a\"", "é"] {
            assert!(!is_host(bad.as_bytes()), "{bad}");
        }
    }

    #[test]
    fn an_upstream_says_how_long_it_keeps_a_connection() {
        let kept = |value| kept_for(&headers(&[("keep-alive", value)])).map(|kept| kept.as_secs());
        assert_eq!((kept("timeout=5, max=100"), kept("max=1,timeout=72"), kept("1")), (Some(5), Some(72), None));
    }

    #[test]
    fn a_trusted_peer_is_added_to_the_list() {
        let given = headers(&[
            ("host", "inner"),
            ("x-forwarded-for", "1.1.1.1"),
            ("x-forwarded-for", "2.2.2.2"),
            ("x-forwarded-host", "shop.example"),
            ("x-forwarded-proto", "https"),
            ("x-real-ip", "1.1.1.1"),
        ]);
        let peer = HeaderValue::from_static("10.0.0.9");
        check(
            given,
            |headers| add_forwarded(headers, &peer),
            &[
                ("host", "inner"),
                ("x-forwarded-for", "1.1.1.1, 2.2.2.2, 10.0.0.9"),
                ("x-forwarded-host", "shop.example"),
                ("x-forwarded-proto", "https"),
                ("x-real-ip", "1.1.1.1"),
            ],
        );
    }
}
