//! Forward and backward pass of a chain of dense layers: value network, posterior, DDPG's actor
//! and critic, decoder.
//!
//! A panel of 32 rows goes forward, through the loss and backward before the next one is touched,
//! so that activations never leave the cache. An [`MlpPass`] owns every buffer; once it has seen
//! its largest batch it allocates no more.

use std::ops::Range;

use pulp::Arch;

use crate::error::{EngineError, check_len};
use crate::kernel::{
    PANEL, Row, activate, activate_backward, add_row_sums, affine, affine_transposed, outer,
    panels, rows_from_panel,
};
use crate::net::{Activation, Mlp, MlpArch};
use crate::shard::{Parallelism, Plan, SUMS, ShardGrad, Target, accumulate};
use crate::transpose::{panel_from_tiles, transpose};

/// A block of columns of a network's input, row-major `[rows, width]`. The input is the blocks side
/// by side: observation and action, or observation and code.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// The values.
    pub data: &'a [f32],
    /// Columns of this block.
    pub width: usize,
}

/// Number of rows of `parts`, whose widths must add up to `inputs`.
pub(crate) fn check_parts(parts: &[Part<'_>], inputs: usize) -> Result<usize, EngineError> {
    check_len("input columns", parts.iter().map(|p| p.width).sum(), inputs)?;
    let first = parts.iter().find(|p| p.width > 0);
    let rows = first.map_or(0, |p| p.data.len() / p.width).max(1);
    parts.iter().try_for_each(|p| check_len("input block", p.data.len(), rows * p.width))?;
    Ok(rows)
}

/// Tiles of the given rows of `parts`, zero beyond them.
pub(crate) fn tiles_from_parts(parts: &[Part<'_>], rows: Range<usize>, tiles: &mut [Row]) {
    tiles.fill(Row::ZERO);
    let mut from = 0;
    for part in parts.iter().filter(|p| p.width > 0) {
        let data = &part.data[rows.start * part.width..rows.end * part.width];
        for (lane, row) in data.chunks_exact(part.width).enumerate() {
            // The columns may straddle tiles.
            let mut done = 0;
            while done < row.len() {
                let (tile, at) = ((from + done) / PANEL, (from + done) % PANEL);
                let count = (row.len() - done).min(PANEL - at);
                let out = &mut tiles[tile * PANEL + lane].0[at..at + count];
                out.copy_from_slice(&row[done..done + count]);
                done += count;
            }
        }
        from += part.width;
    }
}

/// A layer and where its tensors lie.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub(crate) w: Range<usize>,
    pub(crate) b: Range<usize>,
    pub(crate) inputs: usize,
    pub(crate) outputs: usize,
    pub(crate) activation: Activation,
}

/// The layers of `arch` with their places in the flat vector.
pub(crate) fn layers_of(arch: &MlpArch) -> Vec<Layer> {
    let layout = arch.layout();
    let tensors = layout.tensors.chunks_exact(2);
    tensors
        .zip(arch.layers())
        .map(|(pair, spec)| Layer {
            w: pair[0].range(),
            b: pair[1].range(),
            inputs: spec.inputs,
            outputs: spec.outputs,
            activation: spec.activation,
        })
        .collect()
}

/// What the loss wants of one panel: reads the outputs, writes the gradient with respect to them.
pub(crate) struct MlpOutput<'a> {
    /// Rows of the batch in this panel.
    pub(crate) rows: Range<usize>,
    /// Outputs, feature-major; lanes beyond the panel's rows hold no data.
    pub(crate) out: &'a [Row],
    /// dL/dout, feature-major, zero on entry; lanes beyond the panel's rows must stay zero.
    pub(crate) d_out: &'a mut [Row],
}

/// Buffers and passes of one network shape.
#[derive(Debug, Clone)]
pub struct MlpPass {
    shape: Shape,
    parallelism: Parallelism,
    shards: Vec<MlpShard>,
}

/// What every shard needs to know.
#[derive(Debug, Clone)]
pub(crate) struct Shape {
    pub(crate) simd: Arch,
    pub(crate) arch: MlpArch,
    pub(crate) layers: Vec<Layer>,
    /// Number of parameters.
    pub(crate) params: usize,
}

/// What one shard needs while it is worked on.
#[derive(Debug, Clone)]
struct MlpShard {
    x: Vec<Row>,
    x_tiles: Vec<Row>,
    /// Output of each layer.
    acts: Vec<Vec<Row>>,
    /// Input of the layer at hand, transposed.
    tiles: Vec<Row>,
    d: Vec<Row>,
    d_next: Vec<Row>,
    grad: Vec<f32>,
    /// dL/dx of this shard's rows, row-major.
    d_input: Vec<f32>,
    sums: [f64; SUMS],
}

impl ShardGrad for MlpShard {
    fn grad(&self) -> &[f32] {
        &self.grad
    }

    fn grad_mut(&mut self) -> &mut Vec<f32> {
        &mut self.grad
    }
}

impl MlpPass {
    /// Buffers for networks of shape `arch`; they grow with the largest batch.
    pub fn new(arch: &MlpArch) -> Self {
        Self { shape: Shape::new(arch), parallelism: Parallelism::Serial, shards: Vec::new() }
    }

    /// The same, worked on by the threads that `parallelism` says; results do not change.
    pub fn with_parallelism(self, parallelism: Parallelism) -> Self {
        Self { parallelism, ..self }
    }

    /// Who works on the shards.
    pub(crate) fn parallelism(&self) -> Parallelism {
        self.parallelism
    }

    /// The shape these buffers are for.
    pub fn arch(&self) -> &MlpArch {
        &self.shape.arch
    }

    /// Outputs `[rows, outputs]` of the network.
    ///
    /// # Errors
    /// If `net` has another shape or a slice the wrong length.
    pub fn forward(
        &mut self,
        net: &Mlp,
        input: &[Part<'_>],
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        let plan = self.begin(net, input)?;
        let width = self.shape.arch.outputs();
        check_len("outputs", out.len(), plan.rows * width)?;
        for (i, shard) in self.shards[..plan.shards].iter_mut().enumerate() {
            for rows in plan.panels_of(i) {
                shard.load(&self.shape, input, rows.clone());
                let last = shard.forward(&self.shape, &net.params);
                rows_from_panel(last, width, &mut out[rows.start * width..rows.end * width]);
            }
        }
        Ok(())
    }

    /// Takes dL/dout `[rows, outputs]` back: adds dL/dθ to `grad` and, if asked for, writes dL/dx
    /// `[rows, inputs]`. Runs the network forward itself.
    ///
    /// # Errors
    /// If `net` has another shape or a slice the wrong length.
    pub fn backward(
        &mut self,
        net: &Mlp,
        input: &[Part<'_>],
        d_out: &[f32],
        grad: &mut [f32],
        d_input: Option<&mut [f32]>,
    ) -> Result<(), EngineError> {
        let rows = check_parts(input, self.shape.arch.inputs)?;
        let width = self.shape.arch.outputs();
        check_len("gradient of the outputs", d_out.len(), rows * width)?;
        self.loss_backward(net, input, Target::add_to(grad), d_input, |panel| {
            let d = &d_out[panel.rows.start * width..panel.rows.end * width];
            for (lane, d) in d.chunks_exact(width).enumerate() {
                d.iter().zip(&mut *panel.d_out).for_each(|(&d, out)| out.0[lane] = d);
            }
            [0.0; SUMS]
        })?;
        Ok(())
    }

    /// L = 1/n Σᵢ ‖out(xᵢ) − targetᵢ‖² with targets `[rows, outputs]`; adds `scale`·dL/dθ to `grad`.
    ///
    /// # Errors
    /// If `net` has another shape or a slice the wrong length.
    pub fn squared_error(
        &mut self,
        net: &Mlp,
        input: &[Part<'_>],
        targets: &[f32],
        scale: f32,
        grad: &mut [f32],
    ) -> Result<f32, EngineError> {
        let rows = check_parts(input, self.shape.arch.inputs)?;
        let width = self.shape.arch.outputs();
        check_len("targets", targets.len(), rows * width)?;
        let factor = 2.0 * scale / rows as f32;
        let sums = self.loss_backward(net, input, Target::add_to(grad), None, |panel| {
            let mut total = 0.0;
            let targets = &targets[panel.rows.start * width..panel.rows.end * width];
            for (lane, target) in targets.chunks_exact(width).enumerate() {
                for ((&t, out), d) in target.iter().zip(panel.out).zip(&mut *panel.d_out) {
                    let error = out.0[lane] - t;
                    d.0[lane] = factor * error;
                    total += f64::from(error * error);
                }
            }
            [total, 0.0, 0.0, 0.0, 0.0, 0.0]
        })?;
        Ok((sums[0] / rows as f64) as f32)
    }

    /// Runs forward, asks `loss` for dL/dout of each panel, and gives dL/dθ to `target`. Returns
    /// the sums that `loss` gathers, added up in the order of the rows.
    pub(crate) fn loss_backward(
        &mut self,
        net: &Mlp,
        input: &[Part<'_>],
        target: Target<'_>,
        d_input: Option<&mut [f32]>,
        loss: impl Fn(MlpOutput<'_>) -> [f64; SUMS] + Sync,
    ) -> Result<[f64; SUMS], EngineError> {
        let plan = self.begin(net, input)?;
        check_len("gradient", target.len(), self.shape.params)?;
        let width = self.shape.arch.inputs;
        if let Some(d_input) = &d_input {
            check_len("gradient of the inputs", d_input.len(), plan.rows * width)?;
        }
        let (shape, wants_input) = (&self.shape, d_input.is_some());
        let shards = &mut self.shards[..plan.shards];
        let mode = self.parallelism;
        accumulate(mode, plan, shards, target, |i, shard, grad| {
            mode.fetch(&net.params);
            shard.sums = [0.0; SUMS];
            shard.d_input.clear();
            for rows in plan.panels_of(i) {
                shard.load(shape, input, rows.clone());
                shard.forward(shape, &net.params);
                let count = rows.len();
                shard.start_backward(shape, rows, &loss);
                shard.backward(shape, &net.params, grad, wants_input.then_some(count));
            }
        });
        if let Some(mut rest) = d_input {
            for shard in &*shards {
                let (own, behind) = rest.split_at_mut(shard.d_input.len());
                own.copy_from_slice(&shard.d_input);
                rest = behind;
            }
        }
        let mut total = [0.0; SUMS];
        for shard in shards {
            total.iter_mut().zip(shard.sums).for_each(|(sum, more)| *sum += more);
        }
        Ok(total)
    }

    fn begin(&mut self, net: &Mlp, input: &[Part<'_>]) -> Result<Plan, EngineError> {
        self.shape.check(net)?;
        let plan = Plan::new(check_parts(input, self.shape.arch.inputs)?);
        if self.shards.len() < plan.shards {
            let shape = &self.shape;
            self.shards.resize_with(plan.shards, || MlpShard::new(shape));
        }
        Ok(plan)
    }
}

impl Shape {
    pub(crate) fn new(arch: &MlpArch) -> Self {
        Self {
            simd: Arch::new(),
            arch: arch.clone(),
            layers: layers_of(arch),
            params: arch.layout().len(),
        }
    }

    pub(crate) fn check(&self, net: &Mlp) -> Result<(), EngineError> {
        if *net.arch() == self.arch {
            return check_len("network parameters", net.params.len(), self.params);
        }
        Err(EngineError::Range {
            what: "network shape",
            got: format!("{:?}", net.arch()),
            need: "the shape that the buffers were made for",
        })
    }
}

impl MlpShard {
    fn new(shape: &Shape) -> Self {
        let zeros = |n: usize| vec![Row::ZERO; n];
        let widest = shape.layers.iter().map(|l| l.inputs.max(l.outputs)).max().unwrap_or(0);
        Self {
            x: zeros(shape.arch.inputs),
            x_tiles: zeros(panels(shape.arch.inputs) * PANEL),
            acts: shape.layers.iter().map(|l| zeros(l.outputs)).collect(),
            tiles: zeros(panels(widest) * PANEL),
            d: zeros(widest),
            d_next: zeros(widest),
            grad: Vec::new(),
            d_input: Vec::new(),
            sums: [0.0; SUMS],
        }
    }

    /// Takes the given rows of the input.
    fn load(&mut self, shape: &Shape, input: &[Part<'_>], rows: Range<usize>) {
        tiles_from_parts(input, rows, &mut self.x_tiles);
        panel_from_tiles(shape.simd, &self.x_tiles, &mut self.x);
    }

    /// Outputs of every layer for the input panel; returns the last.
    fn forward(&mut self, shape: &Shape, p: &[f32]) -> &[Row] {
        for (i, layer) in shape.layers.iter().enumerate() {
            let (before, from_here) = self.acts.split_at_mut(i);
            let input = before.last().unwrap_or(&self.x);
            let output = &mut from_here[0];
            affine(shape.simd, &p[layer.w.clone()], Some(&p[layer.b.clone()]), input, output);
            activate(shape.simd, layer.activation, output);
        }
        self.acts.last().unwrap_or(&self.x)
    }

    /// Fills `d` with dL/dout.
    fn start_backward(
        &mut self,
        shape: &Shape,
        rows: Range<usize>,
        loss: &impl Fn(MlpOutput<'_>) -> [f64; SUMS],
    ) {
        let out = self.acts.last().unwrap_or(&self.x);
        let d_out = &mut self.d[..shape.arch.outputs()];
        d_out.fill(Row::ZERO);
        let sums = loss(MlpOutput { rows, out, d_out });
        self.sums.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
    }

    /// Takes `d` back through all layers; the gradient of the inputs of `input_rows` rows if given.
    pub(crate) fn backward(
        &mut self,
        shape: &Shape,
        p: &[f32],
        grad: &mut [f32],
        input_rows: Option<usize>,
    ) {
        for (i, layer) in shape.layers.iter().enumerate().rev() {
            let d = &mut self.d[..layer.outputs];
            activate_backward(shape.simd, layer.activation, d, &self.acts[i]);
            let tiles = if i == 0 {
                &self.x_tiles
            } else {
                let tiles = &mut self.tiles[..panels(layer.inputs) * PANEL];
                transpose(shape.simd, &self.acts[i - 1], tiles);
                &*tiles
            };
            outer(shape.simd, &[(d, tiles)], layer.inputs, &mut grad[layer.w.clone()]);
            add_row_sums(shape.simd, d, &mut grad[layer.b.clone()]);
            if i > 0 || input_rows.is_some() {
                let d_next = &mut self.d_next[..layer.inputs];
                affine_transposed(shape.simd, &p[layer.w.clone()], d, d_next);
                std::mem::swap(&mut self.d, &mut self.d_next);
            }
        }
        if let Some(rows) = input_rows {
            let from = self.d_input.len();
            self.d_input.resize(from + rows * shape.arch.inputs, 0.0);
            rows_from_panel(
                &self.d[..shape.arch.inputs],
                shape.arch.inputs,
                &mut self.d_input[from..],
            );
        }
    }
}
