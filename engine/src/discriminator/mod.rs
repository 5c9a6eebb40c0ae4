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
//! M_l = φ'(W_l a_{l−1} + b_l) held fixed, which is exact almost everywhere, and w the weights of
//! the logit over the top hidden layer T,
//!
//! ```text
//! g   = ∇_x f = W₁ᵀ M₁ … W_Tᵀ M_T w          u_l = M_l W_{l+1}ᵀ u_{l+1}   (backward, u_T = M_T w)
//! r   = dL_GP/dg = 2λ/n (1 − 1/‖g‖) g        e_l = M_l W_l e_{l−1}        (forward, e₀ = r)
//! dL_GP/dW_l = u_l ⊗ e_{l−1},                biases: 0
//! ```
//!
//! **The top layer.** Behind a single logit, every product with the top layer's derivative is one
//! with the mask M_T alone, which has two values; such sums are looked up in tables (`masked`).
//! With δ = dL_BCE/df, for cross-entropy rows x̃ = δ a_{T−1} and for penalty rows x̃ = e_{T−1}:
//!
//! ```text
//! y_m  = Σ_h M[h,m] w[h] W_T[h,:]      d_{T−1} = δ_m y_m M_{T−1},   u_{T−1} = y_m M_{T−1}
//! Q[h] = Σ_m M[h,m] x̃_m                dW_T[h] = w[h] Q[h]
//! c[h] = Σ_m M[h,m] δ_m                dw[h] = ⟨W_T[h], Q[h]⟩ + b_T[h] c[h],  db_T[h] = w[h] c[h]
//! ```
//!
//! The penalty's share of dw needs no product W_T e_{T−1}: it is in `⟨W_T[h], Q[h]⟩`.

mod shard;

use serde::{Deserialize, Serialize};

use crate::adam::{Adam, clip_scale, square_norm};
use crate::error::{EngineError, check_len};
use crate::mlp::{MlpPass, Part, Shape, check_parts};
use crate::net::{Activation, Mlp, MlpArch};
use crate::shard::{Parallelism, Plan, Target, accumulate};
use crate::standby::{Pace, PerThread};

use shard::{Shard, Sums, Tables, Work};

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
    tables: PerThread<Tables>,
    /// Counts gradients: tables of another one are old.
    gradients: u64,
    pace: Pace,
    shards: Vec<Shard>,
    forward: MlpPass,
    grad: Vec<f32>,
}

impl Discriminator {
    /// Buffers for discriminators of shape `arch`; they grow with the largest batch.
    ///
    /// # Errors
    /// If there is not one output without activation, no hidden layer, or a hidden activation that
    /// is not piecewise linear.
    pub fn new(arch: &MlpArch) -> Result<Self, EngineError> {
        check_len("discriminator's outputs", arch.outputs(), 1)?;
        let last = arch.layers.len().saturating_sub(1);
        if last == 0 {
            return Err(EngineError::Range {
                what: "discriminator's hidden layers",
                got: "0".to_owned(),
                need: "at least 1",
            });
        }
        for (i, &(_, activation)) in arch.layers.iter().enumerate() {
            let fits = match activation {
                Activation::Identity => true,
                Activation::Relu | Activation::LeakyRelu { .. } => i < last,
                Activation::Tanh | Activation::Elu | Activation::ScaledTanh { .. } => false,
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
            tables: PerThread::default(),
            gradients: 0,
            pace: Pace::default(),
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
        let (parallelism, mut pace) = (self.parallelism, std::mem::take(&mut self.pace));
        let result = parallelism.update(&mut pace, || {
            let mut grad = std::mem::take(&mut self.grad);
            let result = self.gradient_onto(net, config, batch, Target::replace(&mut grad));
            self.grad = grad;
            let mut stats = result?;
            let norm = square_norm(parallelism, &self.grad).sqrt();
            stats.grad_norm = norm as f32;
            let scale = config.max_grad_norm.map_or(1.0, |max| clip_scale(norm, max.into()));
            adam.step_with(parallelism, &mut net.params, &self.grad, lr, scale)?;
            Ok(stats)
        });
        self.pace = pace;
        result
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
        self.gradient_onto(net, config, batch, Target::add_to(grad))
    }

    fn gradient_onto(
        &mut self,
        net: &Mlp,
        config: &DiscriminatorConfig,
        batch: DiscriminatorBatch<'_>,
        target: Target<'_>,
    ) -> Result<DiscriminatorStats, EngineError> {
        self.shape.check(net)?;
        let inputs = self.shape.arch.inputs;
        let plan = Plan::new(check_parts(batch.expert, inputs)?);
        check_len("policy rows", check_parts(batch.policy, inputs)?, plan.rows)?;
        check_len("gradient", target.len(), self.shape.params)?;
        if config.penalty > 0.0 {
            check_len("mixing coefficients", batch.mix.len(), plan.rows)?;
        }
        if self.shards.len() < plan.shards {
            let shape = &self.shape;
            self.shards.resize_with(plan.shards, || Shard::new(shape));
        }
        let mode = self.parallelism;
        self.tables.grow(mode, || Tables::new(&self.shape));
        self.gradients += 1;
        let work = Work {
            shape: &self.shape,
            p: &net.params,
            batch,
            penalty: config.penalty,
            share: 1.0 / plan.rows as f32,
        };
        let (tables, gradient) = (&self.tables, self.gradients);
        let shards = &mut self.shards[..plan.shards];
        accumulate(mode, plan, shards, target, |i, shard, grad| {
            tables.with(|tables| {
                if tables.gradient != gradient {
                    mode.fetch(&net.params);
                    tables.build(&self.shape, &net.params, gradient);
                }
                shard.work(work, tables, plan.panels_of(i), grad);
            });
        });
        Ok(stats(shards, plan.rows, config.penalty))
    }
}

/// Adds up the shards' sums, in order.
fn stats(shards: &[Shard], rows: usize, penalty: f32) -> DiscriminatorStats {
    let mut sums = Sums::default();
    shards.iter().for_each(|shard| sums.add(&shard.sums));
    let mean = |sum: f64| (sum / rows as f64) as f32;
    DiscriminatorStats {
        loss: mean(sums.loss),
        penalty: mean(sums.penalty) * penalty,
        expert_logit: mean(sums.logits[0]),
        policy_logit: mean(sums.logits[1]),
        expert_accuracy: mean(sums.hits[0]),
        policy_accuracy: mean(sums.hits[1]),
        slope: if penalty > 0.0 { mean(sums.slope) } else { f32::NAN },
        grad_norm: 0.0,
    }
}
