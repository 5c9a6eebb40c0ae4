//! Reinforcement learning: runs with checkpoints, PPO over parallel rollouts, and experts.
//!
//! * [`run`]: a run directory with configuration, metrics and checkpoints that survives a kill at
//!   any instant and resumes bit for bit.

pub mod run;
