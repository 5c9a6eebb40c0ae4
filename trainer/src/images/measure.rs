//! Measures on held-out pictures: reconstruction, and what lies near each other in the code.

use rayon::prelude::*;
use sog_engine::{
    EngineError,
    adam::AdamConfig,
    conv::{ConvGenerator, FrozenConv, Scratch},
    search::{CodeSearch, Groups, LatentModel, Refinement, Search},
};
use sog_sim::seed;

use super::{
    data::{Pictures, per_value},
    model::ImageModel,
};

/// k: neighbours that are asked.
pub const NEIGHBOURS: usize = 15;

/// Pictures whose codes are searched at once.
const AT_ONCE: usize = 512;

/// Searches from which each picture takes the best code: where one ends depends on where it begins.
const STARTS: usize = 4;

/// Codes drawn from the prior that all pictures share, in each of them.
const CANDIDATES: usize = 8192;

/// Sizes of the steps that follow, from the coarse to the fine.
const STEPS: [f32; 4] = [0.6, 0.3, 0.15, 0.08];

/// Samples of each block at each size of steps.
const SAMPLES: usize = 4;

/// Rounds of secants after each, and how much of what they propose is taken: a code for which the
/// whole is too far tries a part.
const SECANTS: [f32; 4] = [1.0, 0.5, 1.0, 0.25];

/// Codes of some pictures and how well they explain them.
#[derive(Debug, Clone, PartialEq)]
pub struct Embedding {
    /// `[N, d]`
    pub codes: Vec<f32>,
    /// Mean squared error of each picture per value, on the scale from 0 to 1, `[N]`.
    pub errors: Vec<f64>,
}

impl Embedding {
    /// Mean squared error over all.
    pub fn mse(&self) -> f64 {
        self.errors.iter().sum::<f64>() / self.errors.len().max(1) as f64
    }
}

/// The code of each picture under the search, the best of four: each takes the best of 8192 draws from the
/// prior that all share, then [`Refinement`]s, blocks of at most two coordinates, whose steps become
/// smaller, and [secants](ConvGenerator::secant_codes) after each.
/// `progress` is told how many pictures are done.
///
/// # Errors
/// If the pictures are of another size.
pub fn embed(
    model: &ImageModel,
    pictures: &Pictures,
    seed: u64,
    mut progress: impl FnMut(usize),
) -> Result<Embedding, EngineError> {
    let mut generator = ConvGenerator::new(model.generator.clone(), AdamConfig::default());
    let (mut codes, mut errors) = (vec![], vec![]);
    for from in (0..pictures.len()).step_by(AT_ONCE) {
        let to = pictures.len().min(from + AT_ONCE);
        generator.load(&pictures.scaled(from..to))?;
        // The same draws for all.
        let mut rng = seed::rng(seed);
        let mut best = search(&mut generator, &mut rng)?;
        for _ in 1..STARTS {
            let other = search(&mut generator, &mut rng)?;
            best.offer(&mut generator, Groups::PerRow, other.codes())?;
        }
        codes.extend_from_slice(best.codes());
        let size = pictures.size;
        errors.extend(best.losses().iter().map(|&loss| per_value(loss.into(), size)));
        progress(to);
    }
    Ok(Embedding { codes, errors })
}

/// One search for the codes of the pictures that `generator` holds.
fn search(generator: &mut ConvGenerator, rng: &mut seed::Rng) -> Result<Search, EngineError> {
    let latent = generator.code_len();
    let mut search = Search::default();
    let plan = CodeSearch::Coordinate { samples: CANDIDATES, block: latent, rounds: 1 };
    search.run(generator, Groups::PerRow, plan, rng)?;
    for step in STEPS {
        let refinement = Refinement { samples: SAMPLES, block: 2.min(latent), rounds: 1, step };
        search.refine(generator, Groups::PerRow, refinement, rng)?;
        for share in SECANTS {
            let mut proposed = generator.secant_codes(search.codes())?.codes;
            for (new, old) in proposed.iter_mut().zip(search.codes()) {
                *new = old + share * (*new - old);
            }
            search.offer(generator, Groups::PerRow, &proposed)?;
        }
    }
    Ok(search)
}

/// The code of each picture by the VAE's encoder (its mean), and the error of the decoder there.
///
/// # Errors
/// If the pictures are of another size.
pub fn encode(
    (encoder, decoder): (&FrozenConv, &FrozenConv),
    pictures: &Pictures,
) -> Result<Embedding, EngineError> {
    let mut scratch = Scratch::default();
    let (mut codes, mut errors) = (vec![], vec![]);
    let width = pictures.size.values();
    for from in (0..pictures.len()).step_by(AT_ONCE) {
        let y = pictures.scaled(from..pictures.len().min(from + AT_ONCE));
        let encoded = encoder.forward(&y, &mut scratch)?;
        let both = encoded.len() / (y.len() / width).max(1);
        let means: Vec<f32> =
            encoded.chunks_exact(both).flat_map(|code| &code[..both / 2]).copied().collect();
        let out = decoder.forward(&means, &mut scratch)?;
        for (out, y) in out.chunks_exact(width).zip(y.chunks_exact(width)) {
            let square = |(o, y): (&f32, &f32)| f64::from(o - y).powi(2);
            errors.push(per_value(out.iter().zip(y).map(square).sum(), pictures.size));
        }
        codes.extend(means);
    }
    Ok(Embedding { codes, errors })
}

/// Share of the pictures whose label is the most frequent one among the labels of their k nearest
/// others by Euclidean distance of the codes `[N, d]` (k nearest neighbours, each left out in turn);
/// of two labels that are equally frequent the one whose first is nearer counts.
pub fn neighbour_agreement(codes: &[f32], labels: &[u8], k: usize) -> f64 {
    let count = labels.len();
    if count < 2 {
        return f64::NAN;
    }
    let latent = codes.len() / count;
    let agree = (0..count).into_par_iter().filter(|&n| {
        let own = &codes[n * latent..(n + 1) * latent];
        let others = codes.chunks_exact(latent).enumerate().filter(|&(m, _)| m != n);
        let mut near: Vec<(f32, usize)> = others
            .map(|(m, code)| (own.iter().zip(code).map(|(a, b)| (a - b) * (a - b)).sum(), m))
            .collect();
        let k = k.min(near.len());
        near.select_nth_unstable_by(k - 1, |a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        near.truncate(k);
        near.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.cmp(&b.1)));
        let mut votes = [0usize; 256];
        near.iter().for_each(|&(_, m)| votes[usize::from(labels[m])] += 1);
        let most = votes.iter().max().copied().unwrap_or(0);
        let first = near.iter().find(|&&(_, m)| votes[usize::from(labels[m])] == most);
        first.is_some_and(|&(_, m)| labels[m] == labels[n])
    });
    agree.count() as f64 / count as f64
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use rand::RngExt;
    use sog_engine::conv::{ConvArch, ConvNet, Grid};

    use super::*;

    #[test]
    fn of_several_searches_each_picture_takes_its_best() {
        let size = Grid { height: 28, width: 28, channels: 1 };
        let mut rng = seed::rng(1);
        let arch = ConvArch::generator(3, size, 4).unwrap();
        // Steep enough that where a search ends depends on where it begins.
        let mut generator = ConvNet::new(arch, &mut rng);
        generator.params.iter_mut().for_each(|w| *w *= 8.0);
        let pixels = (0..40 * size.values()).map(|_| rng.random()).collect();
        let pictures = Pictures { size, pixels, labels: vec![] };
        let mut first = ConvGenerator::new(generator.clone(), AdamConfig::default());
        first.load(&pictures.scaled(0..40)).unwrap();
        let alone = search(&mut first, &mut seed::rng(7)).unwrap();
        let model = ImageModel { generator, vae: None, provenance: BTreeMap::new() };
        let best = embed(&model, &pictures, 7, |_| ()).unwrap();
        let gains: Vec<f64> = alone
            .losses()
            .iter()
            .zip(&best.errors)
            .map(|(&loss, error)| per_value(loss.into(), size) - error)
            .collect();
        assert!(gains.iter().all(|&gain| gain >= -1e-9), "{gains:?}");
        let better = gains.iter().filter(|&&gain| gain > 1e-6).count();
        assert!(better >= 10, "{better} of 40: {gains:?}");
    }

    #[test]
    fn neighbours_of_the_same_label_agree() {
        // Two clusters, and one picture in the wrong one.
        let codes: Vec<f32> =
            (0..20).flat_map(|n| [if n < 10 { 0.0 } else { 5.0 }, n as f32 * 0.01]).collect();
        let mut labels: Vec<u8> = (0..20).map(|n| u8::from(n >= 10)).collect();
        assert_eq!(neighbour_agreement(&codes, &labels, 5), 1.0);
        labels[3] = 1;
        assert_eq!(neighbour_agreement(&codes, &labels, 5), 0.95);
        // More neighbours than there are: everything else votes.
        assert!(neighbour_agreement(&codes, &labels, 100) < 0.6);
        assert!(neighbour_agreement(&[], &[], 5).is_nan());
        // A tie goes to the nearer.
        let tied = neighbour_agreement(&[0.0, 1.0, -1.5, 9.0], &[1, 1, 2, 3], 2);
        assert_eq!(tied, 0.25 + 0.25, "the first two");
    }
}
