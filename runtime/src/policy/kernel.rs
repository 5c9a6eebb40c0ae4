//! The linear layers of inference, written once over [`pulp::Simd`].
//!
//! Weights are transposed to `[in, out]`, outputs padded to a multiple of [`LANES`], so that one
//! input is multiplied into consecutive outputs whose sums stay in registers.

use alloc::{vec, vec::Vec};

use pulp::Simd;

use crate::math::Elementwise;

/// Lanes of the widest registers there are.
pub(super) const LANES: usize = 16;

/// Layers of at most this many outputs are narrow.
const NARROW_OUTPUTS: usize = 2 * LANES;

/// Narrow layers keep this many partial sums of each output, because one sum alone would wait
/// for the adder; they are added at the end.
const NARROW_SUMS: usize = 4;

/// The same for wider layers, whose outputs are many enough to not wait: several sums round less
/// than one.
const WIDE_SUMS: usize = 2;

/// Bytes of a cache line.
const LINE_BYTES: usize = 64;

/// Numbers that begin on a cache line, so that no vector straddles two.
#[derive(Debug)]
pub(super) struct Aligned {
    numbers: Vec<f32>,
    len: usize,
}

impl Aligned {
    pub(super) fn zeros(len: usize) -> Self {
        Self { numbers: vec![0.0; len + LINE_BYTES / size_of::<f32>()], len }
    }

    pub(super) fn as_slice(&self) -> &[f32] {
        let start = self.numbers.as_ptr().align_offset(LINE_BYTES);
        &self.numbers[start..start + self.len]
    }

    pub(super) fn as_mut_slice(&mut self) -> &mut [f32] {
        let start = self.numbers.as_ptr().align_offset(LINE_BYTES);
        &mut self.numbers[start..start + self.len]
    }
}

impl Clone for Aligned {
    fn clone(&self) -> Self {
        let mut copy = Self::zeros(self.len);
        copy.as_mut_slice().copy_from_slice(self.as_slice());
        copy
    }
}

/// y = W·x + b with W packed for [`apply`](Linear::apply).
#[derive(Clone, Debug)]
pub(super) struct Linear {
    /// `[inputs, padded]`.
    weight: Aligned,
    /// `[padded]`.
    bias: Aligned,
    inputs: usize,
    outputs: usize,
}

impl Linear {
    pub(super) fn zeros(inputs: usize, outputs: usize) -> Self {
        let padded = outputs.next_multiple_of(LANES);
        Self {
            weight: Aligned::zeros(inputs * padded),
            bias: Aligned::zeros(padded),
            inputs,
            outputs,
        }
    }

    pub(super) fn inputs(&self) -> usize {
        self.inputs
    }

    pub(super) fn outputs(&self) -> usize {
        self.outputs
    }

    /// Outputs with padding.
    pub(super) fn padded(&self) -> usize {
        self.outputs.next_multiple_of(LANES)
    }

    /// Sets the bias to the sum of those given, `[outputs]` each.
    pub(super) fn set_bias(&mut self, biases: &[&[f32]]) {
        let own = &mut self.bias.as_mut_slice()[..self.outputs];
        own.fill(0.0);
        for bias in biases {
            own.iter_mut().zip(*bias).for_each(|(sum, b)| *sum += b);
        }
    }

    /// Sets the weights of `columns` inputs from input `first`, from `weight` `[outputs, columns]`.
    pub(super) fn set_weight(&mut self, first: usize, columns: usize, weight: &[f32]) {
        let padded = self.padded();
        let own = &mut self.weight.as_mut_slice()[first * padded..][..columns * padded];
        // Square tiles keep the lines that are written and those that are read in the cache.
        const TILE: usize = 16;
        for j0 in (0..columns).step_by(TILE) {
            for i0 in (0..self.outputs).step_by(TILE) {
                for j in j0..columns.min(j0 + TILE) {
                    for i in i0..self.outputs.min(i0 + TILE) {
                        own[j * padded + i] = weight[i * columns + j];
                    }
                }
            }
        }
    }

    /// For each of `R` rows: y[..padded] = finish(W·x + b), with x = row[..inputs].
    ///
    /// The order of additions within a row depends on the layer alone, so that the row's result
    /// is the same in any batch.
    #[inline(always)]
    pub(super) fn apply<S: Simd, F: Elementwise, const R: usize>(
        &self,
        simd: S,
        x: [&[f32]; R],
        y: [&mut [f32]; R],
        finish: F,
    ) {
        // As many sums as the registers hold beside the weights; for one row, few passes over it.
        let eights = self.padded().is_multiple_of(8 * S::F32_LANES);
        match (self.outputs <= NARROW_OUTPUTS, R, S::REGISTER_COUNT >= 32) {
            (true, _, _) => self.apply_groups::<S, F, R, 1, NARROW_SUMS>(simd, x, y, finish),
            (false, 1, true) if eights => {
                self.apply_groups::<S, F, R, 8, WIDE_SUMS>(simd, x, y, finish);
            }
            (false, 1, _) => self.apply_groups::<S, F, R, 4, WIDE_SUMS>(simd, x, y, finish),
            (false, _, true) => self.apply_groups::<S, F, R, 2, WIDE_SUMS>(simd, x, y, finish),
            (false, _, false) => self.apply_groups::<S, F, R, 1, WIDE_SUMS>(simd, x, y, finish),
        }
    }

    /// `G` vectors of outputs at a time, the rest singly; `U` partial sums of every output.
    #[inline(always)]
    fn apply_groups<S: Simd, F: Elementwise, const R: usize, const G: usize, const U: usize>(
        &self,
        simd: S,
        x: [&[f32]; R],
        y: [&mut [f32]; R],
        finish: F,
    ) {
        let weight = S::as_simd_f32s(self.weight.as_slice()).0;
        let bias = S::as_simd_f32s(self.bias.as_slice()).0;
        let whole = bias.len() / G * G;
        for first in (0..whole).step_by(G) {
            let sums = dot::<S, R, G, U>(simd, weight, bias, first, self.inputs, x);
            for r in 0..R {
                let y = &mut S::as_mut_simd_f32s(y[r]).0[first..first + G];
                for g in 0..G {
                    y[g] = finish.apply(simd, sums[g][r]);
                }
            }
        }
        for first in whole..bias.len() {
            let sums = dot::<S, R, 1, U>(simd, weight, bias, first, self.inputs, x);
            for r in 0..R {
                S::as_mut_simd_f32s(y[r]).0[first] = finish.apply(simd, sums[0][r]);
            }
        }
    }
}

/// Sums of `G` vectors of outputs, for `R` rows.
#[inline(always)]
fn dot<S: Simd, const R: usize, const G: usize, const U: usize>(
    simd: S,
    weight: &[S::f32s],
    bias: &[S::f32s],
    first: usize,
    inputs: usize,
    x: [&[f32]; R],
) -> [[S::f32s; R]; G] {
    let stride = bias.len();
    let mut sums = [[[simd.splat_f32s(0.0); R]; G]; U];
    for g in 0..G {
        sums[0][g] = [bias[first + g]; R];
    }
    for row in &x {
        // Once here, so that no access below is checked.
        assert!(row.len() >= inputs && weight.len() >= inputs * stride && first + G <= stride);
    }
    let whole = inputs / U * U;
    for k in (0..whole).step_by(U) {
        for (u, sums) in sums.iter_mut().enumerate() {
            *sums = add::<S, R, G>(simd, *sums, weight, (k + u) * stride + first, k + u, x);
        }
    }
    for k in whole..inputs {
        let u = k - whole;
        sums[u] = add::<S, R, G>(simd, sums[u], weight, k * stride + first, k, x);
    }
    let mut total = sums[0];
    for part in &sums[1..] {
        for g in 0..G {
            for r in 0..R {
                total[g][r] = simd.add_f32s(total[g][r], part[g][r]);
            }
        }
    }
    total
}

/// Adds the products of input `k` of every row to the sums.
#[inline(always)]
fn add<S: Simd, const R: usize, const G: usize>(
    simd: S,
    mut sums: [[S::f32s; R]; G],
    weight: &[S::f32s],
    at: usize,
    k: usize,
    x: [&[f32]; R],
) -> [[S::f32s; R]; G] {
    let weight = &weight[at..at + G];
    for r in 0..R {
        let x = simd.splat_f32s(x[r][k]);
        for g in 0..G {
            sums[g][r] = simd.mul_add_e_f32s(weight[g], x, sums[g][r]);
        }
    }
    sums
}
