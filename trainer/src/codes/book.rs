//! The book of codes of a trained policy: from the demonstrations' embedding.

use sog_engine::EngineError;
use sog_runtime::policy::{
    LatentKind, PolicyFile,
    book::{Book, Way},
};
use sog_sim::seed;

use super::{
    cluster::{centres, nearest},
    embed::{Embedding, default_search, embed},
};
use crate::{data::Demonstrations, export::network_of, normalise::ObsNormaliser};

/// Pairs of a demonstration that are looked at.
const MOST_ROWS: usize = 200;
/// Representative codes of a continuous latent.
const REPRESENTATIVE: usize = 8;
/// Stream of the seed that representative codes are drawn from.
const STREAM: u64 = 11;

/// The book of a policy: for one-hot codes one way each, for continuous ones a few representative
/// codes of the demonstrations (k-means over their embedding), each with the share of the
/// demonstrations that belong to it and the one that is most typical: the nearest to a continuous
/// code, the best explained under a one-hot one. `codes` `[N, Z]` are those of an encoder, where
/// there is one; they are searched otherwise. `None` for a policy without codes.
///
/// # Errors
/// [`EngineError`] if policy and demonstrations have different widths.
pub fn book(
    file: &PolicyFile,
    demos: &Demonstrations,
    codes: Option<&[f32]>,
    seed: u64,
) -> Result<Option<Book>, EngineError> {
    let z = file.latent_dim();
    if z == 0 {
        return Ok(None);
    }
    let normaliser = ObsNormaliser::new(file.normaliser.clone());
    let embedding = match codes {
        Some(codes) => Embedding { codes: codes.to_vec(), losses: vec![], rms_error: vec![] },
        None => {
            let search = default_search(file.latent);
            embed(&network_of(file)?, &normaliser, search, demos, MOST_ROWS, seed)?
        }
    };
    let points: Vec<Vec<f32>> = embedding.codes.chunks_exact(z).map(<[f32]>::to_vec).collect();
    Ok(Some(match file.latent {
        LatentKind::Gaussian(_) => {
            let mut rng = seed::stream(seed, STREAM);
            let mut middles = centres(&points, REPRESENTATIVE.min(points.len()), &mut rng);
            middles.sort_by(|a, b| a[0].total_cmp(&b[0]));
            let found: Vec<(usize, f64)> = points.iter().map(|p| nearest(p, &middles)).collect();
            let ways = ways(middles.len(), &found);
            Book { ways, codes: middles.concat() }
        }
        _ => {
            let way = |(n, point): (usize, &Vec<f32>)| {
                let loss = embedding.losses.get(n).copied().unwrap_or(0.0);
                (point.iter().position(|&v| v > 0.5).unwrap_or(0), f64::from(loss))
            };
            let found: Vec<(usize, f64)> = points.iter().enumerate().map(way).collect();
            Book { ways: ways(z, &found), codes: vec![] }
        }
    }))
}

/// Ways of demonstrations that belong to the given ones, each at a distance.
fn ways(count: usize, found: &[(usize, f64)]) -> Vec<Way> {
    let way = |number: usize| {
        let own = || found.iter().enumerate().filter(|(_, (way, _))| *way == number);
        let nearest = own().min_by(|a, b| a.1.1.total_cmp(&b.1.1));
        Way {
            name: None,
            share: own().count() as f32 / found.len().max(1) as f32,
            typical: nearest.map(|(n, _)| n),
        }
    };
    (0..count).map(way).collect()
}
