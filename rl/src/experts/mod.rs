//! Experts: policies trained on the tasks' own rewards, from which demonstrations are recorded.
//!
//! * [`ExpertConfig`]: how a task's expert is trained, one versioned TOML file a task;
//! * [`Training`]: one network of an expert, trained by PPO, resumable at any time;
//! * [`assemble`]: best networks and their [`Mirror`] images, evaluated, as an [`ExpertFile`];
//! * [`Expert`]: such a file as an actor; [`evaluate_expert`] measures it;
//! * [`Target`]: what the paper's experts reach, and [`Verdict`] whether ours do.

mod actor;
mod assemble;
mod config;
mod evaluation;
mod file;
mod symmetry;
mod targets;
#[cfg(test)]
mod tests;
mod train;

pub use actor::{Expert, Pilot};
pub use assemble::{Origin, assemble, evaluate_expert, short_returns};
pub use config::{ExpertConfig, Source};
pub use evaluation::{Actions, Subject, evaluate_subject};
pub use file::{
    Evaluation, ExpertFile, ExpertFileError, ExpertProvenance, ModeEvaluation, NetworkOrigin,
    ShortCheck,
};
pub use sog_sim::expert::goal_code;
pub use symmetry::{Entry, Mirror, Reflection};
pub use targets::{MAX_EARLY_ENDS, MIN_MODE_SHARE, Target, Verdict, target, verdict};
pub use train::{Best, ExpertError, Progress, Training, best_of, network_dir};
