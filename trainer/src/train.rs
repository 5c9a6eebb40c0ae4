//! One training run, from demonstrations to the policy file.
//!
//! Cloning comes first, for BC and SOG-BC as all there is, for the adversarial algorithms in the
//! directory `pretrain` inside theirs; then PPO with the algorithm's hooks.

use std::path::Path;

use sog_engine::net::{Init, PolicyArch, PolicyNet};
use sog_rl::run::{Config, Run, write_atomic};
use sog_runtime::policy::{LatentKind, PolicyFile};
use sog_sim::{seed, task::TaskInfo, tasks::TaskMaker};

use crate::{
    adversarial,
    algorithms::sog_bc::{CodeSource, SogBc, first_codes},
    config::{Algorithm, TrainConfig},
    data::{DataError, Demonstrations},
    device::Compute,
    error::TrainError,
    export,
    normalise::ObsNormaliser,
};

/// Streams of the run's seed.
const INIT_STREAM: u64 = 1;
const CLONING_STREAM: u64 = 2;

/// Name of the policy file in a run directory.
pub const POLICY_FILE: &str = "policy.safetensors";

/// How far a run is: steps done, steps in all, and a few words.
pub type ProgressFn<'a> = &'a (dyn Fn(u64, u64, &str) + Sync);

/// What a run works with.
#[derive(Clone, Copy)]
pub struct Job<'a> {
    /// Every choice.
    pub config: &'a TrainConfig,
    /// The task's environments.
    pub maker: &'a TaskMaker,
    /// What is imitated.
    pub demos: &'a Demonstrations,
    /// Where an adversarial algorithm starts, instead of cloning first.
    pub start: Option<&'a PolicyFile>,
    /// What computes the updates.
    pub compute: &'a Compute,
    /// Told how far the run is.
    pub progress: ProgressFn<'a>,
}

impl Job<'_> {
    /// What is known about the task.
    pub fn task(&self) -> &TaskInfo {
        self.maker.info()
    }
}

/// Trains in the directory of `run` (which it resumes where there are checkpoints) and writes
/// [`POLICY_FILE`] there.
///
/// # Errors
/// [`TrainError`].
pub fn train(run: &mut Run, job: Job<'_>) -> Result<PolicyFile, TrainError> {
    job.config.check()?;
    let (found, needed) = (job.demos.task().name(), job.task().name());
    for found in [found, &job.config.task] {
        if found != needed {
            let (found, needed) = (found.to_string(), needed.to_string());
            return Err(DataError::Task { found, needed }.into());
        }
    }
    // Inside the thread pool small parallel updates start at once.
    let (mut result, run) = (None, run);
    rayon::scope(|_| {
        result = Some(match job.config.algorithm {
            Algorithm::Bc | Algorithm::SogBc => clone(run, job, CodeSource::Search),
            _ => adversarial::train(run, job),
        });
    });
    // The scope has run its closure when it returns.
    let file = result.expect("the closure has run")?;
    Ok(file)
}

/// A freshly initialised policy for `config`, another one for each attempt.
///
/// # Errors
/// [`TrainError::Config`], [`TrainError::Engine`].
pub fn new_policy(
    config: &TrainConfig,
    task: &TaskInfo,
    attempt: u64,
) -> Result<PolicyNet, TrainError> {
    let scale = config.network.mean_scale;
    let arch = PolicyArch {
        obs: task.obs_dim(),
        latent: config.latent()?.width(),
        hidden: config.network.hidden,
        action: task.action_dim(),
        mean_scale: (scale > 0.0).then_some(scale),
    };
    let init = Init { last_gain: config.network.last_gain, ..Init::default() };
    Ok(PolicyNet::new(
        arch,
        init,
        &mut seed::stream(seed::derive(config.seed, INIT_STREAM), attempt),
    )?)
}

/// Seed of one of the learners that cloning begins with.
fn cloning_seed(config: &TrainConfig, attempt: u64) -> u64 {
    seed::derive(seed::derive(config.seed, CLONING_STREAM), attempt)
}

/// The codes `[N, Z]` that cloning with the run's seed begins with.
pub(crate) fn assigned_codes(job: Job<'_>, latent: LatentKind) -> Vec<f32> {
    let normaliser = ObsNormaliser::of(job.demos);
    first_codes(job.demos, &normaliser, latent, cloning_seed(job.config, 0))
}

/// Cloning: Algorithm 2 until its updates are done; writes and returns the policy.
///
/// # Errors
/// [`TrainError`].
pub(crate) fn clone(
    run: &mut Run,
    job: Job<'_>,
    codes: CodeSource,
) -> Result<PolicyFile, TrainError> {
    let (config, task) = (job.config, job.task());
    let latent = config.latent()?;
    let normaliser = ObsNormaliser::of(job.demos);
    let frozen = normaliser.frozen().clone();
    let learner = |attempt: u64| -> Result<SogBc<'_>, TrainError> {
        let seed = cloning_seed(config, attempt);
        let net = new_policy(config, task, attempt)?;
        let (normaliser, cloning) = (normaliser.clone(), config.cloning.clone());
        let learner = SogBc::new(job.demos, normaliser, cloning, latent, net, seed);
        Ok(learner.with_codes(codes.clone()).on(job.compute))
    };
    let mut learner = {
        let mut first = learner(0)?;
        match run.restore(&mut first)? {
            Some(_) => first,
            None => best_attempt(first, learner, config)?,
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
            run.checkpoint(learner.step, &learner)?;
        }
    }
    learner.set_log_std()?;
    let file = export::policy_file(&learner.net, &frozen, latent, task, config);
    write_policy(run.dir(), &file)?;
    Ok(file)
}

/// Lets a few learners begin and goes on with the one whose codes explain the demonstrations best:
/// two modes that share a code show as a larger loss.
fn best_attempt<'a>(
    first: SogBc<'a>,
    learner: impl Fn(u64) -> Result<SogBc<'a>, TrainError>,
    config: &TrainConfig,
) -> Result<SogBc<'a>, TrainError> {
    let cloning = &config.cloning;
    if cloning.attempts < 2 || !matches!(config.latent()?, LatentKind::OneHot(2..)) {
        return Ok(first);
    }
    let begun = |mut learner: SogBc<'a>| -> Result<(f64, SogBc<'a>), TrainError> {
        while learner.step < cloning.attempt_updates.min(cloning.updates / 2) {
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

/// Writes [`POLICY_FILE`] into a run directory.
///
/// # Errors
/// [`TrainError::Policy`] for what the runtime would refuse; [`TrainError::Run`].
pub(crate) fn write_policy(dir: &Path, file: &PolicyFile) -> Result<(), TrainError> {
    let bytes = file.to_bytes();
    PolicyFile::parse(&bytes)?;
    Ok(write_atomic(&dir.join(POLICY_FILE), &bytes)?)
}
