//! What an operator can configure about the controller, and why it may refuse.

use alloc::{string::String, vec::Vec};
use core::num::NonZeroU32;

use super::{OnMiss, RateLimit, Settings};
use crate::contract::ContractError;

/// Slowest and fastest control rate, Hz.
pub const RATE_BOUNDS_HZ: (f64, f64) = (1.0, 2000.0);

/// Settings of a [`Controller`](super::Controller); the default is what a robot should get.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "host", derive(serde::Serialize, serde::Deserialize))]
pub struct Config {
    /// Control rate; `None` takes the policy's. Must lie in [`RATE_BOUNDS_HZ`].
    pub rate_hz: Option<f64>,
    /// The codes to choose from, `[n, Z]`; empty takes the K one-hot codes, the zero code of a
    /// Gaussian latent, or the one code of width 0 of a policy without.
    pub codes: Vec<f32>,
    /// Number of the code to begin with.
    pub code: u16,
    /// What the tick after a missed deadline does.
    pub on_miss: OnMiss,
    /// Damping after this many missed deadlines in a row.
    pub damp_after_misses: Option<NonZeroU32>,
    /// Damping in the period that is the n-th in a row without a new observation; until then the
    /// last action is held.
    pub stale_limit: NonZeroU32,
    /// Damping when n observations in a row repeat the one before them to the last bit.
    pub frozen_limit: Option<NonZeroU32>,
    /// Whether actions are cut to the policy's range.
    pub limit_range: bool,
    /// How fast actions may change.
    pub limit_rate: RateLimit,
}

impl Default for Config {
    fn default() -> Self {
        let Settings { on_miss, damp_after_misses, stale_limit, frozen_limit } =
            Settings::default();
        Self {
            rate_hz: None,
            codes: Vec::new(),
            code: 0,
            on_miss,
            damp_after_misses,
            stale_limit,
            frozen_limit,
            limit_range: true,
            limit_rate: RateLimit::Robot,
        }
    }
}

impl Config {
    /// What of it the controller itself looks at.
    pub(super) fn settings(&self) -> Settings {
        Settings {
            on_miss: self.on_miss,
            damp_after_misses: self.damp_after_misses,
            stale_limit: self.stale_limit,
            frozen_limit: self.frozen_limit,
        }
    }
}

/// Why a controller cannot be built.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ControlError {
    /// Policy and robot differ in task, terms, control period or action bounds.
    #[error("{0}; train for this robot, or adapt it")]
    Contract(ContractError),
    /// The control rate is out of bounds.
    #[error("control rate of {found} Hz, need {} to {} Hz", RATE_BOUNDS_HZ.0, RATE_BOUNDS_HZ.1)]
    Rate {
        /// The rate.
        found: f64,
    },
    /// The codes do not fit the policy.
    #[error("{found} numbers of latent codes, the policy takes finite codes of {width} each")]
    Codes {
        /// How many numbers were given.
        found: usize,
        /// Width Z of one code.
        width: usize,
    },
    /// There is no code of that number.
    #[error("code {found} asked for, the policy has {count}, numbered from 0")]
    NoSuchCode {
        /// The number.
        found: u16,
        /// How many there are.
        count: usize,
    },
    /// The robot's own description does not hold together.
    #[error("the robot's {what} has {found}, need {needed}")]
    Robot {
        /// Which part of it.
        what: &'static str,
        /// What was found.
        found: String,
        /// What is needed.
        needed: &'static str,
    },
    /// The rate limit is not a positive number.
    #[error("rate limit of {found} of the action range, need a positive number")]
    RateLimit {
        /// The share.
        found: f32,
    },
}

// Not its source, which whoever prints the chain would say twice.
impl From<ContractError> for ControlError {
    fn from(error: ContractError) -> Self {
        Self::Contract(error)
    }
}
