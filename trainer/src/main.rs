//! The `sog` command.

use std::process::ExitCode;

fn main() -> ExitCode {
    keep_candle_to_one_thread();
    sog_trainer::cli::main()
}

/// candle shares large element-wise operations out among threads of its own, one a core, which spin
/// until all are done: those of an autoencoder are over before the last has begun. Nothing but the
/// environment says how many there are.
#[allow(unsafe_code)]
fn keep_candle_to_one_thread() {
    const THREADS: &str = "CANDLE_NUM_THREADS";
    if std::env::var_os(THREADS).is_none() {
        // SAFETY: there is no other thread yet that could read the environment.
        unsafe { std::env::set_var(THREADS, "1") };
    }
}
