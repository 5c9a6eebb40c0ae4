//! A small valid policy file for documentation, tests and fuzzing.

use alloc::{string::ToString, vec, vec::Vec};

use super::{
    Golden, LatentKind, MeanScale, Network, NetworkShape, Normaliser, PolicyFile, Provenance, Terms,
};
use crate::contract::Contract;

/// A policy with random weights for the circles task (S = 10, Z = 3, H = 16, A = 2), sealed.
pub fn example(seed: u64) -> PolicyFile {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut uniform = |n: usize, scale: f32| -> Vec<f32> {
        (0..n)
            .map(|_| {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
            })
            .collect()
    };
    let (s, z, h, a) = (10, 3, 16, 2);
    let network = Network::from_fn(&NetworkShape::paper(s, z, h, a), |name, shape| {
        let scale = match name {
            "actor.latent.weight" => 1.0,
            _ if name.ends_with(".weight") => 0.5,
            _ => 0.1,
        };
        uniform(shape.iter().product(), scale)
    });
    let mut file = PolicyFile {
        contract: Contract {
            task: "circles".to_string(),
            obs_terms: Terms::new(&[("position", s)]),
            action_terms: Terms::new(&[("displacement", a)]),
            dt_s: 0.1,
            action_low: vec![-1.5; a],
            action_high: vec![1.5; a],
        },
        latent: LatentKind::OneHot(z),
        mean_scale: MeanScale::Tanh(1.5),
        network,
        normaliser: Normaliser { mean: uniform(s, 5.0), var: vec![4.0; s], clip: 10.0 },
        log_std: vec![-1.0; a],
        golden: Golden { obs: vec![0.0; s], latent: vec![1.0, 0.0, 0.0], action: vec![0.0; a] },
        provenance: Provenance { producer: "example".to_string(), seed, ..Default::default() },
    };
    file.seal(6);
    file
}
