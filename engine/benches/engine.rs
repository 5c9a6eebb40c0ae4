//! The updates that dominate training, at the sizes of `benches/pytorch.py`.

use criterion::{Criterion, criterion_group, criterion_main};
use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64;
use sog_engine::adam::{Adam, AdamConfig};
use sog_engine::net::{Init, PolicyArch, PolicyNet};
use sog_engine::search::{CodeSearch, Groups};
use sog_engine::sog_bc::{SogBatch, SogBc, SogPlan};

const S: usize = 27;
const K: usize = 6;
const A: usize = 8;

fn normal(rng: &mut Pcg64, n: usize) -> Vec<f32> {
    (0..n).map(|_| rng.sample(StandardNormal)).collect()
}

fn policy() -> PolicyNet {
    let arch = PolicyArch { obs: S, latent: K, hidden: 128, action: A, mean_scale: None };
    PolicyNet::new(arch, Init::default(), &mut Pcg64::seed_from_u64(1)).expect("valid shape")
}

fn sog_bc(c: &mut Criterion) {
    let mut rng = Pcg64::seed_from_u64(2);
    for rows in [64, 2048] {
        let (obs, actions) = (normal(&mut rng, rows * S), normal(&mut rng, rows * A));
        let batch = SogBatch { obs: &obs, actions: &actions, groups: Groups::Shared };
        let mut net = policy();
        let mut adam = Adam::new(AdamConfig::default(), net.params.len());
        let mut sog = SogBc::new(net.arch());
        let plan = SogPlan { search: CodeSearch::OneHot, lr: 1e-5, max_grad_norm: None };
        c.bench_function(&format!("sog_bc_update/{rows}"), |b| {
            b.iter(|| sog.update(&mut net, &mut adam, plan, batch, &mut rng));
        });
    }
}

criterion_group!(benches, sog_bc);
criterion_main!(benches);
