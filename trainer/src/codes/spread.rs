//! First Gaussian codes for trajectories: their principal components, made to follow the prior.
//!
//! What clusters are to one-hot codes (see [`cluster`](super::cluster)), this is to Gaussian ones.
//! Codes that the search finds from the first update on crowd in a part of the prior, where the
//! policy happened to tell them apart; codes drawn from the rest of it then lead to ways that
//! nobody showed. Here the codes of all trajectories together are a sample of the prior from the
//! start, and neighbours are trajectories that look alike.

use rand::RngExt;
use rand_distr::StandardNormal;
use sog_sim::seed::Rng;

use super::{features::moments_in_time, quantile::normal_quantile};
use crate::{data::Demonstrations, normalise::ObsNormaliser};

/// Rounds of the orthogonal iteration towards the principal components.
const COMPONENT_ROUNDS: usize = 200;

/// Rotations of the Gaussianisation.
const ROTATIONS: usize = 30;

/// Groups of neighbouring ranks that are mapped as one.
const GROUPS: usize = 32;

/// First codes `[N, d]` of the trajectories: the first `d` principal components of what each does
/// on average (mean in time of observations and actions), spread over the prior.
pub(super) fn first_codes(
    demos: &Demonstrations,
    normaliser: &ObsNormaliser,
    d: usize,
    rng: &mut Rng,
) -> Vec<f32> {
    let features: Vec<Vec<f64>> = moments_in_time(demos, normaliser, false)
        .into_iter()
        .map(|point| point.into_iter().map(f64::from).collect())
        .collect();
    let points = principal_components(&features, d, rng);
    let mut codes: Vec<f32> = points.into_iter().flatten().map(|x| x as f32).collect();
    spread(&mut codes, d, rng);
    codes
}

/// Moves `codes` `[N, d]` until together they look like a sample of the prior.
pub(crate) fn spread(codes: &mut [f32], d: usize, rng: &mut Rng) {
    let mut points: Vec<Vec<f64>> =
        codes.chunks_exact(d).map(|code| code.iter().map(|&x| x.into()).collect()).collect();
    gaussianise(&mut points, rng);
    for (code, point) in codes.chunks_exact_mut(d).zip(points) {
        code.iter_mut().zip(point).for_each(|(x, p)| *x = p as f32);
    }
}

/// Coordinates of `points` along the `d` directions of most variance, `[N][d]`, by orthogonal
/// iteration (Golub and Van Loan, *Matrix Computations*, 8.2.4).
fn principal_components(points: &[Vec<f64>], d: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
    let width = points.first().map_or(0, Vec::len);
    let n = points.len().max(1) as f64;
    let mean: Vec<f64> = (0..width).map(|j| points.iter().map(|p| p[j]).sum::<f64>() / n).collect();
    let centred: Vec<Vec<f64>> =
        points.iter().map(|p| p.iter().zip(&mean).map(|(x, m)| x - m).collect()).collect();
    let mut axes = orthonormal(d, width, rng);
    for _ in 0..COMPONENT_ROUNDS {
        let mut next = vec![vec![0.0; width]; d];
        for point in &centred {
            for (axis, next) in axes.iter().zip(&mut next) {
                let along = dot(point, axis);
                next.iter_mut().zip(point).for_each(|(sum, x)| *sum += along * x);
            }
        }
        axes = next;
        orthonormalise(&mut axes, rng);
    }
    centred.iter().map(|point| axes.iter().map(|axis| dot(point, axis)).collect()).collect()
}

/// Moves `points` `[N][d]` until they look like a sample of N(0, I): along the axes of one random
/// rotation after another the coordinates are mapped to normal quantiles of the same rank
/// (rotation-based iterative Gaussianisation, Laparra et al. 2011). Ranks are smoothed over
/// [`GROUPS`] groups of neighbours: exact ones would push single points apart, and after many
/// rotations neighbours would not be neighbours any more.
fn gaussianise(points: &mut [Vec<f64>], rng: &mut Rng) {
    let (n, d) = (points.len(), points.first().map_or(0, Vec::len));
    let quantiles: Vec<f64> =
        (0..n).map(|i| normal_quantile((i as f64 + 0.5) / n as f64)).collect();
    let size = n.div_ceil(GROUPS).max(1);
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    // One dimension has nothing to rotate; the first axes are the given ones.
    for round in 0..if d > 1 { ROTATIONS } else { 1 } {
        let axes = if round == 0 { identity(d) } else { orthonormal(d, d, rng) };
        let mut moved = vec![vec![0.0; d]; n];
        for axis in &axes {
            let along: Vec<f64> = points.iter().map(|point| dot(point, axis)).collect();
            let mut sorted = along.clone();
            sorted.sort_by(f64::total_cmp);
            let knots: Vec<(f64, f64)> = sorted
                .chunks(size)
                .zip(quantiles.chunks(size))
                .map(|(from, to)| (mean(from), mean(to)))
                .collect();
            for (moved, x) in moved.iter_mut().zip(along) {
                let y = interpolate(&knots, x);
                moved.iter_mut().zip(axis).for_each(|(sum, a)| *sum += y * a);
            }
        }
        for (point, moved) in points.iter_mut().zip(moved) {
            *point = moved;
        }
    }
}

/// The piecewise linear function through `knots` (in order of x), straight on beyond its ends.
fn interpolate(knots: &[(f64, f64)], x: f64) -> f64 {
    let after = knots.partition_point(|k| k.0 < x).clamp(1, knots.len().max(2) - 1);
    match (knots.get(after - 1), knots.get(after)) {
        (Some(a), Some(b)) if b.0 > a.0 => a.1 + (x - a.0) * (b.1 - a.1) / (b.0 - a.0),
        (Some(a), Some(b)) => 0.5 * (a.1 + b.1),
        (Some(a), None) => a.1,
        _ => 0.0,
    }
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

fn identity(d: usize) -> Vec<Vec<f64>> {
    (0..d).map(|i| (0..d).map(|j| f64::from(u8::from(i == j))).collect()).collect()
}

/// `count` random orthonormal vectors (as far as there can be so many) of `width`.
fn orthonormal(count: usize, width: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
    let mut axes = vec![vec![0.0; width]; count];
    orthonormalise(&mut axes, rng);
    axes
}

/// Gram and Schmidt, twice for accuracy. What has no length of its own left is replaced by a random
/// vector, or by zero where no dimension is left either.
fn orthonormalise(axes: &mut [Vec<f64>], rng: &mut Rng) {
    for k in 0..axes.len() {
        let (before, from) = axes.split_at_mut(k);
        let axis = &mut from[0];
        if k >= axis.len() {
            axis.fill(0.0);
            continue;
        }
        loop {
            let length = dot(axis, axis).sqrt();
            for _ in 0..2 {
                for other in before.iter() {
                    let along = dot(axis, other);
                    axis.iter_mut().zip(other).for_each(|(x, o)| *x -= along * o);
                }
            }
            let left = dot(axis, axis).sqrt();
            if left > 1e-9 * length {
                axis.iter_mut().for_each(|x| *x /= left);
                break;
            }
            axis.iter_mut().for_each(|x| *x = rng.sample(StandardNormal));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evaluate::estimators::entropy_nats;

    fn uniform(n: usize, rng: &mut Rng) -> Vec<Vec<f64>> {
        (0..n).map(|_| (0..3).map(|_| rng.random_range(-1.0..1.0)).collect()).collect()
    }

    #[test]
    fn a_cube_becomes_a_sample_of_the_prior() {
        let mut rng = sog_sim::seed::rng(1);
        let mut points = uniform(2000, &mut rng);
        let before = points.clone();
        gaussianise(&mut points, &mut rng);
        let flat: Vec<f64> = points.iter().flatten().copied().collect();
        // Mean 0, covariance I, and the entropy of N(0, I): only that distribution has all three.
        for i in 0..3 {
            for j in 0..=i {
                let covariance = points.iter().map(|p| p[i] * p[j]).sum::<f64>() / 2000.0;
                assert!((covariance - f64::from(u8::from(i == j))).abs() < 0.05, "{covariance}");
            }
        }
        let expected = 1.5 * (2.0 * std::f64::consts::PI * std::f64::consts::E).ln();
        // The mean distance of distant neighbours: near ones are more evenly spaced than chance has it.
        let found = entropy_nats(&flat, 3, 40).unwrap();
        assert!((found - expected).abs() < 0.1, "entropy {found} {expected}");
        // Each coordinate still says where in the cube the point was.
        for j in 0..3 {
            let along = before.iter().zip(&points).map(|(b, p)| b[j] * p[j]).sum::<f64>() / 2000.0;
            // At most E|uniform · its normal quantile| = 1/sqrt(π).
            assert!(along > 0.5, "along {along}");
        }
    }

    #[test]
    fn principal_components_are_those_of_most_variance() {
        let mut rng = sog_sim::seed::rng(2);
        // Variance 9, 4, 0.01 and 0 along known orthonormal directions.
        let axes = orthonormal(3, 4, &mut rng);
        let scale = [3.0, 2.0, 0.1];
        let points: Vec<Vec<f64>> = (0..500)
            .map(|_| {
                let along = scale.map(|s| s * rng.sample::<f64, _>(StandardNormal));
                (0..4).map(|j| (0..3).map(|k| along[k] * axes[k][j]).sum::<f64>() + 7.0).collect()
            })
            .collect();
        let found = principal_components(&points, 2, &mut rng);
        for k in 0..2 {
            let mean = points.iter().map(|p| dot(p, &axes[k])).sum::<f64>() / 500.0;
            let (mut xy, mut xx, mut yy) = (0.0, 0.0, 0.0);
            for (point, found) in points.iter().zip(&found) {
                let (x, y) = (dot(point, &axes[k]) - mean, found[k]);
                (xy, xx, yy) = (xy + x * y, xx + x * x, yy + y * y);
            }
            assert!((xy / (xx * yy).sqrt()).abs() > 0.98, "{k}: {}", xy / (xx * yy).sqrt());
        }
        // More components than dimensions, or a single point: zeros, and no trouble.
        let flat = principal_components(&[vec![1.0], vec![2.0]], 3, &mut rng);
        assert!(flat[0][1] == 0.0 && flat[0][2] == 0.0 && flat[0][0] != flat[1][0]);
        let mut one = principal_components(&[vec![1.0, 2.0]], 2, &mut rng);
        gaussianise(&mut one, &mut rng);
        assert!(one[0].iter().all(|x| x.abs() < 1e-6));
    }
}
