//! The policy as a [`LatentModel`]: the factored evaluation of many codes.
//!
//! For a panel of states the state branch is there already ([`PolicyPass::load`]); a candidate code
//! adds one vector of M to it, M being the width of the sum that the code enters. Only the activation
//! and the layers behind (in the paper's policy the last alone) are evaluated per (state, code), in a
//! tile that stays in the first-level cache; states × codes × M is never stored. In the
//! coordinate-wise search the candidates of a block differ from the incumbent in that block alone,
//! so the candidate vectors are shared by all groups and the incumbents enter through the state
//! side.

use std::ops::Range;

use pulp::{Arch, Simd, WithSimd};
use sog_runtime::math::tanh;

use crate::kernel::{
    Row, add, affine, affine_with, dispatched, each, load, panel_from_rows, shifted_by, store,
    with_activation,
};
use crate::mlp::Layer;
use crate::net::{HiddenActivation, PolicyNet};
use crate::policy::{PolicyPass, Shape, push_delta};
use crate::search::{Candidates, Groups, LatentModel};
use crate::shard::{Plan, run, run_pairs};

/// Buffers of the evaluation; they grow with the largest batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Buffers {
    /// Candidate vectors `[candidates, M]`.
    deltas: Vec<f32>,
    /// Code of each row with the block's coordinates at zero `[rows, Z]`.
    row_codes: Vec<f32>,
    shards: Vec<Shard>,
}

/// The part of the evaluation that one shard works on.
#[derive(Debug, Clone, Default)]
struct Shard {
    /// ‖mean − target‖² `[panels][candidates]`.
    row_losses: Vec<Row>,
    /// base + W_z z of the incumbents `[panels][M]`.
    shifted: Vec<Row>,
    z: Vec<Row>,
    /// Outputs of the sum and of the hidden layers behind it.
    hidden: Vec<Vec<Row>>,
}

/// To what the candidate vectors are added.
#[derive(Clone, Copy, PartialEq)]
enum Onto {
    /// The state branch.
    Base,
    /// The state branch and the incumbents' other coordinates.
    Shifted,
}

/// A batch with its targets.
pub(crate) struct LoadedPolicy<'a> {
    pub(crate) net: &'a PolicyNet,
    pub(crate) pass: &'a mut PolicyPass,
    /// Observations of a batch that has begun and is still to be loaded. That is left to the first
    /// evaluation: each thread goes on with what it has loaded.
    pub(crate) unloaded: Option<&'a [f32]>,
    /// Actions, feature-major `[panels][A]`.
    pub(crate) targets: &'a [Row],
    pub(crate) buffers: &'a mut Buffers,
}

impl LatentModel for LoadedPolicy<'_> {
    fn code_len(&self) -> usize {
        self.pass.arch().latent
    }

    fn rows(&self) -> usize {
        self.pass.rows()
    }

    fn losses(&mut self, candidates: Candidates<'_>, groups: Groups<'_>, sums: &mut [f64]) {
        if self.buffers.shards.len() < self.pass.plan.shards {
            self.buffers.shards.resize_with(self.pass.plan.shards, Shard::default);
        }
        match candidates {
            Candidates::Codes(codes) => {
                self.deltas_of_codes(codes);
                self.row_losses(Onto::Base);
            }
            Candidates::Block { codes, block, values, keep } => {
                self.load();
                self.deltas_of_block(values, block.clone());
                self.shift_base(codes, groups, block, keep);
                self.row_losses(Onto::Shifted);
            }
        }
        self.sum_over_groups(groups, sums);
    }
}

impl LoadedPolicy<'_> {
    /// Loads what is still to be loaded.
    pub(crate) fn load(&mut self) {
        if let Some(obs) = self.unloaded.take() {
            self.pass.load_shards(self.net, obs);
        }
    }

    /// delta of code c: W_z z_c + b_z.
    fn deltas_of_codes(&mut self, codes: &[f32]) {
        let (latent, at) = (self.pass.arch().latent, &self.pass.shape.at);
        let (wz, bz) = (&self.net.params[at.wz.clone()], &self.net.params[at.bz.clone()]);
        self.buffers.deltas.clear();
        let hidden = self.pass.shape.at.sum_width();
        for code in codes.chunks_exact(latent) {
            push_delta(wz, bz, code, hidden, &mut self.buffers.deltas);
        }
    }

    /// delta of value c: W_z[:, block] · v_c.
    fn deltas_of_block(&mut self, values: &[f32], block: Range<usize>) {
        let latent = self.pass.arch().latent;
        let wz = &self.net.params[self.pass.shape.at.wz.clone()];
        self.buffers.deltas.clear();
        for value in values.chunks_exact(block.len()) {
            self.buffers.deltas.extend(wz.chunks_exact(latent).map(|row| -> f32 {
                row[block.clone()].iter().zip(value).map(|(w, v)| w * v).sum()
            }));
        }
    }

    /// shifted = base + b_z + W_z z', z' the code of the row's group with `keep` times the block.
    fn shift_base(&mut self, codes: &[f32], groups: Groups<'_>, block: Range<usize>, keep: f32) {
        let (pass, p) = (&*self.pass, &self.net.params);
        let (latent, hidden) = (pass.arch().latent, pass.shape.at.sum_width());
        let Buffers { row_codes, shards, .. } = &mut *self.buffers;
        row_codes.clear();
        for row in 0..pass.rows() {
            let g = groups.of(row);
            let from = row_codes.len();
            row_codes.extend_from_slice(&codes[g * latent..(g + 1) * latent]);
            row_codes[from + block.start..from + block.end].iter_mut().for_each(|z| *z *= keep);
        }
        let plan = pass.plan;
        run(pass.parallelism, &mut shards[..plan.shards], |i, shard| {
            let base = &pass.shards[i].base;
            shard.z.resize(latent, Row::ZERO);
            shard.shifted.resize(base.len(), Row::ZERO);
            let targets = shard.shifted.chunks_exact_mut(hidden).zip(base.chunks_exact(hidden));
            for (rows, (shifted, base)) in plan.panels_of(i).zip(targets) {
                let codes = &row_codes[rows.start * latent..rows.end * latent];
                panel_from_rows(codes, latent, &mut shard.z);
                let (wz, bz) = (&p[pass.shape.at.wz.clone()], pass.shape.at.code_bias(p));
                affine(pass.shape.simd, wz, bz, &shard.z, shifted);
                add(pass.shape.simd, shifted, base);
            }
        });
    }

    /// Losses of every row for all candidates in `deltas`.
    fn row_losses(&mut self, onto: Onto) {
        let (p, unloaded, targets) = (&self.net.params, self.unloaded.take(), self.targets);
        let PolicyPass { shape, parallelism, plan, shards: loaded } = &mut *self.pass;
        let (shape, mode, plan) = (&*shape, *parallelism, *plan);
        let (hidden, action) = (shape.at.sum_width(), shape.arch.action);
        let behind = Behind::new(shape, p);
        let Buffers { deltas, shards, .. } = &mut *self.buffers;
        let candidates = deltas.len() / hidden;
        let shards = (&mut loaded[..plan.shards], &mut shards[..plan.shards]);
        run_pairs(mode, shards, |i, loaded, shard| {
            if let Some(obs) = unloaded {
                mode.fetch(p);
                loaded.load(shape, p, plan.part_of(i, obs, shape.arch.obs));
            }
            let base = if onto == Onto::Base { &loaded.base } else { &shard.shifted };
            shard.row_losses.resize(base.len() / hidden * candidates, Row::ZERO);
            shard.hidden.resize(shape.at.behind.len() + 1, Vec::new());
            shard.hidden[0].resize(hidden, Row::ZERO);
            for (out, layer) in shard.hidden[1..].iter_mut().zip(&shape.at.behind) {
                out.resize(layer.outputs, Row::ZERO);
            }
            let targets = &targets[i * plan.per_shard * action..];
            let inputs = base.chunks_exact(hidden).zip(targets.chunks_exact(action));
            let losses = shard.row_losses.chunks_exact_mut(candidates);
            for ((base, targets), losses) in inputs.zip(losses) {
                let hidden = &mut shard.hidden;
                panel_losses(shape.simd, base, deltas, behind, targets, hidden, losses);
            }
        });
    }

    /// Adds up the rows of each group, in order.
    fn sum_over_groups(&self, groups: Groups<'_>, sums: &mut [f64]) {
        let candidates = self.buffers.deltas.len() / self.pass.shape.at.sum_width();
        let plan: Plan = self.pass.plan;
        sums.fill(0.0);
        for (i, shard) in self.buffers.shards[..plan.shards].iter().enumerate() {
            let panels = plan.panels_of(i).zip(shard.row_losses.chunks_exact(candidates));
            for (rows, losses) in panels {
                for (lane, row) in rows.enumerate() {
                    let from = groups.of(row) * candidates;
                    let sums = &mut sums[from..from + candidates];
                    for (sum, loss) in sums.iter_mut().zip(losses) {
                        *sum += f64::from(loss.0[lane]);
                    }
                }
            }
        }
    }
}

/// What comes behind the sum.
#[derive(Clone, Copy)]
struct Behind<'a> {
    activation: HiddenActivation,
    params: &'a [f32],
    layers: &'a [Layer],
    last: LastLayer<'a>,
}

impl<'a> Behind<'a> {
    fn new(shape: &'a Shape, params: &'a [f32]) -> Self {
        let last = LastLayer {
            w: &params[shape.at.mean.w.clone()],
            b: &params[shape.at.mean.b.clone()],
            scale: shape.arch.mean_scale,
        };
        Self { activation: shape.arch.activation, params, layers: &shape.at.behind, last }
    }
}

/// The layer that gives the mean.
#[derive(Clone, Copy)]
struct LastLayer<'a> {
    w: &'a [f32],
    b: &'a [f32],
    scale: Option<f32>,
}

dispatched! {
    /// losses[c] = ‖behind(base + deltas[c]) − target‖² for the rows of one panel.
    fn panel_losses(
        simd: S,
        base: &'a [Row],
        deltas: &'a [f32],
        behind: Behind<'a>,
        targets: &'a [Row],
        hidden: &'a mut [Vec<Row>],
        losses: &'a mut [Row],
    ) {
        with_activation!(behind.activation, |f| {
            for (delta, loss) in deltas.chunks_exact(base.len()).zip(losses) {
                shifted_by(simd, f, base, delta, &mut hidden[0]);
                for (i, layer) in behind.layers.iter().enumerate() {
                    let (done, rest) = hidden.split_at_mut(i + 1);
                    let (w, b) = (&behind.params[layer.w.clone()], &behind.params[layer.b.clone()]);
                    affine_with(simd, w, Some(b), &done[i], &mut rest[0]);
                    each(simd, f, &mut rest[0]);
                }
                row_losses_of(simd, behind.last, &hidden[behind.layers.len()], targets, loss);
            }
        });
    }
}

/// loss = ‖last(hidden) − target‖².
#[inline(always)]
fn row_losses_of<S: Simd>(
    simd: S,
    last: LastLayer<'_>,
    hidden: &[Row],
    targets: &[Row],
    loss: &mut Row,
) {
    *loss = Row::ZERO;
    crate::kernel::for_width!(S, |MR, NV| crate::kernel::in_blocks!(MR, targets.len(), |o, N| {
        add_losses::<S, N, NV>(simd, last, hidden, &targets[o..o + N], o, loss)
    }))
}

/// loss += Σ over the outputs o..o+N of (mean − target)².
#[inline(always)]
fn add_losses<S: Simd, const N: usize, const NV: usize>(
    simd: S,
    last: LastLayer<'_>,
    hidden: &[Row],
    targets: &[Row],
    o: usize,
    loss: &mut Row,
) {
    let acc = crate::kernel::affine_block::<S, N, NV>(simd, last.w, Some(last.b), hidden, o);
    let mut sum = load::<S, NV>(loss);
    for (acc, target) in acc.into_iter().zip(targets) {
        let target = load::<S, NV>(target);
        for v in 0..NV {
            let mean = match last.scale {
                Some(c) => simd.mul_f32s(simd.splat_f32s(c), tanh(simd, acc[v])),
                None => acc[v],
            };
            let d = simd.sub_f32s(mean, target[v]);
            sum[v] = simd.mul_add_e_f32s(d, d, sum[v]);
        }
    }
    store::<S, NV>(loss, sum);
}
