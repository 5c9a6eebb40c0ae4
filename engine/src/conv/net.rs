//! A convolutional network's parameters, and the network as it is used once trained.

use std::ops::Range;

use pulp::Arch;
use rand::{Rng, RngExt};
use rand_distr::StandardNormal;
use rayon::prelude::*;

use super::{
    arch::{Connections, ConvArch, Grid},
    kernel,
};
use crate::{
    error::{EngineError, check_len},
    kernel::{PANEL, Row, activate, affine, panels, rows_from_panel, square_norms},
    mlp::{Part, tiles_from_parts},
    net::Activation,
    shard::Plan,
    transpose::panel_from_tiles,
};

/// Standard deviation of initial weights, and of initial gains about 1 (Radford et al. 2015).
const INITIAL_STD: f32 = 0.02;

/// Added to variances before they divide.
pub(super) const NORM_EPS: f64 = 1e-5;

/// A network: parameters as [`ConvArch::layout`] has them, and the running statistics of batch
/// normalisation as [`ConvArch::stats_layout`] has them.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvNet {
    arch: ConvArch,
    /// Parameters.
    pub params: Vec<f32>,
    /// Running means and variances.
    pub stats: Vec<f32>,
}

impl ConvNet {
    /// A network as Radford et al. (2015) initialise it: weights N(0, 0.02²), gains N(1, 0.02²),
    /// everything else 0; running means 0, variances 1.
    pub fn new(arch: ConvArch, rng: &mut (impl Rng + ?Sized)) -> Self {
        let (layout, stats_layout) = (arch.layout(), arch.stats_layout());
        let mut params = vec![0.0; layout.len()];
        for tensor in &layout.tensors {
            let (std, mean) = match tensor.name.rsplit('.').next() {
                Some("weight") => (INITIAL_STD, 0.0),
                Some("gain") => (INITIAL_STD, 1.0),
                _ => continue,
            };
            let draw = || mean + std * rng.sample::<f32, _>(StandardNormal);
            params[tensor.range()].fill_with(draw);
        }
        let mut stats = vec![0.0; stats_layout.len()];
        for tensor in stats_layout.tensors.iter().filter(|t| t.name.ends_with("variance")) {
            stats[tensor.range()].fill(1.0);
        }
        Self { arch, params, stats }
    }

    /// A network with these parameters and statistics.
    ///
    /// # Errors
    /// If a length is not that of the architecture.
    pub fn with(arch: ConvArch, params: Vec<f32>, stats: Vec<f32>) -> Result<Self, EngineError> {
        check_len("network parameters", params.len(), arch.layout().len())?;
        check_len("running statistics", stats.len(), arch.stats_layout().len())?;
        Ok(Self { arch, params, stats })
    }

    /// What it looks like.
    pub fn arch(&self) -> &ConvArch {
        &self.arch
    }

    /// The network in use: batch normalisation by the running statistics, folded into the weights.
    pub fn frozen(&self) -> FrozenConv {
        let places = places(&self.arch);
        let layers = places.iter().zip(&self.arch.layers).map(|(place, spec)| {
            let mut w = self.params[place.w.clone()].to_vec();
            let mut bias = self.params[place.shift.clone()].to_vec();
            if let Some(norm) = &place.norm {
                let matrix = place.channels.0;
                let (mean, var) = (&self.stats[norm.mean.clone()], &self.stats[norm.var.clone()]);
                let gains = self.params[norm.gain.clone()].iter().zip(var);
                let scales: Vec<f32> = gains
                    .map(|(&g, &v)| (f64::from(g) / (f64::from(v) + NORM_EPS).sqrt()) as f32)
                    .collect();
                for (row, w) in w.chunks_exact_mut(matrix).enumerate() {
                    let scale = scales[row % scales.len()];
                    w.iter_mut().for_each(|w| *w *= scale);
                }
                for ((b, m), s) in bias.iter_mut().zip(mean).zip(&scales) {
                    *b -= m * s;
                }
            }
            FrozenLayer {
                connections: place.connections.clone(),
                channels: place.channels,
                w,
                bias,
                activation: spec.activation,
                values: spec.out.values(),
            }
        });
        FrozenConv { input: self.arch.input, output: self.arch.output(), layers: layers.collect() }
    }
}

/// Where the tensors of a layer lie, and how its positions are connected.
#[derive(Debug, Clone)]
pub(super) struct Place {
    pub(super) w: Range<usize>,
    /// The bias, or with batch normalisation its shift.
    pub(super) shift: Range<usize>,
    pub(super) norm: Option<NormPlace>,
    /// Of input and output.
    pub(super) channels: (usize, usize),
    pub(super) connections: Connections,
}

/// The other tensors of batch normalisation: one among the parameters, two among the statistics.
#[derive(Debug, Clone)]
pub(super) struct NormPlace {
    pub(super) gain: Range<usize>,
    pub(super) mean: Range<usize>,
    pub(super) var: Range<usize>,
}

pub(super) fn places(arch: &ConvArch) -> Vec<Place> {
    let (layout, stats) = (arch.layout(), arch.stats_layout());
    let mut tensors = layout.tensors.iter().map(|t| t.range());
    let mut stats = stats.tensors.iter().map(|t| t.range());
    let mut next = || tensors.next().unwrap_or_default();
    let place = |(i, layer): (usize, &super::arch::ConvLayer)| {
        let (input, w) = (arch.input_of(i), next());
        let gain = layer.norm.then(&mut next);
        let norm = gain.map(|gain| NormPlace {
            gain,
            mean: stats.next().unwrap_or_default(),
            var: stats.next().unwrap_or_default(),
        });
        Place {
            w,
            shift: next(),
            norm,
            channels: (input.channels, layer.out.channels),
            connections: Connections::new(layer.kind, input, layer.out),
        }
    };
    arch.layers.iter().enumerate().map(place).collect()
}

/// A network whose statistics stand still: rows do not see each other. See [`ConvNet::frozen`].
#[derive(Debug, Clone)]
pub struct FrozenConv {
    input: Grid,
    output: Grid,
    layers: Vec<FrozenLayer>,
}

#[derive(Debug, Clone)]
struct FrozenLayer {
    connections: Connections,
    channels: (usize, usize),
    w: Vec<f32>,
    bias: Vec<f32>,
    activation: Activation,
    values: usize,
}

/// Buffers of [`FrozenConv`]; they grow with the largest network.
#[derive(Debug, Clone, Default)]
pub struct Scratch {
    shards: Vec<ShardScratch>,
}

#[derive(Debug, Clone, Default)]
struct ShardScratch {
    tiles: Vec<Row>,
    x: Vec<Row>,
    y: Vec<Row>,
    targets: Vec<Row>,
}

impl FrozenConv {
    /// Outputs `[n, values]` for inputs `[n, inputs]`.
    ///
    /// # Errors
    /// If there is not a whole number of inputs.
    pub fn forward(&self, input: &[f32], scratch: &mut Scratch) -> Result<Vec<f32>, EngineError> {
        let (plan, width) = (self.plan(input)?, self.output.values());
        let mut out = vec![0.0; plan.rows * width];
        let rest = out.chunks_mut((plan.shard_rows() * width).max(1));
        self.shards(plan, scratch).zip(rest.collect::<Vec<_>>()).for_each(|((i, shard), out)| {
            let panels = plan.panels_of(i).zip(out.chunks_mut(PANEL * width));
            for (rows, out) in panels {
                rows_from_panel(self.panel(input, rows, shard), width, out);
            }
        });
        Ok(out)
    }

    /// Squared distances ‖f(z_c) − y_i‖² `[targets, inputs]` of the outputs for all inputs
    /// `[n, inputs]` to all targets `[targets, values]`: one pass an input, and one matrix product.
    ///
    /// # Errors
    /// If there is not a whole number of inputs or targets.
    pub fn distances_to_all(
        &self,
        input: &[f32],
        targets: &[f32],
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>, EngineError> {
        let (plan, width) = (self.plan(input)?, self.output.values());
        let count = whole("targets", targets, width)?;
        let norms: Vec<f32> = targets
            .chunks_exact(width)
            .map(|y| y.iter().map(|&y| f64::from(y * y)).sum::<f64>() as f32)
            .collect();
        // By panels of inputs first, [panels][targets][32].
        let mut by_panel = vec![Row::ZERO; panels(plan.rows) * count];
        let chunks = by_panel.chunks_mut((plan.per_shard * count).max(1)).collect::<Vec<_>>();
        self.shards(plan, scratch).zip(chunks).for_each(|((i, shard), chunk)| {
            for (rows, out) in plan.panels_of(i).zip(chunk.chunks_exact_mut(count)) {
                let x = self.panel(input, rows, shard);
                let squares = square_norms(Arch::new(), x);
                affine(Arch::new(), targets, None, x, out);
                for (out, norm) in out.iter_mut().zip(&norms) {
                    for (d, square) in out.0.iter_mut().zip(squares.0) {
                        // Rounding may leave a tiny negative number.
                        *d = (square + norm - 2.0 * *d).max(0.0);
                    }
                }
            }
        });
        let mut out = vec![0.0; count * plan.rows];
        out.par_chunks_mut(plan.rows.max(1)).enumerate().for_each(|(target, out)| {
            for (panel, out) in out.chunks_mut(PANEL).enumerate() {
                out.copy_from_slice(&by_panel[panel * count + target].0[..out.len()]);
            }
        });
        Ok(out)
    }

    /// Squared distance ‖f(z_n) − y_g(n)‖² `[n]` of the output for each input `[n, inputs]` to a
    /// target of its own, number `target_of(n)` of `[targets, values]`.
    ///
    /// # Errors
    /// If there is not a whole number of inputs or targets.
    pub fn distances(
        &self,
        input: &[f32],
        targets: &[f32],
        target_of: impl Fn(usize) -> usize + Sync,
        scratch: &mut Scratch,
    ) -> Result<Vec<f32>, EngineError> {
        let (plan, width) = (self.plan(input)?, self.output.values());
        let count = whole("targets", targets, width)?;
        if let Some(beyond) = (0..plan.rows).map(&target_of).find(|&t| t >= count) {
            return Err(EngineError::Range {
                what: "target of an input",
                got: beyond.to_string(),
                need: "an index below the number of targets",
            });
        }
        let mut out = vec![0.0; plan.rows];
        let chunks = out.chunks_mut(plan.shard_rows().max(1)).collect::<Vec<_>>();
        self.shards(plan, scratch).zip(chunks).for_each(|((i, shard), out)| {
            for (rows, out) in plan.panels_of(i).zip(out.chunks_mut(PANEL)) {
                let mut y = std::mem::take(&mut shard.targets);
                let of_row = rows.clone().map(|row| {
                    let target = target_of(row);
                    &targets[target * width..(target + 1) * width]
                });
                panel_of(of_row, width, &mut shard.tiles, &mut y);
                let x = self.panel(input, rows, shard);
                let sums = kernel::squared_distances(Arch::new(), x, &y);
                out.copy_from_slice(&sums.0[..out.len()]);
                shard.targets = y;
            }
        });
        Ok(out)
    }

    fn plan(&self, input: &[f32]) -> Result<Plan, EngineError> {
        Ok(Plan::new(whole("inputs", input, self.input.values())?))
    }

    /// The shards of a batch with their buffers, in parallel.
    fn shards<'a>(
        &self,
        plan: Plan,
        scratch: &'a mut Scratch,
    ) -> impl IndexedParallelIterator<Item = (usize, &'a mut ShardScratch)> {
        if scratch.shards.len() < plan.shards {
            scratch.shards.resize_with(plan.shards, ShardScratch::default);
        }
        scratch.shards[..plan.shards].par_iter_mut().with_max_len(1).enumerate()
    }

    /// Outputs of at most 32 rows.
    fn panel<'a>(
        &self,
        input: &[f32],
        rows: Range<usize>,
        shard: &'a mut ShardScratch,
    ) -> &'a [Row] {
        let width = self.input.values();
        let of_row = rows.map(|row| &input[row * width..(row + 1) * width]);
        panel_of(of_row, width, &mut shard.tiles, &mut shard.x);
        for layer in &self.layers {
            shard.y.resize(layer.values, Row::ZERO);
            let (bias, y) = (Some(&layer.bias[..]), &mut shard.y[..]);
            let arch = Arch::new();
            kernel::forward(arch, &layer.connections, layer.channels, &layer.w, bias, &shard.x, y);
            activate(arch, layer.activation, y);
            std::mem::swap(&mut shard.x, &mut shard.y);
        }
        &shard.x
    }
}

/// Number of rows of `width` values.
fn whole(what: &'static str, data: &[f32], width: usize) -> Result<usize, EngineError> {
    let rows = data.len().checked_div(width).unwrap_or(0);
    check_len(what, data.len(), rows * width)?;
    Ok(rows)
}

/// Feature-major panel of at most 32 rows of `width` values.
pub(super) fn panel_of<'a>(
    rows: impl Iterator<Item = &'a [f32]>,
    width: usize,
    tiles: &mut Vec<Row>,
    panel: &mut Vec<Row>,
) {
    tiles.clear();
    tiles.resize(panels(width) * PANEL, Row::ZERO);
    for (lane, row) in rows.enumerate().take(PANEL) {
        for (tile, part) in row.chunks(PANEL).enumerate() {
            tiles[tile * PANEL + lane].0[..part.len()].copy_from_slice(part);
        }
    }
    panel.resize(width, Row::ZERO);
    panel_from_tiles(Arch::new(), tiles, panel);
}

/// Feature-major panel of some rows of a batch.
pub(super) fn panel_of_rows(data: &[f32], width: usize, rows: Range<usize>, panel: &mut [Row]) {
    let mut tiles = vec![Row::ZERO; panels(width) * PANEL];
    tiles_from_parts(&[Part { data, width }], rows, &mut tiles);
    panel_from_tiles(Arch::new(), &tiles, panel);
}
