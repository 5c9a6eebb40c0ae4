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

use std::path::Path;

use sog_rl::run::{Config, Run, write_atomic};
use sog_runtime::policy::PolicyFile;
use sog_sim::seed;

pub use cloning::why_not_together;
pub use job::{BEST_FILE, Job, POLICY_FILE, ProgressFn, never, new_policy};

pub(crate) use adversarial::{CODES_FILE, PRETRAIN, read_codes};
pub use warnings::warnings;

use crate::{
    algorithms::sog_bc::CodeSource, codes::book::book, config::Algorithm, data::DataError,
    error::TrainError,
};

/// Stream of the run's seed that books of codes are made with.
const BOOK_STREAM: u64 = 12;

/// Trains in the directory of `run` (which it resumes where there are checkpoints) and writes
/// [`POLICY_FILE`] there.
///
/// # Errors
/// [`TrainError`].
pub fn train(run: &mut Run, job: Job<'_>) -> Result<PolicyFile, TrainError> {
    check(job)?;
    let file = in_the_pool(|| match job.config.algorithm {
        Algorithm::Bc | Algorithm::SogBc => cloning::cloning(run, job, CodeSource::Search),
        _ => adversarial::train(run, job),
    })?;
    write_books(run.dir(), job)?;
    Ok(file)
}

/// Trains all `runs` at once, each of them as [`train`] does but for rounding. Their configurations differ in
/// their seeds alone and [`why_not_together`] knows nothing against it; the jobs are alike in all else.
///
/// # Errors
/// [`TrainError`].
pub fn train_together(runs: &mut [Run], jobs: &[Job<'_>]) -> Result<(), TrainError> {
    jobs.first().map_or(Ok(()), |&job| check(job))?;
    in_the_pool(|| cloning::cloning_each(runs, jobs))?;
    runs.iter().zip(jobs).try_for_each(|(run, &job)| write_books(run.dir(), job))
}

/// What must be so before a run begins; says what is odd.
fn check(job: Job<'_>) -> Result<(), TrainError> {
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
    Ok(())
}

/// Inside the thread pool small parallel updates start at once.
pub(crate) fn in_the_pool<T: Send>(work: impl FnOnce() -> T + Send) -> T {
    let mut result = None;
    rayon::scope(|_| result = Some(work()));
    // The scope has run its closure when it returns.
    result.expect("the closure has run")
}

/// Gives the policies of a run their books of codes. Codes that an encoder gave are those of the
/// demonstrations; else they are searched.
fn write_books(dir: &Path, job: Job<'_>) -> Result<(), TrainError> {
    for name in [POLICY_FILE, BEST_FILE] {
        let path = dir.join(name);
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let file = PolicyFile::parse(&bytes)?;
        let encoded = dir.join(CODES_FILE);
        let codes = match encoded.is_file() {
            true => Some(read_codes(&encoded, [job.demos.len(), file.latent_dim()])?),
            false => None,
        };
        let seed = seed::derive(job.config.seed, BOOK_STREAM);
        if let Some(book) = book(&file, job.demos, codes.as_deref(), seed)? {
            let with = book.write_into(&bytes).map_err(|e| TrainError::Book(Box::new(e)))?;
            write_atomic(&path, &with)?;
        }
    }
    Ok(())
}
