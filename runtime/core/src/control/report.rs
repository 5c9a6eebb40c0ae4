//! What a tick reports, and the counts of all ticks.

use super::{Counts, Faults, Limited, Requests, State};
use crate::{
    io::{Homing, IoError, Reading},
    time::Wake,
};

/// What was commanded in a tick.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum CommandKind {
    /// Nothing.
    #[default]
    None,
    /// The action of [`Control::action`](super::Control::action).
    Act,
    /// Damping.
    Damp,
    /// Emergency stop.
    Stop,
    /// The operator's reset.
    Reset,
    /// The way to the start pose.
    Home,
}

impl CommandKind {
    /// Every kind.
    pub const ALL: [Self; 6] =
        [Self::None, Self::Act, Self::Damp, Self::Stop, Self::Reset, Self::Home];

    /// The kind of a number that `as u8` gave.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }

    /// Name as in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Act => "act",
            Self::Damp => "damp",
            Self::Stop => "stop",
            Self::Reset => "reset",
            Self::Home => "home",
        }
    }
}

/// What one tick did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct TickReport {
    /// Number of the tick, from 0.
    pub tick: u64,
    /// State in which the tick commanded.
    pub state: State,
    /// Number of the selected code.
    pub code: u16,
    /// What the operator asked for since the tick before.
    pub requests: Requests,
    /// What the robot gave.
    pub read: Result<Reading, IoError>,
    /// What was commanded.
    pub command: CommandKind,
    /// Whether the robot stood where its policy starts from.
    pub homing: Homing,
    /// How the robot took it.
    pub written: Result<(), IoError>,
    /// What went wrong.
    pub faults: Faults,
    /// Which limits acted.
    pub limited: Limited,
}

impl Default for TickReport {
    /// Of a tick in which nothing happened.
    fn default() -> Self {
        Self {
            tick: 0,
            state: State::Idle,
            code: 0,
            requests: Requests::default(),
            read: Err(IoError::Stale),
            command: CommandKind::None,
            homing: Homing::Unable,
            written: Ok(()),
            faults: Faults::default(),
            limited: Limited::default(),
        }
    }
}

/// Counts of all ticks so far, in constant memory.
#[derive(Clone, Debug, Default)]
pub struct Stats {
    /// Ticks.
    pub ticks: u64,
    /// Ticks in which the policy commanded.
    pub policy_ticks: u64,
    /// Periods without a tick.
    pub misses: u64,
    /// Faults by kind.
    pub faults: Counts<Faults>,
    /// Ticks in which a limit acted, by kind.
    pub limited: Counts<Limited>,
    /// Sum of the rewards of steps that the policy commanded, if the robot reports any.
    pub episode_return: Option<f64>,
}

impl Stats {
    pub(super) fn add(&mut self, report: &TickReport, wake: &Wake) {
        self.ticks += 1;
        self.misses += u64::from(wake.missed);
        self.policy_ticks += u64::from(report.command == CommandKind::Act);
        self.faults.add(report.faults);
        self.limited.add(report.limited);
    }
}
