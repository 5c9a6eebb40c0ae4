//! From a trained network to the policy file, and back.

use sog_engine::{
    EngineError,
    net::{PolicyArch, PolicyNet},
};
use sog_runtime::policy::{
    Golden, LatentKind, MeanScale, Normaliser, PolicyFile, Provenance, Weights,
};
use sog_sim::task::TaskInfo;

use crate::config::TrainConfig;

/// Golden vectors in an exported file.
pub(crate) const GOLDEN_ROWS: usize = 16;

/// The policy file of `net` for `task`; equal inputs give equal bytes.
pub fn policy_file(
    net: &PolicyNet,
    normaliser: &Normaliser,
    latent: LatentKind,
    task: &TaskInfo,
    config: &TrainConfig,
) -> PolicyFile {
    let tensor = |name: &str| {
        let found = net.layout().tensor(name);
        found.map_or_else(|_| vec![], |spec| net.params[spec.range()].to_vec())
    };
    let narrow = |bounds: &[f64]| bounds.iter().map(|&b| b as f32).collect();
    let mut file = PolicyFile {
        task: task.name().to_string(),
        obs_terms: task.obs_terms.clone(),
        action_terms: task.action_terms.clone(),
        dt_s: task.dt_s,
        latent,
        mean_scale: net.arch().mean_scale.map_or(MeanScale::None, MeanScale::Tanh),
        weights: Weights {
            state0_weight: tensor("actor.state.0.weight"),
            state0_bias: tensor("actor.state.0.bias"),
            state1_weight: tensor("actor.state.1.weight"),
            state1_bias: tensor("actor.state.1.bias"),
            latent_weight: tensor("actor.latent.weight"),
            latent_bias: tensor("actor.latent.bias"),
            mean_weight: tensor("actor.mean.weight"),
            mean_bias: tensor("actor.mean.bias"),
        },
        normaliser: normaliser.clone(),
        action_low: narrow(&task.action_low),
        action_high: narrow(&task.action_high),
        log_std: net.log_std().to_vec(),
        golden: Golden::default(),
        provenance: Provenance {
            producer: concat!("sog-trainer ", env!("CARGO_PKG_VERSION")).to_string(),
            algorithm: config.algorithm.name().to_string(),
            seed: config.seed,
            demos_sha256: config.demos_sha256.clone(),
            // Left empty: the same seed gives the same bytes.
            created: String::new(),
        },
    };
    file.seal(GOLDEN_ROWS);
    file
}

/// The network in a policy file.
///
/// # Errors
/// [`EngineError`] if the file was not verified and its sizes do not fit.
pub fn network_of(file: &PolicyFile) -> Result<PolicyNet, EngineError> {
    let mean_scale = match file.mean_scale {
        MeanScale::None => None,
        MeanScale::Tanh(c) => Some(c),
    };
    let arch = PolicyArch {
        obs: file.obs_dim(),
        latent: file.latent_dim(),
        hidden: file.hidden_dim(),
        action: file.action_dim(),
        mean_scale,
    };
    let w = &file.weights;
    let mut params = vec![0.0; arch.layout().len()];
    for spec in &arch.layout().tensors {
        let values = match spec.name.as_str() {
            "actor.state.0.weight" => &w.state0_weight,
            "actor.state.0.bias" => &w.state0_bias,
            "actor.state.1.weight" => &w.state1_weight,
            "actor.state.1.bias" => &w.state1_bias,
            "actor.latent.weight" => &w.latent_weight,
            "actor.latent.bias" => &w.latent_bias,
            "actor.mean.weight" => &w.mean_weight,
            "actor.mean.bias" => &w.mean_bias,
            _ => &file.log_std,
        };
        params[spec.range()].copy_from_slice(values);
    }
    PolicyNet::from_params(arch, params)
}
