//! What a whole trajectory looks like, as one point: what clusters and spread codes are found over.

use nalgebra::DMatrix;

use crate::{
    data::{Demonstrations, moments},
    normalise::ObsNormaliser,
};

/// Parts of equal length that a trajectory is cut into.
const PARTS: usize = 8;

/// Weight of the ridge in the regression on the start, as a share of the trajectories.
const RIDGE: f64 = 0.02;

/// What is looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Features {
    /// Mean and standard deviation in time.
    Moments,
    /// Means over parts of the trajectory, in their order: tells left-then-right from
    /// right-then-left.
    Parts,
    /// The same less what a linear function of the first observation says: tells ways apart that
    /// start anywhere and end anywhere.
    PartsBeyondStart,
    /// The same less what a linear function of the first and the last observation says: where the
    /// end is not seen at the start either.
    PartsBeyondEnds,
}

impl Features {
    /// All of them, the simplest first.
    pub(crate) const ALL: [Self; 4] =
        [Self::Moments, Self::Parts, Self::PartsBeyondStart, Self::PartsBeyondEnds];

    /// One point a trajectory, `[N][·]`, from normalised observations and actions in units of their
    /// standard deviation.
    pub(crate) fn of(self, demos: &Demonstrations, normaliser: &ObsNormaliser) -> Vec<Vec<f32>> {
        match self {
            Self::Moments => moments_in_time(demos, normaliser, true),
            Self::Parts => parts(demos, normaliser),
            Self::PartsBeyondStart => {
                beyond(&parts(demos, normaliser), &ends(demos, normaliser, false))
            }
            Self::PartsBeyondEnds => {
                beyond(&parts(demos, normaliser), &ends(demos, normaliser, true))
            }
        }
    }
}

/// Observations and actions of trajectory `n`, scaled: `[T, S]` and `[T, A]`.
fn scaled(
    demos: &Demonstrations,
    normaliser: &ObsNormaliser,
    scale: &[f32],
    n: usize,
) -> (Vec<f32>, Vec<f32>) {
    let mut obs = vec![];
    normaliser.extend(demos.observations_of(n), &mut obs);
    let actions = demos.actions_of(n).iter().zip(scale.iter().cycle()).map(|(a, s)| a * s);
    (obs, actions.collect())
}

/// 1/standard deviation of each action component, `[A]`.
fn action_scale(demos: &Demonstrations) -> Vec<f32> {
    let (_, variance) = moments(demos.actions(), demos.action_dim());
    variance.iter().map(|v| 1.0 / v.sqrt().max(1e-6)).collect()
}

/// Mean in time of each trajectory's normalised observations and of its actions in units of their
/// standard deviation, and the standard deviations in time if wanted: `[N][S+A]` or `[N][2(S+A)]`.
pub(super) fn moments_in_time(
    demos: &Demonstrations,
    normaliser: &ObsNormaliser,
    deviations: bool,
) -> Vec<Vec<f32>> {
    let scale = action_scale(demos);
    let of = |n| {
        let (obs, actions) = scaled(demos, normaliser, &scale, n);
        let mut point = vec![];
        for (values, width) in [(&obs, demos.obs_dim()), (&actions, demos.action_dim())] {
            let (mean, variance) = moments(values, width);
            point.extend(mean);
            if deviations {
                point.extend(variance.iter().map(|v| v.sqrt()));
            }
        }
        point
    };
    (0..demos.len()).map(of).collect()
}

/// Means over [`PARTS`] parts, `[N][PARTS·(S+A)]`. Short trajectories repeat rows.
fn parts(demos: &Demonstrations, normaliser: &ObsNormaliser) -> Vec<Vec<f32>> {
    let scale = action_scale(demos);
    let of = |n| {
        let (obs, actions) = scaled(demos, normaliser, &scale, n);
        let rows = demos.rows(n).len();
        let mut point = vec![];
        for (values, width) in [(&obs, demos.obs_dim()), (&actions, demos.action_dim())] {
            for part in 0..PARTS {
                let from = part * rows / PARTS;
                let to = ((part + 1) * rows / PARTS).max(from + 1);
                point.extend(moments(&values[from * width..to * width], width).0);
            }
        }
        point
    };
    (0..demos.len()).map(of).collect()
}

/// Normalised first observations, `[N][S]`, with the last ones behind them if wanted, `[N][2S]`.
fn ends(demos: &Demonstrations, normaliser: &ObsNormaliser, last: bool) -> Vec<Vec<f32>> {
    let of = |n| {
        let (all, s) = (demos.observations_of(n), demos.obs_dim());
        let mut obs = vec![];
        normaliser.extend(&all[..s], &mut obs);
        if last {
            normaliser.extend(&all[all.len() - s..], &mut obs);
        }
        obs
    };
    (0..demos.len()).map(of).collect()
}

/// What ridge regression of `points` `[N][P]` on `inputs` `[N][S]` leaves over.
fn beyond(points: &[Vec<f32>], inputs: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let matrix = |rows: &[Vec<f32>]| {
        let width = rows.first().map_or(0, Vec::len);
        let mut m = DMatrix::from_fn(rows.len(), width, |i, j| f64::from(rows[i][j]));
        for mut column in m.column_iter_mut() {
            let mean = column.mean();
            column.add_scalar_mut(-mean);
        }
        m
    };
    let (y, x) = (matrix(points), matrix(inputs));
    let ridge = RIDGE * points.len() as f64;
    let gram = x.tr_mul(&x) + DMatrix::identity(x.ncols(), x.ncols()) * ridge;
    let Some(factor) = gram.cholesky() else { return points.to_vec() };
    let left = &y - &x * factor.solve(&x.tr_mul(&y));
    left.row_iter().map(|row| row.iter().map(|&v| v as f32).collect()).collect()
}
