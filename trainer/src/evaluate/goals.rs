//! Continuous modes: reached targets (paper, Table 2) and velocities (Table 3).

use serde::Serialize;
use sog_runtime::policy::{LatentKind, Policy, PolicyFile};
use sog_sim::{
    rollout::{Capture, Episode, EvaluateOptions, Noise, Plan, evaluate, sample_prior},
    seed,
    task::GoalSpace,
    tasks::TaskMaker,
};

use super::{
    estimators::{entropy_nats, mutual_information_nats},
    modes::{ModeOptions, mean_std, one_hot_codes},
};
use crate::{
    codes::{
        embed::{default_search, embed},
        quantile::normal_quantile,
    },
    data::{DataError, DemoFile, Labels},
    error::TrainError,
    export::network_of,
    normalise::ObsNormaliser,
};

/// Streams of the evaluation's seed.
const PRIOR_STREAM: u64 = 0x7072_696f_7200;
const EPISODE_STREAM: u64 = 0x676f_616c_7300;

/// Neighbour of the entropy estimate and of the mutual information.
const ENTROPY_K: usize = 1;
const INFORMATION_K: usize = 3;

/// Codes of the mutual information: this many equally spaced quantiles of [0.1, 0.9].
const QUANTILES: usize = 30;

/// Distance in metres within which a target counts as reached (specification).
const HIT_M: f64 = 0.05;

/// Demonstrations embedded for the hit rate.
const EMBEDDED: usize = 100;

/// The outcome of [`evaluate_goals`].
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct GoalReport {
    /// Rollouts run.
    pub rollouts: usize,
    /// Mean return on the goals of the demonstrations whose codes were used; absent without
    /// demonstrations.
    pub return_mean: Option<f64>,
    /// Its standard deviation.
    pub return_std: Option<f64>,
    /// Empty: the modes are goals.
    pub per_mode: Vec<()>,
    /// Share of embedded demonstrations whose target was reached.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hit_rate: Option<f64>,
    /// Entropy of reached targets, clipped to the goals' box and scaled to side 2.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_nats: Option<f64>,
    /// Mutual information of the code's CDF (or of the embedded demonstration's goal, where the
    /// code has more than one dimension) and instantaneous velocity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mutual_information_nats: Option<f64>,
    /// Share of all rollouts that ended in failure.
    pub falls: f64,
}

/// Measures a policy with Gaussian codes on a task whose modes are goals. `demos` (held-out ones)
/// are embedded for the hit rate and the returns.
///
/// # Errors
/// [`TrainError`].
pub fn evaluate_goals(
    maker: &TaskMaker,
    file: &PolicyFile,
    space: &GoalSpace,
    demos: Option<&DemoFile>,
    options: &ModeOptions,
) -> Result<GoalReport, TrainError> {
    let evaluation = Rollouts { maker, policy: Policy::new(file), options };
    let mut report = GoalReport::default();
    let mut all: Vec<Episode> = vec![];
    // Goals of several dimensions are places that the robot ends at, others speeds that it keeps.
    let places = space.dims() > 1;
    if places {
        let dims = space.dims();
        if dims > 3 {
            return Err(TrainError::Unmeasurable {
                found: format!("goals of {dims} dimensions"),
                needed: "a speed (one) or a place (two or three)",
            });
        }
        let (_, reached) = evaluation.sampled(file.latent)?;
        report.entropy_nats = entropy_nats(&scaled_targets(&reached, space), dims, ENTROPY_K);
        all.extend(reached);
    } else if let LatentKind::Gaussian(1) = file.latent {
        let (cdf, episodes) = evaluation.quantiles()?;
        report.mutual_information_nats = information(&cdf, &episodes);
        all.extend(episodes);
    }
    if let Some(demos) = demos {
        let (goals, episodes) = evaluation.embedded(file, demos)?;
        let returns: Vec<f64> = episodes.iter().map(|e| e.returns[0]).collect();
        let (mean, std) = mean_std(&returns);
        (report.return_mean, report.return_std) = (Some(mean), Some(std));
        if places {
            let hit = |(goal, e): (&Vec<f64>, &Episode)| {
                let square = |(g, p): (&f64, f64)| (g - p).powi(2);
                goal.iter().zip(e.end.position_m).map(square).sum::<f64>().sqrt() < HIT_M
            };
            let hits = goals.iter().zip(&episodes).filter(|pair| hit(*pair)).count();
            report.hit_rate = Some(hits as f64 / episodes.len() as f64);
        } else if report.mutual_information_nats.is_none() {
            let goal: Vec<f64> = goals.iter().map(|g| g[0]).collect();
            report.mutual_information_nats = information(&goal, &episodes);
        }
        all.extend(episodes);
    }
    report.rollouts = all.len();
    let failed = all.iter().filter(|e| e.failed).count();
    report.falls = failed as f64 / all.len().max(1) as f64;
    Ok(report)
}

/// Rollouts of a policy with Gaussian codes, in `groups` of rising first component of the code (for
/// a picture): at equally spaced quantiles of a one-dimensional code, else with codes from the
/// prior.
///
/// # Errors
/// [`TrainError`].
pub fn rollouts_by_code(
    maker: &TaskMaker,
    file: &PolicyFile,
    groups: usize,
    options: &ModeOptions,
) -> Result<Vec<Vec<Episode>>, TrainError> {
    let evaluation = Rollouts { maker, policy: Policy::new(file), options };
    let (first, episodes) = match file.latent {
        LatentKind::Gaussian(1) => evaluation.quantiles()?,
        latent => evaluation.sampled(latent)?,
    };
    let mut all: Vec<(f64, Episode)> = first.into_iter().zip(episodes).collect();
    all.sort_by(|a, b| a.0.total_cmp(&b.0));
    let count = all.len().max(1);
    let mut grouped: Vec<Vec<Episode>> = vec![vec![]; groups];
    for (i, (_, episode)) in all.into_iter().enumerate() {
        grouped[i * groups / count].push(episode);
    }
    Ok(grouped)
}

/// Rollouts of a policy with one-hot codes where no mode says what is good: those of each code (for a
/// picture).
///
/// # Errors
/// [`TrainError`].
pub fn rollouts_of_each_code(
    maker: &TaskMaker,
    file: &PolicyFile,
    options: &ModeOptions,
) -> Result<Vec<Vec<Episode>>, TrainError> {
    let evaluation = Rollouts { maker, policy: Policy::new(file), options };
    let codes = one_hot_codes(file.latent);
    let each = options.rollouts.div_ceil(codes.len());
    let plan = |i: usize| evaluation.plan(i, codes[i / each].clone(), vec![]);
    let plans: Vec<Plan> = (0..codes.len() * each).map(plan).collect();
    let mut episodes = evaluation.run(&plans)?.into_iter();
    Ok(codes.iter().map(|_| episodes.by_ref().take(each).collect()).collect())
}

/// Speeds in the second half of the rollouts under each of equally spaced quantiles of a one-dimensional code, by
/// rising quantile (for a picture).
///
/// # Errors
/// [`TrainError`].
pub fn speeds_by_code(
    maker: &TaskMaker,
    file: &PolicyFile,
    options: &ModeOptions,
) -> Result<Vec<(f64, Vec<f64>)>, TrainError> {
    let (cdf, episodes) = Rollouts { maker, policy: Policy::new(file), options }.quantiles()?;
    let mut all: Vec<(f64, Vec<f64>)> = vec![];
    for (cdf, episode) in cdf.into_iter().zip(episodes) {
        let probes = &episode.trace.probes;
        let late = probes[probes.len() / 2..].iter().map(|probe| probe.velocity_m_s[0]);
        match all.last_mut().filter(|(last, _)| *last == cdf) {
            Some((_, speeds)) => speeds.extend(late),
            None => all.push((cdf, late.collect())),
        }
    }
    Ok(all)
}

/// Quantiles of the prior that one dimension of a code takes in [`places_by_dimension`].
const STEPS: usize = 15;

/// Where rollouts end while one dimension of the code takes rising quantiles of [0.05, 0.95] and the others are 0,
/// metres, dimension by dimension (for a picture).
///
/// # Errors
/// [`TrainError`].
pub fn places_by_dimension(
    maker: &TaskMaker,
    file: &PolicyFile,
    options: &ModeOptions,
) -> Result<Vec<Vec<[f64; 3]>>, TrainError> {
    let evaluation = Rollouts { maker, policy: Policy::new(file), options };
    let dims = file.latent.width();
    let code = |i: usize| {
        let mut code = vec![0.0; dims];
        let quantile = 0.05 + 0.9 * (i % STEPS) as f64 / (STEPS - 1) as f64;
        code[i / STEPS] = normal_quantile(quantile) as f32;
        code
    };
    // All from one start: only the code differs.
    let plans: Vec<Plan> = (0..dims * STEPS).map(|i| evaluation.plan(0, code(i), vec![])).collect();
    let ends: Vec<[f64; 3]> =
        evaluation.run(&plans)?.iter().map(|episode| episode.end.position_m).collect();
    Ok(ends.chunks(STEPS).map(<[_]>::to_vec).collect())
}

/// A way through space, and what it was for.
#[derive(Clone, Debug, PartialEq)]
pub struct Reach {
    /// The target of the demonstration whose code was used, m; none where the code came from the prior.
    pub target_m: Option<[f64; 3]>,
    /// Places of the gripper, m, in order of time.
    pub way_m: Vec<[f64; 3]>,
}

/// Most ways in a picture.
const WAYS: usize = 30;

/// Ways under the codes of demonstrations, or without them under codes from the prior (for a picture).
///
/// # Errors
/// [`TrainError`].
pub fn reaches(
    maker: &TaskMaker,
    file: &PolicyFile,
    demos: Option<&DemoFile>,
    options: &ModeOptions,
) -> Result<Vec<Reach>, TrainError> {
    let options = ModeOptions { rollouts: WAYS, ..*options };
    let evaluation = Rollouts { maker, policy: Policy::new(file), options: &options };
    let (targets, episodes) = match demos {
        Some(demos) => {
            let (goals, episodes) = evaluation.embedded(file, demos)?;
            (goals.iter().map(|goal| goal[..].try_into().ok()).collect(), episodes)
        }
        None => (vec![None; WAYS], evaluation.sampled(file.latent)?.1),
    };
    let way =
        |episode: &Episode| episode.trace.probes.iter().map(|probe| probe.position_m).collect();
    let reaches = targets.into_iter().zip(&episodes).take(WAYS);
    Ok(reaches.map(|(target_m, episode)| Reach { target_m, way_m: way(episode) }).collect())
}

struct Rollouts<'a> {
    maker: &'a TaskMaker,
    policy: Policy,
    options: &'a ModeOptions,
}

impl Rollouts<'_> {
    fn run(&self, plans: &[Plan]) -> Result<Vec<Episode>, TrainError> {
        let noise = (self.options.perturb > 0.0).then_some(Noise::Replace(self.options.perturb));
        let run = EvaluateOptions { noise, capture: Capture::Probes, progress: None };
        Ok(evaluate(self.maker, &self.policy, plans, &run)?)
    }

    fn plan(&self, number: usize, code: Vec<f32>, goals: Vec<f64>) -> Plan {
        let stream = seed::derive(self.options.seed, EPISODE_STREAM);
        Plan { seed: seed::derive(stream, number as u64), code, goals, ..Plan::default() }
    }

    /// Rollouts with codes from the prior: the first component of each code, and the rollouts.
    fn sampled(&self, latent: LatentKind) -> Result<(Vec<f64>, Vec<Episode>), TrainError> {
        let mut rng = seed::stream(self.options.seed, PRIOR_STREAM);
        let plans: Vec<Plan> = (0..self.options.rollouts)
            .map(|i| {
                let mut code = vec![0.0; latent.width()];
                sample_prior(latent, &mut rng, &mut code);
                self.plan(i, code, vec![])
            })
            .collect();
        let first = plans.iter().map(|p| p.code.first().map_or(0.0, |&z| z.into())).collect();
        Ok((first, self.run(&plans)?))
    }

    /// Rollouts at equally spaced quantiles of a one-dimensional code, at least 3 at each: the
    /// quantile of each rollout, and the rollouts.
    fn quantiles(&self) -> Result<(Vec<f64>, Vec<Episode>), TrainError> {
        let each = self.options.rollouts.div_ceil(QUANTILES).max(3);
        let cdf: Vec<f64> = (0..QUANTILES * each)
            .map(|i| 0.1 + 0.8 * (i / each) as f64 / (QUANTILES - 1) as f64)
            .collect();
        let code = |q: &f64| vec![normal_quantile(*q) as f32];
        let plans: Vec<Plan> =
            cdf.iter().enumerate().map(|(i, q)| self.plan(i, code(q), vec![])).collect();
        let episodes = self.run(&plans)?;
        Ok((cdf, episodes))
    }

    /// Rollouts with the codes of demonstrations: their goals, and the rollouts.
    fn embedded(
        &self,
        file: &PolicyFile,
        demos: &DemoFile,
    ) -> Result<(Vec<Vec<f64>>, Vec<Episode>), TrainError> {
        let Labels::Goals { dims, values } = demos.labels()? else {
            return Err(DataError::NoLabels.into());
        };
        let normaliser = ObsNormaliser::new(file.normaliser.clone());
        let search = default_search(file.latent);
        let (net, d) = (network_of(file)?, &demos.demonstrations);
        let found = embed(&net, &normaliser, search, d, usize::MAX, self.options.seed)?;
        let goals: Vec<Vec<f64>> = values
            .chunks_exact(*dims)
            .take(EMBEDDED)
            .map(|goal| goal.iter().map(|&g| f64::from(g)).collect())
            .collect();
        // A policy without codes has none to chunk.
        let z = file.latent_dim();
        let plans: Vec<Plan> = goals
            .iter()
            .enumerate()
            .map(|(i, goal)| self.plan(i, found.codes[i * z..(i + 1) * z].to_vec(), goal.clone()))
            .collect();
        let episodes = self.run(&plans)?;
        Ok((goals, episodes))
    }
}

/// Final positions, clipped to the goals' box and scaled to [−1, 1]: `[n, dims]`.
fn scaled_targets(episodes: &[Episode], space: &GoalSpace) -> Vec<f64> {
    let scaled = |e: &Episode| {
        let sides = e.end.position_m.into_iter().zip(space.low.iter().zip(&space.high));
        sides
            .map(|(p, (&low, &high))| 2.0 * (p.clamp(low, high) - low) / (high - low) - 1.0)
            .collect::<Vec<f64>>()
    };
    episodes.iter().flat_map(scaled).collect()
}

/// Mutual information of a number for each rollout and the velocity at each of its steps.
fn information(of_rollout: &[f64], episodes: &[Episode]) -> Option<f64> {
    let (mut x, mut y) = (vec![], vec![]);
    for (&value, episode) in of_rollout.iter().zip(episodes) {
        for probe in episode.trace.probes.iter().skip(1) {
            x.push(value);
            y.push(probe.velocity_m_s[0]);
        }
    }
    mutual_information_nats(&x, &y, INFORMATION_K)
}

#[cfg(test)]
mod tests {
    use sog_sim::task::Probe;

    use super::*;

    #[test]
    fn places_have_as_many_numbers_as_goals() {
        let position_m = [0.25, 3.0, -1.0];
        let end = Probe { position_m, ..Probe::default() };
        let episodes = [Episode { end, ..Episode::default() }];
        let scaled = |dims: usize| {
            let (low, high) = (vec![-0.5; dims], vec![0.5; dims]);
            let space = GoalSpace { what: "place / m".to_string(), low, high, default: vec![] };
            scaled_targets(&episodes, &space)
        };
        assert_eq!(scaled(2), [0.5, 1.0]);
        assert_eq!(scaled(3), [0.5, 1.0, -1.0]);
    }
}
