//! Every choice of a training run, with the defaults of the specification.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};
use sog_rl::run::{Config, ConfigError, within};
use sog_runtime::policy::LatentKind;
use sog_sim::task::{Modes, TaskInfo};

/// The six algorithms.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Algorithm {
    /// Behaviour cloning without a code.
    Bc,
    /// Multimodal behaviour cloning with searched codes (Algorithm 2).
    SogBc,
}

impl Algorithm {
    /// All algorithms.
    pub const ALL: [Self; 2] = [Self::Bc, Self::SogBc];

    /// Name on the command line and in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Bc => "bc",
            Self::SogBc => "sog-bc",
        }
    }

    /// Whether its policy takes a code.
    pub fn is_conditioned(self) -> bool {
        self != Self::Bc
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
    /// `one-hot:K`, `gaussian:d` or `none`. Default: K modes of a discrete task; for continuous
    /// tasks as many Gaussian dimensions as a goal has.
    pub latent: String,
    /// The networks.
    pub network: NetworkConfig,
    /// Cloning: all of BC and SOG-BC, the start of the adversarial algorithms.
    pub cloning: CloningConfig,
}

/// The policy network (paper Fig. 5a).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct NetworkConfig {
    /// Width H of the hidden layers.
    pub hidden: usize,
    /// Gain of the orthogonal initialisation of the last policy layer.
    pub last_gain: f32,
    /// c of mean = c·tanh(last layer); 0 for none. Default: 1.5 on circles, none elsewhere.
    pub mean_scale: f32,
}

impl Default for NetworkConfig {
    fn default() -> Self {
        Self { hidden: 128, last_gain: std::f32::consts::SQRT_2, mean_scale: 0.0 }
    }
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
    /// Share of the updates over which a `balanced` or `annealed` assignment gives way to the
    /// plain minimum.
    pub assignment_share: f32,
    /// Initial temperature of the `annealed` assignment, in units of the batch's mean loss.
    pub temperature: f32,
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
            assignment: Assignment::Balanced,
            assignment_share: 0.1,
            temperature: 1.0,
            search_samples: 100,
            search_block: 1,
            search_rounds: 3,
            log_interval: 500,
            checkpoint_interval: 10_000,
        }
    }
}

impl TrainConfig {
    /// The defaults of an algorithm on a task.
    pub fn defaults(task: &TaskInfo, algorithm: Algorithm) -> Self {
        let latent = match (&task.modes, algorithm.is_conditioned()) {
            (_, false) => LatentKind::None,
            (Modes::Discrete(modes), _) => LatentKind::OneHot(modes.len()),
            (Modes::Continuous(space), _) => LatentKind::Gaussian(space.dims()),
        };
        let mut network = NetworkConfig::default();
        if task.name().starts_with("circles") {
            network.mean_scale = 1.5;
        }
        Self {
            task: task.name().to_string(),
            algorithm,
            seed: 0,
            demos_sha256: String::new(),
            latent: latent.to_string(),
            network,
            cloning: CloningConfig::default(),
        }
    }

    /// The latent code.
    ///
    /// # Errors
    /// [`ConfigError::Range`] if the text is none.
    pub fn latent(&self) -> Result<LatentKind, ConfigError> {
        self.latent.parse().map_err(|e: sog_runtime::policy::ParseKindError| ConfigError::Range {
            key: "latent".to_string(),
            found: e.found,
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
        within("network.hidden", self.network.hidden, 1..=4096)?;
        within("network.last_gain", self.network.last_gain, 1e-6..=100.0)?;
        within("network.mean_scale", self.network.mean_scale, 0.0..=1e6)?;
        self.cloning.check()
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
        within("cloning.assignment_share", self.assignment_share, 0.0..=1.0)?;
        within("cloning.temperature", self.temperature, 0.0..=1e6)?;
        within("cloning.search_samples", self.search_samples, 1..=1_000_000)?;
        within("cloning.search_block", self.search_block, 1..=65_536)?;
        within("cloning.search_rounds", self.search_rounds, 1..=1000)?;
        within("cloning.log_interval", self.log_interval, 1..=1_000_000_000)?;
        within("cloning.checkpoint_interval", self.checkpoint_interval, 1..=1_000_000_000)
    }
}
