//! SOG in general (Algorithm 1): x → y through any network with a latent code per datum, or per
//! group of data.
//!
//! A [`Generator`] holds a minibatch, evaluates candidate codes on it and steps on its loss for
//! given codes; [`update`] puts the two together. [`MlpGenerator`] is a chain of dense layers on
//! [x, z]; SOG-BC ([`crate::sog_bc`]) is the same with the policy, whose form makes the search
//! cheap, and groups that are trajectories.

use rand::Rng;

use crate::adam::{Adam, AdamConfig};
use crate::error::{EngineError, check_len};
use crate::mlp::{MlpPass, Part};
use crate::net::Mlp;
use crate::search::{Candidates, CodeSearch, Groups, LatentModel, Search};

/// A network y ≈ f_θ(z, x) that can be trained.
pub trait Generator: LatentModel {
    /// L_SOG = 1/n Σᵢ L(f_θ(z_g(i), xᵢ), yᵢ) for the codes `[groups, Z]` and a step on its gradient
    /// with step size `lr` (lines 10–11 of Algorithm 1). Returns the loss before the step.
    ///
    /// # Errors
    /// If there are not as many codes as groups.
    fn step(&mut self, codes: &[f32], groups: Groups<'_>, lr: f32) -> Result<f32, EngineError>;
}

/// One iteration of Algorithm 1 (lines 6–11) on the minibatch that `model` holds: the best code of
/// each datum (or group), then a step on its loss, which is returned.
///
/// # Errors
/// If the groups do not fit the rows or the search is empty.
pub fn update(
    model: &mut impl Generator,
    groups: Groups<'_>,
    plan: CodeSearch,
    lr: f32,
    search: &mut Search,
    rng: &mut (impl Rng + ?Sized),
) -> Result<f32, EngineError> {
    search.run(model, groups, plan, rng)?;
    model.step(search.codes(), groups, lr)
}

/// A chain of dense layers on [x, z] with squared error, trained by Adam.
#[derive(Debug, Clone)]
pub struct MlpGenerator {
    /// The network; its input is x, then z.
    pub net: Mlp,
    /// Its optimiser.
    pub adam: Adam,
    pass: MlpPass,
    code_len: usize,
    rows: usize,
    x: Vec<f32>,
    y: Vec<f32>,
    row_codes: Vec<f32>,
    out: Vec<f32>,
    grad: Vec<f32>,
}

impl MlpGenerator {
    /// A generator whose last `code_len` inputs are the code.
    ///
    /// # Errors
    /// If the network has fewer inputs.
    pub fn new(net: Mlp, code_len: usize, adam: AdamConfig) -> Result<Self, EngineError> {
        if code_len > net.arch().inputs {
            return Err(EngineError::Range {
                what: "code size",
                got: code_len.to_string(),
                need: "at most the number of the network's inputs",
            });
        }
        Ok(Self {
            adam: Adam::new(adam, net.params.len()),
            pass: MlpPass::new(net.arch()),
            grad: vec![0.0; net.params.len()],
            net,
            code_len,
            rows: 0,
            x: Vec::new(),
            y: Vec::new(),
            row_codes: Vec::new(),
            out: Vec::new(),
        })
    }

    /// Takes a minibatch: x `[rows, inputs − Z]` (may have no columns), y `[rows, outputs]`.
    ///
    /// # Errors
    /// If `y` is empty or a length does not match.
    pub fn load(&mut self, x: &[f32], y: &[f32]) -> Result<(), EngineError> {
        let outputs = self.net.arch().outputs();
        let rows = (y.len() / outputs).max(1);
        check_len("y", y.len(), rows * outputs)?;
        check_len("x", x.len(), rows * self.x_len())?;
        self.rows = rows;
        self.x.clear();
        self.x.extend_from_slice(x);
        self.y.clear();
        self.y.extend_from_slice(y);
        self.out.resize(rows * outputs, 0.0);
        Ok(())
    }

    /// f(z, x) of the loaded rows for one code per group, `[rows, outputs]`.
    ///
    /// # Errors
    /// If there are not as many codes as groups.
    pub fn generate(&mut self, codes: &[f32], groups: Groups<'_>) -> Result<&[f32], EngineError> {
        self.set_row_codes(codes, groups)?;
        self.forward()?;
        Ok(&self.out)
    }

    fn x_len(&self) -> usize {
        self.net.arch().inputs - self.code_len
    }

    fn set_row_codes(&mut self, codes: &[f32], groups: Groups<'_>) -> Result<(), EngineError> {
        groups.check(self.rows)?;
        check_len("codes", codes.len(), groups.count(self.rows) * self.code_len)?;
        self.row_codes.clear();
        for row in 0..self.rows {
            let from = groups.of(row) * self.code_len;
            self.row_codes.extend_from_slice(&codes[from..from + self.code_len]);
        }
        Ok(())
    }

    fn forward(&mut self) -> Result<(), EngineError> {
        let input = [
            Part { data: &self.x, width: self.net.arch().inputs - self.code_len },
            Part { data: &self.row_codes, width: self.code_len },
        ];
        self.pass.forward(&self.net, &input, &mut self.out)
    }

    /// Adds the losses of candidate `c` of `count`, for the row codes at hand.
    fn add_losses(&self, groups: Groups<'_>, (c, count): (usize, usize), sums: &mut [f64]) {
        let outputs = self.net.arch().outputs();
        let rows = self.out.chunks_exact(outputs).zip(self.y.chunks_exact(outputs));
        for (row, (out, y)) in rows.enumerate() {
            let loss: f32 = out.iter().zip(y).map(|(o, y)| (o - y) * (o - y)).sum();
            sums[groups.of(row) * count + c] += f64::from(loss);
        }
    }
}

impl LatentModel for MlpGenerator {
    fn code_len(&self) -> usize {
        self.code_len
    }

    fn rows(&self) -> usize {
        self.rows
    }

    fn losses(&mut self, candidates: Candidates<'_>, groups: Groups<'_>, sums: &mut [f64]) {
        sums.fill(0.0);
        let latent = self.code_len;
        for c in 0..candidates.count(latent) {
            self.row_codes.clear();
            for row in 0..self.rows {
                candidates.push(latent, groups.of(row), c, &mut self.row_codes);
            }
            // The shapes were checked by `load`: what does not fit here is a broken invariant, and
            // its losses must not win.
            match self.forward() {
                Ok(()) => self.add_losses(groups, (c, candidates.count(latent)), sums),
                Err(_) => sums.fill(f64::NAN),
            }
        }
    }
}

impl Generator for MlpGenerator {
    fn step(&mut self, codes: &[f32], groups: Groups<'_>, lr: f32) -> Result<f32, EngineError> {
        self.set_row_codes(codes, groups)?;
        let input = [
            Part { data: &self.x, width: self.x_len() },
            Part { data: &self.row_codes, width: self.code_len },
        ];
        self.grad.fill(0.0);
        let loss = self.pass.squared_error(&self.net, &input, &self.y, 1.0, &mut self.grad)?;
        self.adam.step(&mut self.net.params, &self.grad, lr, 1.0)?;
        Ok(loss)
    }
}
