//! `sog tasks` and `sog task list`: the built-in tasks with sizes, control periods and modes.

use anyhow::Result;
use clap::Args;
use serde::Serialize;
use sog_sim::{error::SimError, task::Modes, tasks};

use super::Outcome;

#[derive(Args)]
pub(super) struct TasksArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Row {
    task: String,
    observation: usize,
    action: usize,
    dt_s: f64,
    horizon: usize,
    modes: Vec<String>,
    simulator: String,
}

pub(super) fn run(args: &TasksArgs) -> Result<Outcome> {
    let rows: Vec<Row> = tasks::names().into_iter().map(row).collect::<Result<_, _>>()?;
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

fn row(name: &str) -> Result<Row, SimError> {
    let task = tasks::open(name)?;
    let info = task.info();
    let modes = match &info.modes {
        Modes::Discrete(modes) => modes.iter().map(|m| m.label.clone()).collect(),
        Modes::Continuous(space) => {
            let range = |(low, high): (&f64, &f64)| format!("{low:.3}…{high:.3}");
            let bounds: Vec<String> = space.low.iter().zip(&space.high).map(range).collect();
            vec![format!("{}: {}", space.what, bounds.join(" × "))]
        }
    };
    Ok(Row {
        task: name.to_string(),
        observation: info.obs_dim(),
        action: info.action_dim(),
        dt_s: info.dt_s,
        horizon: info.horizon,
        modes,
        simulator: task.simulator().to_string(),
    })
}
