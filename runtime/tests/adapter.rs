//! Adapters: files that are refused by name, filters, two rates, and no allocation.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{cell::RefCell, num::NonZeroU32};

use sog_runtime::{
    adapter::{Adapter, AdapterPlant, AdapterProgram, Between, PacedRobot, PacedTicker, RobotFile},
    contract::Contract,
    io::{Command, IoError, Reading, RobotIo, RobotSpec},
    os::CountingAllocator,
    policy::Terms,
    time::{LockStep, Ticker},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// A legged robot with everything in it.
const GOOD: &str = r#"
schema = "sog.robot/1"
name = "dog"
dt = 0.02
joint = [
    { name = "hip", unit = "deg", sign = -1, offset = 10.0, kp = 20.0, kd = 0.5 },
    { name = "knee", unit = "deg", kp = 30.0, kd = 0.6, scale = 0.5 },
]
[[channel]]
name = "angles"
joints = "position"
order = ["knee", "hip"]
[[channel]]
name = "imu"
quaternion = "xyzw"
mounting = { wxyz = [0.0, 1.0, 0.0, 0.0] }
[[channel]]
name = "gyro"
vector = "sensor"
unit = "deg/s"
mounting = { rpy = [180.0, 0.0, 0.0] }
low_pass = { hz = 15.0, order = 2 }
[[channel]]
name = "battery"
width = 1
[[velocity]]
name = "speeds"
of = "angles"
low_pass = 12.0
[operator]
forward = 0.5
[[observation]]
name = "gravity"
projected_gravity = "imu"
[[observation]]
name = "turning"
sensor = "gyro"
scale = 0.25
[[observation]]
name = "joints"
qpos = ["hip", "knee"]
minus = [0.1, -0.2]
history = 3
[[observation]]
name = "speeds"
qvel = ["hip", "knee"]
clip = 20.0
[[observation]]
name = "last"
previous_action = true
[[observation]]
name = "forward"
command = "forward"
[[observation]]
name = "gait"
phase = 1.5
[[command]]
name = "targets"
joints = "position"
low = -360.0
high = 360.0
[[command]]
name = "kp"
joints = "kp"
low = 0.0
high = 100.0
[[command]]
name = "kd"
joints = "kd"
low = 0.0
high = 10.0
[[action]]
name = "joint_targets"
joint = ["hip", "knee"]
sets = "position"
default = [0.1, -0.2]
scale = 0.25
low_pass = { hz = 10.0, order = 1 }
"#;

fn policy() -> Contract {
    Contract {
        task: "walk".to_string(),
        obs_terms: Terms::new(&[
            ("gravity", 3),
            ("turning", 3),
            ("joints", 6),
            ("speeds", 2),
            ("last", 2),
            ("forward", 1),
            ("gait", 2),
        ]),
        action_terms: Terms::new(&[("joint_targets", 2)]),
        dt_s: 0.02,
        action_low: vec![-1.0; 2],
        action_high: vec![1.0; 2],
    }
}

fn compile(text: &str) -> Result<AdapterProgram, String> {
    let file = RobotFile::parse("robot.toml", text).map_err(|e| e.to_string())?;
    AdapterProgram::new(&file, &policy()).map_err(|e| e.to_string())
}

/// A robot that sends what it is given and keeps what it is told.
struct Scripted {
    spec: RobotSpec,
    step: u64,
    sends: Vec<f32>,
    told: Vec<f32>,
    resets: u32,
}

impl Scripted {
    fn new(program: &AdapterProgram) -> Self {
        let spec = RobotSpec::new(program.robot_contract().clone());
        let (sends, told) = (vec![0.0; spec.obs_dim()], vec![0.0; spec.action_dim()]);
        Self { spec, step: 0, sends, told, resets: 0 }
    }
}

impl RobotIo for Scripted {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        obs.copy_from_slice(&self.sends);
        self.step += 1;
        Ok(Reading { step: self.step, reward: Some(1.0), terminated: false })
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        match command {
            Command::Act(action) => self.told.copy_from_slice(action),
            Command::Reset => self.resets += 1,
            _ => {}
        }
        Ok(())
    }
}

fn close(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| (a - b).abs() < 1e-5)
}

#[test]
fn a_robot_with_everything_gives_what_the_policy_wants() {
    let program = compile(GOOD).unwrap();
    assert_eq!(program.robot_contract().obs_terms.to_string(), "angles:2,imu:4,gyro:3,battery:1");
    assert_eq!(program.robot_contract().action_terms.to_string(), "targets:2,kp:2,kd:2");
    let mut robot = Adapter::new(Scripted::new(&program), &program, Between::Write).unwrap();
    assert_eq!(robot.spec().contract, policy());
    let mut obs = [0.0; 19];
    let send = |robot: &mut Adapter<Scripted>, sends: &[f32]| {
        let mut inner = robot.inner().sends.clone();
        inner.copy_from_slice(sends);
        robot.inner_mut().sends = inner;
    };
    // The sensor is mounted upside down: when it reads half a turn about x, the body is upright.
    send(&mut robot, &[90.0, -35.0, 1.0, 0.0, 0.0, 0.0, 180.0, 90.0, -90.0, 24.0]);
    robot.read(&mut obs).unwrap();
    let half_pi = core::f32::consts::FRAC_PI_2;
    assert!(close(&obs[..3], &[0.0, 0.0, -1.0]), "{obs:?}");
    assert!(close(&obs[3..6], &[0.5 * half_pi, -0.25 * half_pi, 0.25 * half_pi]), "{obs:?}");
    let (hip, knee) = (45f32.to_radians(), 45f32.to_radians());
    assert!(close(&obs[6..12], &[hip - 0.1, knee + 0.2].repeat(3)), "{obs:?}");
    assert!(close(&obs[12..], &[0.0, 0.0, 0.0, 0.0, 0.5, 0.0, 1.0]), "{obs:?}");

    // Targets: 0.1 + 0.25 · 0.8 = 0.3 rad is −17.19° + 10°; −0.2 rad at half a degree each.
    robot.write(Command::Act(&[0.8, 0.0])).unwrap();
    let told = [10.0 - 0.3f32.to_degrees(), (-0.2f32).to_degrees() * 2.0];
    assert!(close(&robot.inner().told[..2], &told), "{:?}", robot.inner().told);
    // Gains by the robot's unit: N m/rad times rad a degree.
    let deg = 1f32.to_radians();
    assert!(close(&robot.inner().told[2..], &[20.0 * deg, 15.0 * deg, 0.5 * deg, 0.3 * deg]));

    // One degree further down: the speed is filtered, the history moves on, time goes.
    send(&mut robot, &[90.0, -36.0, 1.0, 0.0, 0.0, 0.0, 180.0, 90.0, -90.0, 24.0]);
    robot.read(&mut obs).unwrap();
    let moved = 46f32.to_radians() - 0.1;
    assert!(close(&obs[6..12], &[hip - 0.1, knee + 0.2, hip - 0.1, knee + 0.2, moved, knee + 0.2]));
    let raw = 1f32.to_radians() / 0.02;
    assert!(obs[12] > 0.3 * raw && obs[12] < 0.9 * raw, "{}", obs[12]);
    assert!(close(&obs[14..17], &[0.8, 0.0, 0.5]));
    let angle = 2.0 * core::f32::consts::PI * 1.5 * 0.02;
    assert!(close(&obs[17..], &[angle.sin(), angle.cos()]));

    // In damping it begins anew; a reset goes to the robot.
    robot.write(Command::Damp).unwrap();
    assert!(robot.set_operator(0, -1.0) && !robot.set_operator(1, 0.0));
    robot.read(&mut obs).unwrap();
    assert!(close(&obs[6..12], &[moved, knee + 0.2].repeat(3)));
    assert!(close(&obs[14..], &[0.0, 0.0, -1.0, 0.0, 1.0]));
    robot.write(Command::Reset).unwrap();
    assert_eq!(robot.inner().resets, 1);
}

#[test]
fn a_quaternion_that_is_none_is_refused_by_the_name_of_its_channel() {
    let program = compile(GOOD).unwrap();
    let mut robot = Adapter::new(Scripted::new(&program), &program, Between::Write).unwrap();
    let mut obs = [0.0; 19];
    assert!(matches!(robot.read(&mut obs), Err(IoError::Robot(_))));
    assert_eq!(robot.bad_quaternion(), Some(("imu", 0.0)));
    robot.inner_mut().sends[2..6].copy_from_slice(&[0.0, 0.0, 0.0, 1.0]);
    assert!(robot.read(&mut obs).is_ok());
    robot.inner_mut().sends[3] = f32::NAN;
    assert!(robot.read(&mut obs).is_ok());
    assert!(obs[0].is_nan(), "the controller sees it");
}

#[test]
fn wrong_files_are_refused_by_name_with_line_and_key() {
    // What is replaced, by what, and what the refusal says.
    let cases = [
        (
            "order = [\"knee\", \"hip\"]",
            "order = [\"knee\", \"knee\"]",
            "joint `knee` stands twice",
        ),
        ("{ name = \"knee\",", "{ name = \"hip\",", "two joints are called `hip`"),
        ("order = [\"knee\", \"hip\"]", "order = [\"knee\", \"hipp\"]", "did you mean `hip`?"),
        ("sensor = \"gyro\"", "sensor = \"accelerometer\"", "sends no [[channel]] `accelerometer`"),
        ("projected_gravity = \"imu\"", "projected_gravity = \"gyro\"", "`gyro` is no quaternion"),
        ("wxyz = [0.0, 1.0, 0.0, 0.0]", "wxyz = [0.0, 1.0, 1.0, 0.0]", "length 1.4142"),
        ("unit = \"deg\", kp", "unit = \"degree\", kp", "`degree` is no unit"),
        ("hz = 15.0, order = 2", "hz = 25.0, order = 2", "half the rate of 50 Hz: 25 Hz"),
        ("hz = 10.0, order = 1", "hz = 10.0, order = 3", "whole number from 1 to 2"),
        ("sign = -1", "sign = 2", "need 1 or -1"),
        ("default = [0.1, -0.2]", "default = [0.1, 0.2, 0.3]", "3 numbers, need one"),
        ("kp = 30.0, ", "", "joint `knee` has no kp"),
        ("name = \"gait\"", "name = \"gate\"", "no observation term `gate`; did you mean `gait`?"),
        ("history = 3", "history = 2", "`joints` is 4 numbers here, the policy's is 6"),
        (
            "[[observation]]\nname = \"last\"\nprevious_action = true\n",
            "",
            "needs the observation term `last` (2 numbers)",
        ),
        ("dt = 0.02", "dt = 0.03", "no whole part of the policy's 0.02 s"),
        ("joint = [\"hip\", \"knee\"]\nsets", "joint = [\"hip\"]\nsets", "default"),
        (
            "[[velocity]]\nname = \"speeds\"\nof = \"angles\"\nlow_pass = 12.0\n",
            "",
            "sends no velocity of it",
        ),
        ("quaternion = \"xyzw\"", "quaternion = \"xywz\"", "`xywz` is no order"),
        ("command = \"forward\"", "command = \"foreward\"", "[operator] has no `foreward`"),
        ("low = -360.0", "low = 360.0", "not below"),
        ("sets = \"position\"", "sets = \"torque\"", "told the position of joint"),
        ("name = \"battery\"", "name = \"imu\"", "two channels are called `imu`"),
        ("width = 1\n", "width = 1\nwith = 2\n", "no such key; did you mean `width`?"),
        ("schema = \"sog.robot/1\"", "schema = \"sog.robot/9\"", "need \"sog.robot/1\""),
        ("of = \"angles\"", "of = \"imu\"", "no velocity is made of a quaternion"),
        ("scale = 0.25\nlow_pass", "scale = 0.0\nlow_pass", "scale of 0"),
        ("sensor = \"gyro\"", "sensor = \"gyro[1..5]\"", "`gyro` has 3 numbers"),
        ("sensor = \"gyro\"", "sensor = \"gyro\"\nqpos = \"all\"", "has 2 sources"),
        ("name = \"dog\"", "name = ", "not TOML"),
    ];
    for (old, new, needle) in cases {
        assert!(GOOD.contains(old), "{old}");
        let error = compile(&GOOD.replacen(old, new, 1)).expect_err(new);
        let line = error.strip_prefix("robot.toml:").and_then(|rest| rest.split(':').next());
        assert!(line.is_some_and(|line| line.parse::<u32>().is_ok_and(|line| line > 0)), "{error}");
        assert!(error.contains(needle), "{error}\n  does not say: {needle}");
    }
}

#[test]
fn a_robot_that_is_another_is_refused() {
    let program = compile(GOOD).unwrap();
    let other = compile(&GOOD.replace("\"dog\"", "\"cat\"")).unwrap();
    let error = Adapter::new(Scripted::new(&other), &program, Between::Write).err().unwrap();
    assert_eq!(error.to_string(), "task of the adapter is `dog`, of the robot it is `cat`");
}

#[test]
fn reading_and_writing_allocate_nothing_and_repeat_to_the_bit() {
    let program = compile(GOOD).unwrap();
    let run = || {
        let mut robot = Adapter::new(Scripted::new(&program), &program, Between::Write).unwrap();
        robot.inner_mut().sends[5] = 1.0;
        let mut obs = [0.0; 19];
        let mut sum = 0u64;
        let before = CountingAllocator::count();
        for i in 0..1000 {
            robot.inner_mut().sends[0] = (i as f32).sin();
            robot.read(&mut obs).unwrap();
            let action = [obs[3], obs[12]];
            match i % 100 {
                50 => robot.write(Command::Reset).unwrap(),
                60 => robot.write(Command::Damp).unwrap(),
                _ => robot.write(Command::Act(&action)).unwrap(),
            }
            for bits in obs.iter().chain(&robot.inner().told).map(|v| v.to_bits()) {
                sum = sum.wrapping_mul(31).wrapping_add(u64::from(bits));
            }
        }
        assert_eq!(CountingAllocator::count(), before);
        sum
    };
    assert_eq!(run(), run());
}

/// A joint of 0.1 kg m² under torque, at 1 kHz.
struct Joint {
    spec: RobotSpec,
    step: u64,
    fresh: bool,
    position: f64,
    velocity: f64,
    commands: u64,
}

const PD: &str = r#"
schema = "sog.robot/1"
name = "arm"
dt = 0.001
joint = [{ name = "elbow", unit = "deg", sign = -1, offset = 5.0, kp = 40.0, kd = 4.0, torque_limit = 30.0 }]
channel = [{ name = "angle", joints = "position" }, { name = "speed", joints = "velocity" }]
observation = [{ name = "angle", qpos = "elbow" }]
command = [{ name = "torque", joints = "torque", low = -50.0, high = 50.0 }]
action = [{ name = "target", joint = "elbow", sets = "position", scale = 0.5 }]
"#;

fn arm() -> (AdapterProgram, Joint) {
    arm_of(PD)
}

fn arm_of(text: &str) -> (AdapterProgram, Joint) {
    let file = RobotFile::parse("robot.toml", text).unwrap();
    let policy = Contract {
        task: "arm".to_string(),
        obs_terms: Terms::new(&[("angle", 1)]),
        action_terms: Terms::new(&[("target", 1)]),
        dt_s: 0.02,
        action_low: vec![-1.0],
        action_high: vec![1.0],
    };
    let program = AdapterProgram::new(&file, &policy).unwrap();
    let spec = RobotSpec::new(program.robot_contract().clone());
    let joint = Joint { spec, step: 0, fresh: true, position: 0.0, velocity: 0.0, commands: 0 };
    (program, joint)
}

impl RobotIo for Joint {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        if !std::mem::take(&mut self.fresh) {
            return Err(IoError::Stale);
        }
        obs[0] = (5.0 - self.position.to_degrees()) as f32;
        obs[1] = -self.velocity.to_degrees() as f32;
        Ok(Reading { step: self.step, reward: Some(0.5), terminated: false })
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        let torque = match command {
            Command::Act(torque) => -f64::from(torque[0]),
            _ => 0.0,
        };
        self.velocity += torque / 0.1 * 1e-3;
        self.position += self.velocity * 1e-3;
        self.step += 1;
        self.commands += 1;
        self.fresh = true;
        Ok(())
    }
}

/// The same joint under the same law, written out.
fn expected(steps: usize, target: f64) -> f64 {
    let (mut position, mut velocity) = (0.0, 0.0);
    for _ in 0..steps {
        let torque: f64 = (40.0 * (target - position) - 4.0 * velocity).clamp(-30.0, 30.0);
        velocity += torque / 0.1 * 1e-3;
        position += velocity * 1e-3;
    }
    position
}

#[test]
fn a_pd_loop_runs_twenty_times_a_period_of_the_policy() {
    let (program, joint) = arm();
    assert_eq!((program.steps(), program.has_pd()), (20, true));
    let mut robot = Adapter::new(joint, &program, Between::Write).unwrap();
    let mut obs = [0.0];
    for period in 0..25 {
        let reading = robot.read(&mut obs).unwrap();
        assert_eq!(reading.step, 20 * period);
        if period > 0 {
            assert_eq!(reading.reward, Some(10.0), "of twenty steps");
        }
        let needed = expected(20 * period as usize, 0.4);
        assert!((f64::from(obs[0]) - needed).abs() < 1e-5, "{} {needed}", obs[0]);
        robot.write(Command::Act(&[0.8])).unwrap();
    }
    assert_eq!(robot.inner().commands, 500);
    assert!((robot.inner().position - 0.4).abs() < 0.01, "it has arrived");
}

/// The arm, and every torque that it is told.
struct Watched {
    joint: Joint,
    /// Reads that find nothing new.
    silent: core::ops::Range<u64>,
    /// Its tachometer sends no number from this step on.
    broken_from: u64,
    reads: u64,
    told: Vec<Option<f32>>,
}

impl RobotIo for Watched {
    fn spec(&self) -> &RobotSpec {
        self.joint.spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        self.reads += 1;
        if self.silent.contains(&self.reads) {
            return Err(IoError::Stale);
        }
        let reading = self.joint.read(obs)?;
        if reading.step >= self.broken_from {
            obs[1] = f32::NAN;
        }
        Ok(reading)
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        self.told.push(match command {
            Command::Act(told) => Some(told[0]),
            _ => None,
        });
        self.joint.write(command)
    }
}

#[test]
fn a_torque_that_is_no_number_is_not_sent_and_is_a_fault() {
    for between in [Between::Write, Between::Ticker] {
        let (program, joint) = arm();
        let watched = Watched { joint, silent: 0..0, broken_from: 5, reads: 0, told: vec![] };
        let mut robot = Adapter::new(watched, &program, between).unwrap();
        let mut obs = [0.0];
        robot.read(&mut obs).unwrap();
        let failed = match between {
            Between::Write => robot.write(Command::Act(&[0.8])),
            Between::Ticker => {
                robot.write(Command::Act(&[0.8])).unwrap();
                (1..20).for_each(|_| robot.step_between());
                robot.read(&mut obs).map(drop)
            }
        };
        assert!(matches!(failed, Err(IoError::Robot(_))), "{failed:?}");
        assert_eq!(robot.bad_command(), Some(("torque", 0)));
        let (acts, rest) = robot.inner().told.split_at(5);
        assert!(acts.iter().all(|told| told.is_some_and(f32::is_finite)), "{acts:?}");
        assert!(!rest.is_empty() && rest.iter().all(Option::is_none), "{rest:?}");
    }
}

#[test]
fn without_readings_a_robot_under_a_pd_loop_damps_within_its_own_periods() {
    let fly = |silent: core::ops::Range<u64>, limit: Option<u32>| {
        let (program, joint) = arm();
        let watched = Watched { joint, silent, broken_from: u64::MAX, reads: 0, told: vec![] };
        let mut robot = Adapter::new(watched, &program, Between::Ticker).unwrap();
        limit.into_iter().for_each(|n| robot.set_stale_limit(NonZeroU32::new(n).unwrap()));
        let mut obs = [0.0];
        let seen: Vec<_> = (0..4)
            .map(|_| {
                let seen = robot.read(&mut obs).map(|reading| reading.step);
                robot.write(Command::Act(&[0.8])).unwrap();
                (1..20).for_each(|_| robot.step_between());
                seen
            })
            .collect();
        let damped: Vec<usize> = robot
            .into_inner()
            .told
            .iter()
            .enumerate()
            .filter(|(_, t)| t.is_none())
            .map(|(i, _)| i)
            .collect();
        (seen, damped)
    };
    // One lost reading is borne, as by the controller.
    let (seen, damped) = fly(5..6, None);
    assert!(seen.iter().all(Result::is_ok) && damped.is_empty(), "{seen:?} {damped:?}");
    // From the second on it damps, until there is a reading; what came before is not new to the policy.
    let (seen, damped) = fly(5..9, None);
    assert_eq!(damped, [5, 6, 7]);
    assert_eq!(seen[..2], [Ok(0), Err(IoError::Stale)]);
    assert!(seen[2..].iter().all(Result::is_ok), "{seen:?}");
    // As many as the controller is told to bear.
    assert_eq!(fly(5..9, Some(4)).1, [7]);
    assert_eq!(fly(5..9, Some(5)).1, [0; 0]);
    assert_eq!(fly(5..9, Some(1)).1, [5, 6, 7], "two at least");
    // The policy's own read may be the one that is too many.
    let (seen, damped) = fly(20..23, None);
    assert_eq!(damped, [20, 21]);
    assert_eq!(seen[..2], [Ok(0), Err(IoError::Stale)]);
    // Where there is no more, every look of the policy's says so.
    let (seen, damped) = fly(5..1000, None);
    assert_eq!((damped.len(), damped[0]), (75, 5));
    assert_eq!(seen[1..], [Err(IoError::Stale); 3]);
}

#[test]
fn torques_change_no_faster_than_the_robot_bears() {
    let homing = format!("{PD}[homing]\npose = {{ elbow = 0.4 }}\nspeed = 2.0\n");
    for (text, command) in [(PD, Command::Act(&[0.8])), (&*homing, Command::Home)] {
        let (program, mut joint) = arm_of(text);
        joint.spec.max_action_step = vec![0.5];
        joint.spec.damping_action = vec![0.25];
        joint.velocity = 2.0;
        let watched =
            Watched { joint, silent: 0..0, broken_from: u64::MAX, reads: 0, told: vec![] };
        let mut robot = Adapter::new(watched, &program, Between::Ticker).unwrap();
        assert!(robot.limits_rate());
        let mut obs = [0.0];
        for command in [command, Command::Damp, command] {
            robot.read(&mut obs).unwrap();
            robot.write(command).unwrap();
            (1..20).for_each(|_| robot.step_between());
        }
        let told = &robot.inner().told;
        let mut before = 0.25;
        for told in told {
            // Damping is never held up, and goes on from there.
            let now = told.unwrap_or(0.25);
            assert!(told.is_none() || (now - before).abs() <= 0.5 + 1e-6, "{before} {now}");
            before = now;
        }
        assert!(told.iter().flatten().any(|told| told.abs() > 1.0), "{told:?}");
    }
    // What is no step is refused, as that of a robot without an adapter is.
    let (program, mut joint) = arm();
    joint.spec.max_action_step = vec![-1.0];
    let robot = Adapter::new(joint, &program, Between::Write).unwrap();
    assert_eq!(robot.spec().max_action_step, [0.0]);
}

#[test]
fn in_real_time_the_ticker_runs_the_loop_and_keeps_the_phase() {
    /// Loses the periods it is told to.
    struct Late(LockStep, Vec<u32>);
    impl Ticker for Late {
        fn wait(&mut self) -> sog_runtime::time::Wake {
            let missed = self.1.pop().unwrap_or(0);
            for _ in 0..missed {
                self.0.wait();
            }
            sog_runtime::time::Wake { missed, ..self.0.wait() }
        }
        fn now_ns(&self) -> u64 {
            self.0.now_ns()
        }
    }
    let (program, joint) = arm();
    let adapter = RefCell::new(Adapter::new(joint, &program, Between::Ticker).unwrap());
    // Told from the end: once, 65 periods of the robot's are lost.
    let mut lost = vec![0; 100];
    lost[50] = 65;
    let mut ticker = PacedTicker::new(&adapter, Late(LockStep::new(1_000_000), lost));
    let mut robot = PacedRobot::new(&adapter);
    let mut obs = [0.0];
    let (mut missed, mut due) = (0, vec![]);
    for _ in 0..10 {
        let wake = ticker.wait();
        missed += wake.missed;
        due.push(wake.deadline_ns / 1_000_000 % 20);
        robot.read(&mut obs).unwrap();
        robot.write(Command::Act(&[0.8])).unwrap();
    }
    // Of three of the policy's periods that came due meanwhile, one got its tick, late.
    assert_eq!(missed, 2);
    let late = due.iter().filter(|&&at| at != due[0]).count();
    assert_eq!(late, 1, "one tick is late and the phase is kept: {due:?}");
}

#[test]
fn a_plant_has_no_pd_loop_and_no_rate_of_its_own() {
    let (program, _) = arm();
    let task = RobotSpec::new(program.policy_contract().clone());
    struct Task(RobotSpec);
    impl RobotIo for Task {
        fn spec(&self) -> &RobotSpec {
            &self.0
        }
        fn read(&mut self, _: &mut [f32]) -> Result<Reading, IoError> {
            Ok(Reading::default())
        }
        fn write(&mut self, _: Command<'_>) -> Result<(), IoError> {
            Ok(())
        }
    }
    let error = |text: &str| {
        let file = RobotFile::parse("robot.toml", text).unwrap();
        AdapterPlant::new(Task(task.clone()), &file).err().unwrap().to_string()
    };
    assert!(error(PD).contains("20 in one of the task's"));
    assert!(error(&PD.replace("dt = 0.001", "dt = 0.02")).contains("PD loop"));
}
