//! Hardware in the loop: a controller over a link does what it does in one process.
#![allow(clippy::unwrap_used)]

mod common;

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, ChildStdout, Command, Stdio},
};

use common::policy_for;
use serde_json::Value;
use sog_runtime::{
    control::{Config, Controller, Observer, Plan, Request, RunReport, TickReport, run},
    io::RobotIo,
    link::{Address, LinkError, LinkOptions, LinkRobot, Transport},
    policy::PolicyFile,
    time::RealTime,
    time::{LockStep, Wake},
};
use sog_sim::{
    robot::{SimRobot, spec},
    tasks::{self, TaskOptions, make},
};

/// A running `sog-sim plant`; killed if a test ends early.
struct Plant {
    child: Child,
    stdout: ChildStdout,
    address: Address,
}

impl Plant {
    fn start(task: &str, arguments: &[&str]) -> Self {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sog-sim"))
            .args(["plant", "--task", task, "--listen", "0", "--json"])
            .args(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        stderr.read_line(&mut line).unwrap();
        let address = line.split_whitespace().find(|word| word.starts_with("udp://"));
        let address = address.unwrap_or_else(|| panic!("no address in `{line}`"));
        let address = address.trim_end_matches(',').parse().unwrap();
        // The rest is not needed, and a full pipe would stop the plant.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        let stdout = child.stdout.take().unwrap();
        Self { child, stdout, address }
    }

    fn connect(&self, task: &str) -> LinkRobot<Box<dyn Transport + Send>> {
        let transport = self.address.connect(None).unwrap();
        LinkRobot::connect(
            transport,
            &spec(&tasks::open(task).unwrap().info().clone()),
            &LinkOptions::default(),
        )
        .unwrap()
    }

    /// Waits for the end; exit code and what was printed.
    fn finish(mut self) -> (Option<i32>, Value) {
        let mut text = String::new();
        self.stdout.read_to_string(&mut text).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, serde_json::from_str(&text).unwrap_or(Value::Null))
    }

    fn terminate(&self) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Everything that a controller saw and did.
#[derive(Default, PartialEq)]
struct Seen {
    observations: Vec<f32>,
    actions: Vec<f32>,
    rewards: Vec<Option<f64>>,
}

impl Observer for Seen {
    fn observe(&mut self, controller: &Controller, _: &Wake, tick: &TickReport, _: u64) {
        self.observations.extend_from_slice(controller.observation());
        self.actions.extend_from_slice(controller.action());
        self.rewards.push(tick.read.ok().and_then(|r| r.reward));
    }
}

fn drive(file: &PolicyFile, robot: &mut dyn RobotIo, ticks: u64) -> (RunReport, Seen) {
    let mut controller = Controller::new(file, robot.spec(), Config::default()).unwrap();
    controller.request(Request::Arm);
    controller.request(Request::Start);
    let (mut ticker, mut seen) = (LockStep::new(controller.period_ns()), Seen::default());
    let report = run(&mut controller, robot, &mut ticker, &Plan::ticks(ticks), &mut seen);
    (report, seen)
}

#[test]
fn in_lock_step_a_link_changes_not_a_bit() {
    for task in ["halfcheetah-fwd-back", "circles"] {
        let file = policy_for(task, 2);
        let plant =
            Plant::start(task, &["--lock-step", "--sessions", "2", "--seed", "9", "--reward", "1"]);
        let mut here = SimRobot::new(make(task, &TaskOptions::default()).unwrap(), 9).unwrap();
        here.report_reward(1).unwrap();
        let mut acts = 0;
        for session in 0..2 {
            if session > 0 {
                here.write(sog_runtime::io::Command::Reset).unwrap();
            }
            let (expected, expected_seen) = drive(&file, &mut here, 120);
            let mut robot = plant.connect(task);
            let (report, seen) = drive(&file, &mut robot, 120);
            assert!(robot.round_trip().count() >= report.policy_ticks);
            acts += report.policy_ticks;
            assert!(seen == expected_seen, "{task}, session {session}");
            assert_eq!(report.episode_return, expected.episode_return);
            assert!(report.episode_return.is_some());
            // The session ends with a damping more.
            here.write(sog_runtime::io::Command::Damp).unwrap();
        }
        let (code, report) = plant.finish();
        assert_eq!(code, Some(0));
        assert_eq!((&report["sessions"], &report["episodes"]), (&2.into(), &2.into()));
        assert_eq!(report["commands"]["act"], acts);
        assert!(acts > 40);
        assert_eq!(report["returns"][1], here.returns()[1]);
    }
}

#[test]
fn in_real_time_the_plant_serves_until_it_is_told_to_end() {
    let task = "circles";
    let plant = Plant::start(task, &["--watchdog", "20"]);
    let mut robot = plant.connect(task);
    let config = Config { damp_after_misses: None, ..Config::default() };
    let mut controller = Controller::new(&policy_for(task, 2), robot.spec(), config).unwrap();
    controller.request(Request::Arm);
    controller.request(Request::Start);
    let mut ticker = RealTime::new(controller.period_ns(), 0);
    let report = run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(30), &mut ());
    drop(robot);
    assert!(report.ticks > 0);
    plant.terminate();
    let (code, printed) = plant.finish();
    assert_eq!(code, Some(0));
    assert_eq!(printed["sessions"], 1);
    assert!(printed["commands"]["act"].as_u64().unwrap() > 0, "{printed}");
    assert_eq!(printed["lock_step"], false);
}

#[test]
fn another_tasks_policy_is_refused_by_name() {
    let plant = Plant::start("hopper-vel-6", &["--lock-step"]);
    let transport = plant.address.connect(None).unwrap();
    let other = spec(&tasks::open("circles").unwrap().info().clone());
    let error = LinkRobot::connect(transport, &other, &LinkOptions::default()).err().unwrap();
    assert!(matches!(error, LinkError::Refused { .. }), "{error}");
    assert!(error.to_string().contains("`circles`"), "{error}");
}

#[test]
fn what_cannot_be_served_is_refused_by_name() {
    for (arguments, needed) in [
        (vec!["--listen", "0"], "--task"),
        (vec!["--task", "circles"], "--listen"),
        (vec!["--task", "circles", "--listen", "127.0.0.1:x"], "no such host or port"),
        (vec!["--task", "circles", "--listen", "0", "--reward", "3"], "there is no mode 3"),
        (vec!["--task", "circles", "--listen", "0", "--goal", "1"], "has discrete modes"),
        (vec!["--task", "circles", "--listen", "0", "--key", "/nowhere"], "key file"),
        (
            vec!["--task", "circles", "--serial", "/dev/nothing"],
            "cannot open serial:///dev/nothing",
        ),
        (
            vec!["--task", "circles", "--listen", "0", "--serial", "/dev/null"],
            "cannot be used with",
        ),
        (
            vec!["--task", "circles", "--listen", "192.0.2.1:5"],
            "cannot listen on udp://192.0.2.1:5",
        ),
    ] {
        let output =
            Command::new(env!("CARGO_BIN_EXE_sog-sim")).arg("plant").args(&arguments).output();
        let output = output.unwrap();
        let error = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {error}");
        assert!(error.contains(needed), "{arguments:?}: {error}");
    }
}
