//! `halfcheetah-fwd-back` and `halfcheetah-vel`: the planar half-cheetah runs in a direction or
//! at a speed.

use super::TermList;
use super::locomotion::{StartNoise, TORSO, Walker, fill, square_sum};
use crate::{
    physics::{Data, Robot},
    task::{Modes, TaskId, TaskInfo},
};

const JOINTS: [&str; 6] = ["bthigh", "bshin", "bfoot", "fthigh", "fshin", "ffoot"];

/// What is known about the task with these modes.
fn info(id: TaskId, modes: Modes) -> TaskInfo {
    TaskInfo {
        name: id.name().to_string(),
        obs_terms: TermList::default()
            .group("torso_height", 1)
            .group("torso_pitch", 1)
            .joints(&JOINTS, "_angle")
            .group("torso_velocity_xz", 2)
            .group("torso_pitch_velocity", 1)
            .joints(&JOINTS, "_velocity")
            .group("torso_position", 3)
            .done(),
        action_terms: TermList::default().joints(&JOINTS, "_torque").done(),
        action_low: vec![-1.0; 6],
        action_high: vec![1.0; 6],
        dt_s: 0.05,
        horizon: 200,
        modes,
    }
}

/// What is known about `halfcheetah-fwd-back`.
pub(super) fn fwd_back() -> TaskInfo {
    let label = |sign: f64| if sign < 0.0 { "backward" } else { "forward" }.to_string();
    info(TaskId::HalfCheetahFwdBack, Modes::discrete(&[-1.0, 1.0], label))
}

/// What is known about `halfcheetah-vel`.
pub(super) fn vel() -> TaskInfo {
    let modes = Modes::interval("goal speed, m/s", 1.5, 3.0, &[1.5, 2.0, 2.5, 3.0]);
    info(TaskId::HalfCheetahVel, modes)
}

/// What the reward asks of the half-cheetah.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Asks {
    /// Speed in a direction, ±1.
    Direction,
    /// A speed in m/s.
    Speed,
}

/// The half-cheetah.
pub(super) struct HalfCheetah(pub(super) Asks);

impl Walker for HalfCheetah {
    const ROBOT: Robot = Robot::HalfCheetah;
    const FRAME_SKIP: usize = 5;
    const SIZES: [usize; 3] = [9, 9, 6];
    const READS_CONTACT_FORCES: bool = false;
    const START: StartNoise = StartNoise::UniformPositionNormalVelocity(0.1);

    fn position(&self, data: &Data) -> [f64; 3] {
        [data.qpos()[0], 0.0, data.qpos()[1]]
    }

    fn observe(&self, data: &Data, obs: &mut [f64]) {
        fill(obs, &[&data.qpos()[1..], data.qvel(), &data.xpos()[TORSO]]);
    }

    fn fallen(&self, _data: &Data) -> bool {
        false
    }

    fn common_reward(&self, _data: &Data, action: &[f64]) -> f64 {
        -0.05 * square_sum(action)
    }

    fn mode_reward(&self, value: f64, velocity_m_s: [f64; 2]) -> f64 {
        match self.0 {
            Asks::Direction => value * velocity_m_s[0],
            Asks::Speed => -(velocity_m_s[0] - value).abs(),
        }
    }
}
