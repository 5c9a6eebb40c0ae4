//! SOG on pictures: Algorithm 1, its codes found by the blockwise search of Algorithm 4.
//!
//! The candidates of the first block, which spans the code, are common to the minibatch (they are
//! draws from the same prior whichever picture they are tried on), so that a search costs as many
//! passes through the generator as there are candidates. In two dimensions that is all.
//!
//! In more, a few hundred draws are too thin, and each picture keeps its code from epoch to epoch:
//! first what its principal components give it, later what a search finds that begins with it. A search
//! goes on by samples block by block ([`Refinement`]), and by what a code's coordinates, varied one by
//! one, say together ([`ConvGenerator::secant_codes`]); nothing but the loss decides there: a code that
//! is kept or proposed is one more candidate. Most updates do not search: their codes follow the
//! gradient that the step on θ has at hand (Bojanowski et al. 2018).

use nalgebra::DMatrix;
use rand::{RngExt, seq::SliceRandom};
use rayon::prelude::*;
use sog_engine::{
    EngineError,
    adam::{Adam, AdamConfig},
    conv::{ConvArch, ConvGenerator, ConvNet, Grid, SecantCodes},
    search::{Candidates, Groups, LatentModel, Refinement, Search},
    sog::Generator,
};
use sog_rl::run::{Checkpoint, Snapshot, SnapshotError};
use sog_sim::seed;

use super::{
    config::ImageConfig,
    data::{Pictures, per_value},
    error::ImageError,
    state,
};
use crate::{codes::spread::spread, device::Compute, nn::conv::DeviceGenerator};

/// Streams of the run's seed.
const INIT: u64 = 1;
const ORDER: u64 = 2;
const SEARCH: u64 = 3;
const FIRST_CODES: u64 = 5;

/// Most that a coordinate moves along a gradient.
const MOST: f32 = 0.5;

/// The pictures of minibatch `step`, without replacement within an epoch.
pub(super) struct Batches {
    seed: u64,
    epoch: Option<u64>,
    order: Vec<usize>,
}

impl Batches {
    pub(super) fn new(seed: u64, count: usize) -> Self {
        Self { seed: seed::derive(seed, ORDER), epoch: None, order: (0..count).collect() }
    }

    pub(super) fn of(&mut self, step: u64, batch: usize) -> Vec<usize> {
        let batch = batch.min(self.order.len() / 32 * 32);
        let per_epoch = (self.order.len() / batch) as u64;
        let epoch = step / per_epoch;
        if self.epoch != Some(epoch) {
            self.order.sort_unstable();
            self.order.shuffle(&mut seed::stream(self.seed, epoch));
            self.epoch = Some(epoch);
        }
        let from = (step % per_epoch) as usize * batch;
        self.order[from..from + batch].to_vec()
    }
}

/// SOG on a set of pictures.
pub struct SogImages<'a> {
    config: &'a ImageConfig,
    pictures: &'a Pictures,
    batches: Batches,
    model: Model,
    compute: &'a Compute,
    search: Search,
    /// The code that each picture has `[N, d]`, where they are kept; NaN before the first.
    codes: Vec<f32>,
    /// How fast pictures change with each coordinate `[d]`, as the last search found; infinite before it.
    curvature: Vec<f32>,
    /// Updates done.
    pub step: u64,
    /// Mean squared error per value on the scale from 0 to 1, of the last minibatch under its codes.
    pub mse: f64,
}

impl<'a> SogImages<'a> {
    /// Begins to learn `pictures`.
    ///
    /// # Errors
    /// If there is no generator for their size, or the device fails.
    pub fn new(
        config: &'a ImageConfig,
        pictures: &'a Pictures,
        compute: &'a Compute,
    ) -> Result<Self, ImageError> {
        let net = new_generator(config, pictures)?;
        let kept = if config.sog.keep_codes { pictures.len() } else { 0 };
        Ok(Self {
            batches: Batches::new(config.seed, pictures.len()),
            model: Model::new(ConvGenerator::new(net, adam()), compute)?,
            compute,
            search: Search::default(),
            codes: vec![f32::NAN; kept * config.latent],
            curvature: vec![f32::INFINITY; config.latent],
            step: 0,
            mse: f64::NAN,
            config,
            pictures,
        })
    }

    /// The generator, as of the last [`settle`](Self::settle).
    pub fn net(&self) -> &ConvNet {
        self.model.state().0
    }

    /// Brings what a device has learned back, before it is saved or used.
    ///
    /// # Errors
    /// If the device fails.
    pub fn settle(&mut self) -> Result<(), ImageError> {
        self.model.settle()
    }

    /// One iteration of Algorithm 1.
    ///
    /// # Errors
    /// If the device fails.
    pub fn update(&mut self) -> Result<(), ImageError> {
        let (config, latent) = (self.config, self.config.latent);
        let chosen = self.batches.of(self.step / config.sog.batch_repeats, config.batch);
        let mut rng = seed::stream(seed::derive(config.seed, SEARCH), self.step);
        self.model.load(&self.pictures.scaled(chosen.iter().copied()))?;
        // Here and not in `new`: a run that goes on has them.
        if self.step == 0 && config.sog.first_codes_share > 0.0 {
            self.codes = first_codes(self.pictures, latent, config.seed);
        }
        let first = (self.step as f64) < config.sog.first_codes_share * config.sog.updates as f64;
        let kept: Vec<f32> = match self.codes.is_empty() {
            true => vec![],
            false => {
                chosen.iter().flat_map(|n| &self.codes[n * latent..][..latent]).copied().collect()
            }
        };
        let searched = self.step.is_multiple_of(config.sog.search_interval);
        if first || (!searched && kept.iter().all(|z| z.is_finite())) {
            return self.follow(&chosen, &kept, first);
        }
        let (model, search) = (&mut self.model, &mut self.search);
        search.run(model, Groups::PerRow, config.shared_search(), &mut rng)?;
        if !kept.is_empty() {
            search.offer(model, Groups::PerRow, &kept)?;
        }
        if config.sog.refinement.samples > 0 {
            // Steps of all sizes up to the largest: how far a code still has to go is not known.
            let largest = config.sog.refinement.step;
            let step = largest * 10.0f32.powf(-rng.random_range(0.0..1.0));
            let refinement = Refinement { step, ..config.sog.refinement };
            search.refine(model, Groups::PerRow, refinement, &mut rng)?;
        }
        for _ in 0..config.sog.secants {
            let SecantCodes { codes, curvature } = model.secant_codes(search.codes())?;
            self.curvature = curvature;
            search.offer(model, Groups::PerRow, &codes)?;
        }
        if !self.codes.is_empty() {
            for (n, code) in chosen.iter().zip(search.codes().chunks_exact(latent)) {
                self.codes[n * latent..(n + 1) * latent].copy_from_slice(code);
            }
        }
        let lr = falling(config.sog.learning_rate, self.step, config.sog.updates);
        let loss = model.step(search.codes(), Groups::PerRow, lr)?;
        model.check()?;
        self.done(loss);
        Ok(())
    }

    /// A step under the codes that the chosen pictures keep, which then follow the gradient at hand, all
    /// but the `first` ones.
    fn follow(&mut self, chosen: &[usize], kept: &[f32], first: bool) -> Result<(), ImageError> {
        let (config, latent) = (self.config, self.config.latent);
        let lr = falling(config.sog.learning_rate, self.step, config.sog.updates);
        let (loss, slope) = self.model.step_and_slope(kept, lr)?;
        if !first && config.sog.code_step > 0.0 {
            // σ² is the squared error per value (Eq. 20b).
            let variance = loss / self.pictures.size.values() as f32;
            let of_each = kept.chunks_exact(latent).zip(slope.chunks_exact(latent));
            for (n, (code, slope)) in chosen.iter().zip(of_each) {
                let moved = &mut self.codes[n * latent..(n + 1) * latent];
                for (k, moved) in moved.iter_mut().enumerate() {
                    let newton = (slope[k] - variance * code[k]) / (self.curvature[k] + variance);
                    *moved += (config.sog.code_step * newton).clamp(-MOST, MOST);
                }
            }
        }
        self.done(loss);
        Ok(())
    }

    fn done(&mut self, loss: f32) {
        self.mse = per_value(loss.into(), self.pictures.size);
        self.step += 1;
    }
}

/// Where the generator is trained.
enum Model {
    /// By the engine.
    Engine(ConvGenerator),
    /// On a device; beside it what it was when it was last brought back.
    Device(Box<DeviceGenerator>, ConvNet, Adam),
}

impl Model {
    fn new(model: ConvGenerator, compute: &Compute) -> Result<Self, ImageError> {
        Ok(match compute {
            Compute::Engine => Self::Engine(model),
            Compute::Candle(device) => {
                let (net, adam) = (model.net, model.adam);
                let on_device = DeviceGenerator::new(&net, &adam, device)?;
                Self::Device(Box::new(on_device), net, adam)
            }
        })
    }

    fn state(&self) -> (&ConvNet, &Adam) {
        match self {
            Self::Engine(model) => (&model.net, &model.adam),
            Self::Device(_, net, adam) => (net, adam),
        }
    }

    fn settle(&mut self) -> Result<(), ImageError> {
        match self {
            Self::Engine(_) => Ok(()),
            Self::Device(model, net, adam) => Ok(model.store(net, adam)?),
        }
    }

    fn load(&mut self, y: &[f32]) -> Result<(), ImageError> {
        match self {
            Self::Engine(model) => Ok(model.load(y)?),
            Self::Device(model, ..) => Ok(model.load(y)?),
        }
    }

    fn secant_codes(&mut self, codes: &[f32]) -> Result<SecantCodes, ImageError> {
        match self {
            Self::Engine(model) => Ok(model.secant_codes(codes)?),
            Self::Device(model, ..) => Ok(model.secant_codes(codes)?),
        }
    }

    fn step_and_slope(&mut self, codes: &[f32], lr: f32) -> Result<(f32, Vec<f32>), ImageError> {
        match self {
            Self::Engine(model) => Ok(model.step_and_slope(codes, lr)?),
            Self::Device(model, ..) => Ok(model.step_and_slope(codes, lr)?),
        }
    }

    /// What a device said meanwhile.
    fn check(&mut self) -> Result<(), ImageError> {
        match self {
            Self::Engine(_) => Ok(()),
            Self::Device(model, ..) => Ok(model.check()?),
        }
    }
}

impl LatentModel for Model {
    fn code_len(&self) -> usize {
        self.state().0.arch().input.values()
    }

    fn rows(&self) -> usize {
        match self {
            Self::Engine(model) => model.rows(),
            Self::Device(model, ..) => model.rows(),
        }
    }

    fn losses(&mut self, candidates: Candidates<'_>, groups: Groups<'_>, sums: &mut [f64]) {
        match self {
            Self::Engine(model) => model.losses(candidates, groups, sums),
            Self::Device(model, ..) => model.losses(candidates, groups, sums),
        }
    }
}

impl Generator for Model {
    fn step(&mut self, codes: &[f32], groups: Groups<'_>, lr: f32) -> Result<f32, EngineError> {
        match self {
            Self::Engine(model) => model.step(codes, groups, lr),
            Self::Device(model, ..) => model.step(codes, groups, lr),
        }
    }
}

/// A freshly initialised generator, the same for SOG and for the VAE's decoder.
pub(super) fn new_generator(
    config: &ImageConfig,
    pictures: &Pictures,
) -> Result<ConvNet, EngineError> {
    let arch = ConvArch::generator(config.latent, pictures.size, config.width)?;
    Ok(ConvNet::new(arch, &mut seed::stream(config.seed, INIT)))
}

/// Adam as Radford et al. (2015) have it: β₁ = 0.5.
pub(super) fn adam() -> AdamConfig {
    AdamConfig { beta1: 0.5, ..AdamConfig::default() }
}

/// Side to which pictures are averaged down before their principal components are taken.
const COMPONENTS_SIDE: usize = 16;

/// First codes `[N, d]`: the first `d` principal components of the pictures (averaged down to at most 16
/// by 16), spread over the prior. Neighbours are pictures that look alike. Of the covariance, and not by the
/// iteration over all points that serves trajectories: there are 60 000 pictures.
fn first_codes(pictures: &Pictures, d: usize, seed: u64) -> Vec<f32> {
    let Grid { height, width, channels } = pictures.size;
    let by = height.max(width).div_ceil(COMPONENTS_SIDE);
    let (rows, columns) = (height.div_ceil(by), width.div_ceil(by));
    let dims = rows * columns * channels;
    let small = pictures.pixels.par_chunks(pictures.size.values()).flat_map_iter(|picture| {
        let mut sums = vec![0.0_f32; dims];
        for (at, &value) in picture.iter().enumerate() {
            let (pixel, channel) = (at / channels, at % channels);
            let (y, x) = (pixel / width / by, pixel % width / by);
            sums[(y * columns + x) * channels + channel] += f32::from(value) / 255.0;
        }
        sums
    });
    let mut points = DMatrix::from_vec(dims, pictures.len(), small.collect());
    let mean = points.column_mean();
    points.column_iter_mut().for_each(|mut point| point -= &mean);
    let covariance = (&points * points.transpose()) / pictures.len() as f32;
    let eigen = covariance.symmetric_eigen();
    let mut order: Vec<usize> = (0..dims).collect();
    order.sort_by(|&a, &b| eigen.eigenvalues[b].total_cmp(&eigen.eigenvalues[a]));
    let axes = DMatrix::from_fn(d, dims, |k, j| {
        order.get(k).map_or(0.0, |&axis| eigen.eigenvectors[(j, axis)])
    });
    let mut codes: Vec<f32> = (axes * points).data.into();
    spread(&mut codes, d, &mut seed::stream(seed, FIRST_CODES));
    codes
}

/// `from` falling linearly to 0.
pub(super) fn falling(from: f64, step: u64, of: u64) -> f32 {
    (from * (1.0 - step as f64 / of.max(1) as f64)).max(0.0) as f32
}

impl Checkpoint for SogImages<'_> {
    fn save(&self, to: &mut Snapshot) {
        let (net, adam) = self.model.state();
        state::save(to, "generator", net, adam);
        to.f32s("codes", &[self.codes.len()], &self.codes);
        to.f32s("curvature", &[self.curvature.len()], &self.curvature);
        to.state("step", &self.step);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        let (net, adam) = self.model.state();
        let mut model = ConvGenerator::new(net.clone(), adam.config);
        state::load(from, "generator", &mut model.net, &mut model.adam)?;
        model.refresh();
        self.model = Model::new(model, self.compute).map_err(state::refused)?;
        from.read_f32s("codes", &mut self.codes)?;
        from.read_f32s("curvature", &mut self.curvature)?;
        self.step = from.read_state("step")?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn first_codes_follow_the_prior_and_neighbours_look_alike() {
        // A bright square of 10 by 10 anywhere in 32 by 32, which are averaged by two.
        let size = Grid { height: 32, width: 32, channels: 1 };
        let mut rng = seed::rng(1);
        let place = |_| (rng.random_range(0..22_i32), rng.random_range(0..22_i32));
        let places: Vec<(i32, i32)> = (0..600).map(place).collect();
        let bright = |&(x, y): &(i32, i32), p: i32| {
            u8::from((x..x + 10).contains(&(p % 32)) && (y..y + 10).contains(&(p / 32))) * 255
        };
        let pixels =
            places.iter().flat_map(|at| (0..32 * 32).map(move |p| bright(at, p))).collect();
        let codes = first_codes(&Pictures { size, pixels, labels: vec![] }, 2, 3);
        assert_eq!(codes.len(), 1200);
        for k in 0..2 {
            let of: Vec<f32> = codes.iter().skip(k).step_by(2).copied().collect();
            let mean = of.iter().sum::<f32>() / 600.0;
            let variance = of.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / 600.0;
            assert!(mean.abs() < 0.1 && (0.8..1.1).contains(&variance), "{mean}, {variance}");
        }
        // Of each picture the nearest other code: its square is near, and seldom far.
        let squared = |n: usize, m: usize| -> f32 {
            (0..2).map(|k| (codes[2 * n + k] - codes[2 * m + k]).powi(2)).sum()
        };
        let nearest = |n: usize| {
            let others = (0..600).filter(|&m| m != n);
            others.min_by(|&a, &b| squared(n, a).total_cmp(&squared(n, b))).unwrap()
        };
        let off = |n: usize, m: usize| {
            let ((x, y), (u, v)) = (places[n], places[m]);
            f64::from((x - u).pow(2) + (y - v).pow(2)).sqrt()
        };
        let near = (0..600).map(|n| off(n, nearest(n))).sum::<f64>() / 600.0;
        let any = (0..600).map(|n| off(n, (n + 300) % 600)).sum::<f64>() / 600.0;
        assert!(near < 0.2 * any, "{near} of {any}");
    }
}
