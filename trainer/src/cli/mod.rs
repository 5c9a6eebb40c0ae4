//! The command line: `sog <command>`.
//!
//! Exit codes: 0 good, 1 a check failed, 2 bad usage or input.

mod bench;
mod cuda;
mod demos;
mod embed;
mod eval;
mod expert;
mod figures;
mod list_tasks;
mod progress;
mod reproduce;
mod train;

use std::{path::Path, process::ExitCode};

use anyhow::{Context, Result};
use clap::{Parser, Subcommand};
use sog_runtime::policy::PolicyFile;
use sog_sim::{
    task::{TaskId, TaskInfo},
    tasks,
};

/// Learn every way of doing a task from unlabelled demonstrations.
#[derive(Parser)]
#[command(name = "sog", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the tasks with their sizes, control periods and modes
    Tasks(list_tasks::TasksArgs),
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
    /// Exit code 130, as of a program that a signal ends.
    Interrupted,
}

/// Exit code of a program whose output nobody reads any more, as a shell gives it (128 + SIGPIPE).
const NO_READER: i32 = 141;

/// Lets `sog … | head` end the program quietly: the standard library panics there.
fn end_quietly_without_reader() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let text = panic.payload().downcast_ref::<String>();
        if text.is_some_and(|t| t.starts_with("failed printing to") && t.contains("Broken pipe")) {
            std::process::exit(NO_READER);
        }
        usual(panic);
    }));
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    end_quietly_without_reader();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let cli = Cli::parse();
    let outcome = match cli.command {
        Command::Tasks(args) => list_tasks::run(&args),
        Command::Expert(command) => expert::run(&command),
        Command::Demos(command) => demos::run(&command),
        Command::Train(args) => train::run(&args),
        Command::Eval(args) => eval::run(&args),
        Command::Reproduce(args) => reproduce::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Cuda(command) => cuda::run(&command),
        Command::Embed(args) => embed::run(&args),
        Command::Figures(args) => figures::run(&args),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Ok(Outcome::Interrupted) => ExitCode::from(130),
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::from(2)
        }
    }
}

/// A policy file, verified, with its task.
fn load_policy(path: &Path) -> Result<(PolicyFile, TaskInfo)> {
    let bytes = std::fs::read(path).with_context(|| format!("{}", path.display()))?;
    let file =
        PolicyFile::parse(&bytes).with_context(|| format!("{} is refused", path.display()))?;
    let task = parse_task(&file.task)?;
    file.check_fits(task.name(), &task.obs_terms, &task.action_terms)?;
    Ok((file, task))
}

/// A task given by name.
fn parse_task(name: &str) -> Result<TaskInfo, sog_sim::error::SimError> {
    name.parse::<TaskId>().map(tasks::info)
}
