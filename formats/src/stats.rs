//! Statistics of samples: moments, quantiles, roughness, steps out of line.

/// Range and moments of finite samples.
#[derive(Clone, Copy, Debug, Default, PartialEq, serde::Serialize)]
pub struct Moments {
    /// Samples.
    pub count: usize,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Mean.
    pub mean: f64,
    /// Standard deviation (of the samples themselves: divided by their number).
    pub std: f64,
}

impl Moments {
    /// Of all finite samples, in two passes, so that a large mean costs no digits.
    pub fn of(samples: impl Iterator<Item = f64> + Clone) -> Self {
        let finite = samples.filter(|x| x.is_finite());
        let mut all =
            Self { count: 0, min: f64::INFINITY, max: f64::NEG_INFINITY, mean: 0.0, std: 0.0 };
        for x in finite.clone() {
            all.count += 1;
            all.min = all.min.min(x);
            all.max = all.max.max(x);
            all.mean += (x - all.mean) / all.count as f64;
        }
        if all.count == 0 {
            return Self::default();
        }
        let squares: f64 = finite.map(|x| (x - all.mean).powi(2)).sum();
        all.std = (squares / all.count as f64).sqrt();
        if all.min == all.max {
            (all.mean, all.std) = (all.min, 0.0);
        }
        all
    }
}

/// The value below which the share `q` of the samples lies, linearly between the two that enclose
/// it (Hyndman and Fan's type 7, NumPy's default); `None` without samples.
pub fn quantile(samples: &[f64], q: f64) -> Option<f64> {
    let mut sorted: Vec<f64> = samples.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(f64::total_cmp);
    let at = q.clamp(0.0, 1.0) * sorted.len().checked_sub(1)? as f64;
    let below = at.floor() as usize;
    let above = (below + 1).min(sorted.len() - 1);
    Some(sorted[below] + at.fract() * (sorted[above] - sorted[below]))
}

/// Share of the samples on either side that [`roughness`] cuts off at the quantile there.
const TAIL: f64 = 0.01;

/// Von Neumann's ratio, halved: the mean square of successive differences over twice the variance.
/// Near 0 for a signal that is sampled often enough, 1 for samples in no order; `None` for what is
/// constant but for rounding. Differences and deviations are summed over sequences that do not follow
/// one another; a few samples that are far off, which squares would count alone, are cut off (at the
/// first and the last percentile). Samples that are not finite are left out.
pub fn roughness(sequences: &[Vec<f64>]) -> Option<f64> {
    let mut all: Vec<f64> = sequences.iter().flatten().copied().filter(|x| x.is_finite()).collect();
    let last = all.len().checked_sub(1)?;
    let mut at = |q: f64| *all.select_nth_unstable_by((q * last as f64) as usize, f64::total_cmp).1;
    let (low, high) = (at(TAIL), at(1.0 - TAIL));
    let (mut changes, mut squares) = (0.0, 0.0);
    for sequence in sequences {
        let cut = sequence.iter().filter(|x| x.is_finite()).map(|x| x.clamp(low, high));
        let moments = Moments::of(cut.clone());
        // Unbiased: n − 1 differences beside n − 1 degrees of freedom.
        squares += moments.std.powi(2) * moments.count as f64;
        changes += cut.clone().zip(cut.skip(1)).map(|(a, b)| (b - a).powi(2)).sum::<f64>();
    }
    let rounding = (1e-6 * low.abs().max(high.abs())).powi(2);
    (squares > rounding * all.len() as f64).then(|| changes / (2.0 * squares))
}

/// Values out of line: the few largest, if they are at least `ratio` times as large as all others.
/// At most one in 200 (and one in fewer) can be; returned is the least of them.
pub fn out_of_line(magnitudes: &[f64], ratio: f64) -> Option<f64> {
    let few = (magnitudes.len() / 200).max(1);
    if magnitudes.len() < 8 {
        return None;
    }
    let mut sorted: Vec<f64> = magnitudes.iter().copied().filter(|x| x.is_finite()).collect();
    sorted.sort_by(|a, b| b.total_cmp(a));
    (0..few.min(sorted.len().saturating_sub(1)))
        .rev()
        .find(|&i| sorted[i + 1] > 0.0 && sorted[i] >= ratio * sorted[i + 1])
        .map(|i| sorted[i])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_of_a_die_and_of_an_offset_one() {
        let die = Moments::of((1..=6).map(f64::from));
        assert_eq!((die.count, die.min, die.max, die.mean), (6, 1.0, 6.0, 3.5));
        assert!((die.std - (35.0_f64 / 12.0).sqrt()).abs() < 1e-15);
        let far = Moments::of((1..=6).map(|i| 1e9 + f64::from(i)));
        assert!((far.std - die.std).abs() < 1e-9, "{far:?}");
        assert_eq!(Moments::of([0.1; 7].into_iter()).std, 0.0);
        assert_eq!(Moments::of(std::iter::once(f64::NAN)).count, 0);
    }

    #[test]
    fn quantiles_are_numpys() {
        let samples = [3.0, 1.0, 4.0, 1.0, 5.0];
        assert_eq!(quantile(&samples, 0.5), Some(3.0));
        // numpy.quantile([3, 1, 4, 1, 5], 0.9) = 4.6.
        assert!((quantile(&samples, 0.9).unwrap() - 4.6).abs() < 1e-12);
        assert_eq!(quantile(&[], 0.5), None);
    }

    #[test]
    fn roughness_of_a_sine_is_that_of_its_formula_and_of_noise_one() {
        // Over whole periods: mean square difference 2 sin²(w/2), variance 1/2.
        let w = std::f64::consts::TAU / 50.0;
        let mut sine: Vec<f64> = (0..5000).map(|i| (w * f64::from(i)).sin()).collect();
        let right = 2.0 * (w / 2.0).sin().powi(2);
        let found = roughness(std::slice::from_ref(&sine)).unwrap();
        assert!((found - right).abs() < 1e-4, "{found}");
        // A spike is no lack of order.
        sine[700] = 1e6;
        let found = roughness(&[sine]).unwrap();
        assert!((found - right).abs() < 1e-3, "{found}");
        // A linear congruential generator's high bits are as good as independent.
        let mut state = 1_u64;
        let noise: Vec<f64> = (0..5000)
            .map(|_| {
                state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
                (state >> 33) as f64
            })
            .collect();
        let found = roughness(&[noise]).unwrap();
        assert!((found - 1.0).abs() < 0.05, "{found}");
        assert_eq!(roughness(&[vec![2.0; 9]]), None);
    }

    #[test]
    fn a_jump_stands_out_and_a_long_tail_does_not() {
        let mut steps: Vec<f64> = (0..400).map(|i| 0.1 + 1e-4 * f64::from(i)).collect();
        assert_eq!(out_of_line(&steps, 5.0), None);
        steps[7] = 3.0;
        steps[9] = 2.0;
        assert_eq!(out_of_line(&steps, 5.0), Some(2.0));
        // A geometric tail has no place where it breaks off.
        let tail: Vec<f64> = (0..400).map(|i| 0.97_f64.powi(i)).collect();
        assert_eq!(out_of_line(&tail, 5.0), None);
    }
}
