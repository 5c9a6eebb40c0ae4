//! Every committed expert still does what its provenance says.

use std::path::{Path, PathBuf};

use sog_rl::experts::{Expert, ExpertFile, short_returns};
use sog_sim::tasks::{TaskMaker, TaskOptions};

fn experts() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/experts");
    let files = std::fs::read_dir(dir).expect("models/experts is there");
    let mut paths: Vec<PathBuf> = files.map(|f| f.expect("readable").path()).collect();
    paths.retain(|p| p.extension().is_some_and(|e| e == "safetensors"));
    paths.sort();
    assert!(!paths.is_empty(), "no expert is committed");
    paths
}

#[test]
fn a_short_rollout_returns_what_was_recorded() {
    for path in experts() {
        let expert = Expert::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let task = expert.task();
        assert_eq!(path.file_stem().and_then(|s| s.to_str()), Some(task));
        let maker = TaskMaker::new(task, &TaskOptions::default()).expect("the robot is there");
        let check = expert.provenance().check.clone();
        let returns = short_returns(&maker, &expert, check.seed, check.steps).expect("it runs");
        assert_eq!(returns.len(), check.returns.len(), "{task}");
        for (mode, (now, then)) in returns.iter().zip(&check.returns).enumerate() {
            // Another instruction set rounds differently, and contact dynamics amplifies that.
            let tolerance = 0.02 * then.abs().max(1.0);
            assert!((now - then).abs() < tolerance, "{task} mode {mode}: {now}, was {then}");
        }
    }
}

#[test]
fn networks_fit_the_robot_and_say_where_they_come_from() {
    for path in experts() {
        let file = ExpertFile::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let task = sog_sim::tasks::open(&file.task).expect("the file names a task");
        let info = task.info();
        for network in &file.networks {
            network.contract.check_fits(&info.contract()).expect("fits");
        }
        let p = &file.provenance;
        assert_eq!(p.networks.len(), file.networks.len());
        assert!(!p.command.is_empty() && !p.config.is_empty() && !p.revision.is_empty());
        assert!(p.evaluation.modes.len() == info.modes.count().unwrap_or(1));
    }
}
