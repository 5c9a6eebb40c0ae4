//! A small valid policy file for documentation, tests and fuzzing.

use alloc::{string::ToString, vec, vec::Vec};

use super::{Golden, LatentKind, MeanScale, Normaliser, PolicyFile, Provenance, Terms, Weights};

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
    let mut file = PolicyFile {
        task: "circles".to_string(),
        obs_terms: Terms::new(&[("position", s)]),
        action_terms: Terms::new(&[("displacement", a)]),
        dt_s: 0.1,
        latent: LatentKind::OneHot(z),
        mean_scale: MeanScale::Tanh(1.5),
        weights: Weights {
            state0_weight: uniform(h * s, 0.5),
            state0_bias: uniform(h, 0.1),
            state1_weight: uniform(h * h, 0.5),
            state1_bias: uniform(h, 0.1),
            latent_weight: uniform(h * z, 1.0),
            latent_bias: uniform(h, 0.1),
            mean_weight: uniform(a * h, 0.5),
            mean_bias: uniform(a, 0.1),
        },
        normaliser: Normaliser { mean: uniform(s, 5.0), var: vec![4.0; s], clip: 10.0 },
        action_low: vec![-1.5; a],
        action_high: vec![1.5; a],
        log_std: vec![-1.0; a],
        golden: Golden { obs: vec![0.0; s], latent: vec![1.0, 0.0, 0.0], action: vec![0.0; a] },
        provenance: Provenance { producer: "example".to_string(), seed, ..Default::default() },
    };
    file.seal(6);
    file
}
