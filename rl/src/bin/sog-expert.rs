//! Trains experts; the `sog` command will take this over.
use sog_rl::experts::{ExpertConfig, Training};
use sog_sim::{
    task::TaskId,
    tasks::{TaskMaker, TaskOptions},
};
use std::path::PathBuf;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let (task, dir, network) =
        (args[0].parse::<TaskId>()?, PathBuf::from(&args[1]), args[2].parse::<usize>()?);
    let mut config = ExpertConfig::of(task)?;
    if let Some(budget) = args.get(3) {
        config.budget = budget.parse()?;
    }
    if let Some(file) = args.get(4) {
        config = ExpertConfig { budget: config.budget, ..sog_rl::run::read_config(file.as_ref())? };
    }
    let maker = TaskMaker::new(task, &TaskOptions::default())?;
    let mut training = Training::open(&maker, &config, &dir, network)?;
    training.train(&mut |p| {
        let (d, e) = (p.diagnostics, p.evaluation);
        println!("{task} {} {:>9} {:>6.0}s sampled {:>7.1} len {:>5.0} eval {:>7.1}±{:<5.0} early {:>4.2} err {:.3} best {:>7.1}@{} ev {:.2} kl {:.4} clip {:.2} logstd {:.2} t {:.2}+{:.2}",
            p.network, p.steps, p.wall_s, d.episode_return, d.episode_length, e.mean, e.std, e.early_ends, e.speed_error_m_s.unwrap_or(f64::NAN),
            p.best.evaluation.as_ref().map_or(f64::NAN, |e| e.mean), p.best.steps, d.explained_variance, d.approx_kl, d.clip_fraction, d.log_std, d.collect_s, d.update_s);
        true
    })?;
    Ok(())
}
