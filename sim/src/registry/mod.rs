//! What is registered in Rust: rewards, drives and simulations that `task.toml` names by
//! `{ rust = "NAME", … }` because it cannot say them.
//!
//! This is the one place that knows them by name. A new reward is a type in `rewards` and a line
//! in `reward`.

pub mod circles;
pub(crate) mod fetch;
mod rewards;

use std::sync::Arc;

use crate::{
    compiled::names::Names,
    definition::{Definition, DefinitionError, Registered, hint},
    error::SimError,
    physics::{Data, Physics},
    task::{Task, TaskInfo},
};

/// What a reward looks at: a control step that has just been taken.
pub(crate) struct StepView<'a> {
    /// The state in MuJoCo.
    pub(crate) data: &'a Data,
    /// The action as it was given, `[A]`.
    pub(crate) action: &'a [f64],
    /// Where the robot is, m.
    pub(crate) position_m: [f64; 3],
    /// Its velocity in the plane over the step, m/s.
    pub(crate) velocity_m_s: [f64; 2],
    /// `[M, dims]`: goals; empty for discrete modes.
    pub(crate) goals: &'a [f64],
}

/// The reward of a few modes, or of all goals.
pub(crate) trait StepReward: Send + Sync {
    /// Whether it reads the contact forces on bodies.
    fn reads_contact_forces(&self) -> bool {
        false
    }

    /// What a step pays in which the simulation has diverged.
    fn when_diverged(&self) -> f64 {
        0.0
    }

    /// Writes one reward a mode or goal.
    fn rewards(&self, step: &StepView<'_>, out: &mut [f64]);
}

/// What moves a robot in place of its controls.
pub(crate) trait Drive: Send + Sync {
    /// Writes the pose that episodes start from; `physics` may be used to find it.
    ///
    /// # Errors
    /// As starting from a state.
    fn home(
        &self,
        physics: &mut Physics,
        qpos: &mut [f64],
        qvel: &mut [f64],
    ) -> Result<(), SimError>;

    /// Sets what else a start sets.
    fn start(&self, data: &mut Data);

    /// Applies an action, `[A]`, for so many physics steps.
    fn step(&self, physics: &mut Physics, action: &[f64], frame_skip: usize);

    /// Whether a control step ends with a forward pass.
    fn ends_forward(&self) -> bool;
}

/// The reward that neighbouring modes name, one entry each.
///
/// # Errors
/// [`DefinitionError`] for an unknown name or parameter.
pub(crate) fn reward(
    modes: &[&Registered],
    has_goals: bool,
) -> Result<Box<dyn StepReward>, DefinitionError> {
    use rewards::{
        AntDirection, CheetahDirection, CheetahSpeed, FetchReach, HumanoidDirection, PlanarSpeed,
    };
    let first = modes[0];
    let of_goals = |needed: bool| match has_goals == needed {
        true => Ok(()),
        false if needed => {
            Err(first.at.error(format!("`{}` rewards goals; need [goal]", first.name)))
        }
        false => Err(first.at.error(format!("`{}` rewards modes, not goals", first.name))),
    };
    let each = |parameter: &str| {
        let values = modes.iter().map(|mode| {
            mode.only(&[parameter])?;
            mode.parameter(parameter)
        });
        values.collect::<Result<Vec<f64>, DefinitionError>>()
    };
    let reward: (Box<dyn StepReward>, bool) = match first.name.as_str() {
        "ant-direction" => (Box::new(AntDirection::new(&each("degrees")?)), false),
        "humanoid-direction" => (Box::new(HumanoidDirection::new(&each("degrees")?)), false),
        "cheetah-direction" => (Box::new(CheetahDirection(each("sign")?)), false),
        "planar-speed" => (Box::new(PlanarSpeed(each("speed")?)), false),
        "cheetah-speed" => (Box::new(CheetahSpeed), true),
        "fetch-reach" => (Box::new(FetchReach), true),
        other => {
            let known = [
                "ant-direction",
                "humanoid-direction",
                "cheetah-direction",
                "cheetah-speed",
                "planar-speed",
                "fetch-reach",
            ];
            let hint = hint(other, known);
            return Err(first.at.error(format!("no reward is registered as `{other}`{hint}")));
        }
    };
    of_goals(reward.1)?;
    Ok(reward.0)
}

/// The drive that `[sim]` names.
///
/// # Errors
/// [`DefinitionError`] for an unknown name, or a model that it does not fit.
pub(crate) fn drive(
    registered: &Registered,
    names: Names<'_>,
) -> Result<Arc<dyn Drive>, DefinitionError> {
    match registered.name.as_str() {
        "fetch-gripper" => Ok(Arc::new(fetch::Gripper::new(registered, names)?)),
        other => {
            let hint = hint(other, ["fetch-gripper"]);
            Err(registered.at.error(format!("no drive is registered as `{other}`{hint}")))
        }
    }
}

/// An environment of a simulation written in Rust, which `[sim]` names.
///
/// # Errors
/// [`SimError::Definition`] for an unknown name, or a definition that it does not fit.
pub(crate) fn simulation(
    registered: &Registered,
    definition: &Definition,
    info: &TaskInfo,
) -> Result<Box<dyn Task>, SimError> {
    match registered.name.as_str() {
        "circles" => Ok(Box::new(circles::Circles::of(registered, definition, info)?)),
        other => {
            let hint = hint(other, ["circles"]);
            Err(registered
                .at
                .error(format!("no simulation is registered as `{other}`{hint}"))
                .into())
        }
    }
}
