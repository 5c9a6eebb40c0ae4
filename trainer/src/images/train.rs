//! A run on pictures: SOG, then the VAE that it is measured against.

use rustix::time::{ClockId, clock_gettime};
use sog_rl::run::{Checkpoint, Run, Snapshot, SnapshotError, write_atomic};

use super::{
    config::ImageConfig, data::Dataset, error::ImageError, model::ImageModel, sog::SogImages,
    vae::VaeImages,
};
use crate::{device::Compute, train::ProgressFn};

/// Name of the model's file in a run directory.
pub const MODEL_FILE: &str = "model.safetensors";

/// What a run works with.
#[derive(Clone, Copy)]
pub struct ImageJob<'a> {
    /// Every choice.
    pub config: &'a ImageConfig,
    /// What is learned.
    pub dataset: &'a Dataset,
    /// What computes the updates.
    pub compute: &'a Compute,
    /// Told how far the run is.
    pub progress: ProgressFn<'a>,
    /// Asked between two updates whether the run shall stop: it then writes a checkpoint and ends
    /// with [`ImageError::Interrupted`].
    pub interrupted: &'a (dyn Fn() -> bool + Sync),
}

/// Both learners, and the processor's time that each has had.
struct Learners<'a> {
    sog: SogImages<'a>,
    vae: VaeImages<'a>,
    sog_cpu_s: f64,
    vae_cpu_s: f64,
}

impl Checkpoint for Learners<'_> {
    fn save(&self, to: &mut Snapshot) {
        to.nest("sog", &self.sog);
        to.nest("vae", &self.vae);
        to.state("sog_cpu_s", &self.sog_cpu_s);
        to.state("vae_cpu_s", &self.vae_cpu_s);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_nested("sog", &mut self.sog)?;
        from.read_nested("vae", &mut self.vae)?;
        self.sog_cpu_s = from.read_state("sog_cpu_s")?;
        self.vae_cpu_s = from.read_state("vae_cpu_s")?;
        Ok(())
    }
}

/// Learns until both have done their updates; writes and returns the model.
///
/// # Errors
/// [`ImageError`].
pub fn train(run: &mut Run, job: ImageJob<'_>) -> Result<ImageModel, ImageError> {
    let config = job.config;
    let for_sog = job.dataset.train.at_most(config.sog.pictures);
    let mut learners = Learners {
        sog: SogImages::new(config, &for_sog, job.compute)?,
        vae: VaeImages::new(config, &job.dataset.train, job.compute)?,
        sog_cpu_s: 0.0,
        vae_cpu_s: 0.0,
    };
    run.restore(&mut learners)?;
    let total = config.updates();
    loop {
        let step = learners.sog.step + learners.vae.step;
        let done = step >= total;
        let due = |interval: u64| step > 0 && (step.is_multiple_of(interval) || done);
        if due(config.checkpoint_interval) || (job.interrupted)() {
            learners.sog.settle()?;
            learners.vae.settle()?;
            run.checkpoint(step, &learners)?;
        }
        if done {
            break;
        }
        if (job.interrupted)() {
            return Err(ImageError::Interrupted { step });
        }
        let before = cpu_s();
        let is_sog = learners.sog.step < config.sog.updates;
        if is_sog {
            learners.sog.update()?;
            learners.sog_cpu_s += cpu_s() - before;
        } else {
            learners.vae.update()?;
            learners.vae_cpu_s += cpu_s() - before;
        }
        let step = step + 1;
        if step.is_multiple_of(config.log_interval) || step == total {
            log(run, &learners, is_sog, step)?;
            let (who, mse) =
                if is_sog { ("SOG", learners.sog.mse) } else { ("VAE", learners.vae.mse) };
            (job.progress)(step, total, &format!("{who}, error {mse:.5}"));
        }
    }
    let model = ImageModel::of(
        run,
        job.config,
        job.dataset,
        &learners.sog,
        &learners.vae,
        [learners.sog_cpu_s, learners.vae_cpu_s],
    );
    write_atomic(&run.dir().join(MODEL_FILE), &model.to_bytes())?;
    Ok(model)
}

fn log(run: &mut Run, learners: &Learners<'_>, is_sog: bool, step: u64) -> Result<(), ImageError> {
    if is_sog {
        let values = [("sog_mse", learners.sog.mse), ("cpu_s", learners.sog_cpu_s)];
        run.log(step, &values)?;
    } else {
        let vae = &learners.vae;
        let values = [("vae_mse", vae.mse), ("vae_kl", vae.kl), ("cpu_s", learners.vae_cpu_s)];
        run.log(step, &values)?;
    }
    Ok(())
}

/// Time that all threads of this process have had, seconds.
fn cpu_s() -> f64 {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
}
