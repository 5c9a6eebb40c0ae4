//! The command line: `sog-sim <command>`.
//!
//! Exit codes: 0 good, 1 a check failed, 2 bad usage or input.

mod bench;
mod check;
mod list;
mod plant;
mod record;
mod run;

use std::{path::PathBuf, process::ExitCode, sync::Arc};

use clap::{
    Args, Parser, Subcommand,
    builder::{OsStringValueParser, TypedValueParser},
};
use sog_runtime::os::{files::Outputs, with_causes};

use crate::{
    physics::RobotSource,
    task::Modes,
    tasks::{TaskFolder, TaskOptions},
};

/// The simulated robots: check them against references, measure, run policies on them.
#[derive(Parser)]
#[command(name = "sog-sim", version, arg_required_else_help = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// List the tasks with their sizes, control periods and modes
    Tasks(list::ListArgs),
    /// Replay reference trajectories and say how far the simulator is off
    Check(check::CheckArgs),
    /// Measure control and physics steps per second, beside MuJoCo alone
    Bench(bench::BenchArgs),
    /// Close the control loop of a policy around a simulated robot in this process
    Run(run::RunArgs),
    /// Put a simulated robot behind a link, for hardware-in-the-loop tests
    Plant(plant::PlantArgs),
    /// Record demonstrations of the task's expert over a link, as `sog-run record` does from a robot
    Record(record::RecordArgs),
}

/// Where robots come from.
#[derive(Args)]
struct RobotArgs {
    /// Directory of robot files (MJCF) to use instead of those built in
    #[arg(long, value_name = "DIR")]
    robots: Option<PathBuf>,
}

impl RobotArgs {
    /// Outputs of a command that reads a task and these robots.
    fn outputs(&self, force: bool, task: &TaskFolder) -> Outputs {
        let read = task.made_of().into_iter().chain(self.robots.clone());
        read.fold(Outputs::new(force), |outputs, path| outputs.reads_within(&path))
    }

    fn options(&self) -> TaskOptions {
        let robots = match &self.robots {
            Some(directory) => RobotSource::Directory(directory.clone()),
            None => RobotSource::Embedded,
        };
        TaskOptions { robots }
    }
}

/// How a command ended when nothing was wrong with its input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// Exit code 0.
    Good,
    /// Exit code 1.
    CheckFailed,
    /// Exit code 2; already said why.
    BadInput,
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    sog_runtime::os::pipe::end_quietly();
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("warn")).init();
    let outcome = match parsed::<Cli>().command {
        Command::Tasks(args) => list::run(&args),
        Command::Check(args) => check::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Run(args) => run::run(&args),
        Command::Plant(args) => plant::run(&args),
        Command::Record(args) => record::run(&args),
    };
    match outcome {
        Ok(Outcome::Good) => ExitCode::SUCCESS,
        Ok(Outcome::CheckFailed) => ExitCode::from(1),
        Ok(Outcome::BadInput) => ExitCode::from(2),
        Err(error) => {
            eprintln!("error: {}", with_causes(error.as_ref()));
            ExitCode::from(2)
        }
    }
}

/// The arguments of this process; whatever is wrong with them ends it. A number below 0 is the value
/// of the option before it, so that the option says what it needs.
pub fn parsed<C: Parser>() -> C {
    fn numbers(command: clap::Command) -> clap::Command {
        let number = |arg: clap::Arg| {
            let takes = arg.get_action().takes_values();
            arg.allow_negative_numbers(takes)
        };
        command.mut_args(number).mut_subcommands(numbers)
    }
    let mut command = numbers(C::command());
    let mut matches = command.get_matches_mut();
    C::from_arg_matches_mut(&mut matches).unwrap_or_else(|e| e.format(&mut command).exit())
}

/// Takes a task given by its name, or by the path of its folder, in whatever bytes.
pub fn task_parser() -> impl TypedValueParser<Value = Arc<TaskFolder>> {
    OsStringValueParser::new().try_map(crate::tasks::open)
}

/// Prints one JSON value.
fn print_json(value: &serde_json::Value) {
    println!("{value:#}");
}

/// A progress bar on a terminal; nothing elsewhere.
fn progress(what: &'static str, total: u64) -> indicatif::ProgressBar {
    let style = indicatif::ProgressStyle::with_template("{msg} {bar:40} {pos}/{len} {eta}")
        .expect("a template of fixed form");
    indicatif::ProgressBar::new(total).with_style(style).with_message(what)
}

/// Labels of the rewards.
fn labels(modes: &Modes, goals: &[f64]) -> Vec<String> {
    match modes {
        Modes::Discrete(modes) => modes.iter().map(|m| m.label.clone()).collect(),
        Modes::Continuous(space) => {
            let goals = if goals.is_empty() { &space.default } else { goals };
            goals.chunks_exact(space.dims()).map(|goal| format!("goal {goal:?}")).collect()
        }
    }
}
