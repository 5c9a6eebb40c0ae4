//! Functions that training, the control computer and the microcontroller share.

/// Beyond this |x| the approximation of [`tanh`] is ±1 to f32 precision.
pub const TANH_CLAMP: f32 = 7.905_311;

/// Numerator (odd) of the rational minimax approximation of tanh on ±[`TANH_CLAMP`], lowest power
/// first; coefficients as in Eigen's `ptanh_float`.
pub const TANH_P: [f32; 7] = [
    4.893_524_6e-3,
    6.372_619_3e-4,
    1.485_722_4e-5,
    5.122_297_2e-8,
    -8.604_672e-11,
    2.000_188e-13,
    -2.760_768_5e-16,
];

/// Its denominator (even).
pub const TANH_Q: [f32; 4] = [4.893_525e-3, 2.268_434_6e-3, 1.185_347_1e-4, 1.198_258_4e-6];

/// tanh x; absolute error below 5e-7 for every finite x, NaN for NaN.
#[inline]
pub fn tanh(x: f32) -> f32 {
    // By comparison, so that NaN stays.
    let x = if x > TANH_CLAMP { TANH_CLAMP } else { x };
    let x = if x < -TANH_CLAMP { -TANH_CLAMP } else { x };
    let x2 = x * x;
    let p = TANH_P[..6].iter().rev().fold(TANH_P[6], |p, &c| x2 * p + c);
    let q = TANH_Q[..3].iter().rev().fold(TANH_Q[3], |q, &c| x2 * q + c);
    x * p / q
}

/// max(x, 0), NaN for NaN.
#[inline]
pub fn relu(x: f32) -> f32 {
    if x < 0.0 { 0.0 } else { x }
}

/// x where x > 0, eˣ − 1 elsewhere; absolute error below 2e-6, NaN for NaN.
///
/// eˣ − 1 = 2t/(1 − t) with t = [`tanh`](x/2), whose denominator lies between 1 and 2.
#[inline]
pub fn elu(x: f32) -> f32 {
    let t = tanh(0.5 * x);
    let below = (t + t) / (1.0 - t);
    if x > 0.0 { x } else { below }
}

/// 1/√x for x > 0, correctly rounded or one unit off; `core` has no square root.
pub fn inverse_sqrt(x: f32) -> f32 {
    let x = f64::from(x);
    // Newton's iteration from the classic bit estimate: 4 steps take 2e-3 to below 1e-16.
    let mut y = f64::from_bits(0x5fe6_eb50_c7b5_37a9 - (x.to_bits() >> 1));
    for _ in 0..4 {
        y *= 1.5 - 0.5 * x * y * y;
    }
    y as f32
}

/// 1/√x for x > 0 in single precision alone, at most two units of the last place off: where double
/// precision is slow, as on a Cortex-M4.
pub fn inverse_sqrt_single(x: f32) -> f32 {
    let mut y = f32::from_bits(0x5f37_59df - (x.to_bits() >> 1));
    for _ in 0..4 {
        // Newton's iteration, as a correction: what it rounds is small.
        y += y * (0.5 - 0.5 * x * y * y);
    }
    y
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functions_agree_with_the_exact_ones_and_keep_nan() {
        let grid = (-120_000..=120_000).map(|i| i as f32 * 1e-3);
        let all = grid.chain([0.0, -0.0, 1e-20, -1e-20, f32::MAX, f32::MIN, f32::INFINITY]);
        for x in all {
            let wide = f64::from(x);
            assert!((f64::from(tanh(x)) - wide.tanh()).abs() < 5e-7, "tanh {x}");
            let exact = if x > 0.0 { wide } else { wide.exp_m1() };
            let found = f64::from(elu(x));
            assert!(found == exact || (found - exact).abs() < 2e-6, "elu {x}");
            assert!(relu(x) == x.max(0.0), "relu {x}");
        }
        assert!([tanh, elu, relu].into_iter().all(|f| f(f32::NAN).is_nan()));
    }

    #[test]
    fn inverse_sqrt_agrees_with_the_exact_function() {
        for i in -60..60 {
            let x = 1.37_f32 * 2.0_f32.powi(i);
            let exact = 1.0 / f64::from(x).sqrt();
            assert!((f64::from(inverse_sqrt(x)) / exact - 1.0).abs() < 1e-7, "{x}");
        }
        for i in 0..100_000 {
            let x = 1e-8 * 1.0003_f32.powi(i);
            let exact = 1.0 / f64::from(x).sqrt();
            assert!((f64::from(inverse_sqrt_single(x)) / exact - 1.0).abs() < 2.4e-7, "{x}");
        }
    }
}
