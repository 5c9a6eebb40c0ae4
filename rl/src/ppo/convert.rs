//! Between the engine's flat parameters and the runtime's policy file.

use sog_engine::{
    EngineError,
    net::{Init, PolicyArch, PolicyNet},
};
use sog_runtime::policy::{Architecture, Golden, MeanScale, PolicyFile, Provenance, Term};
use sog_sim::{robot::spec, seed, task::TaskInfo};

use super::{ObsNormaliser, PpoError, PpoSetup};

/// Stream of the seed from which the first weights are drawn.
const POLICY_STREAM: u64 = 0;

/// A random policy, and which of its inputs `[S]` are hidden.
pub(crate) fn initial_policy(
    info: &TaskInfo,
    setup: &PpoSetup,
) -> Result<(PolicyNet, Vec<bool>), PpoError> {
    let hidden = hidden_components(info, &setup.hide)?;
    let arch = PolicyArch {
        architecture: setup.architecture,
        activation: setup.activation,
        obs: info.obs_dim(),
        latent: setup.latent.width(),
        hidden: setup.hidden.clone(),
        action: info.action_dim(),
        mean_scale: match setup.mean_scale {
            MeanScale::None => None,
            MeanScale::Tanh(c) => Some(c),
        },
    };
    let init = Init { last_gain: setup.last_gain, log_std: setup.log_std, ..Init::default() };
    let mut policy = PolicyNet::new(arch, init, &mut seed::stream(setup.seed, POLICY_STREAM))?;
    let first = match setup.architecture {
        Architecture::TwoBranch => "actor.state.0.weight",
        // Of a plain stack these are the observation's columns alone.
        Architecture::Mlp => "actor.layer.0.weight",
    };
    let layer = policy.layout().tensor(first)?.range();
    // Zero weights stay zero, as hidden inputs are zero in training.
    for row in policy.params[layer].chunks_exact_mut(hidden.len()) {
        row.iter_mut().zip(&hidden).filter(|(_, hidden)| **hidden).for_each(|(w, _)| *w = 0.0);
    }
    Ok((policy, hidden))
}

/// Which observation components belong to the terms to hide.
pub(super) fn hidden_components(info: &TaskInfo, hide: &[String]) -> Result<Vec<bool>, PpoError> {
    let terms = &info.obs_terms;
    if let Some(found) = hide.iter().find(|name| terms.0.iter().all(|t| t.name != **name)) {
        return Err(PpoError::UnknownTerm { found: found.clone(), known: terms.to_string() });
    }
    let flags = |t: &Term| vec![hide.contains(&t.name); t.width];
    Ok(terms.0.iter().flat_map(flags).collect())
}

/// The policy as a file without golden vectors; the action scale is folded into the last layer.
pub(crate) fn policy_file(
    info: &TaskInfo,
    setup: &PpoSetup,
    policy: &PolicyNet,
    normaliser: &ObsNormaliser,
) -> PolicyFile {
    let mut network = policy.network();
    let scale = setup.action_scale;
    let mean_scale = match setup.mean_scale {
        MeanScale::Tanh(c) => MeanScale::Tanh(c * scale),
        MeanScale::None => {
            network.mean.weight.iter_mut().for_each(|w| *w *= scale);
            network.mean.bias.iter_mut().for_each(|w| *w *= scale);
            MeanScale::None
        }
    };
    PolicyFile {
        contract: spec(info).contract,
        latent: setup.latent,
        mean_scale,
        network,
        normaliser: normaliser.frozen(),
        log_std: policy.log_std().iter().map(|l| l + scale.ln()).collect(),
        golden: Golden::default(),
        provenance: Provenance { seed: setup.seed, ..Provenance::default() },
    }
}

/// Copies a file's weights and log standard deviations into the network, in the policy's units.
pub(super) fn read_policy(
    file: &PolicyFile,
    setup: &PpoSetup,
    net: &mut PolicyNet,
) -> Result<(), EngineError> {
    let unit = 1.0 / setup.action_scale;
    let mut file = file.clone();
    // Under c·tanh the scale is in c, else in the last layer.
    if setup.mean_scale == MeanScale::None {
        file.network.mean.weight.iter_mut().for_each(|w| *w *= unit);
        file.network.mean.bias.iter_mut().for_each(|w| *w *= unit);
    }
    file.log_std.iter_mut().for_each(|l| *l += unit.ln());
    let start = PolicyNet::from_file(&file)?;
    if start.arch().shape() != net.arch().shape() {
        return Err(EngineError::Range {
            what: "policy to start from",
            got: format!("{:?}", start.arch().shape()),
            need: "the network of this run's configuration",
        });
    }
    net.params = start.params;
    Ok(())
}
