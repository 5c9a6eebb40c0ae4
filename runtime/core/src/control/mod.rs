//! The controller's states with the one table of transitions, and what can go wrong in a tick.

mod fault;
mod state;

pub use fault::{Counts, Faults, KindName, Limited, names};
pub use state::{Event, State, TABLE};
