//! Outputs that nobody reads any more: closed pipes, vanished terminals, full disks.
//!
//! * [`end_quietly`]: a program whose reader is gone, a pipe's or a terminal's, ends with 141, and
//!   says nothing;
//! * [`Flight`]: while it lasts the program goes on instead: a robot is not dropped because a
//!   terminal was closed.

use std::{
    io::{self, Write},
    os::fd::{AsFd, BorrowedFd},
    panic, process,
    sync::{
        Arc, LazyLock,
        atomic::{AtomicBool, Ordering},
    },
};

use rustix::{
    fs::{FileType, fstat},
    io::Errno,
};
use signal_hook::{
    consts::{SIGPIPE, SIGXFSZ},
    flag,
};

/// Exit code of a program whose reader is gone: 128 and the number of `SIGPIPE`, as in the shell.
pub const CLOSED_PIPE: u8 = 141;

/// Whether the program may end by itself for want of a reader.
static MAY_END: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From now on a write into a closed pipe or to a terminal that has vanished ends the program quietly with [`CLOSED_PIPE`], and a
/// `println!` that fails otherwise (a full disk) ends it with an error message and 1 instead of a
/// panic. The first thing in `main`.
pub fn end_quietly() {
    MAY_END.store(true, Ordering::Relaxed);
    // If the system refuses, `println!` fails, and the hook below ends the program.
    let _ =
        flag::register_conditional_shutdown(SIGPIPE, i32::from(CLOSED_PIPE), Arc::clone(&MAY_END));
    // A limit on the size of files is an error of the write, as a full disk is.
    let _ = flag::register(SIGXFSZ, Arc::default());
    let default = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map_or("", String::as_str);
        // The words of the standard library's print macros.
        match text.strip_prefix("failed printing to ") {
            Some(what) if MAY_END.load(Ordering::Relaxed) => {
                if is_gone(what) {
                    process::exit(i32::from(CLOSED_PIPE));
                }
                note(format_args!("error: cannot write to {what}"));
                process::exit(1);
            }
            _ => default(info),
        }
    }));
}

/// Whether a failure of the print macros, such as `stdout: Broken pipe (os error 32)`, is for want of
/// a reader. A terminal that has vanished is an input/output error, as a broken disk is.
fn is_gone(what: &str) -> bool {
    let is = |error: Errno| what.contains(&format!("(os error {})", error.raw_os_error()));
    let terminal = |of: BorrowedFd<'_>| {
        fstat(of).is_ok_and(|found| FileType::from_raw_mode(found.st_mode).is_char_device())
    };
    let to_terminal = match what.starts_with("stdout") {
        true => terminal(io::stdout().as_fd()),
        false => terminal(io::stderr().as_fd()),
    };
    is(Errno::PIPE) || (is(Errno::IO) && to_terminal)
}

/// While it lasts, a write to a reader that is gone fails and no more; who writes ignores it (see
/// [`note`]).
#[derive(Debug)]
pub struct Flight(());

impl Flight {
    /// Begins; ends when dropped.
    pub fn begin() -> Self {
        MAY_END.store(false, Ordering::Relaxed);
        Self(())
    }
}

impl Drop for Flight {
    fn drop(&mut self) {
        MAY_END.store(true, Ordering::Relaxed);
    }
}

/// A line on standard error, for whoever may be there.
pub fn note(line: std::fmt::Arguments<'_>) {
    let _ = writeln!(io::stderr(), "{line}");
}
