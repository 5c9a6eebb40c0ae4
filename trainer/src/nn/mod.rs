//! Networks on candle: automatic differentiation where the fused engine has no hand-written one,
//! and a second opinion where it has.
//!
//! * [`Params`]: an engine [`Layout`] as one flat candle variable, so that there is one definition
//!   of each network's parameters;
//! * [`policy`]: the two-branch policy;
//! * [`vae`]: VAE-GAIL's trajectory autoencoder.

pub mod policy;
pub mod vae;

use candle_core::{D, Device, Result, Tensor, Var};
use sog_engine::layout::Layout;

/// Named tensors in one flat variable.
pub struct Params {
    layout: Layout,
    flat: Var,
}

impl Params {
    /// A variable with these values on `device`.
    ///
    /// # Errors
    /// If candle refuses, as it does when `values` is not as long as the layout.
    pub fn new(layout: Layout, values: &[f32], device: &Device) -> Result<Self> {
        let flat = Var::from_tensor(&Tensor::from_slice(values, layout.len(), device)?)?;
        Ok(Self { layout, flat })
    }

    /// A tensor by name, in its shape; gradients flow back to the flat variable.
    ///
    /// # Errors
    /// If there is no such tensor.
    pub fn get(&self, name: &str) -> Result<Tensor> {
        let spec = self.layout.tensor(name).map_err(candle_core::Error::wrap)?;
        let range = spec.range();
        self.flat.narrow(0, range.start, range.len())?.reshape(spec.shape.clone())
    }

    /// x W^T + b for the layer `name`; x `[rows, in]`.
    ///
    /// # Errors
    /// If there is no such layer or the widths differ.
    pub fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let weight = self.get(&format!("{name}.weight"))?;
        let bias = self.get(&format!("{name}.bias"))?;
        x.matmul(&weight.t()?)?.broadcast_add(&bias)
    }

    /// All parameters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn values(&self) -> Result<Vec<f32>> {
        self.flat.to_vec1()
    }

    /// Replaces all parameters.
    ///
    /// # Errors
    /// If `values` is not as long as the layout.
    pub fn set(&self, values: &[f32]) -> Result<()> {
        self.flat.set(&Tensor::from_slice(values, self.layout.len(), self.flat.device())?)
    }

    /// Gradient of a scalar with respect to all parameters, flat.
    ///
    /// # Errors
    /// If the loss does not depend on them.
    pub fn gradient(&self, loss: &Tensor) -> Result<Vec<f32>> {
        let gradients = loss.backward()?;
        let found = gradients.get(self.flat.as_tensor());
        found.ok_or_else(|| candle_core::Error::Msg("no gradient".to_string()))?.to_vec1()
    }
}

/// Mean over rows of the squared distance: 1/n Σ ‖a − b‖², as the engine's losses.
///
/// # Errors
/// If the shapes differ.
pub fn mean_squared_distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    (a - b)?.sqr()?.sum(D::Minus1)?.mean_all()
}
