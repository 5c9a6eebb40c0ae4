//! `sog-sim tasks`: what there is to simulate.

use anyhow::Result;
use clap::Args;
use serde_json::json;

use super::{Outcome, print_json};
use crate::{
    task::{Modes, TaskInfo},
    tasks,
};

#[derive(Args)]
pub(super) struct ListArgs {
    /// Also list the terms of observations and actions
    #[arg(long)]
    terms: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ListArgs) -> Result<Outcome> {
    let open = |name| Ok(tasks::open(name)?.info().clone());
    let infos = tasks::names().into_iter().map(open).collect::<Result<Vec<TaskInfo>>>()?;
    if args.json {
        print_json(&infos.iter().map(to_json).collect());
        return Ok(Outcome::Good);
    }
    println!("{:<22}{:>5}{:>5}{:>9}{:>9}  modes", "task", "obs", "act", "dt, s", "horizon");
    for info in &infos {
        println!(
            "{:<22}{:>5}{:>5}{:>9}{:>9}  {}",
            info.name(),
            info.obs_dim(),
            info.action_dim(),
            info.dt_s,
            info.horizon,
            modes(&info.modes)
        );
        if args.terms {
            println!("    observation: {}", info.obs_terms);
            println!("    action:      {}", info.action_terms);
        }
    }
    Ok(Outcome::Good)
}

fn modes(modes: &Modes) -> String {
    match modes {
        Modes::Discrete(modes) => {
            modes.iter().map(|m| m.label.as_str()).collect::<Vec<_>>().join(", ")
        }
        Modes::Continuous(space) => {
            let bound =
                |x: &f64| format!("{x:.3}").trim_end_matches('0').trim_end_matches('.').to_string();
            let sides: Vec<String> = (space.low.iter().zip(&space.high))
                .map(|(low, high)| format!("[{}, {}]", bound(low), bound(high)))
                .collect();
            format!("{} in {}", space.what, sides.join(" × "))
        }
    }
}

fn to_json(info: &TaskInfo) -> serde_json::Value {
    let modes = match &info.modes {
        Modes::Discrete(modes) => modes
            .iter()
            .map(|m| json!({ "label": m.label, "value": m.value }))
            .collect::<serde_json::Value>(),
        Modes::Continuous(space) => {
            json!({ "goal": space.what, "low": space.low, "high": space.high })
        }
    };
    json!({
        "task": info.name(),
        "obs_terms": info.obs_terms.to_string(),
        "action_terms": info.action_terms.to_string(),
        "obs_dim": info.obs_dim(),
        "action_dim": info.action_dim(),
        "action_low": info.action_low,
        "action_high": info.action_high,
        "dt_s": info.dt_s,
        "horizon": info.horizon,
        "modes": modes,
    })
}
