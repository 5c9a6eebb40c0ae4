//! `sog-run`: the deployed controller.

mod cli;

use std::process::ExitCode;

use sog_runtime::os::CountingAllocator;

/// Counts allocations, so that `bench` can report those of the loop.
#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

// The unwinder of the standard library, linked into the program.
#[cfg(static_unwinder)]
#[expect(unsafe_code, reason = "an empty block declares nothing; it only names the library")]
#[link(name = "gcc_eh", kind = "static")]
unsafe extern "C" {}

fn main() -> ExitCode {
    sog_runtime::os::pipe::end_quietly();
    cli::main()
}
