//! Demonstrations written for other people's programs: Minari's HDF5 and LeRobot's version 2.1.

#[cfg(feature = "lerobot")]
use std::collections::BTreeSet;
use std::{collections::BTreeMap, fs, path::Path};

#[cfg(feature = "hdf5")]
use rust_hdf5::{H5File, types::HBool};
use serde_json::{Value, json};

use crate::{FormatError, Place, Problem, minari::OURS};

/// What is written.
#[derive(Clone, Debug, PartialEq)]
pub struct Export<'a> {
    /// Name of the task.
    pub task: &'a str,
    /// Control period in seconds.
    pub dt_s: f64,
    /// Name of each observation component.
    pub observation_names: Vec<String>,
    /// Name of each action component.
    pub action_names: Vec<String>,
    /// Lower bound of each action component.
    pub action_low: &'a [f64],
    /// Upper bound of each action component.
    pub action_high: &'a [f64],
    /// What each episode does, in words and with the number that orders those: LeRobot's tasks.
    pub does: Vec<(u32, String)>,
    /// Observations `[T, obs]` and actions `[T, action]` of each episode.
    pub episodes: Vec<(&'a [f32], &'a [f32])>,
    /// What the demonstrations say of themselves.
    pub metadata: BTreeMap<String, String>,
    /// What stands for an episode as a whole, such as its label: by name, one row an episode.
    pub whole: BTreeMap<&'static str, Vec<Vec<f64>>>,
}

impl Export<'_> {
    /// Steps of an episode.
    fn length(&self, (_, actions): (&[f32], &[f32])) -> usize {
        actions.len() / self.action_names.len().max(1)
    }

    fn steps(&self) -> usize {
        self.episodes.iter().map(|&episode| self.length(episode)).sum()
    }
}

/// Fills a new folder: nothing is written into one that is there, and it goes again if it does not
/// become whole.
fn in_new_folder(
    path: &Path,
    fill: impl FnOnce(&Path) -> Result<(), FormatError>,
) -> Result<(), FormatError> {
    let place = Place::file(path);
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        fs::create_dir_all(parent).map_err(|e| place.error(e.into()))?;
    }
    fs::create_dir(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => place.error(Problem::Exists),
        _ => place.error(e.into()),
    })?;
    let filled = fill(path);
    if filled.is_err() {
        // The first error says what is wrong.
        let _ = fs::remove_dir_all(path);
    }
    filled
}

fn write(path: &Path, text: &str) -> Result<(), FormatError> {
    fs::write(path, text).map_err(|e| Place::file(path).error(Problem::Io(e)))
}

/// Writes a data set of Minari's: `data/main_data.hdf5` and `data/metadata.json` in the new folder
/// `path`. Minari's episodes have one observation more than actions; there is none here, so the last
/// one stands twice. Rewards are 0, all episodes are truncated. What Minari has no place for, and
/// passes over, stands under [`OURS`]: [`Export::metadata`] in `metadata.json`, [`Export::whole`] in a
/// group of each episode.
///
/// # Errors
/// [`Problem::Exists`] where the folder is there already; [`Problem::Io`] and [`Problem::Unwritten`].
#[cfg(feature = "hdf5")]
pub fn minari(path: &Path, export: &Export<'_>) -> Result<(), FormatError> {
    in_new_folder(path, |folder| minari_in(folder, export))
}

#[cfg(feature = "hdf5")]
fn minari_in(folder: &Path, export: &Export<'_>) -> Result<(), FormatError> {
    let s = export.observation_names.len();
    let folder = folder.join("data");
    fs::create_dir(&folder).map_err(|e| Place::file(&folder).error(e.into()))?;
    let main = folder.join("main_data.hdf5");
    let place = Place::file(&main);
    let file = H5File::create(&main).map_err(|e| place.unwritten(e))?;
    let written = episodes(&file, export);
    // Closed also after an error, which else would be said once more.
    let closed = file.close();
    written.and(closed).map_err(|e| place.unwritten(e))?;
    let bounds = |all: &[f64]| -> Value {
        let bound = |&x: &f64| match x {
            f64::INFINITY => json!("Infinity"),
            f64::NEG_INFINITY => json!("-Infinity"),
            x => json!(x),
        };
        all.iter().map(bound).collect()
    };
    // Minari writes infinities as bare words, which JSON does not know; its reader takes both.
    let bare = |text: String| {
        text.replace("\"-Infinity\"", "-Infinity").replace("\"Infinity\"", "Infinity")
    };
    let space = |low: &[f64], high: &[f64]| {
        let (shape, low, high) = ([low.len()], bounds(low), bounds(high));
        let space =
            json!({"type": "Box", "dtype": "float32", "shape": shape, "low": low, "high": high});
        bare(space.to_string())
    };
    let unbounded = vec![f64::INFINITY; s];
    let below: Vec<f64> = unbounded.iter().map(|x| -x).collect();
    let metadata = json!({
        "total_episodes": export.episodes.len(),
        "total_steps": export.steps(),
        "data_format": "hdf5",
        "jpeg_encoding": true,
        "observation_space": space(&below, &unbounded),
        "action_space": space(export.action_low, export.action_high),
        "dataset_id": format!("sog/{}-v0", export.task),
        "algorithm_name": "demonstrations",
        "author": ["sog"],
        "author_email": [],
        "code_permalink": "",
        "description": format!(
            "Demonstrations of {}, {} s a step; observations {}; actions {}. The last observation of \
             each episode stands twice; rewards are not known.",
            export.task,
            export.dt_s,
            export.observation_names.join(", "),
            export.action_names.join(", ")
        ),
        "minari_version": "0.5.4",
        "dataset_size": 0.0,
        OURS: export.metadata,
    });
    write(&folder.join("metadata.json"), &metadata.to_string())
}

/// One group an episode.
#[cfg(feature = "hdf5")]
fn episodes(file: &H5File, export: &Export<'_>) -> rust_hdf5::Result<()> {
    let (s, a) = (export.observation_names.len(), export.action_names.len());
    for (n, &(observations, actions)) in export.episodes.iter().enumerate() {
        let length = export.length((observations, actions));
        let group = file.create_group(&format!("episode_{n}"))?;
        group.set_attr_numeric("id", &(n as i64))?;
        group.set_attr_numeric("total_steps", &(length as i64))?;
        let mut rows = observations.to_vec();
        rows.extend_from_slice(&observations[observations.len().saturating_sub(s)..]);
        let put = |name: &str, width: usize, values: &[f32]| {
            let shape = [values.len() / width.max(1), width];
            let dataset = group.new_dataset::<f32>().shape(shape).create(name)?;
            dataset.write_raw(values)
        };
        put("observations", s, &rows)?;
        put("actions", a, actions)?;
        let rewards = group.new_dataset::<f64>().shape([length]).create("rewards")?;
        rewards.write_raw(&vec![0.0_f64; length])?;
        for (name, last) in [("terminations", false), ("truncations", true)] {
            let flags: Vec<HBool> =
                (0..length).map(|t| HBool::from(last && t + 1 == length)).collect();
            let dataset = group.new_dataset::<HBool>().shape([length]).create(name)?;
            dataset.write_raw(&flags)?;
        }
        if !export.whole.is_empty() {
            let ours = group.create_group(OURS)?;
            for (name, rows) in &export.whole {
                let shape = [1, rows[n].len()];
                let dataset = ours.new_dataset::<f64>().shape(shape).create(name)?;
                dataset.write_raw(&rows[n])?;
            }
        }
    }
    Ok(())
}

/// Writes a data set of LeRobot's, version 2.1, into the new folder `path`. What each episode does is its task
/// there. What LeRobot has no place for, and passes over, stands under [`OURS`]: [`Export::metadata`] in
/// `info.json`, [`Export::whole`] in each episode's line of `episodes.jsonl`.
///
/// # Errors
/// [`Problem::Exists`] where the folder is there already; [`Problem::Io`] and [`Problem::Unwritten`].
#[cfg(feature = "lerobot")]
pub fn lerobot(path: &Path, export: &Export<'_>) -> Result<(), FormatError> {
    in_new_folder(path, |folder| lerobot_in(folder, export))
}

#[cfg(feature = "lerobot")]
fn lerobot_in(folder: &Path, export: &Export<'_>) -> Result<(), FormatError> {
    const CHUNK: usize = 1000;
    let make = |folder: std::path::PathBuf| {
        fs::create_dir_all(&folder).map_err(|e| Place::file(&folder).error(e.into()))?;
        Ok::<_, FormatError>(folder)
    };
    let meta = make(folder.join("meta"))?;
    let fps = (1.0 / export.dt_s).round().max(1.0);
    let (mut episodes, mut stats) = (String::new(), String::new());
    let tasks: Vec<&(u32, String)> = BTreeSet::from_iter(&export.does).into_iter().collect();
    let mut start = 0;
    for (n, &episode) in export.episodes.iter().enumerate() {
        let data = make(folder.join(format!("data/chunk-{:03}", n / CHUNK)))?;
        let task = tasks.iter().position(|task| export.does.get(n) == Some(*task)).unwrap_or(0);
        let length = export.length(episode);
        let table = lerobot::Episode { export, n, start, length, episode, task, fps };
        table.write(&data.join(format!("episode_{n:06}.parquet")))?;
        let text = tasks.get(task).map_or(export.task, |(_, text)| text);
        let mut line = json!({"episode_index": n, "tasks": [text], "length": length});
        if !export.whole.is_empty() {
            let of =
                |(name, rows): (&&'static str, &Vec<Vec<f64>>)| (name.to_string(), json!(rows[n]));
            line[OURS] = export.whole.iter().map(of).collect::<serde_json::Map<_, _>>().into();
        }
        episodes += &format!("{line}\n");
        stats += &format!("{}\n", json!({"episode_index": n, "stats": table.stats()}));
        start += length;
    }
    let vector =
        |names: &[String]| json!({"dtype": "float32", "shape": [names.len()], "names": names});
    let scalar = |dtype: &str| json!({"dtype": dtype, "shape": [1], "names": null});
    let info = json!({
        "codebase_version": "v2.1",
        "robot_type": export.task,
        "total_episodes": export.episodes.len(),
        "total_frames": start,
        "total_tasks": tasks.len().max(1),
        "total_videos": 0,
        "total_chunks": export.episodes.len().div_ceil(CHUNK),
        "chunks_size": CHUNK,
        "fps": fps,
        "splits": {"train": format!("0:{}", export.episodes.len())},
        "data_path": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
        "video_path": null,
        "features": {
            "observation.state": vector(&export.observation_names),
            "action": vector(&export.action_names),
            "timestamp": scalar("float32"),
            "frame_index": scalar("int64"),
            "episode_index": scalar("int64"),
            "index": scalar("int64"),
            "task_index": scalar("int64"),
        },
        OURS: export.metadata,
    });
    write(&meta.join("info.json"), &format!("{info:#}"))?;
    write(&meta.join("episodes.jsonl"), &episodes)?;
    write(&meta.join("episodes_stats.jsonl"), &stats)?;
    let mut lines: Vec<String> = (0..)
        .zip(&tasks)
        .map(|(i, (_, text)): (usize, _)| format!("{}\n", json!({"task_index": i, "task": text})))
        .collect();
    if lines.is_empty() {
        lines.push(format!("{}\n", json!({"task_index": 0, "task": export.task})));
    }
    write(&meta.join("tasks.jsonl"), &lines.concat())
}

/// One episode's Parquet file and its statistics.
#[cfg(feature = "lerobot")]
mod lerobot {
    use std::{fs::File, path::Path, sync::Arc};

    use arrow_array::{ArrayRef, FixedSizeListArray, Float32Array, Int64Array, RecordBatch};
    use arrow_schema::{DataType, Field};
    use parquet::{arrow::ArrowWriter, basic::Compression, file::properties::WriterProperties};
    use serde_json::{Map, Value, json};

    use super::Export;
    use crate::{FormatError, Place, stats::Moments};

    pub(super) struct Episode<'a> {
        pub(super) export: &'a Export<'a>,
        pub(super) n: usize,
        /// Steps of all episodes before.
        pub(super) start: usize,
        pub(super) length: usize,
        pub(super) episode: (&'a [f32], &'a [f32]),
        /// Number of what it does.
        pub(super) task: usize,
        /// Frames a second.
        pub(super) fps: f64,
    }

    impl Episode<'_> {
        pub(super) fn write(&self, path: &Path) -> Result<(), FormatError> {
            let place = Place::file(path);
            let batch = self.batch().map_err(|e| place.unwritten(e))?;
            let file = File::create(path).map_err(|e| place.error(e.into()))?;
            let properties =
                WriterProperties::builder().set_compression(Compression::SNAPPY).build();
            let mut writer = ArrowWriter::try_new(file, batch.schema(), Some(properties))
                .map_err(|e| place.unwritten(e))?;
            writer.write(&batch).map_err(|e| place.unwritten(e))?;
            writer.close().map_err(|e| place.unwritten(e))?;
            Ok(())
        }

        fn times(&self) -> Vec<f32> {
            (0..self.length).map(|t| (t as f64 / self.fps) as f32).collect()
        }

        fn batch(&self) -> Result<RecordBatch, arrow_schema::ArrowError> {
            let vectors = |values: &[f32], width: usize| {
                let item = Arc::new(Field::new("item", DataType::Float32, true));
                let width = i32::try_from(width).unwrap_or(i32::MAX);
                let values = Arc::new(Float32Array::from(values.to_vec()));
                let lists = FixedSizeListArray::try_new(item, width, values, None)?;
                Ok::<ArrayRef, arrow_schema::ArrowError>(Arc::new(lists))
            };
            let whole = |of: &dyn Fn(usize) -> usize| -> ArrayRef {
                Arc::new(Int64Array::from_iter_values((0..self.length).map(|t| of(t) as i64)))
            };
            let (s, a) = (self.export.observation_names.len(), self.export.action_names.len());
            RecordBatch::try_from_iter([
                ("observation.state", vectors(self.episode.0, s)?),
                ("action", vectors(self.episode.1, a)?),
                ("timestamp", Arc::new(Float32Array::from(self.times())) as ArrayRef),
                ("frame_index", whole(&|t| t)),
                ("episode_index", whole(&|_| self.n)),
                ("index", whole(&|t| self.start + t)),
                ("task_index", whole(&|_| self.task)),
            ])
        }

        /// Smallest, largest, mean, standard deviation and number of each feature.
        pub(super) fn stats(&self) -> Value {
            let of = |values: &[f32], width: usize| {
                let width = width.max(1);
                let all: Vec<Moments> = (0..width)
                    .map(|i| {
                        Moments::of(values.iter().skip(i).step_by(width).map(|&x| f64::from(x)))
                    })
                    .collect();
                let each = |f: fn(&Moments) -> f64| all.iter().map(f).collect::<Vec<f64>>();
                json!({
                    "min": each(|m| m.min), "max": each(|m| m.max), "mean": each(|m| m.mean),
                    "std": each(|m| m.std), "count": [self.length],
                })
            };
            let whole = |of: &dyn Fn(usize) -> usize| -> Vec<f32> {
                (0..self.length).map(|t| of(t) as f32).collect()
            };
            let (s, a) = (self.export.observation_names.len(), self.export.action_names.len());
            let features = [
                ("observation.state", of(self.episode.0, s)),
                ("action", of(self.episode.1, a)),
                ("timestamp", of(&self.times(), 1)),
                ("frame_index", of(&whole(&|t| t), 1)),
                ("episode_index", of(&whole(&|_| self.n), 1)),
                ("index", of(&whole(&|t| self.start + t), 1)),
                ("task_index", of(&whole(&|_| self.task), 1)),
            ];
            Value::Object(
                features
                    .map(|(name, value)| (name.to_string(), value))
                    .into_iter()
                    .collect::<Map<_, _>>(),
            )
        }
    }
}
