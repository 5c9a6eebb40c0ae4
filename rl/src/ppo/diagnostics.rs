//! The numbers that practitioners look at.

use sog_engine::ppo::PpoStats;
use sog_sim::rollout::{Batch, Ended};

/// What one iteration did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Diagnostics {
    /// Mean undiscounted return, in the hook's reward, of the episodes that ended; NaN if none.
    pub episode_return: f64,
    /// Mean length of the episodes that ended, in steps; NaN if none.
    pub episode_length: f64,
    /// Share of those that ended in failure; NaN if none.
    pub failures: f64,
    /// Mean reward of a step, before scaling.
    pub reward: f64,
    /// Clipped surrogate, mean over minibatches.
    pub policy_loss: f64,
    /// Value loss, mean over minibatches.
    pub value_loss: f64,
    /// L_SOG, mean over minibatches; NaN if there is no such term.
    pub sog_loss: f64,
    /// Entropy of the policy in nats, mean over minibatches.
    pub entropy: f64,
    /// Mean of log σ over action components.
    pub log_std: f64,
    /// Mean of (ratio − 1) − log ratio over the last epoch.
    pub approx_kl: f64,
    /// Share of rows whose ratio was outside 1 ± ε, over the last epoch.
    pub clip_fraction: f64,
    /// 1 − Var(targets − values)/Var(targets), before the update.
    pub explained_variance: f64,
    /// Norm of the gradient before clipping, mean over minibatches.
    pub grad_norm: f64,
    /// Adam's step size.
    pub learning_rate: f64,
    /// Seconds for rollouts.
    pub collect_s: f64,
    /// Seconds for the rest.
    pub update_s: f64,
}

impl Diagnostics {
    /// Names and values, for a run's metrics.
    pub fn named(&self) -> [(&'static str, f64); 16] {
        [
            ("rollout/episode_return", self.episode_return),
            ("rollout/episode_length", self.episode_length),
            ("rollout/failures", self.failures),
            ("rollout/reward", self.reward),
            ("losses/policy_loss", self.policy_loss),
            ("losses/value_loss", self.value_loss),
            ("losses/sog_loss", self.sog_loss),
            ("losses/entropy", self.entropy),
            ("losses/approx_kl", self.approx_kl),
            ("losses/clip_fraction", self.clip_fraction),
            ("losses/explained_variance", self.explained_variance),
            ("losses/grad_norm", self.grad_norm),
            ("policy/log_std", self.log_std),
            ("policy/learning_rate", self.learning_rate),
            ("time/collect_s", self.collect_s),
            ("time/update_s", self.update_s),
        ]
    }

    /// Returns (in the hook's reward) and lengths of the episodes that ended; `sums` carries the
    /// returns of those that go on.
    pub(super) fn describe_rollout(&mut self, batch: &Batch, rewards: &[f32], sums: &mut [f64]) {
        let total: f64 = rewards.iter().map(|&r| f64::from(r)).sum();
        self.reward = total / batch.rows() as f64;
        let mut returns = 0.0;
        let rows = rewards.chunks_exact(batch.steps).zip(batch.ended.chunks_exact(batch.steps));
        for (sum, (rewards, ended)) in sums.iter_mut().zip(rows) {
            for (&reward, &ended) in rewards.iter().zip(ended) {
                *sum += f64::from(reward);
                if ended != Ended::No {
                    returns += std::mem::take(sum);
                }
            }
        }
        let (mut count, mut failed, mut steps) = (0.0, 0.0, 0.0);
        for end in batch.episodes() {
            count += 1.0;
            failed += f64::from(end.ended == Ended::Failed);
            steps += end.length as f64;
        }
        self.episode_return = returns / count;
        self.episode_length = steps / count;
        self.failures = failed / count;
    }

    /// Takes in the statistics of the minibatches, epoch by epoch.
    pub(super) fn describe_update(&mut self, epochs: &[Vec<PpoStats>], log_std: &[f32]) {
        fn mean(stats: &[PpoStats], value: impl Fn(&PpoStats) -> f32) -> f64 {
            stats.iter().map(|s| f64::from(value(s))).sum::<f64>() / stats.len() as f64
        }
        let all = epochs.concat();
        let last = epochs.last().map_or(&[][..], Vec::as_slice);
        self.policy_loss = mean(&all, |s| s.policy_loss);
        self.value_loss = mean(&all, |s| s.value_loss);
        self.sog_loss = mean(&all, |s| s.sog_loss.unwrap_or(f32::NAN));
        self.entropy = mean(&all, |s| s.entropy);
        self.grad_norm = mean(&all, |s| s.grad_norm);
        self.approx_kl = mean(last, |s| s.approx_kl);
        self.clip_fraction = mean(last, |s| s.clip_fraction);
        self.log_std = f64::from(log_std.iter().sum::<f32>()) / log_std.len() as f64;
    }
}
