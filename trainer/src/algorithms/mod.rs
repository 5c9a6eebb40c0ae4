//! The imitation algorithms, one file each.
//!
//! * [`sog_bc`]: SOG-BC, Algorithm 2 (and BC: the same without a code);
//! * [`gail`]: GAIL, Eq. 1;
//! * [`sog_gail`]: SOG-GAIL, Algorithm 3;
//! * [`mod@infogail`], the baseline InfoGAIL;
//! * [`mod@vae_gail`], the baseline VAE-GAIL;
//! * [`sample`]: minibatches of demonstrations;
//! * [`adversary`]: the discriminator that the adversarial ones share.

pub mod adversary;
pub mod gail;
pub mod infogail;
pub mod sample;
pub mod sog_bc;
pub mod sog_gail;
pub mod vae_gail;

use sog_rl::{ppo::Hooks, run::Checkpoint};

/// What an adversarial algorithm adds to PPO: hooks, state, and numbers to watch.
pub trait Imitation: Hooks + Checkpoint {
    /// Names and values of the last iteration, for the run's metrics.
    fn metrics(&self) -> Vec<(&'static str, f64)>;
}
