//! The latest figures of a run, for whoever watches it.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
};

use crate::control::{Controller, Observer, State, TickReport};
use crate::time::Wake;

/// Where the loop writes its latest figures and others read them, without lock.
///
/// Each figure is current; two figures may stem from two neighbouring ticks.
#[derive(Debug, Default)]
pub struct Board {
    /// State in the low byte, code above.
    mode: AtomicU64,
    ticks: AtomicU64,
    misses: AtomicU64,
    faults: AtomicU64,
    limited: AtomicU64,
    worst_wake_ns: AtomicU64,
    reward_bits: AtomicU64,
}

/// What a [`Board`] says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    /// State.
    pub state: State,
    /// Number of the selected code.
    pub code: u16,
    /// Ticks so far.
    pub ticks: u64,
    /// Periods without a tick so far.
    pub misses: u64,
    /// Faults of all kinds so far.
    pub faults: u64,
    /// Ticks in which limits acted, of all kinds, so far.
    pub limited: u64,
    /// Longest wake-up latency since it was last asked for, ns.
    pub worst_wake_ns: u64,
    /// Sum of rewards so far, where the robot reports any.
    pub episode_return: Option<f64>,
}

impl Board {
    /// A board to share.
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// The figures now; the longest wake-up latency starts afresh.
    pub fn read(&self) -> Figures {
        Figures { worst_wake_ns: self.worst_wake_ns.swap(0, Ordering::Relaxed), ..self.peek() }
    }

    /// The figures now, for a second reader beside the one that calls [`read`](Self::read).
    pub fn peek(&self) -> Figures {
        let mode = self.mode.load(Ordering::Relaxed);
        let episode_return = f64::from_bits(self.reward_bits.load(Ordering::Relaxed));
        Figures {
            state: State::from_u8(mode as u8).unwrap_or(State::Idle),
            code: (mode >> 8) as u16,
            ticks: self.ticks.load(Ordering::Relaxed),
            misses: self.misses.load(Ordering::Relaxed),
            faults: self.faults.load(Ordering::Relaxed),
            limited: self.limited.load(Ordering::Relaxed),
            worst_wake_ns: self.worst_wake_ns.load(Ordering::Relaxed),
            episode_return: (!episode_return.is_nan()).then_some(episode_return),
        }
    }
}

impl Observer for Arc<Board> {
    fn observe(&mut self, controller: &Controller, wake: &Wake, tick: &TickReport, _: u64) {
        let stats = controller.stats();
        let mode = tick.state as u64 | u64::from(tick.code) << 8;
        self.mode.store(mode, Ordering::Relaxed);
        self.ticks.store(stats.ticks, Ordering::Relaxed);
        self.misses.store(stats.misses, Ordering::Relaxed);
        self.faults.store(stats.faults.total(), Ordering::Relaxed);
        self.limited.store(stats.limited.total(), Ordering::Relaxed);
        self.worst_wake_ns.fetch_max(wake.latency_ns(), Ordering::Relaxed);
        let reward = stats.episode_return.unwrap_or(f64::NAN);
        self.reward_bits.store(reward.to_bits(), Ordering::Relaxed);
    }
}
