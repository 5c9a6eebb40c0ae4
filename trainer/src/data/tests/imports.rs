//! Files of other programs become demonstrations, or are refused by name.

use super::{
    foreign_file, foreign_task, import_error, imported_as, imported_files, info, recorded,
    recorded_tensors, recorded_with_noise, refusal, table, values, written,
};
use crate::data::foreign::{self, ForeignOptions};
use crate::data::import::{self, ImportOptions};
use crate::data::{DataError, DemoFile, Labels, StartStates, exported};
use sog_runtime::tensors::{self, Metadata, Tensor};
use sog_sim::task::{Modes, TaskInfo};
use std::collections::BTreeMap;

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
