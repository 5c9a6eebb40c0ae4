//! What a robot showed last, for a controller that asks for it again.

use sog_core::link::robot::Observed;

use crate::io::Reading;

/// Observations that are kept.
pub(super) const KEPT: usize = 1024;

/// What was shown beside the numbers.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Shown {
    pub(super) reading: Reading,
    pub(super) follows: bool,
    /// Whether it was told which action was applied.
    pub(super) tells_applied: bool,
    pub(super) buttons: u32,
    pub(super) taken_over: bool,
}

impl Shown {
    /// The same for the core, with numbers as they are sent.
    pub(super) fn observed<'a>(&self, values: &'a [u8], applied: &'a [u8]) -> Observed<'a> {
        let Reading { step, reward, terminated } = self.reading;
        let (buttons, taken_over) = (self.buttons, self.taken_over);
        let applied = self.tells_applied.then_some(applied);
        Observed { step, reward, terminated, values, applied, buttons, taken_over }
    }
}

/// The last [`KEPT`] observations; nothing allocates after construction.
#[derive(Debug)]
pub(super) struct History {
    shown: Vec<Shown>,
    /// As they are sent, `[KEPT, 4 S]` and `[KEPT, 4 A]`.
    values: Vec<u8>,
    applied: Vec<u8>,
    /// How many were kept so far.
    count: usize,
}

impl History {
    /// Of observations of `4 S` bytes and actions of `4 A`.
    pub(super) fn new(value_bytes: usize, applied_bytes: usize) -> Self {
        Self {
            shown: vec![Shown::default(); KEPT],
            values: vec![0; KEPT * value_bytes],
            applied: vec![0; KEPT * applied_bytes],
            count: 0,
        }
    }

    pub(super) fn keep(&mut self, shown: Shown, values: &[u8], applied: &[u8]) {
        let at = self.count % KEPT;
        self.shown[at] = shown;
        self.values[at * values.len()..][..values.len()].copy_from_slice(values);
        self.applied[at * applied.len()..][..applied.len()].copy_from_slice(applied);
        self.count += 1;
    }

    /// What was shown at a step, with its numbers.
    pub(super) fn of(&self, step: u64) -> Option<(Shown, &[u8], &[u8])> {
        let kept = self.count.min(KEPT);
        let at = self.shown[..kept].iter().position(|shown| shown.reading.step == step)?;
        let (values, applied) = (self.values.len() / KEPT, self.applied.len() / KEPT);
        Some((
            self.shown[at],
            &self.values[at * values..][..values],
            &self.applied[at * applied..][..applied],
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_are_kept_and_no_others() {
        let mut history = History::new(2, 1);
        assert!(history.of(0).is_none());
        for step in 0..KEPT as u64 + 10 {
            let reading = Reading { step: 3 * step, ..Reading::default() };
            let shown = Shown { reading, ..Shown::default() };
            history.keep(shown, &[step as u8, 7], &[!(step as u8)]);
        }
        assert!(history.of(3 * 9).is_none() && history.of(31).is_none());
        for step in 10..KEPT as u64 + 10 {
            let (shown, values, applied) = history.of(3 * step).unwrap();
            assert_eq!(shown.reading.step, 3 * step);
            assert_eq!((values, applied), (&[step as u8, 7][..], &[!(step as u8)][..]));
        }
    }
}
