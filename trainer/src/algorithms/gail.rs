//! GAIL (Ho and Ermon 2016; Eq. 1 of the paper): PPO against a discriminator, without a code.
//!
//! One iteration, as [`Ppo::iterate`](sog_rl::ppo::Ppo::iterate) calls it:
//!
//! 1. roll out π_θ;
//! 2. train D on rollouts against demonstrations ([`Hooks::rewards`]);
//! 3. reward log D − log(1 − D) ([`Hooks::rewards`]);
//! 4. improve π_θ by PPO.

use sog_engine::discriminator::DiscriminatorStats;
use sog_rl::{
    ppo::{HookError, Hooks},
    run::{Checkpoint, Snapshot, SnapshotError},
};
use sog_sim::rollout::{Batch, EpisodeStart};

use super::adversary::{Adversary, named};

/// GAIL's part of an iteration.
pub struct Gail {
    adversary: Adversary,
    stats: DiscriminatorStats,
}

impl Gail {
    /// GAIL against a discriminator.
    pub fn new(adversary: Adversary) -> Self {
        Self { adversary, stats: DiscriminatorStats::default() }
    }
}

impl super::Imitation for Gail {
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        named(&self.stats).to_vec()
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
        self.stats = self.adversary.train(batch, obs)?;
        self.adversary.rewards(batch, obs, rewards)?;
        Ok(())
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
