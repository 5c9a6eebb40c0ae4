//! Trains and assembles experts until the `sog` command does:
//! `sog-expert train TASK RUNS NETWORK [BUDGET [CONFIG]]`, `sog-expert assemble TASK RUNS FILE [EPISODES]`.

use std::path::{Path, PathBuf};

use sog_rl::{
    experts::{ExpertConfig, Origin, Source, Training, assemble, verdict},
    run::{read_config, write_atomic},
};
use sog_sim::{
    task::TaskId,
    tasks::{TaskMaker, TaskOptions},
};

type Outcome = Result<(), Box<dyn std::error::Error>>;

/// Metrics that are shown.
const SHOWN: [&str; 9] = [
    "rollout/episode_return",
    "rollout/hit_rate",
    "losses/critic_loss",
    "losses/approx_kl",
    "losses/clip_fraction",
    "losses/explained_variance",
    "policy/log_std",
    "time/collect_s",
    "time/update_s",
];

fn main() -> Outcome {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["train", task, runs, network, ref more @ ..] => {
            train(task.parse()?, Path::new(runs), network.parse()?, more)
        }
        ["assemble", task, runs, file, ref more @ ..] => {
            let episodes = more.first().map_or(Ok(100), |n| n.parse())?;
            put_together(task.parse()?, Path::new(runs), &PathBuf::from(file), episodes)
        }
        _ => Err("usage: sog-expert train TASK RUNS NETWORK [BUDGET [CONFIG]] | \
                  assemble TASK RUNS FILE [EPISODES]"
            .into()),
    }
}

fn train(task: TaskId, runs: &Path, network: usize, more: &[&str]) -> Outcome {
    let mut config = ExpertConfig::of(task)?;
    if let Some(file) = more.get(1) {
        config = read_config(Path::new(file))?;
    }
    if let Some(budget) = more.first() {
        config.budget = budget.parse()?;
        for source in &mut config.networks {
            if let Source::Start { budget, .. } = source {
                *budget = None;
            }
        }
    }
    let maker = TaskMaker::new(task, &TaskOptions::default())?;
    let mut training = Training::open(&maker, &config, runs, network)?;
    training.train(&mut |p| {
        let e = p.evaluation;
        let more: Vec<String> = p
            .values
            .iter()
            .filter(|(name, _)| SHOWN.contains(name))
            .map(|(name, v)| format!("{} {v:.3}", name.rsplit('/').next().unwrap_or(name)))
            .collect();
        println!(
            "{task} {} {:>9}/{} {:>6.0} s  mean action {:>7.1} ± {:<6.1} early {:.2} speed error {:.3} \
             best {:>7.1} at {:>9}  {}",
            p.network, p.steps, p.budget, p.wall_s, e.mean, e.std, e.early_ends,
            e.speed_error_m_s.unwrap_or(f64::NAN),
            p.best.evaluation.as_ref().map_or(f64::NAN, |e| e.mean), p.best.steps,
            more.join(" "),
        );
        true
    })?;
    Ok(())
}

fn put_together(task: TaskId, runs: &Path, path: &Path, episodes: usize) -> Outcome {
    let maker = TaskMaker::new(task, &TaskOptions::default())?;
    let git = || std::process::Command::new("git").args(["rev-parse", "HEAD"]).output();
    let revision = std::env::var("SOG_REVISION")
        .or_else(|_| git().map(|o| String::from_utf8_lossy(&o.stdout).trim().to_string()));
    let origin = Origin {
        command: format!("sog expert train --task {task}"),
        revision: revision.unwrap_or_default(),
    };
    let file = assemble(&maker, runs, episodes, &origin)?;
    let evaluation = &file.provenance.evaluation;
    for (m, n) in evaluation.modes.iter().zip(&file.provenance.networks) {
        println!(
            "{:<10} {:>8.1} ± {:<7.1} early {:.3} speed error {:.4}  {:>10} steps {:>6.0} s  {}",
            m.label,
            m.mean,
            m.std,
            m.early_ends,
            m.speed_error_m_s.unwrap_or(f64::NAN),
            n.env_steps,
            n.wall_s,
            n.origin
        );
    }
    println!("mean {:.1}  {:?}", evaluation.mean, verdict(maker.info(), evaluation));
    if path != Path::new("-") {
        write_atomic(path, &file.to_bytes()?)?;
    }
    Ok(())
}
