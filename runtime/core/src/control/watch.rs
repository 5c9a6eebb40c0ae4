//! Watchdogs over sensors and deadlines.

use core::num::NonZeroU32;

use super::{Event, Faults, Settings, State};
use crate::{
    io::{IoError, Reading},
    time::Wake,
};

/// What goes wrong in a row, and from when on it matters.
#[derive(Debug)]
pub(super) struct Watchdogs {
    stale_limit: NonZeroU32,
    frozen_limit: Option<NonZeroU32>,
    miss_limit: Option<NonZeroU32>,
    /// Step of the newest good observation.
    last_step: Option<u64>,
    stale_in_a_row: u32,
    frozen_in_a_row: u32,
    missed_in_a_row: u32,
}

impl Watchdogs {
    pub(super) fn new(config: &Settings) -> Self {
        Self {
            stale_limit: config.stale_limit,
            frozen_limit: config.frozen_limit,
            miss_limit: config.damp_after_misses,
            last_step: None,
            stale_in_a_row: 0,
            frozen_in_a_row: 0,
            missed_in_a_row: 0,
        }
    }

    /// Forgives what was, when the operator arms.
    pub(super) fn rearm(&mut self) {
        self.stale_in_a_row = 0;
        self.frozen_in_a_row = 0;
        self.missed_in_a_row = 0;
    }

    /// Whether a new good observation has come, which is then copied from `incoming` to `obs`; or
    /// what its absence means.
    pub(super) fn sensors(
        &mut self,
        state: State,
        read: &Result<Reading, IoError>,
        incoming: &[f32],
        obs: &mut [f32],
        faults: &mut Faults,
    ) -> Result<bool, Event> {
        let watched = is_watched(state);
        let new = match read {
            Ok(reading) => self.last_step.is_none_or(|last| reading.step > last),
            Err(_) => false,
        };
        match read {
            _ if state == State::Idle => {}
            Err(IoError::Closed) => faults.insert(Faults::LINK_CLOSED),
            Err(IoError::Width { .. } | IoError::Robot(_)) => faults.insert(Faults::ROBOT_FAILED),
            Ok(_) if new => {}
            Ok(_) | Err(IoError::Stale) => faults.insert(Faults::STALE),
        }
        if let Err(error) = read
            && *error != IoError::Stale
        {
            return Err(Event::RobotFault);
        }
        if !new {
            self.stale_in_a_row = self.stale_in_a_row.saturating_add(1);
            if self.stale_in_a_row < self.stale_limit.get() {
                return Ok(false);
            }
            if watched {
                faults.insert(Faults::SENSORS_LOST);
            }
            return Err(Event::SensorFault);
        }
        self.stale_in_a_row = 0;
        if incoming.iter().any(|v| !v.is_finite()) {
            faults.insert(Faults::NON_FINITE_SENSORS);
            return Err(Event::SensorFault);
        }
        if self.is_frozen(incoming, obs) {
            if watched {
                faults.insert(Faults::SENSORS_FROZEN);
            }
            return Err(Event::SensorFault);
        }
        self.last_step = read.ok().map(|reading| reading.step);
        obs.copy_from_slice(incoming);
        Ok(true)
    }

    /// Whether too many observations in a row repeat the one before to the last bit.
    fn is_frozen(&mut self, incoming: &[f32], obs: &[f32]) -> bool {
        let same = |(a, b): (&f32, &f32)| a.to_bits() == b.to_bits();
        let repeated = self.last_step.is_some() && incoming.iter().zip(obs).all(same);
        self.frozen_in_a_row = if repeated { self.frozen_in_a_row.saturating_add(1) } else { 0 };
        self.frozen_limit.is_some_and(|limit| self.frozen_in_a_row >= limit.get())
    }

    /// What the deadlines missed before this period mean.
    pub(super) fn deadlines(
        &mut self,
        state: State,
        wake: &Wake,
        faults: &mut Faults,
    ) -> Option<Event> {
        if wake.missed == 0 {
            self.missed_in_a_row = 0;
            return None;
        }
        self.missed_in_a_row = self.missed_in_a_row.saturating_add(wake.missed);
        let acts = self.missed_in_a_row >= self.miss_limit?.get();
        if acts && is_watched(state) {
            faults.insert(Faults::DEADLINES_MISSED);
        }
        acts.then_some(Event::DeadlineFault)
    }
}

/// States in which a fault leads to damping.
fn is_watched(state: State) -> bool {
    matches!(state, State::Ready | State::Homing | State::Policy)
}
