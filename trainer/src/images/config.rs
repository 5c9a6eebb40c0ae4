//! Every choice of a run on pictures.

use serde::{Deserialize, Serialize};
use sog_engine::search::{CodeSearch, Refinement};
use sog_rl::run::{Config, ConfigError, within};

use super::data::FEWEST;

/// A run: what is learned, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ImageConfig {
    /// The data set: a name, or the path of a folder.
    pub dataset: String,
    /// d: dimensions of the code.
    pub latent: usize,
    /// Channels before the picture; each layer further from it has twice as many.
    pub width: usize,
    /// Pictures in a minibatch, a multiple of 32.
    pub batch: usize,
    /// Seed of everything random.
    pub seed: u64,
    /// Updates between two lines of metrics.
    pub log_interval: u64,
    /// Updates between two checkpoints.
    pub checkpoint_interval: u64,
    /// SOG.
    pub sog: SogConfig,
    /// The VAE that it is measured against.
    pub vae: VaeConfig,
}

/// Algorithm 1 with the search of Algorithm 4.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SogConfig {
    /// Updates.
    pub updates: u64,
    /// Most pictures that are learned from, evenly spread over the set; 0: all. What a generator gains by
    /// more of them it can lose by meeting each more seldom, as the code that a picture keeps is then older.
    #[serde(default)]
    pub pictures: usize,
    /// Step size of Adam at the start; it falls linearly to 0.
    pub learning_rate: f64,
    /// Codes drawn from the prior and shared by the minibatch, one block that spans the code.
    pub candidates: usize,
    /// Whether each picture keeps its code, as one more candidate of its next search.
    pub keep_codes: bool,
    /// Share of the updates, at the start, in which each picture has the code that its principal
    /// components give it, spread over the prior; the search goes on from there. Needs `keep_codes`.
    pub first_codes_share: f64,
    /// Updates in a row that take the same minibatch: a code that follows the gradient meets the generator
    /// again before that has moved on for an epoch. Needs `keep_codes` where it is not 1.
    pub batch_repeats: u64,
    /// Of how many updates one searches, after that; in the others pictures have the codes that they
    /// keep. Needs `keep_codes` where it is not 1.
    pub search_interval: u64,
    /// How far the codes of those other updates then follow the gradient that the step on θ has at hand:
    /// a share of the step of Gauss and Newton, each coordinate by itself.
    pub code_step: f32,
    /// Samples beyond them, around the best so far; none with 0 samples.
    pub refinement: Refinement,
    /// Rounds of varying the coordinates one by one.
    pub secants: u32,
}

/// The variational autoencoder (Kingma and Welling 2013) with the same decoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VaeConfig {
    /// Updates; 0 for no VAE.
    pub updates: u64,
    /// Step size of Adam at the start; it falls linearly to 0.
    pub learning_rate: f64,
}

/// What a picture costs in an update of the VAE, and in SOG's step alone, in passes through the
/// generator (measured on the engine).
const VAE_COST: f64 = 11.0;
const STEP_COST: f64 = 6.0;

impl SogConfig {
    /// What a picture costs in an update, in passes through the generator.
    fn cost(&self, latent: usize, batch: usize) -> f64 {
        let Refinement { samples, block, rounds, .. } = self.refinement;
        let refined = samples * rounds * latent.div_ceil(block);
        // A round of secants tries the code as it is, each coordinate, and what follows.
        let each = usize::from(self.keep_codes) + refined + self.secants as usize * (latent + 2);
        let search = self.candidates as f64 / batch as f64 + each as f64;
        search / self.search_interval as f64 + STEP_COST
    }
}

impl ImageConfig {
    /// The defaults for a code of `latent` dimensions. The VAE's updates are those that take as long
    /// as SOG's.
    pub fn new(dataset: &str, latent: usize) -> Self {
        let refinement = Refinement { samples: 0, block: 2, rounds: 1, step: 0.6 };
        // In two dimensions the shared candidates lie densely enough. In more, what counts is that codes
        // stay near those of like pictures: they begin there and move step by step.
        let dense = latent <= 2;
        let sog = SogConfig {
            updates: if dense { 6000 } else { 16_000 },
            pictures: 0,
            learning_rate: 1e-3,
            candidates: if dense { 256 } else { 1 },
            keep_codes: !dense,
            first_codes_share: if dense { 0.0 } else { 0.02 },
            batch_repeats: if dense { 1 } else { 4 },
            search_interval: if dense { 1 } else { 8 },
            code_step: if dense { 0.0 } else { 0.6 },
            refinement,
            secants: 1,
        };
        let batch = 128;
        let updates = (sog.updates as f64 * sog.cost(latent, batch) / VAE_COST) as u64;
        Self {
            dataset: dataset.to_string(),
            latent,
            width: 32,
            batch,
            seed: 0,
            log_interval: 100,
            checkpoint_interval: 500,
            sog,
            vae: VaeConfig { updates, learning_rate: 1e-3 },
        }
    }

    /// The search for codes common to the minibatch.
    pub fn shared_search(&self) -> CodeSearch {
        let samples = self.sog.candidates;
        CodeSearch::Coordinate { samples, block: self.latent, rounds: 1 }
    }

    /// Updates of the whole run.
    pub fn updates(&self) -> u64 {
        self.sog.updates + self.vae.updates
    }
}

impl Config for ImageConfig {
    fn check(&self) -> Result<(), ConfigError> {
        within("latent", self.latent, 1..=64)?;
        within("width", self.width, 1..=1024)?;
        within("batch", self.batch, 32..=4096)?;
        within("batch modulo 32", self.batch % 32, 0..=0)?;
        within("log_interval", self.log_interval, 1..=u64::MAX)?;
        within("checkpoint_interval", self.checkpoint_interval, 1..=u64::MAX)?;
        within("sog.updates", self.sog.updates, 1..=u64::MAX)?;
        if self.sog.pictures > 0 {
            within("sog.pictures (0: all)", self.sog.pictures, FEWEST..=usize::MAX)?;
        }
        within("sog.learning_rate", self.sog.learning_rate, 0.0..=1.0)?;
        within("sog.candidates", self.sog.candidates, 1..=1 << 20)?;
        within("sog.first_codes_share", self.sog.first_codes_share, 0.0..=1.0)?;
        within("sog.batch_repeats", self.sog.batch_repeats, 1..=u64::MAX)?;
        within("sog.search_interval", self.sog.search_interval, 1..=u64::MAX)?;
        within("sog.code_step", self.sog.code_step, 0.0..=1.0)?;
        let SogConfig { first_codes_share, batch_repeats, search_interval, code_step, .. } =
            self.sog;
        let needs = |key: &str, found: String, plain: &str, needed: &str| {
            let needed = format!("{plain}, or {needed}");
            Err(ConfigError::Range { key: format!("sog.{key}"), found, needed })
        };
        let kept = "sog.keep_codes = true";
        if !self.sog.keep_codes && first_codes_share > 0.0 {
            return needs("first_codes_share", first_codes_share.to_string(), "0", kept);
        }
        if !self.sog.keep_codes && batch_repeats > 1 {
            return needs("batch_repeats", batch_repeats.to_string(), "1", kept);
        }
        if !self.sog.keep_codes && search_interval > 1 {
            return needs("search_interval", search_interval.to_string(), "1", kept);
        }
        if code_step > 0.0 && (!self.sog.keep_codes || self.sog.secants == 0) {
            let both = format!("{kept} and sog.secants > 0");
            return needs("code_step", code_step.to_string(), "0", &both);
        }
        within("sog.refinement.samples", self.sog.refinement.samples, 0..=1 << 16)?;
        within("sog.refinement.block", self.sog.refinement.block, 1..=64)?;
        within("sog.refinement.rounds", self.sog.refinement.rounds, 1..=64)?;
        within("sog.secants", self.sog.secants, 0..=64)?;
        within("sog.refinement.step", self.sog.refinement.step, 0.0..=1.0)?;
        within("vae.learning_rate", self.vae.learning_rate, 0.0..=1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_needs_codes_that_are_kept_says_so() {
        for latent in [2, 8] {
            assert!(ImageConfig::new("mnist", latent).check().is_ok());
        }
        let refused = |change: &dyn Fn(&mut SogConfig)| {
            let mut config = ImageConfig::new("mnist", 2);
            change(&mut config.sog);
            config.check().unwrap_err().to_string()
        };
        for (key, message) in [
            ("sog.first_codes_share", refused(&|sog| sog.first_codes_share = 0.1)),
            ("sog.batch_repeats", refused(&|sog| sog.batch_repeats = 4)),
            ("sog.search_interval", refused(&|sog| sog.search_interval = 4)),
            ("sog.code_step", refused(&|sog| sog.code_step = 0.5)),
        ] {
            assert!(message.contains(key) && message.contains("sog.keep_codes"), "{message}");
        }
        let few = refused(&|sog| sog.pictures = 31);
        assert!(few.contains("sog.pictures"), "{few}");
        let without = refused(&|sog| (sog.keep_codes, sog.secants, sog.code_step) = (true, 0, 0.5));
        assert!(without.contains("sog.secants"), "{without}");
    }
}
