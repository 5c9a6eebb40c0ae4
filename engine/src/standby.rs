//! A second thread at hand while an update runs, where that makes updates faster.
//!
//! The parts of a small update take tens of microseconds, and waking a thread of the pool that has
//! gone to sleep takes as long. So while an update runs, another thread of the pool *stands by*: it
//! looks for parts to take over and does not sleep in between. It is taken from the pool by
//! `rayon::join`, like the parts themselves, so it may also not come: when the other threads have
//! work of their own, the caller does everything itself and has lost a microsecond. A thread that
//! finds nothing for [`PATIENCE`] goes back to the pool, and to sleep. That bound is also what
//! makes updates safe to nest and to run side by side in one pool: a thread that waits for its part
//! may stand by for another's update meanwhile, but never for long.
//!
//! A part in the hands of a thread that has lost its core to another program keeps the others
//! waiting. So a [`Pace`] measures now and then whether updates take less time together or alone.
//! The results are the same.

use std::cell::Cell;
use std::num::NonZero;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread::{available_parallelism, yield_now};
use std::time::{Duration, Instant};

use rayon::Yield;

use crate::shard::Parallelism;

/// How long a thread looks for parts in vain before it gives up: longer than an update's serial
/// stretches, short beside a scheduler's slice.
const PATIENCE: Duration = Duration::from_micros(100);

/// Looks between two looks at the clock, which also let another program have the core.
const LOOKS: usize = 64;

/// Time in updates for which one way is tried: several slices of a scheduler, which may need some
/// to give a thread that wakes a core of its own.
const TRIAL: Duration = Duration::from_millis(30);

/// Trials' time for which the faster way is kept before the other is tried again.
const KEPT: u32 = 20;

/// Most parameters that are fetched ahead: with what an update keeps beside them they fit into a core's
/// second cache.
const MOST_FETCHED: usize = 128 * 1024;

/// Chunks of a flat vector, and so the most threads that one pass over it can use.
pub(crate) const CHUNKS: usize = 8;

/// Length of all chunks but the last of a vector of `len` elements: whole pairs of cache lines.
/// Follows from `len` alone.
pub(crate) fn chunk_len(len: usize) -> usize {
    len.div_ceil(CHUNKS).max(1).next_multiple_of(32)
}

/// Whether this machine lets the process have more than one core.
static MANY_CORES: LazyLock<bool> =
    LazyLock::new(|| available_parallelism().map_or(1, NonZero::get) > 1);

thread_local! {
    /// How the update that this thread has begun is done, if there is one.
    static WAY: Cell<Option<Way>> = const { Cell::new(None) };
}

/// How an update is done.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Way {
    /// While another thread stands by.
    #[default]
    Together,
    /// By the calling thread.
    Alone,
}

/// Which way has been faster, for one kind of update.
#[derive(Debug, Clone, Default)]
pub(crate) struct Pace {
    way: Way,
    /// Whether `way` has been found to be the faster.
    kept: bool,
    /// Whether the first update this way is over: buffers grow in it, and threads wake.
    warm: bool,
    /// Updates done this way since, and the time in them.
    updates: u32,
    time: Duration,
    /// Mean time of an update the other way when that was last tried.
    other: Option<Duration>,
}

impl Pace {
    /// Counts an update done the present way, and decides about the next.
    fn count(&mut self, time: Duration) {
        if !std::mem::replace(&mut self.warm, true) {
            return;
        }
        self.updates += 1;
        self.time += time;
        if self.time < if self.kept { KEPT * self.trial() } else { TRIAL } {
            return;
        }
        let mean = self.time / self.updates;
        let stays = !self.kept && self.other.is_some_and(|other| mean <= other);
        if !stays {
            self.way = if self.way == Way::Together { Way::Alone } else { Way::Together };
            // The first trial of all is followed by that of the other way; one that was lost, by
            // what it was tried against.
            self.kept = !self.kept && self.other.is_some();
            self.other = Some(mean);
            self.warm = false;
        } else {
            self.kept = true;
        }
        (self.updates, self.time) = (0, Duration::ZERO);
    }

    /// Least time that a trial of the other way takes: of two updates, however long.
    fn trial(&self) -> Duration {
        TRIAL.max(2 * self.other.unwrap_or_default())
    }
}

impl Parallelism {
    /// Number of threads that may take part in an update.
    fn most_threads(self) -> usize {
        match self {
            Self::Rayon if *MANY_CORES => rayon::current_num_threads(),
            Self::Rayon | Self::Serial => 1,
        }
    }

    /// Number of threads that may take part now.
    pub(crate) fn threads(self) -> usize {
        if WAY.get() == Some(Way::Alone) { 1 } else { self.most_threads() }
    }

    /// Whether there is another thread, and a core for it.
    pub(crate) fn has_helpers(self) -> bool {
        self.threads() > 1
    }

    /// Length of the parts in which threads go over a flat vector of `len` elements: one part a
    /// thread, of whole chunks, so that it stays in that thread's cache from pass to pass.
    pub(crate) fn part_len(self, len: usize) -> usize {
        chunk_len(len) * CHUNKS.div_ceil(self.threads())
    }

    /// Brings `params` into this core's cache where other threads have written some of them.
    ///
    /// A product would fetch them too, but in an order that the processor does not foresee. And a
    /// line that another core wrote moves to the first that reads it: that core reads it again.
    pub(crate) fn fetch(self, params: &[f32]) {
        if self.has_helpers() && params.len() <= MOST_FETCHED {
            let line = 64 / size_of::<f32>();
            for _ in 0..2 {
                let bits = params.iter().step_by(line).map(|p| p.to_bits());
                std::hint::black_box(bits.fold(0, |all, bits| all ^ bits));
            }
        }
    }

    /// Does both, the second on another thread if there is one at hand.
    pub(crate) fn join<A: Send, B: Send>(
        self,
        here: impl FnOnce() -> A + Send,
        there: impl FnOnce() -> B + Send,
    ) -> (A, B) {
        if self.has_helpers() { rayon::join(here, there) } else { (here(), there()) }
    }

    /// Does one update, alone or while another thread stands by for its parts.
    pub(crate) fn update<R: Send>(self, pace: &mut Pace, work: impl FnOnce() -> R + Send) -> R {
        if self.most_threads() < 2 || WAY.get().is_some() {
            return work();
        }
        let (begin, way) = (Instant::now(), pace.way);
        let result = match way {
            Way::Alone => begun(way, work),
            Way::Together => {
                let done = AtomicBool::new(false);
                let work = || {
                    let _announce = OnDrop(|| done.store(true, Ordering::Release));
                    begun(way, work)
                };
                rayon::join(work, || stand_by(&done)).0
            }
        };
        pace.count(begin.elapsed());
        result
    }
}

/// Does `work` with this thread knowing that it has begun an update.
fn begun<R>(way: Way, work: impl FnOnce() -> R) -> R {
    WAY.set(Some(way));
    let _over = OnDrop(|| WAY.set(None));
    work()
}

/// Takes over parts until `done`, or until there have been none for [`PATIENCE`].
fn stand_by(done: &AtomicBool) {
    let mut last_part = Instant::now();
    while !done.load(Ordering::Acquire) {
        let found = (0..LOOKS).any(|_| {
            std::hint::spin_loop();
            done.load(Ordering::Acquire) || rayon::yield_now() == Some(Yield::Executed)
        });
        if found {
            last_part = Instant::now();
        } else if last_part.elapsed() > PATIENCE {
            return;
        } else {
            yield_now();
        }
    }
}

/// Does something at the end of its scope, also when that is a panic.
struct OnDrop<F: Fn()>(F);

impl<F: Fn()> Drop for OnDrop<F> {
    fn drop(&mut self) {
        (self.0)();
    }
}

/// A copy of something for each thread of the pool.
#[derive(Debug)]
pub(crate) struct PerThread<T>(Vec<Mutex<T>>);

impl<T> PerThread<T> {
    /// Makes copies for all threads that may take part in an update.
    pub(crate) fn grow(&mut self, parallelism: Parallelism, new: impl Fn() -> T) {
        while self.0.len() < parallelism.most_threads() {
            self.0.push(Mutex::new(new()));
        }
    }

    /// Gives `work` the copy of the calling thread.
    pub(crate) fn with<R>(&self, work: impl FnOnce(&mut T) -> R) -> R {
        let thread = rayon::current_thread_index().unwrap_or(0) % self.0.len();
        // What a panic left half done is made anew like any other old content.
        work(&mut self.0[thread].lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl<T> Default for PerThread<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

/// The clone's copies are made when it needs them.
impl<T> Clone for PerThread<T> {
    fn clone(&self) -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn in_pool<R: Send>(threads: usize, work: impl FnOnce() -> R + Send) -> R {
        rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("threads").install(work)
    }

    fn together<R: Send>(work: impl FnOnce() -> R + Send) -> R {
        Parallelism::Rayon.update(&mut Pace::default(), work)
    }

    #[test]
    fn one_thread_has_no_helpers() {
        in_pool(1, || assert!(!Parallelism::Rayon.has_helpers()));
        in_pool(2, || assert!(!Parallelism::Serial.has_helpers()));
        in_pool(2, || assert_eq!(Parallelism::Rayon.has_helpers(), *MANY_CORES));
        in_pool(2, || begun(Way::Alone, || assert!(!Parallelism::Rayon.has_helpers())));
    }

    #[test]
    fn an_update_is_over_when_it_panics() {
        for threads in [1, 2, 3] {
            in_pool(threads, || {
                let work = || together(|| panic!("of this test"));
                assert!(catch_unwind(AssertUnwindSafe(work)).is_err());
                assert_eq!(WAY.get(), None);
            });
        }
    }

    #[test]
    fn standing_by_without_a_part_ends() {
        let before = Instant::now();
        in_pool(2, || stand_by(&AtomicBool::new(false)));
        assert!(before.elapsed() >= PATIENCE);
    }

    #[test]
    fn nested_and_concurrent_updates_come_to_an_end() {
        fn update(depth: usize) -> usize {
            together(|| match depth {
                0 => 1,
                _ => {
                    let (a, b) = rayon::join(|| update(depth - 1), || update(depth - 1));
                    a + b
                }
            })
        }
        for threads in [2, 4] {
            assert_eq!(in_pool(threads, || update(9)), 512);
        }
    }

    /// Updates of `TRIAL` / 10 or more each: the way of each after which `switch` changes times.
    fn ways(pace: &mut Pace, updates: usize, together: u32, alone: u32) -> Vec<Way> {
        let mut ways = Vec::new();
        for _ in 0..updates {
            ways.push(pace.way);
            pace.count(TRIAL / 10 * if pace.way == Way::Together { together } else { alone });
        }
        ways
    }

    #[test]
    fn the_faster_way_is_kept_and_the_other_tried_again() {
        let mut pace = Pace::default();
        let share = |ways: &[Way], way| ways.iter().filter(|w| **w == way).count();
        let quiet = ways(&mut pace, 1000, 1, 2);
        assert_eq!(quiet[..11], [Way::Together; 11]);
        assert_eq!(quiet[11..17], [Way::Alone; 6]);
        assert!((10..50).contains(&share(&quiet, Way::Alone)), "{}", share(&quiet, Way::Alone));
        // Another program takes the second core, and goes.
        let busy = ways(&mut pace, 1000, 3, 2);
        assert!(share(&busy[200..], Way::Alone) > 700);
        let quiet = ways(&mut pace, 1000, 1, 2);
        assert!(share(&quiet[200..], Way::Together) > 700);
    }

    #[test]
    fn the_first_update_of_a_trial_does_not_count() {
        let mut pace = Pace::default();
        for update in 0..50 {
            // In the very first one buffers grow.
            let cold = if update == 0 { 50 } else { 1 };
            pace.count(TRIAL * cold * if pace.way == Way::Together { 1 } else { 2 });
        }
        assert_eq!((pace.way, pace.kept), (Way::Together, true));
    }

    #[test]
    fn long_updates_are_seldom_done_the_slower_way() {
        let mut pace = Pace::default();
        // Ten trials each; done alone, a hundred.
        let ways = ways(&mut pace, 1000, 100, 1000);
        let alone = ways.iter().filter(|way| **way == Way::Alone).count();
        assert!((1..=12).contains(&alone), "{alone}");
    }
}
