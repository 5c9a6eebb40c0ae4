//! From the tick to the disk: two wait-free queues and the thread between them and the file.
//!
//! A fixed stock of sheets goes round: the tick takes an empty one, fills it and hands it on; the
//! writer writes it out and hands it back. Where there is no empty sheet the record is missing and
//! counted, and the tick goes on. The writer empties its hands every few milliseconds, so that a
//! program that is killed leaves a log of all but the last ticks.

use std::{
    cell::RefCell,
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use heapless::spsc::{Consumer, Producer, Queue};

use super::{
    header::{AdapterHeader, Header},
    log, record,
};
use crate::{
    adapter::Adapter,
    control::{Controller, Observer, TickReport},
    io::RobotIo,
    os::files::Output,
    time::Wake,
};

/// Memory of the stock of sheets.
const STOCK_BYTES: usize = 1 << 20;
/// Fewest and most sheets.
const SHEETS: std::ops::RangeInclusive<usize> = 256..=8192;
/// How long the writer rests when there is nothing to write: what a killed program loses.
const REST: Duration = Duration::from_millis(5);
/// Bytes that are written at once while there is more to come.
const BATCH_BYTES: usize = 64 * 1024;
/// Enough for the writer, and little to lock.
const STACK_BYTES: usize = 128 * 1024;

/// The record of a tick, in words.
type Sheet = Box<[u32]>;
/// One more than fit, as the queue wants it.
type Sheets = Queue<Sheet, { *SHEETS.end() + 1 }>;

/// The loop's end: records every tick, and never waits.
pub struct Recorder {
    empty: Consumer<'static, Sheet>,
    full: Producer<'static, Sheet>,
    missing: Missing,
}

impl Recorder {
    /// Records that are missing because the writer was behind.
    pub fn lost(&self) -> u64 {
        self.missing.count
    }
}

impl Observer for Recorder {
    fn observe(&mut self, controller: &Controller, wake: &Wake, tick: &TickReport, end_ns: u64) {
        self.record(controller, wake, tick, end_ns, [&[], &[]]);
    }
}

/// A recorder beside an adapter: what the robot sent and was told is recorded as well.
pub struct AdapterRecorder<'a, R> {
    /// The recorder.
    pub recorder: Recorder,
    /// The adapter, shared with the loop.
    pub adapter: &'a RefCell<Adapter<R>>,
}

impl<R: RobotIo> Observer for AdapterRecorder<'_, R> {
    fn observe(&mut self, controller: &Controller, wake: &Wake, tick: &TickReport, end_ns: u64) {
        let adapter = self.adapter.borrow();
        let robot = [adapter.readings(), adapter.command()];
        self.recorder.record(controller, wake, tick, end_ns, robot);
    }
}

impl Recorder {
    fn record(
        &mut self,
        controller: &Controller,
        wake: &Wake,
        tick: &TickReport,
        end_ns: u64,
        [readings, command]: [&[f32]; 2],
    ) {
        self.missing.begin_ns.get_or_insert(wake.woke_ns);
        let Some(mut sheet) = self.empty.dequeue() else {
            self.missing.add(tick.tick, wake.woke_ns);
            return;
        };
        let numbers = [
            controller.observation(),
            controller.raw_action(),
            controller.action(),
            controller.latent(),
            readings,
            command,
        ];
        record::encode(wake, tick, end_ns, numbers, controller.guidance(), &mut sheet);
        // There is room for every sheet there is.
        let _ = self.full.enqueue(sheet);
    }
}

/// Records that are missing, and since when.
#[derive(Clone, Copy, Debug, Default)]
struct Missing {
    count: u64,
    /// Number of the first tick without a record, and when it began, ns.
    since: Option<(u64, u64)>,
    /// When the first tick of all began, ns.
    begin_ns: Option<u64>,
}

impl Missing {
    fn add(&mut self, tick: u64, woke_ns: u64) {
        self.count += 1;
        self.since.get_or_insert((tick, woke_ns));
    }
}

/// What became of the records of a run.
#[derive(Debug)]
pub struct LogReport {
    /// Records in the log.
    pub written: u64,
    /// Ticks without a record.
    pub missing: u64,
    /// The first of them: its number, and how long after the first tick it was.
    pub missing_since: Option<(u64, Duration)>,
    /// What the disk said, if it took no more.
    pub error: Option<io::Error>,
}

/// The disk's end.
pub struct Writer<W> {
    thread: JoinHandle<Disk<W>>,
    done: Arc<AtomicBool>,
}

impl<W> Writer<W> {
    /// Writes what is left and the end of the log; gives the file back, and says what became of
    /// the records.
    ///
    /// # Errors
    /// If the writer panicked. A disk that took no more is no error here, but is reported.
    pub fn finish(self, recorder: &Recorder) -> io::Result<(W, LogReport)>
    where
        W: Write,
    {
        self.done.store(true, Ordering::Release);
        let panicked = |_| io::Error::other("the log writer panicked");
        let mut disk = self.thread.join().map_err(panicked)?;
        let (behind, failed) = (recorder.missing, disk.missing);
        let missing = behind.count + failed.count;
        disk.end(missing);
        let first = [behind.since, failed.since].into_iter().flatten().min();
        let since_begin = |(tick, woke_ns): (u64, u64)| {
            let begin_ns = behind.begin_ns.unwrap_or(woke_ns);
            (tick, Duration::from_nanos(woke_ns.saturating_sub(begin_ns)))
        };
        let report = LogReport {
            written: disk.written,
            missing,
            missing_since: first.map(since_begin),
            error: disk.error,
        };
        Ok((disk.file, report))
    }
}

/// Begins a log in a file: it appears under its name with its header whole.
///
/// # Errors
/// What the disk or the system says.
pub fn start_in(
    output: &Output,
    controller: &Controller,
    policy: &[u8],
    adapter: Option<AdapterHeader>,
) -> io::Result<(Recorder, Writer<std::fs::File>)> {
    let header = Header::new(controller, policy, adapter);
    let file = output.begin(&log::head(&header)?)?;
    spawn(file, header.widths().words())
}

/// Begins a log: writes its header, and starts the writer. Call it before the real-time set-up of
/// the calling thread, so that the writer does not compete with it.
///
/// # Errors
/// What the disk or the system says.
pub fn start<W: Write + Send + 'static>(
    controller: &Controller,
    policy: &[u8],
    mut file: W,
) -> io::Result<(Recorder, Writer<W>)> {
    let header = Header::new(controller, policy, None);
    file.write_all(&log::head(&header)?)?;
    spawn(file, header.widths().words())
}

fn spawn<W: Write + Send + 'static>(file: W, words: usize) -> io::Result<(Recorder, Writer<W>)> {
    // A process has one log, or a few: what is never freed needs no owner.
    let (mut to_tick, empty) = Box::leak(Box::new(Sheets::new())).split();
    let (full, to_disk) = Box::leak(Box::new(Sheets::new())).split();
    let sheets = (STOCK_BYTES / 4 / words).clamp(*SHEETS.start(), *SHEETS.end());
    for _ in 0..sheets {
        // Not zeros, which the system would give without memory behind them.
        let _ = to_tick.enqueue(vec![u32::MAX; words].into_boxed_slice());
    }
    let done = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&done);
    let disk = Disk::new(file, words);
    let thread = thread::Builder::new()
        .name("sog-log".to_string())
        .stack_size(STACK_BYTES)
        .spawn(move || disk.write_all(to_disk, to_tick, &flag))?;
    let recorder = Recorder { empty, full, missing: Missing::default() };
    Ok((recorder, Writer { thread, done }))
}

/// The file, and what it took.
struct Disk<W> {
    file: W,
    /// Records that are not written yet.
    batch: Vec<u8>,
    record_bytes: usize,
    /// Bytes of records written.
    bytes: u64,
    /// Whole records written.
    written: u64,
    missing: Missing,
    error: Option<io::Error>,
}

impl<W: Write> Disk<W> {
    fn new(file: W, words: usize) -> Self {
        let record_bytes = log::record_bytes(words);
        Self {
            file,
            batch: Vec::with_capacity(BATCH_BYTES + record_bytes),
            record_bytes,
            bytes: 0,
            written: 0,
            missing: Missing::default(),
            error: None,
        }
    }

    fn write_all(
        mut self,
        mut full: Consumer<'_, Sheet>,
        mut empty: Producer<'_, Sheet>,
        done: &AtomicBool,
    ) -> Self {
        loop {
            // Looked at before the queue, so that nothing handed on before the end is left behind.
            let last = done.load(Ordering::Acquire);
            while let Some(sheet) = full.dequeue() {
                self.take(&sheet);
                // There is room for every sheet there is.
                let _ = empty.enqueue(sheet);
            }
            self.flush();
            if last {
                return self;
            }
            thread::sleep(REST);
        }
    }

    fn take(&mut self, sheet: &[u32]) {
        if self.error.is_some() {
            let (tick, woke_ns) = record::when(sheet);
            self.missing.add(tick, woke_ns);
            return;
        }
        log::append_record(&mut self.batch, sheet);
        if self.batch.len() >= BATCH_BYTES {
            self.flush();
        }
    }

    /// Writes the batch out; what the disk does not take whole is missing.
    fn flush(&mut self) {
        let mut taken = 0;
        while taken < self.batch.len() && self.error.is_none() {
            match self.file.write(&self.batch[taken..]) {
                Ok(0) => self.error = Some(io::ErrorKind::WriteZero.into()),
                Ok(n) => taken += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => self.error = Some(error),
            }
        }
        if self.error.is_none()
            && let Err(error) = self.file.flush()
        {
            self.error = Some(error);
        }
        self.bytes += taken as u64;
        self.written = self.bytes / self.record_bytes as u64;
        let whole = taken / self.record_bytes * self.record_bytes;
        for record in self.batch[whole..].chunks_exact(self.record_bytes) {
            let words: Vec<u32> =
                record.as_chunks::<4>().0.iter().map(|b| u32::from_le_bytes(*b)).collect();
            let (tick, woke_ns) = record::when(&words);
            self.missing.add(tick, woke_ns);
        }
        self.batch.clear();
    }

    /// The mark by which an orderly end is known.
    fn end(&mut self, missing: u64) {
        if self.error.is_none() {
            let end = log::end(self.written, missing);
            self.error = self.file.write_all(&end).and_then(|()| self.file.flush()).err();
        }
    }
}
