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
mod folder;
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
    definition::{Definition, Engine},
    error::SimError,
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
    /// `None` for a simulation written in Rust.
    blueprint: Option<Arc<Blueprint>>,
}

impl TaskMaker {
    /// Opens a task by name or path and prepares it.
    ///
    /// # Errors
    /// As [`open`] and [`TaskMaker::of`].
    pub fn new(task: impl AsRef<str>, options: &TaskOptions) -> Result<Self, SimError> {
        Self::of(&open(task)?, options)
    }

    /// Prepares a task.
    ///
    /// # Errors
    /// [`SimError::NoSimulator`] if nothing here simulates it, [`SimError::Definition`] for what
    /// the model does not bear out, [`SimError::Robot`], [`SimError::MujocoVersion`].
    pub fn of(task: &Arc<TaskFolder>, options: &TaskOptions) -> Result<Self, SimError> {
        let definition = task.definition();
        let blueprint = match task.simulator() {
            Simulator::Mujoco => {
                let model = physics::load_model(task.folder(), definition, &options.robots)?;
                Some(Arc::new(Blueprint::new(definition, task.info(), model)?))
            }
            Simulator::Rust => None,
            Simulator::External | Simulator::None => {
                return Err(SimError::NoSimulator {
                    task: task.info().name.clone(),
                    simulator: task.simulator(),
                });
            }
        };
        let maker = Self { task: Arc::clone(task), blueprint };
        maker.make()?; // so that what does not fit is refused here
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
    /// [`SimError::Robot`] if the simulator cannot allocate it.
    pub fn make(&self) -> Result<Box<dyn Task>, SimError> {
        if let Some(blueprint) = &self.blueprint {
            return Ok(Box::new(MujocoTask::new(blueprint)?));
        }
        let definition = self.task.definition();
        match definition.sim.as_ref().map(|sim| &sim.engine) {
            Some(Engine::Rust(registered)) => {
                registry::simulation(registered, definition, self.task.info())
            }
            _ => Err(SimError::NoSimulator {
                task: self.task.info().name.clone(),
                simulator: self.task.simulator(),
            }),
        }
    }

    /// A new environment on MuJoCo; `None` where something else simulates the task.
    pub(crate) fn mujoco(&self) -> Result<Option<MujocoTask>, SimError> {
        self.blueprint.as_ref().map(MujocoTask::new).transpose()
    }

    /// What MuJoCo does in a control step; `None` where there is no MuJoCo.
    pub(crate) fn control_step(&self) -> Option<ControlStep> {
        self.blueprint.as_ref().map(|blueprint| blueprint.control_step())
    }
}

/// A new environment of a task.
///
/// # Errors
/// As [`TaskMaker`].
pub fn make(task: impl AsRef<str>, options: &TaskOptions) -> Result<Box<dyn Task>, SimError> {
    TaskMaker::new(task, options)?.make()
}

/// Terms of the observation of a task whose model has to say how wide they are.
fn model_terms(folder: &Folder, definition: &Definition) -> Result<Terms, SimError> {
    let model = physics::load_model(folder, definition, &RobotSource::Embedded)?;
    let observer = Observer::new(definition, &model)?;
    Ok(observer.program.terms().clone())
}
