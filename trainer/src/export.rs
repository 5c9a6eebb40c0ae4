//! From a trained network to the policy file, and back.

use sog_engine::{EngineError, net::PolicyNet};
use sog_runtime::policy::{Golden, LatentKind, MeanScale, Normaliser, PolicyFile, Provenance};
use sog_sim::{robot::spec, task::TaskInfo};

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
    let mut file = PolicyFile {
        contract: spec(task).contract,
        latent,
        mean_scale: net.arch().mean_scale.map_or(MeanScale::None, MeanScale::Tanh),
        network: net.network(),
        normaliser: normaliser.clone(),
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
    PolicyNet::from_file(file)
}
