//! Minibatches of demonstrations: pairs of a few trajectories, each trajectory with its own code
//! (Algorithm 2, line 4).

use rand::{RngExt, seq::SliceRandom};
use sog_engine::{search::Groups, sog_bc::SogBatch};
use sog_rl::run::{Checkpoint, Snapshot, SnapshotError};
use sog_sim::seed::{self, Rng};

use crate::{data::Demonstrations, normalise::ObsNormaliser};

/// Draws minibatches. Trajectories come in a new random order each pass over the demonstrations;
/// the pairs of a trajectory are drawn uniformly.
pub struct Sampler<'a> {
    demos: &'a Demonstrations,
    normaliser: ObsNormaliser,
    trajectories_each: usize,
    rows_each: usize,
    /// Draws, also for who asks ([`Sampler::rng`]).
    pub rng: Rng,
    order: Vec<u32>,
    /// How many trajectories of `order` have been visited.
    visited: usize,
    /// Trajectories of the minibatch.
    pub trajectories: Vec<u32>,
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
            rng: seed::rng(seed),
            order: (0..demos.len() as u32).collect(),
            visited: demos.len(),
            trajectories: vec![],
            of_row: vec![],
            obs: vec![],
            actions: vec![],
        }
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
        self.of_row.clear();
        self.obs.clear();
        self.actions.clear();
        let (s, a) = (self.demos.obs_dim(), self.demos.action_dim());
        for group in 0..self.trajectories_each {
            if self.visited == self.order.len() {
                self.order.shuffle(&mut self.rng);
                self.visited = 0;
            }
            let trajectory = self.order[self.visited];
            self.visited += 1;
            self.trajectories.push(trajectory);
            let rows = self.demos.rows(trajectory as usize);
            for _ in 0..self.rows_each {
                let row = self.rng.random_range(rows.clone());
                let obs = &self.demos.observations()[row * s..(row + 1) * s];
                self.normaliser.extend(obs, &mut self.obs);
                let action = &self.demos.actions()[row * a..(row + 1) * a];
                self.actions.extend_from_slice(action);
                self.of_row.push(group as u32);
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
