//! The nine tasks of sog on MuJoCo, rollouts on all cores, and the simulated robot.
//!
//! * [`bench`]: how fast a task runs, beside MuJoCo alone;
//! * [`check`]: replays reference trajectories;
//! * [`task`]: the [`task::Task`] trait, one environment instance, and what is known beforehand;
//! * [`tasks`]: the tasks, one file a robot family, and [`tasks::make`];
//! * [`physics`]: MuJoCo: robot files, compiled models, one simulated state;
//! * [`render`]: pictures, drawn off-screen;
//! * [`robot`]: a task as a robot to the control loop;
//! * [`rollout`]: many environments on all cores, and evaluation;
//! * [`seed`]: independent random streams from one seed;
//! * [`error`]: what can go wrong.

pub mod bench;
pub mod check;
pub mod cli;
pub mod error;
pub mod physics;
pub mod render;
pub mod robot;
pub mod rollout;
pub mod seed;
pub mod task;
pub mod tasks;
