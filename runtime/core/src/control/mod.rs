//! The controller as a machine without I/O: states, watchdogs, limits.
//!
//! * [`Control`]: one tick, from what the robot gave to what it is to be told;
//! * [`State`], [`Event`], [`TABLE`]: the states and the one table of transitions;
//! * [`Request`], [`Requests`]: what an operator asks for;
//! * [`Settings`], [`Limits`], [`RateLimit`], [`OnMiss`]: when it gives up, and what the actuators bear;
//! * [`TickReport`], [`Stats`], [`Faults`], [`Limited`]: what is reported.

mod fault;
mod limits;
mod machine;
mod report;
mod request;
mod settings;
mod state;
mod watch;

pub use fault::{Counts, Faults, KindName, Limited, names};
pub use limits::Limits;
pub use machine::{Control, Inputs, Memory};
pub use report::{CommandKind, Stats, TickReport};
pub use request::{Request, Requests};
pub use settings::{OnMiss, RateLimit, Settings};
pub use state::{Event, State, TABLE};
