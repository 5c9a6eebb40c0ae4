//! Reinforcement learning: runs with checkpoints, PPO over parallel rollouts, and experts.
