//! Demonstrations: the file, its validation, and the wall between learners and labels.
//!
//! * [`Demonstrations`]: what a learner may see, packed without padding;
//! * [`Labels`]: modes or goals, for evaluation alone: no algorithm takes them;
//! * [`DemoFile`]: both, with their provenance, as one safetensors file;
//! * [`record`]: demonstrations from an expert;
//! * [`flights`]: demonstrations from the logs of flights;
//! * [`import`]: demonstrations written elsewhere, as plain safetensors files;
//! * [`foreign`]: the same in other programs' formats;
//! * [`plain`]: ours in the form that those take;
//! * [`exported`]: what is handed to other programs so that it can come back;
//! * `plausible`: whether numbers look like recordings of something that moves;
//! * `rates`: whether velocities are the rates of the positions that they are named after.
//!
//! # The file
//!
//! | tensor | shape | type | |
//! |---|---|---|---|
//! | `observations` | `[N, T, S]` | f32 | steps from `lengths[n]` on are ignored |
//! | `actions` | `[N, T, A]` | f32 | |
//! | `lengths` | `[N]` | u32 | 1 to T |
//! | `modes` | `[N]` | u32 | optional, evaluation only |
//! | `goals` | `[N, dims]` | f32 | optional, evaluation only |
//! | `start.qpos`, `start.qvel` | `[N, nq]`, `[N, nv]` | f64 | optional: MuJoCo's state at the start, so that other simulators can replay the actions |
//!
//! Metadata (strings): `schema`, `task`, `dt`, `obs.terms`, `action.terms`, `expert`, `seed`,
//! `generator`, `mean_return` (JSON list, one number a mode), `action_noise` (where there was any),
//! `checksum`.

mod bounds;
mod edit;
mod error;
pub mod exported;
mod file;
pub mod flights;
pub mod foreign;
pub mod import;
mod names;
pub mod plain;
mod plausible;
mod rates;
pub mod record;
#[cfg(test)]
mod tests;

use std::ops::Range;

pub use error::DataError;
pub(crate) use file::hex;
pub use file::{DemoFile, DemoProvenance, SCHEMA};
use sog_runtime::policy::Terms;

/// Trajectories of observations and actions without labels: what a learner sees.
///
/// Rows of all trajectories lie one after the other; trajectory `n` is rows
/// [`rows(n)`](Self::rows). There is at least one trajectory, and every trajectory has at least
/// one row.
#[derive(Clone, Debug, PartialEq)]
pub struct Demonstrations {
    task: String,
    obs_dim: usize,
    action_dim: usize,
    /// First row of each trajectory, and the number of rows at the end: N + 1 numbers.
    starts: Vec<usize>,
    observations: Vec<f32>,
    actions: Vec<f32>,
    sha256: String,
}

impl Demonstrations {
    /// Packs trajectories that were validated by the caller.
    pub(crate) fn packed(
        task: &str,
        (obs_dim, action_dim): (usize, usize),
        lengths: &[usize],
        observations: Vec<f32>,
        actions: Vec<f32>,
    ) -> Self {
        let mut starts = vec![0];
        for length in lengths {
            starts.push(starts[starts.len() - 1] + length);
        }
        let rows = starts[starts.len() - 1];
        debug_assert_eq!(observations.len(), rows * obs_dim);
        debug_assert_eq!(actions.len(), rows * action_dim);
        let (task, sha256) = (task.to_string(), String::new());
        Self { task, obs_dim, action_dim, starts, observations, actions, sha256 }
    }

    /// Name of the task.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.obs_dim
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.action_dim
    }

    /// Number N of trajectories.
    pub fn len(&self) -> usize {
        self.starts.len() - 1
    }

    /// Never: there is at least one trajectory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Number of state-action pairs in all trajectories.
    pub fn total_rows(&self) -> usize {
        self.starts[self.len()]
    }

    /// Rows of trajectory `n`.
    pub fn rows(&self, n: usize) -> Range<usize> {
        self.starts[n]..self.starts[n + 1]
    }

    /// Observations of all trajectories, `[rows, S]`.
    pub fn observations(&self) -> &[f32] {
        &self.observations
    }

    /// Actions of all trajectories, `[rows, A]`.
    pub fn actions(&self) -> &[f32] {
        &self.actions
    }

    /// Observations of trajectory `n`, `[T_n, S]`.
    pub fn observations_of(&self, n: usize) -> &[f32] {
        let rows = self.rows(n);
        &self.observations[rows.start * self.obs_dim..rows.end * self.obs_dim]
    }

    /// Actions of trajectory `n`, `[T_n, A]`.
    pub fn actions_of(&self, n: usize) -> &[f32] {
        let rows = self.rows(n);
        &self.actions[rows.start * self.action_dim..rows.end * self.action_dim]
    }

    /// SHA-256 of the file they were read from, hexadecimal; empty if there was none.
    pub fn sha256(&self) -> &str {
        &self.sha256
    }

    /// The chosen trajectories, in that order.
    ///
    /// # Panics
    /// If a number is not below [`len`](Self::len).
    pub fn selected(&self, chosen: &[usize]) -> Self {
        let (mut observations, mut actions, mut lengths) = (vec![], vec![], vec![]);
        for &n in chosen {
            observations.extend_from_slice(self.observations_of(n));
            actions.extend_from_slice(self.actions_of(n));
            lengths.push(self.rows(n).len());
        }
        let dims = (self.obs_dim, self.action_dim);
        let mut all = Self::packed(&self.task, dims, &lengths, observations, actions);
        all.sha256.clone_from(&self.sha256);
        all
    }

    /// These trajectories and those of `other`, of the same task.
    fn followed_by(&self, other: &Self) -> Self {
        let mut all = self.clone();
        all.observations.extend_from_slice(&other.observations);
        all.actions.extend_from_slice(&other.actions);
        let rows = self.total_rows();
        all.starts.extend(other.starts[1..].iter().map(|start| rows + start));
        all.sha256.clear();
        all
    }

    /// Every `stride`-th pair of each trajectory, starting at a different offset in each so that
    /// all phases of an episode occur.
    pub fn subsampled(&self, stride: usize) -> Self {
        let stride = stride.max(1);
        let (mut observations, mut actions, mut lengths) = (vec![], vec![], vec![]);
        for n in 0..self.len() {
            let rows = self.rows(n);
            let offset = (n % stride).min(rows.len() - 1);
            let kept: Vec<usize> = (rows.start + offset..rows.end).step_by(stride).collect();
            for &row in &kept {
                let (s, a) = (self.obs_dim, self.action_dim);
                observations.extend_from_slice(&self.observations[row * s..(row + 1) * s]);
                actions.extend_from_slice(&self.actions[row * a..(row + 1) * a]);
            }
            lengths.push(kept.len());
        }
        let dims = (self.obs_dim, self.action_dim);
        let mut all = Self::packed(&self.task, dims, &lengths, observations, actions);
        all.sha256.clone_from(&self.sha256);
        all
    }

    /// The first halves of all trajectories, and the second ones; a trajectory of a single step is
    /// its own half.
    pub fn halves(&self) -> [Self; 2] {
        let middle = |n: usize| self.rows(n).len() / 2;
        [self.cut(|n| 0..middle(n).max(1)), self.cut(|n| middle(n)..self.rows(n).len())]
    }

    /// The given steps of each trajectory, at least one.
    fn cut(&self, steps: impl Fn(usize) -> Range<usize>) -> Self {
        let (mut observations, mut actions, mut lengths) = (vec![], vec![], vec![]);
        let (s, a) = (self.obs_dim, self.action_dim);
        for n in 0..self.len() {
            let steps = steps(n);
            observations
                .extend_from_slice(&self.observations_of(n)[steps.start * s..steps.end * s]);
            actions.extend_from_slice(&self.actions_of(n)[steps.start * a..steps.end * a]);
            lengths.push(steps.len());
        }
        let mut cut = Self::packed(&self.task, (s, a), &lengths, observations, actions);
        cut.sha256.clone_from(&self.sha256);
        cut
    }

    /// Mean and variance of every observation component over all rows, `[S]` each.
    pub fn obs_moments(&self) -> (Vec<f32>, Vec<f32>) {
        moments(&self.observations, self.obs_dim)
    }
}

/// The name of component `index` of the numbers that `terms` lists: `joint_pos[1]`, or the term's own
/// where it has one number.
pub fn component_name(terms: &Terms, index: usize) -> String {
    let mut left = index;
    for term in &terms.0 {
        if left < term.width {
            return if term.width == 1 {
                term.name.clone()
            } else {
                format!("{}[{left}]", term.name)
            };
        }
        left -= term.width;
    }
    format!("component {index}")
}

/// Mean and variance of each column of `[rows, width]`.
pub(crate) fn moments(values: &[f32], width: usize) -> (Vec<f32>, Vec<f32>) {
    let rows = (values.len() / width) as f64;
    let mut mean = vec![0.0_f64; width];
    for row in values.chunks_exact(width) {
        for (m, &x) in mean.iter_mut().zip(row) {
            *m += f64::from(x) / rows;
        }
    }
    let mut var = vec![0.0_f64; width];
    for row in values.chunks_exact(width) {
        for ((v, &m), &x) in var.iter_mut().zip(&mean).zip(row) {
            *v += (f64::from(x) - m).powi(2) / rows;
        }
    }
    let narrow = |values: Vec<f64>| values.into_iter().map(|v| v as f32).collect();
    (narrow(mean), narrow(var))
}

/// MuJoCo's states that trajectories start from: no learner sees them.
#[derive(Clone, Debug, PartialEq)]
pub struct StartStates {
    /// Numbers nq and nv in a state.
    pub widths: (usize, usize),
    /// Positions `[N, nq]`, in the order of the robot's model.
    pub qpos: Vec<f64>,
    /// Velocities `[N, nv]`.
    pub qvel: Vec<f64>,
}

/// What each trajectory was meant to do: for evaluation alone.
#[derive(Clone, Debug, PartialEq)]
pub enum Labels {
    /// Mode of each trajectory, `[N]`.
    Modes(Vec<u32>),
    /// Goal of each trajectory.
    Goals {
        /// Numbers in a goal.
        dims: usize,
        /// `[N, dims]`.
        values: Vec<f32>,
    },
}

impl Labels {
    /// Number N of labelled trajectories.
    pub fn len(&self) -> usize {
        match self {
            Self::Modes(modes) => modes.len(),
            Self::Goals { dims, values } => values.len() / (*dims).max(1),
        }
    }

    /// Whether there is no label.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
