//! What experts must reach: the paper's Table 1 (Vahabpour et al. 2022), column "expert".

use sog_sim::task::TaskId;

/// What counts as good enough.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Target {
    /// Mean over modes of the mean return, at least; every mode at least 90 % of the reached mean.
    Return(f64),
    /// Mean |v − g| after the first second, at most, m/s.
    SpeedError(f64),
    /// Share of goals reached, at least.
    HitRate(f64),
}

/// Largest share of episodes of a mode that may end early.
pub const MAX_EARLY_ENDS: f64 = 0.02;

/// Smallest mean return of a mode, as a share of the mean over modes.
pub const MIN_MODE_SHARE: f64 = 0.9;

/// Distance within which a fetchreach goal counts as reached, metres.
pub(super) const HIT_DISTANCE_M: f64 = 0.05;

/// The target of a task.
pub fn target(task: TaskId) -> Target {
    match task {
        TaskId::Circles | TaskId::Circles6 => Target::Return(998.3),
        TaskId::AntFwdBack => Target::Return(1068.7),
        TaskId::AntDir6 => Target::Return(1031.7),
        TaskId::HalfCheetahFwdBack => Target::Return(1686.0),
        TaskId::HalfCheetahVel => Target::SpeedError(0.1),
        TaskId::Walker2dVel6 => Target::Return(1964.6),
        TaskId::HopperVel6 => Target::Return(2229.7),
        TaskId::HumanoidDir6 => Target::Return(6206.6),
        TaskId::FetchReach => Target::HitRate(1.0),
    }
}
