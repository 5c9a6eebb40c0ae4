//! Cloning: Algorithm 2 until its updates are done.

use sog_rl::run::Run;
use sog_runtime::policy::{LatentKind, PolicyFile};
use sog_sim::seed;

use super::job::{BEST_FILE, Job, POLICY_FILE, new_policy, write_policy};
use crate::{
    algorithms::sog_bc::{CodeSource, SogBc},
    codes::first::first_codes,
    config::TrainConfig,
    error::TrainError,
    export,
};

/// Stream of the run's seed that cloning draws from.
const CLONING_STREAM: u64 = 2;

/// Seed of one of the learners that cloning begins with.
fn cloning_seed(config: &TrainConfig, attempt: u64) -> u64 {
    seed::derive(seed::derive(config.seed, CLONING_STREAM), attempt)
}

/// The codes `[N, Z]` that cloning with the run's seed begins with.
pub(super) fn assigned_codes(job: Job<'_>, latent: LatentKind) -> Result<Vec<f32>, TrainError> {
    let seed = cloning_seed(job.config, 0);
    Ok(first_codes(job.demos, &job.normaliser()?, latent, seed))
}

/// Cloning: Algorithm 2 until its updates are done; writes and returns the policy.
///
/// # Errors
/// [`TrainError`].
pub(super) fn cloning(
    run: &mut Run,
    job: Job<'_>,
    codes: CodeSource,
) -> Result<PolicyFile, TrainError> {
    let (config, task) = (job.config, job.task);
    let latent = config.latent()?;
    let normaliser = job.normaliser()?;
    let frozen = normaliser.frozen().clone();
    let learner = |attempt: u64| -> Result<SogBc<'_>, TrainError> {
        let seed = cloning_seed(config, attempt);
        let net = new_policy(config, task, attempt)?;
        let (normaliser, cloning) = (normaliser.clone(), config.cloning.clone());
        let learner = SogBc::new(job.demos, normaliser, cloning, latent, net, seed);
        Ok(learner.with_codes(codes.clone()).on(job.compute))
    };
    // Cloning never trains the log-std; what goes on training must not see it set.
    let exported = |learner: &SogBc<'_>| -> Result<PolicyFile, TrainError> {
        let net = learner.with_log_std()?;
        Ok(export::policy_file(&net, &frozen, latent, task, config))
    };
    let mut learner = {
        let mut first = learner(0)?;
        match run.restore(&mut first)? {
            Some(_) => first,
            None => best_attempt(first, learner, job)?,
        }
    };
    let (log, checkpoint) = (config.cloning.log_interval, config.cloning.checkpoint_interval);
    while !learner.is_done() {
        learner.update()?;
        if learner.step.is_multiple_of(log) || learner.is_done() {
            let metrics = learner.metrics();
            let values: Vec<(&str, f64)> = metrics.iter().map(|(k, v)| (k.as_str(), *v)).collect();
            run.log(learner.step, &values)?;
            let loss = values.first().map_or(0.0, |v| v.1);
            (job.progress)(learner.step, config.cloning.updates, &format!("loss {loss:.5}"));
        }
        if learner.step.is_multiple_of(checkpoint) || learner.is_done() {
            learner.settle()?;
            // The best policy is there before the checkpoint that calls it the best: a kill between
            // the two is made good when the run is resumed from the checkpoint before.
            let score = -learner.loss_of_all()?;
            if run.would_be_best(score) {
                let best = exported(&learner)?;
                write_policy(run.dir(), BEST_FILE, &best)?;
            }
            run.checkpoint_scored(learner.step, &learner, score)?;
        } else if (job.interrupted)() {
            learner.settle()?;
            run.checkpoint(learner.step, &learner)?;
        }
        if (job.interrupted)() && !learner.is_done() {
            return Err(TrainError::Interrupted { step: Some(learner.step) });
        }
    }
    let file = exported(&learner)?;
    write_policy(run.dir(), POLICY_FILE, &file)?;
    Ok(file)
}

/// Lets a few learners begin and goes on with the one whose codes explain the demonstrations best:
/// two modes that share a code show as a larger loss.
fn best_attempt<'a>(
    first: SogBc<'a>,
    learner: impl Fn(u64) -> Result<SogBc<'a>, TrainError>,
    job: Job<'_>,
) -> Result<SogBc<'a>, TrainError> {
    let cloning = &job.config.cloning;
    if cloning.attempts < 2 || !matches!(job.config.latent()?, LatentKind::OneHot(2..)) {
        return Ok(first);
    }
    let begun = |mut learner: SogBc<'a>| -> Result<(f64, SogBc<'a>), TrainError> {
        while learner.step < cloning.attempt_updates.min(cloning.updates / 2) {
            if (job.interrupted)() {
                return Err(TrainError::Interrupted { step: None });
            }
            learner.update()?;
        }
        Ok((learner.loss_of_all()?, learner))
    };
    let mut best = begun(first)?;
    for attempt in 1..cloning.attempts {
        let next = begun(learner(attempt)?)?;
        log::debug!("attempt {attempt}: loss {}, best so far {}", next.0, best.0);
        if next.0 < best.0 {
            best = next;
        }
    }
    Ok(best.1)
}
