//! The measures on policies whose behaviour is known because their weights are written by hand.
#![allow(clippy::unwrap_used)] // a test may panic

use std::collections::BTreeMap;

use sog_engine::net::{PolicyArch, PolicyNet};
use sog_runtime::{
    policy::{LatentKind, Policy, PolicyFile},
    tensors::{Metadata, Tensor, serialize},
};
use sog_sim::{
    rollout::{EvaluateOptions, Plan, evaluate},
    task::{Modes, TaskInfo},
    tasks::{self, TaskMaker, TaskOptions},
};
use sog_trainer::{
    config::{Algorithm, TrainConfig},
    data::{
        DemoFile,
        import::{ImportOptions, import_safetensors},
    },
    evaluate::{
        goals::evaluate_goals,
        measure::measure,
        modes::{ModeOptions, ModeReport, evaluate_embedded},
        switching::{STEPS_PER_CODE, evaluate_switching},
    },
    export::policy_file,
    normalise::ObsNormaliser,
};

fn maker(task: &str) -> TaskMaker {
    TaskMaker::new(task, &TaskOptions::default()).unwrap()
}

/// A policy file with the given weights; all that are not given are 0.
fn policy(task: &str, latent: LatentKind, hidden: usize, weights: &[(&str, &[f32])]) -> PolicyFile {
    let info = tasks::open(task).unwrap().info().clone();
    let (obs, action) = (info.obs_dim(), info.action_dim());
    let arch = PolicyArch::paper(obs, latent.width(), hidden, action);
    let mut params = vec![0.0; arch.layout().len()];
    for (name, values) in weights {
        params[arch.layout().tensor(name).unwrap().range()].copy_from_slice(values);
    }
    let net = PolicyNet::from_params(arch, params).unwrap();
    let config = TrainConfig::general(&info, Algorithm::SogBc, None);
    let identity = ObsNormaliser::identity(obs).frozen().clone();
    policy_file(&net, &identity, latent, &info, &config)
}

/// An observation and an action.
type Pair = (Vec<f32>, Vec<f32>);

/// Demonstrations with the given labels: one trajectory an entry of `trajectories`, each a list of
/// observations and actions.
fn demos(info: &TaskInfo, trajectories: &[Vec<Pair>], labels: Option<(&str, Tensor)>) -> DemoFile {
    let (n, t) = (trajectories.len(), trajectories[0].len());
    let flat = |part: fn(&Pair) -> &Vec<f32>| -> Vec<f32> {
        trajectories.iter().flatten().flat_map(|pair| part(pair).iter().copied()).collect()
    };
    let mut all = BTreeMap::from([
        ("observations".to_string(), Tensor::f32(&[n, t, info.obs_dim()], &flat(|p| &p.0))),
        ("actions".to_string(), Tensor::f32(&[n, t, info.action_dim()], &flat(|p| &p.1))),
    ]);
    if let Some((name, tensor)) = labels {
        all.insert(name.to_string(), tensor);
    }
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("demos.safetensors");
    std::fs::write(&path, serialize(&all, &Metadata::new())).unwrap();
    import_safetensors(&path, info, ImportOptions { clip: true, accept_implausible: true }).unwrap()
}

/// On circles: runs along y with tanh(z) a step, whatever it sees.
fn runner() -> PolicyFile {
    let weights: [(&str, &[f32]); 2] =
        [("actor.latent.weight", &[1.0]), ("actor.mean.weight", &[0.0, 1.0])];
    policy("circles", LatentKind::Gaussian(1), 1, &weights)
}

/// A demonstration of it.
fn run_at(speed: f32) -> Vec<Pair> {
    vec![(vec![0.0; 10], vec![0.0, speed]); 8]
}

#[test]
fn embedded_codes_are_judged_by_the_mode_of_their_demonstration() {
    let maker = maker("circles");
    let labels: Vec<String> = ["a", "b", "c"].map(str::to_string).to_vec();
    // Speed and mode of each demonstration, mixed; ten of each are looked at.
    let speeds = [(0.2, 1), (-0.3, 0), (0.1, 2)];
    let mixed: Vec<(f32, u32)> = (0..36).map(|i| speeds[i % 3]).collect();
    let trajectories: Vec<_> = mixed.iter().map(|(speed, _)| run_at(*speed)).collect();
    let modes: Vec<u32> = mixed.iter().map(|(_, mode)| *mode).collect();
    let labelled = demos(maker.info(), &trajectories, Some(("modes", Tensor::u32(&[36], &modes))));
    let file = runner();
    let options = ModeOptions { rollouts: 30, ..ModeOptions::default() };
    let report = evaluate_embedded(&maker, &file, &labels, &labelled, None, &options).unwrap();
    assert_eq!(report.rollouts, 30);
    assert!(report.per_mode.iter().all(|m| m.code.is_none()));
    for (speed, mode) in speeds {
        let plan = |seed| Plan { seed, code: vec![speed.atanh()], ..Plan::default() };
        let plans: Vec<Plan> = (100..130).map(plan).collect();
        let run = EvaluateOptions::default();
        let known = evaluate(&maker, &Policy::new(&file), &plans, &run).unwrap();
        let want = known.iter().map(|e| e.returns[mode as usize]).sum::<f64>() / 30.0;
        // Means of ten and of thirty episodes.
        let found = &report.per_mode[mode as usize];
        assert!((found.mean - want).abs() < 0.15 * want, "{speed}: {}, need {want}", found.mean);
        assert_eq!(found.falls, 1.0, "it runs out of bounds");
        assert!(known.iter().all(|e| e.failed));
    }
    // Given codes are taken instead: here that of mode 1 for all.
    let codes: Vec<f32> = mixed.iter().map(|_| 0.2_f32.atanh()).collect();
    let given =
        evaluate_embedded(&maker, &file, &labels, &labelled, Some(&codes), &options).unwrap();
    let of_mode = |report: &ModeReport, mode: usize| report.per_mode[mode].mean;
    assert!((of_mode(&given, 1) / of_mode(&report, 1) - 1.0).abs() < 0.05);
    assert!((of_mode(&given, 0) / of_mode(&report, 0) - 1.0).abs() > 0.1);
    let few = evaluate_embedded(&maker, &file, &labels, &labelled, Some(&codes[1..]), &options);
    assert!(few.unwrap_err().to_string().contains("35 numbers for 36 codes"));
    let unlabelled = demos(maker.info(), &trajectories, None);
    let error = evaluate_embedded(&maker, &file, &labels, &unlabelled, None, &options).unwrap_err();
    assert!(error.to_string().contains("neither `modes` nor `goals`"), "{error}");
}

#[test]
fn continuous_codes_on_discrete_modes_need_demonstrations() {
    let error = measure(&maker("circles"), &runner(), None, &ModeOptions::default(), false, None)
        .unwrap_err();
    assert!(error.to_string().contains("--demos"), "{error}");
}

/// On circles: code 0 runs along x out of bounds, any other stays.
fn deserter(codes: usize) -> PolicyFile {
    let mut column = vec![0.0; codes];
    column[0] = 9.0;
    let weights: [(&str, &[f32]); 2] =
        [("actor.latent.weight", &column), ("actor.mean.weight", &[1.5, 0.0])];
    policy("circles", LatentKind::OneHot(codes), 1, &weights)
}

#[test]
fn a_switch_is_survived_if_the_robot_lasts_until_the_next() {
    let maker = maker("circles");
    let survival = |file: &PolicyFile, rollouts: usize| {
        let options = ModeOptions { rollouts, ..ModeOptions::default() };
        let policy = Policy::new(file);
        evaluate_switching(&maker, &policy, file.latent, &options).unwrap()
    };
    // With two codes the running one comes before the switch or right after it.
    let two = survival(&deserter(2), 20);
    assert_eq!((two.episodes, two.switches, two.switch_survival), (20, 20, 0.0));
    // With three it comes last in a third of the episodes: then one switch of two is survived.
    let three = survival(&deserter(3), 300);
    assert_eq!(three.switches, 600);
    assert!((three.switch_survival - 1.0 / 6.0).abs() < 0.04, "{}", three.switch_survival);
    let mut still = deserter(3);
    still.network.mean.weight.fill(0.0);
    still.seal(4);
    let still_report = survival(&still, 10);
    assert_eq!(still_report.switch_survival, 1.0);
    assert!(two.switch_followed == 0.0 && three.switch_followed <= three.switch_survival);
    // Each code is given its whole share of an episode.
    assert!(still_report.paths.iter().all(|e| e.steps == 3 * STEPS_PER_CODE));
}

/// Metres of the gripper's target from home for a code of 1, per axis.
const REACH_M: f32 = 0.05;

/// Gain from distance in metres to action, and the scale at which tanh is nearly linear.
const GAIN: f32 = 10.0;
const SMALL: f32 = 1e-2;

/// Where the gripper starts.
fn home(maker: &TaskMaker) -> [f32; 3] {
    let mut task = maker.make().unwrap();
    task.reset(0).unwrap();
    let mut obs = vec![0.0; maker.info().obs_dim()];
    task.observe(&mut obs);
    [0, 1, 2].map(|i| obs[i] as f32)
}

/// On fetchreach: goes to home + [`REACH_M`]·z.
fn reacher(home: [f32; 3]) -> PolicyFile {
    let (mut state0, mut identity, mut latent) = (vec![0.0; 3 * 10], vec![0.0; 9], vec![0.0; 9]);
    let (mut mean, mut bias) = (vec![0.0; 4 * 3], vec![0.0; 3]);
    for i in 0..3 {
        state0[i * 10 + i] = -SMALL;
        bias[i] = SMALL * home[i];
        identity[i * 3 + i] = 1.0;
        latent[i * 3 + i] = SMALL * REACH_M;
        mean[i * 3 + i] = GAIN / SMALL;
    }
    let weights: [(&str, &[f32]); 5] = [
        ("actor.state.0.weight", &state0),
        ("actor.state.0.bias", &bias),
        ("actor.state.1.weight", &identity),
        ("actor.latent.weight", &latent),
        ("actor.mean.weight", &mean),
    ];
    policy("fetchreach", LatentKind::Gaussian(3), 3, &weights)
}

/// Its demonstrations of codes, labelled with the goals that `shift` metres along x make wrong.
fn reaches(info: &TaskInfo, home: [f32; 3], codes: &[[f32; 3]], shift: f32) -> DemoFile {
    let trajectories: Vec<_> = codes
        .iter()
        .map(|z| {
            let at = |step: usize| {
                let left = 0.5_f32.powi(step as i32);
                let mut obs = vec![0.0; 10];
                let mut action = vec![0.0; 4];
                for i in 0..3 {
                    obs[i] = home[i] + REACH_M * z[i] * (1.0 - left);
                    action[i] = GAIN * REACH_M * z[i] * left;
                }
                (obs, action)
            };
            (0..10).map(at).collect()
        })
        .collect();
    let goal = |z: &[f32; 3]| [0, 1, 2].map(|i| home[i] + REACH_M * z[i] + [shift, 0.0, 0.0][i]);
    let goals: Vec<f32> = codes.iter().flat_map(goal).collect();
    demos(info, &trajectories, Some(("goals", Tensor::f32(&[codes.len(), 3], &goals))))
}

#[test]
fn targets_reached_have_the_entropy_of_their_codes_and_hit_their_goals() {
    let maker = maker("fetchreach");
    let home = home(&maker);
    let Modes::Continuous(space) = maker.info().modes.clone() else { panic!("goals") };
    let file = reacher(home);
    let codes = [[1.0, 0.0, -1.0], [-2.0, 1.0, 0.5], [0.0, -1.5, 1.0], [0.7, 0.7, 0.0]];
    let options = ModeOptions { rollouts: 200, ..ModeOptions::default() };
    let measured = |shift: f32| {
        let demos = reaches(maker.info(), home, &codes, shift);
        evaluate_goals(&maker, &file, &space, Some(&demos), &options).unwrap()
    };
    let right = measured(0.0);
    assert_eq!((right.rollouts, right.falls), (204, 0.0));
    assert_eq!(right.hit_rate, Some(1.0));
    // Normal with deviation 0.05 m in a cube of half side 0.15 m, cut at three deviations:
    // 3·½ ln(2πe/9) nats.
    let entropy = right.entropy_nats.unwrap();
    assert!((entropy - 0.961).abs() < 0.25, "{entropy}");
    let wrong = measured(0.1);
    assert_eq!(wrong.hit_rate, Some(0.0));
    assert_eq!(wrong.entropy_nats, right.entropy_nats);
    assert!(right.return_mean > wrong.return_mean);
}

#[test]
fn policies_without_code_are_measured_on_goals_too() {
    let maker = maker("fetchreach");
    let home = home(&maker);
    let mut file = reacher(home);
    file.latent = LatentKind::None;
    file.network.latent = None;
    file.seal(4);
    let demos = reaches(maker.info(), home, &[[0.0; 3], [3.0, 0.0, 0.0]], 0.0);
    let options = ModeOptions { rollouts: 5, ..ModeOptions::default() };
    let found = measure(&maker, &file, Some((&demos).into()), &options, false, None).unwrap();
    // It stays at home, which is one of the two goals.
    assert_eq!(found.goals.unwrap().hit_rate, Some(0.5));
}
