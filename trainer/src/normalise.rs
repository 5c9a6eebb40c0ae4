//! The observation normaliser that training uses and the policy file freezes.

use sog_runtime::{
    math::inverse_sqrt,
    policy::{Normaliser, VARIANCE_FLOOR},
};

use crate::data::Demonstrations;

/// Bound of normalised observations (specification: ±10).
pub const OBS_CLIP: f32 = 10.0;

/// A component whose standard deviation is below this share of its magnitude is constant.
const CONSTANT: f32 = 1e-6;

/// x = clip((obs − mean)/√(var + 1e-8), ±clip), as the runtime computes it.
#[derive(Clone, Debug, PartialEq)]
pub struct ObsNormaliser {
    normaliser: Normaliser,
    inv_std: Vec<f32>,
}

impl ObsNormaliser {
    /// Frozen mean and variance.
    pub fn new(normaliser: Normaliser) -> Self {
        let inv_std = normaliser.var.iter().map(|v| inverse_sqrt(v + VARIANCE_FLOOR)).collect();
        Self { normaliser, inv_std }
    }

    /// Leaves observations of width `obs_dim` as they are, but for the clip.
    pub fn identity(obs_dim: usize) -> Self {
        let (mean, var) = (vec![0.0; obs_dim], vec![1.0; obs_dim]);
        Self::new(Normaliser { mean, var, clip: OBS_CLIP })
    }

    /// Mean and variance of the demonstrations. A component that never changes there gets
    /// variance 1: otherwise the least change later would hit the clip with a weight that no
    /// demonstration has trained.
    pub fn of(demos: &Demonstrations) -> Self {
        let (mean, mut var) = demos.obs_moments();
        for (v, m) in var.iter_mut().zip(&mean) {
            if v.sqrt() <= CONSTANT * m.abs().max(1.0) {
                *v = 1.0;
            }
        }
        Self::new(Normaliser { mean, var, clip: OBS_CLIP })
    }

    /// What goes into the policy file.
    pub fn frozen(&self) -> &Normaliser {
        &self.normaliser
    }

    /// Appends the normalised form of `obs` `[n, S]` to `out`.
    pub fn extend(&self, obs: &[f32], out: &mut Vec<f32>) {
        let clip = self.normaliser.clip;
        for row in obs.chunks_exact(self.inv_std.len()) {
            let moments = self.normaliser.mean.iter().zip(&self.inv_std);
            out.extend(row.iter().zip(moments).map(|(x, (m, i))| ((x - m) * i).clamp(-clip, clip)));
        }
    }
}
