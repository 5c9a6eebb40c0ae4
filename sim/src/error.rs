//! What can go wrong in the simulator.

use std::path::PathBuf;

use crate::{definition::DefinitionError, folder::FolderError};

/// Why the simulator refuses or fails.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SimError {
    /// No task has this name.
    #[error("no task and no folder is called `{found}`{hint}")]
    UnknownTask {
        /// The name given.
        found: String,
        /// What may have been meant.
        hint: String,
    },
    /// A task's file is faulty.
    #[error(transparent)]
    Definition(#[from] DefinitionError),
    /// A file of a task's folder cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A file cannot be written.
    #[error("cannot write {}: {reason}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// What is in the way.
        reason: String,
    },
    /// A buffer does not have the task's width.
    #[error("{task}: {what} of {found} numbers, need {needed}")]
    Width {
        /// The task.
        task: String,
        /// Which buffer.
        what: &'static str,
        /// Length given.
        found: usize,
        /// Length needed.
        needed: usize,
    },
    /// A number is NaN or infinite.
    #[error("{task}: {what} holds {value} at index {index}; every number must be finite")]
    NotFinite {
        /// The task.
        task: String,
        /// Which buffer.
        what: &'static str,
        /// Index of the first such number.
        index: usize,
        /// The number.
        value: f64,
    },
    /// Goals were set on a task that has modes.
    #[error("{task} has discrete modes; goals can be set where a task has a range of them")]
    NoGoals {
        /// The task.
        task: String,
    },
    /// There is no mode (or goal) of that number.
    #[error("{task} has {count} modes, numbered from 0; there is no mode {found}")]
    NoSuchMode {
        /// The task.
        task: String,
        /// The number given.
        found: usize,
        /// How many there are.
        count: usize,
    },
    /// Nothing simulates the task.
    #[error("{task}: it has no [sim] in its task.toml, so there are no rollouts of it")]
    NoSimulator {
        /// The task.
        task: String,
    },
    /// The program that simulates the task cannot be reached or does not do what it should.
    #[error("{task}: {reason}")]
    External {
        /// The task.
        task: String,
        /// What is wrong.
        reason: String,
    },
    /// A robot's model cannot be used.
    #[error("{task}: its robot cannot be used: {reason}")]
    Robot {
        /// The task.
        task: String,
        /// What is wrong.
        reason: String,
    },
    /// The MuJoCo library is not the one the bindings are for.
    #[error("libmujoco is version {}, need {}; run `cargo xtask setup`", dotted(*.found), dotted(*.needed))]
    MujocoVersion {
        /// Version of the library, as `mj_version` gives it.
        found: i32,
        /// Version of the bindings.
        needed: i32,
    },
}

/// 3017000 as 3.17.0.
fn dotted(version: i32) -> String {
    format!("{}.{}.{}", version / 1_000_000, version / 1000 % 1000, version % 1000)
}
