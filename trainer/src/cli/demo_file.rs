//! Demonstration files as the commands of `sog demos` open, place and write them.

use std::path::Path;

use anyhow::{Context, Result};
use sog_runtime::os::files::{Output, Outputs};
use sog_sim::{task::TaskInfo, tasks};

use super::{OpenTask, claim_in, load_demos, open_task, outputs};
use crate::data::DemoFile;

/// A file of ours and the task that it says it is of.
pub(super) fn open(path: &Path) -> Result<(DemoFile, TaskInfo)> {
    let written =
        DemoFile::task_of(path).with_context(|| format!("cannot read {}", path.display()))?;
    // Modes have names where the task is built in.
    let known = tasks::names().contains(&written.name());
    let task = if known { open_task(written.name())?.info().clone() } else { written };
    let file = load_demos(path, &task)?;
    Ok((file, task))
}

/// A place for a demonstration file: not what is read, files or folders, and nothing that is there
/// already.
pub(super) fn claim<'a>(
    path: &Path,
    force: bool,
    task: Option<&OpenTask>,
    inputs: impl IntoIterator<Item = &'a Path>,
) -> Result<Output> {
    let read = inputs.into_iter();
    claim_in(&mut read.fold(outputs(force, task), Outputs::reads_within), path)
}

pub(super) fn save(out: &Output, file: &DemoFile, task: &TaskInfo) -> Result<()> {
    out.write(&file.to_bytes(task))
        .with_context(|| format!("cannot write {}", out.path().display()))
}
