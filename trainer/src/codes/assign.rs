//! Which code each trajectory of a minibatch trains while codes still organise themselves.
//!
//! Taking the smallest loss from the start (the paper's form) lets a code that happens to fit a
//! little better win everything, improve, and win more: other codes die, or two modes share one.

use rand::RngExt;
use rand_pcg::Pcg64;

use super::hungarian::best_assignment;

/// The code of smallest loss for each group whose `losses` `[groups, k]` are given, or its first
/// one unless the smallest loss lies below that by the share `margin`.
pub(crate) fn loyal(
    losses: &[f32],
    k: usize,
    first: impl Iterator<Item = usize>,
    margin: f32,
) -> Vec<usize> {
    let choose = |(row, first): (&[f32], usize)| {
        let best = (0..k).fold(first, |best, c| if row[c] < row[best] { c } else { best });
        if row[best] < (1.0 - margin) * row[first] { best } else { first }
    };
    losses.chunks_exact(k).zip(first).map(choose).collect()
}

/// The assignment of smallest total loss in which no code gets more than its share, rounded up.
pub(crate) fn balanced(losses: &[f32], k: usize) -> Vec<usize> {
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
pub(crate) fn boltzmann(losses: &[f32], k: usize, temperature: f32, rng: &mut Pcg64) -> Vec<usize> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_first_code_is_left_for_one_that_is_better_by_the_margin() {
        let losses = [4.0, 3.0, 5.0, 4.0, 1.9, 2.1, 1.0, f32::NAN, 0.4];
        let of = |margin| loyal(&losses, 3, [0, 0, 1].into_iter(), margin);
        // A loss that is no number never wins, and holds what it is the loss of.
        assert_eq!(of(0.0), [1, 1, 1]);
        assert_eq!(of(0.3), [0, 1, 1]);
        assert_eq!(of(0.5), [0, 1, 1]);
        assert_eq!(of(0.6), [0, 0, 1]);
        assert_eq!(of(1.0), [0, 0, 1]);
        assert_eq!(loyal(&[2.0, 1.0, 0.5], 3, [1].into_iter(), 0.0), [2]);
    }
}
