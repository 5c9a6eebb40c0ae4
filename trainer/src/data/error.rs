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
    /// The file cannot be written.
    #[error(transparent)]
    Write(#[from] sog_rl::run::RunError),
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
        "{}, need `{}`; {}",
        if found.is_empty() { "no schema is said".to_string() } else { format!("schema is `{found}`") },
        super::SCHEMA,
        if found.starts_with("sog.") && !found.starts_with("sog.demonstrations/") {
            "these are no demonstrations"
        } else {
            "demonstrations written elsewhere are brought in by `sog demos import`"
        }
    )]
    Schema {
        /// Schema in the file, empty without one.
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
    /// A number is too large to be a measurement.
    #[error(
        "`{tensor}` holds {value:e} in trajectory {trajectory}, step {step}, component {component}; \
         numbers beyond {limit:e} are no measurements: look at the unit, a time stamp among the \
         components, or bytes read in another order"
    )]
    TooLarge {
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
        /// What is accepted.
        limit: f32,
    },
    /// A tensor that the format does not have.
    #[error(
        "there is no tensor `{found}` in the format{}; the tensors are {}: rename it or leave it out",
        nearest.map(|n| format!(" (is `{n}` meant?)")).unwrap_or_default(),
        super::names::TENSORS.join(", ")
    )]
    UnknownTensor {
        /// Its name.
        found: String,
        /// The known name that is probably meant.
        nearest: Option<&'static str>,
    },
    /// Actions lie outside the task's bounds.
    #[error(
        "{percent:.1} % of the action components lie out of bounds, first `{component}` in trajectory \
         {trajectory}, step {step}: {value}, need {low} to {high}; {unit}, or cut them off with --clip"
    )]
    OutOfBounds {
        /// How many of the numbers, in per cent.
        percent: f64,
        /// Trajectory of the first one.
        trajectory: usize,
        /// Its step.
        step: usize,
        /// Name of its component.
        component: String,
        /// The number.
        value: f32,
        /// Lower bound.
        low: f64,
        /// Upper bound.
        high: f64,
        /// What is probably wrong.
        unit: String,
    },
    /// The axes of an array are in another order, or one array is longer than the other.
    #[error("{found}; {advice}")]
    Axes {
        /// What the shapes are.
        found: String,
        /// What they probably mean and what to do.
        advice: String,
    },
    /// The numbers of an array are no recordings.
    #[error(
        "`{tensor}` is implausible: {reason}; if it is right all the same, give --accept-implausible"
    )]
    Implausible {
        /// Which tensor.
        tensor: &'static str,
        /// What speaks against it.
        reason: String,
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
    /// A foreign file cannot be read.
    #[error(transparent)]
    Format(Box<sog_formats::FormatError>),
    /// A foreign file does not become the task's demonstrations.
    #[error(transparent)]
    Map(Box<sog_formats::mapping::MapError>),
    /// The table `[import]` of the task's definition is not as it must be.
    #[error("task.toml, [import], `{key}`: {why}")]
    ImportTable {
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// A log cannot be read.
    #[error("{}: {source}", path.display())]
    Log {
        /// The file.
        path: std::path::PathBuf,
        /// What is wrong with it.
        source: sog_runtime::telemetry::LogError,
    },
    /// Labels were asked for and there are none.
    #[error("the file has neither `modes` nor `goals`, which this evaluation compares with")]
    NoLabels,
    /// No expert can demonstrate the task.
    #[error("there is no expert for `{task}`: {reason}")]
    NoExpert {
        /// The task.
        task: String,
        /// What was looked for.
        reason: String,
    },
}

impl DataError {
    /// Whether the file is one of ours of another kind or version, and so no foreign one.
    pub fn is_of_ours(&self) -> bool {
        matches!(self, Self::Schema { found } if found.starts_with("sog."))
    }
}
