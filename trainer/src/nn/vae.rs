//! VAE-GAIL's trajectory autoencoder (Wang et al. 2017), on candle.
//!
//! ```text
//! encoder   s_1 … s_T → bidirectional LSTM → mean over time → μ, log σ²   (one code a trajectory)
//! z         μ + σ·ε,  ε ~ N(0, I)
//! decoder   (s_t, z) → tanh 300 → tanh 300 → â_t, ŝ_{t+1} − s_t
//! loss      1/T Σ (‖â_t − a_t‖² + ‖Δŝ_t − Δs_t‖²) + w·KL(N(μ, σ²) ‖ N(0, I))
//! ```
//!
//! States are normalised; their differences are scaled to unit variance, else the action alone
//! would count. A trajectory is read at a fixed number of evenly spaced steps.

use candle_core::{D, Device, Result, Tensor};
use rand::{RngExt, seq::SliceRandom};
use rand_distr::StandardNormal;
use sog_engine::{
    adam::{Adam, AdamConfig, clip_scale, global_norm},
    layout::Layout,
};
use sog_sim::seed;

use super::{Params, mean_squared_distance};
use crate::{config::VaeGailConfig, data::Demonstrations, normalise::ObsNormaliser};

/// Bound on the gradient's norm.
const MAX_GRAD_NORM: f64 = 5.0;

/// The autoencoder with the data it is trained on.
pub struct TrajectoryVae {
    config: VaeGailConfig,
    /// Widths S and A, dimension d of the code, steps T of each trajectory.
    dims: Dims,
    params: Params,
    data: Data,
}

#[derive(Clone, Copy)]
struct Dims {
    obs: usize,
    action: usize,
    code: usize,
    steps: usize,
}

/// Trajectories at T evenly spaced steps each.
struct Data {
    count: usize,
    /// `[N, T, S]`, normalised.
    states: Vec<f32>,
    /// `[N, T, A + S]`: actions, then scaled differences to the next state.
    targets: Vec<f32>,
}

impl TrajectoryVae {
    /// A new autoencoder of `demos` with `code` latent dimensions, trained on `device`.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn new(
        demos: &Demonstrations,
        normaliser: &ObsNormaliser,
        code: usize,
        config: &VaeGailConfig,
        seed: u64,
        device: &Device,
    ) -> Result<Self> {
        let dims = Dims {
            obs: demos.obs_dim(),
            action: demos.action_dim(),
            code,
            steps: config.max_length,
        };
        let layout = layout(dims, config);
        let mut rng = seed::stream(seed, 0);
        let mut values = vec![0.0; layout.len()];
        for spec in layout.tensors.iter().filter(|t| t.shape.len() == 2) {
            // Uniform within ±1/√fan-in; biases stay 0.
            let bound = 1.0 / (spec.shape[1] as f32).sqrt();
            values[spec.range()].fill_with(|| rng.random_range(-bound..bound));
        }
        let params = Params::new(layout, &values, device)?;
        let data = Data::of(demos, normaliser, dims);
        Ok(Self { config: config.clone(), dims, params, data })
    }

    /// Trains for the configured number of updates; `progress` is told each update and its loss, and
    /// says whether to go on. Whether all updates were done.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn train(&mut self, seed: u64, mut progress: impl FnMut(u64, f32) -> bool) -> Result<bool> {
        let mut rng = seed::stream(seed, 1);
        let mut values = self.params.values()?;
        let mut adam = Adam::new(AdamConfig::default(), values.len());
        let mut order: Vec<usize> = vec![];
        for update in 0..self.config.updates {
            let size = self.config.batch.min(self.data.count);
            if order.len() < size {
                order = (0..self.data.count).collect();
                order.shuffle(&mut rng);
            }
            let chosen = order.split_off(order.len() - size);
            let noise: Vec<f32> =
                (0..size * self.dims.code).map(|_| rng.sample(StandardNormal)).collect();
            let loss = self.loss(&chosen, &noise)?;
            let gradient: Vec<f32> = self.params.gradient(&loss)?.to_vec1()?;
            let left = 1.0 - update as f64 / self.config.updates as f64;
            let rate = (self.config.learning_rate * left) as f32;
            let scale = clip_scale(global_norm(&[&gradient]), MAX_GRAD_NORM);
            adam.step(&mut values, &gradient, rate, scale).map_err(candle_core::Error::wrap)?;
            self.params.set(&values)?;
            if !progress(update + 1, loss.to_scalar()?) {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Standardised codes `[N, d]` of all trajectories: their means μ, shifted and scaled to mean 0
    /// and variance 1 in every dimension that varies.
    ///
    /// # Errors
    /// If candle refuses.
    pub fn codes(&self) -> Result<Vec<f32>> {
        let (n, d) = (self.data.count, self.dims.code);
        let mut codes: Vec<f32> = vec![];
        let all: Vec<usize> = (0..n).collect();
        for chosen in all.chunks(64) {
            let (mean, _) = self.encode(&self.states(chosen)?)?;
            codes.extend(mean.flatten_all()?.to_vec1::<f32>()?);
        }
        for j in 0..d {
            let column = || codes.iter().skip(j).step_by(d).map(|&z| f64::from(z));
            let mean = column().sum::<f64>() / n as f64;
            let var = column().map(|z| (z - mean).powi(2)).sum::<f64>() / n as f64;
            let scale = if var > 1e-12 { 1.0 / var.sqrt() } else { 0.0 };
            for z in codes.iter_mut().skip(j).step_by(d) {
                *z = ((f64::from(*z) - mean) * scale) as f32;
            }
        }
        Ok(codes)
    }

    /// States `[B, T, S]` of the chosen trajectories.
    fn states(&self, chosen: &[usize]) -> Result<Tensor> {
        let Dims { obs, steps, .. } = self.dims;
        let rows = gather(&self.data.states, chosen, steps * obs);
        Tensor::from_vec(rows, (chosen.len(), steps, obs), self.params.device())
    }

    /// The loss of the chosen trajectories; `noise` is ε `[B, d]`.
    fn loss(&self, chosen: &[usize], noise: &[f32]) -> Result<Tensor> {
        let Dims { obs, action, code, steps } = self.dims;
        let batch = chosen.len();
        let states = self.states(chosen)?;
        let (mean, log_var) = self.encode(&states)?;
        let noise = Tensor::from_slice(noise, (batch, code), self.params.device())?;
        let z = (&mean + (log_var.affine(0.5, 0.0)?.exp()? * noise)?)?;
        let z = z.unsqueeze(1)?.broadcast_as((batch, steps, code))?;
        let input = Tensor::cat(&[&states, &z.contiguous()?], 2)?;
        let input = input.reshape((batch * steps, obs + code))?;
        let hidden = self.params.linear("decoder.0", &input)?.tanh()?;
        let hidden = self.params.linear("decoder.1", &hidden)?.tanh()?;
        let output = self.params.linear("decoder.2", &hidden)?;
        let targets = gather(&self.data.targets, chosen, steps * (action + obs));
        let targets =
            Tensor::from_vec(targets, (batch * steps, action + obs), self.params.device())?;
        let error = mean_squared_distance(&output, &targets)?;
        // KL(N(μ, σ²) ‖ N(0, I)) = ½ Σ (μ² + σ² − log σ² − 1)
        let kl = ((mean.sqr()? + log_var.exp()?)? - &log_var)?.affine(0.5, -0.5)?;
        error + kl.sum(D::Minus1)?.mean_all()?.affine(self.config.kl_weight, 0.0)?
    }

    /// μ and log σ² `[B, d]` of states `[B, T, S]`.
    fn encode(&self, states: &Tensor) -> Result<(Tensor, Tensor)> {
        let forward = self.pooled_lstm("encoder.forward", states, false)?;
        let backward = self.pooled_lstm("encoder.backward", states, true)?;
        let pooled = Tensor::cat(&[&forward, &backward], 1)?;
        let output = self.params.linear("encoder.code", &pooled)?;
        let mean = output.narrow(1, 0, self.dims.code)?;
        let log_var = output.narrow(1, self.dims.code, self.dims.code)?.clamp(-10.0, 4.0)?;
        Ok((mean, log_var))
    }

    /// One direction of the LSTM, its outputs averaged over time `[B, H]`.
    fn pooled_lstm(&self, name: &str, states: &Tensor, reverse: bool) -> Result<Tensor> {
        let (batch, steps, obs) = states.dims3()?;
        let hidden = self.config.encoder_hidden;
        let weight = self.params.get(&format!("{name}.input.weight"))?;
        let bias = self.params.get(&format!("{name}.input.bias"))?;
        let recurrent = self.params.get(&format!("{name}.hidden.weight"))?.t()?.contiguous()?;
        // The inputs' part of all gates at once.
        let flat = states.reshape((batch * steps, obs))?;
        let inputs = flat.matmul(&weight.t()?)?.broadcast_add(bias)?;
        let inputs = inputs.reshape((batch, steps, 4 * hidden))?;
        let mut h = Tensor::zeros((batch, hidden), candle_core::DType::F32, self.params.device())?;
        let (mut c, mut sum) = (h.clone(), h.clone());
        for step in 0..steps {
            let t = if reverse { steps - 1 - step } else { step };
            let gates = (inputs.narrow(1, t, 1)?.squeeze(1)? + h.matmul(&recurrent)?)?;
            let gate = |i: usize| gates.narrow(1, i * hidden, hidden);
            let (input, forget) =
                (candle_nn::ops::sigmoid(&gate(0)?)?, candle_nn::ops::sigmoid(&gate(1)?)?);
            c = ((forget * c)? + (input * gate(2)?.tanh()?)?)?;
            h = (candle_nn::ops::sigmoid(&gate(3)?)? * c.tanh()?)?;
            sum = (sum + &h)?;
        }
        sum.affine(1.0 / steps as f64, 0.0)
    }
}

/// The tensors of encoder and decoder.
fn layout(dims: Dims, config: &VaeGailConfig) -> Layout {
    let (h, d) = (config.encoder_hidden, config.decoder_hidden);
    let mut layout = Layout::default();
    for direction in ["encoder.forward", "encoder.backward"] {
        layout.push(format!("{direction}.input.weight"), &[4 * h, dims.obs]);
        layout.push(format!("{direction}.input.bias"), &[4 * h]);
        layout.push(format!("{direction}.hidden.weight"), &[4 * h, h]);
    }
    for (name, outputs, inputs) in [
        ("encoder.code", 2 * dims.code, 2 * h),
        ("decoder.0", d, dims.obs + dims.code),
        ("decoder.1", d, d),
        ("decoder.2", dims.action + dims.obs, d),
    ] {
        layout.push(format!("{name}.weight"), &[outputs, inputs]);
        layout.push(format!("{name}.bias"), &[outputs]);
    }
    layout
}

impl Data {
    fn of(demos: &Demonstrations, normaliser: &ObsNormaliser, dims: Dims) -> Self {
        let Dims { obs: s, action: a, steps, .. } = dims;
        let (mut states, mut targets) = (vec![], vec![]);
        for n in 0..demos.len() {
            let mut obs = vec![];
            normaliser.extend(demos.observations_of(n), &mut obs);
            let last = demos.rows(n).len() - 1;
            for i in 0..steps {
                let t = i * last / steps.max(2).saturating_sub(1);
                let next = (t + 1).min(last);
                let row = |t: usize| &obs[t * s..(t + 1) * s];
                states.extend_from_slice(row(t));
                targets.extend_from_slice(&demos.actions_of(n)[t * a..(t + 1) * a]);
                targets.extend(row(next).iter().zip(row(t)).map(|(y, x)| y - x));
            }
        }
        // Differences between neighbouring states are small: scale each to unit variance.
        let width = a + s;
        let rows = (targets.len() / width) as f32;
        for j in a..width {
            let square: f32 = targets.iter().skip(j).step_by(width).map(|x| x * x).sum();
            let scale = if square > 0.0 { (rows / square).sqrt() } else { 0.0 };
            targets.iter_mut().skip(j).step_by(width).for_each(|x| *x *= scale);
        }
        Self { count: demos.len(), states, targets }
    }
}

fn gather(from: &[f32], chosen: &[usize], width: usize) -> Vec<f32> {
    chosen.iter().flat_map(|&n| &from[n * width..(n + 1) * width]).copied().collect()
}
