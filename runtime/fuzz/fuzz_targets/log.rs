//! Any bytes as a log: never a panic, neither in reading nor in replay nor in export.
#![no_main]

use libfuzzer_sys::fuzz_target;
use sog_runtime::telemetry::{self, Log};

fuzz_target!(|bytes: &[u8]| {
    if let Ok(log) = Log::parse(bytes) {
        let _ = telemetry::replay(&log);
        telemetry::write_csv(&log, &mut std::io::sink()).expect("a sink takes all");
        telemetry::write_mcap(&log, &mut std::io::sink()).expect("a sink takes all");
    }
});
