//! The tasks: opened from their folders, and built.
//!
//! A task is a folder with a `task.toml` (see [`crate::definition`]). Those of the paper are built
//! in; anybody's own is a folder anywhere. [`open`] takes either; a [`TaskMaker`] builds
//! environments of what simulates it.
//!
//! ```
//! use sog_sim::tasks::{TaskMaker, TaskOptions, open};
//! # fn main() -> Result<(), sog_sim::error::SimError> {
//! let task = open("circles")?;                              // or "path/to/folder"
//! assert_eq!(task.info().action_dim(), 2);                  // known without a simulator
//! let tuned = task.read("sog-gail.toml")?;                  // what lies beside task.toml
//! let maker = TaskMaker::of(&task, &TaskOptions::default())?; // needs one
//! let mut environment = maker.make()?;
//! environment.reset(7)?;
//! # let _ = tuned;
//! # Ok(())
//! # }
//! ```

mod check;
pub(crate) mod folder;
mod new;

use std::sync::Arc;

use sog_runtime::policy::Terms;

pub use check::{Checked, Range, check};
pub use folder::{Simulator, TaskFolder, names, open};
pub use new::{NewTask, new_task};

pub use crate::registry::circles;
use crate::{
    compiled::{
        observation::Observer,
        task::{Blueprint, ControlStep, MujocoTask},
    },
    definition::{Definition, Engine, Registered},
    error::SimError,
    external::External,
    folder::Folder,
    physics::{self, RobotSource},
    registry,
    task::{Task, TaskInfo},
};

/// How tasks are built.
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {
    /// Where robot files come from.
    pub robots: RobotSource,
}

/// Builds environments of one task; what they share, the compiled robot, is made once.
#[derive(Clone)]
pub struct TaskMaker {
    task: Arc<TaskFolder>,
    engine: Engines,
}

/// What environments are made from.
#[derive(Clone)]
enum Engines {
    Mujoco(Arc<Blueprint>),
    Rust(Registered),
    External(External),
}

impl TaskMaker {
    /// Opens a task by name or path and prepares it.
    ///
    /// # Errors
    /// As [`open`] and [`TaskMaker::of`].
    pub fn new(task: impl AsRef<std::ffi::OsStr>, options: &TaskOptions) -> Result<Self, SimError> {
        Self::of(&open(task)?, options)
    }

    /// Prepares a task.
    ///
    /// # Errors
    /// [`SimError::NoSimulator`] if nothing simulates it, [`SimError::Definition`] for what
    /// the model does not bear out, [`SimError::Robot`], [`SimError::MujocoVersion`].
    pub fn of(task: &Arc<TaskFolder>, options: &TaskOptions) -> Result<Self, SimError> {
        let definition = task.definition();
        let engine = match definition.sim.as_ref().map(|sim| &sim.engine) {
            Some(Engine::Mujoco { .. }) => {
                let model = physics::load_model(task.folder(), definition, &options.robots)?;
                Engines::Mujoco(Arc::new(Blueprint::new(definition, task.info(), model)?))
            }
            Some(Engine::Rust(registered)) => Engines::Rust(registered.clone()),
            Some(Engine::External(_) | Engine::Command(_)) => {
                Engines::External(External::new(task))
            }
            None => return Err(SimError::NoSimulator { task: task.info().name.clone() }),
        };
        let maker = Self { task: Arc::clone(task), engine };
        if !matches!(maker.engine, Engines::External(_)) {
            maker.make()?; // so that what does not fit is refused here
        }
        Ok(maker)
    }

    /// What is known about the task.
    pub fn info(&self) -> &TaskInfo {
        self.task.info()
    }

    /// The task itself.
    pub fn task(&self) -> &Arc<TaskFolder> {
        &self.task
    }

    /// A new environment, reset with seed 0.
    ///
    /// # Errors
    /// [`SimError::Robot`] if the simulator cannot allocate it, [`SimError::External`] if another
    /// program simulates it and cannot be reached.
    pub fn make(&self) -> Result<Box<dyn Task>, SimError> {
        match &self.engine {
            Engines::Mujoco(blueprint) => Ok(Box::new(MujocoTask::new(blueprint)?)),
            Engines::Rust(registered) => {
                registry::simulation(registered, self.task.definition(), self.task.info())
            }
            Engines::External(external) => external.connect(),
        }
    }

    /// A new environment on MuJoCo; `None` where something else simulates the task.
    pub(crate) fn mujoco(&self) -> Result<Option<MujocoTask>, SimError> {
        self.blueprint().map(MujocoTask::new).transpose()
    }

    /// What MuJoCo does in a control step; `None` where there is no MuJoCo.
    pub(crate) fn control_step(&self) -> Option<ControlStep> {
        self.blueprint().map(|blueprint| blueprint.control_step())
    }

    fn blueprint(&self) -> Option<&Arc<Blueprint>> {
        match &self.engine {
            Engines::Mujoco(blueprint) => Some(blueprint),
            Engines::Rust(_) | Engines::External(_) => None,
        }
    }
}

/// A new environment of a task.
///
/// # Errors
/// As [`TaskMaker`].
pub fn make(
    task: impl AsRef<std::ffi::OsStr>,
    options: &TaskOptions,
) -> Result<Box<dyn Task>, SimError> {
    TaskMaker::new(task, options)?.make()
}

/// Terms of the observation of a task whose model has to say how wide they are.
fn model_terms(folder: &Folder, definition: &Definition) -> Result<Terms, SimError> {
    let model = physics::load_model(folder, definition, &RobotSource::Embedded)?;
    let observer = Observer::new(definition, &model)?;
    Ok(observer.program.terms().clone())
}
