//! Mode rewards (paper, Table 1): which code does which mode, and how well.

use serde::Serialize;
use sog_runtime::policy::{LatentKind, Policy, PolicyFile};
use sog_sim::{
    error::SimError,
    rollout::{Capture, Episode, EvaluateOptions, Noise, Plan, evaluate},
    seed,
    tasks::TaskMaker,
};

use crate::{
    codes::{
        embed::{default_search, embed},
        hungarian::best_assignment,
    },
    data::{DataError, DemoFile, Labels},
    error::TrainError,
    export::network_of,
    normalise::ObsNormaliser,
};

/// Stream of the evaluation's seed that starts episodes; demonstrations and training use others.
const EPISODE_STREAM: u64 = 0x0065_7661_6c00;

/// Pairs of a demonstration that its embedding looks at.
const EMBEDDED_ROWS: usize = 256;

/// How modes are evaluated.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeOptions {
    /// Rollouts in all; at least 10 a code are run.
    pub rollouts: usize,
    /// Probability that an action is replaced by a uniform random one (paper, B.2).
    pub perturb: f64,
    /// Seed of the episodes.
    pub seed: u64,
    /// What is kept of each step.
    pub capture: Capture,
}

impl Default for ModeOptions {
    fn default() -> Self {
        Self { rollouts: 100, perturb: 0.0, seed: 0, capture: Capture::Nothing }
    }
}

/// One matched pair of mode and code.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModeReturn {
    /// Mode number.
    pub mode: usize,
    /// The mode, for people.
    pub label: String,
    /// Code matched to it; the single behaviour of an unconditioned policy stands as 0. Where there
    /// are fewer codes than modes, a mode that is left over has the code that does best in it.
    pub code: Option<usize>,
    /// Mean return of the code's rollouts on this mode's reward; NaN (`null`), as all else, where
    /// there was none.
    pub mean: f64,
    /// Its standard deviation.
    pub std: f64,
    /// Share of the rollouts that ended in failure.
    pub falls: f64,
}

/// The outcome of [`evaluate_modes`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ModeReport {
    /// Rollouts run.
    pub rollouts: usize,
    /// Mean return over the matched rollouts.
    pub return_mean: f64,
    /// Its standard deviation over the rollouts.
    pub return_std: f64,
    /// Each mode, matched.
    pub per_mode: Vec<ModeReturn>,
    /// Mean returns `[codes][modes]`.
    pub matrix: Vec<Vec<f64>>,
    /// Share of all rollouts that ended in failure.
    pub falls: f64,
    /// The rollouts, code by code.
    #[serde(skip)]
    pub episodes: Vec<Vec<Episode>>,
}

/// Runs the same number of rollouts with the mean action under each code and matches codes with
/// modes such that the sum of mean returns is largest.
///
/// `labels` name the modes. A policy without a code counts as one code, matched with every mode:
/// its return on each is reported.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_modes(
    maker: &TaskMaker,
    policy: &Policy,
    latent: LatentKind,
    labels: &[String],
    options: &ModeOptions,
    progress: Option<&(dyn Fn(usize) + Sync)>,
) -> Result<ModeReport, SimError> {
    evaluate_codes(maker, policy, &one_hot_codes(latent), labels, options, progress)
}

/// As [`evaluate_modes`], of these codes: those of a continuous policy's book, say.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_codes(
    maker: &TaskMaker,
    policy: &Policy,
    codes: &[Vec<f32>],
    labels: &[String],
    options: &ModeOptions,
    progress: Option<&(dyn Fn(usize) + Sync)>,
) -> Result<ModeReport, SimError> {
    let each = options.rollouts.div_ceil(codes.len()).max(10);
    let episode_seed = seed::derive(options.seed, EPISODE_STREAM);
    let plans: Vec<Plan> = codes
        .iter()
        .enumerate()
        .flat_map(|(c, code)| {
            (0..each).map(move |i| Plan {
                seed: seed::derive(episode_seed, (c * each + i) as u64),
                code: code.clone(),
                ..Plan::default()
            })
        })
        .collect();
    let noise = (options.perturb > 0.0).then_some(Noise::Replace(options.perturb));
    let run = EvaluateOptions { noise, capture: options.capture, progress };
    let mut all = evaluate(maker, policy, &plans, &run)?.into_iter();
    let episodes: Vec<Vec<Episode>> =
        codes.iter().map(|_| all.by_ref().take(each).collect()).collect();
    Ok(report(episodes, labels))
}

/// Evaluates a policy whose codes are continuous on a task with discrete modes: demonstrations of
/// each mode are embedded, and each code found is rolled out and judged by its demonstration's mode.
/// No code is matched: `code` is `None` in the report.
///
/// `codes` `[N, Z]` are those of the demonstrations where an encoder has given them (VAE-GAIL);
/// they are searched otherwise.
///
/// # Errors
/// [`TrainError`].
pub fn evaluate_embedded(
    maker: &TaskMaker,
    file: &PolicyFile,
    labels: &[String],
    demos: &DemoFile,
    codes: Option<&[f32]>,
    options: &ModeOptions,
) -> Result<ModeReport, TrainError> {
    let Labels::Modes(modes) = demos.labels()? else { return Err(DataError::NoLabels.into()) };
    let each = options.rollouts.div_ceil(labels.len()).max(10);
    let chosen: Vec<usize> = (0..labels.len())
        .flat_map(|mode| {
            let of_mode = (0..modes.len()).filter(move |&n| modes[n] as usize == mode);
            of_mode.take(each)
        })
        .collect();
    let z = file.latent_dim();
    let codes: Vec<f32> = match codes {
        Some(codes) if codes.len() == modes.len() * z => {
            chosen.iter().flat_map(|&n| &codes[n * z..(n + 1) * z]).copied().collect()
        }
        Some(codes) => {
            return Err(TrainError::Unmeasurable {
                found: format!("{} numbers for {} codes of width {z}", codes.len(), modes.len()),
                needed: "the codes of these demonstrations",
            });
        }
        None => {
            let normaliser = ObsNormaliser::new(file.normaliser.clone());
            let (net, search) = (network_of(file)?, default_search(file.latent));
            let d = demos.demonstrations.selected(&chosen);
            embed(&net, &normaliser, search, &d, EMBEDDED_ROWS, options.seed)?.codes
        }
    };
    let episode_seed = seed::derive(options.seed, EPISODE_STREAM);
    let plans: Vec<Plan> = codes
        .chunks_exact(z)
        .enumerate()
        .map(|(i, code)| Plan {
            seed: seed::derive(episode_seed, i as u64),
            code: code.to_vec(),
            ..Plan::default()
        })
        .collect();
    let noise = (options.perturb > 0.0).then_some(Noise::Replace(options.perturb));
    let run = EvaluateOptions { noise, capture: options.capture, progress: None };
    let mut of_mode: Vec<Vec<Episode>> = vec![vec![]; labels.len()];
    for (episode, &n) in evaluate(maker, &Policy::new(file), &plans, &run)?.into_iter().zip(&chosen)
    {
        of_mode[modes[n] as usize].push(episode);
    }
    let assigned: Vec<Option<usize>> = (0..labels.len()).map(Some).collect();
    let mut report = summary(of_mode, labels, &assigned);
    report.per_mode.iter_mut().for_each(|m| m.code = None);
    Ok(report)
}

/// The codes of a discrete policy; one empty code for a policy without.
pub fn one_hot_codes(latent: LatentKind) -> Vec<Vec<f32>> {
    match latent {
        LatentKind::OneHot(k) => {
            (0..k).map(|c| (0..k).map(|j| f32::from(u8::from(j == c))).collect()).collect()
        }
        LatentKind::None => vec![vec![]],
        LatentKind::Gaussian(d) => vec![vec![0.0; d]],
    }
}

fn report(episodes: Vec<Vec<Episode>>, labels: &[String]) -> ModeReport {
    let modes = labels.len();
    let matrix = matrix(&episodes, modes);
    let code_of_mode: Vec<Option<usize>> = if episodes.len() == 1 {
        vec![Some(0); modes]
    } else {
        let flat: Vec<f64> =
            (0..modes).flat_map(|m| matrix.iter().map(move |row| row[m])).collect();
        let mut codes = best_assignment(&flat, modes, episodes.len());
        // Else a policy of few codes would be judged by its best modes alone.
        for (code, returns) in codes.iter_mut().zip(flat.chunks_exact(episodes.len())) {
            let best = || (0..returns.len()).max_by(|&a, &b| returns[a].total_cmp(&returns[b]));
            *code = code.or_else(best);
        }
        codes
    };
    summary(episodes, labels, &code_of_mode)
}

/// The report under a given assignment of codes to modes.
fn summary(
    episodes: Vec<Vec<Episode>>,
    labels: &[String],
    code_of_mode: &[Option<usize>],
) -> ModeReport {
    let matrix = matrix(&episodes, labels.len());
    let mut matched = vec![];
    let per_mode: Vec<ModeReturn> = code_of_mode
        .iter()
        .enumerate()
        .map(|(mode, &code)| {
            let of_code = code.map_or(&[][..], |c| &episodes[c]);
            matched.extend(of_code.iter().map(|e| e.returns[mode]));
            let ((mean, std), falls) = match of_code {
                [] => ((f64::NAN, f64::NAN), f64::NAN),
                some => (moments(some, mode), failed_share(some)),
            };
            ModeReturn { mode, label: labels[mode].clone(), code, mean, std, falls }
        })
        .collect();
    let (return_mean, return_std) = mean_std(&matched);
    let rollouts = episodes.iter().map(Vec::len).sum();
    let falls = failed_share(episodes.iter().flatten());
    ModeReport { rollouts, return_mean, return_std, per_mode, matrix, falls, episodes }
}

/// Mean returns `[codes][modes]`.
fn matrix(episodes: &[Vec<Episode>], modes: usize) -> Vec<Vec<f64>> {
    let row = |of_code: &Vec<Episode>| (0..modes).map(|m| moments(of_code, m).0).collect();
    episodes.iter().map(row).collect()
}

fn failed_share<'a>(episodes: impl IntoIterator<Item = &'a Episode>) -> f64 {
    let (failed, all) = episodes
        .into_iter()
        .fold((0.0, 0.0_f64), |(f, n), e| (f + f64::from(u8::from(e.failed)), n + 1.0));
    failed / all.max(1.0)
}

fn moments(episodes: &[Episode], mode: usize) -> (f64, f64) {
    mean_std(&episodes.iter().map(|e| e.returns[mode]).collect::<Vec<_>>())
}

/// Mean and standard deviation (of the population); 0 for no values.
pub fn mean_std(values: &[f64]) -> (f64, f64) {
    let n = values.len().max(1) as f64;
    let mean = values.iter().sum::<f64>() / n;
    let var = values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / n;
    (mean, var.sqrt())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn episode(returns: &[f64], failed: bool) -> Episode {
        Episode { returns: returns.to_vec(), failed, ..Episode::default() }
    }

    #[test]
    fn shuffled_codes_are_matched_with_their_modes() {
        let labels: Vec<String> = ["a", "b", "c"].map(str::to_string).to_vec();
        // Code 0 does mode 2, code 1 mode 0, code 2 mode 1.
        let episodes = vec![
            vec![episode(&[1.0, 2.0, 90.0], false), episode(&[1.0, 2.0, 92.0], true)],
            vec![episode(&[80.0, 2.0, 3.0], false); 2],
            vec![episode(&[1.0, 70.0, 3.0], false); 2],
        ];
        let report = report(episodes, &labels);
        let codes: Vec<_> = report.per_mode.iter().map(|m| m.code).collect();
        assert_eq!(codes, [Some(1), Some(2), Some(0)]);
        assert_eq!((report.per_mode[2].mean, report.per_mode[2].std), (91.0, 1.0));
        assert_eq!(report.return_mean, (80.0 + 70.0 + 91.0) / 3.0);
        assert_eq!(report.per_mode[2].falls, 0.5);
    }

    #[test]
    fn a_policy_without_code_is_reported_on_every_mode() {
        let labels: Vec<String> = ["a", "b"].map(str::to_string).to_vec();
        let report = report(vec![vec![episode(&[1.0, 5.0], false)]], &labels);
        assert_eq!(report.per_mode.iter().map(|m| m.mean).collect::<Vec<_>>(), [1.0, 5.0]);
    }

    #[test]
    fn modes_beyond_the_codes_have_the_one_that_does_best_in_them() {
        let labels: Vec<String> = ["a", "b", "c"].map(str::to_string).to_vec();
        let episodes =
            vec![vec![episode(&[1.0, 5.0, 2.0], false)], vec![episode(&[4.0, 6.0, 1.0], false)]];
        let report = report(episodes, &labels);
        let codes: Vec<_> = report.per_mode.iter().map(|m| m.code).collect();
        assert_eq!(codes, [Some(1), Some(0), Some(0)]);
        assert_eq!(report.return_mean, (4.0 + 5.0 + 2.0) / 3.0);
    }

    #[test]
    fn a_mode_without_rollouts_has_no_return() {
        let labels: Vec<String> = ["a", "b"].map(str::to_string).to_vec();
        let report =
            summary(vec![vec![episode(&[-3.0, 0.0], true)], vec![]], &labels, &[Some(0), Some(1)]);
        assert!(report.per_mode[1].mean.is_nan() && report.per_mode[1].falls.is_nan());
        assert_eq!((report.return_mean, report.per_mode[0].falls), (-3.0, 1.0));
    }
}
