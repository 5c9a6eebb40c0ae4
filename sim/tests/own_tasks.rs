//! Tasks in folders of one's own: an arm about an obstacle, a base on wheels with an IMU, terms
//! without a simulator; and folders that do not hold together.
#![allow(clippy::unwrap_used)]

use std::{fs, path::Path, sync::Arc};

use nalgebra::{Quaternion, UnitQuaternion, Vector3};
use sog_runtime::os::CountingAllocator;
use sog_sim::{
    error::SimError,
    physics::Physics,
    seed,
    task::{Modes, Task},
    tasks::{NewTask, Simulator, TaskFolder, TaskMaker, TaskOptions, check, new_task, open},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

const ARM: &str = r#"<mujoco model="arm">
  <option timestep="0.002"/>
  <worldbody>
    <geom name="obstacle" type="cylinder" size="0.05 0.1" pos="0.35 0 0"/>
    <site name="goal" pos="0.5 0.1 0"/>
    <body name="upper">
      <joint name="shoulder" axis="0 0 1" damping="0.5"/>
      <geom type="capsule" fromto="0 0 0 0.3 0 0" size="0.02" contype="0" conaffinity="0"/>
      <body name="fore" pos="0.3 0 0">
        <joint name="elbow" axis="0 0 1" damping="0.5"/>
        <geom type="capsule" fromto="0 0 0 0.25 0 0" size="0.02" contype="0" conaffinity="0"/>
        <site name="tip" pos="0.25 0 0"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <motor name="shoulder_motor" joint="shoulder" ctrlrange="-2 2"/>
    <motor joint="elbow" ctrlrange="-1 1"/>
  </actuator>
  <sensor>
    <jointpos name="elbow_encoder" joint="elbow"/>
    <framepos name="tip_position" objtype="site" objname="tip"/>
  </sensor>
  <keyframe><key name="home" qpos="0.3 -0.6" qvel="0.1 0.2" ctrl="0.5 -0.5"/></keyframe>
</mujoco>"#;

const ARM_TASK: &str = r#"schema = "sog.task/1"
name = "reacher-detour"
dt = 0.02
horizon = 150

[[observation]]
name = "joints"
qpos = ["shoulder", "elbow"]
minus = [0.1, 0.2]
scale = 2.0

[[observation]]
name = "speeds"
width = 4
qvel = "all"
clip = 1.5
history = 2

[[observation]]
name = "tip"
site_pos = "tip"

[[observation]]
name = "encoder"
sensor = "elbow_encoder"

[[observation]]
name = "last"
previous_action = true

[[observation]]
name = "clock"
phase = 5.0

[[observation]]
name = "wanted"
command = "speed"

[[action]]
name = "torque"
low = [-2.0, -1.0]
high = [2.0, 1.0]
unit = "N m"
actuator = ["shoulder_motor", "elbow"]

[sim]
model = "robot.xml"
frame_skip = 10
keyframe = "home"
[sim.reset]
qpos = [{ uniform = 0.05 }, { joint = "elbow", uniform = 0.2 }]
qvel = { normal = 0.01 }

[[sim.terminate]]
of = "distance(tip, obstacle)"
below = 0.02

[[mode]]
name = "left"
reward = "-distance(tip, goal) - 1e-2 * norm2(action) + max(tip.y, 0)"
success = { of = "distance(tip, goal)", below = 0.05 }

[[mode]]
name = "right"
reward = "clip(-tip.y, 0, 1) - abs(shoulder.pos + elbow.vel ^ 2 / 2) + tip_position[0] - step / 150"

[plot]
path = ["tip.x", "tip.y"]
"#;

const ROVER: &str = r#"<mujoco model="rover">
  <option timestep="0.005"/>
  <worldbody>
    <geom type="plane" size="10 10 1"/>
    <body name="base" pos="0 0 0.121">
      <freejoint name="root"/>
      <geom type="box" size="0.2 0.15 0.05" mass="5"/>
      <site name="imu" pos="0.05 0 0.05"/>
      <body name="left_wheel" pos="0 0.18 -0.05">
        <joint name="left" axis="0 1 0" damping="0.01" armature="0.02"/>
        <geom type="cylinder" size="0.07 0.02" quat="0.707 0.707 0 0" mass="0.5"/>
      </body>
      <body name="right_wheel" pos="0 -0.18 -0.05">
        <joint name="right" axis="0 1 0" damping="0.01" armature="0.02"/>
        <geom type="cylinder" size="0.07 0.02" quat="0.707 0.707 0 0" mass="0.5"/>
      </body>
    </body>
  </worldbody>
  <actuator>
    <velocity name="left_drive" joint="left" kv="0.3" ctrlrange="-20 20"/>
    <velocity name="right_drive" joint="right" kv="0.3" ctrlrange="-20 20"/>
  </actuator>
  <sensor>
    <accelerometer name="acc" site="imu"/>
    <gyro name="gyro" site="imu"/>
  </sensor>
</mujoco>"#;

const ROVER_TASK: &str = r#"schema = "sog.task/1"
name = "rover"
dt = 0.02
horizon = 200

[[observation]]
name = "gravity"
width = 3
projected_gravity = "base"

[[observation]]
name = "velocity"
body_linvel = "base"
frame = "body"

[[observation]]
name = "turning"
body_angvel = "base"
frame = "body"

[[observation]]
name = "velocity_world"
body_linvel = "base"

[[observation]]
name = "acc"
sensor = "acc"

[[observation]]
name = "pose"
qpos = ["root"]

[[observation]]
name = "place"
body_pos = "base"

[[observation]]
name = "orientation"
body_quat = "base"

[[action]]
name = "wheel_speed"
width = 2
low = -15
high = 15
actuator = ["left_drive", "right_drive"]

[sim]
model = "rover.xml"
frame_skip = 4
reset = { qpos = { joint = "left", uniform = 0.5 } }
terminate = [{ of = "base.roll", outside = [-1.0, 1.0] }, { of = "base.z", below = 0.0 }]

[[mode]]
name = "forward"
reward = "base.vx * sqrt(1 + gyro[2] * gyro[2]) - hypot(base.vy, 0.5 * base.yaw)"
"#;

/// A folder with a task.
fn folder(task: &str, files: &[(&str, &str)]) -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("task.toml"), task).unwrap();
    for (name, text) in files {
        fs::write(directory.path().join(name), text).unwrap();
    }
    directory
}

fn opened(directory: &Path) -> Result<Arc<TaskFolder>, SimError> {
    open(directory.to_str().unwrap())
}

fn built(directory: &Path) -> Result<Box<dyn Task>, SimError> {
    TaskMaker::of(&opened(directory)?, &TaskOptions::default())?.make()
}

fn observation(task: &dyn Task) -> Vec<f64> {
    let mut obs = vec![0.0; task.info().obs_dim()];
    task.observe(&mut obs);
    obs
}

fn near(found: &[f64], needed: &[f64]) {
    assert_eq!(found.len(), needed.len());
    for (f, n) in found.iter().zip(needed) {
        assert!((f - n).abs() < 1e-12, "{found:?}, need {needed:?}");
    }
}

#[test]
fn an_arm_is_seen_paid_and_ended_as_its_file_says() {
    let directory = folder(ARM_TASK, &[("robot.xml", ARM)]);
    let mut task = built(directory.path()).unwrap();
    let info = task.info().clone();
    assert_eq!(
        info.obs_terms.to_string(),
        "joints:2,speeds:4,tip:3,encoder:1,last:2,clock:2,wanted:1"
    );
    assert_eq!((info.action_low, info.action_high), (vec![-2.0, -1.0], vec![2.0, 1.0]));

    task.start_from(&[0.4, -0.5], &[0.7, -9.0]).unwrap();
    let obs = observation(&*task);
    near(&obs[..2], &[0.6, -1.4]);
    near(&obs[2..6], &[0.7, -1.5, 0.7, -1.5]);
    let tip = |q: &[f64]| {
        [
            0.3 * q[0].cos() + 0.25 * (q[0] + q[1]).cos(),
            0.3 * q[0].sin() + 0.25 * (q[0] + q[1]).sin(),
        ]
    };
    near(&obs[6..8], &tip(&[0.4, -0.5]));
    near(&obs[9..], &[-0.5, 0.0, 0.0, 0.0, 1.0, 0.0]);
    assert_eq!(task.commands(), ["speed"]);
    task.set_command(0, 1.25);
    near(&observation(&*task)[14..], &[1.25]);

    let mut rewards = [0.0; 2];
    let action = [0.5, -0.25];
    task.step(&action, &mut rewards).unwrap();
    let obs = observation(&*task);
    let data = task.physics().unwrap().data();
    let (q, v) = (data.qpos().to_vec(), data.qvel().to_vec());
    // All of one instant: positions of sites and sensors are those of the joints as they are.
    near(&obs[6..8], &tip(&q));
    near(&[obs[9]], &[q[1]]);
    near(&obs[10..12], &action);
    near(&obs[2..4], &[0.7, -1.5]);
    let [x, y] = tip(&q);
    let distance = ((x - 0.5f64).powi(2) + (y - 0.1f64).powi(2)).sqrt();
    near(&rewards[..1], &[-distance - 1e-2 * (0.25 + 0.0625) + y.max(0.0)]);
    let right = (-y).clamp(0.0, 1.0) - (q[0] + v[1] * v[1] / 2.0).abs() + x - 1.0 / 150.0;
    near(&rewards[1..], &[right]);
    assert_eq!(task.succeeded(0), Some(distance <= 0.05));
    assert_eq!(task.succeeded(1), None);
    near(&task.probe().position_m, &[x, y, 0.0]);

    // Straight at the obstacle at (0.35, 0): the tip comes nearer than 2 cm.
    let bent: f64 = 2.0 * (0.15f64 / 0.3).acos();
    task.start_from(&[0.0, -bent], &[0.0, 0.0]).unwrap();
    let mut ended = false;
    for step in 0..200 {
        let place = tip(task.physics().unwrap().data().qpos());
        let away = ((place[0] - 0.35f64).powi(2) + place[1].powi(2)).sqrt();
        assert!(step == 0 || ended == (away < 0.02), "{away}");
        ended = task.step(&[0.0, 0.3], &mut rewards).unwrap().terminated;
    }
}

#[test]
fn an_episode_starts_from_the_keyframe_with_noise() {
    let directory = folder(ARM_TASK, &[("robot.xml", ARM)]);
    let mut task = built(directory.path()).unwrap();
    let (mut shoulder, mut elbow) = (0.0f64, 0.0f64);
    for seed in 0..200 {
        task.reset(seed).unwrap();
        let data = task.physics().unwrap().data();
        shoulder = shoulder.max((data.qpos()[0] - 0.3).abs());
        elbow = elbow.max((data.qpos()[1] + 0.6).abs());
        assert!((data.qvel()[0] - 0.1).abs() < 0.06);
        assert_eq!(data.ctrl(), [0.5, -0.5]);
    }
    assert!(shoulder <= 0.05 && shoulder > 0.045, "{shoulder}");
    assert!(elbow <= 0.2 && elbow > 0.18, "{elbow}");
}

#[test]
fn stepping_is_plain_mujoco() {
    let directory = folder(ARM_TASK, &[("robot.xml", ARM)]);
    let mut task = built(directory.path()).unwrap();
    let model = mujoco_rs::prelude::MjModel::from_xml_string(ARM).unwrap();
    let mut raw = mujoco_rs::prelude::MjData::new(&model);
    task.start_from(&[0.4, -0.5], &[0.7, -0.9]).unwrap();
    raw.qpos_mut().copy_from_slice(&[0.4, -0.5]);
    raw.qvel_mut().copy_from_slice(&[0.7, -0.9]);
    raw.forward();
    for t in 0..50 {
        let action = [(f64::from(t) * 0.3).sin() * 3.0, 0.4];
        task.step(&action, &mut [0.0; 2]).unwrap();
        raw.ctrl_mut().copy_from_slice(&[action[0].clamp(-2.0, 2.0), 0.4]);
        (0..10).for_each(|_| raw.step());
        // To the bit: what is computed anew for observations disturbs nothing.
        assert_eq!(task.physics().unwrap().data().qpos(), raw.qpos(), "step {t}");
    }
}

#[test]
fn a_base_on_wheels_sees_what_an_imu_sees() {
    let directory = folder(ROVER_TASK, &[("rover.xml", ROVER)]);
    let mut task = built(directory.path()).unwrap();
    let terms = task.info().obs_terms.to_string();
    assert_eq!(
        terms,
        "gravity:3,velocity:3,turning:3,velocity_world:3,acc:3,pose:7,place:3,orientation:4"
    );
    let mut rewards = [0.0];
    task.reset(3).unwrap();
    for t in 0..60 {
        let action = if t < 30 { [12.0, 9.0] } else { [-4.0, 8.0] };
        assert!(!task.step(&action, &mut rewards).unwrap().terminated);
        let obs = observation(&*task);
        let data = task.physics().unwrap().data();
        let [w, x, y, z] = [3, 4, 5, 6].map(|i| data.qpos()[i]);
        let turn = UnitQuaternion::new_normalize(Quaternion::new(w, x, y, z));
        let world = Vector3::new(data.qvel()[0], data.qvel()[1], data.qvel()[2]);
        let close = |found: &[f64], needed: Vector3<f64>| {
            for (f, n) in found.iter().zip(needed.iter()) {
                assert!((f - n).abs() < 1e-9, "step {t}: {found:?}, need {needed:?}");
            }
        };
        close(&obs[..3], turn.inverse_transform_vector(&Vector3::new(0.0, 0.0, -1.0)));
        close(&obs[3..6], turn.inverse_transform_vector(&world));
        // MuJoCo's free joints turn in the body's axes already.
        close(&obs[6..9], Vector3::new(data.qvel()[3], data.qvel()[4], data.qvel()[5]));
        close(&obs[9..12], world);
        near(&obs[12..15], &data.sensordata()[..3]);
        near(&obs[22..25], &data.qpos()[..3]);
        let yaw = turn.euler_angles().2;
        let gyro = data.sensordata()[5];
        let reward = world.x * (1.0 + gyro * gyro).sqrt() - world.y.hypot(0.5 * yaw);
        assert!((rewards[0] - reward).abs() < 1e-9, "{} {reward}", rewards[0]);
    }
    assert!(task.probe().position_m[0].abs() > 0.05, "it has driven somewhere");
}

#[test]
fn nothing_is_allocated_by_a_step_of_ones_own() {
    for (text, name, model) in [(ARM_TASK, "robot.xml", ARM), (ROVER_TASK, "rover.xml", ROVER)] {
        let directory = folder(text, &[(name, model)]);
        let mut task = built(directory.path()).unwrap();
        let mut obs = vec![0.0; task.info().obs_dim()];
        let mut rewards = vec![0.0; task.reward_count()];
        let before = CountingAllocator::count();
        for seed in 0..3 {
            task.reset(seed).unwrap();
            for _ in 0..20 {
                task.step(&[0.3, -0.2], &mut rewards).unwrap();
                task.observe(&mut obs);
            }
        }
        assert_eq!(CountingAllocator::count(), before);
    }
}

const TERMS: &str = "schema = \"sog.task/1\"\nname = \"own-hands\"\ndt = 0.05\nhorizon = 100\n\
    [[observation]]\nname = \"pose\"\nwidth = 6\n[[action]]\nname = \"twist\"\nwidth = 2\n\
    low = -0.5\nhigh = 0.5\n[[mode]]\nname = \"a\"\n[[mode]]\nname = \"b\"\n";

#[test]
fn a_task_without_a_simulator_is_known_and_cannot_be_built() {
    let directory = folder(TERMS, &[("sog-bc.toml", "[network]\nhidden = 64\n")]);
    let task = opened(directory.path()).unwrap();
    assert_eq!(task.simulator(), Simulator::None);
    assert_eq!((task.info().obs_dim(), task.info().action_dim()), (6, 2));
    assert_eq!(task.info().contract().action_low, [-0.5; 2]);
    assert!(task.read("sog-bc.toml").unwrap().unwrap().contains("hidden = 64"));
    let error = built(directory.path()).err().unwrap();
    assert!(matches!(error, SimError::NoSimulator { .. }));
    assert!(error.to_string().contains("no [sim]"), "{error}");
    let checked = check(&task, &TaskOptions::default()).unwrap().to_json();
    assert_eq!((&checked["simulator"], &checked["steps"]), (&"none".into(), &0.into()));
    assert_eq!(checked["modes"], serde_json::json!(["a", "b"]));
}

#[test]
fn a_check_says_what_it_saw() {
    let directory = folder(ARM_TASK, &[("robot.xml", ARM)]);
    let checked = check(&opened(directory.path()).unwrap(), &TaskOptions::default()).unwrap();
    let json = checked.to_json();
    for key in [
        "name",
        "dt",
        "horizon",
        "obs_dim",
        "action_dim",
        "obs_terms",
        "action_terms",
        "simulator",
        "modes",
        "steps",
        "warnings",
    ] {
        assert!(!json[key].is_null(), "{key}");
    }
    assert_eq!((json["steps"].as_u64(), json["obs_dim"].as_u64()), (Some(100), Some(15)));
    assert_eq!(json["obs_terms"][1], serde_json::json!({ "name": "speeds", "width": 4 }));
    let warnings = checked.warnings.join("\n");
    assert!(warnings.contains("wanted never changes"), "{warnings}");
    for task in ["circles", "hopper-vel-6", "fetchreach"] {
        let checked = check(&open(task).unwrap(), &TaskOptions::default()).unwrap();
        assert_eq!(checked.steps, 100, "{task}");
    }
}

#[test]
fn what_does_not_hold_together_is_told_with_file_line_and_key() {
    let line = |text: &str, part: &str| 1 + text[..text.find(part).unwrap()].matches('\n').count();
    #[rustfmt::skip]
    let faults: &[(&str, &str, &str, &[&str])] = &[
        ("qpos = [\"shoulder\", \"elbow\"]", "qpos = [\"shoulder\", \"elbo\"]", "qpos = [\"shoulder\"",
            &["`observation[0].qpos[1]`", "no joint `elbo`", "did you mean `elbow`?"]),
        ("width = 4", "width = 3", "[[observation]]\nname = \"speeds\"", &["has width 3", "gives 4"]),
        ("sensor = \"elbow_encoder\"", "sensor = \"encoder\"", "sensor = ", &["`observation[3].sensor`", "no sensor `encoder`"]),
        ("site_pos = \"tip\"", "site_pos = \"tap\"", "site_pos = ", &["no site `tap`", "did you mean `tip`?"]),
        ("minus = [0.1, 0.2]", "minus = [0.1, 0.2, 0.3]", "[[observation]]\nname = \"joints\"", &["`observation[0].minus`", "3 numbers"]),
        ("frame_skip = 10", "frame_skip = 8", "frame_skip", &["`sim.frame_skip`", "0.016 s, but dt is 0.02 s"]),
        ("keyframe = \"home\"", "keyframe = \"hame\"", "keyframe", &["no keyframe `hame`", "did you mean `home`?"]),
        ("\"shoulder_motor\", \"elbow\"", "\"shoulder_motor\", \"wrist\"", "actuator = ", &["`action[0].actuator[1]`", "no actuator `wrist`", "shoulder_motor"]),
        ("joint = \"elbow\"", "joint = \"knee\"", "qpos = [{", &["no joint `knee`"]),
        ("of = \"distance(tip, obstacle)\"", "of = \"distance(tip, obstackle)\"", "of = \"distance(tip, ob", &["`sim.terminate[0].of`", "`obstackle` means nothing", "did you mean `obstacle`?"]),
        ("+ max(tip.y, 0)", "+ max(tip.q, 0)", "reward = \"-dist", &["`mode[0].reward`", "`tip` has no `q`"]),
        ("+ max(tip.y, 0)", "+ maxi(tip.y, 0)", "reward = \"-dist", &["no function `maxi`", "did you mean `max`?"]),
        ("+ max(tip.y, 0)", "+ max(tip.y, 0", "reward = \"-dist", &["a parenthesis is not closed"]),
        ("+ max(tip.y, 0)", "+ * 3", "reward = \"-dist", &["`*` stands where a number or a word is needed"]),
        ("+ max(tip.y, 0)", "+ action[7]", "reward = \"-dist", &["`action` has 2 numbers"]),
        ("+ max(tip.y, 0)", "+ action", "reward = \"-dist", &["say which, as in `action[0]`"]),
        ("+ max(tip.y, 0)", "+ 3 $ 4", "reward = \"-dist", &["`$` is no sign of an expression"]),
        ("clip(-tip.y, 0, 1)", "clip(-tip.y, 1)", "reward = \"clip", &["`clip` has 2 arguments, need 3"]),
        ("clip(-tip.y, 0, 1)", "qpos[9]", "reward = \"qpos", &["`qpos` has 2 numbers"]),
        ("reward = \"-distance(tip, goal) - 1e-2 * norm2(action) + max(tip.y, 0)\"", "reward = { rust = \"ant-directon\", degrees = 1 }", "reward = { rust", &["no reward is registered as `ant-directon`", "did you mean `ant-direction`?"]),
        ("path = [\"tip.x\", \"tip.y\"]", "path = [\"tip.x\", \"top.y\"]", "path = ", &["`plot.path[1]`", "`top` means nothing"]),
        ("\"shoulder_motor\", \"elbow\"", "\"shoulder_motor\", \"shoulder_motor\"", "actuator = ", &["`action[0].actuator[1]`", "`shoulder_motor` is driven by another component already"]),
        ("+ max(tip.y, 0)", "+ tip", "reward = \"-dist", &["`tip` is a point; say what of it, as in `tip.x`"]),
        ("name = \"speeds\"", "name = 'say \"speeds\"'", "name = 'say", &["a quotation mark"]),
        ("model = \"robot.xml\"", "model = \"robots.xml\"", "model = ", &["`sim.model`", "cannot read", "No such file"]),
        ("model = \"robot.xml\"", "model = \"loop.xml\"", "model = ", &["`sim.model`", "cannot read"]),
        ("model = \"robot.xml\"", "model = \"broken.xml\"", "model = ", &["`sim.model`", "MuJoCo refuses"]),
        ("model = \"robot.xml\"", "model = \"cycle.xml\"", "model = ", &["`sim.model`", "MuJoCo refuses"]),
        ("model = \"robot.xml\"", "model = \".\"", "model = ", &["`sim.model`", "cannot read"]),
    ];
    for (what, by, at, needed) in faults {
        assert!(ARM_TASK.contains(what), "{what}");
        let text = ARM_TASK.replacen(what, by, 1);
        let directory = folder(
            &text,
            &[
                ("robot.xml", ARM),
                ("broken.xml", "<mujoco><worldbody>"),
                ("cycle.xml", "<mujoco><include file=\"cycle.xml\"/></mujoco>"),
            ],
        );
        std::os::unix::fs::symlink("loop.xml", directory.path().join("loop.xml")).unwrap();
        let message = built(directory.path()).err().unwrap_or_else(|| panic!("{by}")).to_string();
        let place = format!("task.toml:{}: ", line(&text, at));
        assert!(message.contains(&place), "`{message}` should contain `{place}` ({by})");
        for part in *needed {
            assert!(message.contains(part), "`{message}` should contain `{part}`");
        }
    }
}

#[test]
fn expressions_are_computed_as_they_are_read() {
    for (expression, value) in [
        ("1 + 2 * 3 - 4 / 2 / 2", 6.0),
        ("2 ^ 3 ^ 2 / 2 ^ 8", 2.0),
        ("-2 ^ 2", -4.0),
        ("2 ^ -1", 0.5),
        ("-(1 - 3) * -2", -4.0),
        ("--3 + +2", 5.0),
        ("10 - 4 - 3 + 2 - 1", 4.0),
        ("8 / 4 * 2", 4.0),
        ("min(3, 1, 2) + max(1, 5)", 6.0),
        ("clip(7, -1, 2.5e0) + abs(-2) + sqrt(9) + exp(0)", 8.5),
        ("1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1+1-1-1", 33.0),
        ("1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1-1*2", -34.0),
        ("hypot(3, 4) * atan2(0, 1) + log(exp(2)) + pi - pi", 2.0),
        ("norm2(qpos) * 0 + ((((((1))))))", 1.0),
        ("'tip'.z + goal.x", 0.5),
    ] {
        let text = ARM_TASK.replacen(
            "-distance(tip, goal) - 1e-2 * norm2(action) + max(tip.y, 0)",
            expression,
            1,
        );
        let directory = folder(&text, &[("robot.xml", ARM)]);
        let mut task = built(directory.path()).unwrap();
        let mut rewards = [0.0; 2];
        task.step(&[0.0; 2], &mut rewards).unwrap();
        assert!((rewards[0] - value).abs() < 1e-12, "{expression} = {}", rewards[0]);
    }
    let deep = "(".repeat(5000) + "1" + &")".repeat(5000);
    for bad in [
        "",
        "()",
        ")",
        "1 2",
        "abs",
        "distance(tip)",
        "distance(1, 2)",
        "tip.",
        "tip[",
        "'tip",
        "1e",
        "1..2",
        "norm2(3)",
        "goal",
        &deep[..3000],
    ] {
        let text = ARM_TASK.replacen(
            "\"-distance(tip, goal) - 1e-2 * norm2(action) + max(tip.y, 0)\"",
            &format!("{bad:?}"),
            1,
        );
        let directory = folder(&text, &[("robot.xml", ARM)]);
        assert!(built(directory.path()).is_err(), "{bad}");
    }
}

#[test]
fn goals_are_rewarded_by_expressions_too() {
    let text = ARM_TASK.split("[[mode]]").next().unwrap().to_string()
        + "[goal]\nwhat = \"tip, m\"\nlow = [-0.5, -0.5, 0]\nhigh = [0.5, 0.5, 1]\n\
           reward = \"-distance(tip, goal) - goal.z * goal[0]\"\n\
           success = { of = \"distance(tip, goal)\", below = 0.6 }\n";
    let directory = folder(&text, &[("robot.xml", ARM)]);
    let mut task = built(directory.path()).unwrap();
    assert!(matches!(task.info().modes, Modes::Continuous(_)));
    task.set_goals(&[0.5, 0.1, 0.0, -0.4, 0.2, 0.5]).unwrap();
    let mut rewards = [0.0; 2];
    task.step(&[0.0; 2], &mut rewards).unwrap();
    let tip = &observation(&*task)[6..9];
    let distance = |goal: [f64; 3]| (0..3).map(|i| (tip[i] - goal[i]).powi(2)).sum::<f64>().sqrt();
    near(&rewards, &[-distance([0.5, 0.1, 0.0]), -distance([-0.4, 0.2, 0.5]) + 0.2]);
    assert_eq!([task.succeeded(0), task.succeeded(1)], [Some(true), Some(false)]);
}

#[test]
fn a_new_task_is_one_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let robots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/robots");
    fs::write(directory.path().join("arm.xml"), ARM).unwrap();
    fs::write(directory.path().join("rover.xml"), ROVER).unwrap();
    let models = [
        directory.path().join("arm.xml"),
        directory.path().join("rover.xml"),
        robots.join("ant.xml"),
        robots.join("walker2d.xml"),
        robots.join("humanoid.xml"),
    ];
    for (i, mjcf) in models.into_iter().enumerate() {
        let dir = directory.path().join(format!("My Task {i}"));
        let from = NewTask { mjcf: Some(mjcf.clone()), dt_s: None };
        let file = new_task(&dir, &from).unwrap();
        let task = opened(&dir).unwrap();
        assert_eq!(task.info().name, format!("my-task-{i}"));
        let checked = check(&task, &TaskOptions::default()).unwrap_or_else(|e| {
            panic!("{}: {e}\n{}", mjcf.display(), fs::read_to_string(&file).unwrap())
        });
        assert_eq!(checked.steps, 100);
        let again = new_task(&dir, &from).unwrap_err().to_string();
        assert!(again.contains("it is there already"), "{again}");
    }
    let arm = fs::read_to_string(directory.path().join("My Task 0/task.toml")).unwrap();
    for needed in [
        "qpos = [\"shoulder\", \"elbow\"]",
        "sensor = \"elbow_encoder\"",
        "low = [-2.0, -1.0]",
        "model = \"../arm.xml\"",
        "frame_skip = 10",
        // The goal stands still.
        "path = [\"tip.x\", \"tip.y\"]",
    ] {
        assert!(arm.contains(needed), "{needed}\n{arm}");
    }
    let from = NewTask { mjcf: Some(directory.path().join("arm.xml")), dt_s: None };
    new_task(&directory.path().join("circles"), &from).unwrap();
    let named = opened(&directory.path().join("circles")).unwrap();
    let warnings = check(&named, &TaskOptions::default()).unwrap().warnings.join("\n");
    assert!(warnings.contains("`circles` is a built-in task's name"), "{warnings}");
    let new = |name: &str, dt_s: Option<f64>| {
        let mjcf = Some(directory.path().join("arm.xml"));
        new_task(&directory.path().join(name), &NewTask { mjcf, dt_s })
    };
    new("fast", Some(0.004)).unwrap();
    let error = new("odd", Some(0.005)).unwrap_err().to_string();
    assert!(error.contains("no multiple of the model's time step of 0.002 s"), "{error}");
    new_task(&directory.path().join("bare"), &NewTask::default()).unwrap();
    let bare = opened(&directory.path().join("bare")).unwrap();
    assert_eq!(bare.simulator(), Simulator::None);
    let nowhere = NewTask { mjcf: Some("nowhere.xml".into()), dt_s: None };
    assert!(new_task(&directory.path().join("x"), &nowhere).is_err());
}

/// The state that a task is in, for a look from outside.
#[test]
fn the_same_seed_gives_the_same_episode() {
    let directory = folder(ROVER_TASK, &[("rover.xml", ROVER)]);
    let maker = TaskMaker::of(&opened(directory.path()).unwrap(), &TaskOptions::default()).unwrap();
    let run = |seed: u64| {
        let mut task = maker.make().unwrap();
        task.reset(seed::derive(seed, 0)).unwrap();
        for _ in 0..30 {
            task.step(&[5.0, 3.0], &mut [0.0]).unwrap();
        }
        let physics: &Physics = task.physics().unwrap();
        physics.data().qpos().to_vec()
    };
    assert_eq!(run(1), run(1));
    assert_ne!(run(1), run(2));
}
