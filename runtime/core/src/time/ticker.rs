//! Time as the loop sees it: periods with absolute deadlines, real or virtual.

/// How one period began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Wake {
    /// When the tick was due, ns of the ticker's clock.
    pub deadline_ns: u64,
    /// When it began, ns of the ticker's clock.
    pub woke_ns: u64,
    /// How many whole periods before this one got no tick.
    pub missed: u32,
}

impl Wake {
    /// How late the tick began.
    pub fn latency_ns(&self) -> u64 {
        self.woke_ns.saturating_sub(self.deadline_ns)
    }
}

/// What paces the loop.
pub trait Ticker {
    /// Waits for the next period and says how it began.
    fn wait(&mut self) -> Wake;

    /// Now, ns of the ticker's clock.
    fn now_ns(&self) -> u64;
}

/// The arithmetic of absolute deadlines: a period that has begun before its tick could is
/// skipped whole, and the phase is kept.
#[derive(Clone, Copy, Debug)]
pub struct Schedule {
    period_ns: u64,
    next_ns: u64,
}

impl Schedule {
    /// First deadline one period from now.
    ///
    /// # Panics
    /// If the period is 0.
    pub fn new(now_ns: u64, period_ns: u64) -> Self {
        assert!(period_ns > 0, "a period of 0 ns");
        Self { period_ns, next_ns: now_ns + period_ns }
    }

    /// The period, ns.
    pub fn period_ns(&self) -> u64 {
        self.period_ns
    }

    /// The next deadline that is not past, and how many deadlines were skipped to get there.
    pub fn advance(&mut self, now_ns: u64) -> (u64, u32) {
        let mut missed = 0;
        if now_ns > self.next_ns {
            missed = (now_ns - self.next_ns).div_ceil(self.period_ns);
            self.next_ns += missed * self.period_ns;
        }
        let deadline = self.next_ns;
        self.next_ns += self.period_ns;
        (deadline, u32::try_from(missed).unwrap_or(u32::MAX))
    }
}

/// Virtual time that is always on time: for lock step and tests, as fast as possible.
#[derive(Clone, Copy, Debug)]
pub struct LockStep {
    period_ns: u64,
    now_ns: u64,
}

impl LockStep {
    /// Starts at 0; each [`wait`](Ticker::wait) is one period.
    pub fn new(period_ns: u64) -> Self {
        Self { period_ns, now_ns: 0 }
    }
}

impl Ticker for LockStep {
    fn wait(&mut self) -> Wake {
        self.now_ns += self.period_ns;
        Wake { deadline_ns: self.now_ns, woke_ns: self.now_ns, missed: 0 }
    }

    fn now_ns(&self) -> u64 {
        self.now_ns
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_late_tick_skips_whole_periods_and_keeps_phase() {
        let mut schedule = Schedule::new(5, 100);
        assert_eq!(schedule.advance(90), (105, 0));
        assert_eq!(schedule.advance(205), (205, 0), "on the dot is on time");
        assert_eq!(schedule.advance(306), (405, 1));
        assert_eq!(schedule.advance(405 + 350), (805, 3));
        assert_eq!(schedule.advance(806), (905, 0));
    }

    proptest! {
        #[test]
        fn deadlines_keep_phase_and_misses_add_up(period in 1u64..5000, work in proptest::collection::vec(0u64..20_000, 1..50)) {
            let mut schedule = Schedule::new(0, period);
            let (mut now, mut ticks, mut missed) = (0, 0, 0);
            for w in work {
                let (deadline, skipped) = schedule.advance(now);
                prop_assert_eq!(deadline % period, 0);
                prop_assert!(deadline >= now && deadline - now <= period);
                ticks += 1;
                missed += u64::from(skipped);
                prop_assert_eq!(deadline / period, ticks + missed);
                now = deadline + w;
            }
        }
    }
}
