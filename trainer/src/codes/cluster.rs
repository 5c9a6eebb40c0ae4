//! First codes for trajectories: trimmed k-means over what a trajectory does on average.
//!
//! Hard assignment by loss cannot tell two ways apart whose states differ all but at the start:
//! there the state already says which way it is, one code serves both, and the policy is lost only
//! where it must choose. Whole trajectories differ plainly. Clusters of them give codes to begin
//! with; the search takes over once the codes have learned to differ.

use pulp::{Arch, Simd, WithSimd};
use rand::RngExt;
use rayon::prelude::*;
use sog_sim::seed::Rng;

/// Clusterings from different first centres, of which the tightest is kept.
const RESTARTS: usize = 100;

/// Restarts where many clusterings are made, to compare them.
const FEW_RESTARTS: usize = 20;

/// Share of the trajectories, those farthest from all centres, that no centre takes heed of: a few
/// episodes that went wrong would otherwise be a cluster, and two ways share one.
const TRIMMED: f64 = 0.1;

/// Rounds of each, unless it settles before.
const ROUNDS: usize = 100;

/// A cluster in `0..k` for each of `points`, `[N]`: trimmed k-means (Cuesta-Albertos et al. 1997)
/// with first centres by k-means++ (Arthur and Vassilvitskii 2007).
pub(super) fn clusters(points: &[Vec<f32>], k: usize, rng: &mut Rng) -> Vec<usize> {
    tightest(points, k, (RESTARTS, 0.0), rng).clusters
}

/// Centres of the same kind of clusters, from fewer restarts: no first centre is one of the points that
/// lie farthest from those before, which draw by distance likes best and which are left out later.
pub(super) fn centres(points: &[Vec<f32>], k: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    tightest(points, k, (FEW_RESTARTS, TRIMMED), rng).centres
}

/// A clustering.
struct Clustering {
    /// Sum of squared distances to the centres without the farthest points.
    spread: f64,
    /// Each point's cluster.
    clusters: Vec<usize>,
    centres: Vec<Vec<f32>>,
}

/// The best of some restarts, whose first centres are drawn without a share of the farthest points.
fn tightest(
    points: &[Vec<f32>],
    k: usize,
    (restarts, without): (usize, f64),
    rng: &mut Rng,
) -> Clustering {
    let columns = Columns::of(points);
    // Drawing is all that must be done in order.
    let starts: Vec<Vec<Vec<f32>>> =
        (0..restarts).map(|_| first_centres(points, &columns, (k, without), rng)).collect();
    let found = starts.into_par_iter().map(|centres| trimmed_lloyd(points, &columns, centres));
    let found: Vec<Clustering> = found.collect();
    let tightest = found.into_iter().reduce(|a, b| if b.spread < a.spread { b } else { a });
    tightest.expect("there is one restart at least")
}

pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// The nearest centre and its squared distance.
pub(super) fn nearest(point: &[f32], centres: &[Vec<f32>]) -> (usize, f64) {
    let distances = centres.iter().map(|c| squared_distance(point, c)).enumerate();
    distances.fold((0, f64::INFINITY), |best, d| if d.1 < best.1 { d } else { best })
}

/// Points side by side, so that the distances of [`LANES`] of them are added up at once, each as
/// [`squared_distance`] does.
struct Columns {
    points: usize,
    dims: usize,
    /// `[⌈N/LANES⌉][dims]`; the last block is filled up with zeros.
    values: Vec<[f32; LANES]>,
}

/// Points in a block.
const LANES: usize = 32;

impl Columns {
    fn of(points: &[Vec<f32>]) -> Self {
        let dims = points.first().map_or(0, Vec::len);
        let mut values = Vec::with_capacity(points.len().div_ceil(LANES) * dims);
        for block in points.chunks(LANES) {
            let column = |j| std::array::from_fn(|lane| block.get(lane).map_or(0.0, |p| p[j]));
            values.extend((0..dims).map(column));
        }
        Self { points: points.len(), dims, values }
    }

    /// The nearest centre and its squared distance of each point, `[N]`.
    fn nearest(&self, centres: &[Vec<f32>]) -> Vec<(usize, f64)> {
        let mut nearest = vec![(0, f64::INFINITY); self.points];
        self.approach(0, centres, &mut nearest);
        nearest
    }

    /// Replaces the nearest centre and its squared distance of each point, `[N]`, where one of
    /// `centres`, numbered from `first`, is nearer.
    fn approach(&self, first: usize, centres: &[Vec<f32>], nearest: &mut [(usize, f64)]) {
        // With the vector instructions that there are.
        Arch::new().dispatch(Approach { columns: self, first, centres, nearest });
    }
}

/// [`Columns::approach`], compiled for every instruction set.
struct Approach<'a> {
    columns: &'a Columns,
    first: usize,
    centres: &'a [Vec<f32>],
    nearest: &'a mut [(usize, f64)],
}

impl WithSimd for Approach<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let blocks = self.columns.values.chunks_exact(self.columns.dims.max(1));
        for (block, nearest) in blocks.zip(self.nearest.chunks_mut(LANES)) {
            for (c, centre) in (self.first..).zip(self.centres) {
                let mut sums = [0.0; LANES];
                for (column, to) in block.iter().zip(centre) {
                    for (sum, x) in sums.iter_mut().zip(column) {
                        *sum += f64::from(x - to).powi(2);
                    }
                }
                for (nearest, sum) in nearest.iter_mut().zip(sums) {
                    if sum < nearest.1 {
                        *nearest = (c, sum);
                    }
                }
            }
        }
    }
}

/// Each next centre is a point drawn in proportion to its squared distance from those chosen, but for a
/// share of the farthest points.
fn first_centres(
    points: &[Vec<f32>],
    columns: &Columns,
    (k, without): (usize, f64),
    rng: &mut Rng,
) -> Vec<Vec<f32>> {
    let mut centres = vec![points[rng.random_range(0..points.len())].clone()];
    let mut nearest = columns.nearest(&centres);
    let drawn = points.len() - (without * points.len() as f64) as usize;
    while centres.len() < k {
        let mut sorted: Vec<f64> = nearest.iter().map(|n| n.1).collect();
        sorted.sort_by(f64::total_cmp);
        let farthest = sorted[drawn.max(1) - 1];
        let weight = |distance: f64| if distance <= farthest { distance } else { 0.0 };
        let mut at = rng.random::<f64>() * nearest.iter().map(|n| weight(n.1)).sum::<f64>();
        let chosen = nearest.iter().position(|n| {
            at -= weight(n.1);
            at < 0.0
        });
        // All points may be centres already.
        let chosen = chosen.unwrap_or_else(|| rng.random_range(0..points.len()));
        centres.push(points[chosen].clone());
        let last = centres.len() - 1;
        columns.approach(last, &centres[last..], &mut nearest);
    }
    centres
}

/// Lloyd's rounds from first `centres`, each without the farthest points.
fn trimmed_lloyd(points: &[Vec<f32>], columns: &Columns, mut centres: Vec<Vec<f32>>) -> Clustering {
    let kept = points.len() - (TRIMMED * points.len() as f64) as usize;
    // Nearest points first; the farthest are cut off.
    let sorted = |centres: &[Vec<f32>]| {
        let mut found: Vec<(usize, (usize, f64))> =
            columns.nearest(centres).into_iter().enumerate().collect();
        found.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
        found
    };
    let mut found = sorted(&centres);
    for _ in 0..ROUNDS {
        let mut sizes = vec![0_usize; centres.len()];
        found[..kept].iter().for_each(|f| sizes[f.1.0] += 1);
        // A centre that has lost all points stays where it is.
        for (centre, _) in centres.iter_mut().zip(&sizes).filter(|(_, size)| **size > 0) {
            centre.fill(0.0);
        }
        for (n, (c, _)) in &found[..kept] {
            centres[*c].iter_mut().zip(&points[*n]).for_each(|(sum, x)| *sum += x);
        }
        for (centre, size) in centres.iter_mut().zip(sizes).filter(|(_, size)| *size > 0) {
            centre.iter_mut().for_each(|x| *x /= size as f32);
        }
        let next = sorted(&centres);
        let settled = next.iter().zip(&found).all(|(a, b)| (a.0, a.1.0) == (b.0, b.1.0));
        found = next;
        if settled {
            break;
        }
    }
    let spread = found[..kept].iter().map(|f| f.1.1).sum();
    found.sort_by_key(|f| f.0);
    Clustering { spread, clusters: found.into_iter().map(|f| f.1.0).collect(), centres }
}

#[cfg(test)]
mod tests {
    use sog_sim::tasks::{self, TaskMaker, TaskOptions};

    use super::*;
    use crate::{
        codes::features::Features,
        data::{Labels, record},
        normalise::ObsNormaliser,
    };

    #[test]
    fn ways_that_look_different_fall_into_different_clusters() {
        for task in ["circles", "circles-6", "halfcheetah-fwd-back", "ant-dir-6"] {
            let folder = tasks::open(task).unwrap();
            let info = folder.info();
            let maker = TaskMaker::of(&folder, &TaskOptions::default()).unwrap();
            let expert = record::expert_for(&folder, None).unwrap();
            let options =
                record::RecordOptions { episodes_per_mode: 20, seed: 1, action_noise: 0.0 };
            let file = record::record(&maker, info, expert.as_ref(), &options, &|| ()).unwrap();
            let Some(Labels::Modes(modes)) = &file.labels else { panic!("no modes") };
            let demos = &file.demonstrations;
            let k = info.modes.count().unwrap();
            let points = Features::Moments.of(demos, &ObsNormaliser::of(demos));
            for seed in 0..5 {
                let mut rng = sog_sim::seed::rng(seed);
                let found = clusters(&points, k, &mut rng);
                // Each mode's most frequent cluster is its own, and holds nearly all of it.
                let mut counts = vec![vec![0; k]; k];
                for (&mode, &cluster) in modes.iter().zip(&found) {
                    counts[mode as usize][cluster] += 1;
                }
                let largest = |row: &Vec<i32>| (0..k).max_by_key(|&c| row[c]).unwrap();
                assert!(counts.iter().all(|r| r[largest(r)] >= 18), "{task} {seed}: {counts:?}");
                let own: std::collections::BTreeSet<_> = counts.iter().map(largest).collect();
                assert_eq!(own.len(), k, "{task} {seed}: {counts:?}");
            }
        }
    }

    #[test]
    fn what_went_far_wrong_takes_no_centre_from_a_way() {
        let ways = [[0.0, 0.0], [6.0, 0.0], [0.0, 6.0]];
        for seed in 0..30 {
            let mut rng = sog_sim::seed::rng(seed);
            let mut near = |to: [f32; 2], by: f32| -> Vec<f32> {
                to.iter().map(|x| x + rng.random_range(-by..by)).collect()
            };
            let mut points: Vec<Vec<f32>> =
                (0..120).map(|n| near(ways[n % ways.len()], 1.0)).collect();
            points.extend((0..8).map(|_| near([0.0, 0.0], 300.0)));
            let found = centres(&points, ways.len(), &mut rng);
            for way in ways {
                assert!(nearest(&way, &found).1 < 1.0, "seed {seed}: {found:?}");
            }
        }
    }

    #[test]
    fn points_side_by_side_have_the_distances_of_single_ones_to_the_bit() {
        let mut rng = sog_sim::seed::rng(3);
        for n in [1, LANES - 1, LANES, 2 * LANES + 5] {
            let points = |n: usize, rng: &mut Rng| -> Vec<Vec<f32>> {
                (0..n).map(|_| (0..7).map(|_| rng.random_range(-3.0..3.0)).collect()).collect()
            };
            let (points, centres) = (points(n, &mut rng), points(4, &mut rng));
            let found = Columns::of(&points).nearest(&centres);
            let single: Vec<_> = points.iter().map(|point| nearest(point, &centres)).collect();
            assert_eq!(found, single, "{n}");
        }
    }

    #[test]
    fn fewer_trajectories_than_clusters_are_no_trouble() {
        let points = vec![vec![0.0], vec![1.0]];
        let columns = Columns::of(&points);
        let centres = first_centres(&points, &columns, (5, 0.0), &mut sog_sim::seed::rng(0));
        assert_eq!(centres.len(), 5);
        assert!(trimmed_lloyd(&points, &columns, centres).spread < 1e-9);
    }
}
