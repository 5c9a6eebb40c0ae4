//! Files that the Python packages wrote (`tests/independent/make_foreign_demonstrations.py`): every
//! number is the one that stands in `data/expected.csv`.
#![allow(clippy::unwrap_used)] // a test may panic

use std::path::{Path, PathBuf};

use sog_formats::{End, Format, Recording, detect, read};

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// What every file holds.
#[derive(Default)]
struct Expected {
    /// `[T + 1][5]`.
    obs: Vec<Vec<f64>>,
    /// `[T][2]`.
    act: Vec<Vec<f64>>,
    /// `[T]`.
    rew: Vec<f64>,
    terminated: bool,
    truncated: bool,
}

fn expected() -> Vec<Expected> {
    let text = std::fs::read_to_string(data("expected.csv")).unwrap();
    let mut all: Vec<Expected> = vec![];
    for line in text.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let number = |i: usize| cells[i].parse::<f64>().unwrap();
        if all.len() <= number(0) as usize {
            all.push(Expected::default());
        }
        let e = all.last_mut().unwrap();
        e.obs.push((2..7).map(number).collect());
        if !cells[7].is_empty() {
            e.act.push((7..9).map(number).collect());
            e.rew.push(number(9));
            e.terminated |= number(10) == 1.0;
            e.truncated |= number(11) == 1.0;
        }
    }
    assert_eq!(all.iter().map(|e| e.act.len()).collect::<Vec<_>>(), [6, 4, 5]);
    all
}

/// The columns of an episode side by side, `[T][…]`, and its row after the last step.
fn rows(recording: &Recording, n: usize, columns: &[&str]) -> (Vec<Vec<f64>>, Option<Vec<f64>>) {
    let episode = &recording.episodes[n];
    let at: Vec<usize> = columns
        .iter()
        .map(|name| {
            let found = recording.columns.iter().position(|c| c.name == *name);
            found.unwrap_or_else(|| panic!("no `{name}` in {:?}", recording.columns))
        })
        .collect();
    let rows = (0..episode.length)
        .map(|t| {
            let part = |&c: &usize| {
                let width = recording.columns[c].width;
                episode.data[c][t * width..][..width].to_vec()
            };
            at.iter().flat_map(part).collect()
        })
        .collect();
    let last: Option<Vec<Vec<f64>>> = at.iter().map(|&c| episode.last[c].clone()).collect();
    (rows, last.map(|last| last.concat()))
}

/// Reads a file, checks its format and every number of it.
fn check(name: &str, format: Format, obs: &[&str], act: &[&str], extra: bool) -> Recording {
    let path = data(name);
    assert_eq!(detect(&path).unwrap(), format, "{name}");
    let recording = read(&path, None).unwrap_or_else(|e| panic!("{e}"));
    assert_eq!(recording.format, format);
    let expected = expected();
    assert_eq!(recording.episodes.len(), expected.len(), "{name}: {:?}", recording.notes);
    for (n, e) in expected.iter().enumerate() {
        let (found, last) = rows(&recording, n, obs);
        assert_eq!(found, e.obs[..e.act.len()], "{name}, observations of {n}");
        assert_eq!(last.is_some(), extra, "{name}");
        if let Some(last) = last {
            assert_eq!(last, e.obs[e.act.len()], "{name}, last observation of {n}");
        }
        if !act.is_empty() {
            assert_eq!(rows(&recording, n, act).0, e.act, "{name}, actions of {n}");
        }
    }
    recording
}

fn check_rewards(recording: &Recording, column: &str) {
    for (n, e) in expected().iter().enumerate() {
        assert_eq!(rows(recording, n, &[column]).0.concat(), e.rew);
    }
}

fn check_ends(recording: &Recording) {
    for (episode, e) in recording.episodes.iter().zip(expected()) {
        let end =
            End { terminated: Some(e.terminated), truncated: Some(e.truncated), success: None };
        assert_eq!(episode.end, end, "episode {}", episode.name);
    }
}

#[cfg(feature = "hdf5")]
#[test]
fn minari() {
    let recording = check("minari-hdf5", Format::Minari, &["observations"], &["actions"], true);
    check_rewards(&recording, "rewards");
    check_ends(&recording);
    assert_eq!(recording.metadata["dataset_id"], "sog/minari-hdf5-v0");
    let parts = ["observations/position", "observations/velocity"];
    check("minari-dict", Format::Minari, &parts, &["actions"], true);
    check("minari-hdf5/data", Format::Minari, &["observations"], &["actions"], true);
    check("minari-hdf5/data/main_data.hdf5", Format::Minari, &["observations"], &[], true);
}

#[cfg(feature = "hdf5")]
#[test]
fn d4rl() {
    let recording = check("d4rl.hdf5", Format::D4rl, &["observations"], &["actions"], true);
    check_rewards(&recording, "rewards");
    check_ends(&recording);
    assert_eq!(recording.metadata["metadata/algorithm"], "none");
    // Without `timeouts` the gap between next observation and observation ends an episode.
    check("d4rl-old.hdf5", Format::D4rl, &["observations"], &["actions"], true);
}

#[cfg(feature = "hdf5")]
#[test]
fn robomimic() {
    let parts = ["obs/eef_pos", "obs/gripper"];
    let recording = check("robomimic.hdf5", Format::Robomimic, &parts, &["actions"], true);
    check_rewards(&recording, "rewards");
    assert_eq!(recording.dt_s, Some(0.05));
    let names: Vec<&str> = recording.episodes.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["demo_0", "demo_5", "demo_10"]);
}

#[cfg(feature = "hdf5")]
#[test]
fn plain_hdf5() {
    let recording = check("plain.h5", Format::Hdf5, &["state"], &["action"], false);
    let times = recording.episodes[0].times_s.as_ref().unwrap();
    assert_eq!(times[3], 150.0 * 1e-3);
    assert!((recording.dt().unwrap() - 0.05).abs() < 1e-12);
}

#[test]
fn numpy() {
    // Fortran order, big-endian, padded behind `lengths`, one observation more than actions.
    let recording = check("stacked.npz", Format::Npz, &["observations"], &["actions"], true);
    assert_eq!(recording.dt_s, Some(0.05));
    check("nan-padded.npz", Format::Npz, &["observations"], &["actions"], true);
    check("flat.npz", Format::Npz, &["observations"], &["actions"], false);
    check("numbered.npz", Format::Npz, &["observations"], &["actions"], true);
    let recording = check("imitation-old.npz", Format::Npz, &["obs"], &["acts"], true);
    check_rewards(&recording, "rews");
    assert!(recording.notes.iter().any(|n| n.contains("pickled")), "{:?}", recording.notes);
}

#[test]
fn tables() {
    let obs = ["obs_0", "obs_1", "obs_2", "obs_3", "obs_4"];
    let recording = check("csv", Format::Csv, &obs, &["act_0", "act_1"], false);
    let names: Vec<&str> = recording.episodes.iter().map(|e| e.name.as_str()).collect();
    assert_eq!(names, ["demo_0", "demo_5", "demo_10"]);
    assert_eq!(recording.dt(), Some(0.05));
    assert!(recording.notes.iter().any(|n| n.contains("`note`")), "{:?}", recording.notes);

    let recording = read(&data("savetxt.txt"), None).unwrap();
    let e = &expected()[0];
    let (found, _) = rows(&recording, 0, &["data"]);
    for (t, row) in found.iter().enumerate() {
        assert_eq!(row[..], [e.obs[t].clone(), e.act[t].clone()].concat());
    }
}

#[test]
fn safetensors() {
    let recording =
        check("stacked.safetensors", Format::Safetensors, &["observations"], &["actions"], true);
    assert_eq!(recording.dt_s, Some(0.05));
}

#[test]
fn matlab() {
    let recording = check("lasa.mat", Format::Mat, &["pos", "vel"], &["act"], false);
    assert_eq!(recording.dt_s, Some(0.05));
    assert_eq!(recording.metadata["name"], "random");
    assert_eq!(recording.episodes[2].times_s.as_ref().unwrap()[2], 0.1);
    check("cell.mat", Format::Mat, &["data"], &[], false);
}

/// Version 7.3 is HDF5: cells and structure arrays are references.
#[cfg(feature = "hdf5")]
#[test]
fn matlab_by_references() {
    let recording = check("cell-7.3.mat", Format::Hdf5, &["data"], &[], false);
    assert_eq!(recording.dt_s, Some(0.05));
    for name in ["structures-7.3.mat", "cell-of-structures-7.3.mat"] {
        let recording = check(name, Format::Hdf5, &["pos", "vel"], &["act"], false);
        assert_eq!(recording.episodes[2].times_s.as_ref().unwrap()[2], 0.1, "{name}");
    }
}

#[cfg(feature = "arrow")]
#[test]
fn arrow() {
    let recording = check("minari-arrow", Format::Minari, &["observations"], &["actions"], true);
    check_rewards(&recording, "rewards");
    check_ends(&recording);
    assert_eq!(recording.metadata["dataset_id"], "sog/minari-arrow-v0");
    let parts = ["observations/position", "observations/velocity"];
    check("minari-arrow-dict", Format::Minari, &parts, &["actions"], true);
    let recording = check("imitation", Format::Imitation, &["obs"], &["acts"], true);
    check_rewards(&recording, "rews");
    assert_eq!(recording.episodes[0].end.terminated, Some(true));
    assert_eq!(recording.episodes[1].end.terminated, Some(false));
}

#[cfg(feature = "lerobot")]
#[test]
fn lerobot() {
    for version in ["lerobot-v2.1", "lerobot-v3.0"] {
        let recording = check(version, Format::LeRobot, &["observation.state"], &["action"], false);
        check_rewards(&recording, "next.reward");
        assert_eq!(recording.dt_s, Some(0.05));
        let times = recording.episodes[1].times_s.as_ref().unwrap();
        assert_eq!(times[1], f64::from(0.05_f32));
        let said = recording.notes.iter().any(|n| n.contains("tasks: 0 `draw`, 1 `pour`"));
        assert!(
            said && recording.notes.iter().any(|n| n.contains("--labels task_index")),
            "{version}"
        );
    }
}
