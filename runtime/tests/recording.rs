//! `sog-run record` against a robot that a person leads, up to its sudden death.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, missing_docs)]

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    os::unix::net::UnixStream,
    path::Path,
    process::{Child, Command as Process, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    thread::JoinHandle,
};

use serde_json::Value;
use sog_runtime::{
    contract::Contract,
    io::{Command, Guidance, IoError, Reading, RobotIo, RobotSpec},
    link::{PlantOptions, PlantServer, Udp},
    policy::Terms,
    tensors::TensorFile,
};

/// A robot that shows its step and applies ten times it, with buttons that a test presses.
struct Led {
    spec: RobotSpec,
    step: u64,
    fresh: bool,
    applied: [f32; 1],
    buttons: Arc<AtomicU32>,
    held: u32,
    commands: u64,
}

impl Led {
    fn new(buttons: &Arc<AtomicU32>) -> Self {
        let contract = Contract {
            task: "led".to_string(),
            obs_terms: Terms::new(&[("at", 2)]),
            action_terms: Terms::new(&[("push", 1)]),
            dt_s: 0.002,
            action_low: vec![-1e6],
            action_high: vec![1e6],
        };
        let (spec, buttons) = (RobotSpec::new(contract), Arc::clone(buttons));
        Self { spec, step: 0, fresh: true, applied: [0.0], buttons, held: 0, commands: 0 }
    }
}

impl RobotIo for Led {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        if !std::mem::take(&mut self.fresh) {
            return Err(IoError::Stale);
        }
        obs.copy_from_slice(&[self.step as f32, -(self.step as f32)]);
        self.held = self.buttons.load(Ordering::SeqCst);
        Ok(Reading { step: self.step, ..Reading::default() })
    }

    fn guidance(&self) -> Guidance<'_> {
        Guidance { applied: Some(&self.applied), buttons: self.held, taken_over: true }
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        self.commands += u64::from(matches!(command, Command::Act(_) | Command::Stop));
        (self.step, self.fresh) = (self.step + 1, true);
        self.applied = [self.step as f32 * 10.0];
        Ok(())
    }
}

/// The robot behind UDP; how often it was told to act or to stop, when it ends.
struct Robot {
    address: SocketAddr,
    buttons: Arc<AtomicU32>,
    stop: Arc<AtomicBool>,
    served: Option<JoinHandle<u64>>,
}

impl Robot {
    fn start(lock_step: bool) -> Self {
        let transport = Udp::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = transport.local_addr().unwrap();
        let (buttons, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let (pressed, stopped) = (Arc::clone(&buttons), Arc::clone(&stop));
        let served = std::thread::spawn(move || {
            let mut robot = Led::new(&pressed);
            let options = PlantOptions { lock_step, ..PlantOptions::default() };
            let spec = robot.spec.clone();
            PlantServer::new(transport, &spec, options).serve(&mut robot, &stopped).unwrap();
            robot.commands
        });
        Self { address, buttons, stop, served: Some(served) }
    }

    fn finish(mut self) -> u64 {
        self.stop.store(true, Ordering::SeqCst);
        self.served.take().unwrap().join().unwrap()
    }
}

/// A running recorder; killed if a test ends early.
struct Recorder {
    child: Child,
    lines: std::io::Lines<BufReader<UnixStream>>,
    stream: UnixStream,
}

impl Recorder {
    /// Starts one; anew where the robot is still busy with one that has died.
    fn start(robot: &Robot, dir: &Path, more: &[&str]) -> Self {
        let socket = dir.join("socket");
        let spawn = || {
            let _ = std::fs::remove_file(&socket);
            Process::new(env!("CARGO_BIN_EXE_sog-run"))
                .args(["record", "--json", "--no-keys", "--robot"])
                .arg(format!("udp://{}", robot.address))
                .arg("--out")
                .arg(dir.join("demos.safetensors"))
                .arg("--control")
                .arg(&socket)
                .args(more)
                .stdout(Stdio::piped())
                .stderr(Stdio::null())
                .spawn()
                .unwrap()
        };
        let mut child = spawn();
        let stream = loop {
            if let Ok(stream) = UnixStream::connect(&socket) {
                break stream;
            }
            if child.try_wait().unwrap().is_some() {
                child = spawn();
            }
            std::thread::yield_now();
        };
        let lines = BufReader::new(stream.try_clone().unwrap()).lines();
        Self { child, lines, stream }
    }

    fn say(&mut self, line: &str) -> String {
        writeln!(self.stream, "{line}").unwrap();
        self.lines.next().unwrap().unwrap()
    }

    /// Asks until the answer holds a text.
    fn wait_for(&mut self, what: &str) {
        while !self.say("status").contains(what) {
            std::thread::yield_now();
        }
    }

    /// Waits until an episode has so many steps.
    fn wait_for_steps(&mut self, steps: usize) {
        loop {
            let status = self.say("status");
            let found = status.split_whitespace().find_map(|w| w.strip_prefix("steps=")).unwrap();
            if found.parse::<usize>().unwrap() >= steps {
                return;
            }
            std::thread::yield_now();
        }
    }

    fn finish(mut self) -> (Option<i32>, Value) {
        let mut text = String::new();
        std::io::Read::read_to_string(self.child.stdout.as_mut().unwrap(), &mut text).unwrap();
        let code = self.child.wait().unwrap().code();
        (code, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

impl Drop for Recorder {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Steps of each episode on the disk; every pair is the robot's, without a gap.
fn lengths(dir: &Path) -> Vec<u32> {
    let bytes = std::fs::read(dir.join("demos.safetensors")).unwrap();
    let file = TensorFile::parse(&bytes).unwrap();
    assert!(file.verify_checksum().unwrap());
    for (key, value) in [
        ("schema", "sog.demonstrations/1"),
        ("task", "led"),
        ("dt", "0.002"),
        ("obs.terms", "at:2"),
        ("action.terms", "push:1"),
        ("action.low", "[-1000000]"),
        ("expert", "recorded"),
    ] {
        assert_eq!(file.meta(key).unwrap(), value, "{key}");
    }
    let lengths = file.u32("lengths").unwrap();
    let t = file.shape("actions").unwrap()[1];
    let (observations, actions) = (file.f32("observations").unwrap(), file.f32("actions").unwrap());
    for (n, &length) in lengths.iter().enumerate() {
        let first = observations[n * t * 2];
        for i in 0..length as usize {
            let (step, row) = (first + i as f32, n * t + i);
            assert_eq!(observations[row * 2..][..2], [step, -step], "episode {n}, pair {i}");
            assert_eq!(actions[row], (step + 1.0) * 10.0, "episode {n}, pair {i}");
        }
    }
    lengths
}

#[test]
fn operator_and_button_start_end_keep_and_discard() {
    for lock_step in [true, false] {
        let dir = tempfile::tempdir().unwrap();
        let robot = Robot::start(lock_step);
        let mut recorder = Recorder::start(&robot, dir.path(), &[]);
        assert!(recorder.say("end").starts_with("error no episode is under way"));
        assert!(recorder.say("jump").starts_with("error `jump`"));
        assert_eq!(recorder.say("start"), "ok episode 0 begins");
        assert!(recorder.say("start").starts_with("error an episode is under way"));
        recorder.wait_for_steps(20);
        assert!(recorder.say("end").starts_with("ok episode 0 is on the disk: "));
        assert_eq!(lengths(dir.path()).len(), 1);
        assert_eq!(recorder.say("keep"), "ok episode 0 stays");
        assert!(recorder.say("discard").starts_with("error"));

        // The button, twice, and once more to discard what it made.
        robot.buttons.store(1, Ordering::SeqCst);
        recorder.wait_for("state=recording");
        robot.buttons.store(0, Ordering::SeqCst);
        recorder.wait_for_steps(100);
        robot.buttons.store(1, Ordering::SeqCst);
        recorder.wait_for("episodes=2");
        assert_eq!(lengths(dir.path()).len(), 2);
        robot.buttons.store(2, Ordering::SeqCst);
        recorder.wait_for("episodes=1");
        let kept = lengths(dir.path());
        assert_eq!(kept.len(), 1, "what is discarded is gone from the disk");
        assert_eq!(recorder.say("start"), "ok episode 1 begins");
        recorder.wait_for_steps(3);
        assert!(recorder.say("discard").contains("is dropped"));
        assert_eq!(recorder.say("quit"), "ok");
        let (code, report) = recorder.finish();
        assert_eq!(code, Some(0));
        assert_eq!((&report["episodes"], &report["dropped"]), (&1.into(), &2.into()));
        assert_eq!((&report["missing"], &report["lost"]), (&0.into(), &0.into()));
        assert_eq!(report["steps"], kept[0]);
        assert_eq!(robot.finish(), 0, "nothing was commanded");
    }
}

#[test]
fn sudden_death_costs_the_episode_under_way_and_no_other() {
    let dir = tempfile::tempdir().unwrap();
    let robot = Robot::start(false);
    let mut before = 0;
    for death in 0..3 {
        let more: &[&str] = if death == 0 { &[] } else { &["--append"] };
        let mut recorder = Recorder::start(&robot, dir.path(), more);
        for _ in 0..3 {
            assert!(recorder.say("start").starts_with("ok"));
            recorder.wait_for_steps(5);
            assert!(recorder.say("end").contains("is on the disk"));
        }
        assert!(recorder.say("start").starts_with("ok"));
        recorder.wait_for_steps(5);
        recorder.child.kill().unwrap();
        recorder.child.wait().unwrap();
        let found = lengths(dir.path());
        assert_eq!(found.len(), before + 3);
        before = found.len();
    }
    assert_eq!(robot.finish(), 0);
}

#[test]
fn what_is_there_and_what_does_not_fit_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let robot = Robot::start(true);
    let mut recorder = Recorder::start(&robot, dir.path(), &["--episodes", "1"]);
    recorder.say("start");
    recorder.wait_for_steps(2);
    recorder.say("end");
    assert_eq!(recorder.finish().0, Some(0));
    let file = dir.path().join("demos.safetensors");
    let run = |arguments: &[&str]| {
        let output = Process::new(env!("CARGO_BIN_EXE_sog-run"))
            .args(["record", "--no-keys", "--robot", &format!("udp://{}", robot.address)])
            .args(arguments)
            .output()
            .unwrap();
        (output.status.code(), String::from_utf8(output.stderr).unwrap())
    };
    let (code, error) = run(&["--out", file.to_str().unwrap()]);
    assert!(code == Some(2) && error.contains("--force"), "{error}");
    // A policy of another task is not what this robot is.
    let policy = dir.path().join("policy.safetensors");
    std::fs::write(&policy, sog_runtime::policy::example(3).to_bytes()).unwrap();
    let other = dir.path().join("other.safetensors");
    let (out, like) = (other.to_str().unwrap(), policy.to_str().unwrap());
    let (code, error) = run(&["--out", out, "--like", like]);
    assert!(code == Some(2) && error.contains("task of the policy"), "{error}");
    // Its own demonstrations say what it is.
    let (code, error) = run(&["--out", file.to_str().unwrap(), "--like", "/nowhere", "--append"]);
    assert!(code == Some(2) && error.contains("/nowhere"), "{error}");
    assert!(!other.exists());
    robot.finish();
}
