//! The nine tasks of sog on MuJoCo, rollouts on all cores, and the simulated robot.
//!
//! * [`check`]: replays reference trajectories;
//! * [`task`]: the [`task::Task`] trait, one environment instance, and what is known beforehand;
//! * [`tasks`]: the tasks, one file a robot family, and [`tasks::make`];
//! * [`physics`]: MuJoCo: robot files, compiled models, one simulated state;
//! * [`rollout`]: many environments on all cores, and evaluation;
//! * [`seed`]: independent random streams from one seed;
//! * [`error`]: what can go wrong.

pub mod check;
pub mod error;
pub mod physics;
pub mod rollout;
pub mod seed;
pub mod task;
pub mod tasks;
