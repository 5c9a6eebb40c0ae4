//! From demonstrations to a running controller: what is trained is what the runtime runs.

use std::sync::OnceLock;

use sog_rl::run::Run;
use sog_runtime::{
    control::{Config, Controller, Plan, Request, run},
    policy::{Policy, PolicyError, PolicyFile, Terms},
    time::LockStep,
};
use sog_sim::{
    robot::{SimRobot, spec},
    tasks::{self, TaskMaker, TaskOptions},
};
use sog_trainer::{
    config::{Algorithm, TrainConfig},
    data::record::{CirclesExpert, RecordOptions, record},
    device::Compute,
    evaluate::modes::{ModeOptions, ModeReturn, evaluate_modes},
    train::{Job, POLICY_FILE, never, train},
};

const TASK: &str = "circles";

fn maker() -> TaskMaker {
    TaskMaker::new(TASK, &TaskOptions::default()).expect("circles needs no files")
}

/// The policy file of one short SOG-BC run (20 demonstrations per mode), as bytes.
fn trained() -> &'static [u8] {
    static BYTES: OnceLock<Vec<u8>> = OnceLock::new();
    BYTES.get_or_init(|| {
        let info = tasks::open(TASK).expect("it is built in").info().clone();
        let options = RecordOptions { episodes_per_mode: 20, seed: 3, action_noise: 0.0 };
        let demos = record(&maker(), &info, &CirclesExpert, &options, &|| ()).expect("recorded");
        let mut config =
            TrainConfig::defaults(&tasks::open(TASK).expect("built in"), Algorithm::SogBc)
                .expect("its folder is sound");
        config.cloning.updates = 4000;
        config.cloning.checkpoint_interval = 4000;
        let dir = tempfile::tempdir().expect("a directory");
        let (mut run, config) = Run::create_or_resume(dir.path(), &config).expect("a run");
        let job = Job {
            config: &config,
            task: &info,
            env: Some(&maker()),
            demos: &demos.demonstrations,
            start: None,
            compute: &Compute::Engine,
            progress: &|_, _, _| (),
            interrupted: &never,
        };
        train(&mut run, job).expect("trained");
        std::fs::read(dir.path().join(POLICY_FILE)).expect("a policy file")
    })
}

fn file() -> PolicyFile {
    PolicyFile::parse(trained()).expect("what training writes, the runtime accepts")
}

/// Mean return of each mode under its matched code, and the best that another code gets on it.
fn returns(file: &PolicyFile) -> Vec<(f64, f64)> {
    let labels: Vec<String> = (0..3).map(|m| m.to_string()).collect();
    let options = ModeOptions { rollouts: 30, ..ModeOptions::default() };
    let policy = Policy::new(file);
    let report =
        evaluate_modes(&maker(), &policy, file.latent, &labels, &options, None).expect("evaluated");
    let of_mode = |mode: &ModeReturn| {
        let others = (0..3).filter(|&code| Some(code) != mode.code);
        let other = others.map(|code| report.matrix[code][mode.mode]).fold(0.0, f64::max);
        (mode.mean, other)
    };
    report.per_mode.iter().map(of_mode).collect()
}

#[test]
fn every_mode_is_found_and_renaming_the_codes_changes_nothing() {
    let file = file();
    // A tenth of the usual training: the circles are not round yet, but each has its own code.
    let told_apart = |returns: &[(f64, f64)]| {
        assert!(
            returns.iter().all(|&(own, other)| own > 600.0 && own > 1.3 * other),
            "{returns:?}"
        );
    };
    told_apart(&returns(&file));

    // Code k becomes code k + 1: the columns of the latent layer move on by one.
    let mut renamed = file.clone();
    for row in renamed.network.latent.as_mut().expect("a code").weight.chunks_exact_mut(3) {
        row.rotate_right(1);
    }
    renamed.seal(4);
    told_apart(&returns(&renamed));
}

#[test]
fn the_loop_applies_exactly_what_the_policy_says() {
    const STEPS: usize = 300;
    let (file, info) = (file(), tasks::open(TASK).expect("it is built in").info().clone());
    let policy = Policy::new(&file);
    let mut workspace = policy.workspace(1);
    for code in 0..3_u16 {
        let mut robot = SimRobot::new(maker().make().expect("circles"), 5).expect("started");
        robot.record(STEPS);
        let config = Config { code, ..Config::default() };
        let mut controller = Controller::new(&file, &spec(&info), config).expect("fits");
        controller.request(Request::Arm);
        controller.request(Request::Start);
        let mut ticker = LockStep::new(controller.period_ns());
        let report =
            run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(STEPS as u64), &mut ());
        assert_eq!((report.policy_ticks, report.misses), (STEPS as u64, 0));
        let recording = robot.take_recording().expect("was recorded");

        // The same episode without the loop: task and policy alone.
        let mut task = maker().make().expect("circles");
        task.reset(sog_sim::seed::derive(5, 0)).expect("reset");
        let (mut obs, mut rewards) = (vec![0.0; info.obs_dim()], vec![0.0; 3]);
        let mut latent = [0.0; 3];
        latent[usize::from(code)] = 1.0;
        let mut action = [0.0_f32; 2];
        for step in 0..STEPS {
            task.observe(&mut obs);
            let obs32: Vec<f32> = obs.iter().map(|&x| x as f32).collect();
            policy.mean_actions(&mut workspace, &obs32, &latent, &mut action);
            assert_eq!(recording.actions[2 * step..2 * step + 2], action, "step {step}");
            task.step(&action.map(f64::from), &mut rewards).expect("stepped");
            assert_eq!(recording.rewards[3 * step..3 * step + 3], rewards, "step {step}");
        }
    }
}

#[test]
fn a_policy_that_does_not_fit_the_robot_is_refused() {
    let info = tasks::open(TASK).expect("it is built in").info().clone();
    let refused = |file: &PolicyFile| {
        let error = Controller::new(file, &spec(&info), Config::default()).err();
        error.expect("refused").to_string()
    };
    // The robot has its terms in the other order, the numbers are as many.
    let mut file_ab = file();
    file_ab.contract.obs_terms = Terms::new(&[("a", 4), ("b", 6)]);
    let mut robot = spec(&info);
    robot.contract.obs_terms = Terms::new(&[("b", 6), ("a", 4)]);
    let error = Controller::new(&file_ab, &robot, Config::default()).err().expect("refused");
    let error = error.to_string();
    assert!(error.contains("a:4,b:6") && error.contains("b:6,a:4"), "{error}");
    let mut other_task = file();
    other_task.contract.task = "hopper-vel-6".to_string();
    assert!(refused(&other_task).contains("hopper-vel-6"));
    let mut other_action = file();
    other_action.contract.action_terms = Terms::new(&[("torque", 2)]);
    assert!(refused(&other_action).contains("action terms"));
}

#[test]
fn a_damaged_policy_is_refused_with_its_cause() {
    let good = trained();
    let refused = |bytes: &[u8]| PolicyFile::parse(bytes).expect_err("refused");
    for cut in [0, 7, 100, good.len() / 2, good.len() - 1] {
        assert!(matches!(refused(&good[..cut]), PolicyError::Format(_)), "cut at {cut}");
    }
    // A flipped low bit of one weight is too small for the golden vectors.
    let mut flipped = good.to_vec();
    let last = flipped.len() - 4;
    flipped[last] ^= 1;
    let error = refused(&flipped).to_string();
    assert!(error.contains("checksum") || error.contains("golden"), "{error}");

    let changed = |change: fn(&mut PolicyFile)| {
        let mut file = file();
        change(&mut file);
        refused(&file.to_bytes()).to_string()
    };
    let error = changed(|f| f.network.mean.weight[5] = f32::NAN);
    assert!(error.contains("actor.mean.weight") && error.contains("NaN"), "{error}");
    let error = changed(|f| f.network.hidden[1].bias[3] += 0.5);
    assert!(error.contains("golden vector"), "{error}");
    let error = changed(|f| f.normaliser.var[0] = -1.0);
    assert!(error.contains("obs.var"), "{error}");

    let later = String::from_utf8_lossy(good).replace("sog.policy/1", "sog.policy/2");
    let mut bytes = good.to_vec();
    let at = later.find("sog.policy/2").expect("the schema is in the header");
    bytes[at + "sog.policy/".len()] = b'2';
    assert!(matches!(refused(&bytes), PolicyError::Schema { .. }));
}
