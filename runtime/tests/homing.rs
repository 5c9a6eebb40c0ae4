//! The way to the start pose: within its speeds, on the record, and given up where it must be.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{cell::RefCell, path::Path};

use sog_runtime::{
    adapter::{Adapter, AdapterProgram, Between, PacedRobot, PacedTicker, RobotFile},
    control::{
        CommandKind, Config, Controller, Event, Faults, Plan, Request, RunReport, State, run,
    },
    io::{Command, Homing, IoError, Reading, RobotIo, RobotSpec},
    os::{CountingAllocator, files::Outputs},
    policy::{PolicyFile, example},
    telemetry::{self, AdapterHeader, AdapterRecorder, Log, replay},
    time::{LockStep, Ticker},
};

#[global_allocator]
static ALLOCATOR: CountingAllocator = CountingAllocator;

/// Two joints that are told positions, in degrees and the other way round.
const POSITIONS: &str = r#"
schema = "sog.robot/1"
name = "gantry"
dt = 0.1
joint = [
    { name = "left", unit = "deg", sign = -1, offset = 20.0 },
    { name = "right", unit = "deg" },
]
channel = [{ name = "angles", joints = "position" }]
observation = [{ name = "position", qpos = "all", history = 5 }]
command = [{ name = "targets", joints = "position", low = -400.0, high = 400.0 }]
action = [{ name = "displacement", joint = "all", sets = "position", default = [0.4, -0.3], scale = 0.1 }]
[homing]
speed = { left = 0.5, right = 0.25 }
tolerance = 0.02
"#;

/// The same joints, told torques at ten times the rate.
const TORQUES: &str = r#"
schema = "sog.robot/1"
name = "gantry"
dt = 0.01
joint = [
    { name = "left", unit = "deg", sign = -1, offset = 20.0, kp = 40.0, kd = 4.0, torque_limit = 30.0 },
    { name = "right", unit = "deg", kp = 40.0, kd = 4.0, torque_limit = 30.0 },
]
channel = [{ name = "angles", joints = "position" }, { name = "speeds", joints = "velocity" }]
observation = [{ name = "position", qpos = "all", history = 5 }]
command = [{ name = "torques", joints = "torque", low = -50.0, high = 50.0 }]
action = [{ name = "displacement", joint = "all", sets = "torque" }]
[homing]
pose = { left = 0.4, right = -0.3 }
speed = 0.5
tolerance = 0.02
"#;

const POSE: [f64; 2] = [0.4, -0.3];

/// What a joint does about what it is told.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Joint {
    /// Is where it is told to be, or accelerates by the torque.
    Follows,
    /// Does not move.
    Stuck,
    /// Stops so far short of where it is told to be, rad.
    Short(f64),
}

/// Two joints. Positions and velocities as the policy counts them.
struct Gantry {
    spec: RobotSpec,
    torques: bool,
    dt_s: f64,
    right: Joint,
    at: [f64; 2],
    speed: [f64; 2],
    step: u64,
    fresh: bool,
    /// Positions after each command to move.
    moved: Vec<[f64; 2]>,
}

impl RobotIo for Gantry {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        if !std::mem::take(&mut self.fresh) {
            return Err(IoError::Stale);
        }
        let [left, right] = self.at.map(f64::to_degrees);
        (obs[0], obs[1]) = ((20.0 - left) as f32, right as f32);
        if self.torques {
            let [left, right] = self.speed.map(f64::to_degrees);
            (obs[2], obs[3]) = (-left as f32, right as f32);
        }
        // Not quite still, as real sensors are.
        obs[0] += if self.step.is_multiple_of(2) { 1e-3 } else { -1e-3 };
        Ok(Reading { step: self.step, reward: None, terminated: false })
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        if let Command::Act(told) = command {
            let joints = [(Joint::Follows, -1.0, 20.0), (self.right, 1.0, 0.0)];
            for (i, (&told, (joint, sign, offset))) in told.iter().zip(joints).enumerate() {
                let told = f64::from(told);
                if self.torques {
                    self.speed[i] += sign * told / 0.1 * self.dt_s;
                    self.at[i] += self.speed[i] * self.dt_s;
                    continue;
                }
                let wanted = sign * (told - offset).to_radians();
                self.at[i] = match joint {
                    Joint::Follows => wanted,
                    Joint::Stuck => self.at[i],
                    Joint::Short(by) => wanted + by,
                };
            }
            self.moved.push(self.at);
        }
        (self.step, self.fresh) = (self.step + 1, true);
        Ok(())
    }
}

fn program(text: &str) -> AdapterProgram {
    let file = RobotFile::parse("robot.toml", text).unwrap();
    AdapterProgram::new(&file, &policy().contract).unwrap()
}

fn policy() -> PolicyFile {
    let mut file = example(7);
    file.contract.dt_s = 0.1;
    file
}

fn gantry(program: &AdapterProgram, at: [f64; 2], right: Joint) -> Gantry {
    let spec = RobotSpec::new(program.robot_contract().clone());
    let torques = spec.obs_dim() == 4;
    let dt_s = spec.contract.dt_s;
    let moved = Vec::with_capacity(10_000);
    Gantry { spec, torques, dt_s, right, at, speed: [0.0; 2], step: 0, fresh: true, moved }
}

fn adapted(text: &str, at: [f64; 2], right: Joint) -> Adapter<Gantry> {
    let program = program(text);
    Adapter::new(gantry(&program, at, right), &program, Between::Write).unwrap()
}

fn controller(robot: &dyn RobotIo, requests: &[Request]) -> Controller {
    let controller = Controller::new(&policy(), robot.spec(), Config::default()).unwrap();
    requests.iter().for_each(|&request| controller.request(request));
    controller
}

/// The states of so many ticks.
fn ticks(controller: &mut Controller, robot: &mut dyn RobotIo, n: usize) -> Vec<State> {
    let mut ticker = LockStep::new(controller.period_ns());
    (0..n).map(|_| controller.tick(robot, &ticker.wait()).state).collect()
}

fn started(text: &str, at: [f64; 2], right: Joint, ticks: u64) -> (RunReport, Adapter<Gantry>) {
    let mut robot = adapted(text, at, right);
    let mut controller = controller(&robot, &[Request::Arm, Request::Start]);
    let mut ticker = LockStep::new(controller.period_ns());
    let plan = Plan::ticks(ticks);
    let report = run(&mut controller, &mut robot, &mut ticker, &plan, &mut ());
    (report, robot)
}

#[test]
fn a_start_from_elsewhere_goes_by_way_of_the_start_pose() {
    let (report, robot) = started(POSITIONS, [1.0, 0.5], Joint::Follows, 10);
    assert_eq!((report.end.is_good(), report.policy_ticks), (true, 10));
    // The right joint has the longer way: T = 3/2 · 0.8 rad / 0.25 rad/s, told from its beginning to
    // its end, both included, and once more for the tick that saw it there.
    let way = &robot.inner().moved[..robot.inner().moved.len() - 10];
    assert!((49..=50).contains(&way.len()), "{}", way.len());
    let last = way.last().unwrap();
    assert!(last.iter().zip(POSE).all(|(at, pose)| (at - pose).abs() < 1e-4), "{last:?}");
    for (before, after) in way.iter().zip(&way[1..]) {
        for (i, most) in [0.5, 0.25].into_iter().enumerate() {
            assert!((after[i] - before[i]).abs() <= most * 0.1 + 1e-4, "{before:?} {after:?}");
        }
    }
    // At rest at both ends, and fastest in the middle.
    let speed = |at: usize| (way[at + 1][1] - way[at][1]).abs() / 0.1;
    assert!(speed(0) < 0.03 && speed(46) < 0.04 && (speed(24) - 0.25).abs() < 0.01);

    // Where it is there already, the policy begins at once.
    let (report, robot) = started(POSITIONS, POSE, Joint::Follows, 10);
    assert_eq!((report.ticks, robot.inner().moved.len()), (11, 10));
}

#[test]
fn home_holds_the_pose_until_the_operator_says_more() {
    let mut robot = adapted(POSITIONS, [0.9, -0.2], Joint::Follows);
    let mut controller = controller(&robot, &[Request::Arm, Request::Home]);
    let states = ticks(&mut controller, &mut robot, 60);
    assert!(states.iter().all(|&state| state == State::Homing), "{states:?}");
    assert_eq!(robot.homing(), Homing::There);
    // What the policy would have had to say to hold it: 0 is its default pose.
    assert!(controller.action().iter().all(|a| a.abs() < 1e-5), "{:?}", controller.action());
    assert_eq!(controller.stats().policy_ticks, 0);
    controller.request(Request::Start);
    assert_eq!(ticks(&mut controller, &mut robot, 2), [State::Policy; 2]);

    // Once more, and away from it.
    for request in [Request::Damp, Request::Reset, Request::Arm, Request::Home] {
        controller.request(request);
        ticks(&mut controller, &mut robot, 1);
    }
    assert_eq!(controller.state(), State::Homing);
    controller.request(Request::Damp);
    assert_eq!(ticks(&mut controller, &mut robot, 2), [State::Damping; 2]);
}

#[test]
fn a_robot_without_a_way_is_not_sent_on_it() {
    let text = POSITIONS.split("[homing]").next().unwrap();
    let mut robot = adapted(text, [1.0, 0.5], Joint::Follows);
    let mut controller = controller(&robot, &[Request::Arm, Request::Home]);
    assert_eq!(ticks(&mut controller, &mut robot, 2), [State::Ready; 2]);
    controller.request(Request::Start);
    assert_eq!(ticks(&mut controller, &mut robot, 1), [State::Policy]);
    assert!(matches!(robot.write(Command::Home), Err(IoError::Robot(_))));
}

#[test]
fn a_joint_that_is_held_or_stops_short_ends_it_in_damping() {
    for (right, fault) in
        [(Joint::Stuck, Faults::HOMING_BLOCKED), (Joint::Short(0.05), Faults::HOMING_LATE)]
    {
        let (report, robot) = started(POSITIONS, [1.0, 0.5], right, 10);
        assert_eq!(report.end.name(), "homing_fault", "{right:?}");
        assert_eq!((report.state, report.policy_ticks), (State::Damping, 0));
        assert_eq!((report.faults.get(fault), report.faults.total()), (1, 1), "{right:?}");
        let end = robot.inner().moved.last().unwrap()[0];
        match right {
            // Given up when it was 0.3 rad behind, before the end of the way.
            Joint::Stuck => assert!(end > 0.45, "{end}"),
            _ => assert!((end - POSE[0]).abs() < 1e-4, "{end}"),
        }
    }
}

#[test]
fn torques_take_it_there_too_at_the_robots_own_rate() {
    let (report, robot) = started(TORQUES, [1.0, 0.5], Joint::Follows, 1);
    assert!(report.end.is_good(), "{}", report.end.name());
    let way = &robot.inner().moved;
    let arrived = way[way.len() - 20];
    assert!(arrived.iter().zip(POSE).all(|(at, pose)| (at - pose).abs() < 0.02), "{arrived:?}");
    for (before, after) in way.iter().zip(&way[1..way.len() - 10]) {
        // The joints swing a little about the path.
        assert!((0..2).all(|i| (after[i] - before[i]).abs() <= 0.6 * 0.01), "{before:?} {after:?}");
    }
    // The same in real time, where the ticker runs the robot's periods.
    let program = program(TORQUES);
    let inner = gantry(&program, [1.0, 0.5], Joint::Follows);
    let adapter = RefCell::new(Adapter::new(inner, &program, Between::Ticker).unwrap());
    let mut robot = PacedRobot::new(&adapter);
    let mut controller = controller(&robot, &[Request::Arm, Request::Home]);
    let mut ticker = PacedTicker::new(&adapter, LockStep::new(10_000_000));
    let before = CountingAllocator::count();
    for _ in 0..40 {
        controller.tick(&mut robot, &ticker.wait());
    }
    assert_eq!(CountingAllocator::count(), before, "nothing is allocated on the way");
    assert_eq!((controller.state(), robot.homing()), (State::Homing, Homing::There));
}

#[test]
fn the_way_is_on_the_record_and_replays_to_the_same_bits() {
    for text in [POSITIONS, TORQUES] {
        let (program, dir) = (program(text), tempfile::tempdir().unwrap());
        let path = dir.path().join("run.log");
        let inner = gantry(&program, [1.0, 0.5], Joint::Follows);
        let spec = inner.spec.clone();
        let adapter = RefCell::new(Adapter::new(inner, &program, Between::Write).unwrap());
        let mut robot = PacedRobot::new(&adapter);
        let mut controller = controller(&robot, &[Request::Arm, Request::Start]);
        let steps = program.steps();
        let header = AdapterHeader { text: program.file().text().to_string(), robot: spec, steps };
        let output = Outputs::new(false).claim(Path::new(&path)).unwrap();
        let bytes = policy().to_bytes();
        let (recorder, writer) =
            telemetry::start_in(&output, &controller, &bytes, Some(header)).unwrap();
        let mut observer = AdapterRecorder { recorder, adapter: &adapter };
        let mut ticker = LockStep::new(controller.period_ns());
        let report = run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(20), &mut observer);
        writer.finish(&observer.recorder).unwrap();
        let log = Log::parse(&std::fs::read(&path).unwrap()).unwrap();
        let homed = log.records.iter().filter(|r| r.tick.command == CommandKind::Home).count();
        assert!(homed > 20, "{homed}");
        assert!(log.records.iter().any(|r| r.tick.homing == Homing::There));
        let replayed = replay(&log).unwrap();
        assert_eq!((replayed.ticks, replayed.mismatch), (report.ticks, None));
    }
}

#[test]
fn files_that_say_nothing_sound_are_refused_by_name() {
    let homing = |table: &str| {
        let text = POSITIONS.split("[homing]").next().unwrap().to_string() + table;
        let file = RobotFile::parse("robot.toml", &text).map_err(|e| e.to_string())?;
        AdapterProgram::new(&file, &policy().contract).map(drop).map_err(|e| e.to_string())
    };
    assert_eq!(homing("[homing]\nspeed = 0.5\n"), Ok(()));
    for (table, says) in [
        ("[homing]\n", "homing.speed`: is missing"),
        ("[homing]\nspeed = 0\n", "need a number above 0"),
        ("[homing]\nspeed = { left = 0.5 }\n", "joint `right` has no speed"),
        ("[homing]\nspeed = 1\npose = { elbow = 0 }\n", "no [[joint]] `elbow`"),
        ("[homing]\nspeed = 1\npose = { left = 9 }\n", "the pose of joint `left`, 9"),
        ("[homing]\nspeed = 1\ntolerence = 0.1\n", "did you mean `tolerance`"),
        ("[homing]\nspeed = 1\nlag = -1\n", "homing.lag`: found -1"),
    ] {
        let error = homing(table).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
    // Torques need a pose, gains and positions.
    let torques = |from: &str, to: &str| {
        let text = TORQUES.replace(from, to);
        assert_ne!(text, TORQUES);
        let file = RobotFile::parse("robot.toml", &text).map_err(|e| e.to_string());
        let program = file.and_then(|file| {
            AdapterProgram::new(&file, &policy().contract).map_err(|e| e.to_string())
        });
        program.unwrap_err()
    };
    for (from, to, says) in [
        ("pose = {", "pose = { left = 0.1 } #", "joint `right` has no pose"),
        ("kp = 40.0, kd = 4.0, torque_limit = 30.0 },\n    {", "kd = 4.0 },\n    {", "needs kp"),
        (", { name = \"speeds\", joints = \"velocity\" }", "", "with its velocity"),
        (
            "joints = \"torque\", low = -50.0, high = 50.0 }]\naction = [{ name = \"displacement\", joint = \"all\", sets = \"torque\" }",
            "joints = \"velocity\", low = -5.0, high = 5.0 }]\naction = [{ name = \"displacement\", joint = \"all\", sets = \"velocity\" }",
            "told a velocity alone",
        ),
    ] {
        let error = torques(from, to);
        assert!(error.contains(says), "{error}");
    }
    assert_eq!(Event::HomingFault as usize + 1, sog_runtime::control::TABLE.len());
}
