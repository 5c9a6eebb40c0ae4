//! Embedding: the code under which a policy explains a demonstration best.

use rayon::prelude::*;
use sog_engine::{
    EngineError,
    net::PolicyNet,
    policy::PolicyPass,
    search::{CodeSearch, Groups},
    sog_bc::{SogBatch, SogBc},
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
    explain(net, normaliser, demos, max_rows, |sog, n, batch| {
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
    let given = |_: &mut SogBc, n: usize, _: SogBatch<'_>| Ok(codes[n * z..(n + 1) * z].to_vec());
    Ok(explain(net, normaliser, demos, usize::MAX, given)?.losses)
}

/// The errors of every trajectory under the code that `code_of` says, of its number and pairs;
/// trajectories side by side on the threads there are, with the same result on any number of them.
fn explain(
    net: &PolicyNet,
    normaliser: &ObsNormaliser,
    demos: &Demonstrations,
    max_rows: usize,
    code_of: impl Fn(&mut SogBc, usize, SogBatch<'_>) -> Result<Vec<f32>, EngineError> + Sync,
) -> Result<Embedding, EngineError> {
    let a = net.arch().action;
    let scratch = || (SogBc::new(net.arch()), PolicyPass::new(net.arch()));
    let explained = (0..demos.len()).into_par_iter().map_init(scratch, |(sog, pass), n| {
        let (obs, actions) = spaced(demos, n, max_rows);
        let mut inputs = vec![];
        normaliser.extend(&obs, &mut inputs);
        let rows = actions.len() / a;
        let batch = SogBatch { obs: &inputs, actions: &actions, groups: Groups::Shared };
        let code = code_of(sog, n, batch)?;
        let mut means = vec![0.0; actions.len()];
        pass.load(net, &inputs)?;
        pass.mean(net, &code.repeat(rows), &mut means)?;
        let mut squares = vec![0.0_f64; a];
        for (mean, action) in means.chunks_exact(a).zip(actions.chunks_exact(a)) {
            for ((sum, m), x) in squares.iter_mut().zip(mean).zip(action) {
                *sum += f64::from(m - x).powi(2);
            }
        }
        Ok(Explained { code, squares, rows })
    });
    let explained = explained.collect::<Result<Vec<_>, EngineError>>()?;
    let rows: usize = explained.iter().map(|e| e.rows).sum();
    let rms = |c: usize| {
        let sum: f64 = explained.iter().map(|e| e.squares[c]).sum();
        (sum / rows as f64).sqrt() as f32
    };
    Ok(Embedding {
        losses: explained
            .iter()
            .map(|e| (e.squares.iter().sum::<f64>() / e.rows as f64) as f32)
            .collect(),
        rms_error: (0..a).map(rms).collect(),
        codes: explained.into_iter().flat_map(|e| e.code).collect(),
    })
}

/// One trajectory under its code `[Z]`: sums of each component's squared errors `[A]` over its rows.
struct Explained {
    code: Vec<f32>,
    squares: Vec<f64>,
    rows: usize,
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

#[cfg(test)]
mod tests {
    use sog_engine::net::Init;
    use sog_sim::tasks::{self, TaskMaker, TaskOptions};

    use super::*;
    use crate::{
        config::{Algorithm, TrainConfig},
        data::record::{CirclesExpert, RecordOptions, record},
    };

    #[test]
    fn any_number_of_threads_finds_the_same_codes() {
        let (folder, options) = (tasks::open("circles").unwrap(), TaskOptions::default());
        let maker = TaskMaker::of(&folder, &options).unwrap();
        let options = RecordOptions { episodes_per_mode: 3, seed: 1, action_noise: 0.0 };
        let demos = record(&maker, folder.info(), &CirclesExpert, &options, &|| ()).unwrap();
        let demos = demos.demonstrations;
        let config = TrainConfig::defaults(&folder, Algorithm::SogBc).unwrap();
        let arch = config.network.policy_arch(demos.obs_dim(), 2, demos.action_dim());
        let net = PolicyNet::new(arch, Init::default(), &mut seed::stream(0, 0)).unwrap();
        let normaliser = ObsNormaliser::of(&demos);
        let search = default_search(LatentKind::Gaussian(2));
        let on = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| embed(&net, &normaliser, search, &demos, 20, 7).unwrap())
        };
        let alone = on(1);
        assert_eq!(alone, on(4));
        // Found for each demonstration by itself.
        assert_eq!((alone.codes.len(), alone.losses.len()), (2 * demos.len(), demos.len()));
        let last = demos.selected(&[demos.len() - 1]);
        let found = embed(&net, &normaliser, search, &last, 20, 7).unwrap();
        let other = (alone.losses[demos.len() - 1] - found.losses[0]).abs();
        assert!(other < 0.1 * found.losses[0], "{:?} {:?}", alone.losses, found.losses);
    }
}
