//! Where an algorithm built on PPO has its say.

use sog_engine::ppo::SogTerm;
use sog_sim::rollout::{Batch, EpisodeStart};

/// An error of a hook, passed through.
pub type HookError = Box<dyn std::error::Error + Send + Sync>;

/// What PPO asks of the algorithm around it. S observation, Z code, M modes or goals.
pub trait Hooks: Sync {
    /// Decides code and goals of an episode that begins; called from many threads at once, so
    /// everything random must come from the episode's own stream.
    fn begin_episode(&self, start: &mut EpisodeStart<'_>);

    /// Writes the reward of each row of the batch, `rewards [rows]`: a column of the task's, or a
    /// discriminator's, which may be trained here. `obs [rows, S]` are the normalised
    /// observations.
    ///
    /// # Errors
    /// Whatever goes wrong in the hook.
    fn rewards(&mut self, batch: &Batch, obs: &[f32], rewards: &mut [f32])
    -> Result<(), HookError>;

    /// λ_S L_SOG for the next minibatch (Algorithm 3, line 7), if any; called once a minibatch.
    ///
    /// # Errors
    /// Whatever goes wrong in the hook.
    fn sog_term(&mut self) -> Result<Option<SogTerm<'_>>, HookError> {
        Ok(None)
    }
}

/// Plain reinforcement learning without codes: the task's own reward of one mode.
#[derive(Clone, Debug)]
pub struct TaskReward {
    /// Column of the rewards.
    pub mode: usize,
}

impl Hooks for TaskReward {
    fn begin_episode(&self, _start: &mut EpisodeStart<'_>) {}

    fn rewards(
        &mut self,
        batch: &Batch,
        _obs: &[f32],
        rewards: &mut [f32],
    ) -> Result<(), HookError> {
        let modes = batch.rewards.len() / batch.rows().max(1);
        let column = batch.rewards.iter().skip(self.mode).step_by(modes.max(1));
        rewards.iter_mut().zip(column).for_each(|(out, &r)| *out = r);
        Ok(())
    }
}
