//! The policy's forward and backward pass over a batch, split where the latent code enters.
//!
//! ```text
//! h₁ = tanh(W₀ s + b₀)      base = W₁ h₁ + b₁          once per state   (PolicyPass::load)
//! lat = W_z z + b_z                                     once per code
//! h₂ = tanh(base + lat)     mean = W₂ h₂ + b₂           once per (state, code)
//! ```
//!
//! is the paper's. A state branch of another depth has more or fewer layers before `base`. In a
//! plain stack the code enters the first layer, W₀ \[s, z\] + b₀: base is the observation's share of
//! it, lat the code's, and the layers behind are evaluated once per (state, code).
//!
//! A [`PolicyPass`] owns every buffer; once it has seen its largest batch it allocates no more.

use std::ops::Range;

use pulp::Arch;

use crate::error::{EngineError, check_len};
use crate::kernel::{
    PANEL, Row, activate, activate_backward, add_activate, add_assign, add_row_sums, affine,
    affine_transposed, outer, panel_from_rows, panels, rows_from_panel, scaled_tanh,
    scaled_tanh_backward, shifted, tiles_from_rows,
};
use crate::mlp::Layer;
use crate::net::{Activation, CODE_OF_STACK, PolicyArch, PolicyNet};
use crate::shard::{Parallelism, Plan, SUMS, ShardGrad, Target, accumulate, run};
use crate::transpose::{panel_from_tiles, transpose};

/// Where the tensors of a policy lie in its flat vector. M is the width of the sum that the code
/// enters.
#[derive(Debug, Clone)]
pub(crate) struct Offsets {
    /// Layers that are evaluated once per state; the last gives `base` `[M]`, without activation.
    pub(crate) before: Vec<Layer>,
    /// W_z `[M, Z]`.
    pub(crate) wz: Range<usize>,
    /// b_z `[M]`; empty where the last bias before does for both.
    pub(crate) bz: Range<usize>,
    /// Hidden layers behind the sum.
    pub(crate) behind: Vec<Layer>,
    /// The last layer.
    pub(crate) mean: Layer,
    pub(crate) log_std: Range<usize>,
}

impl Offsets {
    fn new(arch: &PolicyArch) -> Self {
        let layout = arch.layout();
        // Empty where there is no such tensor.
        let range = |name: &str| layout.tensor(name).map_or(0..0, |tensor| tensor.range());
        let layer = |name: &str, inputs: usize, outputs: usize| Layer {
            w: range(&format!("{name}.weight")),
            b: range(&format!("{name}.bias")),
            inputs,
            outputs,
            activation: arch.activation.into(),
        };
        let specs = arch.layers();
        let hidden = specs[..arch.hidden.len()].iter();
        let mut before: Vec<Layer> =
            hidden.map(|spec| layer(&spec.name, spec.inputs, spec.outputs)).collect();
        // But for the code's columns, which a plain stack has in the same matrix.
        before[0].inputs = arch.obs;
        let behind = before.split_off(arch.code_enters() + 1);
        let inputs = behind.last().or(before.last()).map_or(0, |layer| layer.outputs);
        let code = if arch.splits_first_layer() { CODE_OF_STACK } else { "actor.latent.weight" };
        Self {
            mean: layer("actor.mean", inputs, arch.action),
            wz: range(code),
            bz: range("actor.latent.bias"),
            log_std: range("log_std"),
            before,
            behind,
        }
    }

    /// M.
    pub(crate) fn sum_width(&self) -> usize {
        self.before.last().map_or(0, |layer| layer.outputs)
    }

    /// b_z, if there is such a bias.
    pub(crate) fn code_bias<'p>(&self, params: &'p [f32]) -> Option<&'p [f32]> {
        (!self.bz.is_empty()).then(|| &params[self.bz.clone()])
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
    /// Outputs of the layers before `base`, `[panels][H]` each.
    state: Vec<Vec<Row>>,
    /// base `[panels][M]`.
    pub(crate) base: Vec<Row>,
    grad: Vec<f32>,
    loss_sums: [f64; SUMS],
    /// Whether all rows of the panel have the same code, and which.
    one_code: bool,
    code: Vec<f32>,
    /// What that code adds to base `[M]`.
    delta: Vec<f32>,
    /// Sums over the panel's rows of the gradient with respect to the sum `[M]`.
    sums: Vec<f32>,
    // What one panel needs while it is worked on.
    x: Vec<Row>,
    z: Vec<Row>,
    z_tiles: Vec<Row>,
    /// Outputs of the sum and of the layers behind it.
    hidden: Vec<Vec<Row>>,
    /// Input of the layer at hand, transposed.
    tiles: Vec<Row>,
    d: Vec<Row>,
    d_next: Vec<Row>,
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
            let shape = &self.shape;
            self.shards.resize_with(self.plan.shards, || PolicyShard::new(shape));
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

/// Appends what a code adds to base, W_z z + b_z `[M]` (zeros without code), to `deltas`; `hidden`
/// is M, and `bz` may be empty.
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
    fn new(shape: &Shape) -> Self {
        let Shape { arch, at, .. } = shape;
        let zeros = |n: usize| vec![Row::ZERO; n];
        let tiles = |features: usize| zeros(panels(features) * PANEL);
        let widest = arch.hidden.iter().copied().max().unwrap_or(0);
        let hidden = std::iter::once(at.sum_width()).chain(at.behind.iter().map(|l| l.outputs));
        Self {
            code: vec![0.0; arch.latent],
            sums: vec![0.0; at.sum_width()],
            x: zeros(arch.obs),
            z: zeros(arch.latent),
            z_tiles: tiles(arch.latent),
            hidden: hidden.map(zeros).collect(),
            state: vec![Vec::new(); at.before.len() - 1],
            tiles: tiles(widest),
            d: zeros(widest),
            d_next: zeros(widest),
            mean: zeros(arch.action),
            d_mean: zeros(arch.action),
            ..Self::default()
        }
    }

    /// The state branch of this shard's observations.
    pub(crate) fn load(&mut self, shape: &Shape, p: &[f32], obs: &[f32]) {
        let Shape { simd, arch, at } = shape;
        let (width, sum) = (arch.obs, at.sum_width());
        let (count, x_stride) = (panels(obs.len() / width), panels(width) * PANEL);
        self.x_tiles.resize(count * x_stride, Row::ZERO);
        self.base.resize(count * sum, Row::ZERO);
        for (out, layer) in self.state.iter_mut().zip(&at.before) {
            out.resize(count * layer.outputs, Row::ZERO);
        }
        let inputs = obs.chunks(PANEL * width).zip(self.x_tiles.chunks_exact_mut(x_stride));
        for (panel, (obs, x_tiles)) in inputs.enumerate() {
            tiles_from_rows(obs, width, x_tiles);
            panel_from_tiles(*simd, x_tiles, &mut self.x);
            for (i, layer) in at.before.iter().enumerate() {
                let (done, rest) = self.state.split_at_mut(i);
                let input = done.last().map_or(&self.x[..], |h| of_panel(h, panel, layer.inputs));
                let (w, b) = (&p[layer.w.clone()], &p[layer.b.clone()]);
                match rest.first_mut() {
                    Some(out) => {
                        let out = &mut out[panel * layer.outputs..(panel + 1) * layer.outputs];
                        affine(*simd, w, Some(b), input, out);
                        activate(*simd, layer.activation, out);
                    }
                    None => {
                        let base = &mut self.base[panel * sum..(panel + 1) * sum];
                        affine(*simd, w, Some(b), input, base);
                    }
                }
            }
        }
    }

    /// Means of one panel and what leads to them, into the panel's buffers.
    fn forward(&mut self, shape: &Shape, p: &[f32], panel: usize, codes: &[f32]) {
        let Shape { simd, arch, at } = shape;
        let (simd, sum, latent) = (*simd, at.sum_width(), arch.latent);
        let base = of_panel(&self.base, panel, sum);
        let first = &codes[..latent];
        self.one_code = codes.chunks_exact(latent.max(1)).all(|code| code == first);
        let hidden = &mut self.hidden[0];
        if self.one_code {
            self.code.copy_from_slice(first);
            self.delta.clear();
            push_delta(&p[at.wz.clone()], &p[at.bz.clone()], first, sum, &mut self.delta);
            shifted(simd, arch.activation, base, &self.delta, hidden);
        } else {
            tiles_from_rows(codes, latent, &mut self.z_tiles);
            panel_from_rows(codes, latent, &mut self.z);
            affine(simd, &p[at.wz.clone()], at.code_bias(p), &self.z, hidden);
            add_activate(simd, arch.activation, hidden, base);
        }
        for (i, layer) in at.behind.iter().enumerate() {
            let (done, rest) = self.hidden.split_at_mut(i + 1);
            let (input, out) = (&done[i], &mut rest[0]);
            affine(simd, &p[layer.w.clone()], Some(&p[layer.b.clone()]), input, out);
            activate(simd, layer.activation, out);
        }
        let (w, b) = (&p[at.mean.w.clone()], &p[at.mean.b.clone()]);
        affine(simd, w, Some(b), &self.hidden[at.behind.len()], &mut self.mean);
        if let Some(scale) = arch.mean_scale {
            scaled_tanh(simd, &mut self.mean, scale);
        }
    }

    /// Adds one panel's share of dL/dθ, given dL/dmean in the panel's buffers.
    fn backward(&mut self, shape: &Shape, p: &[f32], panel: usize, grad: &mut [f32]) {
        let Shape { simd, arch, at } = shape;
        let (simd, latent) = (*simd, arch.latent);
        let activation: Activation = arch.activation.into();
        let Self { state, hidden, tiles, d, d_next, d_mean, sums, .. } = self;
        if let Some(scale) = arch.mean_scale {
            scaled_tanh_backward(simd, d_mean, &self.mean, scale);
        }
        // The mean, then the layers behind the sum, last to first.
        for i in (0..=at.behind.len()).rev() {
            let layer = at.behind.get(i).unwrap_or(&at.mean);
            let above = if i == at.behind.len() { &d_mean[..] } else { &d[..layer.outputs] };
            add_outer(simd, above, &hidden[i], tiles, &mut grad[layer.w.clone()]);
            add_row_sums(simd, above, &mut grad[layer.b.clone()]);
            let below = &mut d_next[..layer.inputs];
            affine_transposed(simd, &p[layer.w.clone()], above, below);
            activate_backward(simd, activation, below, &hidden[i]);
            std::mem::swap(d, d_next);
        }
        // The last bias before the sum and the latent branch act in the same place.
        let of_sum = &d[..at.sum_width()];
        sums.fill(0.0);
        add_row_sums(simd, of_sum, sums);
        let last = at.before.len() - 1;
        add_assign(simd, &mut grad[at.before[last].b.clone()], sums);
        if latent > 0 {
            add_assign(simd, &mut grad[at.bz.clone()], &sums[..at.bz.len()]);
            if self.one_code {
                let rows = grad[at.wz.clone()].chunks_exact_mut(latent);
                for (row, sum) in rows.zip(&*sums) {
                    row.iter_mut().zip(&self.code).for_each(|(g, z)| *g += sum * z);
                }
            } else {
                let terms = [(of_sum, &self.z_tiles[..])];
                outer(simd, &terms, latent, &mut grad[at.wz.clone()]);
            }
        }
        // The layers before it, last to first.
        for (i, layer) in at.before.iter().enumerate().rev() {
            let above = &d[..layer.outputs];
            if i < last {
                add_row_sums(simd, above, &mut grad[layer.b.clone()]);
            }
            let Some(below) = i.checked_sub(1) else {
                let x_tiles = of_panel(&self.x_tiles, panel, panels(arch.obs) * PANEL);
                outer(simd, &[(above, x_tiles)], arch.obs, &mut grad[layer.w.clone()]);
                break;
            };
            let input = of_panel(&state[below], panel, layer.inputs);
            add_outer(simd, above, input, tiles, &mut grad[layer.w.clone()]);
            let below = &mut d_next[..layer.inputs];
            affine_transposed(simd, &p[layer.w.clone()], above, below);
            activate_backward(simd, activation, below, input);
            std::mem::swap(d, d_next);
        }
    }
}

/// What panel `panel` has of `[panels][width]`.
fn of_panel(all: &[Row], panel: usize, width: usize) -> &[Row] {
    &all[panel * width..(panel + 1) * width]
}

/// dw `[outputs, inputs]` += d · xᵀ for d `[outputs]` and x `[inputs]`, both feature-major; `tiles`
/// is to put x transposed.
fn add_outer(simd: Arch, d: &[Row], x: &[Row], tiles: &mut [Row], dw: &mut [f32]) {
    let tiles = &mut tiles[..panels(x.len()) * PANEL];
    transpose(simd, x, tiles);
    outer(simd, &[(d, tiles)], x.len(), dw);
}
