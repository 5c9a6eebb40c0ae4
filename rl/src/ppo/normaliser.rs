//! The observation normaliser of a learner: running moments, and components that stay hidden.

use sog_engine::moments::RunningMoments;
use sog_runtime::{
    math::inverse_sqrt,
    policy::{Normaliser, VARIANCE_FLOOR},
};

use crate::run::{Checkpoint, Snapshot, SnapshotError};

/// Bound of a normalised observation.
const CLIP: f32 = 10.0;

/// Running mean and variance `[S]` of raw observations.
#[derive(Clone, Debug, PartialEq)]
pub struct ObsNormaliser {
    moments: RunningMoments,
    /// Components that the networks do not see.
    hidden: Vec<bool>,
}

impl ObsNormaliser {
    /// A normaliser that has seen nothing; `hidden` components `[S]` come out as 0.
    pub fn new(hidden: Vec<bool>) -> Self {
        Self { moments: RunningMoments::new(hidden.len()), hidden }
    }

    /// Continues from a frozen normaliser as if it had come from `count` observations.
    pub fn from_frozen(frozen: &Normaliser, hidden: Vec<bool>, count: u64) -> Self {
        let moments = RunningMoments {
            count,
            mean: frozen.mean.iter().map(|&m| f64::from(m)).collect(),
            m2: frozen.var.iter().map(|&v| f64::from(v) * count as f64).collect(),
        };
        Self { moments, hidden }
    }

    /// Whether nothing was seen yet.
    pub fn is_empty(&self) -> bool {
        self.moments.count == 0
    }

    /// Takes in raw observations `[rows, S]`.
    ///
    /// # Panics
    /// If `obs` is not a whole number of rows.
    pub fn update(&mut self, obs: &[f32]) {
        self.moments.update(obs).expect("whole rows of observations");
    }

    /// The frozen form, for a policy file. Hidden components keep their statistics: the policy's
    /// weights for them are zero.
    pub fn frozen(&self) -> Normaliser {
        let (mean, var) = (self.moments.mean_f32(), self.moments.variance_f32());
        Normaliser { mean, var, clip: CLIP }
    }

    /// Normalises raw observations `[rows, S]` by `frozen` into `out`, as the runtime does, but
    /// for hidden components.
    pub fn apply(&self, frozen: &Normaliser, obs: &[f32], out: &mut Vec<f32>) {
        let factor = |(&var, &hidden): (&f32, &bool)| {
            if hidden { 0.0 } else { inverse_sqrt(var + VARIANCE_FLOOR) }
        };
        let factors: Vec<f32> = frozen.var.iter().zip(&self.hidden).map(factor).collect();
        out.clear();
        out.reserve(obs.len());
        for row in obs.chunks_exact(factors.len().max(1)) {
            let scaled = row.iter().zip(&frozen.mean).zip(&factors);
            out.extend(scaled.map(|((&x, &m), &f)| ((x - m) * f).clamp(-frozen.clip, frozen.clip)));
        }
    }
}

impl Checkpoint for ObsNormaliser {
    fn save(&self, to: &mut Snapshot) {
        let RunningMoments { count, mean, m2 } = &self.moments;
        to.state("count", count);
        to.f64s("mean", &[mean.len()], mean);
        to.f64s("m2", &[m2.len()], m2);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        self.moments.count = from.read_state("count")?;
        from.read_f64s("mean", &mut self.moments.mean)?;
        from.read_f64s("m2", &mut self.moments.m2)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_normalises_as_the_runtime_does_and_hides_what_is_hidden() {
        let mut normaliser = ObsNormaliser::new(vec![false, true, false]);
        normaliser.update(&[1.0, 5.0, 2.0, 3.0, 9.0, 2.0]);
        let frozen = normaliser.frozen();
        assert_eq!(frozen.mean, [2.0, 7.0, 2.0]);
        assert_eq!(frozen.var, [1.0, 4.0, 0.0]);
        let mut out = vec![];
        normaliser.apply(&frozen, &[3.0, 100.0, 2.5], &mut out);
        // A constant component that moves is clipped, not infinite.
        assert!((out[0] - 1.0).abs() < 1e-6);
        assert_eq!(out[1..], [0.0, 10.0]);
    }
}
