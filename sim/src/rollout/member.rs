//! One environment with its code, goals and streams, and the lanes that step several at once.

use super::{Actor, ActorWorker, Noise, actor::any_action};
use crate::{
    error::SimError,
    seed::{self, Rng},
    task::{Modes, Step, Task, unit},
    tasks::TaskMaker,
};

/// Streams of an episode's seed.
const RESET_STREAM: u64 = 0;
const ACTION_STREAM: u64 = 1;

/// The seed that an episode's start is drawn from.
pub(crate) fn reset_seed(episode_seed: u64) -> u64 {
    seed::derive(episode_seed, RESET_STREAM)
}

/// One environment.
pub(super) struct Member {
    pub(super) task: Box<dyn Task>,
    /// Code of the present episode, `[Z]`.
    pub(super) code: Vec<f32>,
    /// Goals of the present episode, `[M, dims]`; empty for discrete modes.
    pub(super) goals: Vec<f64>,
    /// Sums of rewards so far, `[M]`.
    pub(super) returns: Vec<f64>,
    /// Rewards of the last step, `[M]`.
    pub(super) rewards: Vec<f64>,
    /// Draws codes, goals and exploration of the present episode.
    pub(super) rng: Rng,
    /// Steps of the present episode so far.
    pub(super) step: usize,
    /// Probability that the robot gets a uniform action instead of what was decided.
    pub(super) perturb: f64,
}

impl Member {
    /// A new environment that rewards `goals` goals (ignored for discrete modes).
    pub(super) fn new(
        maker: &TaskMaker,
        latent_dim: usize,
        goals: usize,
    ) -> Result<Self, SimError> {
        let task = maker.make()?;
        let m = task.reward_count();
        let goals = match &task.info().modes {
            Modes::Discrete(_) => Vec::new(),
            Modes::Continuous(space) => space.default[..space.dims()].repeat(goals.max(1)),
        };
        let mut member = Self {
            task,
            code: vec![0.0; latent_dim],
            goals: Vec::new(),
            returns: vec![0.0; m],
            rewards: vec![0.0; m],
            rng: seed::rng(0),
            step: 0,
            perturb: 0.0,
        };
        if !goals.is_empty() {
            member.set_goals(&goals)?;
        }
        Ok(member)
    }

    /// Sets the goals, `[M, dims]`; their number may change.
    pub(super) fn set_goals(&mut self, goals: &[f64]) -> Result<(), SimError> {
        self.task.set_goals(goals)?;
        self.goals = goals.to_vec();
        self.returns = vec![0.0; self.task.reward_count()];
        self.rewards = self.returns.clone();
        Ok(())
    }

    /// Starts the streams of an episode; code and goals may be drawn from `rng` after this and
    /// before [`start`](Self::start).
    pub(super) fn seed(&mut self, episode_seed: u64) {
        self.rng = seed::stream(episode_seed, ACTION_STREAM);
    }

    /// Starts the episode with the code and goals now set.
    pub(super) fn start(&mut self, episode_seed: u64) -> Result<(), SimError> {
        self.carry_over()?;
        self.task.reset(reset_seed(episode_seed))
    }

    /// Starts the episode with the code and goals now set where the last one ended.
    pub(super) fn carry_over(&mut self) -> Result<(), SimError> {
        if !self.goals.is_empty() {
            self.task.set_goals(&self.goals)?;
        }
        self.returns.fill(0.0);
        self.step = 0;
        Ok(())
    }
}

/// Buffers and the actor's evaluator with which one thread steps up to a few members at once.
pub(super) struct Lanes<'a> {
    worker: Box<dyn ActorWorker + 'a>,
    noise: Noise<'a>,
    dims: [usize; 3],
    obs64: Vec<f64>,
    action64: Vec<f64>,
    obs: Vec<f32>,
    codes: Vec<f32>,
    means: Vec<f32>,
    actions: Vec<f32>,
}

impl<'a> Lanes<'a> {
    pub(super) fn new<A: Actor + ?Sized>(actor: &'a A, noise: Noise<'a>, lanes: usize) -> Self {
        let [s, z, a] = [actor.obs_dim(), actor.latent_dim(), actor.action_dim()];
        Self {
            worker: actor.worker(lanes),
            noise,
            dims: [s, z, a],
            obs64: vec![0.0; s],
            action64: vec![0.0; a],
            obs: vec![0.0; lanes * s],
            codes: vec![0.0; lanes * z],
            means: vec![0.0; lanes * a],
            actions: vec![0.0; lanes * a],
        }
    }

    /// Loads a member's observation and code into a lane.
    pub(super) fn load(&mut self, lane: usize, member: &Member) {
        let [s, z, _] = self.dims;
        let obs = &mut self.obs[lane * s..][..s];
        narrow_observation(&*member.task, &mut self.obs64, obs);
        self.codes[lane * z..][..z].copy_from_slice(&member.code);
    }

    /// Action means of the first `lanes` lanes.
    pub(super) fn infer(&mut self, lanes: usize) {
        let [s, z, a] = self.dims.map(|d| lanes * d);
        self.worker.mean_actions(&self.obs[..s], &self.codes[..z], &mut self.means[..a]);
    }

    /// Steps a lane's member with its mean and the noise.
    pub(super) fn step(&mut self, lane: usize, member: &mut Member) -> Result<Step, SimError> {
        let a = self.dims[2];
        let action = &mut self.actions[lane * a..][..a];
        let mean = &self.means[lane * a..][..a];
        self.noise.apply(member.task.info(), &mut member.rng, mean, action);
        self.action64.iter_mut().zip(&*action).for_each(|(wide, &a)| *wide = f64::from(a));
        if member.perturb > 0.0 && unit(&mut member.rng) < member.perturb {
            let any = any_action(member.task.info(), &mut member.rng);
            self.action64.iter_mut().zip(any).for_each(|(wide, any)| *wide = any);
        }
        let step = member.task.step(&self.action64, &mut member.rewards)?;
        member.returns.iter_mut().zip(&member.rewards).for_each(|(sum, r)| *sum += r);
        member.step += 1;
        Ok(step)
    }

    /// The lane's observation, `[S]`.
    pub(super) fn obs(&self, lane: usize) -> &[f32] {
        &self.obs[lane * self.dims[0]..][..self.dims[0]]
    }

    /// The lane's action mean, `[A]`.
    pub(super) fn mean(&self, lane: usize) -> &[f32] {
        &self.means[lane * self.dims[2]..][..self.dims[2]]
    }

    /// The lane's action, exploration included, `[A]`: what the robot got, unless it was perturbed.
    pub(super) fn action(&self, lane: usize) -> &[f32] {
        &self.actions[lane * self.dims[2]..][..self.dims[2]]
    }

    /// Writes a member's present observation to `out`, `[S]`, past the lanes.
    pub(super) fn observe(&mut self, member: &Member, out: &mut [f32]) {
        narrow_observation(&*member.task, &mut self.obs64, out);
    }
}

/// Writes the observation in single precision to `out`.
fn narrow_observation(task: &dyn Task, wide: &mut [f64], out: &mut [f32]) {
    task.observe(wide);
    out.iter_mut().zip(&*wide).for_each(|(o, &w)| *o = w as f32);
}

/// Refuses an actor that does not fit the task or the code.
pub(super) fn check_actor<A: Actor + ?Sized>(
    actor: &A,
    maker: &TaskMaker,
    latent_dim: usize,
) -> Result<(), SimError> {
    let info = maker.info();
    for (what, found, needed) in [
        ("actor's observation", actor.obs_dim(), info.obs_dim()),
        ("actor's code", actor.latent_dim(), latent_dim),
        ("actor's action", actor.action_dim(), info.action_dim()),
    ] {
        crate::checks::check_width(info.name(), what, found, needed)?;
    }
    Ok(())
}
