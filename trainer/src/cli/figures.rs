//! `sog figures`: pictures of runs.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use clap::Args;
use sog_runtime::policy::Policy;
use sog_sim::{
    rollout::Capture,
    tasks::{TaskMaker, TaskOptions},
};

use super::{Outcome, eval::mode_labels, load_policy};
use crate::{
    evaluate::modes::{ModeOptions, evaluate_modes},
    figures::{curves, trajectories},
    train::POLICY_FILE,
};

#[derive(Args)]
pub(super) struct FiguresArgs {
    /// Run directories
    #[arg(required = true, value_name = "DIR")]
    dirs: Vec<PathBuf>,
    /// Seed of the rollouts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the paths written as a JSON list
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &FiguresArgs) -> Result<Outcome> {
    let mut written = vec![];
    for dir in &args.dirs {
        let paths = draw(dir, args.seed).with_context(|| format!("{}", dir.display()))?;
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

/// All figures of one run, in `DIR/figures`.
fn draw(dir: &Path, seed: u64) -> Result<Vec<PathBuf>> {
    let (policy, metrics) = (dir.join(POLICY_FILE), dir.join("metrics.jsonl"));
    if !policy.exists() && !metrics.exists() {
        bail!("neither {POLICY_FILE} nor metrics.jsonl is there; train a policy there first");
    }
    let out = dir.join("figures");
    let mut paths = vec![];
    if policy.exists() {
        paths.extend(draw_policy(&policy, seed, &out)?);
    }
    if metrics.exists() {
        let name = dir.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        paths.extend(curves::draw(&metrics, &format!("Training of {name}"), &out)?);
    }
    Ok(paths)
}

fn draw_policy(path: &Path, seed: u64, out: &Path) -> Result<Vec<PathBuf>> {
    let (file, task) = load_policy(path)?;
    let Some(labels) = mode_labels(&task, file.latent) else { return Ok(vec![]) };
    let maker = TaskMaker::new(task.id, &TaskOptions::default())?;
    let options = ModeOptions { seed, capture: Capture::Probes, ..ModeOptions::default() };
    let policy = Policy::new(&file);
    let report = evaluate_modes(&maker, &policy, file.latent, &labels, &options, None)?;
    let algorithm = file.provenance.algorithm.to_uppercase();
    let title = format!("{algorithm} on {}: what each code does", task.name());
    Ok(trajectories::draw(&report, &task, &title, out)?)
}
