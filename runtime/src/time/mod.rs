//! Time: what paces a loop, what the clock says, and statistics of durations. It depends on nothing
//! else here.
//!
//! * [`Ticker`], [`Wake`], [`Schedule`]: periods with absolute deadlines;
//! * [`LockStep`], `FreeRun`: virtual time, and the machine's clock without waiting;
//! * `RealTime`, `monotonic_ns`: the monotonic clock of the machine (feature `host`);
//! * [`Histogram`], [`Summary`]: durations in constant memory.
//!
//! Times are nanoseconds of the ticker's clock in `u64`, and their names say so.

#[cfg(feature = "host")]
mod real;
mod statistics;
mod ticker;

#[cfg(feature = "host")]
pub use real::{RealTime, monotonic_ns};
pub use statistics::{Histogram, Summary};
#[cfg(feature = "std")]
pub use ticker::FreeRun;
pub use ticker::{LockStep, Schedule, Ticker, Wake};
