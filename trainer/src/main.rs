//! The `sog` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    sog_trainer::cli::main()
}
