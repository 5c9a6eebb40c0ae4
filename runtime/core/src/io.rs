//! What a controller and its robot tell each other in one control step.

/// What came with an observation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// Number of the control step that this observation belongs to. It only ever grows, also
    /// across a reset; an observation whose step has not grown counts as stale.
    pub step: u64,
    /// Reward of the step that led here, where the robot reports one.
    pub reward: Option<f64>,
    /// Whether the robot has ended its episode (fallen, say).
    pub terminated: bool,
}

/// Whether a robot stands where its policy starts from.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum Homing {
    /// It cannot be moved there, or nobody knows where that is.
    #[default]
    Unable,
    /// It can, and is elsewhere or on the way.
    Away,
    /// It is there.
    There,
    /// A joint is not where it was told to be.
    Blocked,
    /// It should have been there by now.
    Late,
}

impl Homing {
    /// Every one, in the order of their numbers.
    pub const ALL: [Self; 5] = [Self::Unable, Self::Away, Self::There, Self::Blocked, Self::Late];

    /// The one of a number that `as u8` gave.
    pub fn from_u8(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).copied()
    }
}

/// What a robot says to being sent there that cannot.
pub const NO_WAY_HOME: &str = "it knows no way to a start pose";

/// Why an exchange with the robot failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IoError {
    /// No new observation arrived in time.
    #[error("no new observation within the control period")]
    Stale,
    /// The link is gone.
    #[error("the link to the robot is closed")]
    Closed,
    /// Buffers do not have the robot's widths.
    #[error("buffer of {found} numbers, the robot has {needed}")]
    Width {
        /// Length given.
        found: usize,
        /// Length needed.
        needed: usize,
    },
    /// The robot refused the command or failed to step.
    #[error("the robot failed: {0}")]
    Robot(&'static str),
}
