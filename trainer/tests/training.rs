//! Training runs end to end, small: determinism, resumption, devices, odd demonstrations.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use candle_core::Device;
use sog_rl::run::{Config, Run};
use sog_runtime::{
    policy::{LatentKind, Policy, PolicyFile, Terms},
    tensors::{Metadata, Tensor, TensorFile, serialize},
};
use sog_sim::{
    task::TaskInfo,
    tasks::{self, TaskFolder, TaskMaker, TaskOptions},
};
use sog_trainer::{
    config::{Algorithm, Assignment, RewardForm, SogCodes, TrainConfig},
    data::{
        DataError, Demonstrations,
        import::{ImportOptions, import_safetensors},
        record::{CirclesExpert, RecordOptions, record},
    },
    device::Compute,
    error::TrainError,
    export::network_of,
    train::{Job, POLICY_FILE, never, train, train_together, why_not_together},
};

fn folder() -> Arc<TaskFolder> {
    tasks::open("circles").unwrap()
}

fn info() -> TaskInfo {
    folder().info().clone()
}

fn demos(episodes_per_mode: usize) -> Demonstrations {
    let maker = TaskMaker::new("circles", &TaskOptions::default()).unwrap();
    let options = RecordOptions { episodes_per_mode, seed: 1, action_noise: 0.0 };
    record(&maker, &info(), &CirclesExpert, &options, &|| ()).unwrap().demonstrations
}

fn config(algorithm: Algorithm) -> TrainConfig {
    let mut config = TrainConfig::defaults(&folder(), algorithm).unwrap();
    config.cloning.updates = 60;
    config.cloning.log_interval = 10;
    config.cloning.checkpoint_interval = 25;
    config.cloning.attempt_updates = 10;
    config.adversarial.total_steps = 3000;
    config.adversarial.eval_interval = 2;
    config.adversarial.checkpoint_interval = 2;
    (config.ppo.envs, config.ppo.steps) = (4, 128);
    config.discriminator.warmup_passes = 2;
    config.vae_gail.updates = 5;
    config
}

/// Trains in `dir` and returns the bytes of the policy file.
fn trained(dir: &Path, config: &TrainConfig, demos: &Demonstrations) -> Vec<u8> {
    trained_by(&Compute::Engine, dir, config, demos)
}

fn trained_by(
    compute: &Compute,
    dir: &Path,
    config: &TrainConfig,
    demos: &Demonstrations,
) -> Vec<u8> {
    let (mut run, config) = Run::create_or_resume(dir, config).unwrap();
    let maker = TaskMaker::new("circles", &TaskOptions::default()).unwrap();
    let job = Job {
        config: &config,
        task: &info(),
        env: Some(&maker),
        demos,
        start: None,
        compute,
        progress: &|_, _, _| (),
        interrupted: &never,
    };
    train(&mut run, job).unwrap();
    std::fs::read(dir.join(POLICY_FILE)).unwrap()
}

#[test]
fn the_same_seed_gives_the_same_bytes_and_another_seed_others() {
    let demos = demos(2);
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let config = config(Algorithm::SogBc);
    let first = trained(&at("a"), &config, &demos);
    assert_eq!(first, trained(&at("b"), &config, &demos));
    let other = TrainConfig { seed: 1, ..config };
    assert_ne!(first, trained(&at("c"), &other, &demos));
}

#[test]
fn adversarial_runs_resume_to_the_same_bytes() {
    let demos = demos(2);
    for algorithm in [Algorithm::Gail, Algorithm::SogGail, Algorithm::InfoGail, Algorithm::VaeGail]
    {
        let temp = tempfile::tempdir().unwrap();
        let config = config(algorithm);
        let whole = trained(temp.path(), &config, &demos);
        let lost = temp.path().join("checkpoints/000000003072.safetensors");
        std::fs::remove_file(lost).unwrap();
        assert_eq!(trained(temp.path(), &config, &demos), whole, "{algorithm}");
        let text = std::fs::read_to_string(temp.path().join("metrics.jsonl")).unwrap();
        assert!(text.contains("discriminator/slope"));
    }
}

#[test]
fn a_run_that_was_asked_to_stop_ends_as_one_that_was_not() {
    let demos = demos(2);
    let maker = TaskMaker::new("circles", &TaskOptions::default()).unwrap();
    for algorithm in [Algorithm::Gail, Algorithm::SogGail] {
        let temp = tempfile::tempdir().unwrap();
        let (alone, stopped) = (temp.path().join("alone"), temp.path().join("stopped"));
        let config = config(algorithm);
        let (mut run, config) = Run::create_or_resume(&stopped, &config).unwrap();
        // In the third iteration, behind the checkpoint of the second.
        let stop = AtomicU64::new(0);
        let job = Job {
            config: &config,
            task: &info(),
            env: Some(&maker),
            demos: &demos,
            start: None,
            compute: &Compute::Engine,
            progress: &|step, _, _| stop.store(step, Ordering::Relaxed),
            interrupted: &|| stop.load(Ordering::Relaxed) == 3 * 512,
        };
        let said = train(&mut run, job).unwrap_err().to_string();
        assert_eq!(said, "stopped with step 1024 saved; go on with --resume");
        drop(run);
        assert_eq!(
            trained(&stopped, &config, &demos),
            trained(&alone, &config, &demos),
            "{algorithm}"
        );
    }
}

#[test]
fn a_policy_to_start_from_must_have_the_codes_and_the_terms_of_the_run() {
    let demos = demos(2);
    let task = TaskInfo { obs_terms: Terms::new(&[("before", 8), ("now", 2)]), ..info() };
    let start = PolicyFile::parse(&{
        let temp = tempfile::tempdir().unwrap();
        trained(temp.path(), &config(Algorithm::SogBc), &demos)
    });
    let start = start.unwrap();
    let refused = |change: &dyn Fn(&mut TrainConfig)| {
        let mut config = config(Algorithm::SogGail);
        change(&mut config);
        let job = Job {
            config: &config,
            task: &task,
            env: None,
            demos: &demos,
            start: Some(&start),
            compute: &Compute::Engine,
            progress: &|_, _, _| (),
            interrupted: &never,
        };
        job.check_start(&start).map_err(|e| e.to_string())
    };
    assert_eq!(refused(&|_| ()), Ok(()));
    let said = refused(&|c| c.latent = "gaussian:3".to_string()).unwrap_err();
    assert!(said.contains("`latent`: found `gaussian:3`, need `one-hot:3`"), "{said}");
    let said = refused(&|c| c.unseen_terms = vec!["now".to_string()]).unwrap_err();
    assert!(said.contains("`unseen_terms`: found [\"now\"], need []"), "{said}");
    let said = refused(&|c| c.unseen_terms = vec!["colour".to_string()]).unwrap_err();
    assert!(said.contains("found colour"), "{said}");
}

#[test]
fn the_normaliser_of_a_clone_is_not_adapted() {
    let mut config = config(Algorithm::Gail);
    config.ppo.adapt_normaliser = true;
    let said = config.check().unwrap_err().to_string();
    assert!(said.contains("ppo.adapt_normaliser"), "{said}");
}

#[test]
fn the_form_of_the_reward_reaches_the_policy() {
    let demos = demos(2);
    let temp = tempfile::tempdir().unwrap();
    let policy = |reward| {
        let mut config = config(Algorithm::Gail);
        config.discriminator.reward = reward;
        trained(&temp.path().join(format!("{reward:?}")), &config, &demos)
    };
    assert_ne!(policy(RewardForm::Logit), policy(RewardForm::Positive));
    let text = |name: &str| std::fs::read_to_string(temp.path().join(name).join("config.toml"));
    assert!(text("Positive").unwrap().contains("reward = \"positive\""));
    assert!(!text("Logit").unwrap().contains("reward ="));
}

#[test]
fn assigned_codes_are_those_of_the_policy_that_a_run_starts_from() {
    let demos = demos(4);
    let temp = tempfile::tempdir().unwrap();
    let cloning = |seed: u64| {
        let mut config = config(Algorithm::SogBc);
        (config.seed, config.cloning.updates, config.cloning.assignment_share) = (seed, 600, 1.0);
        PolicyFile::parse(&trained(&temp.path().join(format!("{seed}")), &config, &demos)).unwrap()
    };
    let maker = TaskMaker::new("circles", &TaskOptions::default()).unwrap();
    let continued = |name: &str, start: &PolicyFile| {
        let mut config = config(Algorithm::SogGail);
        config.sog_gail.codes = SogCodes::Assigned;
        config.adversarial.total_steps = 512;
        let (mut run, config) = Run::create_or_resume(&temp.path().join(name), &config).unwrap();
        let progress = &|_, _, _: &str| ();
        let compute = &Compute::Engine;
        let (config, demos) = (&config, &demos);
        train(
            &mut run,
            Job {
                config,
                task: maker.info(),
                env: Some(&maker),
                demos,
                start: Some(start),
                compute,
                progress,
                interrupted: &never,
            },
        )
        .map_err(Box::new)
    };
    let own = cloning(0);
    continued("own", &own).unwrap();
    // The same seed, but codes 0 and 1 in each other's place.
    let mut swapped = own.clone();
    let codes = own.latent_dim();
    let latent = swapped.network.latent.as_mut().unwrap();
    latent.weight.chunks_exact_mut(codes).for_each(|row| row.swap(0, 1));
    swapped.seal(8);
    let error = continued("swapped", &swapped).unwrap_err();
    assert!(matches!(*error, TrainError::OtherCodes { seed: 0, .. }), "{error}");
    let mut plain = config(Algorithm::SogGail);
    plain.sog_gail.codes = SogCodes::Assigned;
    plain.check().unwrap();
    plain.cloning.assignment = Assignment::Plain;
    assert!(plain.check().unwrap_err().to_string().contains("clustered"));
    // Its clusters have other numbers.
    let error = continued("other", &cloning(1)).unwrap_err();
    assert!(matches!(*error, TrainError::OtherCodes { seed: 0, .. }), "{error}");
    assert!(error.to_string().contains("sog_gail.codes = \"searched\""), "{error}");
}

#[test]
fn a_run_that_lost_its_last_checkpoint_resumes_to_the_same_bytes() {
    let demos = demos(2);
    // Codes by the plain minimum, ones that hold to the clusters for good, and noise.
    let policies = [(0.0, 0.0), (1.0, 0.0), (0.0, 0.1)].map(|(margin, noise)| {
        let temp = tempfile::tempdir().unwrap();
        let mut config = config(Algorithm::SogBc);
        config.cloning.first_code_margin = margin;
        config.cloning.observation_noise = noise;
        let whole = trained(temp.path(), &config, &demos);
        let lost = temp.path().join("checkpoints/000000000060.safetensors");
        std::fs::remove_file(lost).unwrap();
        let metrics = std::fs::read_to_string(temp.path().join("metrics.jsonl")).unwrap();
        assert_eq!(trained(temp.path(), &config, &demos), whole);
        let again = std::fs::read_to_string(temp.path().join("metrics.jsonl")).unwrap();
        assert_eq!(metrics.lines().count(), again.lines().count());
        whole
    });
    assert_ne!(policies[0], policies[1]);
    assert_ne!(policies[0], policies[2]);
}

#[test]
fn a_resumed_run_keeps_the_first_codes_of_the_attempt_that_it_went_on_with() {
    let demos = demos(2);
    for seed in 0..4 {
        let temp = tempfile::tempdir().unwrap();
        let mut config = TrainConfig { seed, ..config(Algorithm::SogBc) };
        (config.cloning.attempts, config.cloning.first_code_margin) = (3, 1.0);
        let whole = trained(temp.path(), &config, &demos);
        let lost = temp.path().join("checkpoints/000000000060.safetensors");
        std::fs::remove_file(lost).unwrap();
        assert_eq!(trained(temp.path(), &config, &demos), whole, "seed {seed}");
    }
}

/// Three trajectories of 1, 7 and 300 steps, as a file holds them.
fn ragged() -> BTreeMap<String, Tensor> {
    let whole = demos(1);
    let (lengths, t) = ([1_u32, 7, 300], 300);
    let padded = |of: fn(&Demonstrations, usize) -> &[f32], width: usize| {
        // What lies behind the end of a trajectory is not looked at.
        let mut all = vec![f32::NAN; 3 * t * width];
        for (n, &length) in lengths.iter().enumerate() {
            let rows = length as usize * width;
            all[n * t * width..n * t * width + rows].copy_from_slice(&of(&whole, n)[..rows]);
        }
        Tensor::f32(&[3, t, width], &all)
    };
    let observations = padded(Demonstrations::observations_of, whole.obs_dim());
    let actions = padded(Demonstrations::actions_of, whole.action_dim());
    let lengths = Tensor::u32(&[3], &lengths);
    [("observations", observations), ("actions", actions), ("lengths", lengths)]
        .map(|(name, tensor)| (name.to_string(), tensor))
        .into()
}

fn imported(tensors: &BTreeMap<String, Tensor>) -> Result<Demonstrations, DataError> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demos.safetensors");
    std::fs::write(&path, serialize(tensors, &Metadata::new())).unwrap();
    Ok(import_safetensors(&path, &info(), ImportOptions::default())?.demonstrations)
}

/// Trains every algorithm and holds the policy to finite weights.
fn every_algorithm_is_sound(demos: &Demonstrations, latent: Option<&str>) {
    for algorithm in Algorithm::ALL {
        let temp = tempfile::tempdir().unwrap();
        let mut config = config(algorithm);
        config.adversarial.total_steps = 1024;
        if let (Some(latent), true) = (latent, algorithm.is_conditioned()) {
            config.latent = latent.to_string();
        }
        let file = PolicyFile::parse(&trained(temp.path(), &config, demos)).unwrap();
        let weights = network_of(&file).unwrap().params;
        assert!(weights.iter().all(|w| w.is_finite()), "{algorithm}");
    }
}

#[test]
fn trajectories_of_any_length_are_sound() {
    let demos = imported(&ragged()).unwrap();
    assert_eq!((demos.len(), demos.total_rows()), (3, 308));
    every_algorithm_is_sound(&demos, None);
}

#[test]
fn one_short_trajectory_and_more_codes_than_trajectories_are_sound() {
    let one = demos(1).selected(&[0]).subsampled(50);
    every_algorithm_is_sound(&one, Some("one-hot:8"));
    every_algorithm_is_sound(&one, Some("gaussian:3"));
}

#[test]
fn numbers_that_are_none_are_refused_before_anything_is_trained() {
    for (name, width) in [("observations", 10), ("actions", 2)] {
        for bad in [f32::NAN, f32::INFINITY] {
            let mut file = ragged();
            let mut values = vec![0.5; 3 * 300 * width];
            // The last step of the last trajectory.
            values[3 * 300 * width - 1] = bad;
            file.insert(name.to_string(), Tensor::f32(&[3, 300, width], &values));
            let error = imported(&file).unwrap_err().to_string();
            assert!(error.contains(name), "{error}");
        }
    }
}

#[test]
fn demonstrations_of_another_task_are_refused() {
    let maker = TaskMaker::new("circles-6", &TaskOptions::default()).unwrap();
    let demos = demos(1);
    for algorithm in Algorithm::ALL {
        let temp = tempfile::tempdir().unwrap();
        let (mut run, config) = Run::create_or_resume(temp.path(), &config(algorithm)).unwrap();
        let job = Job {
            config: &config,
            task: maker.info(),
            env: Some(&maker),
            demos: &demos,
            start: None,
            compute: &Compute::Engine,
            progress: &|_, _, _| (),
            interrupted: &never,
        };
        let error = train(&mut run, job).unwrap_err().to_string();
        assert!(error.contains("of `circles`, need `circles-6`"), "{algorithm}: {error}");
    }
}

#[test]
fn exploration_is_within_its_bounds_from_the_first_rollout_on() {
    let temp = tempfile::tempdir().unwrap();
    let mut config = config(Algorithm::InfoGail);
    config.adversarial.total_steps = 512;
    config.ppo.update.log_std_min = -0.5;
    // A policy that does not move stays the one that collected.
    config.ppo.learning_rate = 0.0;
    trained(temp.path(), &config, &demos(1));
    let line = metrics(temp.path()).pop().unwrap();
    assert_eq!(line["policy/log_std"], -0.5);
    assert!(line["losses/approx_kl"].abs() < 1e-5, "{line:?}");
}

/// BC is SOG-BC without a code: the same network as SOG-BC with a single one, but for the code's branch.
#[test]
fn behaviour_cloning_needs_no_code() {
    let temp = tempfile::tempdir().unwrap();
    let bytes = trained(temp.path(), &config(Algorithm::Bc), &demos(1));
    let file = PolicyFile::parse(&bytes).unwrap();
    assert_eq!((file.latent, file.latent_dim()), (LatentKind::None, 0));
    assert!(!TensorFile::parse(&bytes).unwrap().contains("actor.latent.weight"));
    let lines = metrics(temp.path());
    assert!(lines.iter().all(|line| !line.keys().any(|key| key.starts_with("code_"))));
    let loss = |line: &BTreeMap<String, f64>| line["sog_loss"];
    assert!(loss(&lines[lines.len() - 1]) < 0.9 * loss(&lines[0]), "{lines:?}");
}

#[test]
fn a_term_that_is_not_to_be_seen_moves_nothing() {
    let demos = demos(2);
    let task = TaskInfo { obs_terms: Terms::new(&[("before", 8), ("now", 2)]), ..info() };
    let trained = |unseen: &[&str]| -> Result<Vec<u8>, TrainError> {
        let temp = tempfile::tempdir().unwrap();
        let unseen_terms = unseen.iter().map(ToString::to_string).collect();
        let config = TrainConfig { unseen_terms, ..config(Algorithm::SogBc) };
        let (mut run, config) = Run::create_or_resume(temp.path(), &config).unwrap();
        let job = Job {
            config: &config,
            task: &task,
            env: None,
            demos: &demos,
            start: None,
            compute: &Compute::Engine,
            progress: &|_, _, _| (),
            interrupted: &never,
        };
        train(&mut run, job)?;
        Ok(std::fs::read(temp.path().join(POLICY_FILE)).unwrap())
    };
    let moved = |unseen: &[&str]| -> f32 {
        let policy = Policy::new(&PolicyFile::parse(&trained(unseen).unwrap()).unwrap());
        let rows = 20;
        let mut obs = demos.observations()[..rows * 10].to_vec();
        let codes = [1.0, 0.0, 0.0].repeat(rows);
        let mut actions = || {
            let mut actions = vec![0.0; rows * 2];
            policy.mean_actions(&mut policy.workspace(rows), &obs, &codes, &mut actions);
            obs.chunks_exact_mut(10).for_each(|row| row[9] += 0.5);
            actions
        };
        let (before, after) = (actions(), actions());
        before.iter().zip(&after).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    assert_eq!(moved(&["now"]), 0.0);
    assert!(moved(&[]) > 1e-3);
    let error = trained(&["colour"]).unwrap_err().to_string();
    let needed = "found colour, need observation terms of the task, which are before, now";
    assert!(error.contains(needed), "{error}");
    let error = trained(&["before", "now"]).unwrap_err().to_string();
    assert!(error.contains("found all terms, need at least one that is seen"), "{error}");
}

/// Parameters of every network in the newest checkpoint of a run, by name.
fn parameters(dir: &Path) -> BTreeMap<String, Vec<f32>> {
    let files = std::fs::read_dir(dir.join("checkpoints")).unwrap();
    let newest = files.map(|entry| entry.unwrap().path()).max().unwrap();
    let bytes = std::fs::read(newest).unwrap();
    let file = TensorFile::parse(&bytes).unwrap();
    let names = file.names();
    let of_networks = names.iter().filter(|name| !name.contains("adam"));
    of_networks.filter_map(|name| Some((name.to_string(), file.f32(name).ok()?))).collect()
}

/// Losses and the like, line by line, without what the clock says.
fn metrics(dir: &Path) -> Vec<BTreeMap<String, f64>> {
    let text = std::fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    let line = |line: &str| -> BTreeMap<String, f64> {
        let all: BTreeMap<String, Option<f64>> = serde_json::from_str(line).unwrap();
        let timed = |name: &str| name == "wall_s" || name.starts_with("time/");
        all.into_iter().filter_map(|(k, v)| (!timed(&k)).then_some((k, v?))).collect()
    };
    text.lines().map(line).collect()
}

/// The numbers of two runs' [`metrics`] side by side, which have the same names.
fn numbers<'a>(
    name: &'a str,
    a: &'a [BTreeMap<String, f64>],
    b: &'a [BTreeMap<String, f64>],
) -> impl Iterator<Item = (&'a str, f64, f64)> {
    assert_eq!(a.len(), b.len(), "{name}");
    a.iter().zip(b).flat_map(move |(a, b)| {
        assert!(a.keys().eq(b.keys()), "{name}: {a:?} {b:?}");
        a.iter().zip(b.values()).map(|((key, &x), &y)| (key.as_str(), x, y))
    })
}

/// Largest |a − b| / max(1, |a|) over the pairs, with the name of where it is.
fn largest<'a>(pairs: impl Iterator<Item = (&'a str, f64, f64)>) -> (f64, &'a str) {
    let error = |(name, a, b): (&'a str, f64, f64)| ((a - b).abs() / a.abs().max(1.0), name);
    pairs.map(error).fold((0.0, ""), |most, next| if next.0 > most.0 { next } else { most })
}

/// A hundred updates of each network: cloning's, and then 5 iterations with 20 of PPO, of the
/// discriminator and of the posterior each.
fn hundred_updates(algorithm: Algorithm) -> TrainConfig {
    let mut config = config(algorithm);
    (config.cloning.updates, config.cloning.checkpoint_interval) = (100, 100);
    (config.cloning.attempts, config.cloning.search_samples) = (1, 10);
    (config.ppo.envs, config.ppo.steps) = (4, 64);
    (config.ppo.minibatch, config.ppo.epochs) = (64, 5);
    config.ppo.update.entropy_coef = 0.01;
    config.adversarial.total_steps = 5 * 4 * 64;
    config.adversarial.checkpoint_interval = 5;
    (config.discriminator.batch, config.discriminator.passes) = (64, 5);
    config.discriminator.warmup_iterations = 0;
    (config.infogail.batch, config.infogail.passes) = (64, 5);
    // These networks are piecewise linear: a unit within rounding of its kink may fall on either
    // side, and its gradient changes by a step. What that makes of the parameters goes with these.
    (config.discriminator.learning_rate, config.infogail.learning_rate) = (1e-4, 1e-4);
    config
}

/// Compared: at the end the parameters of all networks, of which the largest difference counts, or
/// the root mean square for the piecewise linear ones (discriminator, posterior); all along losses
/// and other metrics, as |a − b| / max(1, |a|).
#[test]
fn what_runs_on_a_device_agrees_with_the_engine() {
    let demos = demos(2);
    let temp = tempfile::tempdir().unwrap();
    let mut cases: Vec<(String, TrainConfig)> =
        Algorithm::ALL.map(|a| (a.to_string(), hundred_updates(a))).to_vec();
    for algorithm in [Algorithm::SogBc, Algorithm::SogGail, Algorithm::InfoGail] {
        let mut continuous = hundred_updates(algorithm);
        continuous.latent = "gaussian:2".to_string();
        cases.push((format!("{algorithm} with continuous codes"), continuous));
    }
    let mut assigned = hundred_updates(Algorithm::SogGail);
    assigned.sog_gail.codes = SogCodes::Assigned;
    cases.push(("sog-gail with assigned codes".to_string(), assigned));
    let mut noisy = hundred_updates(Algorithm::SogBc);
    noisy.cloning.observation_noise = 0.1;
    cases.push(("sog-bc with noise".to_string(), noisy));
    for (name, config) in cases {
        let (engine, candle) =
            (temp.path().join(&name), temp.path().join(format!("{name} candle")));
        trained_by(&Compute::Engine, &engine, &config, &demos);
        trained_by(&Compute::Candle(Device::Cpu), &candle, &config, &demos);
        let (a, b) = (parameters(&engine), parameters(&candle));
        assert!(a.keys().eq(b.keys()) && !a.is_empty(), "{name}");
        for ((network, a), b) in a.iter().zip(b.values()) {
            assert_eq!(a.len(), b.len(), "{name}: {network}");
            let off: Vec<f64> = a.iter().zip(b).map(|(a, b)| f64::from((a - b).abs())).collect();
            let largest = off.iter().copied().fold(0.0, f64::max);
            let rms = (off.iter().map(|x| x * x).sum::<f64>() / off.len() as f64).sqrt();
            println!("{name}: {network} off by {largest:.1e} at most, {rms:.1e} rms");
            let smooth = !network.contains("adversary") && !network.contains("posterior");
            let judged = if smooth { largest } else { rms };
            assert!(judged < 1e-4, "{name}: {network} off by {largest}, rms {rms}");
        }
        let (a, b) = (metrics(&engine), metrics(&candle));
        let pairs = numbers(&name, &a, &b);
        let (losses, others): (Vec<_>, Vec<_>) = pairs.partition(|(key, ..)| key.ends_with("loss"));
        let (of_losses, of_others) = (largest(losses.into_iter()), largest(others.into_iter()));
        println!("{name}: losses off by {of_losses:?}, other numbers by {of_others:?}");
        assert!(of_losses.0 < 1e-4, "{name}: losses off by {of_losses:?}");
        // Shares of rows, and norms at kinks: one row more or less on one side shows.
        assert!(of_others.0 < 1e-2, "{name}: {of_others:?}");
    }
}

#[test]
fn a_run_on_a_device_resumes_to_the_same_bytes() {
    let demos = demos(2);
    let temp = tempfile::tempdir().unwrap();
    let compute = Compute::Candle(Device::Cpu);
    for (algorithm, lost) in [(Algorithm::SogBc, 60), (Algorithm::SogGail, 3072)] {
        let dir = temp.path().join(algorithm.name());
        let config = config(algorithm);
        let whole = trained_by(&compute, &dir, &config, &demos);
        assert_ne!(whole, trained(&dir.with_extension("engine"), &config, &demos));
        std::fs::remove_file(dir.join(format!("checkpoints/{lost:012}.safetensors"))).unwrap();
        assert!(whole == trained_by(&compute, &dir, &config, &demos), "{algorithm}");
    }
}

/// Trains runs with these seeds at once on candle, in `dir/SEED`, until that is done or `interrupted`.
fn together(
    dir: &Path,
    configs: &[TrainConfig],
    demos: &Demonstrations,
    interrupted: &(dyn Fn() -> bool + Sync),
) -> Result<(), TrainError> {
    assert_eq!(why_not_together(configs).unwrap(), None);
    let compute = Compute::Candle(Device::Cpu);
    let begun = configs.iter().map(|c| Run::create_or_resume(&dir.join(c.seed.to_string()), c));
    let mut runs: Vec<Run> = begun.map(|begun| begun.unwrap().0).collect();
    let task = info();
    let job = |config| Job {
        config,
        task: &task,
        env: None,
        demos,
        start: None,
        compute: &compute,
        progress: &|_, _, _| (),
        interrupted,
    };
    train_together(&mut runs, &configs.iter().map(job).collect::<Vec<_>>())
}

fn with_seeds(config: &TrainConfig, seeds: [u64; 3]) -> Vec<TrainConfig> {
    seeds.map(|seed| TrainConfig { seed, ..config.clone() }).to_vec()
}

/// Largest difference between the parameters of two runs' policies.
fn apart(a: &Path, b: &Path) -> f32 {
    let of = |dir: &Path| {
        let file = PolicyFile::parse(&std::fs::read(dir.join(POLICY_FILE)).unwrap()).unwrap();
        network_of(&file).unwrap().params
    };
    let (a, b) = (of(a), of(b));
    assert_eq!(a.len(), b.len());
    a.iter().zip(&b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
}

#[test]
fn runs_at_once_are_those_that_they_are_alone() {
    let demos = demos(2);
    let temp = tempfile::tempdir().unwrap();
    let mut config = config(Algorithm::SogBc);
    (config.cloning.updates, config.cloning.checkpoint_interval) = (200, 100);
    (config.cloning.trajectories, config.cloning.batch) = (4, 8);
    let plain = config.clone();
    let mut cases = vec![("clustered", config.clone())];
    config.cloning.first_code_margin = 0.3;
    config.cloning.observation_noise = 0.1;
    config.cloning.max_grad_norm = 0.5;
    cases.push(("loyal codes, noise, bounded gradients", config.clone()));
    for (name, assignment) in
        [("annealed", Assignment::Annealed), ("balanced", Assignment::Balanced)]
    {
        let mut config = plain.clone();
        (config.cloning.assignment, config.cloning.assignment_share) = (assignment, 0.5);
        cases.push((name, config));
    }
    let bc = TrainConfig { cloning: plain.cloning.clone(), ..self::config(Algorithm::Bc) };
    cases.push(("bc", bc));
    for (name, config) in cases {
        let (at_once, alone) = (temp.path().join(name), temp.path().join(format!("{name} alone")));
        let configs = with_seeds(&config, [0, 1, 7]);
        together(&at_once, &configs, &demos, &never).unwrap();
        for config in &configs {
            let seed = config.seed.to_string();
            let (one, other) = (at_once.join(&seed), alone.join(&seed));
            trained_by(&Compute::Candle(Device::Cpu), &other, config, &demos);
            let off = apart(&one, &other);
            println!("{name}, seed {seed}: parameters off by {off:.1e}");
            assert!(off < 1e-4, "{name}, seed {seed}: off by {off}");
            let (a, b) = (metrics(&one), metrics(&other));
            let off = largest(numbers(name, &a, &b));
            assert!(off.0 < 1e-4, "{name}, seed {seed}: {off:?}");
            let files = |dir: &Path| {
                let names = std::fs::read_dir(dir).unwrap().map(|e| e.unwrap().file_name());
                names.collect::<BTreeSet<_>>()
            };
            assert_eq!(files(&one), files(&other), "{name}");
            let checkpoints = |dir: &Path| files(&dir.join("checkpoints"));
            assert_eq!(checkpoints(&one), checkpoints(&other), "{name}");
        }
        // Different seeds are different runs.
        assert!(apart(&at_once.join("0"), &at_once.join("1")) > 1e-2, "{name}");
    }
}

#[test]
fn runs_at_once_resume_together_apart_and_alone() {
    let demos = demos(2);
    let temp = tempfile::tempdir().unwrap();
    let configs = with_seeds(&config(Algorithm::SogBc), [0, 1, 2]);
    let bytes = |dir: &Path| {
        [0, 1, 2].map(|seed| std::fs::read(dir.join(seed.to_string()).join(POLICY_FILE)).unwrap())
    };
    let again = |dir: &Path| together(dir, &configs, &demos, &never).unwrap();
    again(temp.path());
    let whole = bytes(temp.path());
    // Interrupted between two checkpoints.
    let (stopped, asked) = (temp.path().join("stopped"), AtomicU64::new(0));
    let late = || asked.fetch_add(1, Ordering::Relaxed) >= 34;
    let error = together(&stopped, &configs, &demos, &late).unwrap_err();
    assert!(matches!(error, TrainError::Interrupted { step: Some(35) }), "{error}");
    for seed in ["0", "1", "2"] {
        assert_eq!(Run::steps_done(&stopped.join(seed)).unwrap(), 35);
    }
    again(&stopped);
    assert!(bytes(&stopped) == whole);
    let lose = |seed: u64, step: u64| {
        let dir = temp.path().join(seed.to_string());
        std::fs::remove_file(dir.join(POLICY_FILE)).unwrap();
        std::fs::remove_file(dir.join(format!("checkpoints/{step:012}.safetensors"))).unwrap();
    };
    // All from the checkpoint before.
    [0, 1, 2].iter().for_each(|&seed| lose(seed, 60));
    again(temp.path());
    assert!(bytes(temp.path()) == whole);
    // One is done, one has to catch up; what is computed for two is that for three but for rounding.
    lose(1, 60);
    again(temp.path());
    let found = bytes(temp.path());
    assert!(found[0] == whole[0] && found[2] == whole[2]);
    let before = temp.path().join("before");
    std::fs::create_dir_all(&before).unwrap();
    std::fs::write(before.join(POLICY_FILE), &whole[1]).unwrap();
    assert!(apart(&temp.path().join("1"), &before) < 1e-4);
    // Alone, on the engine.
    lose(1, 60);
    trained(&temp.path().join("1"), &configs[1], &demos);
    assert!(apart(&temp.path().join("1"), &before) < 1e-4);
}

#[test]
fn what_cannot_run_at_once_says_why() {
    let reason = |change: &dyn Fn(&mut TrainConfig)| {
        let mut configs = with_seeds(&config(Algorithm::SogBc), [0, 1, 2]);
        configs.iter_mut().for_each(change);
        why_not_together(&configs).unwrap()
    };
    assert_eq!(reason(&|_| ()), None);
    assert_eq!(reason(&|c| c.algorithm = Algorithm::Bc), None);
    let said = |change: &dyn Fn(&mut TrainConfig)| reason(change).unwrap();
    assert!(said(&|c| c.algorithm = Algorithm::SogGail).contains("not sog-gail"));
    assert!(said(&|c| c.cloning.attempts = 3).contains("cloning.attempts = 3, need 1"));
    assert!(said(&|c| c.latent = "gaussian:2".to_string()).contains("continuous codes"));
    let other = said(&|c| c.latent = format!("one-hot:{}", 3 + c.seed / 2));
    assert!(other.contains("seeds 0 and 2 differ") && other.contains("one-hot:4"), "{other}");
    assert!(said(&|c| c.cloning.updates += c.seed).contains("seeds 0 and 1 differ"));
}
