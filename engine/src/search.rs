//! The factored search for latent codes: exhaustive over K one-hot codes, or coordinate-wise over
//! samples (Algorithm 4).
//!
//! For a panel of states the state branch is there already ([`PolicyPass::load`]); a candidate code
//! adds one vector of H to it. Only tanh and the last layer are evaluated per (state, code), in a
//! tile that stays in the first-level cache; states × codes × H is never stored. In the
//! coordinate-wise search the candidates of a block differ from the incumbent in that block alone,
//! so the candidate vectors are shared by all groups and the incumbents enter through the state
//! side.

use pulp::{Arch, Simd, WithSimd};
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use serde::{Deserialize, Serialize};
use sog_runtime::math::tanh;

use crate::error::{EngineError, check_len};
use crate::kernel::{Row, add, affine, dispatched, load, panel_from_rows, store};
use crate::net::PolicyNet;
use crate::policy::PolicyPass;
use crate::shard::{Plan, run};

/// Which codes are tried.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", tag = "kind")]
pub enum CodeSearch {
    /// All Z one-hot codes.
    OneHot,
    /// Coordinate-wise search over N(0, I) (Algorithm 4).
    Coordinate {
        /// N_z: samples per block.
        samples: usize,
        /// Δ: coordinates per block.
        block: usize,
        /// Sweeps over the blocks. In the first sweep the best sample of a block replaces the
        /// starting zeros; in later ones it must beat the incumbent.
        rounds: usize,
    },
}

impl CodeSearch {
    /// Coordinate-wise search with the defaults of the specification: N_z = 100, Δ = 1, and three
    /// rounds if there is more than one coordinate.
    pub fn coordinate(dim: usize) -> Self {
        Self::Coordinate { samples: 100, block: 1, rounds: if dim > 1 { 3 } else { 1 } }
    }

    /// Losses that a search of `dim`-sized codes leaves per group: K for one-hot, 1 for continuous.
    pub fn losses_per_group(&self, dim: usize) -> usize {
        match self {
            Self::OneHot => dim,
            Self::Coordinate { .. } => 1,
        }
    }

    pub(crate) fn check(&self) -> Result<(), EngineError> {
        let Self::Coordinate { samples, block, rounds } = *self else { return Ok(()) };
        for (what, n) in
            [("search samples", samples), ("search block", block), ("search rounds", rounds)]
        {
            if n == 0 {
                return Err(EngineError::Range { what, got: "0".to_owned(), need: "at least 1" });
            }
        }
        Ok(())
    }
}

/// Which rows of a batch share one code.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Groups<'a> {
    /// All rows (Algorithm 2: a minibatch from one trajectory).
    Shared,
    /// None: each row has its own (Algorithm 1).
    PerRow,
    /// Those with the same index in `of_row [rows]`, each below `count`.
    Index {
        /// Group of each row.
        of_row: &'a [u32],
        /// Number of groups.
        count: usize,
    },
}

impl Groups<'_> {
    /// Number of groups among `rows` rows.
    pub fn count(&self, rows: usize) -> usize {
        match *self {
            Self::Shared => 1,
            Self::PerRow => rows,
            Self::Index { count, .. } => count,
        }
    }

    pub(crate) fn of(&self, row: usize) -> usize {
        match self {
            Self::Shared => 0,
            Self::PerRow => row,
            Self::Index { of_row, .. } => of_row[row] as usize,
        }
    }

    pub(crate) fn check(&self, rows: usize) -> Result<(), EngineError> {
        let Self::Index { of_row, count } = *self else { return Ok(()) };
        check_len("group of each row", of_row.len(), rows)?;
        match of_row.iter().find(|&&g| g as usize >= count) {
            Some(g) => Err(EngineError::Range {
                what: "group of a row",
                got: g.to_string(),
                need: "an index below the number of groups",
            }),
            None => Ok(()),
        }
    }
}

/// Buffers of the search; they grow with the largest batch.
#[derive(Debug, Clone, Default)]
pub(crate) struct SearchBuffers {
    /// Candidate vectors `[candidates, H]`.
    deltas: Vec<f32>,
    /// Losses summed over the rows of each group `[groups, candidates]`.
    pub(crate) group_losses: Vec<f64>,
    /// Candidate values of one block `[candidates, Δ]`.
    samples: Vec<f32>,
    /// Incumbents' losses `[groups]`.
    best: Vec<f64>,
    /// Code of each row with the block's coordinates at zero `[rows, Z]`.
    row_codes: Vec<f32>,
    shards: Vec<SearchShard>,
}

/// The part of the search that one shard works on.
#[derive(Debug, Clone, Default)]
struct SearchShard {
    /// ‖mean − target‖² `[panels][candidates]`.
    row_losses: Vec<Row>,
    /// base + W_z z of the incumbents `[panels][H]`.
    shifted: Vec<Row>,
    z: Vec<Row>,
    hidden: Vec<Row>,
}

/// To what the candidate vectors are added.
#[derive(Clone, Copy, PartialEq)]
enum Onto {
    /// The state branch.
    Base,
    /// The state branch and the incumbents' other coordinates.
    Shifted,
}

/// One batch to be searched: what [`PolicyPass`] does not hold.
#[derive(Clone, Copy)]
pub(crate) struct Query<'a> {
    pub(crate) net: &'a PolicyNet,
    /// Actions, feature-major `[panels][A]`.
    pub(crate) targets: &'a [Row],
    pub(crate) groups: Groups<'a>,
    pub(crate) group_count: usize,
}

impl SearchBuffers {
    /// Losses of given codes `[candidates, Z]`, into [`SearchBuffers::group_losses`].
    pub(crate) fn evaluate(&mut self, pass: &PolicyPass, query: Query<'_>, codes: &[f32]) {
        let (latent, hidden) = (pass.shape.arch.latent, pass.shape.arch.hidden);
        let p = &query.net.params;
        let (wz, bz) = (&p[pass.shape.at.wz.clone()], &p[pass.shape.at.bz.clone()]);
        self.deltas.clear();
        for code in codes.chunks_exact(latent) {
            for h in 0..hidden {
                let row = &wz[h * latent..(h + 1) * latent];
                let dot: f32 = row.iter().zip(code).map(|(w, z)| w * z).sum();
                self.deltas.push(bz[h] + dot);
            }
        }
        self.losses(pass, query, Onto::Base);
    }

    /// The best one-hot code of each group, into `codes [groups, Z]`.
    pub(crate) fn one_hot(&mut self, pass: &PolicyPass, query: Query<'_>, codes: &mut [f32]) {
        let (latent, hidden) = (pass.shape.arch.latent, pass.shape.arch.hidden);
        let p = &query.net.params;
        let (wz, bz) = (&p[pass.shape.at.wz.clone()], &p[pass.shape.at.bz.clone()]);
        self.deltas.clear();
        for k in 0..latent {
            self.deltas.extend((0..hidden).map(|h| wz[h * latent + k] + bz[h]));
        }
        self.losses(pass, query, Onto::Base);
        for (losses, code) in
            self.group_losses.chunks_exact(latent).zip(codes.chunks_exact_mut(latent))
        {
            code.fill(0.0);
            code[least(losses).0] = 1.0;
        }
    }

    /// Coordinate-wise search (Algorithm 4) for each group, into `codes [groups, Z]`; leaves the
    /// loss of each winner in [`SearchBuffers::group_losses`].
    pub(crate) fn coordinate(
        &mut self,
        pass: &PolicyPass,
        query: Query<'_>,
        (samples, block, rounds): (usize, usize, usize),
        codes: &mut [f32],
        rng: &mut (impl Rng + ?Sized),
    ) {
        let latent = pass.shape.arch.latent;
        codes.fill(0.0);
        self.best.clear();
        self.best.resize(query.group_count, f64::INFINITY);
        for round in 0..rounds {
            for from in (0..latent).step_by(block) {
                let to = latent.min(from + block);
                let width = to - from;
                self.samples.clear();
                self.samples
                    .extend((0..samples * width).map(|_| -> f32 { rng.sample(StandardNormal) }));
                self.candidates_of_block(pass, query.net, from..to);
                self.shift_base(pass, query, codes, from..to);
                self.losses(pass, query, Onto::Shifted);
                for (g, losses) in self.group_losses.chunks_exact(samples).enumerate() {
                    let (winner, loss) = least(losses);
                    if round == 0 || loss < self.best[g] {
                        self.best[g] = loss;
                        codes[g * latent + from..g * latent + to]
                            .copy_from_slice(&self.samples[winner * width..(winner + 1) * width]);
                    }
                }
            }
        }
        self.group_losses.clone_from(&self.best);
    }

    /// delta of sample c: W_z[:, block] · v_c.
    fn candidates_of_block(
        &mut self,
        pass: &PolicyPass,
        net: &PolicyNet,
        block: std::ops::Range<usize>,
    ) {
        let (latent, hidden) = (pass.shape.arch.latent, pass.shape.arch.hidden);
        let wz = &net.params[pass.shape.at.wz.clone()];
        self.deltas.clear();
        for value in self.samples.chunks_exact(block.len()) {
            for h in 0..hidden {
                let row = &wz[h * latent + block.start..h * latent + block.end];
                self.deltas.push(row.iter().zip(value).map(|(w, v)| w * v).sum());
            }
        }
    }

    /// shifted = base + b_z + W_z z', z' the code of the row's group without the block.
    fn shift_base(
        &mut self,
        pass: &PolicyPass,
        query: Query<'_>,
        codes: &[f32],
        block: std::ops::Range<usize>,
    ) {
        let (latent, hidden) = (pass.shape.arch.latent, pass.shape.arch.hidden);
        let p = &query.net.params;
        self.row_codes.clear();
        for row in 0..pass.rows() {
            let g = query.groups.of(row);
            let from = self.row_codes.len();
            self.row_codes.extend_from_slice(&codes[g * latent..(g + 1) * latent]);
            self.row_codes[from + block.start..from + block.end].fill(0.0);
        }
        self.grow(pass.plan);
        let (plan, row_codes) = (pass.plan, &self.row_codes);
        run(pass.parallelism, &mut self.shards[..plan.shards], |i, shard| {
            let base = &pass.shards[i].base;
            shard.z.resize(latent, Row::ZERO);
            shard.shifted.resize(base.len(), Row::ZERO);
            let targets = shard.shifted.chunks_exact_mut(hidden).zip(base.chunks_exact(hidden));
            for (rows, (shifted, base)) in plan.panels_of(i).zip(targets) {
                let codes = &row_codes[rows.start * latent..rows.end * latent];
                panel_from_rows(codes, latent, &mut shard.z);
                let (wz, bz) = (&p[pass.shape.at.wz.clone()], &p[pass.shape.at.bz.clone()]);
                affine(pass.shape.simd, wz, Some(bz), &shard.z, shifted);
                add(pass.shape.simd, shifted, base);
            }
        });
    }

    /// Losses of all candidates in `deltas`, summed over the rows of each group in row order.
    fn losses(&mut self, pass: &PolicyPass, query: Query<'_>, onto: Onto) {
        let (hidden, action) = (pass.shape.arch.hidden, pass.shape.arch.action);
        let candidates = self.deltas.len() / hidden;
        let p = &query.net.params;
        let last = LastLayer {
            w: &p[pass.shape.at.w2.clone()],
            b: &p[pass.shape.at.b2.clone()],
            scale: pass.shape.arch.mean_scale,
        };
        self.grow(pass.plan);
        let (plan, deltas) = (pass.plan, &self.deltas);
        run(pass.parallelism, &mut self.shards[..plan.shards], |i, shard| {
            let base = if onto == Onto::Base { &pass.shards[i].base } else { &shard.shifted };
            let count = base.len() / hidden;
            shard.row_losses.resize(count * candidates, Row::ZERO);
            shard.hidden.resize(hidden, Row::ZERO);
            let targets = &query.targets[i * plan.per_shard * action..];
            let inputs = base.chunks_exact(hidden).zip(targets.chunks_exact(action));
            let losses = shard.row_losses.chunks_exact_mut(candidates);
            for ((base, targets), losses) in inputs.zip(losses) {
                let hidden = &mut shard.hidden;
                panel_losses(pass.shape.simd, base, deltas, last, targets, hidden, losses);
            }
        });
        self.sum_over_groups(pass, query, candidates);
    }

    fn grow(&mut self, plan: Plan) {
        if self.shards.len() < plan.shards {
            self.shards.resize_with(plan.shards, SearchShard::default);
        }
    }

    fn sum_over_groups(&mut self, pass: &PolicyPass, query: Query<'_>, candidates: usize) {
        self.group_losses.clear();
        self.group_losses.resize(query.group_count * candidates, 0.0);
        for (i, shard) in self.shards[..pass.plan.shards].iter().enumerate() {
            for (rows, losses) in
                pass.plan.panels_of(i).zip(shard.row_losses.chunks_exact(candidates))
            {
                for (lane, row) in rows.enumerate() {
                    let from = query.groups.of(row) * candidates;
                    let sums = &mut self.group_losses[from..from + candidates];
                    for (sum, loss) in sums.iter_mut().zip(losses) {
                        *sum += f64::from(loss.0[lane]);
                    }
                }
            }
        }
    }
}

/// Index and value of the smallest loss; the first of equals, and NaN never wins over a number.
fn least(losses: &[f64]) -> (usize, f64) {
    let mut best = (0, f64::INFINITY);
    for (i, &loss) in losses.iter().enumerate() {
        if loss < best.1 {
            best = (i, loss);
        }
    }
    best
}

/// The layer behind tanh.
#[derive(Clone, Copy)]
struct LastLayer<'a> {
    w: &'a [f32],
    b: &'a [f32],
    scale: Option<f32>,
}

dispatched! {
    /// losses[c] = ‖last(tanh(base + deltas[c])) − target‖² for the rows of one panel.
    fn panel_losses(
        simd: S,
        base: &'a [Row],
        deltas: &'a [f32],
        last: LastLayer<'a>,
        targets: &'a [Row],
        hidden: &'a mut [Row],
        losses: &'a mut [Row],
    ) {
        for (delta, loss) in deltas.chunks_exact(base.len()).zip(losses) {
            for ((h, b), &d) in hidden.iter_mut().zip(base).zip(delta) {
                let d = simd.splat_f32s(d);
                let (h, _) = S::as_mut_simd_f32s(&mut h.0);
                let (b, _) = S::as_simd_f32s(&b.0);
                for (h, &b) in h.iter_mut().zip(b) {
                    *h = tanh(simd, simd.add_f32s(b, d));
                }
            }
            *loss = Row::ZERO;
            crate::kernel::for_width!(S, |MR, NV| crate::kernel::in_blocks!(MR, targets.len(), |o, N| {
                add_losses::<S, N, NV>(simd, last, hidden, &targets[o..o + N], o, loss)
            }))
        }
    }
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
