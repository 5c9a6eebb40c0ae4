//! InfoGAIL (Li et al. 2017): GAIL with a reward for codes that can be told from the behaviour.
//!
//! Beside the discriminator, a posterior network q(z|s,a) learns to recover the code of each
//! episode; the reward is
//!
//! ```text
//! log D − log(1 − D) + λ_I (log q(z|s,a) + H(z)),
//! ```
//!
//! with q taken from a copy that follows the trained network softly. E[log q] + H(z) is their bound
//! L_I on the mutual information of code and behaviour. Its constant H(z), the entropy of the prior,
//! counts where an episode can end in failure: without it every step costs something, and a policy
//! whose code cannot be told yet does best to fail at once.
//!
//! The policy starts from cloning with random codes, since there is nothing yet to tell a
//! demonstration's code from.

use rand::seq::SliceRandom;
use sog_engine::{
    EngineError,
    adam::{Adam, AdamConfig},
    mlp::Part,
    net::{Init, Mlp, MlpArch},
    posterior::{CodeKind, Posterior, soft_update},
};
use sog_rl::{
    ppo::{HookError, Hooks},
    run::{Checkpoint, Snapshot, SnapshotError},
};
use sog_runtime::policy::LatentKind;
use sog_sim::{
    rollout::{Batch, EpisodeStart, sample_prior},
    seed::{self, Rng},
};

use super::adversary::Adversary;
use crate::{
    config::InfoGailConfig, device::Compute, error::TrainError, nn::updates::PosteriorUpdates,
};

/// InfoGAIL's part of an iteration.
pub struct InfoGail {
    adversary: Adversary,
    latent: LatentKind,
    config: InfoGailConfig,
    /// q, and the copy that rewards.
    net: Mlp,
    target: Mlp,
    adam: Adam,
    /// For log q in the reward, which stays on the processor.
    posterior: Posterior,
    updates: Box<dyn PosteriorUpdates>,
    /// Widths S and A.
    widths: [usize; 2],
    rng: Rng,
    /// −log q of the last iteration's training, nats.
    loss: f64,
    /// Mean log q in the reward, nats.
    log_q: f64,
}

impl InfoGail {
    /// InfoGAIL against a discriminator, with a new posterior network
    /// that `compute` trains. `widths` are S and A.
    ///
    /// # Errors
    /// If a size is zero.
    pub fn new(
        adversary: Adversary,
        latent: LatentKind,
        widths: [usize; 2],
        config: &InfoGailConfig,
        compute: &Compute,
        seed: u64,
    ) -> Result<Self, EngineError> {
        let kind = match latent {
            LatentKind::Gaussian(d) => CodeKind::Gaussian(d),
            LatentKind::OneHot(k) => CodeKind::OneHot(k),
            LatentKind::None => CodeKind::OneHot(0),
        };
        let arch = MlpArch::posterior(widths.iter().sum(), kind.posterior_outputs());
        let mut rng = seed::rng(seed);
        let net = Mlp::new(arch, Init { last_gain: 1.0, ..Init::default() }, &mut rng)?;
        Ok(Self {
            adversary,
            latent,
            config: config.clone(),
            target: net.clone(),
            adam: Adam::new(AdamConfig::default(), net.params.len()),
            posterior: Posterior::new(net.arch(), kind)?,
            updates: compute.posterior(net.arch(), kind)?,
            net,
            widths,
            rng,
            loss: 0.0,
            log_q: 0.0,
        })
    }

    /// Trains q on the rollouts in minibatches and lets the rewarding copy follow.
    fn train_posterior(&mut self, batch: &Batch, obs: &[f32]) -> Result<(), TrainError> {
        let ([s, a], z) = (self.widths, self.latent.width());
        let size = self.config.batch.min(batch.rows());
        let mut order: Vec<usize> = (0..batch.rows()).collect();
        let (mut sum, mut count) = (0.0, 0.0);
        for _ in 0..self.config.passes {
            order.shuffle(&mut self.rng);
            for chosen in order.chunks_exact(size) {
                let gather = |from: &[f32], width: usize| -> Vec<f32> {
                    let rows = chosen.iter().flat_map(|&r| &from[r * width..(r + 1) * width]);
                    rows.copied().collect()
                };
                let obs = gather(obs, s);
                let actions = gather(&batch.actions, a);
                let codes = gather(&batch.codes, z);
                let input = [Part { data: &obs, width: s }, Part { data: &actions, width: a }];
                let (net, adam, lr) = (&mut self.net, &mut self.adam, self.config.learning_rate);
                let step = self.updates.update(net, adam, lr, &input, &codes)?;
                sum += f64::from(step.loss);
                count += 1.0;
            }
        }
        self.updates.finish(&mut self.net, &mut self.adam)?;
        self.loss = sum / f64::max(count, 1.0);
        let share = self.config.target_share;
        Ok(soft_update(&mut self.target.params, &self.net.params, share)?)
    }
}

/// H(z) of the prior, nats: ln K of one-hot codes, d/2·ln 2πe of Gaussian ones.
fn prior_entropy(latent: LatentKind) -> f32 {
    match latent {
        LatentKind::None => 0.0,
        LatentKind::OneHot(k) => (k as f32).ln(),
        LatentKind::Gaussian(d) => 0.5 * d as f32 * (1.0 + std::f32::consts::TAU.ln()),
    }
}

impl super::Imitation for InfoGail {
    fn metrics(&self) -> Vec<(&'static str, f64)> {
        let mut all = self.adversary.metrics();
        all.extend([("posterior/loss", self.loss), ("posterior/log_q", self.log_q)]);
        all
    }
}

impl Hooks for InfoGail {
    fn begin_episode(&self, start: &mut EpisodeStart<'_>) {
        sample_prior(self.latent, start.rng, start.code);
    }

    fn rewards(
        &mut self,
        batch: &Batch,
        obs: &[f32],
        rewards: &mut [f32],
    ) -> Result<(), HookError> {
        self.adversary.judge(batch, obs, rewards)?;
        self.train_posterior(batch, obs)?;
        let [s, a] = self.widths;
        let input = [Part { data: obs, width: s }, Part { data: &batch.actions, width: a }];
        let mut log_q = vec![0.0; batch.rows()];
        self.posterior.log_probs(&self.target, &input, &batch.codes, &mut log_q)?;
        let entropy = prior_entropy(self.latent);
        for (reward, log_q) in rewards.iter_mut().zip(&log_q) {
            *reward += self.config.lambda_i * (log_q + entropy);
        }
        let sum: f64 = log_q.iter().map(|&q| f64::from(q)).sum();
        self.log_q = sum / batch.rows().max(1) as f64;
        Ok(())
    }
}

impl Checkpoint for InfoGail {
    fn save(&self, to: &mut Snapshot) {
        to.nest("adversary", &self.adversary);
        for (name, params) in [
            ("posterior", &self.net.params),
            ("posterior.target", &self.target.params),
            ("posterior.adam.m", &self.adam.m),
            ("posterior.adam.v", &self.adam.v),
        ] {
            to.f32s(name, &[params.len()], params);
        }
        to.state("posterior.adam.steps", &self.adam.steps);
        to.state("posterior.rng", &self.rng);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_nested("adversary", &mut self.adversary)?;
        for (name, params) in [
            ("posterior", &mut self.net.params),
            ("posterior.target", &mut self.target.params),
            ("posterior.adam.m", &mut self.adam.m),
            ("posterior.adam.v", &mut self.adam.v),
        ] {
            from.read_f32s(name, params)?;
        }
        self.adam.steps = from.read_state("posterior.adam.steps")?;
        self.rng = from.read_state("posterior.rng")?;
        Ok(())
    }
}
