//! Every choice of PPO, with its default.

use serde::{Deserialize, Serialize};
use sog_engine::ppo::PpoConfig as UpdateConfig;
use sog_runtime::policy::{Activation, Architecture, LatentKind, MeanScale};

use crate::run::{ConfigError, within};

/// Hyper-parameters of PPO. Defaults suit the locomotion tasks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// Environments that run side by side.
    pub envs: usize,
    /// Steps of each environment in an iteration.
    pub steps: usize,
    /// Environments that begin a new episode with each iteration, in turn; 0 for none. Robots that
    /// never fall otherwise stay in step, all `envs` of them, and an iteration sees one phase of
    /// their episodes only: the start once in `horizon / steps` iterations. Every
    /// `envs / restart_envs · steps` steps an episode is cut: below the horizon none is ever seen
    /// to its end. A [`restart`](super::Ppo::restart) puts them in step again.
    pub restart_envs: usize,
    /// Probability that an episode that ran out of time is followed by one that starts where it
    /// ended, with a code of its own, instead of from a reset: what to do after a change of code is
    /// learned there. Written only where it is not 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub carry_over: f64,
    /// Probability that a step is the last of its episode, which then ran out of time (its last
    /// state keeps its value). With `carry_over` the code changes in every state that an episode
    /// passes, from slow to fast, and what to do about it is learned from the easy ones on. Written
    /// only where it is not 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub cut: f64,
    /// Probability that a step of a perturbed environment gets a uniform action instead of the
    /// policy's (paper, B.2). The policy learns from what it had decided: the rest is the world's
    /// doing. Written only where it is not 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub perturb: f64,
    /// Share of the environments that are perturbed. Written only where it is not 1.
    #[serde(skip_serializing_if = "is_one")]
    pub perturbed_share: f64,
    /// Passes over the iteration's data.
    pub epochs: usize,
    /// Rows of a minibatch.
    pub minibatch: usize,
    /// Adam's step size at the start.
    pub learning_rate: f32,
    /// Adam's step size at the end, as a share of the one at the start; linear in between.
    pub final_learning_rate: f32,
    /// Discount γ.
    pub gamma: f32,
    /// λ of generalised advantage estimation.
    pub lambda: f32,
    /// Epochs stop once the approximate KL divergence of a minibatch exceeds this; 0 switches it
    /// off.
    pub target_kl: f32,
    /// Whether rewards are divided by the running standard deviation of their discounted sum.
    pub scale_rewards: bool,
    /// Whether the observation normaliser keeps adapting.
    pub adapt_normaliser: bool,
    /// Upper bound of the log standard deviations at the end, if any: the bound falls linearly
    /// from the value they start with, so that the mean action, which is what counts in the end,
    /// is trained under ever less noise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub final_log_std: Option<f32>,
    /// Clipping, coefficients and bounds of the update.
    pub update: UpdateConfig,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(x: &f64) -> bool {
    *x == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_one(x: &f64) -> bool {
    *x == 1.0
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            envs: 32,
            steps: 256,
            restart_envs: 0,
            carry_over: 0.0,
            cut: 0.0,
            perturb: 0.0,
            perturbed_share: 1.0,
            epochs: 5,
            minibatch: 2048,
            learning_rate: 3e-4,
            final_learning_rate: 0.0,
            gamma: 0.99,
            lambda: 0.95,
            target_kl: 0.0,
            scale_rewards: true,
            adapt_normaliser: true,
            final_log_std: None,
            update: UpdateConfig::default(),
        }
    }
}

impl PpoConfig {
    /// Checks ranges; `at` is put before each key.
    ///
    /// # Errors
    /// [`ConfigError::Range`].
    pub fn check(&self, at: &str) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{at}{name}");
        within(&key("envs"), self.envs, 1..=4096)?;
        within(&key("steps"), self.steps, 1..=65_536)?;
        within(&key("restart_envs"), self.restart_envs, 0..=self.envs)?;
        within(&key("carry_over"), self.carry_over, 0.0..=1.0)?;
        within(&key("cut"), self.cut, 0.0..=1.0)?;
        within(&key("perturb"), self.perturb, 0.0..=1.0)?;
        within(&key("perturbed_share"), self.perturbed_share, 0.0..=1.0)?;
        within(&key("epochs"), self.epochs, 1..=1000)?;
        within(&key("minibatch"), self.minibatch, 1..=self.envs * self.steps)?;
        within(&key("learning_rate"), self.learning_rate, 0.0..=1.0)?;
        within(&key("final_learning_rate"), self.final_learning_rate, 0.0..=1.0)?;
        within(&key("gamma"), self.gamma, 0.0..=1.0)?;
        within(&key("lambda"), self.lambda, 0.0..=1.0)?;
        within(&key("target_kl"), self.target_kl, 0.0..=10.0)?;
        let update = &self.update;
        let bounds = update.log_std_min..=update.log_std_max;
        within(&key("final_log_std"), self.final_log_std.unwrap_or(update.log_std_min), bounds)?;
        within(&key("update.clip"), update.clip, 1e-6..=10.0)?;
        within(&key("update.value_clip"), update.value_clip.unwrap_or(1.0), 1e-6..=1e6)?;
        within(&key("update.value_coef"), update.value_coef, 0.0..=1e3)?;
        within(&key("update.entropy_coef"), update.entropy_coef, 0.0..=10.0)?;
        within(&key("update.max_grad_norm"), update.max_grad_norm.unwrap_or(1.0), 1e-6..=1e6)?;
        within(&key("update.log_std_min"), update.log_std_min, -20.0..=update.log_std_max)?;
        within(&key("update.log_std_max"), update.log_std_max, update.log_std_min..=5.0)
    }

    /// The first this many environments are perturbed.
    pub fn perturbed_envs(&self) -> usize {
        if self.perturb == 0.0 {
            0
        } else {
            (self.perturbed_share * self.envs as f64).round() as usize
        }
    }

    /// Settings of the update after `steps` of `total` environment steps, for log standard
    /// deviations that started at `log_std`.
    pub fn update_at(&self, steps: u64, total: u64, log_std: f32) -> UpdateConfig {
        let Some(last) = self.final_log_std else { return self.update };
        let done = (steps as f64 / total.max(1) as f64).min(1.0) as f32;
        let bound = log_std + (last - log_std) * done;
        UpdateConfig { log_std_max: bound.max(self.update.log_std_min), ..self.update }
    }

    /// Adam's step size after `steps` of `total` environment steps.
    pub fn learning_rate_at(&self, steps: u64, total: u64) -> f32 {
        let left = 1.0 - (steps as f64 / total.max(1) as f64).min(1.0);
        let floor = f64::from(self.final_learning_rate);
        (f64::from(self.learning_rate) * (floor + (1.0 - floor) * left)) as f32
    }
}

/// What is learned and on what, beside the hyper-parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct PpoSetup {
    /// Latent code of the policy; the value network sees it too.
    pub latent: LatentKind,
    /// How the policy's layers hang together.
    pub architecture: Architecture,
    /// What follows its hidden layers.
    pub activation: Activation,
    /// Their widths, first to last.
    pub hidden: Vec<usize>,
    /// How the last layer becomes the action mean.
    pub mean_scale: MeanScale,
    /// Gain of the policy's last layer at the start.
    pub last_gain: f32,
    /// Log standard deviation at the start.
    pub log_std: f32,
    /// Factor from the policy's output to the robot's action.
    pub action_scale: f32,
    /// Names of observation terms that the networks do not see.
    pub hide: Vec<String>,
    /// Iterations at the start in which the value network alone learns, for a policy that does not
    /// start at random: a value network that knows nothing would soon undo it.
    pub critic_warmup: u64,
    /// Environment steps over which the learning rate decays.
    pub total_steps: u64,
    /// Seed of everything drawn.
    pub seed: u64,
}

impl Default for PpoSetup {
    fn default() -> Self {
        Self {
            latent: LatentKind::None,
            architecture: Architecture::TwoBranch,
            activation: Activation::Tanh,
            hidden: vec![128; 2],
            mean_scale: MeanScale::None,
            last_gain: 0.01,
            log_std: -0.5,
            action_scale: 1.0,
            hide: Vec::new(),
            critic_warmup: 0,
            total_steps: 10_000_000,
            seed: 0,
        }
    }
}
