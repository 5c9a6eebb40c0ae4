//! `sog demos`: demonstration files.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use clap::{Args, Subcommand};
use serde::Serialize;
use sog_formats::{
    Recording,
    inspect::{Report, inspect},
    layout::lay_out,
};
use sog_sim::{
    task::{Modes, TaskInfo},
    tasks::{TaskMaker, TaskOptions},
};

use super::{
    OpenTask, Outcome, demo_file, edit, from_log, import, progress::Progress, task_parser,
};
use crate::data::{DemoFile, Labels, plain, record};

#[derive(Subcommand)]
pub(super) enum DemosCommand {
    /// Record demonstrations of every mode from the task's expert
    Record(RecordArgs),
    /// Validate a demonstration file and say what is in it
    Info(InfoArgs),
    /// Turn demonstrations of other programs into a demonstration file
    #[command(after_help = import::HELP)]
    Import(import::ImportArgs),
    /// Make demonstrations of the logs of flights, or of where a person took over in them
    FromLog(from_log::FromLogArgs),
    /// Cut idle ends, drop episodes, cut off actions
    Clean(edit::CleanArgs),
    /// Put the episodes of several files into one
    Merge(edit::MergeArgs),
    /// Hold out a share of the episodes
    Split(edit::SplitArgs),
    /// Write demonstrations for other programs
    Export(edit::ExportArgs),
}

#[derive(Args)]
pub(super) struct RecordArgs {
    /// The task: the name of a built-in one (see `sog tasks`), or the folder of your own
    #[arg(long, value_parser = task_parser())]
    task: OpenTask,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Episodes of each mode, or number of goals [default: what the task's folder says, else 100]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    episodes_per_mode: Option<u32>,
    /// Standard deviation of noise added to the expert's actions before they are taken and recorded,
    /// in units of half the actions' range: shows how the expert recovers [default: the task's own]
    #[arg(long, value_name = "STD", value_parser = parse_noise)]
    action_noise: Option<f64>,
    /// Expert file to record from [default: the one that comes with the program]
    #[arg(long, value_name = "FILE")]
    expert: Option<PathBuf>,
    /// Seed of everything random
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Replace FILE if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct InfoArgs {
    /// Demonstration file, of ours or another program's
    file: PathBuf,
    #[command(flatten)]
    layout: import::LayoutArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &DemosCommand) -> Result<Outcome> {
    match command {
        DemosCommand::Record(args) => {
            // Before the work, so that a wrong name costs nothing.
            let out =
                demo_file::claim(&args.out, args.force, Some(&args.task), args.expert.as_deref())?;
            let file = record_demos(args)?;
            let task = args.task.info();
            demo_file::save(&out, &file, task)?;
            if !args.json {
                println!("wrote {}", args.out.display());
            }
            print(&DemoFile::load(&args.out, task)?, task, args.json)
        }
        DemosCommand::Info(args) => info(args),
        DemosCommand::Import(args) => print(&import::run(args)?, args.task.info(), args.json),
        DemosCommand::FromLog(args) => {
            let (file, task) = from_log::run(args)?;
            print(&file, &task, args.json)
        }
        DemosCommand::Clean(args) => edit::clean(args),
        DemosCommand::Merge(args) => edit::merge(args),
        DemosCommand::Split(args) => edit::split(args),
        DemosCommand::Export(args) => edit::export(args),
    }
}

/// Our own files are checked against their task; of others it is said what is in them.
fn info(args: &InfoArgs) -> Result<Outcome> {
    let path = &args.file;
    let Err(ours) = DemoFile::task_of(path) else {
        let (file, task) = demo_file::open(path)?;
        return print(&file, &task, args.json);
    };
    // A file of ours is no foreign one, whatever else it is.
    if ours.is_of_ours() {
        return Err(ours).with_context(|| format!("cannot read {}", path.display()));
    }
    match sog_formats::read(path, None) {
        Ok(mut recording) => {
            lay_out(&mut recording, &args.layout.layout())?;
            foreign_info(&recording, args.json)
        }
        // Of a damaged file of ours, our own reader knows better what is wrong.
        Err(_) if path.extension().is_some_and(|e| e == "safetensors") => {
            Err(ours).with_context(|| format!("cannot read {}", path.display()))
        }
        Err(foreign) => Err(foreign.into()),
    }
}

fn foreign_info(recording: &Recording, json: bool) -> Result<Outcome> {
    let report = inspect(recording, &[]);
    let format = recording.format.name();
    if json {
        let columns: Vec<serde_json::Value> = recording
            .columns
            .iter()
            .map(|c| {
                serde_json::json!({"name": c.name, "width": c.width, "type": c.dtype.to_string()})
            })
            .collect();
        let all = serde_json::json!({
            "format": format, "columns": columns, "metadata": recording.metadata,
            "notes": recording.notes, "report": report,
        });
        println!("{}", serde_json::to_string_pretty(&all)?);
        return Ok(Outcome::Good);
    }
    println!("{}: format {format}, columns", recording.source.display());
    for column in &recording.columns {
        println!("  {:<32} {:>4} × {}", column.name, column.width, column.dtype);
    }
    recording.notes.iter().for_each(|note| println!("  note: {note}"));
    print!("{report}");
    Ok(Outcome::Good)
}

/// How many modes labels speak of.
fn labelled(modes: &[u32]) -> usize {
    modes.iter().max().map_or(0, |&m| m as usize + 1)
}

fn parse_noise(text: &str) -> Result<f64, String> {
    let noise = text.parse().ok().filter(|noise| (0.0..=1.0).contains(noise));
    noise.ok_or_else(|| format!("{text}: a number from 0 to 1 is needed"))
}

fn record_demos(args: &RecordArgs) -> Result<DemoFile> {
    let info = args.task.info();
    let expert = record::expert_for(&args.task, args.expert.as_deref())?;
    let usual = record::RecordOptions::of(&args.task, args.seed);
    let episodes_per_mode = args.episodes_per_mode.map_or(usual.episodes_per_mode, |n| n as usize);
    let action_noise = args.action_noise.unwrap_or(usual.action_noise);
    let options = record::RecordOptions { episodes_per_mode, action_noise, ..usual };
    let maker = TaskMaker::of(&args.task, &TaskOptions::default())?;
    let total = episodes_per_mode * info.modes.count().unwrap_or(1);
    let progress = Progress::new("recording", total as u64);
    let file = record::record(&maker, info, expert.as_ref(), &options, &|| progress.tick())?;
    progress.finish();
    Ok(file)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Summary {
    task: String,
    trajectories: usize,
    rows: usize,
    length_min: usize,
    length_max: usize,
    /// Trajectories of each mode; absent without labels.
    per_mode: Option<Vec<usize>>,
    goals: bool,
    mean_return: Vec<f64>,
    expert: String,
    seed: u64,
    action_noise: f64,
    generator: String,
    sha256: String,
    /// Ranges, moments and findings.
    report: Report,
}

fn print(file: &DemoFile, task: &TaskInfo, json: bool) -> Result<Outcome> {
    let d = &file.demonstrations;
    let lengths = || (0..d.len()).map(|n| d.rows(n).len());
    let per_mode = match &file.labels {
        Some(Labels::Modes(modes)) => Some(
            (0..labelled(modes).max(task.modes.count().unwrap_or(0)))
                .map(|m| modes.iter().filter(|&&label| label as usize == m).count())
                .collect::<Vec<_>>(),
        ),
        _ => None,
    };
    let summary = Summary {
        task: task.name().to_string(),
        trajectories: d.len(),
        rows: d.total_rows(),
        length_min: lengths().min().unwrap_or(0),
        length_max: lengths().max().unwrap_or(0),
        per_mode,
        goals: matches!(file.labels, Some(Labels::Goals { .. })),
        mean_return: file.provenance.mean_return.clone(),
        expert: file.provenance.expert.clone(),
        seed: file.provenance.seed,
        action_noise: file.provenance.action_noise,
        generator: file.provenance.generator.clone(),
        sha256: d.sha256().to_string(),
        report: {
            let (recording, bounds) = plain::recording_of(file, task, Path::new(""));
            inspect(&recording, &bounds)
        },
    };
    if json {
        println!("{}", serde_json::to_string_pretty(&summary)?);
        return Ok(Outcome::Good);
    }
    let s = &summary;
    println!(
        "{}: {} trajectories, {} steps (each {} to {})",
        s.task, s.trajectories, s.rows, s.length_min, s.length_max
    );
    if let (Some(counts), Modes::Discrete(modes)) = (&s.per_mode, &task.modes) {
        for (m, count) in counts.iter().enumerate() {
            let label = modes.get(m).map_or("", |mode| mode.label.as_str());
            let mean = s.mean_return.get(m);
            let mean = mean.map_or(String::new(), |r| format!("  mean return {r:10.1}"));
            println!("  mode {m}  {label:<12} {count:>6} trajectories{mean}");
        }
    } else if s.goals {
        println!("  one goal a trajectory, mean return {:?}", s.mean_return);
    } else {
        println!("  no labels: codes can be learned, but not compared with modes");
    }
    println!(
        "  expert {}, seed {}, action noise {}, {}",
        s.expert, s.seed, s.action_noise, s.generator
    );
    println!("  sha256 {}", s.sha256);
    print!("{}", s.report);
    Ok(Outcome::Good)
}
