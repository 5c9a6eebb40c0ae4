//! Adam over one flat parameter vector (Kingma & Ba 2015), with bias correction.

use pulp::{Arch, Simd, WithSimd};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::error::{EngineError, check_len};
use crate::kernel::dispatched;
use crate::shard::Parallelism;
use crate::standby::{CHUNKS, chunk_len};

/// Constants of [`Adam`]; the step size is given at each step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdamConfig {
    /// Decay of the mean of gradients.
    pub beta1: f32,
    /// Decay of the mean of squared gradients.
    pub beta2: f32,
    /// Added to the root of the second moment.
    pub eps: f32,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta1: 0.9, beta2: 0.999, eps: 1e-8 }
    }
}

/// The optimiser's state, serialisable for checkpoints.
///
/// Step t: m ← β₁m + (1−β₁)g; v ← β₂v + (1−β₂)g²;
/// θ ← θ − lr · (m/(1−β₁ᵗ)) / (√(v/(1−β₂ᵗ)) + ε).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adam {
    /// The constants.
    pub config: AdamConfig,
    /// Number of steps taken.
    pub steps: u64,
    /// First moments, one per parameter.
    pub m: Vec<f32>,
    /// Second moments, one per parameter.
    pub v: Vec<f32>,
}

impl Adam {
    /// An optimiser for `len` parameters that has taken no step.
    pub fn new(config: AdamConfig, len: usize) -> Self {
        Self { config, steps: 0, m: vec![0.0; len], v: vec![0.0; len] }
    }

    /// One step with step size `lr`; the gradient is multiplied by `grad_scale` on the way (1, or
    /// the factor of [`clip_scale`]).
    ///
    /// # Errors
    /// If `params` or `grad` is not as long as the optimiser's state.
    pub fn step(
        &mut self,
        params: &mut [f32],
        grad: &[f32],
        lr: f32,
        grad_scale: f32,
    ) -> Result<(), EngineError> {
        self.step_with(Parallelism::Serial, params, grad, lr, grad_scale)
    }

    /// [`Adam::step`], worked on by the threads that `parallelism` says; the results are the same.
    ///
    /// # Errors
    /// If `params` or `grad` is not as long as the optimiser's state.
    pub fn step_with(
        &mut self,
        parallelism: Parallelism,
        params: &mut [f32],
        grad: &[f32],
        lr: f32,
        grad_scale: f32,
    ) -> Result<(), EngineError> {
        check_len("parameters", params.len(), self.m.len())?;
        check_len("gradient", grad.len(), self.m.len())?;
        self.steps += 1;
        let AdamConfig { beta1, beta2, eps } = self.config;
        let exponent = self.steps.min(i32::MAX as u64) as i32;
        let correction1 = 1.0 - f64::from(beta1).powi(exponent);
        let correction2 = 1.0 - f64::from(beta2).powi(exponent);
        let constants = Constants {
            beta1,
            beta2,
            one_minus_beta1: 1.0 - beta1,
            one_minus_beta2: 1.0 - beta2,
            grad_scale,
            eps,
            step: (f64::from(lr) / correction1) as f32,
            root: (1.0 / correction2).sqrt() as f32,
        };
        let (m, v) = (&mut self.m[..], &mut self.v[..]);
        let part = parallelism.part_len(grad.len());
        if part < grad.len() {
            let (params, grad) = (params.par_chunks_mut(part), grad.par_chunks(part));
            let moments = m.par_chunks_mut(part).zip(v.par_chunks_mut(part));
            params.zip(grad).zip(moments).for_each(|((params, grad), (m, v))| {
                adam_pass(Arch::new(), params, grad, m, v, constants);
            });
        } else {
            adam_pass(Arch::new(), params, grad, m, v, constants);
        }
        Ok(())
    }
}

/// What [`adam_pass`] needs to know beside the vectors.
#[derive(Clone, Copy)]
struct Constants {
    beta1: f32,
    beta2: f32,
    one_minus_beta1: f32,
    one_minus_beta2: f32,
    grad_scale: f32,
    eps: f32,
    /// lr / (1 − β₁ᵗ)
    step: f32,
    /// 1 / √(1 − β₂ᵗ)
    root: f32,
}

dispatched! {
    /// One fused pass over the vectors, which are equally long.
    fn adam_pass(
        simd: S,
        params: &'a mut [f32],
        grad: &'a [f32],
        m: &'a mut [f32],
        v: &'a mut [f32],
        constants: Constants,
    ) {
        let c = constants;
        let (p_head, p_tail) = S::as_mut_simd_f32s(params);
        let (g_head, g_tail) = S::as_simd_f32s(grad);
        let (m_head, m_tail) = S::as_mut_simd_f32s(m);
        let (v_head, v_tail) = S::as_mut_simd_f32s(v);
        for (((p, &g), m), v) in p_head.iter_mut().zip(g_head).zip(m_head).zip(v_head) {
            (*p, *m, *v) = adam_lane(simd, c, *p, g, *m, *v);
        }
        let (p, m, v) = adam_lane(
            simd,
            c,
            simd.partial_load_f32s(p_tail),
            simd.partial_load_f32s(g_tail),
            simd.partial_load_f32s(m_tail),
            simd.partial_load_f32s(v_tail),
        );
        simd.partial_store_f32s(p_tail, p);
        simd.partial_store_f32s(m_tail, m);
        simd.partial_store_f32s(v_tail, v);
    }
}

#[inline(always)]
fn adam_lane<S: Simd>(
    simd: S,
    c: Constants,
    p: S::f32s,
    g: S::f32s,
    m: S::f32s,
    v: S::f32s,
) -> (S::f32s, S::f32s, S::f32s) {
    let g = simd.mul_f32s(g, simd.splat_f32s(c.grad_scale));
    let new_m = simd.mul_f32s(g, simd.splat_f32s(c.one_minus_beta1));
    let m = flushed(simd, simd.mul_add_e_f32s(m, simd.splat_f32s(c.beta1), new_m));
    let new_v = simd.mul_f32s(simd.mul_f32s(g, g), simd.splat_f32s(c.one_minus_beta2));
    let v = flushed(simd, simd.mul_add_e_f32s(v, simd.splat_f32s(c.beta2), new_v));
    let root =
        simd.mul_add_e_f32s(simd.sqrt_f32s(v), simd.splat_f32s(c.root), simd.splat_f32s(c.eps));
    let change = simd.div_f32s(simd.mul_f32s(m, simd.splat_f32s(c.step)), root);
    (simd.sub_f32s(p, change), m, v)
}

/// Zero for subnormal numbers: moments that decay without a gradient would end up there, where
/// every operation takes a hundred times as long. Beside [`AdamConfig::eps`] they are nothing.
#[inline(always)]
fn flushed<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let subnormal = simd.less_than_f32s(simd.abs_f32s(x), simd.splat_f32s(f32::MIN_POSITIVE));
    simd.select_f32s(subnormal, simd.splat_f32s(0.0), x)
}

/// Euclidean norm of the concatenation of `grads`, summed in f64.
pub fn global_norm(grads: &[&[f32]]) -> f64 {
    grads.iter().map(|grad| square_norm(Parallelism::Serial, grad)).sum::<f64>().sqrt()
}

/// Σ x² in f64, over fixed chunks whose sums are added in order.
pub(crate) fn square_norm(parallelism: Parallelism, x: &[f32]) -> f64 {
    let chunk = chunk_len(x.len());
    let mut sums = [0.0; CHUNKS];
    let fill = |x: &[f32], sums: &mut [f64]| {
        let chunks = x.chunks(chunk).zip(sums);
        chunks.for_each(|(x, sum)| *sum = square_sum(Arch::new(), x));
    };
    let part = parallelism.part_len(x.len());
    if part < x.len() {
        let parts = x.par_chunks(part).zip(sums.par_chunks_mut(part / chunk));
        parts.for_each(|(x, sums)| fill(x, sums));
    } else {
        fill(x, &mut sums);
    }
    sums.iter().sum()
}

/// The factor that brings a gradient of norm `norm` down to `max_norm`; 1 if it is not above.
pub fn clip_scale(norm: f64, max_norm: f64) -> f32 {
    if norm > max_norm { (max_norm / (norm + 1e-6)) as f32 } else { 1.0 }
}

dispatched! {
    /// Σ x², in f64 over blocks of f32 partial sums.
    fn square_sum(simd: S, x: &'a [f32]) -> f64 {
        let mut total = 0.0;
        for block in x.chunks(1024) {
            let (head, tail) = S::as_simd_f32s(block);
            let tail = simd.partial_load_f32s(tail);
            let mut sum = simd.mul_f32s(tail, tail);
            for &v in head {
                sum = simd.mul_add_e_f32s(v, v, sum);
            }
            total += f64::from(simd.reduce_sum_f32s(sum));
        }
        total
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    /// The textbook's update, element by element in f64.
    fn reference(grads: &[Vec<f32>], start: &[f32], lr: f64, eps: f64) -> Vec<f64> {
        let mut p: Vec<f64> = start.iter().map(|&v| v.into()).collect();
        let (mut m, mut v) = (vec![0.0; p.len()], vec![0.0; p.len()]);
        for (t, grad) in grads.iter().enumerate() {
            for i in 0..p.len() {
                let g = f64::from(grad[i]);
                m[i] = 0.9 * m[i] + 0.1 * g;
                v[i] = 0.999 * v[i] + 0.001 * g * g;
                let m_hat = m[i] / (1.0 - 0.9f64.powi(t as i32 + 1));
                let v_hat: f64 = v[i] / (1.0 - 0.999f64.powi(t as i32 + 1));
                p[i] -= lr * m_hat / (v_hat.sqrt() + eps);
            }
        }
        p
    }

    #[test]
    fn steps_follow_the_textbook() {
        let mut rng = Pcg64::seed_from_u64(3);
        for (len, eps) in [(1, 1e-8), (16, 1e-8), (53, 1e-5)] {
            let start: Vec<f32> = (0..len).map(|_| rng.random_range(-1.0..1.0)).collect();
            let grads: Vec<Vec<f32>> =
                (0..50).map(|_| (0..len).map(|_| rng.random_range(-1.0..3.0)).collect()).collect();
            let mut params = start.clone();
            let mut adam = Adam::new(AdamConfig { eps, ..AdamConfig::default() }, len);
            for grad in &grads {
                // Half the gradient with twice the scale is the same step.
                let half: Vec<f32> = grad.iter().map(|g| g / 2.0).collect();
                adam.step(&mut params, &half, 1e-2, 2.0).expect("equal lengths");
            }
            let want = reference(&grads, &start, 1e-2, eps.into());
            for (got, want) in params.iter().zip(want) {
                assert!((f64::from(*got) - want).abs() < 2e-6, "{got} {want}");
            }
        }
    }

    #[test]
    fn clipping_brings_the_joint_norm_down_and_leaves_small_ones() {
        let (a, b) = (vec![3.0; 1], vec![4.0f32; 1]);
        let norm = global_norm(&[&a, &b]);
        assert!((norm - 5.0).abs() < 1e-9);
        assert!((clip_scale(norm, 0.5) - 0.1).abs() < 1e-6);
        assert_eq!(clip_scale(norm, 6.0), 1.0);
        let long: Vec<f32> = (0..5000).map(|i| (i as f32).sin()).collect();
        let want = long.iter().map(|&v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        assert!((global_norm(&[&long]) - want).abs() < 1e-5 * want);
    }

    #[test]
    fn moments_without_gradient_end_at_zero_and_not_among_subnormal_numbers() {
        let (mut params, mut adam) = ([1.0; 40], Adam::new(AdamConfig::default(), 40));
        adam.config.beta2 = 0.9;
        adam.step(&mut params, &[1e-3; 40], 1e-3, 1.0).expect("equal lengths");
        for _ in 0..1000 {
            adam.step(&mut params, &[0.0; 40], 1e-3, 1.0).expect("equal lengths");
            let moments = adam.m.iter().chain(&adam.v);
            assert!(moments.into_iter().all(|x| *x == 0.0 || x.is_normal()));
        }
        assert_eq!((&adam.m[..], &adam.v[..]), (&[0.0; 40][..], &[0.0; 40][..]));
    }

    #[test]
    fn wrong_lengths_are_refused() {
        let mut adam = Adam::new(AdamConfig::default(), 3);
        let error = adam.step(&mut [0.0; 2], &[0.0; 3], 0.1, 1.0).expect_err("too short");
        assert_eq!(error.to_string(), "parameters: got 2 values, need 3");
        assert_eq!(adam.steps, 0);
    }
}
