//! `ant-fwd-back` and `ant-dir-6`: the four-legged ant runs in a direction.

use super::TermList;
use super::locomotion::{StartNoise, TORSO, Walker, along, directions, fill, square_sum};
use crate::{
    physics::{Data, Robot},
    task::{TaskId, TaskInfo},
};

/// Joints in the order of the model's positions.
const JOINTS: [&str; 8] =
    ["hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3", "hip_4", "ankle_4"];

/// Motors in the order of the model's controls, which starts with the fourth leg.
const MOTORS: [&str; 8] =
    ["hip_4", "ankle_4", "hip_1", "ankle_1", "hip_2", "ankle_2", "hip_3", "ankle_3"];

/// Lowest height of the torso.
const FALLEN_M: f64 = 0.2;

/// What is known about the task with this number of directions.
pub(super) fn info(id: TaskId, count: usize) -> TaskInfo {
    TaskInfo {
        name: id.name().to_string(),
        obs_terms: TermList::default()
            .group("torso_height", 1)
            .group("torso_quaternion", 4)
            .joints(&JOINTS, "_angle")
            .group("torso_velocity", 3)
            .group("torso_angular_velocity", 3)
            .joints(&JOINTS, "_velocity")
            .done(),
        action_terms: TermList::default().joints(&MOTORS, "_torque").done(),
        action_low: vec![-1.0; 8],
        action_high: vec![1.0; 8],
        dt_s: 0.05,
        horizon: 200,
        modes: directions(count),
    }
}

/// The ant.
pub(super) struct Ant;

impl Walker for Ant {
    const ROBOT: Robot = Robot::Ant;
    const FRAME_SKIP: usize = 5;
    const SIZES: [usize; 3] = [15, 14, 8];
    const READS_CONTACT_FORCES: bool = true;
    const START: StartNoise = StartNoise::UniformPositionNormalVelocity(0.1);

    fn position(&self, data: &Data) -> [f64; 3] {
        data.xpos()[TORSO]
    }

    fn observe(&self, data: &Data, obs: &mut [f64]) {
        fill(obs, &[&data.qpos()[2..], data.qvel()]);
    }

    fn fallen(&self, data: &Data) -> bool {
        let finite = data.qpos().iter().chain(data.qvel()).all(|x| x.is_finite());
        !finite || data.qpos()[2] < FALLEN_M
    }

    fn common_reward(&self, data: &Data, action: &[f64]) -> f64 {
        let forces = data.cfrc_ext().as_flattened();
        let contact: f64 = forces.iter().map(|f| f.clamp(-1.0, 1.0).powi(2)).sum();
        1.0 - 0.5 * square_sum(action) - 0.5e-3 * contact
    }

    fn mode_reward(&self, direction: f64, velocity_m_s: [f64; 2]) -> f64 {
        along(direction, velocity_m_s)
    }
}
