//! The demonstration file: reading with full validation, and writing with stable bytes.

use std::{fmt::Write as _, path::Path};

use sha2::{Digest, Sha256};
use sog_rl::run::write_atomic;
use sog_runtime::{
    policy::Terms,
    recording::layout,
    tensors::{self, Metadata, Tensor, TensorError, TensorFile},
};
use sog_sim::task::{Modes, TaskInfo};

use super::{DataError, Demonstrations, Labels, StartStates, names};

/// Schema that this version writes and accepts.
pub const SCHEMA: &str = layout::SCHEMA;

/// Largest magnitude of a number that can be a measurement or a command.
const LARGEST: f32 = 1e9;

/// Where demonstrations come from.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DemoProvenance {
    /// `scripted`, or the SHA-256 of the expert's file, or what an importer says.
    pub expert: String,
    /// Seed of the recording.
    pub seed: u64,
    /// Standard deviation of the noise that was added to the expert's actions before they were
    /// taken (and recorded), in units of half the actions' range.
    pub action_noise: f64,
    /// Program and version that wrote the file.
    pub generator: String,
    /// Mean return of each mode's trajectories on that mode's reward; for goals one number, the
    /// mean over all trajectories.
    pub mean_return: Vec<f64>,
}

/// Demonstrations with their labels and provenance: the content of a file.
#[derive(Clone, Debug, PartialEq)]
pub struct DemoFile {
    /// What learners see.
    pub demonstrations: Demonstrations,
    /// For evaluation alone; absent in demonstrations from elsewhere.
    pub labels: Option<Labels>,
    /// For replays alone; absent without MuJoCo and in demonstrations from elsewhere.
    pub starts: Option<StartStates>,
    /// Origin.
    pub provenance: DemoProvenance,
}

/// The parts of a file before they are checked against each other.
#[derive(Clone)]
pub(super) struct Raw {
    /// `[N, T, S]` and its shape.
    pub observations: (Vec<f32>, Vec<usize>),
    /// `[N, T, A]` and its shape.
    pub actions: (Vec<f32>, Vec<usize>),
    /// `[N]`; absent means that every trajectory has length T.
    pub lengths: Option<Vec<u32>>,
    /// Labels.
    pub labels: Option<Labels>,
    /// Start states.
    pub starts: Option<StartStates>,
    /// Origin.
    pub provenance: DemoProvenance,
}

impl Raw {
    /// Names the usual ways in which axes are not `[N, T, ·]`, before a bare shape is refused.
    fn check_axes(&self, s: usize, a: usize) -> Result<(), DataError> {
        let (obs, actions) = (&self.observations.1, &self.actions.1);
        let (&[n, t, found_s], &[action_n, action_t, found_a]) = (&obs[..], &actions[..]) else {
            return Ok(());
        };
        let lengths = self.lengths.as_ref().map(Vec::len);
        let labels = self.labels.as_ref().map(Labels::len);
        let axes = |advice: &str| {
            let lengths = lengths.map(|l| format!(", `lengths` [{l}]")).unwrap_or_default();
            let labels = labels.map(|l| format!(", labels [{l}]")).unwrap_or_default();
            Err(DataError::Axes {
                found: format!(
                    "`observations` has shape {obs:?}, `actions` {actions:?}{lengths}{labels}"
                ),
                advice: advice.to_string(),
            })
        };
        let counted = lengths.or(labels);
        let same = (n, t) == (action_n, action_t);
        if same && n != t && counted == Some(t) && (found_s, found_a) == (s, a) {
            return axes(
                "this looks time-major, [T, N, …], and [N, T, …] is needed: transpose both arrays, \
                 `np.ascontiguousarray(x.transpose(1, 0, 2))`",
            );
        }
        if (n, t) == (action_t, action_n) && n != t {
            let which = if counted == Some(n) { "`actions`" } else { "one of the two" };
            return axes(&format!(
                "{which} looks time-major, [T, N, …], and [N, T, …] is needed: transpose it, \
                 `np.ascontiguousarray(x.transpose(1, 0, 2))`"
            ));
        }
        if n == action_n && t == action_t + 1 {
            return axes(
                "there is one observation more than actions in each trajectory: leave out the last, \
                 which no action follows (`observations[:, :-1]`)",
            );
        }
        if n == action_n && t + 1 == action_t {
            return axes("there is one action more than observations: leave out the odd one");
        }
        if n == action_n && n != 0 && (t, found_s) != (found_s, t) && t == s && found_s != s {
            return axes(
                "this looks like [N, S, T], and [N, T, S] is needed: swap the last two axes, \
                 `np.ascontiguousarray(x.transpose(0, 2, 1))`",
            );
        }
        Ok(())
    }
}

impl DemoFile {
    /// Reads and validates a file of demonstrations of `task`.
    ///
    /// # Errors
    /// [`DataError`] naming the first thing that does not hold.
    pub fn load(path: &Path, task: &TaskInfo) -> Result<Self, DataError> {
        let bytes = read(path)?;
        Self::parse(&bytes, task)
    }

    /// What a file says of its task, for commands that are not told the task: its name, terms and
    /// control period, and its bounds where it has them. Nothing is known of modes and horizon.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Tensors`], [`DataError::Schema`], [`DataError::Metadata`].
    pub fn task_of(path: &Path) -> Result<TaskInfo, DataError> {
        let bytes = read(path)?;
        let file = TensorFile::parse(&bytes)?;
        check_schema(&file)?;
        let terms = |key: &'static str| -> Result<Terms, DataError> {
            let found = file.meta(key)?.to_string();
            let needed = "`name:width,name:width,…`".to_string();
            found.parse().map_err(|_| DataError::Metadata { key, found, needed })
        };
        let action_terms = terms("action.terms")?;
        let dt = file.meta("dt")?.to_string();
        let positive = dt.parse().ok().filter(|dt: &f64| dt.is_finite() && *dt > 0.0);
        let needed = "a control period in seconds".to_string();
        let bounds =
            |key: &'static str, without: f64| -> Result<Vec<f64>, DataError> {
                let Some(found) = file.metadata().get(key) else {
                    return Ok(vec![without; action_terms.width()]);
                };
                let listed: Option<Vec<f64>> = serde_json::from_str(found).ok();
                let needed = "a JSON list of numbers, one a component".to_string();
                listed
                    .filter(|l| l.len() == action_terms.width())
                    .ok_or_else(|| DataError::Metadata { key, found: found.clone(), needed })
            };
        Ok(TaskInfo {
            name: file.meta("task")?.to_string(),
            obs_terms: terms("obs.terms")?,
            action_low: bounds("action.low", f64::NEG_INFINITY)?,
            action_high: bounds("action.high", f64::INFINITY)?,
            dt_s: positive.ok_or(DataError::Metadata { key: "dt", found: dt, needed })?,
            action_terms,
            horizon: 0,
            modes: Modes::Discrete(vec![]),
        })
    }

    /// Validates the bytes of a file of demonstrations of `task`: readable tensors, schema,
    /// checksum, task, terms, shapes, lengths, finite numbers, labels.
    ///
    /// # Errors
    /// [`DataError`] naming the first thing that does not hold.
    pub fn parse(bytes: &[u8], task: &TaskInfo) -> Result<Self, DataError> {
        let file = TensorFile::parse(bytes)?;
        check_schema(&file)?;
        file.verify_checksum()?;
        file.meta("task")?;
        check_task(file.metadata(), task)?;
        names::check(&file)?;
        let shaped = |name: &str| Ok::<_, TensorError>((file.f32(name)?, file.shape(name)?));
        let labels = if file.contains("modes") {
            Some(Labels::Modes(file.u32("modes")?))
        } else if file.contains("goals") {
            let dims = file.shape("goals")?.get(1).copied().unwrap_or(1);
            Some(Labels::Goals { dims, values: file.f32("goals")? })
        } else {
            None
        };
        let raw = Raw {
            observations: shaped("observations")?,
            actions: shaped("actions")?,
            lengths: file.contains("lengths").then(|| file.u32("lengths")).transpose()?,
            labels,
            starts: starts(&file)?,
            provenance: provenance(file.metadata())?,
        };
        let mut demos = Self::from_raw(raw, task)?;
        demos.demonstrations.sha256 = hex(&Sha256::digest(bytes));
        Ok(demos)
    }

    /// Checks the parts of a file against each other and packs them.
    pub(super) fn from_raw(raw: Raw, task: &TaskInfo) -> Result<Self, DataError> {
        let (observations, shape) = &raw.observations;
        let (s, a) = (task.obs_dim(), task.action_dim());
        raw.check_axes(s, a)?;
        let &[n, t, found_s] = shape.as_slice() else {
            return Err(shape_error("observations", shape, format!("[N, T, {s}]")));
        };
        if found_s != s {
            return Err(shape_error("observations", shape, format!("[N, T, {s}]")));
        }
        let (actions, action_shape) = &raw.actions;
        if action_shape != &[n, t, a] {
            return Err(shape_error("actions", action_shape, format!("[{n}, {t}, {a}]")));
        }
        let full = || vec![u32::try_from(t).unwrap_or(u32::MAX); n];
        let lengths = raw.lengths.unwrap_or_else(full);
        if lengths.len() != n {
            return Err(shape_error("lengths", &[lengths.len()], format!("[{n}]")));
        }
        if n == 0 {
            return Err(DataError::Empty);
        }
        for (trajectory, &length) in lengths.iter().enumerate() {
            if length == 0 || length as usize > t {
                let found = u64::from(length);
                return Err(DataError::Length { trajectory, found, max: t });
            }
        }
        let lengths: Vec<usize> = lengths.into_iter().map(|l| l as usize).collect();
        let observations = pack("observations", observations, &lengths, t, s)?;
        let actions = pack("actions", actions, &lengths, t, a)?;
        if let Some(labels) = &raw.labels {
            check_labels(labels, n, task)?;
        }
        if let Some(starts) = &raw.starts {
            check_starts(starts, n)?;
        }
        let demonstrations =
            Demonstrations::packed(task.name(), (s, a), &lengths, observations, actions);
        let Raw { labels, starts, provenance, .. } = raw;
        Ok(Self { demonstrations, labels, starts, provenance })
    }

    /// Bytes of the file: the same demonstrations always give the same bytes.
    pub fn to_bytes(&self, task: &TaskInfo) -> Vec<u8> {
        let d = &self.demonstrations;
        let n = d.len();
        let episodes: Vec<(&[f32], &[f32])> =
            (0..n).map(|i| (d.observations_of(i), d.actions_of(i))).collect();
        let mut tensors = layout::tensors(&episodes, (d.obs_dim, d.action_dim));
        let mut put = |name: &str, tensor| tensors.insert(name.to_string(), tensor);
        match &self.labels {
            Some(Labels::Modes(modes)) => {
                put("modes", Tensor::u32(&[n], modes));
            }
            Some(Labels::Goals { dims, values }) => {
                put("goals", Tensor::f32(&[n, *dims], values));
            }
            None => {}
        }
        if let Some(starts) = &self.starts {
            put("start.qpos", Tensor::f64(&[n, starts.widths.0], &starts.qpos));
            put("start.qvel", Tensor::f64(&[n, starts.widths.1], &starts.qvel));
        }
        tensors::serialize(&tensors, &self.metadata(task))
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`DataError::Io`], [`DataError::Write`]; what was there before is untouched then.
    pub fn save(&self, path: &Path, task: &TaskInfo) -> Result<(), DataError> {
        let io = |source| DataError::Io { path: path.to_path_buf(), source };
        if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
            std::fs::create_dir_all(dir).map_err(io)?;
        }
        Ok(write_atomic(path, &self.to_bytes(task))?)
    }

    /// Labels, for an evaluation that needs them.
    ///
    /// # Errors
    /// [`DataError::NoLabels`].
    pub fn labels(&self) -> Result<&Labels, DataError> {
        self.labels.as_ref().ok_or(DataError::NoLabels)
    }

    /// What the file says of itself.
    pub(super) fn metadata(&self, task: &TaskInfo) -> Metadata {
        let p = &self.provenance;
        // What is built in says its bounds itself; those files are what they were.
        let own = !sog_sim::tasks::names().contains(&task.name());
        let bounds = [("action.low", &task.action_low), ("action.high", &task.action_high)];
        // Of a file that says none they are infinite, which JSON does not know.
        let known = bounds.iter().all(|(_, bounds)| bounds.iter().all(|x| x.is_finite()));
        let bounds = bounds
            .into_iter()
            .filter(|_| own && known)
            .map(|(key, bounds)| (key, layout::list(bounds)));
        // Files of a quiet expert are what they were before there was noise.
        let noise = (p.action_noise > 0.0).then(|| ("action_noise", p.action_noise.to_string()));
        [
            ("schema", SCHEMA.to_string()),
            ("task", task.name().to_string()),
            ("dt", task.dt_s.to_string()),
            ("obs.terms", task.obs_terms.to_string()),
            ("action.terms", task.action_terms.to_string()),
            ("expert", p.expert.clone()),
            ("seed", p.seed.to_string()),
            ("generator", p.generator.clone()),
            ("mean_return", layout::list(&p.mean_return)),
        ]
        .into_iter()
        .chain(noise)
        .chain(bounds)
        .map(|(key, value)| (key.to_string(), value))
        .collect()
    }
}

fn read(path: &Path) -> Result<Vec<u8>, DataError> {
    std::fs::read(path).map_err(|source| DataError::Io { path: path.to_path_buf(), source })
}

/// Lower-case hexadecimal digits.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn check_schema(file: &TensorFile<'_>) -> Result<(), DataError> {
    match file.metadata().get("schema") {
        Some(found) if found == SCHEMA => Ok(()),
        found => Err(DataError::Schema { found: found.cloned().unwrap_or_default() }),
    }
}

/// Where the file says its task, terms and dt, they must be those of `task`.
pub(super) fn check_task(metadata: &Metadata, task: &TaskInfo) -> Result<(), DataError> {
    if let Some(found) = metadata.get("task")
        && found != task.name()
    {
        let needed = task.name().to_string();
        return Err(DataError::Task { found: found.clone(), needed });
    }
    for (key, needed) in [("obs.terms", &task.obs_terms), ("action.terms", &task.action_terms)] {
        if let Some(found) = metadata.get(key)
            && found.parse::<Terms>().ok().as_ref() != Some(needed)
        {
            let needed = format!("`{needed}`, the terms of {}", task.name());
            return Err(DataError::Metadata { key, found: found.clone(), needed });
        }
    }
    for (key, needed) in [("action.low", &task.action_low), ("action.high", &task.action_high)] {
        if let Some(found) = metadata.get(key) {
            let listed: Option<Vec<f64>> = serde_json::from_str(found).ok();
            let near = |(a, b): (&f64, &f64)| a == b || (a - b).abs() <= 1e-6 * b.abs().max(1.0);
            let fits = |l: &Vec<f64>| l.len() == needed.len() && l.iter().zip(needed).all(near);
            if !listed.as_ref().is_some_and(fits) {
                let needed = format!("{needed:?}, the bounds of {}", task.name());
                return Err(DataError::Metadata { key, found: found.clone(), needed });
            }
        }
    }
    if let Some(found) = metadata.get("dt")
        && !found.parse::<f64>().is_ok_and(|dt| (dt - task.dt_s).abs() <= 1e-9)
    {
        let needed = format!("{}, the control period of {}", task.dt_s, task.name());
        return Err(DataError::Metadata { key: "dt", found: found.clone(), needed });
    }
    for key in ["fps", "hz", "rate_hz", "frequency"] {
        if let Some(found) = metadata.get(key)
            && !found.parse::<f64>().is_ok_and(|rate| (rate * task.dt_s - 1.0).abs() <= 0.01)
        {
            let needed = format!("{}, the control rate of {}", 1.0 / task.dt_s, task.name());
            return Err(DataError::Metadata { key, found: found.clone(), needed });
        }
    }
    Ok(())
}

pub(super) fn provenance(metadata: &Metadata) -> Result<DemoProvenance, DataError> {
    let text = |key| metadata.get(key).cloned().unwrap_or_default();
    let bad = |key, needed: &str| DataError::Metadata {
        key,
        found: text(key),
        needed: needed.to_string(),
    };
    let mean_return = match metadata.get("mean_return") {
        None => vec![],
        Some(list) => serde_json::from_str(list)
            .map_err(|_| bad("mean_return", "a JSON list of numbers, one a mode"))?,
    };
    let seed = match metadata.get("seed") {
        None => 0,
        Some(seed) => seed.parse().map_err(|_| bad("seed", "an unsigned 64-bit number"))?,
    };
    let action_noise = match metadata.get("action_noise") {
        None => 0.0,
        Some(noise) => match noise.parse() {
            Ok(noise) if (0.0..=1.0).contains(&noise) => noise,
            _ => return Err(bad("action_noise", "a number from 0 to 1")),
        },
    };
    let (expert, generator) = (text("expert"), text("generator"));
    Ok(DemoProvenance { expert, seed, action_noise, generator, mean_return })
}

/// Drops the padding of `[N, T, width]` and refuses numbers that are not finite.
fn pack(
    tensor: &'static str,
    values: &[f32],
    lengths: &[usize],
    t: usize,
    width: usize,
) -> Result<Vec<f32>, DataError> {
    let mut packed = Vec::with_capacity(lengths.iter().sum::<usize>() * width);
    for (trajectory, &length) in lengths.iter().enumerate() {
        let from = trajectory * t * width;
        let kept = &values[from..from + length * width];
        if let Some(at) = kept.iter().position(|v| !v.is_finite()) {
            let (step, component) = (at / width, at % width);
            let value = kept[at];
            return Err(DataError::NonFinite { tensor, trajectory, step, component, value });
        }
        if let Some(at) = kept.iter().position(|v| v.abs() > LARGEST) {
            let (step, component, value) = (at / width, at % width, kept[at]);
            let limit = LARGEST;
            return Err(DataError::TooLarge { tensor, trajectory, step, component, value, limit });
        }
        packed.extend_from_slice(kept);
    }
    Ok(packed)
}

fn check_labels(labels: &Labels, n: usize, task: &TaskInfo) -> Result<(), DataError> {
    match (labels, &task.modes) {
        (Labels::Modes(modes), Modes::Discrete(known)) => {
            if modes.len() != n {
                return Err(shape_error("modes", &[modes.len()], format!("[{n}]")));
            }
            // Labels are for evaluation alone: a task need not name its modes.
            if known.is_empty() {
                return Ok(());
            }
            match modes.iter().position(|&m| m as usize >= known.len()) {
                None => Ok(()),
                Some(trajectory) => Err(DataError::Mode {
                    trajectory,
                    found: modes[trajectory],
                    max: known.len() - 1,
                }),
            }
        }
        (Labels::Goals { dims, values }, Modes::Continuous(space)) => {
            if *dims != space.dims() || values.len() != n * dims {
                let found = [values.len() / (*dims).max(1), *dims];
                return Err(shape_error("goals", &found, format!("[{n}, {}]", space.dims())));
            }
            match values.iter().position(|v| !v.is_finite()) {
                None => Ok(()),
                Some(at) => Err(DataError::NonFinite {
                    tensor: "goals",
                    trajectory: at / dims,
                    step: 0,
                    component: at % dims,
                    value: values[at],
                }),
            }
        }
        (Labels::Modes(_), Modes::Continuous(_)) => {
            Err(shape_error("modes", &[n], "`goals` instead: the task's modes are goals".into()))
        }
        (Labels::Goals { dims, values }, Modes::Discrete(known)) if known.is_empty() => {
            match values.len() == n * dims && values.iter().all(|v| v.is_finite()) {
                true => Ok(()),
                false => Err(shape_error("goals", &[n, *dims], format!("[{n}, finite numbers]"))),
            }
        }
        (Labels::Goals { dims, .. }, Modes::Discrete(_)) => {
            let needed = "`modes` instead: the task has discrete modes".to_string();
            Err(shape_error("goals", &[n, *dims], needed))
        }
    }
}

pub(super) fn starts(file: &TensorFile<'_>) -> Result<Option<StartStates>, DataError> {
    if !file.contains("start.qpos") {
        return Ok(None);
    }
    let width = |name: &str| Ok::<_, TensorError>(file.shape(name)?.get(1).copied().unwrap_or(0));
    let widths = (width("start.qpos")?, width("start.qvel")?);
    Ok(Some(StartStates { widths, qpos: file.f64("start.qpos")?, qvel: file.f64("start.qvel")? }))
}

fn check_starts(starts: &StartStates, n: usize) -> Result<(), DataError> {
    let (nq, nv) = starts.widths;
    for (name, values, width) in
        [("start.qpos", &starts.qpos, nq), ("start.qvel", &starts.qvel, nv)]
    {
        if width == 0 || values.len() != n * width {
            return Err(shape_error(name, &[values.len()], format!("[{n}, more than 0]")));
        }
        if let Some(at) = values.iter().position(|v| !v.is_finite()) {
            return Err(DataError::NonFinite {
                tensor: name,
                trajectory: at / width,
                step: 0,
                component: at % width,
                value: values[at] as f32,
            });
        }
    }
    Ok(())
}

fn shape_error(name: &str, found: &[usize], needed: String) -> DataError {
    TensorError::Shape { name: name.to_string(), found: found.to_vec(), needed }.into()
}
