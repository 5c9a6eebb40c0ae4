//! Inference: the packed network, evaluated without allocation.

use alloc::vec::Vec;

use pulp::{Arch, Simd, WithSimd};

use super::{
    LatentKind, MeanScale, PolicyFile, VARIANCE_FLOOR, Weights,
    kernel::{Aligned, Finish, LANES, Linear},
};
use crate::math;

/// Rows that are evaluated together where there are several: each weight that is loaded serves
/// all of them.
const ROWS: usize = 4;

/// The packed policy.
///
/// The best instruction set of the machine is chosen when it is built. A row's result does not
/// depend on the batch it is computed in, bit for bit.
#[derive(Clone, Debug)]
pub struct Policy {
    arch: Arch,
    obs_mean: Vec<f32>,
    obs_inv_std: Vec<f32>,
    obs_clip: f32,
    /// Observation → first hidden layer.
    first: Linear,
    /// First hidden layer and code → second hidden layer: both branches of Fig. 5a in one.
    second: Linear,
    /// Second hidden layer → action.
    last: Linear,
    mean_scale: MeanScale,
}

/// Scratch memory of one caller of [`Policy::mean_actions`].
#[derive(Clone, Debug)]
pub struct Workspace {
    /// 1 or [`ROWS`].
    rows: usize,
    /// Normalised observations, `[rows, S]`.
    obs: Aligned,
    /// First hidden layer and code, `[rows, max(padded H, padded H + Z)]`.
    hidden: Aligned,
    /// Second hidden layer, `[rows, padded H]`.
    sum: Aligned,
    /// Action means, `[rows, padded A]`.
    action: Aligned,
}

impl Policy {
    /// Packs the network of a file.
    pub fn new(file: &PolicyFile) -> Self {
        let norm = &file.normaliser;
        let (h, z) = (file.hidden_dim(), file.latent_dim());
        let mut policy = Self {
            arch: Arch::new(),
            obs_mean: norm.mean.clone(),
            obs_inv_std: norm.var.iter().map(|&v| math::inverse_sqrt(v + VARIANCE_FLOOR)).collect(),
            obs_clip: norm.clip,
            first: Linear::zeros(file.obs_dim(), h),
            second: Linear::zeros(h + z, h),
            last: Linear::zeros(h, file.action_dim()),
            mean_scale: file.mean_scale,
        };
        policy.set_weights(&file.weights, file.latent);
        policy
    }

    /// Replaces the weights by others of the same widths, as training does between rollouts.
    ///
    /// # Panics
    /// If the widths differ.
    pub fn set_weights(&mut self, weights: &Weights, latent: LatentKind) {
        let (s, h, z) = (self.obs_dim(), self.hidden_dim(), self.latent_dim());
        assert_eq!(latent.width(), z, "width of the code");
        let w = weights;
        self.first.set_bias(&[&w.state0_bias]);
        self.first.set_weight(0, s, &w.state0_weight);
        self.second.set_bias(&[&w.state1_bias, &w.latent_bias]);
        self.second.set_weight(0, h, &w.state1_weight);
        self.second.set_weight(h, z, &w.latent_weight);
        self.last.set_bias(&[&w.mean_bias]);
        self.last.set_weight(0, h, &w.mean_weight);
    }

    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.first.inputs()
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.last.outputs()
    }

    /// Latent width Z.
    pub fn latent_dim(&self) -> usize {
        self.second.inputs() - self.hidden_dim()
    }

    /// Hidden width H.
    pub fn hidden_dim(&self) -> usize {
        self.first.outputs()
    }

    /// The instruction set that inference uses on this machine.
    pub fn instruction_set_here() -> &'static str {
        match Arch::new() {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Arch::V3(_) => "AVX2 and FMA",
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(_) | Arch::NeonFcma(_) => "NEON",
            _ => "portable",
        }
    }

    /// Scratch memory for batches of up to `max_batch` rows; larger ones work too, but slower
    /// where `max_batch` is below four.
    pub fn workspace(&self, max_batch: usize) -> Workspace {
        let rows = if max_batch < ROWS { 1 } else { ROWS };
        let hidden_width = self.first.padded().max(self.second.inputs()).next_multiple_of(LANES);
        Workspace {
            rows,
            obs: Aligned::zeros(rows * self.obs_dim()),
            hidden: Aligned::zeros(rows * hidden_width),
            sum: Aligned::zeros(rows * self.second.padded()),
            action: Aligned::zeros(rows * self.last.padded()),
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
        self.arch.dispatch(Forward { policy: self, workspace, obs, latent, actions });
    }
}

/// The layer as it is.
#[derive(Clone, Copy)]
struct Plain;

/// tanh of the layer.
#[derive(Clone, Copy)]
struct Tanh;

/// c·tanh of the layer.
#[derive(Clone, Copy)]
struct ScaledTanh(f32);

impl Finish for Plain {
    #[inline(always)]
    fn finish<S: Simd>(self, _: S, x: S::f32s) -> S::f32s {
        x
    }
}

impl Finish for Tanh {
    #[inline(always)]
    fn finish<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        math::tanh(simd, x)
    }
}

impl Finish for ScaledTanh {
    #[inline(always)]
    fn finish<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        simd.mul_f32s(simd.splat_f32s(self.0), math::tanh(simd, x))
    }
}

/// One call of [`Policy::mean_actions`], compiled for every instruction set.
struct Forward<'a> {
    policy: &'a Policy,
    workspace: &'a mut Workspace,
    obs: &'a [f32],
    latent: &'a [f32],
    actions: &'a mut [f32],
}

impl WithSimd for Forward<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, simd: S) {
        let Self { policy, workspace, obs, latent, actions } = self;
        let (s, z, a) = (policy.obs_dim(), policy.latent_dim(), policy.action_dim());
        let n = obs.len() / s;
        let blocks = if workspace.rows == ROWS { n / ROWS * ROWS } else { 0 };
        for row in (0..blocks).step_by(ROWS) {
            policy.rows::<S, ROWS>(
                simd,
                workspace,
                &obs[row * s..][..ROWS * s],
                &latent[row * z..][..ROWS * z],
                &mut actions[row * a..][..ROWS * a],
            );
        }
        for row in blocks..n {
            policy.rows::<S, 1>(
                simd,
                workspace,
                &obs[row * s..][..s],
                &latent[row * z..][..z],
                &mut actions[row * a..][..a],
            );
        }
    }
}

impl Policy {
    #[inline(always)]
    fn rows<S: Simd, const R: usize>(
        &self,
        simd: S,
        workspace: &mut Workspace,
        obs: &[f32],
        latent: &[f32],
        actions: &mut [f32],
    ) {
        let (s, z, h, a) =
            (self.obs_dim(), self.latent_dim(), self.hidden_dim(), self.action_dim());
        let normalised = workspace.obs.as_mut_slice();
        let hidden = workspace.hidden.as_mut_slice();
        let sum = workspace.sum.as_mut_slice();
        let out = workspace.action.as_mut_slice();
        let wide = hidden.len() / workspace.rows;

        for r in 0..R {
            self.normalise(&obs[r * s..][..s], &mut normalised[r * s..][..s]);
        }
        self.first.apply(simd, split::<R>(normalised, s), split_mut::<R>(hidden, wide), Tanh);
        if z > 0 {
            for r in 0..R {
                hidden[r * wide + h..][..z].copy_from_slice(&latent[r * z..][..z]);
            }
        }
        let padded = self.second.padded();
        self.second.apply(simd, split::<R>(hidden, wide), split_mut::<R>(sum, padded), Tanh);
        let (sums, means) = (split::<R>(sum, padded), split_mut::<R>(out, self.last.padded()));
        match self.mean_scale {
            MeanScale::None => self.last.apply(simd, sums, means, Plain),
            MeanScale::Tanh(c) => self.last.apply(simd, sums, means, ScaledTanh(c)),
        }
        for r in 0..R {
            actions[r * a..][..a].copy_from_slice(&out[r * self.last.padded()..][..a]);
        }
    }

    /// clip((obs − mean) / √(var + ε), ±clip); NaN passes through.
    #[inline(always)]
    fn normalise(&self, obs: &[f32], out: &mut [f32]) {
        let clip = self.obs_clip;
        let scale = self.obs_mean.iter().zip(&self.obs_inv_std);
        for ((x, &obs), (&mean, &inv_std)) in out.iter_mut().zip(obs).zip(scale) {
            let y = (obs - mean) * inv_std;
            let y = if y > clip { clip } else { y };
            *x = if y < -clip { -clip } else { y };
        }
    }
}

/// The first `R` rows of a matrix with rows of `width`.
#[inline(always)]
fn split<const R: usize>(rows: &[f32], width: usize) -> [&[f32]; R] {
    let mut split = [[].as_slice(); R];
    for (r, row) in split.iter_mut().enumerate() {
        *row = &rows[r * width..][..width];
    }
    split
}

/// As [`split`], mutable.
#[inline(always)]
fn split_mut<const R: usize>(rows: &mut [f32], width: usize) -> [&mut [f32]; R] {
    let mut split = [const { [].as_mut_slice() }; R];
    for (row, target) in rows.chunks_exact_mut(width).zip(&mut split) {
        *target = row;
    }
    split
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::{Golden, Normaliser, Provenance, Terms};
    use alloc::{string::ToString, vec};
    use proptest::prelude::*;

    /// A policy with these widths and weights of the size that training gives.
    fn policy_file(
        s: usize,
        latent: LatentKind,
        h: usize,
        a: usize,
        mean_scale: MeanScale,
        seed: u64,
    ) -> PolicyFile {
        let mut state = seed | 1;
        let mut uniform = |n: usize, scale: f32| -> Vec<f32> {
            let mut draw = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                ((state >> 40) as f32 / (1 << 23) as f32 - 1.0) * scale
            };
            (0..n).map(|_| draw()).collect()
        };
        let z = latent.width();
        let root = |n: usize| 1.7 / (n as f32).sqrt();
        let mut file = PolicyFile {
            task: "test".to_string(),
            obs_terms: Terms::new(&[("obs", s)]),
            action_terms: Terms::new(&[("action", a)]),
            dt_s: 0.05,
            latent,
            mean_scale,
            weights: Weights {
                state0_weight: uniform(h * s, root(s)),
                state0_bias: uniform(h, 0.1),
                state1_weight: uniform(h * h, root(h)),
                state1_bias: uniform(h, 0.1),
                latent_weight: uniform(h * z, root(z.max(1))),
                latent_bias: uniform(if z > 0 { h } else { 0 }, 0.1),
                mean_weight: uniform(a * h, root(h)),
                mean_bias: uniform(a, 0.1),
            },
            normaliser: Normaliser { mean: uniform(s, 1.0), var: vec![2.0; s], clip: 10.0 },
            action_low: vec![-1.0; a],
            action_high: vec![1.0; a],
            log_std: vec![-1.0; a],
            golden: Golden::default(),
            provenance: Provenance::default(),
        };
        file.seal(8);
        file
    }

    /// Every instruction set that this machine has, and the portable path.
    fn every_arch() -> Vec<Arch> {
        let mut all = vec![Arch::Scalar];
        #[cfg(target_arch = "x86_64")]
        {
            all.extend(pulp::x86::V3::try_new().map(Arch::V3));
            all.extend(pulp::x86::V4::try_new().map(Arch::V4));
        }
        all
    }

    fn run(
        file: &PolicyFile,
        arch: Arch,
        rows: core::ops::Range<usize>,
        max_batch: usize,
    ) -> Vec<f32> {
        let mut policy = Policy::new(file);
        policy.arch = arch;
        let (s, z, a) = (policy.obs_dim(), policy.latent_dim(), policy.action_dim());
        let mut actions = vec![f32::NAN; rows.len() * a];
        policy.mean_actions(
            &mut policy.workspace(max_batch),
            &file.golden.obs[rows.start * s..rows.end * s],
            &file.golden.latent[rows.start * z..rows.end * z],
            &mut actions,
        );
        actions
    }

    proptest! {
        // Fixed seed: rounding that is a little larger than ever before should not break a build.
        #![proptest_config(ProptestConfig {
            cases: 200, rng_seed: proptest::test_runner::RngSeed::Fixed(1), ..Default::default()
        })]
        #[test]
        fn every_path_agrees_with_the_formula_and_with_itself(
            s in 1usize..60, z in 0usize..8, h in 1usize..140, a in 1usize..40, seed: u64, scaled: bool,
        ) {
            let latent = if z == 0 { LatentKind::None } else { LatentKind::Gaussian(z) };
            let scale = if scaled { MeanScale::Tanh(1.5) } else { MeanScale::None };
            let file = policy_file(s, latent, h, a, scale, seed);
            let all: Vec<Vec<f32>> =
                every_arch().into_iter().map(|arch| run(&file, arch, 0..8, 8)).collect();
            for actions in &all {
                for (found, exact) in actions.iter().zip(&file.golden.action) {
                    prop_assert!((found - exact).abs() <= 2e-6 * exact.abs().max(1.0), "{} {}", found, exact);
                }
                for (found, other) in actions.iter().zip(&all[0]) {
                    prop_assert!((found - other).abs() <= 1e-6 * other.abs().max(1.0), "{} {}", found, other);
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_in_any_batch_bit_for_bit() {
        for (s, k, h, a) in [(27, 6, 128, 8), (376, 6, 128, 17), (10, 3, 16, 2), (5, 2, 33, 1)] {
            let file = policy_file(s, LatentKind::OneHot(k), h, a, MeanScale::Tanh(1.5), 5);
            for arch in every_arch() {
                let whole = run(&file, arch, 0..8, 8);
                for (from, to, max_batch) in [(0, 8, 1), (1, 8, 8), (2, 5, 8), (7, 8, 4), (3, 7, 4)]
                {
                    let part = run(&file, arch, from..to, max_batch);
                    assert_eq!(part, whole[from * a..to * a], "{arch:?}, rows {from}..{to}");
                }
            }
        }
    }

    #[test]
    fn new_weights_replace_the_old_ones() {
        let old = policy_file(20, LatentKind::OneHot(3), 40, 5, MeanScale::None, 1);
        let mut new = policy_file(20, LatentKind::OneHot(3), 40, 5, MeanScale::None, 2);
        new.normaliser = old.normaliser.clone();
        let mut policy = Policy::new(&old);
        policy.set_weights(&new.weights, new.latent);
        let (mut first, mut second) = (vec![0.0; 40], vec![0.0; 40]);
        let (obs, latent) = (&old.golden.obs, &old.golden.latent);
        policy.mean_actions(&mut policy.workspace(8), obs, latent, &mut first);
        let fresh = Policy::new(&new);
        fresh.mean_actions(&mut fresh.workspace(8), obs, latent, &mut second);
        assert_eq!(first, second);
    }

    #[test]
    fn nan_is_not_hidden() {
        let file = policy_file(20, LatentKind::OneHot(3), 40, 5, MeanScale::Tanh(1.0), 1);
        for arch in every_arch() {
            let mut policy = Policy::new(&file);
            policy.arch = arch;
            let mut obs = vec![0.0; 20];
            obs[7] = f32::NAN;
            let mut action = [0.0; 5];
            policy.mean_actions(&mut policy.workspace(1), &obs, &[0.0, 1.0, 0.0], &mut action);
            assert!(action.iter().all(|v| v.is_nan()), "{arch:?}");
        }
    }
}
