//! The policy file, read in place, and its inference.
//!
//! * [`Policy`]: a file that was checked, and what it holds; its numbers stay in the file;
//! * [`Policy::mean_action`]: inference straight from the file's bytes;
//! * [`PolicyError`]: why a file is refused.
//!
//! `docs/policy-file.md` has every key and every tensor.

mod error;
mod infer;
mod read;

pub use error::{Dimensions, NeededShape, PolicyError, PolicyWarning, WidthError};
pub use infer::GOLDEN_TOLERANCE;
pub use read::{Golden, Layer, Policy, Provenance};

use crate::{kinds::Architecture, text::Excerpt};

/// Schema that this version writes and accepts.
pub const SCHEMA: &str = "sog.policy/1";

/// Added to the variance before its square root is taken.
pub const VARIANCE_FLOOR: f32 = 1e-8;

/// Most hidden layers.
pub const MOST_HIDDEN: usize = 8;

/// Every metadata key but the checksum's, all of them needed.
pub const METADATA_KEYS: [&str; 15] = [
    "schema",
    "task",
    "obs.terms",
    "action.terms",
    "dt",
    "latent.kind",
    "arch",
    "activation",
    "obs.clip",
    "mean.scale",
    "producer",
    "algorithm",
    "seed",
    "demos.sha256",
    "created",
];

/// Metadata key, and for continuous codes tensor, of the book of codes: what the ways are called. A
/// file need not have it, and nothing that evaluates a policy reads it.
pub const BOOK_KEY: &str = "codes";

/// A layer of a network, by its place in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerPlace {
    /// One of the hidden layers, from 0.
    Hidden(usize),
    /// The branch of the code.
    Latent,
    /// The last one.
    Mean,
}

impl LayerPlace {
    /// Its name; its tensors are `{name}.weight` and `{name}.bias`.
    pub fn name(self, architecture: Architecture) -> Excerpt {
        match self {
            Self::Hidden(i) => Excerpt::of(format_args!("{}.{i}", architecture.hidden_layers())),
            Self::Latent => "actor.latent".into(),
            Self::Mean => "actor.mean".into(),
        }
    }
}
