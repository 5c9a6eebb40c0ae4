//! Part `agreement`: every algorithm on the device against the processor's engine.
//!
//! Compared are at the end the parameters of all networks, of which the largest difference counts, or
//! the root mean square for the piecewise linear ones (discriminator, posterior); all along losses
//! and other metrics, as |a − b| / max(1, |a|).

use std::{collections::BTreeMap, fs, path::Path};

use anyhow::{Context, Result, bail};
use serde_json::json;
use sog_runtime::tensors::TensorFile;

use super::{
    device::DeviceArg,
    part::{Place, Training, checkpoints, succeed},
};

/// What the parameters and the losses may differ by.
const BAR: f64 = 1e-4;
/// Shares of rows, and norms at kinks: one row more or less on one side shows.
const METRICS_BAR: f64 = 1e-2;

/// A hundred updates of each network: cloning's, and then 5 iterations with 20 of PPO, of the
/// discriminator and of the posterior each. Discriminator and posterior are piecewise linear: a unit
/// within rounding of its kink may fall on either side, and its gradient changes by a step. What
/// that makes of the parameters goes with their step size.
const SETTINGS: [&str; 23] = [
    "cloning.updates=100",
    "cloning.checkpoint_interval=100",
    "cloning.log_interval=10",
    "cloning.attempts=1",
    "cloning.search_samples=10",
    "adversarial.total_steps=1280",
    "adversarial.eval_interval=2",
    "adversarial.checkpoint_interval=5",
    "ppo.envs=4",
    "ppo.steps=64",
    "ppo.minibatch=64",
    "ppo.epochs=5",
    "ppo.update.entropy_coef=0.01",
    "discriminator.batch=64",
    "discriminator.passes=5",
    "discriminator.warmup_iterations=0",
    "discriminator.learning_rate=1e-4",
    "infogail.batch=64",
    "infogail.passes=5",
    "infogail.learning_rate=1e-4",
    // 300 for ordinary runs.
    "vae_gail.max_length=100",
    "vae_gail.batch=8",
    "vae_gail.decoder_hidden=64",
];

const DEMOS: &str = "two-a-mode.safetensors";

/// Algorithm, and what is set beyond [`SETTINGS`].
const CASES: [(&str, &[&str]); 10] = [
    ("bc", &[]),
    ("sog-bc", &[]),
    ("gail", &[]),
    ("sog-gail", &[]),
    ("infogail", &[]),
    ("vae-gail", &[]),
    ("sog-bc", &["latent=gaussian:2"]),
    ("sog-gail", &["latent=gaussian:2"]),
    ("infogail", &["latent=gaussian:2"]),
    ("sog-gail", &["sog_gail.codes=assigned", "cloning.batch=64"]),
];

pub(super) fn run(place: &Place) -> Result<()> {
    place.demonstrations(DEMOS, 2)?;
    let autoencoder = format!("vae_gail.updates={}", place.sized(100, 5));
    for (number, (algorithm, more)) in CASES.iter().enumerate() {
        let mut settings = SETTINGS.to_vec();
        settings.push(&autoencoder);
        if place.how.quick {
            settings.push("cloning.batch=8");
        }
        settings.extend(*more);
        let run = |by: &str, device: DeviceArg| -> Result<(f64, Run)> {
            let name = format!("agreement-{number}-{by}");
            let training =
                Training { name: &name, algorithm, demos: DEMOS, device, settings: &settings };
            let (seconds, _) = succeed(&mut place.train(&training))?;
            Ok((seconds, Run::read(&place.path(&name))?))
        };
        let what = [&[*algorithm], *more].concat().join(", ");
        let compared = run("engine", DeviceArg::Cpu)
            .and_then(|(engine_s, engine)| Ok((engine_s, engine, run("device", place.device())?)))
            .and_then(|(engine_s, engine, (device_s, device))| {
                Ok((engine_s, device_s, Differences::between(&engine, &device)?))
            });
        match compared {
            Ok((engine_s, device_s, d)) => place.tell(
                &what,
                d.are_small(),
                &[
                    ("parameters", json!(d.smooth)),
                    ("parameters, piecewise linear (rms)", json!(d.piecewise_rms)),
                    ("losses", json!(d.losses)),
                    ("other metrics", json!(d.metrics)),
                    ("engine s", json!(engine_s)),
                    ("device s", json!(device_s)),
                ],
            )?,
            // The other algorithms are still to be seen.
            Err(error) => place.tell(&format!("{what}: {error:#}"), false, &[])?,
        }
    }
    Ok(())
}

/// What a run leaves.
struct Run {
    /// Parameters of every network in the newest checkpoint, by name.
    parameters: BTreeMap<String, Vec<f32>>,
    /// Losses and the like, line by line, without what the clock says.
    metrics: Vec<BTreeMap<String, f64>>,
}

impl Run {
    fn read(dir: &Path) -> Result<Self> {
        let newest = checkpoints(dir).pop().context("the run left no checkpoint")?;
        let bytes = fs::read(newest)?;
        let file = TensorFile::parse(&bytes)?;
        let names = file.names();
        let of_networks = names.iter().filter(|name| !name.contains("adam"));
        let parameters =
            of_networks.filter_map(|name| Some((name.to_string(), file.f32(name).ok()?))).collect();
        let text = fs::read_to_string(dir.join("metrics.jsonl"))?;
        let line = |line: &str| -> Result<BTreeMap<String, f64>> {
            let all: BTreeMap<String, Option<f64>> = serde_json::from_str(line)?;
            let timed = |name: &str| name == "wall_s" || name.starts_with("time/");
            Ok(all.into_iter().filter_map(|(k, v)| (!timed(&k)).then_some((k, v?))).collect())
        };
        Ok(Self { parameters, metrics: text.lines().map(line).collect::<Result<_>>()? })
    }
}

/// How far two runs are apart.
#[derive(Debug, Default)]
struct Differences {
    smooth: f64,
    piecewise_rms: f64,
    losses: f64,
    metrics: f64,
}

impl Differences {
    fn between(a: &Run, b: &Run) -> Result<Self> {
        let mut found = Self::default();
        if a.parameters.is_empty() || !a.parameters.keys().eq(b.parameters.keys()) {
            let names = |run: &Run| run.parameters.keys().cloned().collect::<Vec<_>>().join(", ");
            bail!("the networks of one are {}, of the other {}", names(a), names(b));
        }
        for ((name, a), b) in a.parameters.iter().zip(b.parameters.values()) {
            if a.len() != b.len() {
                bail!("{name} has {} parameters in one, {} in the other", a.len(), b.len());
            }
            let off = || a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs()));
            if name.contains("adversary") || name.contains("posterior") {
                let rms = (off().map(|x| x * x).sum::<f64>() / a.len() as f64).sqrt();
                found.piecewise_rms = worst(found.piecewise_rms, rms);
            } else {
                found.smooth = off().fold(found.smooth, worst);
            }
        }
        if a.metrics.len() != b.metrics.len() {
            bail!("{} lines of metrics in one, {} in the other", a.metrics.len(), b.metrics.len());
        }
        for (a, b) in a.metrics.iter().zip(&b.metrics) {
            if !a.keys().eq(b.keys()) {
                bail!("metrics differ in what they hold: {a:?}, {b:?}");
            }
            for ((name, a), b) in a.iter().zip(b.values()) {
                let off = (a - b).abs() / a.abs().max(1.0);
                let to =
                    if name.ends_with("loss") { &mut found.losses } else { &mut found.metrics };
                *to = worst(*to, off);
            }
        }
        Ok(found)
    }

    fn are_small(&self) -> bool {
        self.smooth < BAR
            && self.piecewise_rms < BAR
            && self.losses < BAR
            && self.metrics < METRICS_BAR
    }
}

/// The larger; NaN where one is none.
fn worst(a: f64, b: f64) -> f64 {
    if a.is_nan() || b > a || b.is_nan() && !a.is_nan() {
        if a.is_nan() { a } else { b }
    } else {
        a
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(parameter: f32, loss: f64) -> Run {
        Run {
            parameters: [("net.params".to_string(), vec![1.0, parameter])].into(),
            metrics: vec![[("sog_loss".to_string(), loss)].into()],
        }
    }

    #[test]
    fn what_differs_is_seen_and_judged() {
        let between = |a: &Run, b: &Run| Differences::between(a, b).unwrap().are_small();
        assert!(between(&run(2.0, 3.0), &run(2.00001, 3.0001)));
        assert!(!between(&run(2.0, 3.0), &run(2.001, 3.0)));
        assert!(!between(&run(2.0, 3.0), &run(2.0, 3.01)));
        assert!(!between(&run(2.0, 3.0), &run(f32::NAN, 3.0)));
        assert!(!between(&run(2.0, f64::NAN), &run(2.0, 3.0)));
        let mut other = run(2.0, 3.0);
        other.metrics.clear();
        assert!(Differences::between(&run(2.0, 3.0), &other).is_err());
    }
}
