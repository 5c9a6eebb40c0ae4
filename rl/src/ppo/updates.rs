//! Where the minibatch updates are computed.

use sog_engine::ppo::{ActorCritic, Ppo, PpoBatch, PpoConfig, PpoStats, SogTerm};

use super::HookError;

/// Computes PPO's minibatch updates: the engine on the processor, or something else elsewhere.
pub trait Updates: Send {
    /// One update of `nets`, as [`Ppo::update`]. Until [`finish`](Self::finish) the networks may be
    /// kept elsewhere and `nets` be out of date.
    ///
    /// # Errors
    /// If a shape does not match or the device fails.
    fn update(
        &mut self,
        nets: &mut ActorCritic,
        config: &PpoConfig,
        lr: f32,
        batch: PpoBatch<'_>,
        sog: Option<SogTerm<'_>>,
    ) -> Result<PpoStats, HookError>;

    /// Brings `nets` up to date; called after the last update of an iteration.
    ///
    /// # Errors
    /// If the device fails.
    fn finish(&mut self, nets: &mut ActorCritic) -> Result<(), HookError>;
}

impl Updates for Ppo {
    fn update(
        &mut self,
        nets: &mut ActorCritic,
        config: &PpoConfig,
        lr: f32,
        batch: PpoBatch<'_>,
        sog: Option<SogTerm<'_>>,
    ) -> Result<PpoStats, HookError> {
        Ok(Ppo::update(self, nets, config, lr, batch, sog)?)
    }

    fn finish(&mut self, _nets: &mut ActorCritic) -> Result<(), HookError> {
        Ok(())
    }
}
