//! `sog bench`: what the engine takes for its updates, and rollouts.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use sog_engine::shard::Parallelism;
use sog_runtime::policy::{LatentKind, Policy};
use sog_sim::{
    rollout::{EpisodeStart, Fleet, FleetConfig, Noise, sample_prior},
    seed,
    tasks::{TaskMaker, TaskOptions},
};

use super::{
    OpenTask, Outcome,
    cuda::times::{Case, Kind, uniform},
    task_parser,
};
use crate::{
    algorithms::sog_bc::{SogBc, Together},
    config::{Algorithm, CloningConfig, TrainConfig},
    data::Demonstrations,
    device::Compute,
    export,
    normalise::ObsNormaliser,
    train::{in_the_pool, new_policy},
};

/// Widths S, K, A of the reference, the ant with six directions.
const ANT: [usize; 3] = [27, 6, 8];

/// The largest: the humanoid with six directions.
const HUMANOID: [usize; 3] = [376, 6, 17];

#[derive(Args)]
pub(super) struct BenchArgs {
    /// Task of the rollouts
    #[arg(long, value_parser = task_parser(), default_value = "circles")]
    task: OpenTask,
    /// Seconds for each figure
    #[arg(long, default_value = "1", value_parser = parse_seconds)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

fn parse_seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|&s: &f64| s > 0.0 && s <= 86_400.0);
    seconds.ok_or_else(|| "need a number of seconds above 0, at most a day".to_string())
}

/// What `--json` prints. Updates: S = 27, K = 6, A = 8, H = 128 (`_s376`: S = 376, A = 17), one
/// thread; the median.
#[derive(Serialize)]
struct Report {
    /// SOG-BC, batch 64 under one code, microseconds.
    sog_bc_update_us: f64,
    /// PPO, minibatch 64, microseconds.
    ppo_update_us: f64,
    /// Discriminator with gradient penalty, batch 128, microseconds.
    discriminator_update_us: f64,
    /// The same three for the humanoid.
    sog_bc_update_s376_us: f64,
    ppo_update_s376_us: f64,
    discriminator_update_s376_us: f64,
    /// The first three on all threads.
    sog_bc_update_all_threads_us: f64,
    ppo_update_all_threads_us: f64,
    discriminator_update_all_threads_us: f64,
    /// SOG-BC in training on one thread and on all: drawing the minibatch, code, metrics and all. In
    /// turns with updates alone.
    sog_bc_training_us: f64,
    sog_bc_training_all_threads_us: f64,
    /// Updates a second in training over those alone: the median over turns.
    sog_bc_training_speed: f64,
    sog_bc_training_all_threads_speed: f64,
    /// Environment steps a second, all threads.
    rollout_steps_per_s: f64,
    /// Task of the rollouts.
    task: String,
    /// Threads there are.
    threads: usize,
}

pub(super) fn run(args: &BenchArgs) -> Result<Outcome> {
    let of = |widths, threads| -> Result<[f64; 3]> {
        let us = |kind, rows| {
            let case = Case { widths, rows, ..Case::ant(kind) };
            case.median_us(&Compute::Engine, threads, args.seconds)
        };
        Ok([us(Kind::SogBc, 64)?, us(Kind::Ppo, 64)?, us(Kind::Discriminator, 128)?])
    };
    let [sog_bc_update_us, ppo_update_us, discriminator_update_us] = of(ANT, Parallelism::Serial)?;
    let [sog_bc_update_s376_us, ppo_update_s376_us, discriminator_update_s376_us] =
        of(HUMANOID, Parallelism::Serial)?;
    let [
        sog_bc_update_all_threads_us,
        ppo_update_all_threads_us,
        discriminator_update_all_threads_us,
    ] = of(ANT, Parallelism::Rayon)?;
    let one = rayon::ThreadPoolBuilder::new().num_threads(1).build()?;
    let (sog_bc_training_us, sog_bc_training_speed) = one.install(|| training(args.seconds))?;
    let (sog_bc_training_all_threads_us, sog_bc_training_all_threads_speed) =
        in_the_pool(|| training(args.seconds))?;
    let report = Report {
        sog_bc_update_us,
        ppo_update_us,
        discriminator_update_us,
        sog_bc_update_s376_us,
        ppo_update_s376_us,
        discriminator_update_s376_us,
        sog_bc_update_all_threads_us,
        ppo_update_all_threads_us,
        discriminator_update_all_threads_us,
        sog_bc_training_us,
        sog_bc_training_all_threads_us,
        sog_bc_training_speed,
        sog_bc_training_all_threads_speed,
        rollout_steps_per_s: rollouts(args)?,
        task: args.task.info().name().to_string(),
        threads: rayon::current_num_threads(),
    };
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(Outcome::Good);
    }
    println!(
        "H = 128, K = 6, median in us       S = 27, A = 8   {} threads   S = 376, A = 17",
        report.threads
    );
    let rows = [
        (
            "SOG-BC update, batch 64",
            [sog_bc_update_us, sog_bc_update_all_threads_us, sog_bc_update_s376_us],
        ),
        (
            "PPO update, minibatch 64",
            [ppo_update_us, ppo_update_all_threads_us, ppo_update_s376_us],
        ),
        (
            "discriminator update, batch 128",
            [
                discriminator_update_us,
                discriminator_update_all_threads_us,
                discriminator_update_s376_us,
            ],
        ),
    ];
    for (name, [small, together, large]) in rows {
        println!("{name:<35}{small:>13.1}{together:>12.1}{large:>18.1}");
    }
    println!(
        "{:<35}{:>13.1}{:>12.1}",
        "SOG-BC in training, batch 64",
        report.sog_bc_training_us,
        report.sog_bc_training_all_threads_us
    );
    println!(
        "{:<35}{:>11.1} %{:>10.1} %",
        "  of the updates a second alone",
        100.0 * report.sog_bc_training_speed,
        100.0 * report.sog_bc_training_all_threads_speed
    );
    println!(
        "rollouts of {} on {} threads      {:>10.0} steps/s",
        report.task, report.threads, report.rollout_steps_per_s
    );
    Ok(Outcome::Good)
}

/// Demonstrations that training is timed on, and their length.
const TRAJECTORIES: usize = 100;
const STEPS: usize = 200;

/// Seconds of a turn: short, so that what else runs on the machine falls into few of them.
const TURN: f64 = 0.004;

/// SOG-BC as `sog train` does it, one trajectory of 64 rows a minibatch, in turns with the update alone, by the
/// threads of the pool: median microseconds an update, and the median ratio of their speeds.
fn training(seconds: f64) -> Result<(f64, f64)> {
    let mut alone = Case::ant(Kind::SogBc).update(&Compute::Engine, Parallelism::Rayon)?;
    let (mut rng, [s, k, a]) = (seed::rng(0), ANT);
    let rows = TRAJECTORIES * STEPS;
    let (obs, actions) = (uniform(rows * s, &mut rng), uniform(rows * a, &mut rng));
    let demos = Demonstrations::packed("none", (s, a), &[STEPS; TRAJECTORIES], obs, actions);
    let config =
        CloningConfig { trajectories: 1, assignment_share: 0.0, ..CloningConfig::default() };
    let net = Case::ant(Kind::SogBc).policy(&mut rng)?;
    let normaliser = ObsNormaliser::of(&demos);
    let mut learner = SogBc::new(&demos, normaliser, config, LatentKind::OneHot(k), net, 0);
    let mut together = Together::new(&Compute::Engine, learner.net.arch());
    let interval = CloningConfig::default().log_interval;
    let mut trained = || -> Result<()> {
        together.update(std::iter::once(&mut learner))?;
        match learner.step.is_multiple_of(interval) {
            true => Ok(together.count(std::iter::once(&mut learner))?),
            false => Ok(()),
        }
    };
    let turn = |work: &mut dyn FnMut() -> Result<()>| -> Result<f64> {
        let (begin, mut updates) = (Instant::now(), 0.0);
        while updates == 0.0 || begin.elapsed().as_secs_f64() < TURN {
            (0..10).try_for_each(|_| work())?;
            updates += 10.0;
        }
        Ok(begin.elapsed().as_secs_f64() / updates)
    };
    let (begin, mut times, mut speeds) = (Instant::now(), vec![], vec![]);
    while begin.elapsed().as_secs_f64() < 2.0 * seconds || times.is_empty() {
        let (update, training) = (turn(&mut *alone)?, turn(&mut trained)?);
        times.push(training * 1e6);
        speeds.push(update / training);
    }
    Ok((median(times), median(speeds)))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Median time of `work` in microseconds, over `seconds` after a warm-up.
fn median_us(seconds: f64, mut work: impl FnMut() -> Result<()>) -> Result<f64> {
    for _ in 0..20 {
        work()?;
    }
    let (begin, mut times) = (Instant::now(), vec![]);
    while begin.elapsed().as_secs_f64() < seconds || times.is_empty() {
        let before = Instant::now();
        work()?;
        times.push(before.elapsed().as_secs_f64() * 1e6);
    }
    Ok(median(times))
}

/// Environment steps a second with a random policy that explores a little.
fn rollouts(args: &BenchArgs) -> Result<f64> {
    let maker = TaskMaker::of(&args.task, &TaskOptions::default())?;
    let config = TrainConfig::defaults(&args.task, Algorithm::SogBc)?;
    let task = args.task.info();
    let latent = config.latent()?;
    let (s, a) = (task.obs_dim(), task.action_dim());
    let identity = ObsNormaliser::identity(s).frozen().clone();
    let net = new_policy(&config, task, 0)?;
    let file = export::policy_file(&net, &identity, latent, task, &config);
    let fleet = FleetConfig { envs: 32, latent_dim: latent.width(), ..FleetConfig::default() };
    let mut fleet = Fleet::new(&maker, &fleet)?;
    let mut batch = fleet.batch(64);
    let policy = Policy::new(&file);
    let rule = |start: &mut EpisodeStart<'_>| begin(latent, start);
    let noise = vec![0.1; a];
    let us = median_us(args.seconds, || {
        Ok(fleet.run(&policy, Noise::Gaussian(&noise), &rule, &mut batch)?)
    })?;
    Ok(batch.rows() as f64 / us * 1e6)
}

fn begin(latent: LatentKind, start: &mut EpisodeStart<'_>) {
    sample_prior(latent, start.rng, start.code);
}
