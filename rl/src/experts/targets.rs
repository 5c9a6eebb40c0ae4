//! What experts must reach: the paper's Table 1 (Vahabpour et al. 2022), column "expert".

use sog_sim::task::{Modes, TaskId, TaskInfo};

use super::file::{Evaluation, ModeEvaluation};

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
        TaskId::Own => Target::Return(f64::INFINITY),
    }
}

/// Whether an evaluation meets its target, and where not.
#[derive(Clone, Debug, PartialEq)]
pub struct Verdict {
    /// What was reached, in the target's unit.
    pub reached: f64,
    /// Whether the task's target is met.
    pub target_met: bool,
    /// Labels of modes below [`MIN_MODE_SHARE`] of the mean over modes, or of the mode's own ceiling
    /// where that is lower.
    pub weak_modes: Vec<String>,
    /// Labels of modes that end early in more than [`MAX_EARLY_ENDS`] of their episodes.
    pub falling_modes: Vec<String>,
}

/// The largest return that a mode's reward allows, where it has a bound below other modes':
/// |g| + 1 a step at the wanted speed g.
fn ceiling(info: &TaskInfo, mode: usize) -> f64 {
    match (&info.modes, info.id()) {
        (Modes::Discrete(modes), TaskId::Walker2dVel6 | TaskId::HopperVel6) => {
            (modes[mode].value.abs() + 1.0) * info.horizon as f64
        }
        _ => f64::INFINITY,
    }
}

/// Judges an evaluation.
pub fn verdict(info: &TaskInfo, evaluation: &Evaluation) -> Verdict {
    let task = info.id();
    let labels = |bad: &dyn Fn(usize, &ModeEvaluation) -> bool| -> Vec<String> {
        let modes = evaluation.modes.iter().enumerate();
        modes.filter(|(k, m)| bad(*k, m)).map(|(_, m)| m.label.clone()).collect()
    };
    let (reached, target_met) = match target(task) {
        Target::Return(least) => (evaluation.mean, evaluation.mean >= least),
        Target::HitRate(least) => (evaluation.mean, evaluation.mean >= least),
        Target::SpeedError(most) => {
            let errors: Vec<f64> =
                evaluation.modes.iter().filter_map(|m| m.speed_error_m_s).collect();
            let worst = errors.iter().copied().fold(f64::NAN, f64::max);
            (worst, worst <= most)
        }
    };
    let by_return = matches!(target(task), Target::Return(_));
    Verdict {
        reached,
        target_met,
        weak_modes: labels(&|k, m| {
            by_return && m.mean < MIN_MODE_SHARE * evaluation.mean.min(ceiling(info, k))
        }),
        falling_modes: labels(&|_, m| m.early_ends > MAX_EARLY_ENDS),
    }
}
