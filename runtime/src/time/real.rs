//! Periods in real time: absolute deadlines on the monotonic clock.

use rustix::{
    thread::clock_nanosleep_absolute,
    time::{ClockId, Timespec, clock_gettime},
};

use super::{Schedule, Ticker, Wake};

/// Now on the monotonic clock, ns.
pub fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    // The monotonic clock counts up from a positive number.
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps until each absolute deadline in turn (`clock_nanosleep` with `TIMER_ABSTIME`); whole
/// periods that have passed are skipped, and the phase is kept.
#[derive(Clone, Debug)]
pub struct RealTime {
    schedule: Schedule,
    spin_ns: u64,
}

impl RealTime {
    /// The first deadline is one period from now. The last `spin_ns` before each deadline are
    /// spent spinning, which trades processor time for wake-up latency.
    pub fn new(period_ns: u64, spin_ns: u64) -> Self {
        Self { schedule: Schedule::new(monotonic_ns(), period_ns), spin_ns }
    }

    /// Begins anew, with the first deadline one period from now.
    pub fn restart(&mut self) {
        self.schedule = Schedule::new(monotonic_ns(), self.schedule.period_ns());
    }
}

impl Ticker for RealTime {
    fn wait(&mut self) -> Wake {
        let (deadline_ns, missed) = self.schedule.advance(monotonic_ns());
        sleep_until(deadline_ns.saturating_sub(self.spin_ns));
        let mut woke_ns = monotonic_ns();
        while woke_ns < deadline_ns {
            std::hint::spin_loop();
            woke_ns = monotonic_ns();
        }
        Wake { deadline_ns, woke_ns, missed }
    }

    fn now_ns(&self) -> u64 {
        monotonic_ns()
    }
}

/// Sleeps until a time of the monotonic clock, through any signal.
fn sleep_until(time_ns: u64) {
    let request = Timespec {
        tv_sec: (time_ns / 1_000_000_000) as i64,
        tv_nsec: (time_ns % 1_000_000_000) as _,
    };
    while clock_nanosleep_absolute(ClockId::Monotonic, &request) == Err(rustix::io::Errno::INTR) {}
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn real_time_keeps_phase_and_never_wakes_early() {
        let mut ticker = RealTime::new(200_000, 20_000);
        let first = ticker.wait();
        let mut last = first.deadline_ns;
        for _ in 0..20 {
            let wake = ticker.wait();
            assert!(wake.woke_ns >= wake.deadline_ns);
            assert_eq!(wake.deadline_ns, last + (u64::from(wake.missed) + 1) * 200_000);
            last = wake.deadline_ns;
        }
    }
}
