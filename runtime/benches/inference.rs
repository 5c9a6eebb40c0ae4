//! Inference at the sizes of the tasks: one row, as in the control loop, and a batch, as in
//! rollouts.
#![allow(missing_docs, clippy::unwrap_used)]

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use sog_runtime::contract::Contract;
use sog_runtime::policy::{
    Golden, LatentKind, MeanScale, Network, NetworkShape, Normaliser, Policy, PolicyFile,
    Provenance, Terms,
};

fn policy(s: usize, k: usize, a: usize) -> Policy {
    let h = 128;
    let mut state = 1u64;
    let mut uniform = |n: usize| -> Vec<f32> {
        (0..n)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * 0.1
            })
            .collect()
    };
    Policy::new(&PolicyFile {
        contract: Contract {
            task: "bench".to_string(),
            obs_terms: Terms::new(&[("obs", s)]),
            action_terms: Terms::new(&[("action", a)]),
            dt_s: 0.05,
            action_low: vec![-1.0; a],
            action_high: vec![1.0; a],
        },
        latent: LatentKind::OneHot(k),
        mean_scale: MeanScale::None,
        network: Network::from_fn(&NetworkShape::paper(s, k, h, a), |_, shape| {
            uniform(shape.iter().product())
        }),
        normaliser: Normaliser { mean: uniform(s), var: vec![1.0; s], clip: 10.0 },
        log_std: vec![0.0; a],
        golden: Golden::default(),
        provenance: Provenance::default(),
    })
}

fn bench(c: &mut Criterion) {
    let mut group = c.benchmark_group("mean_actions");
    for (task, s, k, a) in
        [("ant-dir-6", 27, 6, 8), ("humanoid-dir-6", 376, 6, 17), ("circles", 10, 3, 2)]
    {
        let policy = policy(s, k, a);
        for n in [1, 64] {
            let (obs, mut latent) = (vec![0.3; n * s], vec![0.0; n * k]);
            latent.iter_mut().step_by(k).for_each(|z| *z = 1.0);
            let mut actions = vec![0.0; n * a];
            let mut workspace = policy.workspace(n);
            group.throughput(Throughput::Elements(n as u64));
            group.bench_function(BenchmarkId::new(task, n), |b| {
                b.iter(|| policy.mean_actions(&mut workspace, &obs, &latent, &mut actions));
            });
        }
    }
    group.finish();
}

criterion_group!(benches, bench);
criterion_main!(benches);
