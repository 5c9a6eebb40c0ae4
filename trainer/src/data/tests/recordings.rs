//! Recordings of experts: the same byte for byte, and what they say they are.

use super::{info, jumps, recorded, recorded_with_noise, refusal, swapped_neighbours_told};
use crate::data::import::{self, ImportOptions};
use crate::data::record::{self, RecordOptions};
use crate::data::{DemoFile, Labels};
use sog_runtime::tensors::{self, Metadata, Tensor, TensorFile};
use sog_sim::task::Modes;
use sog_sim::tasks::{self, TaskFolder, TaskMaker, TaskOptions};
use std::collections::BTreeMap;
use std::sync::Arc;

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
