//! Matrix products and element-wise passes over panels of 32 rows.
//!
//! A batch is cut into panels of [`PANEL`] rows. Inside a panel, values lie feature-major: one
//! [`Row`] per feature, holding that feature of the 32 batch rows. The batch runs along the vector
//! lanes, so
//!
//! * weights are read as they are stored (`[outputs, inputs]`, one broadcast per element), without
//!   packing or transposing, and layers with few outputs (an action, a logit) waste nothing;
//! * a panel of 128 features is 16 KiB and stays in the first-level cache from layer to layer.
//!
//! Only the gradient of a weight contracts over the batch; for it the input panel is transposed
//! into tiles of 32 features ([`transpose`]), and the same micro-kernel runs again.
//!
//! Everything is safe code over [`pulp::Simd`]; each function dispatches once to the best
//! instruction set of the machine. Results depend on the instruction set only through the fusing
//! of multiply and add.

// Accumulators are indexed by constants so that they stay in registers; iterators over arrays put
// them on the stack.
#![allow(clippy::needless_range_loop)]

use pulp::{Arch, Simd, WithSimd};
use sog_runtime::math::{Elementwise, elu, tanh};

use crate::net::{Activation, HiddenActivation};

/// Batch rows per panel; a multiple of every vector width.
pub(crate) const PANEL: usize = 32;

/// One feature of the rows of a panel (or, in a tile, 32 features of one row).
#[derive(Debug, Clone, Copy, PartialEq)]
#[repr(C, align(64))]
pub(crate) struct Row(pub(crate) [f32; PANEL]);

impl Row {
    /// All zero.
    pub(crate) const ZERO: Self = Self([0.0; PANEL]);
}

/// Number of panels that hold `rows` rows (also: tiles that hold so many features).
pub(crate) const fn panels(rows: usize) -> usize {
    rows.div_ceil(PANEL)
}

/// Defines a function `name(arch, args…)` whose body is compiled for every instruction set.
/// Reference arguments carry the lifetime `'a`.
macro_rules! dispatched {
    ($(#[$doc:meta])* $vis:vis fn $name:ident($simd:ident: $S:ident, $($arg:ident: $ty:ty),* $(,)?) $(-> $out:ty)? $body:block) => {
        $(#[$doc])*
        $vis fn $name<'a>(arch: Arch, $($arg: $ty),*) $(-> $out)? {
            struct Op<'a> { $($arg: $ty,)* _life: std::marker::PhantomData<&'a ()> }
            impl<'a> WithSimd for Op<'a> {
                type Output = dispatched!(@out $($out)?);
                #[inline(always)]
                fn with_simd<$S: Simd>(self, $simd: $S) -> Self::Output {
                    let Op { $($arg,)* _life } = self;
                    $body
                }
            }
            arch.dispatch(Op { $($arg,)* _life: std::marker::PhantomData })
        }
    };
    (@out) => { () };
    (@out $out:ty) => { $out };
}
pub(crate) use dispatched;

/// Runs `$body` with `$f` the [`Elementwise`] function of a [`HiddenActivation`]; outside the loops,
/// so that nothing is asked inside.
macro_rules! with_activation {
    ($activation:expr, |$f:ident| $body:expr) => {
        match $activation {
            $crate::net::HiddenActivation::Tanh => {
                let $f = sog_runtime::math::Tanh;
                $body
            }
            $crate::net::HiddenActivation::Relu => {
                let $f = sog_runtime::math::Relu;
                $body
            }
            $crate::net::HiddenActivation::Elu => {
                let $f = sog_runtime::math::Elu;
                $body
            }
        }
    };
}
pub(crate) use with_activation;

/// Runs `$body` with `$mr` × `$nv` accumulators fitting the registers of `$S`: `$nv` vectors span
/// a panel.
macro_rules! for_width {
    ($S:ident, |$mr:ident, $nv:ident| $body:expr) => {
        match $S::F32_LANES {
            16 => {
                const $mr: usize = 8;
                const $nv: usize = 2;
                $body
            }
            8 => {
                const $mr: usize = 3;
                const $nv: usize = 4;
                $body
            }
            4 => {
                const $mr: usize = 2;
                const $nv: usize = 8;
                $body
            }
            _ => {
                const $mr: usize = 1;
                const $nv: usize = $crate::kernel::PANEL;
                $body
            }
        }
    };
}

pub(crate) use for_width;

/// Runs `$body` for blocks of `$n` = `$mr` outputs from output `$o` on, then for what is left over.
macro_rules! in_blocks {
    ($mr:ident, $count:expr, |$o:ident, $n:ident| $body:expr) => {{
        let count = $count;
        let mut $o = 0;
        while $o + $mr <= count {
            const $n: usize = $mr;
            $body;
            $o += $n;
        }
        while $o < count {
            match count - $o {
                left if left >= 4 => {
                    const $n: usize = 4;
                    $body;
                    $o += $n;
                }
                left if left >= 2 => {
                    const $n: usize = 2;
                    $body;
                    $o += $n;
                }
                _ => {
                    const $n: usize = 1;
                    $body;
                    $o += $n;
                }
            }
        }
    }};
}

pub(crate) use in_blocks;

pub(crate) type Acc<S, const M: usize, const NV: usize> = [[<S as Simd>::f32s; NV]; M];

#[inline(always)]
pub(crate) fn load<S: Simd, const NV: usize>(row: &Row) -> [S::f32s; NV] {
    let (v, _) = S::as_simd_f32s(&row.0);
    std::array::from_fn(|i| v[i])
}

#[inline(always)]
pub(crate) fn store<S: Simd, const NV: usize>(row: &mut Row, values: [S::f32s; NV]) {
    let (v, _) = S::as_mut_simd_f32s(&mut row.0);
    v.copy_from_slice(&values);
}

#[inline(always)]
pub(crate) fn store_block<S: Simd, const N: usize, const NV: usize>(
    acc: Acc<S, N, NV>,
    rows: &mut [Row],
) {
    let rows = &mut rows[..N];
    for r in 0..N {
        store::<S, NV>(&mut rows[r], acc[r]);
    }
}

#[inline(always)]
pub(crate) fn splat<S: Simd, const M: usize, const NV: usize>(
    simd: S,
    bias: Option<&[f32]>,
    from: usize,
) -> Acc<S, M, NV> {
    let mut acc = [[simd.splat_f32s(0.0); NV]; M];
    if let Some(bias) = bias {
        let bias = &bias[from..from + M];
        for r in 0..M {
            acc[r] = [simd.splat_f32s(bias[r]); NV];
        }
    }
    acc
}

/// acc[r] += Σ_k rows[r][k] · x[k]: the micro-kernel with coefficients along k.
#[inline(always)]
pub(crate) fn multiply<S: Simd, const M: usize, const NV: usize>(
    simd: S,
    rows: [&[f32]; M],
    x: &[Row],
    mut acc: Acc<S, M, NV>,
) -> Acc<S, M, NV> {
    let depth = x.len();
    let mut rows = rows;
    for r in 0..M {
        rows[r] = &rows[r][..depth];
    }
    for k in 0..depth {
        let b = load::<S, NV>(&x[k]);
        for r in 0..M {
            let c = simd.splat_f32s(rows[r][k]);
            for v in 0..NV {
                acc[r][v] = simd.mul_add_e_f32s(c, b[v], acc[r][v]);
            }
        }
    }
    acc
}

/// N outputs of w · x + bias from output `o` on.
#[inline(always)]
pub(crate) fn affine_block<S: Simd, const N: usize, const NV: usize>(
    simd: S,
    w: &[f32],
    bias: Option<&[f32]>,
    x: &[Row],
    o: usize,
) -> Acc<S, N, NV> {
    let inputs = x.len();
    let mut rows: [&[f32]; N] = [&[]; N];
    for r in 0..N {
        rows[r] = &w[(o + r) * inputs..(o + r + 1) * inputs];
    }
    multiply::<S, N, NV>(simd, rows, x, splat(simd, bias, o))
}

dispatched! {
    /// y `[outputs]` = w `[outputs, inputs]` · x `[inputs]` + bias.
    pub(crate) fn affine(simd: S, w: &'a [f32], bias: Option<&'a [f32]>, x: &'a [Row], y: &'a mut [Row]) {
        affine_with(simd, w, bias, x, y);
    }
}

/// [`affine`] where an instruction set has been dispatched to already.
#[inline(always)]
pub(crate) fn affine_with<S: Simd>(
    simd: S,
    w: &[f32],
    bias: Option<&[f32]>,
    x: &[Row],
    y: &mut [Row],
) {
    debug_assert_eq!(w.len(), y.len() * x.len());
    for_width!(S, |MR, NV| in_blocks!(MR, y.len(), |o, N| {
        let acc = affine_block::<S, N, NV>(simd, w, bias, x, o);
        store_block::<S, N, NV>(acc, &mut y[o..o + N]);
    }))
}

dispatched! {
    /// x `[inputs]` = wᵀ · y with w `[outputs, inputs]`, y `[outputs]`.
    pub(crate) fn affine_transposed(simd: S, w: &'a [f32], y: &'a [Row], x: &'a mut [Row]) {
        let inputs = x.len();
        for_width!(S, |MR, NV| in_blocks!(MR, inputs, |i, N| {
            let mut acc: Acc<S, N, NV> = splat(simd, None, 0);
            for (w, y) in w.chunks_exact(inputs).zip(y) {
                let w = &w[i..i + N];
                let b = load::<S, NV>(y);
                for r in 0..N {
                    let c = simd.splat_f32s(w[r]);
                    for v in 0..NV {
                        acc[r][v] = simd.mul_add_e_f32s(c, b[v], acc[r][v]);
                    }
                }
            }
            store_block::<S, N, NV>(acc, &mut x[i..i + N]);
        }))
    }
}

/// One term of [`outer`]: dy `[outputs]` feature-major, and x as tiles `[⌈inputs/32⌉][32 rows]`.
pub(crate) type OuterTerm<'a> = (&'a [Row], &'a [Row]);

dispatched! {
    /// dw `[outputs, inputs]` += Σ dy · xᵀ over the terms: each element is added to once.
    pub(crate) fn outer(simd: S, terms: &'a [OuterTerm<'a>], inputs: usize, dw: &'a mut [f32]) {
        let outputs = dw.len() / inputs;
        for_width!(S, |MR, NV| in_blocks!(MR, outputs, |o, N| {
            let dw = &mut dw[o * inputs..(o + N) * inputs];
            for from in (0..inputs).step_by(PANEL) {
                let width = PANEL.min(inputs - from);
                // A narrow last tile leaves whole vectors empty: skip those.
                if width <= S::F32_LANES {
                    outer_block::<S, N, 1>(simd, terms, (o, from), &mut dw[from..], inputs, width);
                } else {
                    outer_block::<S, N, NV>(simd, terms, (o, from), &mut dw[from..], inputs, width);
                }
            }
        }))
    }
}

#[inline(always)]
fn outer_block<S: Simd, const M: usize, const NV: usize>(
    simd: S,
    terms: &[OuterTerm<'_>],
    (o, from): (usize, usize),
    dw: &mut [f32],
    stride: usize,
    width: usize,
) {
    let mut acc: Acc<S, M, NV> = splat(simd, None, 0);
    for (dy, tiles) in terms {
        let dy = &dy[o..o + M];
        let mut rows: [&[f32]; M] = [&[]; M];
        for r in 0..M {
            rows[r] = &dy[r].0;
        }
        acc = multiply::<S, M, NV>(simd, rows, &tiles[from..from + PANEL], acc);
    }
    for r in 0..M {
        let dw = &mut dw[r * stride..r * stride + width];
        for v in 0..NV {
            let from = v * S::F32_LANES;
            if from + S::F32_LANES <= width {
                let (out, _) = S::as_mut_simd_f32s(&mut dw[from..from + S::F32_LANES]);
                out[0] = simd.add_f32s(out[0], acc[r][v]);
            } else if from < width {
                let out = &mut dw[from..];
                let sum = simd.add_f32s(simd.partial_load_f32s(out), acc[r][v]);
                simd.partial_store_f32s(out, sum);
            }
        }
    }
}

dispatched! {
    /// sums[i] += Σ over the panel's rows of d[i].
    pub(crate) fn add_row_sums(simd: S, d: &'a [Row], sums: &'a mut [f32]) {
        for (row, sum) in d.iter().zip(sums) {
            let (v, _) = S::as_simd_f32s(&row.0);
            let mut total = v[0];
            for &v in &v[1..] {
                total = simd.add_f32s(total, v);
            }
            *sum += simd.reduce_sum_f32s(total);
        }
    }
}

/// Replaces each vector of `y` by `f` of it and the vectors of `a` at the same place.
#[inline(always)]
pub(crate) fn map2<S: Simd>(
    y: &mut [Row],
    a: &[Row],
    mut f: impl FnMut(S::f32s, S::f32s) -> S::f32s,
) {
    for (y, a) in y.iter_mut().zip(a) {
        let (y, _) = S::as_mut_simd_f32s(&mut y.0);
        let (a, _) = S::as_simd_f32s(&a.0);
        for (y, &a) in y.iter_mut().zip(a) {
            *y = f(*y, a);
        }
    }
}

dispatched! {
    /// x = tanh x.
    pub(crate) fn tanh_panel(simd: S, x: &'a mut [Row]) {
        for row in x {
            let (v, _) = S::as_mut_simd_f32s(&mut row.0);
            for v in v {
                *v = tanh(simd, *v);
            }
        }
    }
}

dispatched! {
    /// y = f(y + x).
    pub(crate) fn add_activate(
        simd: S,
        activation: HiddenActivation,
        y: &'a mut [Row],
        x: &'a [Row],
    ) {
        with_activation!(activation, |f| {
            map2::<S>(y, x, |y, x| f.apply(simd, simd.add_f32s(y, x)));
        });
    }
}

dispatched! {
    /// y = f(x + c) with one c per feature.
    pub(crate) fn shifted(
        simd: S,
        activation: HiddenActivation,
        x: &'a [Row],
        c: &'a [f32],
        y: &'a mut [Row],
    ) {
        with_activation!(activation, |f| shifted_by(simd, f, x, c, y));
    }
}

/// [`shifted`] where an instruction set has been dispatched to already.
#[inline(always)]
pub(crate) fn shifted_by<S: Simd>(
    simd: S,
    f: impl Elementwise,
    x: &[Row],
    c: &[f32],
    y: &mut [Row],
) {
    for ((x, &c), y) in x.iter().zip(c).zip(y) {
        let c = simd.splat_f32s(c);
        let (x, _) = S::as_simd_f32s(&x.0);
        let (y, _) = S::as_mut_simd_f32s(&mut y.0);
        for (&x, y) in x.iter().zip(y) {
            *y = f.apply(simd, simd.add_f32s(x, c));
        }
    }
}

/// x = f(x) where an instruction set has been dispatched to already.
#[inline(always)]
pub(crate) fn each<S: Simd>(simd: S, f: impl Elementwise, x: &mut [Row]) {
    for row in x {
        let (v, _) = S::as_mut_simd_f32s(&mut row.0);
        for v in v {
            *v = f.apply(simd, *v);
        }
    }
}

dispatched! {
    /// y += x.
    pub(crate) fn add(simd: S, y: &'a mut [Row], x: &'a [Row]) {
        map2::<S>(y, x, |y, x| simd.add_f32s(y, x));
    }
}

dispatched! {
    /// d ∘= (1 − h²): back through h = tanh(·).
    pub(crate) fn tanh_backward(simd: S, d: &'a mut [Row], h: &'a [Row]) {
        map2::<S>(d, h, |d, h| simd.negate_mul_add_e_f32s(simd.mul_f32s(h, h), d, d));
    }
}

dispatched! {
    /// x = ELU(x).
    pub(crate) fn elu_panel(simd: S, x: &'a mut [Row]) {
        for row in x {
            let (v, _) = S::as_mut_simd_f32s(&mut row.0);
            for v in v {
                *v = elu(simd, *v);
            }
        }
    }
}

dispatched! {
    /// d ∘= 1 where h > 0, h + 1 elsewhere: back through h = ELU(·).
    pub(crate) fn elu_backward(simd: S, d: &'a mut [Row], h: &'a [Row]) {
        let zero = simd.splat_f32s(0.0);
        map2::<S>(d, h, |d, h| {
            simd.select_f32s(simd.greater_than_f32s(h, zero), d, simd.mul_add_e_f32s(d, h, d))
        });
    }
}

dispatched! {
    /// x = scale·tanh x.
    pub(crate) fn scaled_tanh(simd: S, x: &'a mut [Row], scale: f32) {
        let c = simd.splat_f32s(scale);
        for row in x {
            let (v, _) = S::as_mut_simd_f32s(&mut row.0);
            for v in v {
                *v = simd.mul_f32s(c, tanh(simd, *v));
            }
        }
    }
}

dispatched! {
    /// d ∘= scale·(1 − (y/scale)²): back through y = scale·tanh(·).
    pub(crate) fn scaled_tanh_backward(simd: S, d: &'a mut [Row], y: &'a [Row], scale: f32) {
        let c = simd.splat_f32s(scale);
        let inverse = simd.splat_f32s(1.0 / scale);
        map2::<S>(d, y, |d, y| {
            simd.mul_f32s(d, simd.negate_mul_add_e_f32s(simd.mul_f32s(y, inverse), y, c))
        });
    }
}

dispatched! {
    /// x = x where positive, slope·x elsewhere; 0 ≤ slope < 1.
    pub(crate) fn leaky_relu(simd: S, x: &'a mut [Row], slope: f32) {
        let slope = simd.splat_f32s(slope);
        for row in x {
            let (v, _) = S::as_mut_simd_f32s(&mut row.0);
            for v in v {
                *v = simd.max_f32s(simd.mul_f32s(slope, *v), *v);
            }
        }
    }
}

dispatched! {
    /// d ∘= 1 where h > 0, slope elsewhere: back through h = leaky_relu(·).
    pub(crate) fn leaky_relu_backward(simd: S, d: &'a mut [Row], h: &'a [Row], slope: f32) {
        let slope = simd.splat_f32s(slope);
        let zero = simd.splat_f32s(0.0);
        map2::<S>(d, h, |d, h| {
            simd.select_f32s(simd.greater_than_f32s(h, zero), d, simd.mul_f32s(d, slope))
        });
    }
}

dispatched! {
    /// sums[i] += Σ over the panel's rows of d, times slope where h[i] ≤ 0.
    pub(crate) fn add_masked_sums(simd: S, d: &'a Row, h: &'a [Row], slope: f32, sums: &'a mut [f32]) {
        let (zero, slope) = (simd.splat_f32s(0.0), simd.splat_f32s(slope));
        let (d, _) = S::as_simd_f32s(&d.0);
        for (h, sum) in h.iter().zip(sums) {
            let (h, _) = S::as_simd_f32s(&h.0);
            let mut total = zero;
            for (&d, &h) in d.iter().zip(h) {
                let positive = simd.greater_than_f32s(h, zero);
                total = simd.add_f32s(total, simd.select_f32s(positive, d, simd.mul_f32s(d, slope)));
            }
            *sum += simd.reduce_sum_f32s(total);
        }
    }
}

dispatched! {
    /// y = t x + (1 − t) y with one t per row of the panel.
    pub(crate) fn mix(simd: S, t: &'a Row, x: &'a [Row], y: &'a mut [Row]) {
        let (t, _) = S::as_simd_f32s(&t.0);
        for (x, y) in x.iter().zip(y) {
            let (x, _) = S::as_simd_f32s(&x.0);
            let (y, _) = S::as_mut_simd_f32s(&mut y.0);
            for ((&t, &x), y) in t.iter().zip(x).zip(y) {
                *y = simd.mul_add_e_f32s(t, simd.sub_f32s(x, *y), *y);
            }
        }
    }
}

dispatched! {
    /// Σ_i x[i]² for each row of the panel.
    pub(crate) fn square_norms(simd: S, x: &'a [Row]) -> Row {
        let mut sums = Row::ZERO;
        for x in x {
            let (x, _) = S::as_simd_f32s(&x.0);
            let (sums, _) = S::as_mut_simd_f32s(&mut sums.0);
            for (sum, &x) in sums.iter_mut().zip(x) {
                *sum = simd.mul_add_e_f32s(x, x, *sum);
            }
        }
        sums
    }
}

dispatched! {
    /// x[i] ∘= c, one factor per row of the panel.
    pub(crate) fn scale_rows(simd: S, x: &'a mut [Row], c: &'a Row) {
        let (c, _) = S::as_simd_f32s(&c.0);
        for x in x {
            let (x, _) = S::as_mut_simd_f32s(&mut x.0);
            for (x, &c) in x.iter_mut().zip(c) {
                *x = simd.mul_f32s(*x, c);
            }
        }
    }
}

dispatched! {
    /// For every row h of w `[rows, columns]`, with q as tiles `[⌈columns/32⌉][rows]`:
    /// dots[h] = ⟨w[h], q[h]⟩ and dw[h] += c[h] q[h], the product rounded before it is added.
    pub(crate) fn weigh_rows(
        simd: S,
        w: &'a [f32],
        q: &'a [Row],
        c: &'a [f32],
        dw: &'a mut [f32],
        dots: &'a mut [f32],
    ) {
        let rows = dots.len();
        let columns = w.len() / rows;
        for (h, (w, dw)) in w.chunks_exact(columns).zip(dw.chunks_exact_mut(columns)).enumerate() {
            let scale = simd.splat_f32s(c[h]);
            let mut dot = simd.splat_f32s(0.0);
            for (tile, (w, dw)) in w.chunks(PANEL).zip(dw.chunks_mut(PANEL)).enumerate() {
                let q = &q[tile * rows + h].0[..w.len()];
                let (w_whole, w_rest) = S::as_simd_f32s(w);
                let (q_whole, q_rest) = S::as_simd_f32s(q);
                let (dw_whole, dw_rest) = S::as_mut_simd_f32s(dw);
                for ((&w, &q), dw) in w_whole.iter().zip(q_whole).zip(dw_whole) {
                    dot = simd.mul_add_e_f32s(w, q, dot);
                    *dw = simd.add_f32s(*dw, simd.mul_f32s(scale, q));
                }
                if !q_rest.is_empty() {
                    let q = simd.partial_load_f32s(q_rest);
                    dot = simd.mul_add_e_f32s(simd.partial_load_f32s(w_rest), q, dot);
                    let sum = simd.add_f32s(simd.partial_load_f32s(dw_rest), simd.mul_f32s(scale, q));
                    simd.partial_store_f32s(dw_rest, sum);
                }
            }
            dots[h] = simd.reduce_sum_f32s(dot);
        }
    }
}

/// Applies an activation to a panel.
pub(crate) fn activate(arch: Arch, activation: Activation, x: &mut [Row]) {
    match activation {
        Activation::Identity => {}
        Activation::Tanh => tanh_panel(arch, x),
        Activation::Relu => leaky_relu(arch, x, 0.0),
        Activation::Elu => elu_panel(arch, x),
        Activation::LeakyRelu { slope } => leaky_relu(arch, x, slope),
        Activation::ScaledTanh { scale } => scaled_tanh(arch, x, scale),
    }
}

/// Takes d = dL/dy back to dL/dx for y = activation(x), given y.
pub(crate) fn activate_backward(arch: Arch, activation: Activation, d: &mut [Row], y: &[Row]) {
    match activation {
        Activation::Identity => {}
        Activation::Tanh => tanh_backward(arch, d, y),
        Activation::Relu => leaky_relu_backward(arch, d, y, 0.0),
        Activation::Elu => elu_backward(arch, d, y),
        Activation::LeakyRelu { slope } => leaky_relu_backward(arch, d, y, slope),
        Activation::ScaledTanh { scale } => scaled_tanh_backward(arch, d, y, scale),
    }
}

dispatched! {
    /// y += x over flat vectors of equal length.
    pub(crate) fn add_assign(simd: S, y: &'a mut [f32], x: &'a [f32]) {
        let (y_head, y_tail) = S::as_mut_simd_f32s(y);
        let (x_head, x_tail) = S::as_simd_f32s(x);
        for (y, &x) in y_head.iter_mut().zip(x_head) {
            *y = simd.add_f32s(*y, x);
        }
        let sum = simd.add_f32s(simd.partial_load_f32s(y_tail), simd.partial_load_f32s(x_tail));
        simd.partial_store_f32s(y_tail, sum);
    }
}

/// Cuts row-major data `[rows, width]` (at most 32 rows) into zero-padded tiles
/// `[⌈width/32⌉][32 rows]`.
pub(crate) fn tiles_from_rows(data: &[f32], width: usize, tiles: &mut [Row]) {
    tiles.fill(Row::ZERO);
    for (j, tile) in tiles.chunks_exact_mut(PANEL).enumerate() {
        let from = j * PANEL;
        let to = width.min(from + PANEL);
        for (row, out) in data.chunks_exact(width).zip(tile) {
            out.0[..to - from].copy_from_slice(&row[from..to]);
        }
    }
}

/// Feature-major panel `[width]` of row-major data `[rows, width]` (at most 32 rows), zero-padded.
pub(crate) fn panel_from_rows(data: &[f32], width: usize, panel: &mut [Row]) {
    panel.fill(Row::ZERO);
    for (m, row) in data.chunks_exact(width).enumerate() {
        for (&value, out) in row.iter().zip(panel.iter_mut()) {
            out.0[m] = value;
        }
    }
}

/// Row-major data `[rows, width]` of a feature-major panel.
pub(crate) fn rows_from_panel(panel: &[Row], width: usize, data: &mut [f32]) {
    for (m, row) in data.chunks_exact_mut(width).enumerate() {
        for (value, from) in row.iter_mut().zip(panel) {
            *value = from.0[m];
        }
    }
}
