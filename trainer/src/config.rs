//! Every choice of a training run, with the defaults of the specification.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sog_rl::{
    ppo::PpoConfig,
    run::{Config, ConfigError, within},
};
use sog_runtime::policy::LatentKind;

use crate::network::NetworkConfig;

/// The six algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Behaviour cloning without a code.
    Bc,
    /// Multimodal behaviour cloning with searched codes (Algorithm 2).
    SogBc,
    /// Adversarial imitation without a code (Eq. 1).
    Gail,
    /// GAIL with multimodal behaviour cloning (Algorithm 3).
    SogGail,
    /// GAIL with a reward for recognisable codes (Li et al. 2017).
    #[serde(rename = "infogail")]
    InfoGail,
    /// GAIL with the codes of a trajectory autoencoder (Wang et al. 2017).
    VaeGail,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 6] =
        [Self::Bc, Self::SogBc, Self::Gail, Self::SogGail, Self::InfoGail, Self::VaeGail];

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bc => "bc",
            Self::SogBc => "sog-bc",
            Self::Gail => "gail",
            Self::SogGail => "sog-gail",
            Self::InfoGail => "infogail",
            Self::VaeGail => "vae-gail",
        }
    }

    /// Name in titles of figures and tables, as papers write it.
    pub fn title(self) -> &'static str {
        match self {
            Self::Bc => "BC",
            Self::SogBc => "SOG-BC",
            Self::Gail => "GAIL",
            Self::SogGail => "SOG-GAIL",
            Self::InfoGail => "InfoGAIL",
            Self::VaeGail => "VAE-GAIL",
        }
    }

    /// Whether its policy takes a code.
    pub fn is_conditioned(self) -> bool {
        !matches!(self, Self::Bc | Self::Gail)
    }

    /// Whether PPO against a discriminator follows the cloning.
    pub fn is_adversarial(self) -> bool {
        !matches!(self, Self::Bc | Self::SogBc)
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Algorithm {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|a| a.name() == text).ok_or_else(|| {
            let names = Self::ALL.map(Self::name).join(", ");
            format!("no algorithm is called `{text}`; the algorithms are {names}")
        })
    }
}

/// A complete run. `config.toml` in the run directory holds it resolved.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrainConfig {
    /// Task name.
    pub task: String,
    /// Algorithm.
    pub algorithm: Algorithm,
    /// Everything random comes from it.
    pub seed: u64,
    /// SHA-256 of the demonstration file, so that a run is not resumed with other data.
    pub demos_sha256: String,
    /// SHA-256 of the policy file that an adversarial algorithm starts from; empty if it clones
    /// first.
    pub start_sha256: String,
    /// `one-hot:K`, `gaussian:d` or `none`. Default: K modes of a discrete task; for continuous
    /// tasks as many Gaussian dimensions as a goal has.
    pub latent: String,
    /// Observation terms of the task that no network of the run sees (all of a group's, by their names in
    /// `task.toml`): where a robot's position gives away what was done there, for instance. The policy file has
    /// a variance for them that makes them 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unseen_terms: Vec<String>,
    /// The networks.
    pub network: NetworkConfig,
    /// Cloning: all of BC and SOG-BC, the start of the adversarial algorithms.
    pub cloning: CloningConfig,
    /// The budget of the adversarial algorithms.
    pub adversarial: AdversarialConfig,
    /// PPO (Eqs. 3–4).
    pub ppo: PpoConfig,
    /// The discriminator.
    pub discriminator: DiscriminatorConfig,
    /// SOG-GAIL alone.
    pub sog_gail: SogGailConfig,
    /// InfoGAIL alone.
    pub infogail: InfoGailConfig,
    /// VAE-GAIL alone.
    pub vae_gail: VaeGailConfig,
}

/// Cloning (Algorithm 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct CloningConfig {
    /// Gradient steps.
    pub updates: u64,
    /// State-action pairs drawn from each trajectory of a minibatch.
    pub batch: usize,
    /// Trajectories in a minibatch; each has its own code.
    pub trajectories: usize,
    /// Adam's step size at the start.
    pub learning_rate: f32,
    /// Its value at the end, as a share of the start; half a cosine in between.
    pub final_learning_rate: f32,
    /// Bound on the gradient's norm; 0 switches it off.
    pub max_grad_norm: f32,
    /// How codes are assigned to trajectories while training.
    pub assignment: Assignment,
    /// Share of the updates over which an assignment other than `plain` gives way to the plain
    /// minimum.
    pub assignment_share: f32,
    /// After the phase of a `clustered` assignment: by which share the smallest loss must lie below
    /// that of a trajectory's first code for it to leave that code (one-hot codes only). At 0, the
    /// paper's plain minimum, one bad update can drive all trajectories of a way to another code for
    /// good, where states tell the two apart. Written only where it is not 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub first_code_margin: f32,
    /// Gaussian noise on the observations of each minibatch, in standard deviations that each component
    /// has in the demonstrations; the actions stay. With actions that say where to go (a target position, not a
    /// velocity) it teaches the way back from beside the demonstrations. Written only where it is not 0.
    #[serde(skip_serializing_if = "is_zero")]
    pub observation_noise: f32,
    /// Initial temperature of the `annealed` assignment, in units of the batch's mean loss.
    pub temperature: f32,
    /// Learners that begin; the one whose codes explain the demonstrations best goes on. 1 is the
    /// paper's form. Only one-hot codes need it.
    pub attempts: u64,
    /// Updates after which they are compared, at most half of all.
    pub attempt_updates: u64,
    /// N_z: samples a block of the coordinate-wise search (Algorithm 4).
    pub search_samples: usize,
    /// Δ: coordinates a block.
    pub search_block: usize,
    /// Rounds over the blocks when there is more than one.
    pub search_rounds: usize,
    /// Updates between two lines of metrics.
    pub log_interval: u64,
    /// Updates between two checkpoints.
    pub checkpoint_interval: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_zero(x: &f32) -> bool {
    *x == 0.0
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
fn is_false(x: &bool) -> bool {
    !*x
}

/// How codes are assigned to trajectories.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Assignment {
    /// The code of smallest loss: the paper's form.
    Plain,
    /// At first each code gets its share of the minibatch's trajectories.
    Balanced,
    /// At first drawn by a Boltzmann distribution over the losses.
    Annealed,
    /// At first given by what the trajectories look like: a cluster each for one-hot codes (k-means
    /// over means and standard deviations in time), their principal components spread over the prior
    /// for Gaussian ones. The default: the losses alone leave two ways on one code where states tell
    /// them apart all but at the start (ant-dir-6: two of six codes die with the others), and crowd
    /// Gaussian codes in a part of the prior (fetchreach).
    Clustered,
}

impl Default for CloningConfig {
    fn default() -> Self {
        Self {
            updates: 40_000,
            batch: 64,
            trajectories: 8,
            learning_rate: 1e-3,
            final_learning_rate: 0.0,
            max_grad_norm: 0.0,
            assignment: Assignment::Clustered,
            assignment_share: 0.1,
            first_code_margin: 0.0,
            observation_noise: 0.0,
            temperature: 1.0,
            attempts: 1,
            attempt_updates: 1000,
            search_samples: 100,
            search_block: 1,
            search_rounds: 3,
            log_interval: 500,
            checkpoint_interval: 10_000,
        }
    }
}

/// The budget of the adversarial algorithms.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdversarialConfig {
    /// Environment steps in all; PPO's step size decays over them.
    pub total_steps: u64,
    /// Iterations between two evaluations with the mean action (for the metrics alone).
    pub eval_interval: u64,
    /// Iterations between two checkpoints; environments begin new episodes at each.
    pub checkpoint_interval: u64,
}

impl Default for AdversarialConfig {
    fn default() -> Self {
        Self { total_steps: 100_000, eval_interval: 10, checkpoint_interval: 50 }
    }
}

/// The discriminator (paper Fig. 5b) and its training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorConfig {
    /// Policy rows of a minibatch, and as many expert rows.
    pub batch: usize,
    /// Passes over an iteration's rollouts.
    pub passes: usize,
    /// Passes in each of the first iterations.
    pub warmup_passes: usize,
    /// How many iterations are such.
    pub warmup_iterations: u64,
    /// Adam's step size.
    pub learning_rate: f32,
    /// λ of the gradient penalty λ·(‖∇D‖ − 1)².
    pub gradient_penalty: f32,
    /// Every how manieth pair of a demonstration is used.
    pub expert_stride: usize,
    /// What the policy is rewarded with. Written only where it is not the paper's.
    #[serde(skip_serializing_if = "RewardForm::is_paper")]
    pub reward: RewardForm,
    /// Whether it learns from rollouts that were not perturbed alone ([`PpoConfig::perturbed_share`]
    /// below 1); all are rewarded. One that learns from the others too finds the policy out by states
    /// that no demonstration can have. Written only where it is set.
    #[serde(skip_serializing_if = "is_false")]
    pub quiet: bool,
}

/// What D(s,a) = P(expert | s,a) rewards the policy with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum RewardForm {
    /// log D − log(1 − D): the paper's form. It is below 0 where D is sure of the policy, and a robot
    /// that can end its episode by falling then does well to fall.
    Logit,
    /// −log(1 − D), never below 0 (Ho and Ermon 2016): what falls earns no more. It rewards every step
    /// that is survived (Kostrikov et al. 2019 call it a bias).
    Positive,
}

impl RewardForm {
    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde asks for a reference")]
    fn is_paper(&self) -> bool {
        *self == Self::Logit
    }
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        Self {
            batch: 128,
            passes: 5,
            warmup_passes: 100,
            warmup_iterations: 10,
            learning_rate: 1e-3,
            gradient_penalty: 10.0,
            expert_stride: 20,
            reward: RewardForm::Logit,
            quiet: false,
        }
    }
}

/// SOG-GAIL alone (Algorithm 3).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SogGailConfig {
    /// λ_S of L_PPO + λ_S L_SOG.
    pub lambda_s: f32,
    /// What L_SOG is measured in.
    pub units: SogUnits,
    /// Where the codes of L_SOG come from.
    pub codes: SogCodes,
    /// Trajectories in the expert minibatch of each PPO minibatch.
    pub trajectories: usize,
    /// Pairs of each.
    pub batch: usize,
    /// Whether the discriminator sees the code beside state and action: the demonstrations' are those
    /// under which the policy that the run starts from explains them best, D(s,a,z). Without it any
    /// demonstrated way earns its reward, whatever the code asked for. Written only where it is set.
    #[serde(skip_serializing_if = "is_false")]
    pub judge_codes: bool,
}

/// What L_SOG is measured in beside L_PPO.
///
/// The gradient of L_PPO with respect to the action mean is of the order of Â/σ. The paper's
/// policies explore with σ = 1; ours with less, from the cloning residual up to e⁻¹ of the actions'
/// bounds. In the actions' own units λ_S L_SOG would then be weaker by σ², and PPO free to unlearn
/// what was cloned; divided by σ² it weighs against L_PPO as the paper's does at σ = 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SogUnits {
    /// ‖â − a‖²: the paper's form.
    Actions,
    /// ‖â − a‖²/σ² with σ² the mean variance of the exploration that the run starts with.
    Exploration,
}

/// Where the codes of L_SOG come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SogCodes {
    /// Searched for each expert minibatch under the present policy: the paper's form.
    Searched,
    /// Those that cloning with the same seed begins with ([`Assignment::Clustered`]), kept. A search
    /// takes noise in the demonstrated actions into the codes: on fetchreach SOG-GAIL reaches 54 of
    /// 100 targets with searched codes and 99 with assigned ones. A start that was cloned with other
    /// codes is refused ([`TrainError::OtherCodes`](crate::error::TrainError::OtherCodes)).
    Assigned,
}

impl Default for SogGailConfig {
    fn default() -> Self {
        Self {
            lambda_s: 1.0,
            units: SogUnits::Exploration,
            codes: SogCodes::Searched,
            trajectories: 8,
            batch: 8,
            judge_codes: false,
        }
    }
}

/// InfoGAIL alone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct InfoGailConfig {
    /// λ_I of reward + λ_I (log q(z|s,a) + H(z)). Default: the largest of the paper's grid; codes
    /// then separate early (circles: within 100 k steps).
    pub lambda_i: f32,
    /// Adam's step size of the posterior network.
    pub learning_rate: f32,
    /// Rows of its minibatches.
    pub batch: usize,
    /// Its passes over an iteration's rollouts.
    pub passes: usize,
    /// Share of the trained network in the rewarding copy after each iteration.
    pub target_share: f32,
}

impl Default for InfoGailConfig {
    fn default() -> Self {
        Self { lambda_i: 1.0, learning_rate: 1e-3, batch: 128, passes: 5, target_share: 0.5 }
    }
}

/// VAE-GAIL alone: the trajectory autoencoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct VaeGailConfig {
    /// Width of the LSTM's state, per direction.
    pub encoder_hidden: usize,
    /// Width of the decoder's two hidden layers.
    pub decoder_hidden: usize,
    /// Weight of the KL term, nats per trajectory, against the mean squared error per step.
    pub kl_weight: f64,
    /// Gradient steps.
    pub updates: u64,
    /// Trajectories in a minibatch.
    pub batch: usize,
    /// States of a trajectory that the encoder reads, evenly spaced.
    pub max_length: usize,
    /// Adam's step size.
    pub learning_rate: f64,
}

impl Default for VaeGailConfig {
    fn default() -> Self {
        Self {
            encoder_hidden: 32,
            decoder_hidden: 300,
            kl_weight: 1e-3,
            updates: 1500,
            batch: 16,
            max_length: 50,
            learning_rate: 1e-3,
        }
    }
}

impl TrainConfig {
    /// The keys that may change between two sittings of a run: they say how long it is and how often
    /// it tells and saves. A longer run has its step sizes decay over its whole length.
    pub fn extendable(&self) -> Vec<&'static str> {
        if self.algorithm.is_adversarial() {
            // What was cloned stays what it was.
            vec![
                "adversarial.total_steps",
                "adversarial.eval_interval",
                "adversarial.checkpoint_interval",
            ]
        } else {
            vec!["cloning.updates", "cloning.log_interval", "cloning.checkpoint_interval"]
        }
    }

    /// The latent code.
    ///
    /// # Errors
    /// [`ConfigError::Range`] if the text is none.
    pub fn latent(&self) -> Result<LatentKind, ConfigError> {
        self.latent.parse().map_err(|e: sog_runtime::policy::ParseKindError| ConfigError::Range {
            key: "latent".to_string(),
            found: e.found.to_string(),
            needed: e.needed.to_string(),
        })
    }
}

impl Config for TrainConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let range = |key: &str, found: String, needed: &str| ConfigError::Range {
            key: key.to_string(),
            found,
            needed: needed.to_string(),
        };
        let conditioned = self.latent()? != LatentKind::None;
        if conditioned != self.algorithm.is_conditioned() {
            let needed = if conditioned { "`none`" } else { "`one-hot:K` or `gaussian:d`" };
            return Err(range("latent", self.latent.clone(), needed));
        }
        self.network.check()?;
        self.cloning.check()?;
        within("adversarial.total_steps", self.adversarial.total_steps, 0..=1_000_000_000_000)?;
        within("adversarial.eval_interval", self.adversarial.eval_interval, 1..=1_000_000)?;
        let interval = self.adversarial.checkpoint_interval;
        within("adversarial.checkpoint_interval", interval, 1..=1_000_000)?;
        self.ppo.check("ppo.")?;
        if self.ppo.adapt_normaliser {
            let needed = "`false`: demonstrations and rollouts are judged in the units of the demonstrations";
            return Err(range("ppo.adapt_normaliser", "true".to_string(), needed));
        }
        self.discriminator.check()?;
        if self.discriminator.quiet && self.ppo.perturbed_envs() == self.ppo.envs {
            let needed = "`false`, or a ppo.perturbed_share that leaves environments quiet";
            return Err(range("discriminator.quiet", "true".to_string(), needed));
        }
        within("sog_gail.lambda_s", self.sog_gail.lambda_s, 0.0..=1e6)?;
        let cloning = &self.cloning;
        let one_hot = matches!(self.latent()?, LatentKind::OneHot(_));
        if self.algorithm == Algorithm::SogGail
            && self.sog_gail.codes == SogCodes::Assigned
            && (cloning.assignment != Assignment::Clustered || (one_hot && cloning.attempts > 1))
        {
            let needed = "`searched`, unless cloning.assignment = \"clustered\" and \
                          cloning.attempts = 1 for one-hot codes";
            return Err(range("sog_gail.codes", "assigned".to_string(), needed));
        }
        within("sog_gail.trajectories", self.sog_gail.trajectories, 1..=4096)?;
        within("sog_gail.batch", self.sog_gail.batch, 1..=65_536)?;
        within("infogail.lambda_i", self.infogail.lambda_i, 0.0..=1e6)?;
        within("infogail.learning_rate", self.infogail.learning_rate, 0.0..=1.0)?;
        within("infogail.batch", self.infogail.batch, 1..=65_536)?;
        within("infogail.passes", self.infogail.passes, 0..=10_000)?;
        within("infogail.target_share", self.infogail.target_share, 0.0..=1.0)?;
        self.vae_gail.check()
    }
}

impl DiscriminatorConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("discriminator.batch", self.batch, 1..=65_536)?;
        within("discriminator.passes", self.passes, 0..=10_000)?;
        within("discriminator.warmup_passes", self.warmup_passes, 0..=10_000)?;
        within("discriminator.learning_rate", self.learning_rate, 0.0..=1.0)?;
        within("discriminator.gradient_penalty", self.gradient_penalty, 0.0..=1e6)?;
        within("discriminator.expert_stride", self.expert_stride, 1..=1_000_000)
    }
}

impl VaeGailConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("vae_gail.encoder_hidden", self.encoder_hidden, 1..=4096)?;
        within("vae_gail.decoder_hidden", self.decoder_hidden, 1..=4096)?;
        within("vae_gail.kl_weight", self.kl_weight, 0.0..=1e6)?;
        within("vae_gail.updates", self.updates, 0..=1_000_000_000)?;
        within("vae_gail.batch", self.batch, 1..=65_536)?;
        within("vae_gail.max_length", self.max_length, 1..=65_536)?;
        within("vae_gail.learning_rate", self.learning_rate, 0.0..=1.0)
    }
}

impl CloningConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("cloning.updates", self.updates, 0..=1_000_000_000)?;
        within("cloning.batch", self.batch, 1..=65_536)?;
        within("cloning.trajectories", self.trajectories, 1..=4096)?;
        within("cloning.learning_rate", self.learning_rate, 0.0..=1.0)?;
        within("cloning.final_learning_rate", self.final_learning_rate, 0.0..=1.0)?;
        within("cloning.max_grad_norm", self.max_grad_norm, 0.0..=1e6)?;
        within("cloning.first_code_margin", self.first_code_margin, 0.0..=1.0)?;
        within("cloning.observation_noise", self.observation_noise, 0.0..=10.0)?;
        within("cloning.assignment_share", self.assignment_share, 0.0..=1.0)?;
        within("cloning.temperature", self.temperature, 0.0..=1e6)?;
        within("cloning.attempts", self.attempts, 1..=1000)?;
        within("cloning.attempt_updates", self.attempt_updates, 1..=1_000_000_000)?;
        within("cloning.search_samples", self.search_samples, 1..=1_000_000)?;
        within("cloning.search_block", self.search_block, 1..=65_536)?;
        within("cloning.search_rounds", self.search_rounds, 1..=1000)?;
        within("cloning.log_interval", self.log_interval, 1..=1_000_000_000)?;
        within("cloning.checkpoint_interval", self.checkpoint_interval, 1..=1_000_000_000)
    }
}
