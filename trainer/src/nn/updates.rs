//! Who computes the minibatch updates of a network: the fused engine on the processor, or candle on
//! a device. One trait an update (PPO's is [`sog_rl::ppo::Updates`]); [`Compute`] gives the one that
//! was asked for, and nobody else asks which it is.

use candle_core::Device;
use sog_engine::{
    EngineError,
    adam::Adam,
    discriminator::{Discriminator, DiscriminatorBatch, DiscriminatorConfig, DiscriminatorStats},
    mlp::Part,
    net::{Mlp, MlpArch, PolicyArch, PolicyNet},
    posterior::{CodeKind, Posterior, PosteriorStep},
    shard::Parallelism,
    sog_bc::{SogBatch, SogBc, SogPlan, SogStep},
};
use sog_sim::seed::Rng;

use super::{discriminator::DeviceDiscriminator, posterior::DevicePosterior, sog::DeviceCloning};
use crate::{device::Compute, error::TrainError};

/// Chooses codes behind a search, as in [`SogBc::update_choosing`]: losses, codes, and a generator
/// to draw from.
pub type Choose<'c> = dyn FnMut(&[f32], &mut [f32], &mut Rng) + Send + 'c;

/// A policy that is cloned, and what its next update is made of.
pub struct Member<'m> {
    /// The policy.
    pub net: &'m mut PolicyNet,
    /// Its optimiser.
    pub adam: &'m mut Adam,
    /// How it steps.
    pub plan: SogPlan<'m>,
    /// On what.
    pub batch: SogBatch<'m>,
    /// What a search draws from.
    pub rng: &'m mut Rng,
    /// What chooses codes behind a search, where that is not the smallest loss.
    pub choose: Option<Box<Choose<'m>>>,
}

/// What there is to say of a policy's update.
#[derive(Clone, Debug, PartialEq)]
pub struct Heard {
    /// Loss and gradient.
    pub step: SogStep,
    /// Number of each group's code, where codes are one-hot.
    pub codes: Vec<u32>,
}

/// Computes the updates of SOG-BC (Algorithm 2).
pub trait CloningUpdates: Send {
    /// One update of each policy, as [`SogBc::update_choosing`]. They are the same ones each time, of one
    /// shape and in step with each other: their plans differ at most in the codes that are given. Until
    /// [`finish`](Self::finish) policies and optimisers may be kept elsewhere and `net` and `adam` be out of
    /// date.
    ///
    /// # Errors
    /// If a shape does not match, several cannot be updated so, or the device fails.
    fn update(&mut self, members: &mut [Member<'_>]) -> Result<(), TrainError>;

    /// What there is to say of the updates since the last call, first to last, of each policy in turn. A
    /// device is waited for.
    ///
    /// # Errors
    /// If the device fails.
    fn told(&mut self) -> Result<Vec<Heard>, TrainError>;

    /// Brings policies and optimisers up to date.
    ///
    /// # Errors
    /// If the device fails.
    fn finish(&mut self, members: Vec<(&mut PolicyNet, &mut Adam)>) -> Result<(), TrainError>;
}

/// Computes the updates of a discriminator.
pub trait DiscriminatorUpdates: Send + Sync {
    /// One update, as [`Discriminator::update`]. Until [`finish`](Self::finish) `net` and `adam` may
    /// be out of date.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    fn update(
        &mut self,
        net: &mut Mlp,
        adam: &mut Adam,
        config: &DiscriminatorConfig,
        lr: f32,
        batch: DiscriminatorBatch<'_>,
    ) -> Result<DiscriminatorStats, TrainError>;

    /// Brings network and optimiser up to date.
    ///
    /// # Errors
    /// If the device fails.
    fn finish(&mut self, net: &mut Mlp, adam: &mut Adam) -> Result<(), TrainError>;
}

/// Computes the updates of InfoGAIL's posterior.
pub trait PosteriorUpdates: Send + Sync {
    /// One update, as [`Posterior::update`]. Until [`finish`](Self::finish) `net` and `adam` may be
    /// out of date.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    fn update(
        &mut self,
        net: &mut Mlp,
        adam: &mut Adam,
        lr: f32,
        input: &[Part<'_>],
        codes: &[f32],
    ) -> Result<PosteriorStep, TrainError>;

    /// Brings network and optimiser up to date.
    ///
    /// # Errors
    /// If the device fails.
    fn finish(&mut self, net: &mut Mlp, adam: &mut Adam) -> Result<(), TrainError>;
}

impl Compute {
    /// SOG-BC's updates of policies of this shape; `threads` are the engine's.
    pub fn cloning(&self, arch: &PolicyArch, threads: Parallelism) -> Box<dyn CloningUpdates> {
        match self {
            Self::Engine => {
                let sog = SogBc::new(arch).with_parallelism(threads);
                Box::new(OnEngine { sog, heard: vec![] })
            }
            Self::Candle(device) => Box::new(OnDevice::<DeviceCloning>::new(device)),
        }
    }

    /// Updates of discriminators of this shape.
    ///
    /// # Errors
    /// If the shape is none of a discriminator.
    pub fn discriminator(
        &self,
        arch: &MlpArch,
    ) -> Result<Box<dyn DiscriminatorUpdates>, EngineError> {
        Ok(match self {
            Self::Engine => {
                Box::new(Discriminator::new(arch)?.with_parallelism(Parallelism::Rayon))
            }
            Self::Candle(device) => Box::new(OnDevice::<DeviceDiscriminator>::new(device)),
        })
    }

    /// Updates of posteriors of this shape over codes of this kind.
    ///
    /// # Errors
    /// If the shape does not fit the codes.
    pub fn posterior(
        &self,
        arch: &MlpArch,
        kind: CodeKind,
    ) -> Result<Box<dyn PosteriorUpdates>, EngineError> {
        Ok(match self {
            Self::Engine => Box::new(Posterior::new(arch, kind)?),
            Self::Candle(device) => Box::new(PosteriorOnDevice { kind, at: OnDevice::new(device) }),
        })
    }
}

/// A network that is taken to a device with its first update and given back when they are done; its place there
/// stays.
struct OnDevice<T> {
    device: Device,
    there: Option<T>,
    /// Whether the one there is the newest.
    current: bool,
}

impl<T> OnDevice<T> {
    fn new(device: &Device) -> Self {
        Self { device: device.clone(), there: None, current: false }
    }

    /// The network there, made by `make` if it never was, and loaded by `load` if it is not the newest.
    fn take(
        &mut self,
        make: impl FnOnce(&Device) -> candle_core::Result<T>,
        load: impl FnOnce(&mut T) -> candle_core::Result<()>,
    ) -> candle_core::Result<&mut T> {
        let there = match self.there.take() {
            Some(mut there) => {
                if !self.current {
                    load(&mut there)?;
                }
                there
            }
            None => make(&self.device)?,
        };
        self.current = true;
        Ok(self.there.insert(there))
    }

    /// The network there, if it is the newest; from now on it is not.
    fn give_back(&mut self) -> Option<&T> {
        let current = std::mem::take(&mut self.current);
        self.there.as_ref().filter(|_| current)
    }
}

/// The engine, and what has been heard of it.
struct OnEngine {
    sog: SogBc,
    heard: Vec<Heard>,
}

impl CloningUpdates for OnEngine {
    fn update(&mut self, members: &mut [Member<'_>]) -> Result<(), TrainError> {
        for Member { net, adam, plan, batch, rng, choose } in members {
            let choose = |losses: &[f32], codes: &mut [f32], rng: &mut Rng| {
                if let Some(choose) = choose {
                    choose(losses, codes, rng);
                }
            };
            let step = self.sog.update_choosing(net, adam, *plan, *batch, *rng, choose)?;
            let codes = self.sog.codes().chunks_exact(net.arch().latent.max(1));
            let number = |code: &[f32]| code.iter().position(|&z| z > 0.5).unwrap_or(0) as u32;
            self.heard.push(Heard { step, codes: codes.map(number).collect() });
        }
        Ok(())
    }

    fn told(&mut self) -> Result<Vec<Heard>, TrainError> {
        Ok(std::mem::take(&mut self.heard))
    }

    fn finish(&mut self, _members: Vec<(&mut PolicyNet, &mut Adam)>) -> Result<(), TrainError> {
        Ok(())
    }
}

impl CloningUpdates for OnDevice<DeviceCloning> {
    fn update(&mut self, members: &mut [Member<'_>]) -> Result<(), TrainError> {
        let there =
            self.take(|device| DeviceCloning::new(members, device), |there| there.resume(members))?;
        Ok(there.update(members)?)
    }

    fn told(&mut self) -> Result<Vec<Heard>, TrainError> {
        Ok(self.there.as_mut().map_or(Ok(vec![]), DeviceCloning::told)?)
    }

    fn finish(&mut self, members: Vec<(&mut PolicyNet, &mut Adam)>) -> Result<(), TrainError> {
        self.give_back().map_or(Ok(()), |there| Ok(there.store(members)?))
    }
}

impl DiscriminatorUpdates for Discriminator {
    fn update(
        &mut self,
        net: &mut Mlp,
        adam: &mut Adam,
        config: &DiscriminatorConfig,
        lr: f32,
        batch: DiscriminatorBatch<'_>,
    ) -> Result<DiscriminatorStats, TrainError> {
        Ok(Discriminator::update(self, net, adam, config, lr, batch)?)
    }

    fn finish(&mut self, _net: &mut Mlp, _adam: &mut Adam) -> Result<(), TrainError> {
        Ok(())
    }
}

impl DiscriminatorUpdates for OnDevice<DeviceDiscriminator> {
    fn update(
        &mut self,
        net: &mut Mlp,
        adam: &mut Adam,
        config: &DiscriminatorConfig,
        lr: f32,
        batch: DiscriminatorBatch<'_>,
    ) -> Result<DiscriminatorStats, TrainError> {
        let there = self.take(
            |device| DeviceDiscriminator::new(net, adam, device),
            |there| there.load(net, adam),
        )?;
        Ok(there.update(config, lr, batch)?)
    }

    fn finish(&mut self, net: &mut Mlp, adam: &mut Adam) -> Result<(), TrainError> {
        self.give_back().map_or(Ok(()), |there| Ok(there.store(net, adam)?))
    }
}

impl PosteriorUpdates for Posterior {
    fn update(
        &mut self,
        net: &mut Mlp,
        adam: &mut Adam,
        lr: f32,
        input: &[Part<'_>],
        codes: &[f32],
    ) -> Result<PosteriorStep, TrainError> {
        Ok(Posterior::update(self, net, adam, lr, input, codes)?)
    }

    fn finish(&mut self, _net: &mut Mlp, _adam: &mut Adam) -> Result<(), TrainError> {
        Ok(())
    }
}

/// A posterior on a device, and what codes it is over.
struct PosteriorOnDevice {
    kind: CodeKind,
    at: OnDevice<DevicePosterior>,
}

impl PosteriorUpdates for PosteriorOnDevice {
    fn update(
        &mut self,
        net: &mut Mlp,
        adam: &mut Adam,
        lr: f32,
        input: &[Part<'_>],
        codes: &[f32],
    ) -> Result<PosteriorStep, TrainError> {
        let kind = self.kind;
        let there = self.at.take(
            |device| DevicePosterior::new(net, adam, kind, device),
            |there| there.load(net, adam),
        )?;
        Ok(there.update(lr, input, codes)?)
    }

    fn finish(&mut self, net: &mut Mlp, adam: &mut Adam) -> Result<(), TrainError> {
        self.at.give_back().map_or(Ok(()), |there| Ok(there.store(net, adam)?))
    }
}
