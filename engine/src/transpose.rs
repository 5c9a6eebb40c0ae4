//! Turning panels into tiles and back: a 32 × 32 transpose, in registers where AVX-512 is there.
//!
//! A tile holds 32 features of 32 batch rows row-major, one [`Row`] per batch row; a panel holds
//! them feature-major, one [`Row`] per feature. The one is the transpose of the other.

use pulp::Arch;

use crate::kernel::{PANEL, Row};

/// Turns a feature-major panel into row-major tiles: `tiles[j][row].0[i] = x[32 j + i].0[row]`,
/// zero beyond the last feature.
pub(crate) fn transpose(arch: Arch, x: &[Row], tiles: &mut [Row]) {
    for (x, tile) in x.chunks(PANEL).zip(tiles.chunks_exact_mut(PANEL)) {
        if x.len() == PANEL {
            transpose_tile(arch, x, tile);
        } else {
            let mut padded = [Row::ZERO; PANEL];
            padded[..x.len()].copy_from_slice(x);
            transpose_tile(arch, &padded, tile);
        }
    }
}

/// The way back: `x[32 j + i].0[row] = tiles[j][row].0[i]`.
pub(crate) fn panel_from_tiles(arch: Arch, tiles: &[Row], x: &mut [Row]) {
    for (tile, x) in tiles.chunks_exact(PANEL).zip(x.chunks_mut(PANEL)) {
        if x.len() == PANEL {
            transpose_tile(arch, tile, x);
        } else {
            let mut whole = [Row::ZERO; PANEL];
            transpose_tile(arch, tile, &mut whole);
            x.copy_from_slice(&whole[..x.len()]);
        }
    }
}

/// `to[i].0[j] = from[j].0[i]` for 32 rows each.
fn transpose_tile(arch: Arch, from: &[Row], to: &mut [Row]) {
    #[cfg(target_arch = "x86_64")]
    if let Arch::V4(simd) = arch {
        return simd.vectorize(|| avx512::transpose_tile(simd, from, to));
    }
    let _ = arch;
    for (i, to) in to.iter_mut().enumerate().take(PANEL) {
        for (to, from) in to.0.iter_mut().zip(from) {
            *to = from.0[i];
        }
    }
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::{__m512, __m512d};

    use pulp::cast;
    use pulp::x86::V4;

    use super::{PANEL, Row};

    /// Both lanes of 16 of a row.
    const HALVES: [usize; 2] = [0, 16];

    #[inline(always)]
    pub(super) fn transpose_tile(simd: V4, from: &[Row], to: &mut [Row]) {
        let (from, to) = (&from[..PANEL], &mut to[..PANEL]);
        for i in HALVES {
            for j in HALVES {
                let block: [__m512; 16] = std::array::from_fn(|r| {
                    let values: [f32; 16] = std::array::from_fn(|k| from[j + r].0[i + k]);
                    cast(values)
                });
                for (r, column) in transpose_16(simd, block).into_iter().enumerate() {
                    let values: [f32; 16] = cast(column);
                    to[i + r].0[j..j + 16].copy_from_slice(&values);
                }
            }
        }
    }

    /// A 16 × 16 transpose: 4 × 4 blocks within the 128-bit quarters, then the quarters.
    #[inline(always)]
    fn transpose_16(simd: V4, rows: [__m512; 16]) -> [__m512; 16] {
        let f = simd.avx512f;
        let double = |x: __m512| -> __m512d { cast(x) };
        let single = |x: __m512d| -> __m512 { cast(x) };
        // quarters[4 g + j], quarter q: column 4 q + j of the rows 4 g .. 4 g + 4.
        let mut quarters = rows;
        for g in (0..16).step_by(4) {
            let low = [
                f._mm512_unpacklo_ps(rows[g], rows[g + 1]),
                f._mm512_unpacklo_ps(rows[g + 2], rows[g + 3]),
            ];
            let high = [
                f._mm512_unpackhi_ps(rows[g], rows[g + 1]),
                f._mm512_unpackhi_ps(rows[g + 2], rows[g + 3]),
            ];
            quarters[g] = single(f._mm512_unpacklo_pd(double(low[0]), double(low[1])));
            quarters[g + 1] = single(f._mm512_unpackhi_pd(double(low[0]), double(low[1])));
            quarters[g + 2] = single(f._mm512_unpacklo_pd(double(high[0]), double(high[1])));
            quarters[g + 3] = single(f._mm512_unpackhi_pd(double(high[0]), double(high[1])));
        }
        let mut out = rows;
        for j in 0..4 {
            let [a, b, c, d] = [quarters[j], quarters[4 + j], quarters[8 + j], quarters[12 + j]];
            // Quarters 0 and 2, then 1 and 3, of two registers.
            let even = (f._mm512_shuffle_f32x4::<0x88>(a, b), f._mm512_shuffle_f32x4::<0x88>(c, d));
            let odd = (f._mm512_shuffle_f32x4::<0xdd>(a, b), f._mm512_shuffle_f32x4::<0xdd>(c, d));
            out[j] = f._mm512_shuffle_f32x4::<0x88>(even.0, even.1);
            out[4 + j] = f._mm512_shuffle_f32x4::<0x88>(odd.0, odd.1);
            out[8 + j] = f._mm512_shuffle_f32x4::<0xdd>(even.0, even.1);
            out[12 + j] = f._mm512_shuffle_f32x4::<0xdd>(odd.0, odd.1);
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tiles_are_the_transposed_panel_and_back() {
        for arch in [Arch::new(), Arch::Scalar] {
            for features in [1, 31, 32, 33, 128] {
                let x: Vec<Row> = (0..features)
                    .map(|f| Row(std::array::from_fn(|m| (f * 100 + m) as f32)))
                    .collect();
                let mut tiles = vec![Row([f32::NAN; PANEL]); features.div_ceil(PANEL) * PANEL];
                transpose(arch, &x, &mut tiles);
                for (at, row) in tiles.iter().enumerate() {
                    for (i, &value) in row.0.iter().enumerate() {
                        let (feature, m) = (at / PANEL * PANEL + i, at % PANEL);
                        let want = if feature < features { feature * 100 + m } else { 0 };
                        assert_eq!(value, want as f32, "{arch:?}");
                    }
                }
                let mut back = vec![Row::ZERO; features];
                panel_from_tiles(arch, &tiles, &mut back);
                assert_eq!(back, x);
            }
        }
    }
}
