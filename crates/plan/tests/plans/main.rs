//! Plans: what they contain, that they converge, that no order of their steps breaks an invariant.
//!
//! `notation` reads and writes the short forms of the table tests; `world` carries plans out in memory and watches.

mod checker;
mod crashes;
mod down;
mod notation;
mod properties;
mod releases;
mod routing;
mod stacks;
mod text;
mod world;
