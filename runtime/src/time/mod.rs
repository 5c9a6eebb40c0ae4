//! Time: what paces a loop, what the clock says, and statistics of durations. It depends on nothing
//! else here.
//!
//! * [`Ticker`], [`Wake`], [`Schedule`]: periods with absolute deadlines;
//! * [`LockStep`], `FreeRun`: virtual time, and the machine's clock without waiting;
//! * `RealTime`, `monotonic_ns`: the monotonic clock of the machine (feature `host`);
//! * [`Histogram`], [`Summary`]: durations in constant memory.
//!
//! Times are nanoseconds of the ticker's clock in `u64`, and their names say so.

#[cfg(feature = "std")]
mod free;
#[cfg(feature = "host")]
mod real;

#[cfg(feature = "std")]
pub use free::FreeRun;
#[cfg(feature = "host")]
pub use real::{RealTime, monotonic_ns};
pub use sog_core::time::{Histogram, LockStep, Schedule, Summary, Ticker, Wake};

/// A summary as a JSON object with the fields' names as keys.
#[cfg(feature = "host")]
pub trait SummaryToJson {
    /// `{count, mean, p50, p99, p999, max}`, ns.
    fn to_json(&self) -> serde_json::Value;
}

#[cfg(feature = "host")]
impl SummaryToJson for Summary {
    fn to_json(&self) -> serde_json::Value {
        serde_json::json!({
            "count": self.count, "mean": self.mean, "p50": self.p50, "p99": self.p99,
            "p999": self.p999, "max": self.max,
        })
    }
}
