//! `sog demos clean|merge|split|export`: demonstration files picked, cut, joined, parted and handed on.

use std::{
    ops::Range,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use clap::Args;
use sog_formats::{
    export::{self, Export},
    inspect::{STILL, moving},
};
use sog_runtime::os::files::{Output, Outputs};
use sog_sim::task::TaskInfo;

use super::{Outcome, demo_file, load_demos};
use crate::data::{DemoFile, exported, plain};

#[derive(Args)]
pub(super) struct CleanArgs {
    /// Demonstration file
    file: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Numbers of episodes to drop, from 0, separated by commas
    #[arg(long, value_name = "N,N,…", value_delimiter = ',')]
    drop: Vec<usize>,
    /// Keep the ends of episodes in which nothing moves
    #[arg(long)]
    keep_idle: bool,
    /// How far from where it stands a robot may be while idle, in standard deviations of each
    /// observation
    #[arg(long, value_name = "STD", default_value_t = STILL)]
    still: f64,
    /// Cut off actions that lie out of bounds
    #[arg(long)]
    clip: bool,
    /// Replace the file to write if it is there
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(super) struct MergeArgs {
    /// Demonstration files of one task
    #[arg(required = true, num_args = 2..)]
    files: Vec<PathBuf>,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Replace the file to write if it is there
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(super) struct SplitArgs {
    /// Demonstration file
    file: PathBuf,
    /// Share of the episodes (of each mode) that is held out
    #[arg(long, value_name = "SHARE", default_value_t = 0.2)]
    held_out: f64,
    /// Seed of the choice
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// File for the episodes that stay
    #[arg(long, value_name = "FILE")]
    train: PathBuf,
    /// File for those that are held out
    #[arg(long, value_name = "FILE")]
    test: PathBuf,
    /// Replace the files to write if they are there
    #[arg(long)]
    force: bool,
}

#[derive(Args)]
pub(super) struct ExportArgs {
    /// Demonstration file
    file: PathBuf,
    /// Format to write
    #[arg(long, value_enum)]
    format: ExportFormat,
    /// Folder to write; it must not be there yet
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

/// What can be written.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
enum ExportFormat {
    /// Farama's Minari, HDF5 (`minari.MinariDataset("DIR/data")`)
    Minari,
    /// Hugging Face's LeRobot, version 2.1
    Lerobot,
}

/// Writes a file and says so.
fn save(file: &DemoFile, task: &TaskInfo, out: &Output) -> Result<()> {
    demo_file::save(out, file, task)?;
    let d = &file.demonstrations;
    println!("wrote {}: {} episodes, {} steps", out.path().display(), d.len(), d.total_rows());
    Ok(())
}

pub(super) fn clean(args: &CleanArgs) -> Result<Outcome> {
    let out = demo_file::claim(&args.out, args.force, None, [args.file.as_path()])?;
    let (mut file, task) = demo_file::open(&args.file)?;
    let count = file.demonstrations.len();
    if let Some(n) = args.drop.iter().find(|&&n| n >= count) {
        bail!("--drop {n}: the file has episodes 0 to {}", count - 1);
    }
    if !(args.still.is_finite() && args.still >= 0.0) {
        bail!("--still {}: need a number from 0 on", args.still);
    }
    let mut ranges: Vec<Range<usize>> =
        (0..count).map(|n| 0..file.demonstrations.rows(n).len()).collect();
    if !args.keep_idle {
        let (recording, _) = plain::recording_of(&file, &task, &args.file);
        let whole = std::mem::replace(&mut ranges, moving(&recording, args.still));
        for (n, (range, whole)) in ranges.iter().zip(&whole).enumerate() {
            if range != whole && !args.drop.contains(&n) {
                let (head, tail) = (range.start, whole.end - range.end);
                println!("episode {n}: {head} idle steps cut at the start, {tail} at the end");
            }
        }
    }
    let chosen: Vec<(usize, Range<usize>)> =
        ranges.into_iter().enumerate().filter(|(n, _)| !args.drop.contains(n)).collect();
    file = file.picked(&chosen)?;
    if args.clip {
        file.clip(&task);
    }
    save(&file, &task, &out)?;
    Ok(Outcome::Good)
}

pub(super) fn merge(args: &MergeArgs) -> Result<Outcome> {
    let out =
        demo_file::claim(&args.out, args.force, None, args.files.iter().map(PathBuf::as_path))?;
    let (first, task) = demo_file::open(&args.files[0])?;
    let mut files = vec![first];
    for path in &args.files[1..] {
        let file = load_demos(path, &task)?;
        files.push(file);
    }
    save(&DemoFile::merged(&files)?, &task, &out)?;
    Ok(Outcome::Good)
}

pub(super) fn split(args: &SplitArgs) -> Result<Outcome> {
    if !(0.0..1.0).contains(&args.held_out) || args.held_out == 0.0 {
        bail!("--held-out {}: need a share between 0 and 1", args.held_out);
    }
    let mut outputs = Outputs::new(args.force).reads_all([args.file.as_path()]);
    let (train, test) = (outputs.claim(&args.train)?, outputs.claim(&args.test)?);
    let (file, task) = demo_file::open(&args.file)?;
    let count = file.demonstrations.len();
    let (stay, held) = file.split(args.held_out, args.seed);
    if held.is_empty() {
        bail!("{} has {count} episodes: too few to hold one out", args.file.display());
    }
    for (numbers, out) in [(stay, &train), (held, &test)] {
        let whole = |n: usize| (n, 0..file.demonstrations.rows(n).len());
        let part = file.picked(&numbers.into_iter().map(whole).collect::<Vec<_>>())?;
        save(&part, &task, out)?;
    }
    Ok(Outcome::Good)
}

pub(super) fn export(args: &ExportArgs) -> Result<Outcome> {
    let (file, task) = demo_file::open(&args.file)?;
    let d = &file.demonstrations;
    let export = exported::export_of(&file, &task);
    match args.format {
        ExportFormat::Minari => export::minari(&args.out, &export)?,
        ExportFormat::Lerobot => lerobot(&args.out, &export)?,
    }
    println!("wrote {}: {} episodes, {} steps", args.out.display(), d.len(), d.total_rows());
    Ok(Outcome::Good)
}

#[cfg(feature = "lerobot")]
fn lerobot(out: &Path, demonstrations: &Export<'_>) -> Result<()> {
    Ok(export::lerobot(out, demonstrations)?)
}

#[cfg(not(feature = "lerobot"))]
fn lerobot(_: &Path, _: &Export<'_>) -> Result<()> {
    bail!("this build writes no LeRobot files: build with `--features lerobot`")
}
