//! What a connection speaks, told from its first bytes.
//!
//! Owns the decision only; reading the bytes and waiting for them is `crate::worker::detect`. Start with [`sniff`].
//!
//! An HTTP/1 request is told by its whole first line, since other protocols begin like one: Redis takes `GET key`
//! inline, NATS sends `CONNECT {…}`, SMTP `HELO host`. A line that only resembles a request is HTTP's to refuse: what is
//! carried as bytes is looked at by nobody, and a lenient server may take it for a request after all.

/// The start of an HTTP/2 connection whose client knows beforehand that the server speaks it (RFC 9113 §3.4).
pub(crate) const H2_PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A first line of two words that is longer than this is taken for HTTP without having seen its end.
const LONG_ENOUGH: usize = 2048;

/// What a connection speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Http1,
    Http2,
    Tcp,
    /// Too few bytes to tell.
    Undecided(Lean),
}

/// What an undecided connection looks like so far, for when the client says no more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lean {
    /// A method and the start of a target: a slow HTTP client.
    Http,
    /// A few letters that may be anything.
    Unclear,
}

/// Tells the protocol of a connection whose client sent `bytes` first.
pub(crate) fn sniff(bytes: &[u8]) -> Verdict {
    if bytes.is_empty() {
        return Verdict::Undecided(Lean::Unclear);
    }
    let common = bytes.len().min(H2_PREFACE.len());
    if bytes[..common] == H2_PREFACE[..common] {
        return match common {
            24 => Verdict::Http2,
            0..=4 => Verdict::Undecided(Lean::Unclear),
            _ => Verdict::Undecided(Lean::Http),
        };
    }
    // Empty lines before a request are skipped (RFC 9112 §2.2).
    let empty = bytes.iter().take_while(|byte| matches!(byte, b'\r' | b'\n')).count();
    if empty > LONG_ENOUGH { Verdict::Http1 } else { sniff_request_line(&bytes[empty..]) }
}

fn sniff_request_line(bytes: &[u8]) -> Verdict {
    let method = bytes.iter().take_while(|byte| is_token(**byte)).count();
    let rest = match bytes.get(method) {
        None if method < LONG_ENOUGH => return Verdict::Undecided(Lean::Unclear),
        Some(b' ' | b'\t') if method > 0 => &bytes[method + 1..],
        _ => return Verdict::Tcp,
    };
    match rest.iter().position(|byte| *byte == b'\n') {
        Some(end) if names_http(&rest[..end]) => Verdict::Http1,
        Some(_) => Verdict::Tcp,
        None if rest.len() >= LONG_ENOUGH => Verdict::Http1,
        None if rest.first() == Some(&b'/') => Verdict::Undecided(Lean::Http),
        None => Verdict::Undecided(Lean::Unclear),
    }
}

/// RFC 9110 §5.6.2: what a method may consist of.
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether one of the words after the first begins like a version of HTTP.
fn names_http(line: &[u8]) -> bool {
    line.split(|byte| byte.is_ascii_whitespace() || *byte == 0x0b).any(|word| word.starts_with(b"HTTP/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn check(bytes: &[u8], want: Verdict) {
        assert_eq!(sniff(bytes), want, "{:?}", String::from_utf8_lossy(bytes));
    }

    #[test]
    fn first_bytes_tell_the_protocol() {
        let unclear = Verdict::Undecided(Lean::Unclear);
        let http = Verdict::Undecided(Lean::Http);
        check(b"", unclear);
        check(b"G", unclear);
        check(b"GET", unclear);
        check(b"GET ", unclear);
        check(b"GET /", http);
        check(b"GET / HTTP/1.1\r", http);
        check(b"GET / HTTP/1.1\r\n", Verdict::Http1);
        check(b"GET / HTTP/1.0\nHost: x", Verdict::Http1);
        check(b"OPTIONS * HTTP/1.1\r\n", Verdict::Http1);
        check(b"GET http://x/ HTTP/1.1\r\n", Verdict::Http1);
        check(b"M-SEARCH * HTTP/1.1\r\n", Verdict::Http1);
        check(b"VERSION-CONTROL /a b HTTP/1.1\r\n", Verdict::Http1);
        check(b"PR", unclear);
        check(b"PRI *", http);
        check(H2_PREFACE, Verdict::Http2);
        check(b"PROPFIND / HTTP/1.1\r\n", Verdict::Http1);
    }

    #[test]
    fn what_resembles_a_request_is_never_carried_as_bytes() {
        for bytes in [
            &b"\r\nGET / HTTP/1.1\r\n"[..],
            b"\n\nGET / HTTP/1.1\n",
            b"GET  / HTTP/1.1\r\n",
            b"GET\t/\tHTTP/1.1\r\n",
            b"GET / HTTP/1.2\r\n",
            b"GET / HTTP/2\r\n",
            b"GET / HTTP/1.1 \r\n",
            b"GET /\x01 HTTP/1.1\r\n",
            b"GET / a HTTP/1.1 b\r\n",
            b"get / HTTP/1.1\r\n",
            b"AN-UNUSUALLY-LONG-METHOD / HTTP/1.1\r\n",
            b"PRI * HTTP/2.0\r\n\r\nXX",
        ] {
            check(bytes, Verdict::Http1);
            for cut in 1..bytes.len() {
                assert_ne!(sniff(&bytes[..cut]), Verdict::Tcp, "{:?}", String::from_utf8_lossy(&bytes[..cut]));
            }
        }
        check(format!("GET http://x/{} HTTP", "a".repeat(3000)).as_bytes(), Verdict::Http1);
        check(&[b'\n'; 3000], Verdict::Http1);
    }

    #[test]
    fn other_protocols_are_not_taken_for_http() {
        for bytes in [
            &b"GET key\r\n"[..],
            b"PING\r\n",
            b"*1\r\n$4\r\nPING\r\n",
            b"CONNECT {\"verbose\":false}\r\n",
            b"HELO mail.example\r\n",
            b"AMQP\0\0\x09\x01",
            b"\x16\x03\x01\x02\x00\x01",
            b"\0\0\0\x08\x04\xd2\x16\x2f",
            b"get foo\r\n",
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"QUIT\r\n",
            b"{\"id\":1}",
            b"GET /\r\n",
        ] {
            check(bytes, Verdict::Tcp);
        }
    }

    #[test]
    fn a_long_target_is_http_before_its_end() {
        let mut line = b"GET /".to_vec();
        line.resize(3000, b'a');
        check(&line, Verdict::Http1);
    }

    proptest! {
        #[test]
        fn more_bytes_never_change_a_verdict(bytes in proptest::collection::vec(any::<u8>(), 0..64), cut in 0usize..64) {
            let cut = cut.min(bytes.len());
            let early = sniff(&bytes[..cut]);
            if !matches!(early, Verdict::Undecided(_)) {
                prop_assert_eq!(early, sniff(&bytes));
            }
        }

        #[test]
        fn a_request_is_told_wherever_it_is_cut(path in "/[a-z0-9/%?=&.]{0,100}", cut in 0usize..120) {
            let line = format!("POST {path} HTTP/1.1\r\nHost: x\r\n\r\n");
            prop_assert_eq!(sniff(line.as_bytes()), Verdict::Http1);
            let cut = cut.min(line.len());
            prop_assert_ne!(sniff(&line.as_bytes()[..cut]), Verdict::Tcp);
        }
    }
}
