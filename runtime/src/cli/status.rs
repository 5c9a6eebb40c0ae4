//! The live status line.

use std::{
    io::{self, IsTerminal, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use sog_runtime::telemetry::{Board, Figures};

use super::names::Names;

/// How often the line is drawn anew on a terminal, and how often a line is printed elsewhere.
const REDRAW: Duration = Duration::from_millis(200);
const REPRINT: Duration = Duration::from_secs(5);
const STACK_BYTES: usize = 128 * 1024;

/// A thread that shows a [`Board`] on standard error until it is dropped.
pub(super) struct StatusLine {
    done: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl StatusLine {
    pub(super) fn show(board: &Arc<Board>, names: &Names) -> io::Result<Self> {
        let done = Arc::new(AtomicBool::new(false));
        let (flag, board, names) = (Arc::clone(&done), Arc::clone(board), names.clone());
        let thread = thread::Builder::new()
            .name("sog-status".to_string())
            .stack_size(STACK_BYTES)
            .spawn(move || draw(&board, &names, &flag))?;
        Ok(Self { done, thread: Some(thread) })
    }
}

impl Drop for StatusLine {
    fn drop(&mut self) {
        self.done.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            // A status line that panicked has nothing more to say.
            let _ = thread.join();
        }
    }
}

fn draw(board: &Board, names: &Names, done: &AtomicBool) {
    let terminal = io::stderr().is_terminal();
    let interval = if terminal { REDRAW } else { REPRINT };
    let begin = Instant::now();
    let mut rates = Rates::default();
    loop {
        thread::park_timeout(interval);
        let last = done.load(Ordering::Relaxed);
        let figures = board.read();
        rates.add(begin.elapsed(), figures.ticks);
        let line = line(&figures, names, &rates);
        let mut out = io::stderr().lock();
        // A line that cannot be shown must not end the run.
        let _ = if terminal { write!(out, "\r\x1b[2K{line}") } else { writeln!(out, "{line}") };
        let _ = out.flush();
        if last {
            if terminal {
                let _ = writeln!(out);
            }
            return;
        }
    }
}

fn line(now: &Figures, names: &Names, rates: &Rates) -> String {
    let sum = now.episode_return.map_or(String::new(), |r| format!(" · return {r:.1}"));
    format!(
        "{}({}) · {:.1} Hz now, {:.1} mean, {} · wake ≤ {:.0} µs · {} misses · {} faults · {} limited{sum}",
        now.state,
        names.call(now.code),
        rates.now,
        rates.mean,
        rates.worst.map_or("worst second –".to_string(), |w| format!("worst second {w:.1}")),
        now.worst_wake_ns as f64 / 1e3,
        now.misses,
        now.faults,
        now.limited,
    )
}

/// Tick rates, Hz.
#[derive(Debug, Default)]
struct Rates {
    now: f64,
    mean: f64,
    /// Of whole seconds.
    worst: Option<f64>,
    last: (Duration, u64),
    second: (Duration, u64),
}

impl Rates {
    fn add(&mut self, time: Duration, ticks: u64) {
        let rate = |from: (Duration, u64)| {
            (ticks - from.1) as f64 / (time - from.0).as_secs_f64().max(1e-9)
        };
        self.now = rate(self.last);
        self.mean = rate((Duration::ZERO, 0));
        self.last = (time, ticks);
        if time - self.second.0 >= Duration::from_secs(1) {
            let second = rate(self.second);
            self.worst = Some(self.worst.map_or(second, |worst| worst.min(second)));
            self.second = (time, ticks);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_of_now_of_all_and_of_the_worst_second() {
        let mut rates = Rates::default();
        let mut add = |ms, ticks| rates.add(Duration::from_millis(ms), ticks);
        add(500, 50);
        add(1000, 100);
        add(2000, 160);
        add(2500, 260);
        assert!((rates.now - 200.0).abs() < 1e-6);
        assert!((rates.mean - 104.0).abs() < 1e-6);
        assert_eq!(rates.worst, Some(60.0));
    }
}
