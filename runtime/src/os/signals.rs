//! Signals that ask a program to end.

use std::{io, thread};

use signal_hook::{
    consts::{SIGHUP, SIGINT, SIGTERM},
    iterator::Signals,
};

/// Enough to call back, and little to lock.
const STACK_BYTES: usize = 64 * 1024;

/// From now on `SIGINT`, `SIGTERM` and `SIGHUP` do not end the program but call back, each time,
/// on a thread of their own. Call it before the real-time set-up of the calling thread.
///
/// # Errors
/// What the system says if it refuses.
pub fn on_signals(mut callback: impl FnMut() + Send + 'static) -> io::Result<()> {
    let mut signals = Signals::new([SIGINT, SIGTERM, SIGHUP])?;
    thread::Builder::new()
        .name("sog-signals".to_string())
        .stack_size(STACK_BYTES)
        .spawn(move || signals.forever().for_each(|_| callback()))
        .map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::{sync::mpsc, time::Duration};

    #[test]
    fn a_signal_calls_back_each_time() {
        let (called, calls) = mpsc::channel();
        on_signals(move || called.send(()).unwrap()).unwrap();
        for _ in 0..2 {
            let own = rustix::process::getpid();
            rustix::process::kill_process(own, rustix::process::Signal::HUP).unwrap();
            calls.recv_timeout(Duration::from_secs(10)).unwrap();
        }
    }
}
