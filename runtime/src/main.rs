//! `sog-run`: the deployed controller.

mod cli;

use std::process::ExitCode;

use sog_runtime::os::CountingAllocator;

/// Counts allocations, so that `bench` can report those of the loop.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn main() -> ExitCode {
    cli::main()
}
