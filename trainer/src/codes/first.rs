//! The codes that trajectories begin with, before losses can tell them apart.

use sog_runtime::policy::LatentKind;
use sog_sim::seed;

use super::{cluster, separation::best_features, spread};
use crate::{data::Demonstrations, normalise::ObsNormaliser};

/// Stream of the seed that first codes are drawn from.
const FIRST_CODES_STREAM: u64 = 0xc1;

/// The codes `[N, Z]` that trajectories begin with where they are not searched from the first
/// update on, for a learner with `seed`: a cluster each, or their principal components spread over
/// the prior.
pub(crate) fn first_codes(
    demos: &Demonstrations,
    normaliser: &ObsNormaliser,
    latent: LatentKind,
    seed: u64,
) -> Vec<f32> {
    let mut rng = seed::rng(seed::derive(seed, FIRST_CODES_STREAM));
    match latent {
        LatentKind::None => vec![],
        LatentKind::OneHot(k) => {
            let features = best_features(demos, normaliser, k, seed);
            let points = features.of(demos, normaliser);
            let clusters = cluster::clusters(&points, k, &mut rng);
            let mut codes = vec![0.0; demos.len() * k];
            for (code, cluster) in codes.chunks_exact_mut(k).zip(clusters) {
                code[cluster] = 1.0;
            }
            codes
        }
        LatentKind::Gaussian(d) => spread::first_codes(demos, normaliser, d, &mut rng),
    }
}
