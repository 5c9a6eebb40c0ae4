//! `sog demos import`: demonstrations of other programs become demonstration files.

use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Args;
use sog_formats::{
    Format,
    layout::Layout,
    mapping::{Mapping, Part},
};

use super::{OpenTask, demo_file, progress::Progress, task_parser};
use crate::data::{
    DemoFile,
    foreign::{self, ForeignOptions},
    import::{self, ImportOptions},
};

/// What a person says of files that do not say it themselves.
#[derive(Args, Clone)]
pub(super) struct LayoutArgs {
    /// Column that numbers the episodes of a long table [default: episode, demo, trial, …]
    #[arg(long, value_name = "COLUMN")]
    episodes: Option<Part>,
    /// Column of time stamps in seconds; `COLUMN:*0.001` where they are milliseconds [default: t, time,
    /// timestamp, time_ms, …]
    #[arg(long, value_name = "COLUMN")]
    time: Option<Part>,
    /// Time between steps, where the files do not say it
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    dt: Option<f64>,
}

impl LayoutArgs {
    pub(super) fn layout(&self) -> Layout {
        Layout { episodes: self.episodes.clone(), time: self.time.clone(), dt_s: self.dt }
    }
}

fn seconds(text: &str) -> Result<f64, String> {
    let seconds = text.parse().ok().filter(|dt: &f64| dt.is_finite() && *dt > 0.0);
    seconds.ok_or_else(|| format!("`{text}`: need seconds above 0, such as 0.01"))
}

#[derive(Args)]
pub(super) struct ImportArgs {
    /// The task: the name of a built-in one (see `sog tasks`), or the folder of your own
    #[arg(long, value_parser = task_parser())]
    pub(super) task: OpenTask,
    /// Files or folders to read, one after the other
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    from: Vec<PathBuf>,
    /// Demonstration file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Format of the files: minari, lerobot, robomimic, d4rl, imitation, hdf5, npz, csv,
    /// safetensors or mat [default: found by their content]
    #[arg(long)]
    format: Option<Format>,
    #[command(flatten)]
    layout: LayoutArgs,
    /// Which column becomes which term; may be repeated
    #[arg(long, value_name = "TERM=COLUMN")]
    map: Vec<Mapping>,
    /// Interpolate to the task's control period by the files' time stamps
    #[arg(long)]
    resample: bool,
    /// Column that holds each episode's mode
    #[arg(long, value_name = "COLUMN")]
    labels: Option<String>,
    /// The episodes of each file are a mode of their own, for evaluation
    #[arg(long, conflicts_with = "labels")]
    mode_per_file: bool,
    /// Cut off actions that lie out of bounds, instead of refusing them
    #[arg(long)]
    clip: bool,
    /// Take numbers as they are though they look scrambled or shuffled
    #[arg(long)]
    accept_implausible: bool,
    /// Replace the file to write if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// What is said after the options.
pub(super) const HELP: &str = "\
A mapping takes a column whole or a part of it, or several columns one after the other:

  --map joint_pos=q                 the column `q`, or `q0`, `q1`, … / `q[0]`, `q[1]`, …
  --map joint_pos=state[0..7]       components 0 to 6
  --map ee_pos=x,y,z                three columns
  --map joint_pos=q:deg             degrees to radians (:*0.001 times a number)
  --map ee_quat=pose[3..7]:xyzw     a quaternion x y z w (:quat for w x y z)
  --map yaw=heading:angle           an angle that wraps    --map grip=closed:hold
  --map phase=t:*0.785:sin,t:*0.785:cos   sine and cosine of a number of radians
  --map joint_vel_des=rate(q)       change of `q` to the next step, per second
  --map joint_pos_des=next(q)       `q` one step on (next(q, 5): five)

`sog demos info FILE` lists the columns of a file (those of a table without names are data[0], data[1], …: \
`--time data[0] --map joint_pos=data[1..8]`). The table [import] of the task's task.toml may \
hold the same: format, episodes, time, dt, resample, labels, clip and [import.map].

A plain safetensors file has float32 (or float64) tensors `observations` [N, T, S] and `actions` \
[N, T, A]; uint32 `lengths` [N], `modes` [N] and float `goals` [N, dims] are optional. From Python \
(safetensors writes bytes as they lie: an array that is not contiguous would be scrambled):

  import numpy as np
  from safetensors.numpy import save_file
  arrays = {\"observations\": obs, \"actions\": act}
  save_file({k: np.ascontiguousarray(v) for k, v in arrays.items()}, \"mine.safetensors\")";

/// Reads and writes; the file as it was read back.
pub(super) fn run(args: &ImportArgs) -> Result<DemoFile> {
    let mut options = ForeignOptions {
        format: args.format,
        layout: args.layout.layout(),
        map: args.map.clone(),
        resample: args.resample,
        labels: args.labels.clone(),
        mode_per_file: args.mode_per_file,
        checks: ImportOptions { clip: args.clip, accept_implausible: args.accept_implausible },
    };
    options.complete(&args.task.definition().import)?;
    let task = args.task.info();
    // Before the work, so that a wrong name costs nothing.
    let from = args.from.iter().map(PathBuf::as_path);
    let out = demo_file::claim(&args.out, args.force, Some(&args.task), from)?;
    let (file, notes) = if foreign::is_plain(&args.from, &options) {
        let path = &args.from[0];
        let file = import::import_safetensors(path, task, options.checks)
            .with_context(|| format!("{} cannot be imported", path.display()))?;
        (file, vec![])
    } else {
        let progress = Progress::new("importing", args.from.len() as u64);
        let tick = || progress.tick();
        let imported = foreign::import_files(&args.from, task, &options, &tick)?;
        progress.finish();
        imported
    };
    notes.iter().for_each(|note| eprintln!("note: {note}"));
    demo_file::save(&out, &file, task)?;
    if !args.json {
        println!("wrote {}", args.out.display());
    }
    Ok(DemoFile::load(&args.out, task)?)
}
