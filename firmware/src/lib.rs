//! What the programs share: how much memory they took, how many instructions, and how they end.
#![no_std]

pub mod instructions;
pub mod memory;
pub mod uart;

use core::fmt::Write;

use cortex_m_semihosting::{debug, hio};

/// Writes a line on the host's standard output.
pub fn say(line: core::fmt::Arguments<'_>) {
    // Without a host there is nobody to say it to.
    if let Ok(mut out) = hio::hstdout() {
        let _ = writeln!(out, "{line}");
    }
}

/// Ends the emulator.
pub fn exit(good: bool) -> ! {
    loop {
        debug::exit(if good { debug::EXIT_SUCCESS } else { debug::EXIT_FAILURE });
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    say(format_args!("{info}"));
    exit(false)
}
