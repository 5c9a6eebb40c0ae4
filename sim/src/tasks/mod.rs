//! The tasks, one file a robot family, and the registry that builds them.

mod ant;
pub mod circles;
pub mod fetch;
mod folder;
mod half_cheetah;
mod humanoid;
mod locomotion;
mod planar;

use std::sync::Arc;

use mujoco_rs::prelude::MjModel;
use sog_runtime::policy::{Term, Terms};

use crate::{
    compiled::observation::Observer,
    definition::Definition,
    error::SimError,
    folder::Folder,
    physics::{self, Robot, RobotSource},
    task::{Task, TaskId, TaskInfo},
};
pub use folder::{Simulator, TaskFolder, names, open};
use locomotion::Locomotion;

/// How tasks are built.
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {
    /// Where robot files come from.
    pub robots: RobotSource,
}

/// What is known about a task, without building it.
pub fn info(task: TaskId) -> TaskInfo {
    match task {
        TaskId::Circles => circles::info(),
        TaskId::Circles6 => circles::info_6(),
        TaskId::AntFwdBack => ant::info(task, 2),
        TaskId::AntDir6 => ant::info(task, 6),
        TaskId::HalfCheetahFwdBack => half_cheetah::fwd_back(),
        TaskId::HalfCheetahVel => half_cheetah::vel(),
        TaskId::Walker2dVel6 => planar::walker2d_info(),
        TaskId::HopperVel6 => planar::hopper_info(),
        TaskId::HumanoidDir6 => humanoid::info(),
        TaskId::FetchReach => fetch::info(),
        TaskId::Own => circles::info(),
    }
}

/// The robot of a task; `None` where there is no MuJoCo in it.
pub fn robot(task: TaskId) -> Option<Robot> {
    match task {
        TaskId::Circles | TaskId::Circles6 | TaskId::Own => None,
        TaskId::AntFwdBack | TaskId::AntDir6 => Some(Robot::Ant),
        TaskId::HalfCheetahFwdBack | TaskId::HalfCheetahVel => Some(Robot::HalfCheetah),
        TaskId::Walker2dVel6 => Some(Robot::Walker2d),
        TaskId::HopperVel6 => Some(Robot::Hopper),
        TaskId::HumanoidDir6 => Some(Robot::Humanoid),
        TaskId::FetchReach => Some(Robot::Fetch),
    }
}

/// What MuJoCo does in a control step of a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ControlStep {
    /// Physics steps.
    pub(crate) frame_skip: usize,
    /// Whether contact forces are computed after them.
    pub(crate) contact_forces: bool,
    /// Whether a forward pass follows.
    pub(crate) forward_after: bool,
    /// Whether a mocap body is moved instead of controls set.
    pub(crate) mocap: bool,
}

/// What MuJoCo does in a control step; `None` where there is no MuJoCo.
pub(crate) fn control_step(task: TaskId) -> Option<ControlStep> {
    fn of<W: locomotion::Walker>() -> ControlStep {
        ControlStep {
            frame_skip: W::FRAME_SKIP,
            contact_forces: W::READS_CONTACT_FORCES,
            forward_after: false,
            mocap: false,
        }
    }
    Some(match robot(task)? {
        Robot::Ant => of::<ant::Ant>(),
        Robot::HalfCheetah => of::<half_cheetah::HalfCheetah>(),
        Robot::Walker2d => of::<planar::Walker2d>(),
        Robot::Hopper => of::<planar::Hopper>(),
        Robot::Humanoid => of::<humanoid::Humanoid>(),
        Robot::Fetch => ControlStep {
            frame_skip: fetch::FRAME_SKIP,
            contact_forces: false,
            forward_after: true,
            mocap: true,
        },
    })
}

/// Builds environments of one task; what they share, the compiled robot, is made once.
#[derive(Clone)]
pub struct TaskMaker {
    info: TaskInfo,
    model: Option<Arc<MjModel>>,
    fetch_home: fetch::SharedHome,
}

impl TaskMaker {
    /// Prepares a task.
    ///
    /// # Errors
    /// [`SimError::RobotFile`], [`SimError::Robot`], [`SimError::MujocoVersion`].
    pub fn new(id: TaskId, options: &TaskOptions) -> Result<Self, SimError> {
        let load = |robot| physics::load(id.name(), robot, &options.robots);
        let model = robot(id).map(load).transpose()?;
        let maker = Self { info: info(id), model, fetch_home: Default::default() };
        maker.make()?; // so that a robot that does not fit is refused here
        Ok(maker)
    }

    /// What is known about the task.
    pub fn info(&self) -> &TaskInfo {
        &self.info
    }

    /// A new Fetch arm; of [`TaskId::FetchReach`] only.
    pub(crate) fn fetch(&self) -> Result<fetch::FetchReach, SimError> {
        let model = match &self.model {
            Some(model) if self.info.id() == TaskId::FetchReach => Arc::clone(model),
            _ => physics::load(TaskId::FetchReach.name(), Robot::Fetch, &RobotSource::Embedded)?,
        };
        fetch::FetchReach::new(self.info.clone(), model, self.fetch_home.clone())
    }

    /// A new environment, reset with seed 0.
    ///
    /// # Errors
    /// [`SimError::Robot`] if the simulator cannot allocate it.
    pub fn make(&self) -> Result<Box<dyn Task>, SimError> {
        let Some(model) = &self.model else {
            return Ok(Box::new(match self.info.id() {
                TaskId::Circles6 => circles::Circles::new_6(),
                _ => circles::Circles::new(),
            }));
        };
        let (info, model) = (self.info.clone(), Arc::clone(model));
        Ok(match info.id() {
            TaskId::Circles | TaskId::Own => Box::new(circles::Circles::new()),
            TaskId::Circles6 => Box::new(circles::Circles::new_6()),
            TaskId::AntFwdBack | TaskId::AntDir6 => {
                Box::new(Locomotion::new(info, ant::Ant, model)?)
            }
            TaskId::HalfCheetahFwdBack => {
                let robot = half_cheetah::HalfCheetah(half_cheetah::Asks::Direction);
                Box::new(Locomotion::new(info, robot, model)?)
            }
            TaskId::HalfCheetahVel => {
                let robot = half_cheetah::HalfCheetah(half_cheetah::Asks::Speed);
                Box::new(Locomotion::new(info, robot, model)?)
            }
            TaskId::Walker2dVel6 => Box::new(Locomotion::new(info, planar::Walker2d, model)?),
            TaskId::HopperVel6 => Box::new(Locomotion::new(info, planar::Hopper, model)?),
            TaskId::HumanoidDir6 => Box::new(Locomotion::new(info, humanoid::Humanoid, model)?),
            TaskId::FetchReach => Box::new(self.fetch()?),
        })
    }
}

/// A new environment of a task.
///
/// # Errors
/// As [`TaskMaker`].
pub fn make(id: TaskId, options: &TaskOptions) -> Result<Box<dyn Task>, SimError> {
    TaskMaker::new(id, options)?.make()
}

/// Terms in their order: groups of numbers, and one number for each joint.
#[derive(Default)]
struct TermList(Vec<Term>);

impl TermList {
    /// Adds a group of `width` numbers.
    fn group(mut self, name: &str, width: usize) -> Self {
        self.0.push(Term { name: name.to_string(), width });
        self
    }

    /// Adds one number for each joint, named `joint` + `suffix`.
    fn joints(mut self, joints: &[&str], suffix: &str) -> Self {
        self.0.extend(joints.iter().map(|j| Term { name: format!("{j}{suffix}"), width: 1 }));
        self
    }

    fn done(self) -> Terms {
        Terms(self.0)
    }
}

/// Terms of the observation of a task whose model has to say how wide they are.
fn model_terms(folder: &Folder, definition: &Definition) -> Result<Terms, SimError> {
    let model = physics::load_model(folder, definition, &RobotSource::Embedded)?;
    let observer = Observer::new(definition, &model)?;
    Ok(observer.program.terms().clone())
}
