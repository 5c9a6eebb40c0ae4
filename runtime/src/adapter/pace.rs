//! Two rates on one thread: the robot's periods between those of the policy.

use alloc::vec::Vec;
use core::cell::RefCell;

use super::Adapter;
use crate::{
    io::{Command, Guidance, Homing, IoError, KeptGuidance, Reading, RobotIo, RobotSpec},
    time::{Ticker, Wake},
};

/// An adapter that the control loop and its ticker share.
pub struct PacedRobot<'a, R> {
    adapter: &'a RefCell<Adapter<R>>,
    spec: RobotSpec,
    guidance: KeptGuidance,
    /// `[A]`
    home_action: Option<Vec<f32>>,
}

impl<'a, R: RobotIo> PacedRobot<'a, R> {
    /// The loop's side of an adapter of [`Between::Ticker`](super::Between::Ticker).
    pub fn new(adapter: &'a RefCell<Adapter<R>>) -> Self {
        let spec = adapter.borrow().spec().clone();
        let home_action = adapter.borrow().home_action().map(<[f32]>::to_vec);
        Self { guidance: KeptGuidance::new(spec.action_dim()), spec, adapter, home_action }
    }
}

impl<R: RobotIo> RobotIo for PacedRobot<'_, R> {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        let mut adapter = self.adapter.borrow_mut();
        let read = adapter.read(obs);
        self.guidance.keep(adapter.guidance());
        read
    }

    fn guidance(&self) -> Guidance<'_> {
        self.guidance.get()
    }

    fn homing(&self) -> Homing {
        self.adapter.borrow().homing()
    }

    fn home_action(&self) -> Option<&[f32]> {
        self.home_action.as_deref()
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        let mut adapter = self.adapter.borrow_mut();
        let written = adapter.write(command);
        if let (Some(kept), Some(action)) = (&mut self.home_action, adapter.home_action()) {
            kept.copy_from_slice(action);
        }
        written
    }
}

/// Paces the control loop by the robot's shorter periods: between two ticks of the loop it lets
/// the adapter read and tell the robot once a period.
///
/// The ticker inside runs at the robot's period. A wait ends with the period that the policy is
/// due in; its lateness and misses are those of that period.
pub struct PacedTicker<'a, R, T> {
    adapter: &'a RefCell<Adapter<R>>,
    ticker: T,
    steps: u32,
    /// Periods of the robot's until the policy is due.
    left: u32,
}

impl<'a, R: RobotIo, T: Ticker> PacedTicker<'a, R, T> {
    /// Paces an adapter by a ticker of the robot's period.
    pub fn new(adapter: &'a RefCell<Adapter<R>>, ticker: T) -> Self {
        let steps = adapter.borrow().steps();
        Self { adapter, ticker, steps, left: 1 }
    }
}

impl<R: RobotIo, T: Ticker> Ticker for PacedTicker<'_, R, T> {
    fn wait(&mut self) -> Wake {
        loop {
            let wake = self.ticker.wait();
            let passed = wake.missed.saturating_add(1);
            if passed >= self.left {
                // The phase is kept: late periods count towards the next of the policy's.
                let late = passed - self.left;
                self.left = self.steps - late % self.steps;
                return Wake { missed: late / self.steps, ..wake };
            }
            self.left -= passed;
            self.adapter.borrow_mut().step_between();
        }
    }

    fn now_ns(&self) -> u64 {
        self.ticker.now_ns()
    }
}
