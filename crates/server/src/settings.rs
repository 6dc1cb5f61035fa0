//! Where the daemon keeps things and what it listens on.

use std::net::SocketAddr;
use std::path::PathBuf;

/// The name of the daemon's socket within its run folder.
pub const SOCKET: &str = "mainstay.sock";

/// Where the daemon keeps things and what it listens on.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Everything durable.
    pub state: PathBuf,
    /// Sockets and what lives no longer than the machine runs.
    pub run: PathBuf,
    /// Where the edge serves routes.
    pub http: SocketAddr,
    /// The program the edge is started from, given in a form that its user may execute.
    pub program: PathBuf,
    /// User and group of the edge; ours when none.
    pub edge_user: Option<(u32, u32)>,
}

impl Settings {
    /// The daemon's socket.
    pub fn socket(&self) -> PathBuf {
        self.run.join(SOCKET)
    }

    /// The edge's control socket.
    pub fn edge_socket(&self) -> PathBuf {
        self.run.join("edge.sock")
    }

    /// Logs of replicas and of the edge.
    pub fn logs(&self) -> PathBuf {
        self.state.join("logs")
    }
}
