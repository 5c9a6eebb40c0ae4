//! The committed policies are what `models/policies/policies.json` says of them.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{path::Path, sync::Arc};

use serde_json::Value;
use sha2::{Digest, Sha256};
use sog_runtime::policy::{LatentKind, Policy, PolicyFile};
use sog_sim::{
    rollout::{EvaluateOptions, Plan, evaluate},
    tasks::{self, TaskFolder, TaskMaker, TaskOptions},
};
use sog_trainer::{
    data::record::{RecordOptions, expert_for, record},
    evaluate::{
        measure::{Shown, measure},
        modes::ModeOptions,
    },
};

/// The rows of `policies.json` and the policies beside it, each of which is the file that is recorded.
fn recorded() -> Vec<(Value, PolicyFile)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/policies");
    let text = std::fs::read(folder.join("policies.json")).unwrap();
    let rows: Vec<Value> = serde_json::from_slice(&text).unwrap();
    let files = std::fs::read_dir(&folder)
        .unwrap()
        .filter(|f| f.as_ref().unwrap().path().extension().is_some_and(|e| e == "safetensors"));
    assert_eq!(files.count(), rows.len(), "a policy is not recorded, or recorded and not there");
    let read = |row: Value| {
        let name = row["file"].as_str().unwrap();
        let bytes = std::fs::read(folder.join(name)).unwrap();
        let sha256: String = Sha256::digest(&bytes).iter().map(|b| format!("{b:02x}")).collect();
        assert_eq!(row["sha256"], sha256.as_str(), "{name}");
        let file = PolicyFile::parse(&bytes).unwrap();
        let p = &file.provenance;
        assert_eq!(row["task"], file.contract.task.as_str(), "{name}");
        assert_eq!(row["algorithm"], p.algorithm.as_str(), "{name}");
        assert_eq!(row["seed"], p.seed, "{name}");
        assert_eq!(row["demos_sha256"], p.demos_sha256.as_str(), "{name}");
        (row, file)
    };
    rows.into_iter().map(read).collect()
}

fn maker_of(file: &PolicyFile) -> (Arc<TaskFolder>, TaskMaker) {
    let task = tasks::open(&file.contract.task).unwrap();
    let maker = TaskMaker::of(&task, &TaskOptions::default()).unwrap();
    (task, maker)
}

/// One episode under each code (under 0 and the first unit vector, where codes are continuous) has the
/// returns that `spot` records, to the last digit: few tell as surely as many that a policy does what
/// it did when the figures were taken.
#[test]
fn the_policies_do_what_is_recorded() {
    let mut wrong = vec![];
    for (row, file) in recorded() {
        let (_, maker) = maker_of(&file);
        let z = file.latent_dim();
        let unit = |i: usize| (0..z).map(|j| f32::from(u8::from(i == j))).collect();
        let codes: Vec<Vec<f32>> = match file.latent {
            LatentKind::Gaussian(_) => vec![vec![0.0; z], unit(0)],
            _ => (0..z.max(1)).map(unit).collect(),
        };
        let plan = |(i, code)| Plan { seed: i as u64, code, ..Plan::default() };
        let plans: Vec<Plan> = codes.into_iter().enumerate().map(plan).collect();
        let episodes =
            evaluate(&maker, &Policy::new(&file), &plans, &EvaluateOptions::default()).unwrap();
        let tenths = |r: &f64| (r * 10.0).round() / 10.0;
        let found: Vec<Vec<f64>> =
            episodes.iter().map(|e| e.returns.iter().map(tenths).collect()).collect();
        if row["spot"] != serde_json::json!(found) {
            wrong.push(format!("{}: {}", row["file"], serde_json::json!(found)));
        }
    }
    assert!(wrong.is_empty(), "not what `spot` records:\n{}", wrong.join("\n"));
}

/// The figures themselves.
#[test]
#[ignore = "takes a quarter of an hour: cargo test --release --workspace --test policies -- --ignored"]
fn the_policies_return_what_is_recorded() {
    for (row, file) in recorded() {
        let name = row["file"].as_str().unwrap();
        let (task, maker) = maker_of(&file);
        let discrete = maker.info().modes.count().is_some();
        if discrete && !matches!(file.latent, LatentKind::Gaussian(_)) {
            exactly(&row, name, &maker, &file);
            continue;
        }
        // Other episodes than those of the record, and fewer.
        let options = ModeOptions { rollouts: 30, seed: 99, ..ModeOptions::default() };
        // Codes that are continuous come from demonstrations, and so do goals.
        let demos = (matches!(file.latent, LatentKind::Gaussian(_)) || !discrete).then(|| {
            let expert = expert_for(&task, None).unwrap();
            // Goals are as many as episodes.
            let episodes_per_mode = if discrete { 10 } else { 100 };
            // Those of goals as they are recorded by default, as for the record.
            let action_noise = if discrete { 0.0 } else { task.definition().demos.action_noise };
            let options = RecordOptions { episodes_per_mode, seed: 99, action_noise };
            record(&maker, maker.info(), expert.as_ref(), &options, &|| ()).unwrap()
        });
        let found =
            measure(&maker, &file, demos.as_ref().map(Shown::from), &options, false, None).unwrap();
        let (mean, _) = found.task_return().unwrap();
        // VAE-GAIL's `mean` is under its encoder's codes, which lie in the run; codes searched for
        // demonstrations, all that the file alone allows, have another where it matters.
        let figure = |name: &str| row[format!("searched_{name}")].as_f64().or(row[name].as_f64());
        let (want, std) = (figure("mean").unwrap(), figure("std").unwrap());
        // Four standard errors, and a little where rollouts hardly differ.
        let tolerance = 4.0 * std / 30.0_f64.sqrt() + 0.5;
        assert!((mean - want).abs() < tolerance, "{name}: {mean}, recorded {want} ± {std}");
        // Three rollouts of each of 30 codes here as there.
        if let Some(want) = row["mutual_information_nats"].as_f64() {
            let found = found.goals.unwrap().mutual_information_nats.unwrap();
            assert!((found - want).abs() < 0.1, "{name}: {found} nats, recorded {want}");
        }
    }
}

/// The episodes of the record again: each mode's return and the mean, to the last digit recorded.
fn exactly(row: &Value, name: &str, maker: &TaskMaker, file: &PolicyFile) {
    let found = measure(maker, file, None, &ModeOptions::default(), false, None).unwrap();
    let (mean, std) = found.task_return().unwrap();
    let near = |found: f64, recorded: &Value, digit: f64| {
        (found - recorded.as_f64().unwrap()).abs() <= 0.5 * digit + 1e-9
    };
    assert!(near(mean, &row["mean"], 0.01), "{name}: {mean}, recorded {}", row["mean"]);
    assert!(near(std, &row["std"], 0.01), "{name}: ± {std}, recorded {}", row["std"]);
    let modes: Vec<f64> = found.modes.unwrap().per_mode.iter().map(|m| m.mean).collect();
    let recorded = row["per_mode"].as_array().unwrap();
    assert_eq!(modes.len(), recorded.len(), "{name}");
    for (mode, (found, recorded)) in modes.iter().zip(recorded).enumerate() {
        assert!(near(*found, recorded, 0.1), "{name}, mode {mode}: {found}, recorded {recorded}");
    }
}
