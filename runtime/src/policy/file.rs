//! The policy file: what it holds, under which names, and why one is refused.

use alloc::{
    borrow::Cow,
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::{LatentKind, MeanScale, Network, NetworkShape};
use crate::{
    contract::Contract,
    tensors::{Metadata, TensorError},
};

/// Schema that this version writes and accepts.
pub const SCHEMA: &str = "sog.policy/1";

/// Added to the variance before its square root is taken.
pub const VARIANCE_FLOOR: f32 = 1e-8;

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

/// Why a policy file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The file is not a readable set of tensors, or a tensor or entry is missing or misshapen.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// Another schema, perhaps a later one.
    #[error("schema is `{found}`, this runtime reads `{SCHEMA}`; use the runtime of that version")]
    Schema {
        /// Schema in the file.
        found: String,
    },
    /// A metadata entry cannot be understood.
    #[error("metadata `{key}`: found `{found}`, need {needed}")]
    Metadata {
        /// The entry.
        key: &'static str,
        /// Its value.
        found: String,
        /// What would be accepted.
        needed: String,
    },
    /// A metadata entry that this schema does not have.
    #[error(
        "metadata `{key}` is not part of `{SCHEMA}`: the file is damaged or of another version"
    )]
    UnknownMetadata {
        /// The entry.
        key: String,
    },
    /// A tensor that this schema does not have.
    #[error("tensor `{name}` is not part of `{SCHEMA}`: the file is damaged or of another version")]
    UnknownTensor {
        /// The tensor.
        name: String,
    },
    /// A number is NaN or infinite.
    #[error("tensor `{name}` holds {value} at index {index}; every number must be finite")]
    NonFinite {
        /// The tensor.
        name: String,
        /// Flat index.
        index: usize,
        /// The number.
        value: f32,
    },
    /// A number is out of its range.
    #[error("tensor `{name}` holds {value} at index {index}, need {needed}")]
    Range {
        /// The tensor.
        name: String,
        /// Flat index.
        index: usize,
        /// The number.
        value: f32,
        /// What would be accepted.
        needed: &'static str,
    },
    /// Inference does not give the golden actions.
    #[error(
        "golden vector {row}: action {component} is {computed}, the file says {golden}; \
         the weights or the golden vectors are damaged"
    )]
    Golden {
        /// Which golden vector.
        row: usize,
        /// Which action component.
        component: usize,
        /// What this runtime computes.
        computed: f32,
        /// What the file says.
        golden: f32,
    },
}

/// What the user of a policy file that was accepted should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyWarning {
    /// There is no checksum in the file.
    #[error(
        "the policy has no checksum (metadata `checksum`), so that damage too small for the golden \
         vectors would not be noticed; files that `sog train` writes have one"
    )]
    NoChecksum,
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

    /// Name, shape and values of every tensor: the one list that reading and writing share.
    pub(super) fn tensors(&self) -> Vec<(Cow<'static, str>, Vec<usize>, &[f32])> {
        let (s, z, a) = (self.obs_dim(), self.latent_dim(), self.action_dim());
        let n = self.golden.action.len() / a.max(1);
        let mut list: Vec<(Cow<'static, str>, Vec<usize>, &[f32])> = vec![];
        for (layer, dense) in self.shape().layers().iter().zip(self.network.layers()) {
            let (name, widths) = (&layer.name, vec![layer.outputs, layer.inputs]);
            list.push((format!("{name}.weight").into(), widths, &dense.weight));
            list.push((format!("{name}.bias").into(), vec![layer.outputs], &dense.bias));
        }
        let rest: [(&str, Vec<usize>, &[f32]); 7] = [
            ("obs.mean", vec![s], &self.normaliser.mean),
            ("obs.var", vec![s], &self.normaliser.var),
            ("action.low", vec![a], &self.contract.action_low),
            ("action.high", vec![a], &self.contract.action_high),
            ("log_std", vec![a], &self.log_std),
            ("golden.obs", vec![n, s], &self.golden.obs),
            ("golden.action", vec![n, a], &self.golden.action),
        ];
        list.extend(rest.map(|(name, shape, values)| (name.into(), shape, values)));
        if self.latent != LatentKind::None {
            list.push(("golden.latent".into(), vec![n, z], &self.golden.latent));
        }
        list
    }

    /// Every metadata entry but the checksum.
    pub(super) fn metadata(&self) -> Metadata {
        let p = &self.provenance;
        [
            ("schema", SCHEMA.to_string()),
            ("task", self.contract.task.clone()),
            ("obs.terms", self.contract.obs_terms.to_string()),
            ("action.terms", self.contract.action_terms.to_string()),
            ("dt", self.contract.dt_s.to_string()),
            ("latent.kind", self.latent.to_string()),
            ("arch", self.network.architecture.to_string()),
            ("activation", self.network.activation.to_string()),
            ("obs.clip", self.normaliser.clip.to_string()),
            ("mean.scale", self.mean_scale.to_string()),
            ("producer", p.producer.clone()),
            ("algorithm", p.algorithm.clone()),
            ("seed", p.seed.to_string()),
            ("demos.sha256", p.demos_sha256.clone()),
            ("created", p.created.clone()),
        ]
        .into_iter()
        .map(|(key, value)| (key.to_string(), value))
        .collect()
    }
}
