//! Logs: what is written is read, replays to the same bits, and never holds up a tick.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    io::{self, Cursor, Write},
    sync::mpsc,
};

use common::{Guided, Point, policy, spec, started};
use sog_runtime::{
    control::{Config, Controller, Observer, Plan, Request, run},
    io::{FaultKind, FaultPlan, FaultyRobot, RobotIo},
    policy::LatentKind,
    telemetry::{self, Log, LogError, replay, write_csv, write_mcap},
    time::{LockStep, Ticker},
};

/// The log of a run full of faults, mode switches and recoveries.
fn eventful_log(ticks: u64) -> Vec<u8> {
    let plan =
        FaultKind::ALL.into_iter().fold(FaultPlan::new(3), |plan, kind| plan.with_rate(kind, 0.01));
    let mut robot = FaultyRobot::new(Point::new(), plan);
    let mut controller = started(Config::default());
    let bytes = policy().to_bytes();
    let (mut recorder, writer) =
        telemetry::start(&controller, &bytes, Cursor::new(Vec::new())).unwrap();
    let mut ticker = LockStep::new(controller.period_ns());
    for i in 0..ticks {
        match i % 40 {
            0 => [Request::Reset, Request::Arm, Request::Start].map(|r| controller.request(r)),
            20 => [Request::Code((i % 3) as u16); 3].map(|r| controller.request(r)),
            _ => [(); 3],
        };
        let mut wake = ticker.wait();
        wake.missed = u32::from(i % 90 == 0);
        let tick = controller.tick(&mut robot, &wake);
        recorder.observe(&controller, &wake, &tick, ticker.now_ns() + 500);
    }
    assert_eq!(recorder.lost(), 0);
    writer.finish(&recorder).unwrap().0.into_inner()
}

#[test]
fn a_log_replays_to_the_same_bits() {
    let bytes = eventful_log(2000);
    let log = Log::parse(&bytes).unwrap();
    assert_eq!((log.records.len(), log.lost(), log.cut_bytes), (2000, 0, 0));
    assert!(log.complete);
    assert_eq!(log.misses(), 23);
    let report = replay(&log).unwrap();
    assert_eq!((report.ticks, report.mismatch, report.gap_before), (2000, None, None));

    // One bit of one action is enough.
    let mut changed = log.clone();
    let acts = |r: &&mut telemetry::Record| r.tick.command.name() == "act";
    let record = changed.records.iter_mut().filter(acts).nth(300).unwrap();
    record.action[1] = f32::from_bits(record.action[1].to_bits() ^ 1);
    let tick = record.tick.tick;
    let report = replay(&changed).unwrap();
    let mismatch = report.mismatch.unwrap();
    assert_eq!((mismatch.tick, mismatch.what, report.ticks), (tick, "action", tick));

    // A lost record ends the replay where it is missing.
    let mut gap = log.clone();
    gap.records.remove(700);
    let report = replay(&gap).unwrap();
    assert_eq!((report.ticks, report.gap_before, gap.lost()), (700, Some(701), 1));
}

/// The log of a robot, begun and taken over; as of version 4, too.
fn log_of(robot: &mut dyn RobotIo) -> [Vec<u8>; 2] {
    let mut controller = started(Config::default());
    let disk = Cursor::new(Vec::new());
    let (mut recorder, writer) = telemetry::start(&controller, &policy().to_bytes(), disk).unwrap();
    let mut ticker = LockStep::new(controller.period_ns());
    run(&mut controller, robot, &mut ticker, &Plan::ticks(20), &mut recorder);
    let bytes = writer.finish(&recorder).unwrap().0.into_inner();
    let mut before = bytes.clone();
    let end = bytes.len() - 28;
    (before[6], before[end + 6]) = (4, 4);
    [bytes, before]
}

#[test]
fn what_changes_counted_from_replays_in_logs_of_before_and_of_now() {
    let replayed = |bytes: &[u8]| {
        let log = Log::parse(bytes).unwrap();
        assert!(log.complete);
        let report = replay(&log).unwrap();
        (report.ticks, report.mismatch.map(|mismatch| mismatch.tick))
    };
    let [now, before] = log_of(&mut Point::new());
    assert_eq!([replayed(&now), replayed(&before)], [(21, None); 2]);
    // In a run of before nothing counted from what this robot applied.
    let [now, before] = log_of(&mut Guided::new([1.2, -1.2]));
    assert_eq!([replayed(&now), replayed(&before)], [(21, None), (0, Some(0))]);
    let [now, _] = log_of(&mut Guided { taken_over: true, ..Guided::new([1.2, -1.2]) });
    assert_eq!(replayed(&now), (21, None));
}

#[test]
fn a_code_given_by_its_numbers_is_logged_and_replays() {
    let mut file = policy();
    file.latent = LatentKind::Gaussian(3);
    file.seal(2);
    let mut controller = Controller::new(&file, &spec(), Config::default()).unwrap();
    let disk = Cursor::new(Vec::new());
    let (mut recorder, writer) = telemetry::start(&controller, &file.to_bytes(), disk).unwrap();
    let mut ticker = LockStep::new(controller.period_ns());
    let mut robot = Point::new();
    let mailbox = controller.mailbox();
    controller.request(Request::Arm);
    controller.request(Request::Start);
    for i in 0..40 {
        match i {
            10 => mailbox.post_code(&[0.5, -1.5, 2.0]).unwrap(),
            20 => mailbox.post_code(&[-0.5, 1.5, 0.0]).unwrap(),
            30 => controller.request(Request::Code(0)),
            _ => {}
        }
        let wake = ticker.wait();
        let tick = controller.tick(&mut robot, &wake);
        recorder.observe(&controller, &wake, &tick, ticker.now_ns());
    }
    let bytes = writer.finish(&recorder).unwrap().0.into_inner();
    let log = Log::parse(&bytes).unwrap();
    let latent = |i: usize| (log.records[i].tick.code, log.records[i].latent.as_slice());
    assert_eq!(latent(9), (0, [0.0; 3].as_slice()));
    assert_eq!(latent(10), (1, [0.5, -1.5, 2.0].as_slice()));
    assert_eq!(latent(29), (1, [-0.5, 1.5, 0.0].as_slice()));
    assert_eq!(latent(30), (0, [0.0; 3].as_slice()));
    assert_ne!(log.records[9].raw_action, log.records[10].raw_action);
    let report = replay(&log).unwrap();
    assert_eq!((report.ticks, report.mismatch), (40, None));

    let mut changed = log;
    changed.records[15].latent[0] = 9.0;
    assert_eq!(replay(&changed).unwrap().mismatch.unwrap().what, "numbers of the code");
}

#[test]
fn a_damaged_log_is_read_up_to_the_damage() {
    let good = eventful_log(30);
    let whole = Log::parse(&good).unwrap();
    let begin = good.len() - 28 - 30 * RECORD_BYTES;
    let mut flipped = good.clone();
    flipped[begin + 12 * RECORD_BYTES + 7] ^= 1;
    // Room that was made for a record and filled with something else.
    let cut = begin + 20 * RECORD_BYTES + 9;
    let zeros = [&good[..cut], &[0; 1000]].concat();
    let garbage = [&good[..cut], &[0xa5; 1000]].concat();
    // Only the first still has its end, of 28 bytes.
    for (bytes, records, end) in [(flipped, 12, 28), (zeros, 20, 0), (garbage, 20, 0)] {
        let log = Log::parse(&bytes).unwrap();
        assert_eq!((log.damaged, log.complete), (Some(records), false));
        assert_eq!(log.cut_bytes, bytes.len() - begin - records * RECORD_BYTES - end);
        assert!(format!("{:?}", log.records) == format!("{:?}", &whole.records[..records]));
        assert_eq!(replay(&log).unwrap().ticks, records as u64);
    }
}

#[test]
fn damage_to_a_log_is_noticed() {
    let good = eventful_log(30);
    for at in 0..good.len() {
        let mut bad = good.clone();
        bad[at] ^= 0x10;
        // Damage to the end makes the log one that was cut off.
        assert!(Log::parse(&bad).map_or(true, |log| !log.complete), "byte {at}");
    }
    assert!(matches!(Log::parse(b"SOGLOG\x01\x00"), Err(LogError::Mark { .. })));
}

/// A record of the example policy: 39 words and their sum.
const RECORD_BYTES: usize = 160;

#[test]
fn a_log_cut_anywhere_is_read_up_to_its_last_whole_record_and_says_so() {
    let good = eventful_log(30);
    let whole = Log::parse(&good).unwrap();
    assert!(whole.complete);
    let header = good.len() - 28 - 30 * RECORD_BYTES;
    for len in header..good.len() {
        let cut = Log::parse(&good[..len]).unwrap();
        let records = (len - header).min(30 * RECORD_BYTES) / RECORD_BYTES;
        // As text, because NaN is not equal to itself.
        assert!(format!("{:?}", cut.records) == format!("{:?}", &whole.records[..records]));
        assert!(!cut.complete, "{len}");
        assert_eq!(replay(&cut).unwrap().ticks, records as u64);
        // Where the power failed, the file system may have made room that was never filled.
        let zeros = [&good[..len], &[0; 4096]].concat();
        if (len - header).is_multiple_of(RECORD_BYTES) {
            assert_eq!(Log::parse(&zeros).unwrap().records.len(), records);
        }
    }
    // Within its header there is nothing to read.
    for len in 12..header {
        let said = Log::parse(&good[..len]).unwrap_err().to_string();
        assert!(
            said.starts_with(&format!("the file has {len} bytes")) && said.contains("cut off"),
            "{said}"
        );
    }
    let said = Log::parse(&good[..header - 1]).unwrap_err().to_string();
    assert!(said.contains(&format!("would have {header}:")), "{said}");
}

/// A disk that takes the header, and nothing more until it is told to.
struct Stuck(mpsc::Receiver<()>, Vec<u8>);

impl Write for Stuck {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if !self.1.is_empty() {
            // Once released, every later call finds the sender gone.
            let _ = self.0.recv();
        }
        self.1.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_stuck_disk_loses_records_and_never_ticks() {
    let (release, stuck) = mpsc::channel();
    let mut controller = started(Config::default());
    let bytes = policy().to_bytes();
    let (mut recorder, writer) =
        telemetry::start(&controller, &bytes, Stuck(stuck, vec![])).unwrap();
    let mut ticker = LockStep::new(controller.period_ns());
    let plan = Plan::ticks(20_000);
    let report = run(&mut controller, &mut Point::new(), &mut ticker, &plan, &mut recorder);
    assert_eq!(report.policy_ticks, 20_000);
    drop(release);
    let (disk, written) = writer.finish(&recorder).unwrap();
    let log = Log::parse(&disk.1).unwrap();
    assert!(recorder.lost() > 0 && log.complete);
    assert_eq!((written.missing, written.written), (recorder.lost(), log.records.len() as u64));
    assert_eq!(log.records.len() as u64 + recorder.lost(), report.ticks);
    assert_eq!(log.lost(), recorder.lost());
    // The first that is missing comes right after a run of ticks without a gap.
    let (since, _) = written.missing_since.unwrap();
    assert_eq!(
        log.records.iter().map(|r| r.tick.tick).take_while(|&t| t < since).count() as u64,
        since
    );
}

/// A disk with room for so many bytes.
struct Full(usize, Vec<u8>);

impl Write for Full {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let room = self.0.saturating_sub(self.1.len()).min(bytes.len());
        if room == 0 {
            return Err(io::Error::other("no space left"));
        }
        self.1.extend_from_slice(&bytes[..room]);
        Ok(room)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[test]
fn a_disk_that_fills_up_in_flight_costs_records_and_no_tick() {
    let mut controller = started(Config::default());
    let bytes = policy().to_bytes();
    // Enough for the header, and not for all records.
    let room = bytes.len() + 20_000;
    let (mut recorder, writer) = telemetry::start(&controller, &bytes, Full(room, vec![])).unwrap();
    let mut ticker = LockStep::new(controller.period_ns());
    let plan = Plan::ticks(1000);
    let report = run(&mut controller, &mut Point::new(), &mut ticker, &plan, &mut recorder);
    assert_eq!(report.policy_ticks, 1000);
    let (disk, written) = writer.finish(&recorder).unwrap();
    assert!(written.error.unwrap().to_string().contains("no space left"));
    let log = Log::parse(&disk.1).unwrap();
    assert!(!log.complete && log.cut_bytes > 0);
    assert_eq!(log.records.len() as u64, written.written);
    assert_eq!(written.written + written.missing, report.ticks);
    let since = written.missing_since.unwrap();
    let period = std::time::Duration::from_nanos(controller.period_ns());
    assert_eq!(since, (written.written, period * written.written as u32));
    assert_eq!(replay(&log).unwrap().ticks, written.written);
}

#[test]
fn every_record_is_on_the_disk_soon() {
    /// A disk that counts its bytes.
    struct Counted(std::sync::Arc<std::sync::atomic::AtomicUsize>);
    impl Write for Counted {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.fetch_add(bytes.len(), std::sync::atomic::Ordering::Relaxed);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }
    let count = std::sync::Arc::default();
    let mut controller = started(Config::default());
    let disk = Counted(std::sync::Arc::clone(&count));
    let (mut recorder, writer) = telemetry::start(&controller, &[], disk).unwrap();
    let header = count.load(std::sync::atomic::Ordering::Relaxed);
    let (mut ticker, mut robot) = (LockStep::new(controller.period_ns()), Point::new());
    for i in 1..=3 {
        let wake = ticker.wait();
        let tick = controller.tick(&mut robot, &wake);
        recorder.observe(&controller, &wake, &tick, ticker.now_ns());
        let begin = std::time::Instant::now();
        while count.load(std::sync::atomic::Ordering::Relaxed) < header + i * RECORD_BYTES {
            assert!(begin.elapsed().as_millis() < 200, "record {i} is not written");
            std::thread::yield_now();
        }
    }
    writer.finish(&recorder).unwrap();
}

#[test]
fn csv_has_a_named_column_for_every_number() {
    let log = Log::parse(&eventful_log(50)).unwrap();
    let mut csv = vec![];
    write_csv(&log, &mut csv).unwrap();
    let text = String::from_utf8(csv).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!(lines.len(), 51);
    let columns: Vec<&str> = lines[0].split(',').collect();
    assert_eq!(columns.len(), 13 + 10 + 2 + 2 + 3);
    assert_eq!(columns[13..15], ["obs.position.0", "obs.position.1"]);
    assert_eq!(columns[26], "action.displacement.1");
    assert_eq!(columns[29], "latent.2");
    for (line, record) in lines[1..].iter().zip(&log.records) {
        let cells: Vec<&str> = line.split(',').collect();
        assert_eq!(cells.len(), columns.len());
        assert_eq!(cells[0].parse::<u64>().unwrap(), record.tick.tick);
        assert_eq!(cells[26].parse::<f32>().unwrap().to_bits(), record.action[1].to_bits());
    }
}

/// The records of an MCAP file or chunk: kind and content.
fn mcap_records(mut bytes: &[u8]) -> Vec<(u8, &[u8])> {
    let mut records = vec![];
    while let [kind, rest @ ..] = bytes {
        let (len, rest) = rest.split_first_chunk::<8>().unwrap();
        let (content, rest) = rest.split_at(u64::from_le_bytes(*len) as usize);
        records.push((*kind, content));
        bytes = rest;
    }
    records
}

#[test]
fn mcap_holds_every_tick_where_its_index_says() {
    let log = Log::parse(&eventful_log(3000)).unwrap();
    let mut mcap = vec![];
    write_mcap(&log, &mut mcap).unwrap();
    let magic = b"\x89MCAP0\r\n";
    let body = mcap.strip_prefix(magic).unwrap().strip_suffix(magic).unwrap();
    let records = mcap_records(body);
    assert_eq!((records[0].0, records.last().unwrap().0), (1, 2));
    let u64_at = |b: &[u8], at: usize| u64::from_le_bytes(b[at..at + 8].try_into().unwrap());

    let mut messages = 0;
    for (_, chunk) in records.iter().filter(|(kind, _)| *kind == 6) {
        // Start, end, size, CRC, empty compression, length.
        let inner = mcap_records(&chunk[40..]);
        for (_, message) in inner.iter().filter(|(kind, _)| *kind == 5) {
            let value: serde_json::Value = serde_json::from_slice(&message[22..]).unwrap();
            let record = &log.records[messages];
            assert_eq!(value["tick"], record.tick.tick);
            assert_eq!(value["state"], record.tick.state.name());
            assert_eq!(value["action"]["displacement"].as_array().unwrap().len(), 2);
            messages += 1;
        }
    }
    assert_eq!(messages, 3000);
    let chunks: Vec<&[u8]> = records.iter().filter(|r| r.0 == 8).map(|r| r.1).collect();
    assert!(chunks.len() > 1);
    for index in chunks {
        assert_eq!(mcap[u64_at(index, 16) as usize], 6, "a chunk begins there");
        assert_eq!(mcap[u64_at(index, 16) as usize + u64_at(index, 24) as usize], 7);
    }
    let footer = records.last().unwrap().1;
    assert_eq!(mcap[u64_at(footer, 0) as usize], 3, "the summary begins with the schema");
}
