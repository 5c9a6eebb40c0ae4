//! Between the engine's flat parameters and the runtime's policy file.

use sog_engine::{
    EngineError,
    net::{Init, PolicyArch, PolicyNet},
};
use sog_runtime::policy::{Golden, LatentKind, MeanScale, PolicyFile, Provenance, Term, Weights};
use sog_sim::{seed, task::TaskInfo};

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
        obs: info.obs_dim(),
        latent: setup.latent.width(),
        hidden: setup.hidden,
        action: info.action_dim(),
        mean_scale: match setup.mean_scale {
            MeanScale::None => None,
            MeanScale::Tanh(c) => Some(c),
        },
    };
    let init = Init { last_gain: setup.last_gain, log_std: setup.log_std, ..Init::default() };
    let mut policy = PolicyNet::new(arch, init, &mut seed::stream(setup.seed, POLICY_STREAM))?;
    let layer = policy.layout().tensor("actor.state.0.weight")?.range();
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

/// Tensors of the flat vector and their places in [`Weights`].
fn places(w: &mut Weights) -> [(&'static str, &mut Vec<f32>); 8] {
    [
        ("actor.state.0.weight", &mut w.state0_weight),
        ("actor.state.0.bias", &mut w.state0_bias),
        ("actor.state.1.weight", &mut w.state1_weight),
        ("actor.state.1.bias", &mut w.state1_bias),
        ("actor.latent.weight", &mut w.latent_weight),
        ("actor.latent.bias", &mut w.latent_bias),
        ("actor.mean.weight", &mut w.mean_weight),
        ("actor.mean.bias", &mut w.mean_bias),
    ]
}

/// The policy as a file without golden vectors; the action scale is folded into the last layer.
pub(crate) fn policy_file(
    info: &TaskInfo,
    setup: &PpoSetup,
    policy: &PolicyNet,
    normaliser: &ObsNormaliser,
) -> PolicyFile {
    let mut weights = Weights {
        state0_weight: vec![],
        state0_bias: vec![],
        state1_weight: vec![],
        state1_bias: vec![],
        latent_weight: vec![],
        latent_bias: vec![],
        mean_weight: vec![],
        mean_bias: vec![],
    };
    for (name, place) in places(&mut weights) {
        if let Ok(tensor) = policy.layout().tensor(name) {
            *place = policy.params[tensor.range()].to_vec();
        }
    }
    let scale = setup.action_scale;
    let mean_scale = match setup.mean_scale {
        MeanScale::Tanh(c) => MeanScale::Tanh(c * scale),
        MeanScale::None => {
            weights.mean_weight.iter_mut().for_each(|w| *w *= scale);
            weights.mean_bias.iter_mut().for_each(|w| *w *= scale);
            MeanScale::None
        }
    };
    PolicyFile {
        task: info.name().to_string(),
        obs_terms: info.obs_terms.clone(),
        action_terms: info.action_terms.clone(),
        dt_s: info.dt_s,
        latent: setup.latent,
        mean_scale,
        weights,
        normaliser: normaliser.frozen(),
        action_low: info.action_low.iter().map(|&a| a as f32).collect(),
        action_high: info.action_high.iter().map(|&a| a as f32).collect(),
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
    let mut weights = file.weights.clone();
    for (name, values) in places(&mut weights) {
        if setup.latent == LatentKind::None && name.starts_with("actor.latent") {
            continue;
        }
        let range = net.layout().tensor(name)?.range();
        if range.len() != values.len() {
            let (got, need) = (values.len(), range.len());
            return Err(EngineError::Length { what: "weights to start from", got, need });
        }
        // Under c·tanh the scale is in c, else in the last layer.
        let folded = name.starts_with("actor.mean") && setup.mean_scale == MeanScale::None;
        let factor = if folded { unit } else { 1.0 };
        net.params[range].iter_mut().zip(values).for_each(|(p, v)| *p = *v * factor);
    }
    let log_std = net.log_std_mut().iter_mut().zip(&file.log_std);
    log_std.for_each(|(to, from)| *to = from + unit.ln());
    Ok(())
}
