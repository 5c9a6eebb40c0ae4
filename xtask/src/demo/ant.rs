//! The second act: the ant under a committed SOG-GAIL policy in real time, its direction switched
//! live through all six codes.

use std::path::Path;

use anyhow::{Context, bail};

use super::{json, number, sog_sim};
use crate::shell::root;

/// The policy.
const POLICY: &str = "models/policies/ant-dir-6-sog-gail.safetensors";

/// Codes, seconds under each, and the control period.
const CODES: usize = 6;
const SECONDS: f64 = 5.0;
const DT_S: f64 = 0.05;

/// Steps under one code.
const STEPS: usize = (SECONDS / DT_S) as usize;

/// Two codes go different ways if their headings differ by more than this, in degrees; directions
/// are 60 degrees apart.
const APART_DEG: f64 = 30.0;

/// Where the ant went under one code, over the second half of its time.
struct Leg {
    heading_deg: f64,
    speed_m_s: f64,
}

pub(super) fn run(dir: &Path) -> anyhow::Result<()> {
    println!("\n== the ant in real time, a new direction every {SECONDS} s");
    let policy = root().join(POLICY);
    let trace = dir.join("ant.csv");
    let (every, steps) = (SECONDS.to_string(), (CODES * STEPS).to_string());
    let arguments = ["run", "--switch-every", &every, "--steps", &steps];
    let mut command = sog_sim(&arguments);
    command.args(["--realtime", "--json", "--force", "--trace"]).arg(&trace).arg(&policy);
    let report = json(&mut command)?;
    let text = std::fs::read_to_string(&trace)
        .with_context(|| format!("cannot read {}", trace.display()))?;
    let legs = legs(&text)?;
    println!("\n{:>4}  {:>10}  {:>10}", "code", "heading", "speed");
    for (code, leg) in legs.iter().enumerate() {
        println!("{code:>4}  {:>9.0}°  {:>6.2} m/s", leg.heading_deg, leg.speed_m_s);
    }
    let us = |key: &str| number(&report["wake_latency_ns"][key], key).map(|ns| ns / 1e3);
    println!(
        "{} ticks, {} missed; wake-up p50 {:.0} µs, p99 {:.0} µs",
        report["ticks"],
        report["misses"],
        us("p50")?,
        us("p99")?
    );
    draw(&policy, dir, &arguments);
    verdict(&legs)
}

/// A clip of the same run, where pictures can be drawn at all.
fn draw(policy: &Path, dir: &Path, arguments: &[&str]) {
    let clip = dir.join("ant.gif");
    let mut command = sog_sim(arguments);
    command.args(["--json", "--size", "320x240", "--force", "--render"]).arg(&clip).arg(policy);
    match json(&mut command) {
        Ok(_) => println!("clip:    {}", clip.display()),
        Err(error) => println!("no clip: {error:#}"),
    }
}

/// Headings and speeds from the trace, whose columns begin with step, time, x and y.
fn legs(trace: &str) -> anyhow::Result<Vec<Leg>> {
    let mut positions: Vec<[f64; 2]> = vec![];
    for line in trace.lines().skip(1) {
        let fields: Vec<&str> = line.split(',').collect();
        let field = |i: usize| -> anyhow::Result<f64> {
            let text = fields.get(i).with_context(|| format!("`{line}` has no field {i}"))?;
            text.parse().with_context(|| format!("`{text}` is no number"))
        };
        positions.push([field(2)?, field(3)?]);
    }
    if positions.len() < CODES * STEPS {
        bail!("the run ended after {} of {} steps", positions.len(), CODES * STEPS);
    }
    let leg = |code: usize| {
        let (from, to) = (positions[code * STEPS + STEPS / 2], positions[(code + 1) * STEPS - 1]);
        let [x, y] = [to[0] - from[0], to[1] - from[1]];
        let time_s = (STEPS - 1 - STEPS / 2) as f64 * DT_S;
        Leg { heading_deg: y.atan2(x).to_degrees(), speed_m_s: x.hypot(y) / time_s }
    };
    Ok((0..CODES).map(leg).collect())
}

/// Every code must go its own way.
fn verdict(legs: &[Leg]) -> anyhow::Result<()> {
    for (i, one) in legs.iter().enumerate() {
        for (j, two) in legs.iter().enumerate().skip(i + 1) {
            let turn = (one.heading_deg - two.heading_deg + 540.0).rem_euclid(360.0) - 180.0;
            if turn.abs() < APART_DEG {
                bail!("codes {i} and {j} go the same way, {:.0}°", one.heading_deg);
            }
        }
    }
    Ok(())
}
