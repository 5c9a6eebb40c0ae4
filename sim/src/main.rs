//! The `sog-sim` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    sog_sim::cli::main()
}
