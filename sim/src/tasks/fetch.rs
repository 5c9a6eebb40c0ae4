//! `fetchreach`: the Fetch arm moves its gripper to a goal.
//!
//! The arm is not driven by motors: a mocap body is welded to the gripper link, each control step
//! puts it a little further than the link, and the weld drags the arm along.

use std::sync::{Arc, OnceLock};

use mujoco_rs::prelude::{MjModel, MjtObjBase};

use super::TermList;
use crate::{
    error::SimError,
    physics::{Needs, Physics, Robot},
    task::{
        GoalSpace, Modes, Probe, Step, Task, TaskId, TaskInfo, check_action, check_numbers,
        check_width,
    },
};

/// Closer than this to the goal is a success.
pub const SUCCESS_M: f64 = 0.05;

/// Where the gripper comes to rest at home: the centre of the goals.
pub const HOME_GRIPPER_M: [f64; 3] =
    [1.341_835_017_783_758_8, 0.749_101_036_798_907_2, 0.534_723_950_867_279_9];

/// Half the side of the cube of goals.
pub const GOAL_RANGE_M: f64 = 0.15;

/// Physics steps of a control step.
pub(super) const FRAME_SKIP: usize = 20;
/// Control period in seconds.
const DT_S: f64 = 0.04;
/// Metres of an action of 1.
const ACTION_SCALE_M: f64 = 0.05;
/// Added to the gripper's quaternion for the mocap body's, which MuJoCo normalises.
const GRIPPER_QUATERNION: [f64; 4] = [1.0, 0.0, 1.0, 0.0];

/// The base's slides at home, in the order of the model's positions.
const HOME_SLIDES_M: [f64; 3] = [0.4049, 0.48, 0.0];
/// From the gripper to the mocap body while the arm goes home.
const HOME_MOCAP_OFFSET_M: [f64; 3] = [-0.498, 0.005, -0.231];
/// Physics steps of going home.
const HOME_STEPS: usize = 200;

/// The mocap body's pose when an episode starts.
pub(crate) const START_MOCAP: ([f64; 3], [f64; 4]) = ([0.0; 3], [1.0, 0.0, 0.0, 0.0]);

/// The two fingers' joints in positions and velocities.
const FINGERS: std::ops::Range<usize> = 13..15;

const POSITIONS: usize = 15;

/// What is known about the task.
pub(super) fn info() -> TaskInfo {
    TaskInfo {
        name: TaskId::FetchReach.name().to_string(),
        obs_terms: TermList::default()
            .group("gripper_position", 3)
            .group("finger_positions", 2)
            .group("gripper_displacement", 3)
            .group("finger_displacements", 2)
            .done(),
        action_terms: TermList::default().joints(&["x", "y", "z", "fingers"], "_motion").done(),
        action_low: vec![-1.0; 4],
        action_high: vec![1.0; 4],
        dt_s: DT_S,
        horizon: 50,
        modes: Modes::Continuous(GoalSpace {
            what: "gripper position, m".to_string(),
            low: HOME_GRIPPER_M.map(|x| x - GOAL_RANGE_M).to_vec(),
            high: HOME_GRIPPER_M.map(|x| x + GOAL_RANGE_M).to_vec(),
            default: HOME_GRIPPER_M.to_vec(),
        }),
    }
}

/// The settled home pose, from which every episode starts.
#[derive(Clone, Debug)]
struct Home {
    qpos: [f64; POSITIONS],
    qvel: [f64; POSITIONS],
}

/// The home pose that all environments of one model share; the first computes it.
pub(super) type SharedHome = Arc<OnceLock<HomePose>>;

/// See [`SharedHome`].
#[derive(Debug)]
pub(super) struct HomePose(Home);

/// The environment.
pub(crate) struct FetchReach {
    info: TaskInfo,
    physics: Physics,
    home: SharedHome,
    /// `[M, 3]`.
    goals: Vec<f64>,
    gripper_site: usize,
    gripper_body: usize,
    finger_geoms: [usize; 2],
    velocity_m_s: [f64; 2],
}

impl FetchReach {
    /// A new environment at the home pose.
    pub(super) fn new(
        info: TaskInfo,
        model: Arc<MjModel>,
        home: SharedHome,
    ) -> Result<Self, SimError> {
        let needs =
            Needs { sizes: [POSITIONS, POSITIONS, 0], frame_skip: FRAME_SKIP, dt_s: info.dt_s };
        let physics = Physics::new(&info.name, Robot::Fetch, model, &needs)?;
        let geom = |name| physics.id(MjtObjBase::mjOBJ_GEOM, name);
        let finger_geoms =
            [geom("robot0:r_gripper_finger_link")?, geom("robot0:l_gripper_finger_link")?];
        let gripper_site = physics.id(MjtObjBase::mjOBJ_SITE, "robot0:grip")?;
        let gripper_body = physics.id(MjtObjBase::mjOBJ_BODY, "robot0:gripper_link")?;
        physics.need_mocap()?;
        let mut task = Self {
            info,
            physics,
            home,
            goals: HOME_GRIPPER_M.to_vec(),
            gripper_site,
            gripper_body,
            finger_geoms,
            velocity_m_s: [0.0; 2],
        };
        task.reset(0)?;
        Ok(task)
    }

    /// Starts from a state and a pose of the mocap body.
    ///
    /// # Errors
    /// [`SimError::Width`], [`SimError::NotFinite`].
    pub(crate) fn start_with_mocap(
        &mut self,
        qpos: &[f64],
        qvel: &[f64],
        (position, quaternion): ([f64; 3], [f64; 4]),
    ) -> Result<(), SimError> {
        check_numbers(&self.info.name, "mocap position", &position, 3)?;
        check_numbers(&self.info.name, "mocap quaternion", &quaternion, 4)?;
        self.velocity_m_s = [0.0; 2];
        self.physics.start_from_with(qpos, qvel, |data| {
            data.mocap_pos_mut()[0] = position;
            data.mocap_quat_mut()[0] = quaternion;
        })
    }

    /// Position of the gripper.
    pub(crate) fn gripper_m(&self) -> [f64; 3] {
        self.physics.data().site_xpos()[self.gripper_site]
    }

    /// The home pose, computed by whoever asks first.
    fn home(&mut self) -> Result<Home, SimError> {
        if let Some(HomePose(home)) = self.home.get() {
            return Ok(home.clone());
        }
        let home = self.go_home()?;
        // Another thread may have been first; its pose is the same.
        Ok(self.home.get_or_init(|| HomePose(home)).0.clone())
    }

    /// Drags the arm to its home pose and lets it settle.
    fn go_home(&mut self) -> Result<Home, SimError> {
        let mut qpos = [0.0; POSITIONS];
        qpos.copy_from_slice(self.physics.model().qpos0());
        qpos[..3].copy_from_slice(&HOME_SLIDES_M);
        self.physics.start_from(&qpos, &[0.0; POSITIONS])?;
        let gripper = self.gripper_m();
        let data = self.physics.data_mut();
        for i in 0..3 {
            data.mocap_pos_mut()[0][i] = gripper[i] + HOME_MOCAP_OFFSET_M[i];
        }
        data.mocap_quat_mut()[0] = GRIPPER_QUATERNION;
        for _ in 0..HOME_STEPS {
            self.physics.step_as_reference(&self.finger_geoms);
        }
        let mut qvel = [0.0; POSITIONS];
        qpos.copy_from_slice(self.physics.data().qpos());
        qvel.copy_from_slice(self.physics.data().qvel());
        Ok(Home { qpos, qvel })
    }

    /// Moves the mocap body from where the gripper is.
    fn move_mocap(&mut self, action: &[f64]) {
        let body = self.gripper_body;
        let data = self.physics.data_mut();
        let (position, quaternion) = (data.xpos()[body], data.xquat()[body]);
        for i in 0..3 {
            data.mocap_pos_mut()[0][i] = position[i] + ACTION_SCALE_M * action[i].clamp(-1.0, 1.0);
        }
        for i in 0..4 {
            data.mocap_quat_mut()[0][i] = quaternion[i] + GRIPPER_QUATERNION[i];
        }
    }
}

impl Task for FetchReach {
    fn info(&self) -> &TaskInfo {
        &self.info
    }

    /// Nothing is random here; goals are the caller's to draw.
    fn reset(&mut self, _seed: u64) -> Result<(), SimError> {
        let home = self.home()?;
        self.start_from(&home.qpos, &home.qvel)
    }

    fn start_from(&mut self, qpos: &[f64], qvel: &[f64]) -> Result<(), SimError> {
        self.start_with_mocap(qpos, qvel, START_MOCAP)
    }

    fn observe(&self, obs: &mut [f64]) {
        assert_eq!(obs.len(), 10, "observation buffer");
        let data = self.physics.data();
        let velocity = self.physics.site_velocity(self.gripper_site);
        obs[..3].copy_from_slice(&self.gripper_m());
        obs[3..5].copy_from_slice(&data.qpos()[FINGERS]);
        obs[5..8].copy_from_slice(&velocity.map(|v| v * DT_S));
        for (out, v) in obs[8..].iter_mut().zip(&data.qvel()[FINGERS]) {
            *out = v * DT_S;
        }
    }

    fn step(&mut self, action: &[f64], rewards: &mut [f64]) -> Result<Step, SimError> {
        check_action(&self.info.name, action, 4)?;
        check_width(&self.info.name, "rewards", rewards.len(), self.reward_count())?;
        let before = self.gripper_m();
        self.move_mocap(action);
        for _ in 0..FRAME_SKIP {
            self.physics.step_as_reference(&self.finger_geoms);
        }
        let data = self.physics.data_mut();
        data.qpos_mut()[FINGERS].fill(0.0);
        data.forward();
        if self.physics.diverged() {
            rewards.fill(-1.0);
            return Ok(Step { terminated: true });
        }
        let after = self.gripper_m();
        self.velocity_m_s = [0, 1].map(|i| (after[i] - before[i]) / DT_S);
        for (reward, goal) in rewards.iter_mut().zip(self.goals.chunks_exact(3)) {
            *reward = reward_at(&after, goal);
        }
        Ok(Step { terminated: false })
    }

    fn reward_count(&self) -> usize {
        self.goals.len() / 3
    }

    fn set_goals(&mut self, goals: &[f64]) -> Result<(), SimError> {
        check_numbers(&self.info.name, "goals", goals, goals.len().next_multiple_of(3).max(3))?;
        self.goals.clear();
        self.goals.extend_from_slice(goals);
        Ok(())
    }

    fn probe(&self) -> Probe {
        Probe { position_m: self.gripper_m(), velocity_m_s: self.velocity_m_s }
    }

    fn physics(&self) -> Option<&Physics> {
        Some(&self.physics)
    }
}

/// −1 further from the goal than [`SUCCESS_M`], else 0.
fn reward_at(gripper_m: &[f64; 3], goal_m: &[f64]) -> f64 {
    if distance_m(gripper_m, goal_m) > SUCCESS_M { -1.0 } else { 0.0 }
}

/// Distance of two points, `[3]` each.
pub fn distance_m(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}
