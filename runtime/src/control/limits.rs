//! Safety limits on actions: range and rate of change.

use alloc::{vec, vec::Vec};

use super::Limited;

/// How fast an action may change.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
#[cfg_attr(feature = "host", derive(serde::Serialize, serde::Deserialize))]
pub enum RateLimit {
    /// As the robot states ([`RobotSpec::max_action_step`](crate::io::RobotSpec)).
    #[default]
    Robot,
    /// At most this share of the action range in one control step, and what the robot states.
    Share(f32),
    /// Any change.
    Off,
}

/// The limits of every action component, `[A]` each.
#[derive(Clone, Debug)]
pub(super) struct Limits {
    low: Vec<f32>,
    high: Vec<f32>,
    max_step: Vec<f32>,
}

impl Limits {
    pub(super) fn new(
        range: Option<(&[f32], &[f32])>,
        rate: RateLimit,
        policy_range: (&[f32], &[f32]),
        robot_step: &[f32],
    ) -> Self {
        let width = robot_step.len();
        let (low, high) = range.map_or_else(
            || (vec![f32::MIN; width], vec![f32::MAX; width]),
            |(low, high)| (low.to_vec(), high.to_vec()),
        );
        let step = |i: usize| match rate {
            RateLimit::Robot => robot_step[i],
            RateLimit::Share(share) => {
                robot_step[i].min(share * (policy_range.1[i] - policy_range.0[i]))
            }
            RateLimit::Off => f32::INFINITY,
        };
        Self { low, high, max_step: (0..width).map(step).collect() }
    }

    pub(super) fn limits_rate(&self) -> bool {
        self.max_step.iter().any(|step| step.is_finite())
    }

    /// Moves `action` from what was last commanded towards `raw`, which must be finite, as far
    /// as rate and range allow; the range wins where they disagree.
    pub(super) fn apply(&self, raw: &[f32], action: &mut [f32], limited: &mut Limited) {
        for (i, (last, &wanted)) in action.iter_mut().zip(raw).enumerate() {
            let ranged = wanted.max(self.low[i]).min(self.high[i]);
            if ranged != wanted {
                limited.insert(Limited::ACTION_RANGE);
            }
            let step = self.max_step[i];
            let rated = ranged.max(*last - step).min(*last + step);
            if rated != ranged {
                limited.insert(Limited::ACTION_RATE);
            }
            *last = rated.max(self.low[i]).min(self.high[i]);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn each_limit_acts_and_says_so() {
        let range: (&[f32], &[f32]) = (&[-1.0, -1.0], &[1.0, 1.0]);
        let limits = Limits::new(Some(range), RateLimit::Robot, range, &[0.5, f32::INFINITY]);
        let mut action = [0.0, 0.0];
        let mut limited = Limited::default();
        limits.apply(&[0.5, -1.0], &mut action, &mut limited);
        assert_eq!((action, limited), ([0.5, -1.0], Limited::default()));
        limits.apply(&[-0.5, 7.0], &mut action, &mut limited);
        assert_eq!(action, [0.0, 1.0]);
        assert!(limited.contains(Limited::ACTION_RANGE) && limited.contains(Limited::ACTION_RATE));

        let limits = Limits::new(None, RateLimit::Share(0.05), range, &[0.5, 0.01]);
        limits.apply(&[9.0, -9.0], &mut action, &mut limited);
        assert_eq!(action, [0.1, 0.99]);
        let limits = Limits::new(None, RateLimit::Off, range, &[0.5, 0.01]);
        limits.apply(&[9.0, -9.0], &mut action, &mut limited);
        assert_eq!(action, [9.0, -9.0]);
    }

    proptest! {
        #[test]
        fn nothing_unsafe_passes(wanted in proptest::collection::vec(-1e30f32..1e30, 1..60), step in 0.001f32..3.0, start in -1.0f32..1.0) {
            let range: (&[f32], &[f32]) = (&[-1.0], &[1.0]);
            let limits = Limits::new(Some(range), RateLimit::Robot, range, &[step]);
            let mut action = [start];
            for w in wanted {
                let before = action[0];
                limits.apply(&[w], &mut action, &mut Limited::default());
                prop_assert!(action[0].abs() <= 1.0);
                prop_assert!((action[0] - before).abs() <= step * (1.0 + 1e-6) + 1e-7);
            }
        }
    }
}
