//! `sog cuda check`: what there is to know about training on a device, found out in minutes.
//!
//! * [`device`]: what `--device` takes;
//! * [`check`]: runs the parts below one after the other, each in a process of its own with a time
//!   limit, and writes down what they find;
//! * [`part`]: what a part works with and how it tells what it found;
//! * [`machine`], [`agreement`], [`resume`], [`errors`], [`times`], [`seeds`], [`torch`], [`images`],
//!   [`learned`]: the parts;
//! * [`report`]: what was found, as JSON and as tables.
//!
//! The parts use the program as everybody does, by its command line, all but those that time single
//! updates.

mod agreement;
mod check;
pub(super) mod device;
mod errors;
mod images;
mod learned;
mod machine;
mod memory;
mod part;
mod parts;
mod report;
mod resume;
mod seeds;
pub(super) mod times;
mod torch;

use std::path::PathBuf;

use anyhow::Result;
use clap::{Args, Subcommand};

use self::device::DeviceArg;
use super::Outcome;

#[derive(Subcommand)]
pub(super) enum CudaCommand {
    /// Try everything that runs on a device, in under 8 minutes; writes results.json and results.md
    Check(CheckArgs),
    /// One part of the check
    #[command(hide = true)]
    Part(PartArgs),
}

#[derive(Args)]
pub(super) struct CheckArgs {
    /// Directory for the results and the runs they come from
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    how: HowArgs,
    /// Minutes for everything; what does not fit is left out and named
    #[arg(long, default_value_t = 8.0)]
    minutes: f64,
    /// Only these parts
    #[arg(long, value_delimiter = ',', value_name = "PARTS")]
    only: Vec<String>,
    /// Print the results as JSON
    #[arg(long)]
    json: bool,
}

#[derive(Args)]
pub(super) struct PartArgs {
    /// Its name
    name: String,
    /// The check's directory
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    #[command(flatten)]
    how: HowArgs,
    /// Seconds it has
    #[arg(long)]
    seconds: f64,
}

/// How a check is made.
#[derive(Args, Clone)]
struct HowArgs {
    /// What is compared with the processor: cuda, cuda:N; `candle` and `cpu` try the check itself
    #[arg(long, default_value = "cuda")]
    device: DeviceArg,
    /// Everything once, and small: to see that it runs
    #[arg(long)]
    quick: bool,
    /// A Python with PyTorch, to time the same updates [default: python3, if it has PyTorch]
    #[arg(long, value_name = "PYTHON")]
    python: Option<PathBuf>,
    /// The script that times PyTorch's updates; without it that part is skipped
    #[arg(long, value_name = "FILE")]
    torch_script: Option<PathBuf>,
}

pub(super) fn run(command: &CudaCommand) -> Result<Outcome> {
    match command {
        CudaCommand::Check(args) => check::run(args),
        CudaCommand::Part(args) => parts::run(args).map(|()| Outcome::Good),
    }
}
