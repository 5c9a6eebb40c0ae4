//! How an expert is trained: `expert.toml` in the task's folder.

use serde::{Deserialize, Serialize};
use sog_sim::tasks::TaskFolder;

use super::symmetry::Reflection;
use crate::{
    ddpg::DdpgConfig,
    ppo::PpoConfig,
    run::{Config, ConfigError, parse_config, within},
};

/// Training of one task's expert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExpertConfig {
    /// Seed of everything drawn.
    pub seed: u64,
    /// Environment steps of each network's training.
    pub budget: u64,
    /// Iterations between evaluations.
    pub evaluate_every: u64,
    /// Episodes of an evaluation.
    pub evaluate_episodes: usize,
    /// Standard deviation of the noise on actions in the evaluations that select the best network,
    /// as a share of half their range. What demonstrates with noise is then chosen by how it does
    /// so; the final evaluation is without. As in training the noise is not cut at the actions'
    /// bounds (the simulator does that, but the cost of control is the whole action's), while
    /// `sog demos record --action-noise` cuts it.
    #[serde(default)]
    pub evaluate_noise: f32,
    /// Iterations between checkpoints; at each one the environments start new episodes.
    pub checkpoint_every: u64,
    /// Width of the policy's hidden layers.
    pub hidden: usize,
    /// Log standard deviation at the start.
    pub log_std: f32,
    /// Log standard deviation at the start of a network that starts from another.
    #[serde(default = "start_log_std")]
    pub start_log_std: f32,
    /// Factor from the policy's output to the robot's action.
    pub action_scale: f32,
    /// Added to the reward of each step in training, and only there: what is paid for merely
    /// standing can be taken away from a robot that would otherwise never risk a fall.
    #[serde(default)]
    pub reward_offset: f32,
    /// Observation terms that the networks do not see.
    pub hide: Vec<String>,
    /// Where the network of each mode comes from; one entry for a network that takes the goal.
    pub networks: Vec<Source>,
    /// Hyper-parameters of PPO.
    #[serde(default)]
    pub ppo: PpoConfig,
    /// Hyper-parameters of DDPG with hindsight, which then takes the place of PPO.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ddpg: Option<DdpgConfig>,
}

/// Less than at random, enough to explore.
fn start_log_std() -> f32 {
    -1.0
}

/// Where a network comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub enum Source {
    /// Trained on this mode's reward.
    Train,
    /// Trained from another mode's best network, mirrored or as it is.
    Start {
        /// The other mode.
        from: usize,
        /// Mirror image, if any.
        mirror: Option<Reflection>,
        /// Environment steps, if fewer than the expert's budget.
        budget: Option<u64>,
    },
    /// The mirror image of another mode's network.
    Mirror {
        /// The other mode.
        of: usize,
        /// Which image.
        by: Reflection,
    },
}

impl ExpertConfig {
    /// What `expert.toml` beside a task says.
    ///
    /// # Errors
    /// [`ConfigError`] if there is no such file, or only a target (an expert that is scripted).
    pub fn of(task: &TaskFolder) -> Result<Self, ConfigError> {
        let mut table = expert_table(task)?.unwrap_or_default();
        table.remove(TARGET);
        if table.is_empty() {
            return Err(ConfigError::Range {
                key: "task".to_string(),
                found: task.info().name.clone(),
                needed: format!("a task with an {FILE} that says how its expert is trained"),
            });
        }
        parse_config(&table.to_string())
    }
}

/// The file of a task's folder that says how its expert is trained and what it must reach.
const FILE: &str = "expert.toml";

/// The table of that file that says what an expert must reach.
pub(super) const TARGET: &str = "target";

/// What a task's `expert.toml` says; `None` if there is none.
pub(super) fn expert_table(task: &TaskFolder) -> Result<Option<toml::Table>, ConfigError> {
    let syntax = |reason: String| ConfigError::Syntax { reason: format!("{FILE}: {reason}") };
    let text = task.read(FILE).map_err(|e| syntax(e.to_string()))?;
    text.map(|text| text.parse().map_err(|e: toml::de::Error| syntax(e.to_string()))).transpose()
}

impl ExpertConfig {
    /// Environment steps of a network's training.
    pub fn budget_of(&self, network: usize) -> u64 {
        match self.networks.get(network) {
            Some(Source::Start { budget: Some(budget), .. }) => *budget,
            _ => self.budget,
        }
    }

    /// Episodes and noise of the evaluations that select.
    pub(super) fn selection(&self) -> (usize, f32) {
        (self.evaluate_episodes, self.evaluate_noise)
    }

    /// This configuration with what of another may change while a network trains: budgets, how
    /// often, how thoroughly and under which noise it is evaluated, and how often its environments
    /// start anew.
    pub(super) fn resumed_with(self, other: &Self) -> Self {
        let mut networks = self.networks.clone();
        for (own, other) in networks.iter_mut().zip(&other.networks) {
            if let (Source::Start { budget, .. }, Source::Start { budget: given, .. }) =
                (own, other)
            {
                *budget = *given;
            }
        }
        Self {
            budget: other.budget,
            evaluate_every: other.evaluate_every,
            evaluate_episodes: other.evaluate_episodes,
            evaluate_noise: other.evaluate_noise,
            checkpoint_every: other.checkpoint_every,
            networks,
            ppo: PpoConfig { restart_envs: other.ppo.restart_envs, ..self.ppo },
            ..self
        }
    }

    /// An order in which networks can be trained: each after the one it starts from.
    pub fn training_order(&self) -> Vec<usize> {
        let mut order: Vec<usize> = Vec::new();
        // Chains are shorter than the number of networks, as `check` sees to.
        for _ in 0..self.networks.len() {
            for (k, source) in self.networks.iter().enumerate() {
                let ready = match source {
                    Source::Train => true,
                    Source::Start { from, .. } => order.contains(from),
                    Source::Mirror { .. } => false,
                };
                if ready && !order.contains(&k) {
                    order.push(k);
                }
            }
        }
        order
    }

    /// A mirror image is one of an earlier trained network; a network starts from a trained one,
    /// and not in a circle.
    fn check_source(&self, k: usize) -> Result<(), ConfigError> {
        let error = |found: usize, needed: &str| ConfigError::Range {
            key: format!("networks[{k}]"),
            found: found.to_string(),
            needed: needed.to_string(),
        };
        let is_trained = |other: usize| {
            matches!(self.networks.get(other), Some(Source::Train | Source::Start { .. }))
        };
        match &self.networks[k] {
            Source::Mirror { of, .. } if *of >= k || !is_trained(*of) => {
                Err(error(*of, "an earlier mode that is trained"))
            }
            Source::Start { from, .. } if !self.training_order().contains(&k) => {
                Err(error(*from, "a mode that is trained before, not in a circle"))
            }
            _ => Ok(()),
        }
    }
}

impl Config for ExpertConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("budget", self.budget, 1..=1_000_000_000_000)?;
        within("evaluate_every", self.evaluate_every, 1..=1_000_000)?;
        within("evaluate_episodes", self.evaluate_episodes, 1..=100_000)?;
        within("evaluate_noise", self.evaluate_noise, 0.0..=1.0)?;
        within("checkpoint_every", self.checkpoint_every, 1..=1_000_000)?;
        within("hidden", self.hidden, 1..=4096)?;
        let bounds = self.ppo.update.log_std_min..=self.ppo.update.log_std_max;
        within("log_std", self.log_std, bounds.clone())?;
        within("start_log_std", self.start_log_std, bounds)?;
        within("action_scale", self.action_scale, 1e-6..=1e6)?;
        within("reward_offset", self.reward_offset, -1e3..=1e3)?;
        within("networks", self.networks.len(), 1..=1000)?;
        self.ppo.check("ppo.")?;
        if let Some(ddpg) = &self.ddpg {
            ddpg.check("ddpg.")?;
        }
        for k in 0..self.networks.len() {
            self.check_source(k)?;
        }
        Ok(())
    }
}
