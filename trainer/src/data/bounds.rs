//! Actions against the task's bounds: what lies outside is refused, or cut off where that is asked
//! for.

use std::f32::consts::PI;

use sog_runtime::policy::Terms;

use super::{DataError, component_name};

/// How far beyond a bound, as a share of the range, is rounding.
const ROUNDING: f32 = 1e-4;

/// Quantile of |action|/bound that a unit is judged by: single outliers do not count.
const QUANTILE: f64 = 0.99;

/// How far beyond its bound, as a share of it, an action may be in its own unit: who recorded it may
/// not have cut it off.
const BEYOND: f32 = 1.6;

/// How near a bound, as a share of it, an action that was cut off there is.
const CUT_OFF: f32 = 1e-3;

/// Factors that mistaken units make, with what to do about them.
const UNITS: [(f32, &str); 4] = [
    (180.0 / PI, "degrees where radians are meant (multiply by π/180)"),
    (100.0, "hundredths, such as per cent or centimetres (divide by 100)"),
    (1000.0, "thousandths, such as millimetres or mN m (divide by 1000)"),
    (1e6, "millionths (divide by 1 000 000)"),
];

/// What actions are held to.
pub(super) struct Bounds<'a> {
    /// Terms, for the names of components.
    pub(super) terms: &'a Terms,
    /// `[A]`.
    pub(super) low: &'a [f64],
    /// `[A]`.
    pub(super) high: &'a [f64],
}

impl Bounds<'_> {
    /// Refuses actions `[rows, A]` of trajectories with these lengths that lie out of bounds; with
    /// `clip` they are cut off instead, and the share that was is returned.
    pub(super) fn apply(
        &self,
        actions: &mut [f32],
        lengths: &[usize],
        clip: bool,
    ) -> Result<f64, DataError> {
        let a = self.low.len();
        let (mut outside, mut first) = (0_usize, None);
        for (at, x) in actions.iter_mut().enumerate() {
            let (low, high) = (self.low[at % a] as f32, self.high[at % a] as f32);
            let rounding = ROUNDING * (high - low);
            if *x < low - rounding || *x > high + rounding {
                outside += 1;
                first.get_or_insert((at, *x));
            }
            if clip {
                *x = x.clamp(low, high);
            }
        }
        let share = outside as f64 / actions.len().max(1) as f64;
        let Some((at, value)) = first.filter(|_| !clip) else { return Ok(share) };
        let (row, component) = (at / a, at % a);
        let (trajectory, step) = place(lengths, row);
        Err(DataError::OutOfBounds {
            percent: 100.0 * share,
            trajectory,
            step,
            component: component_name(self.terms, component),
            value,
            low: self.low[component],
            high: self.high[component],
            unit: self.likely_unit(actions),
        })
    }

    /// What the size of the actions says about their unit: a factor at which many of them are cut
    /// off, else those that bring them into their bounds, the nearest first.
    fn likely_unit(&self, actions: &[f32]) -> String {
        let a = self.low.len();
        let bound = |c: usize| self.low[c].abs().max(self.high[c].abs()) as f32;
        let mut ratios: Vec<f32> = actions
            .iter()
            .enumerate()
            .map(|(at, x)| x.abs() / bound(at % a).max(f32::MIN_POSITIVE))
            .collect();
        ratios.sort_by(f32::total_cmp);
        let ratio = ratios[((ratios.len() - 1) as f64 * QUANTILE) as usize];
        let cut_off = |factor: f32| {
            let (largest, near) = (ratios[ratios.len() - 1], |x: f32| (x / factor - 1.0).abs());
            near(largest) < CUT_OFF && near(ratio) < CUT_OFF
        };
        if let Some((_, unit)) = UNITS.iter().find(|(factor, _)| cut_off(*factor)) {
            return format!("they look like {unit}");
        }
        // Good actions use a good part of their range and hardly leave it.
        let fits = |factor: f32| ratio / factor > 0.2 && ratio / factor < BEYOND;
        let near = |factor: f32| (ratio / factor).ln().abs();
        let mut fitting: Vec<_> = UNITS.iter().filter(|(factor, _)| fits(*factor)).collect();
        fitting.sort_by(|x, y| near(x.0).total_cmp(&near(y.0)));
        let names: Vec<&str> = fitting.iter().map(|(_, unit)| *unit).collect();
        match names[..] {
            [] if ratio < 1.5 => {
                "few and near the bounds: the robot may have cut them off itself".to_string()
            }
            [] => {
                "their unit or the order of their components is another than the task's".to_string()
            }
            _ => format!("they look like {}", names.join(", or like ")),
        }
    }
}

/// Trajectory and step of a row.
pub(super) fn place(lengths: &[usize], mut row: usize) -> (usize, usize) {
    for (trajectory, &length) in lengths.iter().enumerate() {
        if row < length {
            return (trajectory, row);
        }
        row -= length;
    }
    (lengths.len(), row)
}
