//! How an episode starts: a pose, and noise about it.

use mujoco_rs::prelude::MjModel;
use rand_distr::{Distribution, StandardNormal};

use super::names::{Joint, Names};
use crate::{
    definition::{DefinitionError, Noise, NoiseKind, SimDefinition},
    physics::Data,
    seed::Rng,
    task::unit,
};

/// The pose at rest and the noise of each of its numbers.
#[derive(Clone, Debug)]
pub(crate) struct Start {
    qpos: Vec<f64>,
    qvel: Vec<f64>,
    qpos_noise: Vec<Option<NoiseKind>>,
    qvel_noise: Vec<Option<NoiseKind>>,
    /// What else a keyframe sets.
    keyframe: Option<Keyframe>,
}

#[derive(Clone, Debug)]
struct Keyframe {
    act: Vec<f64>,
    ctrl: Vec<f64>,
    mocap_pos: Vec<f64>,
    mocap_quat: Vec<f64>,
}

impl Start {
    /// The start that `[sim]` describes.
    ///
    /// # Errors
    /// [`DefinitionError`] for a keyframe or joint that is not there.
    pub(crate) fn new(sim: &SimDefinition, names: Names<'_>) -> Result<Self, DefinitionError> {
        let model = names.0;
        let (nq, nv) = (model.nq() as usize, model.nv() as usize);
        let (mut qpos, mut qvel) = (model.qpos0().to_vec(), vec![0.0; nv]);
        let mut keyframe = None;
        if let Some(named) = &sim.keyframe {
            let key = names.keyframe(named)?;
            qpos.copy_from_slice(&model.key_qpos()[key * nq..][..nq]);
            qvel.copy_from_slice(&model.key_qvel()[key * nv..][..nv]);
            keyframe = Some(Keyframe::new(model, key));
        }
        let per_number =
            |noises: &[Noise], count: usize, range: fn(&Joint) -> std::ops::Range<usize>| {
                let mut all = vec![None; count];
                for Noise { joints, kind } in noises {
                    if joints.is_empty() {
                        all.fill(Some(*kind));
                    }
                    for named in joints {
                        all[range(&names.joint(named)?)].fill(Some(*kind));
                    }
                }
                Ok(all)
            };
        Ok(Self {
            qpos_noise: per_number(&sim.reset_qpos, nq, |joint| joint.qpos.clone())?,
            qvel_noise: per_number(&sim.reset_qvel, nv, |joint| joint.qvel.clone())?,
            qpos,
            qvel,
            keyframe,
        })
    }

    /// Writes the pose at rest.
    pub(crate) fn rest(&self, qpos: &mut [f64], qvel: &mut [f64]) {
        qpos.copy_from_slice(&self.qpos);
        qvel.copy_from_slice(&self.qvel);
    }

    /// Adds the noise: positions first, each in the model's order.
    pub(crate) fn disturb(&self, rng: &mut Rng, qpos: &mut [f64], qvel: &mut [f64]) {
        let numbers = qpos.iter_mut().zip(&self.qpos_noise);
        for (x, noise) in numbers.chain(qvel.iter_mut().zip(&self.qvel_noise)) {
            *x += match *noise {
                None => continue,
                Some(NoiseKind::Uniform(half)) => half * (2.0 * unit(rng) - 1.0),
                Some(NoiseKind::Normal(std)) => {
                    let normal: f64 = StandardNormal.sample(rng);
                    std * normal
                }
            };
        }
    }

    /// Sets what a keyframe says besides positions and velocities.
    pub(crate) fn set_rest_of(&self, data: &mut Data) {
        let Some(key) = &self.keyframe else { return };
        data.act_mut().copy_from_slice(&key.act);
        data.ctrl_mut().copy_from_slice(&key.ctrl);
        data.mocap_pos_mut().as_flattened_mut().copy_from_slice(&key.mocap_pos);
        data.mocap_quat_mut().as_flattened_mut().copy_from_slice(&key.mocap_quat);
    }
}

impl Keyframe {
    fn new(model: &MjModel, key: usize) -> Self {
        let part = |all: &[f64], count: i64| all[key * count as usize..][..count as usize].to_vec();
        Self {
            act: part(model.key_act(), model.na()),
            ctrl: part(model.key_ctrl(), model.nu()),
            mocap_pos: part(model.key_mpos(), 3 * model.nmocap()),
            mocap_quat: part(model.key_mquat(), 4 * model.nmocap()),
        }
    }
}
