//! The policy's forward and backward pass over a batch, split where the latent code enters.
//!
//! ```text
//! h₁ = tanh(W₀ s + b₀)      base = W₁ h₁ + b₁          once per state   (PolicyPass::load)
//! lat = W_z z + b_z                                     once per code
//! h₂ = tanh(base + lat)     mean = W₂ h₂ + b₂           once per (state, code)
//! ```
//!
//! A [`PolicyPass`] owns every buffer; once it has seen its largest batch it allocates no more.

use std::ops::Range;

use pulp::Arch;

use crate::error::{EngineError, check_len};
use crate::kernel::{
    PANEL, Row, add_assign, add_row_sums, add_tanh, affine, affine_transposed, outer,
    panel_from_rows, panels, rows_from_panel, scaled_tanh, scaled_tanh_backward, tanh_backward,
    tanh_panel, tanh_shifted, tiles_from_rows,
};
use crate::net::{PolicyArch, PolicyNet};
use crate::shard::{Parallelism, Plan, ShardGrad, Target, accumulate, run};
use crate::transpose::{panel_from_tiles, transpose};

/// Number of sums that a loss may gather beside its gradient.
pub(crate) const SUMS: usize = 6;

/// Where the tensors of a policy lie in its flat vector.
#[derive(Debug, Clone)]
pub(crate) struct Offsets {
    pub(crate) w0: Range<usize>,
    pub(crate) b0: Range<usize>,
    pub(crate) w1: Range<usize>,
    pub(crate) b1: Range<usize>,
    pub(crate) wz: Range<usize>,
    pub(crate) bz: Range<usize>,
    pub(crate) w2: Range<usize>,
    pub(crate) b2: Range<usize>,
    pub(crate) log_std: Range<usize>,
}

impl Offsets {
    /// Reads the offsets off the layout, whose order of tensors is fixed by [`PolicyArch`].
    fn new(arch: &PolicyArch) -> Self {
        let layout = arch.layout();
        let mut ranges = layout.tensors.iter().map(|t| t.range());
        let mut next = || ranges.next().unwrap_or(0..0);
        let (w0, b0, w1, b1) = (next(), next(), next(), next());
        let (wz, bz) = if arch.latent > 0 { (next(), next()) } else { (0..0, 0..0) };
        Self { w0, b0, w1, b1, wz, bz, w2: next(), b2: next(), log_std: next() }
    }
}

/// What the loss wants of one panel: reads the means, writes the gradient with respect to them.
pub(crate) struct PanelOutput<'a> {
    /// Rows of the batch in this panel.
    pub(crate) rows: Range<usize>,
    /// Means, feature-major `[A]`; lanes beyond the panel's rows hold no data.
    pub(crate) mean: &'a [Row],
    /// dL/dmean, feature-major `[A]`, zero on entry; lanes beyond the panel's rows must stay zero.
    pub(crate) d_mean: &'a mut [Row],
    /// dL/dlog_std `[A]`, to be added to.
    pub(crate) d_log_std: &'a mut [f32],
}

/// Buffers and passes of one policy shape.
#[derive(Debug, Clone)]
pub struct PolicyPass {
    pub(crate) shape: Shape,
    pub(crate) parallelism: Parallelism,
    pub(crate) plan: Plan,
    pub(crate) shards: Vec<PolicyShard>,
}

/// What every shard needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) simd: Arch,
    pub(crate) arch: PolicyArch,
    pub(crate) at: Offsets,
}

/// The part of a batch that one shard works on.
#[derive(Debug, Clone, Default)]
pub(crate) struct PolicyShard {
    /// Observations as tiles `[panels][⌈S/32⌉·32]`, for the gradient of W₀.
    x_tiles: Vec<Row>,
    /// h₁ `[panels][H]`.
    h1: Vec<Row>,
    /// base `[panels][H]`.
    pub(crate) base: Vec<Row>,
    grad: Vec<f32>,
    loss_sums: [f64; SUMS],
    /// Whether all rows of the panel have the same code, and which.
    one_code: bool,
    code: Vec<f32>,
    /// What that code adds to base `[H]`.
    delta: Vec<f32>,
    /// Sums of d_hidden over the panel's rows `[H]`.
    sums: Vec<f32>,
    // What one panel needs while it is worked on.
    x: Vec<Row>,
    z: Vec<Row>,
    z_tiles: Vec<Row>,
    hidden: Vec<Row>,
    hidden_tiles: Vec<Row>,
    d_hidden: Vec<Row>,
    d_first: Vec<Row>,
    mean: Vec<Row>,
    d_mean: Vec<Row>,
}

impl ShardGrad for PolicyShard {
    fn grad(&self) -> &[f32] {
        &self.grad
    }

    fn grad_mut(&mut self) -> &mut Vec<f32> {
        &mut self.grad
    }
}

impl PolicyPass {
    /// Buffers for networks of shape `arch`; they grow with the largest batch.
    pub fn new(arch: &PolicyArch) -> Self {
        let shape = Shape { simd: Arch::new(), arch: arch.clone(), at: Offsets::new(arch) };
        Self { shape, parallelism: Parallelism::Serial, plan: Plan::default(), shards: Vec::new() }
    }

    /// The same, worked on by the threads that `parallelism` says; results do not change.
    pub fn with_parallelism(self, parallelism: Parallelism) -> Self {
        Self { parallelism, ..self }
    }

    /// The shape these buffers are for.
    pub fn arch(&self) -> &PolicyArch {
        &self.shape.arch
    }

    /// Number of rows loaded.
    pub fn rows(&self) -> usize {
        self.plan.rows
    }

    /// Takes a batch of observations `[rows, S]` and evaluates the state branch.
    ///
    /// What follows ([`PolicyPass::mean`], search, gradients) refers to this batch and to the
    /// parameters given here; load again when they have changed.
    ///
    /// # Errors
    /// If `net` has another shape, or `obs` is empty or not a whole number of observations.
    pub fn load(&mut self, net: &PolicyNet, obs: &[f32]) -> Result<(), EngineError> {
        self.begin(net, obs)?;
        self.load_shards(net, obs);
        Ok(())
    }

    /// The state branch of a batch that has begun.
    pub(crate) fn load_shards(&mut self, net: &PolicyNet, obs: &[f32]) {
        let (shape, plan, mode) = (&self.shape, self.plan, self.parallelism);
        run(mode, &mut self.shards[..plan.shards], |i, shard| {
            mode.fetch(&net.params);
            shard.load(shape, &net.params, plan.part_of(i, obs, shape.arch.obs));
        });
    }

    /// Cuts a batch of observations into shards, which are still to be loaded.
    pub(crate) fn begin(&mut self, net: &PolicyNet, obs: &[f32]) -> Result<(), EngineError> {
        self.check_net(net)?;
        let width = self.shape.arch.obs;
        let rows = obs.len() / width;
        check_len("observations", obs.len(), rows.max(1) * width)?;
        self.plan = Plan::new(rows);
        if self.shards.len() < self.plan.shards {
            let arch = &self.shape.arch;
            self.shards.resize_with(self.plan.shards, || PolicyShard::new(arch));
        }
        Ok(())
    }

    /// Means `[rows, A]` of the loaded batch for the codes `latents [rows, Z]`.
    ///
    /// # Errors
    /// If `net` has another shape or a slice the wrong length.
    pub fn mean(
        &mut self,
        net: &PolicyNet,
        latents: &[f32],
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        self.check_net(net)?;
        let (latent, action) = (self.shape.arch.latent, self.shape.arch.action);
        check_len("latent codes", latents.len(), self.rows() * latent)?;
        check_len("means", out.len(), self.rows() * action)?;
        for (i, shard) in self.shards[..self.plan.shards].iter_mut().enumerate() {
            for (panel, rows) in self.plan.panels_of(i).enumerate() {
                let codes = &latents[rows.start * latent..rows.end * latent];
                shard.forward(&self.shape, &net.params, panel, codes);
                let out = &mut out[rows.start * action..rows.end * action];
                rows_from_panel(&shard.mean, action, out);
            }
        }
        Ok(())
    }

    /// Runs the loaded batch forward with the codes `latents [rows, Z]`, asks `loss` for dL/dmean
    /// of each panel, and gives dL/dθ to `target`. Returns the sums that `loss` gathers, added up in
    /// the order of the rows.
    ///
    /// The lengths have been checked by the caller.
    pub(crate) fn backward(
        &mut self,
        net: &PolicyNet,
        latents: &[f32],
        target: Target<'_>,
        loss: impl Fn(PanelOutput<'_>) -> [f64; SUMS] + Sync,
    ) -> [f64; SUMS] {
        let (shape, plan) = (&self.shape, self.plan);
        let latent = shape.arch.latent;
        let shards = &mut self.shards[..plan.shards];
        accumulate(self.parallelism, plan, shards, target, |i, shard, grad| {
            shard.loss_sums = [0.0; SUMS];
            for (panel, rows) in plan.panels_of(i).enumerate() {
                let codes = &latents[rows.start * latent..rows.end * latent];
                shard.forward(shape, &net.params, panel, codes);
                shard.d_mean.fill(Row::ZERO);
                let sums = loss(PanelOutput {
                    rows,
                    mean: &shard.mean,
                    d_mean: &mut shard.d_mean,
                    d_log_std: &mut grad[shape.at.log_std.clone()],
                });
                shard.loss_sums.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
                shard.backward(shape, &net.params, panel, grad);
            }
        });
        let mut total = [0.0; SUMS];
        for shard in shards {
            total.iter_mut().zip(shard.loss_sums).for_each(|(sum, more)| *sum += more);
        }
        total
    }

    /// Takes dL/dmean `d_means [rows, A]` of the loaded batch and the codes `latents [rows, Z]`
    /// back: adds dL/dθ to `grad`. That of `log_std` stays as it is.
    ///
    /// # Errors
    /// If `net` has another shape or a slice the wrong length.
    pub fn take_back(
        &mut self,
        net: &PolicyNet,
        latents: &[f32],
        d_means: &[f32],
        grad: &mut [f32],
    ) -> Result<(), EngineError> {
        self.check_net(net)?;
        let (latent, action) = (self.shape.arch.latent, self.shape.arch.action);
        check_len("latent codes", latents.len(), self.rows() * latent)?;
        check_len("gradient of the means", d_means.len(), self.rows() * action)?;
        check_len("gradient", grad.len(), net.params.len())?;
        self.backward(net, latents, Target::add_to(grad), |panel| {
            let d = &d_means[panel.rows.start * action..panel.rows.end * action];
            for (lane, d) in d.chunks_exact(action).enumerate() {
                d.iter().zip(&mut *panel.d_mean).for_each(|(&d, out)| out.0[lane] = d);
            }
            [0.0; SUMS]
        });
        Ok(())
    }

    pub(crate) fn check_net(&self, net: &PolicyNet) -> Result<(), EngineError> {
        if *net.arch() == self.shape.arch {
            return check_len("policy parameters", net.params.len(), net.layout().len());
        }
        Err(EngineError::Range {
            what: "policy shape",
            got: format!("{:?}", net.arch()),
            need: "the shape that the buffers were made for",
        })
    }
}

/// Appends what a code adds to base, W_z z + b_z `[H]` (zeros without code), to `deltas`.
pub(crate) fn push_delta(
    wz: &[f32],
    bz: &[f32],
    code: &[f32],
    hidden: usize,
    deltas: &mut Vec<f32>,
) {
    let from = deltas.len();
    deltas.extend_from_slice(bz);
    deltas.resize(from + hidden, 0.0);
    // A one-hot code costs one column.
    for (j, &z) in code.iter().enumerate().filter(|(_, z)| **z != 0.0) {
        let column = wz[j..].iter().step_by(code.len());
        deltas[from..].iter_mut().zip(column).for_each(|(d, w)| *d += w * z);
    }
}

impl PolicyShard {
    fn new(arch: &PolicyArch) -> Self {
        let zeros = |n: usize| vec![Row::ZERO; n];
        let tiles = |features: usize| zeros(panels(features) * PANEL);
        Self {
            code: vec![0.0; arch.latent],
            sums: vec![0.0; arch.hidden],
            x: zeros(arch.obs),
            z: zeros(arch.latent),
            z_tiles: tiles(arch.latent),
            hidden: zeros(arch.hidden),
            hidden_tiles: tiles(arch.hidden),
            d_hidden: zeros(arch.hidden),
            d_first: zeros(arch.hidden),
            mean: zeros(arch.action),
            d_mean: zeros(arch.action),
            ..Self::default()
        }
    }

    /// The state branch of this shard's observations.
    pub(crate) fn load(&mut self, shape: &Shape, p: &[f32], obs: &[f32]) {
        let Shape { simd, arch, at } = shape;
        let (width, hidden) = (arch.obs, arch.hidden);
        let (count, x_stride) = (panels(obs.len() / width), panels(width) * PANEL);
        self.x_tiles.resize(count * x_stride, Row::ZERO);
        self.h1.resize(count * hidden, Row::ZERO);
        self.base.resize(count * hidden, Row::ZERO);
        let outputs = self.h1.chunks_exact_mut(hidden).zip(self.base.chunks_exact_mut(hidden));
        let inputs = obs.chunks(PANEL * width).zip(self.x_tiles.chunks_exact_mut(x_stride));
        for ((obs, x_tiles), (h1, base)) in inputs.zip(outputs) {
            tiles_from_rows(obs, width, x_tiles);
            panel_from_tiles(*simd, x_tiles, &mut self.x);
            affine(*simd, &p[at.w0.clone()], Some(&p[at.b0.clone()]), &self.x, h1);
            tanh_panel(*simd, h1);
            affine(*simd, &p[at.w1.clone()], Some(&p[at.b1.clone()]), h1, base);
        }
    }

    /// h₂ and mean of one panel, into the panel's buffers.
    fn forward(&mut self, shape: &Shape, p: &[f32], panel: usize, codes: &[f32]) {
        let Shape { simd, arch, at } = shape;
        let (simd, hidden, latent) = (*simd, arch.hidden, arch.latent);
        let base = &self.base[panel * hidden..(panel + 1) * hidden];
        let first = &codes[..latent];
        self.one_code = codes.chunks_exact(latent.max(1)).all(|code| code == first);
        if self.one_code {
            self.code.copy_from_slice(first);
            self.delta.clear();
            push_delta(&p[at.wz.clone()], &p[at.bz.clone()], first, hidden, &mut self.delta);
            tanh_shifted(simd, base, &self.delta, &mut self.hidden);
        } else {
            tiles_from_rows(codes, latent, &mut self.z_tiles);
            panel_from_rows(codes, latent, &mut self.z);
            affine(simd, &p[at.wz.clone()], Some(&p[at.bz.clone()]), &self.z, &mut self.hidden);
            add_tanh(simd, &mut self.hidden, base);
        }
        affine(simd, &p[at.w2.clone()], Some(&p[at.b2.clone()]), &self.hidden, &mut self.mean);
        if let Some(scale) = arch.mean_scale {
            scaled_tanh(simd, &mut self.mean, scale);
        }
    }

    /// Adds one panel's share of dL/dθ, given dL/dmean in the panel's buffers.
    fn backward(&mut self, shape: &Shape, p: &[f32], panel: usize, grad: &mut [f32]) {
        let Shape { simd, arch, at } = shape;
        let (simd, hidden, latent) = (*simd, arch.hidden, arch.latent);
        let h1 = &self.h1[panel * hidden..(panel + 1) * hidden];
        if let Some(scale) = arch.mean_scale {
            scaled_tanh_backward(simd, &mut self.d_mean, &self.mean, scale);
        }
        transpose(simd, &self.hidden, &mut self.hidden_tiles);
        outer(simd, &[(&self.d_mean, &self.hidden_tiles)], hidden, &mut grad[at.w2.clone()]);
        add_row_sums(simd, &self.d_mean, &mut grad[at.b2.clone()]);

        affine_transposed(simd, &p[at.w2.clone()], &self.d_mean, &mut self.d_hidden);
        tanh_backward(simd, &mut self.d_hidden, &self.hidden);
        // The state branch's bias and the latent branch act in the same place.
        self.sums.fill(0.0);
        add_row_sums(simd, &self.d_hidden, &mut self.sums);
        add_assign(simd, &mut grad[at.b1.clone()], &self.sums);
        if latent > 0 {
            add_assign(simd, &mut grad[at.bz.clone()], &self.sums);
            if self.one_code {
                let rows = grad[at.wz.clone()].chunks_exact_mut(latent);
                for (row, sum) in rows.zip(&self.sums) {
                    row.iter_mut().zip(&self.code).for_each(|(g, z)| *g += sum * z);
                }
            } else {
                let terms = [(&self.d_hidden[..], &self.z_tiles[..])];
                outer(simd, &terms, latent, &mut grad[at.wz.clone()]);
            }
        }
        transpose(simd, h1, &mut self.hidden_tiles);
        outer(simd, &[(&self.d_hidden, &self.hidden_tiles)], hidden, &mut grad[at.w1.clone()]);

        affine_transposed(simd, &p[at.w1.clone()], &self.d_hidden, &mut self.d_first);
        tanh_backward(simd, &mut self.d_first, h1);
        let x_stride = panels(arch.obs) * PANEL;
        let x_tiles = &self.x_tiles[panel * x_stride..(panel + 1) * x_stride];
        outer(simd, &[(&self.d_first, x_tiles)], arch.obs, &mut grad[at.w0.clone()]);
        add_row_sums(simd, &self.d_first, &mut grad[at.b0.clone()]);
    }
}
