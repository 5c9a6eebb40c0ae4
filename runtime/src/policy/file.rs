//! The policy file: what it holds.

use alloc::{string::String, vec::Vec};

use super::{LatentKind, MeanScale, Network, NetworkShape};
use crate::contract::Contract;

/// Frozen observation normaliser, `[S]` each.
#[derive(Clone, Debug, PartialEq)]
pub struct Normaliser {
    /// `obs.mean`.
    pub mean: Vec<f32>,
    /// `obs.var`.
    pub var: Vec<f32>,
    /// `obs.clip`: bound of the normalised observation.
    pub clip: f32,
}

/// Inputs with the action means that any implementation must give for them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Golden {
    /// `golden.obs`, `[n, S]`, not normalised.
    pub obs: Vec<f32>,
    /// `golden.latent`, `[n, Z]`; empty without a code.
    pub latent: Vec<f32>,
    /// `golden.action`, `[n, A]`: action means before any limit.
    pub action: Vec<f32>,
}

/// Where a policy comes from.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Provenance {
    /// Program and version that wrote the file.
    pub producer: String,
    /// Algorithm, as `sog train --algo` names it.
    pub algorithm: String,
    /// Seed of the training run.
    pub seed: u64,
    /// SHA-256 of the demonstration file, hexadecimal; empty if there was none.
    pub demos_sha256: String,
    /// RFC 3339 time of the training run's end, or empty.
    pub created: String,
}

/// Everything a policy file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct PolicyFile {
    /// What the policy was made for: task, terms, period, action bounds.
    pub contract: Contract,
    /// Latent code.
    pub latent: LatentKind,
    /// How the last layer becomes the action mean.
    pub mean_scale: MeanScale,
    /// The network.
    pub network: Network,
    /// Observation normaliser.
    pub normaliser: Normaliser,
    /// Logarithm of the exploration standard deviation, `[A]`.
    pub log_std: Vec<f32>,
    /// Golden vectors.
    pub golden: Golden,
    /// Origin.
    pub provenance: Provenance,
}

impl PolicyFile {
    /// Observation width S.
    pub fn obs_dim(&self) -> usize {
        self.contract.obs_dim()
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.contract.action_dim()
    }

    /// Latent width Z.
    pub fn latent_dim(&self) -> usize {
        self.latent.width()
    }

    /// The shape of its network.
    pub fn shape(&self) -> NetworkShape {
        NetworkShape {
            architecture: self.network.architecture,
            activation: self.network.activation,
            obs: self.obs_dim(),
            latent: self.latent_dim(),
            hidden: self.network.widths(),
            action: self.action_dim(),
        }
    }
}
