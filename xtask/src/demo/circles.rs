//! The first act: demonstrations of circles, SOG-BC, evaluation, the loop in real time, a picture.

use std::{fs, path::Path};

use anyhow::{Context, bail};
use serde_json::Value;

use super::{Options, json, number, sog, sog_sim};
use crate::shell::step;

/// Every mode's mean return must reach this for the demo to pass, of 1000.
const RETURN_NEEDED: f64 = 985.0;

/// One row of the table: a code, what it was matched with, and its run in the control loop.
struct Row {
    code: u64,
    mode: String,
    evaluated: f64,
    expert: f64,
    in_loop: f64,
    wake_p50_us: f64,
    wake_p99_us: f64,
    exec_p99_us: f64,
    ticks: u64,
    misses: u64,
}

pub(super) fn run(options: &Options, dir: &Path) -> anyhow::Result<()> {
    let demos = dir.join("circles-demos.safetensors");
    let run_dir = dir.join("sog-bc");
    if run_dir.exists() {
        fs::remove_dir_all(&run_dir)
            .with_context(|| format!("cannot remove the last demo's {}", run_dir.display()))?;
    }
    let seed = options.seed.to_string();
    step(
        "record demonstrations of the scripted expert, three ways mixed and unlabelled",
        sog(&["demos", "record", "--task", "circles", "--seed", &seed])
            .args(["--episodes-per-mode", &options.episodes_per_mode.to_string()])
            .arg("--out")
            .arg(&demos),
    )?;
    step(
        "learn one policy with SOG-BC",
        sog(&["train", "--task", "circles", "--algo", "sog-bc", "--seed", &seed])
            .arg("--demos")
            .arg(&demos)
            .arg("--out")
            .arg(&run_dir),
    )?;

    let policy = run_dir.join("policy.safetensors");
    println!("\n== evaluate: 100 rollouts, codes matched with modes");
    let eval = json(sog(&["eval", "--task", "circles", "--json", "--policy"]).arg(&policy))?;
    println!("== close the loop in real time, once for each code");
    let info = json(sog(&["demos", "info", "--json"]).arg(&demos))?;
    let rows = rows(&policy, &eval, &info)?;

    step("draw", sog(&["figures", "--force"]).arg(&run_dir))?;
    print_table(&rows);
    for entry in fs::read_dir(run_dir.join("figures")).into_iter().flatten().flatten() {
        println!("picture: {}", entry.path().display());
    }
    println!("policy:  {}", policy.display());
    verdict(&rows)
}

fn rows(policy: &Path, eval: &Value, info: &Value) -> anyhow::Result<Vec<Row>> {
    let matched = eval["per_mode"].as_array().context("`sog eval` reported no modes")?;
    let mut rows = Vec::new();
    for entry in matched {
        let code = entry["code"].as_u64().context("`sog eval`: a mode without a code")?;
        let mode = entry["mode"].as_u64().context("`sog eval`: a mode without a number")? as usize;
        let mut command = sog_sim(&["run", "--realtime", "--json", "--mode", &code.to_string()]);
        let loop_run = json(command.arg(policy))?;
        let us = |value: &Value| number(value, "a time in ns").map(|ns| ns / 1e3);
        rows.push(Row {
            code,
            mode: entry["label"].as_str().unwrap_or_default().to_string(),
            evaluated: number(&entry["mean"], "mean")?,
            expert: number(&info["mean_return"][mode], "mean_return")?,
            in_loop: number(&loop_run["returns"][mode], "returns")?,
            wake_p50_us: us(&loop_run["wake_latency_ns"]["p50"])?,
            wake_p99_us: us(&loop_run["wake_latency_ns"]["p99"])?,
            exec_p99_us: us(&loop_run["exec_ns"]["p99"])?,
            ticks: loop_run["ticks"].as_u64().context("`sog-sim run` reported no ticks")?,
            misses: loop_run["misses"].as_u64().context("`sog-sim run` reported no misses")?,
        });
    }
    rows.sort_by_key(|row| row.code);
    Ok(rows)
}

fn print_table(rows: &[Row]) {
    println!("\ncircles, SOG-BC; returns of 1000");
    println!(
        "{:>4}  {:>10}  {:>10}  {:>10}  {:>10}  {:>20}  {:>12}  {:>6}  {:>6}",
        "code",
        "mode",
        "return",
        "expert",
        "in loop",
        "wake-up p50/p99 µs",
        "exec p99 µs",
        "ticks",
        "misses"
    );
    for r in rows {
        println!(
            "{:>4}  {:>10}  {:>10.1}  {:>10.1}  {:>10.1}  {:>11.1} / {:>6.1}  {:>12.1}  {:>6}  {:>6}",
            r.code,
            r.mode,
            r.evaluated,
            r.expert,
            r.in_loop,
            r.wake_p50_us,
            r.wake_p99_us,
            r.exec_p99_us,
            r.ticks,
            r.misses
        );
    }
    println!();
}

fn verdict(rows: &[Row]) -> anyhow::Result<()> {
    if rows.len() != 3 {
        bail!("{} modes were matched, need 3", rows.len());
    }
    match rows.iter().find(|r| r.evaluated.is_nan() || r.evaluated < RETURN_NEEDED) {
        None => Ok(()),
        Some(r) => bail!("mode {} returns {:.1}, need {RETURN_NEEDED}", r.mode, r.evaluated),
    }
}
