//! The learner on the circles task, which needs no physics.

use sog_runtime::policy::{LatentKind, MeanScale, Policy};
use sog_sim::{
    rollout::{Batch, EpisodeStart, sample_prior},
    tasks::{TaskMaker, TaskOptions},
};

use super::*;
use crate::run::{Checkpoint, Snapshot};

fn maker() -> TaskMaker {
    TaskMaker::new("circles", &TaskOptions::default()).unwrap()
}

fn config() -> PpoConfig {
    PpoConfig { envs: 8, steps: 64, minibatch: 128, learning_rate: 1e-3, ..PpoConfig::default() }
}

fn setup() -> PpoSetup {
    PpoSetup { hidden: vec![32; 2], total_steps: 100_000, seed: 3, ..PpoSetup::default() }
}

/// A code an episode, and a reward for stepping to the right, more so under the first code.
struct Rightwards;

impl Hooks for Rightwards {
    fn begin_episode(&self, start: &mut EpisodeStart<'_>) {
        sample_prior(LatentKind::OneHot(2), start.rng, start.code);
    }

    fn rewards(
        &mut self,
        batch: &Batch,
        _obs: &[f32],
        rewards: &mut [f32],
    ) -> Result<(), HookError> {
        let actions = batch.actions.chunks_exact(2);
        for ((r, action), code) in rewards.iter_mut().zip(actions).zip(batch.codes.chunks_exact(2))
        {
            *r = -(action[0] - code[0]).powi(2) - action[1].powi(2);
        }
        Ok(())
    }
}

fn snapshot(ppo: &Ppo) -> Snapshot {
    let mut snapshot = Snapshot::new();
    ppo.save(&mut snapshot);
    snapshot
}

#[test]
fn it_learns_what_the_hook_rewards_under_each_code() {
    let setup = PpoSetup { latent: LatentKind::OneHot(2), ..setup() };
    let mut ppo = Ppo::new(&maker(), &config(), &setup).unwrap();
    let first = ppo.iterate(&mut Rightwards).unwrap();
    let mut last = first.clone();
    for _ in 0..60 {
        last = ppo.iterate(&mut Rightwards).unwrap();
    }
    assert!(last.reward > 0.5 * first.reward, "{} then {}", first.reward, last.reward);
    // The mean action is what is rewarded: 1 to the right under the first code, nothing else.
    let policy = Policy::new(&ppo.policy_file());
    let mut ws = policy.workspace(2);
    let mut actions = [0.0; 4];
    let obs = ppo.batch().obs[..20].to_vec();
    policy.mean_actions(&mut ws, &obs, &[1.0, 0.0, 0.0, 1.0], &mut actions);
    for (action, want) in actions.iter().zip([1.0, 0.0, 0.0, 0.0]) {
        assert!((action - want).abs() < 0.3, "{actions:?}");
    }
}

#[test]
fn a_resumed_learner_goes_on_bit_for_bit() {
    let config = PpoConfig { restart_envs: 3, ..config() };
    let new = || Ppo::new(&maker(), &config, &setup()).unwrap();
    let mut whole = new();
    let mut hooks = TaskReward { mode: 2 };
    for _ in 0..3 {
        whole.iterate(&mut hooks).unwrap();
    }
    whole.restart();
    let mut resumed = new();
    resumed.load(&snapshot(&whole)).unwrap();
    for _ in 0..3 {
        whole.iterate(&mut hooks).unwrap();
        resumed.iterate(&mut hooks).unwrap();
    }
    assert_eq!(snapshot(&whole).to_bytes(), snapshot(&resumed).to_bytes());
    assert_eq!(whole.policy_file(), resumed.policy_file());
}

#[test]
fn environments_begin_anew_in_turn() {
    let config = PpoConfig { restart_envs: 2, ..config() };
    let (envs, steps) = (config.envs, config.steps);
    assert!(envs >= 4 && envs % 2 == 0, "two at a time, and not all of them");
    let mut ppo = Ppo::new(&maker(), &config, &setup()).unwrap();
    // An episode of circles starts with five times the origin.
    let starts = |ppo: &Ppo| -> Vec<usize> {
        let rows = ppo.batch().obs.chunks_exact(steps * 10).enumerate();
        rows.filter(|(_, obs)| obs[..10].iter().all(|&x| x == 0.0)).map(|(env, _)| env).collect()
    };
    let mut seen = vec![];
    for _ in 0..=envs / 2 {
        ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
        seen.push(starts(&ppo));
    }
    // The first goes on from a segment for the normaliser alone.
    assert!(seen[0].is_empty(), "{seen:?}");
    assert!(seen[1..].iter().all(|starts| starts.len() == 2), "{seen:?}");
    let mut turn: Vec<usize> = seen[1..].concat();
    turn.sort_unstable();
    assert_eq!(turn, (0..envs).collect::<Vec<_>>());
}

#[test]
fn episodes_are_carried_over_as_configured() {
    // Of the second 1100 steps of two environments, those that begin an episode from a reset.
    let resets = |carry_over: f64| {
        let config = PpoConfig { envs: 2, steps: 1100, epochs: 1, carry_over, ..config() };
        let setup = PpoSetup { log_std: -5.0, ..setup() };
        let mut ppo = Ppo::new(&maker(), &config, &setup).unwrap();
        ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
        ppo.batch().obs.chunks_exact(10).filter(|obs| obs.iter().all(|&x| x == 0.0)).count()
    };
    assert_eq!((resets(0.0), resets(1.0)), (2, 0));
}

#[test]
fn threads_do_not_change_the_result() {
    let train = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut ppo = Ppo::new(&maker(), &config(), &setup()).unwrap();
            ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
            ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
            snapshot(&ppo).to_bytes()
        })
    };
    assert_eq!(train(1), train(3));
}

#[test]
fn the_policy_waits_while_the_value_network_warms_up() {
    let setup = PpoSetup { critic_warmup: 2, ..setup() };
    let mut ppo = Ppo::new(&maker(), &config(), &setup).unwrap();
    let weights = |ppo: &Ppo| ppo.policy_file().network;
    let first = weights(&ppo);
    let mut critics = vec![];
    for _ in 0..2 {
        ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
        assert_eq!(weights(&ppo), first);
        critics.push(snapshot(&ppo).get_f32s("critic").unwrap());
    }
    assert_ne!(critics[0], critics[1]);
    ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
    assert_ne!(weights(&ppo), first);
}

#[test]
fn a_policy_file_and_the_learner_it_starts_agree() {
    for mean_scale in [MeanScale::None, MeanScale::Tanh(1.5)] {
        let setup = PpoSetup { action_scale: 0.4, mean_scale, last_gain: 1.0, ..setup() };
        let mut ppo = Ppo::new(&maker(), &config(), &setup).unwrap();
        ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
        let file = ppo.policy_file();
        let mut other = Ppo::new(&maker(), &config(), &PpoSetup { seed: 99, ..setup }).unwrap();
        other.start_from(&file, None, 1000).unwrap();
        let copy = other.policy_file();
        let close = |a: &[f32], b: &[f32]| {
            a.iter().zip(b).all(|(a, b)| (a - b).abs() <= 1e-5 * a.abs().max(1.0))
        };
        assert!(close(&file.network.mean.weight, &copy.network.mean.weight));
        assert_eq!(file.network.hidden, copy.network.hidden);
        assert!(close(&file.normaliser.var, &copy.normaliser.var));
        assert!(close(&file.log_std, &copy.log_std));
        assert_eq!(file.mean_scale, copy.mean_scale);
    }
}

#[test]
fn the_scale_of_the_robots_actions_is_that_of_the_policy_times_the_factor() {
    let new = |action_scale| {
        let setup = PpoSetup { action_scale, last_gain: 1.0, ..setup() };
        Ppo::untrained(maker().info(), &setup).unwrap()
    };
    let (one, tenth) = (new(1.0), new(0.1));
    let mean = |file| {
        let policy = Policy::new(file);
        let (mut ws, mut action) = (policy.workspace(1), [0.0; 2]);
        policy.mean_actions(&mut ws, &[0.7; 10], &[], &mut action);
        action
    };
    assert!((mean(&one)[0] - 10.0 * mean(&tenth)[0]).abs() < 1e-5);
    assert!((one.log_std[0] - tenth.log_std[0] - 10.0_f32.ln()).abs() < 1e-6);
}

#[test]
fn hidden_terms_have_no_influence_and_unknown_ones_are_named() {
    let term = maker().info().obs_terms.0[0].name.clone();
    let setup = PpoSetup { hide: vec![term], ..setup() };
    let mut ppo = Ppo::new(&maker(), &config(), &setup).unwrap();
    ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
    let file = ppo.policy_file();
    let first = &file.network.hidden[0].weight;
    assert!(first.contains(&0.0));
    let width = maker().info().obs_terms.0[0].width;
    for row in first.chunks_exact(file.obs_dim()) {
        assert!(row[..width].iter().all(|w| *w == 0.0));
    }
    let setup = PpoSetup { hide: vec!["tail".to_string()], ..setup };
    let error = Ppo::new(&maker(), &config(), &setup).err().unwrap().to_string();
    assert!(error.contains("`tail`"), "{error}");
}

#[test]
fn numbers_out_of_range_are_named() {
    let bad = PpoConfig { minibatch: 1 << 20, ..config() };
    let error = bad.check("ppo.").unwrap_err().to_string();
    assert!(error.starts_with("key `ppo.minibatch`: found 1048576"), "{error}");
    PpoConfig::default().check("").unwrap();
}

#[test]
fn the_learning_rate_falls_linearly_to_its_floor() {
    let config = PpoConfig { learning_rate: 1.0, final_learning_rate: 0.2, ..config() };
    for (steps, want) in [(0, 1.0), (50, 0.6), (100, 0.2), (200, 0.2)] {
        assert!((config.learning_rate_at(steps, 100) - want).abs() < 1e-6);
    }
}

#[test]
fn the_noise_is_bounded_ever_lower() {
    let config = PpoConfig { final_log_std: Some(-2.5), ..config() };
    for (steps, want) in [(0, -0.5), (50, -1.5), (100, -2.5), (200, -2.5)] {
        assert!((config.update_at(steps, 100, -0.5).log_std_max - want).abs() < 1e-6);
    }
    let setup = PpoSetup { total_steps: 1000, ..setup() };
    let mut ppo = Ppo::new(&maker(), &config, &setup).unwrap();
    for _ in 0..3 {
        ppo.iterate(&mut TaskReward { mode: 0 }).unwrap();
    }
    assert!(ppo.policy_file().log_std.iter().all(|l| (l + 2.5).abs() < 1e-6));
}
