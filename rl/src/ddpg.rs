//! Deep deterministic policy gradients (Lillicrap et al. 2016) with hindsight experience replay
//! (Andrychowicz et al. 2017), for tasks with goals and a sparse reward.
//!
//! One [`Ddpg::iterate`]:
//!
//! ```text
//! collect    one exploring episode in each environment, each with a goal of its own
//! relabel    a transition's goal is replaced, with probability k/(k+1), by a position that the
//!            same episode reached later ("future"); its reward is 0 there and −1 elsewhere
//! improve    y = clip(r + γ Q'(s', g, μ'(s', g)), −1/(1−γ), 0)
//!            critic: mean (Q(s, g, a) − y)²;   actor: mean −Q(s, g, μ(s, g)) + c ‖μ‖²
//!            targets: θ' ← (1−τ) θ' + τ θ
//! ```
//!
//! The actor is the two-branch policy whose code is the goal scaled to [−1, 1], so that it is an
//! ordinary policy file.

use rand::RngExt;
use serde::{Deserialize, Serialize};
use sog_engine::{
    adam::{Adam, AdamConfig},
    mlp::{MlpPass, Part},
    net::{Activation, Init, Mlp, MlpArch, PolicyNet},
    policy::PolicyPass,
};
use sog_runtime::policy::{LatentKind, MeanScale, Policy, PolicyFile};
use sog_sim::{
    rollout::{Batch, EpisodeStart, Fleet, FleetConfig, Noise},
    seed::{self, Rng},
    task::{GoalSpace, Modes, TaskInfo},
    tasks::TaskMaker,
};

use crate::{
    experts::goal_code,
    ppo::{ObsNormaliser, PpoError, PpoSetup, convert},
    run::{Checkpoint, ConfigError, Snapshot, SnapshotError, within},
};

/// The reached position is the first so many components of the observation.
const REACHED: usize = 3;

/// Hyper-parameters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DdpgConfig {
    /// Environments, and so episodes of an iteration.
    pub envs: usize,
    /// Minibatches of an iteration.
    pub updates: usize,
    /// Rows of a minibatch.
    pub minibatch: usize,
    /// Adam's step size of both networks.
    pub learning_rate: f32,
    /// Discount γ.
    pub gamma: f32,
    /// Share τ of the networks that enters their targets at each update.
    pub target_rate: f32,
    /// Weight c of the squared action in the actor's loss.
    pub action_cost: f32,
    /// Standard deviation of the exploration noise.
    pub noise: f32,
    /// Every so many iterations explore with uniform actions.
    pub uniform_every: u64,
    /// Relabelled goals k for each true one.
    pub hindsight: f64,
    /// Distance within which a goal is reached, metres.
    pub tolerance_m: f64,
    /// Episodes that are kept.
    pub capacity: usize,
}

impl Default for DdpgConfig {
    fn default() -> Self {
        Self {
            envs: 16,
            updates: 80,
            minibatch: 256,
            learning_rate: 1e-3,
            gamma: 0.98,
            target_rate: 0.02,
            action_cost: 0.1,
            noise: 0.2,
            uniform_every: 4,
            hindsight: 4.0,
            tolerance_m: 0.05,
            capacity: 4000,
        }
    }
}

impl DdpgConfig {
    /// Checks ranges; `at` is put before each key.
    ///
    /// # Errors
    /// [`ConfigError::Range`].
    pub fn check(&self, at: &str) -> Result<(), ConfigError> {
        let key = |name: &str| format!("{at}{name}");
        within(&key("envs"), self.envs, 1..=4096)?;
        within(&key("updates"), self.updates, 1..=100_000)?;
        within(&key("minibatch"), self.minibatch, 1..=65_536)?;
        within(&key("learning_rate"), self.learning_rate, 0.0..=1.0)?;
        within(&key("gamma"), self.gamma, 0.0..=0.999_9)?;
        within(&key("target_rate"), self.target_rate, 0.0..=1.0)?;
        within(&key("action_cost"), self.action_cost, 0.0..=1e3)?;
        within(&key("noise"), self.noise, 0.0..=10.0)?;
        within(&key("uniform_every"), self.uniform_every, 1..=1_000_000)?;
        within(&key("hindsight"), self.hindsight, 0.0..=1e6)?;
        within(&key("tolerance_m"), self.tolerance_m, 1e-6..=10.0)?;
        within(&key("capacity"), self.capacity, self.envs..=10_000_000)
    }
}

/// Episodes of equal length, the oldest overwritten. S observation, A action, G goal.
struct Replay {
    steps: usize,
    widths: [usize; 3],
    capacity: usize,
    /// `[episodes, steps + 1, S]`.
    obs: Vec<f32>,
    /// `[episodes, steps, A]`.
    actions: Vec<f32>,
    /// `[episodes, G]`: goals in the task's unit.
    goals: Vec<f64>,
    /// Episode to overwrite next, once full.
    next: usize,
}

impl Replay {
    fn new(steps: usize, widths: [usize; 3], capacity: usize) -> Self {
        let (obs, actions, goals) = (vec![], vec![], vec![]);
        Self { steps, widths, capacity, obs, actions, goals, next: 0 }
    }

    fn len(&self) -> usize {
        self.goals.len() / self.widths[2]
    }

    fn push(&mut self, obs: &[f32], actions: &[f32], goal: &[f64]) {
        if self.len() < self.capacity {
            self.obs.extend_from_slice(obs);
            self.actions.extend_from_slice(actions);
            self.goals.extend_from_slice(goal);
            return;
        }
        let at = self.next;
        self.obs[at * obs.len()..][..obs.len()].copy_from_slice(obs);
        self.actions[at * actions.len()..][..actions.len()].copy_from_slice(actions);
        self.goals[at * goal.len()..][..goal.len()].copy_from_slice(goal);
        self.next = (at + 1) % self.capacity;
    }

    fn obs(&self, episode: usize, t: usize) -> &[f32] {
        let s = self.widths[0];
        &self.obs[(episode * (self.steps + 1) + t) * s..][..s]
    }

    fn action(&self, episode: usize, t: usize) -> &[f32] {
        let a = self.widths[1];
        &self.actions[(episode * self.steps + t) * a..][..a]
    }

    /// The critic's input: observations, codes and actions side by side.
    fn input<'a>(&self, obs: &'a [f32], codes: &'a [f32], actions: &'a [f32]) -> [Part<'a>; 3] {
        let [s, a, g] = self.widths;
        [
            Part { data: obs, width: s },
            Part { data: codes, width: g },
            Part { data: actions, width: a },
        ]
    }

    fn goal(&self, episode: usize) -> &[f64] {
        let g = self.widths[2];
        &self.goals[episode * g..][..g]
    }
}

/// A minibatch of relabelled transitions; observations not normalised yet.
#[derive(Default)]
struct Transitions {
    obs: Vec<f32>,
    next_obs: Vec<f32>,
    actions: Vec<f32>,
    codes: Vec<f32>,
    rewards: Vec<f32>,
}

/// Buffers of the update.
struct Passes {
    actor: PolicyPass,
    critic: MlpPass,
    actor_grad: Vec<f32>,
    critic_grad: Vec<f32>,
}

/// What one iteration did.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DdpgDiagnostics {
    /// Share of exploring episodes that ended at their goal.
    pub hit_rate: f64,
    /// Critic's loss, mean over minibatches.
    pub critic_loss: f64,
    /// Mean value of the actor's actions.
    pub value: f64,
}

impl DdpgDiagnostics {
    /// Names and values, for a run's metrics.
    pub fn named(&self) -> [(&'static str, f64); 3] {
        [
            ("rollout/hit_rate", self.hit_rate),
            ("losses/critic_loss", self.critic_loss),
            ("losses/value", self.value),
        ]
    }
}

/// The learner.
pub struct Ddpg {
    config: DdpgConfig,
    setup: PpoSetup,
    info: TaskInfo,
    space: GoalSpace,
    actor: PolicyNet,
    critic: Mlp,
    target_actor: PolicyNet,
    target_critic: Mlp,
    actor_adam: Adam,
    critic_adam: Adam,
    normaliser: ObsNormaliser,
    fleet: Fleet,
    batch: Batch,
    replay: Replay,
    passes: Passes,
    rng: Rng,
    steps: u64,
    iterations: u64,
}

impl Ddpg {
    /// A new learner for a task with goals; `None` if the task has none.
    ///
    /// # Errors
    /// [`PpoError::Sim`] if the environments cannot be built.
    pub fn new(
        maker: &TaskMaker,
        config: &DdpgConfig,
        hidden: usize,
        seed: u64,
    ) -> Result<Option<Self>, PpoError> {
        let info = maker.info().clone();
        let Modes::Continuous(space) = info.modes.clone() else { return Ok(None) };
        let setup = setup(&space, hidden, seed);
        let (actor, hidden_terms) = convert::initial_policy(&info, &setup)?;
        let [s, g, a] = [info.obs_dim(), space.dims(), info.action_dim()];
        let arch = MlpArch::new("critic", s + g + a, &[128, 128], Activation::Relu, 1);
        let init = Init { last_gain: 0.01, ..Init::default() };
        let critic = Mlp::new(arch, init, &mut seed::stream(seed, 1))?;
        let fleet = FleetConfig {
            envs: config.envs,
            latent_dim: g,
            goals: 1,
            seed: seed::derive(seed, 2),
            ..FleetConfig::default()
        };
        let fleet = Fleet::new(maker, &fleet)?;
        Ok(Some(Self {
            passes: Passes {
                actor: PolicyPass::new(actor.arch()),
                critic: MlpPass::new(critic.arch()),
                actor_grad: vec![0.0; actor.params.len()],
                critic_grad: vec![0.0; critic.params.len()],
            },
            actor_adam: Adam::new(AdamConfig::default(), actor.params.len()),
            critic_adam: Adam::new(AdamConfig::default(), critic.params.len()),
            target_actor: actor.clone(),
            target_critic: critic.clone(),
            actor,
            critic,
            normaliser: ObsNormaliser::new(hidden_terms),
            batch: fleet.batch(info.horizon),
            fleet,
            replay: Replay::new(info.horizon, [s, a, g], config.capacity),
            rng: seed::stream(seed, 3),
            steps: 0,
            iterations: 0,
            config: config.clone(),
            setup,
            info,
            space,
        }))
    }

    /// Environment steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Iterations so far.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// The present actor as a policy file, not [sealed](PolicyFile::seal).
    pub fn policy_file(&self) -> PolicyFile {
        convert::policy_file(&self.info, &self.setup, &self.actor, &self.normaliser)
    }

    /// One iteration: collect an episode in each environment, then improve.
    ///
    /// # Errors
    /// [`PpoError`].
    pub fn iterate(&mut self) -> Result<DdpgDiagnostics, PpoError> {
        let hit_rate = self.collect()?;
        let mut d = DdpgDiagnostics { hit_rate, ..DdpgDiagnostics::default() };
        for _ in 0..self.config.updates {
            let (loss, value) = self.improve()?;
            d.critic_loss += loss / self.config.updates as f64;
            d.value += value / self.config.updates as f64;
        }
        self.iterations += 1;
        Ok(d)
    }

    /// Runs one episode in each environment; returns the share that ended at their goal.
    fn collect(&mut self) -> Result<f64, PpoError> {
        // Each iteration draws from its own stream, so that a resumed run draws the same.
        let stream = seed::derive(self.setup.seed, 2);
        self.fleet.restart(seed::derive(stream, self.iterations));
        let uniform = self.iterations.is_multiple_of(self.config.uniform_every);
        let std = vec![self.config.noise; self.info.action_dim()];
        let noise = if uniform { Noise::Uniform } else { Noise::Gaussian(&std) };
        let space = &self.space;
        let rule = |start: &mut EpisodeStart<'_>| {
            space.sample(start.rng, start.goals);
            goal_code(space, start.goals, start.code);
        };
        let actor = Policy::new(&self.policy_file());
        self.fleet.run(&actor, noise, &rule, &mut self.batch)?;
        self.steps += self.batch.rows() as u64;
        self.normaliser.update(&self.batch.obs);

        let [s, a, g] = self.replay.widths;
        let mut hits = 0.0;
        for end in self.batch.episodes() {
            let rows = end.env * self.batch.steps..(end.env + 1) * self.batch.steps;
            let mut obs = self.batch.obs[rows.start * s..rows.end * s].to_vec();
            obs.extend_from_slice(end.obs);
            let actions: Vec<f32> = self.batch.actions[rows.start * a..rows.end * a]
                .iter()
                .map(|a| a.clamp(-1.0, 1.0))
                .collect();
            let mut goal = vec![0.0; g];
            goal_of_code(&self.space, end.code, &mut goal);
            hits += f64::from(is_reached(end.obs, &goal, self.config.tolerance_m));
            self.replay.push(&obs, &actions, &goal);
        }
        Ok(hits / self.batch.envs as f64)
    }

    /// Draws a minibatch of relabelled transitions.
    fn draw(&mut self) -> Transitions {
        let (replay, rng) = (&self.replay, &mut self.rng);
        let relabel = self.config.hindsight / (self.config.hindsight + 1.0);
        let mut out = Transitions::default();
        let mut code = vec![0.0; replay.widths[2]];
        for _ in 0..self.config.minibatch {
            let episode = rng.random_range(0..replay.len());
            let t = rng.random_range(0..replay.steps);
            let goal: Vec<f64> = if rng.random_bool(relabel) {
                let later = rng.random_range(t + 1..=replay.steps);
                replay.obs(episode, later)[..REACHED].iter().map(|&x| f64::from(x)).collect()
            } else {
                replay.goal(episode).to_vec()
            };
            goal_code(&self.space, &goal, &mut code);
            let next = replay.obs(episode, t + 1);
            let reached = is_reached(next, &goal, self.config.tolerance_m);
            out.obs.extend_from_slice(replay.obs(episode, t));
            out.next_obs.extend_from_slice(next);
            out.actions.extend_from_slice(replay.action(episode, t));
            out.codes.extend_from_slice(&code);
            out.rewards.push(if reached { 0.0 } else { -1.0 });
        }
        out
    }

    /// One minibatch: critic, actor, targets. Returns the critic's loss and the mean value of the
    /// actor's actions.
    fn improve(&mut self) -> Result<(f64, f64), PpoError> {
        let drawn = self.draw();
        let frozen = self.normaliser.frozen();
        let (mut obs, mut next_obs) = (vec![], vec![]);
        self.normaliser.apply(&frozen, &drawn.obs, &mut obs);
        self.normaliser.apply(&frozen, &drawn.next_obs, &mut next_obs);
        let [s, a, g] = self.replay.widths;
        let n = drawn.rewards.len();
        let (config, passes) = (&self.config, &mut self.passes);

        // y = clip(r + γ Q'(s', g, μ'(s', g)), −1/(1−γ), 0)
        let mut actions = vec![0.0; n * a];
        passes.actor.load(&self.target_actor, &next_obs)?;
        passes.actor.mean(&self.target_actor, &drawn.codes, &mut actions)?;
        let mut targets = vec![0.0; n];
        passes.critic.forward(
            &self.target_critic,
            &self.replay.input(&next_obs, &drawn.codes, &actions),
            &mut targets,
        )?;
        let lowest = -1.0 / (1.0 - config.gamma);
        for (y, r) in targets.iter_mut().zip(&drawn.rewards) {
            *y = (r + config.gamma * *y).clamp(lowest, 0.0);
        }
        let critic_input = self.replay.input(&obs, &drawn.codes, &drawn.actions);
        passes.critic_grad.fill(0.0);
        let grad = &mut passes.critic_grad;
        let loss = passes.critic.squared_error(&self.critic, &critic_input, &targets, 1.0, grad)?;
        self.critic_adam.step(&mut self.critic.params, grad, config.learning_rate, 1.0)?;

        // −dQ/da + 2 c a, through the actor
        passes.actor.load(&self.actor, &obs)?;
        passes.actor.mean(&self.actor, &drawn.codes, &mut actions)?;
        let actor_input = self.replay.input(&obs, &drawn.codes, &actions);
        let mut values = vec![0.0; n];
        passes.critic.forward(&self.critic, &actor_input, &mut values)?;
        let d_values = vec![-1.0 / n as f32; n];
        let mut d_input = vec![0.0; n * (s + g + a)];
        passes.critic_grad.fill(0.0);
        let grad = &mut passes.critic_grad;
        passes.critic.backward(&self.critic, &actor_input, &d_values, grad, Some(&mut d_input))?;
        let mut d_actions = Vec::with_capacity(n * a);
        for (d, action) in d_input.chunks_exact(s + g + a).zip(actions.chunks_exact(a)) {
            let cost = 2.0 * config.action_cost / n as f32;
            d_actions.extend(d[s + g..].iter().zip(action).map(|(d, a)| d + cost * a));
        }
        passes.actor_grad.fill(0.0);
        let grad = &mut passes.actor_grad;
        passes.actor.take_back(&self.actor, &drawn.codes, &d_actions, grad)?;
        self.actor_adam.step(&mut self.actor.params, grad, config.learning_rate, 1.0)?;

        let follow = |to: &mut [f32], from: &[f32]| {
            to.iter_mut().zip(from).for_each(|(t, f)| *t += config.target_rate * (f - *t));
        };
        follow(&mut self.target_actor.params, &self.actor.params);
        follow(&mut self.target_critic.params, &self.critic.params);
        let value = values.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64;
        Ok((f64::from(loss), value))
    }
}

/// What a policy file needs to know.
pub(crate) fn setup(space: &GoalSpace, hidden: usize, seed: u64) -> PpoSetup {
    let latent = LatentKind::Gaussian(space.dims());
    PpoSetup {
        latent,
        hidden: vec![hidden; 2],
        mean_scale: MeanScale::Tanh(1.0),
        seed,
        ..PpoSetup::default()
    }
}

/// Whether the position at the front of an observation is within the tolerance of a goal.
fn is_reached(obs: &[f32], goal: &[f64], tolerance_m: f64) -> bool {
    let square: f64 = obs.iter().zip(goal).map(|(&x, g)| (f64::from(x) - g).powi(2)).sum();
    square.sqrt() < tolerance_m
}

/// The inverse of [`goal_code`].
fn goal_of_code(space: &GoalSpace, code: &[f32], goal: &mut [f64]) {
    for (((g, &c), &low), &high) in goal.iter_mut().zip(code).zip(&space.low).zip(&space.high) {
        *g = 0.5 * (low + high + f64::from(c) * (high - low));
    }
}

impl Checkpoint for Ddpg {
    fn save(&self, to: &mut Snapshot) {
        for (name, params) in [
            ("actor", &self.actor.params),
            ("critic", &self.critic.params),
            ("target_actor", &self.target_actor.params),
            ("target_critic", &self.target_critic.params),
        ] {
            to.f32s(name, &[params.len()], params);
        }
        for (name, adam) in [("actor", &self.actor_adam), ("critic", &self.critic_adam)] {
            to.f32s(&format!("{name}.adam.m"), &[adam.m.len()], &adam.m);
            to.f32s(&format!("{name}.adam.v"), &[adam.v.len()], &adam.v);
            to.state(&format!("{name}.adam.steps"), &adam.steps);
        }
        to.nest("normaliser", &self.normaliser);
        to.f32s("replay.obs", &[self.replay.obs.len()], &self.replay.obs);
        to.f32s("replay.actions", &[self.replay.actions.len()], &self.replay.actions);
        to.f64s("replay.goals", &[self.replay.goals.len()], &self.replay.goals);
        to.state("replay.next", &self.replay.next);
        to.state("rng", &self.rng);
        to.state("steps", &self.steps);
        to.state("iterations", &self.iterations);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_f32s("actor", &mut self.actor.params)?;
        from.read_f32s("critic", &mut self.critic.params)?;
        from.read_f32s("target_actor", &mut self.target_actor.params)?;
        from.read_f32s("target_critic", &mut self.target_critic.params)?;
        let adams = [("actor", &mut self.actor_adam), ("critic", &mut self.critic_adam)];
        for (name, adam) in adams {
            from.read_f32s(&format!("{name}.adam.m"), &mut adam.m)?;
            from.read_f32s(&format!("{name}.adam.v"), &mut adam.v)?;
            adam.steps = from.read_state(&format!("{name}.adam.steps"))?;
        }
        from.read_nested("normaliser", &mut self.normaliser)?;
        self.replay.obs = from.get_f32s("replay.obs")?;
        self.replay.actions = from.get_f32s("replay.actions")?;
        self.replay.goals = from.get_f64s("replay.goals")?;
        self.replay.next = from.read_state("replay.next")?;
        self.rng = from.read_state("rng")?;
        self.steps = from.read_state("steps")?;
        self.iterations = from.read_state("iterations")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use sog_sim::tasks::TaskOptions;

    use super::*;

    fn learner(seed: u64) -> Ddpg {
        let maker = TaskMaker::new("fetchreach", &TaskOptions::default()).unwrap();
        let config = DdpgConfig { envs: 4, updates: 40, capacity: 6, ..DdpgConfig::default() };
        Ddpg::new(&maker, &config, 64, seed).unwrap().unwrap()
    }

    fn snapshot(learner: &Ddpg) -> Vec<u8> {
        let mut snapshot = Snapshot::new();
        learner.save(&mut snapshot);
        snapshot.to_bytes()
    }

    #[test]
    fn it_reaches_goals_after_a_few_episodes() {
        let mut ddpg = learner(1);
        ddpg.config.capacity = 1000;
        ddpg.replay.capacity = 1000;
        let hits: Vec<f64> = (0..30).map(|_| ddpg.iterate().unwrap().hit_rate).collect();
        // Every fourth iteration explores at random.
        let late: Vec<f64> = (20..30).filter(|i| i % 4 != 0).map(|i| hits[i]).collect();
        let mean = late.iter().sum::<f64>() / late.len() as f64;
        assert!(mean > 0.7, "{hits:?}");
    }

    #[test]
    fn a_resumed_learner_goes_on_bit_for_bit() {
        let mut whole = learner(2);
        // More episodes than are kept, so that the oldest are overwritten.
        whole.iterate().unwrap();
        whole.iterate().unwrap();
        assert_eq!(whole.replay.len(), 6);
        let mut resumed = learner(2);
        resumed.load(&Snapshot::parse(&snapshot(&whole)).unwrap()).unwrap();
        whole.iterate().unwrap();
        resumed.iterate().unwrap();
        assert_eq!(snapshot(&whole), snapshot(&resumed));
    }

    #[test]
    fn relabelled_goals_are_reached_later_in_the_same_episode() {
        let mut ddpg = learner(3);
        ddpg.collect().unwrap();
        ddpg.config.hindsight = 1e6;
        ddpg.config.minibatch = 200;
        let drawn = ddpg.draw();
        assert!(drawn.rewards.iter().all(|r| *r == 0.0 || *r == -1.0));
        assert!(drawn.rewards.iter().filter(|r| **r == 0.0).count() > 20);
        let mut goal = vec![0.0; 3];
        for (code, next) in drawn.codes.chunks_exact(3).zip(drawn.next_obs.chunks_exact(10)) {
            goal_of_code(&ddpg.space, code, &mut goal);
            let own = (0..ddpg.replay.len()).find(|&e| {
                let states = (0..=ddpg.replay.steps).map(|t| ddpg.replay.obs(e, t));
                let holds_next = states.clone().any(|o| o == next);
                let holds_goal = states.clone().any(|o| is_reached(o, &goal, 1e-6));
                holds_next && holds_goal
            });
            assert!(own.is_some());
        }
    }
}
