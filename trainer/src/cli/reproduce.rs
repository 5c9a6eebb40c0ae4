//! `sog reproduce`: a table of the paper, ours beside it.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use sog_sim::task::TaskId;

use super::{Outcome, progress::Progress};
use crate::{
    config::Algorithm,
    reproduce::{Plan, Status, paper::Table, reproduce},
};

/// Progress is shown in thousandths.
const PARTS: u64 = 1000;

#[derive(Args)]
pub(super) struct ReproduceArgs {
    /// table1 (mean rewards), table2 (fetchreach) or table3 (halfcheetah-vel)
    #[arg(value_parser = |s: &str| s.parse::<Table>())]
    table: Table,
    /// Tasks, separated by commas [default: all of the table]
    #[arg(long, value_delimiter = ',')]
    tasks: Vec<TaskId>,
    /// Algorithms, separated by commas
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = |s: &str| s.parse::<Algorithm>(),
        default_value = "sog-bc,sog-gail,infogail,vae-gail"
    )]
    algos: Vec<Algorithm>,
    /// Runs of each, with seeds 0, 1, …
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: u64,
    /// Factor on the length of training; 1 is what the figures are meant for
    #[arg(long, default_value_t = 1.0)]
    budget: f64,
    /// Where demonstrations, runs and tables go; what is there already is not made again
    #[arg(long, value_name = "DIR", default_value = "runs/reproduce")]
    out: PathBuf,
    /// Print JSON instead of Markdown
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &ReproduceArgs) -> Result<Outcome> {
    if !(args.budget > 0.0 && args.budget <= 1000.0) {
        bail!("--budget {}: need a factor above 0, at most 1000", args.budget);
    }
    let known = args.table.tasks();
    let tasks = if args.tasks.is_empty() { known.to_vec() } else { args.tasks.clone() };
    if let Some(other) = tasks.iter().find(|t| !known.contains(t)) {
        let names: Vec<&str> = known.iter().map(|t| t.name()).collect();
        bail!("{} is not in {}, whose tasks are {}", other.name(), args.table, names.join(", "));
    }
    let plan = Plan {
        table: args.table,
        tasks,
        algorithms: args.algos.clone(),
        seeds: args.seeds,
        budget: args.budget,
        dir: args.out.clone(),
    };
    let progress = Progress::new(args.table.name(), PARTS);
    let report = reproduce(&plan, &|status: &Status<'_>| {
        let share = (status.done / status.total.max(1.0)).min(1.0);
        progress.set_of((share * PARTS as f64) as u64, PARTS, status.message);
    })?;
    progress.finish();
    println!("{}", if args.json { report.json() } else { report.markdown() });
    Ok(Outcome::Good)
}
