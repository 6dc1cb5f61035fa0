//! Who looks names up for a replica: its `/etc/resolv.conf`.

use std::net::IpAddr;

/// The text of a replica's `/etc/resolv.conf`, from the machine's; none when every server there is a loopback stub.
///
/// Inside a replica `127.0.0.53` is the replica itself.
pub fn resolv(machine: &str) -> Option<String> {
    let is_stub = |line: &str| {
        let server = line.split_whitespace().nth(1).and_then(|text| text.parse::<IpAddr>().ok());
        line.trim_start().starts_with("nameserver") && server.is_none_or(|ip| ip.is_loopback())
    };
    let kept: Vec<&str> = machine.lines().filter(|line| !is_stub(line)).collect();
    let has_server = kept.iter().any(|line| line.trim_start().starts_with("nameserver"));
    has_server.then(|| kept.join("\n") + "\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_loopback_stub_never_reaches_a_replica() {
        let check = |machine: &str, want: Option<&str>| assert_eq!(resolv(machine).as_deref(), want, "{machine}");
        check("nameserver 127.0.0.53\noptions edns0\n", None);
        check("nameserver ::1\nnameserver 10.0.0.1\nsearch a\n", Some("nameserver 10.0.0.1\nsearch a\n"));
        check("", None);
        check("nameserver nonsense\n", None);
    }
}
