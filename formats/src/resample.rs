//! Values between samples: linear, held, angles across their wrap, quaternions on the sphere.

use std::ops::Range;

use nalgebra::{Quaternion, UnitQuaternion};

use crate::Recording;

/// How values between samples are found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// On the line between them.
    Linear,
    /// The earlier one.
    Hold,
    /// As linear, along the shorter way round; radians.
    Angle,
    /// Spherical linear interpolation of a quaternion; given as w x y z or, with the scalar last,
    /// x y z w, and stored as w x y z.
    Quaternion {
        /// Whether w comes last in the file.
        scalar_last: bool,
    },
}

/// A stretch of a column in one episode.
pub(crate) struct Track {
    /// `[steps, width]`.
    pub rows: Vec<f64>,
    /// Components.
    pub width: usize,
    /// Row after the last step.
    pub last: Option<Vec<f64>>,
    pub kind: Kind,
}

/// Quaternions of another length than 1 ± this are none.
const NORM_TOLERANCE: f64 = 0.01;

impl Track {
    /// Components `range` of a column; quaternions come as w x y z of length 1.
    ///
    /// # Errors
    /// Step and length of a quaternion that is none.
    pub(crate) fn of(
        recording: &Recording,
        episode: usize,
        column: usize,
        range: Range<usize>,
        kind: Kind,
    ) -> Result<Self, (usize, f64)> {
        let all = recording.columns[column].width;
        let episode = &recording.episodes[episode];
        let width = range.len();
        let mut rows = Vec::with_capacity(episode.length * width);
        for row in episode.data[column].chunks_exact(all) {
            rows.extend_from_slice(&row[range.clone()]);
        }
        let mut last = episode.last[column].as_ref().map(|row| row[range].to_vec());
        if let Kind::Quaternion { scalar_last } = kind {
            let after = last.iter_mut().flat_map(|row| row.chunks_exact_mut(4));
            for (step, q) in rows.chunks_exact_mut(4).chain(after).enumerate() {
                if scalar_last {
                    q.rotate_right(1);
                }
                let norm = q.iter().map(|x| x * x).sum::<f64>().sqrt();
                if norm.is_nan() || (norm - 1.0).abs() > NORM_TOLERANCE {
                    return Err((step, norm));
                }
                q.iter_mut().for_each(|x| *x /= norm);
            }
        }
        Ok(Self { rows, width, last, kind })
    }

    /// Values at the times of `grid`, given the times of the rows; the row after the last lies one
    /// recorded period after it.
    pub(crate) fn resampled(self, times: &[f64], period_s: f64, grid: &[f64], dt_s: f64) -> Self {
        let Self { mut rows, width, last, kind } = self;
        let mut times = times.to_vec();
        if let Some(last) = last {
            rows.extend(last);
            times.push(times.last().copied().unwrap_or(0.0) + period_s);
        }
        let mut out = Vec::with_capacity(grid.len() * width);
        let mut at = 0;
        let mut take = |time: f64, out: &mut Vec<f64>| {
            while at + 2 < times.len() && times[at + 1] <= time {
                at += 1;
            }
            let a = &rows[at * width..][..width];
            let Some(&later) = times.get(at + 1) else {
                out.extend_from_slice(a);
                return;
            };
            let b = &rows[(at + 1) * width..][..width];
            let share = ((time - times[at]) / (later - times[at])).clamp(0.0, 1.0);
            // By rounding a time may lie just before the sample that is meant: to a line that is all
            // the same, but what is held would come a step late.
            let late = kind == Kind::Hold && share > 0.5 && later - time <= tolerance(dt_s);
            between(a, b, if late { 1.0 } else { share }, kind, out);
        };
        for &time in grid {
            take(time, &mut out);
        }
        let next = grid.last().copied().unwrap_or(0.0) + dt_s;
        let last = times.last().is_some_and(|&end| next <= end + tolerance(dt_s)).then(|| {
            let mut row = vec![];
            take(next, &mut row);
            row
        });
        Self { rows: out, width, last, kind }
    }
}

/// The value at `share` of the way from `a` to `b`.
fn between(a: &[f64], b: &[f64], share: f64, kind: Kind, out: &mut Vec<f64>) {
    if share == 0.0 {
        out.extend_from_slice(a);
        return;
    }
    // Where a sample lies, it is taken to the last bit.
    if share == 1.0 {
        out.extend_from_slice(b);
        return;
    }
    match kind {
        Kind::Hold => out.extend_from_slice(a),
        Kind::Linear => out.extend(a.iter().zip(b).map(|(a, b)| a + share * (b - a))),
        Kind::Angle => out.extend(a.iter().zip(b).map(|(a, b)| {
            let turn = std::f64::consts::TAU;
            let way = b - a;
            a + share * (way - (way / turn).round() * turn)
        })),
        Kind::Quaternion { .. } => {
            let unit = |q: &[f64]| {
                UnitQuaternion::from_quaternion(Quaternion::new(q[0], q[1], q[2], q[3]))
            };
            let (from, to) = (unit(a), unit(b));
            // Half a turn apart there is no shorter way: the nearer of the two is as good.
            let nearer = if share < 0.5 { from } else { to };
            let q = from.try_slerp(&to, share, 1e-9).unwrap_or(nearer);
            out.extend([q.w, q.i, q.j, q.k]);
        }
    }
}

/// Checks that time stamps are finite and grow.
///
/// # Errors
/// The first row that is not later than the one before.
pub(crate) fn check_times(times: &[f64]) -> Result<(), usize> {
    if let Some(row) = times.iter().position(|t| !t.is_finite()) {
        return Err(row);
    }
    match times.windows(2).position(|w| w[1] <= w[0]) {
        Some(row) => Err(row + 1),
        None => Ok(()),
    }
}

/// The longest gap between samples that is more than five times the median, and the row before it.
pub(crate) fn gap(times: &[f64]) -> Option<(usize, f64)> {
    let steps: Vec<f64> = times.windows(2).map(|w| w[1] - w[0]).collect();
    let mut sorted = steps.clone();
    sorted.sort_by(f64::total_cmp);
    let median = *sorted.get(steps.len() / 2)?;
    let (row, &longest) = steps.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1))?;
    (longest > 5.0 * median).then_some((row, longest))
}

/// Rounding of time stamps does not cost a step.
fn tolerance(dt_s: f64) -> f64 {
    dt_s * 1e-3
}

/// Times from the first stamp to the last, `dt_s` apart; none where they would be more than a hundred
/// for each sample: there is no use for so many.
pub(crate) fn grid(times: &[f64], dt_s: f64) -> Option<Vec<f64>> {
    let (Some(&first), Some(&last)) = (times.first(), times.last()) else { return Some(vec![]) };
    let steps = ((last - first + tolerance(dt_s)) / dt_s).floor().max(0.0);
    let most = times.len() as f64 * 100.0;
    (steps <= most).then(|| (0..=steps as usize).map(|k| first + k as f64 * dt_s).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn track(rows: &[f64], width: usize, kind: Kind) -> Track {
        Track { rows: rows.to_vec(), width, last: None, kind }
    }

    #[test]
    fn a_line_stays_a_line_at_any_rate_and_with_any_jitter() {
        let times = [0.0, 0.011, 0.019, 0.032, 0.04];
        let rows: Vec<f64> = times.iter().flat_map(|t| [3.0 * t, 1.0 - t]).collect();
        let grid = grid(&times, 0.005).unwrap();
        assert_eq!(grid.len(), 9);
        let out = track(&rows, 2, Kind::Linear).resampled(&times, 0.01, &grid, 0.005);
        for (t, row) in grid.iter().zip(out.rows.chunks(2)) {
            assert!((row[0] - 3.0 * t).abs() < 1e-12 && (row[1] - 1.0 + t).abs() < 1e-12);
        }
    }

    #[test]
    fn the_rate_of_the_file_gives_its_numbers_to_the_bit() {
        let times: Vec<f64> = (0..50).map(|i| f64::from(i) * 0.02).collect();
        let rows: Vec<f64> = (0..50).map(|i| (f64::from(i) * 0.7).sin()).collect();
        let grid = grid(&times, 0.02).unwrap();
        assert_eq!(track(&rows, 1, Kind::Linear).resampled(&times, 0.02, &grid, 0.02).rows, rows);
    }

    #[test]
    fn what_is_held_comes_at_its_own_step_however_stamps_are_rounded() {
        let rows: Vec<f64> = (0..400).map(f64::from).collect();
        let single = |t: f64| f64::from(t as f32);
        let printed = |t: f64| (t * 1e6).round() * 1e-6;
        for dt_s in [0.005, 1.0 / 30.0, 0.02, 0.1] {
            for first in [0.0, 3.7, 20.0] {
                for rounded in [&single as &dyn Fn(f64) -> f64, &printed] {
                    let times: Vec<f64> =
                        (0..400).map(|k| rounded(first + f64::from(k) * dt_s)).collect();
                    let grid = grid(&times, dt_s).unwrap();
                    let mut held = track(&rows[..399], 1, Kind::Hold);
                    held.last = Some(vec![399.0]);
                    let out = held.resampled(&times[..399], dt_s, &grid[..399], dt_s);
                    assert_eq!((out.rows, out.last), (rows[..399].to_vec(), Some(vec![399.0])));
                }
            }
        }
        // Samples closer than the tolerance are still taken when they are due.
        let times: Vec<f64> = (0..400).map(|k| f64::from(k) * 1e-6).collect();
        let out = track(&rows, 1, Kind::Hold).resampled(&times, 1e-6, &times, 0.02);
        assert_eq!(out.rows, rows);
    }

    #[test]
    fn a_turn_at_constant_speed_stays_one_whatever_signs_the_quaternions_have() {
        let about_z = |angle: f64| [(angle / 2.0).cos(), 0.0, 0.0, (angle / 2.0).sin()];
        let times: Vec<f64> = (0..20).map(|i| f64::from(i) * 0.1).collect();
        // Every other quaternion is the same rotation with the other sign.
        let rows: Vec<f64> = (0..20)
            .flat_map(|i| {
                let sign = if i % 2 == 0 { 1.0 } else { -1.0 };
                about_z(f64::from(i) * 0.5).map(|x| sign * x)
            })
            .collect();
        let grid = grid(&times, 0.03).unwrap();
        let kind = Kind::Quaternion { scalar_last: false };
        let out = track(&rows, 4, kind).resampled(&times, 0.1, &grid, 0.03);
        for (t, q) in grid.iter().zip(out.rows.chunks(4)) {
            let want = about_z(t * 5.0);
            let dot: f64 = q.iter().zip(want).map(|(a, b)| a * b).sum();
            assert!((dot.abs() - 1.0).abs() < 1e-12, "{t} {q:?}");
        }
    }

    #[test]
    fn angles_go_the_shorter_way_and_switches_stay_what_they_are() {
        let mut out = vec![];
        between(&[3.0], &[-3.0], 0.5, Kind::Angle, &mut out);
        assert!((out[0] - std::f64::consts::PI).abs() < 1e-12);
        between(&[0.0], &[1.0], 0.9, Kind::Hold, &mut out);
        assert_eq!(out[1], 0.0);
    }

    #[test]
    fn no_grid_is_finer_than_there_is_use_for() {
        assert_eq!(grid(&[], 0.1), Some(vec![]));
        assert_eq!(grid(&[3.0], 0.1), Some(vec![3.0]));
        assert_eq!(grid(&[0.0, 20.0], 0.1).map(|grid| grid.len()), Some(201));
        assert_eq!(grid(&[0.0, 5e7, 1e8], 0.1), None);
    }

    #[test]
    fn stamps_that_run_back_are_found() {
        assert_eq!(check_times(&[0.0, 0.1, 0.1]), Err(2));
        assert_eq!(check_times(&[0.0, f64::NAN]), Err(1));
        assert_eq!(check_times(&[0.0, 0.1, 0.2]), Ok(()));
        assert_eq!(gap(&[0.0, 0.1, 0.2, 1.2, 1.3]), Some((2, 1.0)));
    }
}
