//! Part `images`: SOG and the VAE on pictures, on the device against the engine.
//!
//! The pictures are made here: bright squares on black, of MNIST's size. Both learners begin with the
//! same networks, minibatches and draws; compared is the error after each update. Adam's first steps are the
//! signs of the gradient, whatever its size, so that rounding moves small ones as far as large ones: the step
//! sizes here are a tenth of the ordinary. The search takes the smallest of many losses, and a network that has
//! just been initialised makes almost the same of every code: rounding then chooses, and the course differs. The
//! VAE chooses nothing.

use std::time::{Duration, Instant};

use anyhow::Result;
use rand::RngExt;
use serde_json::json;
use sog_engine::conv::Grid;
use sog_sim::seed;

use super::part::Place;
use crate::{
    device::Compute,
    images::{ImageError, config::ImageConfig, data::Pictures, sog::SogImages, vae::VaeImages},
};

pub(super) const COLUMNS: [&str; 7] =
    ["width", "batch", "error", "error apart", "engine ms", "device ms", "engine / device"];

/// What SOG's and the VAE's errors may differ by, relative to the engine's.
const SOG_BAR: f64 = 1e-1;
const VAE_BAR: f64 = 1e-3;

const SIZE: Grid = Grid { height: 28, width: 28, channels: 1 };

/// Channels before the picture.
pub(super) fn widths(place: &Place) -> Vec<usize> {
    if place.how.quick { vec![4] } else { vec![32, 128] }
}

/// Pictures in a minibatch.
pub(super) fn batches(place: &Place) -> Vec<usize> {
    if place.how.quick { vec![32] } else { vec![128, 512] }
}

pub(super) fn run(place: &Place) -> Result<()> {
    let device = place.device().open()?;
    let updates = place.sized(6, 2);
    for width in widths(place) {
        for batch in batches(place) {
            for latent in [2, 8] {
                let mut config =
                    ImageConfig { width, batch, ..ImageConfig::new("squares", latent) };
                config.sog.candidates = place.sized(256, 16) as usize;
                config.sog.learning_rate *= 0.1;
                config.vae.learning_rate *= 0.1;
                let pictures = squares(4 * batch);
                let sog = |compute: &Compute| -> Result<Course, ImageError> {
                    let mut learner = SogImages::new(&config, &pictures, compute)?;
                    course(updates, || learner.update().map(|()| learner.mse))
                };
                let vae = |compute: &Compute| -> Result<Course, ImageError> {
                    let mut learner = VaeImages::new(&config, &pictures, compute)?;
                    course(updates, || learner.update().map(|()| learner.mse))
                };
                type Learner<'a> = &'a dyn Fn(&Compute) -> Result<Course, ImageError>;
                let learners: [(&str, Learner<'_>, f64); 2] =
                    [("SOG", &sog, SOG_BAR), ("VAE", &vae, VAE_BAR)];
                for (name, learn, bar) in learners {
                    let what = format!("{name}, {latent} dimensions");
                    if place.until.saturating_duration_since(Instant::now())
                        < Duration::from_secs(2)
                    {
                        let rest =
                            format!("{what}, width {width}, batch {batch} and on: no time left");
                        return place.tell(&rest, false, &[]);
                    }
                    let (engine, on_device) = (learn(&Compute::Engine)?, learn(&device)?);
                    let apart = engine.apart(&on_device);
                    place.tell(
                        &what,
                        apart < bar,
                        &[
                            ("width", json!(width)),
                            ("batch", json!(batch)),
                            ("error", json!(engine.errors.last())),
                            ("error apart", json!(apart)),
                            ("engine ms", json!(engine.median_ms)),
                            ("device ms", json!(on_device.median_ms)),
                            ("engine / device", json!(engine.median_ms / on_device.median_ms)),
                        ],
                    )?;
                }
            }
        }
    }
    Ok(())
}

/// The errors update by update, and how long one took.
struct Course {
    errors: Vec<f64>,
    median_ms: f64,
}

impl Course {
    /// Largest relative difference of the errors; not a number where one is none.
    fn apart(&self, other: &Self) -> f64 {
        let pairs = self.errors.iter().zip(&other.errors);
        pairs
            .map(|(a, b)| (a - b).abs() / a)
            .fold(0.0, |worst: f64, off| if off.is_nan() { off } else { worst.max(off) })
    }
}

fn course(
    updates: u64,
    mut update: impl FnMut() -> Result<f64, ImageError>,
) -> Result<Course, ImageError> {
    let (mut errors, mut times) = (vec![], vec![]);
    for _ in 0..updates {
        let start = Instant::now();
        errors.push(update()?);
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    Ok(Course { errors, median_ms: times[times.len() / 2] })
}

/// Bright squares anywhere.
fn squares(count: usize) -> Pictures {
    let mut rng = seed::rng(0);
    let mut pixels = Vec::with_capacity(count * SIZE.values());
    for _ in 0..count {
        let at = [rng.random_range(4..24i32), rng.random_range(4..24i32)];
        let near = |p: i32| (p % 28 - at[0]).abs() < 4 && (p / 28 - at[1]).abs() < 4;
        pixels.extend((0..SIZE.values() as i32).map(|p| if near(p) { 255u8 } else { 0 }));
    }
    Pictures { size: SIZE, pixels, labels: vec![] }
}
