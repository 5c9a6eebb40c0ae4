//! Parts `sog-bc` and `sog-gail`: whole runs on circles, to their returns.

use anyhow::{Context, Result};
use serde_json::{Value, json};

use super::{
    device::DeviceArg,
    part::{Place, Training, succeed},
};
use crate::train::POLICY_FILE;

pub(super) const COLUMNS: [&str; 4] = ["return", "worst mode", "s", "settings"];

/// How much less the device's return may be: rounding takes the runs apart.
const SHARE: f64 = 0.98;

const DEMOS: &str = "circles.safetensors";

/// Records what the parts learn from.
pub(super) fn demonstrations(place: &Place) -> Result<()> {
    let (few, many) = (2, place.sized(100, 4));
    place.demonstrations("two-a-mode.safetensors", few)?;
    place.demonstrations(DEMOS, many)?;
    for (what, episodes) in [("few", few), ("many", many)] {
        let count = json!(format!("{episodes} a mode"));
        place.tell(what, true, &[("trajectories", count)])?;
    }
    Ok(())
}

/// Cloning, here and there.
pub(super) fn sog_bc(place: &Place) -> Result<()> {
    let updates = format!("cloning.updates={}", place.sized(10_000, 200));
    compare(place, "sog-bc", &[&updates], None)
}

/// What follows it, from the device's clone where there is one.
pub(super) fn sog_gail(place: &Place) -> Result<()> {
    let steps = format!("adversarial.total_steps={}", place.sized(50_000, 2000));
    let mut settings = vec![steps.as_str()];
    if place.how.quick {
        settings.extend(["ppo.envs=4", "ppo.steps=128", "discriminator.warmup_passes=2"]);
    }
    compare(place, "sog-gail", &settings, Some("sog-bc-device"))
}

/// Trains on the processor and on the device and compares what the policies earn.
fn compare(place: &Place, algorithm: &str, settings: &[&str], start: Option<&str>) -> Result<()> {
    let mut returns = vec![];
    for (by, device) in [("engine", DeviceArg::Cpu), ("device", place.device())] {
        let name = format!("{algorithm}-{by}");
        let training = Training { name: &name, algorithm, demos: DEMOS, device, settings };
        let mut command = place.train(&training);
        if let Some(start) = start {
            command.arg("--start").arg(place.path(start).join(POLICY_FILE));
        }
        let (seconds, _) = succeed(&mut command)?;
        let (mean, worst) = earned(place, &name)?;
        returns.push(mean);
        // Small runs have learned nothing yet.
        let good = (by == "device" && !place.how.quick).then(|| mean >= SHARE * returns[0]);
        let numbers = [json!(mean), json!(worst), json!(seconds), json!(settings.join(" "))];
        let values: Vec<_> = COLUMNS.into_iter().zip(numbers).collect();
        place.tell(&device.to_string(), good, &values)?;
    }
    Ok(())
}

/// What a run's policy earns: the mean, and that of its worst mode.
fn earned(place: &Place, run: &str) -> Result<(f64, f64)> {
    let mut command = place.sog();
    command.args(["eval", "--json", "--policy"]).arg(place.path(run).join(POLICY_FILE));
    let (_, output) = succeed(&mut command)?;
    let report: Value = serde_json::from_slice(&output.stdout)?;
    let mean = report["return_mean"].as_f64().context("no return_mean was told")?;
    let modes = report["per_mode"].as_array().context("no per_mode was told")?;
    let worst = modes.iter().filter_map(|mode| mode["mean"].as_f64()).fold(f64::INFINITY, f64::min);
    Ok((mean, worst))
}
