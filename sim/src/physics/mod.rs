//! MuJoCo: robot files, compiled models, and one simulated state.

mod ffi;

use std::{
    fs::File,
    os::fd::AsRawFd,
    path::{Path, PathBuf},
    sync::Arc,
};

use mujoco_rs::{
    error::MjModelError,
    prelude::{MjData, MjModel, MjtObjBase, MjtWarning},
};

use crate::{
    definition::{Definition, Engine, Named},
    error::SimError,
    folder::Folder,
};

/// A robot's state in MuJoCo, with the model it belongs to.
pub type Data = MjData<Arc<MjModel>>;

/// Where robot files come from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum RobotSource {
    /// Built into the program.
    #[default]
    Embedded,
    /// Files of a directory, named as those of the tasks.
    Directory(PathBuf),
}

/// Compiles the model of a task's folder; `robots` may hold other files of the same names.
///
/// # Errors
/// [`SimError::Definition`] with the place of `model` if there is none, if it cannot be read or if
/// MuJoCo refuses it; [`SimError::MujocoVersion`].
pub(crate) fn load_model(
    folder: &Folder,
    definition: &Definition,
    robots: &RobotSource,
) -> Result<Arc<MjModel>, SimError> {
    ffi::set_up()?;
    let Some(Engine::Mujoco { model, .. }) = definition.sim.as_ref().map(|sim| &sim.engine) else {
        return Err(definition.at.error("there is no model: the task has no `sim.model`").into());
    };
    if model.name.contains('\0') {
        return Err(model.at.error("the path holds a zero").into());
    }
    let path = match robots {
        RobotSource::Directory(directory) => {
            let name = Path::new(&model.name).file_name().unwrap_or_default();
            directory.join(name)
        }
        RobotSource::Embedded => match folder {
            Folder::Disk(folder) => folder.join(&model.name),
            Folder::BuiltIn(_) => {
                let text = folder.read(&model.name)?;
                let text = text.ok_or_else(|| model.at.error("there is no such file"))?;
                let compiled = MjModel::from_xml_string(&text);
                let refuse = |e: MjModelError| refuse_model(model, Path::new(&model.name), &e);
                return compiled.map(Arc::new).map_err(refuse);
            }
        },
    };
    // Read once, so that a missing file is told from a bad one.
    if let Err(e) = std::fs::read(&path) {
        return Err(model.at.error(format!("cannot read {}: {e}", path.display())).into());
    }
    compiled(&path).map(Arc::new).map_err(|e| refuse_model(model, &path, &e))
}

/// Compiles a model file.
///
/// # Errors
/// What the system, MuJoCo or the check of its version said.
pub(crate) fn load_file(path: &Path) -> Result<Arc<MjModel>, String> {
    ffi::set_up().map_err(|e| e.to_string())?;
    // Read once, so that a missing file is told from a bad one.
    std::fs::read(path).map_err(|e| format!("cannot read it: {e}"))?;
    compiled(path).map(Arc::new).map_err(|e| format!("MuJoCo refuses it: {e}"))
}

/// Compiles a file that is there. MuJoCo takes paths of UTF-8 alone; a folder of another name is
/// reached by the number under which it is open.
fn compiled(path: &Path) -> Result<MjModel, MjModelError> {
    let (Some(folder), Some(name), None) = (path.parent(), path.file_name(), path.to_str()) else {
        return MjModel::from_xml(path);
    };
    let Ok(folder) = File::open(folder) else { return MjModel::from_xml(path) };
    MjModel::from_xml(Path::new(&format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name))
}

fn refuse_model(model: &Named, path: &Path, error: &MjModelError) -> SimError {
    model.at.error(format!("MuJoCo refuses {}: {error}", path.display())).into()
}

/// Most degrees of freedom of a robot whose site velocities come by the Jacobian, as in the
/// reference.
const MAX_DOFS: usize = 32;

/// One simulated state of a robot.
pub struct Physics {
    task: String,
    data: Data,
}

impl Physics {
    /// A new state of a compiled robot.
    ///
    /// # Errors
    /// [`SimError::Robot`] if MuJoCo cannot allocate it.
    pub(crate) fn new(task: &str, model: Arc<MjModel>) -> Result<Self, SimError> {
        let refuse = |reason: String| SimError::Robot { task: task.to_string(), reason };
        let data = MjData::try_new(model).map_err(|e| refuse(e.to_string()))?;
        Ok(Self { task: task.to_string(), data })
    }

    /// The compiled model.
    pub fn model(&self) -> &MjModel {
        self.data.model()
    }

    /// The state.
    pub fn data(&self) -> &Data {
        &self.data
    }

    /// The state, to be changed.
    pub(crate) fn data_mut(&mut self) -> &mut Data {
        &mut self.data
    }

    /// Starts from positions and velocities: everything else as in a fresh state.
    ///
    /// # Errors
    /// [`SimError::Width`], [`SimError::NotFinite`].
    pub(crate) fn start_from(&mut self, qpos: &[f64], qvel: &[f64]) -> Result<(), SimError> {
        self.start_from_with(qpos, qvel, |_| {})
    }

    /// As [`start_from`](Self::start_from), with more of the state to be set by `rest`.
    ///
    /// # Errors
    /// [`SimError::Width`], [`SimError::NotFinite`].
    pub(crate) fn start_from_with(
        &mut self,
        qpos: &[f64],
        qvel: &[f64],
        rest: impl FnOnce(&mut Data),
    ) -> Result<(), SimError> {
        let [q, v] = [self.data.qpos().len(), self.data.qvel().len()];
        crate::checks::check_numbers(&self.task, "positions", qpos, q)?;
        crate::checks::check_numbers(&self.task, "velocities", qvel, v)?;
        self.data.reset();
        self.data.qpos_mut().copy_from_slice(qpos);
        self.data.qvel_mut().copy_from_slice(qvel);
        rest(&mut self.data);
        self.data.forward();
        Ok(())
    }

    fn refuse(&self, reason: String) -> SimError {
        SimError::Robot { task: self.task.clone(), reason }
    }

    /// Refuses a model without exactly one mocap body.
    pub(crate) fn need_mocap(&self) -> Result<(), SimError> {
        match self.model().nmocap() {
            1 => Ok(()),
            n => Err(self.refuse(format!("it has {n} mocap bodies, need 1"))),
        }
    }

    /// Velocity of a site in the world frame, m/s.
    pub(crate) fn site_velocity(&self, site: usize) -> [f64; 3] {
        let mut jacobian = [0.0; 3 * MAX_DOFS];
        let nv = self.data.qvel().len();
        if nv > MAX_DOFS {
            let [.., x, y, z] = self.data.object_velocity(MjtObjBase::mjOBJ_SITE, site, false);
            return [x, y, z];
        }
        ffi::site_jacobian(&self.data, site, &mut jacobian[..3 * nv]);
        let row = |i: usize| jacobian[i * nv..][..nv].iter().zip(self.data.qvel());
        [0, 1, 2].map(|i| row(i).map(|(j, v)| j * v).sum())
    }

    /// One physics step of the Fetch arm as the reference trajectories took it.
    ///
    /// They were recorded with MuJoCo 3.3.2. Two conventions have changed since, each visible as
    /// millimetres after fifty control steps; both are taken back here, between the two halves of
    /// the step. With them the reference comes out to 1e-7 m.
    ///
    /// * A weld's reference acceleration has gained the term J̇·q̇: the reference acceleration of
    ///   the equality rows is recomputed without it, −b·(J·q̇) − k·imp·(pos − margin).
    /// * The distance of a contact between boxes was measured from the middle of the overlap: the
    ///   distance of the fingers' contacts, the only ones of this arm, is halved and the
    ///   constraints are made anew.
    pub(crate) fn step_as_reference(&mut self, finger_geoms: &[usize; 2]) {
        self.data.step1();
        if ffi::halve_contact_distance(&mut self.data, finger_geoms) {
            self.data.make_constraint();
            self.data.island();
            self.data.project_constraint();
            self.data.reference_constraint();
        }
        ffi::drop_weld_acceleration_term(&mut self.data);
        self.data.step2();
    }

    /// Whether MuJoCo met a number too large or not a number since the last reset; it has then
    /// put the robot back to its default pose.
    pub(crate) fn diverged(&self) -> bool {
        let warnings = self.data.warning();
        [MjtWarning::mjWARN_BADQPOS, MjtWarning::mjWARN_BADQVEL, MjtWarning::mjWARN_BADQACC]
            .iter()
            .any(|&w| warnings[w as usize].number > 0)
    }
}
