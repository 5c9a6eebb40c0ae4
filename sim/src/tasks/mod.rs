//! The tasks, one file a robot family, and the registry that builds them.

pub mod circles;

use crate::{
    error::SimError,
    task::{Task, TaskId, TaskInfo},
};

/// How tasks are built.
#[derive(Clone, Debug, Default)]
pub struct TaskOptions {}

/// What is known about a task, without building it.
pub fn info(task: TaskId) -> TaskInfo {
    match task {
        TaskId::Circles => circles::info(),
    }
}

/// Builds environments of one task; what they share (the compiled robot) is made once.
#[derive(Clone)]
pub struct TaskMaker {
    info: TaskInfo,
}

impl TaskMaker {
    /// Prepares a task.
    ///
    /// # Errors
    /// [`SimError::RobotFile`], [`SimError::Robot`].
    pub fn new(id: TaskId, _options: &TaskOptions) -> Result<Self, SimError> {
        Ok(Self { info: info(id) })
    }

    /// What is known about the task.
    pub fn info(&self) -> &TaskInfo {
        &self.info
    }

    /// A new environment, reset with seed 0.
    ///
    /// # Errors
    /// [`SimError::Robot`] if the simulator cannot allocate it.
    pub fn make(&self) -> Result<Box<dyn Task>, SimError> {
        match self.info.id {
            TaskId::Circles => Ok(Box::new(circles::Circles::new())),
        }
    }
}

/// A new environment of a task.
///
/// # Errors
/// As [`TaskMaker`].
pub fn make(id: TaskId, options: &TaskOptions) -> Result<Box<dyn Task>, SimError> {
    TaskMaker::new(id, options)?.make()
}
