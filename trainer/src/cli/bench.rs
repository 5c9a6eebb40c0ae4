//! `sog bench`: what the engine takes for its updates, and rollouts.

use std::{hint::black_box, time::Instant};

use anyhow::Result;
use clap::Args;
use rand::RngExt;
use serde::Serialize;
use sog_engine::{
    adam::{Adam, AdamConfig},
    discriminator::{Discriminator, DiscriminatorBatch, DiscriminatorConfig},
    mlp::Part,
    net::{Init, Mlp, MlpArch, PolicyArch, PolicyNet},
    ppo::{ActorCritic, Ppo, PpoBatch, PpoConfig},
    search::{CodeSearch, Groups},
    shard::Parallelism,
    sog_bc::{SogBatch, SogBc, SogPlan},
};
use sog_runtime::policy::{LatentKind, Policy};
use sog_sim::{
    rollout::{EpisodeStart, Fleet, FleetConfig, Noise, sample_prior},
    seed::{self, Rng},
    task::TaskInfo,
    tasks::{TaskMaker, TaskOptions},
};

use super::{Outcome, parse_task};
use crate::{
    config::{Algorithm, TrainConfig},
    export,
    normalise::ObsNormaliser,
    train::new_policy,
};

/// Sizes of the networks: S, K, A, H.
type Sizes = [usize; 4];

/// The reference: the ant with six directions.
const ANT: Sizes = [27, 6, 8, 128];

/// The largest: the humanoid with six directions.
const HUMANOID: Sizes = [376, 6, 17, 128];

#[derive(Args)]
pub(super) struct BenchArgs {
    /// Task of the rollouts
    #[arg(long, value_parser = parse_task, default_value = "circles")]
    task: TaskInfo,
    /// Seconds for each figure
    #[arg(long, default_value_t = 1.0)]
    seconds: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
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
    task: &'static str,
    /// Threads there are.
    threads: usize,
}

pub(super) fn run(args: &BenchArgs) -> Result<Outcome> {
    let of = |sizes, threads| -> Result<[f64; 3]> {
        let (seconds, rng) = (args.seconds, &mut seed::rng(0));
        Ok([
            sog_bc(seconds, sizes, threads, rng)?,
            ppo(seconds, sizes, threads, rng)?,
            discriminator(seconds, sizes, threads, rng)?,
        ])
    };
    let [sog_bc_update_us, ppo_update_us, discriminator_update_us] = of(ANT, Parallelism::Serial)?;
    let [sog_bc_update_s376_us, ppo_update_s376_us, discriminator_update_s376_us] =
        of(HUMANOID, Parallelism::Serial)?;
    // Inside the pool, as training is.
    let mut together = None;
    rayon::scope(|_| together = Some(of(ANT, Parallelism::Rayon)));
    let [
        sog_bc_update_all_threads_us,
        ppo_update_all_threads_us,
        discriminator_update_all_threads_us,
    ] = together.expect("the scope has run it")?;
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
        task: args.task.name(),
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

fn uniform(count: usize, rng: &mut Rng) -> Vec<f32> {
    (0..count).map(|_| rng.random_range(-1.0..1.0)).collect()
}

fn policy([obs, latent, action, hidden]: Sizes, rng: &mut Rng) -> Result<PolicyNet> {
    let arch = PolicyArch { obs, latent, hidden, action, mean_scale: None };
    Ok(PolicyNet::new(arch, Init::default(), rng)?)
}

fn sog_bc(seconds: f64, sizes: Sizes, threads: Parallelism, rng: &mut Rng) -> Result<f64> {
    let mut net = policy(sizes, rng)?;
    let (obs, actions) = (uniform(64 * sizes[0], rng), uniform(64 * sizes[2], rng));
    let mut adam = Adam::new(AdamConfig::default(), net.params.len());
    let mut sog = SogBc::new(net.arch()).with_parallelism(threads);
    let plan = SogPlan { search: CodeSearch::OneHot, lr: 1e-4, max_grad_norm: None };
    median_us(seconds, || {
        let batch = SogBatch { obs: &obs, actions: &actions, groups: Groups::Shared };
        black_box(sog.update(&mut net, &mut adam, plan, batch, rng)?);
        Ok(())
    })
}

fn ppo(seconds: f64, sizes: Sizes, threads: Parallelism, rng: &mut Rng) -> Result<f64> {
    let policy = policy(sizes, rng)?;
    let [s, z, a, _] = sizes;
    let critic = Mlp::new(MlpArch::value(s + z), Init::default(), rng)?;
    let mut update = Ppo::new(policy.arch(), critic.arch())?.with_parallelism(threads);
    let mut nets = ActorCritic::new(policy, critic, AdamConfig::default());
    let (obs, actions) = (uniform(64 * s, rng), uniform(64 * a, rng));
    let (latents, rows) = (uniform(64 * z, rng), uniform(64, rng));
    let log_probs = vec![-10.0; 64];
    let config = PpoConfig::default();
    median_us(seconds, || {
        let batch = PpoBatch {
            obs: &obs,
            latents: &latents,
            actions: &actions,
            log_probs: &log_probs,
            advantages: &rows,
            targets: &rows,
            values: &rows,
        };
        black_box(update.update(&mut nets, &config, 1e-6, batch, None)?);
        Ok(())
    })
}

fn discriminator(
    seconds: f64,
    [s, _, a, _]: Sizes,
    threads: Parallelism,
    rng: &mut Rng,
) -> Result<f64> {
    let mut net = Mlp::new(MlpArch::discriminator(s + a), Init::default(), rng)?;
    let mut adam = Adam::new(AdamConfig::default(), net.params.len());
    let mut engine = Discriminator::new(net.arch())?.with_parallelism(threads);
    let (expert, policy) = (uniform(128 * (s + a), rng), uniform(128 * (s + a), rng));
    let mix: Vec<f32> = (0..128).map(|_| rng.random()).collect();
    let config = DiscriminatorConfig::default();
    median_us(seconds, || {
        let expert = [Part { data: &expert, width: s + a }];
        let policy = [Part { data: &policy, width: s + a }];
        let batch = DiscriminatorBatch { expert: &expert, policy: &policy, mix: &mix };
        black_box(engine.update(&mut net, &mut adam, &config, 1e-4, batch)?);
        Ok(())
    })
}

/// Environment steps a second with a random policy that explores a little.
fn rollouts(args: &BenchArgs) -> Result<f64> {
    let maker = TaskMaker::new(args.task.id, &TaskOptions::default())?;
    let config = TrainConfig::defaults(&args.task, Algorithm::SogBc);
    let latent = config.latent()?;
    let (s, a) = (args.task.obs_dim(), args.task.action_dim());
    let identity = ObsNormaliser::identity(s).frozen().clone();
    let net = new_policy(&config, &args.task, 0)?;
    let file = export::policy_file(&net, &identity, latent, &args.task, &config);
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
