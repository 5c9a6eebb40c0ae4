//! Inference: the packed network, evaluated without allocation.

use alloc::vec::Vec;

use pulp::{Arch, Simd, WithSimd};

use super::{
    Activation, Architecture, Dense, MeanScale, Network, PolicyFile, VARIANCE_FLOOR,
    kernel::{Aligned, LANES, Linear},
};
use crate::math::{self, Elementwise, Elu, Relu, Tanh};

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
    /// First to last; the last gives the action.
    layers: Vec<Linear>,
    /// The layer whose input is that of the layer before and, behind it, the code: the last of the
    /// state branch, so that both branches are one product, or the first of a plain stack.
    code_into: usize,
    activation: Activation,
    mean_scale: MeanScale,
}

/// Scratch memory of one caller of [`Policy::mean_actions`].
#[derive(Clone, Debug)]
pub struct Workspace {
    /// 1 or [`ROWS`].
    rows: usize,
    /// Input of each layer, `[rows, stride]` with the policy's strides, and the action means.
    buffers: Vec<Aligned>,
}

impl Policy {
    /// Packs the network of a file.
    pub fn new(file: &PolicyFile) -> Self {
        let (norm, network) = (&file.normaliser, &file.network);
        let code_into = match network.architecture {
            Architecture::TwoBranch => network.hidden.len().saturating_sub(1),
            Architecture::Mlp => 0,
        };
        let code = network.latent.as_ref().map_or(0, Dense::inputs);
        let mut layers = Vec::with_capacity(network.hidden.len() + 1);
        for (i, layer) in network.hidden.iter().chain([&network.mean]).enumerate() {
            let beside = if i == code_into { code } else { 0 };
            layers.push(Linear::zeros(layer.inputs() + beside, layer.outputs()));
        }
        let mut policy = Self {
            arch: Arch::new(),
            obs_mean: norm.mean.clone(),
            obs_inv_std: norm.var.iter().map(|&v| math::inverse_sqrt(v + VARIANCE_FLOOR)).collect(),
            obs_clip: norm.clip,
            layers,
            code_into,
            activation: network.activation,
            mean_scale: file.mean_scale,
        };
        policy.set_network(network);
        policy
    }

    /// Replaces the weights by those of another network of the same shape, as training does between
    /// rollouts.
    ///
    /// # Panics
    /// If the shapes differ.
    pub fn set_network(&mut self, network: &Network) {
        let layers = network.hidden.iter().chain([&network.mean]);
        assert_eq!(layers.clone().count(), self.layers.len(), "number of layers");
        assert_eq!(network.activation, self.activation, "activation");
        for (i, (layer, own)) in layers.zip(&mut self.layers).enumerate() {
            let branch = network.latent.as_ref().filter(|_| i == self.code_into);
            let beside = branch.map_or(0, Dense::inputs);
            let widths = (layer.inputs() + beside, layer.outputs());
            assert_eq!(widths, (own.inputs(), own.outputs()), "widths of layer {i}");
            own.set_bias(&[&layer.bias, branch.map_or(&[], |branch| &branch.bias)]);
            own.set_weight(0, layer.inputs(), &layer.weight);
            if let Some(branch) = branch {
                own.set_weight(layer.inputs(), beside, &branch.weight);
            }
        }
    }

    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.obs_mean.len()
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.layers.last().map_or(0, Linear::outputs)
    }

    /// Latent width Z.
    pub fn latent_dim(&self) -> usize {
        self.layers[self.code_into].inputs() - self.before_code()
    }

    /// Inputs of the layer that the code goes into, but for the code.
    fn before_code(&self) -> usize {
        self.code_into.checked_sub(1).map_or(self.obs_dim(), |i| self.layers[i].outputs())
    }

    /// Numbers between two rows of layer `i`'s input; for the number of layers, of the output.
    fn stride(&self, i: usize) -> usize {
        let Some(before) = i.checked_sub(1).map(|i| self.layers[i].padded()) else {
            return self.layers[0].inputs();
        };
        self.layers.get(i).map_or(before, |l| before.max(l.inputs()).next_multiple_of(LANES))
    }

    /// The instruction set that inference uses on this machine.
    pub fn instruction_set_here() -> &'static str {
        match Arch::new() {
            #[cfg(target_arch = "x86_64")]
            Arch::V4(_) => "AVX-512",
            #[cfg(target_arch = "x86_64")]
            Arch::V3(_) => "AVX2 and FMA",
            #[cfg(target_arch = "aarch64")]
            Arch::Neon(_) => "NEON",
            _ => "portable",
        }
    }

    /// Scratch memory for batches of up to `max_batch` rows; larger ones work too, but slower
    /// where `max_batch` is below four.
    pub fn workspace(&self, max_batch: usize) -> Workspace {
        let rows = if max_batch < ROWS { 1 } else { ROWS };
        let buffer = |i| Aligned::zeros(rows * self.stride(i));
        Workspace { rows, buffers: (0..=self.layers.len()).map(buffer).collect() }
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

/// c·tanh of the layer.
#[derive(Clone, Copy)]
struct ScaledTanh(f32);

impl Elementwise for Plain {
    #[inline(always)]
    fn apply<S: Simd>(self, _: S, x: S::f32s) -> S::f32s {
        x
    }
}

impl Elementwise for ScaledTanh {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
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
        let (s, z, a) = (self.obs_dim(), self.latent_dim(), self.action_dim());
        let wide = self.stride(0);
        let first = workspace.buffers[0].as_mut_slice();
        for r in 0..R {
            self.normalise(&obs[r * s..][..s], &mut first[r * wide..][..s]);
        }
        let last = self.layers.len() - 1;
        for (i, layer) in self.layers.iter().enumerate() {
            let (before, after) = workspace.buffers.split_at_mut(i + 1);
            let (input, output) = (before[i].as_mut_slice(), after[0].as_mut_slice());
            let (wide, wide_out) = (self.stride(i), self.stride(i + 1));
            if i == self.code_into && z > 0 {
                let at = self.before_code();
                for r in 0..R {
                    input[r * wide + at..][..z].copy_from_slice(&latent[r * z..][..z]);
                }
            }
            let (x, y) = (split::<R>(input, wide), split_mut::<R>(output, wide_out));
            match (self.activation, self.mean_scale) {
                (Activation::Tanh, _) if i < last => layer.apply(simd, x, y, Tanh),
                (Activation::Relu, _) if i < last => layer.apply(simd, x, y, Relu),
                (Activation::Elu, _) if i < last => layer.apply(simd, x, y, Elu),
                (_, MeanScale::None) => layer.apply(simd, x, y, Plain),
                (_, MeanScale::Tanh(c)) => layer.apply(simd, x, y, ScaledTanh(c)),
            }
        }
        let (means, wide) = (workspace.buffers[last + 1].as_mut_slice(), self.stride(last + 1));
        for r in 0..R {
            actions[r * a..][..a].copy_from_slice(&means[r * wide..][..a]);
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
    use crate::contract::Contract;
    use crate::policy::{Golden, LatentKind, NetworkShape, Normaliser, Provenance, Terms};
    use alloc::{string::ToString, vec};
    use proptest::prelude::*;

    /// The paper's policy with these widths and weights of the size that training gives.
    fn policy_file(
        s: usize,
        latent: LatentKind,
        h: usize,
        a: usize,
        mean_scale: MeanScale,
        seed: u64,
    ) -> PolicyFile {
        file_of(&NetworkShape::paper(s, latent.width(), h, a), latent, mean_scale, seed)
    }

    /// A policy of any shape, likewise.
    fn file_of(
        shape: &NetworkShape,
        latent: LatentKind,
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
        let network = Network::from_fn(shape, |_, widths| match *widths {
            [outputs, inputs] => uniform(outputs * inputs, 1.7 / (inputs as f32).sqrt()),
            _ => uniform(widths[0], 0.1),
        });
        let (s, a) = (shape.obs, shape.action);
        let mut file = PolicyFile {
            contract: Contract {
                task: "test".to_string(),
                obs_terms: Terms::new(&[("obs", s)]),
                action_terms: Terms::new(&[("action", a)]),
                dt_s: 0.05,
                action_low: vec![-1.0; a],
                action_high: vec![1.0; a],
            },
            latent,
            mean_scale,
            network,
            normaliser: Normaliser { mean: uniform(s, 1.0), var: vec![2.0; s], clip: 10.0 },
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
        #[cfg(target_arch = "aarch64")]
        all.extend(pulp::aarch64::Neon::try_new().map(Arch::Neon));
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
            s in 1usize..60, z in 0usize..8, a in 1usize..40, seed: u64, scaled: bool,
            hidden in proptest::collection::vec(1usize..140, 1..5),
            activation in 0usize..3, mlp: bool,
        ) {
            let latent = if z == 0 { LatentKind::None } else { LatentKind::Gaussian(z) };
            let scale = if scaled { MeanScale::Tanh(1.5) } else { MeanScale::None };
            let architecture = if mlp { Architecture::Mlp } else { Architecture::TwoBranch };
            let activation = Activation::ALL[activation];
            let shape =
                NetworkShape { architecture, activation, obs: s, latent: z, hidden, action: a };
            let file = file_of(&shape, latent, scale, seed);
            let all: Vec<Vec<f32>> =
                every_arch().into_iter().map(|arch| run(&file, arch, 0..8, 8)).collect();
            // Without a bound on the layers rounding grows with what is in them.
            let [of_formula, of_paths] =
                if activation == Activation::Tanh { [2e-6, 1e-6] } else { [6e-6, 6e-6] };
            for actions in &all {
                for (found, exact) in actions.iter().zip(&file.golden.action) {
                    prop_assert!((found - exact).abs() <= of_formula * exact.abs().max(1.0), "{} {}", found, exact);
                }
                for (found, other) in actions.iter().zip(&all[0]) {
                    prop_assert!((found - other).abs() <= of_paths * other.abs().max(1.0), "{} {}", found, other);
                }
            }
        }
    }

    #[test]
    fn a_row_is_the_same_in_any_batch_bit_for_bit() {
        let paper =
            |(s, k, h, a)| policy_file(s, LatentKind::OneHot(k), h, a, MeanScale::Tanh(1.5), 5);
        let sizes = [(27, 6, 128, 8), (376, 6, 128, 17), (10, 3, 16, 2), (5, 2, 33, 1)];
        let deep = |architecture, activation| {
            let hidden = vec![40, 33, 64];
            let shape =
                NetworkShape { architecture, activation, obs: 9, latent: 2, hidden, action: 5 };
            file_of(&shape, LatentKind::OneHot(2), MeanScale::None, 6)
        };
        let others = [
            deep(Architecture::Mlp, Activation::Relu),
            deep(Architecture::TwoBranch, Activation::Elu),
        ];
        for file in sizes.into_iter().map(paper).chain(others) {
            let a = file.action_dim();
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
        policy.set_network(&new.network);
        let (mut first, mut second) = (vec![0.0; 40], vec![0.0; 40]);
        let (obs, latent) = (&old.golden.obs, &old.golden.latent);
        policy.mean_actions(&mut policy.workspace(8), obs, latent, &mut first);
        let fresh = Policy::new(&new);
        fresh.mean_actions(&mut fresh.workspace(8), obs, latent, &mut second);
        assert_eq!(first, second);
    }

    #[test]
    fn nan_is_not_hidden() {
        let mut file = policy_file(20, LatentKind::OneHot(3), 40, 5, MeanScale::Tanh(1.0), 1);
        let cases = Activation::ALL
            .into_iter()
            .flat_map(|a| every_arch().into_iter().map(move |arch| (a, arch)));
        for (activation, arch) in cases {
            file.network.activation = activation;
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
