//! Safety limits on actions: range and rate of change.

use super::{Limited, RateLimit};

/// The limits of every action component, `[A]` each, in memory `B` of the caller's choice.
#[derive(Clone, Debug)]
pub struct Limits<B> {
    low: B,
    high: B,
    max_step: B,
}

impl<B: AsRef<[f32]> + AsMut<[f32]>> Limits<B> {
    /// Limits to `[low, high]`, and to a change of at most `max_step` in a step, which the robot
    /// states; `share_of` is the range that a [`RateLimit::Share`] is a share of. Where actions are not
    /// to be cut to a range, low and high are the least and the most that there is.
    ///
    /// `None` where the widths differ.
    pub fn new(
        [low, high]: [B; 2],
        mut max_step: B,
        rate: RateLimit,
        share_of: (&[f32], &[f32]),
    ) -> Option<Self> {
        let width = max_step.as_ref().len();
        let others = [low.as_ref(), high.as_ref(), share_of.0, share_of.1];
        if others.iter().any(|numbers| numbers.len() != width) {
            return None;
        }
        for (i, step) in max_step.as_mut().iter_mut().enumerate() {
            *step = match rate {
                RateLimit::Robot => *step,
                RateLimit::Share(share) => step.min(share * (share_of.1[i] - share_of.0[i])),
                RateLimit::Off => f32::INFINITY,
            };
        }
        Some(Self { low, high, max_step })
    }

    /// Width A.
    pub fn width(&self) -> usize {
        self.max_step.as_ref().len()
    }

    /// Whether any change of action is limited.
    pub fn limits_rate(&self) -> bool {
        self.max_step.as_ref().iter().any(|step| step.is_finite())
    }

    /// Moves `action` from what was last commanded towards `raw`, which must be finite, as far
    /// as rate and range allow; the range wins where they disagree.
    pub fn apply(&self, raw: &[f32], action: &mut [f32], limited: &mut Limited) {
        let bounds = self.low.as_ref().iter().zip(self.high.as_ref()).zip(self.max_step.as_ref());
        for ((last, &wanted), ((&low, &high), &step)) in action.iter_mut().zip(raw).zip(bounds) {
            let ranged = wanted.max(low).min(high);
            if ranged != wanted {
                limited.insert(Limited::ACTION_RANGE);
            }
            let rated = ranged.max(*last - step).min(*last + step);
            if rated != ranged {
                limited.insert(Limited::ACTION_RATE);
            }
            *last = rated.max(low).min(high);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{vec, vec::Vec};

    /// Of slices; no range means none.
    fn limits_of(
        range: Option<(&[f32], &[f32])>,
        rate: RateLimit,
        share_of: (&[f32], &[f32]),
        max_step: &[f32],
    ) -> Limits<Vec<f32>> {
        let any = (vec![f32::MIN; max_step.len()], vec![f32::MAX; max_step.len()]);
        let (low, high) = range.map_or(any, |(low, high)| (low.to_vec(), high.to_vec()));
        Limits::new([low, high], max_step.to_vec(), rate, share_of).unwrap()
    }

    #[test]
    fn each_limit_acts_and_says_so() {
        let range: (&[f32], &[f32]) = (&[-1.0, -1.0], &[1.0, 1.0]);
        let limits = limits_of(Some(range), RateLimit::Robot, range, &[0.5, f32::INFINITY]);
        let mut action = [0.0, 0.0];
        let mut limited = Limited::default();
        limits.apply(&[0.5, -1.0], &mut action, &mut limited);
        assert_eq!((action, limited), ([0.5, -1.0], Limited::default()));
        limits.apply(&[-0.5, 7.0], &mut action, &mut limited);
        assert_eq!(action, [0.0, 1.0]);
        assert!(limited.contains(Limited::ACTION_RANGE) && limited.contains(Limited::ACTION_RATE));

        let limits = limits_of(None, RateLimit::Share(0.05), range, &[0.5, 0.01]);
        limits.apply(&[9.0, -9.0], &mut action, &mut limited);
        assert_eq!(action, [0.1, 0.99]);
        let limits = limits_of(None, RateLimit::Off, range, &[0.5, 0.01]);
        limits.apply(&[9.0, -9.0], &mut action, &mut limited);
        assert_eq!(action, [9.0, -9.0]);
    }

    proptest! {
        #[test]
        fn nothing_unsafe_passes(wanted in proptest::collection::vec(-1e30f32..1e30, 1..60), step in 0.001f32..3.0, start in -1.0f32..1.0) {
            let range: (&[f32], &[f32]) = (&[-1.0], &[1.0]);
            let limits = limits_of(Some(range), RateLimit::Robot, range, &[step]);
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
