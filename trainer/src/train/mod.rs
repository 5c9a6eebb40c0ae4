//! One training run, from demonstrations to the policy file.
//!
//! * [`job`](mod@job): what a run works with, and what it writes;
//! * `cloning`: for BC and SOG-BC all there is, for the adversarial algorithms what comes first, in
//!   the directory `pretrain` inside theirs;
//! * `adversarial`: PPO with the algorithm's hooks;
//! * [`warnings`](fn@warnings): what is said before it begins.

mod adversarial;
mod cloning;
pub mod job;
mod warnings;

use sog_rl::run::{Config, Run};
use sog_runtime::policy::PolicyFile;

pub use job::{BEST_FILE, Job, POLICY_FILE, ProgressFn, never, new_policy};

pub(crate) use adversarial::{CODES_FILE, read_codes};
pub use warnings::warnings;

use crate::{
    algorithms::sog_bc::CodeSource, config::Algorithm, data::DataError, error::TrainError,
};

/// Trains in the directory of `run` (which it resumes where there are checkpoints) and writes
/// [`POLICY_FILE`] there.
///
/// # Errors
/// [`TrainError`].
pub fn train(run: &mut Run, job: Job<'_>) -> Result<PolicyFile, TrainError> {
    job.config.check()?;
    let (found, needed) = (job.demos.task(), job.task.name());
    for found in [found, &job.config.task] {
        if found != needed {
            let (found, needed) = (found.to_string(), needed.to_string());
            return Err(DataError::Task { found, needed }.into());
        }
    }
    if job.config.algorithm.is_adversarial() {
        job.environments()?;
    }
    for warning in warnings(job.config, job.task, job.demos) {
        log::warn!("{warning}");
    }
    // Inside the thread pool small parallel updates start at once.
    let (mut result, run) = (None, run);
    rayon::scope(|_| {
        result = Some(match job.config.algorithm {
            Algorithm::Bc | Algorithm::SogBc => cloning::cloning(run, job, CodeSource::Search),
            _ => adversarial::train(run, job),
        });
    });
    // The scope has run its closure when it returns.
    let file = result.expect("the closure has run")?;
    Ok(file)
}
