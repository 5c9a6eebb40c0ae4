//! A simulated robot that somebody leads: its task's expert does, in one way after the other, and
//! presses the button at the beginning and the end of each episode. What recorders are tested with.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rand::{RngExt, seq::SliceRandom};
use rand_distr::StandardNormal;
use sog_runtime::{
    io::{Command, Guidance, IoError, NO_WAY_HOME, Reading, RobotIo, RobotSpec},
    recording::{EPISODE_BUTTON, Episode},
};

use crate::{
    error::SimError,
    expert::Guide,
    robot::spec,
    seed,
    task::{Modes, Task, TaskInfo},
};

/// Stream of the seed that orders the episodes; they take the streams from 0.
const ORDER_STREAM: u64 = u64::MAX;
/// Stream of an episode's seed for the noise of its actions.
const NOISE_STREAM: u64 = u64::MAX;
/// Steps before an episode and steps that a press of the button lasts.
const STEPS_BETWEEN: usize = 2;

/// What is demonstrated.
#[derive(Clone, Debug, PartialEq)]
pub struct DemonstrateOptions {
    /// Episodes of each mode; for tasks with goals the number of goals.
    pub episodes_per_mode: usize,
    /// Everything random comes from it.
    pub seed: u64,
    /// Standard deviation of the noise of the actions, in units of half their range.
    pub action_noise: f64,
    /// Steps of an episode, at most the task's horizon; all of them where nothing is said.
    pub steps: Option<usize>,
}

/// What an episode is to show.
#[derive(Clone, Debug, PartialEq)]
pub struct Shown {
    /// Number of the mode; for tasks with goals, of the goal.
    pub mode: usize,
    /// Value of the mode, or the goal.
    pub goal: Vec<f64>,
}

/// The episodes that are demonstrated, in their order.
pub fn episodes(info: &TaskInfo, options: &DemonstrateOptions) -> Vec<Shown> {
    let mut rng = seed::stream(options.seed, ORDER_STREAM);
    let n = options.episodes_per_mode;
    let mut all: Vec<Shown> = match &info.modes {
        Modes::Discrete(modes) => modes
            .iter()
            .enumerate()
            .flat_map(|(mode, m)| std::iter::repeat_n(Shown { mode, goal: vec![m.value] }, n))
            .collect(),
        Modes::Continuous(space) => (0..n)
            .map(|mode| {
                let mut goal = vec![0.0; space.dims()];
                space.sample(&mut rng, &mut goal);
                Shown { mode, goal }
            })
            .collect(),
    };
    all.shuffle(&mut rng);
    all
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    /// At the start of an episode, with so many steps to go.
    Before(usize),
    /// Under way.
    Acting(usize),
    /// The button that ends it is pressed for so many steps more.
    After(usize),
    /// There is nothing more to show.
    Done,
}

/// A robot that is led through episodes whatever it is commanded, but for a stop, which it obeys
/// until a reset.
pub struct Demonstrator {
    task: Box<dyn Task>,
    spec: RobotSpec,
    guide: Guide,
    options: DemonstrateOptions,
    episodes: Vec<Shown>,
    /// Number of the episode that is or comes next.
    episode: usize,
    phase: Phase,
    step: u64,
    fresh: bool,
    stopped: bool,
    terminated: bool,
    /// Whether the last step was the expert's.
    led: bool,
    noise: seed::Rng,
    obs: Vec<f64>,
    action: Vec<f64>,
    applied: Vec<f32>,
    rewards: Vec<f64>,
    /// What was shown so far.
    shown: Vec<Episode>,
    done: Arc<AtomicBool>,
}

impl Demonstrator {
    /// A robot before its first episode.
    ///
    /// # Errors
    /// As [`Task::reset`] and [`Task::set_goals`].
    pub fn new(
        task: Box<dyn Task>,
        guide: Guide,
        options: DemonstrateOptions,
    ) -> Result<Self, SimError> {
        let info = task.info();
        let (s, a) = (info.obs_dim(), info.action_dim());
        let mut robot = Self {
            spec: spec(info),
            episodes: episodes(info, &options),
            guide,
            episode: 0,
            phase: Phase::Done,
            step: 0,
            fresh: true,
            stopped: false,
            terminated: false,
            led: false,
            noise: seed::rng(0),
            obs: vec![0.0; s],
            action: vec![0.0; a],
            applied: vec![0.0; a],
            rewards: vec![0.0; task.reward_count()],
            shown: vec![],
            done: Arc::new(AtomicBool::new(false)),
            task,
            options,
        };
        robot.begin()?;
        Ok(robot)
    }

    /// The mode (or the number of the goal) of each episode, in their order.
    pub fn modes(&self) -> Vec<u32> {
        self.episodes.iter().map(|shown| shown.mode as u32).collect()
    }

    /// Whole episodes that were shown.
    pub fn shown(&self) -> &[Episode] {
        &self.shown
    }

    /// Set once all have been, for whoever waits elsewhere.
    pub fn done_flag(&self) -> Arc<AtomicBool> {
        Arc::clone(&self.done)
    }

    /// The start of the next episode, if there is one.
    fn begin(&mut self) -> Result<(), SimError> {
        let Some(next) = self.episodes.get(self.episode) else {
            self.phase = Phase::Done;
            self.done.store(true, Ordering::Relaxed);
            return Ok(());
        };
        if matches!(self.task.info().modes, Modes::Continuous(_)) {
            self.task.set_goals(&next.goal)?;
        }
        let seed = seed::derive(self.options.seed, self.episode as u64);
        self.task.reset(seed)?;
        self.noise = seed::stream(seed, NOISE_STREAM);
        self.terminated = false;
        self.task.observe(&mut self.obs);
        self.phase = Phase::Before(STEPS_BETWEEN);
        self.shown.truncate(self.episode);
        Ok(())
    }

    /// One step of the expert's.
    fn act(&mut self, steps: usize) -> Result<(), SimError> {
        let info = self.task.info();
        let Shown { mode, goal } = &self.episodes[self.episode];
        self.guide.act(*mode, goal, &self.obs, &mut self.action);
        let bounds = info.action_low.iter().zip(&info.action_high);
        for ((x, to), (&low, &high)) in self.action.iter_mut().zip(&mut self.applied).zip(bounds) {
            if self.options.action_noise > 0.0 {
                let noise: f64 = self.noise.sample(StandardNormal);
                *x = (*x + self.options.action_noise * 0.5 * (high - low) * noise).clamp(low, high);
            }
            *to = *x as f32;
            // What is taken is what is told, to the last bit.
            *x = f64::from(*to);
        }
        if steps == 0 {
            self.shown.push(Episode::default());
        }
        if let Some(shown) = self.shown.last_mut() {
            shown.observations.extend(self.obs.iter().map(|&x| x as f32));
            shown.actions.extend_from_slice(&self.applied);
        }
        let horizon = self.options.steps.unwrap_or(info.horizon).min(info.horizon);
        let step = self.task.step(&self.action, &mut self.rewards)?;
        self.task.observe(&mut self.obs);
        self.terminated = step.terminated;
        let ends = step.terminated || steps + 1 >= horizon;
        self.phase = if ends { Phase::After(STEPS_BETWEEN) } else { Phase::Acting(steps + 1) };
        Ok(())
    }

    fn advance(&mut self) -> Result<(), SimError> {
        self.applied.fill(0.0);
        self.led = matches!(self.phase, Phase::Acting(_));
        match self.phase {
            Phase::Before(0 | 1) => self.phase = Phase::Acting(0),
            Phase::Before(left) => self.phase = Phase::Before(left - 1),
            Phase::Acting(steps) => self.act(steps)?,
            Phase::After(0 | 1) => {
                self.episode += 1;
                self.begin()?;
            }
            Phase::After(left) => self.phase = Phase::After(left - 1),
            Phase::Done => {}
        }
        Ok(())
    }
}

impl RobotIo for Demonstrator {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        if obs.len() != self.obs.len() {
            return Err(IoError::Width { found: obs.len(), needed: self.obs.len() });
        }
        if !std::mem::take(&mut self.fresh) {
            return Err(IoError::Stale);
        }
        obs.iter_mut().zip(&self.obs).for_each(|(o, &x)| *o = x as f32);
        Ok(Reading { step: self.step, reward: None, terminated: self.terminated })
    }

    fn guidance(&self) -> Guidance<'_> {
        let pressed = match self.phase {
            Phase::Acting(steps) => steps < STEPS_BETWEEN,
            Phase::After(_) => true,
            Phase::Before(_) | Phase::Done => false,
        };
        Guidance {
            applied: Some(&self.applied),
            buttons: if pressed { EPISODE_BUTTON } else { 0 },
            taken_over: self.led && !self.stopped,
        }
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        match command {
            Command::Reset => {
                self.stopped = false;
                self.begin().map_err(|_| IoError::Robot("it could not start an episode"))?;
            }
            Command::Stop => self.stopped = true,
            Command::Home => return Err(IoError::Robot(NO_WAY_HOME)),
            Command::Act(_) | Command::Damp => {}
        }
        if !self.stopped && command != Command::Reset {
            self.advance().map_err(|_| IoError::Robot("the simulation refused the action"))?;
        }
        self.step += 1;
        self.fresh = true;
        Ok(())
    }
}
