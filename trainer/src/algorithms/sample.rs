//! Minibatches of demonstrations: pairs of a few trajectories, each trajectory with its own code
//! (Algorithm 2, line 4).

use rand::{RngExt, seq::SliceRandom};
use rand_distr::StandardNormal;
use sog_engine::{search::Groups, sog_bc::SogBatch};
use sog_rl::run::{Checkpoint, Snapshot, SnapshotError};
use sog_sim::seed::{self, Rng};

use crate::{data::Demonstrations, normalise::ObsNormaliser};

/// Numbers in a line of the cache.
const LINE: usize = 64 / size_of::<f32>();

/// Draws minibatches. Trajectories come in a new random order each pass over the demonstrations;
/// the pairs of a trajectory are drawn uniformly.
pub struct Sampler<'a> {
    demos: &'a Demonstrations,
    normaliser: ObsNormaliser,
    trajectories_each: usize,
    rows_each: usize,
    /// Standard deviation `[S]` of the noise on normalised observations; empty where there is none.
    noise: Vec<f32>,
    /// Draws, also for who asks ([`Sampler::rng`]).
    pub rng: Rng,
    order: Vec<u32>,
    /// How many trajectories of `order` have been visited.
    visited: usize,
    /// Trajectories of the minibatch.
    pub trajectories: Vec<u32>,
    /// Their pairs, by number among all pairs.
    rows: Vec<usize>,
    of_row: Vec<u32>,
    obs: Vec<f32>,
    actions: Vec<f32>,
}

impl<'a> Sampler<'a> {
    /// Minibatches of `rows_each` pairs of each of `trajectories_each` trajectories (of all, where
    /// there are fewer).
    pub fn new(
        demos: &'a Demonstrations,
        normaliser: ObsNormaliser,
        (trajectories_each, rows_each): (usize, usize),
        seed: u64,
    ) -> Self {
        Self {
            demos,
            normaliser,
            trajectories_each: trajectories_each.min(demos.len()),
            rows_each,
            noise: vec![],
            rng: seed::rng(seed),
            order: (0..demos.len() as u32).collect(),
            visited: demos.len(),
            trajectories: vec![],
            rows: vec![],
            of_row: vec![],
            obs: vec![],
            actions: vec![],
        }
    }

    /// The same, with Gaussian noise on the observations: `amount` standard deviations that each component
    /// has in the demonstrations. What is constant there stays constant, and what is hidden stays hidden.
    #[must_use]
    pub fn with_noise(mut self, amount: f32) -> Self {
        if amount > 0.0 {
            let (_, var) = self.demos.obs_moments();
            let stds = var.iter().map(|v| amount * v.sqrt());
            self.noise = stds.zip(self.normaliser.inv_std()).map(|(std, inv)| std * inv).collect();
        }
        self
    }

    /// The demonstrations.
    pub fn demos(&self) -> &'a Demonstrations {
        self.demos
    }

    /// The normaliser of the observations.
    pub fn normaliser(&self) -> &ObsNormaliser {
        &self.normaliser
    }

    /// Draws the next minibatch.
    pub fn next(&mut self) {
        self.trajectories.clear();
        self.rows.clear();
        self.of_row.clear();
        for group in 0..self.trajectories_each {
            if self.visited == self.order.len() {
                self.order.shuffle(&mut self.rng);
                self.visited = 0;
            }
            let trajectory = self.order[self.visited];
            self.visited += 1;
            self.trajectories.push(trajectory);
            let rows = self.demos.rows(trajectory as usize);
            let drawn = (0..self.rows_each).map(|_| self.rng.random_range(rows.clone()));
            self.rows.extend(drawn);
            self.of_row.resize(self.rows.len(), group as u32);
        }
        self.gather();
    }

    /// Takes the pairs of `rows`.
    fn gather(&mut self) {
        let (s, a) = (self.demos.obs_dim(), self.demos.action_dim());
        let obs = |row: usize| &self.demos.observations()[row * s..(row + 1) * s];
        let action = |row: usize| &self.demos.actions()[row * a..(row + 1) * a];
        // They lie anywhere in memory: fetched one after the other, each would be waited for.
        let lines = |values: &[f32]| -> u32 {
            values.iter().step_by(LINE).chain(values.last()).fold(0, |all, x| all ^ x.to_bits())
        };
        let fetched = self.rows.iter().map(|&row| lines(obs(row)) ^ lines(action(row)));
        std::hint::black_box(fetched.fold(0, |all, bits| all ^ bits));
        self.obs.clear();
        self.actions.clear();
        for &row in &self.rows {
            self.normaliser.extend(obs(row), &mut self.obs);
            self.actions.extend_from_slice(action(row));
        }
        if !self.noise.is_empty() {
            let clip = self.normaliser.frozen().clip;
            for row in self.obs.chunks_exact_mut(s) {
                for (x, std) in row.iter_mut().zip(&self.noise) {
                    let noise: f32 = self.rng.sample(StandardNormal);
                    *x = (*x + std * noise).clamp(-clip, clip);
                }
            }
        }
    }

    /// The minibatch: normalised observations, actions, and which rows share a code.
    pub fn batch(&self) -> SogBatch<'_> {
        SogBatch { obs: &self.obs, actions: &self.actions, groups: self.groups() }
    }

    /// Which rows of the minibatch share a code.
    pub fn groups(&self) -> Groups<'_> {
        Groups::Index { of_row: &self.of_row, count: self.trajectories.len() }
    }

    /// The minibatch, its trajectories and the generator, for a search that draws.
    pub fn parts(&mut self) -> (SogBatch<'_>, &[u32], &mut Rng) {
        let groups = Groups::Index { of_row: &self.of_row, count: self.trajectories.len() };
        let batch = SogBatch { obs: &self.obs, actions: &self.actions, groups };
        (batch, &self.trajectories, &mut self.rng)
    }

    /// The minibatch and the generator, for a search that draws.
    pub fn batch_and_rng(&mut self) -> (SogBatch<'_>, &mut Rng) {
        let groups = Groups::Index { of_row: &self.of_row, count: self.trajectories.len() };
        (SogBatch { obs: &self.obs, actions: &self.actions, groups }, &mut self.rng)
    }
}

impl Checkpoint for Sampler<'_> {
    fn save(&self, to: &mut Snapshot) {
        to.state("rng", &self.rng);
        to.state("order", &self.order);
        to.state("visited", &self.visited);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        self.rng = from.read_state("rng")?;
        self.order = from.read_state("order")?;
        self.visited = from.read_state("visited")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Component 0 has the standard deviation 1/2, 1 is constant, 2 has 50 and is hidden.
    fn drawn(noise: f32) -> (Vec<f32>, Vec<f32>) {
        let observe = |t: usize| {
            let sign = if t.is_multiple_of(2) { 1.0 } else { -1.0 };
            [0.5 * sign, 3.0, 50.0 * sign]
        };
        let observations = (0..100).flat_map(observe).collect();
        let actions = (0..100).map(|t| t as f32).collect();
        let demos = Demonstrations::packed("none", (3, 1), &[60, 40], observations, actions);
        let normaliser = ObsNormaliser::of(&demos).without(&[false, false, true]);
        let mut sampler = Sampler::new(&demos, normaliser, (2, 4000), 7).with_noise(noise);
        sampler.next();
        (sampler.obs, sampler.actions)
    }

    #[test]
    fn noise_is_in_standard_deviations_of_what_changes_and_is_seen() {
        let (clean, actions) = drawn(0.0);
        let (noisy, kept) = drawn(0.25);
        assert_eq!(actions, kept);
        let off = |c: usize| noisy.iter().zip(&clean).skip(c).step_by(3).map(|(a, b)| a - b);
        let mean = |xs: &mut dyn Iterator<Item = f32>| xs.sum::<f32>() / 8000.0;
        let (bias, std) = (mean(&mut off(0)), mean(&mut off(0).map(|x| x * x)).sqrt());
        assert!(bias.abs() < 0.01 && (std - 0.25).abs() < 0.01, "{bias} ± {std}");
        let largest = |c: usize| off(c).fold(0.0_f32, |most, x| most.max(x.abs()));
        assert!(largest(1) < 1e-9 && largest(2) < 1e-9, "{} {}", largest(1), largest(2));
    }
}
