//! Vectorised functions that training and inference share.
//!
//! Everything is written once over [`pulp::Simd`]; the best instruction set of the machine is
//! chosen at run time (with the feature `std`) or at compile time (without it).

use pulp::{Arch, Simd, WithSimd};
pub use sog_core::math::inverse_sqrt;
use sog_core::math::{TANH_CLAMP, TANH_P, TANH_Q};

/// tanh of every lane; absolute error below 5e-7 for every finite input, NaN for NaN.
#[inline(always)]
pub fn tanh<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let x = clamp(simd, x);
    let x2 = simd.mul_f32s(x, x);
    let mut p = simd.splat_f32s(TANH_P[6]);
    for &c in TANH_P[..6].iter().rev() {
        p = simd.mul_add_e_f32s(x2, p, simd.splat_f32s(c));
    }
    let mut q = simd.splat_f32s(TANH_Q[3]);
    for &c in TANH_Q[..3].iter().rev() {
        q = simd.mul_add_e_f32s(x2, q, simd.splat_f32s(c));
    }
    simd.div_f32s(simd.mul_f32s(x, p), q)
}

/// A function of one number, applied to every lane. A type and no closure: closures are not compiled
/// for the instruction set that is dispatched to.
pub trait Elementwise: Copy {
    /// Its value for every lane of `x`.
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s;
}

/// [`tanh`](tanh()) as a type.
#[derive(Clone, Copy, Debug)]
pub struct Tanh;

/// [`relu`] as a type.
#[derive(Clone, Copy, Debug)]
pub struct Relu;

/// [`elu`] as a type.
#[derive(Clone, Copy, Debug)]
pub struct Elu;

impl Elementwise for Tanh {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        tanh(simd, x)
    }
}

impl Elementwise for Relu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        relu(simd, x)
    }
}

impl Elementwise for Elu {
    #[inline(always)]
    fn apply<S: Simd>(self, simd: S, x: S::f32s) -> S::f32s {
        elu(simd, x)
    }
}

/// max(x, 0) of every lane, NaN for NaN.
#[inline(always)]
pub fn relu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let zero = simd.splat_f32s(0.0);
    simd.select_f32s(simd.less_than_f32s(x, zero), zero, x)
}

/// x where x > 0, eˣ − 1 elsewhere, of every lane; absolute error below 2e-6, NaN for NaN.
///
/// eˣ − 1 = 2t/(1 − t) with t = [`tanh`](tanh())(x/2), whose denominator lies between 1 and 2.
#[inline(always)]
pub fn elu<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let one = simd.splat_f32s(1.0);
    let t = tanh(simd, simd.mul_f32s(simd.splat_f32s(0.5), x));
    let below = simd.div_f32s(simd.add_f32s(t, t), simd.sub_f32s(one, t));
    simd.select_f32s(simd.greater_than_f32s(x, simd.splat_f32s(0.0)), x, below)
}

/// x within ±[`TANH_CLAMP`], NaN for NaN.
#[inline(always)]
fn clamp<S: Simd>(simd: S, x: S::f32s) -> S::f32s {
    let (high, low) = (simd.splat_f32s(TANH_CLAMP), simd.splat_f32s(-TANH_CLAMP));
    if S::F32_LANES > 1 && cfg!(target_arch = "x86_64") {
        // Two instructions instead of four: where x is NaN, x86 takes the second operand.
        simd.min_f32s(high, simd.max_f32s(low, x))
    } else {
        // By comparison, because minimum and maximum treat NaN differently on every machine.
        let x = simd.select_f32s(simd.greater_than_f32s(x, high), high, x);
        simd.select_f32s(simd.less_than_f32s(x, low), low, x)
    }
}

/// Replaces every element of `x` by its [`tanh`].
pub fn tanh_in_place(x: &mut [f32]) {
    struct Op<'a>(&'a mut [f32]);
    impl WithSimd for Op<'_> {
        type Output = ();
        #[inline(always)]
        fn with_simd<S: Simd>(self, simd: S) {
            let (head, tail) = S::as_mut_simd_f32s(self.0);
            for v in head {
                *v = tanh(simd, *v);
            }
            if !tail.is_empty() {
                let v = tanh(simd, simd.partial_load_f32s(tail));
                simd.partial_store_f32s(tail, v);
            }
        }
    }
    Arch::new().dispatch(Op(x));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tanh_agrees_with_the_exact_function() {
        let mut x: alloc::vec::Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-4).collect();
        x.extend([0.0, -0.0, 1e-20, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY]);
        let exact: alloc::vec::Vec<f64> = x.iter().map(|&v| f64::from(v).tanh()).collect();
        tanh_in_place(&mut x);
        let worst =
            x.iter().zip(&exact).map(|(&a, &b)| (f64::from(a) - b).abs()).fold(0.0, f64::max);
        assert!(worst < 5e-7, "largest error {worst}");
    }

    /// Every element by `f`, one lane at a time and in vectors.
    fn each(f: impl Fn(pulp::Scalar, f32) -> f32, x: &[f32]) -> alloc::vec::Vec<f32> {
        x.iter().map(|&x| f(pulp::Scalar::new(), x)).collect()
    }

    #[test]
    fn relu_and_elu_agree_with_the_exact_functions_and_keep_nan() {
        let mut x: alloc::vec::Vec<f32> = (-120_000..=120_000).map(|i| i as f32 * 1e-3).collect();
        x.extend([0.0, -0.0, 1e-20, -1e-20, f32::MAX, f32::MIN, f32::INFINITY, f32::NEG_INFINITY]);
        for (x, y) in x.iter().zip(each(elu, &x)) {
            let exact = if *x > 0.0 { f64::from(*x) } else { f64::from(*x).exp_m1() };
            assert!(f64::from(y) == exact || (f64::from(y) - exact).abs() < 2e-6, "{x}: {y}");
        }
        assert!(x.iter().zip(each(relu, &x)).all(|(x, y)| y == x.max(0.0)));
        assert!(each(elu, &[f32::NAN])[0].is_nan() && each(relu, &[f32::NAN])[0].is_nan());
    }

    #[test]
    fn tanh_keeps_nan() {
        let mut x = [f32::NAN; 19];
        tanh_in_place(&mut x);
        assert!(x.iter().all(|v| v.is_nan()));
    }
}
