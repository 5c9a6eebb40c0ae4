//! Codes beside modes: how many demonstrations of each mode take which code.

use serde::{Deserialize, Serialize};

/// Which codes the demonstrations of each mode take, where both are discrete.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Confusion {
    /// Trajectories by code and mode, `[K][modes]`.
    pub counts: Vec<Vec<usize>>,
}

impl Confusion {
    /// Counts trajectories with the one-hot `codes` `[N, k]` and the `modes` `[N]`, of which there
    /// are `mode_count`.
    pub fn new(codes: &[f32], k: usize, modes: &[u32], mode_count: usize) -> Self {
        let mut counts = vec![vec![0; mode_count]; k];
        for (code, &mode) in codes.chunks_exact(k).zip(modes) {
            counts[code.iter().position(|&z| z > 0.5).unwrap_or(0)][mode as usize] += 1;
        }
        Self { counts }
    }

    /// Share of the trajectories whose code is used for their mode more than for any other.
    pub fn purity(&self) -> f64 {
        let all: usize = self.counts.iter().flatten().sum();
        let best: usize = self.counts.iter().filter_map(|row| row.iter().max()).sum();
        best as f64 / all.max(1) as f64
    }

    /// Modes that have a code of their own: one that most of their trajectories take and no other
    /// mode's do.
    pub fn modes_found(&self) -> usize {
        let modes = self.counts.first().map_or(0, Vec::len);
        let total = |mode: usize| self.counts.iter().map(|row| row[mode]).sum::<usize>();
        let most = |row: &&Vec<usize>, mode: usize| 2 * row[mode] > total(mode);
        let own = |row: &&Vec<usize>| (0..modes).filter(|&m| most(row, m)).count() == 1;
        self.counts.iter().filter(own).count()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn confusion(counts: &[[usize; 3]]) -> Confusion {
        Confusion { counts: counts.iter().map(|row| row.to_vec()).collect() }
    }

    #[test]
    fn codes_and_modes_are_counted() {
        let codes = [0.0, 1.0, 1.0, 0.0, 0.0, 1.0];
        let found = Confusion::new(&codes, 2, &[2, 0, 2], 3);
        assert_eq!(found, confusion(&[[1, 0, 0], [0, 0, 2]]));
    }

    #[test]
    fn a_mode_is_found_if_its_code_is_its_own() {
        let right = confusion(&[[0, 10, 0], [10, 0, 1], [0, 0, 9]]);
        assert_eq!((right.modes_found(), right.purity()), (3, 29.0 / 30.0));
        // Two modes on one code, and one mode torn between two.
        let wrong = confusion(&[[10, 10, 0], [0, 0, 5], [0, 0, 5]]);
        assert_eq!((wrong.modes_found(), wrong.purity()), (0, 20.0 / 30.0));
    }
}
