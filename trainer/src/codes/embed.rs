//! Embedding: the code under which a policy explains a demonstration best.

use sog_engine::{
    EngineError,
    net::PolicyNet,
    policy::PolicyPass,
    search::{CodeSearch, Groups},
    sog_bc as engine,
};
use sog_runtime::policy::LatentKind;
use sog_sim::seed;

use crate::{data::Demonstrations, normalise::ObsNormaliser};

/// Codes and errors of embedded demonstrations.
#[derive(Clone, Debug, PartialEq)]
pub struct Embedding {
    /// `[N, Z]`.
    pub codes: Vec<f32>,
    /// Mean ‖â − a‖² of each trajectory under its code, `[N]`.
    pub losses: Vec<f32>,
    /// Root mean square error of each action component over all trajectories, `[A]`.
    pub rms_error: Vec<f32>,
}

/// Finds the code of every trajectory: exhaustively among one-hot codes, coordinate by coordinate
/// (Algorithm 4, its samples drawn from `seed`) for Gaussian ones. At most `max_rows` evenly spaced
/// pairs of a trajectory are looked at.
///
/// # Errors
/// [`EngineError`] if policy and demonstrations have different widths.
pub fn embed(
    net: &PolicyNet,
    normaliser: &ObsNormaliser,
    search: CodeSearch,
    demos: &Demonstrations,
    max_rows: usize,
    seed: u64,
) -> Result<Embedding, EngineError> {
    let z = net.arch().latent;
    let mut sog = engine::SogBc::new(net.arch());
    explain(net, normaliser, demos, max_rows, |n, batch| {
        if z == 0 {
            return Ok(vec![]);
        }
        sog.search(net, batch, search, &mut seed::stream(seed, n as u64))?;
        Ok(sog.codes().to_vec())
    })
}

/// Mean ‖â − a‖² of each trajectory under its code of `codes` `[N, Z]`.
///
/// # Errors
/// As [`embed`].
pub(crate) fn losses_under(
    net: &PolicyNet,
    normaliser: &ObsNormaliser,
    demos: &Demonstrations,
    codes: &[f32],
) -> Result<Vec<f32>, EngineError> {
    let z = net.arch().latent;
    let given = |n: usize, _: engine::SogBatch<'_>| Ok(codes[n * z..(n + 1) * z].to_vec());
    Ok(explain(net, normaliser, demos, usize::MAX, given)?.losses)
}

/// The errors of every trajectory under the code that `code_of` says, of its number and pairs.
fn explain(
    net: &PolicyNet,
    normaliser: &ObsNormaliser,
    demos: &Demonstrations,
    max_rows: usize,
    mut code_of: impl FnMut(usize, engine::SogBatch<'_>) -> Result<Vec<f32>, EngineError>,
) -> Result<Embedding, EngineError> {
    let a = net.arch().action;
    let mut pass = PolicyPass::new(net.arch());
    let (mut codes, mut losses, mut squares) = (vec![], vec![], vec![0.0_f64; a]);
    let mut rows = 0;
    for n in 0..demos.len() {
        let (obs, actions) = spaced(demos, n, max_rows);
        let mut inputs = vec![];
        normaliser.extend(&obs, &mut inputs);
        let count = actions.len() / a;
        let batch = engine::SogBatch { obs: &inputs, actions: &actions, groups: Groups::Shared };
        let code = code_of(n, batch)?;
        let mut means = vec![0.0; actions.len()];
        pass.load(net, &inputs)?;
        pass.mean(net, &code.repeat(count), &mut means)?;
        let mut loss = 0.0;
        for (mean, action) in means.chunks_exact(a).zip(actions.chunks_exact(a)) {
            for ((sum, m), x) in squares.iter_mut().zip(mean).zip(action) {
                let square = f64::from(m - x).powi(2);
                *sum += square;
                loss += square;
            }
        }
        losses.push((loss / count as f64) as f32);
        rows += count;
        codes.extend(code);
    }
    let rms_error = squares.into_iter().map(|sum| (sum / rows as f64).sqrt() as f32).collect();
    Ok(Embedding { codes, losses, rms_error })
}

/// The search that fits a kind of code, with the specification's defaults.
pub fn default_search(latent: LatentKind) -> CodeSearch {
    match latent {
        LatentKind::Gaussian(d) => CodeSearch::coordinate(d),
        LatentKind::None | LatentKind::OneHot(_) => CodeSearch::OneHot,
    }
}

/// Up to `count` evenly spaced pairs of trajectory `n`: observations and actions.
fn spaced(demos: &Demonstrations, n: usize, count: usize) -> (Vec<f32>, Vec<f32>) {
    let stride = demos.rows(n).len().div_ceil(count.max(1)).max(1);
    let take = |all: &[f32], width: usize| -> Vec<f32> {
        all.chunks_exact(width).step_by(stride).flatten().copied().collect()
    };
    let (s, a) = (demos.obs_dim(), demos.action_dim());
    (take(demos.observations_of(n), s), take(demos.actions_of(n), a))
}
