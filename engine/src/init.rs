//! Initial weights: orthogonal matrices drawn from a seeded generator.

use rand::{Rng, RngExt};
use rand_distr::StandardNormal;

/// Fills `weight` `[rows, cols]` with `gain` times a random (semi-)orthogonal matrix: orthonormal
/// rows if `rows ≤ cols`, orthonormal columns otherwise (Saxe et al. 2014).
///
/// Gram–Schmidt over normal samples in f64 gives the uniform (Haar) distribution.
pub fn orthogonal(
    weight: &mut [f32],
    rows: usize,
    cols: usize,
    gain: f32,
    rng: &mut (impl Rng + ?Sized),
) {
    debug_assert_eq!(weight.len(), rows * cols);
    let (count, dim) = if rows <= cols { (rows, cols) } else { (cols, rows) };
    let mut basis: Vec<Vec<f64>> = Vec::with_capacity(count);
    while basis.len() < count {
        let mut v: Vec<f64> = (0..dim).map(|_| rng.sample(StandardNormal)).collect();
        // Twice is enough for orthogonality to rounding error (Kahan).
        for _ in 0..2 {
            for q in &basis {
                let dot: f64 = v.iter().zip(q).map(|(a, b)| a * b).sum();
                v.iter_mut().zip(q).for_each(|(a, b)| *a -= dot * b);
            }
        }
        let norm = v.iter().map(|a| a * a).sum::<f64>().sqrt();
        // A draw that lies in the span of the earlier ones has probability zero; draw again.
        if norm > 1e-9 {
            v.iter_mut().for_each(|a| *a /= norm);
            basis.push(v);
        }
    }
    for (i, q) in basis.iter().enumerate() {
        for (j, &value) in q.iter().enumerate() {
            let at = if rows <= cols { i * cols + j } else { j * cols + i };
            weight[at] = (f64::from(gain) * value) as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand_pcg::Pcg64;

    use super::*;

    #[test]
    fn rows_or_columns_are_orthonormal_times_gain() {
        for (rows, cols) in [(128, 27), (8, 128), (40, 40), (1, 5), (5, 1)] {
            let mut w = vec![0.0; rows * cols];
            orthogonal(&mut w, rows, cols, 1.5, &mut Pcg64::seed_from_u64(7));
            let at = |i: usize, j: usize| f64::from(w[i * cols + j]);
            let n = rows.min(cols);
            for a in 0..n {
                for b in 0..n {
                    let dot: f64 = if rows <= cols {
                        (0..cols).map(|j| at(a, j) * at(b, j)).sum()
                    } else {
                        (0..rows).map(|i| at(i, a) * at(i, b)).sum()
                    };
                    let want = if a == b { 2.25 } else { 0.0 };
                    assert!((dot - want).abs() < 1e-5, "{rows}x{cols} [{a},{b}] {dot}");
                }
            }
        }
    }

    #[test]
    fn the_seed_decides() {
        let draw = |seed| {
            let mut w = vec![0.0; 60];
            orthogonal(&mut w, 6, 10, 1.0, &mut Pcg64::seed_from_u64(seed));
            w
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
    }
}
