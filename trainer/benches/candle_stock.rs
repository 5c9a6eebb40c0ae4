//! The engine's fused updates against the same updates written in candle's stock operations, in
//! one run: eager operations with automatic differentiation, `AdamW` of candle-nn over one tensor
//! per layer, and a search that evaluates every code on every state in one batch.
//!
//! candle chooses its threads once for the process, so the program runs itself with
//! `RAYON_NUM_THREADS` 1 and then 2 (one of them if the variable is set), and prints the ratios.

use std::{process::Command, time::Instant};

use candle_core::{D, DType, Device, Result, Tensor, Var};
use candle_nn::{AdamW, Linear, Module, Optimizer, ParamsAdamW, VarBuilder, VarMap, linear};
use criterion::Criterion;
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use sog_engine::{
    adam::{Adam, AdamConfig},
    discriminator::{Discriminator, DiscriminatorBatch, DiscriminatorConfig},
    mlp::Part,
    net::{Init, LEAKY_SLOPE, Mlp, MlpArch, PolicyArch, PolicyNet},
    ppo::{ActorCritic, Ppo, PpoBatch, PpoConfig},
    search::{CodeSearch, Groups},
    shard::Parallelism,
    sog_bc::{Codes, SogBatch, SogBc, SogPlan},
};

const S: usize = 27;
const K: usize = 6;
const A: usize = 8;
const H: usize = 128;

/// Rows of a minibatch: of demonstrations and rollouts, and of the discriminator.
const ROWS: usize = 64;
const PAIRS: usize = 128;

/// ½ log 2π
const HALF_LOG_TAU: f64 = 0.918_938_533_204_672_8;

const THREADS: &str = "RAYON_NUM_THREADS";

fn main() {
    let Some(threads) = std::env::var_os(THREADS) else {
        let program = std::env::current_exe().expect("this program has a path");
        for threads in ["1", "2"] {
            let mut again = Command::new(&program);
            again.args(std::env::args_os().skip(1)).env(THREADS, threads);
            assert!(again.status().expect("it can be started").success());
        }
        return;
    };
    let threads = threads.to_string_lossy().into_owned();
    let mode = if threads == "1" { Parallelism::Serial } else { Parallelism::Rayon };
    let mut c = Criterion::default().configure_from_args();
    let rows = [
        ("SOG-BC, batch 64", sog_bc(&mut c, &threads, mode)),
        ("discriminator with penalty, batch 128", discriminator(&mut c, &threads, mode)),
        ("PPO, minibatch 64", ppo(&mut c, &threads, mode)),
    ];
    c.final_summary();
    println!(
        "\nRAYON_NUM_THREADS={threads}, medians{:>22}{:>14}{:>10}",
        "engine", "stock", "ratio"
    );
    for (name, [engine, stock]) in rows {
        println!("{name:<40}{engine:>10.1} us{stock:>11.1} us{:>8.1} x", stock / engine);
    }
}

/// Median of microseconds an update, over criterion's samples.
fn timed(c: &mut Criterion, name: &str, mut update: impl FnMut() + Send) -> f64 {
    let mut samples = vec![];
    c.bench_function(name, |b| {
        b.iter_custom(|updates| {
            // Inside the pool, as in training.
            let elapsed = rayon::scope(|_| {
                let start = Instant::now();
                (0..updates).for_each(|_| update());
                start.elapsed()
            });
            samples.push(elapsed.as_secs_f64() * 1e6 / updates as f64);
            elapsed
        });
    });
    samples.sort_by(f64::total_cmp);
    samples.get(samples.len() / 2).copied().unwrap_or(f64::NAN)
}

fn normal(rng: &mut Pcg64, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

fn tensor(values: &[f32], width: usize) -> Tensor {
    Tensor::from_slice(values, (values.len() / width, width), &Device::Cpu).expect("whole rows")
}

fn policy() -> PolicyNet {
    let arch = PolicyArch::paper(S, K, H, A);
    PolicyNet::new(arch, Init::default(), &mut Pcg64::seed_from_u64(1)).expect("valid shape")
}

/// Adam's settings of the engine.
fn adam(lr: f64) -> ParamsAdamW {
    ParamsAdamW { lr, weight_decay: 0.0, ..ParamsAdamW::default() }
}

/// The two-branch policy in candle-nn's layers.
struct StockPolicy {
    state: [Linear; 2],
    latent: Linear,
    mean: Linear,
    log_std: Tensor,
}

impl StockPolicy {
    fn new(vars: &VarBuilder<'_>) -> Result<Self> {
        Ok(Self {
            state: [linear(S, H, vars.pp("state0"))?, linear(H, H, vars.pp("state1"))?],
            latent: linear(K, H, vars.pp("latent"))?,
            mean: linear(H, A, vars.pp("mean"))?,
            log_std: vars.get_with_hints(A, "log_std", candle_nn::Init::Const(-0.5))?,
        })
    }

    fn forward(&self, obs: &Tensor, codes: &Tensor) -> Result<Tensor> {
        let base = self.state[1].forward(&self.state[0].forward(obs)?.tanh()?)?;
        self.mean.forward(&(base + self.latent.forward(codes)?)?.tanh()?)
    }
}

fn new_vars() -> (VarMap, VarBuilder<'static>) {
    let map = VarMap::new();
    let vars = VarBuilder::from_varmap(&map, DType::F32, &Device::Cpu);
    (map, vars)
}

fn sog_bc(c: &mut Criterion, threads: &str, mode: Parallelism) -> [f64; 2] {
    let mut rng = Pcg64::seed_from_u64(2);
    let (obs, actions) = (normal(&mut rng, ROWS * S), normal(&mut rng, ROWS * A));

    let mut net = policy();
    let mut optimiser = Adam::new(AdamConfig::default(), net.params.len());
    let mut sog = SogBc::new(net.arch()).with_parallelism(mode);
    let plan = SogPlan { codes: Codes::Search(CodeSearch::OneHot), lr: 1e-5, max_grad_norm: None };
    let batch = SogBatch { obs: &obs, actions: &actions, groups: Groups::Shared };
    let engine = timed(c, &format!("sog_bc/{threads}/engine"), || {
        sog.update(&mut net, &mut optimiser, plan, batch, &mut rng).expect("valid");
    });

    let (map, vars) = new_vars();
    let net = StockPolicy::new(&vars).expect("valid shape");
    let mut optimiser = AdamW::new(map.all_vars(), adam(1e-5)).expect("variables");
    let (obs, actions) = (tensor(&obs, S), tensor(&actions, A));
    let mut update = || -> Result<()> {
        // Every state under every code [K·rows, ·], the codes outermost.
        let codes = Tensor::eye(K, DType::F32, &Device::Cpu)?;
        let all = codes.unsqueeze(1)?.broadcast_as((K, ROWS, K))?.reshape((K * ROWS, K))?;
        let means = net.forward(&obs.repeat((K, 1))?, &all)?.reshape((K, ROWS, A))?;
        let losses = means.broadcast_sub(&actions.unsqueeze(0)?)?.sqr()?.sum(D::Minus1)?;
        let best = losses.mean(1)?.argmin(0)?.to_scalar::<u32>()? as usize;
        let code = codes.narrow(0, best, 1)?.broadcast_as((ROWS, K))?.contiguous()?;
        let means = net.forward(&obs, &code)?;
        let loss = (means - &actions)?.sqr()?.sum(D::Minus1)?.mean_all()?;
        optimiser.backward_step(&loss)
    };
    let stock = timed(c, &format!("sog_bc/{threads}/candle"), || update().expect("candle"));
    [engine, stock]
}

/// A discriminator or value network in candle-nn's layers.
fn chain(inputs: usize, vars: &VarBuilder<'_>) -> Result<[Linear; 3]> {
    Ok([linear(inputs, H, vars.pp("0"))?, linear(H, H, vars.pp("1"))?, linear(H, 1, vars.pp("2"))?])
}

fn discriminator(c: &mut Criterion, threads: &str, mode: Parallelism) -> [f64; 2] {
    const WIDTH: usize = S + A;
    let mut rng = Pcg64::seed_from_u64(3);
    let (expert, policy) = (normal(&mut rng, PAIRS * WIDTH), normal(&mut rng, PAIRS * WIDTH));
    let mix: Vec<f32> = (0..PAIRS).map(|_| rng.random()).collect();

    let arch = MlpArch::discriminator(WIDTH);
    let mut net = Mlp::new(arch, Init::default(), &mut rng).expect("valid shape");
    let mut optimiser = Adam::new(AdamConfig::default(), net.params.len());
    let mut pass = Discriminator::new(net.arch()).expect("valid shape").with_parallelism(mode);
    let batch = DiscriminatorBatch {
        expert: &[Part { data: &expert, width: WIDTH }],
        policy: &[Part { data: &policy, width: WIDTH }],
        mix: &mix,
    };
    let config = DiscriminatorConfig::default();
    let engine = timed(c, &format!("discriminator/{threads}/engine"), || {
        pass.update(&mut net, &mut optimiser, &config, 1e-5, batch).expect("valid");
    });

    let (map, vars) = new_vars();
    let net = chain(WIDTH, &vars).expect("valid shape");
    let mut optimiser = AdamW::new(map.all_vars(), adam(1e-5)).expect("variables");
    let (expert, policy, mix) = (tensor(&expert, WIDTH), tensor(&policy, WIDTH), tensor(&mix, 1));
    let slope = f64::from(LEAKY_SLOPE);
    let leaky = |x: &Tensor| candle_nn::ops::leaky_relu(x, slope);
    let mask = |z: &Tensor| (z.gt(0.0)?.to_dtype(DType::F32)? * (1.0 - slope))? + slope;
    let softplus = |x: &Tensor| x.relu()? + (x.abs()?.neg()?.exp()? + 1.0)?.log()?;
    let mut update = || -> Result<()> {
        let logits =
            |x: &Tensor| net[2].forward(&leaky(&net[1].forward(&leaky(&net[0].forward(x)?)?)?)?);
        let bce = (softplus(&logits(&expert)?.neg()?)?.mean_all()?
            + softplus(&logits(&policy)?)?.mean_all()?)?;
        let mixed =
            (expert.broadcast_mul(&mix)? + policy.broadcast_mul(&mix.affine(-1.0, 1.0)?)?)?;
        // No double backward: the input's gradient as a product of weights with fixed masks.
        let below = net[0].forward(&mixed)?.detach();
        let above = net[1].forward(&leaky(&below)?)?.detach();
        let slopes = mask(&above)?.broadcast_mul(net[2].weight())?.matmul(net[1].weight())?;
        let slopes = (slopes * mask(&below)?)?.matmul(net[0].weight())?;
        let norms = slopes.sqr()?.sum(D::Minus1)?.sqrt()?;
        let penalty = ((norms - 1.0)?.sqr()?.mean_all()? * 10.0)?;
        optimiser.backward_step(&(bce + penalty)?)
    };
    let stock = timed(c, &format!("discriminator/{threads}/candle"), || update().expect("candle"));
    [engine, stock]
}

fn ppo(c: &mut Criterion, threads: &str, mode: Parallelism) -> [f64; 2] {
    let mut rng = Pcg64::seed_from_u64(4);
    let (obs, actions) = (normal(&mut rng, ROWS * S), normal(&mut rng, ROWS * A));
    let mut codes = vec![0.0; ROWS * K];
    codes.chunks_mut(K).for_each(|z| z[rng.random_range(0..K)] = 1.0);
    let (advantages, targets) = (normal(&mut rng, ROWS), normal(&mut rng, ROWS));
    let log_probs = vec![-15.0; ROWS];

    let critic = Mlp::new(MlpArch::value(S), Init::default(), &mut rng).expect("valid shape");
    let mut nets = ActorCritic::new(policy(), critic, AdamConfig::default());
    let pass = Ppo::new(nets.policy.arch(), nets.critic.arch()).expect("valid shapes");
    let (mut pass, config) = (pass.with_parallelism(mode), PpoConfig::default());
    let batch = PpoBatch {
        obs: &obs,
        latents: &codes,
        actions: &actions,
        log_probs: &log_probs,
        advantages: &advantages,
        targets: &targets,
        values: &[],
    };
    let engine = timed(c, &format!("ppo/{threads}/engine"), || {
        pass.update(&mut nets, &config, 1e-5, batch, None).expect("valid");
    });

    let (map, vars) = new_vars();
    let net = StockPolicy::new(&vars.pp("actor")).expect("valid shape");
    let critic = chain(S, &vars.pp("critic")).expect("valid shape");
    let variables = map.all_vars();
    let mut optimiser = AdamW::new(variables.clone(), adam(1e-5)).expect("variables");
    let vector = |x: &[f32]| Tensor::from_slice(x, ROWS, &Device::Cpu).expect("a vector");
    let (obs, codes, actions) = (tensor(&obs, S), tensor(&codes, K), tensor(&actions, A));
    let (advantages, targets, old) = (vector(&advantages), vector(&targets), vector(&log_probs));
    let mut update = || -> Result<()> {
        let u =
            (&actions - net.forward(&obs, &codes)?)?.broadcast_mul(&net.log_std.neg()?.exp()?)?;
        let log_norm = (&net.log_std + HALF_LOG_TAU)?.sum_all()?;
        let log_prob = (u.sqr()?.sum(D::Minus1)? * -0.5)?.broadcast_sub(&log_norm)?;
        let ratio = (log_prob - &old)?.exp()?;
        let clipped = (ratio.clamp(0.8, 1.2)? * &advantages)?;
        let policy_loss = (ratio * &advantages)?.minimum(&clipped)?.mean_all()?.neg()?;
        let hidden = critic[1].forward(&critic[0].forward(&obs)?.tanh()?)?.tanh()?;
        let values = critic[2].forward(&hidden)?.squeeze(1)?;
        let value_loss = ((values - &targets)?.sqr()?.mean_all()? * 0.5)?;
        let mut gradients = (policy_loss + (value_loss * 0.5)?)?.backward()?;
        clip(&variables, &mut gradients, 0.5)?;
        optimiser.step(&gradients)
    };
    let stock = timed(c, &format!("ppo/{threads}/candle"), || update().expect("candle"));
    [engine, stock]
}

/// Brings the joint norm of the gradients down to `max`.
fn clip(
    variables: &[Var],
    gradients: &mut candle_core::backprop::GradStore,
    max: f32,
) -> Result<()> {
    let mut square = 0.0;
    for variable in variables {
        if let Some(gradient) = gradients.get(variable) {
            square += gradient.sqr()?.sum_all()?.to_scalar::<f32>()?;
        }
    }
    if square.sqrt() > max {
        let scale = f64::from(max / (square.sqrt() + 1e-6));
        for variable in variables {
            if let Some(gradient) = gradients.remove(variable) {
                gradients.insert(variable, (gradient * scale)?);
            }
        }
    }
    Ok(())
}
