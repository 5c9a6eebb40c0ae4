//! What several tests use.
#![allow(dead_code, unreachable_pub, clippy::unwrap_used)]

use sog_runtime::policy::{LatentKind, MeanScale, Network, NetworkShape, PolicyFile, example};
use sog_sim::tasks;

/// A policy file with random weights and `codes` codes that fits a task.
pub fn policy_for(id: &str, codes: usize) -> PolicyFile {
    let info = tasks::open(id).unwrap().info().clone();
    let (s, h, a) = (info.obs_dim(), 16, info.action_dim());
    let mut numbers = example(3).network.hidden[1].weight.clone().into_iter().cycle();
    let mut take = |n: usize| numbers.by_ref().take(n).collect::<Vec<f32>>();
    let mut file = example(3);
    file.contract.task = info.name().to_string();
    file.network = Network::from_fn(&NetworkShape::paper(s, codes, h, a), |_, shape| {
        take(shape.iter().product())
    });
    file.latent = LatentKind::OneHot(codes);
    file.mean_scale = MeanScale::Tanh(1.0);
    (file.normaliser.mean, file.normaliser.var) = (vec![0.0; s], vec![1.0; s]);
    let narrow = |bounds: &[f64]| bounds.iter().map(|&b| b as f32).collect();
    (file.contract.action_low, file.contract.action_high) =
        (narrow(&info.action_low), narrow(&info.action_high));
    file.log_std = vec![-1.0; a];
    (file.contract.obs_terms, file.contract.action_terms, file.contract.dt_s) =
        (info.obs_terms, info.action_terms, info.dt_s);
    file.golden.obs.clear();
    file.golden.latent.clear();
    file.seal(4);
    file
}
