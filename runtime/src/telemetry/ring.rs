//! From the tick to the disk: a wait-free ring and the thread that empties it.

use std::{
    io::{self, BufWriter, Write},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rtrb::{Consumer, Producer, RingBuffer};

use super::{header::Header, log, record};
use crate::control::{Controller, Observer, TickReport, Wake};

/// Memory of the ring.
const RING_BYTES: usize = 1 << 20;
/// Fewest records that it holds.
const FEWEST_RECORDS: usize = 256;
/// How long the writer rests when there is nothing to write.
const REST: Duration = Duration::from_millis(5);
/// Enough for the writer, and little to lock.
const STACK_BYTES: usize = 128 * 1024;

/// The loop's end: records every tick, and never waits.
pub struct Recorder {
    ring: Producer<u32>,
    record: Vec<u32>,
    lost: u64,
}

impl Recorder {
    /// Records lost because the ring was full.
    pub fn lost(&self) -> u64 {
        self.lost
    }
}

impl Observer for Recorder {
    fn observe(&mut self, controller: &Controller, wake: &Wake, tick: &TickReport, end_ns: u64) {
        let numbers = [
            controller.observation(),
            controller.raw_action(),
            controller.action(),
            controller.latent(),
        ];
        record::encode(wake, tick, end_ns, numbers, &mut self.record);
        if self.ring.push_entire_slice(&self.record).is_err() {
            self.lost += 1;
        }
    }
}

/// The disk's end.
pub struct Writer<W> {
    thread: JoinHandle<io::Result<W>>,
    done: Arc<AtomicBool>,
}

impl<W> Writer<W> {
    /// Writes what is left in the ring, and gives the file back.
    ///
    /// # Errors
    /// What went wrong while writing, now or before.
    pub fn finish(self) -> io::Result<W> {
        self.done.store(true, Ordering::Release);
        self.thread.join().unwrap_or_else(|_| Err(io::Error::other("the log writer panicked")))
    }
}

/// Begins a log: writes its header, and starts the writer. Call it before the real-time set-up of
/// the calling thread, so that the writer does not compete with it.
///
/// # Errors
/// What the disk or the system says.
pub fn start<W: Write + Send + 'static>(
    controller: &Controller,
    policy: &[u8],
    file: W,
) -> io::Result<(Recorder, Writer<W>)> {
    let mut file = BufWriter::with_capacity(64 * 1024, file);
    let header = Header::new(controller, policy);
    log::write_header(&mut file, &header)?;
    let words = header.widths(controller.spec()).words();
    let records = (RING_BYTES / 4 / words).max(FEWEST_RECORDS);
    let (producer, consumer) = RingBuffer::new(words * records);
    let done = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&done);
    let thread = thread::Builder::new()
        .name("sog-log".to_string())
        .stack_size(STACK_BYTES)
        .spawn(move || write_all(file, consumer, words, &flag))?;
    Ok((Recorder { ring: producer, record: vec![0; words], lost: 0 }, Writer { thread, done }))
}

fn write_all<W: Write>(
    mut file: BufWriter<W>,
    mut ring: Consumer<u32>,
    words: usize,
    done: &AtomicBool,
) -> io::Result<W> {
    let mut record = vec![0; words];
    loop {
        // Looked at before the ring, so that nothing pushed before the end is left behind.
        let last = done.load(Ordering::Acquire);
        while ring.pop_entire_slice(&mut record).is_ok() {
            log::write_record(&mut file, &record)?;
        }
        if last {
            return file.into_inner().map_err(|error| error.into_error());
        }
        thread::sleep(REST);
    }
}
