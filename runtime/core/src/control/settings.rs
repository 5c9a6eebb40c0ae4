//! What an operator can configure about the controller.

use core::num::NonZeroU32;

use serde::{Deserialize, Serialize};

/// What the tick after a missed deadline does under the policy. The schedule is the same: whole
/// periods are skipped and the phase is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnMiss {
    /// Infers as always.
    #[default]
    Skip,
    /// Repeats the last action, to catch up.
    Hold,
}

/// How fast an action may change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub enum RateLimit {
    /// As the robot states.
    #[default]
    Robot,
    /// At most this share of the action range in one control step, and what the robot states.
    Share(f32),
    /// Any change.
    Off,
}

/// When the controller gives up, and what it does after a missed deadline; the default is what a
/// robot should get.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Settings {
    /// What the tick after a missed deadline does.
    pub on_miss: OnMiss,
    /// Damping after this many missed deadlines in a row.
    pub damp_after_misses: Option<NonZeroU32>,
    /// Damping in the period that is the n-th in a row without a new observation; until then the
    /// last action is held.
    pub stale_limit: NonZeroU32,
    /// Damping when n observations in a row repeat the one before them to the last bit.
    pub frozen_limit: Option<NonZeroU32>,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            on_miss: OnMiss::Skip,
            damp_after_misses: NonZeroU32::new(5),
            stale_limit: NonZeroU32::MIN.saturating_add(1),
            frozen_limit: NonZeroU32::new(50),
        }
    }
}
