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
use crate::codes::hungarian::best_assignment;

/// Stream of the evaluation's seed.
const SWITCH_STREAM: u64 = 0x7377_6974_6368;

/// Steps under each code.
pub const STEPS_PER_CODE: usize = 200;

/// The last of them, in which a robot that had to brake and turn round does what it is to do.
pub const STEPS_ARRIVED: usize = STEPS_PER_CODE / 4;

/// A switch is followed if the robot then earns less by at most this share than from a start.
const LOSS_FOLLOWED: f64 = 0.5;

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
    /// Share of the switches after which the robot did what the new code stands for: until the next
    /// one it earned, on the reward of the mode matched with the code, at least half of what it
    /// earns in as many steps that start under the code. A robot that comes to rest survives but
    /// does not follow.
    pub switch_followed: f64,
    /// The same over the last [`STEPS_ARRIVED`] steps before the next switch alone, against as many
    /// that come as long after a start: the robot came to do what the code stands for, however long
    /// it took to stop doing the other thing.
    pub switch_arrived: f64,
    /// The episodes themselves, with what [`ModeOptions::capture`] keeps.
    #[serde(skip)]
    pub paths: Vec<Episode>,
}

/// Episodes that visit every code once in random order, [`STEPS_PER_CODE`] steps each.
///
/// What each code earns from a start, and which mode it is, is measured on the first codes of all
/// episodes; a code that comes first in none follows no switch.
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
    let seeds: Vec<u64> = (0..options.rollouts).map(|i| seed::derive(stream, i as u64)).collect();
    let order = |&seed: &u64| {
        let mut order: Vec<usize> = (0..codes.len()).collect();
        order.shuffle(&mut seed::stream(seed, 1));
        order
    };
    let orders: Vec<Vec<usize>> = seeds.iter().map(order).collect();
    let plan = |(&seed, order): (&u64, &Vec<usize>)| {
        // The second to the same code: for the returns that the robot comes to it with.
        let switches = order.iter().enumerate().flat_map(|(n, &c)| {
            let arrived = (n + 1) * STEPS_PER_CODE - STEPS_ARRIVED;
            [n * STEPS_PER_CODE, arrived].map(|step| Switch { step, code: codes[c].clone() })
        });
        Plan {
            seed,
            code: codes[order[0]].clone(),
            switches: switches.skip(1).collect(),
            steps: Some(codes.len() * STEPS_PER_CODE),
            ..Plan::default()
        }
    };
    let plans: Vec<Plan> = seeds.iter().zip(&orders).map(plan).collect();
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
    let of_all = |count: usize| count as f64 / switches.max(1) as f64;
    let (whole, ends) = episodes.iter().map(earned).unzip::<_, _, Vec<_>, Vec<_>>();
    let share = |earned: &[Vec<Vec<f64>>]| {
        let modes = episodes.first().map_or(0, |e| e.returns.len());
        of_all(followed(earned, &episodes, &orders, [codes.len(), modes]))
    };
    Ok(SwitchReport {
        episodes: episodes.len(),
        switches,
        switch_survival: of_all(survived),
        switch_followed: share(&whole),
        switch_arrived: share(&ends),
        paths: episodes,
    })
}

/// Returns of an episode, in every mode, under each code that it came to, and their last
/// [`STEPS_ARRIVED`] steps' (0 where it did not come to these); a failure cuts the last code short.
fn earned(episode: &Episode) -> (Vec<Vec<f64>>, Vec<Vec<f64>>) {
    let modes = episode.returns.len();
    let mut before = vec![0.0; modes];
    let since = |now: &[f64]| -> Vec<f64> {
        let earned = now.iter().zip(&before).map(|(now, before)| now - before).collect();
        before = now.to_vec();
        earned
    };
    let reached = episode.switch_returns.chunks_exact(modes).chain([&episode.returns[..]]);
    let parts: Vec<Vec<f64>> = reached.map(since).collect();
    let of_code = |parts: &[Vec<f64>]| {
        let end = parts.get(1).cloned().unwrap_or_else(|| vec![0.0; modes]);
        (parts[0].iter().zip(&end).map(|(a, b)| a + b).collect(), end)
    };
    parts.chunks(2).map(of_code).unzip()
}

/// How many switches are followed in episodes that visit codes in the order given, by what was
/// `earned` (`[episode][code visited][mode]`); sizes are `[codes, modes]`.
fn followed(
    earned: &[Vec<Vec<f64>>],
    episodes: &[Episode],
    orders: &[Vec<usize>],
    [codes, modes]: [usize; 2],
) -> usize {
    let (mut sums, mut starts) = (vec![0.0; codes * modes], vec![0.0_f64; codes]);
    for (segments, order) in earned.iter().zip(orders) {
        starts[order[0]] += 1.0;
        let row = &mut sums[order[0] * modes..][..modes];
        row.iter_mut().zip(&segments[0]).for_each(|(sum, earned)| *sum += earned);
    }
    for (row, &n) in sums.chunks_exact_mut(modes.max(1)).zip(&starts) {
        row.iter_mut().for_each(|sum| *sum /= n.max(1.0));
    }
    let mode_of = best_assignment(&sums, codes, modes);
    let follows = |code: usize, earned: &[f64]| {
        mode_of[code].is_some_and(|mode| {
            let from_start = sums[code * modes + mode];
            starts[code] > 0.0 && earned[mode] >= from_start - LOSS_FOLLOWED * from_start.abs()
        })
    };
    let of_episode = |((segments, order), e): ((&Vec<Vec<f64>>, &Vec<usize>), &Episode)| {
        let whole = &segments[..segments.len() - usize::from(e.failed)];
        whole.iter().zip(order).skip(1).filter(|&(earned, &code)| follows(code, earned)).count()
    };
    earned.iter().zip(orders).zip(episodes).map(of_episode).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Of two modes, the returns up to the switch and at the end; half of what each code earns comes
    /// in its last steps.
    fn episode(returns: [[f64; 2]; 2], failed: bool) -> Episode {
        let [first, end] = returns;
        let halfway = |from: [f64; 2], to: [f64; 2]| [0, 1].map(|m| (from[m] + to[m]) / 2.0);
        Episode {
            returns: end.to_vec(),
            switch_returns: [halfway([0.0; 2], first), first, halfway(first, end)].concat(),
            failed,
            ..Episode::default()
        }
    }

    /// Switches followed, by whole returns and by those of the last steps.
    fn count(episodes: &[Episode]) -> (usize, usize) {
        let (whole, ends) = episodes.iter().map(earned).unzip::<_, _, Vec<_>, Vec<_>>();
        let count = |earned: &[Vec<Vec<f64>>]| {
            followed(earned, episodes, &[vec![0, 1], vec![1, 0]], [2; 2])
        };
        (count(&whole), count(&ends))
    }

    #[test]
    fn a_switch_is_followed_if_the_robot_does_as_from_a_start() {
        // Code 0 does mode 1 and earns 100 there from a start; code 1 does mode 0 and earns 60.
        let from_0 = |end, failed| episode([[1.0, 100.0], end], failed);
        let from_1 = |end| episode([[60.0, 1.0], end], false);
        assert_eq!(count(&[from_0([31.0, 100.0], false), from_1([60.0, 51.0])]), (2, 2));
        assert_eq!(count(&[from_0([30.9, 100.0], false), from_1([60.0, 51.0])]), (1, 1));
        assert_eq!(count(&[from_0([31.0, 100.0], false), from_1([60.0, 50.9])]), (1, 1));
        // It goes on as before.
        assert_eq!(count(&[from_0([2.0, 200.0], false), from_1([120.0, 2.0])]), (0, 0));
        // It fails near the end.
        assert_eq!(count(&[from_0([31.0, 100.0], true), from_1([60.0, 51.0])]), (1, 1));
        // It fails before the switch.
        let early = Episode { returns: vec![1.0, 100.0], failed: true, ..Episode::default() };
        assert_eq!(count(&[early, from_1([60.0, 51.0])]), (1, 1));
        // Losses: half as much again is followed, more is not.
        let loss = |second| {
            [episode([[-9.0, -2.0], second], false), episode([[-4.0, -9.0], [-13.0, -12.0]], false)]
        };
        assert_eq!(count(&loss([-15.0, -9.0])), (2, 2));
        assert_eq!(count(&loss([-15.1, -9.0])), (1, 1));
    }

    #[test]
    fn a_switch_that_costs_time_is_arrived_at_though_not_followed() {
        // Code 0 does mode 1 and earns 40, 20 of it in the end; code 1 does mode 0 and earns the same.
        let at = |returns: [[f64; 2]; 4]| Episode {
            returns: returns[3].to_vec(),
            switch_returns: returns[..3].concat(),
            ..Episode::default()
        };
        let from_0 = |end| at([[0.0, 20.0], [0.0, 40.0], [-30.0, 40.0], [end, 40.0]]);
        let from_1 = at([[20.0, 0.0], [40.0, 0.0], [40.0, -30.0], [40.0, -21.0]]);
        assert_eq!(count(&[from_0(-20.0), from_1.clone()]), (0, 1));
        assert_eq!(count(&[from_0(-20.1), from_1.clone()]), (0, 0));
        // It fails after the last steps began.
        let fallen = Episode { failed: true, ..from_0(-20.0) };
        assert_eq!(count(&[fallen, from_1]), (0, 0));
    }
}
