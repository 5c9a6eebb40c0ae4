//! `humanoid-dir-6`: the humanoid runs in one of six directions.

use super::TermList;
use super::locomotion::{StartNoise, Walker, along, directions, fill, square_sum};
use crate::{
    physics::{Data, Robot},
    task::{TaskId, TaskInfo},
};

const BODIES: usize = 14;

/// Joints in the order of the model's positions.
const JOINTS: [&str; 17] = [
    "abdomen_z",
    "abdomen_y",
    "abdomen_x",
    "right_hip_x",
    "right_hip_z",
    "right_hip_y",
    "right_knee",
    "left_hip_x",
    "left_hip_z",
    "left_hip_y",
    "left_knee",
    "right_shoulder1",
    "right_shoulder2",
    "right_elbow",
    "left_shoulder1",
    "left_shoulder2",
    "left_elbow",
];

/// What is known about the task.
pub(super) fn info() -> TaskInfo {
    // The model's controls swap the first two joints of its positions.
    let mut motors = JOINTS;
    motors.swap(0, 1);
    TaskInfo {
        name: TaskId::HumanoidDir6.name().to_string(),
        obs_terms: TermList::default()
            .group("torso_height", 1)
            .group("torso_quaternion", 4)
            .joints(&JOINTS, "_angle")
            .group("torso_velocity", 3)
            .group("torso_angular_velocity", 3)
            .joints(&JOINTS, "_velocity")
            .group("body_inertias", 10 * BODIES)
            .group("body_velocities", 6 * BODIES)
            .group("root_actuator_forces", 6)
            .joints(&JOINTS, "_actuator_torque")
            .group("body_contact_forces", 6 * BODIES)
            .done(),
        action_terms: TermList::default().joints(&motors, "_torque").done(),
        action_low: vec![-0.4; 17],
        action_high: vec![0.4; 17],
        dt_s: 0.015,
        horizon: 1000,
        modes: directions(6),
    }
}

/// The humanoid.
pub(super) struct Humanoid;

impl Walker for Humanoid {
    const ROBOT: Robot = Robot::Humanoid;
    const FRAME_SKIP: usize = 5;
    const SIZES: [usize; 3] = [24, 23, 17];
    const READS_CONTACT_FORCES: bool = true;
    const START: StartNoise = StartNoise::Uniform(0.01);

    /// Centre of mass of the whole body: of the subtree that starts at the world.
    fn position(&self, data: &Data) -> [f64; 3] {
        data.subtree_com()[0]
    }

    fn observe(&self, data: &Data, obs: &mut [f64]) {
        let parts: [&[f64]; 6] = [
            &data.qpos()[2..],
            data.qvel(),
            data.cinert().as_flattened(),
            data.cvel().as_flattened(),
            data.qfrc_actuator(),
            data.cfrc_ext().as_flattened(),
        ];
        fill(obs, &parts);
    }

    fn fallen(&self, data: &Data) -> bool {
        !(0.8..=2.2).contains(&data.qpos()[2])
    }

    fn common_reward(&self, data: &Data, action: &[f64]) -> f64 {
        let contact = 0.5e-6 * square_sum(data.cfrc_ext().as_flattened());
        5.0 - 0.1 * square_sum(action) - contact.min(10.0)
    }

    /// The reference divides the displacement of a control step by the time of one of its five
    /// physics steps: 0.25·Δ/0.003 s = 1.25·Δ/0.015 s.
    fn mode_reward(&self, direction: f64, velocity_m_s: [f64; 2]) -> f64 {
        0.25 * Self::FRAME_SKIP as f64 * along(direction, velocity_m_s)
    }
}
