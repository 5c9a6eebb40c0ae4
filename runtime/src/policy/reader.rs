//! Reading a policy file: the core checks it where it lies, and here it is copied.

use alloc::{
    string::{String, ToString},
    vec,
    vec::Vec,
};

use sog_core::{Numbers, kinds::TermsView, policy as core_policy, text::Text};

use super::{
    Dense, GOLDEN_TOLERANCE, Golden, Network, NetworkShape, Normaliser, Policy, PolicyError,
    PolicyFile, PolicyWarning, Provenance, Term, Terms,
};
use crate::contract::Contract;

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
        let view = core_policy::Policy::read(bytes)?;
        let policy = Self::copied(&view);
        policy.check_golden()?;
        Ok((policy, view.verify_checksum()?))
    }

    fn copied(view: &core_policy::Policy<'_>) -> Self {
        let layers: Vec<Dense> = view
            .layers
            .iter()
            .map(|layer| Dense { weight: copied(layer.weight), bias: copied(layer.bias) })
            .collect();
        let shape = NetworkShape {
            architecture: view.architecture,
            activation: view.activation,
            obs: view.obs_dim(),
            latent: view.latent_dim(),
            hidden: vec![],
            action: view.action_dim(),
        };
        let text = |text: Text<'_>| -> String { text.to_string() };
        Self {
            contract: Contract {
                task: text(view.task),
                dt_s: view.dt_s,
                action_low: copied(view.action_low),
                action_high: copied(view.action_high),
                obs_terms: terms(view.obs_terms),
                action_terms: terms(view.action_terms),
            },
            latent: view.latent,
            mean_scale: view.mean_scale,
            network: Network::from_layers(&shape, layers),
            normaliser: Normaliser {
                mean: copied(view.obs_mean),
                var: copied(view.obs_var),
                clip: view.obs_clip,
            },
            log_std: copied(view.log_std),
            golden: Golden {
                obs: copied(view.golden.obs),
                latent: copied(view.golden.latent),
                action: copied(view.golden.action),
            },
            provenance: Provenance {
                producer: text(view.provenance.producer),
                algorithm: text(view.provenance.algorithm),
                seed: view.provenance.seed,
                demos_sha256: text(view.provenance.demos_sha256),
                created: text(view.provenance.created),
            },
        }
    }

    /// Whether this crate's own inference gives the golden actions.
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

fn copied(numbers: Numbers<'_>) -> Vec<f32> {
    match numbers {
        Numbers::Plain(numbers) => numbers.to_vec(),
        numbers => numbers.iter().collect(),
    }
}

pub(super) fn terms(view: TermsView<'_>) -> Terms {
    let term = |(name, width): (&str, usize)| Term { name: name.to_string(), width };
    Terms(view.iter().map(term).collect())
}
