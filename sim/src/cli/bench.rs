//! `sog-sim bench`: how fast the tasks run.

use std::{sync::Arc, time::Duration};

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Outcome, RobotArgs, print_json, task_parser};
use crate::{
    bench::{BenchReport, bench},
    tasks::{self, TaskFolder, TaskMaker},
};

#[derive(Args)]
#[command(
    after_help = "The raw rate is that of MuJoCo alone on the same states and actions in the \
    same process: frame skip × mj_step, plus one mj_rnePostConstraint where the task reads contact \
    forces, plus one mj_forward where the task asks for it. Raw takes one robot after the other from start \
    to end, which is the fastest; 'in turn' compares with MuJoCo alone taking the robots in turn, a control \
    step each, as a fleet does. All take turns of a hundredth of a second; rates are medians over the turns, \
    and a share of raw is the median of each turn's own."
)]
pub(super) struct BenchArgs {
    /// Task to measure, a name or a folder; may be repeated [default: all built-in ones]
    #[arg(long = "task", value_name = "TASK", value_parser = task_parser())]
    tasks: Vec<Arc<TaskFolder>>,
    /// Seconds to spend on each task
    #[arg(long, value_name = "S", default_value = "3", value_parser = parse_seconds)]
    seconds: Duration,
    #[command(flatten)]
    robots: RobotArgs,
    /// Print JSON: one object for one task, else an array
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &BenchArgs) -> Result<Outcome> {
    let tasks = match args.tasks.is_empty() {
        true => tasks::names().into_iter().map(tasks::open).collect::<Result<Vec<_>, _>>()?,
        false => args.tasks.clone(),
    };
    if !args.json {
        println!(
            "{:<22}{:>14}{:>14}{:>9}{:>16}{:>16}{:>8}{:>9}",
            "task",
            "control/s",
            "all cores",
            "scaling",
            "physics/s",
            "raw physics/s",
            "of raw",
            "in turn"
        );
    }
    let mut rows = Vec::new();
    for task in &tasks {
        let report = bench(&TaskMaker::of(task, &args.robots.options())?, args.seconds)?;
        if !args.json {
            print_row(&report);
        }
        rows.push(to_json(&report));
    }
    if args.json {
        print_json(&if rows.len() == 1 { rows.remove(0) } else { rows.into() });
    }
    Ok(Outcome::Good)
}

fn parse_seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|&s: &f64| s > 0.0);
    let time = seconds.and_then(|s| Duration::try_from_secs_f64(s).ok());
    time.ok_or_else(|| "need a positive number of seconds".to_string())
}

fn print_row(r: &BenchReport) {
    let rate = |rate: Option<f64>| rate.map_or("–".to_string(), |r| format!("{r:.0}"));
    let share = |s: Option<f64>| s.map_or("–".to_string(), |s| format!("{:.1} %", 100.0 * s));
    println!(
        "{:<22}{:>14.0}{:>14.0}{:>8.2}×{:>16}{:>16}{:>8}{:>9}",
        r.task,
        r.control_steps_per_s_1,
        r.control_steps_per_s_all,
        r.scaling(),
        rate(r.physics_steps_per_s_1),
        rate(r.raw_physics_steps_per_s_1),
        share(r.share_of_raw),
        share(r.share_of_raw_in_turn),
    );
}

fn to_json(r: &BenchReport) -> serde_json::Value {
    json!({
        "task": r.task,
        "cores": r.cores,
        "control_steps_per_s_1": r.control_steps_per_s_1,
        "control_steps_per_s_all": r.control_steps_per_s_all,
        "physics_steps_per_s_1": r.physics_steps_per_s_1,
        "raw_physics_steps_per_s_1": r.raw_physics_steps_per_s_1,
        "share_of_raw": r.share_of_raw,
        "share_of_raw_in_turn": r.share_of_raw_in_turn,
        "turns": r.turns,
        "scaling": r.scaling(),
    })
}
