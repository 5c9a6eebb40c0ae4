//! Which code each trajectory of a minibatch trains while codes still organise themselves.
//!
//! Taking the smallest loss from the start (the paper's form) lets a code that happens to fit a
//! little better win everything, improve, and win more: other codes die, or two modes share one.

use rand::RngExt;
use rand_pcg::Pcg64;

use crate::{
    config::{Assignment, CloningConfig},
    evaluate::assignment::best_assignment,
};

/// Codes for the groups whose `losses` `[groups, k]` are given, or `None` for the plain minimum;
/// `left` goes from 1 to 0 while the assignment gives way to it.
pub(super) fn choose(
    config: &CloningConfig,
    losses: &[f32],
    k: usize,
    left: f32,
    rng: &mut Pcg64,
) -> Option<Vec<usize>> {
    match config.assignment {
        // Clustered codes do not come from losses.
        Assignment::Plain | Assignment::Clustered => None,
        Assignment::Balanced => Some(balanced(losses, k)),
        Assignment::Annealed => Some(boltzmann(losses, k, config.temperature * left, rng)),
    }
}

/// The assignment of smallest total loss in which no code gets more than its share, rounded up.
fn balanced(losses: &[f32], k: usize) -> Vec<usize> {
    let groups = losses.len() / k;
    let share = groups.div_ceil(k);
    let value: Vec<f64> = losses
        .chunks_exact(k)
        .flat_map(|row| {
            row.iter().flat_map(move |&loss| std::iter::repeat_n(-f64::from(loss), share))
        })
        .collect();
    best_assignment(&value, groups, k * share)
        .into_iter()
        .map(|column| column.unwrap_or(0) / share)
        .collect()
}

/// Codes drawn with probability ∝ exp(−(loss − smallest)/(T·mean smallest loss)).
fn boltzmann(losses: &[f32], k: usize, temperature: f32, rng: &mut Pcg64) -> Vec<usize> {
    let smallest = |row: &[f32]| row.iter().copied().fold(f32::INFINITY, f32::min);
    let groups = losses.len() / k;
    let mean = losses.chunks_exact(k).map(smallest).sum::<f32>() / groups as f32;
    let scale = 1.0 / (temperature * mean).max(f32::MIN_POSITIVE);
    let draw = |row: &[f32]| {
        let least = smallest(row);
        let weights: Vec<f32> = row.iter().map(|l| (-(l - least) * scale).exp()).collect();
        let mut at = rng.random::<f32>() * weights.iter().sum::<f32>();
        weights
            .iter()
            .position(|w| {
                at -= w;
                at < 0.0
            })
            .unwrap_or(k - 1)
    };
    losses.chunks_exact(k).map(draw).collect()
}
