//! Inference straight from a file's bytes, in memory that the caller lends.
//!
//! ```text
//! x = clip((obs − mean) / √(var + 1e-8), ±obs.clip)
//! two-branch:  mean = M(σ(Lₙ(…σ(L₁ x)…) + L_z z))
//! mlp:         mean = M(σ(Lₙ(…σ(L₁ [x, z])…)))
//! ```

use super::{
    LayerPlace, Policy, PolicyError, VARIANCE_FLOOR, WidthError,
    read::{Layer, check_width},
};
use crate::{
    Numbers,
    kinds::{Activation, Architecture, MeanScale},
    math::{elu, inverse_sqrt_single, relu, tanh},
};

/// Largest difference between a golden action and the runtime's, relative to max(1, |golden|).
pub const GOLDEN_TOLERANCE: f32 = 1e-5;

/// Rows of a weight that are multiplied together: each input that is loaded serves all of them.
const ROWS: usize = 4;

/// Inputs that one turn of the loop takes.
const COLUMNS: usize = 8;

impl Policy<'_> {
    /// How many numbers of scratch memory inference takes: two rows of the widest layer.
    pub fn scratch_len(&self) -> usize {
        2 * self.widest()
    }

    fn widest(&self) -> usize {
        let widths = self.layers.iter().filter(|layer| layer.place != LayerPlace::Latent);
        widths.map(|layer| layer.inputs.max(layer.outputs)).max().unwrap_or(0)
    }

    /// Action mean `[A]` of one observation `[S]` under a code `[Z]`; the observation is normalised
    /// here, the action is not limited here. A NaN in the observation is one in every action.
    ///
    /// # Errors
    /// [`WidthError`] where a slice has another width, or `scratch` less than
    /// [`scratch_len`](Self::scratch_len) numbers.
    pub fn mean_action(
        &self,
        scratch: &mut [f32],
        obs: &[f32],
        latent: &[f32],
        action: &mut [f32],
    ) -> Result<(), WidthError> {
        let (s, z, a) = (self.obs_dim(), self.latent_dim(), self.action_dim());
        check_width("an action", action.len(), a, action.len() == a)?;
        let mean = self.evaluate(scratch, obs.into(), latent.into(), [s, z])?;
        action.copy_from_slice(mean.get(..a).unwrap_or_default());
        Ok(())
    }

    /// Evaluates the network; the action mean is at the beginning of what it returns.
    fn evaluate<'s>(
        &self,
        scratch: &'s mut [f32],
        obs: Numbers<'_>,
        latent: Numbers<'_>,
        [s, z]: [usize; 2],
    ) -> Result<&'s [f32], WidthError> {
        let (widest, found) = (self.widest(), scratch.len());
        check_width("an observation", obs.len(), s, obs.len() == s)?;
        check_width("a code", latent.len(), z, latent.len() == z)?;
        check_width("scratch memory", found, 2 * widest, found >= 2 * widest)?;
        let (mut x, rest) = scratch.split_at_mut(widest);
        let mut y = &mut rest[..widest];
        self.normalise(obs, &mut x[..s]);
        if self.architecture == Architecture::Mlp {
            x[s..s + z].iter_mut().zip(latent.iter()).for_each(|(x, z)| *x = z);
        }
        let branch = self.layers.iter().find(|layer| layer.place == LayerPlace::Latent);
        let count = self.layers.len() - 1 - usize::from(branch.is_some());
        let mean = self.layers.last();
        for (i, layer) in self.layers[..count].iter().chain(mean).enumerate() {
            let out = &mut y[..layer.outputs];
            product(layer, &x[..layer.inputs], out);
            if let Some(branch) = branch.filter(|_| i + 1 == count) {
                add_branch(branch, latent, out);
            }
            match (i == count, self.activation, self.mean_scale) {
                (false, Activation::Tanh, _) => out.iter_mut().for_each(|v| *v = tanh(*v)),
                (false, Activation::Relu, _) => out.iter_mut().for_each(|v| *v = relu(*v)),
                (false, Activation::Elu, _) => out.iter_mut().for_each(|v| *v = elu(*v)),
                (true, _, MeanScale::None) => {}
                (true, _, MeanScale::Tanh(c)) => out.iter_mut().for_each(|v| *v = c * tanh(*v)),
            }
            (x, y) = (y, x);
        }
        Ok(x)
    }

    /// clip((obs − mean) / √(var + ε), ±clip); NaN passes through.
    fn normalise(&self, obs: Numbers<'_>, out: &mut [f32]) {
        let clip = self.obs_clip;
        let scale = self.obs_mean.iter().zip(self.obs_var.iter());
        for ((x, obs), (mean, var)) in out.iter_mut().zip(obs.iter()).zip(scale) {
            let y = (obs - mean) * inverse_sqrt_single(var + VARIANCE_FLOOR);
            let y = if y > clip { clip } else { y };
            *x = if y < -clip { -clip } else { y };
        }
    }

    /// Whether inference gives the golden actions to [`GOLDEN_TOLERANCE`].
    ///
    /// # Errors
    /// [`PolicyError::Golden`] with the first that it does not give; [`PolicyError::Widths`] where
    /// `scratch` is too small.
    pub fn check_golden(&self, scratch: &mut [f32]) -> Result<(), PolicyError> {
        let mut row = 0;
        while let Some(error) = self.golden_errors(scratch, row) {
            for (component, computed, golden) in error? {
                // Written so that NaN fails.
                let close = (computed - golden).abs() <= GOLDEN_TOLERANCE * golden.abs().max(1.0);
                if !close {
                    return Err(PolicyError::Golden { row, component, computed, golden });
                }
            }
            row += 1;
        }
        Ok(())
    }

    /// What inference gives for a golden vector, and what it should: component, computed, golden.
    /// None where there is no such vector.
    pub fn golden_errors<'s>(
        &'s self,
        scratch: &'s mut [f32],
        row: usize,
    ) -> Option<Result<impl Iterator<Item = (usize, f32, f32)> + 's, WidthError>> {
        let (s, z, a) = (self.obs_dim(), self.latent_dim(), self.action_dim());
        let golden = self.golden.action.slice(row * a, a)?;
        let obs = self.golden.obs.slice(row * s, s)?;
        let latent = self.golden.latent.slice(row * z, z)?;
        let computed = self.evaluate(scratch, obs, latent, [s, z]);
        Some(computed.map(move |computed| {
            let pairs = computed.iter().copied().zip(golden.iter()).enumerate();
            pairs.map(|(i, (computed, golden))| (i, computed, golden))
        }))
    }
}

/// y = W·x + b.
fn product(layer: &Layer<'_>, x: &[f32], y: &mut [f32]) {
    layer.bias.copy_to(y);
    match layer.weight {
        Numbers::Plain(weight) => add_product(weight, x, y, |w| w),
        Numbers::Bytes(weight) => add_product(weight, x, y, f32::from_le_bytes),
    }
}

/// y += W·x, [`ROWS`] rows at a time.
fn add_product<W: Copy>(weight: &[W], x: &[f32], y: &mut [f32], value: impl Fn(W) -> f32 + Copy) {
    let n = x.len();
    let (blocks, rest) = y.as_chunks_mut::<ROWS>();
    let (in_blocks, in_rest) = weight.split_at(blocks.len() * ROWS * n);
    for (y, weight) in blocks.iter_mut().zip(in_blocks.chunks_exact(ROWS * n)) {
        let (a, weight) = weight.split_at(n);
        let (b, weight) = weight.split_at(n);
        let (c, d) = weight.split_at(n);
        let [mut sum_a, mut sum_b, mut sum_c, mut sum_d] = *y;
        let (x, x_rest) = x.as_chunks::<COLUMNS>();
        let (a, a_rest) = a.as_chunks::<COLUMNS>();
        let (b, b_rest) = b.as_chunks::<COLUMNS>();
        let (c, c_rest) = c.as_chunks::<COLUMNS>();
        let (d, d_rest) = d.as_chunks::<COLUMNS>();
        for ((x, (a, b)), (c, d)) in x.iter().zip(a.iter().zip(b)).zip(c.iter().zip(d)) {
            for i in 0..COLUMNS {
                sum_a += value(a[i]) * x[i];
                sum_b += value(b[i]) * x[i];
                sum_c += value(c[i]) * x[i];
                sum_d += value(d[i]) * x[i];
            }
        }
        for (i, x) in x_rest.iter().enumerate() {
            sum_a += value(a_rest[i]) * x;
            sum_b += value(b_rest[i]) * x;
            sum_c += value(c_rest[i]) * x;
            sum_d += value(d_rest[i]) * x;
        }
        *y = [sum_a, sum_b, sum_c, sum_d];
    }
    for (y, row) in rest.iter_mut().zip(in_rest.chunks_exact(n)) {
        *y = row.iter().zip(x).fold(*y, |sum, (&w, &x)| sum + value(w) * x);
    }
}

/// Adds the branch of the code: the columns of the numbers in it that are not 0.
fn add_branch(branch: &Layer<'_>, latent: Numbers<'_>, y: &mut [f32]) {
    add_column(branch.bias, 0, 1, 1.0, y);
    for (j, z) in latent.iter().enumerate().filter(|(_, z)| *z != 0.0) {
        add_column(branch.weight, j, branch.inputs, z, y);
    }
}

/// y += z · column `j` of a matrix of this width.
fn add_column(weight: Numbers<'_>, j: usize, width: usize, z: f32, y: &mut [f32]) {
    match weight {
        Numbers::Plain(w) => add_scaled(w.iter().skip(j).step_by(width).copied(), z, y),
        Numbers::Bytes(w) => {
            add_scaled(w.iter().skip(j).step_by(width).map(|w| f32::from_le_bytes(*w)), z, y);
        }
    }
}

fn add_scaled(column: impl Iterator<Item = f32>, z: f32, y: &mut [f32]) {
    y.iter_mut().zip(column).for_each(|(y, w)| *y += w * z);
}
