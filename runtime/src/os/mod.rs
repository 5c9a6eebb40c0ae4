//! The operating system: real time, files, signals; the only place in this crate with `unsafe`.
//!
//! * [`set_up`], [`RealTimeConfig`], [`Obtained`]: scheduling class, affinity, locked memory;
//! * [`files`]: outputs that are written whole, and never over something that matters;
//! * [`with_causes`]: an error and what caused it, each said once;
//! * [`pipe`]: what becomes of a program whose reader is gone;
//! * [`on_signals`]: a callback for `SIGINT`, `SIGTERM` and `SIGHUP`;
//! * [`random_u64`], [`wait_readable`], [`wait_writable`]: small services;
//! * [`CountingAllocator`]: proof that a tick allocates nothing;
//!
//! ```
//! use sog_runtime::time::{RealTime, Ticker};
//! use sog_runtime::os::{self, RealTimeConfig};
//!
//! let obtained = os::set_up(&RealTimeConfig::default()).expect("only `strict` can fail");
//! println!("{obtained}");                               // says what was obtained, and what not
//! let mut ticker = RealTime::new(1_000_000, 0);      // 1 kHz, no spinning
//! let wake = ticker.wait();
//! assert!(wake.woke_ns >= wake.deadline_ns);
//! ```

mod alloc;
mod errors;
pub mod files;
pub mod pipe;
mod schedule;
mod signals;
mod system;

pub use alloc::CountingAllocator;
pub use errors::with_causes;
pub use schedule::{Obtained, RealTimeConfig, RealTimeError, Scheduler, Strictness, set_up};
pub use signals::on_signals;
pub use system::{random_u64, wait_readable, wait_writable};
