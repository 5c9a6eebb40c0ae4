//! What holds for every task: starts, seeds, goals, failures; and the robots in the control loop.
#![allow(clippy::unwrap_used)]

mod common;

use std::path::Path;

use common::policy_for;

use sog_runtime::{
    control::{Config, Controller, Plan, Request, State, run},
    io::{Command, RobotIo},
    os::CountingAllocator,
    policy::{LatentKind, Policy},
    tensors::TensorFile,
    time::LockStep,
    time::RealTime,
};
use sog_sim::{
    physics::RobotSource,
    robot::SimRobot,
    rollout::{EpisodeStart, Fleet, FleetConfig, Noise, sample_prior},
    task::{Modes, Task},
    tasks::{self, TaskMaker, TaskOptions, make},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

fn task(id: &str) -> Box<dyn Task> {
    make(id, &TaskOptions::default()).unwrap()
}

fn observation(task: &dyn Task) -> Vec<f64> {
    let mut obs = vec![0.0; task.info().obs_dim()];
    task.observe(&mut obs);
    obs
}

#[test]
fn what_is_known_beforehand_is_what_is_built() {
    for id in tasks::names() {
        let mut task = task(id);
        assert_eq!(*task.info(), tasks::open(id).unwrap().info().clone());
        let modes = task.info().modes.clone();
        match &modes {
            Modes::Discrete(modes) => assert_eq!(task.reward_count(), modes.len()),
            Modes::Continuous(space) => {
                assert_eq!(task.reward_count() * space.dims(), space.default.len());
                task.set_goals(&space.low).unwrap();
                assert_eq!(task.reward_count(), 1);
            }
        }
        if let Some(physics) = task.physics() {
            let range: Vec<[f64; 2]> = task
                .info()
                .action_low
                .iter()
                .zip(&task.info().action_high)
                .map(|(&l, &h)| [l, h])
                .collect();
            let model = physics.model();
            assert!(model.nu() == 0 || model.actuator_ctrlrange() == range, "{id}");
        }
    }
}

#[test]
fn starts_are_noisy_as_specified_and_seeded() {
    for (id, scale, normal_velocity) in [
        ("ant-dir-6", 0.1, true),
        ("halfcheetah-fwd-back", 0.1, true),
        ("walker2d-vel-6", 0.005, false),
        ("hopper-vel-6", 0.005, false),
        ("humanoid-dir-6", 0.01, false),
    ] {
        let mut task = task(id);
        let (mut positions, mut velocities) = (Vec::new(), Vec::new());
        for seed in 0..200 {
            task.reset(seed).unwrap();
            let data = task.physics().unwrap().data();
            let rest = task.physics().unwrap().model().qpos0();
            positions.extend(data.qpos().iter().zip(rest).map(|(q, r)| (q - r) / scale));
            velocities.extend(data.qvel().iter().map(|v| v / scale));
        }
        let std = |x: &[f64]| (x.iter().map(|x| x * x).sum::<f64>() / x.len() as f64).sqrt();
        let largest = |x: &[f64]| x.iter().fold(0.0f64, |m, x| m.max(x.abs()));
        let uniform_std = 1.0 / 3.0f64.sqrt();
        // Quaternions of a free joint are as drawn: MuJoCo normalises only what it computes with.
        assert!((std(&positions) - uniform_std).abs() < 0.03, "{id}: {}", std(&positions));
        assert!(largest(&positions) <= 1.0, "{id}");
        let velocity_std = if normal_velocity { 1.0 } else { uniform_std };
        assert!((std(&velocities) - velocity_std).abs() < 0.05, "{id}: {}", std(&velocities));
        assert_eq!(largest(&velocities) > 1.0, normal_velocity, "{id}");

        task.reset(7).unwrap();
        let first = observation(&*task);
        task.reset(8).unwrap();
        assert_ne!(observation(&*task), first);
        let mut rewards = vec![0.0; task.reward_count()];
        task.step(&vec![0.3; task.info().action_dim()], &mut rewards).unwrap();
        task.reset(7).unwrap();
        assert_eq!(observation(&*task), first, "{id}: a reset forgets everything");
    }
}

#[test]
fn a_reset_leaves_nothing_of_the_episode_before() {
    for id in tasks::names() {
        let (mut used, mut new) = (task(id), task(id));
        let mut rewards = vec![0.0; used.reward_count()];
        let action = |t: i32| vec![(f64::from(t) * 0.7).sin(); action_dim(id)];
        for t in 0..30 {
            used.step(&action(t), &mut rewards).unwrap();
        }
        used.reset(7).unwrap();
        new.reset(7).unwrap();
        for t in 0..30 {
            assert_eq!(observation(&*used), observation(&*new), "{id}, step {t}");
            used.step(&action(-t), &mut rewards).unwrap();
            new.step(&action(-t), &mut rewards).unwrap();
        }
        assert_eq!(used.probe(), new.probe());
    }
}

fn action_dim(id: &str) -> usize {
    tasks::open(id).unwrap().info().clone().action_dim()
}

fn distance_m(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f64>().sqrt()
}

#[test]
fn the_fetch_arm_settles_where_the_reference_does() {
    let reference = include_bytes!("data/rollouts/fetchreach.0.safetensors");
    let file = TensorFile::parse(reference).unwrap();
    let task = task("fetchreach");
    let data = task.physics().unwrap().data();
    let largest = |found: &[f64], name: &str| {
        let reference = file.f64(name).unwrap();
        found.iter().zip(reference).fold(0.0f64, |m, (f, r)| m.max((f - r).abs()))
    };
    assert!(largest(data.qpos(), "qpos0") < 1e-6);
    assert!(largest(data.qvel(), "qvel0") < 1e-6);
    assert!(largest(&observation(&*task), "observations") < 1e-6);
    // The centre of the goals was taken one forward pass earlier.
    let Modes::Continuous(space) = &task.info().modes else { panic!("it has goals") };
    assert!(distance_m(&task.probe().position_m, &space.default) < 1e-5);
}

#[test]
fn the_fetch_arm_goes_where_it_is_told() {
    let mut task = task("fetchreach");
    let goal = [1.25, 0.85, 0.45];
    task.set_goals(&goal).unwrap();
    let mut reward = [0.0];
    let mut reached = 0;
    for step in 0..50 {
        let gripper = task.probe().position_m;
        let action: Vec<f64> = (0..3).map(|i| (goal[i] - gripper[i]) / 0.05).chain([0.0]).collect();
        task.step(&action, &mut reward).unwrap();
        let near = distance_m(&task.probe().position_m, &goal) < 0.05;
        assert_eq!(reward[0] == 0.0, near);
        assert_eq!(task.succeeded(0), Some(near));
        reached = if near { reached } else { step + 1 };
    }
    assert!(reached < 20, "reached after {reached} steps");
}

#[test]
fn velocities_and_rewards_agree() {
    let mut task = task("halfcheetah-vel");
    task.set_goals(&[1.0, 2.0]).unwrap();
    let mut rewards = [0.0; 2];
    for _ in 0..20 {
        let before = task.probe().position_m[0];
        task.step(&[0.5, -0.5, 0.2, 0.1, 0.0, 0.3], &mut rewards).unwrap();
        let probe = task.probe();
        let v = (probe.position_m[0] - before) / 0.05;
        assert!((v - probe.velocity_m_s[0]).abs() < 1e-12);
        let cost = 0.05 * (0.25 + 0.25 + 0.04 + 0.01 + 0.09);
        assert!((rewards[1] - (-(v - 2.0).abs() - cost)).abs() < 1e-12);
    }
}

#[test]
fn robots_fall() {
    for (id, steps) in [("walker2d-vel-6", 400), ("hopper-vel-6", 400), ("humanoid-dir-6", 200)] {
        let mut task = task(id);
        let mut rewards = vec![0.0; task.reward_count()];
        let action = vec![-0.4; task.info().action_dim()];
        let fell = (0..steps).any(|_| task.step(&action, &mut rewards).unwrap().terminated);
        assert!(fell, "{id}");
    }
}

/// The ant's torso is so thick that only an ant without a floor gets low enough.
#[test]
fn an_ant_that_sinks_has_fallen() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/robots/ant.xml");
    let ant = std::fs::read_to_string(path).unwrap();
    let floor = ant.lines().find(|line| line.contains("name=\"floor\"")).unwrap();
    let ghost = floor.replace("<geom ", "<geom contype=\"0\" conaffinity=\"0\" ");
    let directory = tempfile::tempdir().unwrap();
    std::fs::write(directory.path().join("ant.xml"), ant.replace(floor, &ghost)).unwrap();
    let options = TaskOptions { robots: RobotSource::Directory(directory.path().to_path_buf()) };
    let mut task = make("ant-dir-6", &options).unwrap();
    let mut ended = 0;
    for _ in 0..20 {
        let step = task.step(&[0.0; 8], &mut [0.0; 6]).unwrap();
        assert_eq!(step.terminated, task.physics().unwrap().data().qpos()[2] < 0.2);
        ended += usize::from(step.terminated);
    }
    assert!(ended > 5 && ended < 20, "{ended}");
}

#[test]
fn a_simulation_that_blows_up_ends_the_episode_without_reward() {
    let mut task = task("halfcheetah-fwd-back");
    let mut rewards = [1.0; 2];
    task.start_from(&[0.0; 9], &[1e12; 9]).unwrap();
    let step = task.step(&[0.0; 6], &mut rewards).unwrap();
    assert!(step.terminated && rewards == [0.0; 2], "{rewards:?}");
    task.reset(0).unwrap();
    assert!(!task.step(&[0.0; 6], &mut rewards).unwrap().terminated);
}

#[test]
fn a_policy_drives_the_half_cheetah_in_real_time() {
    let file = policy_for("halfcheetah-fwd-back", 2);
    let mut robot = SimRobot::new(task("halfcheetah-fwd-back"), 1).unwrap();
    robot.record(20);
    // A busy machine may miss deadlines here; that is reported elsewhere.
    let config = Config { rate_hz: Some(200.0), damp_after_misses: None, ..Config::default() };
    let mut controller = Controller::new(&file, robot.spec(), config).unwrap();
    controller.request(Request::Arm);
    controller.request(Request::Start);
    let mut ticker = RealTime::new(controller.period_ns(), 0);
    let begun = std::time::Instant::now();
    let report = run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(20), &mut ());
    assert_eq!((report.policy_ticks, report.state), (20, State::Damping));
    assert!(begun.elapsed().as_secs_f64() >= 20.0 * 0.005, "it ran ahead of time");
    let recording = robot.take_recording().unwrap();
    assert_eq!(recording.steps(), 20);

    // The same as fast as possible, and by hand: the loop adds nothing and loses nothing.
    let mut robot = SimRobot::new(task("halfcheetah-fwd-back"), 1).unwrap();
    robot.record(20);
    let mut controller = Controller::new(&file, robot.spec(), Config::default()).unwrap();
    controller.request(Request::Arm);
    controller.request(Request::Start);
    let mut ticker = LockStep::new(controller.period_ns());
    run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(20), &mut ());
    assert_eq!(robot.take_recording().unwrap(), recording);

    let policy = Policy::new(&file);
    let mut by_hand = task("halfcheetah-fwd-back");
    by_hand.reset(sog_sim::seed::derive(1, 0)).unwrap();
    for t in 0..20 {
        let obs: Vec<f32> = observation(&*by_hand).iter().map(|&x| x as f32).collect();
        let mut action = [0.0; 6];
        policy.mean_actions(&mut policy.workspace(1), &obs, &[1.0, 0.0], &mut action);
        assert_eq!(action, recording.actions[t * 6..][..6], "step {t}");
        by_hand.step(&action.map(f64::from), &mut [0.0; 2]).unwrap();
    }
    assert_eq!(by_hand.probe(), recording.probes[20]);
}

#[test]
fn nothing_is_allocated_per_step() {
    for id in tasks::names() {
        let codes = 2;
        let policy = Policy::new(&policy_for(id, codes));
        let maker = TaskMaker::new(id, &TaskOptions::default()).unwrap();
        let prior = |start: &mut EpisodeStart<'_>| {
            sample_prior(LatentKind::OneHot(codes), start.rng, start.code);
        };
        let std = vec![0.3; maker.info().action_dim()];
        // One thread, so that its counter sees everything.
        let pool = rayon::ThreadPoolBuilder::new().num_threads(1).build().unwrap();
        let allocations = |steps: usize| {
            pool.install(|| {
                let config = FleetConfig {
                    envs: 3,
                    latent_dim: codes,
                    horizon: Some(10),
                    ..Default::default()
                };
                let mut fleet = Fleet::new(&maker, &config).unwrap();
                let mut batch = fleet.batch(steps);
                fleet.run(&policy, Noise::Gaussian(&std), &prior, &mut batch).unwrap();
                fleet.restart(0);
                let before = CountingAllocator::count();
                fleet.run(&policy, Noise::Gaussian(&std), &prior, &mut batch).unwrap();
                CountingAllocator::count() - before
            })
        };
        assert_eq!(allocations(60), allocations(15), "{id}");

        let mut robot = SimRobot::new(maker.make().unwrap(), 0).unwrap();
        robot.record(10);
        let mut obs = vec![0.0; maker.info().obs_dim()];
        let action = vec![0.1; maker.info().action_dim()];
        let before = CountingAllocator::count();
        for command in [Command::Act(&action), Command::Damp, Command::Stop, Command::Reset] {
            robot.read(&mut obs).unwrap();
            robot.write(command).unwrap();
        }
        assert_eq!(CountingAllocator::count(), before, "{id}");
    }
}
