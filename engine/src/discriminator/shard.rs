//! The discriminator's work on one shard: expert, policy and mixture rows of a panel side by side.

use std::ops::Range;

use crate::discriminator::DiscriminatorBatch;
use crate::kernel::{
    OuterTerm, PANEL, Row, activate, activate_backward, add_masked_sums, add_row_sums, affine,
    affine_transposed, mix, outer, panels, scale_rows, square_norms, weigh_rows,
};
use crate::masked::{WORD, WORD_TABLE, add_masked, build_tables, positive_bits, transpose_bits};
use crate::mlp::{Layer, Shape, tiles_from_parts};
use crate::net::Activation;
use crate::shard::ShardGrad;
use crate::transpose::{panel_from_tiles, transpose};

const EXPERT: usize = 0;
const POLICY: usize = 1;
const MIXTURE: usize = 2;

/// What every shard reads.
#[derive(Clone, Copy)]
pub(super) struct Work<'a> {
    pub(super) shape: &'a Shape,
    pub(super) p: &'a [f32],
    pub(super) batch: DiscriminatorBatch<'a>,
    /// λ
    pub(super) penalty: f32,
    /// 1/n
    pub(super) share: f32,
}

/// The network's layers by their part in the algorithm.
struct Parts<'a> {
    /// Hidden layers below the top one.
    lower: &'a [Layer],
    /// Top hidden layer.
    top: &'a Layer,
    /// The logit.
    last: &'a Layer,
}

fn parts(shape: &Shape) -> Parts<'_> {
    let [lower @ .., top, last] = &shape.layers[..] else {
        unreachable!("the discriminator has at least two layers: checked when it was made");
    };
    Parts { lower, top, last }
}

/// Derivative of a piecewise linear activation for negative inputs.
fn slope(activation: Activation) -> f32 {
    match activation {
        Activation::Relu => 0.0,
        Activation::LeakyRelu { slope } => slope,
        Activation::Identity
        | Activation::Tanh
        | Activation::Elu
        | Activation::ScaledTanh { .. } => 1.0,
    }
}

/// Tables of the masked sums over w[h] W_T[h,:].
///
/// Each thread has its own: they are large, and reading what another core has written takes longer
/// than making it.
#[derive(Debug, Clone)]
pub(super) struct Tables {
    /// `[column tiles][words of H_T][…]`
    rows: Vec<Row>,
    /// Number of the gradient they were made for.
    pub(super) gradient: u64,
}

impl Tables {
    pub(super) fn new(shape: &Shape) -> Self {
        let top = parts(shape).top;
        let words = top.outputs.div_ceil(WORD);
        let rows = vec![Row::ZERO; panels(top.inputs) * words * WORD_TABLE];
        Self { rows, gradient: 0 }
    }

    pub(super) fn build(&mut self, shape: &Shape, p: &[f32], gradient: u64) {
        self.gradient = gradient;
        let Parts { top, last, .. } = parts(shape);
        let (w, out) = (&p[top.w.clone()], &p[last.w.clone()]);
        let words = top.outputs.div_ceil(WORD);
        for (i, tables) in self.rows.chunks_exact_mut(WORD_TABLE).enumerate() {
            let (from, first) = (i / words * PANEL, i % words * WORD);
            let width = PANEL.min(top.inputs - from);
            let mut rows = [Row::ZERO; WORD];
            for (h, row) in (first..top.outputs).zip(&mut rows) {
                let weights = &w[h * top.inputs + from..][..width];
                row.0.iter_mut().zip(weights).for_each(|(v, w)| *v = out[h] * w);
            }
            build_tables(shape.simd, &rows, slope(top.activation), tables);
        }
    }

    /// The tables of column tile `tile` and word `word` of `words`.
    fn at(&self, tile: usize, word: usize, words: usize) -> &[Row] {
        let from = (tile * words + word) * WORD_TABLE;
        &self.rows[from..from + WORD_TABLE]
    }
}

/// Sums over the rows of a shard.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Sums {
    pub(super) loss: f64,
    /// Of expert and policy rows.
    pub(super) logits: [f64; 2],
    /// Expert and policy rows on the right side of D = ½.
    pub(super) hits: [f64; 2],
    /// (‖∇f‖ − 1)²
    pub(super) penalty: f64,
    /// ‖∇f‖
    pub(super) slope: f64,
}

impl Sums {
    pub(super) fn add(&mut self, other: &Self) {
        self.loss += other.loss;
        self.penalty += other.penalty;
        self.slope += other.slope;
        for k in [EXPERT, POLICY] {
            self.logits[k] += other.logits[k];
            self.hits[k] += other.hits[k];
        }
    }
}

/// What one shard needs while it is worked on.
#[derive(Debug, Clone)]
pub(super) struct Shard {
    kinds: [Kind; 3],
    /// Top hidden layer of one kind.
    hidden: Vec<Row>,
    /// e of the lower layers.
    e: Vec<Vec<Row>>,
    /// Tables of the masked sums over x̃.
    tables: Vec<Row>,
    /// Q `[column tiles][H_T]`.
    q: Vec<Row>,
    /// c `[H_T]`.
    c: Vec<f32>,
    /// ⟨W_T[h], Q[h]⟩ `[H_T]`.
    dots: Vec<f32>,
    /// Σ δ over the rows of each lower layer's derivative, of both kinds.
    bias: Vec<f32>,
    logit_bias: f32,
    grad: Vec<f32>,
    pub(super) sums: Sums,
}

/// One panel of expert, policy or mixture rows.
#[derive(Debug, Clone)]
struct Kind {
    /// Input, or for the mixture g and then r.
    x: Vec<Row>,
    /// Input of each hidden layer (for the mixture: r, e₁ …) as tiles; that of the top layer is x̃.
    tiles: Vec<Vec<Row>>,
    /// Outputs of the lower layers.
    acts: Vec<Vec<Row>>,
    /// dL/dz (for the mixture: u) of the lower layers.
    d: Vec<Vec<Row>>,
    /// dL/df per row.
    delta: Row,
    /// Positive elements of the top layer: bits over rows, one word per unit.
    by_unit: Vec<u32>,
    /// The same: bits over units, `[words][32 rows]`.
    by_row: Vec<[u32; WORD]>,
    /// y `[column tiles][32 rows]`.
    y: Vec<Row>,
}

impl Kind {
    fn new(shape: &Shape) -> Self {
        let zeros = |n: usize| vec![Row::ZERO; n];
        let tiles = |n: usize| zeros(panels(n) * PANEL);
        let Parts { lower, top, .. } = parts(shape);
        let words = top.outputs.div_ceil(WORD);
        Self {
            x: zeros(shape.arch.inputs),
            tiles: lower.iter().chain([top]).map(|l| tiles(l.inputs)).collect(),
            acts: lower.iter().map(|l| zeros(l.outputs)).collect(),
            d: lower.iter().map(|l| zeros(l.outputs)).collect(),
            delta: Row::ZERO,
            by_unit: vec![0; words * WORD],
            by_row: vec![[0; WORD]; words],
            y: tiles(top.inputs),
        }
    }

    /// Input of the top hidden layer.
    fn top_input(&self) -> &[Row] {
        self.acts.last().unwrap_or(&self.x)
    }
}

impl ShardGrad for Shard {
    fn grad(&self) -> &[f32] {
        &self.grad
    }

    fn grad_mut(&mut self) -> &mut Vec<f32> {
        &mut self.grad
    }
}

impl Shard {
    pub(super) fn new(shape: &Shape) -> Self {
        let Parts { lower, top, .. } = parts(shape);
        let widest = lower.iter().map(|l| l.outputs).max().unwrap_or(0);
        Self {
            kinds: std::array::from_fn(|_| Kind::new(shape)),
            hidden: vec![Row::ZERO; top.outputs],
            e: lower.iter().map(|l| vec![Row::ZERO; l.outputs]).collect(),
            tables: vec![Row::ZERO; WORD_TABLE],
            q: vec![Row::ZERO; panels(top.inputs) * top.outputs],
            c: vec![0.0; top.outputs],
            dots: vec![0.0; top.outputs],
            bias: vec![0.0; widest],
            logit_bias: 0.0,
            grad: Vec::new(),
            sums: Sums::default(),
        }
    }

    /// Adds the gradient of the given panels of rows to `grad`, once per element for one panel.
    pub(super) fn work(
        &mut self,
        work: Work<'_>,
        tables: &Tables,
        panels: impl Iterator<Item = Range<usize>>,
        grad: &mut [f32],
    ) {
        self.sums = Sums::default();
        self.q.fill(Row::ZERO);
        self.c.fill(0.0);
        self.logit_bias = 0.0;
        let kinds = if work.penalty > 0.0 { 3 } else { 2 };
        for rows in panels {
            self.forward_lower(work, rows.clone(), kinds);
            self.forward_top(work, rows.clone(), kinds);
            self.look_up_y(work, tables, kinds);
            self.backward_lower(work, kinds);
            if kinds == 3 {
                self.penalise(work, rows.len());
            }
            self.lower_gradients(work, grad, kinds);
            self.add_q(work, kinds);
        }
        self.top_gradients(work, grad);
    }

    /// Inputs and lower layers. The first layer is linear before its activation, so the mixture's
    /// is the mixture of the others'.
    fn forward_lower(&mut self, work: Work<'_>, rows: Range<usize>, kinds: usize) {
        let Work { shape, p, batch, .. } = work;
        let Parts { lower, .. } = parts(shape);
        for (k, input) in [(EXPERT, batch.expert), (POLICY, batch.policy)] {
            let kind = &mut self.kinds[k];
            tiles_from_parts(input, rows.clone(), &mut kind.tiles[0]);
            panel_from_tiles(shape.simd, &kind.tiles[0], &mut kind.x);
            if let Some(layer) = lower.first() {
                let (w, b) = (&p[layer.w.clone()], &p[layer.b.clone()]);
                affine(shape.simd, w, Some(b), &kind.x, &mut kind.acts[0]);
            }
        }
        if kinds == 3 {
            let mut expert_share = Row::ZERO;
            expert_share.0[..rows.len()].copy_from_slice(&batch.mix[rows]);
            let [expert, policy, mixture] = &mut self.kinds;
            let (from, with, to) = match lower.first() {
                Some(_) => (&policy.acts[0], &expert.acts[0], &mut mixture.acts[0]),
                None => (&policy.x, &expert.x, &mut mixture.x),
            };
            to.copy_from_slice(from);
            mix(shape.simd, &expert_share, with, to);
        }
        for kind in &mut self.kinds[..kinds] {
            for (i, layer) in lower.iter().enumerate() {
                let (before, here) = kind.acts.split_at_mut(i);
                if let Some(input) = before.last() {
                    let (w, b) = (&p[layer.w.clone()], &p[layer.b.clone()]);
                    affine(shape.simd, w, Some(b), input, &mut here[0]);
                }
                activate(shape.simd, layer.activation, &mut here[0]);
            }
        }
    }

    /// Top hidden layer, its mask, logits, and δ with what goes with it.
    fn forward_top(&mut self, work: Work<'_>, rows: Range<usize>, kinds: usize) {
        let Work { shape, p, share, .. } = work;
        let Parts { top, last, .. } = parts(shape);
        for (k, kind) in self.kinds[..kinds].iter_mut().enumerate() {
            let (w, b) = (&p[top.w.clone()], &p[top.b.clone()]);
            affine(shape.simd, w, Some(b), kind.top_input(), &mut self.hidden);
            positive_bits(shape.simd, &self.hidden, &mut kind.by_unit);
            let words = kind.by_unit.as_chunks::<WORD>().0;
            for (by_unit, by_row) in words.iter().zip(&mut kind.by_row) {
                *by_row = *by_unit;
                transpose_bits(by_row);
            }
            if k == MIXTURE {
                continue;
            }
            activate(shape.simd, top.activation, &mut self.hidden);
            let mut logits = [Row::ZERO];
            let (w, b) = (&p[last.w.clone()], &p[last.b.clone()]);
            affine(shape.simd, w, Some(b), &self.hidden, &mut logits);
            kind.delta = cross_entropy(&logits[0], rows.len(), k, share, &mut self.sums);
            self.logit_bias += kind.delta.0.iter().sum::<f32>();
            let slope = slope(top.activation);
            add_masked_sums(shape.simd, &kind.delta, &self.hidden, slope, &mut self.c);
        }
    }

    /// y of every row.
    fn look_up_y(&mut self, work: Work<'_>, tables: &Tables, kinds: usize) {
        let shape = work.shape;
        let top = parts(shape).top;
        let words = top.outputs.div_ceil(WORD);
        for kind in &mut self.kinds[..kinds] {
            kind.y.fill(Row::ZERO);
        }
        for tile in 0..panels(top.inputs) {
            for word in 0..words {
                let table = tables.at(tile, word, words);
                for kind in &mut self.kinds[..kinds] {
                    let y = &mut kind.y[tile * PANEL..(tile + 1) * PANEL];
                    add_masked(shape.simd, table, &kind.by_row[word], y);
                }
            }
        }
    }

    /// From y: d (or u) of the lower layers; for the mixture g, into its `x`.
    fn backward_lower(&mut self, work: Work<'_>, kinds: usize) {
        let Work { shape, p, .. } = work;
        let lower = parts(shape).lower;
        for (k, kind) in self.kinds[..kinds].iter_mut().enumerate() {
            let highest = match kind.d.last_mut() {
                Some(d) => d,
                // Without lower layers only the mixture's g is needed.
                None => &mut kind.x,
            };
            if k == MIXTURE || !lower.is_empty() {
                panel_from_tiles(shape.simd, &kind.y, highest);
            }
            if k != MIXTURE && !lower.is_empty() {
                scale_rows(shape.simd, highest, &kind.delta);
            }
            for (i, layer) in lower.iter().enumerate().rev() {
                let (here, above) = kind.d.split_at_mut(i + 1);
                if let (Some(above), Some(next)) = (above.first(), lower.get(i + 1)) {
                    affine_transposed(shape.simd, &p[next.w.clone()], above, &mut here[i]);
                }
                activate_backward(shape.simd, layer.activation, &mut here[i], &kind.acts[i]);
            }
            if let (MIXTURE, Some(layer)) = (k, lower.first()) {
                affine_transposed(shape.simd, &p[layer.w.clone()], &kind.d[0], &mut kind.x);
            }
        }
    }

    /// Turns the mixture's g into r = 2λ/n (1 − 1/‖g‖) g, and that into e of every lower layer, as
    /// tiles and (the last) as what the top layer's Q is summed over.
    fn penalise(&mut self, work: Work<'_>, lanes: usize) {
        let Work { shape, p, penalty, share, .. } = work;
        let kind = &mut self.kinds[MIXTURE];
        let mut weights = square_norms(shape.simd, &kind.x);
        for (lane, weight) in weights.0.iter_mut().enumerate() {
            let norm = weight.sqrt();
            if lane < lanes {
                self.sums.penalty += f64::from((norm - 1.0) * (norm - 1.0));
                self.sums.slope += f64::from(norm);
            }
            // Where the gradient vanishes the penalty has a kink: take 0 of its subgradients.
            let counts = lane < lanes && norm > 0.0;
            *weight = if counts { 2.0 * penalty * share * (1.0 - 1.0 / norm) } else { 0.0 };
        }
        scale_rows(shape.simd, &mut kind.x, &weights);
        transpose(shape.simd, &kind.x, &mut kind.tiles[0]);
        for (i, layer) in parts(shape).lower.iter().enumerate() {
            let (before, here) = self.e.split_at_mut(i);
            let (input, e) = (before.last().unwrap_or(&kind.x), &mut here[0]);
            affine(shape.simd, &p[layer.w.clone()], None, input, e);
            activate_backward(shape.simd, layer.activation, e, &kind.acts[i]);
            transpose(shape.simd, e, &mut kind.tiles[i + 1]);
        }
    }

    /// Gradients of the lower layers: all kinds in one product.
    fn lower_gradients(&mut self, work: Work<'_>, grad: &mut [f32], kinds: usize) {
        let simd = work.shape.simd;
        for (i, layer) in parts(work.shape).lower.iter().enumerate() {
            if i > 0 {
                for kind in &mut self.kinds[..MIXTURE] {
                    transpose(simd, &kind.acts[i - 1], &mut kind.tiles[i]);
                }
            }
            let terms: [OuterTerm<'_>; 3] =
                std::array::from_fn(|k| (&self.kinds[k].d[i][..], &self.kinds[k].tiles[i][..]));
            outer(simd, &terms[..kinds], layer.inputs, &mut grad[layer.w.clone()]);
            let bias = &mut self.bias[..layer.outputs];
            bias.fill(0.0);
            add_row_sums(simd, &self.kinds[EXPERT].d[i], bias);
            add_row_sums(simd, &self.kinds[POLICY].d[i], bias);
            grad[layer.b.clone()].iter_mut().zip(bias).for_each(|(g, b)| *g += *b);
        }
    }

    /// Q += the masked sums over this panel's x̃.
    fn add_q(&mut self, work: Work<'_>, kinds: usize) {
        let simd = work.shape.simd;
        let Parts { lower, top, .. } = parts(work.shape);
        for (k, kind) in self.kinds[..kinds].iter_mut().enumerate() {
            if k != MIXTURE {
                let x = kind.acts.last_mut().unwrap_or(&mut kind.x);
                scale_rows(simd, x, &kind.delta);
                transpose(simd, x, &mut kind.tiles[lower.len()]);
            }
            let x = &kind.tiles[lower.len()];
            for (x, q) in x.chunks_exact(PANEL).zip(self.q.chunks_exact_mut(top.outputs)) {
                build_tables(simd, x, slope(top.activation), &mut self.tables);
                add_masked(simd, &self.tables, &kind.by_unit[..top.outputs], q);
            }
        }
    }

    /// Gradients of the top layer and of the logit, from Q and c.
    fn top_gradients(&mut self, work: Work<'_>, grad: &mut [f32]) {
        let Work { shape, p, .. } = work;
        let Parts { top, last, .. } = parts(shape);
        let (w, out) = (&p[top.w.clone()], &p[last.w.clone()]);
        weigh_rows(shape.simd, w, &self.q, out, &mut grad[top.w.clone()], &mut self.dots);
        let b = &p[top.b.clone()];
        for h in 0..top.outputs {
            grad[last.w.start + h] += self.dots[h] + b[h] * self.c[h];
            grad[top.b.start + h] += out[h] * self.c[h];
        }
        grad[last.b.start] += self.logit_bias;
    }
}

/// softplus(∓f) of the rows of a panel: gathers loss, logits and hits; gives share·(σ(f) − label).
fn cross_entropy(logits: &Row, lanes: usize, kind: usize, share: f32, sums: &mut Sums) -> Row {
    let (sign, label) = if kind == EXPERT { (-1.0, 1.0) } else { (1.0, 0.0) };
    let mut delta = Row::ZERO;
    for (&f, delta) in logits.0.iter().zip(&mut delta.0).take(lanes) {
        let away: f32 = sign * f;
        // softplus(x) = max(x, 0) + ln(1 + e^−|x|), and σ from the same exponential.
        let small = (-f.abs()).exp();
        sums.loss += f64::from(away.max(0.0) + small.ln_1p());
        sums.logits[kind] += f64::from(f);
        sums.hits[kind] += f64::from(u8::from(away < 0.0));
        let sigma = if f >= 0.0 { 1.0 / (1.0 + small) } else { small / (1.0 + small) };
        *delta = share * (sigma - label);
    }
    delta
}
