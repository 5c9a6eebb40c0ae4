//! Mirror images against the simulator, expert files, verdicts, and a training that is cut short.

use sog_runtime::policy::{Policy, example};
use sog_sim::{
    seed,
    task::Task,
    tasks::{self, TaskMaker, TaskOptions},
};

use super::*;

fn mirror(task: &str, reflection: Reflection) -> Mirror {
    Mirror::of(&tasks::open(task).unwrap(), reflection).unwrap()
}

fn maker(task: &str) -> TaskMaker {
    TaskMaker::new(task, &TaskOptions::default()).unwrap()
}

fn apply(entries: &[Entry], v: &[f64]) -> Vec<f64> {
    entries.iter().map(|e| v[e.source] * f64::from(e.sign)).collect()
}

/// Mode whose direction is the mirror image of another's, of six.
fn image(reflection: Reflection, mode: usize) -> usize {
    match reflection {
        Reflection::Y => (6 - mode) % 6,
        Reflection::X => (9 - mode) % 6,
        Reflection::Xy => (mode + 3) % 6,
    }
}

/// Positions and velocities of the ant whose observation this is, standing at the origin.
fn ant_state(obs: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut qpos = vec![0.0, 0.0];
    qpos.extend(&obs[..13]);
    (qpos, obs[13..].to_vec())
}

#[test]
fn a_mirrored_ant_sees_and_earns_the_mirror_image() {
    use rand::RngExt;
    let maker = maker("ant-dir-6");
    for reflection in [Reflection::X, Reflection::Y, Reflection::Xy] {
        let mirror = mirror("ant-dir-6", reflection);
        let mut rng = seed::rng(5);
        let (mut one, mut two) = (maker.make().unwrap(), maker.make().unwrap());
        one.reset(11).unwrap();
        let mut obs = vec![0.0; 27];
        one.observe(&mut obs);
        let start = |task: &mut Box<dyn Task>, obs: &[f64]| {
            let (qpos, qvel) = ant_state(obs);
            task.start_from(&qpos, &qvel).unwrap();
        };
        start(&mut one, &obs);
        start(&mut two, &apply(&mirror.obs, &obs));
        let (mut r1, mut r2) = (vec![0.0; 6], vec![0.0; 6]);
        let mut seen = vec![0.0; 27];
        for _ in 0..30 {
            let action: Vec<f64> = (0..8).map(|_| rng.random_range(-1.0..1.0)).collect();
            one.step(&action, &mut r1).unwrap();
            two.step(&apply(&mirror.action, &action), &mut r2).unwrap();
            one.observe(&mut obs);
            two.observe(&mut seen);
            for (want, got) in apply(&mirror.obs, &obs).iter().zip(&seen) {
                assert!((want - got).abs() < 1e-6 * want.abs().max(1.0), "{reflection:?}");
            }
            for mode in 0..6 {
                let twin = r2[image(reflection, mode)];
                assert!((r1[mode] - twin).abs() < 1e-6, "{reflection:?} {mode}");
            }
        }
    }
}

/// Positions and velocities of the humanoid whose observation this is, at the origin.
fn humanoid_state(obs: &[f64]) -> (Vec<f64>, Vec<f64>) {
    let mut qpos = vec![0.0, 0.0];
    qpos.extend(&obs[..22]);
    (qpos, obs[22..45].to_vec())
}

#[test]
fn a_mirrored_humanoid_sees_the_mirror_image_and_earns_nearly_the_same() {
    use rand::RngExt;
    let maker = maker("humanoid-dir-6");
    let mirror = mirror("humanoid-dir-6", Reflection::Y);
    let mut rng = seed::rng(5);
    let (mut one, mut two) = (maker.make().unwrap(), maker.make().unwrap());
    let mut obs = vec![0.0; 376];
    one.reset(11).unwrap();
    // Some steps, so that everything moves.
    let mut rewards = vec![0.0; 6];
    for _ in 0..8 {
        let action: Vec<f64> = (0..17).map(|_| rng.random_range(-0.4..0.4)).collect();
        one.step(&action, &mut rewards).unwrap();
    }
    one.observe(&mut obs);
    let (qpos, qvel) = humanoid_state(&obs);
    one.start_from(&qpos, &qvel).unwrap();
    let (qpos, qvel) = humanoid_state(&apply(&mirror.obs, &obs));
    two.start_from(&qpos, &qvel).unwrap();
    let mut seen = vec![0.0; 376];
    one.observe(&mut obs);
    two.observe(&mut seen);
    for (i, (want, got)) in apply(&mirror.obs, &obs).iter().zip(&seen).enumerate() {
        assert!((want - got).abs() < 1e-6 * want.abs().max(1.0), "entry {i}: {want} {got}");
    }
    // The legs' small differences show in what follows.
    let mut twins = vec![0.0; 6];
    let action: Vec<f64> = (0..17).map(|_| rng.random_range(-0.4..0.4)).collect();
    one.step(&action, &mut rewards).unwrap();
    two.step(&apply(&mirror.action, &action), &mut twins).unwrap();
    one.observe(&mut obs);
    two.observe(&mut seen);
    for mode in 0..6 {
        let (r, twin) = (rewards[mode], twins[image(Reflection::Y, mode)]);
        assert!((r - twin).abs() < 0.05 * r.abs(), "{mode}: {r} {twin}");
    }
    let (qfrc, want) = (269..292, apply(&mirror.obs, &obs));
    for i in qfrc {
        assert!((want[i] - seen[i]).abs() < 1e-9, "motor force {i}");
    }
}

#[test]
fn a_mirrored_policy_does_the_mirror_image() {
    let info = sog_sim::tasks::open("ant-dir-6").unwrap().info().clone();
    let setup = crate::ppo::PpoSetup { last_gain: 1.0, ..Default::default() };
    let mut original = crate::ppo::Ppo::untrained(&info, &setup).unwrap();
    for (j, m) in original.normaliser.mean.iter_mut().enumerate() {
        *m = 0.01 * j as f32;
    }
    let obs: Vec<f64> = (0..27).map(|j| (f64::from(j) * 0.7).sin()).collect();
    let act = |file: &sog_runtime::policy::PolicyFile, obs: &[f64]| -> Vec<f64> {
        let policy = Policy::new(file);
        let obs: Vec<f32> = obs.iter().map(|&x| x as f32).collect();
        let mut action = vec![0.0; 8];
        policy.mean_actions(&mut policy.workspace(1), &obs, &[], &mut action);
        action.iter().map(|&a| f64::from(a)).collect()
    };
    for reflection in [Reflection::X, Reflection::Y, Reflection::Xy] {
        let mirror = mirror("ant-dir-6", reflection);
        let twin = mirror.policy(&original);
        // The twin, seeing the mirror image, does the mirror image of what the original does.
        let want = apply(&mirror.action, &act(&original, &obs));
        let got = act(&twin, &apply(&mirror.obs, &obs));
        for (w, g) in want.iter().zip(&got) {
            assert!((w - g).abs() < 1e-5, "{reflection:?}: {want:?} {got:?}");
        }
    }
}

fn sample_file() -> ExpertFile {
    let network = |seed| {
        let mut file = example(seed);
        file.latent = sog_runtime::policy::LatentKind::None;
        file.network.latent = None;
        file.seal(4);
        file
    };
    let mode = |mean, early_ends| ModeEvaluation {
        label: format!("{mean}"),
        mean,
        std: 1.0,
        early_ends,
        speed_error_m_s: None,
    };
    ExpertFile {
        task: "circles".to_string(),
        networks: vec![network(1), network(2)],
        provenance: ExpertProvenance {
            command: "train".to_string(),
            producer: "test".to_string(),
            revision: String::new(),
            config: "seed = 1".to_string(),
            seed: 1,
            networks: vec![],
            selection: "none".to_string(),
            evaluation: Evaluation {
                episodes_per_mode: 2,
                seed: 3,
                mean: 1050.0,
                modes: vec![mode(1200.0, 0.0), mode(900.0, 0.05)],
            },
            check: ShortCheck { seed: 1, steps: 2, returns: vec![0.1, 0.2] },
        },
    }
}

#[test]
fn an_expert_file_survives_a_round_trip_and_damage_is_noticed() {
    let file = sample_file();
    let bytes = file.to_bytes().unwrap();
    assert_eq!(bytes, file.to_bytes().unwrap());
    assert_eq!(ExpertFile::parse(&bytes).unwrap(), file);
    for at in (0..bytes.len()).step_by(41) {
        let mut bad = bytes.clone();
        bad[at] ^= 0x11;
        assert!(ExpertFile::parse(&bad).is_err(), "byte {at}");
    }
    let other = ExpertFile { task: "ant".to_string(), ..file.clone() };
    let error = ExpertFile::parse(&other.to_bytes().unwrap()).unwrap_err().to_string();
    assert!(error.contains("network 0 is for task `circles`"), "{error}");
    let empty = ExpertFile { networks: vec![], ..file };
    let error = ExpertFile::parse(&empty.to_bytes().unwrap()).unwrap_err().to_string();
    assert!(error.contains("no network"), "{error}");
}

#[test]
fn an_expert_takes_the_network_of_the_mode() {
    use sog_sim::rollout::Actor;
    let file = sample_file();
    let expert = Expert::new(&file);
    let obs: Vec<f32> = (0..20).map(|j| j as f32 * 0.1).collect();
    let mut got = [0.0; 4];
    let codes = [expert.mode_code(1), expert.mode_code(0)].concat();
    expert.worker(2).mean_actions(&obs, &codes, &mut got);
    for (row, network) in [(0, 1), (1, 0)] {
        let policy = Policy::new(&file.networks[network]);
        let mut want = [0.0; 2];
        let obs = &obs[row * 10..(row + 1) * 10];
        policy.mean_actions(&mut policy.workspace(1), obs, &[], &mut want);
        assert_eq!(got[row * 2..(row + 1) * 2], want);
    }
}

#[test]
fn a_verdict_names_what_falls_short() {
    let task = tasks::open("ant-fwd-back").unwrap();
    let evaluation = sample_file().provenance.evaluation;
    let result = verdict(&task, &evaluation).unwrap();
    assert!(!result.target_met);
    assert_eq!(result.weak_modes, ["900"]);
    assert_eq!(result.falling_modes, ["900"]);
    let task = tasks::open("ant-dir-6").unwrap();
    assert!(verdict(&task, &evaluation).unwrap().target_met);
}

#[test]
fn built_in_configurations_fit_their_tasks() {
    let mut trained = 0;
    for name in tasks::names() {
        let task = tasks::open(name).unwrap();
        assert!(target(&task).unwrap().is_some(), "{name}");
        match ExpertConfig::of(&task) {
            Ok(config) => {
                trained += 1;
                let info = task.info();
                assert_eq!(config.networks.len(), info.modes.count().unwrap_or(1), "{name}");
                for term in &config.hide {
                    assert!(info.obs_terms.0.iter().any(|t| t.name == *term), "{name} {term}");
                }
            }
            Err(e) => assert!(e.to_string().contains(name), "{e}"),
        }
    }
    assert_eq!(trained, 8);
}

#[test]
fn networks_are_trained_after_what_they_start_from() {
    let mut config = ExpertConfig::of(&tasks::open("humanoid-dir-6").unwrap()).unwrap();
    assert!(config.budget_of(1) < config.budget_of(0));
    let from = |from| Source::Start { from, mirror: None, budget: None };
    config.networks[1] = from(5);
    config.networks[5] = from(0);
    assert_eq!(config.training_order(), [0, 5, 1, 2, 3, 4]);
    config.networks[5] = from(2);
    let error = crate::run::Config::check(&config).unwrap_err().to_string();
    assert!(error.contains("networks[1]") && error.contains("circle"), "{error}");
}

#[test]
fn training_stops_on_request_resumes_and_is_assembled() {
    let temp = tempfile::tempdir().unwrap();
    let maker = maker("halfcheetah-fwd-back");
    let mut config = ExpertConfig::of(maker.task()).unwrap();
    config.ppo.envs = 4;
    config.ppo.steps = 32;
    config.ppo.minibatch = 64;
    config.ppo.restart_envs = 3;
    (config.budget, config.evaluate_every, config.evaluate_episodes) = (1000, 2, 1);
    config.checkpoint_every = 2;
    let open = |dir: &str, network| {
        Training::open(&maker, &config, &temp.path().join(dir), network).unwrap()
    };
    for network in 0..2 {
        open("whole", network).train(&mut |_| true).unwrap();
        // Stopped at every evaluation.
        let mut sittings = 0;
        while !open("parts", network).is_done() {
            open("parts", network).train(&mut |_| false).unwrap();
            sittings += 1;
        }
        assert!(sittings > 2, "{sittings}");
    }
    let files = ["whole", "parts"].map(|dir| {
        let dir = temp.path().join(dir);
        let mut file = assemble(&maker, &dir, 1, &Origin::default()).unwrap();
        file.provenance.networks.iter_mut().for_each(|n| n.wall_s = 0.0);
        file
    });
    assert_eq!(files[0], files[1]);
    let expert = Expert::new(&files[0]);
    let again = short_returns(&maker, &expert, 7, 50).unwrap();
    assert_eq!(again, files[0].provenance.check.returns);
    let error = Training::open(&maker, &config, temp.path(), 7).err().unwrap().to_string();
    assert!(error.contains("networks 0 to 1"), "{error}");
    // What was best is judged anew where the judging changes.
    let best = |config: &ExpertConfig| {
        let training = Training::open(&maker, config, &temp.path().join("whole"), 0).unwrap();
        training.best().evaluation.clone().unwrap().mean
    };
    let quiet = best(&config);
    assert_eq!(quiet, best(&config));
    let noisy_config = ExpertConfig { evaluate_noise: 0.5, ..config.clone() };
    let noisy = best(&noisy_config);
    assert_ne!(quiet, noisy);
    // And that is kept.
    assert_eq!(noisy, best(&noisy_config));
}
