//! `sog-run replay` and `sog-run export`.

use std::{
    fs::File,
    io::BufWriter,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};
use serde_json::json;
use sog_runtime::{
    os::files::{Output, Outputs},
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
    let whole = report.gap_before.is_none() && log.damaged.is_none();
    let same = report.mismatch.is_none() && whole;
    let here = Policy::instruction_set_here();
    if args.json {
        let mismatch = report.mismatch.as_ref().map(|m| {
            json!({ "tick": m.tick, "what": m.what, "logged": m.logged, "replayed": m.replayed })
        });
        println!(
            "{}",
            json!({
                "ok": same, "ticks": report.ticks, "records": log.records.len(),
                "lost": log.lost(), "misses": log.misses(), "complete": log.complete,
                "cut_bytes": log.cut_bytes, "damaged_record": log.damaged, "rate_hz": log.rate_hz(),
                "policy_rate_hz": 1.0 / log.header.spec.contract.dt_s,
                "gap_before": report.gap_before, "mismatch": mismatch,
                "logged_on": log.header.instruction_set, "replayed_on": here,
            })
        );
        return Ok(same);
    }
    println!("{} of {} ticks replayed to the same bits", report.ticks, log.records.len());
    if let Some(cut) = cut(&log) {
        println!("{cut}");
    }
    if log.header.config.rate_hz.is_some() {
        let trained_hz = (1e6 / log.header.spec.contract.dt_s).round() / 1e6;
        println!("run at {} Hz, trained at {trained_hz} Hz", log.rate_hz());
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

/// What to say about a log without its end.
fn cut(log: &Log) -> Option<String> {
    let (whole, cut) = (log.records.len(), log.cut_bytes);
    (!log.complete).then(|| match log.damaged {
        Some(record) => format!(
            "record {record} of the log is damaged (the power failed, or bytes were changed): the \
             {whole} whole records before it, and not the {cut} bytes from there on"
        ),
        None => format!(
            "the log was cut off (the program was killed, or the disk was full): {whole} whole \
             records, {cut} bytes of another"
        ),
    })
}

pub(super) fn export(args: &ExportArgs) -> Result<bool> {
    let log = load(&args.log)?;
    // Both places are looked at before either is written to.
    let mut outputs = Outputs::new(args.force).reads(&args.log);
    let mut claim = |path: &Option<PathBuf>| path.as_deref().map(|p| outputs.claim(p)).transpose();
    let (csv, mcap) = (claim(&args.csv)?, claim(&args.mcap)?);
    let write = |output: &Output, write: fn(&Log, &mut BufWriter<File>) -> std::io::Result<()>| {
        output
            .write_with(|file| write(&log, file))
            .with_context(|| output.path().display().to_string())
    };
    csv.iter().try_for_each(|output| write(output, telemetry::write_csv))?;
    mcap.iter().try_for_each(|output| write(output, telemetry::write_mcap))?;
    println!("{} ticks exported", log.records.len());
    if let Some(cut) = cut(&log) {
        println!("{cut}");
    }
    Ok(true)
}
