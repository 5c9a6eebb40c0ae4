//! Episodes of a network: how good it is.

use sog_sim::{
    error::SimError,
    rollout::{Actor, Capture, Episode, EvaluateOptions, Noise, Plan, evaluate},
    seed,
    task::{GoalSpace, Modes},
    tasks::TaskMaker,
};

use super::{file::ModeEvaluation, goal_code, targets};

/// Goals of a grid over a one-dimensional range.
const GRID: usize = 31;

/// Seconds after which a speed counts.
const SETTLE_S: f64 = 1.0;

/// What an actor is evaluated on.
#[derive(Clone, Debug)]
pub enum Subject {
    /// One discrete mode, with the code that the actor takes for it (empty for a network of its
    /// own).
    Mode {
        /// Index of the mode.
        mode: usize,
        /// Code `[Z]`.
        code: Vec<f32>,
    },
    /// All goals, the code being the scaled goal.
    Goals,
}

/// What the robot gets of an expert's actions.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Actions {
    /// The mean action.
    Mean,
    /// With noise as in [`ExpertConfig::evaluate_noise`](super::ExpertConfig::evaluate_noise).
    Noisy(f32),
    /// The mean action, with this probability replaced by a uniform one (paper, B.2): what others are
    /// held against under the same.
    Perturbed(f64),
}

/// Runs `episodes` episodes of a subject; start states (and drawn goals) come from `seed`.
///
/// # Errors
/// As [`evaluate`].
pub fn evaluate_subject<A: Actor + ?Sized>(
    maker: &TaskMaker,
    actor: &A,
    subject: &Subject,
    episodes: usize,
    actions: Actions,
    seed: u64,
) -> Result<ModeEvaluation, SimError> {
    let info = maker.info();
    let std: Vec<f32>;
    let noise = match actions {
        Actions::Noisy(noise) if noise > 0.0 => {
            let ranges = info.action_high.iter().zip(&info.action_low);
            std = ranges.map(|(high, low)| noise * 0.5 * (high - low) as f32).collect();
            Noise::Gaussian(&std)
        }
        Actions::Mean | Actions::Noisy(_) => Noise::None,
        Actions::Perturbed(probability) => Noise::Replace(probability),
    };
    let plan = |i: usize| Plan { seed: seed::derive(seed, i as u64), ..Default::default() };
    let run = |plans: &[Plan], capture| {
        let options = EvaluateOptions { noise: Some(noise), capture, ..Default::default() };
        evaluate(maker, actor, plans, &options)
    };
    match (subject, &info.modes) {
        (Subject::Mode { mode, code }, Modes::Discrete(modes)) => {
            let plans: Vec<Plan> =
                (0..episodes).map(|i| Plan { code: code.clone(), ..plan(i) }).collect();
            let episodes = run(&plans, Capture::Nothing)?;
            let returns: Vec<f64> = episodes.iter().map(|e| e.returns[*mode]).collect();
            Ok(summary(&modes[*mode].label, &returns, &episodes))
        }
        (_, Modes::Continuous(space)) => {
            let goals = goals(space, episodes, seed);
            let with_goal = |(i, goal): (usize, &Vec<f64>)| {
                let mut code = vec![0.0; space.dims()];
                goal_code(space, goal, &mut code);
                Plan { code, goals: goal.clone(), ..plan(i) }
            };
            let plans: Vec<Plan> = goals.iter().enumerate().map(with_goal).collect();
            let episodes = run(&plans, Capture::Probes)?;
            // What a task says success is counts for more than its rewards.
            let returned = |e: &Episode| match e.succeeded.first() {
                Some(Some(hit)) => f64::from(*hit),
                _ => e.returns[0],
            };
            let returns: Vec<f64> = episodes.iter().map(returned).collect();
            let mut result = summary(&space.what, &returns, &episodes);
            if by_speed_error(maker) {
                let settled = (SETTLE_S / info.dt_s).round() as usize;
                let error = |(e, g): (&Episode, &Vec<f64>)| {
                    let after = &e.trace.probes[settled + 1..];
                    after.iter().map(|p| (p.velocity_m_s[0] - g[0]).abs()).sum::<f64>()
                        / after.len() as f64
                };
                let errors: Vec<f64> = episodes.iter().zip(&goals).map(error).collect();
                result.speed_error_m_s = Some(mean(&errors));
            }
            Ok(result)
        }
        (Subject::Goals, Modes::Discrete(_)) => unreachable!("goals belong to continuous tasks"),
    }
}

/// A grid over a one-dimensional range, repeated to at least `episodes`; else uniform draws.
fn goals(space: &GoalSpace, episodes: usize, seed: u64) -> Vec<Vec<f64>> {
    if space.dims() == 1 {
        let at = |i: usize| {
            let share = (i % GRID) as f64 / (GRID - 1) as f64;
            vec![space.low[0] + share * (space.high[0] - space.low[0])]
        };
        return (0..episodes.next_multiple_of(GRID)).map(at).collect();
    }
    let mut rng = seed::stream(seed, u64::MAX);
    let mut draw = || {
        let mut goal = vec![0.0; space.dims()];
        space.sample(&mut rng, &mut goal);
        goal
    };
    (0..episodes).map(|_| draw()).collect()
}

/// Whether the task's expert is judged by how well it keeps a speed.
fn by_speed_error(maker: &TaskMaker) -> bool {
    matches!(targets::target(maker.task()), Ok(Some(targets::Target::SpeedError(_))))
}

fn summary(label: &str, returns: &[f64], episodes: &[Episode]) -> ModeEvaluation {
    let mean_return = mean(returns);
    let squares: Vec<f64> = returns.iter().map(|r| (r - mean_return).powi(2)).collect();
    let early = episodes.iter().filter(|e| e.failed).count();
    ModeEvaluation {
        label: label.to_string(),
        mean: mean_return,
        std: mean(&squares).sqrt(),
        early_ends: early as f64 / episodes.len().max(1) as f64,
        speed_error_m_s: None,
    }
}

fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len().max(1) as f64
}
