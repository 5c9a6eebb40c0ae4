//! The demonstration file: tensors and metadata, as every program here writes them.
//!
//! | tensor | shape | type | |
//! |---|---|---|---|
//! | `observations` | `[N, T, S]` | f32 | zeros from `lengths[n]` on |
//! | `actions` | `[N, T, A]` | f32 | likewise |
//! | `lengths` | `[N]` | u32 | 1 to T |

use alloc::{
    collections::BTreeMap,
    format,
    string::{String, ToString},
    vec::Vec,
};

use crate::{
    contract::Contract,
    tensors::{Metadata, Tensor},
};

/// Schema of demonstration files.
pub const SCHEMA: &str = "sog.demonstrations/1";

/// The tensors of episodes: observations `[T_n, S]` and actions `[T_n, A]` of each.
pub fn tensors(
    episodes: &[(&[f32], &[f32])],
    (obs_dim, action_dim): (usize, usize),
) -> BTreeMap<String, Tensor> {
    let n = episodes.len();
    let lengths: Vec<usize> = episodes.iter().map(|(_, a)| a.len() / action_dim).collect();
    let t = lengths.iter().copied().max().unwrap_or(0);
    let mut observations = Vec::with_capacity(n * t * obs_dim);
    let mut actions = Vec::with_capacity(n * t * action_dim);
    for (i, (o, a)) in episodes.iter().enumerate() {
        observations.extend_from_slice(o);
        observations.resize((i + 1) * t * obs_dim, 0.0);
        actions.extend_from_slice(a);
        actions.resize((i + 1) * t * action_dim, 0.0);
    }
    let lengths: Vec<u32> =
        lengths.into_iter().map(|l| u32::try_from(l).unwrap_or(u32::MAX)).collect();
    BTreeMap::from([
        ("lengths".to_string(), Tensor::u32(&[n], &lengths)),
        ("observations".to_string(), Tensor::f32(&[n, t, obs_dim], &observations)),
        ("actions".to_string(), Tensor::f32(&[n, t, action_dim], &actions)),
    ])
}

/// The metadata that say what the demonstrations are of: `schema`, `task`, `dt`, `obs.terms`,
/// `action.terms`, and `action.low` and `action.high` where all bounds are finite.
pub fn metadata(contract: &Contract) -> Metadata {
    let mut metadata: Metadata = [
        ("schema", SCHEMA.to_string()),
        ("task", contract.task.clone()),
        ("dt", contract.dt_s.to_string()),
        ("obs.terms", contract.obs_terms.to_string()),
        ("action.terms", contract.action_terms.to_string()),
    ]
    .into_iter()
    .map(|(key, value)| (key.to_string(), value))
    .collect();
    let bounds = [("action.low", &contract.action_low), ("action.high", &contract.action_high)];
    if bounds.iter().all(|(_, numbers)| numbers.iter().all(|v| v.is_finite())) {
        metadata.extend(bounds.map(|(key, numbers)| (key.to_string(), list(numbers))));
    }
    metadata
}

/// Numbers as a JSON list.
pub fn list<N: ToString>(numbers: &[N]) -> String {
    let numbers: Vec<String> = numbers.iter().map(ToString::to_string).collect();
    format!("[{}]", numbers.join(","))
}
