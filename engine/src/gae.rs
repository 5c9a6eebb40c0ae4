//! Generalised advantage estimation (Schulman et al. 2016) that tells failures from time limits.

use serde::{Deserialize, Serialize};

use crate::error::{EngineError, check_len};

/// How a step left its episode.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepEnd {
    /// The episode goes on.
    #[default]
    Continues,
    /// The episode failed: nothing follows, the value behind it is 0.
    Failed,
    /// The time ran out: the episode would have gone on, so the value of its last state counts.
    TimeLimit,
}

/// `steps` steps of `envs` environments, each array `[steps, envs]`.
#[derive(Debug, Clone, Copy)]
pub struct Rollout<'a> {
    /// Number of environments.
    pub envs: usize,
    /// Rewards of the steps.
    pub rewards: &'a [f32],
    /// Values V(sₜ) of the states the steps started from.
    pub values: &'a [f32],
    /// How each step ended.
    pub ends: &'a [StepEnd],
    /// Values of the states in which episodes were cut off, before the reset; read where `ends` is
    /// [`StepEnd::TimeLimit`].
    pub final_values: &'a [f32],
    /// Values of the states after the last step `[envs]`; read where that step continues.
    pub last_values: &'a [f32],
}

/// Advantages and value targets `[steps, envs]`:
///
/// δₜ = rₜ + γ V(sₜ₊₁) − V(sₜ), with V(sₜ₊₁) = 0 after a failure;
/// Âₜ = δₜ + γλ Âₜ₊₁, with Âₜ₊₁ = 0 after any end; target = Âₜ + V(sₜ).
///
/// # Errors
/// If an array has the wrong length.
pub fn gae(
    rollout: Rollout<'_>,
    gamma: f32,
    lambda: f32,
    advantages: &mut [f32],
    targets: &mut [f32],
) -> Result<(), EngineError> {
    let n = rollout.values.len();
    let envs = rollout.envs;
    check_len("values behind the last step", rollout.last_values.len(), envs)?;
    let steps = n.checked_div(envs).unwrap_or(0);
    check_len("values", n, steps * envs)?;
    check_len("rewards", rollout.rewards.len(), n)?;
    check_len("step ends", rollout.ends.len(), n)?;
    check_len("final values", rollout.final_values.len(), n)?;
    check_len("advantages", advantages.len(), n)?;
    check_len("value targets", targets.len(), n)?;
    for env in 0..envs {
        let mut next_value = rollout.last_values[env];
        let mut next_advantage = 0.0;
        for at in (0..steps).rev().map(|t| t * envs + env) {
            let (value_behind, carried) = match rollout.ends[at] {
                StepEnd::Continues => (next_value, next_advantage),
                StepEnd::Failed => (0.0, 0.0),
                StepEnd::TimeLimit => (rollout.final_values[at], 0.0),
            };
            let delta = rollout.rewards[at] + gamma * value_behind - rollout.values[at];
            advantages[at] = delta + gamma * lambda * carried;
            targets[at] = advantages[at] + rollout.values[at];
            next_value = rollout.values[at];
            next_advantage = advantages[at];
        }
    }
    Ok(())
}

/// Shifts and scales advantages to mean 0 and standard deviation 1.
pub fn normalise(advantages: &mut [f32]) {
    if advantages.is_empty() {
        return;
    }
    let n = advantages.len() as f64;
    let mean = advantages.iter().map(|&a| f64::from(a)).sum::<f64>() / n;
    let var = advantages.iter().map(|&a| (f64::from(a) - mean).powi(2)).sum::<f64>() / n;
    let factor = 1.0 / (var.sqrt() + 1e-8);
    advantages.iter_mut().for_each(|a| *a = ((f64::from(*a) - mean) * factor) as f32);
}

/// Share of the targets' variance that the predictions explain: 1 − Var(target − value)/Var(target);
/// NaN where the targets are constant.
pub fn explained_variance(values: &[f32], targets: &[f32]) -> f64 {
    let variance = |x: &mut dyn Iterator<Item = f64>| {
        let (mut n, mut mean, mut m2) = (0.0, 0.0, 0.0);
        for v in x {
            n += 1.0;
            let delta = v - mean;
            mean += delta / n;
            m2 += delta * (v - mean);
        }
        m2 / n
    };
    let pairs = values.iter().zip(targets);
    let residual = variance(&mut pairs.map(|(&v, &t)| f64::from(t) - f64::from(v)));
    let total = variance(&mut targets.iter().map(|&t| f64::from(t)));
    if total > 0.0 { 1.0 - residual / total } else { f64::NAN }
}

#[cfg(test)]
mod tests {
    use super::*;

    const G: f32 = 0.9;
    const L: f32 = 0.8;

    fn run(ends: &[StepEnd], last: f32) -> Vec<f32> {
        let n = ends.len();
        let (mut advantages, mut targets) = (vec![0.0; n], vec![0.0; n]);
        let values: Vec<f32> = (0..n).map(|i| 0.5 + i as f32).collect();
        let rollout = Rollout {
            envs: 1,
            rewards: &vec![1.0; n],
            values: &values,
            ends,
            final_values: &vec![7.0; n],
            last_values: &[last],
        };
        gae(rollout, G, L, &mut advantages, &mut targets).expect("lengths match");
        for i in 0..n {
            assert!((targets[i] - advantages[i] - values[i]).abs() < 1e-6);
        }
        advantages
    }

    #[test]
    fn advantage_is_the_discounted_sum_of_deltas() {
        use StepEnd::Continues as C;
        let a = run(&[C, C, C], 10.0);
        let deltas = [1.0 + G * 1.5 - 0.5, 1.0 + G * 2.5 - 1.5, 1.0 + G * 10.0 - 2.5];
        let want = deltas[0] + G * L * (deltas[1] + G * L * deltas[2]);
        assert!((a[0] - want).abs() < 1e-5, "{a:?}");
    }

    #[test]
    fn a_failure_has_no_value_behind_it_and_a_time_limit_has() {
        use StepEnd::{Continues, Failed, TimeLimit};
        let failed = run(&[Continues, Failed, Continues], 10.0);
        let limited = run(&[Continues, TimeLimit, Continues], 10.0);
        assert!((failed[1] - (1.0 - 1.5)).abs() < 1e-6);
        assert!((limited[1] - (1.0 + G * 7.0 - 1.5)).abs() < 1e-6);
        // Nothing leaks across either end.
        assert_eq!(failed[2], limited[2]);
        assert!((failed[0] - (1.0 + G * 1.5 - 0.5 + G * L * failed[1])).abs() < 1e-6);
        // The value behind the last step is not read when that step ends an episode.
        assert_eq!(run(&[Failed], 1e9), run(&[Failed], 0.0));
    }

    #[test]
    fn environments_are_kept_apart() {
        let ends = [StepEnd::Continues; 4];
        let (mut advantages, mut targets) = ([0.0; 4], [0.0; 4]);
        let rollout = Rollout {
            envs: 2,
            rewards: &[1.0, 5.0, 1.0, 5.0],
            values: &[0.0; 4],
            ends: &ends,
            final_values: &[0.0; 4],
            last_values: &[0.0, 0.0],
        };
        gae(rollout, 1.0, 1.0, &mut advantages, &mut targets).expect("lengths match");
        assert_eq!(advantages, [2.0, 10.0, 1.0, 5.0]);
    }

    #[test]
    fn normalised_advantages_have_mean_zero_and_deviation_one() {
        let mut a: Vec<f32> = (0..100).map(|i| (i as f32).sqrt() * 3.0 - 4.0).collect();
        normalise(&mut a);
        let mean = a.iter().sum::<f32>() / 100.0;
        let var = a.iter().map(|v| (v - mean).powi(2)).sum::<f32>() / 100.0;
        assert!(mean.abs() < 1e-5 && (var - 1.0).abs() < 1e-4);
        let mut same = [3.0; 4];
        normalise(&mut same);
        assert_eq!(same, [0.0; 4]);
    }

    #[test]
    fn explained_variance_is_one_for_perfect_and_zero_for_constant_predictions() {
        let targets = [1.0, 2.0, 5.0];
        assert!((explained_variance(&targets, &targets) - 1.0).abs() < 1e-12);
        assert!(explained_variance(&[4.0; 3], &targets).abs() < 1e-12);
        assert!(explained_variance(&[5.0, 2.0, 1.0], &targets) < 0.0);
        assert!(explained_variance(&[1.0; 3], &[2.0; 3]).is_nan());
    }
}
