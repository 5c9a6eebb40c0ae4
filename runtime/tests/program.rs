//! The program `sog-run` as a person starts it: killed, without a disk, without a reader, twice.
#![cfg(feature = "cli")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    fs,
    io::{Read, Write},
    net::SocketAddr,
    os::unix::{fs::symlink, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use common::{Point, policy, spec};
use serde_json::Value;
use sog_runtime::{
    link::{PlantOptions, PlantReport, PlantServer, Udp},
    telemetry::{Log, replay},
    time::monotonic_ns,
};

const PROGRAM: &str = env!("CARGO_BIN_EXE_sog-run");

/// A folder with a policy, and a robot on UDP.
struct World {
    dir: tempfile::TempDir,
    address: SocketAddr,
    stop: Arc<AtomicBool>,
    robot: Option<JoinHandle<PlantReport>>,
}

impl World {
    fn new(lock_step: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        fs::write(dir.path().join("policy"), policy().to_bytes()).unwrap();
        let socket = Udp::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
        let address = socket.local_addr().unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        let flag = Arc::clone(&stop);
        // Patient: the tests may share a processor with much else.
        let options = PlantOptions { lock_step, watchdog_periods: 4000, ..Default::default() };
        let robot = thread::spawn(move || {
            PlantServer::new(socket, &spec(), options).serve(&mut Point::new(), &flag).unwrap()
        });
        Self { dir, address, stop, robot: Some(robot) }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_string()
    }

    /// The program on the robot; late ticks and lost packets do not end it.
    fn run(&self, args: &[&str]) -> Command {
        let mut command = Command::new(PROGRAM);
        let robot = format!("udp://{}", self.address);
        command.arg(self.path("policy")).args(["--robot", &robot, "--no-keys", "--rt", "off"]);
        command.args(["--damp-after", "off", "--stale-limit", "4000", "--frozen-limit", "off"]);
        command.args(args).stdin(Stdio::null());
        command
    }

    fn finish(mut self) -> PlantReport {
        self.stop.store(true, Ordering::Relaxed);
        self.robot.take().unwrap().join().unwrap()
    }
}

fn plain(args: &[&str]) -> Output {
    Command::new(PROGRAM).args(args).output().unwrap()
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

fn said(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits until a file has so many bytes.
fn await_bytes(path: &Path, bytes: u64) {
    let begin = Instant::now();
    while fs::metadata(path).map_or(0, |found| found.len()) < bytes {
        assert!(begin.elapsed() < Duration::from_secs(60), "{} does not grow", path.display());
        thread::sleep(Duration::from_millis(1));
    }
}

#[test]
fn a_log_of_a_killed_controller_lacks_at_most_a_fifth_of_a_second() {
    for (rate, wait_ms) in [("20", 700), ("200", 313), ("1000", 271), ("2000", 499)] {
        let world = World::new(false);
        let log = world.path("log");
        let mut child = world.run(&["--quiet", "--rate", rate, "--log", &world.text("log")]);
        let mut child = child.stderr(Stdio::null()).spawn().unwrap();
        // The header is there, whole, from the first moment on.
        await_bytes(&log, 1);
        assert_eq!(
            Log::parse(&fs::read(&log).unwrap()).unwrap().header.policy,
            policy().to_bytes()
        );
        await_bytes(&log, policy().to_bytes().len() as u64 + 1000);
        thread::sleep(Duration::from_millis(wait_ms));
        let killed_ns = monotonic_ns();
        child.kill().unwrap();
        child.wait().unwrap();

        let log = Log::parse(&fs::read(&log).unwrap()).unwrap();
        assert!(!log.complete && log.lost() == 0, "{rate} Hz");
        let last = log.records.last().unwrap();
        let age_ms = killed_ns.saturating_sub(last.end_ns) / 1_000_000;
        let period_ms = 1000 / rate.parse::<u64>().unwrap();
        assert!(age_ms <= 200 + period_ms, "{rate} Hz: the last {age_ms} ms are lost");
        let report = replay(&log).unwrap();
        assert_eq!((report.ticks, report.mismatch), (log.records.len() as u64, None));

        let path = world.text("log");
        let replayed = plain(&["replay", &path]);
        let text = String::from_utf8(replayed.stdout.clone()).unwrap();
        assert!(code(&replayed) == 0 && text.contains("the log was cut off"), "{text}");
        let exported = plain(&["export", &path, "--csv", &world.text("csv")]);
        let text = String::from_utf8(exported.stdout.clone()).unwrap();
        assert!(code(&exported) == 0 && text.contains("the log was cut off"), "{text}");
        let lines = fs::read_to_string(world.path("csv")).unwrap().lines().count();
        assert_eq!(lines, log.records.len() + 1);

        // Bytes that were changed are not what a kill leaves: whoever verifies a flight is told.
        let mut bytes = fs::read(world.path("log")).unwrap();
        let halfway = bytes.len() - (bytes.len() - policy().to_bytes().len()) / 2;
        bytes[halfway] ^= 1;
        fs::write(world.path("log"), bytes).unwrap();
        let replayed = plain(&["replay", &path]);
        let text = String::from_utf8(replayed.stdout.clone()).unwrap();
        assert!(code(&replayed) == 1 && text.contains("is damaged"), "{text}");
        world.finish();
    }
}

#[test]
fn a_disk_that_fills_up_ends_no_flight() {
    let world = World::new(true);
    let mut command = world.run(&["--duration", "200", "--json", "--log", &world.text("log")]);
    let args: Vec<_> = command.get_args().map(|arg| arg.to_str().unwrap().to_string()).collect();
    // 2000 ticks of 144 bytes; a file may have 64 KiB.
    command = Command::new("sh");
    command.arg("-c").arg("ulimit -f 64; exec \"$0\" \"$@\"").arg(PROGRAM).args(args);
    let output = command.output().unwrap();
    assert_eq!(code(&output), 1, "{}", said(&output));
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["end"], &json["policy_ticks"]), (&"completed".into(), &2000.into()));
    let (log, ticks) = (&json["log"], json["ticks"].as_u64().unwrap());
    let written = log["records"].as_u64().unwrap();
    assert_eq!(log["missing"].as_u64().unwrap(), ticks - written);
    assert_eq!(log["missing_since"]["tick"], written);
    assert!(log["missing_since"]["s"].as_f64().unwrap() > 0.0);
    assert!(log["error"].as_str().unwrap().contains("too large"), "{log}");
    let read = Log::parse(&fs::read(world.path("log")).unwrap()).unwrap();
    assert_eq!((read.records.len() as u64, read.complete), (written, false));
    assert_eq!(world.finish().commands[0], 2000);
}

#[test]
fn outputs_destroy_nothing() {
    let world = World::new(true);
    let good = fs::read(world.path("policy")).unwrap();
    symlink("policy", world.path("soft")).unwrap();
    fs::hard_link(world.path("policy"), world.path("hard")).unwrap();
    for name in ["policy", "soft", "hard"] {
        for force in [&[][..], &["--force"]] {
            let mut args = vec!["--log", name];
            args.extend(force);
            let mut command = world.run(&args);
            let output = command.current_dir(world.dir.path()).output().unwrap();
            assert_eq!(code(&output), 2);
            assert!(said(&output).contains("is the input"), "{}", said(&output));
            assert_eq!(fs::read(world.path("policy")).unwrap(), good, "{name}");
        }
    }
    let log = world.text("log");
    let fly =
        |args: &[&str]| world.run(args).args(["--duration", "2", "-q", "--log", &log]).output();
    assert_eq!(code(&fly(&[]).unwrap()), 0);
    let first = fs::read(&log).unwrap();
    let again = fly(&[]).unwrap();
    assert!(code(&again) == 2 && said(&again).contains("--force"), "{}", said(&again));
    assert_eq!(fs::read(&log).unwrap(), first);
    assert_eq!(code(&fly(&["--force"]).unwrap()), 0);
    assert_ne!(fs::read(&log).unwrap(), first);

    let kept = fs::read(&log).unwrap();
    let (csv, both) = (world.text("out"), world.text("./out"));
    for args in [
        &["export", &log, "--csv", &log][..],
        &["export", &log, "--mcap", &log, "--force"],
        &["export", &log, "--csv", &csv, "--mcap", &both],
        &["export", &log, "--csv", &world.text("policy")],
        &["bench", &world.text("policy"), "--log", &world.text("hard"), "--force"],
    ] {
        assert_eq!(code(&plain(args)), 2, "{args:?}");
    }
    assert_eq!(fs::read(&log).unwrap(), kept);
    assert!(!world.path("out").exists());
    assert_eq!(fs::read(world.path("policy")).unwrap(), good);
    // A full disk leaves no half of a file, nor what is in its place.
    fs::write(&csv, "kept").unwrap();
    let full = Command::new("sh")
        .args(["-c", "ulimit -f 1; exec \"$0\" \"$@\"", PROGRAM, "export", &log, "--force"])
        .args(["--csv", &csv])
        .output()
        .unwrap();
    assert_eq!((code(&full), fs::read_to_string(&csv).unwrap().as_str()), (2, "kept"));
    world.finish();
}

#[test]
fn a_log_has_one_writer() {
    let world = World::new(false);
    let log = world.text("log");
    let mut first = world.run(&["-q", "--log", &log]).stdout(Stdio::null()).spawn().unwrap();
    await_bytes(&world.path("log"), policy().to_bytes().len() as u64 + 1000);
    // Another run, on a robot of its own, with and without leave to replace the file.
    let other = World::new(true);
    for (force, needed) in
        [(&[][..], "--force"), (&["--force"], "being written by another program")]
    {
        let mut second = other.run(&["--duration", "1", "-q", "--log", &log]);
        let second = second.args(force).output().unwrap();
        assert!(code(&second) == 2 && said(&second).contains(needed), "{}", said(&second));
    }
    let export = plain(&["export", &log, "--csv", &log, "--force"]);
    assert_eq!(code(&export), 2);
    Command::new("kill").args(["-TERM", &first.id().to_string()]).status().unwrap();
    assert!(first.wait().unwrap().success());
    let whole = Log::parse(&fs::read(&log).unwrap()).unwrap();
    assert!(whole.complete && whole.lost() == 0 && !whole.records.is_empty());
    // It is free again.
    let third = other.run(&["--duration", "1", "-q", "--force", "--log", &log]).output().unwrap();
    assert_eq!(code(&third), 0, "{}", said(&third));
    world.finish();
    other.finish();
}

#[test]
fn a_named_pipe_is_no_log() {
    let world = World::new(true);
    let pipe = world.text("pipe");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for args in [&["--log", &pipe][..], &["--log", &pipe, "--force"]] {
        let output = world.run(args).output().unwrap();
        assert!(code(&output) == 2 && said(&output).contains("named pipe"), "{}", said(&output));
    }
    // One that the shell opened has a reader.
    let piped = world.run(&["--duration", "1", "-q", "--log", "/dev/stdout"]).output().unwrap();
    let begin = &piped.stdout[..piped.stdout.len().min(6)];
    assert_eq!((code(&piped), begin), (0, &b"SOGLOG"[..]), "{}", said(&piped));
    world.finish();
}

#[test]
fn a_recording_refuses_what_it_cannot_use() {
    let dir = tempfile::tempdir().unwrap();
    let at = |name: &str| dir.path().join(name).to_str().unwrap().to_string();
    for (args, needed) in [
        // An adapter lies between the robot and a task.
        (["udp://127.0.0.1:1", &at("out"), "--adapter", &at("robot.toml")], "needs --like"),
        // The robot's own line.
        (["serial:///dev/zero?baud=115200", "/dev/zero", "--timeout", "1"], "is the input"),
    ] {
        let [robot, out, more @ ..] = args;
        let record = ["record", "--no-keys", "--robot", robot, "--out", out];
        let output = plain(&[&record[..], &more].concat());
        assert!(code(&output) == 2 && said(&output).contains(needed), "{}", said(&output));
    }
    assert!(!dir.path().join("out").exists());
}

/// The code of a program whose reader is gone before it says anything.
fn without_reader(command: &mut Command) -> i32 {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let output = command.stdin(Stdio::null()).stdout(writer).output().unwrap();
    assert!(!said(&output).contains("panic"), "{}", said(&output));
    code(&output)
}

/// The end of a terminal whose other end is closed.
fn vanished_terminal() -> Stdio {
    use rustix::{
        fs::{CWD, Mode, OFlags, openat},
        pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    };
    let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    let name = ptsname(&master, vec![]).unwrap();
    let terminal = openat(CWD, name, OFlags::RDWR | OFlags::NOCTTY, Mode::empty()).unwrap();
    drop(master);
    Stdio::from(terminal)
}

#[test]
fn a_program_without_a_reader_ends_quietly() {
    let world = World::new(true);
    let log = world.text("log");
    let flown = world.run(&["--duration", "2", "-q", "--log", &log]).output().unwrap();
    assert_eq!(code(&flown), 0, "{}", said(&flown));
    let policy = world.text("policy");
    for args in [
        &["info", &policy][..],
        &["info", &policy, "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["replay", &log],
        &["replay", &log, "--json"],
        &["export", &log, "--csv", &world.text("csv")],
        &["export", &log, "--csv", "/dev/stdout"],
        &["bench", &policy, "--rt", "off", "--duration", "0.2"],
        &["--help"],
    ] {
        assert_eq!(without_reader(Command::new(PROGRAM).args(args)), 141, "{args:?}");
    }
    // A terminal that has vanished is no reader either.
    for args in [&["info", &policy][..], &["doctor"], &["replay", &log, "--json"]] {
        let output = Command::new(PROGRAM).args(args).stdout(vanished_terminal()).output().unwrap();
        assert_eq!((code(&output), said(&output).as_str()), (141, ""), "{args:?}");
    }
    // A full disk is said to be one.
    let full = || fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = Command::new(PROGRAM).args(["info", &policy]).stdout(full()).output().unwrap();
    assert!(code(&output) == 1 && said(&output).contains("No space left"), "{}", said(&output));
    world.finish();
}

#[test]
fn a_controller_flies_on_without_a_terminal() {
    let world = World::new(true);
    let mut command = world.run(&["--duration", "100"]);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop((child.stdout.take(), child.stderr.take()));
    // Its summary finds no reader, but every tick was flown, and the robot heard the farewell.
    assert_eq!(child.wait().unwrap().code(), Some(141));
    let report = world.finish();
    assert_eq!((report.commands[0], report.watchdog), (1000, 0));
}

/// Starts a run that waits for its operator, and waits until it has the robot.
fn holding(world: &World) -> Child {
    let socket = world.path("control");
    let args = ["--wait", "-q", "--control", socket.to_str().unwrap()];
    let child = world.run(&args).stdout(Stdio::null()).spawn().unwrap();
    let begin = Instant::now();
    while UnixStream::connect(&socket).is_err() {
        assert!(begin.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(5));
    }
    child
}

#[test]
fn the_second_controller_of_a_robot_is_told_that_it_is_busy() {
    let world = World::new(false);
    let mut first = holding(&world);
    let second = world.run(&["--duration", "1"]).output().unwrap();
    assert_eq!(code(&second), 2);
    let text = said(&second);
    assert!(text.contains("busy: another controller has it since"), "{text}");
    // The first still has it, and an operator who asks for a code that is not there is told so.
    let mut operator = UnixStream::connect(world.path("control")).unwrap();
    operator.write_all(b"mode 9\nquit\n").unwrap();
    let mut answers = String::new();
    operator.read_to_string(&mut answers).ok();
    assert!(answers.starts_with("error there is no code 9: the policy has 3"), "{answers}");
    assert!(first.wait().unwrap().success());
    assert_eq!(world.finish().sessions, 1);
}

/// The point as a robot of its makers.
const ADAPTER: &str = r#"
schema = "sog.robot/1"
name = "lab-point"
dt = 0.1
joint = [
    { name = "y", unit = "mm", sign = -1, offset = 5.0 },
    { name = "x", unit = "mm" },
]
channel = [{ name = "trace", width = 10 }]
observation = [{ name = "position", sensor = "trace" }]
command = [{ name = "push", width = 2, low = -1.5, high = 1.5 }]
action = [{ name = "displacement", command = "push" }]
"#;

#[test]
fn through_an_adapter_the_actions_are_the_same_and_the_log_replays_them() {
    use sog_runtime::adapter::{AdapterPlant, RobotFile};
    let plain = World::new(true);
    let fly = |world: &World, more: &[&str]| {
        let mut command = world.run(&["--duration", "5", "-q", "--log", &world.text("log")]);
        let output = command.args(more).output().unwrap();
        assert_eq!(code(&output), 0, "{}", said(&output));
        Log::parse(&fs::read(world.path("log")).unwrap()).unwrap()
    };
    let direct = fly(&plain, &[]);
    plain.finish();

    let text = ADAPTER.to_string();
    let file = RobotFile::parse("robot.toml", &text).unwrap();
    let mut robot = AdapterPlant::new(Point::new(), &file).unwrap();
    let socket = Udp::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
    let mut world = World::new(true);
    world.address = socket.local_addr().unwrap();
    let stop = Arc::clone(&world.stop);
    let served = thread::spawn(move || {
        let options = PlantOptions { lock_step: true, ..Default::default() };
        let spec = sog_runtime::io::RobotIo::spec(&robot).clone();
        PlantServer::new(socket, &spec, options).serve(&mut robot, &stop).unwrap()
    });
    fs::write(world.path("robot.toml"), &text).unwrap();
    let adapted = fly(&world, &["--adapter", &world.text("robot.toml")]);
    assert_eq!(direct.records.len(), adapted.records.len());
    for (a, b) in direct.records.iter().zip(&adapted.records) {
        for (a, b) in a.action.iter().zip(&b.action) {
            assert!((a - b).abs() <= 1e-5, "{a} {b}");
        }
        assert_eq!((b.readings.len(), b.command.len()), (10, 2));
    }
    assert_eq!(replay(&adapted).unwrap().mismatch, None);
    // What the adapter made of it is replayed too.
    let mut changed = adapted.clone();
    changed.records[7].command[0] += 1.0;
    assert_eq!(replay(&changed).unwrap().mismatch.unwrap().what, "the adapter's command");
    let mut changed = adapted;
    changed.records[9].readings[3] += 1.0;
    assert_eq!(replay(&changed).unwrap().mismatch.unwrap().what, "observation");

    // A wrong file is refused by name before anything moves.
    fs::write(world.path("bad.toml"), text.replace("sensor = \"trace\"", "sensor = \"imu\""))
        .unwrap();
    let bad = world.run(&["--adapter", &world.text("bad.toml")]).output().unwrap();
    assert!(code(&bad) == 2 && said(&bad).contains("imu"), "{}", said(&bad));
    world.finish();
    served.join().unwrap();
}

#[test]
fn an_adapter_keeps_the_policys_rate_in_real_time() {
    let mut world = World::new(false);
    fs::write(world.path("robot.toml"), ADAPTER).unwrap();
    let file = sog_runtime::adapter::RobotFile::parse("robot.toml", ADAPTER).unwrap();
    let mut robot = sog_runtime::adapter::AdapterPlant::new(Point::new(), &file).unwrap();
    let socket = Udp::listen("127.0.0.1:0".parse().unwrap(), None).unwrap();
    world.address = socket.local_addr().unwrap();
    let stop = Arc::clone(&world.stop);
    let served = thread::spawn(move || {
        let spec = sog_runtime::io::RobotIo::spec(&robot).clone();
        let options = PlantOptions { watchdog_periods: 4000, ..Default::default() };
        PlantServer::new(socket, &spec, options).serve(&mut robot, &stop).unwrap()
    });
    let adapter = world.text("robot.toml");
    let args = ["--adapter", &adapter, "--rate", "100", "--duration", "0.3", "-q"];
    let asked = world.run(&args).output().unwrap();
    let text = said(&asked);
    assert!(code(&asked) == 2 && text.contains("100 Hz") && text.contains("10 Hz"), "{text}");
    assert!(text.contains("leave --rate out"), "{text}");
    // The policy's own may be asked for.
    let args = ["--adapter", &adapter, "--rate", "10", "--duration", "0.3", "-q"];
    let own = world.run(&args).output().unwrap();
    assert_eq!(code(&own), 0, "{}", said(&own));
    world.finish();
    assert_eq!(served.join().unwrap().sessions, 2);
}

#[test]
fn a_rate_that_is_not_the_policys_is_warned_of_and_recorded() {
    let world = World::new(true);
    let log = world.text("log");
    let args = ["--rate", "100", "--duration", "0.5", "-q", "--json", "--log", &log];
    let output = world.run(&args).output().unwrap();
    let text = said(&output);
    assert!(text.contains("trained at 10 Hz") && text.contains("run at 100 Hz"), "{text}");
    let json: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((&json["rate_hz"], &json["policy_rate_hz"]), (&100.0.into(), &10.0.into()));
    let replayed = plain(&["replay", &log]);
    let text = String::from_utf8(replayed.stdout).unwrap();
    assert!(text.contains("run at 100 Hz, trained at 10 Hz"), "{text}");
    world.finish();
}
