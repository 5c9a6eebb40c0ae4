//! Tests of demonstrations, by subject, and the files that they share.

mod file;
mod imports;
mod plausible;
mod recordings;

use crate::data::foreign::{self, ForeignOptions};
use crate::data::import::{self, ImportOptions};
use crate::data::plain;
use crate::data::rates::misplaced;
use crate::data::record::{self, RecordOptions};
use crate::data::{DataError, DemoFile, component_name};
use sog_formats::inspect::{Finding, FindingKind, inspect};
use sog_runtime::tensors::{self, Metadata, Tensor, TensorFile};
use sog_sim::task::TaskInfo;
use sog_sim::tasks::{self, TaskMaker, TaskOptions};
use std::collections::BTreeMap;
use std::path::Path;

fn info() -> TaskInfo {
    tasks::open("circles").unwrap().info().clone()
}

fn recorded(episodes_per_mode: usize, seed: u64) -> DemoFile {
    recorded_with_noise(episodes_per_mode, seed, 0.0)
}

fn recorded_with_noise(episodes_per_mode: usize, seed: u64, action_noise: f64) -> DemoFile {
    let maker = TaskMaker::new("circles", &TaskOptions::default()).unwrap();
    let options = RecordOptions { episodes_per_mode, seed, action_noise };
    record::record(&maker, &info(), &record::CirclesExpert, &options, &|| ()).unwrap()
}

/// A file of two trajectories, of lengths 3 and 2, changed by `change`.
fn written(change: impl FnOnce(&mut BTreeMap<String, Tensor>, &mut Metadata)) -> Vec<u8> {
    let numbers: Vec<f32> = (0..60).map(|i| i as f32).collect();
    let mut all: BTreeMap<String, Tensor> = [
        ("observations", Tensor::f32(&[2, 3, 10], &numbers)),
        ("actions", Tensor::f32(&[2, 3, 2], &numbers[..12])),
        ("lengths", Tensor::u32(&[2], &[3, 2])),
        ("modes", Tensor::u32(&[2], &[2, 0])),
    ]
    .into_iter()
    .map(|(name, t)| (name.to_string(), t))
    .collect();
    let mut metadata: Metadata = [("schema", crate::data::SCHEMA), ("task", "circles")]
        .into_iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    change(&mut all, &mut metadata);
    tensors::serialize(&all, &metadata)
}

fn refusal(change: impl FnOnce(&mut BTreeMap<String, Tensor>, &mut Metadata)) -> String {
    DemoFile::parse(&written(change), &info()).unwrap_err().to_string()
}

/// The tensors of a recording, to be changed and imported.
fn recorded_tensors(episodes_per_mode: usize) -> BTreeMap<String, Tensor> {
    let bytes = recorded(episodes_per_mode, 3).to_bytes(&info());
    let file = TensorFile::parse(&bytes).unwrap();
    ["observations", "actions"]
        .map(|name| {
            let values = file.f32(name).unwrap();
            (name.to_string(), Tensor::f32(&file.shape(name).unwrap(), &values))
        })
        .into()
}

fn values(tensor: &Tensor) -> Vec<f32> {
    tensor.bytes.as_chunks().0.iter().map(|b| f32::from_le_bytes(*b)).collect()
}

/// `tensor` with its elements where `from` says that they come from, in a new `shape`.
fn rearranged(
    tensor: &Tensor,
    shape: [usize; 3],
    from: impl Fn(usize, usize, usize) -> usize,
) -> Tensor {
    let all = values(tensor);
    let [n, t, w] = shape;
    let at = |i: usize| all[from(i / (t * w), i / w % t, i % w)];
    Tensor::f32(&shape, &(0..n * t * w).map(at).collect::<Vec<_>>())
}

fn imported_as(
    all: &BTreeMap<String, Tensor>,
    metadata: &Metadata,
    options: ImportOptions,
) -> Result<DemoFile, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("theirs.safetensors");
    std::fs::write(&path, tensors::serialize(all, metadata)).unwrap();
    import::import_safetensors(&path, &info(), options)
}

fn import_error(all: &BTreeMap<String, Tensor>) -> String {
    imported_as(all, &Metadata::new(), ImportOptions::default()).unwrap_err().to_string()
}

/// Of how many of the pairs of neighbouring joint angles it is told that they are exchanged, and how
/// many there are.
fn swapped_neighbours_told(file: &DemoFile, task: &TaskInfo) -> (usize, usize) {
    let d = &file.demonstrations;
    let lengths: Vec<usize> = (0..d.len()).map(|n| d.rows(n).len()).collect();
    let s = d.obs_dim();
    let angles: Vec<usize> =
        (0..s).filter(|&c| component_name(&task.obs_terms, c).ends_with("_angle")).collect();
    let neighbours = angles.windows(2).filter(|w| w[0] + 1 == w[1]);
    let told = neighbours.clone().filter(|w| {
        let mut rows = d.observations().to_vec();
        rows.chunks_exact_mut(s).for_each(|row| row.swap(w[0], w[1]));
        misplaced(&rows, &lengths, &task.obs_terms).is_some()
    });
    (told.count(), neighbours.count())
}

/// Steps whose change is out of line, as `sog demos info` reports them.
fn jumps(file: &DemoFile, task: &TaskInfo) -> Vec<Finding> {
    let (recording, bounds) = plain::recording_of(file, task, Path::new("own.safetensors"));
    let findings = inspect(&recording, &bounds).findings;
    findings.into_iter().filter(|f| f.kind == FindingKind::Jump).collect()
}

/// A file that a Python package wrote (see `formats/tests/data`).
fn foreign_file(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../formats/tests/data").join(name)
}

/// A task that those files fit.
fn foreign_task() -> TaskInfo {
    TaskInfo {
        obs_terms: "pos:3,vel:2".parse().unwrap(),
        action_terms: "force:2".parse().unwrap(),
        action_low: vec![-3.0; 2],
        action_high: vec![3.0; 2],
        dt_s: 0.05,
        ..info()
    }
}

fn imported_files(names: &[&str], options: &ForeignOptions) -> Result<DemoFile, String> {
    let paths: Vec<_> = names.iter().map(|name| foreign_file(name)).collect();
    let imported = foreign::import_files(&paths, &foreign_task(), options, &|| ());
    imported.map(|(file, _)| file).map_err(|e| e.to_string())
}

fn table(text: &str) -> ForeignOptions {
    let mut options = ForeignOptions::default();
    options.complete(&text.parse().unwrap()).unwrap();
    options
}
