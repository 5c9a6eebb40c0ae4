//! Training of one network of an expert, resumable at any time.

use std::{
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use sog_runtime::policy::{LatentKind, PolicyFile};
use sog_sim::{
    error::SimError,
    rollout::{Batch, EpisodeStart},
    seed,
    task::{GoalSpace, Modes, TaskInfo},
    tasks::TaskMaker,
};

use super::{
    config::{ExpertConfig, Source},
    evaluation::{Actions, Subject, evaluate_subject},
    file::{ExpertFileError, ModeEvaluation},
    goal_code,
    symmetry::{Mirror, Reflection},
};
use crate::{
    ddpg::{self, Ddpg},
    ppo::{HookError, Hooks, Ppo, PpoError, PpoSetup, TaskReward},
    run::{Checkpoint, ConfigError, Run, RunError, Snapshot, SnapshotError},
};

/// Streams of the seed: evaluation for selection shares no start state with training.
const NETWORK_STREAM: u64 = 0x100;
const SELECTION_STREAM: u64 = 0x200;

/// As if the normaliser of a policy to start from came from so many observations.
const START_WEIGHT: u64 = 100_000;

/// Iterations for the value network of a policy that starts from another.
const START_CRITIC_WARMUP: u64 = 12;

/// Why an expert cannot be trained.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertError {
    /// The run directory.
    #[error(transparent)]
    Run(#[from] RunError),
    /// Training.
    #[error(transparent)]
    Ppo(#[from] PpoError),
    /// The simulator.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// A file.
    #[error(transparent)]
    File(#[from] ExpertFileError),
    /// The configuration.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// A network that another one needs is not trained yet.
    #[error(
        "network {needed} is needed for network {network} and has no evaluated policy yet; train it first"
    )]
    Order {
        /// The network asked for.
        network: usize,
        /// The network that it needs.
        needed: usize,
    },
    /// There is no such network.
    #[error(
        "network {network}: the expert has networks 0 to {last}, of which {trained} are trained"
    )]
    NoNetwork {
        /// The network asked for.
        network: usize,
        /// The last one.
        last: usize,
        /// Those that are trained.
        trained: String,
    },
}

/// What is told after each evaluation.
#[derive(Clone, Debug)]
pub struct Progress<'a> {
    /// Network, from 0.
    pub network: usize,
    /// Environment steps so far and in all.
    pub steps: u64,
    /// Environment steps in all.
    pub budget: u64,
    /// Wall time so far, s.
    pub wall_s: f64,
    /// This evaluation.
    pub evaluation: &'a ModeEvaluation,
    /// The best evaluation so far.
    pub best: &'a Best,
    /// Metrics of the last iteration.
    pub values: &'a [(&'static str, f64)],
}

/// The best policy so far.
#[derive(Clone, Debug)]
pub struct Best {
    /// The policy, not sealed; random before the first evaluation.
    pub policy: PolicyFile,
    /// Its evaluation; `None` before the first.
    pub evaluation: Option<ModeEvaluation>,
    /// Environment steps when it was reached.
    pub steps: u64,
    /// Wall time when it was reached, s.
    pub wall_s: f64,
}

impl Best {
    fn none(policy: PolicyFile) -> Self {
        Self { policy, evaluation: None, steps: 0, wall_s: 0.0 }
    }

    fn score(&self) -> f64 {
        self.evaluation.as_ref().map_or(f64::NEG_INFINITY, score)
    }
}

/// What is maximised over evaluations: the mean return, or minus the speed error.
fn score(evaluation: &ModeEvaluation) -> f64 {
    match evaluation.speed_error_m_s {
        Some(error) => -error,
        // Episodes that end early shall be rare, not merely paid for by the others.
        None => evaluation.mean * (1.0 - evaluation.early_ends),
    }
}

/// The hook: the reward of one mode, or of the goal drawn for the episode.
struct ExpertHooks {
    subject: Rewarded,
    /// Added to the reward of each step.
    offset: f32,
}

enum Rewarded {
    Mode(usize),
    Goals(GoalSpace),
}

impl Hooks for ExpertHooks {
    fn begin_episode(&self, start: &mut EpisodeStart<'_>) {
        if let Rewarded::Goals(space) = &self.subject {
            space.sample(start.rng, start.goals);
            goal_code(space, start.goals, start.code);
        }
    }

    fn rewards(
        &mut self,
        batch: &Batch,
        obs: &[f32],
        rewards: &mut [f32],
    ) -> Result<(), HookError> {
        let mode = match &self.subject {
            Rewarded::Mode(mode) => *mode,
            Rewarded::Goals(_) => 0,
        };
        TaskReward { mode }.rewards(batch, obs, rewards)?;
        rewards.iter_mut().for_each(|r| *r += self.offset);
        Ok(())
    }
}

/// The method that trains a network.
enum Learner {
    Ppo(Box<Ppo>, ExpertHooks),
    Ddpg(Box<Ddpg>),
}

impl Learner {
    fn new(maker: &TaskMaker, config: &ExpertConfig, network: usize) -> Result<Self, ExpertError> {
        let info = maker.info();
        let setup = setup(info, config, network);
        let subject = match &info.modes {
            Modes::Discrete(_) => Rewarded::Mode(network),
            Modes::Continuous(space) => Rewarded::Goals(space.clone()),
        };
        let hooks = ExpertHooks { subject, offset: config.reward_offset };
        if let Some(ddpg) = &config.ddpg
            && let Some(ddpg) = Ddpg::new(maker, ddpg, config.hidden, setup.seed)?
        {
            return Ok(Self::Ddpg(Box::new(ddpg)));
        }
        Ok(Self::Ppo(Box::new(Ppo::new(maker, &config.ppo, &setup)?), hooks))
    }

    fn iterate(&mut self) -> Result<Vec<(&'static str, f64)>, ExpertError> {
        Ok(match self {
            Self::Ppo(ppo, hooks) => ppo.iterate(hooks)?.named().to_vec(),
            Self::Ddpg(ddpg) => ddpg.iterate()?.named().to_vec(),
        })
    }

    fn restart(&mut self) {
        if let Self::Ppo(ppo, _) = self {
            ppo.restart();
        }
    }

    fn steps(&self) -> u64 {
        match self {
            Self::Ppo(ppo, _) => ppo.steps(),
            Self::Ddpg(ddpg) => ddpg.steps(),
        }
    }

    fn iterations(&self) -> u64 {
        match self {
            Self::Ppo(ppo, _) => ppo.iterations(),
            Self::Ddpg(ddpg) => ddpg.iterations(),
        }
    }

    fn policy_file(&self) -> PolicyFile {
        match self {
            Self::Ppo(ppo, _) => ppo.policy_file(),
            Self::Ddpg(ddpg) => ddpg.policy_file(),
        }
    }
}

impl Checkpoint for Learner {
    fn save(&self, to: &mut Snapshot) {
        match self {
            Self::Ppo(ppo, _) => ppo.save(to),
            Self::Ddpg(ddpg) => ddpg.save(to),
        }
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        match self {
            Self::Ppo(ppo, _) => ppo.load(from),
            Self::Ddpg(ddpg) => ddpg.load(from),
        }
    }
}

/// Training of one network.
pub struct Training {
    network: usize,
    config: ExpertConfig,
    maker: TaskMaker,
    run: Run,
    learner: Learner,
    subject: Subject,
    best: Best,
    interrupted: Option<Arc<AtomicBool>>,
}

/// What a checkpoint holds: the learner and the best policy.
struct State<'a> {
    learner: &'a mut Learner,
    best: &'a mut Best,
}

impl Checkpoint for State<'_> {
    fn save(&self, to: &mut Snapshot) {
        to.nest("ppo", self.learner);
        to.nest("best", self.best);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_nested("ppo", self.learner)?;
        from.read_nested("best", self.best)
    }
}

impl Checkpoint for Best {
    fn save(&self, to: &mut Snapshot) {
        to.state("evaluation", &self.evaluation);
        to.state("steps", &self.steps);
        to.state("wall_s", &self.wall_s);
        for (name, values) in best_tensors(&mut self.policy.clone()) {
            to.f32s(&name, &[values.len()], values);
        }
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        self.evaluation = from.read_state("evaluation")?;
        self.steps = from.read_state("steps")?;
        self.wall_s = from.read_state("wall_s")?;
        for (name, values) in best_tensors(&mut self.policy) {
            from.read_f32s(&name, values)?;
        }
        Ok(())
    }
}

/// What differs between two policies of one run.
fn best_tensors(p: &mut PolicyFile) -> Vec<(String, &mut Vec<f32>)> {
    let layers = p.shape().layers().into_iter().zip(p.network.layers_mut());
    let of_layer = layers.flat_map(|(layer, dense)| {
        let name = layer.name.trim_start_matches("actor.").to_string();
        let weight = (format!("{name}.weight"), &mut dense.weight);
        [weight, (format!("{name}.bias"), &mut dense.bias)]
    });
    let mut all: Vec<_> = of_layer.collect();
    all.extend([
        ("obs.mean".to_string(), &mut p.normaliser.mean),
        ("obs.var".to_string(), &mut p.normaliser.var),
        ("log_std".to_string(), &mut p.log_std),
    ]);
    all
}

/// The run directory of a network.
pub fn network_dir(dir: &Path, network: usize) -> PathBuf {
    dir.join(format!("network-{network}"))
}

impl Training {
    /// Starts or resumes the training of a network below `dir`. A run that is there keeps its
    /// configuration but for the budget, the intervals of evaluations and checkpoints, the number of
    /// environments that begin anew in each iteration, and the number of episodes and the noise of an
    /// evaluation (then the best policy so far is evaluated anew).
    ///
    /// # Errors
    /// [`ExpertError`].
    pub fn open(
        maker: &TaskMaker,
        config: &ExpertConfig,
        dir: &Path,
        network: usize,
    ) -> Result<Self, ExpertError> {
        let source = config.networks.get(network).cloned();
        let Some(source @ (Source::Train | Source::Start { .. })) = source else {
            return Err(no_network(config, network));
        };
        let info = maker.info();
        let own = network_dir(dir, network);
        let (mut run, config, evaluated_with) = if own.join("config.toml").is_file() {
            let (run, stored) = Run::resume::<ExpertConfig>(&own)?;
            let evaluated_with = stored.selection();
            (run, stored.resumed_with(config), evaluated_with)
        } else {
            (Run::create(&own, config)?, config.clone(), config.selection())
        };
        let subject = match &info.modes {
            Modes::Discrete(_) => Subject::Mode { mode: network, code: vec![] },
            Modes::Continuous(_) => Subject::Goals,
        };
        let mut learner = Learner::new(maker, &config, network)?;
        let mut best = Best::none(learner.policy_file());
        let restored = run.restore(&mut State { learner: &mut learner, best: &mut best })?;
        let maker = maker.clone();
        let interrupted = None;
        let mut training =
            Self { network, config, maker, run, learner, subject, best, interrupted };
        if let (None, Source::Start { from, mirror, .. }) = (restored, source) {
            training.start_from(dir, from, mirror)?;
        }
        if evaluated_with != training.config.selection() && training.best.evaluation.is_some() {
            training.best.evaluation = Some(training.evaluation_of(&training.best.policy)?);
            training.checkpoint()?;
        }
        // Only now: who is stopped before evaluates anew the next time.
        training.run.reconfigure(&training.config)?;
        Ok(training)
    }

    /// Starts from another network's best policy, mirrored or not. That counts as the first
    /// candidate: it may be better than what training makes of it.
    fn start_from(
        &mut self,
        dir: &Path,
        from: usize,
        mirror: Option<Reflection>,
    ) -> Result<(), ExpertError> {
        let info = self.maker.info();
        let (other, _) = best_of(info, dir, from)?;
        if other.evaluation.is_none() {
            return Err(ExpertError::Order { network: self.network, needed: from });
        }
        let other = match mirror {
            Some(reflection) => Mirror::of(self.maker.task(), reflection)?.policy(&other.policy),
            None => other.policy,
        };
        if let Learner::Ppo(ppo, _) = &mut self.learner {
            let log_std = vec![self.config.start_log_std; info.action_dim()];
            ppo.start_from(&other, Some(&log_std), START_WEIGHT)?;
        }
        self.evaluate()?;
        Ok(())
    }

    /// The best policy so far.
    pub fn best(&self) -> &Best {
        &self.best
    }

    /// Whether the budget is spent.
    pub fn is_done(&self) -> bool {
        self.learner.steps() >= self.config.budget_of(self.network)
    }

    /// Stops [`train`](Self::train) after the iteration in which the flag is set, with no checkpoint but
    /// those that are due: one begins all episodes anew, so that who goes on from another would not do
    /// what the run would have done.
    #[must_use]
    pub fn interrupted_by(mut self, flag: Arc<AtomicBool>) -> Self {
        self.interrupted = Some(flag);
        self
    }

    /// Environment steps done by the last checkpoint.
    ///
    /// # Errors
    /// [`ExpertError`] if the run directory cannot be read.
    pub fn saved_steps(&self) -> Result<u64, ExpertError> {
        Ok(Run::steps_done(self.run.dir())?)
    }

    /// Trains until the budget is spent, or until `tell` (called after each evaluation) returns
    /// false and a checkpoint is due.
    ///
    /// # Errors
    /// [`ExpertError`]; the last checkpoint stays good.
    pub fn train(
        &mut self,
        tell: &mut dyn FnMut(&Progress<'_>) -> bool,
    ) -> Result<(), ExpertError> {
        let (mut asked, mut stop) = (false, false);
        while !stop && !self.is_done() {
            let mut values = self.learner.iterate()?;
            let iteration = self.learner.iterations();
            let due = |every| iteration.is_multiple_of(every) || self.is_done();
            let (evaluate, checkpoint) =
                (due(self.config.evaluate_every), due(self.config.checkpoint_every));
            if evaluate {
                let evaluation = self.evaluate()?;
                values.push(("evaluation/return", evaluation.mean));
                values.push(("evaluation/early_ends", evaluation.early_ends));
                if let Some(error) = evaluation.speed_error_m_s {
                    values.push(("evaluation/speed_error_m_s", error));
                }
                values.push(("evaluation/best", self.best.score()));
                asked |= !tell(&Progress {
                    network: self.network,
                    steps: self.learner.steps(),
                    budget: self.config.budget_of(self.network),
                    wall_s: self.run.wall_s(),
                    evaluation: &evaluation,
                    best: &self.best,
                    values: &values,
                });
            }
            self.run.log(self.learner.steps(), &values)?;
            let interrupted = self.interrupted.as_ref().is_some_and(|f| f.load(Ordering::Relaxed));
            if checkpoint {
                self.learner.restart();
                self.checkpoint()?;
                stop = asked;
            }
            stop |= interrupted;
        }
        Ok(())
    }

    fn checkpoint(&mut self) -> Result<(), ExpertError> {
        let state = State { learner: &mut self.learner, best: &mut self.best };
        Ok(self.run.checkpoint(state.learner.steps(), &state)?)
    }

    fn evaluation_of(&self, policy: &PolicyFile) -> Result<ModeEvaluation, ExpertError> {
        let actor = sog_runtime::policy::Policy::new(policy);
        let seed = seed::derive(self.config.seed, SELECTION_STREAM + self.network as u64);
        let (episodes, noise) = self.config.selection();
        let actions = Actions::Noisy(noise);
        Ok(evaluate_subject(&self.maker, &actor, &self.subject, episodes, actions, seed)?)
    }

    /// Evaluates the present policy and keeps it if it is the best.
    fn evaluate(&mut self) -> Result<ModeEvaluation, ExpertError> {
        let policy = self.learner.policy_file();
        let evaluation = self.evaluation_of(&policy)?;
        // On a tie the later one, which has seen more.
        if score(&evaluation) >= self.best.score() {
            self.best = Best {
                policy,
                evaluation: Some(evaluation.clone()),
                steps: self.learner.steps(),
                wall_s: self.run.wall_s(),
            };
        }
        Ok(evaluation)
    }
}

/// What is learned for a network.
fn setup(info: &TaskInfo, config: &ExpertConfig, network: usize) -> PpoSetup {
    let seed = seed::derive(config.seed, NETWORK_STREAM + network as u64);
    if let (Some(_), Modes::Continuous(space)) = (&config.ddpg, &info.modes) {
        return ddpg::setup(space, config.hidden, seed);
    }
    let starts = matches!(config.networks.get(network), Some(Source::Start { .. }));
    PpoSetup {
        latent: match &info.modes {
            Modes::Discrete(_) => LatentKind::None,
            Modes::Continuous(space) => LatentKind::Gaussian(space.dims()),
        },
        hidden: vec![config.hidden; 2],
        log_std: if starts { config.start_log_std } else { config.log_std },
        action_scale: config.action_scale,
        hide: config.hide.clone(),
        critic_warmup: if starts { START_CRITIC_WARMUP } else { 0 },
        total_steps: config.budget_of(network),
        seed,
        ..PpoSetup::default()
    }
}

/// The best policy of a network, from the last checkpoint of its run, which may be training; and
/// the seed of the run.
///
/// # Errors
/// [`ExpertError`].
pub fn best_of(info: &TaskInfo, dir: &Path, network: usize) -> Result<(Best, u64), ExpertError> {
    let own = network_dir(dir, network);
    let config: ExpertConfig = Run::config(&own)?;
    let mut best = Best::none(Ppo::untrained(info, &setup(info, &config, network))?);
    Run::peek(&own, "best", &mut best)?;
    Ok((best, config.seed))
}

fn no_network(config: &ExpertConfig, network: usize) -> ExpertError {
    let trained = config.networks.iter().enumerate();
    let trained = trained.filter(|(_, s)| !matches!(s, Source::Mirror { .. }));
    let trained: Vec<String> = trained.map(|(k, _)| k.to_string()).collect();
    let last = config.networks.len().saturating_sub(1);
    ExpertError::NoNetwork { network, last, trained: trained.join(", ") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_offset_changes_what_is_learned_from_and_no_other_mode() {
        let mut batch = Batch::default();
        (batch.envs, batch.steps) = (1, 2);
        batch.obs = vec![0.0; 2];
        batch.ended = vec![Default::default(); 2];
        // Two steps, three modes.
        batch.rewards = vec![1.0, 2.0, 3.0, 4.0, 5.0, 6.0];
        let rewards = |offset: f32| {
            let mut hooks = ExpertHooks { subject: Rewarded::Mode(1), offset };
            let mut rewards = vec![0.0; 2];
            hooks.rewards(&batch, &batch.obs, &mut rewards).unwrap();
            rewards
        };
        assert_eq!(rewards(0.0), [2.0, 5.0]);
        assert_eq!(rewards(-1.0), [1.0, 4.0]);
    }
}
