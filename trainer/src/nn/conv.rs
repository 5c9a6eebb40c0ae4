//! Convolutional networks on candle: the engine's [`ConvNet`] op by op, on any device.
//!
//! Values lie as the engine has them, `[rows, height, width, channels]`; candle's convolutions want
//! the channels first. Its transposed convolution is fast only without padding, so the border is
//! cut off afterwards.

use candle_core::{D, Device, Error, Result, Tensor, Var, backprop::GradStore};
use sog_engine::{
    EngineError,
    adam::Adam,
    conv::{ConvArch, ConvNet, Grid, Kind, Products, SECANT, SecantCodes},
    net::Activation,
    search::{Candidates, Groups, LatentModel},
    sog::Generator,
};

use super::{
    Params,
    adam::{DeviceAdam, SCALARS, minimise},
    mean_squared_distance,
    recorded::Inputs,
};

/// As the engine's.
const NORM_EPS: f64 = 1e-5;
const MOMENTUM: f64 = 0.1;

/// A convolutional network on a device.
pub struct CandleConv {
    arch: ConvArch,
    /// Its parameters.
    pub params: Params,
    /// Running mean and variance of each layer, where it is normalised.
    stats: Vec<Option<(Tensor, Tensor)>>,
}

impl CandleConv {
    /// The network on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &ConvNet, device: &Device) -> Result<Self> {
        let (arch, layout) = (net.arch().clone(), net.arch().stats_layout());
        let mut tensors = layout.tensors.iter().map(|t| {
            let values = &net.stats[t.range()];
            Tensor::from_slice(values, values.len(), device)
        });
        let mut next = || tensors.next().unwrap_or_else(|| Err(Error::Msg("no statistics".into())));
        let of = |layer: &sog_engine::conv::ConvLayer| {
            layer.norm.then(|| Ok((next()?, next()?))).transpose()
        };
        let stats = arch.layers.iter().map(of).collect::<Result<_>>()?;
        Ok(Self { params: Params::new(arch.layout(), &net.params, device)?, stats, arch })
    }

    /// Gives the running statistics back; the parameters are the optimiser's to give.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, net: &mut ConvNet) -> Result<()> {
        net.stats.clear();
        for (mean, var) in self.stats.iter().flatten() {
            net.stats.extend(mean.to_vec1::<f32>()?);
            net.stats.extend(var.to_vec1::<f32>()?);
        }
        Ok(())
    }

    /// Outputs `[rows, values]` for inputs `[rows, inputs]`, a function of the parameters, with the
    /// statistics of the batch; the running ones take them in.
    ///
    /// # Errors
    /// If the shapes differ or the device fails.
    pub fn forward(&mut self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for i in 0..self.arch.layers.len() {
            let y = self.linear(i, &x)?;
            let (y, stats) = match &self.stats[i] {
                Some((mean, var)) => {
                    let rows = self.channels(i, &y)?;
                    let count = rows.dim(0)? as f64;
                    let batch_mean = rows.mean_keepdim(0)?;
                    let centred = rows.broadcast_sub(&batch_mean)?;
                    let batch_var = centred.sqr()?.mean_keepdim(0)?;
                    let normal = centred.broadcast_div(&(&batch_var + NORM_EPS)?.sqrt()?)?;
                    let mix = |old: &Tensor, new: &Tensor, scale: f64| {
                        (old * (1.0 - MOMENTUM))?
                            + (new.detach().flatten_all()? * (MOMENTUM * scale))?
                    };
                    let unbiased = count / (count - 1.0).max(1.0);
                    let stats = (mix(mean, &batch_mean, 1.0)?, mix(var, &batch_var, unbiased)?);
                    (self.gain_shift(i, &normal)?.reshape(y.shape())?, Some(stats))
                }
                None => (y, None),
            };
            self.stats[i] = stats;
            x = activated(self.arch.layers[i].activation, &y)?;
        }
        Ok(x)
    }

    /// The same of the network in use, with the running statistics.
    ///
    /// # Errors
    /// If the shapes differ or the device fails.
    pub fn frozen(&self, x: &Tensor) -> Result<Tensor> {
        let mut x = x.clone();
        for i in 0..self.arch.layers.len() {
            let mut y = self.linear(i, &x)?;
            if let Some((mean, var)) = &self.stats[i] {
                let centred = self.channels(i, &y)?.broadcast_sub(mean)?;
                let normal = centred.broadcast_div(&(var + NORM_EPS)?.sqrt()?)?;
                y = self.gain_shift(i, &normal)?.reshape(y.shape())?;
            }
            x = activated(self.arch.layers[i].activation, &y)?;
        }
        Ok(x.detach())
    }

    fn tensor(&self, i: usize, name: &str) -> Result<&Tensor> {
        self.params.get(&format!("{}.{i}.{name}", self.arch.name))
    }

    /// `[rows · positions, channels]`
    fn channels(&self, i: usize, y: &Tensor) -> Result<Tensor> {
        y.reshape(((), self.arch.layers[i].out.channels))
    }

    fn gain_shift(&self, i: usize, normal: &Tensor) -> Result<Tensor> {
        normal.broadcast_mul(self.tensor(i, "gain")?)?.broadcast_add(self.tensor(i, "shift")?)
    }

    /// The products of layer `i`, with its bias where it is not normalised.
    fn linear(&self, i: usize, x: &Tensor) -> Result<Tensor> {
        let (layer, input) = (&self.arch.layers[i], self.arch.input_of(i));
        let (rows, out) = (x.dim(0)?, layer.out);
        let weight = self.tensor(i, "weight")?;
        let (cin, cout) = (input.channels, out.channels);
        let y = match layer.kind {
            Kind::Dense => {
                let taps = (out.positions(), input.positions(), cout, cin);
                let matrix = weight.reshape(taps)?.permute((0, 2, 1, 3))?;
                x.matmul(&matrix.reshape((out.values(), input.values()))?.t()?)?
            }
            Kind::Conv { kernel, stride, padding } => {
                let kernels = weight.permute((1, 2, 0))?.reshape((cout, cin, kernel, kernel))?;
                channels_last(&channels_first(x, input)?.conv2d(&kernels, padding, stride, 1, 1)?)?
            }
            Kind::ConvTranspose { kernel, stride, padding } => {
                let kernels = weight.permute((2, 1, 0))?.reshape((cin, cout, kernel, kernel))?;
                let y = channels_first(x, input)?.conv_transpose2d(&kernels, 0, 0, stride, 1)?;
                let y = y.narrow(2, padding, out.height)?.narrow(3, padding, out.width)?;
                channels_last(&y)?
            }
        };
        match self.stats[i] {
            Some(_) => y.reshape((rows, out.values())),
            None => {
                let y = self.channels(i, &y)?.broadcast_add(self.tensor(i, "bias")?)?;
                y.reshape((rows, out.values()))
            }
        }
    }
}

fn channels_first(x: &Tensor, grid: Grid) -> Result<Tensor> {
    let rows = x.dim(0)?;
    x.reshape((rows, grid.height, grid.width, grid.channels))?.permute((0, 3, 1, 2))?.contiguous()
}

fn channels_last(y: &Tensor) -> Result<Tensor> {
    y.permute((0, 2, 3, 1))?.contiguous()
}

fn activated(activation: Activation, y: &Tensor) -> Result<Tensor> {
    match activation {
        Activation::Identity => Ok(y.clone()),
        Activation::Tanh => y.tanh(),
        Activation::Relu => y.relu(),
        Activation::Elu => y.elu(1.0),
        Activation::LeakyRelu { slope } => candle_nn::ops::leaky_relu(y, slope.into()),
        Activation::ScaledTanh { scale } => y.tanh()?.affine(scale.into(), 0.0),
    }
}

/// A network with its optimiser on a device.
pub struct DeviceTrained {
    /// The network.
    pub net: CandleConv,
    adam: DeviceAdam,
    scalars: Inputs,
}

impl DeviceTrained {
    /// Goes on with a network and its optimiser on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &ConvNet, adam: &Adam, device: &Device) -> Result<Self> {
        let on_device = CandleConv::new(net, device)?;
        let adam = DeviceAdam::new(adam, device)?;
        Ok(Self { net: on_device, adam, scalars: Inputs::new(&[SCALARS], device)? })
    }

    /// A step with the gradient of a loss.
    ///
    /// # Errors
    /// If the device fails.
    pub fn step(&mut self, gradients: &GradStore, lr: f32) -> Result<()> {
        self.scalars.upload(&[&self.adam.scalars(lr, None)])?;
        let step = self.scalars.view(0, SCALARS)?;
        minimise(&[(&self.net.params, &self.adam)], gradients, &step).map(|_| ())
    }

    /// Gives both back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, net: &mut ConvNet, adam: &mut Adam) -> Result<()> {
        self.net.store(net)?;
        self.adam.store(&self.net.params, &mut net.params, adam)
    }
}

/// [`ConvGenerator`](sog_engine::conv::ConvGenerator) on a device.
pub struct DeviceGenerator {
    trained: DeviceTrained,
    device: Device,
    /// Pictures `[rows, values]`.
    y: Tensor,
    /// What the device said; the search itself knows no errors.
    error: Option<Error>,
}

impl DeviceGenerator {
    /// Goes on with a generator and its optimiser on `device`.
    ///
    /// # Errors
    /// If the device fails.
    pub fn new(net: &ConvNet, adam: &Adam, device: &Device) -> Result<Self> {
        let y = Tensor::zeros((0, net.arch().output().values()), candle_core::DType::F32, device)?;
        let trained = DeviceTrained::new(net, adam, device)?;
        Ok(Self { trained, device: device.clone(), y, error: None })
    }

    /// Gives generator and optimiser back.
    ///
    /// # Errors
    /// If the device fails.
    pub fn store(&self, net: &mut ConvNet, adam: &mut Adam) -> Result<()> {
        self.trained.store(net, adam)
    }

    /// Takes a minibatch of pictures `[rows, values]`.
    ///
    /// # Errors
    /// If there is not a whole number of pictures, or the device fails.
    pub fn load(&mut self, y: &[f32]) -> Result<()> {
        let values = self.trained.net.arch.output().values();
        self.y = Tensor::from_slice(y, (y.len() / values, values), &self.device)?;
        Ok(())
    }

    /// As the engine's [`secant_codes`](sog_engine::conv::ConvGenerator::secant_codes).
    ///
    /// # Errors
    /// If there are not as many codes as pictures, or the device fails.
    pub fn secant_codes(&mut self, codes: &[f32]) -> Result<SecantCodes> {
        let (latent, rows, values) = (self.code_len(), self.rows(), self.y.dim(1)?);
        let here = Tensor::from_slice(codes, (rows, 1, latent), &self.device)?;
        let moves = Tensor::eye(latent, candle_core::DType::F32, &self.device)?;
        let moved = here.broadcast_add(&moves.affine(SECANT.into(), 0.0)?.unsqueeze(0)?)?;
        let probes = Tensor::cat(&[&here, &moved], 1)?.reshape((rows * (latent + 1), latent))?;
        let made = self.trained.net.frozen(&probes)?.reshape((rows, latent + 1, values))?;
        let here = made.narrow(1, 0, 1)?;
        let secants = made.narrow(1, 1, latent)?.broadcast_sub(&here)?;
        let secants = secants.affine(f64::from(1.0 / SECANT), 0.0)?;
        let error = (self.y.unsqueeze(1)? - here)?;
        let squares = secants.matmul(&secants.transpose(1, 2)?.contiguous()?)?;
        let with_error = secants.matmul(&error.transpose(1, 2)?.contiguous()?)?;
        let squares: Vec<f32> = squares.flatten_all()?.to_vec1()?;
        let with_error: Vec<f32> = with_error.flatten_all()?.to_vec1()?;
        let errors: Vec<f32> = error.sqr()?.sum(D::Minus1)?.flatten_all()?.to_vec1()?;
        let wide = |values: &[f32]| values.iter().map(|&v| f64::from(v)).collect();
        let of_row = |row: usize| Products {
            squares: wide(&squares[row * latent * latent..(row + 1) * latent * latent]),
            with_error: wide(&with_error[row * latent..(row + 1) * latent]),
            error: f64::from(errors[row]) / values as f64,
        };
        Ok(SecantCodes::of(&(0..rows).map(of_row).collect::<Vec<_>>(), codes))
    }

    /// As the engine's [`step_and_slope`](sog_engine::conv::ConvGenerator::step_and_slope).
    ///
    /// # Errors
    /// If there are not as many codes as pictures, or the device fails.
    pub fn step_and_slope(&mut self, codes: &[f32], lr: f32) -> Result<(f32, Vec<f32>)> {
        let shape = (self.rows(), self.code_len());
        let input = Var::from_vec(codes.to_vec(), shape, &self.device)?;
        let (loss, gradients) = self.advance(&input, lr)?;
        let d_input = gradients.get(&input).ok_or_else(|| Error::Msg("no gradient".into()).bt())?;
        let slope = d_input.affine(-0.5 * shape.0 as f64, 0.0)?.flatten_all()?.to_vec1()?;
        Ok((loss, slope))
    }

    /// What the device said since the last time.
    ///
    /// # Errors
    /// That.
    pub fn check(&mut self) -> Result<()> {
        self.error.take().map_or(Ok(()), Err)
    }

    /// Losses `[rows, candidates]`.
    fn row_losses(&self, candidates: &Candidates<'_>, groups: Groups<'_>) -> Result<Vec<f32>> {
        let (latent, rows) = (self.code_len(), self.rows());
        let count = candidates.count(latent);
        let common = match candidates {
            Candidates::Codes(codes) => Some(*codes),
            Candidates::Block { block, values, keep, .. } => {
                (*block == (0..latent) && *keep == 0.0).then_some(*values)
            }
        };
        if let Some(codes) = common {
            let codes = Tensor::from_slice(codes, (count, latent), &self.device)?;
            let out = self.trained.net.frozen(&codes)?;
            let products = self.y.matmul(&out.t()?)?.affine(-2.0, 0.0)?;
            let squares = out.sqr()?.sum(D::Minus1)?.unsqueeze(0)?;
            let norms = self.y.sqr()?.sum_keepdim(D::Minus1)?;
            let sums = products.broadcast_add(&squares)?.broadcast_add(&norms)?;
            return sums.relu()?.flatten_all()?.to_vec1();
        }
        let mut codes = Vec::with_capacity(rows * count * latent);
        for row in 0..rows {
            (0..count).for_each(|c| candidates.push(latent, groups.of(row), c, &mut codes));
        }
        let codes = Tensor::from_vec(codes, (rows * count, latent), &self.device)?;
        let out = self.trained.net.frozen(&codes)?.reshape((rows, count, ()))?;
        let errors = out.broadcast_sub(&self.y.unsqueeze(1)?)?;
        errors.sqr()?.sum(D::Minus1)?.flatten_all()?.to_vec1()
    }

    fn step_on_device(&mut self, codes: &[f32], groups: Groups<'_>, lr: f32) -> Result<f32> {
        let (rows, latent) = (self.rows(), self.code_len());
        let of_row = |row| &codes[groups.of(row) * latent..(groups.of(row) + 1) * latent];
        let input: Vec<f32> = (0..rows).flat_map(|row| of_row(row).iter().copied()).collect();
        let input = Tensor::from_vec(input, (rows, latent), &self.device)?;
        Ok(self.advance(&input, lr)?.0)
    }

    /// A step under the codes `[rows, Z]`: the loss before it, and its gradients.
    fn advance(&mut self, input: &Tensor, lr: f32) -> Result<(f32, GradStore)> {
        let loss = mean_squared_distance(&self.trained.net.forward(input)?, &self.y)?;
        let gradients = loss.backward()?;
        self.trained.step(&gradients, lr)?;
        Ok((loss.to_scalar()?, gradients))
    }
}

impl LatentModel for DeviceGenerator {
    fn code_len(&self) -> usize {
        self.trained.net.arch.input.values()
    }

    fn rows(&self) -> usize {
        self.y.dims().first().copied().unwrap_or(0)
    }

    fn losses(&mut self, candidates: Candidates<'_>, groups: Groups<'_>, sums: &mut [f64]) {
        sums.fill(0.0);
        let count = candidates.count(self.code_len()).max(1);
        match self.row_losses(&candidates, groups) {
            Ok(losses) => groups.add(&losses, count, sums),
            Err(error) => {
                sums.fill(f64::NAN);
                self.error = Some(error);
            }
        }
    }
}

impl Generator for DeviceGenerator {
    fn step(
        &mut self,
        codes: &[f32],
        groups: Groups<'_>,
        lr: f32,
    ) -> std::result::Result<f32, EngineError> {
        let need = groups.count(self.rows()) * self.code_len();
        if codes.len() != need {
            return Err(EngineError::Length { what: "codes", got: codes.len(), need });
        }
        // The engine's errors have no word for a device's: `check` tells it.
        Ok(self.step_on_device(codes, groups, lr).unwrap_or_else(|error| {
            self.error = Some(error);
            f32::NAN
        }))
    }
}
