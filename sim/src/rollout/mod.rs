//! Rollouts: many environments on all cores.
//!
//! * [`Actor`]: what decides the action: a [`Policy`](sog_runtime::policy::Policy), an expert, a
//!   script; evaluated in batches, so that training runs the very inference that is deployed;
//! * [`Fleet`]: environments that run on from segment to segment and record into a [`Batch`],
//!   for learning;
//! * [`evaluate`]: whole episodes by [`Plan`], for evaluation, demonstrations and figures.
//!
//! Each environment draws from its own streams and its results depend on nothing else, so the
//! same seed gives the same bytes whatever the number of threads. Work runs on the rayon pool it
//! is called from. Nothing is allocated per step, and threads meet only at the end of a segment.
//!
//! ```
//! use sog_runtime::policy::{LatentKind, Policy, example};
//! use sog_sim::{rollout::*, tasks::{TaskMaker, TaskOptions}};
//! # fn main() -> Result<(), sog_sim::error::SimError> {
//! let maker = TaskMaker::new("circles", &TaskOptions::default())?;
//! let policy = Policy::new(&example(7));                       // random weights, three codes
//! let config = FleetConfig { envs: 4, latent_dim: 3, seed: 1, ..Default::default() };
//! let mut fleet = Fleet::new(&maker, &config)?;
//! let mut batch = fleet.batch(128);
//! let prior = |start: &mut EpisodeStart<'_>| sample_prior(LatentKind::OneHot(3), start.rng, start.code);
//! fleet.run(&policy, Noise::Gaussian(&[0.1, 0.1]), &prior, &mut batch)?;
//! assert_eq!(batch.obs.len(), 4 * 128 * 10);
//!
//! let plan = Plan { seed: 3, code: vec![0.0, 1.0, 0.0], ..Default::default() };
//! let episodes = evaluate(&maker, &policy, &[plan], &EvaluateOptions::default())?;
//! assert_eq!(episodes[0].returns.len(), 3);                    // one return a mode
//! # Ok(())
//! # }
//! ```

mod actor;
mod batch;
mod evaluate;
mod fleet;
mod member;

pub use actor::{Actor, ActorWorker, Noise, sample_prior};
pub use batch::{Batch, Ended, EpisodeEnd};
pub use evaluate::{Capture, Episode, EvaluateOptions, Plan, Switch, Trace, evaluate};
pub use fleet::{EpisodeStart, Fleet, FleetConfig};
pub(crate) use member::reset_seed;

/// Most environments that one thread steps in lock step: enough rows for batched inference, few
/// enough that their states stay in the core's cache.
const GROUP: usize = 8;

/// How many of `total` equal pieces of work one thread takes at a time: a few turns each, so that
/// no thread is left waiting for another's long last piece.
fn group_size(total: usize) -> usize {
    total.div_ceil(2 * rayon::current_num_threads()).clamp(1, GROUP)
}
