//! The command line: `sog <command>`.
//!
//! Exit codes: 0 good, 1 a check failed, 2 bad usage or input.

mod bench;
mod cuda;
mod demo_file;
mod demos;
mod edit;
mod embed;
mod eval;
mod expert;
mod figures;
mod from_log;
mod image;
mod import;
mod interrupt;
mod list_tasks;
mod name;
mod progress;
mod reproduce;
mod task;
mod train;

use std::{path::Path, process::ExitCode, sync::Arc};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use sog_runtime::{
    contract::Contract,
    os::{
        files::{Output, Outputs},
        pipe::end_quietly,
        with_causes,
    },
    policy::PolicyFile,
};
use sog_sim::{
    cli::{parsed, task_parser},
    error::SimError,
    task::{Modes, TaskInfo},
    tasks::{self, Simulator, TaskFolder, TaskMaker, TaskOptions},
};

use crate::data::DemoFile;

/// Learn every way of doing a task from unlabelled demonstrations.
#[derive(Parser)]
#[command(name = "sog", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the built-in tasks (as `sog task list`)
    Tasks(list_tasks::TasksArgs),
    /// Begin a task of your own, check one, list the built-in ones
    #[command(subcommand)]
    Task(task::TaskCommand),
    /// Train, evaluate and inspect experts
    #[command(subcommand)]
    Expert(expert::ExpertCommand),
    /// Record, inspect and import demonstrations
    #[command(subcommand)]
    Demos(demos::DemosCommand),
    /// Learn a policy from demonstrations
    Train(train::TrainArgs),
    /// Measure a policy: what each code does, and how well
    Eval(eval::EvalArgs),
    /// Make a table of the paper: demonstrations, training, evaluation, ours beside the paper's
    Reproduce(reproduce::ReproduceArgs),
    /// Time the training engine and rollouts
    Bench(bench::BenchArgs),
    /// Check training on an NVIDIA device
    #[command(subcommand)]
    Cuda(cuda::CudaCommand),
    /// Find the code of each demonstration
    Embed(embed::EmbedArgs),
    /// SOG on pictures: learn them, measure a model
    #[command(subcommand)]
    Image(image::ImageCommand),
    /// Name the codes of a policy, or list their names
    Name(name::NameArgs),
    /// Draw what runs learned: trajectories by code, learning curves
    Figures(figures::FiguresArgs),
}

/// How a command ended when nothing was wrong with its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// Exit code 0.
    Good,
    /// Exit code 1.
    CheckFailed,
    /// A signal ended it; exit code 128 and its number.
    Interrupted,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    end_quietly();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let cli = parsed::<Cli>();
    let outcome = match cli.command {
        Command::Tasks(args) => list_tasks::run(&args),
        Command::Task(command) => task::run(&command),
        Command::Expert(command) => expert::run(&command),
        Command::Demos(command) => demos::run(&command),
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Cuda(command) => cuda::run(&command),
        Command::Embed(args) => embed::run(&args),
        Command::Image(command) => image::run(&command),
        Command::Name(args) => name::run(&args),
        Command::Figures(args) => figures::run(&args),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(interrupt::exit_code()),
        Err(error) => {
            eprintln!("error: {}", with_causes(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// A file of demonstrations of a task, verified.
fn load_demos(path: &Path, task: &TaskInfo) -> Result<DemoFile> {
    DemoFile::load(path, task).with_context(|| format!("{} is refused", path.display()))
}

/// A policy file, verified.
fn load_policy(path: &Path) -> Result<PolicyFile> {
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    let (file, warning) =
        PolicyFile::open(&bytes).with_context(|| format!("{} is refused", path.display()))?;
    if let Some(warning) = warning {
        eprintln!("warning: {}: {warning}", path.display());
    }
    Ok(file)
}

/// The task of a policy: the one given, else the built-in one of its name; `None` where it is
/// somebody's own and no folder is given.
fn task_of(file: &PolicyFile, given: Option<&OpenTask>) -> Result<Option<OpenTask>> {
    let task = match given {
        Some(task) => Arc::clone(task),
        None if tasks::names().contains(&file.contract.task.as_str()) => {
            tasks::open(&file.contract.task)?
        }
        None => return Ok(None),
    };
    let fits = file.contract.check_fits(&sog_sim::robot::spec(task.info()).contract);
    fits.map_err(|error| error.between("the policy", "the task"))?;
    Ok(Some(task))
}

/// What a policy file alone says of its task: nothing of modes and horizon.
fn info_of(file: &PolicyFile) -> TaskInfo {
    info_of_contract(&file.contract)
}

/// What a contract alone says of its task.
fn info_of_contract(contract: &Contract) -> TaskInfo {
    let wide = |bounds: &[f32]| bounds.iter().map(|&b| f64::from(b)).collect();
    TaskInfo {
        name: contract.task.clone(),
        obs_terms: contract.obs_terms.clone(),
        action_terms: contract.action_terms.clone(),
        action_low: wide(&contract.action_low),
        action_high: wide(&contract.action_high),
        dt_s: contract.dt_s,
        horizon: 0,
        modes: Modes::Discrete(vec![]),
    }
}

/// A task that was opened by name or path.
type OpenTask = Arc<TaskFolder>;

/// A task given by name or path.
fn open_task(name_or_path: &str) -> Result<OpenTask, SimError> {
    tasks::open(name_or_path)
}

/// Outputs of a command that may read a task's folder.
fn outputs(force: bool, task: Option<&OpenTask>) -> Outputs {
    let read = task.map(|task| task.made_of()).unwrap_or_default();
    read.iter().fold(Outputs::new(force), |outputs, path| outputs.reads_within(path))
}

/// A place to write to, in a folder that is made if it is not there.
fn claim_in(outputs: &mut Outputs, path: &Path) -> Result<Output> {
    if let Some(dir) = path.parent().filter(|dir| !dir.as_os_str().is_empty()) {
        std::fs::create_dir_all(dir).with_context(|| format!("cannot make {}", dir.display()))?;
    }
    Ok(outputs.claim(path)?)
}

/// The environments of a task; `None` where nothing simulates it.
fn environments(task: &OpenTask) -> Result<Option<TaskMaker>, SimError> {
    match task.simulator() {
        Simulator::None => Ok(None),
        _ => TaskMaker::of(task, &TaskOptions::default()).map(Some),
    }
}
