//! The command line: arguments, and what each command does.

mod args;
mod bench;
mod doctor;
mod host;
mod info;
mod link;
mod logs;
mod names;
mod operator;
mod record;
mod run;
mod seconds;
mod status;

use std::{env, process::ExitCode};

use sog_runtime::os::with_causes;

use args::{Args, Command};

/// Runs the program; 0: good, 1: a check or a run failed, 2: bad usage or input.
pub(crate) fn main() -> ExitCode {
    // clap itself exits with 2 on bad usage.
    let args = Args::from(env::args_os()).unwrap_or_else(|error| error.exit());
    let done = match (args.command, args.run) {
        (Some(Command::Doctor(args)), _) => doctor::main(&args),
        (Some(Command::Bench(args)), _) => bench::main(&args),
        (Some(Command::Replay(args)), _) => logs::replay(&args),
        (Some(Command::Export(args)), _) => logs::export(&args),
        (Some(Command::Info(args)), _) => info::main(&args),
        (Some(Command::Record(args)), _) => record::main(&args),
        (None, run) => run::main(&run),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::from(1),
        Err(error) => {
            eprintln!("error: {}", with_causes(error.as_ref()));
            ExitCode::from(2)
        }
    }
}
