//! From run directories to an expert file: best networks, mirror images, final evaluation.

use std::path::Path;

use sog_runtime::policy::{PolicyFile, Provenance};
use sog_sim::{
    error::SimError,
    rollout::{EvaluateOptions, Plan, evaluate},
    seed,
    task::{Modes, TaskInfo},
    tasks::TaskMaker,
};

use super::{
    actor::Expert,
    config::{ExpertConfig, Source},
    evaluation::{Actions, Subject, evaluate_subject},
    file::{Evaluation, ExpertFile, ExpertProvenance, NetworkOrigin, ShortCheck},
    goal_code,
    symmetry::Mirror,
    train::{ExpertError, best_of, network_dir},
};
use crate::run::Run;

/// Seed of the final evaluation; training and selection derive theirs otherwise.
const FINAL_SEED: u64 = 0x5e1e_c7ed;

/// Steps and seed of the short check.
const CHECK_STEPS: usize = 50;
const CHECK_SEED: u64 = 7;

/// Golden vectors of each network.
const GOLDEN: usize = 8;

/// How networks were selected, for the provenance.
const SELECTION: &str = "best evaluation during training: mean return times the share of episodes that \
                         last, of the mean action with the noise of `evaluate_noise` in the network's \
                         configuration, on start states that neither training nor the final evaluation \
                         draws";

/// What an expert file says about how it was made.
#[derive(Clone, Debug, Default)]
pub struct Origin {
    /// Command that trained it.
    pub command: String,
    /// Revision of the source, or empty.
    pub revision: String,
}

/// Puts the best networks of the runs below `dir` together, evaluates them over
/// `episodes_per_mode` episodes each, and returns the file's content. Runs may still be training.
///
/// # Errors
/// [`ExpertError::Order`] if a network has no evaluated policy yet; [`ExpertError`].
pub fn assemble(
    maker: &TaskMaker,
    dir: &Path,
    episodes_per_mode: usize,
    origin: &Origin,
) -> Result<ExpertFile, ExpertError> {
    let info = maker.info();
    let config = ExpertConfig::of(maker.task())?;
    let (mut networks, mut origins) = (Vec::<PolicyFile>::new(), Vec::<NetworkOrigin>::new());
    let first = config.networks.iter().position(|s| !matches!(s, Source::Mirror { .. }));
    let first: ExpertConfig = Run::config(&network_dir(dir, first.unwrap_or(0)))?;
    for (k, source) in config.networks.iter().enumerate() {
        let (network, origin) = match source {
            Source::Train | Source::Start { .. } => trained(info, dir, k, &first)?,
            Source::Mirror { of, by } => {
                let text = format!("mirror image ({by:?}) of network {of}");
                let origin = NetworkOrigin { origin: text, ..origins[*of].clone() };
                (Mirror::of(maker.task(), *by)?.policy(&networks[*of]), origin)
            }
        };
        networks.push(network);
        origins.push(origin);
    }
    let mut provenance = ExpertProvenance {
        command: origin.command.clone(),
        producer: format!("sog-rl {}", env!("CARGO_PKG_VERSION")),
        revision: origin.revision.clone(),
        config: toml::to_string(&first).unwrap_or_default(),
        seed: first.seed,
        networks: origins,
        selection: SELECTION.to_string(),
        evaluation: Evaluation { episodes_per_mode, seed: FINAL_SEED, mean: 0.0, modes: vec![] },
        check: ShortCheck { seed: CHECK_SEED, steps: CHECK_STEPS, returns: vec![] },
    };
    let task = info.name().to_string();
    let mut file = ExpertFile { task, networks, provenance: provenance.clone() };
    let expert = Expert::new(&file);
    provenance.evaluation =
        evaluate_expert(maker, &expert, episodes_per_mode, Actions::Mean, FINAL_SEED)?;
    provenance.check.returns = short_returns(maker, &expert, CHECK_SEED, CHECK_STEPS)?;
    file.provenance = provenance;
    Ok(file)
}

/// The best policy of a trained network and where it comes from; `first` is the first network's
/// configuration.
fn trained(
    info: &TaskInfo,
    dir: &Path,
    network: usize,
    first: &ExpertConfig,
) -> Result<(PolicyFile, NetworkOrigin), ExpertError> {
    let (best, seed) = best_of(info, dir, network)?;
    if best.evaluation.is_none() {
        return Err(ExpertError::Order { network, needed: network });
    }
    let own: ExpertConfig = Run::config(&network_dir(dir, network))?;
    let mut policy = best.policy;
    policy.provenance = Provenance {
        producer: format!("sog-rl {}", env!("CARGO_PKG_VERSION")),
        algorithm: if own.ddpg.is_some() { "ddpg-expert" } else { "ppo-expert" }.to_string(),
        seed,
        ..Provenance::default()
    };
    policy.seal(GOLDEN);
    let (origin, env_steps, wall_s) = ("trained".to_string(), best.steps, best.wall_s.round());
    let config =
        if own == *first { String::new() } else { toml::to_string(&own).unwrap_or_default() };
    Ok((policy, NetworkOrigin { origin, env_steps, wall_s, config }))
}

/// Evaluates every mode (or all goals) of an expert.
///
/// # Errors
/// As [`evaluate_subject`].
pub fn evaluate_expert(
    maker: &TaskMaker,
    expert: &Expert,
    episodes_per_mode: usize,
    actions: Actions,
    seed: u64,
) -> Result<Evaluation, SimError> {
    let subjects = match &maker.info().modes {
        Modes::Discrete(modes) => (0..modes.len())
            .map(|mode| Subject::Mode { mode, code: expert.mode_code(mode) })
            .collect(),
        Modes::Continuous(_) => vec![Subject::Goals],
    };
    let mut modes = Vec::new();
    for (k, subject) in subjects.iter().enumerate() {
        let seed = seed::derive(seed, k as u64);
        modes.push(evaluate_subject(maker, expert, subject, episodes_per_mode, actions, seed)?);
    }
    let mean = modes.iter().map(|m| m.mean).sum::<f64>() / modes.len() as f64;
    Ok(Evaluation { episodes_per_mode, seed, mean, modes })
}

/// Return of the first `steps` steps of one episode of each mode (or of the middle goal).
///
/// # Errors
/// As [`evaluate`].
pub fn short_returns(
    maker: &TaskMaker,
    expert: &Expert,
    seed: u64,
    steps: usize,
) -> Result<Vec<f64>, SimError> {
    let plan = |code: Vec<f32>, goals: Vec<f64>| Plan {
        seed,
        code,
        goals,
        steps: Some(steps),
        ..Plan::default()
    };
    let plans: Vec<Plan> = match &maker.info().modes {
        Modes::Discrete(modes) => {
            (0..modes.len()).map(|mode| plan(expert.mode_code(mode), vec![])).collect()
        }
        Modes::Continuous(space) => {
            let middle: Vec<f64> =
                space.low.iter().zip(&space.high).map(|(l, h)| 0.5 * (l + h)).collect();
            let mut code = vec![0.0; space.dims()];
            goal_code(space, &middle, &mut code);
            vec![plan(code, middle)]
        }
    };
    let episodes = evaluate(maker, expert, &plans, &EvaluateOptions::default())?;
    let own = |(k, e): (usize, &sog_sim::rollout::Episode)| e.returns[k.min(e.returns.len() - 1)];
    Ok(episodes.iter().enumerate().map(own).collect())
}
