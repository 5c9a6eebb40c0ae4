//! What a training run works with, and what it leaves behind.

use std::path::Path;

use sog_engine::net::{Init, PolicyNet};
use sog_rl::run::{ConfigError, write_atomic};
use sog_runtime::policy::PolicyFile;
use sog_sim::{seed, task::TaskInfo, tasks::TaskMaker};

use crate::{
    config::TrainConfig,
    data::Demonstrations,
    device::Compute,
    error::TrainError,
    normalise::{ObsNormaliser, unseen},
};

/// Stream of the run's seed that networks start from.
const INIT_STREAM: u64 = 1;

/// Name of the policy file in a run directory.
pub const POLICY_FILE: &str = "policy.safetensors";

/// Name of the best policy so far by the run's own measure, beside it.
pub const BEST_FILE: &str = "best.safetensors";

/// How far a run is: steps done, steps in all, and a few words.
pub type ProgressFn<'a> = &'a (dyn Fn(u64, u64, &str) + Sync);

/// What a run works with.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Every choice.
    pub config: &'a TrainConfig,
    /// What is known about the task.
    pub task: &'a TaskInfo,
    /// The task's environments; cloning needs none.
    pub env: Option<&'a TaskMaker>,
    /// What is imitated.
    pub demos: &'a Demonstrations,
    /// Where an adversarial algorithm starts, instead of cloning first.
    pub start: Option<&'a PolicyFile>,
    /// What computes the updates.
    pub compute: &'a Compute,
    /// Told how far the run is.
    pub progress: ProgressFn<'a>,
    /// Asked between two steps whether the run shall stop: it then ends, cloning with a checkpoint, with
    /// [`TrainError::Interrupted`].
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

impl Job<'_> {
    /// The task's environments, for an algorithm that rolls out.
    ///
    /// # Errors
    /// [`TrainError::NoSimulator`].
    pub fn environments(&self) -> Result<&TaskMaker, TrainError> {
        self.env.ok_or_else(|| TrainError::no_simulator(self.config.algorithm, self.task))
    }

    /// The normaliser of the demonstrations' observations, under which the unseen terms are 0.
    ///
    /// # Errors
    /// [`TrainError::Config`] if the task has no such term, or no other.
    pub fn normaliser(&self) -> Result<ObsNormaliser, TrainError> {
        Ok(ObsNormaliser::of(self.demos).without(&self.hidden()?))
    }

    /// Whether a policy to start from has the run's kind of code, and sees the terms that the run's
    /// networks see and no other: its normaliser is theirs.
    ///
    /// # Errors
    /// [`TrainError::Config`].
    pub fn check_start(&self, start: &PolicyFile) -> Result<(), TrainError> {
        let refused = |key: &str, found: String, needed: String| {
            TrainError::from(ConfigError::Range { key: key.to_string(), found, needed })
        };
        if start.latent != self.config.latent()? {
            let needed = format!("`{}`, as the policy to start from has", start.latent);
            return Err(refused("latent", format!("`{}`", self.config.latent), needed));
        }
        let (given, cloned) = (self.hidden()?, unseen(&start.normaliser));
        if given != cloned {
            let names = |hidden: &[bool]| {
                let mut at = 0;
                let mut names = vec![];
                for term in &self.task.obs_terms.0 {
                    if hidden[at..at + term.width].contains(&true) {
                        names.push(format!("{:?}", term.name));
                    }
                    at += term.width;
                }
                format!("[{}]", names.join(", "))
            };
            let needed =
                format!("{}, what the policy to start from was cloned without", names(&cloned));
            return Err(refused("unseen_terms", names(&given), needed));
        }
        Ok(())
    }

    /// Which components of an observation `[S]` no network of the run sees.
    fn hidden(&self) -> Result<Vec<bool>, TrainError> {
        let (terms, unseen) = (&self.task.obs_terms.0, &self.config.unseen_terms);
        let names: Vec<&str> = terms.iter().map(|term| term.name.as_str()).collect();
        let unknown = unseen.iter().find(|name| !names.contains(&name.as_str()));
        let refused = |found: &str, needed: String| ConfigError::Range {
            key: "unseen_terms".to_string(),
            found: found.to_string(),
            needed,
        };
        if let Some(name) = unknown {
            let needed = format!("observation terms of the task, which are {}", names.join(", "));
            return Err(refused(name, needed).into());
        }
        let mut hidden = vec![];
        for term in terms {
            hidden.extend(std::iter::repeat_n(unseen.contains(&term.name), term.width));
        }
        if hidden.iter().all(|&hidden| hidden) {
            return Err(refused("all terms", "at least one that is seen".to_string()).into());
        }
        Ok(hidden)
    }
}

/// A job that nothing stops.
pub fn never() -> bool {
    false
}

/// A freshly initialised policy for `config`, another one for each attempt.
///
/// # Errors
/// [`TrainError::Config`], [`TrainError::Engine`].
pub fn new_policy(
    config: &TrainConfig,
    task: &TaskInfo,
    attempt: u64,
) -> Result<PolicyNet, TrainError> {
    let latent = config.latent()?.width();
    let arch = config.network.policy_arch(task.obs_dim(), latent, task.action_dim());
    let init = Init { last_gain: config.network.last_gain, ..Init::default() };
    Ok(PolicyNet::new(
        arch,
        init,
        &mut seed::stream(seed::derive(config.seed, INIT_STREAM), attempt),
    )?)
}

/// Writes a policy file, [`POLICY_FILE`] or [`BEST_FILE`], into a run directory.
///
/// # Errors
/// [`TrainError::Policy`] for what the runtime would refuse; [`TrainError::Run`].
pub(crate) fn write_policy(dir: &Path, name: &str, file: &PolicyFile) -> Result<(), TrainError> {
    let bytes = file.to_bytes();
    PolicyFile::parse(&bytes)?;
    Ok(write_atomic(&dir.join(name), &bytes)?)
}
