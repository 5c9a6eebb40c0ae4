//! Rollouts: reproducible whatever the threads, complete records, clear refusals.
#![allow(clippy::unwrap_used)]

mod common;

use common::policy_for;
use sog_runtime::policy::{LatentKind, Policy, example};
use sog_sim::{
    error::SimError,
    registry::circles::CirclesExpert,
    rollout::{
        Actor, ActorWorker, Batch, Capture, Ended, EpisodeStart, EvaluateOptions, Fleet,
        FleetConfig, Noise, Plan, Switch, evaluate, sample_prior,
    },
    seed,
    task::Modes,
    tasks::{TaskMaker, TaskOptions},
};

const STD: [f32; 2] = [0.3, 0.2];

fn circles() -> TaskMaker {
    TaskMaker::new("circles", &TaskOptions::default()).unwrap()
}

fn uniform_codes(start: &mut EpisodeStart<'_>) {
    sample_prior(LatentKind::OneHot(3), start.rng, start.code);
}

fn fleet(envs: usize, horizon: usize) -> Fleet {
    let config =
        FleetConfig { envs, latent_dim: 3, seed: 11, horizon: Some(horizon), ..Default::default() };
    Fleet::new(&circles(), &config).unwrap()
}

fn segment<A: Actor>(fleet: &mut Fleet, actor: &A, steps: usize) -> Batch {
    let mut batch = fleet.batch(steps);
    fleet.run(actor, Noise::Gaussian(&STD), &uniform_codes, &mut batch).unwrap();
    batch
}

#[test]
fn threads_do_not_change_a_byte() {
    let policy = Policy::new(&example(5));
    let run = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| {
            let mut fleet = fleet(13, 40);
            (segment(&mut fleet, &policy, 100), segment(&mut fleet, &policy, 30))
        })
    };
    let one = run(1);
    assert!(one == run(2));
    assert!(one == run(5));
}

#[test]
fn threads_do_not_change_a_byte_of_physics() {
    for id in ["ant-dir-6", "hopper-vel-6", "humanoid-dir-6", "fetchreach"] {
        let maker = TaskMaker::new(id, &TaskOptions::default()).unwrap();
        let policy = Policy::new(&policy_for(id, 3));
        let std = vec![0.3; maker.info().action_dim()];
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let config =
                    FleetConfig { envs: 5, latent_dim: 3, horizon: Some(15), ..Default::default() };
                let mut fleet = Fleet::new(&maker, &config).unwrap();
                let mut batch = fleet.batch(40);
                fleet.run(&policy, Noise::Gaussian(&std), &uniform_codes, &mut batch).unwrap();
                batch
            })
        };
        let one = run(1);
        assert!(one == run(3), "{id}");
        assert!(one.obs.iter().all(|x| x.is_finite()), "{id}");
    }
}

#[test]
fn goals_are_drawn_for_each_episode_and_rewarded() {
    let maker = TaskMaker::new("halfcheetah-vel", &TaskOptions::default()).unwrap();
    let config =
        FleetConfig { envs: 3, latent_dim: 1, goals: 2, horizon: Some(10), ..Default::default() };
    let mut fleet = Fleet::new(&maker, &config).unwrap();
    let mut batch = fleet.batch(35);
    let policy = Policy::new(&policy_for("halfcheetah-vel", 1));
    let Modes::Continuous(space) = &maker.info().modes else { panic!("it has goals") };
    let rule = |start: &mut EpisodeStart<'_>| {
        assert_eq!(start.goals.len(), 2);
        space.sample(start.rng, &mut start.goals[..1]);
        start.goals[1] = start.goals[0] + 1000.0;
        start.code[0] = start.goals[0] as f32;
    };
    fleet.run(&policy, Noise::None, &rule, &mut batch).unwrap();
    let mut goals = std::collections::BTreeSet::new();
    for row in 0..batch.rows() {
        let [near, far] = [0, 1].map(|i| f64::from(batch.rewards[row * 2 + i]));
        // −|v − g| for two goals a thousand apart: their sum gives v, their difference nothing new.
        assert!((near - far - 1000.0).abs() < 20.0, "{near} {far}");
        let goal = batch.codes[row];
        assert!((1.5..=3.0).contains(&goal));
        goals.insert(goal.to_bits());
    }
    assert_eq!(goals.len(), 3 * 4, "a goal for each episode");
}

#[test]
fn episodes_are_carried_over_where_they_ran_out_of_time() {
    let run = |actor: &dyn Actor, carry_over: f64| {
        let config = FleetConfig {
            envs: 6,
            latent_dim: 3,
            seed: 11,
            horizon: Some(40),
            carry_over,
            ..Default::default()
        };
        let mut fleet = Fleet::new(&circles(), &config).unwrap();
        let mut batch = fleet.batch(400);
        fleet.run(actor, Noise::Gaussian(&STD), &uniform_codes, &mut batch).unwrap();
        // Of each episode but the last: whether the next one starts where it ended.
        let carried: Vec<(Ended, bool)> = batch
            .episodes()
            .filter(|e| e.t + 1 < batch.steps)
            .map(|e| {
                let next = e.env * batch.steps + e.t + 1;
                (e.ended, batch.obs[next * 10..][..10] == *e.obs)
            })
            .collect();
        (carried, batch)
    };
    let (all, batch) = run(&CirclesExpert, 1.0);
    assert_eq!(all, vec![(Ended::TimeLimit, true); 6 * 9]);
    // Length, return and code are each episode's own.
    assert!(batch.episodes().all(|e| e.length == 40 && e.returns[0] <= 200.0));
    assert!(batch.episodes().map(|e| e.code.to_vec()).any(|c| c != batch.codes[..3]));
    let (some, _) = run(&CirclesExpert, 0.5);
    let count = some.iter().filter(|(_, carried)| *carried).count();
    assert!((15..40).contains(&count), "{count} of 54");
    let (none, _) = run(&CirclesExpert, 0.0);
    assert!(none.iter().all(|(_, carried)| !carried));
    // Failures are never carried over.
    let (failed, _) = run(&Policy::new(&example(5)), 1.0);
    assert!(failed.iter().any(|(ended, _)| *ended == Ended::Failed), "{failed:?}");
    assert!(failed.iter().all(|(ended, carried)| (*ended == Ended::TimeLimit) == *carried));
}

#[test]
fn episodes_are_cut_with_a_probability_at_each_step() {
    let config = FleetConfig {
        envs: 8,
        latent_dim: 3,
        seed: 3,
        horizon: Some(100),
        carry_over: 1.0,
        cut: 0.1,
        ..Default::default()
    };
    let mut fleet = Fleet::new(&circles(), &config).unwrap();
    let mut batch = fleet.batch(2000);
    fleet.run(&CirclesExpert, Noise::None, &uniform_codes, &mut batch).unwrap();
    let lengths: Vec<f64> = batch.episodes().map(|e| e.length as f64).collect();
    // Geometric, of mean 10: the mean of n lengths is within 5 standard errors.
    let (n, mean) = (lengths.len() as f64, lengths.iter().sum::<f64>() / lengths.len() as f64);
    assert!((mean - 10.0).abs() < 5.0 * 90.0_f64.sqrt() / n.sqrt(), "{mean} over {n}");
    // They ran out of time, and the next goes on where they ended.
    for e in batch.episodes().filter(|e| e.t + 1 < batch.steps) {
        let next = e.env * batch.steps + e.t + 1;
        assert_eq!((e.ended, &batch.obs[next * 10..][..10]), (Ended::TimeLimit, e.obs));
    }
}

#[test]
fn segments_join_into_one() {
    let (mut whole, mut parts) = (fleet(3, 40), fleet(3, 40));
    let whole = segment(&mut whole, &CirclesExpert, 90);
    let first = segment(&mut parts, &CirclesExpert, 50);
    let second = segment(&mut parts, &CirclesExpert, 40);
    for env in 0..3 {
        let of = |b: &Batch| b.actions[env * b.steps * 2..(env + 1) * b.steps * 2].to_vec();
        assert_eq!(of(&whole), [of(&first), of(&second)].concat());
    }
    assert_eq!(first.last_obs[..10], second.obs[..10]);
    assert_eq!(first.last_codes[..3], second.codes[..3]);
    assert_eq!(whole.last_obs, second.last_obs);
}

#[test]
fn an_environment_alone_does_what_it_does_in_the_fleet() {
    let mut fleet = fleet(9, 30);
    let mut batch = fleet.batch(75);
    fleet.run(&CirclesExpert, Noise::None, &uniform_codes, &mut batch).unwrap();
    for env in [0, 4, 8] {
        for episode in 0..2 {
            let at = env * 75 + episode * 30;
            let plan = Plan {
                seed: seed::derive(seed::derive(11, env as u64), episode as u64),
                code: batch.codes[at * 3..][..3].to_vec(),
                steps: Some(30),
                ..Default::default()
            };
            let options = EvaluateOptions { capture: Capture::Everything, ..Default::default() };
            let alone = evaluate(&circles(), &CirclesExpert, &[plan], &options).unwrap().remove(0);
            assert_eq!(alone.trace.obs, batch.obs[at * 10..][..300]);
            assert_eq!(alone.trace.actions, batch.actions[at * 2..][..60]);
        }
    }
}

#[test]
fn ends_are_recorded_with_their_last_observation_and_returns() {
    let batch = segment(&mut fleet(4, 25), &CirclesExpert, 60);
    let ends: Vec<_> = batch.episodes().collect();
    assert_eq!(ends.len(), 4 * 2);
    for end in &ends {
        assert_eq!((end.ended, end.length), (Ended::TimeLimit, 25));
        let last = end.env * 60 + end.t;
        assert!(end.t == 24 || end.t == 49);
        let after = |obs: &[f32]| obs[2..].to_vec();
        assert_eq!(after(&batch.obs[last * 10..][..10]), end.obs[..8]);
        assert_eq!(batch.codes[last * 3..][..3], *end.code);
        for mode in 0..3 {
            let sum: f64 =
                (last - 24..=last).map(|row| f64::from(batch.rewards[row * 3 + mode])).sum();
            assert!((sum - end.returns[mode]).abs() < 1e-5);
        }
        assert_eq!(batch.obs[(last + 1) * 10..][..10], [0.0; 10], "a new episode follows");
    }
    assert_eq!(batch.ended.iter().filter(|e| **e != Ended::No).count(), ends.len());
}

#[test]
fn a_failure_is_told_from_a_time_limit() {
    /// Runs straight out of the field.
    struct Out;
    impl Actor for Out {
        fn obs_dim(&self) -> usize {
            10
        }
        fn latent_dim(&self) -> usize {
            0
        }
        fn action_dim(&self) -> usize {
            2
        }
        fn worker(&self, _: usize) -> Box<dyn ActorWorker + '_> {
            Box::new(Out)
        }
    }
    impl ActorWorker for Out {
        fn mean_actions(&mut self, _: &[f32], _: &[f32], actions: &mut [f32]) {
            actions.fill(1.5);
        }
    }
    let mut fleet = Fleet::new(&circles(), &FleetConfig { envs: 2, ..Default::default() }).unwrap();
    let mut batch = fleet.batch(50);
    fleet.run(&Out, Noise::None, &|_| {}, &mut batch).unwrap();
    assert!(batch.episodes().count() >= 2);
    assert!(batch.episodes().all(|e| e.ended == Ended::Failed && e.obs[8] > 30.0));

    let plans = vec![Plan::default(); 3];
    let episodes = evaluate(&circles(), &Out, &plans, &EvaluateOptions::default()).unwrap();
    assert!(episodes.iter().all(|e| e.failed && e.steps < 50 && e.end.position_m[0] > 30.0));
}

#[test]
fn codes_switch_on_time_and_plans_keep_their_order() {
    let code = |k: usize| (0..3).map(|i| f32::from(u8::from(i == k))).collect::<Vec<_>>();
    let plans: Vec<Plan> = (0..20)
        .map(|i| Plan {
            seed: i,
            code: code(0),
            switches: vec![Switch { step: 100 + i as usize, code: code(1) }],
            steps: Some(300 + 10 * i as usize),
            ..Default::default()
        })
        .collect();
    let done = std::sync::atomic::AtomicUsize::new(0);
    let count = |n: usize| {
        done.fetch_add(n, std::sync::atomic::Ordering::Relaxed);
    };
    let options =
        EvaluateOptions { capture: Capture::Probes, progress: Some(&count), ..Default::default() };
    let episodes = evaluate(&circles(), &CirclesExpert, &plans, &options).unwrap();
    assert_eq!(done.into_inner(), 20);
    for (i, episode) in episodes.iter().enumerate() {
        assert_eq!(episode.steps, 300 + 10 * i);
        assert_eq!(episode.trace.probes.len(), episode.steps + 1);
        let y = |t: usize| episode.trace.probes[t].position_m[1];
        assert!((1..100).all(|t| y(t) < 1.0), "the lower circle first");
        assert!(y(episode.steps - 1).max(y(episode.steps - 50)) > 2.0, "then the upper one");
    }
}

#[test]
fn noise_replaces_whole_actions_at_its_rate() {
    let plans: Vec<Plan> =
        (0..8).map(|seed| Plan { seed, code: vec![1.0, 0.0, 0.0], ..Default::default() }).collect();
    let run = |noise| {
        let options = EvaluateOptions { noise, capture: Capture::Everything, ..Default::default() };
        evaluate(&circles(), &CirclesExpert, &plans, &options).unwrap()
    };
    let large = |episodes: &[sog_sim::rollout::Episode]| {
        let actions: Vec<f32> = episodes.iter().flat_map(|e| e.trace.actions.clone()).collect();
        let large = actions.chunks(2).filter(|a| a[0].hypot(a[1]) > 1.2).count();
        large as f64 / (actions.len() / 2) as f64
    };
    assert!(large(&run(None)) < 0.15);
    // Half the area of the square lies outside the circle of radius 1.2.
    let (fifth, always) =
        (large(&run(Some(Noise::Replace(0.2)))), large(&run(Some(Noise::Uniform))));
    assert!((0.45..0.55).contains(&always), "{always}");
    assert!((0.08..0.25).contains(&fifth), "{fifth}");
}

#[test]
fn what_does_not_fit_is_refused_by_name() {
    let policy = Policy::new(&example(5));
    let config = FleetConfig { latent_dim: 2, ..Default::default() };
    let mut fleet = Fleet::new(&circles(), &config).unwrap();
    let mut batch = fleet.batch(4);
    let error = fleet.run(&policy, Noise::None, &|_| {}, &mut batch).unwrap_err();
    assert_eq!(error.to_string(), "circles: actor's code of 3 numbers, need 2");

    let plan = Plan { code: vec![1.0], ..Default::default() };
    let error = evaluate(&circles(), &policy, &[plan], &EvaluateOptions::default()).unwrap_err();
    assert_eq!(error.to_string(), "circles: plan's code of 1 numbers, need 3");

    let plan = Plan { code: vec![1.0, 0.0, 0.0], goals: vec![1.0], ..Default::default() };
    let error = evaluate(&circles(), &policy, &[plan], &EvaluateOptions::default()).unwrap_err();
    assert!(matches!(error, SimError::NoGoals { .. }), "{error}");

    let plan = Plan { code: vec![f32::NAN, 0.0, 0.0], ..Default::default() };
    let error = evaluate(&circles(), &policy, &[plan], &EvaluateOptions::default()).unwrap_err();
    assert!(matches!(error, SimError::NotFinite { what: "action", .. }), "{error}");
}
