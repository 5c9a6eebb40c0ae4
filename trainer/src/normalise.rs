//! The observation normaliser that training uses and the policy file freezes.

use sog_runtime::{
    math::inverse_sqrt,
    policy::{Normaliser, VARIANCE_FLOOR},
};

use crate::data::Demonstrations;

/// Bound of normalised observations (specification: ±10).
pub const OBS_CLIP: f32 = 10.0;

/// A component whose standard deviation is below this share of its magnitude is constant: changes
/// are lost in the rounding of its numbers.
const CONSTANT: f32 = 1e-6;

/// A component whose standard deviation is below this is nearly constant: jitter, which scaled to
/// variance 1 would make the least real change an outlier. It is the square root of what the runtime
/// adds to every variance, below which nothing is told apart anyhow.
const NEARLY: f32 = 1e-4;

/// Variance of a component that shall not be seen: the largest observation that there is becomes nothing.
const UNSEEN: f32 = 1e30;

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

    /// Mean and variance of the demonstrations. A component that never changes there, or nearly so,
    /// gets variance 1: otherwise the least change later would hit the clip with a weight that no
    /// demonstration has trained.
    pub fn of(demos: &Demonstrations) -> Self {
        let (mean, mut var) = demos.obs_moments();
        for (v, m) in var.iter_mut().zip(&mean) {
            if is_constant(*m, *v) || v.sqrt() <= NEARLY {
                *v = 1.0;
            }
        }
        Self::new(Normaliser { mean, var, clip: OBS_CLIP })
    }

    /// The same, under which the components marked in `hidden` `[S]` are 0 within rounding, whatever they are.
    #[must_use]
    pub fn without(self, hidden: &[bool]) -> Self {
        let mut normaliser = self.normaliser;
        let marked = normaliser.var.iter_mut().zip(hidden).filter(|(_, hidden)| **hidden);
        marked.for_each(|(var, _)| *var = UNSEEN);
        Self::new(normaliser)
    }

    /// The components that change in the demonstrations, but so little that they count as constant.
    pub fn nearly_constant(demos: &Demonstrations) -> Vec<usize> {
        let (mean, var) = demos.obs_moments();
        let nearly = |&c: &usize| !is_constant(mean[c], var[c]) && var[c].sqrt() <= NEARLY;
        (0..mean.len()).filter(nearly).collect()
    }

    /// What goes into the policy file.
    pub fn frozen(&self) -> &Normaliser {
        &self.normaliser
    }

    /// What an observation's distance from the mean is multiplied by `[S]`.
    pub fn inv_std(&self) -> &[f32] {
        &self.inv_std
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

/// Which components `[S]` a policy with this normaliser does not see, as [`ObsNormaliser::without`] left them.
pub fn unseen(normaliser: &Normaliser) -> Vec<bool> {
    normaliser.var.iter().map(|&var| var >= UNSEEN).collect()
}

fn is_constant(mean: f32, var: f32) -> bool {
    var.sqrt() <= CONSTANT * mean.abs().max(1.0)
}
