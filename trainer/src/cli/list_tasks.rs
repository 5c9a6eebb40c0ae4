//! `sog tasks`: the tasks with sizes, control periods and modes.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use sog_sim::{
    task::{Modes, TaskId},
    tasks,
};

use super::Outcome;

#[derive(Args)]
pub(super) struct TasksArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    task: &'static str,
    observation: usize,
    action: usize,
    dt_s: f64,
    horizon: usize,
    modes: Vec<String>,
}

pub(super) fn run(args: &TasksArgs) -> Result<Outcome> {
    let rows: Vec<Row> = TaskId::ALL.into_iter().map(row).collect();
    if args.json {
        println!("{}", serde_json::to_string_pretty(&rows)?);
        return Ok(Outcome::Good);
    }
    println!("{:<22} {:>4} {:>4} {:>7} {:>8}  modes", "task", "obs", "act", "dt/s", "horizon");
    for r in rows {
        let modes = r.modes.join(", ");
        let Row { task, observation, action, dt_s, horizon, .. } = r;
        println!("{task:<22} {observation:>4} {action:>4} {dt_s:>7} {horizon:>8}  {modes}");
    }
    Ok(Outcome::Good)
}

fn row(task: TaskId) -> Row {
    let info = tasks::info(task);
    let modes = match &info.modes {
        Modes::Discrete(modes) => modes.iter().map(|m| m.label.clone()).collect(),
        Modes::Continuous(space) => {
            let range = |(low, high): (&f64, &f64)| format!("{low:.3}…{high:.3}");
            let bounds: Vec<String> = space.low.iter().zip(&space.high).map(range).collect();
            vec![format!("{}: {}", space.what, bounds.join(" × "))]
        }
    };
    Row {
        task: task.name(),
        observation: info.obs_dim(),
        action: info.action_dim(),
        dt_s: info.dt_s,
        horizon: info.horizon,
        modes,
    }
}
