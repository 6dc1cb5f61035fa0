//! Who listens on a port: read from `/proc`.

use std::collections::BTreeSet;
use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// A process that holds a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// Its number.
    pub pid: u32,
    /// Its name as the kernel knows it.
    pub name: String,
}

impl fmt::Display for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "`{}` (process {})", self.name, self.pid)
    }
}

/// The process that listens where `address` wants to; none when it cannot be seen: it belongs to another user
/// or sits in another pid namespace.
pub fn of(address: SocketAddr) -> Option<Holder> {
    let inodes: Vec<u64> = tables().flat_map(|table| listening(&table, address)).collect();
    let wanted: Vec<String> = inodes.iter().map(|inode| format!("socket:[{inode}]")).collect();
    if wanted.is_empty() {
        return None;
    }
    let mut pids = std::fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let pid = pids.find(|pid| holds(*pid, &wanted))?;
    let name = std::fs::read_to_string(format!("/proc/{pid}/comm")).ok()?;
    Some(Holder { pid, name: name.trim_end().to_owned() })
}

/// The TCP ports that anybody listens on, at whatever address.
pub fn listened_ports() -> BTreeSet<u16> {
    tables().flat_map(|table| sockets(&table)).map(|socket| socket.port()).collect()
}

/// Where anybody listens for TCP in the network namespace of this process; none when there is no such process.
pub fn listened_by(pid: u32) -> Option<BTreeSet<SocketAddr>> {
    let table = |name| std::fs::read_to_string(format!("/proc/{pid}/net/{name}"));
    let ipv4 = table("tcp").ok()?;
    // Where IPv6 is switched off there is no such table.
    Some(sockets(&ipv4).into_iter().chain(sockets(&table("tcp6").unwrap_or_default())).collect())
}

fn tables() -> impl Iterator<Item = String> {
    ["/proc/net/tcp", "/proc/net/tcp6"].into_iter().filter_map(|path| std::fs::read_to_string(path).ok())
}

/// The listening sockets in a table of `/proc/net`.
fn sockets(table: &str) -> Vec<SocketAddr> {
    let socket = |line: &str| {
        let mut fields = line.split_ascii_whitespace().skip(1);
        let (ip, port) = fields.next()?.split_once(':')?;
        // 0A is LISTEN.
        let listens = fields.nth(1)? == "0A";
        let port = u16::from_str_radix(port, 16).ok()?;
        listens.then(|| Some(SocketAddr::new(parse_ip(ip)?, port)))?
    };
    table.lines().skip(1).filter_map(socket).collect()
}

fn holds(pid: u32, sockets: &[String]) -> bool {
    let Ok(fds) = std::fs::read_dir(format!("/proc/{pid}/fd")) else { return false };
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .any(|link| sockets.iter().any(|socket| link.as_os_str() == socket.as_str()))
}

/// The inodes of listening sockets in a table of `/proc/net` that keep others from `address`.
fn listening(table: &str, address: SocketAddr) -> Vec<u64> {
    let line = |line: &str| {
        let fields: Vec<&str> = line.split_ascii_whitespace().collect();
        let (ip, port) = fields.get(1)?.split_once(':')?;
        // 0A is LISTEN.
        let listens = *fields.get(3)? == "0A" && u16::from_str_radix(port, 16).ok()? == address.port();
        let ip = parse_ip(ip)?;
        let clash = ip == address.ip() || ip.is_unspecified() || address.ip().is_unspecified();
        if listens && clash { fields.get(9)?.parse().ok() } else { None }
    };
    table.lines().skip(1).filter_map(line).collect()
}

/// Addresses are written as 32-bit words in the machine's byte order.
fn parse_ip(text: &str) -> Option<IpAddr> {
    let word = |at: usize| u32::from_str_radix(text.get(at..at + 8)?, 16).ok().map(u32::to_ne_bytes);
    match text.len() {
        8 => Some(Ipv4Addr::from(word(0)?).into()),
        32 => {
            let mut bytes = [0; 16];
            for (index, chunk) in bytes.chunks_exact_mut(4).enumerate() {
                chunk.copy_from_slice(&word(index * 8)?);
            }
            Some(Ipv6Addr::from(bytes).into())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[cfg(target_endian = "little")]
    #[test]
    fn a_table_tells_who_is_in_the_way() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 111 1 0 100 0\n\
             1: 00000000:0050 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 222 1 0 100 0\n\
             2: 0100007F:1F90 0100007F:D2F4 01 00000000:00000000 00:00000000 00000000     0        0 333 1 0 20 4\n\
             nonsense\n";
        let check = |address: &str, want: &[u64]| {
            assert_eq!(listening(table, address.parse().expect("an address")), want, "{address}");
        };
        check("127.0.0.1:8080", &[111]);
        check("0.0.0.0:8080", &[111]);
        check("10.0.0.1:8080", &[]);
        check("10.0.0.1:80", &[222]);
        check("127.0.0.1:81", &[]);
        let told: Vec<String> = sockets(table).iter().map(ToString::to_string).collect();
        assert_eq!(told, ["127.0.0.1:8080", "0.0.0.0:80"]);
    }
}
