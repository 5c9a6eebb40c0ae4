//! InfoGAIL's posterior q(z|s,a) (Li et al. 2017): log-probabilities for the reward, losses for its
//! training, and the softly updated copy that the reward is taken from.
//!
//! One-hot codes: the network's K outputs are logits, log q = logit_z − logsumexp. Gaussian codes:
//! the 2d outputs are means and log standard deviations,
//! log q = Σ_j −½((z_j − μ_j)/σ_j)² − log σ_j − ½ log 2π, with log σ limited to
//! [`LOG_STD_MIN`], [`LOG_STD_MAX`]. The loss is −1/n Σ log q.

use serde::{Deserialize, Serialize};

use crate::adam::{Adam, square_norm};
use crate::error::{EngineError, check_len};
use crate::mlp::{MlpOutput, MlpPass, Part, check_parts};
use crate::net::{Mlp, MlpArch};
use crate::shard::{Parallelism, SUMS, Target};
use crate::standby::Pace;

/// Least log σ of a Gaussian posterior.
pub const LOG_STD_MIN: f32 = -5.0;
/// Largest log σ of a Gaussian posterior.
pub const LOG_STD_MAX: f32 = 2.0;

/// ½ log 2π
const HALF_LOG_TAU: f32 = 0.918_938_5;

/// What the codes are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum CodeKind {
    /// One of K, as a one-hot vector of that length.
    OneHot(usize),
    /// A vector of that length with prior N(0, I).
    Gaussian(usize),
}

impl CodeKind {
    /// Z: length of a code.
    pub fn len(self) -> usize {
        match self {
            Self::OneHot(n) | Self::Gaussian(n) => n,
        }
    }

    /// Whether a code has no elements.
    pub fn is_empty(self) -> bool {
        self.len() == 0
    }

    /// Outputs of the posterior network.
    pub fn posterior_outputs(self) -> usize {
        match self {
            Self::OneHot(k) => k,
            Self::Gaussian(d) => 2 * d,
        }
    }
}

/// What one [`Posterior::update`] did.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PosteriorStep {
    /// −1/n Σ log q, in nats, before the step.
    pub loss: f32,
    /// Norm of the gradient.
    pub grad_norm: f32,
}

/// Buffers and passes of a posterior network.
#[derive(Debug, Clone)]
pub struct Posterior {
    kind: CodeKind,
    pass: MlpPass,
    grad: Vec<f32>,
    outputs: Vec<f32>,
    pace: Pace,
}

impl Posterior {
    /// Buffers for posteriors of shape `arch` over codes of the given kind.
    ///
    /// # Errors
    /// If the network does not have [`CodeKind::posterior_outputs`] outputs.
    pub fn new(arch: &MlpArch, kind: CodeKind) -> Result<Self, EngineError> {
        check_len("posterior's outputs", arch.outputs(), kind.posterior_outputs())?;
        let grad = vec![0.0; arch.layout().len()];
        Ok(Self {
            kind,
            pass: MlpPass::new(arch),
            grad,
            outputs: Vec::new(),
            pace: Pace::default(),
        })
    }

    /// The same, worked on by the threads that `parallelism` says; results do not change.
    pub fn with_parallelism(self, parallelism: Parallelism) -> Self {
        Self { pass: self.pass.with_parallelism(parallelism), ..self }
    }

    /// log q(z|s,a) of every row `[rows]`, for codes `[rows, Z]`.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn log_probs(
        &mut self,
        net: &Mlp,
        input: &[Part<'_>],
        codes: &[f32],
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        let rows = check_parts(input, self.pass.arch().inputs)?;
        check_len("codes", codes.len(), rows * self.kind.len())?;
        check_len("log-probabilities", out.len(), rows)?;
        let width = self.kind.posterior_outputs();
        self.outputs.resize(rows * width, 0.0);
        self.pass.forward(net, input, &mut self.outputs)?;
        let rows = self.outputs.chunks_exact(width).zip(codes.chunks_exact(self.kind.len()));
        for ((y, z), out) in rows.zip(out) {
            *out = match self.kind {
                CodeKind::OneHot(_) => categorical(|k| y[k], z, |_, _| ()),
                CodeKind::Gaussian(d) => gaussian(|j| y[j], &z[..d], |_, _| ()),
            };
        }
        Ok(())
    }

    /// Adds the gradient of −1/n Σ log q to `grad`; returns that loss.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn gradient(
        &mut self,
        net: &Mlp,
        input: &[Part<'_>],
        codes: &[f32],
        grad: &mut [f32],
    ) -> Result<f32, EngineError> {
        self.gradient_onto(net, input, codes, Target::add_to(grad))
    }

    fn gradient_onto(
        &mut self,
        net: &Mlp,
        input: &[Part<'_>],
        codes: &[f32],
        target: Target<'_>,
    ) -> Result<f32, EngineError> {
        let rows = check_parts(input, self.pass.arch().inputs)?;
        check_len("codes", codes.len(), rows * self.kind.len())?;
        let (kind, share) = (self.kind, 1.0 / rows as f32);
        let sums = self.pass.loss_backward(net, input, target, None, |panel| {
            panel_loss(kind, codes, share, panel)
        })?;
        Ok((sums[0] / rows as f64) as f32)
    }

    /// One step on −1/n Σ log q.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn update(
        &mut self,
        net: &mut Mlp,
        adam: &mut Adam,
        lr: f32,
        input: &[Part<'_>],
        codes: &[f32],
    ) -> Result<PosteriorStep, EngineError> {
        let (parallelism, mut pace) = (self.pass.parallelism(), std::mem::take(&mut self.pace));
        let result = parallelism.update(&mut pace, || {
            let mut grad = std::mem::take(&mut self.grad);
            let result = self.gradient_onto(net, input, codes, Target::replace(&mut grad));
            self.grad = grad;
            let loss = result?;
            let grad_norm = square_norm(parallelism, &self.grad).sqrt() as f32;
            adam.step_with(parallelism, &mut net.params, &self.grad, lr, 1.0)?;
            Ok(PosteriorStep { loss, grad_norm })
        });
        self.pace = pace;
        result
    }
}

/// target ← share·source + (1 − share)·target.
///
/// # Errors
/// If the vectors are not equally long.
pub fn soft_update(target: &mut [f32], source: &[f32], share: f32) -> Result<(), EngineError> {
    check_len("source parameters", source.len(), target.len())?;
    target.iter_mut().zip(source).for_each(|(t, s)| *t += share * (s - *t));
    Ok(())
}

fn panel_loss(kind: CodeKind, codes: &[f32], share: f32, panel: MlpOutput<'_>) -> [f64; SUMS] {
    let (out, d_out, width) = (panel.out, panel.d_out, kind.len());
    let mut loss = 0.0;
    for (lane, row) in panel.rows.enumerate() {
        let z = &codes[row * width..(row + 1) * width];
        // The loss is −log q, so its gradient has the other sign.
        let write = |i: usize, d: f32| d_out[i].0[lane] = -share * d;
        let log_q = match kind {
            CodeKind::OneHot(_) => categorical(|k| out[k].0[lane], z, write),
            CodeKind::Gaussian(_) => gaussian(|j| out[j].0[lane], z, write),
        };
        loss -= f64::from(log_q);
    }
    [loss, 0.0, 0.0, 0.0, 0.0, 0.0]
}

/// Σ_k z_k log softmax(y)_k for a one-hot `z`; gives its derivative z − softmax(y) to `write`.
fn categorical(y: impl Fn(usize) -> f32, z: &[f32], mut write: impl FnMut(usize, f32)) -> f32 {
    let top = (0..z.len()).map(&y).fold(f32::NEG_INFINITY, f32::max);
    let sum: f32 = (0..z.len()).map(|k| (y(k) - top).exp()).sum();
    let log_sum = top + sum.ln();
    let mut log_q = 0.0;
    for (k, &z) in z.iter().enumerate() {
        log_q += z * (y(k) - log_sum);
        write(k, z - (y(k) - log_sum).exp());
    }
    log_q
}

/// log N(z; μ, σ²) with μ = y[..d], log σ = y[d..]; gives its derivatives to `write`.
fn gaussian(y: impl Fn(usize) -> f32, z: &[f32], mut write: impl FnMut(usize, f32)) -> f32 {
    let d = z.len();
    let mut log_q = 0.0;
    for (j, &z) in z.iter().enumerate() {
        let raw = y(d + j);
        let log_std = raw.clamp(LOG_STD_MIN, LOG_STD_MAX);
        let inverse = (-log_std).exp();
        let u = (z - y(j)) * inverse;
        log_q += -0.5 * u * u - log_std - HALF_LOG_TAU;
        write(j, u * inverse);
        // Outside its range log σ feels only what would bring it back.
        let slope = u * u - 1.0;
        let outward = (raw > LOG_STD_MAX && slope > 0.0) || (raw < LOG_STD_MIN && slope < 0.0);
        write(d + j, if outward { 0.0 } else { slope });
    }
    log_q
}
