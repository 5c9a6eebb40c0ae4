//! Time: what paces a loop, and statistics of durations.
//!
//! * [`Ticker`], [`Wake`], [`Schedule`], [`LockStep`]: periods with absolute deadlines;
//! * [`Histogram`], [`Summary`]: durations in constant memory.
//!
//! Times are nanoseconds of the ticker's clock in `u64`, and their names say so.

mod statistics;
mod ticker;

pub use statistics::{Histogram, Summary};
pub use ticker::{LockStep, Schedule, Ticker, Wake};
