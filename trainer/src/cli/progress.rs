//! Progress: a bar on a terminal, plain lines elsewhere.

use std::{
    io::IsTerminal,
    sync::{
        Mutex,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use indicatif::{ProgressBar, ProgressStyle};

/// Time between plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(10);

/// Progress of one piece of work, on standard error.
pub(super) struct Progress {
    what: String,
    total: AtomicU64,
    done: AtomicU64,
    started: Instant,
    /// The bar, or when the last plain line was printed.
    bar: Option<ProgressBar>,
    last_line: Mutex<Instant>,
}

impl Progress {
    /// Starts showing progress of `what` from 0 to `total`.
    pub(super) fn new(what: &str, total: u64) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::new(total);
            let template = "{prefix} {wide_bar} {percent:>3}% {eta} left {msg}";
            bar.set_style(
                ProgressStyle::with_template(template)
                    .unwrap_or_else(|_| ProgressStyle::default_bar()),
            );
            bar.set_prefix(what.to_string());
            bar
        });
        let now = Instant::now();
        let what = what.to_string();
        Self {
            what,
            total: total.into(),
            done: AtomicU64::new(0),
            started: now,
            bar,
            last_line: Mutex::new(now),
        }
    }

    /// One more is done.
    pub(super) fn tick(&self) {
        let done = self.done.fetch_add(1, Ordering::Relaxed) + 1;
        self.show(done, "");
    }

    /// `done` of `total` are done; `message` says how it goes.
    pub(super) fn set_of(&self, done: u64, total: u64, message: &str) {
        self.total.store(total, Ordering::Relaxed);
        self.done.store(done, Ordering::Relaxed);
        if let Some(bar) = &self.bar {
            bar.set_length(total);
        }
        self.show(done, message);
    }

    fn show(&self, done: u64, message: &str) {
        match &self.bar {
            Some(bar) => {
                bar.set_position(done);
                if !message.is_empty() {
                    bar.set_message(message.to_string());
                }
            }
            None => {
                let Ok(mut last) = self.last_line.try_lock() else { return };
                if last.elapsed() >= LINE_INTERVAL {
                    *last = Instant::now();
                    let share = done as f64 / self.total.load(Ordering::Relaxed).max(1) as f64;
                    let seconds = self.started.elapsed().as_secs_f64();
                    let left = match share {
                        0.0 => String::new(),
                        share => format!(", {:.0} s left", seconds * (1.0 / share - 1.0)),
                    };
                    let (what, percent) = (&self.what, 100.0 * share);
                    eprintln!("{what}: {percent:.0} % after {seconds:.0} s{left} {message}");
                }
            }
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
