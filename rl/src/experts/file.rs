//! The expert file: one policy a mode, or one conditioned on the goal, with its provenance.
//!
//! A safetensors file. Network k is a whole policy file (see [`sog_runtime::policy`]) whose tensors
//! and metadata carry the prefix `mode.{k}.`; beside them stand the metadata `schema`, `task` and
//! `provenance` (JSON, [`ExpertProvenance`]).

use std::{collections::BTreeMap, path::Path};

use serde::{Deserialize, Serialize};
use sog_runtime::{
    policy::{PolicyError, PolicyFile},
    tensors::{CHECKSUM_KEY, Metadata, Tensor, TensorError, TensorFile, serialize},
};
use sog_sim::expert::{NetworksError, networks};

/// Schema of an expert file.
pub(super) const SCHEMA: &str = "sog.expert/1";

/// Why an expert file is refused.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertFileError {
    /// The file cannot be read.
    #[error("cannot read {path}: {source}")]
    Read {
        /// The file.
        path: String,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// The file is damaged or not an expert file.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// Another kind of file.
    #[error("schema is `{found}`, need `{SCHEMA}`")]
    Schema {
        /// Schema in the file.
        found: String,
    },
    /// One of the networks is not a good policy.
    #[error("network {network}: {source}")]
    Network {
        /// Which, from 0.
        network: usize,
        /// What is wrong.
        source: PolicyError,
    },
    /// There is no network, or its task differs from the file's.
    #[error("{reason}; the file is damaged or was not written by this project")]
    Content {
        /// What is wrong.
        reason: String,
    },
}

/// Where an expert comes from and how good it is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExpertProvenance {
    /// Command that trained it.
    pub command: String,
    /// Program and version.
    pub producer: String,
    /// Revision of the source, or empty.
    pub revision: String,
    /// Training configuration, TOML.
    pub config: String,
    /// Seed of the training run.
    pub seed: u64,
    /// Where each network comes from.
    pub networks: Vec<NetworkOrigin>,
    /// How networks were selected.
    pub selection: String,
    /// Final evaluation on seeds that neither training nor selection saw.
    pub evaluation: Evaluation,
    /// A short rollout, for a quick check that this expert still does what it did.
    pub check: ShortCheck,
}

/// Where one network comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NetworkOrigin {
    /// `trained`, or `mirror image (x) of mode 0`.
    pub origin: String,
    /// Environment steps of its training up to the weights that were kept.
    pub env_steps: u64,
    /// Wall time of its training so far in seconds, on a busy machine.
    pub wall_s: f64,
    /// Its training configuration (TOML) where that is not the provenance's `config`; else empty.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub config: String,
}

/// Deterministic episodes with the mean action.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluation {
    /// Episodes of each mode.
    pub episodes_per_mode: usize,
    /// Seed of the start states.
    pub seed: u64,
    /// Mean over modes of the mean return.
    pub mean: f64,
    /// One entry a mode (or goal).
    pub modes: Vec<ModeEvaluation>,
}

/// How one mode did.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ModeEvaluation {
    /// Mode, for people.
    pub label: String,
    /// Mean return; fetchreach: share of goals reached.
    pub mean: f64,
    /// Standard deviation of the return.
    pub std: f64,
    /// Share of episodes that ended early.
    pub early_ends: f64,
    /// halfcheetah-vel: mean |v − g| after the first second, m/s.
    pub speed_error_m_s: Option<f64>,
}

/// The first steps of one episode of each network.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ShortCheck {
    /// Seed of the episode.
    pub seed: u64,
    /// Number of steps.
    pub steps: usize,
    /// Return of each network on its own mode.
    pub returns: Vec<f64>,
}

/// Everything an expert file holds.
#[derive(Clone, Debug, PartialEq)]
pub struct ExpertFile {
    /// Task name.
    pub task: String,
    /// One unconditioned network a mode, or a single one conditioned on the goal.
    pub networks: Vec<PolicyFile>,
    /// Origin and quality.
    pub provenance: ExpertProvenance,
}

impl ExpertFile {
    /// Bytes of the file.
    ///
    /// # Errors
    /// [`ExpertFileError::Tensors`] if a network cannot be written as a policy file.
    pub fn to_bytes(&self) -> Result<Vec<u8>, ExpertFileError> {
        let mut tensors: BTreeMap<String, Tensor> = BTreeMap::new();
        let provenance =
            serde_json::to_string(&self.provenance).expect("plain data with string keys is JSON");
        let mut metadata = Metadata::from([
            ("schema".to_string(), SCHEMA.to_string()),
            ("task".to_string(), self.task.clone()),
            ("provenance".to_string(), provenance),
        ]);
        for (k, network) in self.networks.iter().enumerate() {
            let bytes = network.to_bytes();
            let file = TensorFile::parse(&bytes)?;
            for name in file.names() {
                let tensor = Tensor::f32(&file.shape(name)?, &file.f32(name)?);
                tensors.insert(format!("mode.{k}.{name}"), tensor);
            }
            let own = file.metadata().iter().filter(|(key, _)| *key != CHECKSUM_KEY);
            metadata.extend(own.map(|(key, v)| (format!("mode.{k}.{key}"), v.clone())));
        }
        Ok(serialize(&tensors, &metadata))
    }

    /// Parses and verifies a whole file, every network as strictly as a policy file.
    ///
    /// # Errors
    /// [`ExpertFileError`].
    pub fn parse(bytes: &[u8]) -> Result<Self, ExpertFileError> {
        let file = TensorFile::parse(bytes)?;
        let schema = file.meta("schema")?;
        if schema != SCHEMA {
            return Err(ExpertFileError::Schema { found: schema.to_string() });
        }
        file.meta(CHECKSUM_KEY)?;
        file.verify_checksum()?;
        let content = |reason: String| ExpertFileError::Content { reason };
        let provenance = serde_json::from_str(file.meta("provenance")?)
            .map_err(|e| content(format!("metadata `provenance` cannot be read ({e})")))?;
        let task = file.meta("task")?.to_string();
        let networks = networks(&file).map_err(|error| match error {
            NetworksError::Network { network, source } => {
                ExpertFileError::Network { network, source }
            }
            NetworksError::Tensors(source) => source.into(),
            other => content(other.to_string()),
        })?;
        let of_another = networks.iter().position(|network| network.contract.task != task);
        if let Some(k) = of_another {
            let found = &networks[k].contract.task;
            return Err(content(format!("network {k} is for task `{found}`")));
        }
        if networks.is_empty() {
            return Err(content("there is no network".to_string()));
        }
        Ok(Self { task, networks, provenance })
    }

    /// Reads, parses and verifies a file.
    ///
    /// # Errors
    /// [`ExpertFileError`].
    pub fn read(path: &Path) -> Result<Self, ExpertFileError> {
        let bytes = std::fs::read(path)
            .map_err(|source| ExpertFileError::Read { path: path.display().to_string(), source })?;
        Self::parse(&bytes)
    }
}
