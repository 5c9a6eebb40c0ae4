//! Products with two-valued matrices by table look-up.
//!
//! Behind a single logit, the derivatives of the last hidden layer are a mask: each element is 1 or
//! the slope α of LeakyReLU. A sum Σ_j mask_j · v_j over rows v_j then needs no multiplications
//! ("method of the four Russians"): for every group of four rows the 16 possible sums are
//! tabulated, and each group contributes one look-up, a quarter of the work of the plain product.
//!
//! Masks are bits, 32 to a word; a word covers eight groups, whose tables (16 KiB for 32 columns)
//! stay in the first-level cache while all sums pick from them.

use pulp::{Arch, Simd, WithSimd};

use crate::kernel::{PANEL, Row, dispatched, load, store};

/// Rows per table.
const GROUP: usize = 4;
/// Sums per table.
const SUMS: usize = 1 << GROUP;
/// Rows that one word of mask bits covers.
pub(crate) const WORD: usize = 32;
/// Rows of tables per word: 8 groups of 16 sums.
pub(crate) const WORD_TABLE: usize = WORD / GROUP * SUMS;

dispatched! {
    /// Tables of 32 rows: `tables[16 g + e]` = Σ_b (1 if bit b of e, else `slope`) · rows[4 g + b].
    pub(crate) fn build_tables(simd: S, rows: &'a [Row], slope: f32, tables: &'a mut [Row]) {
        match S::F32_LANES {
            16 => build::<S, 2>(simd, rows, slope, tables),
            8 => build::<S, 4>(simd, rows, slope, tables),
            4 => build::<S, 8>(simd, rows, slope, tables),
            _ => build::<S, PANEL>(simd, rows, slope, tables),
        }
    }
}

#[inline(always)]
fn build<S: Simd, const NV: usize>(simd: S, rows: &[Row], slope: f32, tables: &mut [Row]) {
    let (slope, rest) = (simd.splat_f32s(slope), simd.splat_f32s(1.0 - slope));
    for (rows, table) in rows.chunks_exact(GROUP).zip(tables.chunks_exact_mut(SUMS)) {
        let mut least = [simd.splat_f32s(0.0); NV];
        for row in rows {
            let row = load::<S, NV>(row);
            for v in 0..NV {
                least[v] = simd.mul_add_e_f32s(slope, row[v], least[v]);
            }
        }
        store::<S, NV>(&mut table[0], least);
        for (b, row) in rows.iter().enumerate() {
            let row = load::<S, NV>(row);
            let (without, with) = table.split_at_mut(1 << b);
            for (without, with) in without.iter().zip(with) {
                let mut sum = load::<S, NV>(without);
                for v in 0..NV {
                    sum[v] = simd.mul_add_e_f32s(rest, row[v], sum[v]);
                }
                store::<S, NV>(with, sum);
            }
        }
    }
}

dispatched! {
    /// `sums[i]` += Σ_j mask · row_j for the 32 rows j of `tables`, the mask being the bits of
    /// `words[i]`.
    pub(crate) fn add_masked(simd: S, tables: &'a [Row], words: &'a [u32], sums: &'a mut [Row]) {
        match S::F32_LANES {
            16 => add::<S, 2>(simd, tables, words, sums),
            8 => add::<S, 4>(simd, tables, words, sums),
            4 => add::<S, 8>(simd, tables, words, sums),
            _ => add::<S, PANEL>(simd, tables, words, sums),
        }
    }
}

#[inline(always)]
fn add<S: Simd, const NV: usize>(simd: S, tables: &[Row], words: &[u32], sums: &mut [Row]) {
    let (tables, _) = tables.as_chunks::<WORD_TABLE>();
    let Some(tables) = tables.first() else { return };
    for (&word, sum) in words.iter().zip(sums) {
        let mut acc = load::<S, NV>(sum);
        for g in 0..WORD / GROUP {
            let e = (word >> (GROUP * g)) as usize % SUMS;
            let row = load::<S, NV>(&tables[g * SUMS + e]);
            for v in 0..NV {
                acc[v] = simd.add_f32s(acc[v], row[v]);
            }
        }
        store::<S, NV>(sum, acc);
    }
}

dispatched! {
    /// Bit m of `bits[i]`: whether x[i] of row m is positive.
    pub(crate) fn positive_bits(simd: S, x: &'a [Row], bits: &'a mut [u32]) {
        let zero = simd.splat_f32s(0.0);
        for (row, bits) in x.iter().zip(bits) {
            *bits = 0;
            if size_of::<S::m32s>() == 2 {
                // AVX-512: a mask is 16 bits already.
                let (v, _) = S::as_simd_f32s(&row.0);
                for (i, &v) in v.iter().enumerate() {
                    let mask = simd.greater_than_f32s(v, zero);
                    if let [low, high] = *pulp::bytemuck::bytes_of(&mask) {
                        *bits |= u32::from(u16::from_le_bytes([low, high])) << (16 * i);
                    }
                }
            } else {
                for (m, &x) in row.0.iter().enumerate() {
                    *bits |= u32::from(x > 0.0) << m;
                }
            }
        }
    }
}

/// Transposes a 32 × 32 matrix of bits (Warren, Hacker's Delight, 7–3): bit i of row m becomes bit
/// m of row i.
pub(crate) fn transpose_bits(bits: &mut [u32; WORD]) {
    let mut width = 16;
    let mut mask: u32 = 0x0000_ffff;
    while width > 0 {
        for i in (0..WORD).filter(|i| i & width == 0) {
            let swap = ((bits[i] >> width) ^ bits[i + width]) & mask;
            bits[i] ^= swap << width;
            bits[i + width] ^= swap;
        }
        width /= 2;
        mask ^= mask << width;
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    #[test]
    fn sums_by_table_are_the_masked_sums() {
        let mut rng = Pcg64::seed_from_u64(1);
        for arch in [Arch::new(), Arch::Scalar] {
            for slope in [0.0, 0.01, 0.3, 1.0] {
                let rows: Vec<Row> = (0..WORD)
                    .map(|_| Row(std::array::from_fn(|_| rng.random_range(-1.0..1.0))))
                    .collect();
                let mut tables = vec![Row([f32::NAN; PANEL]); WORD_TABLE];
                build_tables(arch, &rows, slope, &mut tables);
                let words: Vec<u32> = [0, u32::MAX, 1, 1 << 31, 0xdead_beef, rng.random()].into();
                let mut sums = vec![Row([1.0; PANEL]); words.len()];
                add_masked(arch, &tables, &words, &mut sums);
                for (word, sum) in words.iter().zip(&sums) {
                    for (i, &got) in sum.0.iter().enumerate() {
                        let want: f64 = (0..WORD)
                            .map(|j| {
                                let mask = if word >> j & 1 == 1 { 1.0 } else { f64::from(slope) };
                                mask * f64::from(rows[j].0[i])
                            })
                            .sum();
                        assert!((f64::from(got) - 1.0 - want).abs() < 1e-5, "{got} {want}");
                    }
                }
            }
        }
    }

    #[test]
    fn bits_are_taken_and_transposed() {
        let mut rng = Pcg64::seed_from_u64(2);
        for arch in [Arch::new(), Arch::Scalar] {
            let x: Vec<Row> = (0..WORD)
                .map(|_| Row(std::array::from_fn(|_| f32::from(rng.random_range(-1i8..=1)))))
                .collect();
            let mut bits = [u32::MAX; WORD];
            positive_bits(arch, &x, &mut bits);
            let mut transposed = bits;
            transpose_bits(&mut transposed);
            for (i, row) in x.iter().enumerate() {
                for (m, &value) in row.0.iter().enumerate() {
                    assert_eq!(bits[i] >> m & 1 == 1, value > 0.0);
                    assert_eq!(bits[i] >> m & 1, transposed[m] >> i & 1);
                }
            }
        }
    }
}
