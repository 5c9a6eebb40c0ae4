//! Part `seeds`: several runs of SOG-BC at once, against the same runs alone, and what an update of them
//! takes.

use anyhow::Result;
use serde_json::json;
use sog_runtime::policy::PolicyFile;

use super::{
    part::{Place, Training, succeed},
    times::{Case, Kind},
};
use crate::{config::CloningConfig, export::network_of};

pub(super) const COLUMNS: [&str; 4] = ["runs", "parameters", "µs an update", "µs a run"];

const DEMOS: &str = "two-a-mode.safetensors";

/// What the parameters may differ by.
const BAR: f32 = 1e-4;

pub(super) fn run(place: &Place) -> Result<()> {
    place.demonstrations(DEMOS, 2)?;
    equality(place)?;
    let device = place.device().open()?;
    let usual = CloningConfig::default();
    let (pairs, trajectories) = (place.sized(usual.batch as u64, 4) as usize, usual.trajectories);
    let case = Case { rows: pairs * trajectories, ..Case::ant(Kind::SogBc) };
    let seconds = if place.how.quick { 0.05 } else { 1.0 };
    for runs in if place.how.quick { [1, 2, 3] } else { [1, 8, 32] } {
        let us = case.together_us(&device, runs, trajectories, seconds)?;
        let values = [("µs an update", json!(us)), ("µs a run", json!(us / runs as f64))];
        let what = format!("H = {}, {trajectories} trajectories of {pairs} pairs", case.hidden);
        place.tell(&what, None, &[&[("runs", json!(runs))], &values[..]].concat())?;
    }
    Ok(())
}

/// Three runs at once are those that they are alone.
fn equality(place: &Place) -> Result<()> {
    const SEEDS: usize = 3;
    let settings = ["cloning.updates=300", "cloning.checkpoint_interval=300", "cloning.attempts=1"];
    let train = |name: &str, seeds: [&str; 2]| {
        let (algorithm, demos, device) = ("sog-bc", DEMOS, place.device());
        let training = Training { name, algorithm, demos, device, settings: &settings };
        Ok::<f64, anyhow::Error>(succeed(place.train(&training).args(seeds))?.0)
    };
    let parameters = |run: &str| -> Result<Vec<f32>> {
        Ok(network_of(&PolicyFile::parse(&place.policy(run)?)?)?.params)
    };
    let at_once_s = train("at-once", ["--seeds", "0..2"])?;
    let (mut alone_s, mut most, mut same) = (0.0, 0.0f32, true);
    for seed in 0..SEEDS {
        let name = format!("alone-{seed}");
        alone_s += train(&name, ["--seed", &seed.to_string()])?;
        let (a, b) = (parameters(&format!("at-once/seed-{seed}"))?, parameters(&name)?);
        let off = a.iter().zip(&b).map(|(a, b)| (a - b).abs());
        most = off.fold(most, f32::max);
        same &= a.len() == b.len() && a.iter().chain(&b).all(|x| x.is_finite());
    }
    let what = format!("300 updates: {at_once_s:.1} s at once, {alone_s:.1} s alone");
    place.tell(&what, same && most <= BAR, &[("runs", json!(SEEDS)), ("parameters", json!(most))])
}
