//! The discriminator of GAIL: binary cross-entropy with gradient penalty, and the reward it gives.
//!
//! **Sign convention.** The network's output f(s,a) is the logit of D(s,a) = σ(f) = P(expert | s,a).
//! Expert rows carry the label 1, policy rows 0. (The paper's Eq. 1 names the classes the other way
//! round; the game is the same.) With n rows of each,
//!
//! ```text
//! L_BCE = 1/n Σ_E −log D  +  1/n Σ_π −log(1−D)  =  1/n Σ_E softplus(−f)  +  1/n Σ_π softplus(f)
//! L_GP  = λ/n Σ (‖∇_x f(x̂)‖ − 1)²,   x̂ = ε x_E + (1−ε) x_π       (Gulrajani et al. 2017)
//! reward(s,a) = log D − log(1−D) = f(s,a)
//! ```
//!
//! **Gradient of the penalty.** LeakyReLU networks are piecewise linear: with the masks
//! M_l = φ'(W_l a_{l−1} + b_l) held fixed, which is exact almost everywhere,
//!
//! ```text
//! g   = ∇_x f = W₁ᵀ M₁ W₂ᵀ M₂ … w           u_l = M_l W_{l+1}ᵀ u_{l+1}   (backward, u_L = 1)
//! r   = dL_GP/dg = 2λ/n (1 − 1/‖g‖) g        e_l = M_l W_l e_{l−1}        (forward, e₀ = r)
//! dL_GP/dW_l = u_l ⊗ e_{l−1},                biases: 0
//! ```

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::adam::{Adam, clip_scale, global_norm};
use crate::error::{EngineError, check_len};
use crate::kernel::{
    PANEL, Row, activate_backward, add_row_sums, affine, affine_transposed, leaky_mask, mix, outer,
    panels, scale_rows, square_norms,
};
use crate::mlp::{MlpOutput, MlpPass, MlpShard, Part, Shape, check_parts, panel_from_parts};
use crate::net::{Activation, Mlp, MlpArch};
use crate::policy::SUMS;
use crate::shard::{Adds, Parallelism, Plan, ShardGrad, accumulate};
use crate::transpose::transpose;

/// Constants of the update.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DiscriminatorConfig {
    /// λ of the gradient penalty; 0 leaves it out.
    pub penalty: f32,
    /// Bound on the norm of the gradient; none: no clipping.
    pub max_grad_norm: Option<f32>,
}

impl Default for DiscriminatorConfig {
    fn default() -> Self {
        Self { penalty: 10.0, max_grad_norm: None }
    }
}

/// n rows of each kind; the network's input is the blocks side by side (state, action, code…).
#[derive(Debug, Clone, Copy)]
pub struct DiscriminatorBatch<'a> {
    /// Demonstrations `[n, inputs]`.
    pub expert: &'a [Part<'a>],
    /// Rows of the policy's rollouts `[n, inputs]`.
    pub policy: &'a [Part<'a>],
    /// ε: share of the expert row in each mixture, uniform in [0, 1) `[n]`.
    pub mix: &'a [f32],
}

/// What practitioners look at; all of it before the step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct DiscriminatorStats {
    /// L_BCE in nats; 2 ln 2 = 1.386 when the network cannot tell.
    pub loss: f32,
    /// L_GP, λ included.
    pub penalty: f32,
    /// Mean logit of expert rows.
    pub expert_logit: f32,
    /// Mean logit of policy rows.
    pub policy_logit: f32,
    /// Share of expert rows with D > ½.
    pub expert_accuracy: f32,
    /// Share of policy rows with D < ½.
    pub policy_accuracy: f32,
    /// Mean of ‖∇_x f‖ over the mixtures; NaN without penalty.
    pub slope: f32,
    /// Norm of the gradient before clipping.
    pub grad_norm: f32,
}

/// Buffers and passes of the discriminator.
#[derive(Debug, Clone)]
pub struct Discriminator {
    shape: Shape,
    parallelism: Parallelism,
    shards: Vec<Shard>,
    forward: MlpPass,
    grad: Vec<f32>,
}

/// What one shard needs while it is worked on.
#[derive(Debug, Clone)]
struct Shard {
    mlp: MlpShard,
    /// Expert rows of the panel, then their mixture with the policy's.
    mixture: Vec<Row>,
    /// u_l of each hidden layer.
    u: Vec<Vec<Row>>,
    /// e_l, for l even and odd; g and r in the first.
    e: [Vec<Row>; 2],
    penalty: f64,
    slope: f64,
}

impl ShardGrad for Shard {
    fn grad(&mut self) -> &mut Vec<f32> {
        &mut self.mlp.grad
    }
}

impl Discriminator {
    /// Buffers for discriminators of shape `arch`; they grow with the largest batch.
    ///
    /// # Errors
    /// If there is not one output without activation, or a hidden activation that is not piecewise
    /// linear.
    pub fn new(arch: &MlpArch) -> Result<Self, EngineError> {
        check_len("discriminator's outputs", arch.outputs(), 1)?;
        let last = arch.layers.len().saturating_sub(1);
        for (i, &(_, activation)) in arch.layers.iter().enumerate() {
            let fits = match activation {
                Activation::Identity => true,
                Activation::Relu | Activation::LeakyRelu { .. } => i < last,
                Activation::Tanh | Activation::ScaledTanh { .. } => false,
            };
            if !fits {
                return Err(EngineError::Range {
                    what: "discriminator's activation",
                    got: format!("{activation:?} in layer {i}"),
                    need: "LeakyRelu, Relu or Identity in hidden layers, Identity in the last",
                });
            }
        }
        Ok(Self {
            shape: Shape::new(arch),
            parallelism: Parallelism::Serial,
            shards: Vec::new(),
            forward: MlpPass::new(arch),
            grad: vec![0.0; arch.layout().len()],
        })
    }

    /// The same, worked on by the threads that `parallelism` says; results do not change.
    pub fn with_parallelism(self, parallelism: Parallelism) -> Self {
        Self { parallelism, forward: self.forward.with_parallelism(parallelism), ..self }
    }

    /// One update: gradient of L_BCE + L_GP and an Adam step.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn update(
        &mut self,
        net: &mut Mlp,
        adam: &mut Adam,
        config: &DiscriminatorConfig,
        lr: f32,
        batch: DiscriminatorBatch<'_>,
    ) -> Result<DiscriminatorStats, EngineError> {
        let mut grad = std::mem::take(&mut self.grad);
        grad.fill(0.0);
        let result = self.gradient(net, config, batch, &mut grad);
        self.grad = grad;
        let mut stats = result?;
        let norm = global_norm(&[&self.grad]);
        stats.grad_norm = norm as f32;
        let scale = config.max_grad_norm.map_or(1.0, |max| clip_scale(norm, max.into()));
        adam.step(&mut net.params, &self.grad, lr, scale)?;
        Ok(stats)
    }

    /// Rewards log D − log(1−D) = f `[rows]`; see the sign convention above.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn rewards(
        &mut self,
        net: &Mlp,
        input: &[Part<'_>],
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        self.forward.forward(net, input, out)
    }

    /// Adds the gradient of L_BCE + L_GP to `grad`; `grad_norm` of the result is not set.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn gradient(
        &mut self,
        net: &Mlp,
        config: &DiscriminatorConfig,
        batch: DiscriminatorBatch<'_>,
        grad: &mut [f32],
    ) -> Result<DiscriminatorStats, EngineError> {
        self.shape.check(net)?;
        let inputs = self.shape.arch.inputs;
        let plan = Plan::new(check_parts(batch.expert, inputs)?);
        check_len("policy rows", check_parts(batch.policy, inputs)?, plan.rows)?;
        check_len("gradient", grad.len(), self.shape.params)?;
        if config.penalty > 0.0 {
            check_len("mixing coefficients", batch.mix.len(), plan.rows)?;
        }
        if self.shards.len() < plan.shards {
            let shape = &self.shape;
            self.shards.resize_with(plan.shards, || Shard::new(shape));
        }
        let work = Work { shape: &self.shape, p: &net.params, batch, rows: plan.rows };
        let shards = &mut self.shards[..plan.shards];
        accumulate(self.parallelism, (plan, Adds::Often), shards, grad, |i, shard, grad| {
            shard.clear_sums();
            for rows in plan.panels_of(i) {
                shard.panel(work, config.penalty, rows, grad);
            }
        });
        Ok(stats(shards, plan.rows, config.penalty))
    }
}

/// What every shard reads.
#[derive(Clone, Copy)]
struct Work<'a> {
    shape: &'a Shape,
    p: &'a [f32],
    batch: DiscriminatorBatch<'a>,
    rows: usize,
}

/// Adds up the shards' sums, in order.
fn stats(shards: &[Shard], rows: usize, penalty: f32) -> DiscriminatorStats {
    let n = rows as f64;
    let sum = |of: fn(&Shard) -> f64| (shards.iter().map(of).sum::<f64>() / n) as f32;
    DiscriminatorStats {
        loss: sum(|s| s.mlp.sums[0]),
        penalty: sum(|s| s.penalty) * penalty,
        expert_logit: sum(|s| s.mlp.sums[1]),
        policy_logit: sum(|s| s.mlp.sums[2]),
        expert_accuracy: sum(|s| s.mlp.sums[3]),
        policy_accuracy: sum(|s| s.mlp.sums[4]),
        slope: if penalty > 0.0 { sum(|s| s.slope) } else { f32::NAN },
        grad_norm: 0.0,
    }
}

impl Shard {
    fn new(shape: &Shape) -> Self {
        let zeros = |n: usize| vec![Row::ZERO; n];
        let widest = shape.layers.iter().map(|l| l.inputs.max(l.outputs)).max().unwrap_or(0);
        let hidden = &shape.layers[..shape.layers.len() - 1];
        Self {
            mlp: MlpShard::new(shape),
            mixture: zeros(shape.arch.inputs),
            u: hidden.iter().map(|l| zeros(l.outputs)).collect(),
            e: [zeros(widest), zeros(widest)],
            penalty: 0.0,
            slope: 0.0,
        }
    }

    fn clear_sums(&mut self) {
        self.mlp.sums = [0.0; SUMS];
        self.penalty = 0.0;
        self.slope = 0.0;
    }

    /// Expert, policy and mixture of one panel of rows.
    fn panel(&mut self, work: Work<'_>, penalty: f32, rows: Range<usize>, grad: &mut [f32]) {
        let Work { shape, p, batch, .. } = work;
        let share = 1.0 / work.rows as f32;
        panel_from_parts(batch.expert, rows.clone(), &mut self.mlp.x);
        self.mixture.copy_from_slice(&self.mlp.x);
        self.mlp.forward(shape, p);
        self.mlp.start_backward(shape, rows.clone(), &|panel| cross_entropy(panel, 1.0, share));
        self.mlp.backward(shape, p, grad, None);

        panel_from_parts(batch.policy, rows.clone(), &mut self.mlp.x);
        self.mlp.forward(shape, p);
        self.mlp.start_backward(shape, rows.clone(), &|panel| cross_entropy(panel, 0.0, share));
        self.mlp.backward(shape, p, grad, None);

        if penalty > 0.0 {
            let mut share_of_expert = Row::ZERO;
            share_of_expert.0[..rows.len()].copy_from_slice(&batch.mix[rows.clone()]);
            mix(shape.simd, &share_of_expert, &self.mixture, &mut self.mlp.x);
            self.mlp.forward(shape, p);
            self.input_gradient(shape, p);
            self.penalise(shape, rows.len(), 2.0 * penalty * share);
            self.penalty_backward(shape, p, grad);
        }
    }

    /// u_l of every layer and g = ∇_x f into `e[0]`, for the activations at hand.
    fn input_gradient(&mut self, shape: &Shape, p: &[f32]) {
        let Some((last, hidden)) = shape.layers.split_last() else { return };
        for (i, layer) in hidden.iter().enumerate().rev() {
            let acts = &self.mlp.acts[i];
            if i + 1 == hidden.len() {
                leaky_mask(
                    shape.simd,
                    &p[last.w.clone()],
                    acts,
                    slope(layer.activation),
                    &mut self.u[i],
                );
            } else {
                let above = &shape.layers[i + 1];
                let (here, behind) = self.u.split_at_mut(i + 1);
                affine_transposed(shape.simd, &p[above.w.clone()], &behind[0], &mut here[i]);
                activate_backward(shape.simd, layer.activation, &mut here[i], acts);
            }
        }
        let g = &mut self.e[0][..shape.arch.inputs];
        match self.u.first() {
            Some(u) => affine_transposed(shape.simd, &p[shape.layers[0].w.clone()], u, g),
            None => g.iter_mut().zip(&p[last.w.clone()]).for_each(|(g, &w)| g.0.fill(w)),
        }
    }

    /// Turns g in `e[0]` into r = factor (1 − 1/‖g‖) g, zero beyond `lanes`; adds up the penalty.
    fn penalise(&mut self, shape: &Shape, lanes: usize, factor: f32) {
        let g = &mut self.e[0][..shape.arch.inputs];
        let mut weights = square_norms(shape.simd, g);
        for (lane, weight) in weights.0.iter_mut().enumerate() {
            let norm = weight.sqrt();
            if lane < lanes {
                self.penalty += f64::from((norm - 1.0) * (norm - 1.0));
                self.slope += f64::from(norm);
            }
            // Where the gradient vanishes the penalty has a kink: take 0 of its subgradients.
            *weight = if lane < lanes && norm > 0.0 { factor * (1.0 - 1.0 / norm) } else { 0.0 };
        }
        scale_rows(shape.simd, g, &weights);
    }

    /// Adds dL_GP/dW, given r in `e[0]`.
    fn penalty_backward(&mut self, shape: &Shape, p: &[f32], grad: &mut [f32]) {
        let Some((last, hidden)) = shape.layers.split_last() else { return };
        for (i, layer) in hidden.iter().enumerate() {
            let [even, odd] = &mut self.e;
            let (before, after) = if i % 2 == 0 { (even, odd) } else { (odd, even) };
            let (before, after) = (&before[..layer.inputs], &mut after[..layer.outputs]);
            let tiles = &mut self.mlp.tiles[..panels(layer.inputs) * PANEL];
            transpose(shape.simd, before, tiles);
            outer(shape.simd, &self.u[i], tiles, layer.inputs, &mut grad[layer.w.clone()]);
            affine(shape.simd, &p[layer.w.clone()], None, before, after);
            activate_backward(shape.simd, layer.activation, after, &self.mlp.acts[i]);
        }
        let e = &self.e[hidden.len() % 2][..last.inputs];
        add_row_sums(shape.simd, e, &mut grad[last.w.clone()]);
    }
}

/// Derivative of a piecewise linear activation for negative inputs.
fn slope(activation: Activation) -> f32 {
    match activation {
        Activation::Relu => 0.0,
        Activation::LeakyRelu { slope } => slope,
        Activation::Identity | Activation::Tanh | Activation::ScaledTanh { .. } => 1.0,
    }
}

/// softplus(∓f) for label 1 or 0: sums of loss, logits and hits; writes share·(σ(f) − label).
fn cross_entropy(panel: MlpOutput<'_>, label: f32, share: f32) -> [f64; SUMS] {
    let expert = label > 0.5;
    let (mut loss, mut logits, mut hits) = (0.0, 0.0, 0.0);
    for lane in 0..panel.rows.len() {
        let f = panel.out[0].0[lane];
        let away = if expert { -f } else { f };
        // softplus(x) = max(x, 0) + ln(1 + e^−|x|), and σ from the same exponential.
        let small = (-f.abs()).exp();
        loss += f64::from(away.max(0.0) + small.ln_1p());
        let sigma = if f >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
        panel.d_out[0].0[lane] = share * (sigma - label);
        logits += f64::from(f);
        hits += f64::from(u8::from(away < 0.0));
    }
    if expert { [loss, logits, 0.0, hits, 0.0, 0.0] } else { [loss, 0.0, logits, 0.0, hits, 0.0] }
}
