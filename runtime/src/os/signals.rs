//! Signals that end a run, in damping.
#![allow(unsafe_code)]

use std::{
    io,
    sync::{Arc, OnceLock},
};

use crate::control::{Mailbox, Request};

static MAILBOX: OnceLock<Arc<Mailbox>> = OnceLock::new();

/// From now on `SIGINT`, `SIGTERM` and `SIGHUP` post [`Request::Quit`], so that the run ends in
/// damping. Only the first call of a process installs its mailbox.
///
/// # Errors
/// What the system says if it refuses a handler.
pub fn quit_on_signals(mailbox: &Arc<Mailbox>) -> io::Result<()> {
    MAILBOX.get_or_init(|| Arc::clone(mailbox));
    for signal in [libc::SIGINT, libc::SIGTERM, libc::SIGHUP] {
        // SAFETY: a zeroed sigaction is a valid one, and `handle` only does what is allowed in a
        // handler: it reads an initialised cell and updates an atomic.
        let failed = unsafe {
            let mut action: libc::sigaction = std::mem::zeroed();
            action.sa_sigaction = handle as *const () as usize;
            action.sa_flags = libc::SA_RESTART;
            libc::sigaction(signal, &raw const action, std::ptr::null_mut()) != 0
        };
        if failed {
            return Err(io::Error::last_os_error());
        }
    }
    Ok(())
}

extern "C" fn handle(_: libc::c_int) {
    if let Some(mailbox) = MAILBOX.get() {
        mailbox.post(Request::Quit);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_signal_asks_to_quit() {
        let mailbox = Arc::new(Mailbox::new());
        quit_on_signals(&mailbox).unwrap();
        rustix::process::kill_process(rustix::process::getpid(), rustix::process::Signal::HUP)
            .unwrap();
        // The kernel may hand it to any thread of the process, so give it a moment.
        let asked = (0..1000).any(|_| {
            std::thread::yield_now();
            std::thread::sleep(std::time::Duration::from_millis(1));
            mailbox.take().contains(Request::Quit)
        });
        assert!(asked);
    }
}
