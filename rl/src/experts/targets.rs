//! What experts must reach: the paper's Table 1 (Vahabpour et al. 2022), column "expert".

use serde::Deserialize;
use sog_sim::tasks::TaskFolder;

use super::{
    config::{TARGET, expert_table},
    file::{Evaluation, ModeEvaluation},
};
use crate::run::ConfigError;

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

/// `[target]` of `expert.toml`.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TargetTable {
    #[serde(rename = "return")]
    least_return: Option<f64>,
    speed_error: Option<f64>,
    hit_rate: Option<f64>,
    /// The most that a step of each mode can pay.
    #[serde(default)]
    best_step: Vec<f64>,
}

fn table(task: &TaskFolder) -> Result<TargetTable, ConfigError> {
    let table = expert_table(task)?.and_then(|mut table| table.remove(TARGET));
    match table {
        None => Ok(TargetTable::default()),
        Some(value) => value
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError::Syntax { reason: format!("[target]: {e}") }),
    }
}

/// The target of a task's expert, as `[target]` of `expert.toml` beside the task says it.
///
/// # Errors
/// [`ConfigError::Syntax`] for a table that cannot be read.
pub fn target(task: &TaskFolder) -> Result<Option<Target>, ConfigError> {
    let table = table(task)?;
    let targets = [
        table.least_return.map(Target::Return),
        table.speed_error.map(Target::SpeedError),
        table.hit_rate.map(Target::HitRate),
    ];
    Ok(targets.into_iter().flatten().next())
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

/// Judges an evaluation; where the task has no target, it is met.
///
/// # Errors
/// As [`target`].
pub fn verdict(task: &TaskFolder, evaluation: &Evaluation) -> Result<Verdict, ConfigError> {
    let (target, best_step) = (target(task)?, table(task)?.best_step);
    // The largest return that a mode's reward allows, where it has a bound below other modes'.
    let ceiling = |mode: usize| {
        best_step.get(mode).map_or(f64::INFINITY, |best| best * task.info().horizon as f64)
    };
    let labels = |bad: &dyn Fn(usize, &ModeEvaluation) -> bool| -> Vec<String> {
        let modes = evaluation.modes.iter().enumerate();
        modes.filter(|(k, m)| bad(*k, m)).map(|(_, m)| m.label.clone()).collect()
    };
    let (reached, target_met) = match target {
        None => (evaluation.mean, true),
        Some(Target::Return(least) | Target::HitRate(least)) => {
            (evaluation.mean, evaluation.mean >= least)
        }
        Some(Target::SpeedError(most)) => {
            let errors: Vec<f64> =
                evaluation.modes.iter().filter_map(|m| m.speed_error_m_s).collect();
            let worst = errors.iter().copied().fold(f64::NAN, f64::max);
            (worst, worst <= most)
        }
    };
    let by_return = matches!(target, Some(Target::Return(_)));
    Ok(Verdict {
        reached,
        target_met,
        weak_modes: labels(&|k, m| {
            by_return && m.mean < MIN_MODE_SHARE * evaluation.mean.min(ceiling(k))
        }),
        falling_modes: labels(&|_, m| m.early_ends > MAX_EARLY_ENDS),
    })
}
