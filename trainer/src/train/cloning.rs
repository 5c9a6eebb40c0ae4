//! Cloning: Algorithm 2 until its updates are done.

use sog_rl::run::Run;
use sog_runtime::policy::{LatentKind, PolicyFile};
use sog_sim::seed;

use super::job::{BEST_FILE, Job, POLICY_FILE, new_policy, write_policy};
use crate::{
    algorithms::sog_bc::{CodeSource, SogBc, Together},
    codes::first::first_codes,
    config::{Algorithm, TrainConfig},
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
    let mut clone = Cloned::begin(run, job, codes)?;
    together(std::slice::from_mut(&mut clone))?;
    clone.finish()
}

/// The same in several runs at once, whose configurations differ in their seeds alone. Each run keeps its own
/// directory and is, but for rounding, the one that it would be alone.
///
/// # Errors
/// [`TrainError`].
pub(super) fn cloning_each(runs: &mut [Run], jobs: &[Job<'_>]) -> Result<(), TrainError> {
    let begun = runs.iter_mut().zip(jobs);
    let mut clones = begun
        .map(|(run, &job)| Cloned::begin(run, job, CodeSource::Search))
        .collect::<Result<Vec<_>, _>>()?;
    together(&mut clones)?;
    clones.iter().try_for_each(|clone| clone.finish().map(drop))
}

/// Why runs with these configurations cannot be cloned at once, if they cannot.
pub fn why_not_together(configs: &[TrainConfig]) -> Result<Option<String>, TrainError> {
    let Some(first) = configs.first() else { return Ok(None) };
    let (algorithm, latent) = (first.algorithm, first.latent()?);
    let but_for_the_seed = |other: &&TrainConfig| {
        let same = TrainConfig { seed: first.seed, ..(*other).clone() };
        same != *first
    };
    Ok(if !matches!(algorithm, Algorithm::Bc | Algorithm::SogBc) {
        Some(format!("only bc and sog-bc are trained at once, not {algorithm}"))
    } else if matches!(latent, LatentKind::Gaussian(_)) {
        Some("continuous codes are searched for one run at a time".to_string())
    } else if begins_in_attempts(first)? {
        Some(format!("cloning.attempts = {}, need 1", first.cloning.attempts))
    } else if let Some(other) = configs.iter().find(but_for_the_seed) {
        let (a, b) = (first.seed, other.seed);
        let latents = match &other.latent {
            latent if *latent == first.latent => String::new(),
            latent => format!(" (codes {} and {latent})", first.latent),
        };
        Some(format!("the runs with seeds {a} and {b} differ in more than their seeds{latents}"))
    } else {
        None
    })
}

/// Whether several learners begin and the best goes on.
fn begins_in_attempts(config: &TrainConfig) -> Result<bool, TrainError> {
    Ok(config.cloning.attempts > 1 && matches!(config.latent()?, LatentKind::OneHot(2..)))
}

/// A run with its learner.
struct Cloned<'r, 'a> {
    run: &'r mut Run,
    job: Job<'a>,
    learner: SogBc<'a>,
}

impl<'r, 'a> Cloned<'r, 'a> {
    /// The learner from the newest checkpoint of the run, or a new one.
    fn begin(run: &'r mut Run, job: Job<'a>, codes: CodeSource) -> Result<Self, TrainError> {
        let (config, task) = (job.config, job.task);
        let latent = config.latent()?;
        let normaliser = job.normaliser()?;
        let learner = |attempt: u64| -> Result<SogBc<'a>, TrainError> {
            let seed = cloning_seed(config, attempt);
            let net = new_policy(config, task, attempt)?;
            let (normaliser, cloning) = (normaliser.clone(), config.cloning.clone());
            let learner = SogBc::new(job.demos, normaliser, cloning, latent, net, seed);
            Ok(learner.with_codes(codes.clone()))
        };
        let mut first = learner(0)?;
        let learner = match run.restore(&mut first)? {
            None if begins_in_attempts(config)? => best_attempt(first, learner, job)?,
            _ => first,
        };
        Ok(Self { run, job, learner })
    }

    /// The present policy as a file.
    fn exported(&self) -> Result<PolicyFile, TrainError> {
        let Job { config, task, .. } = self.job;
        // Cloning never trains the log-std; what goes on training must not see it set.
        let net = self.learner.with_log_std()?;
        Ok(export::policy_file(
            &net,
            self.learner.normaliser().frozen(),
            config.latent()?,
            task,
            config,
        ))
    }

    /// Appends a line of metrics; the loss in it.
    fn log(&mut self) -> Result<f64, TrainError> {
        let metrics = self.learner.metrics();
        let values: Vec<(&str, f64)> = metrics.iter().map(|(k, v)| (k.as_str(), *v)).collect();
        self.run.log(self.learner.step, &values)?;
        Ok(values.first().map_or(0.0, |v| v.1))
    }

    /// Writes a checkpoint with its score, and the policy if it is the best so far.
    fn checkpoint(&mut self) -> Result<(), TrainError> {
        // The best policy is there before the checkpoint that calls it the best: a kill between
        // the two is made good when the run is resumed from the checkpoint before.
        let score = -self.learner.loss_of_all()?;
        if self.run.would_be_best(score) {
            write_policy(self.run.dir(), BEST_FILE, &self.exported()?)?;
        }
        Ok(self.run.checkpoint_scored(self.learner.step, &self.learner, score)?)
    }

    /// Writes and returns the policy.
    fn finish(&self) -> Result<PolicyFile, TrainError> {
        let file = self.exported()?;
        write_policy(self.run.dir(), POLICY_FILE, &file)?;
        Ok(file)
    }
}

/// Updates all until they are done. Those that are behind, because they were ended at another checkpoint,
/// catch up first.
fn together(clones: &mut [Cloned<'_, '_>]) -> Result<(), TrainError> {
    loop {
        clones.sort_by_key(|clone| clone.learner.step);
        let Some(first) = clones.first().filter(|first| !first.learner.is_done()) else {
            return Ok(());
        };
        let behind = first.learner.step;
        let count = clones.partition_point(|clone| clone.learner.step == behind);
        let until = clones.get(count).map_or(u64::MAX, |next| next.learner.step);
        in_step(&mut clones[..count], until)?;
    }
}

/// Updates those that stand at the same step until they are at `until`, or done.
fn in_step(clones: &mut [Cloned<'_, '_>], until: u64) -> Result<(), TrainError> {
    let Some(first) = clones.first() else { return Ok(()) };
    let (job, config) = (first.job, &first.job.config.cloning);
    let mut updates = Together::new(job.compute, first.learner.net.arch());
    let mut step = first.learner.step;
    while step < until.min(config.updates) {
        updates.update(learners(clones))?;
        step += 1;
        let done = step >= config.updates;
        let stopped = (job.interrupted)() && !done;
        if step.is_multiple_of(config.log_interval) || done {
            updates.count(learners(clones))?;
            let mut loss = 0.0;
            for clone in &mut *clones {
                loss += clone.log()?;
            }
            let loss = loss / clones.len() as f64;
            (job.progress)(step, config.updates, &format!("loss {loss:.5}"));
        }
        if step.is_multiple_of(config.checkpoint_interval) || done {
            updates.settle(learners(clones))?;
            clones.iter_mut().try_for_each(Cloned::checkpoint)?;
        } else if stopped {
            updates.settle(learners(clones))?;
            for Cloned { run, learner, .. } in &mut *clones {
                run.checkpoint(step, learner)?;
            }
        }
        if stopped {
            return Err(TrainError::Interrupted { step: Some(step) });
        }
    }
    updates.settle(learners(clones))
}

fn learners<'l, 'a: 'l>(
    clones: &'l mut [Cloned<'_, 'a>],
) -> impl Iterator<Item = &'l mut SogBc<'a>> {
    clones.iter_mut().map(|clone| &mut clone.learner)
}

/// Lets a few learners begin and goes on with the one whose codes explain the demonstrations best:
/// two modes that share a code show as a larger loss.
fn best_attempt<'a>(
    first: SogBc<'a>,
    learner: impl Fn(u64) -> Result<SogBc<'a>, TrainError>,
    job: Job<'_>,
) -> Result<SogBc<'a>, TrainError> {
    let cloning = &job.config.cloning;
    let begun = |mut learner: SogBc<'a>| -> Result<(f64, SogBc<'a>), TrainError> {
        let mut updates = Together::new(job.compute, learner.net.arch());
        while learner.step < cloning.attempt_updates.min(cloning.updates / 2) {
            if (job.interrupted)() {
                return Err(TrainError::Interrupted { step: None });
            }
            updates.update(std::iter::once(&mut learner))?;
        }
        updates.settle(std::iter::once(&mut learner))?;
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
