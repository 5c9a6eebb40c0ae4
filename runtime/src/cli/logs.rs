//! `sog-run replay` and `sog-run export`.

use std::{
    fs::File,
    io::{BufWriter, Write},
    path::Path,
};

use anyhow::{Context, Result};
use serde_json::json;
use sog_runtime::{
    policy::Policy,
    telemetry::{self, Log},
};

use super::args::{ExportArgs, ReplayArgs};

fn load(path: &Path) -> Result<Log> {
    let context = || format!("log {}", path.display());
    Log::parse(&std::fs::read(path).with_context(context)?).with_context(context)
}

pub(super) fn replay(args: &ReplayArgs) -> Result<bool> {
    let log = load(&args.log)?;
    let report = telemetry::replay(&log).with_context(|| format!("log {}", args.log.display()))?;
    let same = report.mismatch.is_none() && report.gap_before.is_none();
    let here = Policy::instruction_set_here();
    if args.json {
        let mismatch = report.mismatch.as_ref().map(|m| {
            json!({ "tick": m.tick, "what": m.what, "logged": m.logged, "replayed": m.replayed })
        });
        println!(
            "{}",
            json!({
                "ok": same, "ticks": report.ticks, "records": log.records.len(),
                "lost": log.lost(), "misses": log.misses(), "cut_bytes": log.cut_bytes,
                "gap_before": report.gap_before, "mismatch": mismatch,
                "logged_on": log.header.instruction_set, "replayed_on": here,
            })
        );
        return Ok(same);
    }
    println!("{} of {} ticks replayed to the same bits", report.ticks, log.records.len());
    if log.cut_bytes > 0 {
        println!("the last record was not written whole");
    }
    if let Some(tick) = report.gap_before {
        println!("records are lost before tick {tick} ({} in all): it cannot go on", log.lost());
    }
    if let Some(m) = &report.mismatch {
        println!("tick {}: {} was {}, is {}", m.tick, m.what, m.logged, m.replayed);
        if log.header.instruction_set != here {
            println!("logged on {}, replayed on {here}", log.header.instruction_set);
        }
    }
    Ok(same)
}

pub(super) fn export(args: &ExportArgs) -> Result<bool> {
    let log = load(&args.log)?;
    let write = |path: &Path, write: fn(&Log, &mut BufWriter<File>) -> std::io::Result<()>| {
        let mut out = BufWriter::new(File::create(path)?);
        write(&log, &mut out)?;
        out.flush()
    };
    if let Some(path) = &args.csv {
        write(path, telemetry::write_csv).with_context(|| path.display().to_string())?;
    }
    if let Some(path) = &args.mcap {
        write(path, telemetry::write_mcap).with_context(|| path.display().to_string())?;
    }
    println!("{} ticks exported", log.records.len());
    Ok(true)
}
