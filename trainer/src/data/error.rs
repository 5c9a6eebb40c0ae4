//! What can be wrong with demonstrations.

use sog_runtime::tensors::TensorError;
use sog_sim::error::SimError;

/// Why demonstrations are refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum DataError {
    /// The file is not a readable set of tensors, or a tensor or entry is missing or misshapen.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// The simulator refused while demonstrations were recorded.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The file cannot be read or written.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: std::path::PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The file of an expert is refused.
    #[error("{} is refused: {source}", path.display())]
    Expert {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong.
        source: sog_rl::experts::ExpertFileError,
    },
    /// Another schema, perhaps a later one.
    #[error(
        "schema is `{found}`, need `{}`; demonstrations written elsewhere are brought in by \
         `sog demos import`",
        super::SCHEMA
    )]
    Schema {
        /// Schema in the file.
        found: String,
    },
    /// A metadata entry cannot be understood.
    #[error("metadata `{key}`: found `{found}`, need {needed}")]
    Metadata {
        /// The entry.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        needed: String,
    },
    /// The demonstrations are of another task.
    #[error("these are demonstrations of `{found}`, need `{needed}`")]
    Task {
        /// Task in the file.
        found: String,
        /// Task that is needed.
        needed: String,
    },
    /// There is no trajectory.
    #[error("there is no trajectory; at least one is needed")]
    Empty,
    /// A trajectory's length is out of range.
    #[error("trajectory {trajectory} has length {found}, need 1 to {max}")]
    Length {
        /// Which trajectory.
        trajectory: usize,
        /// Its length.
        found: u64,
        /// Steps that the tensors have room for.
        max: usize,
    },
    /// A number is NaN or infinite.
    #[error(
        "`{tensor}` holds {value} in trajectory {trajectory}, step {step}, component {component}; \
         every number must be finite: drop the trajectory or cut it before that step"
    )]
    NonFinite {
        /// Which tensor.
        tensor: &'static str,
        /// Which trajectory.
        trajectory: usize,
        /// Which step.
        step: usize,
        /// Which component.
        component: usize,
        /// The number.
        value: f32,
    },
    /// A label is not one of the task's.
    #[error("trajectory {trajectory} has mode {found}, the task has modes 0 to {max}")]
    Mode {
        /// Which trajectory.
        trajectory: usize,
        /// Its label.
        found: u32,
        /// Largest mode of the task.
        max: usize,
    },
    /// Labels were asked for and there are none.
    #[error("the file has neither `modes` nor `goals`, which this evaluation compares with")]
    NoLabels,
    /// No expert can demonstrate the task.
    #[error("there is no expert for `{task}`: {reason}")]
    NoExpert {
        /// The task.
        task: &'static str,
        /// What was looked for.
        reason: String,
    },
    /// An array file of NumPy cannot be read.
    #[error("{what}: {reason}")]
    Numpy {
        /// Which file or array.
        what: String,
        /// What is wrong.
        reason: String,
    },
}
