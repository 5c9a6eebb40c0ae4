//! What can go wrong in a control tick, and which limits can act in it, counted by kind.

use core::{fmt, marker::PhantomData};

use bitflags::{Flags, bitflags};

bitflags! {
    /// What went wrong in a tick.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Faults: u32 {
        /// No new observation in this period.
        const STALE = 1;
        /// Too many periods in a row without a new observation: the watchdog acted.
        const SENSORS_LOST = 1 << 1;
        /// An observation that is not finite; it is not used.
        const NON_FINITE_SENSORS = 1 << 2;
        /// The same numbers for too many control steps: the watchdog acted.
        const SENSORS_FROZEN = 1 << 3;
        /// The link is closed.
        const LINK_CLOSED = 1 << 4;
        /// The robot failed, or its buffers do not fit.
        const ROBOT_FAILED = 1 << 5;
        /// The command could not be sent.
        const WRITE_FAILED = 1 << 6;
        /// The robot reports the end of its episode.
        const TERMINATED = 1 << 7;
        /// Too many missed deadlines in a row: the watchdog acted.
        const DEADLINES_MISSED = 1 << 8;
        /// The policy's action is not finite; it is not sent.
        const NON_FINITE_ACTION = 1 << 9;
        /// On the way to the start pose a joint is not where it was told to be.
        const HOMING_BLOCKED = 1 << 10;
        /// The start pose was not reached in time.
        const HOMING_LATE = 1 << 11;
    }
}

bitflags! {
    /// Which limits acted in a tick. A limit that acts is no fault: the robot is healthy and gets
    /// what it bears.
    #[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
    pub struct Limited: u32 {
        /// An action beyond its range was cut.
        const ACTION_RANGE = 1;
        /// A change of action beyond what the actuators bear was cut.
        const ACTION_RATE = 1 << 1;
    }
}

/// Name of a kind, as in logs and reports: `sensors_lost`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KindName(&'static str);

impl fmt::Display for KindName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use fmt::Write;
        self.0.chars().try_for_each(|letter| f.write_char(letter.to_ascii_lowercase()))
    }
}

/// The names of some kinds.
pub fn names<F: Flags + Copy>(kinds: F) -> impl Iterator<Item = KindName> {
    kinds.iter_names().map(|(name, _)| KindName(name))
}

fn list<F: Flags + Copy>(kinds: F, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    names(kinds).enumerate().try_for_each(|(i, name)| {
        let space = if i == 0 { "" } else { " " };
        write!(f, "{space}{name}")
    })
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(*self, f)
    }
}

impl fmt::Display for Limited {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        list(*self, f)
    }
}

/// In how many ticks each kind occurred.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Counts<F>([u64; 32], PhantomData<F>);

impl<F> Default for Counts<F> {
    fn default() -> Self {
        Self([0; 32], PhantomData)
    }
}

impl<F: Flags<Bits = u32> + Copy> Counts<F> {
    /// Counts the kinds of one tick.
    pub fn add(&mut self, kinds: F) {
        let mut bits = kinds.bits();
        while bits != 0 {
            self.0[bits.trailing_zeros() as usize] += 1;
            bits &= bits - 1;
        }
    }

    /// Ticks with this kind, one of them.
    pub fn get(&self, kind: F) -> u64 {
        self.0.get(kind.bits().trailing_zeros() as usize).copied().unwrap_or(0)
    }

    /// Every kind with its count.
    pub fn iter(&self) -> impl Iterator<Item = (KindName, u64)> + '_ {
        F::FLAGS.iter().map(|flag| (KindName(flag.name()), self.get(*flag.value())))
    }

    /// Sum over all kinds.
    pub fn total(&self) -> u64 {
        self.0.iter().sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{string::ToString, vec::Vec};

    #[test]
    fn kinds_are_told_apart_and_named() {
        for (i, flag) in Faults::FLAGS.iter().enumerate() {
            assert_eq!(flag.value().bits(), 1 << i);
            let mut counts = Counts::<Faults>::default();
            counts.add(*flag.value());
            counts.add(*flag.value());
            assert_eq!((counts.get(*flag.value()), counts.total()), (2, 2));
        }
        assert_eq!((Faults::STALE | Faults::SENSORS_LOST).to_string(), "stale sensors_lost");
        let counts = Counts::<Limited>::default();
        let all: Vec<_> = counts.iter().map(|(name, n)| (name.to_string(), n)).collect();
        assert_eq!(all, [("action_range".to_string(), 0), ("action_rate".to_string(), 0)]);
    }
}
