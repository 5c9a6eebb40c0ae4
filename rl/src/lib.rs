//! Reinforcement learning: runs with checkpoints, PPO over parallel rollouts, and experts.
//!
//! * [`run`]: a run directory with configuration, metrics and checkpoints that survives a kill at
//!   any instant and resumes bit for bit;
//! * [`ppo`]: proximal policy optimisation, with hooks for imitation;
//! * [`experts`]: experts for the tasks, trained on their own rewards.

pub mod ddpg;
pub mod experts;
pub mod ppo;
pub mod run;
