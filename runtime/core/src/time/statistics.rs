//! Statistics of durations in constant memory.

/// log₂ of the buckets per power of two: a bucket is at most 1/64 of its value wide.
const PRECISION_BITS: u32 = 6;
const SUB_BUCKETS: usize = 1 << PRECISION_BITS;
/// Longest duration told apart: 2³⁶ ns, 69 s.
const MAX_BITS: u32 = 36;
const BUCKETS: usize = (MAX_BITS - PRECISION_BITS + 1) as usize * SUB_BUCKETS;

/// Count, mean, maximum and quantiles of durations in nanoseconds.
///
/// Counts fall into buckets of at most 1/64 of their value (exact below 64 ns), so that a
/// quantile is at most 1.6 % above the true one. Recording costs some nanoseconds. It takes 16 KiB.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: [u64; BUCKETS],
    count: u64,
    sum: u128,
    max: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self { counts: [0; BUCKETS], count: 0, sum: 0, max: 0 }
    }
}

/// What a [`Histogram`] says in short.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Summary {
    /// How many durations.
    pub count: u64,
    /// Mean, ns.
    pub mean: f64,
    /// Median, ns.
    pub p50: u64,
    /// 99 % are not longer, ns.
    pub p99: u64,
    /// 99.9 % are not longer, ns.
    pub p999: u64,
    /// Longest, ns; exact.
    pub max: u64,
}

impl Histogram {
    /// Adds one duration.
    pub fn record(&mut self, duration_ns: u64) {
        self.counts[bucket(duration_ns)] += 1;
        self.count += 1;
        self.sum += u128::from(duration_ns);
        self.max = self.max.max(duration_ns);
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.counts.fill(0);
        (self.count, self.sum, self.max) = (0, 0, 0);
    }

    /// How many durations were added.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// Smallest duration that at least the share `q` of all durations do not exceed, rounded up
    /// to its bucket's end; 0 without any.
    pub fn quantile(&self, q: f64) -> u64 {
        let exact = q * self.count as f64;
        let mut wanted = exact as u64;
        if (wanted as f64) < exact {
            wanted += 1;
        }
        let mut seen = 0;
        for (i, &n) in self.counts.iter().enumerate() {
            seen += n;
            if n > 0 && seen >= wanted {
                return upper(i).min(self.max);
            }
        }
        self.max
    }

    /// Everything in short.
    pub fn summary(&self) -> Summary {
        Summary {
            count: self.count,
            mean: if self.count == 0 { 0.0 } else { self.sum as f64 / self.count as f64 },
            p50: self.quantile(0.5),
            p99: self.quantile(0.99),
            p999: self.quantile(0.999),
            max: self.max,
        }
    }
}

/// Bucket of a duration: exact below [`SUB_BUCKETS`], then [`SUB_BUCKETS`] a power of two.
fn bucket(v: u64) -> usize {
    if v < SUB_BUCKETS as u64 {
        return v as usize;
    }
    let exponent = v.ilog2() - PRECISION_BITS;
    let index = (exponent as usize + 1) * SUB_BUCKETS + ((v >> exponent) as usize - SUB_BUCKETS);
    index.min(BUCKETS - 1)
}

/// Largest duration of a bucket.
fn upper(bucket: usize) -> u64 {
    if bucket < SUB_BUCKETS {
        return bucket as u64;
    }
    let exponent = bucket / SUB_BUCKETS - 1;
    let mantissa = (bucket % SUB_BUCKETS + SUB_BUCKETS) as u64;
    ((mantissa + 1) << exponent) - 1
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn quantiles_agree_with_sorting(values in proptest::collection::vec(0u64..1 << 36, 1..400)) {
            let mut histogram = Histogram::default();
            values.iter().for_each(|&v| histogram.record(v));
            let mut sorted = values.clone();
            sorted.sort_unstable();
            for q in [0.0, 0.25, 0.5, 0.99, 0.999, 1.0] {
                let rank = (q * values.len() as f64).ceil() as usize;
                let exact = sorted[rank.saturating_sub(1)];
                let found = histogram.quantile(q);
                prop_assert!(found >= exact && found - exact <= exact / 64, "q {} {} {}", q, found, exact);
            }
            let summary = histogram.summary();
            prop_assert_eq!(summary.max, sorted[sorted.len() - 1]);
            let mean = values.iter().map(|&v| v as f64).sum::<f64>() / values.len() as f64;
            prop_assert!((summary.mean - mean).abs() <= 1e-9 * mean.max(1.0));
        }

        #[test]
        fn buckets_are_in_order(v in 0u64..1 << 36) {
            let b = bucket(v);
            prop_assert!(upper(b) >= v && (b == 0 || upper(b - 1) < v));
        }
    }

    #[test]
    fn extremes_are_kept() {
        let mut histogram = Histogram::default();
        assert_eq!(histogram.summary(), Summary::default());
        histogram.record(u64::MAX);
        assert_eq!((histogram.quantile(0.5), histogram.summary().max), (u64::MAX >> 28, u64::MAX));
        histogram.clear();
        assert_eq!(histogram.summary(), Summary::default());
    }
}
