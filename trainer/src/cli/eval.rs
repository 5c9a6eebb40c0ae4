//! `sog eval`: the paper's measures of a policy file.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::Args;
use sog_runtime::policy::book::Book;
use sog_sim::task::Modes;

use super::{
    OpenTask, Outcome, environments, info_of, load_demos, load_policy, progress::Progress, task_of,
    task_parser,
};
use crate::{
    evaluate::{
        held_out::{CodeShare, HeldOut},
        measure::{Measures, Shown, default_rollouts, measure},
        modes::{ModeOptions, ModeReport},
    },
    train::read_codes,
};

#[derive(Args)]
pub(super) struct EvalArgs {
    /// Policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// The task: the name of a built-in one, or the folder of your own [default: the policy's, where it
    /// is built in]
    #[arg(long, value_parser = task_parser())]
    task: Option<OpenTask>,
    /// Rollouts in all, at least 10 a code [default: 100; fetchreach 1000]
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    rollouts: Option<u32>,
    /// Probability of a uniform random action instead of the policy's
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    perturb: f64,
    /// Also run episodes that switch through all codes
    #[arg(long)]
    switch: bool,
    /// Held-out demonstrations: what they say needs no simulator; they are also needed for continuous
    /// codes on discrete modes, and for the hit rate and returns of goals
    #[arg(long, value_name = "FILE")]
    demos: Option<PathBuf>,
    /// Codes of these demonstrations, where they shall not be searched: `codes.safetensors` in a run
    /// directory of VAE-GAIL, of the demonstrations that it was trained on
    #[arg(long, value_name = "FILE", requires = "demos")]
    codes: Option<PathBuf>,
    /// Seed of the rollouts
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: &EvalArgs) -> Result<Outcome> {
    let file = load_policy(&args.policy)?;
    let task = task_of(&file, args.task.as_ref())?;
    if !(0.0..=1.0).contains(&args.perturb) {
        bail!("--perturb {}: need a probability from 0 to 1", args.perturb);
    }
    let usual = task.as_deref().map_or(0, default_rollouts);
    let rollouts = args.rollouts.map_or(usual, |n| n as usize);
    let options =
        ModeOptions { rollouts, perturb: args.perturb, seed: args.seed, ..ModeOptions::default() };
    let maker = match &task {
        Some(task) => environments(task)?,
        None => None,
    };
    let info = task.as_ref().map_or_else(|| info_of(&file), |task| task.info().clone());
    let demos = args.demos.as_ref().map(|path| load_demos(path, &info)).transpose()?;
    let codes = match (&args.codes, &demos) {
        (Some(path), Some(demos)) => {
            let shape = [demos.demonstrations.len(), file.latent_dim()];
            Some(read_codes(path, shape).with_context(|| format!("{}", path.display()))?)
        }
        _ => None,
    };
    let shown = demos.as_ref().map(|demos| Shown { demos, codes: codes.as_deref() });
    let book = Book::read(&std::fs::read(&args.policy)?, file.latent)?;
    let book = book.filter(|book| !book.codes.is_empty() && !args.switch && demos.is_none());
    // A continuous policy is judged by the codes in its own file.
    let own = match (&book, &info.modes) {
        (Some(book), Modes::Discrete(known)) if !known.is_empty() => Some((book, known)),
        _ => None,
    };
    let report = match (&maker, shown, own) {
        (Some(maker), _, Some((book, known))) => {
            let progress = Progress::new("rollouts", rollouts as u64);
            let tick = |n: usize| (0..n).for_each(|_| progress.tick());
            let report =
                Measures::of_codes(maker, &file, &book.codes, known, &options, Some(&tick))?;
            progress.finish();
            report
        }
        (Some(maker), _, None) => {
            let progress = Progress::new("rollouts", rollouts as u64);
            let tick = |n: usize| (0..n).for_each(|_| progress.tick());
            let report = measure(maker, &file, shown, &options, args.switch, Some(&tick))?;
            progress.finish();
            report
        }
        (None, Some(shown), _) => Measures::of_demonstrations(&file, shown.demos, args.seed)?,
        (None, None, _) => bail!(
            "nothing simulates `{}` here, and there are no demonstrations to compare with: give \
             --demos, or the folder of the task with --task",
            file.contract.task
        ),
    };
    let modes = report.modes.iter().flat_map(|modes| &modes.per_mode);
    for mode in modes.filter(|mode| !mode.mean.is_finite()) {
        log::warn!(
            "`{}` has no return: it had no rollout, or its reward was no finite number in one (`sog task \
             check` says where)",
            mode.label
        );
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        print(&report);
    }
    Ok(Outcome::Good)
}

fn print(report: &Measures) {
    println!("{} on {}", report.algorithm, report.task);
    if let Some(modes) = &report.modes {
        print_modes(modes);
    }
    if let Some(goals) = &report.goals {
        println!("{} rollouts with the mean action", goals.rollouts);
        for (what, value) in [
            ("return on demonstrated goals", goals.return_mean),
            ("hit rate", goals.hit_rate),
            ("entropy of reached targets / nats", goals.entropy_nats),
            ("mutual information of code and velocity / nats", goals.mutual_information_nats),
            ("falls", Some(goals.falls)),
        ] {
            if let Some(value) = value {
                println!("{what:<48} {value:10.3}");
            }
        }
    }
    if let Some(held_out) = &report.held_out {
        print_held_out(held_out);
    }
    if let Some(switching) = &report.switching {
        println!(
            "{} switches: {:.1} % survived, {:.1} % followed, {:.1} % arrived in the end",
            switching.switches,
            100.0 * switching.switch_survival,
            100.0 * switching.switch_followed,
            100.0 * switching.switch_arrived
        );
    }
}

fn print_held_out(report: &HeldOut) {
    println!("{} demonstrations, each under the code that explains it best", report.trajectories);
    println!("held-out loss {:.5}", report.held_out_loss);
    for (name, rmse) in report.action_components.iter().zip(&report.action_rmse) {
        println!("  {name:<24} off by {rmse:.4} (root mean square, in its unit)");
    }
    let modes = report.counts.as_ref().map(|c| c.counts.clone()).unwrap_or_default();
    for CodeShare { code, share } in &report.codes {
        let of_modes = modes.get(*code).map(|row| {
            let cells: Vec<String> = row.iter().map(|n| format!("{n:>6}")).collect();
            format!("  by mode{}", cells.concat())
        });
        println!("code {code}: {:5.1} %{}", 100.0 * share, of_modes.unwrap_or_default());
    }
    if let Some(stability) = report.stability {
        println!("both halves of a demonstration get the same code: {:.1} %", 100.0 * stability);
    }
    if let Some(purity) = report.purity {
        println!("purity {:.1} %", 100.0 * purity);
    }
}

fn print_modes(report: &ModeReport) {
    println!("{} rollouts with the mean action", report.rollouts);
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
