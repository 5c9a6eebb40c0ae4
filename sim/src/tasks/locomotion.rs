//! What the five walking robots share: an episode, a control step, a reward for each mode.

use std::sync::Arc;

use mujoco_rs::prelude::MjModel;
use rand_distr::{Distribution, StandardNormal};

use crate::{
    error::SimError,
    physics::{Data, Needs, Physics, Robot},
    seed::{self, Rng},
    task::{Modes, Probe, Step, Task, TaskInfo, check_action, check_numbers, check_width, unit},
};

/// What is the robot's own.
pub(super) trait Walker: Send {
    /// Which robot.
    const ROBOT: Robot;
    /// Physics steps of a control step.
    const FRAME_SKIP: usize;
    /// Numbers of positions, velocities and controls.
    const SIZES: [usize; 3];
    /// Whether rewards or observations read the contact forces on the bodies.
    const READS_CONTACT_FORCES: bool;
    /// Noise of the start.
    const START: StartNoise;

    /// Where the robot is: what velocities are measured by.
    fn position(&self, data: &Data) -> [f64; 3];

    /// Writes the observation.
    fn observe(&self, data: &Data, obs: &mut [f64]);

    /// Whether the robot has fallen.
    fn fallen(&self, data: &Data) -> bool;

    /// What a control step costs or pays whatever the mode.
    fn common_reward(&self, data: &Data, action: &[f64]) -> f64;

    /// What a control step pays for a mode's or goal's value, at a velocity in the plane in m/s.
    fn mode_reward(&self, value: f64, velocity_m_s: [f64; 2]) -> f64;
}

/// Noise of the start about the default pose at rest.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartNoise {
    /// Positions uniform within ± this.
    UniformPositionNormalVelocity(f64),
    /// Positions and velocities uniform within ± this.
    Uniform(f64),
}

impl StartNoise {
    fn draw(self, rng: &mut Rng, qpos: &mut [f64], qvel: &mut [f64]) {
        let (Self::UniformPositionNormalVelocity(scale) | Self::Uniform(scale)) = self;
        let uniform = |rng: &mut Rng| scale * (2.0 * unit(rng) - 1.0);
        qpos.iter_mut().for_each(|q| *q += uniform(rng));
        for v in qvel {
            *v = match self {
                Self::Uniform(_) => uniform(rng),
                Self::UniformPositionNormalVelocity(_) => {
                    let normal: f64 = StandardNormal.sample(rng);
                    scale * normal
                }
            };
        }
    }
}

/// A walking robot with a task.
pub(super) struct Locomotion<W> {
    info: TaskInfo,
    walker: W,
    physics: Physics,
    /// Values of the modes, or goals.
    values: Vec<f64>,
    velocity_m_s: [f64; 2],
    qpos: Vec<f64>,
    qvel: Vec<f64>,
}

impl<W: Walker> Locomotion<W> {
    /// A new environment, reset with seed 0.
    pub(super) fn new(info: TaskInfo, walker: W, model: Arc<MjModel>) -> Result<Self, SimError> {
        let needs = Needs { sizes: W::SIZES, frame_skip: W::FRAME_SKIP, dt_s: info.dt_s };
        let physics = Physics::new(&info.name, W::ROBOT, model, &needs)?;
        physics.need_body(TORSO, "torso")?;
        let values = match &info.modes {
            Modes::Discrete(modes) => modes.iter().map(|mode| mode.value).collect(),
            Modes::Continuous(space) => space.default.clone(),
        };
        let [nq, nv, _] = W::SIZES;
        let mut task = Self {
            info,
            walker,
            physics,
            values,
            velocity_m_s: [0.0; 2],
            qpos: vec![0.0; nq],
            qvel: vec![0.0; nv],
        };
        task.reset(0)?;
        Ok(task)
    }
}

impl<W: Walker> Task for Locomotion<W> {
    fn info(&self) -> &TaskInfo {
        &self.info
    }

    fn reset(&mut self, seed: u64) -> Result<(), SimError> {
        self.qpos.copy_from_slice(self.physics.model().qpos0());
        self.qvel.fill(0.0);
        W::START.draw(&mut seed::rng(seed), &mut self.qpos, &mut self.qvel);
        self.velocity_m_s = [0.0; 2];
        self.physics.start_from(&self.qpos, &self.qvel)
    }

    fn start_from(&mut self, qpos: &[f64], qvel: &[f64]) -> Result<(), SimError> {
        self.velocity_m_s = [0.0; 2];
        self.physics.start_from(qpos, qvel)
    }

    fn observe(&self, obs: &mut [f64]) {
        self.walker.observe(self.physics.data(), obs);
    }

    fn step(&mut self, action: &[f64], rewards: &mut [f64]) -> Result<Step, SimError> {
        check_action(&self.info.name, action, W::SIZES[2])?;
        check_width(&self.info.name, "rewards", rewards.len(), self.values.len())?;
        let before = self.walker.position(self.physics.data());
        let data = self.physics.data_mut();
        data.ctrl_mut().copy_from_slice(action);
        for _ in 0..W::FRAME_SKIP {
            data.step();
        }
        if W::READS_CONTACT_FORCES {
            data.rne_post_constraint();
        }
        // No forward pass here: the reference reads positions of bodies, inertias and forces as
        // the last physics step computed them, and so do we.
        let data = self.physics.data();
        let after = self.walker.position(data);
        if self.physics.diverged() {
            // MuJoCo has put the robot back to its default pose; nothing of this step counts.
            rewards.fill(0.0);
            self.velocity_m_s = [0.0; 2];
            return Ok(Step { terminated: true });
        }
        self.velocity_m_s = [0, 1].map(|i| (after[i] - before[i]) / self.info.dt_s);
        let common = self.walker.common_reward(data, action);
        for (reward, &value) in rewards.iter_mut().zip(&self.values) {
            *reward = self.walker.mode_reward(value, self.velocity_m_s) + common;
        }
        Ok(Step { terminated: self.walker.fallen(data) })
    }

    fn reward_count(&self) -> usize {
        self.values.len()
    }

    fn set_goals(&mut self, goals: &[f64]) -> Result<(), SimError> {
        let Modes::Continuous(_) = self.info.modes else {
            return Err(SimError::NoGoals { task: self.info.name.clone() });
        };
        check_numbers(&self.info.name, "goals", goals, goals.len().max(1))?;
        self.values.clear();
        self.values.extend_from_slice(goals);
        Ok(())
    }

    fn probe(&self) -> Probe {
        let position_m = self.walker.position(self.physics.data());
        Probe { position_m, velocity_m_s: self.velocity_m_s }
    }

    fn physics(&self) -> Option<&Physics> {
        Some(&self.physics)
    }
}

/// Index of the torso, the first body after the world in every walking robot.
pub(super) const TORSO: usize = 1;

/// Writes parts one after the other; together they must fill `out`.
pub(super) fn fill(out: &mut [f64], parts: &[&[f64]]) {
    let mut at = 0;
    for part in parts {
        out[at..at + part.len()].copy_from_slice(part);
        at += part.len();
    }
    assert_eq!(at, out.len(), "observation buffer");
}

/// Σ x².
pub(super) fn square_sum(x: &[f64]) -> f64 {
    x.iter().map(|x| x * x).sum()
}

/// Projection of a velocity on the direction `angle` in radians.
pub(super) fn along(angle: f64, velocity_m_s: [f64; 2]) -> f64 {
    velocity_m_s[0] * angle.cos() + velocity_m_s[1] * angle.sin()
}

/// `count` directions, equally spaced from 0.
pub(super) fn directions(count: usize) -> Modes {
    let angles: Vec<f64> =
        (0..count).map(|k| std::f64::consts::TAU * k as f64 / count as f64).collect();
    Modes::discrete(&angles, |angle| format!("{:.0}°", angle.to_degrees()))
}

/// Goal speeds along x.
pub(super) fn speeds(values: &[f64]) -> Modes {
    Modes::discrete(values, |v| format!("{v} m/s"))
}
