//! SOG-GAIL: GAIL with multimodal behaviour cloning (Algorithm 3 of the paper).
//!
//! Where each line of Algorithm 3 lives:
//!
//! | line | | here |
//! |---|---|---|
//! | 1 | input: θ₀ (from SOG-BC), w₀, τ_E | [`SogGail::new`] |
//! | 2 | for i = 0, 1, 2, … | [`train`](crate::train) over [`Ppo::iterate`](sog_rl::ppo::Ppo::iterate) |
//! | 3 | sample z_i ~ p(z), roll out π_θ(·\|z_i) | [`Hooks::begin_episode`] |
//! | 4, 5 | sample χ_i, χ_E; update the discriminator | [`Adversary::judge`] in [`Hooks::rewards`] |
//! | 6 | L_PPO on the discriminator's reward | [`Hooks::rewards`], `sog_engine::ppo` |
//! | 7 | L_SOG per Algorithm 2, or with given codes | [`Hooks::sog_term`] |
//! | 8 | a step on L_PPO + λ_S L_SOG | `sog_engine::ppo`, each minibatch |
//!
//! The start matters: cloning never trains the log standard deviation, so it is set from the
//! cloning residual (`SogBc::set_log_std`), raised to PPO's lower bound before the first rollout, and
//! kept within PPO's bounds while it trains.

use sog_engine::{
    net::PolicyArch,
    ppo::SogTerm,
    search::CodeSearch,
    sog_bc::{self as engine, Codes},
};
use sog_rl::{
    ppo::{HookError, Hooks},
    run::{Checkpoint, Snapshot, SnapshotError},
};
use sog_runtime::policy::LatentKind;
use sog_sim::rollout::{Batch, EpisodeStart, sample_prior};

use super::{adversary::Adversary, sample::Sampler};

/// SOG-GAIL's part of an iteration.
pub struct SogGail<'a> {
    adversary: Adversary,
    latent: LatentKind,
    sampler: Sampler<'a>,
    sog: engine::SogBc,
    codes: ExpertCodes,
    /// Codes of the present expert minibatch, where they are given.
    given: Vec<f32>,
    /// λ_S, over σ² where L_SOG is measured in units of the exploration.
    weight: f32,
}

/// Where the codes of L_SOG come from.
#[derive(Clone, Debug, PartialEq)]
pub enum ExpertCodes {
    /// Searched for each minibatch under the present policy (Algorithm 2).
    Search(CodeSearch),
    /// Given ones `[N, Z]`, one a demonstration.
    Given(Vec<f32>),
}

impl<'a> SogGail<'a> {
    /// Line 1: w₀ (in `adversary`) and τ_E (in both); θ₀ is PPO's.
    pub fn new(
        adversary: Adversary,
        sampler: Sampler<'a>,
        arch: &PolicyArch,
        latent: LatentKind,
        codes: ExpertCodes,
        weight: f32,
    ) -> Self {
        let sog = engine::SogBc::new(arch);
        Self { adversary, latent, sampler, sog, codes, given: vec![], weight }
    }
}

impl super::Imitation for SogGail<'_> {
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        self.adversary.metrics()
    }
}

impl Hooks for SogGail<'_> {
    /// Line 3: z_i ~ p(z), one code an episode.
    fn begin_episode(&self, start: &mut EpisodeStart<'_>) {
        sample_prior(self.latent, start.rng, start.code);
    }

    /// Lines 4 to 6: the discriminator's step and its reward.
    fn rewards(
        &mut self,
        batch: &Batch,
        obs: &[f32],
        rewards: &mut [f32],
    ) -> Result<(), HookError> {
        Ok(self.adversary.judge(batch, obs, rewards)?)
    }

    /// Line 7: L_SOG on an expert minibatch.
    fn sog_term(&mut self) -> Result<Option<SogTerm<'_>>, HookError> {
        if self.weight == 0.0 {
            return Ok(None);
        }
        self.sampler.next();
        let codes = match &self.codes {
            ExpertCodes::Search(search) => Codes::Search(*search),
            ExpertCodes::Given(codes) => {
                let z = self.latent.width();
                self.given.clear();
                for &n in &self.sampler.trajectories {
                    self.given.extend_from_slice(&codes[n as usize * z..][..z]);
                }
                Codes::Given(&self.given)
            }
        };
        let (batch, rng) = self.sampler.batch_and_rng();
        Ok(Some(SogTerm { sog: &mut self.sog, batch, codes, weight: self.weight, rng }))
    }
}

impl Checkpoint for SogGail<'_> {
    fn save(&self, to: &mut Snapshot) {
        to.nest("adversary", &self.adversary);
        to.nest("sampler", &self.sampler);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_nested("adversary", &mut self.adversary)?;
        from.read_nested("sampler", &mut self.sampler)
    }
}
