//! `sog embed`: the code of each demonstration under a policy.

use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Args;
use serde::Serialize;
use sog_runtime::policy::LatentKind;

use super::{Outcome, info_of, load_demos, load_policy, task_of};
use crate::{
    codes::embed::{default_search, embed},
    data::Labels,
    evaluate::confusion::Confusion,
    export::network_of,
    normalise::ObsNormaliser,
};

#[derive(Args)]
pub(super) struct EmbedArgs {
    /// Policy file
    #[arg(long, value_name = "FILE")]
    policy: PathBuf,
    /// Demonstration file
    #[arg(long, value_name = "FILE")]
    demos: PathBuf,
    /// Seed of the search among continuous codes
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What `--json` prints.
#[derive(Serialize)]
struct Report {
    task: String,
    latent: String,
    trajectories: Vec<Embedded>,
    /// Root mean square cloning error of each action component.
    rms_error: Vec<f32>,
    /// Trajectories by code and mode `[K][modes]`, where both are discrete and labelled.
    confusion: Option<Confusion>,
    /// Share of the trajectories whose code is used for their mode more than for any other.
    purity: Option<f64>,
}

/// One demonstration.
#[derive(Serialize)]
struct Embedded {
    trajectory: usize,
    /// Number of the code, where codes are one-hot.
    code: Option<usize>,
    /// The code vector.
    latent: Vec<f32>,
    /// Mean ‖â − a‖² under the code.
    loss: f32,
}

pub(super) fn run(args: &EmbedArgs) -> Result<Outcome> {
    let file = load_policy(&args.policy)?;
    let task = task_of(&file, None)?;
    let task = task.map_or_else(|| info_of(&file), |task| task.info().clone());
    if file.latent == LatentKind::None {
        bail!("{} takes no code: there is nothing to embed in", args.policy.display());
    }
    let demos = load_demos(&args.demos, &task)?;
    let normaliser = ObsNormaliser::new(file.normaliser.clone());
    let d = &demos.demonstrations;
    let search = default_search(file.latent);
    let found = embed(&network_of(&file)?, &normaliser, search, d, usize::MAX, args.seed)?;
    let one_hot = matches!(file.latent, LatentKind::OneHot(_));
    let trajectories: Vec<Embedded> = found
        .codes
        .chunks_exact(file.latent_dim())
        .zip(&found.losses)
        .enumerate()
        .map(|(trajectory, (latent, &loss))| Embedded {
            trajectory,
            code: if one_hot { latent.iter().position(|&z| z > 0.5) } else { None },
            latent: latent.to_vec(),
            loss,
        })
        .collect();
    let confusion = match &demos.labels {
        Some(Labels::Modes(modes)) if one_hot => {
            let labelled = modes.iter().max().map_or(0, |&m| m as usize + 1);
            let count = task.modes.count().unwrap_or(0).max(labelled);
            Some(Confusion::new(&found.codes, file.latent_dim(), modes, count))
        }
        _ => None,
    };
    let purity = confusion.as_ref().map(Confusion::purity);
    let latent = file.latent.to_string();
    let rms_error = found.rms_error;
    let report = Report {
        task: task.name().to_string(),
        latent,
        trajectories,
        rms_error,
        confusion,
        purity,
    };
    print(&report, args.json)
}

fn print(report: &Report, json: bool) -> Result<Outcome> {
    if json {
        println!("{}", serde_json::to_string_pretty(report)?);
        return Ok(Outcome::Good);
    }
    if let (Some(table), Some(purity)) = (&report.confusion, report.purity) {
        println!("trajectories by code (rows) and mode (columns):");
        for (code, row) in table.counts.iter().enumerate() {
            let cells: Vec<String> = row.iter().map(|n| format!("{n:>6}")).collect();
            println!("  code {code}{}", cells.concat());
        }
        println!("purity {:.1} %", 100.0 * purity);
        return Ok(Outcome::Good);
    }
    for t in &report.trajectories {
        let numbers: Vec<String> = t.latent.iter().map(|z| format!("{z:8.3}")).collect();
        println!("{:>6}  {}  loss {:.5}", t.trajectory, numbers.concat(), t.loss);
    }
    Ok(Outcome::Good)
}
