//! Networks on candle: training on another device than the processor, automatic differentiation
//! where the fused engine has no hand-written one, and a second opinion where it has.
//!
//! * [`Params`]: an engine [`Layout`] as candle variables, so that there is one definition of each
//!   network's parameters;
//! * [`adam`]: the engine's Adam over one flat tensor;
//! * [`mlp`], [`policy`], [`conv`]: the networks;
//! * [`sog`], [`ppo`], [`discriminator`], [`posterior`]: the updates that the engine fuses on the
//!   processor, op by op on any device;
//! * [`updates`]: who computes an update, the engine or one of these;
//! * [`vae`]: VAE-GAIL's trajectory autoencoder.

pub mod adam;
pub mod conv;
pub mod discriminator;
pub mod mlp;
pub mod policy;
pub mod posterior;
pub mod ppo;
pub mod sog;
pub mod updates;
pub mod vae;

use candle_core::{D, DType, Device, Result, Tensor, Var, backprop::GradStore};
use sog_engine::{layout::Layout, mlp::Part};

/// Named tensors on a device, and one flat vector to the outside.
pub struct Params {
    layout: Layout,
    device: Device,
    /// In the order of the layout.
    leaves: Vec<Var>,
}

impl Params {
    /// Variables with these values on `device`.
    ///
    /// # Errors
    /// If candle refuses, as it does when `values` is not as long as the layout.
    pub fn new(layout: Layout, values: &[f32], device: &Device) -> Result<Self> {
        let flat = Tensor::from_slice(values, layout.len(), device)?;
        let leaf = |t: &sog_engine::layout::TensorSpec| {
            Var::from_tensor(&flat.narrow(0, t.offset, t.len())?.reshape(t.shape.clone())?)
        };
        let leaves = layout.tensors.iter().map(leaf).collect::<Result<_>>()?;
        Ok(Self { layout, device: device.clone(), leaves })
    }

    /// Where the parameters are.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// Names and places of the tensors in the flat vector.
    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// A tensor by name, in its shape.
    ///
    /// # Errors
    /// If there is no such tensor.
    pub fn get(&self, name: &str) -> Result<&Tensor> {
        let spec = self.layout.tensor(name).map_err(candle_core::Error::wrap)?;
        let index = self.layout.tensors.iter().take_while(|t| t.offset < spec.offset).count();
        Ok(self.leaves[index].as_tensor())
    }

    /// x W^T + b for the layer `name`; x `[rows, in]`.
    ///
    /// # Errors
    /// If there is no such layer or the widths differ.
    pub fn linear(&self, name: &str, x: &Tensor) -> Result<Tensor> {
        let weight = self.get(&format!("{name}.weight"))?;
        let bias = self.get(&format!("{name}.bias"))?;
        x.matmul(&weight.t()?)?.broadcast_add(bias)
    }

    /// All parameters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn values(&self) -> Result<Vec<f32>> {
        let flat = self.leaves.iter().map(|leaf| leaf.flatten_all()).collect::<Result<Vec<_>>>()?;
        Tensor::cat(&flat, 0)?.to_vec1()
    }

    /// Replaces all parameters.
    ///
    /// # Errors
    /// If `values` is not as long as the layout.
    pub fn set(&self, values: &[f32]) -> Result<()> {
        self.set_flat(&Tensor::from_slice(values, self.layout.len(), &self.device)?)
    }

    /// Replaces all parameters by those in the flat tensor.
    ///
    /// # Errors
    /// If it is not as long as the layout.
    pub fn set_flat(&self, flat: &Tensor) -> Result<()> {
        for (spec, leaf) in self.layout.tensors.iter().zip(&self.leaves) {
            leaf.set(&flat.narrow(0, spec.offset, spec.len())?.reshape(spec.shape.clone())?)?;
        }
        Ok(())
    }

    /// Gradient of a scalar with respect to all parameters, flat; zeros where it does not depend on
    /// them.
    ///
    /// # Errors
    /// If the device fails.
    pub fn gradient(&self, loss: &Tensor) -> Result<Tensor> {
        self.collect(&loss.backward()?)
    }

    /// The same from gradients of several networks' parameters.
    ///
    /// # Errors
    /// If the device fails.
    pub fn collect(&self, gradients: &GradStore) -> Result<Tensor> {
        let flat = |leaf: &Var| match gradients.get(leaf.as_tensor()) {
            Some(gradient) => gradient.flatten_all(),
            None => Tensor::zeros(leaf.elem_count(), DType::F32, &self.device),
        };
        Tensor::cat(&self.leaves.iter().map(flat).collect::<Result<Vec<_>>>()?, 0)
    }
}

/// The blocks of an input side by side on `device`, `[rows, widths]`.
fn input(parts: &[Part<'_>], device: &Device) -> Result<Tensor> {
    let present = parts.iter().filter(|part| part.width > 0);
    let tensor = |part: &Part<'_>| {
        Tensor::from_slice(part.data, (part.data.len() / part.width, part.width), device)
    };
    Tensor::cat(&present.map(tensor).collect::<Result<Vec<_>>>()?, 1)
}

/// Numbers computed on a device, in one transfer.
fn scalars<const N: usize>(of: [&Tensor; N]) -> Result<[f32; N]> {
    let all: Vec<f32> = Tensor::stack(&of, 0)?.to_vec1()?;
    let mut out = [0.0; N];
    out.copy_from_slice(&all);
    Ok(out)
}

/// Mean over rows of the squared distance: 1/n Σ ‖a − b‖², as the engine's losses.
///
/// # Errors
/// If the shapes differ.
pub fn mean_squared_distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    (a - b)?.sqr()?.sum(D::Minus1)?.mean_all()
}
