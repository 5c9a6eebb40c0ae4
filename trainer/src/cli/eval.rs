//! `sog eval`: the paper's measures of a policy file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use serde::Serialize;
use sog_runtime::policy::{LatentKind, Policy, PolicyFile};
use sog_sim::{
    task::{Modes, TaskInfo},
    tasks::{TaskMaker, TaskOptions},
};

use super::{Outcome, parse_task, progress::Progress};
use crate::evaluate::modes::{ModeOptions, ModeReport, evaluate_modes};

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The task (see `sog tasks`) [default: the policy's]
    #[arg(long, value_parser = parse_task)]
    task: Option<TaskInfo>,
    /// Rollouts in all, at least 10 a code
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rollouts: u32,
    /// Probability of a uniform random action instead of the policy's
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    perturb: f64,
    /// Seed of the rollouts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report<'a> {
    task: &'a str,
    algorithm: &'a str,
    #[serde(flatten)]
    modes: &'a ModeReport,
}

pub(super) fn run(args: &EvalArgs) -> Result<Outcome> {
    let bytes =
        std::fs::read(&args.policy).with_context(|| format!("{}", args.policy.display()))?;
    let file = PolicyFile::parse(&bytes)
        .with_context(|| format!("{} is refused", args.policy.display()))?;
    let task = match &args.task {
        Some(task) => task.clone(),
        None => parse_task(&file.task)?,
    };
    file.check_fits(task.name(), &task.obs_terms, &task.action_terms)?;
    if !(0.0..=1.0).contains(&args.perturb) {
        bail!("--perturb {}: need a probability from 0 to 1", args.perturb);
    }
    let Some(labels) = mode_labels(&task, file.latent) else {
        bail!("{} with code {} cannot be evaluated yet", task.name(), file.latent);
    };
    let maker = TaskMaker::new(task.id, &TaskOptions::default())?;
    let options = ModeOptions {
        rollouts: args.rollouts as usize,
        perturb: args.perturb,
        seed: args.seed,
        ..ModeOptions::default()
    };
    let progress = Progress::new("rollouts", u64::from(args.rollouts));
    let tick = |n: usize| (0..n).for_each(|_| progress.tick());
    let policy = Policy::new(&file);
    let modes = evaluate_modes(&maker, &policy, file.latent, &labels, &options, Some(&tick))?;
    progress.finish();
    if args.json {
        let algorithm = &file.provenance.algorithm;
        let report = Report { task: task.name(), algorithm, modes: &modes };
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&modes, task.name(), &file.provenance.algorithm);
    }
    Ok(Outcome::Good)
}

/// The names of a task's modes, where a policy with codes of this kind can be matched with them.
pub(super) fn mode_labels(task: &TaskInfo, latent: LatentKind) -> Option<Vec<String>> {
    match (&task.modes, latent) {
        (Modes::Discrete(modes), LatentKind::OneHot(_) | LatentKind::None) => {
            Some(modes.iter().map(|m| m.label.clone()).collect())
        }
        _ => None,
    }
}

fn print(report: &ModeReport, task: &str, algorithm: &str) {
    println!("{algorithm} on {task}: {} rollouts with the mean action", report.rollouts);
    println!("{:<6} {:<14} {:>6} {:>12} {:>10} {:>8}", "mode", "", "code", "mean", "std", "falls");
    for m in &report.per_mode {
        let code = m.code.map_or("-".to_string(), |c| c.to_string());
        println!(
            "{:<6} {:<14} {code:>6} {:>12.1} {:>10.1} {:>7.0}%",
            m.mode,
            m.label,
            m.mean,
            m.std,
            100.0 * m.falls
        );
    }
    println!("matched: {:.1} ± {:.1}", report.return_mean, report.return_std);
}
