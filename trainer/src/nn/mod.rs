//! Networks on candle: training on another device than the processor, automatic differentiation
//! where the fused engine has no hand-written one, and a second opinion where it has.
//!
//! * [`Params`]: an engine [`Layout`] as candle variables, so that there is one definition of each
//!   network's parameters;
//! * [`adam`]: the engine's Adam;
//! * [`recorded`]: operations that are asked for once and repeated;
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
pub mod recorded;
pub mod sog;
pub mod updates;
pub mod vae;

use candle_core::{D, DType, Device, Result, Tensor, Var, backprop::GradStore};
use sog_engine::{
    layout::{Layout, TensorSpec},
    mlp::Part,
};

use self::recorded::Inputs;

/// Named tensors on a device, and one flat vector to the outside.
///
/// They may be those of several networks of one layout. Each tensor then has the networks as its first
/// dimension, a vector one of size 1 behind that, and what is written for one network `[rows, …]` works
/// for all of them `[networks, rows, …]`.
pub struct Params {
    layout: Layout,
    device: Device,
    /// How many networks, where there is a dimension for them.
    networks: Option<usize>,
    /// In the order of the layout.
    leaves: Vec<Var>,
}

impl Params {
    /// Variables with these values on `device`.
    ///
    /// # Errors
    /// If candle refuses, as it does when `values` is not as long as the layout.
    pub fn new(layout: Layout, values: &[f32], device: &Device) -> Result<Self> {
        Self::of(layout, &[values], device)
    }

    /// Those of one network, or of several.
    ///
    /// # Errors
    /// If there is none; as [`Params::new`].
    pub fn of(layout: Layout, values: &[&[f32]], device: &Device) -> Result<Self> {
        let networks = match values.len() {
            0 => candle_core::bail!("parameters of no network"),
            1 => None,
            more => Some(more),
        };
        let mut all = Self { layout, device: device.clone(), networks, leaves: vec![] };
        let flat = Tensor::from_vec(values.concat(), all.shape(&[all.layout.len()]), device)?;
        let leaf = |t: &TensorSpec| Var::from_tensor(&all.part(&flat, t)?);
        all.leaves = all.layout.tensors.iter().map(leaf).collect::<Result<_>>()?;
        Ok(all)
    }

    /// How many networks' they are.
    pub fn networks(&self) -> usize {
        self.networks.unwrap_or(1)
    }

    /// What has this shape for one network.
    fn shape(&self, of_one: &[usize]) -> Vec<usize> {
        self.networks.iter().chain(of_one).copied().collect()
    }

    /// The same `[rows, width]` for every network.
    fn for_all(&self, x: &Tensor) -> Result<Tensor> {
        if self.networks.is_some() { x.broadcast_as(self.shape(x.dims())) } else { Ok(x.clone()) }
    }

    /// A tensor as it is in `flat`.
    fn part(&self, flat: &Tensor, spec: &TensorSpec) -> Result<Tensor> {
        let part = flat.narrow(D::Minus1, spec.offset, spec.len())?;
        match (self.networks, &spec.shape[..]) {
            (Some(_), &[width]) => part.reshape(self.shape(&[1, width])),
            (_, shape) => part.reshape(self.shape(shape)),
        }
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
        Ok(self.leaves[self.index(name)?].as_tensor())
    }

    fn index(&self, name: &str) -> Result<usize> {
        let spec = self.layout.tensor(name).map_err(candle_core::Error::wrap)?;
        Ok(self.layout.tensors.iter().take_while(|t| t.offset < spec.offset).count())
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

    /// All parameters, one network behind the other.
    ///
    /// # Errors
    /// If the device fails.
    pub fn values(&self) -> Result<Vec<f32>> {
        self.flat()?.flatten_all()?.to_vec1()
    }

    fn flat(&self) -> Result<Tensor> {
        let flat = self.leaves.iter().map(|leaf| self.flattened(&leaf.as_tensor().detach()));
        Tensor::cat(&flat.collect::<Result<Vec<_>>>()?, D::Minus1)
    }

    /// A tensor's numbers as a vector, or as one for each network.
    fn flattened(&self, x: &Tensor) -> Result<Tensor> {
        x.flatten_from(usize::from(self.networks.is_some()))
    }

    /// Replaces all parameters.
    ///
    /// # Errors
    /// If `values` is not as long as the layout, for each network.
    pub fn set(&self, values: &[f32]) -> Result<()> {
        let shape = self.shape(&[self.layout.len()]);
        self.set_flat(&Tensor::from_slice(values, shape, &self.device)?)
    }

    /// Replaces all parameters by those in the flat tensor.
    fn set_flat(&self, flat: &Tensor) -> Result<()> {
        for (spec, leaf) in self.layout.tensors.iter().zip(&self.leaves) {
            leaf.set(&self.part(flat, spec)?)?;
        }
        Ok(())
    }

    /// Subtracts a flat tensor from the parameters.
    fn subtract(&self, change: &Tensor) -> Result<()> {
        self.set_flat(&(self.flat()? - change)?)
    }

    /// Brings a tensor's numbers back between those of `bounds` `[2]`.
    fn bound(&self, name: &str, bounds: &Tensor) -> Result<()> {
        let leaf = &self.leaves[self.index(name)?];
        let at_least = leaf.broadcast_maximum(&bounds.narrow(0, 0, 1)?)?;
        leaf.set(&at_least.broadcast_minimum(&bounds.narrow(0, 1, 1)?)?)
    }

    /// Gradient of a scalar (or of each network's) with respect to all parameters, flat; zeros where it
    /// does not depend on them.
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
            Some(gradient) => self.flattened(gradient),
            None => self.flattened(&leaf.zeros_like()?),
        };
        Tensor::cat(&self.leaves.iter().map(flat).collect::<Result<Vec<_>>>()?, D::Minus1)
    }
}

/// Rows and width of each block of an input that there is.
fn shapes(parts: &[Part<'_>]) -> Vec<[usize; 2]> {
    let present = parts.iter().filter(|part| part.width > 0);
    present.map(|part| [part.data.len() / part.width, part.width]).collect()
}

/// The blocks' numbers, in the same order.
fn data<'a>(parts: &[Part<'a>]) -> Vec<&'a [f32]> {
    parts.iter().filter(|part| part.width > 0).map(|part| part.data).collect()
}

/// How many numbers blocks of these shapes hold.
fn lengths(shapes: &[[usize; 2]]) -> Vec<usize> {
    shapes.iter().map(|[rows, width]| rows * width).collect()
}

/// The parts of `inputs` from `first` on, of these shapes.
fn views(inputs: &Inputs, first: usize, shapes: &[[usize; 2]]) -> Result<Vec<Tensor>> {
    shapes.iter().zip(first..).map(|(&[rows, width], i)| inputs.view(i, (rows, width))).collect()
}

/// The blocks of an input side by side, `[rows, widths]`.
fn input(blocks: &[Tensor]) -> Result<Tensor> {
    match blocks {
        [one] => Ok(one.clone()),
        more => Tensor::cat(more, 1),
    }
}

/// Numbers that an update leaves on the device, to be read back in one transfer.
struct Told<const N: usize>(Tensor);

impl<const N: usize> Told<N> {
    fn new(device: &Device) -> Result<Self> {
        Ok(Self(Tensor::zeros(N, DType::F32, device)?))
    }

    /// Leaves these, of one element each.
    fn tell(&self, of: [&Tensor; N]) -> Result<()> {
        let each = of.iter().map(|x| x.detach().reshape(1)).collect::<Result<Vec<_>>>()?;
        self.0.slice_set(&Tensor::cat(&each, 0)?, 0, 0)
    }

    fn read(&self) -> Result<[f32; N]> {
        let all: Vec<f32> = self.0.to_vec1()?;
        let mut out = [0.0; N];
        out.copy_from_slice(&all);
        Ok(out)
    }
}

/// Mean over rows of the squared distance: 1/n Σ ‖a − b‖², as the engine's losses.
///
/// # Errors
/// If the shapes differ.
pub fn mean_squared_distance(a: &Tensor, b: &Tensor) -> Result<Tensor> {
    (a - b)?.sqr()?.sum(D::Minus1)?.mean_all()
}
