//! The command line of `mainstay host`: names, types and help texts, no logic.

use clap::{Args, Subcommand};
use model::RemoteHost;

/// `host`
#[derive(Debug, Args)]
pub struct Host {
    /// What to do.
    #[command(subcommand)]
    pub what: HostWhat,
}

/// What to do with hosts.
#[derive(Debug, Subcommand)]
pub enum HostWhat {
    /// Check a plain Debian or Ubuntu host, and make it ready to run projects
    Prepare(Prepare),
    /// Show the hosts that are known here, and how they are
    List,
    /// Check a host and its daemon (exit code 1: something is wrong)
    Doctor {
        /// The host [default: the one that is meant here]
        #[arg(value_name = "URL")]
        url: Option<RemoteHost>,
    },
    /// Have hosts run this program; what runs there goes on
    Upgrade {
        /// The hosts [default: the one that is meant here]
        #[arg(value_name = "URL")]
        urls: Vec<RemoteHost>,
        /// Every host that is known here
        #[arg(long, conflicts_with = "urls")]
        all: bool,
    },
    /// Take Mainstay off a host
    Remove(Remove),
}

/// `host prepare`
#[derive(Debug, Args)]
pub struct Prepare {
    /// The host: `ssh://user@host`, with `:port` where it is not 22
    #[arg(value_name = "URL")]
    pub url: RemoteHost,
    /// Check, and change nothing (exit code 1: it cannot be made ready)
    #[arg(long)]
    pub check: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

/// `host remove`
#[derive(Debug, Args)]
pub struct Remove {
    /// The host
    #[arg(value_name = "URL")]
    pub url: RemoteHost,
    /// Delete releases, volumes and logs as well
    #[arg(long)]
    pub state: bool,
    /// Take down what runs, and do not ask
    #[arg(short, long)]
    pub yes: bool,
}
