//! Whether velocities are the rates of the positions that they are named after.
//!
//! Two components that stand in each other's place look like recordings all the same. Where a task
//! has both `NAME_angle` (`_pos`, `_position`, …) and `NAME_velocity` (`_vel`, …), the numbers say it:
//! the change of the one from step to step goes with the other. Of components without such a
//! counterpart, actions above all, nothing can be known from the numbers.

use std::ops::Range;

use sog_runtime::policy::Terms;

use super::component_name;

/// Endings of names of positions; the empty one last, since all names end so.
const POSITIONS: [&str; 8] = ["angles", "angle", "positions", "position", "qpos", "pos", "q", ""];

/// Endings of names of velocities.
const VELOCITIES: [&str; 8] =
    ["velocities", "velocity", "displacements", "displacement", "speed", "qvel", "vel", "dq"];

/// Correlation of a position's change with a velocity from which the two may belong together. In
/// recordings of the locomotion tasks it is 0.83 to 0.99 for those that do.
const TOGETHER: f64 = 0.8;

/// How much larger than its own velocity's that of another must be. Joints that move alike come near.
const CLEARLY: f64 = 0.2;

/// Pairs of steps below which a correlation says nothing.
const PAIRS: usize = 50;

/// Most pairs of steps that are looked at.
const MOST: usize = 20_000;

/// A position and its velocity, by the numbers of their components.
type Pair = (usize, usize);

/// Components of positions and of the velocities that are named after them.
fn pairs(terms: &Terms) -> Vec<Pair> {
    let mut start = 0;
    let mut named: Vec<(&str, Range<usize>)> = vec![];
    for term in &terms.0 {
        named.push((&term.name, start..start + term.width));
        start += term.width;
    }
    let stem = |name: &'static [&'static str], of: &str| -> Option<String> {
        let ending = name.iter().find(|ending| of.ends_with(*ending))?;
        Some(of[..of.len() - ending.len()].trim_end_matches('_').to_string())
    };
    let mut found = vec![];
    for (name, velocity) in &named {
        let Some(of) = stem(&VELOCITIES, name) else { continue };
        let position = named.iter().find(|(name, range)| {
            range != velocity
                && range.len() == velocity.len()
                && stem(&VELOCITIES, name).is_none()
                && stem(&POSITIONS, name).as_ref() == Some(&of)
        });
        if let Some((_, position)) = position {
            found.extend(position.clone().zip(velocity.clone()));
        }
    }
    found
}

/// What is wrong with the places of positions and velocities among observations `[rows, S]` of
/// trajectories with these lengths; `None` where nothing is, or nothing can be known.
pub(super) fn misplaced(observations: &[f32], lengths: &[usize], terms: &Terms) -> Option<String> {
    let s = terms.width();
    let rows = Rows::of(observations, lengths, s);
    let pairs = pairs(terms);
    let name = |component| component_name(terms, component);
    for &(position, velocity) in &pairs {
        let Some(own) = rows.correlation(position, velocity) else { continue };
        let needed = (own + CLEARLY).max(TOGETHER);
        // No correlation is so large: nothing can be clearly better, and nothing is looked for.
        if needed > 1.0 {
            continue;
        }
        let together = |p, v| rows.correlation(p, v).is_some_and(|r| r > needed);
        let other = (0..s).find(|&c| {
            (c != position && together(c, velocity)) || (c != velocity && together(position, c))
        });
        if let Some(other) = other {
            let (follows, leads) =
                if together(other, velocity) { (velocity, other) } else { (other, position) };
            return Some(format!(
                "`{}` is how `{}` changes, not `{}`: components stand in each other's place; bring \
                 them into the task's order",
                name(follows),
                name(leads),
                name(if follows == velocity { position } else { velocity }),
            ));
        }
    }
    None
}

/// Pairs of steps that follow one another.
struct Rows<'a> {
    observations: &'a [f32],
    width: usize,
    /// First rows of the pairs.
    firsts: Vec<usize>,
}

impl<'a> Rows<'a> {
    fn of(observations: &'a [f32], lengths: &[usize], width: usize) -> Self {
        let mut firsts = vec![];
        let mut start = 0;
        for length in lengths {
            firsts.extend(start..(start + length).saturating_sub(1).max(start));
            start += length;
        }
        let stride = firsts.len().div_ceil(MOST).max(1);
        Self { observations, width, firsts: firsts.into_iter().step_by(stride).collect() }
    }

    /// Correlation of the change of one component with the mean of another over the same step;
    /// `None` where one of them does not change or there is too little to say.
    fn correlation(&self, position: usize, velocity: usize) -> Option<f64> {
        let at = |row: usize, c: usize| f64::from(self.observations[row * self.width + c]);
        let count = self.firsts.len();
        if count < PAIRS {
            return None;
        }
        let change = |row: usize| at(row + 1, position) - at(row, position);
        let mean = |row: usize| (at(row + 1, velocity) + at(row, velocity)) / 2.0;
        let over = |of: &dyn Fn(usize) -> f64| {
            self.firsts.iter().map(|&row| of(row)).sum::<f64>() / count as f64
        };
        let (x, y) = (over(&change), over(&mean));
        let xx = over(&|row| (change(row) - x).powi(2));
        let yy = over(&|row| (mean(row) - y).powi(2));
        let xy = over(&|row| (change(row) - x) * (mean(row) - y));
        (xx > 1e-18 && yy > 1e-18).then(|| xy / (xx * yy).sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_find_their_velocities_by_name() {
        let terms: Terms = "height:1,pitch:1,hip_angle:1,knee_angle:1,pitch_velocity:1,\
             hip_velocity:1,knee_velocity:1,joint_pos:2,joint_vel:2,pos:1,vel:1,gripper_position:3,\
             gripper_displacement:2"
            .parse()
            .unwrap();
        let expected = [(1, 4), (2, 5), (3, 6), (7, 9), (8, 10), (11, 12)];
        assert_eq!(pairs(&terms), expected);
    }
}
