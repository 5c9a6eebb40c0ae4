//! What an export carries beside the steps, so that an import gives the demonstration file back.
//!
//! Other programs' layouts have no place for a file's task, rate, provenance, labels and start
//! states. They stand beside theirs, where those programs pass over them.

use std::collections::BTreeMap;

use sha2::{Digest, Sha256};
use sog_formats::{Recording, export::Export, minari::OURS};
use sog_runtime::{policy::Terms, tensors::Metadata};
use sog_sim::task::{Modes, TaskInfo};

use super::{
    DataError, DemoFile, DemoProvenance, Labels, StartStates, component_name,
    file::{Raw, hex, provenance},
};

/// Metadata entry of an export: SHA-256 of the demonstration file that it was made of.
const DIGEST: &str = "sha256";

/// A demonstration file as it is handed to other programs.
pub fn export_of<'a>(file: &'a DemoFile, task: &'a TaskInfo) -> Export<'a> {
    let d = &file.demonstrations;
    let names = |terms: &Terms| (0..terms.width()).map(|i| component_name(terms, i)).collect();
    let mut metadata = file.metadata(task);
    metadata.insert(DIGEST.to_string(), digest(file, task));
    let mut whole = BTreeMap::new();
    let mut put = |name, width: usize, values: Vec<f64>| {
        whole.insert(name, values.chunks(width.max(1)).map(<[f64]>::to_vec).collect());
    };
    match &file.labels {
        Some(Labels::Modes(modes)) => put("modes", 1, modes.iter().map(|&m| m.into()).collect()),
        Some(Labels::Goals { dims, values }) => {
            put("goals", *dims, values.iter().map(|&x| x.into()).collect());
        }
        None => {}
    }
    if let Some(StartStates { widths: (nq, nv), qpos, qvel }) = &file.starts {
        put("start.qpos", *nq, qpos.clone());
        put("start.qvel", *nv, qvel.clone());
    }
    let modes = match &file.labels {
        Some(Labels::Modes(modes)) => Some(modes),
        _ => None,
    };
    let does = |n: usize| match (modes.map(|modes| modes[n]), &task.modes) {
        (Some(mode), Modes::Discrete(named)) if (mode as usize) < named.len() => {
            (mode, format!("{}: {}", task.name(), named[mode as usize].label))
        }
        (Some(mode), _) => (mode, format!("{}: mode {mode}", task.name())),
        (None, _) => (0, task.name().to_string()),
    };
    Export {
        does: (0..d.len()).map(does).collect(),
        task: task.name(),
        dt_s: task.dt_s,
        observation_names: names(&task.obs_terms),
        action_names: names(&task.action_terms),
        action_low: &task.action_low,
        action_high: &task.action_high,
        episodes: (0..d.len()).map(|n| (d.observations_of(n), d.actions_of(n))).collect(),
        metadata,
        whole,
    }
}

fn digest(file: &DemoFile, task: &TaskInfo) -> String {
    hex(&Sha256::digest(file.to_bytes(task)))
}

/// What was found of it in a recording.
pub(super) struct Carried {
    /// What the demonstrations said of themselves.
    pub(super) metadata: Metadata,
    whole: BTreeMap<String, Vec<Vec<f64>>>,
}

impl Carried {
    /// Takes it out of a recording, if it is an export of ours.
    ///
    /// # Errors
    /// [`DataError::Metadata`] where it is not readable.
    pub(super) fn take(recording: &mut Recording) -> Result<Option<Self>, DataError> {
        let Some(text) = recording.metadata.get(OURS) else { return Ok(None) };
        let metadata = serde_json::from_str(text).map_err(|_| DataError::Metadata {
            key: OURS,
            found: text.clone(),
            needed: "an object of texts, as `sog demos export` writes it".to_string(),
        })?;
        let metadata: Metadata = metadata;
        // LeRobot knows whole frames a second alone.
        if let Some(dt_s) = metadata.get("dt").and_then(|dt| dt.parse().ok()) {
            recording.dt_s = Some(dt_s);
        }
        Ok(Some(Self { metadata, whole: recording.take_whole(OURS) }))
    }

    /// That of several files, one after the other, if all have it.
    pub(super) fn joined(files: Vec<Option<Self>>) -> Option<Self> {
        let mut files = files.into_iter();
        files.next()?.and_then(|first| {
            files.try_fold(first, |mut all, next| {
                let mut next = next?.whole;
                all.whole.retain(|name, _| next.contains_key(name));
                for (name, rows) in &mut all.whole {
                    rows.append(&mut next.remove(name).unwrap_or_default());
                }
                Some(all)
            })
        })
    }

    /// Numbers of all episodes, `[N, width]`, and the width.
    fn rows(&self, name: &str) -> Option<(usize, Vec<f64>)> {
        let rows = self.whole.get(name)?;
        Some((rows.first().map_or(0, Vec::len), rows.concat()))
    }

    /// Modes or goals.
    ///
    /// # Errors
    /// [`DataError::Metadata`] where a mode is no whole number.
    pub(super) fn labels(&self) -> Result<Option<Labels>, DataError> {
        if let Some((dims, values)) = self.rows("goals") {
            let values = values.into_iter().map(|x| x as f32).collect();
            return Ok(Some(Labels::Goals { dims, values }));
        }
        let Some((_, modes)) = self.rows("modes") else { return Ok(None) };
        let mode = |x: f64| {
            let whole = x.fract() == 0.0 && (0.0..=f64::from(u32::MAX)).contains(&x);
            whole.then_some(x as u32).ok_or_else(|| DataError::Metadata {
                key: "modes",
                found: x.to_string(),
                needed: "a whole number, one an episode".to_string(),
            })
        };
        Ok(Some(Labels::Modes(modes.into_iter().map(mode).collect::<Result<_, _>>()?)))
    }

    /// Start states of the simulator.
    pub(super) fn starts(&self) -> Option<StartStates> {
        let ((nq, qpos), (nv, qvel)) = (self.rows("start.qpos")?, self.rows("start.qvel")?);
        Some(StartStates { widths: (nq, nv), qpos, qvel })
    }

    /// The provenance of the file that it was made of, if these parts are still all of it,
    /// unchanged.
    pub(super) fn unchanged(&self, raw: &Raw, task: &TaskInfo) -> Option<DemoProvenance> {
        let provenance = provenance(&self.metadata).ok()?;
        let raw = Raw { provenance: provenance.clone(), ..raw.clone() };
        let file = DemoFile::from_raw(raw, task).ok()?;
        (self.metadata.get(DIGEST) == Some(&digest(&file, task))).then_some(provenance)
    }
}
