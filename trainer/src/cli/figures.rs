//! `sog figures`: pictures of runs and demonstrations.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use sog_formats::inspect::inspect;
use sog_runtime::policy::Policy;
use sog_sim::rollout::Capture;

use super::{OpenTask, Outcome, environments, load_policy, open_task, task_of};
use crate::{
    data::{DemoFile, foreign},
    evaluate::{
        goals::rollouts_by_code,
        measure::{default_rollouts, mode_labels},
        modes::{ModeOptions, evaluate_modes},
    },
    figures::{contents, curves, trajectories},
    train::POLICY_FILE,
};

#[derive(Args)]
pub(super) struct FiguresArgs {
    /// Run directories, and demonstration files, ours and those that `sog demos info` reads
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// Folder of the task, where it is not a built-in one
    #[arg(long, value_parser = open_task)]
    task: Option<OpenTask>,
    /// Directory for the pictures [default: DIR/figures, and beside FILE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Seed of the rollouts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the paths written as a JSON list
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &FiguresArgs) -> Result<Outcome> {
    let mut written = vec![];
    for path in &args.paths {
        let out = args.out.as_deref();
        let task = args.task.as_ref();
        let drawn = if path.is_file() {
            draw_demos(path, task, out)
        } else {
            draw(path, task, args.seed, out)
        };
        let paths = drawn.with_context(|| format!("{}", path.display()))?;
        if !args.json {
            paths.iter().for_each(|p| println!("wrote {}", p.display()));
        }
        written.extend(paths);
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&written)?);
    }
    Ok(Outcome::Good)
}

/// The task given, else the built-in one of that name.
fn own_or_named(given: Option<&OpenTask>, name: &str) -> Result<OpenTask> {
    given.map_or_else(
        || {
            open_task(name)
                .with_context(|| format!("`{name}` is not built in: give its folder with --task"))
        },
        |task| Ok(Arc::clone(task)),
    )
}

/// What is in a file of demonstrations, ours or another program's (`NAME-contents`), and of ours,
/// where their task is known, what they do, mode by mode.
fn draw_demos(path: &Path, task: Option<&OpenTask>, out: Option<&Path>) -> Result<Vec<PathBuf>> {
    let out = out.unwrap_or_else(|| path.parent().unwrap_or(Path::new("")));
    let name = path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
    let contents = format!("{name}-contents");
    let Ok(said) = DemoFile::task_of(path) else {
        let recording = sog_formats::read(path, None)?;
        return Ok(contents::draw(&recording, &inspect(&recording, &[]), out, &contents)?);
    };
    let known = own_or_named(task, &said.name).ok();
    let info = known.as_ref().map_or(said, |task| task.info().clone());
    let file = DemoFile::load(path, &info)?;
    let (recording, bounds) = foreign::recording_of(&file, &info, path);
    let mut drawn = contents::draw(&recording, &inspect(&recording, &bounds), out, &contents)?;
    if let Some(task) = &known {
        drawn.extend(trajectories::draw_demonstrations(&file, task, out, &name)?);
    }
    Ok(drawn)
}

/// All figures of one run, in `DIR/figures`.
fn draw(
    dir: &Path,
    task: Option<&OpenTask>,
    seed: u64,
    out: Option<&Path>,
) -> Result<Vec<PathBuf>> {
    let (policy, metrics) = (dir.join(POLICY_FILE), dir.join("metrics.jsonl"));
    if !policy.exists() && !metrics.exists() {
        bail!("neither {POLICY_FILE} nor metrics.jsonl is there; train a policy there first");
    }
    let out = out.map_or_else(|| dir.join("figures"), Path::to_path_buf);
    let mut paths = vec![];
    if policy.exists() {
        paths.extend(draw_policy(&policy, task, seed, &out)?);
    }
    if metrics.exists() {
        let name = dir.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        paths.extend(curves::draw(&metrics, &format!("Training of {name}"), &out)?);
    }
    Ok(paths)
}

fn draw_policy(
    path: &Path,
    task: Option<&OpenTask>,
    seed: u64,
    out: &Path,
) -> Result<Vec<PathBuf>> {
    let file = load_policy(path)?;
    let task = own_or_named(task, &file.contract.task)?;
    task_of(&file, Some(&task))?;
    let Some(maker) = environments(&task)? else { return Ok(vec![]) };
    let rollouts = default_rollouts(&task);
    let options =
        ModeOptions { rollouts, seed, capture: Capture::Probes, ..ModeOptions::default() };
    let algorithm = file.provenance.algorithm.to_uppercase();
    let title = format!("{algorithm} on {}: what each code does", task.info().name());
    if let Some(labels) = mode_labels(task.info(), file.latent) {
        let policy = Policy::new(&file);
        let report = evaluate_modes(&maker, &policy, file.latent, &labels, &options, None)?;
        return Ok(trajectories::draw(&report, &task, &title, out)?);
    }
    let groups = rollouts_by_code(&maker, &file, trajectories::GOAL_BINS, &options)?;
    Ok(trajectories::draw_by_code(&groups, &task, &title, out)?)
}
