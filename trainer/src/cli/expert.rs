//! `sog expert train|assemble|eval|info`: experts, from which demonstrations are recorded.

use std::{
    path::{Path, PathBuf},
    sync::{Arc, atomic::Ordering},
};

use anyhow::{Context, Result, bail};
use clap::{Args, Subcommand};
use serde::Serialize;
use sog_rl::{
    experts::{
        Actions, Evaluation, Expert, ExpertConfig, ExpertFile, ExpertProvenance, Origin, Source,
        Target, Training, assemble, evaluate_expert, network_dir, target, verdict,
    },
    run::read_config,
};
use sog_runtime::os::files::{Output, Outputs};
use sog_sim::{
    seed,
    task::{Modes, TaskInfo},
    tasks::{TaskFolder, TaskMaker, TaskOptions},
};

use super::{
    OpenTask, Outcome, claim_in, interrupt::stop_on_signals, open_task, outputs,
    progress::Progress, task_parser,
};
use crate::data::record;

#[derive(Subcommand)]
pub(super) enum ExpertCommand {
    /// Train the expert of a task on its own rewards, and write its file
    ///
    /// Networks are trained one after the other, each in a run directory of its own with
    /// checkpoints; a stop at any moment loses at most the work since the last checkpoint. When all
    /// are trained, the best ones are put together, evaluated and written.
    Train(TrainArgs),
    /// Write the expert file from the best networks so far, which may still be training
    Assemble(AssembleArgs),
    /// Evaluate an expert file anew; exit code 1 if it misses its task's target
    Eval(EvalArgs),
    /// Verify an expert file and say where it comes from and how good it was
    Info(InfoArgs),
}

/// Where runs and files are.
#[derive(Args)]
struct Places {
    /// The task (see `sog tasks`)
    #[arg(long, value_parser = task_parser())]
    task: OpenTask,
    /// Directory of the run directories [default: runs/experts/TASK]
    #[arg(long, value_name = "DIR")]
    runs: Option<PathBuf>,
    /// Expert file to write [default: models/experts/TASK.safetensors]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Replace the expert file if it is there
    #[arg(long)]
    force: bool,
    /// Episodes of each mode (or goals) in the final evaluation
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    episodes: u32,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct TrainArgs {
    #[command(flatten)]
    places: Places,
    /// Continue from the last checkpoints; networks that are done stay as they are
    #[arg(long)]
    resume: bool,
    /// Train this network alone, and write no expert file
    #[arg(long, value_name = "K")]
    network: Option<usize>,
    /// Environment steps of each network, in place of the configured ones
    #[arg(long, value_name = "STEPS")]
    budget: Option<u64>,
    /// Configuration (TOML) in place of the built-in one
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Seed, in place of the configured one
    #[arg(long)]
    seed: Option<u64>,
}

#[derive(Args)]
pub(super) struct AssembleArgs {
    #[command(flatten)]
    places: Places,
}

#[derive(Args)]
pub(super) struct EvalArgs {
    /// The task (see `sog tasks`)
    #[arg(long, value_parser = task_parser())]
    task: OpenTask,
    /// Expert file [default: the one that comes with the program]
    #[arg(long, value_name = "FILE")]
    expert: Option<PathBuf>,
    /// Episodes of each mode (or goals)
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    episodes: u32,
    /// Seed of start states and goals
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Probability that an action is replaced by a uniform one, as `sog eval --perturb` does: what a
    /// learner can be held against. The target is not looked at then
    #[arg(long, default_value_t = 0.0, value_name = "PROBABILITY")]
    perturb: f64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct InfoArgs {
    /// Expert file
    file: PathBuf,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(command: &ExpertCommand) -> Result<Outcome> {
    match command {
        ExpertCommand::Train(args) => train(args),
        ExpertCommand::Assemble(args) => {
            let out = args.places.claim(None)?;
            put_together(&args.places, &out)
        }
        ExpertCommand::Eval(args) => {
            if !(0.0..=1.0).contains(&args.perturb) {
                bail!("--perturb {}: need a probability from 0 to 1", args.perturb);
            }
            let path = args
                .expert
                .clone()
                .map_or_else(|| record::expert_path(args.task.info().name()), Ok)?;
            let expert =
                Expert::read(&path).with_context(|| format!("{} is refused", path.display()))?;
            if expert.task() != args.task.info().name() {
                let (found, needed) = (expert.task(), args.task.info().name());
                bail!("{} is an expert of {found}, need {needed}", path.display());
            }
            let maker = TaskMaker::of(&args.task, &TaskOptions::default())?;
            // Not the stream that the file's own evaluation draws from.
            let seed = seed::derive(args.seed, EVALUATION_STREAM);
            let actions = match args.perturb {
                0.0 => Actions::Mean,
                probability => Actions::Perturbed(probability),
            };
            let episodes = args.episodes as usize;
            let evaluation = evaluate_expert(&maker, &expert, episodes, actions, seed)?;
            let outcome = print(&args.task, &evaluation, None, args.json)?;
            Ok(if actions == Actions::Mean { outcome } else { Outcome::Good })
        }
        ExpertCommand::Info(args) => {
            let file = ExpertFile::read(&args.file)
                .with_context(|| format!("{} is refused", args.file.display()))?;
            let task = open_task(&file.task)?;
            let p = &file.provenance;
            print(&task, &p.evaluation, Some(p), args.json)?;
            Ok(Outcome::Good)
        }
    }
}

/// Stream of the seed that `eval` draws from.
const EVALUATION_STREAM: u64 = 0xe7a1;

impl Places {
    fn runs(&self) -> PathBuf {
        let default = || Path::new("runs/experts").join(self.task.info().name());
        self.runs.clone().unwrap_or_else(default)
    }

    fn out(&self) -> PathBuf {
        let default =
            || PathBuf::from(format!("models/experts/{}.safetensors", self.task.info().name()));
        self.out.clone().unwrap_or_else(default)
    }

    /// The place of the expert file: none of the checkpoints that it is made of.
    fn claim(&self, config: Option<&Path>) -> Result<Output> {
        let read = [Some(self.runs()), config.map(Path::to_path_buf)];
        let outputs = outputs(self.force, Some(&self.task));
        let within = |outputs: Outputs, path: &PathBuf| outputs.reads_within(path);
        claim_in(&mut read.iter().flatten().fold(outputs, within), &self.out())
    }
}

fn train(args: &TrainArgs) -> Result<Outcome> {
    let (task, runs) = (&args.places.task, args.places.runs());
    let config = configuration(args)?;
    // Before the work, so that a wrong name costs nothing.
    let out = match args.network {
        Some(_) => None,
        None => Some(args.places.claim(args.config.as_deref())?),
    };
    let networks = match args.network {
        Some(network) => vec![network],
        None => config.training_order(),
    };
    if !args.resume
        && let Some(&k) = networks.iter().find(|&&k| network_dir(&runs, k).exists())
    {
        bail!(
            "{} is there already; continue it with --resume, or give another --runs",
            network_dir(&runs, k).display()
        );
    }
    let maker = TaskMaker::of(task, &TaskOptions::default())?;
    if !args.places.json {
        println!("{}: {}; runs in {}", task.info().name(), wanted(task)?, runs.display());
        println!("{HEADER}");
    }
    let stop = stop_on_signals()?;
    for &network in &networks {
        let training = Training::open(&maker, &config, &runs, network)?;
        let mut training = training.interrupted_by(Arc::clone(&stop));
        train_network(&mut training, maker.info(), &config, network, args.places.json)?;
        if stop.load(Ordering::Relaxed) {
            let steps = training.saved_steps()?;
            eprintln!("stopped in network {network} with {steps} steps saved; go on with --resume");
            return Ok(Outcome::Interrupted);
        }
    }
    out.map_or(Ok(Outcome::Good), |out| put_together(&args.places, &out))
}

/// The built-in configuration or that of a file, with the overrides of the command line.
fn configuration(args: &TrainArgs) -> Result<ExpertConfig> {
    let mut config = match &args.config {
        Some(file) => read_config(file)?,
        None => ExpertConfig::of(&args.places.task)?,
    };
    if let Some(budget) = args.budget {
        config.budget = budget;
        for source in &mut config.networks {
            if let Source::Start { budget, .. } = source {
                *budget = None;
            }
        }
    }
    if let Some(seed) = args.seed {
        config.seed = seed;
    }
    Ok(config)
}

const HEADER: &str = "network  mode        env steps     wall      return    ± std   early   \
                      speed error   best at";

fn train_network(
    training: &mut Training,
    task: &TaskInfo,
    config: &ExpertConfig,
    network: usize,
    json: bool,
) -> Result<()> {
    let label = mode_label(task, network);
    let progress = Progress::new(&format!("network {network} ({label})"), config.budget);
    let mut wall_s = 0.0;
    training.train(&mut |p| {
        wall_s = p.wall_s;
        let best = p.best.evaluation.as_ref().unwrap_or(p.evaluation);
        let message = match best.speed_error_m_s {
            Some(error) => format!("speed error {error:.3} m/s at best"),
            None => format!(
                "return {:.1} ± {:.1}, best {:.1}, early {:.0} %",
                p.evaluation.mean,
                p.evaluation.std,
                best.mean,
                100.0 * best.early_ends
            ),
        };
        progress.set_of(p.steps, p.budget, &message);
        true
    })?;
    progress.finish();
    let best = training.best();
    if let (false, Some(e)) = (json, &best.evaluation) {
        println!(
            "{network:>7}  {label:<10} {:>10}  {:>5.0} s  {:>10.1}  {:>7.1}  {:>4.0} %  {:>12}  {:>8}",
            config.budget_of(network),
            wall_s,
            e.mean,
            e.std,
            100.0 * e.early_ends,
            e.speed_error_m_s.map_or("–".to_string(), |v| format!("{v:.3} m/s")),
            best.steps
        );
    }
    Ok(())
}

fn mode_label(task: &TaskInfo, network: usize) -> String {
    match &task.modes {
        Modes::Discrete(modes) => modes.get(network).map_or(String::new(), |m| m.label.clone()),
        Modes::Continuous(_) => "all goals".to_string(),
    }
}

/// What the task's expert must reach, for people.
fn wanted(task: &TaskFolder) -> Result<String> {
    Ok(match target(task)? {
        Some(Target::Return(r)) => {
            format!("wanted: mean return of {r} over modes (the paper's expert)")
        }
        Some(Target::SpeedError(e)) => format!("wanted: |v − g| of {e} m/s or less after a second"),
        Some(Target::HitRate(h)) => format!("wanted: {:.0} % of goals reached", 100.0 * h),
        None => "no target".to_string(),
    })
}

fn put_together(places: &Places, out: &Output) -> Result<Outcome> {
    let task = &places.task;
    let maker = TaskMaker::of(task, &TaskOptions::default())?;
    let git = || std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    let origin = Origin {
        command: format!("sog expert train --task {}", task.info().name()),
        revision: git()
            .map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string())
            .unwrap_or_default(),
    };
    let file = assemble(&maker, &places.runs(), places.episodes as usize, &origin)?;
    let path = out.path().display();
    out.write(&file.to_bytes()?).with_context(|| format!("cannot write {path}"))?;
    if !places.json {
        println!("wrote {path}");
    }
    print(task, &file.provenance.evaluation, Some(&file.provenance), places.json)
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    task: String,
    reached: f64,
    target_met: bool,
    weak_modes: Vec<String>,
    falling_modes: Vec<String>,
    evaluation: &'a Evaluation,
    #[serde(skip_serializing_if = "Option::is_none")]
    provenance: Option<&'a ExpertProvenance>,
}

/// Prints an evaluation and how it compares with the target.
fn print(
    task: &TaskFolder,
    evaluation: &Evaluation,
    provenance: Option<&ExpertProvenance>,
    json: bool,
) -> Result<Outcome> {
    let verdict = verdict(task, evaluation)?;
    let good =
        verdict.target_met && verdict.weak_modes.is_empty() && verdict.falling_modes.is_empty();
    let outcome = if good { Outcome::Good } else { Outcome::CheckFailed };
    if json {
        let report = Report {
            task: task.info().name().to_string(),
            reached: verdict.reached,
            target_met: verdict.target_met,
            weak_modes: verdict.weak_modes,
            falling_modes: verdict.falling_modes,
            evaluation,
            provenance,
        };
        println!("{}", serde_json::to_string_pretty(&report)?);
        return Ok(outcome);
    }
    println!(
        "{}, {} episodes a mode, {}",
        task.info().name(),
        evaluation.episodes_per_mode,
        wanted(task)?
    );
    for (k, m) in evaluation.modes.iter().enumerate() {
        let origin = provenance.and_then(|p| p.networks.get(k));
        println!(
            "  {:<12} {:>9.1} ± {:<7.1} early {:>4.1} %{}{}",
            m.label,
            m.mean,
            m.std,
            100.0 * m.early_ends,
            m.speed_error_m_s.map_or(String::new(), |v| format!("  speed error {v:.4} m/s")),
            origin.map_or(String::new(), |o| format!(
                "  {} ({} steps, {:.0} s)",
                o.origin, o.env_steps, o.wall_s
            ))
        );
    }
    let named = |what: &str, labels: &[String]| {
        if labels.is_empty() { String::new() } else { format!("; {what}: {}", labels.join(", ")) }
    };
    println!(
        "  reached {:.4}: target {}{}{}",
        verdict.reached,
        if verdict.target_met { "met" } else { "missed" },
        named("below 90 % of the mean", &verdict.weak_modes),
        named("often ended early", &verdict.falling_modes)
    );
    if let Some(p) = provenance {
        println!("  {}; {}; seed {}; revision {}", p.command, p.producer, p.seed, p.revision);
    }
    Ok(outcome)
}
