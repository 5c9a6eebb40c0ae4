//! VAE-GAIL (Wang et al. 2017): GAIL whose policy and discriminator see the code that a trajectory
//! autoencoder gives each demonstration.
//!
//! 1. train the autoencoder on the demonstrations ([`TrajectoryVae`](crate::nn::vae::TrajectoryVae));
//! 2. clone with each demonstration's code ([`CodeSource::Given`](super::sog_bc::CodeSource));
//! 3. GAIL: each episode takes the code of a random demonstration ([`Hooks::begin_episode`]), the
//!    discriminator judges (s, a, z) ([`Hooks::rewards`]).

use rand::RngExt;
use sog_rl::{
    ppo::{HookError, Hooks},
    run::{Checkpoint, Snapshot, SnapshotError},
};
use sog_sim::rollout::{Batch, EpisodeStart};

use super::adversary::Adversary;

/// VAE-GAIL's part of an iteration.
pub struct VaeGail {
    adversary: Adversary,
    /// Codes of the demonstrations, `[N, Z]`.
    codes: Vec<f32>,
}

impl VaeGail {
    /// VAE-GAIL against a discriminator that sees codes, with the demonstrations' codes `[N, Z]`.
    pub fn new(adversary: Adversary, codes: Vec<f32>) -> Self {
        Self { adversary, codes }
    }
}

impl super::Imitation for VaeGail {
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        self.adversary.metrics()
    }
}

impl Hooks for VaeGail {
    fn begin_episode(&self, start: &mut EpisodeStart<'_>) {
        let z = start.code.len();
        let n = start.rng.random_range(0..self.codes.len() / z);
        start.code.copy_from_slice(&self.codes[n * z..(n + 1) * z]);
    }

    fn rewards(
        &mut self,
        batch: &Batch,
        obs: &[f32],
        rewards: &mut [f32],
    ) -> Result<(), HookError> {
        Ok(self.adversary.judge(batch, obs, rewards)?)
    }
}

impl Checkpoint for VaeGail {
    fn save(&self, to: &mut Snapshot) {
        to.nest("adversary", &self.adversary);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_nested("adversary", &mut self.adversary)
    }
}
