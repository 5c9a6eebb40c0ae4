//! A convolutional generator as Algorithm 1 sees it.

use rayon::prelude::*;

use super::{ConvNet, ConvPass, FrozenConv, Scratch};
use crate::{
    adam::{Adam, AdamConfig},
    error::{EngineError, check_len},
    search::{Candidates, Groups, LatentModel},
    sog::Generator,
};

/// A generator of pictures with squared error, trained by Adam: y ≈ f_θ(z), and no x.
///
/// The search uses the network as it will be used, with the running statistics of batch
/// normalisation; the step uses those of the minibatch. Where all candidates are common to the
/// minibatch (one block that spans the code, or given codes), each is generated once and compared
/// with all pictures by one matrix product.
#[derive(Debug, Clone)]
pub struct ConvGenerator {
    /// The network.
    pub net: ConvNet,
    /// Its optimiser.
    pub adam: Adam,
    pass: ConvPass,
    frozen: FrozenConv,
    scratch: Scratch,
    /// Pictures `[rows, values]`.
    y: Vec<f32>,
    grad: Vec<f32>,
}

impl ConvGenerator {
    /// A generator that has taken no step.
    pub fn new(net: ConvNet, adam: AdamConfig) -> Self {
        Self {
            adam: Adam::new(adam, net.params.len()),
            pass: ConvPass::new(net.arch()),
            frozen: net.frozen(),
            scratch: Scratch::default(),
            y: vec![],
            grad: vec![0.0; net.params.len()],
            net,
        }
    }

    /// Takes a minibatch of pictures `[rows, values]`.
    ///
    /// # Errors
    /// If there is not a whole number of pictures.
    pub fn load(&mut self, y: &[f32]) -> Result<(), EngineError> {
        let values = self.values();
        check_len("pictures", y.len(), y.len() / values * values)?;
        self.y.clear();
        self.y.extend_from_slice(y);
        Ok(())
    }

    /// For each picture a code `[rows, Z]` that should explain it better than the given one `[rows,
    /// Z]`: the coordinates are varied one by one, and from the pictures so made follows what they
    /// would have to be together.
    ///
    /// With f₀ = f(z), J's rows the secants (f(z + s eₖ) − f₀)/s, r = y − f₀ and σ² the squared
    /// error per value, it is the step of Gauss and Newton on ‖f(z) − y‖² + σ²‖z‖² (Eq. 20b),
    ///
    /// ```text
    /// (J Jᵀ + σ² I) δ = J r − σ² z
    /// ```
    ///
    /// with every coordinate of δ bounded by 1. It takes Z + 1 passes a picture and no gradient; what it
    /// is worth is for the search to say ([`Search::offer`](crate::search::Search::offer)).
    ///
    /// # Errors
    /// If there are not as many codes as pictures.
    pub fn secant_codes(&mut self, codes: &[f32]) -> Result<SecantCodes, EngineError> {
        let (latent, values) = (self.code_len(), self.values());
        check_len("codes", codes.len(), self.rows() * latent)?;
        let mut probes = Vec::with_capacity(codes.len() * (latent + 1));
        for code in codes.chunks_exact(latent) {
            probes.extend_from_slice(code);
            for k in 0..latent {
                probes.extend_from_slice(code);
                let at = probes.len() - latent + k;
                probes[at] += SECANT;
            }
        }
        let made = self.frozen.forward(&probes, &mut self.scratch)?;
        let products: Vec<Products> = made
            .par_chunks(values * (latent + 1))
            .zip(self.y.par_chunks(values))
            .map(|(made, y)| {
                let (here, moved) = made.split_at(values);
                let error: Vec<f32> = y.iter().zip(here).map(|(y, f)| y - f).collect();
                let secants: Vec<Vec<f32>> = moved
                    .chunks_exact(values)
                    .map(|moved| moved.iter().zip(here).map(|(m, h)| (m - h) / SECANT).collect())
                    .collect();
                Products {
                    squares: secants
                        .iter()
                        .flat_map(|a| secants.iter().map(|b| dot(a, b)))
                        .collect(),
                    with_error: secants.iter().map(|a| dot(a, &error)).collect(),
                    error: dot(&error, &error) / values as f64,
                }
            })
            .collect();
        Ok(SecantCodes::of(&products, codes))
    }

    /// [`Generator::step`], and what the step has at hand: the slope J r `[rows, Z]` of each picture,
    /// half of how fast its squared error falls where a coordinate of its code grows.
    ///
    /// # Errors
    /// If there are not as many codes as pictures.
    pub fn step_and_slope(
        &mut self,
        codes: &[f32],
        lr: f32,
    ) -> Result<(f32, Vec<f32>), EngineError> {
        let (loss, input) = self.advance(codes, Groups::PerRow, lr, true)?;
        // The loss is a mean over the rows: its gradient is −2/rows J r.
        let factor = -0.5 * self.rows() as f32;
        Ok((loss, input.unwrap_or_default().iter().map(|d| factor * d).collect()))
    }

    /// A step, and the gradient of the loss by the input where it is wanted.
    fn advance(
        &mut self,
        codes: &[f32],
        groups: Groups<'_>,
        lr: f32,
        wants_input: bool,
    ) -> Result<(f32, Option<Vec<f32>>), EngineError> {
        let (rows, latent) = (self.rows(), self.code_len());
        groups.check(rows)?;
        check_len("codes", codes.len(), groups.count(rows) * latent)?;
        let of_row = |row: usize| &codes[groups.of(row) * latent..(groups.of(row) + 1) * latent];
        let input: Vec<f32> = (0..rows).flat_map(|row| of_row(row).iter().copied()).collect();
        let mut out = self.pass.forward(&mut self.net, &input)?;
        let loss = squared_error(&mut out, &self.y, rows);
        let d_input = self.pass.backward(&self.net, &out, &mut self.grad, wants_input)?;
        self.adam.step(&mut self.net.params, &self.grad, lr, 1.0)?;
        self.refresh();
        Ok((loss, d_input))
    }

    /// Makes the search see parameters that were set from outside.
    pub fn refresh(&mut self) {
        self.frozen = self.net.frozen();
    }

    fn values(&self) -> usize {
        self.net.arch().output().values().max(1)
    }

    /// Losses `[rows, candidates]`.
    fn row_losses(
        &mut self,
        candidates: &Candidates<'_>,
        groups: Groups<'_>,
    ) -> Result<Vec<f32>, EngineError> {
        let latent = self.code_len();
        match candidates {
            Candidates::Codes(codes) => {
                self.frozen.distances_to_all(codes, &self.y, &mut self.scratch)
            }
            Candidates::Block { block, values, keep, .. }
                if *block == (0..latent) && *keep == 0.0 =>
            {
                self.frozen.distances_to_all(values, &self.y, &mut self.scratch)
            }
            Candidates::Block { .. } => {
                let count = candidates.count(latent);
                let mut codes = Vec::with_capacity(self.rows() * count * latent);
                for row in 0..self.rows() {
                    for c in 0..count {
                        candidates.push(latent, groups.of(row), c, &mut codes);
                    }
                }
                let row_of = |n: usize| n / count.max(1);
                self.frozen.distances(&codes, &self.y, row_of, &mut self.scratch)
            }
        }
    }
}

impl LatentModel for ConvGenerator {
    fn code_len(&self) -> usize {
        self.net.arch().input.values()
    }

    fn rows(&self) -> usize {
        self.y.len() / self.values()
    }

    fn losses(&mut self, candidates: Candidates<'_>, groups: Groups<'_>, sums: &mut [f64]) {
        sums.fill(0.0);
        let count = candidates.count(self.code_len()).max(1);
        match self.row_losses(&candidates, groups) {
            Ok(losses) => groups.add(&losses, count, sums),
            // `load` checked the shapes: what does not fit here is a broken invariant, and its
            // losses must not win.
            Err(_) => sums.fill(f64::NAN),
        }
    }
}

impl Generator for ConvGenerator {
    fn step(&mut self, codes: &[f32], groups: Groups<'_>, lr: f32) -> Result<f32, EngineError> {
        Ok(self.advance(codes, groups, lr, false)?.0)
    }
}

/// By how much a coordinate is varied for a secant.
pub const SECANT: f32 = 0.1;

/// What [`ConvGenerator::secant_codes`] knows of a picture.
#[derive(Debug, Clone, PartialEq)]
pub struct Products {
    /// J Jᵀ `[Z, Z]`.
    pub squares: Vec<f64>,
    /// J r `[Z]`.
    pub with_error: Vec<f64>,
    /// σ².
    pub error: f64,
}

/// What [`ConvGenerator::secant_codes`] says.
#[derive(Debug, Clone, PartialEq)]
pub struct SecantCodes {
    /// Proposed codes `[rows, Z]`.
    pub codes: Vec<f32>,
    /// How fast pictures change with each coordinate: the diagonal of J Jᵀ, `[Z]`, in the mean over the
    /// pictures.
    pub curvature: Vec<f32>,
}

impl SecantCodes {
    /// What follows from each picture's products for its code, `[rows, Z]`.
    pub fn of(products: &[Products], codes: &[f32]) -> Self {
        let latent = codes.len() / products.len().max(1);
        let mut curvature = vec![0.0; latent];
        for picture in products {
            for (k, mean) in curvature.iter_mut().enumerate() {
                *mean += (picture.squares[k * latent + k] / products.len() as f64) as f32;
            }
        }
        let of_each = products.iter().zip(codes.chunks_exact(latent.max(1)));
        Self { codes: of_each.flat_map(|(picture, code)| picture.step(code)).collect(), curvature }
    }
}

impl Products {
    /// z + δ for the code z `[Z]`.
    pub fn step(&self, code: &[f32]) -> Vec<f32> {
        let n = code.len();
        let mut a = self.squares.clone();
        let mut x: Vec<f64> = self.with_error.clone();
        // So that the matrix is safely positive where a coordinate does nothing.
        let ridge = self.error + 1e-6;
        for k in 0..n {
            a[k * n + k] += ridge;
            x[k] -= self.error * f64::from(code[k]);
        }
        // Gauss's elimination; no pivots are needed for a positive definite matrix.
        for k in 0..n {
            for i in k + 1..n {
                let factor = a[i * n + k] / a[k * n + k];
                for j in k..n {
                    a[i * n + j] -= factor * a[k * n + j];
                }
                x[i] -= factor * x[k];
            }
        }
        for k in (0..n).rev() {
            let rest: f64 = (k + 1..n).map(|j| a[k * n + j] * x[j]).sum();
            x[k] = (x[k] - rest) / a[k * n + k];
        }
        code.iter().zip(x).map(|(z, d)| z + d.clamp(-1.0, 1.0) as f32).collect()
    }
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    // In parts, so that it runs along the vector lanes.
    let parts = a.chunks(16).zip(b.chunks(16));
    let mut sums = [0.0f32; 16];
    for (a, b) in parts {
        a.iter().zip(b).zip(&mut sums).for_each(|((a, b), sum)| *sum += a * b);
    }
    sums.iter().map(|&sum| f64::from(sum)).sum()
}

/// 1/n Σᵢ ‖outᵢ − yᵢ‖² over n rows; `out` becomes its gradient.
pub fn squared_error(out: &mut [f32], y: &[f32], rows: usize) -> f32 {
    let (mut total, factor) = (0.0f64, 2.0 / rows as f32);
    let width = (out.len() / rows.max(1)).max(1);
    for (out, y) in out.chunks_mut(width).zip(y.chunks(width)) {
        let mut row = 0.0f32;
        for (out, y) in out.iter_mut().zip(y) {
            let error = *out - y;
            row += error * error;
            *out = factor * error;
        }
        total += f64::from(row);
    }
    (total / rows.max(1) as f64) as f32
}
