//! The data plane: listening sockets, routes, retries, draining, files.
//!
//! The edge is a process of its own, without privileges. The daemon passes it every listening socket and pushes a
//! routing table; from then on it serves alone, whatever becomes of the daemon. The crate never opens a listening
//! socket, never resolves a name, never probes, and decides nothing about releases: it does what the table says.
//!
//! # The way of a request
//!
//! 1. [`serve`] (`process`) starts one thread per core (`worker`), each with a single-threaded runtime and a copy of
//!    every listening socket. `desk` answers the daemon ([`control`] has the wire types and the daemon's client);
//!    `snapshot` compiles each table once, and workers swap to it between two requests.
//! 2. `worker::accept` takes a connection, `worker::detect` reads its first bytes and `sniff` tells the protocol.
//! 3. What is not HTTP goes to `worker::tcp`, which picks an upstream and carries bytes both ways (`tunnel`).
//! 4. HTTP is served by hyper in `worker::connection`; each request enters `http::handle`, which opens its `exchange`
//!    (counters and log line, finished whatever happens), finds the rule in `routes`, and asks `http::forward`, `statics`
//!    or a ready-made answer for the response.
//! 5. `http::forward` takes an idle connection or opens one (`upstream`), sends the request with its headers put right
//!    (`http::headers`), and tries again where the rules allow. Bodies stream both ways through `http::body`, whose end
//!    gives the upstream connection back and closes the exchange.
//! 6. An upgrade (WebSocket) leaves HTTP in `http::upgrade` and goes on as a `tunnel`.
//!
//! # Rules that hold everywhere
//!
//! - A request never crosses threads and takes no lock; counters and idle connections belong to one worker.
//! - What is picked is counted in the same breath (`upstream::InFlight`), so a drain that follows a table change
//!   misses nothing.
//! - Nothing here waits for the log, the daemon or a disk on a worker thread.
#![expect(
    clippy::disallowed_methods,
    reason = "the edge is the root of a process of its own: clock, tasks and descriptors come from here"
)]

pub mod control;

mod access_log;
mod counters;
mod desk;
mod exchange;
mod http;
mod io;
mod options;
mod process;
mod request_id;
mod routes;
mod snapshot;
mod sniff;
mod statics;
mod tasks;
mod tunnel;
mod upstream;
mod worker;

pub use options::Options;
pub use process::{ServeError, serve};
