//! Switching the code while an episode runs (paper, B.2 and Fig. 6).

use rand::seq::SliceRandom;
use serde::Serialize;
use sog_runtime::policy::{LatentKind, Policy};
use sog_sim::{
    error::SimError,
    rollout::{Episode, EvaluateOptions, Noise, Plan, Switch, evaluate},
    seed,
    tasks::TaskMaker,
};

use super::modes::{ModeOptions, one_hot_codes};

/// Stream of the evaluation's seed.
const SWITCH_STREAM: u64 = 0x7377_6974_6368;

/// Steps under each code.
pub const STEPS_PER_CODE: usize = 200;

/// The outcome of [`evaluate_switching`].
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SwitchReport {
    /// Episodes run.
    pub episodes: usize,
    /// Switches in all of them.
    pub switches: usize,
    /// Share of the switches after which the robot had not failed when the next one came (or the
    /// episode ended). Switches that an earlier failure prevented count as not survived.
    pub switch_survival: f64,
    /// The episodes themselves, with what [`ModeOptions::capture`] keeps.
    #[serde(skip)]
    pub paths: Vec<Episode>,
}

/// Episodes that visit every code once in random order, [`STEPS_PER_CODE`] steps each.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_switching(
    maker: &TaskMaker,
    policy: &Policy,
    latent: LatentKind,
    options: &ModeOptions,
) -> Result<SwitchReport, SimError> {
    let codes = one_hot_codes(latent);
    let stream = seed::derive(options.seed, SWITCH_STREAM);
    let plans: Vec<Plan> = (0..options.rollouts)
        .map(|i| {
            let seed = seed::derive(stream, i as u64);
            let mut order = codes.clone();
            order.shuffle(&mut seed::stream(seed, 1));
            let mut order = order.into_iter();
            let code = order.next().unwrap_or_default();
            let switch = |(n, code)| Switch { step: (n + 1) * STEPS_PER_CODE, code };
            let switches = order.enumerate().map(switch).collect();
            let steps = Some(codes.len() * STEPS_PER_CODE);
            Plan { seed, code, switches, steps, ..Plan::default() }
        })
        .collect();
    let noise = (options.perturb > 0.0).then_some(Noise::Replace(options.perturb));
    let run = EvaluateOptions { noise, capture: options.capture, progress: None };
    let episodes = evaluate(maker, policy, &plans, &run)?;
    let switches = (codes.len() - 1) * episodes.len();
    // A failure in the segment after switch n leaves the n − 1 before it survived.
    let survived = |steps: usize| (steps / STEPS_PER_CODE).saturating_sub(1);
    let survived: usize = episodes
        .iter()
        .map(|e| if e.failed { survived(e.steps - 1) } else { codes.len() - 1 })
        .sum();
    let switch_survival = survived as f64 / switches.max(1) as f64;
    Ok(SwitchReport { episodes: episodes.len(), switches, switch_survival, paths: episodes })
}
