//! Listening sockets, and who holds a port that is taken.
//!
//! Sockets are opened here once and passed on; nobody binds the same port again. What travels over a socket is
//! its owner's business. Start with [`listen_tcp`] and [`listen_unix`].

mod holder;

pub use holder::{Holder, listened_by, listened_ports};

use rustix::io::Errno;
use rustix::net::{AddressFamily, SocketFlags, SocketType, sockopt};
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpListener};
use std::os::fd::BorrowedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

/// How many connections the kernel keeps while nobody accepts, e.g. while the edge starts anew. The kernel
/// lowers it to `net.core.somaxconn`, 4096 by default.
const BACKLOG: i32 = 4096;

/// Whether an address must be there already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address {
    /// It is an address of this machine now.
    Present,
    /// It may come later, with a network that is not there yet.
    MayComeLater,
}

/// An address could not be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Somebody else listens there.
    #[error("port {} of {} is taken by {}", address.port(), address.ip(), by(holder.as_ref()))]
    Taken {
        /// The wanted address.
        address: SocketAddr,
        /// Who has it, if that could be seen.
        holder: Option<Holder>,
    },
    /// Low ports are for the privileged.
    #[error("port {} may only be listened on as root or with CAP_NET_BIND_SERVICE", address.port())]
    NotAllowed {
        /// The wanted address.
        address: SocketAddr,
    },
    /// The machine has no such address.
    #[error("{} is no address of this machine", address.ip())]
    NoSuchAddress {
        /// The wanted address.
        address: SocketAddr,
    },
    /// Anything else.
    #[error("could not listen on {address}")]
    Tcp {
        /// The wanted address.
        address: SocketAddr,
        /// Why not.
        #[source]
        source: std::io::Error,
    },
    /// Another process listens on this unix socket.
    #[error("another process listens on `{}`", path.display())]
    UnixTaken {
        /// The socket's path.
        path: std::path::PathBuf,
    },
    /// A unix socket could not be made.
    #[error(transparent)]
    Unix(#[from] crate::files::FileError),
}

fn by(holder: Option<&Holder>) -> String {
    holder.map_or_else(|| "another process".to_owned(), Holder::to_string)
}

/// Listens on a TCP address. IPv6 addresses take IPv6 only, so that both can be listened on with one port.
pub fn listen_tcp(address: SocketAddr, presence: Address) -> Result<TcpListener, ListenError> {
    listen(address, presence, false)
}

/// Listens on a TCP address that sockets of ours cover already (`0.0.0.0:80` covers `127.0.0.1:80`) or that covers
/// them; connections go to the more particular one from then on. Nobody but processes of our user could do the same.
pub fn listen_tcp_beside(address: SocketAddr, own: &[BorrowedFd<'_>]) -> Result<TcpListener, ListenError> {
    let share = |shared: bool| {
        let set = |fd: &BorrowedFd<'_>| sockopt::set_socket_reuseport(fd, shared);
        own.iter().try_for_each(set).map_err(|errno| ListenError::Tcp { address, source: errno.into() })
    };
    share(true)?;
    let socket = listen(address, Address::Present, true);
    // Shared for this one call only: later ones find the port taken again.
    share(false)?;
    let socket = socket?;
    sockopt::set_socket_reuseport(&socket, false)
        .map_err(|errno| ListenError::Tcp { address, source: errno.into() })?;
    Ok(socket)
}

/// A port that is free at this address, where whoever asks may listen soon.
pub fn free_port(address: SocketAddr) -> Result<u16, ListenError> {
    let failed = |source| ListenError::Tcp { address, source };
    let socket = listen(SocketAddr::new(address.ip(), 0), Address::Present, false)?;
    Ok(socket.local_addr().map_err(failed)?.port())
}

/// Whether this machine speaks IPv6 at all.
pub fn has_ipv6() -> bool {
    let socket = rustix::net::socket_with(AddressFamily::INET6, SocketType::STREAM, SocketFlags::CLOEXEC, None);
    let anywhere = SocketAddr::from((std::net::Ipv6Addr::UNSPECIFIED, 0));
    socket.and_then(|socket| rustix::net::bind(&socket, &anywhere)).is_ok()
}

fn listen(address: SocketAddr, presence: Address, shared: bool) -> Result<TcpListener, ListenError> {
    let listen = || {
        let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
        let socket = rustix::net::socket_with(family, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        // Connections of a predecessor that linger in TIME_WAIT must not keep us out.
        sockopt::set_socket_reuseaddr(&socket, true)?;
        sockopt::set_socket_reuseport(&socket, shared)?;
        if address.is_ipv6() {
            sockopt::set_ipv6_v6only(&socket, true)?;
        }
        if presence == Address::MayComeLater {
            match address {
                SocketAddr::V4(_) => sockopt::set_ip_freebind(&socket, true)?,
                SocketAddr::V6(_) => sockopt::set_ipv6_freebind(&socket, true)?,
            }
        }
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, BACKLOG)?;
        Ok(TcpListener::from(socket))
    };
    listen().map_err(|errno| match errno {
        Errno::ADDRINUSE => ListenError::Taken { address, holder: holder::of(address) },
        Errno::ACCESS => ListenError::NotAllowed { address },
        Errno::ADDRNOTAVAIL => ListenError::NoSuchAddress { address },
        errno => ListenError::Tcp { address, source: errno.into() },
    })
}

/// Listens on a unix socket with this mode and, if given, this group. A socket file that nobody listens on any
/// more is replaced.
///
/// The caller holds a lock that keeps a second listener from doing the same at the same time.
pub fn listen_unix(path: &Path, mode: u32, group: Option<u32>) -> Result<UnixListener, ListenError> {
    match UnixStream::connect(path) {
        Ok(_) => return Err(ListenError::UnixTaken { path: path.to_owned() }),
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => {}
        Err(error) => return Err(crate::files::FileError::new("connect to", path, error).into()),
    }
    // Bound under another name and renamed once it has its mode: nobody can connect in between.
    let mut temp = path.as_os_str().to_owned();
    temp.push(".new");
    let temp = Path::new(&temp);
    crate::files::remove(temp)?;
    let listener = UnixListener::bind(temp).map_err(|error| crate::files::FileError::new("listen on", path, error))?;
    if let Some(group) = group {
        std::os::unix::fs::chown(temp, None, Some(group))
            .map_err(|error| crate::files::FileError::new("set the group of", path, error))?;
    }
    crate::files::set_mode(temp, mode)?;
    crate::files::rename(temp, path)?;
    Ok(listener)
}
