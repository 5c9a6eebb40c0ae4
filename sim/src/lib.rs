//! The tasks of sog on MuJoCo, rollouts on all cores, and the simulated robot.
//!
//! From the bottom up:
//!
//! * [`physics`]: MuJoCo: robot files, compiled models, one simulated state;
//! * [`task`]: the [`task::Task`] trait, one environment instance, and what is known beforehand;
//! * [`folder`], [`definition`]: a task's folder and what its `task.toml` says;
//! * [`tasks`]: the tasks, opened by name or path, and [`tasks::TaskMaker`];
//! * [`registry`]: what a `task.toml` cannot say and names a function for;
//! * [`rollout`]: many environments on all cores, and evaluation;
//! * [`robot`]: a task as a robot to the control loop, in this process or behind a link;
//! * [`expert`], [`demonstrator`]: who demonstrates a task, and a robot that is led so;
//! * [`render`]: pictures, drawn off-screen;
//! * [`check`]: replays reference trajectories; [`mod@bench`]: how fast a task runs;
//! * [`cli`]: the command `sog-sim`;
//! * [`seed`]: independent random streams from one seed; [`error`]: what can go wrong.
//!
//! `unsafe` is in two places: `physics::ffi`, calls into MuJoCo that its bindings lack, and
//! `render::egl`.
//!
//! ```
//! use sog_sim::tasks::{TaskOptions, make};
//! # fn main() -> Result<(), sog_sim::error::SimError> {
//! let mut hopper = make("hopper-vel-6", &TaskOptions::default())?;
//! hopper.reset(7)?;                                        // all randomness comes from the seed
//! let mut obs = vec![0.0; hopper.info().obs_dim()];
//! let mut rewards = vec![0.0; hopper.reward_count()];      // one a mode, at every step
//! let fallen = (0..hopper.info().horizon).position(|_| {
//!     hopper.observe(&mut obs);
//!     let action = [0.2 * obs[1], 0.0, 0.1];
//!     hopper.step(&action, &mut rewards).expect("a finite action").terminated
//! });
//! assert!(fallen.is_some());
//! assert_eq!(rewards.len(), 6);
//! # Ok(())
//! # }
//! ```

pub mod bench;
pub mod check;
mod checks;
#[cfg(feature = "cli")]
pub mod cli;
mod compiled;
pub mod definition;
pub mod demonstrator;
pub mod error;
pub mod expert;
mod external;
pub mod folder;
pub mod physics;
pub mod registry;
#[cfg(feature = "render")]
pub mod render;
pub mod robot;
pub mod rollout;
pub mod seed;
pub mod task;
pub mod tasks;
