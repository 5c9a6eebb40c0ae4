//! `sog demos from-log`: demonstrations from the logs of flights.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use sog_runtime::contract::Contract;
use sog_sim::{task::TaskInfo, tasks};

use super::{demo_file, info_of_contract, open_task};
use crate::data::{
    DataError, DemoFile,
    flights::{FlightOptions, demonstrations, read_log},
};

#[derive(Args)]
pub(super) struct FromLogArgs {
    /// Logs that `sog-run --log` wrote, of one task
    #[arg(required = true)]
    logs: Vec<PathBuf>,
    /// Demonstration file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Only stretches where a person had taken over, as the robot reports it
    #[arg(long)]
    interventions: bool,
    /// Leaves out stretches of fewer steps
    #[arg(long, value_name = "STEPS", default_value_t = 2)]
    at_least: usize,
    /// Replaces the file to write if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    pub(super) json: bool,
}

/// Writes the demonstrations and says what they are.
pub(super) fn run(args: &FromLogArgs) -> Result<(DemoFile, TaskInfo)> {
    let out =
        demo_file::claim(&args.out, args.force, None, args.logs.iter().map(PathBuf::as_path))?;
    let logs = args.logs.iter().map(read_log).collect::<Result<Vec<_>, DataError>>()?;
    let Some(first) = logs.first() else { bail!("no log is given") };
    let contract = &first.header.spec.contract;
    for (log, path) in logs.iter().zip(&args.logs) {
        let fits = contract.check_fits(&log.header.spec.contract);
        fits.map_err(|error| error.between("the first log", "this one"))
            .with_context(|| format!("{}", path.display()))?;
    }
    let task = task_of(contract)?;
    let options = FlightOptions { interventions: args.interventions, at_least: args.at_least };
    let file = demonstrations(&logs, &task, options).map_err(|error| match error {
        DataError::Empty if args.interventions => anyhow::anyhow!(
            "the logs have no stretch of {} steps where a person had taken over (the robot has to \
             report it: docs/protocol.md, version 2)",
            args.at_least
        ),
        DataError::Empty => anyhow::anyhow!("nobody acted for {} steps", args.at_least),
        error => error.into(),
    })?;
    demo_file::save(&out, &file, &task)?;
    if !args.json {
        println!("wrote {}", args.out.display());
    }
    Ok((file, task))
}

/// What is known of the task of a contract; of a built-in one also its modes.
fn task_of(contract: &Contract) -> Result<TaskInfo> {
    if tasks::names().contains(&contract.task.as_str()) {
        return Ok(open_task(&contract.task)?.info().clone());
    }
    Ok(info_of_contract(contract))
}
