//! `cargo xtask`: set-up and one-command entry points.

mod check;
mod cross;
mod cuda;
mod data;
mod debian;
mod demo;
mod dist;
mod example;
mod firmware;
mod notice;
mod robot;
mod setup;
mod shell;
mod slurm;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Set-up and one-command entry points of sog.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version, about)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Install libmujoco for this checkout; afterwards plain `cargo build` and `cargo test` work.
    Setup,
    /// Set up, then run every check that CI runs.
    Test,
    /// Set up, then the main job end to end: demonstrations, SOG-BC, the control loop, a picture.
    Demo(demo::Options),
    /// Set up, then build the trainer with CUDA, fetching NVIDIA's toolkit where there is none.
    Cuda(cuda::Options),
    /// Fetch public data sets (MNIST, Fashion-MNIST) into the ignored folder `.data`.
    Data(data::Options),
    /// Test the robot's side in C and Python against the vectors and under `sog-run`.
    Robot,
    /// Build `sog-run` for another architecture, fetching a compiler where there is none, and try it.
    Cross {
        /// Which one.
        #[arg(value_enum, default_value_t = cross::Architecture::Aarch64)]
        architecture: cross::Architecture,
    },
    /// Build the firmware and try it on emulated boards, fetching compiler and QEMU where there are none.
    Firmware,
    /// Make a Debian package and a tarball of `sog-run`, and try them.
    Dist(dist::Options),
    /// Set up, then the worked example of docs/your-own-robot.md from folder to flight.
    Example,
    /// Set up, then a small reproduction on a Slurm of one node, installing Slurm where it may.
    Slurm,
    /// Write THIRD-PARTY.md: the crates in the programs, and their licences.
    Notice,
}

fn main() -> ExitCode {
    let result = match Cli::parse().command {
        Command::Setup => setup::run(),
        Command::Test => setup::run().and_then(|()| check::run()),
        Command::Demo(options) => setup::run().and_then(|()| demo::run(&options)),
        Command::Cuda(options) => setup::run().and_then(|()| cuda::run(&options)),
        Command::Data(options) => data::run(&options),
        Command::Robot => setup::run().and_then(|()| robot::run()),
        Command::Cross { architecture: cross::Architecture::Aarch64 } => cross::run(),
        Command::Firmware => firmware::run(),
        Command::Dist(options) => dist::run(&options),
        Command::Example => setup::run().and_then(|()| example::run()),
        Command::Slurm => setup::run().and_then(|()| slurm::run()),
        Command::Notice => notice::write(),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}
