//! Why a step is in a plan.

use std::fmt;

/// Why a step is in a plan; its `Display` is what people read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reason {
    /// It is wanted and not there.
    Missing,
    /// It is there and no longer wanted.
    NotWanted,
    /// The replica runs another template than the wanted one.
    TemplateChanged,
    /// Somebody asked for a restart.
    RestartAsked,
    /// The replica stands on an address that is no longer its service's.
    AddressChanged,
    /// There are more replicas than wanted.
    TooMany,
    /// The replica exited; how, in words.
    Exited(String),
    /// The replica could not be started; why, in words.
    Failed(String),
    /// The replica's liveness probe failed.
    NotLive,
    /// It was begun and not finished.
    HalfDone,
    /// It must be ready before the next step.
    MustBeReady,
    /// It must have completed before the next step.
    MustComplete,
    /// It is ready and gets no traffic yet.
    ReadyForTraffic,
    /// It will be stopped and must get no traffic.
    AboutToStop,
    /// Listeners, routes or names differ from the wanted ones.
    RoutingChanged,
    /// The whole stack is taken down.
    Down,
    /// An object's text differs from the wanted one.
    ObjectChanged,
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Missing => "missing",
            Self::NotWanted => "no longer wanted",
            Self::TemplateChanged => "spec changed",
            Self::RestartAsked => "restart asked for",
            Self::AddressChanged => "address changed",
            Self::TooMany => "more than wanted",
            Self::Exited(how) | Self::Failed(how) => how,
            Self::NotLive => "liveness probe failed",
            Self::HalfDone => "begun and not finished",
            Self::MustBeReady => "must be ready first",
            Self::MustComplete => "must complete first",
            Self::ReadyForTraffic => "ready for traffic",
            Self::AboutToStop => "about to stop",
            Self::RoutingChanged => "routing changed",
            Self::Down => "taken down",
            Self::ObjectChanged => "object changed",
        };
        f.write_str(text)
    }
}
