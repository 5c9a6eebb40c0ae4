//! Forward and backward pass of a convolutional network in training: batch normalisation by the
//! statistics of the batch, and exact gradients.

use pulp::Arch;
use rayon::prelude::*;

use super::{
    arch::ConvArch,
    kernel,
    net::{ConvNet, NORM_EPS, Place, panel_of_rows, places},
};
use crate::{
    error::{EngineError, check_len},
    kernel::{
        OuterTerm, PANEL, Row, activate, activate_backward, add_assign, outer, panels,
        rows_from_panel,
    },
    shard::Plan,
    transpose::transpose,
};

/// Weight of a batch in the running statistics.
const MOMENTUM: f64 = 0.1;

/// Buffers and passes of one architecture.
#[derive(Debug, Clone)]
pub struct ConvPass {
    arch: ConvArch,
    places: Vec<Place>,
    params: usize,
    plan: Plan,
    panels: Vec<Panel>,
    /// Reciprocal standard deviations of the batch, by layer.
    inverse_stds: Vec<Vec<f32>>,
    /// Gradients of the shards.
    grads: Vec<Vec<f32>>,
}

/// What 32 rows leave behind in a forward pass, and their gradients.
#[derive(Debug, Clone, Default)]
struct Panel {
    /// The input.
    x: Vec<Row>,
    /// Of each layer: its outputs, and with batch normalisation what came out of it before gain
    /// and shift.
    layers: Vec<Values>,
    d: Vec<Row>,
    d_next: Vec<Row>,
    tiles: Vec<Row>,
    sums: Vec<[f64; 2]>,
}

#[derive(Debug, Clone, Default)]
struct Values {
    normalised: Vec<Row>,
    out: Vec<Row>,
}

impl ConvPass {
    /// Buffers for networks of this architecture.
    pub fn new(arch: &ConvArch) -> Self {
        Self {
            places: places(arch),
            params: arch.layout().len(),
            plan: Plan::default(),
            panels: vec![],
            inverse_stds: vec![vec![]; arch.layers.len()],
            grads: vec![],
            arch: arch.clone(),
        }
    }

    /// Outputs `[n, values]` for a batch of inputs `[n, inputs]`, remembered for
    /// [`backward`](Self::backward). The running statistics of `net` take the batch's in.
    ///
    /// # Errors
    /// If n is not a multiple of 32, or `net` has another shape.
    pub fn forward(&mut self, net: &mut ConvNet, input: &[f32]) -> Result<Vec<f32>, EngineError> {
        self.check(net)?;
        let width = self.arch.input.values();
        let rows = input.len() / width.max(1);
        if rows == 0 || !rows.is_multiple_of(PANEL) || rows * width != input.len() {
            return Err(EngineError::Range {
                what: "rows of a batch",
                got: format!("{} values of {width} each", input.len()),
                need: "a multiple of 32",
            });
        }
        self.plan = Plan::new(rows);
        let layers = self.arch.layers.len();
        self.panels.resize_with(rows / PANEL, Panel::default);
        self.panels.par_iter_mut().enumerate().for_each(|(i, panel)| {
            panel.x.resize(width, Row::ZERO);
            panel.layers.resize_with(layers, Values::default);
            panel_of_rows(input, width, i * PANEL..(i + 1) * PANEL, &mut panel.x);
        });
        for i in 0..layers {
            self.linear(net, i);
            if self.places[i].norm.is_some() {
                self.normalise(net, i, rows);
            }
            let activation = self.arch.layers[i].activation;
            self.panels.par_iter_mut().for_each(|panel| {
                activate(Arch::new(), activation, &mut panel.layers[i].out);
            });
        }
        let values = self.arch.output().values();
        let mut out = vec![0.0; rows * values];
        out.par_chunks_mut(PANEL * values).zip(&self.panels).for_each(|(out, panel)| {
            let last = panel.layers.last().map_or(&panel.x, |layer| &layer.out);
            rows_from_panel(last, values, out);
        });
        Ok(out)
    }

    /// Takes dL/dout `[n, values]` of the last [`forward`](Self::forward) back: dL/dθ replaces
    /// `grad`, and dL/dinput `[n, inputs]` is returned where `wants_input`.
    ///
    /// # Errors
    /// If a length is not that of the batch, or `net` has another shape.
    pub fn backward(
        &mut self,
        net: &ConvNet,
        d_out: &[f32],
        grad: &mut [f32],
        wants_input: bool,
    ) -> Result<Option<Vec<f32>>, EngineError> {
        self.check(net)?;
        check_len("gradient", grad.len(), self.params)?;
        let (rows, values) = (self.plan.rows, self.arch.output().values());
        check_len("gradient of the outputs", d_out.len(), rows * values)?;
        self.panels.par_iter_mut().enumerate().for_each(|(i, panel)| {
            panel.d.resize(values, Row::ZERO);
            panel_of_rows(d_out, values, i * PANEL..(i + 1) * PANEL, &mut panel.d);
        });
        self.grads.resize_with(self.plan.shards, Vec::new);
        for own in &mut self.grads {
            own.clear();
            own.resize(self.params, 0.0);
        }
        grad.fill(0.0);
        for i in (0..self.arch.layers.len()).rev() {
            let activation = self.arch.layers[i].activation;
            self.panels.par_iter_mut().for_each(|panel| {
                activate_backward(Arch::new(), activation, &mut panel.d, &panel.layers[i].out);
            });
            self.shift_backward(net, i, grad);
            self.linear_backward(net, i, i > 0 || wants_input);
        }
        for own in &self.grads {
            add_assign(Arch::new(), grad, own);
        }
        if !wants_input {
            return Ok(None);
        }
        let width = self.arch.input.values();
        let mut d_input = vec![0.0; rows * width];
        for (d_input, panel) in d_input.chunks_exact_mut(PANEL * width).zip(&self.panels) {
            rows_from_panel(&panel.d, width, d_input);
        }
        Ok(Some(d_input))
    }

    fn check(&self, net: &ConvNet) -> Result<(), EngineError> {
        if *net.arch() == self.arch {
            return check_len("network parameters", net.params.len(), self.params);
        }
        Err(EngineError::Range {
            what: "network shape",
            got: format!("{:?}", net.arch()),
            need: "the shape that the buffers were made for",
        })
    }

    /// The products of layer `i`, with its bias where it is not normalised.
    fn linear(&mut self, net: &ConvNet, i: usize) {
        let (place, values) = (&self.places[i], self.arch.layers[i].out.values());
        let bias = place.norm.is_none().then(|| &net.params[place.shift.clone()]);
        let w = &net.params[place.w.clone()];
        self.panels.par_iter_mut().for_each(|panel| {
            let (before, from_here) = panel.layers.split_at_mut(i);
            let x = before.last().map_or(&panel.x, |layer| &layer.out);
            let y = &mut from_here[0].out;
            y.resize(values, Row::ZERO);
            kernel::forward(Arch::new(), &place.connections, place.channels, w, bias, x, y);
        });
    }

    /// Batch normalisation of layer `i`.
    fn normalise(&mut self, net: &mut ConvNet, i: usize, rows: usize) {
        let (place, out) = (&self.places[i], self.arch.layers[i].out);
        let Some(norm) = &place.norm else { return };
        self.panels.par_iter_mut().for_each(|panel| {
            let y = &panel.layers[i].out;
            panel.sums.clear();
            panel.sums.resize(out.channels, [0.0; 2]);
            kernel::channel_sums(Arch::new(), y, y, &mut panel.sums);
        });
        let count = (rows * out.positions()) as f64;
        let (mut to_normal, mut to_out, mut inverses) = (vec![], vec![], vec![]);
        let (gains, shifts) = (&net.params[norm.gain.clone()], &net.params[place.shift.clone()]);
        for (c, (&gain, &shift)) in gains.iter().zip(shifts).enumerate() {
            let total = |k: usize| self.panels.iter().map(|p| p.sums[c][k]).sum::<f64>();
            let mean = total(0) / count;
            let var = (total(1) / count - mean * mean).max(0.0);
            let inverse = 1.0 / (var + NORM_EPS).sqrt();
            to_normal.push([inverse as f32, (-mean * inverse) as f32]);
            to_out.push([gain, shift]);
            inverses.push(inverse as f32);
            let mix = |old: &mut f32, new: f64| {
                *old = (f64::from(*old) + MOMENTUM * (new - f64::from(*old))) as f32;
            };
            mix(&mut net.stats[norm.mean.start + c], mean);
            mix(&mut net.stats[norm.var.start + c], var * count / (count - 1.0).max(1.0));
        }
        self.inverse_stds[i] = inverses;
        self.panels.par_iter_mut().for_each(|panel| {
            let Values { normalised, out } = &mut panel.layers[i];
            normalised.resize(out.len(), Row::ZERO);
            kernel::scale_shift(Arch::new(), out, &to_normal, normalised);
            kernel::scale_shift(Arch::new(), normalised, &to_out, out);
        });
    }

    /// Takes `d` back through the bias of layer `i`, or through its batch normalisation:
    /// with ŷ what came out before gain γ and shift β, and m the number of values of a channel,
    ///
    /// ```text
    /// dβ = Σ d      dγ = Σ d ŷ      dy = γ/σ (d − dβ/m − ŷ dγ/m)
    /// ```
    fn shift_backward(&mut self, net: &ConvNet, i: usize, grad: &mut [f32]) {
        let (place, out) = (&self.places[i], self.arch.layers[i].out);
        self.panels.par_iter_mut().for_each(|panel| {
            let Values { normalised, out: y } = &panel.layers[i];
            panel.sums.clear();
            panel.sums.resize(out.channels, [0.0; 2]);
            let other = if place.norm.is_some() { normalised } else { y };
            kernel::channel_sums(Arch::new(), &panel.d, other, &mut panel.sums);
        });
        let total = |c: usize, k: usize| self.panels.iter().map(|p| p.sums[c][k]).sum::<f64>();
        let totals: Vec<[f64; 2]> = (0..out.channels).map(|c| [total(c, 0), total(c, 1)]).collect();
        for (grad, total) in grad[place.shift.clone()].iter_mut().zip(&totals) {
            *grad = total[0] as f32;
        }
        let Some(norm) = &place.norm else { return };
        let count = (self.plan.rows * out.positions()) as f64;
        for (grad, total) in grad[norm.gain.clone()].iter_mut().zip(&totals) {
            *grad = total[1] as f32;
        }
        let gains = net.params[norm.gain.clone()].iter().zip(&self.inverse_stds[i]);
        let triples: Vec<[f32; 3]> = gains
            .zip(&totals)
            .map(|((&gain, &inverse), total)| {
                [gain * inverse, (total[0] / count) as f32, (total[1] / count) as f32]
            })
            .collect();
        self.panels.par_iter_mut().for_each(|panel| {
            let Panel { layers, d, .. } = panel;
            kernel::norm_backward(Arch::new(), d, &layers[i].normalised, &triples);
        });
    }

    /// Adds the weights' gradient of layer `i` to the shards', and takes `d` back to its input.
    fn linear_backward(&mut self, net: &ConvNet, i: usize, wants_input: bool) {
        let (place, input) = (&self.places[i], self.arch.input_of(i));
        let (inputs, outputs) = place.channels;
        let w = &net.params[place.w.clone()];
        let tile_rows = panels(inputs) * PANEL;
        let shards = self.panels.par_chunks_mut(self.plan.per_shard).zip(&mut self.grads);
        shards.for_each(|(shard, grad)| {
            let arch = Arch::new();
            for panel in &mut *shard {
                let x = match i {
                    0 => &panel.x,
                    _ => &panel.layers[i - 1].out,
                };
                panel.tiles.resize(input.positions() * tile_rows, Row::ZERO);
                let tiles = panel.tiles.chunks_exact_mut(tile_rows);
                for (x, tiles) in x.chunks_exact(inputs).zip(tiles) {
                    transpose(arch, x, tiles);
                }
            }
            let grad = grad[place.w.clone()].chunks_exact_mut(outputs * inputs);
            let mut terms: Vec<OuterTerm<'_>> = vec![];
            for (pairs, grad) in place.connections.by_tap.iter().zip(grad) {
                terms.clear();
                for panel in &*shard {
                    terms.extend(pairs.iter().map(|&(o, i)| {
                        let d = &panel.d[o * outputs..(o + 1) * outputs];
                        (d, &panel.tiles[i * tile_rows..(i + 1) * tile_rows])
                    }));
                }
                outer(arch, &terms, inputs, grad);
            }
            if wants_input {
                for panel in shard {
                    panel.d_next.resize(input.values(), Row::ZERO);
                    let (d, d_next) = (&panel.d, &mut panel.d_next);
                    kernel::transposed(arch, &place.connections, place.channels, w, d, d_next);
                    std::mem::swap(&mut panel.d, &mut panel.d_next);
                }
            }
        });
    }
}
