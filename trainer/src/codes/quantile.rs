//! The standard normal distribution, the prior of Gaussian codes: quantiles and their inverse.

/// Φ(z), the share of the prior below z.
pub fn normal_cdf(z: f64) -> f64 {
    0.5 * libm::erfc(-z * std::f64::consts::FRAC_1_SQRT_2)
}

/// Φ⁻¹(q) for 0 < q < 1 (Acklam's rational approximations, relative error below 1.2e-9).
pub fn normal_quantile(q: f64) -> f64 {
    const A: [f64; 6] = [
        -3.969_683_028_665_376e1,
        2.209_460_984_245_205e2,
        -2.759_285_104_469_687e2,
        1.383_577_518_672_69e2,
        -3.066_479_806_614_716e1,
        2.506_628_277_459_239,
    ];
    const B: [f64; 5] = [
        -5.447_609_879_822_406e1,
        1.615_858_368_580_409e2,
        -1.556_989_798_598_866e2,
        6.680_131_188_771_972e1,
        -1.328_068_155_288_572e1,
    ];
    const C: [f64; 6] = [
        -7.784_894_002_430_293e-3,
        -3.223_964_580_411_365e-1,
        -2.400_758_277_161_838,
        -2.549_732_539_343_734,
        4.374_664_141_464_968,
        2.938_163_982_698_783,
    ];
    const D: [f64; 4] = [
        7.784_695_709_041_462e-3,
        3.224_671_290_700_398e-1,
        2.445_134_137_142_996,
        3.754_408_661_907_416,
    ];
    const TAIL: f64 = 0.02425;
    let polynomial = |c: &[f64], x: f64| c.iter().fold(0.0, |sum, &c| sum * x + c);
    if q > 1.0 - TAIL {
        return -normal_quantile(1.0 - q);
    }
    if q < TAIL {
        let r = (-2.0 * q.ln()).sqrt();
        return polynomial(&C, r) / (polynomial(&D, r) * r + 1.0);
    }
    let r = q - 0.5;
    let square = r * r;
    polynomial(&A, square) * r / (polynomial(&B, square) * square + 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_have_their_known_values() {
        for (q, z) in [
            (0.5, 0.0),
            (0.9, 1.281_551_565_544_6),
            (0.1, -1.281_551_565_544_6),
            (0.001, -3.090_232_306_167_8),
            (0.975, 1.959_963_984_540_05),
        ] {
            assert!((normal_quantile(q) - z).abs() < 1e-8, "{q}: {}", normal_quantile(q));
            assert!((normal_cdf(z) - q).abs() < 1e-12, "{z}: {}", normal_cdf(z));
        }
    }
}
