//! An adapter between a robot whose makers did everything otherwise and a committed policy: the
//! policy does what it does without one.

use std::path::PathBuf;

use sog_runtime::{
    adapter::{Adapter, AdapterPlant, AdapterProgram, Between, RobotFile},
    io::{Command, RobotIo},
    policy::{Policy, PolicyFile},
};
use sog_sim::{
    robot::SimRobot,
    tasks::{TaskOptions, make},
};

const STEPS: usize = 200;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("..").join(name)
}

fn policy() -> PolicyFile {
    let bytes =
        std::fs::read(path("models/policies/ant-dir-6-sog-bc.safetensors")).expect("policy");
    PolicyFile::parse(&bytes).expect("a good policy")
}

fn ant() -> SimRobot {
    let task = make("ant-dir-6", &TaskOptions::default()).expect("the ant");
    SimRobot::new(task, 7).expect("a robot")
}

/// The ant in the laboratory's clothes, and the adapter that takes them off again.
fn adapted(text: &str) -> Adapter<AdapterPlant<SimRobot>> {
    let file = RobotFile::parse("ant.toml", text).expect("a good file");
    let robot = ant();
    let program = AdapterProgram::new(&file, &robot.spec().contract).expect("they fit");
    let plant = AdapterPlant::new(robot, &file).expect("a plant");
    assert!(plant.unknown().is_empty(), "{:?}", plant.unknown());
    Adapter::new(plant, &program, Between::Write).expect("the robot of the file")
}

fn text() -> String {
    std::fs::read_to_string(path("docs/adapters/ant.toml")).expect("the example")
}

/// Largest difference of observations and actions between the plain ant and another that gets the
/// plain one's actions, over some steps.
fn differences(mut other: Adapter<AdapterPlant<SimRobot>>) -> (f32, f32) {
    let file = policy();
    let policy = Policy::new(&file);
    let mut workspace = policy.workspace(1);
    let mut plain = ant();
    let code = [0.0, 1.0, 0.0, 0.0, 0.0, 0.0];
    let (mut obs, mut adapted) = ([0.0; 27], [0.0; 27]);
    let (mut action, mut adapted_action) = ([0.0; 8], [0.0; 8]);
    let (mut worst_obs, mut worst_action) = (0.0f32, 0.0f32);
    for _ in 0..STEPS {
        let reading = plain.read(&mut obs).expect("the ant");
        assert_eq!(other.read(&mut adapted).expect("the other"), reading);
        policy.mean_actions(&mut workspace, &obs, &code, &mut action);
        policy.mean_actions(&mut workspace, &adapted, &code, &mut adapted_action);
        let worst =
            |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        worst_obs = worst_obs.max(worst(&obs, &adapted));
        worst_action = worst_action.max(worst(&action, &adapted_action));
        // Actions that the adapter does not change at all, so that both go the same way.
        let sent = action.map(|a| (a * 64.0).round() / 64.0);
        plain.write(Command::Act(&sent)).expect("the ant");
        other.write(Command::Act(&sent)).expect("the other");
    }
    (worst_obs, worst_action)
}

#[test]
fn reversed_joints_degrees_xyzw_and_a_mounting_change_no_action() {
    let (obs, action) = differences(adapted(&text()));
    println!("largest difference: observation {obs:e}, action {action:e}");
    assert!(obs < 1e-4 && action < 1e-5, "observation {obs:e}, action {action:e}");
}

#[test]
fn an_adapter_that_is_wrong_shows() {
    for (right, wrong) in [
        (
            "name = \"hip_4\",   unit = \"deg\", sign =  1",
            "name = \"hip_4\",   unit = \"deg\", sign = -1",
        ),
        ("quaternion = \"xyzw\"", "quaternion = \"wxyz\""),
        ("frame = \"world\"", "frame = \"body\""),
    ] {
        let wrong_text = text().replacen(right, wrong, 1);
        assert_ne!(wrong_text, text());
        // The plant is dressed by the right file, and undressed by the wrong one.
        let robot = ant();
        let plant = AdapterPlant::new(robot, &RobotFile::parse("ant.toml", &text()).expect("file"));
        let file = RobotFile::parse("wrong.toml", &wrong_text).expect("no fault that a file shows");
        let program = AdapterProgram::new(&file, &ant().spec().contract).expect("they fit");
        let robot = Adapter::new(plant.expect("a plant"), &program, Between::Write);
        let mut robot = robot.expect("the robot of the file");
        let (mut obs, mut plain) = ([0.0; 27], [0.0; 27]);
        let mut worst = 0.0f32;
        let mut ant = ant();
        for _ in 0..20 {
            if robot.read(&mut obs).is_err() {
                worst = f32::INFINITY;
                break;
            }
            ant.read(&mut plain).expect("the ant");
            worst = obs.iter().zip(&plain).map(|(a, b)| (a - b).abs()).fold(worst, f32::max);
            for robot in [&mut robot as &mut dyn RobotIo, &mut ant] {
                robot.write(Command::Act(&[0.25; 8])).expect("written");
            }
        }
        assert!(worst > 0.01, "`{wrong}` does not show: {worst}");
    }
}
