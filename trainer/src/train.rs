//! One training run, from demonstrations to the policy file.

use std::path::Path;

use sog_engine::net::{Init, PolicyArch, PolicyNet};
use sog_rl::run::{Config, Run, write_atomic};
use sog_runtime::policy::PolicyFile;
use sog_sim::{seed, task::TaskInfo};

use crate::{
    algorithms::sog_bc::SogBc,
    config::{Algorithm, TrainConfig},
    data::Demonstrations,
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
pub type ProgressFn<'a> = &'a dyn Fn(u64, u64, &str);

/// Trains in the directory of `run` (which it resumes where there are checkpoints) and writes
/// [`POLICY_FILE`] there.
///
/// # Errors
/// [`TrainError`].
pub fn train(
    run: &mut Run,
    config: &TrainConfig,
    task: &TaskInfo,
    demos: &Demonstrations,
    progress: ProgressFn<'_>,
) -> Result<PolicyFile, TrainError> {
    config.check()?;
    let file = match config.algorithm {
        Algorithm::Bc | Algorithm::SogBc => clone(run, config, task, demos, progress)?,
    };
    write_policy(run.dir(), &file)?;
    Ok(file)
}

/// A freshly initialised policy for `config`.
///
/// # Errors
/// [`TrainError::Config`], [`TrainError::Engine`].
pub fn new_policy(config: &TrainConfig, task: &TaskInfo) -> Result<PolicyNet, TrainError> {
    let scale = config.network.mean_scale;
    let arch = PolicyArch {
        obs: task.obs_dim(),
        latent: config.latent()?.width(),
        hidden: config.network.hidden,
        action: task.action_dim(),
        mean_scale: (scale > 0.0).then_some(scale),
    };
    let init = Init { last_gain: config.network.last_gain, ..Init::default() };
    Ok(PolicyNet::new(arch, init, &mut seed::stream(config.seed, INIT_STREAM))?)
}

/// BC and SOG-BC: Algorithm 2 until its updates are done.
fn clone(
    run: &mut Run,
    config: &TrainConfig,
    task: &TaskInfo,
    demos: &Demonstrations,
    progress: ProgressFn<'_>,
) -> Result<PolicyFile, TrainError> {
    let latent = config.latent()?;
    let normaliser = ObsNormaliser::of(demos);
    let frozen = normaliser.frozen().clone();
    let mut learner = SogBc::new(
        demos,
        normaliser,
        config.cloning.clone(),
        latent,
        new_policy(config, task)?,
        seed::derive(config.seed, CLONING_STREAM),
    );
    run.restore(&mut learner)?;
    let (log, checkpoint) = (config.cloning.log_interval, config.cloning.checkpoint_interval);
    while !learner.is_done() {
        learner.update()?;
        if learner.step.is_multiple_of(log) || learner.is_done() {
            let metrics = learner.metrics();
            let values: Vec<(&str, f64)> = metrics.iter().map(|(k, v)| (k.as_str(), *v)).collect();
            run.log(learner.step, &values)?;
            let loss = values.first().map_or(0.0, |v| v.1);
            progress(learner.step, config.cloning.updates, &format!("loss {loss:.5}"));
        }
        if learner.step.is_multiple_of(checkpoint) || learner.is_done() {
            run.checkpoint(learner.step, &learner)?;
        }
    }
    learner.set_log_std()?;
    Ok(export::policy_file(&learner.net, &frozen, latent, task, config))
}

fn write_policy(dir: &Path, file: &PolicyFile) -> Result<(), TrainError> {
    let bytes = file.to_bytes();
    // What the runtime would refuse must not be written.
    PolicyFile::parse(&bytes)?;
    Ok(write_atomic(&dir.join(POLICY_FILE), &bytes)?)
}
