//! The variational autoencoder that SOG is measured against (Kingma and Welling 2013).
//!
//! The decoder is SOG's generator and the encoder its mirror image:
//!
//! ```text
//! encoder   y → μ, log σ²
//! z         μ + σ·ε,  ε ~ N(0, I)
//! loss      1/(2 s²) ‖f(z) − y‖² + KL(N(μ, σ²) ‖ N(0, I)),   mean over the minibatch
//! ```
//!
//! s² is the variance that explains the minibatch best, its own mean squared error (Rybkin et al.
//! 2021): nothing is left to be tuned, and the code is neither drowned by the KL term nor free of
//! it. A picture is reconstructed from μ.

use candle_core::{D, Device, Tensor};
use rand::RngExt;
use rand_distr::StandardNormal;
use sog_engine::{
    EngineError,
    adam::Adam,
    conv::{ConvNet, ConvPass, squared_error},
};
use sog_rl::run::{Checkpoint, Snapshot, SnapshotError};
use sog_sim::seed;

use super::{
    config::ImageConfig,
    data::{Pictures, per_value},
    error::ImageError,
    sog::{Batches, adam, falling, new_generator},
    state,
};
use crate::{
    device::Compute,
    nn::{conv::DeviceTrained, mean_squared_distance},
};

/// Streams of the run's seed.
const INIT: u64 = 4;
const NOISE: u64 = 5;

/// Bounds of log σ².
const LOG_VAR: (f32, f32) = (-12.0, 4.0);

/// A VAE on a set of pictures.
pub struct VaeImages<'a> {
    config: &'a ImageConfig,
    pictures: &'a Pictures,
    batches: Batches,
    encoder: Trained,
    decoder: Trained,
    /// Both on a device, where they are trained there.
    device: Option<OnDevice>,
    compute: &'a Compute,
    /// Updates done.
    pub step: u64,
    /// Mean squared error per value on the scale from 0 to 1, of the last minibatch.
    pub mse: f64,
    /// Mean divergence of its codes from the prior, nats.
    pub kl: f64,
}

/// A network that is trained.
struct Trained {
    net: ConvNet,
    adam: Adam,
    pass: ConvPass,
    grad: Vec<f32>,
}

impl Trained {
    fn new(net: ConvNet) -> Self {
        Self {
            adam: Adam::new(adam(), net.params.len()),
            pass: ConvPass::new(net.arch()),
            grad: vec![0.0; net.params.len()],
            net,
        }
    }

    fn step(&mut self, lr: f32) -> Result<(), EngineError> {
        self.adam.step(&mut self.net.params, &self.grad, lr, 1.0)
    }
}

impl<'a> VaeImages<'a> {
    /// Begins to learn `pictures`.
    ///
    /// # Errors
    /// If there is no generator for their size, or the device fails.
    pub fn new(
        config: &'a ImageConfig,
        pictures: &'a Pictures,
        compute: &'a Compute,
    ) -> Result<Self, ImageError> {
        let decoder = new_generator(config, pictures)?;
        let encoder = decoder.arch().mirrored("encoder", 2 * config.latent);
        let encoder = ConvNet::new(encoder, &mut seed::stream(config.seed, INIT));
        let (encoder, decoder) = (Trained::new(encoder), Trained::new(decoder));
        Ok(Self {
            batches: Batches::new(config.seed, pictures.len()),
            device: OnDevice::new(&encoder, &decoder, compute)?,
            compute,
            encoder,
            decoder,
            step: 0,
            mse: f64::NAN,
            kl: f64::NAN,
            config,
            pictures,
        })
    }

    /// Encoder and decoder, as of the last [`settle`](Self::settle).
    pub fn nets(&self) -> (&ConvNet, &ConvNet) {
        (&self.encoder.net, &self.decoder.net)
    }

    /// Brings what a device has learned back, before it is saved or used.
    ///
    /// # Errors
    /// If the device fails.
    pub fn settle(&mut self) -> Result<(), ImageError> {
        if let Some(on_device) = &self.device {
            on_device.encoder.store(&mut self.encoder.net, &mut self.encoder.adam)?;
            on_device.decoder.store(&mut self.decoder.net, &mut self.decoder.adam)?;
        }
        Ok(())
    }

    /// One update of both networks.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update(&mut self) -> Result<(), ImageError> {
        let (config, d) = (self.config, self.config.latent);
        let chosen = self.batches.of(self.step, config.batch);
        let rows = chosen.len();
        let y = self.pictures.scaled(chosen);
        let mut rng = seed::stream(seed::derive(config.seed, NOISE), self.step);
        let noise: Vec<f32> = (0..rows * d).map(|_| rng.sample(StandardNormal)).collect();
        let lr = falling(config.vae.learning_rate, self.step, config.vae.updates);
        let (error, kl) = match &mut self.device {
            Some(on_device) => on_device.update(&y, &noise, (rows, d), lr)?,
            None => self.update_here(&y, &noise, (rows, d), lr)?,
        };
        self.mse = per_value(error.into(), self.pictures.size);
        self.kl = kl.into();
        self.step += 1;
        Ok(())
    }

    /// One update by the engine; returns the squared error and the divergence, means over the rows.
    fn update_here(
        &mut self,
        y: &[f32],
        noise: &[f32],
        (rows, d): (usize, usize),
        lr: f32,
    ) -> Result<(f32, f32), EngineError> {
        let (encoder, decoder) = (&mut self.encoder, &mut self.decoder);
        let encoded = encoder.pass.forward(&mut encoder.net, y)?;
        let codes: Vec<f32> = encoded
            .chunks_exact(2 * d)
            .zip(noise.chunks_exact(d))
            .flat_map(|(code, noise)| {
                let (mean, log_var) = code.split_at(d);
                mean.iter().zip(log_var).zip(noise).map(|((&m, &v), &e)| m + std(v) * e)
            })
            .collect();
        let mut out = decoder.pass.forward(&mut decoder.net, &codes)?;
        let error = squared_error(&mut out, y, rows);
        let weight = weight_of(error, self.pictures.size.values());
        out.iter_mut().for_each(|d_out| *d_out *= weight);
        let d_codes = decoder.pass.backward(&decoder.net, &out, &mut decoder.grad, true)?;
        let d_codes = d_codes.unwrap_or_default();
        let (mut d_encoded, mut kl) = (vec![0.0; encoded.len()], 0.0);
        let per_row = 1.0 / rows as f32;
        for (((code, noise), d_code), d_out) in encoded
            .chunks_exact(2 * d)
            .zip(noise.chunks_exact(d))
            .zip(d_codes.chunks_exact(d))
            .zip(d_encoded.chunks_exact_mut(2 * d))
        {
            for j in 0..d {
                let (mean, log_var) = (code[j], code[d + j].clamp(LOG_VAR.0, LOG_VAR.1));
                kl += f64::from(0.5 * (mean * mean + log_var.exp() - log_var - 1.0));
                d_out[j] = d_code[j] + per_row * mean;
                let free = (LOG_VAR.0..=LOG_VAR.1).contains(&code[d + j]);
                let d_log_var = d_code[j] * noise[j] * 0.5 * std(log_var)
                    + per_row * 0.5 * (log_var.exp() - 1.0);
                d_out[d + j] = if free { d_log_var } else { 0.0 };
            }
        }
        encoder.pass.backward(&encoder.net, &d_encoded, &mut encoder.grad, false)?;
        encoder.step(lr)?;
        decoder.step(lr)?;
        Ok((error, (kl / rows as f64) as f32))
    }
}

/// Encoder and decoder on a device.
struct OnDevice {
    encoder: DeviceTrained,
    decoder: DeviceTrained,
    device: Device,
}

impl OnDevice {
    /// Both on the device that computes, if one does.
    fn new(
        encoder: &Trained,
        decoder: &Trained,
        compute: &Compute,
    ) -> Result<Option<Self>, ImageError> {
        let Compute::Candle(device) = compute else { return Ok(None) };
        Ok(Some(Self {
            encoder: DeviceTrained::new(&encoder.net, &encoder.adam, device)?,
            decoder: DeviceTrained::new(&decoder.net, &decoder.adam, device)?,
            device: device.clone(),
        }))
    }

    /// As [`VaeImages::update_here`].
    fn update(
        &mut self,
        y: &[f32],
        noise: &[f32],
        (rows, d): (usize, usize),
        lr: f32,
    ) -> candle_core::Result<(f32, f32)> {
        let values = y.len() / rows;
        let y = Tensor::from_slice(y, (rows, values), &self.device)?;
        let noise = Tensor::from_slice(noise, (rows, d), &self.device)?;
        let encoded = self.encoder.net.forward(&y)?;
        let mean = encoded.narrow(1, 0, d)?;
        let log_var = encoded.narrow(1, d, d)?.clamp(LOG_VAR.0, LOG_VAR.1)?;
        let codes = (&mean + (log_var.affine(0.5, 0.0)?.exp()? * noise)?)?;
        let error = mean_squared_distance(&self.decoder.net.forward(&codes)?, &y)?;
        let kl = ((mean.sqr()? + log_var.exp()?)? - &log_var)?.affine(0.5, -0.5)?;
        let kl = kl.sum(D::Minus1)?.mean_all()?;
        let square: f32 = error.to_scalar()?;
        let weight = weight_of(square, values);
        let gradients = (error.affine(weight.into(), 0.0)? + &kl)?.backward()?;
        self.encoder.step(&gradients, lr)?;
        self.decoder.step(&gradients, lr)?;
        Ok((square, kl.to_scalar()?))
    }
}

/// 1/(2 s²), s² the squared `error` of a picture per value.
fn weight_of(error: f32, values: usize) -> f32 {
    (values as f32 / (2.0 * error.max(1e-6))).min(1e4)
}

/// σ of log σ².
fn std(log_var: f32) -> f32 {
    (0.5 * log_var.clamp(LOG_VAR.0, LOG_VAR.1)).exp()
}

impl Checkpoint for VaeImages<'_> {
    fn save(&self, to: &mut Snapshot) {
        state::save(to, "encoder", &self.encoder.net, &self.encoder.adam);
        state::save(to, "decoder", &self.decoder.net, &self.decoder.adam);
        to.state("step", &self.step);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        state::load(from, "encoder", &mut self.encoder.net, &mut self.encoder.adam)?;
        state::load(from, "decoder", &mut self.decoder.net, &mut self.decoder.adam)?;
        let on_device = OnDevice::new(&self.encoder, &self.decoder, self.compute);
        self.device = on_device.map_err(state::refused)?;
        self.step = from.read_state("step")?;
        Ok(())
    }
}
