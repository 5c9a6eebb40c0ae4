//! Proximal policy optimisation (Schulman et al. 2017; Eqs. 3–4 of the paper) over parallel
//! rollouts.
//!
//! One [`Ppo::iterate`] reads like the algorithm:
//!
//! ```text
//! collect    run the policy in n environments for T steps          (simulator, runtime)
//! judge      rewards, values, advantages by GAE(λ)                 (hooks, engine)
//! improve    epochs × minibatches of the clipped objective         (engine)
//! adapt      take the observations into the normaliser
//! ```
//!
//! The normaliser is frozen within an iteration and folded into the policy that the runtime
//! evaluates: what explores is what would be deployed. [`Hooks`] are where imitation enters: the
//! reward, the code of each episode, and the SOG term of each minibatch.
//!
//! State is saved ([`Checkpoint`](crate::run::Checkpoint)) between iterations after
//! [`Ppo::restart`], which makes the environments begin new episodes: then the simulator's state
//! need not be kept, and a resumed run continues bit for bit.
//!
//! ```
//! use sog_rl::ppo::{Ppo, PpoConfig, PpoSetup, TaskReward};
//! use sog_sim::tasks::{TaskMaker, TaskOptions};
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let maker = TaskMaker::new("circles", &TaskOptions::default())?;
//! let config = PpoConfig { envs: 4, steps: 64, minibatch: 64, ..PpoConfig::default() };
//! let setup = PpoSetup { total_steps: 10_000, ..PpoSetup::default() };
//! let mut ppo = Ppo::new(&maker, &config, &setup)?;
//! let diagnostics = ppo.iterate(&mut TaskReward { mode: 0 })?;
//! assert!(diagnostics.approx_kl.is_finite());
//! let mut policy = ppo.policy_file();
//! policy.seal(8);
//! # Ok(()) }
//! ```

mod config;
pub(crate) mod convert;
mod diagnostics;
mod hooks;
mod learner;
mod normaliser;
mod updates;

pub use config::{PpoConfig, PpoSetup};
pub use diagnostics::Diagnostics;
pub use hooks::{HookError, Hooks, TaskReward};
pub use learner::Ppo;
pub use normaliser::ObsNormaliser;
pub use updates::Updates;

use sog_engine::EngineError;
use sog_sim::error::SimError;

/// Why PPO stops.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PpoError {
    /// The simulator refuses or fails.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// Shapes do not fit.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// The algorithm around PPO failed.
    #[error(transparent)]
    Hook(HookError),
    /// An observation term that is not the task's.
    #[error("there is no observation term `{found}` to hide; the task has {known}")]
    UnknownTerm {
        /// The name given.
        found: String,
        /// The task's terms.
        known: String,
    },
    /// Training diverged.
    #[error(
        "the norm of the gradient is {norm} after {steps} steps: training diverged; \
         lower the learning rate"
    )]
    Diverged {
        /// The norm.
        norm: f32,
        /// Environment steps so far.
        steps: u64,
    },
}

#[cfg(test)]
mod tests;
