//! Passes over the positions of a panel: products by tap, and batch normalisation.
//!
//! A panel holds 32 rows of a batch feature-major, as everywhere in the engine; the features of a
//! grid lie position by position. A position's channels times a tap's matrix are then one small
//! product with the batch along the vector lanes, and no patch is ever copied.

use pulp::{Arch, Simd, WithSimd};

use super::arch::Connections;
use crate::kernel::{
    Acc, Row, dispatched, for_width, in_blocks, load, multiply, splat, store_block,
};

dispatched! {
    /// y[o] = bias + Σ over the connections (i, tap) of o: w[tap] · x[i], with w
    /// `[taps, outputs, inputs]` and `channels` = (inputs, outputs).
    pub(super) fn forward(
        simd: S,
        connections: &'a Connections,
        channels: (usize, usize),
        w: &'a [f32],
        bias: Option<&'a [f32]>,
        x: &'a [Row],
        y: &'a mut [Row],
    ) {
        let (inputs, outputs) = channels;
        for (to, y) in connections.to.iter().zip(y.chunks_exact_mut(outputs)) {
            for_width!(S, |MR, NV| in_blocks!(MR, outputs, |o, N| {
                let mut acc: Acc<S, N, NV> = splat(simd, bias, o);
                for &(i, tap) in to {
                    let w = &w[(tap * outputs + o) * inputs..];
                    let mut rows: [&[f32]; N] = [&[]; N];
                    for r in 0..N {
                        rows[r] = &w[r * inputs..(r + 1) * inputs];
                    }
                    acc = multiply::<S, N, NV>(simd, rows, &x[i * inputs..(i + 1) * inputs], acc);
                }
                store_block::<S, N, NV>(acc, &mut y[o..o + N]);
            }))
        }
    }
}

dispatched! {
    /// x[i] = Σ over the connections (o, tap) of i: w[tap]ᵀ · y[o].
    pub(super) fn transposed(
        simd: S,
        connections: &'a Connections,
        channels: (usize, usize),
        w: &'a [f32],
        y: &'a [Row],
        x: &'a mut [Row],
    ) {
        let (inputs, outputs) = channels;
        for (from, x) in connections.from.iter().zip(x.chunks_exact_mut(inputs)) {
            for_width!(S, |MR, NV| in_blocks!(MR, inputs, |i, N| {
                let mut acc: Acc<S, N, NV> = splat(simd, None, 0);
                for &(o, tap) in from {
                    let w = w[tap * outputs * inputs..].chunks_exact(inputs);
                    for (w, y) in w.zip(&y[o * outputs..(o + 1) * outputs]) {
                        let w = &w[i..i + N];
                        let b = load::<S, NV>(y);
                        for r in 0..N {
                            let c = simd.splat_f32s(w[r]);
                            for v in 0..NV {
                                acc[r][v] = simd.mul_add_e_f32s(c, b[v], acc[r][v]);
                            }
                        }
                    }
                }
                store_block::<S, N, NV>(acc, &mut x[i..i + N]);
            }))
        }
    }
}

dispatched! {
    /// Adds Σ x and Σ x·y of every channel to `sums` `[channels, 2]`; x and y are equally long.
    pub(super) fn channel_sums(simd: S, x: &'a [Row], y: &'a [Row], sums: &'a mut [[f64; 2]]) {
        let channels = sums.len();
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact(channels)) {
            for ((x, y), sums) in x.iter().zip(y).zip(&mut *sums) {
                let (x, _) = S::as_simd_f32s(&x.0);
                let (y, _) = S::as_simd_f32s(&y.0);
                let (mut one, mut both) = (simd.splat_f32s(0.0), simd.splat_f32s(0.0));
                for (&x, &y) in x.iter().zip(y) {
                    one = simd.add_f32s(one, x);
                    both = simd.mul_add_e_f32s(x, y, both);
                }
                sums[0] += f64::from(simd.reduce_sum_f32s(one));
                sums[1] += f64::from(simd.reduce_sum_f32s(both));
            }
        }
    }
}

dispatched! {
    /// y = a·x + b with one pair (a, b) per channel.
    pub(super) fn scale_shift(simd: S, x: &'a [Row], pairs: &'a [[f32; 2]], y: &'a mut [Row]) {
        let channels = pairs.len();
        for (x, y) in x.chunks_exact(channels).zip(y.chunks_exact_mut(channels)) {
            for ((x, &[a, b]), y) in x.iter().zip(pairs).zip(y) {
                let (a, b) = (simd.splat_f32s(a), simd.splat_f32s(b));
                let (x, _) = S::as_simd_f32s(&x.0);
                let (y, _) = S::as_mut_simd_f32s(&mut y.0);
                for (&x, y) in x.iter().zip(y) {
                    *y = simd.mul_add_e_f32s(a, x, b);
                }
            }
        }
    }
}

dispatched! {
    /// d = k·(d − a − b·x) with one triple (k, a, b) per channel.
    pub(super) fn norm_backward(simd: S, d: &'a mut [Row], x: &'a [Row], triples: &'a [[f32; 3]]) {
        let channels = triples.len();
        for (d, x) in d.chunks_exact_mut(channels).zip(x.chunks_exact(channels)) {
            for ((d, x), &[k, a, b]) in d.iter_mut().zip(x).zip(triples) {
                let (k, a, b) = (simd.splat_f32s(k), simd.splat_f32s(a), simd.splat_f32s(b));
                let (d, _) = S::as_mut_simd_f32s(&mut d.0);
                let (x, _) = S::as_simd_f32s(&x.0);
                for (d, &x) in d.iter_mut().zip(x) {
                    let rest = simd.negate_mul_add_e_f32s(b, x, simd.sub_f32s(*d, a));
                    *d = simd.mul_f32s(k, rest);
                }
            }
        }
    }
}

dispatched! {
    /// Σ_p (x[p] − y[p])² for each row of the panel.
    pub(super) fn squared_distances(simd: S, x: &'a [Row], y: &'a [Row]) -> Row {
        let mut sums = Row::ZERO;
        for (x, y) in x.iter().zip(y) {
            let (x, _) = S::as_simd_f32s(&x.0);
            let (y, _) = S::as_simd_f32s(&y.0);
            let (sums, _) = S::as_mut_simd_f32s(&mut sums.0);
            for ((sum, &x), &y) in sums.iter_mut().zip(x).zip(y) {
                let error = simd.sub_f32s(x, y);
                *sum = simd.mul_add_e_f32s(error, error, *sum);
            }
        }
        sums
    }
}
