//! Decisions: what has to change so that what runs becomes what is wanted, and why.
//!
//! Pure: no file, clock, network or randomness; equal inputs give equal plans. Time is an argument.
//! Start with [`reconcile`], then [`Plan`], [`observed::Observed`] and [`desired::Desired`].

pub mod action;
mod addresses;
pub mod allocate;
mod check;
pub mod desired;
pub mod objects;
pub mod observed;
pub mod reason;
mod reconcile;
pub mod routing;
pub mod run;
pub mod step;
pub mod text;

pub use action::Action;
pub use addresses::Addresses;
pub use allocate::{AllocateError, Allocation, InUse, NotInBundle, Terms, allocate, settle_stack};
pub use check::{Violation, check, check_objects};
pub use desired::Desired;
pub use observed::Observed;
pub use reason::Reason;
pub use reconcile::{FIRST_ONE_OFF_SLOT, back_off, reconcile};
pub use step::{After, Generation, Plan, Step, StepId, Steps};
