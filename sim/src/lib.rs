//! The nine tasks of sog on MuJoCo, rollouts on all cores, and the simulated robot.
//!
//! * [`task`]: the [`task::Task`] trait, one environment instance, and what is known beforehand;
//! * [`tasks`]: the tasks, one file a robot family, and [`tasks::make`];
//! * [`rollout`]: many environments on all cores, and evaluation;
//! * [`seed`]: independent random streams from one seed;
//! * [`error`]: what can go wrong.

pub mod error;
pub mod rollout;
pub mod seed;
pub mod task;
pub mod tasks;
