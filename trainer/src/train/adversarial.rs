//! The run of an adversarial algorithm: cloning, then PPO with the algorithm's hooks.

use std::path::Path;

use sog_engine::net::PolicyArch;
use sog_rl::{
    ppo::{Ppo, PpoSetup},
    run::{Checkpoint, Run, Snapshot, SnapshotError, write_atomic},
};
use sog_runtime::{
    policy::{LatentKind, MeanScale, Policy, PolicyFile},
    tensors::{self, Metadata, Tensor, TensorFile},
};
use sog_sim::{rollout::Batch, seed, task::Modes};

use super::{
    cloning::{assigned_codes, cloning},
    job::{BEST_FILE, Job, POLICY_FILE, write_policy},
};
use crate::{
    algorithms::{
        Imitation,
        adversary::Adversary,
        gail::Gail,
        infogail::InfoGail,
        sample::Sampler,
        sog_bc::{CodeSource, code_search},
        sog_gail::{ExpertCodes, SogGail},
        vae_gail::VaeGail,
    },
    codes::embed::{embed, losses_under},
    config::{Algorithm, SogCodes, SogGailConfig, SogUnits, TrainConfig},
    data::DataError,
    device::Compute,
    error::TrainError,
    evaluate::modes::{ModeOptions, evaluate_modes},
    export,
    nn::{ppo::DevicePpo, vae::TrajectoryVae},
    normalise::ObsNormaliser,
};

/// Streams of the run's seed.
const PPO_STREAM: u64 = 3;
const ADVERSARY_STREAM: u64 = 4;
const SOG_STREAM: u64 = 5;
const POSTERIOR_STREAM: u64 = 6;
const EVAL_STREAM: u64 = 7;
const VAE_STREAM: u64 = 8;
const EMBED_STREAM: u64 = 9;
const JUDGED_STREAM: u64 = 10;

/// Most that assigned codes may explain demonstrations worse than the best codes do, as a ratio of
/// losses.
const MAX_ASSIGNED_LOSS: f64 = 1.5;

/// Name of the file with the demonstrations' codes in a run directory of VAE-GAIL.
pub(crate) const CODES_FILE: &str = "codes.safetensors";

/// Name of the directory in a run directory that holds the run of the cloning before.
pub(crate) const PRETRAIN: &str = "pretrain";

/// Rollouts a code in the evaluations that only the metrics show.
const EVAL_ROLLOUTS: usize = 10;

/// Clones, then imitates adversarially.
///
/// # Errors
/// [`TrainError`].
pub(super) fn train(run: &mut Run, job: Job<'_>) -> Result<PolicyFile, TrainError> {
    let config = job.config;
    let latent = config.latent()?;
    let stream = |stream| seed::derive(config.seed, stream);
    let given = match config.algorithm {
        Algorithm::VaeGail => Some(demonstration_codes(run, job, stream(VAE_STREAM))?),
        _ => None,
    };
    let start = match job.start {
        Some(start) => {
            job.check_start(start)?;
            start.clone()
        }
        None => {
            let codes = match (&given, config.algorithm) {
                (Some(given), _) => CodeSource::Given(given.clone()),
                (None, Algorithm::InfoGail) => CodeSource::Prior,
                (None, _) => CodeSource::Search,
            };
            let dir = run.dir().join(PRETRAIN);
            let (mut before, _) = if dir.join("config.toml").is_file() {
                Run::resume_with(&dir, config, &config.extendable())?
            } else {
                (Run::create(&dir, config)?, config.clone())
            };
            cloning(&mut before, job, codes)?
        }
    };
    let widths = [job.demos.obs_dim(), job.demos.action_dim()];
    let normaliser = ObsNormaliser::new(start.normaliser.clone());
    let judged = match config.algorithm {
        Algorithm::SogGail if config.sog_gail.judge_codes => {
            let (net, search) = (export::network_of(&start)?, code_search(&config.cloning, latent));
            let seed = stream(JUDGED_STREAM);
            Some(embed(&net, &normaliser, search, job.demos, usize::MAX, seed)?.codes)
        }
        _ => given.clone(),
    };
    let adversary = Adversary::new(
        job.demos,
        &normaliser,
        judged.as_deref(),
        &config.discriminator,
        job.compute,
        stream(ADVERSARY_STREAM),
    )?
    .with_perturbed(config.ppo.perturbed_envs());
    if let Some(codes) = given {
        return imitate(run, job, &start, VaeGail::new(adversary, codes));
    }
    match config.algorithm {
        Algorithm::SogGail => {
            let size = (config.sog_gail.trajectories, config.sog_gail.batch);
            let net = export::network_of(&start)?;
            let search = code_search(&config.cloning, latent);
            let codes = match config.sog_gail.codes {
                SogCodes::Searched => ExpertCodes::Search(search),
                SogCodes::Assigned => {
                    let codes = assigned_codes(job, latent)?;
                    let seed = stream(EMBED_STREAM);
                    let best = embed(&net, &normaliser, search, job.demos, usize::MAX, seed)?;
                    let given = losses_under(&net, &normaliser, job.demos, &codes)?;
                    let mean = |losses: &[f32]| {
                        losses.iter().map(|&l| f64::from(l)).sum::<f64>() / losses.len() as f64
                    };
                    let (given, best) = (mean(&given), mean(&best.losses));
                    // Another seed's may be hidden by the noise of the actions; NaN shall not pass.
                    let same = start.provenance.seed == config.seed;
                    let explained = given <= MAX_ASSIGNED_LOSS * best;
                    if !(same && explained) {
                        return Err(TrainError::OtherCodes { seed: config.seed, given, best });
                    }
                    ExpertCodes::Given(codes)
                }
            };
            let sampler = Sampler::new(job.demos, normaliser, size, stream(SOG_STREAM));
            let arch: PolicyArch = net.arch().clone();
            let weight = sog_weight(&config.sog_gail, &explored(config, &start));
            let hooks = SogGail::new(adversary, sampler, &arch, latent, codes, weight);
            imitate(run, job, &start, hooks)
        }
        Algorithm::InfoGail => {
            let seed = stream(POSTERIOR_STREAM);
            let hooks =
                InfoGail::new(adversary, latent, widths, &config.infogail, job.compute, seed)?;
            imitate(run, job, &start, hooks)
        }
        _ => imitate(run, job, &start, Gail::new(adversary)),
    }
}

/// Log standard deviations `[A]` that PPO starts to explore with. It keeps them within its bounds
/// after each step; here from the first rollout on, or the first step would be taken on the
/// probabilities of another policy.
fn explored(config: &TrainConfig, start: &PolicyFile) -> Vec<f32> {
    let bounds = &config.ppo.update;
    start.log_std.iter().map(|l| l.clamp(bounds.log_std_min, bounds.log_std_max)).collect()
}

/// The factor of ‖â − a‖² for a policy that explores with `log_std` `[A]` at the start.
fn sog_weight(config: &SogGailConfig, log_std: &[f32]) -> f32 {
    let variance = match config.units {
        SogUnits::Actions => 1.0,
        SogUnits::Exploration => {
            log_std.iter().map(|l| (2.0 * l).exp()).sum::<f32>() / log_std.len().max(1) as f32
        }
    };
    config.lambda_s / variance
}

/// Codes `[N, Z]` of demonstrations that VAE-GAIL has written.
///
/// # Errors
/// [`DataError`] if the file cannot be read or holds other shapes.
pub(crate) fn read_codes(path: &Path, shape: [usize; 2]) -> Result<Vec<f32>, DataError> {
    let bytes =
        std::fs::read(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })?;
    let file = TensorFile::parse(&bytes)?;
    file.verify_checksum()?;
    Ok(file.f32_of("codes", &shape)?)
}

/// Codes `[N, Z]` of the demonstrations from the autoencoder, which is trained here once; a resumed
/// run reads them back.
fn demonstration_codes(run: &Run, job: Job<'_>, seed: u64) -> Result<Vec<f32>, TrainError> {
    let path = run.dir().join(CODES_FILE);
    let code = job.config.latent()?.width();
    if path.exists() {
        return Ok(read_codes(&path, [job.demos.len(), code])?);
    }
    let (config, normaliser) = (&job.config.vae_gail, job.normaliser()?);
    let device = job.compute.device();
    let mut vae = TrajectoryVae::new(job.demos, &normaliser, code, config, seed, &device)?;
    let finished = vae.train(seed, |update, loss| {
        (job.progress)(update, config.updates, &format!("autoencoder loss {loss:.4}"));
        !(job.interrupted)()
    })?;
    if !finished {
        return Err(TrainError::Interrupted { step: None });
    }
    let codes = vae.codes()?;
    let tensor = Tensor::f32(&[job.demos.len(), code], &codes);
    let bytes = tensors::serialize(&[("codes".to_string(), tensor)].into(), &Metadata::new());
    write_atomic(&path, &bytes)?;
    Ok(codes)
}

/// PPO and the algorithm's part, as one checkpoint.
struct State<'a, I> {
    ppo: &'a mut Ppo,
    imitation: &'a mut I,
}

impl<I: Imitation> Checkpoint for State<'_, I> {
    fn save(&self, to: &mut Snapshot) {
        to.nest("ppo", self.ppo);
        to.nest("imitation", self.imitation);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_nested("ppo", self.ppo)?;
        from.read_nested("imitation", self.imitation)
    }
}

/// Line 2 of Algorithm 3 and its like: iterations of PPO until the steps are used up.
fn imitate<I: Imitation>(
    run: &mut Run,
    job: Job<'_>,
    start: &PolicyFile,
    mut imitation: I,
) -> Result<PolicyFile, TrainError> {
    let (config, budget) = (job.config, &job.config.adversarial);
    let mut ppo = Ppo::new(job.environments()?, &config.ppo, &setup(config)?)?;
    if let Compute::Candle(device) = job.compute {
        ppo = ppo.with_updates(Box::new(DevicePpo::new(device.clone())));
    }
    ppo.start_from(start, Some(&explored(config, start)), 1)?;
    let mut saved_step = run.restore(&mut State { ppo: &mut ppo, imitation: &mut imitation })?;
    if saved_step.is_none() {
        let mut values = vec![];
        evaluate_for_metrics(job, start, 0, &mut values)?;
        run.log(0, &values)?;
    }
    while ppo.steps() < budget.total_steps {
        let diagnostics = ppo.iterate(&mut imitation)?;
        let (step, iteration) = (ppo.steps(), ppo.iterations());
        let done = step >= budget.total_steps;
        let mut values = diagnostics.named().to_vec();
        values.extend(imitation.metrics());
        // Where the task has no rewards, nobody can say how good the rollouts were.
        if job.task.modes.count() != Some(0) {
            values.push(("rollout/task_return", task_return(ppo.batch())));
        }
        let saved = iteration.is_multiple_of(budget.checkpoint_interval) || done;
        if iteration.is_multiple_of(budget.eval_interval) || saved {
            let policy = exported(&ppo, config, start);
            evaluate_for_metrics(job, &policy, iteration, &mut values)?;
        }
        run.log(step, &values)?;
        let shown = values.iter().find(|v| v.0 == "eval/return_mean");
        let shown = shown.map_or(String::new(), |v| format!("return {:.1}", v.1));
        (job.progress)(step, budget.total_steps, &shown);
        if saved {
            ppo.restart();
            let score = values.iter().find(|v| v.0 == "eval/return_mean").map_or(f64::NAN, |v| v.1);
            if run.would_be_best(score) {
                write_policy(run.dir(), BEST_FILE, &exported(&ppo, config, start))?;
            }
            let state = State { ppo: &mut ppo, imitation: &mut imitation };
            run.checkpoint_scored(step, &state, score)?;
            saved_step = Some(step);
        }
        // No checkpoint between those that are due: one begins all episodes anew, and whoever goes on
        // from it would not do what the run would have done.
        if (job.interrupted)() && !done {
            return Err(TrainError::Interrupted { step: saved_step });
        }
    }
    let file = exported(&ppo, config, start);
    write_policy(run.dir(), POLICY_FILE, &file)?;
    Ok(file)
}

fn setup(config: &TrainConfig) -> Result<PpoSetup, TrainError> {
    let scale = config.network.mean_scale;
    Ok(PpoSetup {
        latent: config.latent()?,
        architecture: config.network.arch,
        activation: config.network.activation,
        hidden: config.network.hidden.clone(),
        mean_scale: if scale > 0.0 { MeanScale::Tanh(scale) } else { MeanScale::None },
        last_gain: config.network.last_gain,
        total_steps: config.adversarial.total_steps,
        seed: seed::derive(config.seed, PPO_STREAM),
        ..PpoSetup::default()
    })
}

/// The present policy as a sealed file with its provenance.
fn exported(ppo: &Ppo, config: &TrainConfig, start: &PolicyFile) -> PolicyFile {
    let mut file = ppo.policy_file();
    file.provenance = start.provenance.clone();
    file.provenance.algorithm = config.algorithm.name().to_string();
    // Frozen all along, so that no rounding on the way matters.
    file.normaliser = start.normaliser.clone();
    file.seal(export::GOLDEN_ROWS);
    file
}

/// Mean over finished episodes of the return in the mode that it fits best: what the robot did,
/// exploration included. NaN where no episode ended.
fn task_return(batch: &Batch) -> f64 {
    let best = |returns: &[f64]| returns.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let (sum, count) =
        batch.episodes().fold((0.0, 0.0), |(s, n), e| (s + best(e.returns), n + 1.0));
    sum / count
}

/// Adds the matched return with the mean action, and that of the worst mode. No learner sees them.
fn evaluate_for_metrics(
    job: Job<'_>,
    file: &PolicyFile,
    iteration: u64,
    values: &mut Vec<(&'static str, f64)>,
) -> Result<(), TrainError> {
    let Modes::Discrete(modes) = &job.task.modes else { return Ok(()) };
    if modes.is_empty() {
        return Ok(());
    }
    let codes = match file.latent {
        LatentKind::OneHot(k) => k,
        LatentKind::None => 1,
        LatentKind::Gaussian(_) => return Ok(()),
    };
    let labels: Vec<String> = modes.iter().map(|m| m.label.clone()).collect();
    let seed = seed::derive(seed::derive(job.config.seed, EVAL_STREAM), iteration);
    let options = ModeOptions { rollouts: EVAL_ROLLOUTS * codes, seed, ..ModeOptions::default() };
    let policy = Policy::new(file);
    let report =
        evaluate_modes(job.environments()?, &policy, file.latent, &labels, &options, None)?;
    let worst = report.per_mode.iter().map(|m| m.mean).fold(f64::INFINITY, f64::min);
    values.extend([("eval/return_mean", report.return_mean), ("eval/return_worst_mode", worst)]);
    Ok(())
}
