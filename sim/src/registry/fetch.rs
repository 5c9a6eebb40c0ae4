//! The Fetch arm, whose gripper is dragged instead of driven.
//!
//! The arm is not moved by motors: a mocap body is welded to the gripper link, each control step
//! puts it a little further than the link, and the weld drags the arm along.

use std::{ops::Range, sync::OnceLock};

use mujoco_rs::prelude::MjtObjBase;

use super::Drive;
use crate::{
    compiled::names::Names,
    definition::{DefinitionError, Registered},
    error::SimError,
    physics::{Data, Physics},
};

/// Closer than this to the goal is a success.
pub(crate) const SUCCESS_M: f64 = 0.05;

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
const FINGERS: Range<usize> = 13..15;
/// Positions of the arm.
const POSITIONS: usize = 15;

/// The gripper, dragged by a mocap body.
#[derive(Debug)]
pub(crate) struct Gripper {
    site: usize,
    body: usize,
    fingers: [usize; 2],
    /// The settled pose from which every episode starts; computed by whoever asks first.
    home: OnceLock<([f64; POSITIONS], [f64; POSITIONS])>,
}

impl Gripper {
    /// Finds the parts of the arm.
    ///
    /// # Errors
    /// [`DefinitionError`] if the model is another robot's.
    pub(super) fn new(registered: &Registered, names: Names<'_>) -> Result<Self, DefinitionError> {
        let refuse = |problem: String| registered.at.error(problem);
        let find = |kind, name: &str| {
            names.find(kind, name).ok_or_else(|| refuse(format!("the model has no `{name}`")))
        };
        let geom = |name| find(MjtObjBase::mjOBJ_GEOM, name);
        let model = names.0;
        let sizes = [model.nq(), model.nv(), model.nu(), model.nmocap()].map(|n| n as usize);
        if sizes != [POSITIONS, POSITIONS, 0, 1] {
            return Err(refuse(format!(
                "the model has {sizes:?} positions, velocities, controls and mocap bodies, need \
                 [{POSITIONS}, {POSITIONS}, 0, 1]"
            )));
        }
        Ok(Self {
            site: find(MjtObjBase::mjOBJ_SITE, "robot0:grip")?,
            body: find(MjtObjBase::mjOBJ_BODY, "robot0:gripper_link")?,
            fingers: [geom("robot0:r_gripper_finger_link")?, geom("robot0:l_gripper_finger_link")?],
            home: OnceLock::new(),
        })
    }

    /// Drags the arm to its home pose and lets it settle.
    fn go_home(
        &self,
        physics: &mut Physics,
    ) -> Result<([f64; POSITIONS], [f64; POSITIONS]), SimError> {
        let (mut qpos, mut qvel) = ([0.0; POSITIONS], [0.0; POSITIONS]);
        qpos.copy_from_slice(physics.model().qpos0());
        qpos[..3].copy_from_slice(&HOME_SLIDES_M);
        physics.start_from(&qpos, &qvel)?;
        let gripper = physics.data().site_xpos()[self.site];
        let data = physics.data_mut();
        for i in 0..3 {
            data.mocap_pos_mut()[0][i] = gripper[i] + HOME_MOCAP_OFFSET_M[i];
        }
        data.mocap_quat_mut()[0] = GRIPPER_QUATERNION;
        for _ in 0..HOME_STEPS {
            physics.step_as_reference(&self.fingers);
        }
        qpos.copy_from_slice(physics.data().qpos());
        qvel.copy_from_slice(physics.data().qvel());
        Ok((qpos, qvel))
    }
}

impl Drive for Gripper {
    fn home(
        &self,
        physics: &mut Physics,
        qpos: &mut [f64],
        qvel: &mut [f64],
    ) -> Result<(), SimError> {
        let (home_qpos, home_qvel) = match self.home.get() {
            Some(home) => home,
            None => {
                let home = self.go_home(physics)?;
                // Another thread may have been first; its pose is the same.
                self.home.get_or_init(|| home)
            }
        };
        qpos.copy_from_slice(home_qpos);
        qvel.copy_from_slice(home_qvel);
        Ok(())
    }

    fn start(&self, data: &mut Data) {
        (data.mocap_pos_mut()[0], data.mocap_quat_mut()[0]) = START_MOCAP;
    }

    fn step(&self, physics: &mut Physics, action: &[f64], frame_skip: usize) {
        let data = physics.data_mut();
        let (position, quaternion) = (data.xpos()[self.body], data.xquat()[self.body]);
        for i in 0..3 {
            data.mocap_pos_mut()[0][i] = position[i] + ACTION_SCALE_M * action[i].clamp(-1.0, 1.0);
        }
        for i in 0..4 {
            data.mocap_quat_mut()[0][i] = quaternion[i] + GRIPPER_QUATERNION[i];
        }
        for _ in 0..frame_skip {
            physics.step_as_reference(&self.fingers);
        }
        let data = physics.data_mut();
        data.qpos_mut()[FINGERS].fill(0.0);
        data.forward();
    }

    fn ends_forward(&self) -> bool {
        true
    }
}

/// Distance of two points, `[3]` each.
pub(crate) fn distance_m(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}
