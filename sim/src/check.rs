//! Replays reference trajectories and measures how far the simulator is off.
//!
//! A reference file holds where an episode started, its actions, and what another simulator made
//! of them (`sim/tests/data/README.md` says how to write one). Contact dynamics is chaotic: an
//! error of 1e-12 in a mass shows as 1e-7 after 50 steps and up to 1e-2 after 100. So the first
//! [`JUDGED_STEPS`] decide and the rest is only reported.

use std::path::Path;

use sog_runtime::tensors::{TensorError, TensorFile};

use crate::{
    compiled::task::MujocoTask,
    error::SimError,
    registry::fetch,
    task::{Modes, Task},
    tasks::{TaskMaker, TaskOptions},
};

/// Control steps over which a trajectory is judged.
pub const JUDGED_STEPS: usize = 50;
/// Largest error of an observation, relative to max(1, |reference|).
pub const OBS_TOLERANCE: f64 = 1e-6;
/// Largest error of a reward.
pub const REWARD_TOLERANCE: f64 = 1e-5;
/// Largest error of the Fetch arm's gripper, in metres: its meshes are primitives here.
pub const GRIPPER_TOLERANCE_M: f64 = 2e-3;

/// How far the simulator is off one reference trajectory.
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// The task.
    pub task: String,
    /// Control steps in the file.
    pub steps: usize,
    /// Largest error of an observation within the judged steps (`fetchreach`: of the gripper's
    /// position).
    pub max_abs_obs: f64,
    /// The same, relative to max(1, |reference|).
    pub max_rel_obs: f64,
    /// Largest error of a reward within the judged steps.
    pub max_abs_reward: f64,
    /// Largest error of an observation over all steps.
    pub max_abs_obs_all: f64,
    /// Largest error of a reward over all steps.
    pub max_abs_reward_all: f64,
    /// Judged steps whose termination flag differs (`fetchreach`: success flag).
    pub flags_off: usize,
    /// Whether all judged errors are within tolerance.
    pub ok: bool,
}

/// Why a reference file cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CheckError {
    /// The file cannot be read.
    #[error("cannot read it: {0}")]
    Read(#[from] std::io::Error),
    /// It is not a set of tensors, or one is missing or of another type or shape.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// The task is unknown, or a state or action is not the task's.
    #[error(transparent)]
    Sim(#[from] SimError),
    /// The metadata entry `modes` does not say what the task's modes are.
    #[error("metadata `modes` is `{found}`, need {needed}")]
    Modes {
        /// The entry.
        found: String,
        /// What the task has.
        needed: String,
    },
    /// A reference number is NaN or infinite.
    #[error("tensor `{name}` holds {value} at index {index}; every number must be finite")]
    NotFinite {
        /// The tensor.
        name: &'static str,
        /// Flat index.
        index: usize,
        /// The number.
        value: f64,
    },
}

/// Replays one reference file.
///
/// # Errors
/// [`CheckError`]; a trajectory that is off is not an error but a [`Report`] that is not `ok`.
pub fn check_file(path: &Path, options: &TaskOptions) -> Result<Report, CheckError> {
    check_bytes(&std::fs::read(path)?, options)
}

/// Replays a reference file's content.
///
/// # Errors
/// As [`check_file`].
pub fn check_bytes(bytes: &[u8], options: &TaskOptions) -> Result<Report, CheckError> {
    let file = TensorFile::parse(bytes)?;
    let maker = TaskMaker::new(file.meta("task")?, options)?;
    match maker.mujoco()? {
        Some(task) if file.contains("achieved_goals") => check_reaching(&file, task),
        _ => check_walker(&file, maker.make()?),
    }
}

/// Largest errors of something, within the judged steps and over all.
#[derive(Clone, Copy, Debug, Default)]
struct Errors {
    judged: f64,
    judged_relative: f64,
    all: f64,
}

impl Errors {
    /// Takes in the numbers after step `step` (0: the start).
    fn add(&mut self, step: usize, found: &[f64], reference: &[f64]) {
        for (&found, &reference) in found.iter().zip(reference) {
            // A NaN here must not pass as small.
            let error = match (found - reference).abs() {
                e if e.is_nan() => f64::INFINITY,
                e => e,
            };
            self.all = self.all.max(error);
            if step <= JUDGED_STEPS {
                self.judged = self.judged.max(error);
                self.judged_relative = self.judged_relative.max(error / reference.abs().max(1.0));
            }
        }
    }
}

/// A walking robot, or circles.
fn check_walker(file: &TensorFile<'_>, mut task: Box<dyn Task>) -> Result<Report, CheckError> {
    set_modes(file, &mut *task)?;
    let info = task.info().clone();
    let (s, a, m) = (info.obs_dim(), info.action_dim(), task.reward_count());
    let actions = table(file, "actions", None, a)?;
    let steps = actions.len() / a;
    let observations = table(file, "observations", Some(steps + 1), s)?;
    let rewards = table(file, "rewards", Some(steps), m)?;
    let terminated = flags(file, "terminated", steps)?;
    task.start_from(&vector(file, "qpos0")?, &vector(file, "qvel0")?)?;

    let (mut obs_errors, mut reward_errors) = (Errors::default(), Errors::default());
    let (mut obs, mut reward, mut flags_off) = (vec![0.0; s], vec![0.0; m], 0);
    task.observe(&mut obs);
    obs_errors.add(0, &obs, &observations[..s]);
    for t in 0..steps {
        let step = task.step(&actions[t * a..][..a], &mut reward)?;
        task.observe(&mut obs);
        obs_errors.add(t + 1, &obs, &observations[(t + 1) * s..][..s]);
        reward_errors.add(t + 1, &reward, &rewards[t * m..][..m]);
        flags_off += usize::from(t < JUDGED_STEPS && step.terminated != terminated[t]);
    }
    let ok = obs_errors.judged_relative <= OBS_TOLERANCE
        && reward_errors.judged <= REWARD_TOLERANCE
        && flags_off == 0;
    Ok(report(info.name, steps, obs_errors, reward_errors, flags_off, ok))
}

/// An arm that reaches for goals: judged by its gripper's position; rewards and successes only where the reference
/// is not within the tolerance of the distance that decides.
fn check_reaching(file: &TensorFile<'_>, mut task: MujocoTask) -> Result<Report, CheckError> {
    let (s, a) = (task.info().obs_dim(), task.info().action_dim());
    let actions = table(file, "actions", None, a)?;
    let steps = actions.len() / a;
    let observations = table(file, "observations", Some(steps + 1), s)?;
    let achieved = table(file, "achieved_goals", Some(steps + 1), 3)?;
    let rewards = table(file, "rewards", Some(steps), 1)?;
    let success = table(file, "success", Some(steps), 1)?;
    let goal: [f64; 3] = array(file, "goal")?;
    let mocap = (array(file, "mocap_pos0")?, mocap_quaternion(file)?);
    task.set_goals(&goal)?;
    task.start_with_mocap(&vector(file, "qpos0")?, &vector(file, "qvel0")?, mocap)?;

    let (mut gripper, mut reward_errors) = (Errors::default(), Errors::default());
    let (mut obs, mut reward, mut flags_off) = ([0.0; 10], [0.0], 0);
    task.observe(&mut obs);
    gripper.add(0, &obs[..3], &observations[..3]);
    for t in 0..steps {
        task.step(&actions[t * a..][..a], &mut reward)?;
        task.observe(&mut obs);
        gripper.add(t + 1, &obs[..3], &observations[(t + 1) * s..][..3]);
        gripper.add(t + 1, &task.probe().position_m, &achieved[(t + 1) * 3..][..3]);
        let reference_m = fetch::distance_m(&achieved[(t + 1) * 3..][..3], &goal);
        if (reference_m - fetch::SUCCESS_M).abs() > GRIPPER_TOLERANCE_M {
            reward_errors.add(t + 1, &reward, &rewards[t..][..1]);
            let succeeded = fetch::distance_m(&task.probe().position_m, &goal) < fetch::SUCCESS_M;
            flags_off += usize::from(t < JUDGED_STEPS && succeeded != (success[t] != 0.0));
        }
    }
    let ok = gripper.judged <= GRIPPER_TOLERANCE_M
        && reward_errors.judged <= REWARD_TOLERANCE
        && flags_off == 0;
    Ok(report(task.info().name.clone(), steps, gripper, reward_errors, flags_off, ok))
}

fn report(
    task: String,
    steps: usize,
    obs: Errors,
    reward: Errors,
    flags_off: usize,
    ok: bool,
) -> Report {
    Report {
        task,
        steps,
        max_abs_obs: obs.judged,
        max_rel_obs: obs.judged_relative,
        max_abs_reward: reward.judged,
        max_abs_obs_all: obs.all,
        max_abs_reward_all: reward.all,
        flags_off,
        ok,
    }
}

/// Compares the file's modes with the task's, or makes them its goals.
fn set_modes(file: &TensorFile<'_>, task: &mut dyn Task) -> Result<(), CheckError> {
    let text = file.meta("modes")?;
    let refuse = |needed: String| CheckError::Modes { found: text.to_string(), needed };
    let values: Vec<f64> =
        serde_json::from_str(text).map_err(|_| refuse("a JSON array of numbers".to_string()))?;
    match &task.info().modes {
        Modes::Discrete(modes) => {
            let needed: Vec<f64> = modes.iter().map(|mode| mode.value).collect();
            let same = values.len() == needed.len()
                && values.iter().zip(&needed).all(|(a, b)| (a - b).abs() < 1e-9);
            if same { Ok(()) } else { Err(refuse(format!("{needed:?}"))) }
        }
        Modes::Continuous(space)
            if values.is_empty() || !values.len().is_multiple_of(space.dims()) =>
        {
            Err(refuse(format!("at least one goal of {} numbers", space.dims())))
        }
        Modes::Continuous(_) => Ok(task.set_goals(&values)?),
    }
}

/// A tensor `[rows, width]`, flat; `[rows]` will do where `width` is 1.
fn table(
    file: &TensorFile<'_>,
    name: &'static str,
    rows: Option<usize>,
    width: usize,
) -> Result<Vec<f64>, CheckError> {
    let found = file.shape(name)?;
    let fits = match found[..] {
        [r, w] => w == width && rows.is_none_or(|rows| rows == r) && r > 0,
        [r] => width == 1 && rows.is_none_or(|rows| rows == r) && r > 0,
        _ => false,
    };
    if !fits {
        let rows = rows.map_or("T".to_string(), |r| r.to_string());
        let needed = format!("[{rows}, {width}] with at least one row");
        return Err(TensorError::Shape { name: name.to_string(), found, needed }.into());
    }
    finite(name, file.f64(name)?)
}

/// A tensor of one dimension.
fn vector(file: &TensorFile<'_>, name: &'static str) -> Result<Vec<f64>, CheckError> {
    let found = file.shape(name)?;
    if found.len() != 1 {
        let needed = "one dimension".to_string();
        return Err(TensorError::Shape { name: name.to_string(), found, needed }.into());
    }
    finite(name, file.f64(name)?)
}

/// A tensor of exactly N numbers.
fn array<const N: usize>(
    file: &TensorFile<'_>,
    name: &'static str,
) -> Result<[f64; N], CheckError> {
    let values = vector(file, name)?;
    <[f64; N]>::try_from(values).map_err(|values| {
        let (found, needed) = (vec![values.len()], format!("[{N}]"));
        TensorError::Shape { name: name.to_string(), found, needed }.into()
    })
}

fn mocap_quaternion(file: &TensorFile<'_>) -> Result<[f64; 4], CheckError> {
    match file.contains("mocap_quat0") {
        true => array(file, "mocap_quat0"),
        false => Ok(fetch::START_MOCAP.1),
    }
}

fn finite(name: &'static str, values: Vec<f64>) -> Result<Vec<f64>, CheckError> {
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(values),
        Some(index) => Err(CheckError::NotFinite { name, index, value: values[index] }),
    }
}

/// Flags `[steps]` of `u8`.
fn flags(file: &TensorFile<'_>, name: &str, steps: usize) -> Result<Vec<bool>, CheckError> {
    let found = file.shape(name)?;
    if found != [steps] {
        let (name, needed) = (name.to_string(), format!("[{steps}]"));
        return Err(TensorError::Shape { name, found, needed }.into());
    }
    Ok(file.u8(name)?.into_iter().map(|flag| flag != 0).collect())
}
