//! Running mean and variance: of observations, and of discounted returns for scaling rewards.

use serde::{Deserialize, Serialize};

use crate::error::{EngineError, check_len};

/// Added to the variance before its root is taken, as in the policy file.
pub const VARIANCE_EPS: f64 = 1e-8;

/// Mean and variance per column over all rows seen, in f64 (Chan, Golub & LeVeque 1983: moments of
/// a batch, merged).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunningMoments {
    /// Number of rows seen.
    pub count: u64,
    /// Mean of each column.
    pub mean: Vec<f64>,
    /// Sum of squared deviations of each column.
    pub m2: Vec<f64>,
}

impl RunningMoments {
    /// Moments of `width` columns, nothing seen yet.
    pub fn new(width: usize) -> Self {
        Self { count: 0, mean: vec![0.0; width], m2: vec![0.0; width] }
    }

    /// Takes in row-major data `[rows, width]`.
    ///
    /// # Errors
    /// If the data is not a whole number of rows.
    pub fn update(&mut self, data: &[f32]) -> Result<(), EngineError> {
        let width = self.mean.len();
        let rows = data.len().checked_div(width).unwrap_or(0);
        check_len("rows to average", data.len(), rows * width)?;
        if rows == 0 {
            return Ok(());
        }
        for column in 0..width {
            let values = data.iter().skip(column).step_by(width).map(|&v| f64::from(v));
            let mean = values.clone().sum::<f64>() / rows as f64;
            let m2 = values.map(|v| (v - mean).powi(2)).sum::<f64>();
            self.merge_column(column, rows as u64, mean, m2);
        }
        self.count += rows as u64;
        Ok(())
    }

    fn merge_column(&mut self, column: usize, rows: u64, mean: f64, m2: f64) {
        let (n, more) = (self.count as f64, rows as f64);
        let delta = mean - self.mean[column];
        self.mean[column] += delta * more / (n + more);
        self.m2[column] += m2 + delta * delta * n * more / (n + more);
    }

    /// Population variance of column `column`; 1 while nothing has been seen.
    pub fn variance(&self, column: usize) -> f64 {
        if self.count == 0 { 1.0 } else { self.m2[column] / self.count as f64 }
    }

    /// Means as stored in a policy file (`obs.mean`).
    pub fn mean_f32(&self) -> Vec<f32> {
        self.mean.iter().map(|&m| m as f32).collect()
    }

    /// Variances as stored in a policy file (`obs.var`).
    pub fn variance_f32(&self) -> Vec<f32> {
        (0..self.mean.len()).map(|c| self.variance(c) as f32).collect()
    }
}

/// Scales rewards by the running standard deviation of their discounted sum.
///
/// Per environment Rₜ = γ Rₜ₋₁ + rₜ, starting anew with each episode; rewards are divided by
/// √(Var R + 1e-8), without centring.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReturnScale {
    gamma: f64,
    /// Present discounted sum of each environment.
    returns: Vec<f64>,
    moments: RunningMoments,
}

impl ReturnScale {
    /// For `envs` environments and discount `gamma`.
    pub fn new(envs: usize, gamma: f64) -> Self {
        Self { gamma, returns: vec![0.0; envs], moments: RunningMoments::new(1) }
    }

    /// Takes in the rewards of one step and whether each environment's episode ended with it
    /// (either way).
    ///
    /// # Errors
    /// If there is not one reward and one flag per environment.
    pub fn update(&mut self, rewards: &[f32], ended: &[bool]) -> Result<(), EngineError> {
        check_len("rewards", rewards.len(), self.returns.len())?;
        check_len("episode ends", ended.len(), self.returns.len())?;
        for (sum, &reward) in self.returns.iter_mut().zip(rewards) {
            *sum = self.gamma * *sum + f64::from(reward);
        }
        // One merge per step, in f64 without a detour over f32.
        let n = self.returns.len() as f64;
        let mean = self.returns.iter().sum::<f64>() / n;
        let m2 = self.returns.iter().map(|r| (r - mean).powi(2)).sum::<f64>();
        if !self.returns.is_empty() {
            self.moments.merge_column(0, self.returns.len() as u64, mean, m2);
            self.moments.count += self.returns.len() as u64;
        }
        for (sum, _) in self.returns.iter_mut().zip(ended).filter(|(_, ended)| **ended) {
            *sum = 0.0;
        }
        Ok(())
    }

    /// Forgets the discounted sum of an environment that begins a new episode unasked.
    ///
    /// # Panics
    /// If there is no such environment.
    pub fn restart(&mut self, env: usize) {
        self.returns[env] = 0.0;
    }

    /// The factor for rewards.
    pub fn scale(&self) -> f32 {
        (1.0 / (self.moments.variance(0) + VARIANCE_EPS).sqrt()) as f32
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        /// However the rows come in, the moments are those of all rows together.
        #[test]
        fn moments_do_not_depend_on_the_batches(
            data in prop::collection::vec(-50f32..50.0, 30..90),
            cut in 0usize..10,
        ) {
            let data = &data[..data.len() / 3 * 3];
            let rows = data.len() / 3;
            let mut moments = RunningMoments::new(3);
            moments.update(&data[..cut * 3]).expect("whole rows");
            moments.update(&data[cut * 3..]).expect("whole rows");
            for c in 0..3 {
                let column: Vec<f64> = data.chunks(3).map(|r| f64::from(r[c])).collect();
                let mean = column.iter().sum::<f64>() / rows as f64;
                let var = column.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / rows as f64;
                prop_assert!((moments.mean[c] - mean).abs() < 1e-9);
                prop_assert!((moments.variance(c) - var).abs() < 1e-9 * var.max(1.0));
            }
        }
    }

    #[test]
    fn large_offsets_lose_no_precision() {
        let data: Vec<f32> = (0..10_000).map(|i| 1e4 + (i % 2) as f32).collect();
        let mut moments = RunningMoments::new(1);
        data.chunks(7).for_each(|c| moments.update(c).expect("width 1"));
        assert!((moments.variance(0) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn returns_start_anew_with_each_episode() {
        let mut scale = ReturnScale::new(2, 0.5);
        scale.update(&[1.0, 2.0], &[false, true]).expect("two environments");
        scale.update(&[1.0, 2.0], &[false, false]).expect("two environments");
        // Discounted sums: 1, 2, then 1.5, 2.
        let sums = [1.0, 2.0, 1.5, 2.0];
        let mean = sums.iter().sum::<f64>() / 4.0;
        let var = sums.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / 4.0;
        assert!((f64::from(scale.scale()) - 1.0 / (var + 1e-8).sqrt()).abs() < 1e-6);
        assert!(scale.update(&[1.0], &[true, false]).is_err());
    }
}
