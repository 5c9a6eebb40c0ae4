//! The [`Task`] trait: one environment instance, and what is known about it beforehand.

use rand::Rng as _;
use sog_runtime::{contract::Contract, policy::Terms};

use crate::{error::SimError, physics::Physics, seed::Rng};

/// What is known about a task before it is built.
#[derive(Clone, Debug, PartialEq)]
pub struct TaskInfo {
    /// Name: what files and the handshake say.
    pub name: String,
    /// Observation terms, in order.
    pub obs_terms: Terms,
    /// Action terms, in order.
    pub action_terms: Terms,
    /// Lower action bounds, `[A]`.
    pub action_low: Vec<f64>,
    /// Upper action bounds, `[A]`.
    pub action_high: Vec<f64>,
    /// Control period in seconds.
    pub dt_s: f64,
    /// Control steps of an episode.
    pub horizon: usize,
    /// The ways of doing the task.
    pub modes: Modes,
}

impl TaskInfo {
    /// Name on the command line and in files.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.obs_terms.width()
    }

    /// What a robot, a policy and demonstrations of the task must agree on.
    pub fn contract(&self) -> Contract {
        let single = |bounds: &[f64]| bounds.iter().map(|&bound| bound as f32).collect();
        Contract {
            task: self.name.clone(),
            obs_terms: self.obs_terms.clone(),
            action_terms: self.action_terms.clone(),
            dt_s: self.dt_s,
            action_low: single(&self.action_low),
            action_high: single(&self.action_high),
        }
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.action_terms.width()
    }
}

/// The ways of doing a task.
#[derive(Clone, Debug, PartialEq)]
pub enum Modes {
    /// One reward for each of a few modes.
    Discrete(Vec<Mode>),
    /// One reward for each goal of a box.
    Continuous(GoalSpace),
}

impl Modes {
    /// Number of discrete modes; `None` for goals.
    pub fn count(&self) -> Option<usize> {
        match self {
            Self::Discrete(modes) => Some(modes.len()),
            Self::Continuous(_) => None,
        }
    }
}

/// One discrete mode.
#[derive(Clone, Debug, PartialEq)]
pub struct Mode {
    /// For people: `120°`, `1.5 m/s`, `R = 20`.
    pub label: String,
    /// Direction in radians, speed in m/s, or signed radius.
    pub value: f64,
}

/// A box of goals.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalSpace {
    /// What a goal is, with its unit.
    pub what: String,
    /// Lower bounds, one a dimension.
    pub low: Vec<f64>,
    /// Upper bounds, one a dimension.
    pub high: Vec<f64>,
    /// Goals `[M, dims]` that a new environment rewards.
    pub default: Vec<f64>,
}

impl GoalSpace {
    /// Number of dimensions of a goal.
    pub fn dims(&self) -> usize {
        self.low.len()
    }

    /// Draws one goal uniformly into `goal`, `[dims]`.
    pub fn sample(&self, rng: &mut Rng, goal: &mut [f64]) {
        for ((g, &low), &high) in goal.iter_mut().zip(&self.low).zip(&self.high) {
            *g = low + (high - low) * unit(rng);
        }
    }
}

/// A uniform number in [0, 1) with 53 random bits.
pub(crate) fn unit(rng: &mut Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / (1u64 << 53) as f64)
}

/// What came of a control step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Step {
    /// Whether the episode has failed here (fallen, out of bounds). Reaching the horizon is the
    /// caller's to count.
    pub terminated: bool,
}

/// Where the robot is, for figures and evaluation.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Probe {
    /// Position in metres of what the reward looks at: the point, the torso, the whole-body
    /// centre of mass (humanoid) or the gripper.
    pub position_m: [f64; 3],
    /// Its velocity in the plane over the last control step, m/s.
    pub velocity_m_s: [f64; 2],
}

/// One instance of a task: an environment with its own state.
///
/// Numbers are double precision; rollouts and robots convert. None of [`observe`](Self::observe),
/// [`step`](Self::step) and [`reset`](Self::reset) allocates.
pub trait Task: Send {
    /// What is known about it.
    fn info(&self) -> &TaskInfo;

    /// Starts an episode; all its randomness comes from `seed`.
    ///
    /// # Errors
    /// As [`start_from`](Self::start_from).
    fn reset(&mut self, seed: u64) -> Result<(), SimError>;

    /// Starts an episode from a given state: positions and velocities as the robot's model orders
    /// them (`circles`: position `[2]`, no velocity).
    ///
    /// # Errors
    /// [`SimError::Width`] if the lengths are not the robot's, [`SimError::NotFinite`].
    fn start_from(&mut self, qpos: &[f64], qvel: &[f64]) -> Result<(), SimError>;

    /// Writes the present observation, `[S]`.
    ///
    /// # Panics
    /// If `obs` is not S long.
    fn observe(&self, obs: &mut [f64]);

    /// Applies `action` `[A]` for one control period and writes the reward of every mode or goal
    /// `[M]`. Costs use the action as given; the robot clips it to its bounds.
    ///
    /// # Errors
    /// [`SimError::Width`] for an action or reward buffer of the wrong length,
    /// [`SimError::NotFinite`] for an action with NaN or infinity.
    fn step(&mut self, action: &[f64], rewards: &mut [f64]) -> Result<Step, SimError>;

    /// Number M of rewards a step gives: one a discrete mode, or one a goal set.
    fn reward_count(&self) -> usize;

    /// Sets the goals to reward, `[M, dims]` (continuous tasks only).
    ///
    /// # Errors
    /// [`SimError::NoGoals`] for a discrete task, [`SimError::Width`] if the length is not a
    /// positive multiple of the goal's dimensions, [`SimError::NotFinite`].
    fn set_goals(&mut self, goals: &[f64]) -> Result<(), SimError> {
        let _ = goals;
        Err(SimError::NoGoals { task: self.info().name().to_string() })
    }

    /// Whether the last step left the robot where mode (or goal) number `reward` counts as
    /// succeeded; `None` where the task does not say what success is.
    fn succeeded(&self, reward: usize) -> Option<bool> {
        let _ = reward;
        None
    }

    /// Names of the numbers that an operator sets and the policy sees, by slot.
    fn commands(&self) -> &[String] {
        &[]
    }

    /// Sets the command of a slot; one that is not there is passed over.
    fn set_command(&mut self, slot: usize, value: f64) {
        let _ = (slot, value);
    }

    /// Where the robot is.
    fn probe(&self) -> Probe;

    /// The robot's state in MuJoCo, where there is one: what pictures are drawn from.
    fn physics(&self) -> Option<&Physics> {
        None
    }
}
