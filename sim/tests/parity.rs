//! The robots and tasks are those of the reference, to the last bit that matters.
#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};

use sog_sim::{
    check::{JUDGED_STEPS, check_file},
    tasks::TaskOptions,
};

fn data(directory: &str) -> Vec<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(directory);
    let mut files: Vec<_> = path.read_dir().unwrap().map(|f| f.unwrap().path()).collect();
    files.sort();
    files
}

#[test]
fn every_reference_trajectory_is_reproduced() {
    let files = data("rollouts");
    assert_eq!(files.len(), 24);
    for file in files {
        let report = check_file(&file, &TaskOptions::default()).unwrap();
        println!("{}: {report:?}", file.display());
        assert!(report.ok && report.steps >= JUDGED_STEPS, "{}: {report:?}", file.display());
    }
}
