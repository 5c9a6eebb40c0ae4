//! The clock of the machine, without waiting.

use std::time::Instant;

use super::{Ticker, Wake};

/// The machine's clock without waiting: as fast as possible, with true execution times.
#[derive(Clone, Copy, Debug)]
pub struct FreeRun(Instant);

impl FreeRun {
    /// Time 0 is now.
    pub fn new() -> Self {
        Self(Instant::now())
    }
}

impl Default for FreeRun {
    fn default() -> Self {
        Self::new()
    }
}

impl Ticker for FreeRun {
    fn wait(&mut self) -> Wake {
        let now_ns = self.now_ns();
        Wake { deadline_ns: now_ns, woke_ns: now_ns, missed: 0 }
    }

    fn now_ns(&self) -> u64 {
        // 584 years fit.
        self.0.elapsed().as_nanos() as u64
    }
}
