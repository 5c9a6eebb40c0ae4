//! What a robot looks like to the control loop.
//!
//! * [`RobotIo`], [`RobotSpec`], [`Reading`], [`Guidance`], [`KeptGuidance`], [`Homing`], [`Command`]: the robot, one control
//!   step at a time;
//! * [`FaultyRobot`]: a robot around a robot, with faults ([`FaultPlan`]);
//!
//! A robot at the other end of UDP or a serial line is in `link` (feature `host`).

mod fault;

pub use fault::{FaultKind, FaultPlan, FaultyRobot, ParseFaultError, Random};

use alloc::{vec, vec::Vec};

use crate::contract::Contract;
pub use sog_core::io::{Homing, IoError, NO_WAY_HOME, Reading};

/// What a robot is: what a policy must fit.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(feature = "host", derive(serde::Serialize, serde::Deserialize))]
pub struct RobotSpec {
    /// Task, terms, control period and action bounds.
    pub contract: Contract,
    /// What the actuators get in damping, `[A]`: the action that takes energy out of the robot.
    pub damping_action: Vec<f32>,
    /// What the actuators get in an emergency stop, `[A]`.
    pub stop_action: Vec<f32>,
    /// Largest change of each action component from one control step to the next that the
    /// actuators bear, `[A]`; infinite where any change is fine.
    pub max_action_step: Vec<f32>,
}

impl RobotSpec {
    /// A robot that rests at zero action, in damping as in an emergency stop, and bears any
    /// change of action.
    pub fn new(contract: Contract) -> Self {
        let width = contract.action_dim();
        Self {
            contract,
            damping_action: vec![0.0; width],
            stop_action: vec![0.0; width],
            max_action_step: vec![f32::INFINITY; width],
        }
    }

    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.contract.obs_dim()
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.contract.action_dim()
    }
}

/// What a person does with a robot: leads it by the hand, or corrects a policy.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Guidance<'a> {
    /// The action that the robot applied in the step that led to the last reading, `[A]`, whoever
    /// chose it: what was done at the reading before.
    pub applied: Option<&'a [f32]>,
    /// Bit n is button n, set while it is pressed.
    pub buttons: u32,
    /// Whether a person leads the robot, whatever it is commanded.
    pub taken_over: bool,
}

/// [`Guidance`] kept beyond its reading; keeping another allocates nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct KeptGuidance {
    applied: Vec<f32>,
    tells_applied: bool,
    buttons: u32,
    taken_over: bool,
}

impl KeptGuidance {
    /// Nothing yet, of actions of this width.
    pub fn new(action_dim: usize) -> Self {
        Self { applied: vec![0.0; action_dim], ..Self::default() }
    }

    /// Keeps this in place of what was kept; an action of another width is none.
    pub fn keep(&mut self, guidance: Guidance<'_>) {
        let applied = guidance.applied.filter(|applied| applied.len() == self.applied.len());
        if let Some(applied) = applied {
            self.applied.copy_from_slice(applied);
        }
        self.tells_applied = applied.is_some();
        (self.buttons, self.taken_over) = (guidance.buttons, guidance.taken_over);
    }

    /// What was kept.
    pub fn get(&self) -> Guidance<'_> {
        Guidance {
            applied: self.tells_applied.then_some(&*self.applied),
            buttons: self.buttons,
            taken_over: self.taken_over,
        }
    }
}

/// What the robot is told to do in one control step.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Command<'a> {
    /// Apply this action, `[A]`.
    Act(&'a [f32]),
    /// Apply [`RobotSpec::damping_action`].
    Damp,
    /// Emergency stop: apply [`RobotSpec::stop_action`] until a [`Reset`](Command::Reset) comes,
    /// whatever else comes before it.
    Stop,
    /// Go one control step of the way to the start pose, or hold it; for robots that
    /// [can](RobotIo::homing).
    Home,
    /// The operator clears a stop or a failure. A simulated robot starts a new episode, and its
    /// next reading is the first of it.
    Reset,
}

/// A robot, simulated or real, seen one control step at a time: [`read`](RobotIo::read), then
/// [`write`](RobotIo::write).
///
/// A robot that runs in step with its controller (a simulator) advances by one control step in
/// `write` and has one new observation for the next `read`; before the first `write` it has the
/// observation it starts from.
///
/// No method may allocate or block for longer than the implementation states.
pub trait RobotIo {
    /// What the robot is.
    fn spec(&self) -> &RobotSpec;

    /// Reads the newest observation into `obs`, `[S]`.
    ///
    /// # Errors
    /// [`IoError::Stale`] if there is none since the last call; others as they say.
    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError>;

    /// What a person did with the robot, as of the last reading; nothing where it does not tell.
    fn guidance(&self) -> Guidance<'_> {
        Guidance::default()
    }

    /// Whether it stands where its policy starts from, as of the last reading.
    fn homing(&self) -> Homing {
        Homing::Unable
    }

    /// The action, `[A]`, that the last [`Command::Home`] came to, where it came to one.
    fn home_action(&self) -> Option<&[f32]> {
        None
    }

    /// Sends the command of this control step.
    ///
    /// # Errors
    /// As [`IoError`] says; the control loop takes every error as a fault.
    fn write(&mut self, command: Command<'_>) -> Result<(), IoError>;
}

impl<R: RobotIo + ?Sized> RobotIo for &mut R {
    fn spec(&self) -> &RobotSpec {
        (**self).spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        (**self).read(obs)
    }

    fn guidance(&self) -> Guidance<'_> {
        (**self).guidance()
    }

    fn homing(&self) -> Homing {
        (**self).homing()
    }

    fn home_action(&self) -> Option<&[f32]> {
        (**self).home_action()
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        (**self).write(command)
    }
}
