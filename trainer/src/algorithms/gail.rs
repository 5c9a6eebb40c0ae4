//! GAIL (Ho and Ermon 2016; Eq. 1 of the paper): PPO against a discriminator, without a code.
//!
//! One iteration, as [`Ppo::iterate`](sog_rl::ppo::Ppo::iterate) calls it:
//!
//! 1. roll out π_θ;
//! 2. train D on rollouts against demonstrations ([`Hooks::rewards`]);
//! 3. reward log D − log(1 − D) ([`Hooks::rewards`]);
//! 4. improve π_θ by PPO.

use sog_rl::{
    ppo::{HookError, Hooks},
    run::{Checkpoint, Snapshot, SnapshotError},
};
use sog_sim::rollout::{Batch, EpisodeStart};

use super::adversary::Adversary;

/// GAIL's part of an iteration.
pub struct Gail {
    adversary: Adversary,
}

impl Gail {
    /// GAIL against a discriminator.
    pub fn new(adversary: Adversary) -> Self {
        Self { adversary }
    }
}

impl super::Imitation for Gail {
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        self.adversary.metrics()
    }
}

impl Hooks for Gail {
    fn begin_episode(&self, _start: &mut EpisodeStart<'_>) {}

    fn rewards(
        &mut self,
        batch: &Batch,
        obs: &[f32],
        rewards: &mut [f32],
    ) -> Result<(), HookError> {
        Ok(self.adversary.judge(batch, obs, rewards)?)
    }
}

impl Checkpoint for Gail {
    fn save(&self, to: &mut Snapshot) {
        to.nest("adversary", &self.adversary);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_nested("adversary", &mut self.adversary)
    }
}
