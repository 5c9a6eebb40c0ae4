//! First codes for trajectories: trimmed k-means over what a trajectory does on average.
//!
//! Hard assignment by loss cannot tell two ways apart whose states differ all but at the start:
//! there the state already says which way it is, one code serves both, and the policy is lost only
//! where it must choose. Whole trajectories differ plainly. Clusters of them give codes to begin
//! with; the search takes over once the codes have learned to differ.

use rand::RngExt;
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
    tightest(points, k, RESTARTS, rng).clusters
}

/// Centres of the same kind of clusters, from fewer restarts.
pub(super) fn centres(points: &[Vec<f32>], k: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    tightest(points, k, FEW_RESTARTS, rng).centres
}

/// A clustering.
struct Clustering {
    /// Sum of squared distances to the centres without the farthest points.
    spread: f64,
    /// Each point's cluster.
    clusters: Vec<usize>,
    centres: Vec<Vec<f32>>,
}

fn tightest(points: &[Vec<f32>], k: usize, restarts: usize, rng: &mut Rng) -> Clustering {
    let mut best = trimmed_lloyd(points, first_centres(points, k, rng));
    for _ in 1..restarts {
        let found = trimmed_lloyd(points, first_centres(points, k, rng));
        if found.spread < best.spread {
            best = found;
        }
    }
    best
}

pub(super) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    a.iter().zip(b).map(|(a, b)| f64::from(a - b).powi(2)).sum()
}

/// The nearest centre and its squared distance.
pub(super) fn nearest(point: &[f32], centres: &[Vec<f32>]) -> (usize, f64) {
    let distances = centres.iter().map(|c| squared_distance(point, c)).enumerate();
    distances.fold((0, f64::INFINITY), |best, d| if d.1 < best.1 { d } else { best })
}

/// Each next centre is a point drawn in proportion to its squared distance from those chosen.
fn first_centres(points: &[Vec<f32>], k: usize, rng: &mut Rng) -> Vec<Vec<f32>> {
    let mut centres = vec![points[rng.random_range(0..points.len())].clone()];
    while centres.len() < k {
        let distances: Vec<f64> = points.iter().map(|p| nearest(p, &centres).1).collect();
        let mut at = rng.random::<f64>() * distances.iter().sum::<f64>();
        let chosen = distances.iter().position(|d| {
            at -= d;
            at < 0.0
        });
        // All points may be centres already.
        let chosen = chosen.unwrap_or_else(|| rng.random_range(0..points.len()));
        centres.push(points[chosen].clone());
    }
    centres
}

/// Lloyd's rounds from first `centres`, each without the farthest points.
fn trimmed_lloyd(points: &[Vec<f32>], mut centres: Vec<Vec<f32>>) -> Clustering {
    let kept = points.len() - (TRIMMED * points.len() as f64) as usize;
    // Nearest points first; the farthest are cut off.
    let sorted = |centres: &[Vec<f32>]| {
        let mut found: Vec<(usize, (usize, f64))> =
            points.iter().map(|p| nearest(p, centres)).enumerate().collect();
        found.sort_by(|a, b| a.1.1.total_cmp(&b.1.1));
        found
    };
    let mut found = sorted(&centres);
    for _ in 0..ROUNDS {
        for (c, centre) in centres.iter_mut().enumerate() {
            let own: Vec<usize> =
                found[..kept].iter().filter(|f| f.1.0 == c).map(|f| f.0).collect();
            if own.is_empty() {
                continue;
            }
            for (j, x) in centre.iter_mut().enumerate() {
                *x = own.iter().map(|&n| points[n][j]).sum::<f32>() / own.len() as f32;
            }
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
    fn fewer_trajectories_than_clusters_are_no_trouble() {
        let points = vec![vec![0.0], vec![1.0]];
        let centres = first_centres(&points, 5, &mut sog_sim::seed::rng(0));
        assert_eq!(centres.len(), 5);
        assert!(trimmed_lloyd(&points, centres).spread < 1e-9);
    }
}
