//! The updates that dominate training, at the sizes of `benches/pytorch.py`; the larger sizes are
//! those of expert training.

use std::time::Instant;

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use sog_engine::adam::{Adam, AdamConfig};
use sog_engine::discriminator::{Discriminator, DiscriminatorBatch, DiscriminatorConfig};
use sog_engine::mlp::Part;
use sog_engine::net::{Init, Mlp, MlpArch, PolicyArch, PolicyNet};
use sog_engine::ppo::{ActorCritic, Ppo, PpoBatch, PpoConfig};
use sog_engine::search::{CodeSearch, Groups};
use sog_engine::shard::Parallelism;
use sog_engine::sog_bc::{SogBatch, SogBc, SogPlan};

const S: usize = 27;
const K: usize = 6;
const A: usize = 8;

const MODES: [(Parallelism, &str); 2] =
    [(Parallelism::Serial, "1 thread"), (Parallelism::Rayon, "2 threads")];

fn normal(rng: &mut Pcg64, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

fn policy() -> PolicyNet {
    let arch = PolicyArch { obs: S, latent: K, hidden: 128, action: A, mean_scale: None };
    PolicyNet::new(arch, Init::default(), &mut Pcg64::seed_from_u64(1)).expect("valid shape")
}

/// Times `update` inside a pool of two threads.
fn bench(c: &mut Criterion, name: &str, mut update: impl FnMut() + Send) {
    let pool = rayon::ThreadPoolBuilder::new().num_threads(2).build().expect("two threads");
    c.bench_function(name, |b| {
        b.iter_custom(|updates| {
            pool.install(|| {
                let start = Instant::now();
                (0..updates).for_each(|_| update());
                start.elapsed()
            })
        });
    });
}

fn sog_bc(c: &mut Criterion) {
    let mut rng = Pcg64::seed_from_u64(2);
    for rows in [64, 2048] {
        let (obs, actions) = (normal(&mut rng, rows * S), normal(&mut rng, rows * A));
        let batch = SogBatch { obs: &obs, actions: &actions, groups: Groups::Shared };
        for (mode, name) in MODES {
            let mut net = policy();
            let mut adam = Adam::new(AdamConfig::default(), net.params.len());
            let mut sog = SogBc::new(net.arch()).with_parallelism(mode);
            let plan = SogPlan { search: CodeSearch::OneHot, lr: 1e-5, max_grad_norm: None };
            bench(c, &format!("sog_bc_update/{rows}/{name}"), || {
                sog.update(&mut net, &mut adam, plan, batch, &mut rng).expect("valid");
            });
        }
    }
}

fn discriminator(c: &mut Criterion) {
    let mut rng = Pcg64::seed_from_u64(3);
    let (expert, policy) = (normal(&mut rng, 128 * (S + A)), normal(&mut rng, 128 * (S + A)));
    let mix: Vec<f32> = (0..128).map(|_| rng.random_range(0.0..1.0)).collect();
    let batch = DiscriminatorBatch {
        expert: &[Part { data: &expert, width: S + A }],
        policy: &[Part { data: &policy, width: S + A }],
        mix: &mix,
    };
    for (mode, name) in MODES {
        let mut net =
            Mlp::new(MlpArch::discriminator(S + A), Init::default(), &mut rng).expect("valid");
        let mut adam = Adam::new(AdamConfig::default(), net.params.len());
        let mut pass = Discriminator::new(net.arch()).expect("valid").with_parallelism(mode);
        let config = DiscriminatorConfig::default();
        bench(c, &format!("discriminator_update/128/{name}"), || {
            pass.update(&mut net, &mut adam, &config, 1e-5, batch).expect("valid");
        });
    }
}

fn ppo(c: &mut Criterion) {
    let mut rng = Pcg64::seed_from_u64(4);
    for rows in [64, 2048] {
        let (obs, actions) = (normal(&mut rng, rows * S), normal(&mut rng, rows * A));
        let mut latents = vec![0.0; rows * K];
        latents.chunks_mut(K).for_each(|z| z[rng.random_range(0..K)] = 1.0);
        let (advantages, targets) = (normal(&mut rng, rows), normal(&mut rng, rows));
        let log_probs = vec![-15.0; rows];
        let batch = PpoBatch {
            obs: &obs,
            latents: &latents,
            actions: &actions,
            log_probs: &log_probs,
            advantages: &advantages,
            targets: &targets,
            values: &[],
        };
        for (mode, name) in MODES {
            let critic = Mlp::new(MlpArch::value(S), Init::default(), &mut rng).expect("valid");
            let mut nets = ActorCritic::new(policy(), critic, AdamConfig::default());
            let ppo = Ppo::new(nets.policy.arch(), nets.critic.arch()).expect("valid");
            let mut ppo = ppo.with_parallelism(mode);
            let config = PpoConfig::default();
            bench(c, &format!("ppo_update/{rows}/{name}"), || {
                ppo.update(&mut nets, &config, 1e-5, batch, None).expect("valid");
            });
        }
    }
}

criterion_group!(benches, sog_bc, discriminator, ppo);
criterion_main!(benches);
