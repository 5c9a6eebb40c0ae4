//! What can go wrong in training and evaluation.

use sog_engine::EngineError;
use sog_rl::{
    ppo::PpoError,
    run::{ConfigError, RunError},
};
use sog_runtime::policy::PolicyError;
use sog_sim::{error::SimError, task::TaskInfo};

use crate::{config::Algorithm, data::DataError};

/// Why training or evaluation stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TrainError {
    /// The configuration is not acceptable.
    #[error("configuration: {0}")]
    Config(#[from] ConfigError),
    /// What a task's folder says about training is not acceptable.
    #[error("{file}: {source}")]
    Tuned {
        /// The file, and the table in it.
        file: String,
        /// Which key and why.
        source: ConfigError,
    },
    /// The run directory cannot be used.
    #[error(transparent)]
    Run(#[from] RunError),
    /// The demonstrations cannot be used.
    #[error(transparent)]
    Data(#[from] DataError),
    /// The engine refuses.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// candle refuses.
    #[error("candle: {}", crate::device::explain(.0))]
    Candle(#[from] candle_core::Error),
    /// PPO stops.
    #[error(transparent)]
    Ppo(#[from] PpoError),
    /// The simulator refuses.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The book of codes cannot be written.
    #[error(transparent)]
    Book(Box<sog_runtime::policy::book::BookError>),
    /// A measure does not fit the policy.
    #[error("the policy has {found}, need {needed}")]
    Unmeasurable {
        /// What the policy has.
        found: String,
        /// What would do.
        needed: &'static str,
    },
    /// The policy that a run starts from was not cloned with the codes that the run would give it.
    #[error(
        "under the codes that cloning with seed {seed} begins with, the policy to start from has a \
         loss of {given:.4}, under the best codes {best:.4}: it was cloned with others; start from \
         the SOG-BC run of the same seed and demonstrations, or set sog_gail.codes = \"searched\""
    )]
    OtherCodes {
        /// The run's seed.
        seed: u64,
        /// Mean loss of a trajectory under the codes that would be given.
        given: f64,
        /// The same under the codes that explain each best.
        best: f64,
    },
    /// An algorithm that rolls out has nothing to roll out in.
    #[error(
        "{algorithm} learns from rollouts, and `{task}` has no simulator ([sim] in its task.toml); \
         bc and sog-bc need none"
    )]
    NoSimulator {
        /// The algorithm.
        algorithm: Algorithm,
        /// The task.
        task: String,
    },
    /// The run was asked to stop.
    #[error(
        "stopped {}; go on with --resume",
        step.map_or("before the first checkpoint".to_string(), |s| format!("with step {s} saved"))
    )]
    Interrupted {
        /// Steps done by the last checkpoint.
        step: Option<u64>,
    },
    /// The policy came out unusable: training diverged.
    #[error("the trained policy is not usable ({0}); lower the learning rate")]
    Policy(#[from] PolicyError),
}

impl TrainError {
    /// What is said where an algorithm rolls out and nothing simulates the task.
    pub fn no_simulator(algorithm: Algorithm, task: &TaskInfo) -> Self {
        Self::NoSimulator { algorithm, task: task.name().to_string() }
    }
}
