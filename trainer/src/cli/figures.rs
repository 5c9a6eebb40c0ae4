//! `sog figures`: pictures of runs and demonstrations.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, Result, bail};
use clap::Args;
use sog_formats::{
    inspect::inspect,
    layout::{Layout, lay_out},
};
use sog_rl::run::METRICS_FILE;
use sog_runtime::policy::{LatentKind, Policy, book::Book};
use sog_sim::{rollout::Capture, task::Modes};

use super::{
    OpenTask, Outcome, claim_in, environments, load_demos, load_policy, open_task, outputs,
    task_of, task_parser,
};
use crate::{
    config::Algorithm,
    data::{DemoFile, plain},
    evaluate::{
        goals::{
            self, places_by_dimension, rollouts_by_code, rollouts_of_each_code, speeds_by_code,
        },
        measure::{default_rollouts, mode_labels},
        modes::{ModeOptions, evaluate_modes},
    },
    figures::{contents, curves, reaches, reaching, trajectories, velocities},
    train::POLICY_FILE,
};

#[derive(Args)]
pub(super) struct FiguresArgs {
    /// Run directories, and demonstration files, ours and those that `sog demos info` reads
    #[arg(required = true, value_name = "DIR|FILE")]
    paths: Vec<PathBuf>,
    /// Folder of the task, where it is not a built-in one
    #[arg(long, value_parser = task_parser())]
    task: Option<OpenTask>,
    /// Held-out demonstrations: their codes are the ones drawn where an arm reaches for targets; else
    /// codes from the prior
    #[arg(long, value_name = "FILE")]
    demos: Option<PathBuf>,
    /// Directory for the pictures [default: DIR/figures, and beside FILE]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// Replace pictures that are there
    #[arg(long)]
    force: bool,
    /// Seed of the rollouts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print the paths written as a JSON list
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &FiguresArgs) -> Result<Outcome> {
    // All of them before the first is drawn.
    let mut outputs = outputs(args.force, args.task.as_ref());
    for path in &args.paths {
        outputs = outputs.reads_all(args.demos.as_deref());
        outputs = match path.is_file() {
            true => outputs.reads(path),
            false => outputs.reads_all([path.join(POLICY_FILE), path.join(METRICS_FILE)]),
        };
    }
    for path in &args.paths {
        let (dir, names) = places(path, args.out.as_deref());
        for name in names.iter().flat_map(|name| [format!("{name}.png"), format!("{name}.svg")]) {
            claim_in(&mut outputs, &dir.join(name))?;
        }
    }
    let mut written = vec![];
    for path in &args.paths {
        let out = places(path, args.out.as_deref()).0;
        let task = args.task.as_ref();
        let drawn = if path.is_file() {
            draw_demos(path, task, &out)
        } else {
            draw(path, task, (args.demos.as_deref(), args.seed), &out)
        };
        let paths = drawn.with_context(|| format!("{}", path.display()))?;
        if !args.json {
            paths.iter().for_each(|p| println!("wrote {}", p.display()));
        }
        written.extend(paths);
    }
    if args.json {
        let written: Vec<String> = written.iter().map(|p| p.display().to_string()).collect();
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

/// Where the pictures of a run or a file go, and their names.
fn places(path: &Path, out: Option<&Path>) -> (PathBuf, Vec<String>) {
    let out_or = |usual: PathBuf| out.map_or(usual, Path::to_path_buf);
    if path.is_file() {
        let names = vec![stem(path), contents_of(path)];
        return (out_or(path.parent().unwrap_or(Path::new("")).to_path_buf()), names);
    }
    let drawn = [
        (POLICY_FILE, trajectories::NAME),
        (POLICY_FILE, velocities::NAME),
        (POLICY_FILE, reaches::NAME),
        (POLICY_FILE, reaching::NAME),
        (METRICS_FILE, curves::NAME),
    ];
    let drawn = drawn.into_iter().filter(|(file, _)| path.join(file).exists());
    (out_or(path.join("figures")), drawn.map(|(_, name)| name.to_string()).collect())
}

/// A file's name without its extension.
fn stem(path: &Path) -> String {
    path.file_stem().map_or_else(String::new, |n| n.to_string_lossy().into_owned())
}

/// Name of the picture of what is in a file.
fn contents_of(path: &Path) -> String {
    format!("{}-contents", stem(path))
}

/// What is in a file of demonstrations, ours or another program's (`NAME-contents`), and of ours,
/// where their task is known, what they do, mode by mode.
fn draw_demos(path: &Path, task: Option<&OpenTask>, out: &Path) -> Result<Vec<PathBuf>> {
    let contents = contents_of(path);
    let said = match DemoFile::task_of(path) {
        Ok(said) => said,
        Err(error) if error.is_of_ours() => {
            return Err(error).with_context(|| format!("{}", path.display()));
        }
        Err(_) => {
            let mut recording = sog_formats::read(path, None)?;
            lay_out(&mut recording, &Layout::default())?;
            return Ok(contents::draw(&recording, &inspect(&recording, &[]), out, &contents)?);
        }
    };
    let known = own_or_named(task, &said.name).ok();
    let info = known.as_ref().map_or(said, |task| task.info().clone());
    let file = DemoFile::load(path, &info)?;
    let (recording, bounds) = plain::recording_of(&file, &info, path);
    let mut drawn = contents::draw(&recording, &inspect(&recording, &bounds), out, &contents)?;
    if let Some(task) = &known {
        drawn.extend(trajectories::draw_demonstrations(&file, task, out, &stem(path))?);
    }
    Ok(drawn)
}

/// All figures of one run.
fn draw(
    dir: &Path,
    task: Option<&OpenTask>,
    rollouts: (Option<&Path>, u64),
    out: &Path,
) -> Result<Vec<PathBuf>> {
    let (policy, metrics) = (dir.join(POLICY_FILE), dir.join(METRICS_FILE));
    if !policy.exists() && !metrics.exists() {
        let what = if dir.is_dir() {
            "the folder"
        } else {
            "nothing of that name is here; a run's folder"
        };
        bail!(
            "{what} would have {POLICY_FILE} or {METRICS_FILE} in it; demonstrations are drawn from their \
             files, one by one"
        );
    }
    let mut paths = vec![];
    if policy.exists() {
        paths.extend(draw_policy(&policy, task, rollouts, out)?);
    }
    if metrics.exists() {
        let name = dir.file_name().map_or_else(String::new, |n| n.to_string_lossy().into_owned());
        paths.extend(curves::draw(&metrics, &format!("Training of {name}"), out)?);
    }
    Ok(paths)
}

fn draw_policy(
    path: &Path,
    task: Option<&OpenTask>,
    (demos, seed): (Option<&Path>, u64),
    out: &Path,
) -> Result<Vec<PathBuf>> {
    let file = load_policy(path)?;
    let task = own_or_named(task, &file.contract.task)?;
    task_of(&file, Some(&task))?;
    let Some(maker) = environments(&task)? else { return Ok(vec![]) };
    let rollouts = default_rollouts(&task);
    let options =
        ModeOptions { rollouts, seed, capture: Capture::Probes, ..ModeOptions::default() };
    let algorithm = &file.provenance.algorithm;
    let algorithm = algorithm.parse().map_or(algorithm.as_str(), |a: Algorithm| a.title());
    let title = format!("{algorithm} on {}: what each code does", task.info().name());
    if let Some(labels) = mode_labels(task.info(), file.latent) {
        let policy = Policy::new(&file);
        let report = evaluate_modes(&maker, &policy, file.latent, &labels, &options, None)?;
        return Ok(trajectories::draw(&report, &task, &title, out)?);
    }
    let (labels, groups) = match file.latent {
        LatentKind::OneHot(k) => {
            let book = Book::read(&std::fs::read(path)?, file.latent)?;
            let label = |code: usize| match book.as_ref().map(|book| book.name(code)) {
                Some(name) if name != code.to_string() => format!("code {code}: {name}"),
                _ => format!("code {code}"),
            };
            ((0..k).map(label).collect(), rollouts_of_each_code(&maker, &file, &options)?)
        }
        _ => {
            let groups = rollouts_by_code(&maker, &file, trajectories::GOAL_BINS, &options)?;
            let share = 100 / groups.len().max(1);
            let label = |i: usize| format!("rank of z1: {} to {} %", i * share, (i + 1) * share);
            ((0..groups.len()).map(label).collect::<Vec<String>>(), groups)
        }
    };
    let mut paths = trajectories::draw_by_code(labels, &groups, &task, &title, out)?;
    if let (Modes::Continuous(space), LatentKind::Gaussian(1)) = (&task.info().modes, file.latent)
        && space.dims() == 1
    {
        let speeds = speeds_by_code(&maker, &file, &options)?;
        let title = format!("{algorithm} on {}: speed by code", task.info().name());
        let shown = (space.low[0], space.high[0]);
        paths.extend(velocities::draw(&speeds, shown, &title, out)?);
    }
    if let Modes::Continuous(space) = &task.info().modes
        && let (&[a, b, c], &[d, e, f]) = (&space.low[..], &space.high[..])
    {
        let places = places_by_dimension(&maker, &file, &options)?;
        let title = format!("{algorithm} on {}", task.info().name());
        let goals = [[a, b, c], [d, e, f]];
        paths.extend(reaches::draw(&places, goals, &title, out)?);
        let demos = demos.map(|path| load_demos(path, task.info())).transpose()?;
        let ways = goals::reaches(&maker, &file, demos.as_ref(), &options)?;
        let codes = if demos.is_some() { "codes of demonstrations" } else { "random codes" };
        paths.extend(reaching::draw(&ways, goals, &format!("{title}: {codes}"), out)?);
    }
    Ok(paths)
}
