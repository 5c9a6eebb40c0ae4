//! Bad input gets an error that names it; nothing panics.
#![allow(clippy::unwrap_used)]

use std::{collections::BTreeMap, fs, path::Path};

use proptest::prelude::*;
use sog_runtime::tensors::{Metadata, Tensor, TensorFile, serialize};
use sog_sim::{
    check::check_bytes,
    error::SimError,
    physics::RobotSource,
    tasks::{self, TaskMaker, TaskOptions, make},
};

fn reference(name: &str) -> Vec<u8> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rollouts").join(name);
    fs::read(path).unwrap()
}

fn refusal(bytes: &[u8]) -> String {
    check_bytes(bytes, &TaskOptions::default()).unwrap_err().to_string()
}

/// A reference file with some tensors or entries replaced.
fn changed(
    name: &str,
    tensors: &[(&str, Option<Tensor>)],
    entries: &[(&str, Option<&str>)],
) -> Vec<u8> {
    let bytes = reference(name);
    let file = TensorFile::parse(&bytes).unwrap();
    let mut all: BTreeMap<String, Tensor> = BTreeMap::new();
    for tensor in file.names() {
        let shape = file.shape(tensor).unwrap();
        let value = match tensor {
            "terminated" => continue, // flags cannot be written; the cases that need them say so
            _ => Tensor::f64(&shape, &file.f64(tensor).unwrap()),
        };
        all.insert(tensor.to_string(), value);
    }
    for (tensor, value) in tensors {
        match value {
            Some(value) => drop(all.insert((*tensor).to_string(), value.clone())),
            None => drop(all.remove(*tensor)),
        }
    }
    let mut metadata: Metadata = file.metadata().clone();
    for (key, value) in entries {
        match value {
            Some(value) => drop(metadata.insert((*key).to_string(), (*value).to_string())),
            None => drop(metadata.remove(*key)),
        }
    }
    serialize(&all, &metadata)
}

#[test]
fn a_reference_file_that_does_not_fit_is_refused_by_name() {
    let hopper = "hopper-vel-6.0.safetensors";
    let table =
        |rows: usize, width: usize| Some(Tensor::f64(&[rows, width], &vec![0.0; rows * width]));
    let cases = [
        (changed(hopper, &[], &[("task", None)]), "metadata `task` is missing"),
        (
            changed(hopper, &[], &[("task", Some("hopper-vel-7"))]),
            "is called `hopper-vel-7`; did you mean `hopper-vel-6`?",
        ),
        (changed(hopper, &[], &[("modes", Some("[1.0"))]), "metadata `modes` is `[1.0`"),
        (
            changed(hopper, &[], &[("modes", Some("[1.0,2.0]"))]),
            "need [-2.0, -1.5, 0.5, 1.0, 1.5, 2.0]",
        ),
        (changed(hopper, &[("actions", None)], &[]), "tensor `actions` is missing"),
        (
            changed(hopper, &[("actions", table(100, 4))], &[]),
            "`actions` has shape [100, 4], need [T, 3]",
        ),
        (changed(hopper, &[("actions", table(0, 3))], &[]), "at least one row"),
        (
            changed(hopper, &[("observations", table(100, 11))], &[]),
            "`observations` has shape [100, 11], need [101, 11]",
        ),
        (
            changed(hopper, &[("rewards", table(100, 5))], &[]),
            "`rewards` has shape [100, 5], need [100, 6]",
        ),
        (
            changed(hopper, &[("actions", Some(Tensor::f32(&[2, 3], &[0.0; 6])))], &[]),
            "`actions` has type F32, need F64",
        ),
        (changed(hopper, &[], &[]), "tensor `terminated` is missing"),
        (
            changed(hopper, &[("rewards", Some(Tensor::f64(&[100, 6], &[f64::NAN; 600])))], &[]),
            "tensor `rewards` holds NaN at index 0",
        ),
        (
            changed(
                "fetchreach.0.safetensors",
                &[("goal", Some(Tensor::f64(&[2], &[1.0; 2])))],
                &[],
            ),
            "`goal` has shape [2], need [3]",
        ),
        (
            changed(
                "fetchreach.0.safetensors",
                &[("qpos0", Some(Tensor::f64(&[14], &[0.0; 14])))],
                &[],
            ),
            "fetchreach: positions of 14 numbers, need 15",
        ),
        (
            changed("halfcheetah-vel.0.safetensors", &[], &[("modes", Some("[]"))]),
            "at least one goal",
        ),
        (b"nonsense".to_vec(), "not a safetensors file of 8 bytes"),
        (reference(hopper)[..5000].to_vec(), "truncated"),
    ];
    for (bytes, needed) in cases {
        let message = refusal(&bytes);
        assert!(message.contains(needed), "`{message}` should contain `{needed}`");
    }
}

#[test]
fn a_trajectory_that_is_off_is_no_error_but_not_ok() {
    let name = "fetchreach.0.safetensors";
    let original = reference(name);
    let file = TensorFile::parse(&original).unwrap();
    let mut observations = file.f64("observations").unwrap();
    observations[10 * 20] += 3e-3;
    let off = changed(name, &[("observations", Some(Tensor::f64(&[51, 10], &observations)))], &[]);
    let report = check_bytes(&off, &TaskOptions::default()).unwrap();
    assert!(!report.ok && (report.max_abs_obs - 3e-3).abs() < 1e-6, "{report:?}");
    let success = Some(Tensor::f64(&[50], &[0.0; 50]));
    let report = check_bytes(&changed(name, &[("success", success)], &[]), &TaskOptions::default());
    let report = report.unwrap();
    assert!(!report.ok && report.flags_off > 0, "{report:?}");
}

#[test]
fn actions_states_and_goals_that_do_not_fit_are_refused_by_name() {
    for id in tasks::names() {
        let mut task = make(id, &TaskOptions::default()).unwrap();
        let (name, a) = (id, task.info().action_dim());
        let mut rewards = vec![0.0; task.reward_count()];
        let mut refused = |action: &[f64]| task.step(action, &mut rewards).unwrap_err().to_string();
        assert_eq!(
            refused(&vec![0.0; a + 1]),
            format!("{name}: action of {} numbers, need {a}", a + 1)
        );
        assert_eq!(refused(&[]), format!("{name}: action of 0 numbers, need {a}"));
        let mut action = vec![0.0; a];
        action[1] = f64::NAN;
        assert!(refused(&action).starts_with(&format!("{name}: action holds NaN at index 1")));
        action[1] = f64::INFINITY;
        assert!(refused(&action).starts_with(&format!("{name}: action holds inf at index 1")));
        action[1] = 0.0;
        assert!(task.step(&action, &mut []).unwrap_err().to_string().contains("rewards of 0"));
        assert!(task.start_from(&[0.0; 3], &[]).is_err(), "{name}");
        assert!(task.set_goals(&[f64::NAN; 3]).is_err(), "{name}");
        assert!(task.set_goals(&[]).is_err(), "{name}");
        task.step(&action, &mut rewards).unwrap();
        assert!(rewards.iter().all(|r| r.is_finite()), "{name} goes on after all that");
    }
    let mut fetch = make("fetchreach", &TaskOptions::default()).unwrap();
    assert!(
        fetch.set_goals(&[0.0; 4]).unwrap_err().to_string().contains("goals of 4 numbers, need 6")
    );
    fetch.set_goals(&[0.0; 6]).unwrap();
    assert_eq!(fetch.reward_count(), 2);
}

#[test]
fn a_robot_file_that_is_missing_or_another_is_refused_by_name() {
    let directory = tempfile::tempdir().unwrap();
    let options = TaskOptions { robots: RobotSource::Directory(directory.path().to_path_buf()) };
    let refused = |id| TaskMaker::new(id, &options).err().unwrap();
    let robots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/robots");

    let missing = refused("ant-dir-6");
    assert!(matches!(missing, SimError::Definition(_)), "{missing}");
    assert!(missing.to_string().contains("ant.xml: No such file"), "{missing}");
    assert!(missing.to_string().starts_with("ant-dir-6/task.toml:"), "{missing}");

    fs::write(directory.path().join("ant.xml"), "<mujoco><worldbody>").unwrap();
    let broken = refused("ant-dir-6").to_string();
    assert!(broken.contains("`sim.model`: MuJoCo refuses"), "{broken}");

    fs::copy(robots.join("hopper.xml"), directory.path().join("walker2d.xml")).unwrap();
    let another = refused("walker2d-vel-6").to_string();
    assert!(another.contains("the model has no actuator `thigh_left_joint`"), "{another}");

    let slow = fs::read_to_string(robots.join("hopper.xml")).unwrap();
    let slow = slow.replace("timestep=\"0.002\"", "timestep=\"0.004\"");
    fs::write(directory.path().join("hopper.xml"), slow).unwrap();
    let slow = refused("hopper-vel-6").to_string();
    assert!(slow.contains("4 physics steps of 0.004 s take 0.016 s, but dt is 0.008 s"), "{slow}");

    fs::copy(robots.join("humanoid.xml"), directory.path().join("humanoid.xml")).unwrap();
    TaskMaker::new("humanoid-dir-6", &options).unwrap();
    TaskMaker::new("circles", &options).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever becomes of a file's bytes, checking it ends with a report or an error.
    #[test]
    fn no_damage_to_a_file_panics(at in 0usize..20_000, flip in 1u8..=255, header in any::<bool>()) {
        let mut bytes = reference("hopper-vel-6.1.safetensors");
        let at = if header { at % 900 } else { at % bytes.len() };
        bytes[at] ^= flip;
        let _ = check_bytes(&bytes, &TaskOptions::default());
    }
}
