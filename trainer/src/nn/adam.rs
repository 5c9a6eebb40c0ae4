//! The engine's Adam on a device.

use candle_core::{D, Device, Result, Tensor, backprop::GradStore};
use sog_engine::adam::{Adam, AdamConfig};

use super::Params;

/// What differs from step to step, as [`DeviceAdam::scalars`] gives it.
pub const SCALARS: usize = 3;

/// The moments of the parameters of a network, or of several that take the same steps, taken from the
/// engine's vectors and given back to them.
pub struct DeviceAdam {
    config: AdamConfig,
    steps: u64,
    m: Tensor,
    v: Tensor,
}

/// A network with its optimiser.
pub type Optimised<'a> = (&'a Params, &'a DeviceAdam);

impl DeviceAdam {
    /// Goes on where `adam` is.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(adam: &Adam, device: &Device) -> Result<Self> {
        Self::of(&[adam], device)
    }

    /// Goes on where those of one network, or of several, are; see [`Params`].
    ///
    /// # Errors
    /// If they have taken different numbers of steps, or the device fails.
    pub fn of(each: &[&Adam], device: &Device) -> Result<Self> {
        let Some(first) = each.first() else { candle_core::bail!("the optimiser of no network") };
        if each.iter().any(|adam| (adam.steps, adam.config) != (first.steps, first.config)) {
            candle_core::bail!("networks that are trained together take the same steps");
        }
        let tensor = |of: fn(&Adam) -> &[f32]| match each {
            [one] => Tensor::from_slice(of(one), of(one).len(), device),
            more => {
                let all = more.iter().map(|adam| of(adam)).collect::<Vec<_>>().concat();
                Tensor::from_vec(all, (more.len(), of(first).len()), device)
            }
        };
        Ok(Self {
            config: first.config,
            steps: first.steps,
            m: tensor(|adam| &adam.m)?,
            v: tensor(|adam| &adam.v)?,
        })
    }

    /// Goes on where `adam` is, of the same length, in the same place on the device.
    ///
    /// # Errors
    /// If the length differs or the device fails.
    pub fn load(&mut self, adam: &Adam) -> Result<()> {
        self.load_each(&[adam])
    }

    /// The same for as many networks as there are.
    ///
    /// # Errors
    /// As [`DeviceAdam::of`]; if the number or the length differs.
    pub fn load_each(&mut self, each: &[&Adam]) -> Result<()> {
        let other = Self::of(each, self.m.device())?;
        (self.config, self.steps) = (other.config, other.steps);
        self.m.slice_set(&other.m, 0, 0)?;
        self.v.slice_set(&other.v, 0, 0)
    }

    /// Counts a step of size `lr` and gives what [`minimise`] needs to know of it: the step size and the root of
    /// the second moment's correction, and the bound on the gradient's norm (0: none).
    pub fn scalars(&mut self, lr: f32, max_grad_norm: Option<f32>) -> [f32; SCALARS] {
        self.steps += 1;
        let exponent = self.steps.min(i32::MAX as u64) as i32;
        let correction = |beta: f32| 1.0 - f64::from(beta).powi(exponent);
        let rate = f64::from(lr) / correction(self.config.beta1);
        let root = (1.0 / correction(self.config.beta2)).sqrt();
        [rate as f32, root as f32, max_grad_norm.unwrap_or(0.0)]
    }

    /// Gives parameters and moments back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, params: &Params, values: &mut Vec<f32>, adam: &mut Adam) -> Result<()> {
        self.store_each(params, [(values, adam)])
    }

    /// The same for as many networks as there are.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store_each<'n>(
        &self,
        params: &Params,
        into: impl IntoIterator<Item = (&'n mut Vec<f32>, &'n mut Adam)>,
    ) -> Result<()> {
        let all = params.values()?;
        let (m, v) = (self.m.flatten_all()?.to_vec1()?, self.v.flatten_all()?.to_vec1()?);
        for (i, (values, adam)) in into.into_iter().enumerate() {
            let own = i * values.len()..(i + 1) * values.len();
            values.copy_from_slice(&all[own.clone()]);
            adam.m.copy_from_slice(&m[own.clone()]);
            adam.v.copy_from_slice(&v[own]);
            adam.steps = self.steps;
        }
        Ok(())
    }
}

/// One step of [`Adam::step`]'s formula on all parameters of the `networks`, against the gradient of a loss of
/// all of them. `scalars` `[3]` is what [`DeviceAdam::scalars`] said of this step. Gives the norm of the
/// gradient before it is bounded `[1]`; where each is several networks' ([`Params`]), that of each `[networks, 1]`.
///
/// # Errors
/// If the device fails.
pub fn minimise(
    networks: &[Optimised<'_>],
    gradients: &GradStore,
    scalars: &Tensor,
) -> Result<Tensor> {
    #[cfg(feature = "cuda")]
    if let Some(norm) = cuda::minimise(networks, gradients, scalars)? {
        return Ok(norm);
    }
    let each = networks.iter().map(|(params, _)| params.collect(gradients));
    let each = each.collect::<Result<Vec<Tensor>>>()?;
    let squares = each.iter().map(|g| g.sqr()?.sum_keepdim(D::Minus1));
    let squares = squares.collect::<Result<Vec<Tensor>>>()?;
    let norm = Tensor::cat(&squares, D::Minus1)?.sum_keepdim(D::Minus1)?.sqrt()?;
    let (rate, root) = (scalars.narrow(0, 0, 1)?, scalars.narrow(0, 1, 1)?);
    let max = scalars.narrow(0, 2, 1)?.broadcast_as(norm.shape())?;
    let bounded = (&max / (&norm + 1e-6)?)?.minimum(1.0)?;
    let scale = max.gt(0.0)?.where_cond(&bounded, &max.ones_like()?)?;
    for ((params, adam), gradient) in networks.iter().zip(&each) {
        let AdamConfig { beta1, beta2, eps } = adam.config;
        let share = |beta: f32| f64::from(1.0 - beta);
        let gradient = gradient.broadcast_mul(&scale)?;
        let m = ((&adam.m * f64::from(beta1))? + (&gradient * share(beta1))?)?;
        let v = ((&adam.v * f64::from(beta2))? + (gradient.sqr()? * share(beta2))?)?;
        adam.m.slice_set(&m, 0, 0)?;
        adam.v.slice_set(&v, 0, 0)?;
        let root = v.sqrt()?.broadcast_mul(&root)?.affine(1.0, eps.into())?;
        params.subtract(&(m.broadcast_mul(&rate)? / root)?)?;
    }
    Ok(norm)
}

/// All tensors of a network in one launch, where candle's operations would be a dozen for each.
#[cfg(feature = "cuda")]
#[allow(unsafe_code)]
mod cuda {
    use std::ops::Deref;

    use candle_core::{
        CudaDevice, DType, Error, Result, Storage, Tensor,
        backprop::GradStore,
        cuda_backend::cudarc::driver::{
            CudaFunction, DevicePtr, DeviceRepr, LaunchConfig, PushKernelArg,
        },
    };

    use super::{AdamConfig, Optimised};
    use crate::nn::Params;

    const KERNELS: &str = include_str!(concat!(env!("OUT_DIR"), "/kernels.ptx"));

    /// As in `kernels.cu`.
    const LEAVES: usize = 64;
    const THREADS: u32 = 256;
    /// Blocks that a network's sum of squares is made in.
    const PARTIALS: u32 = 64;

    /// Where the tensors of a network and their gradients are, each of several networks if there are;
    /// as in `kernels.cu`.
    #[repr(C)]
    #[derive(Clone, Copy)]
    struct Leaves {
        value: [u64; LEAVES],
        gradient: [u64; LEAVES],
        start: [u32; LEAVES + 1],
        count: u32,
    }

    // SAFETY: plain numbers, laid out as the kernels have them.
    unsafe impl DeviceRepr for Leaves {}

    /// As the one above; none where the networks are not on a CUDA device, or have more tensors than a launch
    /// has room for.
    pub(super) fn minimise(
        networks: &[Optimised<'_>],
        gradients: &GradStore,
        scalars: &Tensor,
    ) -> Result<Option<Tensor>> {
        let Ok(device) = scalars.device().as_cuda_device() else { return Ok(None) };
        if networks.iter().any(|(params, _)| params.leaves.len() > LEAVES) {
            return Ok(None);
        }
        let Some((params, _)) = networks.first() else { return Ok(None) };
        // Several networks of one layout: a row of blocks each.
        let stacked = params.networks() as u32;
        let stream = device.cuda_stream();
        // Alive until everything has been asked for.
        let mut kept = vec![];
        let leaves = networks.iter().map(|(params, _)| Leaves::of(params, gradients, &mut kept));
        let leaves = leaves.collect::<Result<Vec<Leaves>>>()?;
        let count = PARTIALS * networks.len() as u32;
        let partial = Tensor::zeros((stacked * count) as usize, DType::F32, scalars.device())?;
        let norm = Tensor::zeros(params.shape(&[1]), DType::F32, scalars.device())?;
        let [to_partial, to_norm, to_step] =
            [address(&partial)?, address(&norm)?, address(scalars)?];
        for (i, leaves) in (0u64..).zip(&leaves) {
            let part = to_partial + i * u64::from(PARTIALS) * size_of::<f32>() as u64;
            let kernel = load(device, "sum_squares")?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(leaves).arg(&part).arg(&count);
            // SAFETY: the arguments are the kernel's; it writes one number a block.
            unsafe { launch.launch(blocks(PARTIALS, stacked)) }.map_err(Error::wrap)?;
        }
        for ((_, adam), leaves) in networks.iter().zip(&leaves) {
            let AdamConfig { beta1, beta2, eps } = adam.config;
            let [m, v] = [address(&adam.m)?, address(&adam.v)?];
            let kernel = load(device, "adam")?;
            let mut launch = stream.launch_builder(&kernel);
            launch.arg(leaves).arg(&m).arg(&v).arg(&beta1).arg(&beta2).arg(&eps);
            launch.arg(&to_step).arg(&to_partial).arg(&count).arg(&to_norm);
            let all = leaves.start[leaves.count as usize];
            // SAFETY: the arguments are the kernel's; parameters and moments are as long as the gradient is, or
            // `Leaves::of` had said so.
            unsafe { launch.launch(blocks(all.div_ceil(THREADS).clamp(1, 1024), stacked)) }
                .map_err(Error::wrap)?;
        }
        Ok(Some(norm))
    }

    impl Leaves {
        fn of(params: &Params, gradients: &GradStore, kept: &mut Vec<Tensor>) -> Result<Self> {
            let none = [0; LEAVES];
            let (count, stacked) = (params.leaves.len() as u32, params.networks());
            let mut all = Self { value: none, gradient: none, start: [0; LEAVES + 1], count };
            for (i, leaf) in params.leaves.iter().enumerate() {
                all.value[i] = address(leaf.as_tensor())?;
                if let Some(gradient) = gradients.get(leaf.as_tensor()) {
                    let gradient = gradient.contiguous()?;
                    if gradient.elem_count() != leaf.elem_count() {
                        candle_core::bail!("a gradient has another shape than its parameter");
                    }
                    all.gradient[i] = address(&gradient)?;
                    kept.push(gradient);
                }
                all.start[i + 1] = all.start[i] + (leaf.elem_count() / stacked) as u32;
            }
            Ok(all)
        }
    }

    fn load(device: &CudaDevice, name: &str) -> Result<impl Deref<Target = CudaFunction>> {
        device.get_or_load_custom_func(name, "sog", KERNELS)
    }

    fn blocks(count: u32, rows: u32) -> LaunchConfig {
        LaunchConfig { grid_dim: (count, rows, 1), block_dim: (THREADS, 1, 1), shared_mem_bytes: 0 }
    }

    /// Where the numbers of a contiguous tensor begin on the device.
    fn address(tensor: &Tensor) -> Result<u64> {
        let (storage, layout) = tensor.storage_and_layout();
        let (Storage::Cuda(storage), true) = (&*storage, layout.is_contiguous()) else {
            candle_core::bail!("a contiguous tensor on a CUDA device is needed");
        };
        let slice = storage.as_cuda_slice::<f32>()?;
        let (start, _in_use) = slice.device_ptr(slice.stream());
        Ok(start + (layout.start_offset() * size_of::<f32>()) as u64)
    }
}
