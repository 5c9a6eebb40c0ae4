//! The PPO minibatch update (paper Eqs. 3–4; Schulman et al. 2017), with an optional SOG term.
//!
//! For a minibatch of n rows, with r = π_θ(a|s,z) / π_old(a|s,z):
//!
//! ```text
//! L_policy  = −1/n Σ min( r Â, clip(r, 1−ε, 1+ε) Â )          (Eqs. 3–4: g(ε, Â) = (1±ε) Â)
//! L_value   =  1/2n Σ (V(s) − target)²          or, clipped, the larger of that and of
//!                      (V_old + clip(V − V_old, ±ε_v) − target)²
//! H         =  Σ_a (log σ_a + ½ log 2πe)                       (the same for every state)
//! L         =  L_policy − c_H H + c_V L_value + λ_S L_SOG       (Algorithm 3, line 8)
//! ```
//!
//! The gradient's norm is clipped over actor and critic together; log σ is kept within bounds by
//! projection after the step.

use pulp::Arch;
use rand::Rng;
use serde::{Deserialize, Serialize};

use crate::adam::{Adam, AdamConfig, clip_scale, square_norm};
use crate::error::{EngineError, check_len};
use crate::kernel::{PANEL, Row, add_assign};
use crate::mlp::{MlpPass, Part};
use crate::net::{Mlp, MlpArch, PolicyArch, PolicyNet};
use crate::policy::{PanelOutput, PolicyPass};
use crate::shard::{Parallelism, SUMS, Target};
use crate::sog_bc::{Codes, SogBatch, SogBc};
use crate::standby::Pace;

/// ½ log 2π
const HALF_LOG_TAU: f32 = 0.918_938_5;

/// Constants of the update; the defaults are those of the specification.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PpoConfig {
    /// ε of the clipped surrogate.
    pub clip: f32,
    /// ε_v of the clipped value loss; none: plain squared error.
    pub value_clip: Option<f32>,
    /// c_V
    pub value_coef: f32,
    /// c_H
    pub entropy_coef: f32,
    /// Bound on the norm of the joint gradient; none: no clipping.
    pub max_grad_norm: Option<f32>,
    /// Least log σ.
    pub log_std_min: f32,
    /// Largest log σ.
    pub log_std_max: f32,
}

impl Default for PpoConfig {
    fn default() -> Self {
        Self {
            clip: 0.2,
            value_clip: None,
            value_coef: 0.5,
            entropy_coef: 0.0,
            max_grad_norm: Some(0.5),
            log_std_min: -5.0,
            log_std_max: 1.0,
        }
    }
}

/// A minibatch of n rows.
#[derive(Debug, Clone, Copy)]
pub struct PpoBatch<'a> {
    /// Normalised observations `[n, S]`.
    pub obs: &'a [f32],
    /// Codes `[n, Z]`.
    pub latents: &'a [f32],
    /// Actions taken `[n, A]`.
    pub actions: &'a [f32],
    /// log π_old of the actions `[n]`.
    pub log_probs: &'a [f32],
    /// Advantages `[n]`, normalised or not, as they shall count.
    pub advantages: &'a [f32],
    /// Value targets `[n]`.
    pub targets: &'a [f32],
    /// V_old `[n]`; read when the value loss is clipped.
    pub values: &'a [f32],
}

/// λ_S L_SOG on a minibatch of demonstrations (Algorithm 3, line 7).
pub struct SogTerm<'a> {
    /// Buffers of the search and gradient.
    pub sog: &'a mut SogBc,
    /// Demonstrations.
    pub batch: SogBatch<'a>,
    /// Where the code of each of its groups comes from.
    pub codes: Codes<'a>,
    /// λ_S
    pub weight: f32,
    /// Draws the samples of a coordinate-wise search.
    pub rng: &'a mut (dyn Rng + Send),
}

/// What practitioners look at; all of it before the step.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct PpoStats {
    /// L_policy.
    pub policy_loss: f32,
    /// L_value.
    pub value_loss: f32,
    /// H in nats.
    pub entropy: f32,
    /// Mean of (r − 1) − log r, an unbiased estimate of KL(old‖new) in nats.
    pub approx_kl: f32,
    /// Share of rows with |r − 1| > ε.
    pub clip_fraction: f32,
    /// Norm of the joint gradient before clipping.
    pub grad_norm: f32,
    /// L_SOG, if there is such a term.
    pub sog_loss: Option<f32>,
}

/// What the value network sees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum CriticInput {
    Obs,
    ObsAndCode,
}

/// A policy, its value network and their optimisers.
#[derive(Debug, Clone, PartialEq)]
pub struct ActorCritic {
    /// The policy.
    pub policy: PolicyNet,
    /// The value network.
    pub critic: Mlp,
    /// The policy's optimiser.
    pub policy_adam: Adam,
    /// The value network's optimiser.
    pub critic_adam: Adam,
}

impl ActorCritic {
    /// Both networks with fresh optimisers.
    pub fn new(policy: PolicyNet, critic: Mlp, adam: AdamConfig) -> Self {
        let policy_adam = Adam::new(adam, policy.params.len());
        let critic_adam = Adam::new(adam, critic.params.len());
        Self { policy, critic, policy_adam, critic_adam }
    }
}

/// Buffers and passes of the update.
#[derive(Debug, Clone)]
pub struct Ppo {
    actor: Actor,
    critic: Critic,
    /// λ_S dL_SOG/dθ.
    sog_grad: Vec<f32>,
    parallelism: Parallelism,
    pace: Pace,
}

/// The policy's side of the update.
#[derive(Debug, Clone)]
struct Actor {
    pass: PolicyPass,
    grad: Vec<f32>,
    inverse_std: Vec<f32>,
}

/// The value network's side of the update.
#[derive(Debug, Clone)]
struct Critic {
    pass: MlpPass,
    input: CriticInput,
    grad: Vec<f32>,
}

impl Ppo {
    /// Buffers for a policy and a value network, which sees the observation, or observation and
    /// code.
    ///
    /// # Errors
    /// If the value network's input has neither size or its output is not one value.
    pub fn new(actor: &PolicyArch, critic: &MlpArch) -> Result<Self, EngineError> {
        let input = if critic.inputs == actor.obs {
            CriticInput::Obs
        } else {
            check_len("value network's inputs", critic.inputs, actor.obs + actor.latent)?;
            CriticInput::ObsAndCode
        };
        check_len("value network's outputs", critic.outputs(), 1)?;
        let params = actor.layout().len();
        Ok(Self {
            actor: Actor {
                pass: PolicyPass::new(actor),
                grad: vec![0.0; params],
                inverse_std: Vec::new(),
            },
            critic: Critic {
                pass: MlpPass::new(critic),
                input,
                grad: vec![0.0; critic.layout().len()],
            },
            sog_grad: vec![0.0; params],
            parallelism: Parallelism::Serial,
            pace: Pace::default(),
        })
    }

    /// The same, worked on by the threads that `parallelism` says; results do not change. The
    /// gradients of policy, value network and SOG term go side by side, and so do the shards of
    /// each.
    pub fn with_parallelism(self, parallelism: Parallelism) -> Self {
        let Self { mut actor, mut critic, sog_grad, pace, .. } = self;
        actor.pass = actor.pass.with_parallelism(parallelism);
        critic.pass = critic.pass.with_parallelism(parallelism);
        Self { actor, critic, sog_grad, parallelism, pace }
    }

    /// One update: gradient of L, joint clipping, a step of both networks, bounds on log σ.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn update(
        &mut self,
        nets: &mut ActorCritic,
        config: &PpoConfig,
        lr: f32,
        batch: PpoBatch<'_>,
        sog: Option<SogTerm<'_>>,
    ) -> Result<PpoStats, EngineError> {
        let (parallelism, mut pace) = (self.parallelism, std::mem::take(&mut self.pace));
        let result = parallelism.update(&mut pace, || self.step(nets, config, lr, batch, sog));
        self.pace = pace;
        result
    }

    fn step(
        &mut self,
        nets: &mut ActorCritic,
        config: &PpoConfig,
        lr: f32,
        batch: PpoBatch<'_>,
        sog: Option<SogTerm<'_>>,
    ) -> Result<PpoStats, EngineError> {
        let parallelism = self.parallelism;
        let mut stats = self.gradients_of(&nets.policy, &nets.critic, config, batch, sog)?;
        if stats.sog_loss.is_some() {
            add_assign(Arch::new(), &mut self.actor.grad, &self.sog_grad);
        }
        let (actor_grad, critic_grad) = self.gradients();
        let (of_actor, of_critic) = parallelism.join(
            || square_norm(Parallelism::Serial, actor_grad),
            || square_norm(Parallelism::Serial, critic_grad),
        );
        let norm = (of_actor + of_critic).sqrt();
        stats.grad_norm = norm as f32;
        let scale = config.max_grad_norm.map_or(1.0, |max| clip_scale(norm, max.into()));
        let ActorCritic { policy, critic, policy_adam, critic_adam } = &mut *nets;
        let (of_actor, of_critic) = parallelism.join(
            || policy_adam.step(&mut policy.params, actor_grad, lr, scale),
            || critic_adam.step(&mut critic.params, critic_grad, lr, scale),
        );
        of_actor?;
        of_critic?;
        for log_std in nets.policy.log_std_mut() {
            *log_std = log_std.max(config.log_std_min).min(config.log_std_max);
        }
        Ok(stats)
    }

    /// Gradient of L without the SOG term, left in [`Ppo::gradients`]; `grad_norm` and `sog_loss`
    /// of the result are not set.
    ///
    /// # Errors
    /// If a shape does not match.
    pub fn gradient(
        &mut self,
        policy: &PolicyNet,
        critic: &Mlp,
        config: &PpoConfig,
        batch: PpoBatch<'_>,
    ) -> Result<PpoStats, EngineError> {
        self.gradients_of(policy, critic, config, batch, None)
    }

    /// The gradients of the policy and of the value network as last computed.
    pub fn gradients(&self) -> (&[f32], &[f32]) {
        (&self.actor.grad, &self.critic.grad)
    }

    /// The gradients of policy, value network and SOG term, each in its own buffer.
    fn gradients_of(
        &mut self,
        policy: &PolicyNet,
        critic: &Mlp,
        config: &PpoConfig,
        batch: PpoBatch<'_>,
        sog: Option<SogTerm<'_>>,
    ) -> Result<PpoStats, EngineError> {
        let rows = check_batch(self.actor.pass.arch(), config, batch)?;
        let widths = [policy.arch().obs, policy.arch().latent];
        let Self { actor: actor_side, critic: critic_side, sog_grad, parallelism, .. } = self;
        let of_policy = || actor_side.gradient(policy, config, batch, rows);
        let of_value = || critic_side.gradient(critic, widths, config, batch, rows);
        let of_sog = || sog.map(|term| sog_gradient(policy, term, sog_grad)).transpose();
        let (stats, (value_loss, sog_loss)) =
            parallelism.join(of_policy, || parallelism.join(of_value, of_sog));
        Ok(PpoStats { value_loss: value_loss?, sog_loss: sog_loss?, ..stats? })
    }
}

/// Writes λ_S dL_SOG/dθ; returns L_SOG.
fn sog_gradient(
    policy: &PolicyNet,
    term: SogTerm<'_>,
    grad: &mut [f32],
) -> Result<f32, EngineError> {
    match term.codes {
        Codes::Search(search) => term.sog.search(policy, term.batch, search, term.rng)?,
        Codes::Given(codes) => {
            term.sog.load(policy, term.batch)?;
            term.sog.set_codes(codes)?;
        }
    }
    term.sog.gradient_onto(policy, term.batch.groups, term.weight, Target::replace(grad))
}

impl Actor {
    fn gradient(
        &mut self,
        policy: &PolicyNet,
        config: &PpoConfig,
        batch: PpoBatch<'_>,
        rows: usize,
    ) -> Result<PpoStats, EngineError> {
        let Self { pass, grad, inverse_std } = self;
        pass.load(policy, batch.obs)?;
        let log_std = policy.log_std();
        inverse_std.clear();
        inverse_std.extend(log_std.iter().map(|l| (-l).exp()));
        let surrogate = Surrogate {
            batch,
            clip: config.clip,
            inverse_std,
            log_norm: log_std.iter().map(|l| l + HALF_LOG_TAU).sum(),
            share: 1.0 / rows as f32,
        };
        let [loss, kl, clipped, ..] =
            pass.backward(policy, batch.latents, Target::replace(grad), |p| surrogate.panel(p));
        // dH/dlog σ = 1 for each action.
        let from = grad.len() - log_std.len();
        grad[from..].iter_mut().for_each(|g| *g -= config.entropy_coef);
        let n = rows as f64;
        Ok(PpoStats {
            policy_loss: (loss / n) as f32,
            entropy: log_std.iter().map(|l| l + HALF_LOG_TAU + 0.5).sum(),
            approx_kl: (kl / n) as f32,
            clip_fraction: (clipped / n) as f32,
            ..PpoStats::default()
        })
    }
}

impl Critic {
    /// `widths` are S and Z.
    fn gradient(
        &mut self,
        critic: &Mlp,
        [obs, latent]: [usize; 2],
        config: &PpoConfig,
        batch: PpoBatch<'_>,
        rows: usize,
    ) -> Result<f32, EngineError> {
        let (code, width) = match self.input {
            CriticInput::Obs => (&[][..], 0),
            CriticInput::ObsAndCode => (batch.latents, latent),
        };
        let input = [Part { data: batch.obs, width: obs }, Part { data: code, width }];
        let factor = config.value_coef / rows as f32;
        let target = Target::replace(&mut self.grad);
        let sums = self.pass.loss_backward(critic, &input, target, None, |panel| {
            let mut total = 0.0;
            for (lane, row) in panel.rows.enumerate() {
                let value = panel.out[0].0[lane];
                let old = batch.values.get(row).copied().unwrap_or(0.0);
                let (square, slope) =
                    value_error(value, batch.targets[row], old, config.value_clip);
                total += f64::from(square);
                panel.d_out[0].0[lane] = factor * slope;
            }
            [total, 0.0, 0.0, 0.0, 0.0, 0.0]
        })?;
        Ok((0.5 * sums[0] / rows as f64) as f32)
    }
}

fn check_batch(
    arch: &PolicyArch,
    config: &PpoConfig,
    batch: PpoBatch<'_>,
) -> Result<usize, EngineError> {
    let rows = batch.advantages.len().max(1);
    check_len("advantages", batch.advantages.len(), rows)?;
    check_len("observations", batch.obs.len(), rows * arch.obs)?;
    check_len("latent codes", batch.latents.len(), rows * arch.latent)?;
    check_len("actions", batch.actions.len(), rows * arch.action)?;
    check_len("log-probabilities", batch.log_probs.len(), rows)?;
    check_len("value targets", batch.targets.len(), rows)?;
    if config.value_clip.is_some() {
        check_len("old values", batch.values.len(), rows)?;
    }
    Ok(rows)
}

/// The squared error that counts, and half its derivative with respect to `value`.
fn value_error(value: f32, target: f32, old: f32, clip: Option<f32>) -> (f32, f32) {
    let error = value - target;
    let Some(clip) = clip else { return (error * error, error) };
    let shift = value - old;
    let clipped = old + shift.clamp(-clip, clip) - target;
    if clipped * clipped > error * error {
        (clipped * clipped, if shift.abs() < clip { clipped } else { 0.0 })
    } else {
        (error * error, error)
    }
}

/// The clipped surrogate of one minibatch.
struct Surrogate<'a> {
    batch: PpoBatch<'a>,
    clip: f32,
    /// 1/σ per action.
    inverse_std: &'a [f32],
    /// Σ_a (log σ + ½ log 2π)
    log_norm: f32,
    /// 1/n
    share: f32,
}

impl Surrogate<'_> {
    /// Sums of loss, KL estimate and clipped rows of one panel; writes its gradients.
    fn panel(&self, panel: PanelOutput<'_>) -> [f64; SUMS] {
        let PanelOutput { rows, mean, d_mean, d_log_std } = panel;
        let actions = mean.len();
        // d_mean holds (a − μ)/σ until the weight of each row is known.
        let mut squares = Row::ZERO;
        for (lane, row) in rows.clone().enumerate() {
            for (k, &action) in
                self.batch.actions[row * actions..(row + 1) * actions].iter().enumerate()
            {
                let u = (action - mean[k].0[lane]) * self.inverse_std[k];
                d_mean[k].0[lane] = u;
                squares.0[lane] += u * u;
            }
        }
        let mut sums = [0.0; SUMS];
        let mut weights = Row::ZERO;
        for (lane, row) in rows.enumerate() {
            let log_prob = -0.5 * squares.0[lane] - self.log_norm;
            let log_ratio = log_prob - self.batch.log_probs[row];
            let (terms, weight) = self.row(log_ratio, self.batch.advantages[row]);
            sums.iter_mut().zip(terms).for_each(|(sum, term)| *sum += f64::from(term));
            weights.0[lane] = weight * self.share;
        }
        // dlog π/dμ = u/σ, dlog π/dlog σ = u² − 1.
        for ((d, d_log_std), &inverse) in d_mean.iter_mut().zip(d_log_std).zip(self.inverse_std) {
            let mut sum = 0.0;
            for lane in 0..PANEL {
                let u = d.0[lane];
                sum += weights.0[lane] * (u * u - 1.0);
                d.0[lane] = weights.0[lane] * u * inverse;
            }
            *d_log_std += sum;
        }
        sums
    }

    /// (loss, KL estimate, clipped?) of one row, and dloss/dlog π.
    fn row(&self, log_ratio: f32, advantage: f32) -> ([f32; 3], f32) {
        let ratio = log_ratio.exp();
        let surrogate = ratio * advantage;
        let bounded = ratio.clamp(1.0 - self.clip, 1.0 + self.clip) * advantage;
        let clipped = f32::from((ratio - 1.0).abs() > self.clip);
        let kl = ratio - 1.0 - log_ratio;
        let weight = if surrogate <= bounded { -surrogate } else { 0.0 };
        ([-surrogate.min(bounded), kl, clipped], weight)
    }
}

/// log π(a) of diagonal Gaussians: `means` and `actions` are `[n, A]`, `out` is `[n]`.
///
/// # Errors
/// If a slice has the wrong length.
pub fn log_probs(
    means: &[f32],
    log_std: &[f32],
    actions: &[f32],
    out: &mut [f32],
) -> Result<(), EngineError> {
    let width = log_std.len();
    check_len("means", means.len(), out.len() * width)?;
    check_len("actions", actions.len(), out.len() * width)?;
    for (i, out) in out.iter_mut().enumerate() {
        let row = i * width..(i + 1) * width;
        *out = means[row.clone()]
            .iter()
            .zip(&actions[row])
            .zip(log_std)
            .map(|((m, a), l)| {
                let u = (a - m) * (-l).exp();
                -0.5 * u * u - l - HALF_LOG_TAU
            })
            .sum();
    }
    Ok(())
}
