//! Export to CSV: one line a tick.

use std::io::{self, Write};

use super::Log;
use crate::policy::Terms;

/// Writes a log as CSV; columns are named after the terms: `obs.position.0`, `action.torque.3`,
/// `latent.0`.
///
/// # Errors
/// What the disk says.
pub fn write_csv(log: &Log, out: &mut impl Write) -> io::Result<()> {
    let spec = &log.header.spec;
    write!(
        out,
        "tick,deadline_ns,wake_latency_ns,exec_ns,missed,state,code,command,faults,limits"
    )?;
    write!(out, ",step,reward,terminated")?;
    for (group, terms) in [
        ("obs", &spec.contract.obs_terms),
        ("raw", &spec.contract.action_terms),
        ("action", &spec.contract.action_terms),
    ] {
        for name in columns(terms) {
            write!(out, ",{group}.{name}")?;
        }
    }
    let latent = log.records.first().map_or(0, |record| record.latent.len());
    for i in 0..latent {
        write!(out, ",latent.{i}")?;
    }
    writeln!(out)?;
    for record in &log.records {
        let (tick, wake) = (&record.tick, &record.wake);
        write!(
            out,
            "{},{},{},{},{},{},{},{},{},{}",
            tick.tick,
            wake.deadline_ns,
            wake.latency_ns(),
            record.end_ns.saturating_sub(wake.woke_ns),
            wake.missed,
            tick.state,
            tick.code,
            tick.command.name(),
            tick.faults,
            tick.limited,
        )?;
        match tick.read {
            Ok(reading) => {
                let reward = reading.reward.map(|r| r.to_string()).unwrap_or_default();
                write!(out, ",{},{reward},{}", reading.step, reading.terminated)?;
            }
            Err(_) => write!(out, ",,,")?,
        }
        let numbers = [&record.obs, &record.raw_action, &record.action, &record.latent];
        for value in numbers.into_iter().flatten() {
            write!(out, ",{value}")?;
        }
        writeln!(out)?;
    }
    Ok(())
}

/// Names of the numbers of some terms: `name` where a term has one, else `name.0`, `name.1`….
fn columns(terms: &Terms) -> Vec<String> {
    let names = terms.0.iter().flat_map(|term| {
        (0..term.width)
            .map(|i| if term.width == 1 { term.name.clone() } else { format!("{}.{i}", term.name) })
    });
    names.collect()
}
