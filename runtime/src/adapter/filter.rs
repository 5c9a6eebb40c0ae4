//! Low-pass filters: first order, and Butterworth of second order.
//!
//! Both come from the analogue filter by the bilinear transform with the cut-off pre-warped: the
//! gain is 1 at standstill, 1/√2 at the cut-off, and 0 at half the sampling rate.
//!
//! ```text
//! K = tan(π·f/fs)
//! first order:  H(s) = 1/(s + 1)            y = b₀(x + x₁) − a₁y₁
//!               b₀ = K/(K + 1),  a₁ = (K − 1)/(K + 1)
//! second order: H(s) = 1/(s² + √2·s + 1)    y = b₀(x + 2x₁ + x₂) − a₁y₁ − a₂y₂
//!               b₀ = K²/D,  a₁ = 2(K² − 1)/D,  a₂ = (K² − √2·K + 1)/D,  D = K² + √2·K + 1
//! ```
//!
//! A filter begins at its first sample as if that had been there for ever. A sample that is not
//! finite is passed on and not remembered.

use core::f64::consts::{PI, SQRT_2};

/// A filter's kind and cut-off.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LowPass {
    /// Cut-off frequency, Hz.
    pub hz: f64,
    /// 1, or 2 for Butterworth.
    pub order: u8,
}

/// A filter for one sampling rate: y = b·x − a·y.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Coefficients {
    b: [f64; 3],
    a: [f64; 2],
}

/// What a filter remembers of one signal (transposed direct form II), once it has had a sample.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Memory(Option<[f64; 2]>);

impl LowPass {
    /// The filter at a sampling rate, Hz; the cut-off must be below half of it.
    pub(super) fn at_rate(self, rate_hz: f64) -> Coefficients {
        let k = libm::tan(PI * self.hz / rate_hz);
        if self.order == 1 {
            let b = k / (k + 1.0);
            return Coefficients { b: [b, b, 0.0], a: [(k - 1.0) / (k + 1.0), 0.0] };
        }
        let d = k * k + SQRT_2 * k + 1.0;
        let b = k * k / d;
        let a = [2.0 * (k * k - 1.0) / d, (k * k - SQRT_2 * k + 1.0) / d];
        Coefficients { b: [b, 2.0 * b, b], a }
    }
}

impl Coefficients {
    /// The filtered sample.
    pub(super) fn step(&self, memory: &mut Memory, x: f64) -> f64 {
        if !x.is_finite() {
            return x;
        }
        let (b, a) = (self.b, self.a);
        // At rest y = x, so that the memory is what holds it there.
        let [s1, s2] = memory.0.unwrap_or([(1.0 - b[0]) * x, (b[2] - a[1]) * x]);
        let y = b[0] * x + s1;
        memory.0 = Some([b[1] * x - a[0] * y + s2, b[2] * x - a[1] * y]);
        y
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RATE_HZ: f64 = 100.0;

    /// Largest output for a sine of this frequency, after the filter has settled.
    fn gain(filter: LowPass, hz: f64) -> f64 {
        let (filter, mut memory) = (filter.at_rate(RATE_HZ), Memory::default());
        let sine = |i: usize| (2.0 * PI * hz * i as f64 / RATE_HZ).sin();
        let y: Vec<f64> = (0..20_000).map(|i| filter.step(&mut memory, sine(i))).collect();
        // The amplitude by correlation, over whole periods.
        let n = 10_000;
        let (mut s, mut c) = (0.0, 0.0);
        for (i, y) in y.iter().enumerate().skip(20_000 - n) {
            let angle = 2.0 * PI * hz * i as f64 / RATE_HZ;
            (s, c) = (s + y * angle.sin(), c + y * angle.cos());
        }
        s.hypot(c) * 2.0 / n as f64
    }

    /// Gain of the analogue filter at the frequency that the bilinear transform maps there.
    fn analogue(order: u8, cut_hz: f64, hz: f64) -> f64 {
        let warp = |f: f64| (PI * f / RATE_HZ).tan();
        let w = warp(hz) / warp(cut_hz);
        1.0 / (1.0 + w.powi(2 * i32::from(order))).sqrt()
    }

    #[test]
    fn gains_are_those_of_the_analogue_filters() {
        for order in [1, 2] {
            for cut_hz in [1.0, 5.0, 20.0, 45.0] {
                let filter = LowPass { hz: cut_hz, order };
                assert!((gain(filter, cut_hz) - 0.5f64.sqrt()).abs() < 1e-6, "{filter:?}");
                for hz in [0.5, 2.0, 10.0, 30.0] {
                    let (found, needed) = (gain(filter, hz), analogue(order, cut_hz, hz));
                    assert!((found - needed).abs() < 1e-6, "{filter:?} {hz}: {found} {needed}");
                }
            }
        }
    }

    #[test]
    fn a_filter_begins_at_rest_and_settles_at_its_input() {
        for order in [1, 2] {
            let filter = LowPass { hz: 3.0, order }.at_rate(RATE_HZ);
            let mut memory = Memory::default();
            for _ in 0..50 {
                assert!((filter.step(&mut memory, 4.0) - 4.0).abs() < 1e-12);
            }
            assert!(filter.step(&mut memory, f64::NAN).is_nan(), "passed on");
            let first = filter.step(&mut memory, 5.0);
            assert!(first > 4.0 && first < 4.5, "and not remembered: {first}");
            let last = (0..1000).map(|_| filter.step(&mut memory, 5.0)).last().unwrap();
            assert!((last - 5.0).abs() < 1e-9);
        }
    }
}
