//! Demonstrations of other people's programs, mapped to the task's terms.

use std::{collections::BTreeSet, path::PathBuf};

use sha2::{Digest, Sha256};
use sog_formats::{
    Format, FormatError,
    inspect::clocks,
    layout::{Layout, lay_out},
    mapping::{MapError, MapOptions, Mapped, Mapping, Term, map},
};
use sog_runtime::policy::Terms;
use sog_sim::task::TaskInfo;

use super::{
    DataError, DemoFile, DemoProvenance, Labels,
    exported::Carried,
    file::{Raw, check_task, hex},
    import::{ImportOptions, check_schema, checked},
};

/// How foreign files are imported.
#[derive(Clone, Debug, Default)]
pub struct ForeignOptions {
    /// Their format; found by content where absent.
    pub format: Option<Format>,
    /// What is said of episodes and time where the files do not.
    pub layout: Layout,
    /// Which columns become which terms.
    pub map: Vec<Mapping>,
    /// Whether to interpolate to the task's control period.
    pub resample: bool,
    /// Column that says each episode's mode.
    pub labels: Option<String>,
    /// Whether the episodes of each file are a mode of their own, by the order of the files.
    pub mode_per_file: bool,
    /// What is let pass.
    pub checks: ImportOptions,
}

impl ForeignOptions {
    /// Completes what was not said by the table `[import]` of a task's definition: `format`, `map`
    /// (a table of `term = "column"`), `episodes`, `time`, `dt`, `resample`, `labels`, `clip`.
    ///
    /// # Errors
    /// [`DataError::ImportTable`] naming the key.
    pub fn complete(&mut self, table: &toml::Table) -> Result<(), DataError> {
        let wrong = |key: &str, why: String| DataError::ImportTable { key: key.to_string(), why };
        for (key, value) in table {
            let text =
                || value.as_str().ok_or_else(|| wrong(key, format!("found {value}, need a text")));
            let truth = || {
                value
                    .as_bool()
                    .ok_or_else(|| wrong(key, format!("found {value}, need true or false")))
            };
            match key.as_str() {
                "format" if self.format.is_none() => {
                    self.format = Some(text()?.parse().map_err(|why| wrong(key, why))?);
                }
                "resample" => self.resample |= truth()?,
                "clip" => self.checks.clip |= truth()?,
                "labels" if self.labels.is_none() => self.labels = Some(text()?.to_string()),
                "episodes" | "time" => {
                    let part = text()?.parse().map_err(|e: MapError| wrong(key, e.to_string()))?;
                    let layout = &mut self.layout;
                    let of = if key == "time" { &mut layout.time } else { &mut layout.episodes };
                    of.get_or_insert(part);
                }
                "dt" => {
                    let seconds = value
                        .as_float()
                        .or(value.as_integer().map(|n| n as f64))
                        .filter(|dt| dt.is_finite() && *dt > 0.0);
                    let why = || format!("found {value}, need seconds above 0, such as 0.01");
                    let dt_s = seconds.ok_or_else(|| wrong(key, why()))?;
                    self.layout.dt_s.get_or_insert(dt_s);
                }
                "format" | "labels" => drop(text()?),
                "map" => self.complete_map(value)?,
                _ => {
                    let why = "need one of format, map, episodes, time, dt, resample, labels, clip"
                        .to_string();
                    return Err(wrong(key, why));
                }
            }
        }
        Ok(())
    }

    fn complete_map(&mut self, table: &toml::Value) -> Result<(), DataError> {
        let wrong = |key: String, why: String| DataError::ImportTable { key, why };
        let table = table.as_table().ok_or_else(|| {
            wrong("map".to_string(), format!("found {table}, need a table of TERM = \"COLUMN\""))
        })?;
        for (term, source) in table {
            let key = || format!("map.{term}");
            let source = source
                .as_str()
                .ok_or_else(|| wrong(key(), format!("found {source}, need a text")))?;
            let mapping: Mapping = format!("{term}={source}")
                .parse()
                .map_err(|e: MapError| wrong(key(), e.to_string()))?;
            if !self.map.iter().any(|said| said.term == mapping.term) {
                self.map.push(mapping);
            }
        }
        Ok(())
    }
}

/// Whether a file is one of the plain safetensors files that [`import_safetensors`] takes, and
/// nothing was asked for that it does not do.
///
/// [`import_safetensors`]: super::import::import_safetensors
pub fn is_plain(paths: &[PathBuf], options: &ForeignOptions) -> bool {
    let [path] = paths else { return false };
    let labels = options.labels.is_some() || options.mode_per_file;
    let laid_out = options.layout != Layout::default();
    let asked = !options.map.is_empty() || laid_out || options.resample || labels;
    let format = options.format.map_or_else(|| sog_formats::detect(path).ok(), Some);
    !asked && format == Some(Format::Safetensors)
}

/// Reads files of any known format, one after the other, and maps them to the task's terms; also
/// says what was assumed, left out or done.
///
/// # Errors
/// [`DataError::Format`] and [`DataError::Map`] naming file, episode and column, and what
/// [`import_safetensors`](super::import::import_safetensors) refuses.
pub fn import_files(
    paths: &[PathBuf],
    task: &TaskInfo,
    options: &ForeignOptions,
    tick: &dyn Fn(),
) -> Result<(DemoFile, Vec<String>), DataError> {
    let terms = |terms: &Terms| -> Vec<Term> {
        terms.0.iter().map(|t| Term { name: t.name.clone(), width: t.width }).collect()
    };
    let (observations, actions) = (terms(&task.obs_terms), terms(&task.action_terms));
    let map_options = MapOptions {
        dt_s: task.dt_s,
        resample: options.resample,
        labels: options.labels.as_deref(),
    };
    let mut all = Mapped::default();
    let mut carried = vec![];
    let mut digest = Sha256::new();
    for (number, path) in (0..).zip(paths) {
        let mut recording = sog_formats::read(path, options.format)?;
        let ours = Carried::take(&mut recording)?;
        if let Some(ours) = &ours {
            check_schema(&ours.metadata)?;
            check_task(&ours.metadata, task)?;
        }
        carried.push(ours);
        lay_out(&mut recording, &options.layout)?;
        let mut mapped = map(&recording, &observations, &actions, &options.map, &map_options)?;
        if options.mode_per_file {
            mapped.episodes.iter_mut().for_each(|episode| episode.label = Some(number));
        }
        for finding in clocks(&recording) {
            let episode = finding.episode.and_then(|n| recording.episodes.get(n));
            let episode = episode.map_or(String::new(), |e| format!(" episode `{}`:", e.name));
            let (file, what) = (path.display(), finding.what);
            all.notes.push(format!("{file}:{episode} {what}; {}", finding.advice));
        }
        all.notes.extend(recording.notes);
        all.notes.append(&mut mapped.notes);
        all.episodes.append(&mut mapped.episodes);
        tick();
    }
    // Files of a kind have the same to say.
    let mut said = BTreeSet::new();
    all.notes.retain(|note| said.insert(note.clone()));
    let (n, t) = (all.episodes.len(), all.episodes.iter().map(|e| e.length).max().unwrap_or(0));
    let (s, a) = (task.obs_dim(), task.action_dim());
    let (mut padded_observations, mut padded_actions) = (vec![], vec![]);
    for (i, episode) in all.episodes.iter().enumerate() {
        padded_observations.extend_from_slice(&episode.observations);
        padded_observations.resize((i + 1) * t * s, 0.0);
        padded_actions.extend_from_slice(&episode.actions);
        padded_actions.resize((i + 1) * t * a, 0.0);
    }
    for x in padded_observations.iter().chain(&padded_actions) {
        digest.update(x.to_le_bytes());
    }
    let lengths = all.episodes.iter().map(|e| u32::try_from(e.length).unwrap_or(u32::MAX));
    let labels: Option<Vec<u32>> = all.episodes.iter().map(|e| e.label).collect();
    let any = carried.iter().any(Option::is_some);
    let carried = Carried::joined(carried);
    if any && carried.is_none() {
        let what = "labels and start states are left out: some of the files carry none";
        all.notes.push(what.to_string());
    }
    let asked = options.labels.is_some() || options.mode_per_file;
    let own_labels = carried.as_ref().filter(|_| !asked).map(Carried::labels).transpose()?;
    let mut raw = Raw {
        observations: (padded_observations, vec![n, t, s]),
        actions: (padded_actions, vec![n, t, a]),
        lengths: Some(lengths.collect()),
        labels: own_labels.flatten().or(labels.map(Labels::Modes)),
        starts: carried.as_ref().and_then(Carried::starts),
        provenance: DemoProvenance {
            expert: format!("imported:{}", hex(&digest.finalize())),
            generator: concat!("sog-trainer ", env!("CARGO_PKG_VERSION")).to_string(),
            ..DemoProvenance::default()
        },
    };
    let unchanged = carried.and_then(|carried| carried.unchanged(&raw, task));
    let ours = unchanged.is_some();
    raw.provenance = unchanged.unwrap_or(raw.provenance);
    let file = checked(raw, task, options.checks, ours)?;
    Ok((file, all.notes))
}

impl From<FormatError> for DataError {
    fn from(error: FormatError) -> Self {
        Self::Format(Box::new(error))
    }
}

impl From<MapError> for DataError {
    fn from(error: MapError) -> Self {
        Self::Map(Box::new(error))
    }
}
