//! `walker2d-vel-6` and `hopper-vel-6`: planar robots on one or two legs keep a speed.

use super::TermList;
use super::locomotion::{StartNoise, Walker, speeds, square_sum};
use crate::{
    physics::{Data, Robot},
    task::{TaskId, TaskInfo},
};

/// Bound of velocities in the observation (only there).
const OBSERVED_VELOCITY_BOUND: f64 = 10.0;

/// What is known about `walker2d-vel-6`.
pub(super) fn walker2d_info() -> TaskInfo {
    let joints = ["thigh", "leg", "foot", "thigh_left", "leg_left", "foot_left"];
    info(TaskId::Walker2dVel6, &joints, &[-1.5, -1.0, -0.5, 0.5, 1.0, 1.5])
}

/// What is known about `hopper-vel-6`.
pub(super) fn hopper_info() -> TaskInfo {
    let joints = ["thigh", "leg", "foot"];
    info(TaskId::HopperVel6, &joints, &[-2.0, -1.5, 0.5, 1.0, 1.5, 2.0])
}

fn info(id: TaskId, joints: &[&str], values: &[f64]) -> TaskInfo {
    TaskInfo {
        name: id.name().to_string(),
        obs_terms: TermList::default()
            .group("torso_height", 1)
            .group("torso_pitch", 1)
            .joints(joints, "_angle")
            .group("torso_velocity_xz", 2)
            .group("torso_pitch_velocity", 1)
            .joints(joints, "_velocity")
            .done(),
        action_terms: TermList::default().joints(joints, "_torque").done(),
        action_low: vec![-1.0; joints.len()],
        action_high: vec![1.0; joints.len()],
        dt_s: 0.008,
        horizon: 1000,
        modes: speeds(values),
    }
}

/// [x, 0, z] of the root.
fn position(data: &Data) -> [f64; 3] {
    [data.qpos()[0], 0.0, data.qpos()[1]]
}

fn observe(data: &Data, obs: &mut [f64]) {
    let qpos = &data.qpos()[1..];
    let (positions, velocities) = obs.split_at_mut(qpos.len());
    positions.copy_from_slice(qpos);
    velocities.copy_from_slice(data.qvel());
    for v in velocities {
        *v = v.clamp(-OBSERVED_VELOCITY_BOUND, OBSERVED_VELOCITY_BOUND);
    }
}

/// 1 for being there (also in the step that falls) − 1e-3·‖a‖².
fn common_reward(action: &[f64]) -> f64 {
    1.0 - 1e-3 * square_sum(action)
}

/// |g| − |v − g|.
fn speed_reward(goal_m_s: f64, velocity_m_s: [f64; 2]) -> f64 {
    goal_m_s.abs() - (velocity_m_s[0] - goal_m_s).abs()
}

/// The two-legged walker.
pub(super) struct Walker2d;

impl Walker for Walker2d {
    const ROBOT: Robot = Robot::Walker2d;
    const FRAME_SKIP: usize = 4;
    const SIZES: [usize; 3] = [9, 9, 6];
    const READS_CONTACT_FORCES: bool = false;
    const START: StartNoise = StartNoise::Uniform(0.005);

    fn position(&self, data: &Data) -> [f64; 3] {
        position(data)
    }

    fn observe(&self, data: &Data, obs: &mut [f64]) {
        observe(data, obs);
    }

    fn fallen(&self, data: &Data) -> bool {
        let (z, pitch) = (data.qpos()[1], data.qpos()[2]);
        !(z > 0.5 && z < 2.5 && pitch.abs() < 1.3)
    }

    fn common_reward(&self, _data: &Data, action: &[f64]) -> f64 {
        common_reward(action)
    }

    fn mode_reward(&self, value: f64, velocity_m_s: [f64; 2]) -> f64 {
        speed_reward(value, velocity_m_s)
    }
}

/// The one-legged hopper.
pub(super) struct Hopper;

impl Walker for Hopper {
    const ROBOT: Robot = Robot::Hopper;
    const FRAME_SKIP: usize = 4;
    const SIZES: [usize; 3] = [6, 6, 3];
    const READS_CONTACT_FORCES: bool = false;
    const START: StartNoise = StartNoise::Uniform(0.005);

    fn position(&self, data: &Data) -> [f64; 3] {
        position(data)
    }

    fn observe(&self, data: &Data, obs: &mut [f64]) {
        observe(data, obs);
    }

    fn fallen(&self, data: &Data) -> bool {
        let (z, pitch) = (data.qpos()[1], data.qpos()[2]);
        let in_range = |x: &f64| x.abs() < 125.0;
        let sane = data.qpos()[..2].iter().all(|x| x.is_finite())
            && data.qpos()[2..].iter().chain(data.qvel()).all(in_range);
        !(sane && z > 0.5 && pitch.abs() < 0.3)
    }

    fn common_reward(&self, _data: &Data, action: &[f64]) -> f64 {
        common_reward(action)
    }

    fn mode_reward(&self, value: f64, velocity_m_s: [f64; 2]) -> f64 {
        speed_reward(value, velocity_m_s)
    }
}
