//! Whole episodes by plan: evaluation, demonstrations, figures.

use rayon::prelude::*;

use super::{
    Actor, Noise, group_size,
    member::{Lanes, Member, check_actor},
};
use crate::{error::SimError, task::Probe, tasks::TaskMaker};

/// One episode to run.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Seed of all its randomness.
    pub seed: u64,
    /// `[Z]`: code it starts with.
    pub code: Vec<f32>,
    /// Later codes, by step.
    pub switches: Vec<Switch>,
    /// `[M, dims]`: goals to reward (continuous tasks); empty means the task's defaults.
    pub goals: Vec<f64>,
    /// Steps, instead of the task's horizon.
    pub steps: Option<usize>,
}

/// A change of code while an episode runs.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Switch {
    /// The first step under the new code.
    pub step: usize,
    /// `[Z]`: the new code.
    pub code: Vec<f32>,
}

/// How plans are run.
#[derive(Clone, Copy, Default)]
pub struct EvaluateOptions<'a> {
    /// What is done to the action mean; default none.
    pub noise: Option<Noise<'a>>,
    /// What is kept of each step.
    pub capture: Capture,
    /// Called with the number of episodes just finished, from any thread.
    pub progress: Option<&'a (dyn Fn(usize) + Sync)>,
}

/// What is kept of each step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Capture {
    /// Nothing.
    #[default]
    Nothing,
    /// Probes.
    Probes,
    /// Observations, actions, rewards and probes.
    Everything,
}

/// One finished episode. M rewards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Episode {
    /// `[M]`: undiscounted returns.
    pub returns: Vec<f64>,
    /// `[N, M]`: returns up to each of the N switches that came.
    pub switch_returns: Vec<f64>,
    /// Steps taken, T.
    pub steps: usize,
    /// Whether it failed before its time was up.
    pub failed: bool,
    /// `[M]`: whether it ended in success, where the task says what that is.
    pub succeeded: Vec<Option<bool>>,
    /// Where the robot ended.
    pub end: Probe,
    /// What was captured.
    pub trace: Trace,
}

/// Steps of an episode; empty where not captured. Widths: S observation, A action, M rewards.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Trace {
    /// `[T, S]`: raw observations before each step.
    pub obs: Vec<f32>,
    /// `[T, A]`: actions taken.
    pub actions: Vec<f32>,
    /// `[T, M]`: rewards.
    pub rewards: Vec<f64>,
    /// `[T + 1]`: start, and after each step.
    pub probes: Vec<Probe>,
}

/// Runs one episode a plan on all threads of the present rayon pool; episode i is plan i's.
///
/// # Errors
/// [`SimError::Width`] if actor, codes or goals do not fit, [`SimError::NotFinite`] if an action
/// is not finite; as [`TaskMaker::make`].
pub fn evaluate<A: Actor + ?Sized>(
    maker: &TaskMaker,
    actor: &A,
    plans: &[Plan],
    options: &EvaluateOptions<'_>,
) -> Result<Vec<Episode>, SimError> {
    check_actor(actor, maker, actor.latent_dim())?;
    let task = maker.info().name();
    for plan in plans {
        for code in std::iter::once(&plan.code).chain(plan.switches.iter().map(|s| &s.code)) {
            crate::checks::check_width(task, "plan's code", code.len(), actor.latent_dim())?;
        }
    }
    let groups: Vec<Result<Vec<Episode>, SimError>> = plans
        .par_chunks(group_size(plans.len()))
        .map(|plans| run_group(maker, actor, plans, options))
        .collect();
    Ok(groups.into_iter().collect::<Result<Vec<_>, _>>()?.into_iter().flatten().collect())
}

/// An episode under way.
struct Running<'a> {
    plan: &'a Plan,
    member: Member,
    episode: Episode,
    done: bool,
}

impl<'a> Running<'a> {
    fn start(maker: &TaskMaker, plan: &'a Plan, capture: Capture) -> Result<Self, SimError> {
        let mut member = Member::new(maker, plan.code.len(), 1)?;
        let goals = match &maker.info().modes {
            crate::task::Modes::Continuous(space) if plan.goals.is_empty() => &space.default,
            _ => &plan.goals,
        };
        if !goals.is_empty() {
            member.set_goals(goals)?;
        }
        member.code.copy_from_slice(&plan.code);
        member.seed(plan.seed);
        member.start(plan.seed)?;
        let mut episode = Episode::default();
        if capture != Capture::Nothing {
            episode.trace.probes.push(member.task.probe());
        }
        Ok(Self { plan, member, episode, done: false })
    }

    /// Brings the code up to date.
    fn switch(&mut self) {
        let due = self.plan.switches.iter().rfind(|s| s.step == self.member.step);
        if let Some(switch) = due {
            self.member.code.copy_from_slice(&switch.code);
            self.episode.switch_returns.extend_from_slice(&self.member.returns);
        }
    }

    /// Records the step just taken in `lane`.
    fn record(&mut self, lanes: &Lanes<'_>, lane: usize, capture: Capture) {
        let trace = &mut self.episode.trace;
        if capture == Capture::Everything {
            trace.obs.extend_from_slice(lanes.obs(lane));
            trace.actions.extend_from_slice(lanes.action(lane));
            trace.rewards.extend_from_slice(&self.member.rewards);
        }
        if capture != Capture::Nothing {
            trace.probes.push(self.member.task.probe());
        }
    }

    fn finish(&mut self, failed: bool) {
        self.done = true;
        self.episode.failed = failed;
        self.episode.steps = self.member.step;
        self.episode.returns.clone_from(&self.member.returns);
        self.episode.end = self.member.task.probe();
        let succeeded = |reward| self.member.task.succeeded(reward);
        self.episode.succeeded = (0..self.member.returns.len()).map(succeeded).collect();
    }
}

/// Runs one thread's plans in lock step; lanes close up as episodes end.
fn run_group<A: Actor + ?Sized>(
    maker: &TaskMaker,
    actor: &A,
    plans: &[Plan],
    options: &EvaluateOptions<'_>,
) -> Result<Vec<Episode>, SimError> {
    let start = |plan| Running::start(maker, plan, options.capture);
    let mut running = plans.iter().map(start).collect::<Result<Vec<_>, _>>()?;
    let mut lanes = Lanes::new(actor, options.noise.unwrap_or(Noise::None), plans.len());
    loop {
        let mut active = 0;
        for run in running.iter_mut().filter(|run| !run.done) {
            run.switch();
            lanes.load(active, &run.member);
            active += 1;
        }
        if active == 0 {
            return Ok(running.into_iter().map(|run| run.episode).collect());
        }
        lanes.infer(active);
        for (lane, run) in running.iter_mut().filter(|run| !run.done).enumerate() {
            let step = lanes.step(lane, &mut run.member)?;
            run.record(&lanes, lane, options.capture);
            let horizon = run.plan.steps.unwrap_or(maker.info().horizon);
            if step.terminated || run.member.step >= horizon {
                run.finish(step.terminated);
                if let Some(progress) = options.progress {
                    progress(1);
                }
            }
        }
    }
}
