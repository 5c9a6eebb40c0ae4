//! `sog bench`: what the engine takes for its updates, and rollouts.

use std::time::Instant;

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use sog_engine::shard::Parallelism;
use sog_runtime::policy::{LatentKind, Policy};
use sog_sim::{
    rollout::{EpisodeStart, Fleet, FleetConfig, Noise, sample_prior},
    tasks::{TaskMaker, TaskOptions},
};

use super::{
    OpenTask, Outcome,
    cuda::times::{Case, Kind},
    task_parser,
};
use crate::{
    config::{Algorithm, TrainConfig},
    device::Compute,
    export,
    normalise::ObsNormaliser,
    train::new_policy,
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
        "rollouts of {} on {} threads      {:>10.0} steps/s",
        report.task, report.threads, report.rollout_steps_per_s
    );
    Ok(Outcome::Good)
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
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
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
