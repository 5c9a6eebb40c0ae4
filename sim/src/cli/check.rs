//! `sog-sim check`: replays reference trajectories.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Outcome, RobotArgs, print_json};
use crate::check::{self, CheckError, Report};

#[derive(Args)]
#[command(
    after_help = "A trajectory passes if over its first 50 steps each observation is within \
    1e-6·max(1, |reference|) and each reward within 1e-5 (fetchreach: the gripper within 2e-3 m). \
    Later steps are reported, not judged.\n\n\
    Exit code: 0 all pass, 1 one is off, 2 one cannot be replayed."
)]
pub(super) struct CheckArgs {
    /// Reference files (safetensors)
    #[arg(required = true, value_name = "FILE")]
    files: Vec<PathBuf>,
    #[command(flatten)]
    robots: RobotArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &CheckArgs) -> Result<Outcome> {
    let options = args.robots.options();
    let mut outcome = Outcome::Good;
    let mut rows = Vec::new();
    for file in &args.files {
        let name = file.display().to_string();
        let result = check::check_file(file, &options);
        outcome = match (&result, outcome) {
            (Err(_), _) | (_, Outcome::BadInput) => Outcome::BadInput,
            (Ok(report), Outcome::Good) if report.ok => Outcome::Good,
            _ => Outcome::CheckFailed,
        };
        if !args.json {
            print_row(&name, &result);
        }
        rows.push(to_json(&name, &result));
    }
    if args.json {
        print_json(&rows.into());
    }
    Ok(outcome)
}

fn print_row(name: &str, result: &Result<Report, CheckError>) {
    match result {
        Ok(r) => println!(
            "{}  {name}: {} steps, largest error of an observation {:.1e}, of a reward {:.1e} \
             (all steps: {:.1e}, {:.1e}){}",
            if r.ok { "ok  " } else { "OFF " },
            r.steps,
            r.max_abs_obs,
            r.max_abs_reward,
            r.max_abs_obs_all,
            r.max_abs_reward_all,
            if r.flags_off > 0 { format!(", {} flags differ", r.flags_off) } else { String::new() },
        ),
        Err(error) => eprintln!("error: {name}: {error}"),
    }
}

fn to_json(name: &str, result: &Result<Report, CheckError>) -> serde_json::Value {
    match result {
        Ok(r) => json!({
            "file": name,
            "task": r.task,
            "steps": r.steps,
            "max_abs_obs": number(r.max_abs_obs),
            "max_rel_obs": number(r.max_rel_obs),
            "max_abs_reward": number(r.max_abs_reward),
            "max_abs_obs_all": number(r.max_abs_obs_all),
            "max_abs_reward_all": number(r.max_abs_reward_all),
            "flags_off": r.flags_off,
            "ok": r.ok,
        }),
        Err(error) => json!({
            "file": name,
            "max_abs_obs": null,
            "max_abs_reward": null,
            "ok": false,
            "error": error.to_string(),
        }),
    }
}

/// JSON has no infinity: the largest number stands for it.
fn number(x: f64) -> f64 {
    x.min(f64::MAX)
}
