//! Demonstration files: what is written is read, and what is wrong is named.

use std::{collections::BTreeMap, path::Path, sync::Arc};

use proptest::prelude::*;
use sog_formats::inspect::{Finding, FindingKind, inspect};
use sog_runtime::tensors::{self, Metadata, Tensor, TensorFile};
use sog_sim::{
    task::{Modes, TaskInfo},
    tasks::{self, TaskFolder, TaskMaker, TaskOptions},
};

use super::{
    DataError, DemoFile, Labels, StartStates, component_name, exported,
    foreign::{self, ForeignOptions},
    import::{self, ImportOptions},
    rates::misplaced,
    record::{self, RecordOptions},
};

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

/// A change to the tensors and metadata of a file.
type Change = Box<dyn FnOnce(&mut BTreeMap<String, Tensor>, &mut Metadata)>;

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
    let mut metadata: Metadata = [("schema", super::SCHEMA), ("task", "circles")]
        .into_iter()
        .map(|(key, value)| (key.to_string(), value.to_string()))
        .collect();
    change(&mut all, &mut metadata);
    tensors::serialize(&all, &metadata)
}

fn refusal(change: impl FnOnce(&mut BTreeMap<String, Tensor>, &mut Metadata)) -> String {
    DemoFile::parse(&written(change), &info()).unwrap_err().to_string()
}

#[test]
fn a_recording_is_the_same_byte_for_byte_and_reads_back() {
    let file = recorded(2, 5);
    let bytes = file.to_bytes(&info());
    assert_eq!(bytes, recorded(2, 5).to_bytes(&info()));
    assert_ne!(bytes, recorded(2, 6).to_bytes(&info()));
    let mut read = DemoFile::parse(&bytes, &info()).unwrap();
    assert_eq!(read.demonstrations.sha256().len(), 64);
    read.demonstrations.sha256.clear();
    assert_eq!(read, file);
    assert!(read.provenance.mean_return.iter().all(|&r| r > 996.0));
}

#[test]
fn modes_are_in_no_telling_order_and_each_has_its_share() {
    let file = recorded(20, 1);
    let Some(Labels::Modes(modes)) = &file.labels else { panic!("no modes") };
    for mode in 0..3 {
        assert_eq!(modes.iter().filter(|&&m| m == mode).count(), 20);
    }
    let changes = modes.windows(2).filter(|w| w[0] != w[1]).count();
    assert!(changes > 20, "{modes:?}");
}

#[test]
fn a_minimal_file_with_ragged_lengths_is_read_without_its_padding() {
    let file = DemoFile::parse(&written(|_, _| ()), &info()).unwrap();
    let d = &file.demonstrations;
    assert_eq!((d.len(), d.total_rows()), (2, 5));
    assert_eq!((d.rows(0), d.rows(1)), (0..3, 3..5));
    assert_eq!(d.actions_of(1), [6.0, 7.0, 8.0, 9.0]);
    assert_eq!(d.observations_of(1)[0], 30.0);
}

#[test]
fn padding_may_hold_anything() {
    let bytes = written(|t, _| {
        let mut numbers = vec![1.0; 60];
        numbers[50..].fill(f32::NAN);
        t.insert("observations".into(), Tensor::f32(&[2, 3, 10], &numbers));
    });
    assert!(DemoFile::parse(&bytes, &info()).is_ok());
}

#[test]
fn what_is_wrong_is_named() {
    let nan = refusal(|t, _| {
        let mut numbers = vec![1.0; 12];
        numbers[7] = f32::NAN;
        t.insert("actions".into(), Tensor::f32(&[2, 3, 2], &numbers));
    });
    assert!(nan.starts_with("`actions` holds NaN in trajectory 1, step 0, component 1"), "{nan}");
    let cases: [(&str, Change); 12] = [
        ("length 0", Box::new(|t, _| drop(t.insert("lengths".into(), Tensor::u32(&[2], &[3, 0]))))),
        ("length 4", Box::new(|t, _| drop(t.insert("lengths".into(), Tensor::u32(&[2], &[4, 2]))))),
        ("`lengths`", Box::new(|t, _| drop(t.insert("lengths".into(), Tensor::u32(&[1], &[3]))))),
        ("mode 3", Box::new(|t, _| drop(t.insert("modes".into(), Tensor::u32(&[2], &[0, 3]))))),
        ("`modes`", Box::new(|t, _| drop(t.insert("modes".into(), Tensor::u32(&[1], &[0]))))),
        ("`actions` is missing", Box::new(|t, _| drop(t.remove("actions")))),
        (
            "`actions` has shape [2, 3, 3], need [2, 3, 2]",
            Box::new(|t, _| {
                drop(t.insert("actions".into(), Tensor::f32(&[2, 3, 3], &[0.0; 18])));
            }),
        ),
        (
            "need [N, T, 10]",
            Box::new(|t, _| {
                drop(t.insert("observations".into(), Tensor::f32(&[2, 3, 9], &[0.0; 54])));
            }),
        ),
        (
            "has type F64",
            Box::new(|t, _| {
                drop(t.insert("actions".into(), Tensor::f64(&[2, 3, 2], &[0.0; 12])));
            }),
        ),
        ("`hopper`", Box::new(|_, m| drop(m.insert("task".into(), "hopper".into())))),
        (
            "sog.demonstrations/2",
            Box::new(|_, m| {
                drop(m.insert("schema".into(), "sog.demonstrations/2".into()));
            }),
        ),
        ("`obs.terms`", Box::new(|_, m| drop(m.insert("obs.terms".into(), "position:10".into())))),
    ];
    for (needle, change) in cases {
        let message = refusal(change);
        assert!(message.contains(needle), "`{needle}` is not in: {message}");
    }
    let none = refusal(|t, _| {
        t.insert("observations".into(), Tensor::f32(&[0, 3, 10], &[]));
        t.insert("actions".into(), Tensor::f32(&[0, 3, 2], &[]));
        t.insert("lengths".into(), Tensor::u32(&[0], &[]));
    });
    assert!(none.contains("no trajectory"), "{none}");
}

#[test]
fn subsampling_keeps_every_stride_th_pair_of_each_trajectory() {
    let d = recorded(1, 0).demonstrations;
    let few = d.subsampled(20);
    assert_eq!((few.len(), few.total_rows()), (3, 150));
    assert_eq!(few.actions_of(1)[..2], d.actions_of(1)[2..4]);
    assert_eq!(few.actions_of(1)[2..4], d.actions_of(1)[42..44]);
}

#[test]
fn moments_are_those_of_all_rows() {
    let d = DemoFile::parse(&written(|_, _| ()), &info()).unwrap().demonstrations;
    let (mean, var) = d.obs_moments();
    assert_eq!((mean[0], var[0]), (20.0, 200.0));
}

#[test]
fn a_plain_file_is_imported_and_reads_back() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("plain.safetensors");
    let all: BTreeMap<String, Tensor> = [
        ("observations".to_string(), Tensor::f64(&[2, 3, 10], &[0.5; 60])),
        ("actions".to_string(), Tensor::f32(&[2, 3, 2], &[0.25; 12])),
    ]
    .into();
    std::fs::write(&path, tensors::serialize(&all, &Metadata::new())).unwrap();
    let file = import::import_safetensors(&path, &info(), ImportOptions::default()).unwrap();
    assert!(matches!(file.labels(), Err(DataError::NoLabels)));
    let read = DemoFile::parse(&file.to_bytes(&info()), &info()).unwrap();
    assert_eq!(read.demonstrations.total_rows(), 6);
    assert_eq!(read.demonstrations.observations(), file.demonstrations.observations());
    assert!(read.provenance.expert.starts_with("imported:"));
}

#[test]
fn our_own_file_comes_through_an_import_unchanged() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("own.safetensors");
    let file = recorded(1, 3);
    file.save(&path, &info()).unwrap();
    let imported = import::import_safetensors(&path, &info(), ImportOptions::default()).unwrap();
    assert_eq!(imported.demonstrations, file.demonstrations);
    assert_eq!((imported.labels, imported.starts), (file.labels, file.starts));
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

/// Finding: pandas gives Fortran-ordered arrays, and safetensors writes them as they lie.
#[test]
fn finding_fortran_ordered_arrays_are_told_by_their_roughness() {
    let good = recorded_tensors(4);
    assert!(imported_as(&good, &Metadata::new(), ImportOptions::default()).is_ok());
    for name in ["observations", "actions"] {
        let [n, t, w] = good[name].shape[..] else { panic!("three axes") };
        // Each trajectory's block transposed in memory, and the whole array so.
        let blocks = rearranged(&good[name], [n, t, w], |i, j, k| {
            let at = j * w + k;
            (i * t + at % t) * w + at / t
        });
        let whole = rearranged(&good[name], [n, t, w], |i, j, k| {
            let at = (i * t + j) * w + k;
            (at % n * t + at / n % t) * w + at / (n * t)
        });
        // Two smooth components that alternate are smooth: an observation tells.
        let wrongs = if w > 2 { vec![blocks, whole] } else { vec![whole] };
        for wrong in wrongs {
            let mut all = good.clone();
            all.insert(name.to_string(), wrong);
            let error = import_error(&all);
            assert!(error.contains(name) && error.contains("ascontiguousarray"), "{error}");
            let options = ImportOptions { accept_implausible: true, ..ImportOptions::default() };
            assert!(imported_as(&all, &Metadata::new(), options).is_ok());
        }
    }
}

#[test]
fn finding_unknown_tensors_are_refused_with_the_name_that_was_meant() {
    for (name, meant) in [
        ("length", "`lengths`"),
        ("Lengths", "`lengths`"),
        ("episode_lengths", "`lengths`"),
        ("mode", "`modes`"),
        ("rewards", "the tensors are observations"),
    ] {
        let mut all = recorded_tensors(1);
        all.insert(name.to_string(), Tensor::u32(&[3], &[5, 5, 5]));
        let error = import_error(&all);
        assert!(error.contains(&format!("`{name}`")) && error.contains(meant), "{error}");
        let of_ours = refusal(|t, _| drop(t.insert(name.into(), Tensor::u32(&[2], &[1, 1]))));
        assert!(of_ours.contains(&format!("`{name}`")), "{of_ours}");
    }
}

#[test]
fn finding_actions_out_of_bounds_are_refused_or_clipped() {
    let good = recorded_tensors(1);
    let scaled = |factor: f32| {
        let actions: Vec<f32> = values(&good["actions"]).iter().map(|x| factor * x).collect();
        let mut all = good.clone();
        all.insert("actions".to_string(), Tensor::f32(&good["actions"].shape, &actions));
        all
    };
    for (factor, unit) in [
        (100.0, "hundredths"),
        (57.295_78, "degrees"),
        // Nobody cut them off: half as large again as their bound.
        (1.5 * 57.295_78, "degrees"),
        (1000.0, "thousandths"),
    ] {
        let error = import_error(&scaled(factor));
        for part in ["% of the action", "trajectory 0, step 0", "-1.5 to 1.5", unit, "--clip"] {
            assert!(error.contains(part), "{part}: {error}");
        }
    }
    let clip = ImportOptions { clip: true, ..ImportOptions::default() };
    let clipped = imported_as(&scaled(100.0), &Metadata::new(), clip).unwrap();
    assert!(clipped.demonstrations.actions().iter().all(|a| a.abs() <= 1.5));
}

#[test]
fn finding_metadata_of_another_task_is_refused_with_both_sides() {
    let good = recorded_tensors(1);
    for (key, value, needed) in [
        ("task", "circles-6", "`circles`"),
        ("dt", "0.05", &*info().dt_s.to_string()),
        ("dt", "nan", &*info().dt_s.to_string()),
        ("fps", "20", "rate"),
        ("schema", "sog.demonstrations/9", "sog.demonstrations/"),
        ("schema", "sog.policy/1", "sog.demonstrations/"),
        ("obs.terms", "position:10", "`"),
        ("action.terms", "speed:2", "`"),
    ] {
        let metadata = [(key.to_string(), value.to_string())].into();
        let error =
            imported_as(&good, &metadata, ImportOptions::default()).unwrap_err().to_string();
        assert!(error.contains(value) && error.contains(needed), "{key}: {error}");
    }
}

#[test]
fn finding_damage_and_two_kinds_of_labels_are_refused_by_an_import() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("ours.safetensors");
    let mut bytes = written(|_, _| ());
    *bytes.last_mut().unwrap() ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let import = || import::import_safetensors(&path, &info(), ImportOptions::default());
    let error = import().unwrap_err();
    assert!(matches!(error, DataError::Tensors(_)), "{error}");

    let mut both = recorded_tensors(2);
    let count = both["observations"].shape[0];
    both.insert("modes".to_string(), Tensor::u32(&[count], &vec![0; count]));
    both.insert("goals".to_string(), Tensor::f32(&[count, 1], &vec![0.5; count]));
    let with_both = import_error(&both);
    both.remove("modes");
    assert_eq!(with_both, import_error(&both), "as goals alone");
}

/// Finding: clocks that run backwards passed an import without a word.
#[test]
fn finding_an_import_says_what_is_wrong_with_the_clock() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("arm.csv");
    let notes = |time: fn(usize) -> f64| {
        let wave = |t: usize, k: usize| (0.3 * t as f64 + k as f64).sin();
        let row = |t: usize| {
            let cells: Vec<String> = (0..7).map(|k| wave(t, k).to_string()).collect();
            format!("{},{}\n", time(t), cells.join(","))
        };
        let rows: String = (0..40).map(row).collect();
        std::fs::write(&path, format!("time,p0,p1,p2,v0,v1,f0,f1\n{rows}")).unwrap();
        let options = table("[map]\npos = \"p\"\nvel = \"v\"\nforce = \"f\"");
        foreign::import_files(std::slice::from_ref(&path), &foreign_task(), &options, &|| ())
            .map(|(_, n)| n)
    };
    let even = notes(|t| 0.05 * t as f64).unwrap();
    assert!(!even.iter().any(|n| n.contains("follows") || n.contains("without")), "{even:?}");
    let back: fn(usize) -> f64 = |t| if t == 20 { 0.9 } else { 0.05 * t as f64 };
    let gap: fn(usize) -> f64 = |t| 0.05 * t as f64 + if t >= 20 { 1.0 } else { 0.0 };
    for (time, needed) in [(back, "s follows"), (gap, "s without a sample")] {
        let said = notes(time).unwrap();
        assert!(said.iter().any(|n| n.contains(needed)), "{said:?}");
    }
}

#[test]
fn finding_numbers_beyond_any_measurement_are_refused() {
    let mut all = recorded_tensors(1);
    let large: Vec<f32> = values(&all["observations"]).iter().map(|x| x * 1e20).collect();
    all.insert("observations".to_string(), Tensor::f32(&all["observations"].shape.clone(), &large));
    let error = import_error(&all);
    assert!(error.contains("`observations`") && error.contains("no measurements"), "{error}");
    let of_ours = refusal(|t, _| {
        t.insert("actions".into(), Tensor::f32(&[2, 3, 2], &[1e20; 12]));
    });
    assert!(of_ours.contains("`actions`") && of_ours.contains("1e20"), "{of_ours}");
}

#[test]
fn finding_implausible_orders_are_named_for_what_they_are() {
    let good = recorded_tensors(4);
    let [n, t, s] = good["observations"].shape[..] else { panic!("three axes") };
    // [T, N, ·], with the lengths that give it away and without.
    let mut time_major = good.clone();
    for (name, tensor) in &good {
        let w = tensor.shape[2];
        let turned = rearranged(tensor, [t, n, w], |i, j, k| (j * t + i) * w + k);
        time_major.insert(name.clone(), turned);
    }
    assert!(import_error(&time_major).contains("time-major"), "{}", import_error(&time_major));
    let lengths = Tensor::u32(&[n], &vec![t as u32; n]);
    time_major.insert("lengths".to_string(), lengths);
    let error = import_error(&time_major);
    assert!(error.contains("time-major") && error.contains("transpose"), "{error}");
    // Steps in no order.
    let mut shuffled = good.clone();
    for (name, tensor) in &good {
        let w = tensor.shape[2];
        let from = |i: usize, j: usize, k: usize| (i * t + j * 367 % t) * w + k;
        shuffled.insert(name.clone(), rearranged(tensor, [n, t, w], from));
    }
    assert!(import_error(&shuffled).contains("shuffled"), "{}", import_error(&shuffled));
    // One observation more than actions.
    let mut more = good.clone();
    let actions = &good["actions"];
    let short = rearranged(actions, [n, t - 1, 2], |i, j, k| (i * t + j) * 2 + k);
    more.insert("actions".to_string(), short);
    let error = import_error(&more);
    assert!(error.contains("one observation more") && error.contains("[:, :-1]"), "{error}");
    // [N, S, T].
    let mut turned = good.clone();
    let swapped = rearranged(&good["observations"], [n, s, t], |i, j, k| (i * t + k) * s + j);
    turned.insert("observations".to_string(), swapped);
    assert!(import_error(&turned).contains("swap the last two axes"), "{}", import_error(&turned));
}

#[test]
fn finding_steps_whose_change_is_out_of_line_are_flagged() {
    let mut all = recorded_tensors(2);
    let doubts = |all: &BTreeMap<String, Tensor>| {
        jumps(&imported_as(all, &Metadata::new(), ImportOptions::default()).unwrap(), &info())
    };
    assert_eq!(doubts(&all), []);
    let mut obs = values(&all["observations"]);
    // One step of one trajectory is another's.
    let [_, t, s] = all["observations"].shape[..] else { panic!("three axes") };
    let (there, elsewhere) = ((2 * t + 300) * s, 300 * s + 250 * s);
    obs.copy_within(elsewhere..elsewhere + s, there);
    all.insert("observations".to_string(), Tensor::f32(&all["observations"].shape.clone(), &obs));
    let found = doubts(&all);
    let places: Vec<_> = found.iter().map(|f| (f.episode, f.step)).collect();
    assert_eq!(places, [(Some(2), Some(300)), (Some(2), Some(301))], "{found:?}");
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
    let (recording, bounds) = foreign::recording_of(file, task, Path::new("own.safetensors"));
    let findings = inspect(&recording, &bounds).findings;
    findings.into_iter().filter(|f| f.kind == FindingKind::Jump).collect()
}

/// Findings: one wrong number is no wrong order; padding is not learned; what stands in another's
/// place is told where the numbers can tell it.
#[test]
fn finding_a_spike_is_a_spike_and_padding_is_padding() {
    let good = recorded_tensors(2);
    let [n, t, s] = good["observations"].shape[..] else { panic!("three axes") };
    let put = |name: &str, change: &dyn Fn(&mut [f32])| {
        let mut all = good.clone();
        let mut numbers = values(&good[name]);
        change(&mut numbers);
        all.insert(name.to_string(), Tensor::f32(&good[name].shape, &numbers));
        all
    };
    let whole_row = put("observations", &|x| x[(2 * t + 300) * s..][..s].fill(1e6));
    let one_number = put("observations", &|x| x[(2 * t + 300) * s] = -1e6);
    for spiked in [whole_row, one_number] {
        let file = imported_as(&spiked, &Metadata::new(), ImportOptions::default()).unwrap();
        let found = jumps(&file, &info());
        assert!(found.iter().any(|f| (f.episode, f.step) == (Some(2), Some(300))), "{found:?}");
        let (recording, bounds) = foreign::recording_of(&file, &info(), Path::new(""));
        let findings = inspect(&recording, &bounds).findings;
        assert!(findings.iter().all(|f| f.kind != FindingKind::NoOrder), "{findings:?}");
    }
    let mut zeroed = good.clone();
    for name in ["observations", "actions"] {
        let w = good[name].shape[2];
        let all = put(name, &|x| x[(3 * t + t - 40) * w..(4 * t) * w].fill(0.0));
        zeroed.insert(name.to_string(), all[name].clone());
    }
    let error = import_error(&zeroed);
    let (first, lengths) = (format!("from step {} of {t}", t - 40), "`lengths`");
    for part in ["1 of 6", "trajectory 3", &first, "padding", lengths, "--accept-implausible"] {
        assert!(error.contains(part), "{part}: {error}");
    }
    let accept = ImportOptions { accept_implausible: true, ..ImportOptions::default() };
    let file = imported_as(&zeroed, &Metadata::new(), accept).unwrap();
    let (recording, _) = foreign::recording_of(&file, &info(), Path::new(""));
    let findings = inspect(&recording, &[]).findings;
    let padding: Vec<_> = findings.iter().filter(|f| f.kind == FindingKind::Padding).collect();
    assert_eq!(padding.len(), 1, "{findings:?}");
    assert_eq!((padding[0].episode, padding[0].step), (Some(3), Some(t - 40)));
    // With the lengths said, all is well.
    let mut lengths = vec![t as u32; n];
    lengths[3] -= 40;
    zeroed.insert("lengths".to_string(), Tensor::u32(&[n], &lengths));
    assert!(imported_as(&zeroed, &Metadata::new(), ImportOptions::default()).is_ok());
}

/// What an export for other programs brings back.
#[test]
fn finding_an_export_comes_back_as_the_file_it_was() {
    let noisy = recorded_with_noise(2, 5, 0.1);
    let ragged = noisy.picked(&[(3, 0..40), (0, 0..200), (5, 0..17)]).unwrap();
    let with = |labels, starts| DemoFile { labels: Some(labels), starts, ..ragged.clone() };
    let dir = tempfile::tempdir().unwrap();
    let starts = StartStates {
        widths: (2, 1),
        qpos: vec![0.1, 1.0 / 3.0, -2.5, 1e-300, 7.0, 0.0],
        qvel: vec![0.3, -0.0, 1e17],
    };
    let free = TaskInfo {
        name: "free".to_string(),
        modes: Modes::Discrete(vec![]),
        dt_s: 1.0 / 30.0,
        action_high: vec![f64::INFINITY, 1.5],
        ..info()
    };
    let goals = Labels::Goals { dims: 3, values: (0..9).map(|i| i as f32 / 7.0).collect() };
    let cases = [
        ("noisy", noisy.clone(), info()),
        ("ragged", ragged.clone(), info()),
        ("starts", with(Labels::Modes(vec![2, 0, 1]), Some(starts)), info()),
        ("goals", with(goals, None), free.clone()),
        ("unlabelled", DemoFile { labels: None, ..ragged.clone() }, free),
    ];
    let none = ForeignOptions::default();
    for (name, file, task) in &cases {
        let out = [dir.path().join(name)];
        sog_formats::export::minari(&out[0], &exported::export_of(file, task)).unwrap();
        #[cfg(feature = "lerobot")]
        {
            let out = [dir.path().join(format!("{name} for LeRobot"))];
            sog_formats::export::lerobot(&out[0], &exported::export_of(file, task)).unwrap();
            let (back, _) = foreign::import_files(&out, task, &none, &|| ()).unwrap();
            assert!(back.to_bytes(task) == file.to_bytes(task), "{name}: {:?}", back.provenance);
        }
        let (back, _) = foreign::import_files(&out, task, &none, &|| ()).unwrap();
        assert!(back.to_bytes(task) == file.to_bytes(task), "{name}: {:?}", back.provenance);
        // Another task, whose terms and rate are the same, is refused; and another rate.
        let named = TaskInfo { name: "other".to_string(), ..task.clone() };
        let error = foreign::import_files(&out, &named, &none, &|| ()).unwrap_err();
        assert!(matches!(error, DataError::Task { .. }), "{name}: {error}");
        let slower = TaskInfo { dt_s: 2.0 * task.dt_s, ..task.clone() };
        let error = foreign::import_files(&out, &slower, &none, &|| ()).unwrap_err();
        assert!(matches!(error, DataError::Metadata { key: "dt", .. }), "{name}: {error}");
    }
    // Two of them, one after the other, keep their labels, as the tool that merges files does.
    let paths = ["noisy", "ragged"].map(|name| dir.path().join(name));
    let clip = ForeignOptions {
        checks: ImportOptions { clip: true, ..ImportOptions::default() },
        ..ForeignOptions::default()
    };
    let (both, _) = foreign::import_files(&paths, &info(), &clip, &|| ()).unwrap();
    let mut merged = DemoFile::merged(&[noisy.clone(), ragged.clone()]).unwrap();
    merged.clip(&info());
    assert_eq!(both.labels, merged.labels);
    assert_eq!(both.demonstrations.actions(), merged.demonstrations.actions());
    assert!(both.provenance.expert.starts_with("imported:"));
    // What was asked for goes before what the file says.
    let by_file = ForeignOptions { mode_per_file: true, ..clip };
    let (labelled, _) = foreign::import_files(&paths, &info(), &by_file, &|| ()).unwrap();
    let expected = [vec![0; noisy.demonstrations.len()], vec![1; 3]].concat();
    assert_eq!(labelled.labels, Some(Labels::Modes(expected)));
}

#[test]
fn recordings_of_every_task_are_plausible() {
    for folder in expert_tasks() {
        let task = folder.info();
        let maker = TaskMaker::of(&folder, &TaskOptions::default()).unwrap();
        let expert = record::expert_for(&folder, None).unwrap();
        let goals = task.modes.count().is_none();
        let options = RecordOptions {
            episodes_per_mode: if goals { 20 } else { 3 },
            seed: 7,
            action_noise: 0.0,
        };
        let file = record::record(&maker, task, expert.as_ref(), &options, &|| ()).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("own.safetensors");
        file.save(&path, task).unwrap();
        let again = import::import_safetensors(&path, task, ImportOptions::default());
        assert!(again.is_ok(), "{}: {}", task.name(), again.unwrap_err());
        // The same from elsewhere: without our metadata.
        let bytes = std::fs::read(&path).unwrap();
        let read = TensorFile::parse(&bytes).unwrap();
        let mut all: BTreeMap<String, Tensor> = ["observations", "actions"]
            .map(|name| {
                let shape = read.shape(name).unwrap();
                (name.to_string(), Tensor::f32(&shape, &read.f32(name).unwrap()))
            })
            .into();
        let lengths = read.u32("lengths").unwrap();
        let count = lengths.len();
        all.insert("lengths".to_string(), Tensor::u32(&[count], &lengths));
        std::fs::write(&path, tensors::serialize(&all, &Metadata::new())).unwrap();
        let clip = ImportOptions { clip: true, ..ImportOptions::default() };
        let imported = import::import_safetensors(&path, task, clip);
        assert!(imported.is_ok(), "{}: {}", task.name(), imported.unwrap_err());
        let nearly = crate::normalise::ObsNormaliser::nearly_constant(&file.demonstrations);
        let misplaced = swapped_neighbours_told(&file, task);
        assert!(misplaced.0 == misplaced.1, "{}: {misplaced:?}", task.name());
        // The fingers of the Fetch arm, which no action moves.
        let fingers: &[usize] = if task.name() == "fetchreach" { &[3, 4] } else { &[] };
        assert_eq!(nearly, fingers, "{}", task.name());
        assert_eq!(jumps(&file, task), [], "{}", task.name());
    }
}

#[test]
fn noise_of_the_recorded_actions_has_the_size_asked_for_and_is_written_down() {
    let noise = 0.1;
    let file = recorded_with_noise(3, 5, noise);
    let bytes = file.to_bytes(&info());
    assert_eq!(bytes, recorded_with_noise(3, 5, noise).to_bytes(&info()));
    let read = DemoFile::parse(&bytes, &info()).unwrap();
    assert_eq!(read.provenance.action_noise, noise);
    assert_eq!(
        DemoFile::parse(&recorded(1, 5).to_bytes(&info()), &info())
            .unwrap()
            .provenance
            .action_noise,
        0.0
    );

    // What was taken, less what the expert does where it was, is noise; where the bounds cut it off
    // it is not looked at.
    let d = &read.demonstrations;
    let Some(Labels::Modes(modes)) = &read.labels else { panic!("no modes") };
    let (low, high) = (info().action_low[0], info().action_high[0]);
    let mut expert = record::CirclesExpert;
    let mut squares = vec![];
    for (n, &mode) in modes.iter().enumerate() {
        let Modes::Discrete(all) = info().modes else { panic!("no discrete modes") };
        let goal = record::Goal { mode: mode as usize, value: vec![all[mode as usize].value] };
        for (obs, taken) in
            d.observations_of(n).chunks_exact(10).zip(d.actions_of(n).chunks_exact(2))
        {
            let obs: Vec<f64> = obs.iter().map(|&x| x.into()).collect();
            let mut action = [0.0; 2];
            record::Expert::act(&mut expert, &goal, &obs, &mut action);
            for (&taken, action) in taken.iter().zip(action) {
                let taken = f64::from(taken);
                assert!((low..=high).contains(&taken));
                if action.abs() < 0.5 * high {
                    squares.push((taken - action).powi(2));
                }
            }
        }
    }
    assert!(squares.len() > 1000);
    let std = (squares.iter().sum::<f64>() / squares.len() as f64).sqrt();
    let expected = noise * 0.5 * (high - low);
    assert!((std / expected - 1.0).abs() < 0.05, "{std} {expected}");

    for wrong in ["-0.1", "2", "loud"] {
        let refused = refusal(|_, metadata| {
            metadata.insert("action_noise".to_string(), wrong.to_string());
        });
        assert!(refused.contains("action_noise") && refused.contains(wrong), "{refused}");
    }
}

/// Tasks of committed experts.
fn expert_tasks() -> Vec<Arc<TaskFolder>> {
    let committed = tasks::names().into_iter().filter(|name| record::expert_path(name).is_ok());
    committed.map(|name| tasks::open(name).unwrap()).collect()
}

fn recorded_from_expert(task: &Arc<TaskFolder>, seed: u64) -> DemoFile {
    let maker = TaskMaker::of(task, &TaskOptions::default()).unwrap();
    let expert = record::expert_for(task, None).unwrap();
    let options = RecordOptions { episodes_per_mode: 1, seed, action_noise: 0.0 };
    record::record(&maker, task.info(), expert.as_ref(), &options, &|| ()).unwrap()
}

#[test]
fn recordings_of_trained_experts_are_the_same_byte_for_byte() {
    for folder in expert_tasks() {
        let task = folder.info();
        let file = recorded_from_expert(&folder, 2);
        let bytes = file.to_bytes(task);
        assert_eq!(bytes, recorded_from_expert(&folder, 2).to_bytes(task), "{}", task.name());
        let mut read = DemoFile::parse(&bytes, task).unwrap();
        read.demonstrations.sha256.clear();
        assert_eq!(read, file, "{}", task.name());
        assert_eq!(file.provenance.expert.len(), 64, "{}", task.name());
    }
}

#[test]
fn recorded_actions_replayed_from_the_start_states_give_the_recorded_observations() {
    // A state of fetchreach is more than positions and velocities: its weld's frame moves.
    let moving = |task: &Arc<TaskFolder>| task.info().name() != "fetchreach";
    for folder in expert_tasks().into_iter().filter(moving) {
        let task = folder.info();
        let file = recorded_from_expert(&folder, 4);
        let starts = file.starts.as_ref().unwrap();
        let mut env = TaskMaker::of(&folder, &TaskOptions::default()).unwrap().make().unwrap();
        let (nq, nv) = starts.widths;
        let mut obs = vec![0.0; task.obs_dim()];
        let mut rewards = vec![0.0; env.reward_count()];
        for n in 0..file.demonstrations.len() {
            env.start_from(&starts.qpos[n * nq..][..nq], &starts.qvel[n * nv..][..nv]).unwrap();
            let recorded = file.demonstrations.observations_of(n).chunks_exact(task.obs_dim());
            let actions = file.demonstrations.actions_of(n).chunks_exact(task.action_dim());
            for (then, action) in recorded.zip(actions) {
                env.observe(&mut obs);
                assert!(then.iter().zip(&obs).all(|(a, b)| *a == *b as f32), "{}", task.name());
                let action: Vec<f64> = action.iter().map(|&a| f64::from(a)).collect();
                env.step(&action, &mut rewards).unwrap();
            }
        }
    }
}

#[test]
fn an_expert_of_another_task_is_refused() {
    let path = record::expert_path("fetchreach").unwrap();
    let Err(error) = record::TrainedExpert::read(&path, tasks::open("ant-dir-6").unwrap().info())
    else {
        panic!("an expert of fetchreach passed for one of ant-dir-6");
    };
    assert!(error.to_string().contains("`fetchreach`, need `ant-dir-6`"), "{error}");
}

proptest! {
    #[test]
    fn damaged_bytes_never_panic_and_never_pass(at in any::<prop::sample::Index>(), flip in 1u8..) {
        let mut bytes = written(|_, _| ());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // Damage is noticed unless it hits the checksum's own key.
        let unchecked = TensorFile::parse(&bytes)
            .is_ok_and(|f| !f.metadata().contains_key(tensors::CHECKSUM_KEY));
        prop_assert!(DemoFile::parse(&bytes, &info()).is_err() || unchecked);
    }
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

#[test]
fn files_of_other_programs_become_demonstrations_with_the_same_numbers() {
    let lasa = "[map]\npos = \"pos\"\nvel = \"vel\"\nforce = \"act\"";
    let table_map = "[map]\npos = \"obs[0..3]\"\nvel = \"obs_3,obs_4\"\nforce = \"act\"";
    let cases = [
        ("minari-hdf5", ""),
        ("d4rl.hdf5", ""),
        ("robomimic.hdf5", "[map]\npos = \"obs/eef_pos\"\nvel = \"obs/gripper\""),
        ("stacked.npz", ""),
        ("csv", table_map),
        ("lasa.mat", lasa),
    ];
    let files: Vec<DemoFile> =
        cases.iter().map(|(name, map)| imported_files(&[name], &table(map)).unwrap()).collect();
    for (file, (name, _)) in files.iter().zip(cases) {
        assert_eq!(file.demonstrations, files[0].demonstrations, "{name}");
        let read = DemoFile::parse(&file.to_bytes(&foreign_task()), &foreign_task()).unwrap();
        assert_eq!(read.demonstrations.actions(), file.demonstrations.actions());
    }
    assert_eq!(files[0].demonstrations.total_rows(), 15);
    let both = imported_files(&["stacked.npz", "d4rl.hdf5"], &ForeignOptions::default()).unwrap();
    assert_eq!((both.demonstrations.len(), both.demonstrations.total_rows()), (6, 30));
    assert_eq!(both.labels, None);
    let by_file = ForeignOptions { mode_per_file: true, ..ForeignOptions::default() };
    let labelled = imported_files(&["stacked.npz", "d4rl.hdf5"], &by_file).unwrap();
    assert_eq!(labelled.labels, Some(Labels::Modes(vec![0, 0, 0, 1, 1, 1])));
    assert_eq!(both.demonstrations.actions_of(4), files[0].demonstrations.actions_of(1));
}

#[test]
fn what_an_import_does_not_understand_is_refused() {
    let none = ForeignOptions::default();
    let error = imported_files(&["csv"], &none).unwrap_err();
    assert!(error.contains("nothing fills the observation term `pos`"), "{error}");
    let error = imported_files(&["absent.npz"], &none).unwrap_err();
    assert!(error.contains("absent.npz"), "{error}");
    let small =
        TaskInfo { action_low: vec![-0.01; 2], action_high: vec![0.01; 2], ..foreign_task() };
    let paths = [foreign_file("stacked.npz")];
    let error = foreign::import_files(&paths, &small, &none, &|| ()).unwrap_err();
    assert!(matches!(error, DataError::OutOfBounds { .. }), "{error}");
    let mut options = ForeignOptions::default();
    for (text, needle) in [
        ("colour = 1", "`colour`: need one of"),
        ("resample = 1", "`resample`: found 1, need true or false"),
        ("format = \"xls\"", "no format `xls`"),
        ("[map]\npos = \"a[\"", ""),
        ("[map]\npos = \"a[1..0]\"", "`map.pos`"),
    ] {
        let found = options.complete(&text.parse().unwrap());
        if !needle.is_empty() {
            let message = found.unwrap_err().to_string();
            assert!(message.contains(needle), "`{needle}` is not in: {message}");
        }
    }
}

#[test]
fn demonstrations_are_picked_cut_merged_and_split() {
    let file = recorded(5, 3);
    let picked = file.picked(&[(4, 0..7), (1, 0..3), (2, 5..5)]).unwrap();
    assert_eq!((picked.demonstrations.len(), picked.demonstrations.total_rows()), (2, 10));
    assert_eq!(picked.demonstrations.actions_of(0), &file.demonstrations.actions_of(4)[..14]);
    let modes = |file: &DemoFile| match &file.labels {
        Some(Labels::Modes(modes)) => modes.clone(),
        _ => panic!("no modes"),
    };
    assert_eq!(modes(&picked), [modes(&file)[4], modes(&file)[1]]);
    assert!(matches!(file.picked(&[(0, 2..2)]), Err(DataError::Empty)));

    let merged = DemoFile::merged(&[picked.clone(), file.clone()]).unwrap();
    assert_eq!(merged.demonstrations.len(), 17);
    assert_eq!(merged.demonstrations.observations_of(2), file.demonstrations.observations_of(0));
    assert_eq!(modes(&merged)[2..], modes(&file));
    let read = DemoFile::parse(&merged.to_bytes(&info()), &info()).unwrap();
    assert_eq!(read.demonstrations.total_rows(), 10 + file.demonstrations.total_rows());

    let (stay, held) = file.split(0.2, 7);
    assert_eq!((stay.len(), held.len()), (12, 3));
    let mut held_modes: Vec<u32> = held.iter().map(|&n| modes(&file)[n]).collect();
    held_modes.sort_unstable();
    assert_eq!(held_modes, [0, 1, 2]);
    let mut all = [stay.clone(), held.clone()].concat();
    all.sort_unstable();
    assert_eq!(all, (0..15).collect::<Vec<_>>());
    assert_eq!(file.split(0.2, 7), (stay, held.clone()));
    assert!((8..20).any(|seed| file.split(0.2, seed).1 != held));
}
