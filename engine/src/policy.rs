//! The policy's forward and backward pass over a batch, split where the latent code enters.
//!
//! ```text
//! h₁ = tanh(W₀ s + b₀)      base = W₁ h₁ + b₁          once per state   (PolicyPass::load)
//! lat = W_z z + b_z                                     once per code
//! h₂ = tanh(base + lat)     mean = W₂ h₂ + b₂           once per (state, code)
//! ```
//!
//! A [`PolicyPass`] owns every buffer; once it has seen its largest batch it allocates no more.

use std::ops::Range;

use pulp::Arch;

use crate::error::{EngineError, check_len};
use crate::kernel::{
    PANEL, Row, add_row_sums, add_tanh, affine, affine_transposed, outer, panel_from_rows, panels,
    rows_from_panel, scaled_tanh, scaled_tanh_backward, tanh_backward, tanh_panel, tiles_from_rows,
    transpose,
};
use crate::net::{PolicyArch, PolicyNet};

/// Where the tensors of a policy lie in its flat vector.
#[derive(Debug, Clone)]
pub(crate) struct Offsets {
    pub(crate) w0: Range<usize>,
    pub(crate) b0: Range<usize>,
    pub(crate) w1: Range<usize>,
    pub(crate) b1: Range<usize>,
    pub(crate) wz: Range<usize>,
    pub(crate) bz: Range<usize>,
    pub(crate) w2: Range<usize>,
    pub(crate) b2: Range<usize>,
}

impl Offsets {
    /// Reads the offsets off the layout, whose order of tensors is fixed by [`PolicyArch`].
    fn new(arch: &PolicyArch) -> Self {
        let layout = arch.layout();
        let mut ranges = layout.tensors.iter().map(|t| t.range());
        let mut next = || ranges.next().unwrap_or(0..0);
        let (w0, b0, w1, b1) = (next(), next(), next(), next());
        let (wz, bz) = if arch.latent > 0 { (next(), next()) } else { (0..0, 0..0) };
        Self { w0, b0, w1, b1, wz, bz, w2: next(), b2: next() }
    }
}

/// What the loss wants of one panel: reads the means, writes the gradient with respect to them.
pub(crate) struct PanelOutput<'a> {
    /// Rows of the batch in this panel.
    pub(crate) rows: Range<usize>,
    /// Means, feature-major `[A]`; lanes beyond the panel's rows hold no data.
    pub(crate) mean: &'a [Row],
    /// dL/dmean, feature-major `[A]`, zero on entry; lanes beyond the panel's rows must stay zero.
    pub(crate) d_mean: &'a mut [Row],
}

/// Buffers and passes of one policy shape.
#[derive(Debug, Clone)]
pub struct PolicyPass {
    pub(crate) simd: Arch,
    pub(crate) arch: PolicyArch,
    pub(crate) at: Offsets,
    rows: usize,
    /// Observations as tiles `[panels][⌈S/32⌉·32]`, for the gradient of W₀.
    x_tiles: Vec<Row>,
    /// h₁ `[panels][H]`.
    h1: Vec<Row>,
    /// base `[panels][H]`.
    pub(crate) base: Vec<Row>,
    scratch: Scratch,
}

/// What one panel needs while it is worked on.
#[derive(Debug, Clone)]
struct Scratch {
    x: Vec<Row>,
    z: Vec<Row>,
    z_tiles: Vec<Row>,
    hidden: Vec<Row>,
    hidden_tiles: Vec<Row>,
    d_hidden: Vec<Row>,
    d_first: Vec<Row>,
    mean: Vec<Row>,
    d_mean: Vec<Row>,
}

impl PolicyPass {
    /// Buffers for networks of shape `arch`; they grow with the largest batch.
    pub fn new(arch: &PolicyArch) -> Self {
        let zeros = |n: usize| vec![Row::ZERO; n];
        let tiles = |features: usize| zeros(panels(features) * PANEL);
        Self {
            simd: Arch::new(),
            arch: arch.clone(),
            at: Offsets::new(arch),
            rows: 0,
            x_tiles: Vec::new(),
            h1: Vec::new(),
            base: Vec::new(),
            scratch: Scratch {
                x: zeros(arch.obs),
                z: zeros(arch.latent),
                z_tiles: tiles(arch.latent),
                hidden: zeros(arch.hidden),
                hidden_tiles: tiles(arch.hidden),
                d_hidden: zeros(arch.hidden),
                d_first: zeros(arch.hidden),
                mean: zeros(arch.action),
                d_mean: zeros(arch.action),
            },
        }
    }

    /// The shape these buffers are for.
    pub fn arch(&self) -> &PolicyArch {
        &self.arch
    }

    /// Number of rows loaded.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Takes a batch of observations `[rows, S]` and evaluates the state branch.
    ///
    /// What follows ([`PolicyPass::mean`], search, gradients) refers to this batch and to the
    /// parameters given here; load again when they have changed.
    ///
    /// # Errors
    /// If `net` has another shape, or `obs` is empty or not a whole number of observations.
    pub fn load(&mut self, net: &PolicyNet, obs: &[f32]) -> Result<(), EngineError> {
        self.check_net(net)?;
        let width = self.arch.obs;
        let rows = obs.len() / width;
        check_len("observations", obs.len(), rows.max(1) * width)?;
        self.rows = rows;
        let (count, hidden, x_stride) = (panels(rows), self.arch.hidden, panels(width) * PANEL);
        self.x_tiles.resize(count * x_stride, Row::ZERO);
        self.h1.resize(count * hidden, Row::ZERO);
        self.base.resize(count * hidden, Row::ZERO);
        let p = &net.params;
        let outputs = self.h1.chunks_exact_mut(hidden).zip(self.base.chunks_exact_mut(hidden));
        let inputs = obs.chunks(PANEL * width).zip(self.x_tiles.chunks_exact_mut(x_stride));
        for ((obs, x_tiles), (h1, base)) in inputs.zip(outputs) {
            let x = &mut self.scratch.x;
            tiles_from_rows(obs, width, x_tiles);
            panel_from_rows(obs, width, x);
            affine(self.simd, &p[self.at.w0.clone()], Some(&p[self.at.b0.clone()]), x, h1);
            tanh_panel(self.simd, h1);
            affine(self.simd, &p[self.at.w1.clone()], Some(&p[self.at.b1.clone()]), h1, base);
        }
        Ok(())
    }

    /// Means `[rows, A]` of the loaded batch for the codes `latents [rows, Z]`.
    ///
    /// # Errors
    /// If `net` has another shape or a slice the wrong length.
    pub fn mean(
        &mut self,
        net: &PolicyNet,
        latents: &[f32],
        out: &mut [f32],
    ) -> Result<(), EngineError> {
        self.check_net(net)?;
        check_len("latent codes", latents.len(), self.rows * self.arch.latent)?;
        check_len("means", out.len(), self.rows * self.arch.action)?;
        let action = self.arch.action;
        for panel in 0..panels(self.rows) {
            let rows = self.rows_of(panel);
            self.forward(&net.params, panel, latents);
            rows_from_panel(
                &self.scratch.mean,
                action,
                &mut out[rows.start * action..rows.end * action],
            );
        }
        Ok(())
    }

    /// Runs the loaded batch forward with the codes `latents [rows, Z]`, asks `loss` for dL/dmean
    /// of each panel, in order, and adds dL/dθ to `grad` (not to that of `log_std`).
    ///
    /// The lengths have been checked by the caller.
    pub(crate) fn backward(
        &mut self,
        net: &PolicyNet,
        latents: &[f32],
        grad: &mut [f32],
        mut loss: impl FnMut(PanelOutput<'_>),
    ) {
        for panel in 0..panels(self.rows) {
            self.forward(&net.params, panel, latents);
            self.scratch.d_mean.fill(Row::ZERO);
            loss(PanelOutput {
                rows: self.rows_of(panel),
                mean: &self.scratch.mean,
                d_mean: &mut self.scratch.d_mean,
            });
            self.backward_panel(&net.params, panel, grad);
        }
    }

    pub(crate) fn check_net(&self, net: &PolicyNet) -> Result<(), EngineError> {
        if *net.arch() == self.arch {
            return check_len("policy parameters", net.params.len(), net.layout().len());
        }
        Err(EngineError::Range {
            what: "policy shape",
            got: format!("{:?}", net.arch()),
            need: "the shape that the buffers were made for",
        })
    }

    pub(crate) fn rows_of(&self, panel: usize) -> Range<usize> {
        panel * PANEL..self.rows.min((panel + 1) * PANEL)
    }

    /// h₂ and mean of one panel, into the scratch buffers.
    fn forward(&mut self, p: &[f32], panel: usize, latents: &[f32]) {
        let (simd, at, s) = (self.simd, &self.at, &mut self.scratch);
        let (hidden, latent) = (self.arch.hidden, self.arch.latent);
        let base = &self.base[panel * hidden..(panel + 1) * hidden];
        if latent > 0 {
            let from = panel * PANEL * latent;
            let to = latents.len().min(from + PANEL * latent);
            tiles_from_rows(&latents[from..to], latent, &mut s.z_tiles);
            panel_from_rows(&latents[from..to], latent, &mut s.z);
            affine(simd, &p[at.wz.clone()], Some(&p[at.bz.clone()]), &s.z, &mut s.hidden);
            add_tanh(simd, &mut s.hidden, base);
        } else {
            s.hidden.copy_from_slice(base);
            tanh_panel(simd, &mut s.hidden);
        }
        affine(simd, &p[at.w2.clone()], Some(&p[at.b2.clone()]), &s.hidden, &mut s.mean);
        if let Some(scale) = self.arch.mean_scale {
            scaled_tanh(simd, &mut s.mean, scale);
        }
    }

    /// Adds one panel's share of dL/dθ, given dL/dmean in the scratch buffers.
    fn backward_panel(&mut self, p: &[f32], panel: usize, grad: &mut [f32]) {
        let (simd, at, s) = (self.simd, &self.at, &mut self.scratch);
        let (hidden, latent) = (self.arch.hidden, self.arch.latent);
        let h1 = &self.h1[panel * hidden..(panel + 1) * hidden];
        if let Some(scale) = self.arch.mean_scale {
            scaled_tanh_backward(simd, &mut s.d_mean, &s.mean, scale);
        }
        transpose(&s.hidden, &mut s.hidden_tiles);
        outer(simd, &s.d_mean, &s.hidden_tiles, hidden, &mut grad[at.w2.clone()]);
        add_row_sums(simd, &s.d_mean, &mut grad[at.b2.clone()]);

        affine_transposed(simd, &p[at.w2.clone()], &s.d_mean, &mut s.d_hidden);
        tanh_backward(simd, &mut s.d_hidden, &s.hidden);
        if latent > 0 {
            outer(simd, &s.d_hidden, &s.z_tiles, latent, &mut grad[at.wz.clone()]);
            add_row_sums(simd, &s.d_hidden, &mut grad[at.bz.clone()]);
        }
        transpose(h1, &mut s.hidden_tiles);
        outer(simd, &s.d_hidden, &s.hidden_tiles, hidden, &mut grad[at.w1.clone()]);
        add_row_sums(simd, &s.d_hidden, &mut grad[at.b1.clone()]);

        affine_transposed(simd, &p[at.w1.clone()], &s.d_hidden, &mut s.d_first);
        tanh_backward(simd, &mut s.d_first, h1);
        let x_stride = panels(self.arch.obs) * PANEL;
        let x_tiles = &self.x_tiles[panel * x_stride..(panel + 1) * x_stride];
        outer(simd, &s.d_first, x_tiles, self.arch.obs, &mut grad[at.w0.clone()]);
        add_row_sums(simd, &s.d_first, &mut grad[at.b0.clone()]);
    }
}
