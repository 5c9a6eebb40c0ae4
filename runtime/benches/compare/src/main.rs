//! The runtime's inference beside tract, candle and ONNX Runtime: one row at a time, in one run, on
//! one core.
//!
//! All compute the network of one policy file, normaliser included, from a raw observation and a
//! code to an action mean; before anything is timed, all must agree. Each is used as its
//! documentation shows, with everything prepared that can be. Every call is timed by itself; the
//! programs take turns in blocks, so that whatever else the machine does strikes all of them.

mod engines;
mod timing;

use std::{
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, ensure};
use clap::Parser;
use serde_json::{Value, json};
use sog_runtime::{
    os::{self, RealTimeConfig},
    policy::{Activation, Architecture, Policy, PolicyFile},
};

use engines::Engine;

/// The largest difference from the file's golden actions at which a program is timed.
const TOLERANCE: f32 = 1e-4;

/// candle chooses its threads once for the process, by this. Left to itself it starts as many as the
/// machine has cores, bound to one processor or not, and is several times slower.
const THREADS: &str = "RAYON_NUM_THREADS";

/// Times the runtime's inference beside tract, candle and ONNX Runtime, on one core.
#[derive(Parser)]
struct Args {
    /// Policy file
    #[arg(default_value = concat!(
        env!("CARGO_MANIFEST_DIR"), "/../../../models/policies/ant-dir-6-sog-bc.safetensors"
    ))]
    policy: PathBuf,
    /// Shared library of ONNX Runtime (in the package `onnxruntime` for Python:
    /// onnxruntime/capi/libonnxruntime.so.VERSION); without it, ONNX Runtime is left out
    #[arg(long, value_name = "LIBRARY")]
    onnx_runtime: Option<PathBuf>,
    /// Processor to run on
    #[arg(long, default_value_t = 0)]
    cpu: usize,
    /// Timed calls of each program
    #[arg(long, default_value_t = 100_000)]
    calls: usize,
    /// Prints one JSON object
    #[arg(long)]
    json: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    if std::env::var(THREADS).is_ok_and(|threads| threads == "1") {
        compare(&args)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut again = Command::new(std::env::current_exe()?);
    again.args(std::env::args_os().skip(1)).env(THREADS, "1");
    Ok(if again.status()?.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn compare(args: &Args) -> Result<()> {
    let obtained = os::set_up(&RealTimeConfig { cpu: Some(args.cpu), ..Default::default() })?;
    ensure!(obtained.cpu.is_some(), "not bound to one processor: {obtained}");
    let bytes = std::fs::read(&args.policy).with_context(|| args.policy.display().to_string())?;
    let file = PolicyFile::parse(&bytes).with_context(|| args.policy.display().to_string())?;

    let network = &file.network;
    ensure!(
        network.architecture == Architecture::TwoBranch
            && network.activation == Activation::Tanh
            && network.hidden.len() == 2,
        "the other engines are given the paper's network alone: two branches, two hidden layers, tanh"
    );
    let mut engines = engines::all(&file, &bytes, args.onnx_runtime.as_deref())?;
    let mut differences = Vec::new();
    for engine in &mut engines {
        let largest = difference(engine.as_mut(), &file)?;
        let name = engine.name();
        ensure!(largest <= TOLERANCE, "{name} differs from the golden actions by {largest:e}");
        differences.push(largest);
    }
    let times = timing::interleaved(&mut engines, &file, args.calls)?;

    let ours = times[0].summary().p50 as f64;
    let rows: Vec<Value> = engines
        .iter()
        .zip(&differences)
        .zip(&times)
        .map(|((engine, difference), times)| {
            let s = times.summary();
            json!({
                "name": engine.name(), "p50_ns": s.p50, "p99_ns": s.p99, "p999_ns": s.p999,
                "max_ns": s.max, "ratio": s.p50 as f64 / ours, "max_difference": difference,
            })
        })
        .collect();
    let result = json!({
        "policy": args.policy.display().to_string(),
        "network": format!(
            "{}/{} -> {:?} -> {}",
            file.obs_dim(), file.latent_dim(), file.network.widths(), file.action_dim(),
        ),
        "instruction_set": Policy::instruction_set_here(),
        "scheduler": obtained.to_json(),
        "calls": args.calls,
        "engines": rows,
        "p999_over_p50": times[0].summary().p999 as f64 / ours,
    });
    if args.json {
        println!("{result}");
    } else {
        show(&result, &obtained);
    }
    Ok(())
}

/// Largest difference between an engine's actions and the golden ones of the file.
fn difference(engine: &mut dyn Engine, file: &PolicyFile) -> Result<f32> {
    let mut action = vec![0.0; file.action_dim()];
    let mut largest = 0.0_f32;
    for (row, exact) in file.golden.action.chunks_exact(action.len()).enumerate() {
        let (obs, code) = engines::row(file, row);
        action.fill(f32::NAN);
        engine.infer(obs, code, &mut action).with_context(|| engine.name())?;
        for (found, exact) in action.iter().zip(exact) {
            let d = (found - exact).abs();
            largest = if d.is_nan() { f32::INFINITY } else { largest.max(d) };
        }
    }
    Ok(largest)
}

fn show(result: &Value, obtained: &os::Obtained) {
    println!("policy        {}", result["policy"].as_str().unwrap_or_default());
    println!("network       {}", result["network"].as_str().unwrap_or_default());
    println!("instructions  {}", result["instruction_set"].as_str().unwrap_or_default());
    println!("scheduler     {obtained}");
    println!(
        "\n{:<24}{:>9}{:>9}{:>9}{:>9}{:>9}",
        "ns a call", "p50", "p99", "p99.9", "max", "ratio"
    );
    for row in result["engines"].as_array().into_iter().flatten() {
        println!(
            "{:<24}{:>9}{:>9}{:>9}{:>9}{:>9.1}",
            row["name"].as_str().unwrap_or_default(),
            row["p50_ns"].as_u64().unwrap_or_default(),
            row["p99_ns"].as_u64().unwrap_or_default(),
            row["p999_ns"].as_u64().unwrap_or_default(),
            row["max_ns"].as_u64().unwrap_or_default(),
            row["ratio"].as_f64().unwrap_or_default(),
        );
    }
}
