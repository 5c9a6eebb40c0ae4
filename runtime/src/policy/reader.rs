//! Reading a policy file: nothing in it is believed before it has been checked.

use alloc::{
    format,
    string::{String, ToString},
    vec,
    vec::Vec,
};

use super::{
    Activation, Architecture, Dense, Golden, LatentKind, Network, NetworkShape, Normaliser,
    ParseKindError, Policy, PolicyError, PolicyFile, PolicyWarning, Provenance, SCHEMA, Terms,
};
use crate::{
    contract::Contract,
    tensors::{self, TensorError, TensorFile},
};

/// Largest difference between a golden action and the runtime's, relative to max(1, |golden|).
const GOLDEN_TOLERANCE: f32 = 1e-5;

impl PolicyFile {
    /// Parses and verifies a whole file, as [`open`](Self::open); for bytes that the caller wrote.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn parse(bytes: &[u8]) -> Result<Self, PolicyError> {
        Ok(Self::open(bytes)?.0)
    }

    /// Parses and verifies a whole file; where something about it is not as it should be and yet no
    /// reason to refuse it, says so.
    ///
    /// # Errors
    /// The first of these that does not hold: readable tensors; schema; known metadata and
    /// tensors; shapes that fit the terms; finite numbers in range; golden actions to 1e-5;
    /// checksum.
    pub fn open(bytes: &[u8]) -> Result<(Self, Option<PolicyWarning>), PolicyError> {
        let file = TensorFile::parse(bytes)?;
        let schema = file.meta("schema")?;
        if schema != SCHEMA {
            return Err(PolicyError::Schema { found: schema.to_string() });
        }
        let policy = Self::read(&file)?;
        policy.refuse_unknown(&file)?;
        policy.check_numbers()?;
        policy.check_golden()?;
        let checked = file.verify_checksum()?;
        Ok((policy, (!checked).then_some(PolicyWarning::NoChecksum)))
    }

    fn read(file: &TensorFile<'_>) -> Result<Self, PolicyError> {
        let architecture: Architecture = parse_meta(file, "arch")?;
        let activation: Activation = parse_meta(file, "activation")?;
        let obs_terms: Terms = parse_meta(file, "obs.terms")?;
        let action_terms: Terms = parse_meta(file, "action.terms")?;
        let latent: LatentKind = parse_meta(file, "latent.kind")?;
        let (s, z, a) = (obs_terms.width(), latent.width(), action_terms.width());
        let hidden = widths(file, architecture)?;
        let n = rows(file, "golden.obs", &[s])?;
        let shape = NetworkShape { architecture, activation, obs: s, latent: z, hidden, action: a };
        let conditioned = |name, shape: &[usize]| match latent {
            LatentKind::None => Ok(vec![]),
            _ => file.f32_of(name, shape),
        };
        Ok(Self {
            contract: Contract {
                task: file.meta("task")?.to_string(),
                dt_s: positive(file, "dt")?,
                action_low: file.f32_of("action.low", &[a])?,
                action_high: file.f32_of("action.high", &[a])?,
                obs_terms,
                action_terms,
            },
            latent,
            mean_scale: parse_meta(file, "mean.scale")?,
            network: read_network(file, &shape)?,
            normaliser: Normaliser {
                mean: file.f32_of("obs.mean", &[s])?,
                var: file.f32_of("obs.var", &[s])?,
                clip: positive(file, "obs.clip")? as f32,
            },
            log_std: file.f32_of("log_std", &[a])?,
            golden: Golden {
                obs: file.f32_of("golden.obs", &[n, s])?,
                latent: conditioned("golden.latent", &[n, z])?,
                action: file.f32_of("golden.action", &[n, a])?,
            },
            provenance: Provenance {
                producer: file.meta("producer")?.to_string(),
                algorithm: file.meta("algorithm")?.to_string(),
                seed: file.meta("seed")?.parse().map_err(|_| {
                    let found = file.meta("seed").unwrap_or_default();
                    metadata_error("seed", found, "an unsigned 64-bit number".to_string())
                })?,
                demos_sha256: file.meta("demos.sha256")?.to_string(),
                created: file.meta("created")?.to_string(),
            },
        })
    }

    fn refuse_unknown(&self, file: &TensorFile<'_>) -> Result<(), PolicyError> {
        let known = self.metadata();
        let strange = |key: &&String| *key != tensors::CHECKSUM_KEY && !known.contains_key(*key);
        if let Some(key) = file.metadata().keys().find(strange) {
            return Err(PolicyError::UnknownMetadata { key: key.clone() });
        }
        let known = self.tensors();
        let strange = |name: &&str| known.iter().all(|(k, ..)| k != name);
        match file.names().into_iter().find(strange) {
            Some(name) => Err(PolicyError::UnknownTensor { name: name.to_string() }),
            None => Ok(()),
        }
    }

    fn check_numbers(&self) -> Result<(), PolicyError> {
        for (name, _, values) in self.tensors() {
            if let Some(index) = values.iter().position(|v| !v.is_finite()) {
                let name = name.into_owned();
                return Err(PolicyError::NonFinite { name, index, value: values[index] });
            }
        }
        let range = |name: &str, index: Option<usize>, values: &[f32], needed| match index {
            Some(index) => {
                let name = name.to_string();
                Err(PolicyError::Range { name, index, value: values[index], needed })
            }
            None => Ok(()),
        };
        let var = &self.normaliser.var;
        range("obs.var", var.iter().position(|&v| v < 0.0), var, "a variance, 0 or more")?;
        let crossed = self
            .contract
            .action_low
            .iter()
            .zip(&self.contract.action_high)
            .position(|(l, h)| l >= h);
        range("action.low", crossed, &self.contract.action_low, "less than `action.high`")
    }

    fn check_golden(&self) -> Result<(), PolicyError> {
        let policy = Policy::new(self);
        let mut workspace = policy.workspace(1);
        let (s, z, a) = (self.obs_dim(), self.latent_dim(), self.action_dim());
        let mut action = vec![0.0; a];
        for (row, golden) in self.golden.action.chunks_exact(a).enumerate() {
            let obs = &self.golden.obs[row * s..(row + 1) * s];
            let latent = &self.golden.latent[row * z..(row + 1) * z];
            policy.mean_actions(&mut workspace, obs, latent, &mut action);
            for (component, (&computed, &golden)) in action.iter().zip(golden).enumerate() {
                let tolerance = GOLDEN_TOLERANCE * golden.abs().max(1.0);
                // Written so that NaN fails.
                let close = (computed - golden).abs() <= tolerance;
                if !close {
                    return Err(PolicyError::Golden { row, component, computed, golden });
                }
            }
        }
        Ok(())
    }
}

fn metadata_error(key: &'static str, found: &str, needed: String) -> PolicyError {
    PolicyError::Metadata { key, found: found.to_string(), needed }
}

fn parse_meta<T>(file: &TensorFile<'_>, key: &'static str) -> Result<T, PolicyError>
where
    T: core::str::FromStr<Err = ParseKindError>,
{
    let text = file.meta(key)?;
    text.parse::<T>().map_err(|e| metadata_error(key, text, e.needed.to_string()))
}

fn positive(file: &TensorFile<'_>, key: &'static str) -> Result<f64, PolicyError> {
    let text = file.meta(key)?;
    let number = text.parse::<f64>().ok().filter(|v| v.is_finite() && *v > 0.0);
    number.ok_or_else(|| metadata_error(key, text, "a positive number".to_string()))
}

/// Widths of the hidden layers, first to last: as many as the largest number in their names says.
fn widths(file: &TensorFile<'_>, architecture: Architecture) -> Result<Vec<usize>, PolicyError> {
    let prefix = architecture.hidden_layers();
    let number = |name: &&str| -> Option<usize> {
        let number = name.strip_prefix(prefix)?.strip_prefix('.')?.split('.').next()?;
        number.parse().ok()
    };
    let last = file.names().iter().filter_map(number).max().unwrap_or(0);
    let mut widths = Vec::new();
    // Ends at the first that is missing, however large the number.
    for i in 0..=last {
        widths.push(rows(file, &format!("{prefix}.{i}.bias"), &[])?);
    }
    Ok(widths)
}

/// The layers of `shape`.
fn read_network(file: &TensorFile<'_>, shape: &NetworkShape) -> Result<Network, PolicyError> {
    let mut layers = Vec::new();
    for layer in shape.layers() {
        let widths = [layer.outputs, layer.inputs];
        layers.push(Dense {
            weight: file.f32_of(&format!("{}.weight", layer.name), &widths)?,
            bias: file.f32_of(&format!("{}.bias", layer.name), &widths[..1])?,
        });
    }
    Ok(Network::from_layers(shape, layers))
}

/// First dimension of a tensor that must have the shape `[n, rest…]` with n ≥ 1.
fn rows(file: &TensorFile<'_>, name: &str, rest: &[usize]) -> Result<usize, PolicyError> {
    let found = file.shape(name)?;
    match found.split_first() {
        Some((&n, tail)) if n >= 1 && tail == rest => Ok(n),
        _ => {
            let needed = format!("[n ≥ 1] followed by {rest:?}");
            Err(TensorError::Shape { name: name.to_string(), found, needed }.into())
        }
    }
}
