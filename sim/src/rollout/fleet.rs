//! Environments that run on from segment to segment, for learning.

use rand::RngExt;
use rayon::prelude::*;

use super::{
    Actor, Batch, Ended, Noise,
    batch::Record,
    group_size,
    member::{Lanes, Member, check_actor},
};
use crate::{
    error::SimError,
    seed::{self, Rng},
    tasks::TaskMaker,
};

/// How a fleet is built.
#[derive(Clone, Debug, PartialEq)]
pub struct FleetConfig {
    /// Number of environments n.
    pub envs: usize,
    /// Width Z of the code; 0 without one.
    pub latent_dim: usize,
    /// Goals M that each environment rewards at once (continuous tasks only).
    pub goals: usize,
    /// Steps of an episode, instead of the task's horizon.
    pub horizon: Option<usize>,
    /// Probability that an episode that ran out of time is followed by one that starts where it
    /// ended, with a code and goals of its own, instead of from a reset.
    pub carry_over: f64,
    /// Probability that a step is the last of its episode, before the horizon: the episode then ran
    /// out of time. With [`carry_over`](Self::carry_over) codes change in all states that an episode
    /// passes, those shortly after its start among them, and not at its end alone.
    pub cut: f64,
    /// Probability that a step of a perturbed environment gets a uniform action instead of the
    /// actor's (paper, B.2). The batch records the actor's: to it, this is the world.
    pub perturb: f64,
    /// The first this many environments are perturbed.
    pub perturbed: usize,
    /// Seed of everything drawn here.
    pub seed: u64,
}

impl Default for FleetConfig {
    fn default() -> Self {
        Self {
            envs: 8,
            latent_dim: 0,
            goals: 1,
            horizon: None,
            carry_over: 0.0,
            cut: 0.0,
            perturb: 0.0,
            perturbed: 0,
            seed: 0,
        }
    }
}

/// An episode about to start: what a rule may look at and what it decides.
pub struct EpisodeStart<'a> {
    /// Environment.
    pub env: usize,
    /// Number of the episode in this environment, from 0.
    pub episode: u64,
    /// Draws from the episode's own stream.
    pub rng: &'a mut Rng,
    /// `[Z]`: code of the episode; holds the last episode's.
    pub code: &'a mut [f32],
    /// `[M, dims]`: goals of the episode; holds the last episode's. Empty for discrete modes.
    pub goals: &'a mut [f64],
}

/// Decides code and goals of each episode.
type Rule<'a> = &'a (dyn Fn(&mut EpisodeStart<'_>) + Sync);

/// How episodes start and end.
struct Rules<'a> {
    start: Rule<'a>,
    horizon: usize,
    carry_over: f64,
    cut: f64,
}

impl Rules<'_> {
    /// Whether the member's episode is out of time.
    fn out_of_time(&self, member: &mut Member) -> bool {
        member.step >= self.horizon || (self.cut > 0.0 && member.rng.random_bool(self.cut))
    }
}

/// Environments that run on from segment to segment.
pub struct Fleet {
    maker: TaskMaker,
    horizon: usize,
    carry_over: f64,
    cut: f64,
    latent_dim: usize,
    crew: Vec<Runner>,
}

/// An environment of the fleet and where it is in its row of episodes.
struct Runner {
    env: usize,
    seed: u64,
    /// Episodes begun; 0 before the first segment.
    begun: u64,
    member: Member,
}

impl Runner {
    /// Begins the next episode; with probability `carry_over` where the last one ended.
    fn begin_episode(&mut self, rule: Rule<'_>, carry_over: f64) -> Result<(), SimError> {
        let seed = seed::derive(self.seed, self.begun);
        let member = &mut self.member;
        member.seed(seed);
        let carried = carry_over > 0.0 && member.rng.random_bool(carry_over);
        rule(&mut EpisodeStart {
            env: self.env,
            episode: self.begun,
            rng: &mut member.rng,
            code: &mut member.code,
            goals: &mut member.goals,
        });
        self.begun += 1;
        if carried { member.carry_over() } else { member.start(seed) }
    }
}

impl Fleet {
    /// Builds the environments.
    ///
    /// # Errors
    /// As [`TaskMaker::make`].
    pub fn new(maker: &TaskMaker, config: &FleetConfig) -> Result<Self, SimError> {
        let runner = |env: usize| {
            let seed = seed::derive(config.seed, env as u64);
            let mut member = Member::new(maker, config.latent_dim, config.goals)?;
            member.perturb = if env < config.perturbed { config.perturb } else { 0.0 };
            Ok(Runner { env, seed, begun: 0, member })
        };
        Ok(Self {
            maker: maker.clone(),
            horizon: config.horizon.unwrap_or(maker.info().horizon),
            carry_over: config.carry_over,
            cut: config.cut,
            latent_dim: config.latent_dim,
            crew: (0..config.envs).map(runner).collect::<Result<_, SimError>>()?,
        })
    }

    /// Buffers for segments of `steps` steps.
    pub fn batch(&self, steps: usize) -> Batch {
        let info = self.maker.info();
        let m = self.crew.first().map_or(0, |r| r.member.rewards.len());
        Batch::new(self.crew.len(), steps, [info.obs_dim(), self.latent_dim, info.action_dim(), m])
    }

    /// Abandons all episodes; the next segment starts new ones from `seed`.
    pub fn restart(&mut self, seed: u64) {
        (0..self.crew.len()).for_each(|env| self.restart_env(env, seed));
    }

    /// Abandons the episode of one environment; its next segment starts a new one from `seed`.
    ///
    /// # Panics
    /// If there is no such environment.
    pub fn restart_env(&mut self, env: usize, seed: u64) {
        let runner = &mut self.crew[env];
        (runner.seed, runner.begun) = (seed::derive(seed, env as u64), 0);
    }

    /// Runs every environment for one segment and records it. Episodes start as `rule` says when
    /// the last one has ended, in failure or at the horizon, from a reset or, as
    /// [`FleetConfig::carry_over`] has it, where the last one ended.
    ///
    /// # Errors
    /// [`SimError::Width`] if the actor or the batch does not fit, [`SimError::NotFinite`] if the
    /// actor's action is not finite (the environments are then to be [restarted](Self::restart)).
    pub fn run<A: Actor + ?Sized>(
        &mut self,
        actor: &A,
        noise: Noise<'_>,
        rule: Rule<'_>,
        batch: &mut Batch,
    ) -> Result<(), SimError> {
        check_actor(actor, &self.maker, self.latent_dim)?;
        let info = self.maker.info();
        let rows = batch.rows() * info.obs_dim();
        crate::checks::check_width(info.name(), "batch environments", batch.envs, self.crew.len())?;
        crate::checks::check_width(info.name(), "batch observations", batch.obs.len(), rows)?;
        let (steps, group) = (batch.steps, group_size(self.crew.len()));
        let (horizon, carry_over, cut) = (self.horizon, self.carry_over, self.cut);
        let rules = Rules { start: rule, horizon, carry_over, cut };
        let mut records = batch.records();
        let results: Vec<Result<(), SimError>> = self
            .crew
            .par_chunks_mut(group)
            .zip(records.par_chunks_mut(group))
            .map(|(crew, records)| {
                let mut lanes = Lanes::new(actor, noise, crew.len());
                run_group(crew, records, &mut lanes, &rules, steps)
            })
            .collect();
        results.into_iter().collect()
    }
}

/// Steps one thread's environments through the whole segment.
fn run_group(
    crew: &mut [Runner],
    records: &mut [Record<'_>],
    lanes: &mut Lanes<'_>,
    rules: &Rules<'_>,
    steps: usize,
) -> Result<(), SimError> {
    for runner in crew.iter_mut().filter(|r| r.begun == 0) {
        runner.begin_episode(rules.start, 0.0)?;
    }
    for t in 0..steps {
        for (lane, runner) in crew.iter().enumerate() {
            lanes.load(lane, &runner.member);
        }
        lanes.infer(crew.len());
        for (lane, (runner, record)) in crew.iter_mut().zip(records.iter_mut()).enumerate() {
            let step = lanes.step(lane, &mut runner.member)?;
            let ended = match step.terminated {
                true => Ended::Failed,
                false if rules.out_of_time(&mut runner.member) => Ended::TimeLimit,
                false => Ended::No,
            };
            record.step(t, lanes, lane, &runner.member, ended);
            if ended != Ended::No {
                record.end(t, lanes, &runner.member);
                let carry_over = if ended == Ended::TimeLimit { rules.carry_over } else { 0.0 };
                runner.begin_episode(rules.start, carry_over)?;
            }
        }
    }
    for (runner, record) in crew.iter().zip(records) {
        lanes.observe(&runner.member, record.last_obs);
        record.last_code.copy_from_slice(&runner.member.code);
    }
    Ok(())
}
