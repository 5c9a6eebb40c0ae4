//! Inference: the packed network, evaluated without allocation.

use alloc::{vec, vec::Vec};

use super::{LatentKind, MeanScale, PolicyFile, VARIANCE_FLOOR, Weights};
use crate::math;

/// A linear layer with its weight transposed to `[in, out]`, so that outputs are contiguous.
#[derive(Clone, Debug)]
struct Linear {
    weight: Vec<f32>,
    bias: Vec<f32>,
}

impl Linear {
    fn pack(weight: &[f32], bias: &[f32]) -> Self {
        let (rows, cols) = (bias.len(), weight.len() / bias.len().max(1));
        let mut transposed = vec![0.0; weight.len()];
        for (i, row) in weight.chunks_exact(cols.max(1)).enumerate() {
            for (j, &w) in row.iter().enumerate() {
                transposed[j * rows + i] = w;
            }
        }
        Self { weight: transposed, bias: bias.to_vec() }
    }

    /// y += W·x
    fn accumulate(&self, x: &[f32], y: &mut [f32]) {
        for (&x, column) in x.iter().zip(self.weight.chunks_exact(self.bias.len())) {
            for (y, &w) in y.iter_mut().zip(column) {
                *y += w * x;
            }
        }
    }

    /// y = W·x + b
    fn apply(&self, x: &[f32], y: &mut [f32]) {
        y.copy_from_slice(&self.bias);
        self.accumulate(x, y);
    }
}

/// The packed policy.
///
/// A row's result does not depend on the batch it is computed in, bit for bit.
#[derive(Clone, Debug)]
pub struct Policy {
    obs_mean: Vec<f32>,
    obs_inv_std: Vec<f32>,
    obs_clip: f32,
    state0: Linear,
    state1: Linear,
    latent: Option<Linear>,
    mean: Linear,
    mean_scale: MeanScale,
}

/// Scratch memory of one caller of [`Policy::mean_actions`].
#[derive(Clone, Debug)]
pub struct Workspace {
    obs: Vec<f32>,
    hidden0: Vec<f32>,
    hidden1: Vec<f32>,
}

impl Policy {
    /// Packs the network of a file.
    pub fn new(file: &PolicyFile) -> Self {
        let norm = &file.normaliser;
        let mut policy = Self {
            obs_mean: norm.mean.clone(),
            obs_inv_std: norm.var.iter().map(|&v| math::inverse_sqrt(v + VARIANCE_FLOOR)).collect(),
            obs_clip: norm.clip,
            state0: Linear::pack(&[], &[]),
            state1: Linear::pack(&[], &[]),
            latent: None,
            mean: Linear::pack(&[], &[]),
            mean_scale: file.mean_scale,
        };
        policy.set_weights(&file.weights, file.latent);
        policy
    }

    /// Replaces the weights, as training does between rollouts.
    pub fn set_weights(&mut self, weights: &Weights, latent: LatentKind) {
        let w = weights;
        self.state0 = Linear::pack(&w.state0_weight, &w.state0_bias);
        self.state1 = Linear::pack(&w.state1_weight, &w.state1_bias);
        self.latent =
            (latent != LatentKind::None).then(|| Linear::pack(&w.latent_weight, &w.latent_bias));
        self.mean = Linear::pack(&w.mean_weight, &w.mean_bias);
    }

    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.obs_mean.len()
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.mean.bias.len()
    }

    /// Latent width Z.
    pub fn latent_dim(&self) -> usize {
        self.latent.as_ref().map_or(0, |l| l.weight.len() / l.bias.len())
    }

    /// Hidden width H.
    pub fn hidden_dim(&self) -> usize {
        self.state0.bias.len()
    }

    /// Scratch memory for batches of up to `max_batch` rows.
    pub fn workspace(&self, max_batch: usize) -> Workspace {
        let _ = max_batch;
        Workspace {
            obs: vec![0.0; self.obs_dim()],
            hidden0: vec![0.0; self.hidden_dim()],
            hidden1: vec![0.0; self.hidden_dim()],
        }
    }

    /// Action means `[n, A]` of observations `[n, S]` under codes `[n, Z]`; observations are
    /// normalised here, actions are not limited here.
    ///
    /// # Panics
    /// If the lengths do not fit one `n`.
    pub fn mean_actions(
        &self,
        workspace: &mut Workspace,
        obs: &[f32],
        latent: &[f32],
        actions: &mut [f32],
    ) {
        let (s, z, a) = (self.obs_dim(), self.latent_dim(), self.action_dim());
        let n = obs.len() / s;
        assert!(
            obs.len() == n * s && latent.len() == n * z && actions.len() == n * a,
            "{} observations, {} latents and {} actions do not fit [n, {s}], [n, {z}], [n, {a}]",
            obs.len(),
            latent.len(),
            actions.len(),
        );
        for (row, action) in actions.chunks_exact_mut(a).enumerate() {
            let obs = &obs[row * s..(row + 1) * s];
            self.mean_action(workspace, obs, &latent[row * z..(row + 1) * z], action);
        }
    }

    fn mean_action(&self, ws: &mut Workspace, obs: &[f32], latent: &[f32], action: &mut [f32]) {
        for (j, x) in ws.obs.iter_mut().enumerate() {
            let y = (obs[j] - self.obs_mean[j]) * self.obs_inv_std[j];
            // Unlike f32::clamp this is one minimum and one maximum; NaN passes through.
            *x = if y > self.obs_clip {
                self.obs_clip
            } else if y < -self.obs_clip {
                -self.obs_clip
            } else {
                y
            };
        }
        self.state0.apply(&ws.obs, &mut ws.hidden0);
        math::tanh_in_place(&mut ws.hidden0);
        self.state1.apply(&ws.hidden0, &mut ws.hidden1);
        if let Some(layer) = &self.latent {
            for (h, b) in ws.hidden1.iter_mut().zip(&layer.bias) {
                *h += b;
            }
            layer.accumulate(latent, &mut ws.hidden1);
        }
        math::tanh_in_place(&mut ws.hidden1);
        self.mean.apply(&ws.hidden1, action);
        if let MeanScale::Tanh(c) = self.mean_scale {
            math::tanh_in_place(action);
            for a in action {
                *a *= c;
            }
        }
    }
}
