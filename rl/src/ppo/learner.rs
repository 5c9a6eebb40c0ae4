//! The learner: networks, optimisers, normalisers, environments, and one iteration of PPO.

use std::time::Instant;

use rand::seq::SliceRandom;
use sog_engine::{
    EngineError,
    adam::AdamConfig,
    gae::{self, StepEnd, explained_variance, gae},
    mlp::{MlpPass, Part},
    moments::ReturnScale,
    net::{Init, Mlp, MlpArch},
    ppo::{ActorCritic, Ppo as Update, PpoBatch, PpoStats, log_probs},
    shard::Parallelism,
};
use sog_runtime::policy::{Policy, PolicyFile};
use sog_sim::{
    rollout::{Batch, Ended, EpisodeStart, Fleet, FleetConfig, Noise},
    seed::{self, Rng},
    task::TaskInfo,
    tasks::TaskMaker,
};

use super::{
    Diagnostics, Hooks, ObsNormaliser, PpoConfig, PpoError, PpoSetup, Updates,
    convert::{self, initial_policy},
};
use crate::run::{Checkpoint, Snapshot, SnapshotError};

/// Streams of the seed; [`initial_policy`] has stream 0.
const VALUE_STREAM: u64 = 1;
const SHUFFLE_STREAM: u64 = 2;
const FLEET_STREAM: u64 = 3;
const RESTART_STREAM: u64 = 4;

/// Rewards are bounded after scaling.
const REWARD_BOUND: f32 = 10.0;

/// A policy that learns in its environments.
pub struct Ppo {
    config: PpoConfig,
    setup: PpoSetup,
    info: TaskInfo,
    /// Policy (on normalised observations, in units of `action_scale`) and value network.
    nets: ActorCritic,
    normaliser: ObsNormaliser,
    return_scale: ReturnScale,
    shuffle: Rng,
    fleet: Fleet,
    batch: Batch,
    rows: Rows,
    /// Returns so far of the present episodes, in the hook's reward.
    episode_sums: Vec<f64>,
    updates: Box<dyn Updates>,
    value_pass: MlpPass,
    steps: u64,
    iterations: u64,
}

/// What is computed from a batch. S observation, A action.
#[derive(Default)]
struct Rows {
    /// `[rows, S]`: normalised observations.
    obs: Vec<f32>,
    /// `[rows, A]`: actions in the policy's units.
    actions: Vec<f32>,
    /// `[rows]`: log-probability of the action when it was taken.
    log_probs: Vec<f32>,
    /// `[rows]`: scaled rewards.
    rewards: Vec<f32>,
    /// `[rows]`: values before the update.
    values: Vec<f32>,
    /// `[rows]`: generalised advantages.
    advantages: Vec<f32>,
    /// `[rows]`: advantages + values.
    targets: Vec<f32>,
}

impl Ppo {
    /// A new learner with random networks.
    ///
    /// # Errors
    /// [`PpoError::UnknownTerm`]; [`PpoError::Sim`] if the environments cannot be built.
    pub fn new(maker: &TaskMaker, config: &PpoConfig, setup: &PpoSetup) -> Result<Self, PpoError> {
        let info = maker.info().clone();
        let latent = setup.latent.width();
        let (policy, hidden) = initial_policy(&info, setup)?;
        let arch = MlpArch::value(info.obs_dim() + latent);
        let init = Init { last_gain: 1.0, ..Init::default() };
        let critic = Mlp::new(arch, init, &mut seed::stream(setup.seed, VALUE_STREAM))?;
        let fleet = FleetConfig {
            envs: config.envs,
            latent_dim: latent,
            carry_over: config.carry_over,
            cut: config.cut,
            perturb: config.perturb,
            perturbed: config.perturbed_envs(),
            seed: seed::derive(setup.seed, FLEET_STREAM),
            ..FleetConfig::default()
        };
        let fleet = Fleet::new(maker, &fleet)?;
        Ok(Self {
            updates: Box::new(
                Update::new(policy.arch(), critic.arch())?.with_parallelism(Parallelism::Rayon),
            ),
            value_pass: MlpPass::new(critic.arch()).with_parallelism(Parallelism::Rayon),
            nets: ActorCritic::new(
                policy,
                critic,
                AdamConfig { eps: 1e-5, ..AdamConfig::default() },
            ),
            normaliser: ObsNormaliser::new(hidden),
            return_scale: ReturnScale::new(config.envs, config.gamma.into()),
            shuffle: seed::stream(setup.seed, SHUFFLE_STREAM),
            batch: fleet.batch(config.steps),
            fleet,
            rows: Rows::default(),
            episode_sums: vec![0.0; config.envs],
            steps: 0,
            iterations: 0,
            info,
            config: config.clone(),
            setup: setup.clone(),
        })
    }

    /// The same with its minibatch updates computed by `updates` instead of the engine.
    pub fn with_updates(self, updates: Box<dyn Updates>) -> Self {
        Self { updates, ..self }
    }

    /// What [`policy_file`](Self::policy_file) gives before the first iteration, without building
    /// environments.
    ///
    /// # Errors
    /// [`PpoError::UnknownTerm`], [`PpoError::Engine`].
    pub fn untrained(info: &TaskInfo, setup: &PpoSetup) -> Result<PolicyFile, PpoError> {
        let (policy, hidden) = initial_policy(info, setup)?;
        Ok(convert::policy_file(info, setup, &policy, &ObsNormaliser::new(hidden)))
    }

    /// Environment steps so far.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Iterations so far.
    pub fn iterations(&self) -> u64 {
        self.iterations
    }

    /// The batch that the last iteration collected.
    pub fn batch(&self) -> &Batch {
        &self.batch
    }

    /// The present policy as a policy file, not [sealed](PolicyFile::seal).
    pub fn policy_file(&self) -> PolicyFile {
        convert::policy_file(&self.info, &self.setup, &self.nets.policy, &self.normaliser)
    }

    /// Starts from another policy: its weights and, as if from `observations` observations, its
    /// normaliser. `log_std`, if given, replaces its log standard deviations `[A]`, in units of
    /// the action scale.
    ///
    /// # Errors
    /// [`PpoError::Engine`] if the shapes differ.
    pub fn start_from(
        &mut self,
        other: &PolicyFile,
        log_std: Option<&[f32]>,
        observations: u64,
    ) -> Result<(), PpoError> {
        convert::read_policy(other, &self.setup, &mut self.nets.policy)?;
        if let Some(log_std) = log_std {
            self.nets.policy.log_std_mut().copy_from_slice(log_std);
        }
        let hidden = convert::hidden_components(&self.info, &self.setup.hide)?;
        self.normaliser = ObsNormaliser::from_frozen(&other.normaliser, hidden, observations);
        Ok(())
    }

    /// One iteration: collect, judge, improve, adapt.
    ///
    /// # Errors
    /// [`PpoError`].
    pub fn iterate(&mut self, hooks: &mut dyn Hooks) -> Result<Diagnostics, PpoError> {
        let mut diagnostics = Diagnostics::default();
        let begin = Instant::now();
        if self.normaliser.is_empty() {
            // A first segment is for the normaliser alone: without it inputs have any scale.
            self.collect(hooks)?;
            self.normaliser.update(&self.batch.obs);
        }
        self.collect(hooks)?;
        diagnostics.collect_s = begin.elapsed().as_secs_f64();
        let begin = Instant::now();
        self.judge(hooks, &mut diagnostics)?;
        let frozen = (self.iterations < self.setup.critic_warmup)
            .then(|| (self.nets.policy.clone(), self.nets.policy_adam.clone()));
        self.improve(hooks, &mut diagnostics)?;
        if let Some((policy, adam)) = frozen {
            (self.nets.policy, self.nets.policy_adam) = (policy, adam);
        }
        if self.config.adapt_normaliser {
            self.normaliser.update(&self.batch.obs);
        }
        self.iterations += 1;
        self.restart_some();
        diagnostics.update_s = begin.elapsed().as_secs_f64();
        Ok(diagnostics)
    }

    /// Makes all environments begin new episodes, so that the state between iterations is what a
    /// checkpoint saves and no more. Call it before each checkpoint.
    pub fn restart(&mut self) {
        let seed = seed::derive(self.setup.seed, FLEET_STREAM);
        self.fleet.restart(seed::derive(seed, self.iterations));
        self.episode_sums.fill(0.0);
    }

    /// Makes the next few environments in turn begin new episodes.
    fn restart_some(&mut self) {
        let (envs, count) = (self.config.envs, self.config.restart_envs);
        let seed = seed::derive(self.setup.seed, RESTART_STREAM);
        let seed = seed::derive(seed, self.iterations);
        for i in 0..count {
            let env = (self.iterations as usize * count + i) % envs;
            self.fleet.restart_env(env, seed);
            self.episode_sums[env] = 0.0;
            self.return_scale.restart(env);
        }
    }

    /// Runs the policy for one segment.
    fn collect(&mut self, hooks: &dyn Hooks) -> Result<(), PpoError> {
        let actor = Policy::new(&self.policy_file());
        let scale = self.setup.action_scale;
        let std: Vec<f32> = self.nets.policy.log_std().iter().map(|l| scale * l.exp()).collect();
        let rule = |start: &mut EpisodeStart<'_>| hooks.begin_episode(start);
        self.fleet.run(&actor, Noise::Gaussian(&std), &rule, &mut self.batch)?;
        self.steps += self.batch.rows() as u64;
        Ok(())
    }

    /// Rewards, values and advantages of the batch.
    fn judge(&mut self, hooks: &mut dyn Hooks, d: &mut Diagnostics) -> Result<(), PpoError> {
        let (batch, rows) = (&self.batch, &mut self.rows);
        let frozen = self.normaliser.frozen();
        self.normaliser.apply(&frozen, &batch.obs, &mut rows.obs);
        for buffer in [
            &mut rows.rewards,
            &mut rows.values,
            &mut rows.log_probs,
            &mut rows.advantages,
            &mut rows.targets,
        ] {
            buffer.resize(batch.rows(), 0.0);
        }

        hooks.rewards(batch, &rows.obs, &mut rows.rewards).map_err(PpoError::Hook)?;
        d.describe_rollout(batch, &rows.rewards, &mut self.episode_sums);
        if self.config.scale_rewards {
            scale_rewards(&mut self.return_scale, batch, &mut rows.rewards)?;
        }

        let unit = 1.0 / self.setup.action_scale;
        let in_units = |x: &[f32]| -> Vec<f32> { x.iter().map(|a| a * unit).collect() };
        rows.actions = in_units(&batch.actions);
        let log_std = self.nets.policy.log_std();
        log_probs(&in_units(&batch.means), log_std, &rows.actions, &mut rows.log_probs)?;

        let (s, z) = (self.info.obs_dim(), self.setup.latent.width());
        let (critic, pass) = (&self.nets.critic, &mut self.value_pass);
        let mut values = |obs: &[f32], codes: &[f32], out: &mut [f32]| {
            let parts = [Part { data: obs, width: s }, Part { data: codes, width: z }];
            pass.forward(critic, &parts, out)
        };
        values(&rows.obs, &batch.codes, &mut rows.values)?;
        let mut obs = Vec::new();
        let mut last_values = vec![0.0; batch.envs];
        self.normaliser.apply(&frozen, &batch.last_obs, &mut obs);
        values(&obs, &batch.last_codes, &mut last_values)?;
        // An episode that ran out of time would have gone on: its last state has a value.
        let mut final_values = vec![0.0; batch.rows()];
        for end in batch.episodes().filter(|e| e.ended == Ended::TimeLimit) {
            let row = end.env * batch.steps + end.t;
            self.normaliser.apply(&frozen, end.obs, &mut obs);
            values(&obs, end.code, &mut final_values[row..=row])?;
        }
        advantages(&self.config, batch, rows, &final_values, &last_values)?;
        d.explained_variance = explained_variance(&rows.values, &rows.targets);
        Ok(())
    }

    /// Epochs of minibatches.
    fn improve(&mut self, hooks: &mut dyn Hooks, d: &mut Diagnostics) -> Result<(), PpoError> {
        let config = &self.config;
        let (steps, total) = (self.steps, self.setup.total_steps);
        let lr = config.learning_rate_at(steps, total);
        let settings = config.update_at(steps, total, self.setup.log_std);
        let mut order: Vec<usize> = (0..self.batch.rows()).collect();
        let mut minibatch = Minibatch::default();
        let mut stats: Vec<Vec<PpoStats>> = Vec::new();
        'epochs: for _ in 0..config.epochs {
            order.shuffle(&mut self.shuffle);
            stats.push(Vec::new());
            for chosen in order.chunks(config.minibatch) {
                minibatch.gather(&self.rows, &self.batch.codes, chosen);
                let sog = hooks.sog_term().map_err(PpoError::Hook)?;
                let batch = minibatch.borrow();
                let step = self.updates.update(&mut self.nets, &settings, lr, batch, sog);
                let step = step.map_err(PpoError::Hook)?;
                if !step.grad_norm.is_finite() {
                    return Err(PpoError::Diverged { norm: step.grad_norm, steps: self.steps });
                }
                stats.last_mut().expect("pushed above").push(step);
                if config.target_kl > 0.0 && step.approx_kl > config.target_kl {
                    break 'epochs;
                }
            }
        }
        self.updates.finish(&mut self.nets).map_err(PpoError::Hook)?;
        d.describe_update(&stats, self.nets.policy.log_std());
        d.learning_rate = lr.into();
        Ok(())
    }
}

/// Takes the rewards `[n, T]` into the running scale, step by step, and then scales them.
fn scale_rewards(
    scale: &mut ReturnScale,
    batch: &Batch,
    rewards: &mut [f32],
) -> Result<(), EngineError> {
    let (mut step, mut ended) = (vec![0.0; batch.envs], vec![false; batch.envs]);
    for t in 0..batch.steps {
        for env in 0..batch.envs {
            step[env] = rewards[env * batch.steps + t];
            ended[env] = batch.ended[env * batch.steps + t] != Ended::No;
        }
        scale.update(&step, &ended)?;
    }
    let factor = scale.scale();
    rewards.iter_mut().for_each(|r| *r = (*r * factor).clamp(-REWARD_BOUND, REWARD_BOUND));
    Ok(())
}

/// GAE(λ), environment by environment, as a batch is laid out.
fn advantages(
    config: &PpoConfig,
    batch: &Batch,
    rows: &mut Rows,
    final_values: &[f32],
    last_values: &[f32],
) -> Result<(), EngineError> {
    let end = |ended: &Ended| match ended {
        Ended::No => StepEnd::Continues,
        Ended::Failed => StepEnd::Failed,
        Ended::TimeLimit => StepEnd::TimeLimit,
    };
    let ends: Vec<StepEnd> = batch.ended.iter().map(end).collect();
    for env in 0..batch.envs {
        let own = env * batch.steps..(env + 1) * batch.steps;
        let rollout = gae::Rollout {
            envs: 1,
            rewards: &rows.rewards[own.clone()],
            values: &rows.values[own.clone()],
            ends: &ends[own.clone()],
            final_values: &final_values[own.clone()],
            last_values: &last_values[env..=env],
        };
        let (advantages, targets) =
            (&mut rows.advantages[own.clone()], &mut rows.targets[own.clone()]);
        gae(rollout, config.gamma, config.lambda, advantages, targets)?;
    }
    Ok(())
}

/// The rows of one minibatch, side by side.
#[derive(Default)]
struct Minibatch {
    obs: Vec<f32>,
    codes: Vec<f32>,
    actions: Vec<f32>,
    log_probs: Vec<f32>,
    advantages: Vec<f32>,
    targets: Vec<f32>,
    values: Vec<f32>,
}

impl Minibatch {
    /// Copies the chosen rows and normalises their advantages.
    fn gather(&mut self, rows: &Rows, codes: &[f32], chosen: &[usize]) {
        let n = rows.values.len();
        let copy = |to: &mut Vec<f32>, from: &[f32]| {
            let width = from.len() / n;
            to.clear();
            chosen.iter().for_each(|&r| to.extend_from_slice(&from[r * width..(r + 1) * width]));
        };
        copy(&mut self.obs, &rows.obs);
        copy(&mut self.codes, codes);
        copy(&mut self.actions, &rows.actions);
        copy(&mut self.log_probs, &rows.log_probs);
        copy(&mut self.advantages, &rows.advantages);
        copy(&mut self.targets, &rows.targets);
        copy(&mut self.values, &rows.values);
        gae::normalise(&mut self.advantages);
    }

    fn borrow(&self) -> PpoBatch<'_> {
        PpoBatch {
            obs: &self.obs,
            latents: &self.codes,
            actions: &self.actions,
            log_probs: &self.log_probs,
            advantages: &self.advantages,
            targets: &self.targets,
            values: &self.values,
        }
    }
}

impl Checkpoint for Ppo {
    fn save(&self, to: &mut Snapshot) {
        let ActorCritic { policy, critic, policy_adam, critic_adam } = &self.nets;
        for (name, params, adam) in
            [("policy", &policy.params, policy_adam), ("critic", &critic.params, critic_adam)]
        {
            to.f32s(name, &[params.len()], params);
            to.f32s(&format!("{name}.adam.m"), &[adam.m.len()], &adam.m);
            to.f32s(&format!("{name}.adam.v"), &[adam.v.len()], &adam.v);
            to.state(&format!("{name}.adam.steps"), &adam.steps);
        }
        to.nest("normaliser", &self.normaliser);
        to.state("return_scale", &self.return_scale);
        to.state("shuffle", &self.shuffle);
        to.state("steps", &self.steps);
        to.state("iterations", &self.iterations);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        let ActorCritic { policy, critic, policy_adam, critic_adam } = &mut self.nets;
        for (name, params, adam) in [
            ("policy", &mut policy.params, policy_adam),
            ("critic", &mut critic.params, critic_adam),
        ] {
            from.read_f32s(name, params)?;
            from.read_f32s(&format!("{name}.adam.m"), &mut adam.m)?;
            from.read_f32s(&format!("{name}.adam.v"), &mut adam.v)?;
            adam.steps = from.read_state(&format!("{name}.adam.steps"))?;
        }
        from.read_nested("normaliser", &mut self.normaliser)?;
        self.return_scale = from.read_state("return_scale")?;
        self.shuffle = from.read_state("shuffle")?;
        self.steps = from.read_state("steps")?;
        self.iterations = from.read_state("iterations")?;
        self.restart();
        Ok(())
    }
}
