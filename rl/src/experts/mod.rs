//! Experts.
mod actor;
mod config;
mod evaluation;
mod file;
mod symmetry;
mod targets;
mod train;
pub use actor::{Expert, goal_code};
pub use config::{ExpertConfig, Source};
pub use evaluation::{Subject, evaluate_subject};
pub use file::{
    Evaluation, ExpertFile, ExpertFileError, ExpertProvenance, ModeEvaluation, NetworkOrigin,
    ShortCheck,
};
pub use symmetry::{Mirror, Reflection};
pub use targets::{MAX_EARLY_ENDS, MIN_MODE_SHARE, Target, target};
pub use train::{Best, ExpertError, Progress, Training, best_of, network_dir};
