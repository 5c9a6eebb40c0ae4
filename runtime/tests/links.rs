//! Links end to end: what a robot is told behind a link is what it is told in one process.
#![cfg(feature = "host")]
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::{
    net::SocketAddr,
    os::fd::OwnedFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use common::{Point, Told, controller, reference, spec, started};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sog_runtime::{
    control::{Config, End, Plan, Request, State, run},
    io::{Command, Guidance, IoError, Reading, RobotIo, RobotSpec},
    link::{
        Address, Fate, Faulty, Key, LinkError, LinkOptions, LinkRobot, Memory, PacketFaults,
        PlantOptions, PlantReport, PlantServer, Serial, Transport, Udp,
    },
    time::{LockStep, Ticker, Wake},
};

const TICKS: u64 = 200;

struct Served {
    thread: JoinHandle<(Point, Result<PlantReport, IoError>)>,
    stop: Arc<AtomicBool>,
}

impl Served {
    fn finish(self) -> (Point, PlantReport) {
        self.stop.store(true, Ordering::Relaxed);
        let (point, report) = self.thread.join().unwrap();
        (point, report.unwrap())
    }

    /// Waits until the configured number of sessions is over.
    fn join(self) -> (Point, PlantReport) {
        let (point, report) = self.thread.join().unwrap();
        (point, report.unwrap())
    }
}

fn serve<T: Transport + Send + 'static>(transport: T, options: PlantOptions) -> Served {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let thread = thread::spawn(move || {
        let mut point = Point::new();
        let mut server = PlantServer::new(transport, &spec(), options);
        let report = server.serve(&mut point, &flag);
        (point, report)
    });
    Served { thread, stop }
}

fn lock_step() -> PlantOptions {
    PlantOptions { lock_step: true, sessions: Some(1), ..Default::default() }
}

/// Runs a policy over a link in lock step and compares with one process.
fn same_as_in_process<A, B>(here: A, there: B, key: Option<Key>)
where
    A: Transport,
    B: Transport + Send + 'static,
{
    let served = serve(there, PlantOptions { key: key.clone(), ..lock_step() });
    let options = LinkOptions { key, ..Default::default() };
    let mut robot = LinkRobot::connect(here, &spec(), &options).unwrap();
    assert!(robot.lock_step());
    let mut controller = started(Config::default());
    let mut ticker = LockStep::new(controller.period_ns());
    let report = run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(TICKS), &mut ());
    assert_eq!(robot.round_trip().count(), TICKS);
    drop(robot);
    let (point, plant) = served.join();

    let (expected, told) = reference(TICKS);
    assert_eq!(report.end, End::Completed);
    assert_eq!(report.episode_return, expected.episode_return);
    // The session ends with a damping more.
    assert_eq!(point.told[..told.len()], told);
    assert!(point.told[told.len()..].iter().all(|t| *t == Told::Damp));
    assert_eq!((point.unsafe_commands, plant.commands[0]), (0, TICKS));
    // Only the answer to the last damping may find nobody there.
    let dropped = plant.link.dropped() - plant.link.get(Fate::Unsent);
    assert_eq!(dropped, 0, "{}", plant.to_json());
}

#[test]
fn memory_in_lock_step_is_as_in_process() {
    let (here, there) = Memory::pair();
    same_as_in_process(here, there, None);
}

fn udp_pair() -> (Udp, Udp) {
    let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
    let there = Udp::listen(any, None).unwrap();
    let here = Udp::connect(there.local_addr().unwrap(), None).unwrap();
    (here, there)
}

#[test]
fn udp_with_a_key_in_lock_step_is_as_in_process() {
    let (here, there) = udp_pair();
    same_as_in_process(here, there, Key::new(b"a secret of many bytes"));
}

/// A line over which only packets of version 1 come through, as to and from an older robot.
struct Old<T>(T);

impl<T: Transport> Transport for Old<T> {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        if packet[2] == 1 { self.0.send(packet) } else { Ok(()) }
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        Ok(self.0.receive(packet, timeout)?.filter(|_| packet[2] == 1))
    }
}

#[test]
fn a_robot_that_speaks_version_1_is_driven_as_before() {
    let (here, there) = Memory::pair();
    same_as_in_process(Old(here), there, None);
    let (here, there) = Memory::pair();
    same_as_in_process(here, Old(there), Key::new(b"a secret of many bytes"));
}

/// A line that loses the first packets that are sent.
struct Losing<T>(T, u32);

impl<T: Transport> Transport for Losing<T> {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        if self.1 > 0 {
            self.1 -= 1;
            return Ok(());
        }
        self.0.send(packet)
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        self.0.receive(packet, timeout)
    }
}

#[test]
fn a_few_lost_packets_make_no_robot_an_older_one() {
    for lost in [1, 2, 5] {
        let (here, there) = Memory::pair();
        let served = serve(there, lock_step());
        let losing = Losing(here, lost);
        let robot = LinkRobot::connect(losing, &spec(), &LinkOptions::default()).unwrap();
        assert_eq!(robot.version(), 2, "{lost}");
        drop(robot);
        served.join();
    }
}

/// A point that a person leads.
struct Led {
    point: Point,
    applied: Option<[f32; 2]>,
}

impl RobotIo for Led {
    fn spec(&self) -> &RobotSpec {
        self.point.spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        self.point.read(obs)
    }

    fn guidance(&self) -> Guidance<'_> {
        let applied = self.applied.as_ref().map(|applied| &applied[..]);
        Guidance { applied, buttons: 5, taken_over: true }
    }

    fn write(&mut self, _: Command<'_>) -> Result<(), IoError> {
        // Whatever is commanded, the person's hand is stronger.
        let step = self.applied.map_or(0.0, |applied| applied[0]);
        self.applied = Some([step + 0.25, -1.0]);
        self.point.write(Command::Act(&[0.1, 0.1]))
    }
}

#[test]
fn what_a_person_does_reaches_the_controller_and_in_version_1_it_does_not() {
    for version in [2, 1] {
        let (here, there) = Memory::pair();
        let here: Box<dyn Transport + Send> =
            if version == 2 { Box::new(here) } else { Box::new(Old(here)) };
        let robot_side = thread::spawn(move || {
            let mut led = Led { point: Point::new(), applied: None };
            PlantServer::new(there, &spec(), lock_step()).serve(&mut led, &false.into())
        });
        let mut robot = LinkRobot::connect(here, &spec(), &LinkOptions::default()).unwrap();
        assert_eq!(robot.version(), version);
        let mut obs = [0.0; 10];
        for step in 0..20 {
            assert_eq!(robot.read(&mut obs).unwrap().step, step);
            let applied = [step as f32 * 0.25, -1.0];
            let expected = match (version, step) {
                (1, _) => Guidance::default(),
                (_, 0) => Guidance { applied: None, buttons: 5, taken_over: true },
                _ => Guidance { applied: Some(&applied), buttons: 5, taken_over: true },
            };
            assert_eq!(robot.guidance(), expected, "step {step}");
            robot.write(Command::Damp).unwrap();
        }
        drop(robot);
        robot_side.join().unwrap().unwrap();
    }
}

/// Both ends of a pseudo-terminal.
fn pty() -> (OwnedFd, String) {
    let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY;
    let master = openpt(flags).unwrap();
    grantpt(&master).unwrap();
    unlockpt(&master).unwrap();
    rustix::io::ioctl_fionbio(&master, true).unwrap();
    let path = ptsname(&master, vec![]).unwrap().into_string().unwrap();
    (master, path)
}

#[test]
fn a_serial_line_in_lock_step_is_as_in_process() {
    let (master, path) = pty();
    let address: Address = format!("serial://{path}?baud=115200").parse().unwrap();
    let there = address.listen(None).unwrap();
    same_as_in_process(Serial::from_line(master, 115_200).unwrap(), there, None);
}

#[test]
fn a_serial_device_is_for_one_process_and_free_when_it_ends() {
    let (_master, slave) = pty();
    let device = std::path::Path::new(&slave);
    let first = Serial::open(device, 115_200).unwrap();
    let error = Serial::open(device, 115_200).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::ResourceBusy);
    assert!(error.to_string().contains("busy: another"), "{error}");
    drop(first);
    // The lock of a process that was killed is gone as well.
    let script = "exec 9<>\"$0\"; flock -n 9 || exit 1; echo locked; exec sleep 100";
    let mut other = std::process::Command::new("sh")
        .args(["-c", script, &slave])
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let mut said = [0; 7];
    std::io::Read::read_exact(other.stdout.as_mut().unwrap(), &mut said).unwrap();
    let error = Serial::open(device, 115_200).unwrap_err().to_string();
    assert!(error.contains("busy: another controller has it since"), "{error}");
    assert!(error.contains(&format!("process {}", other.id())), "{error}");
    other.kill().unwrap();
    other.wait().unwrap();
    Serial::open(device, 115_200).unwrap();
}

#[test]
fn a_bad_line_in_lock_step_costs_time_and_nothing_else() {
    let faults = |seed| PacketFaults {
        seed,
        drop: 0.03,
        duplicate: 0.05,
        reorder: 0.02,
        bit_flip: 0.03,
        truncate: 0.02,
    };
    let (here, there) = Memory::pair();
    same_as_in_process_counting(Faulty::new(here, faults(1)), Faulty::new(there, faults(2)));
}

/// As [`same_as_in_process`], over a line that loses packets.
fn same_as_in_process_counting<A, B>(here: A, there: B)
where
    A: Transport,
    B: Transport + Send + 'static,
{
    let served = serve(there, PlantOptions { sessions: None, ..lock_step() });
    let mut robot = LinkRobot::connect(here, &spec(), &LinkOptions::default()).unwrap();
    let mut controller = started(Config::default());
    let mut ticker = LockStep::new(controller.period_ns());
    let report = run(&mut controller, &mut robot, &mut ticker, &Plan::ticks(TICKS), &mut ());
    let counts = robot.counts();
    let (point, plant) = served.finish();
    drop(robot);
    let (expected, told) = reference(TICKS);
    assert_eq!(report.episode_return, expected.episode_return);
    assert_eq!(point.told[..TICKS as usize], told[..TICKS as usize]);
    assert_eq!((point.unsafe_commands, plant.commands[0]), (0, TICKS));
    for fate in [Fate::Lost, Fate::Corrupt, Fate::Duplicated, Fate::Reordered] {
        assert!(counts.get(fate) + plant.link.get(fate) > 0, "{fate:?} was not counted");
    }
}

/// Hears every packet twice, as a robot does that answers late and is asked again.
struct Twice<T>(T, Vec<u8>);

impl<T: Transport> Transport for Twice<T> {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.0.send(packet)
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        let again = std::mem::take(&mut self.1);
        if !again.is_empty() {
            packet[..again.len()].copy_from_slice(&again);
            return Ok(Some(again.len()));
        }
        let got = self.0.receive(packet, timeout)?;
        self.1 = packet[..got.unwrap_or(0)].to_vec();
        Ok(got)
    }
}

#[test]
fn who_asks_twice_gets_one_session() {
    let (here, there) = Memory::pair();
    let served =
        serve(Twice(there, vec![]), PlantOptions { lock_step: true, ..Default::default() });
    let timeout = Duration::from_secs(1);
    let options = LinkOptions { timeout, ..Default::default() };
    let mut robot = LinkRobot::connect(here, &spec(), &options).unwrap();
    robot.write(Command::Act(&[0.1, 0.2])).unwrap();
    let lost = robot.counts().get(Fate::Lost);
    drop(robot);
    let (_, plant) = served.finish();
    assert_eq!(plant.sessions, 1);
    // The second welcome is no observation that is missing, and takes no observation's place.
    assert_eq!(lost, 0);
}

#[test]
fn a_stop_outlasts_its_session_and_the_next_one_clears_it() {
    let (here, there) = udp_pair();
    let address = there.local_addr().unwrap();
    let served = serve(there, PlantOptions { sessions: Some(2), ..lock_step() });
    let drive = |transport: Udp, command: Command<'_>| {
        let mut robot = LinkRobot::connect(transport, &spec(), &LinkOptions::default()).unwrap();
        let mut obs = [0.0; 10];
        for command in [Command::Act(&[0.1, 0.1]), command] {
            robot.read(&mut obs).unwrap();
            robot.write(command).unwrap();
        }
        robot.read(&mut obs).unwrap();
    };
    drive(here, Command::Stop);
    drive(Udp::connect(address, None).unwrap(), Command::Damp);
    let (point, _) = served.join();
    let reset = point.told.iter().position(|t| *t == Told::Reset).unwrap();
    let (first, second) = point.told.split_at(reset);
    assert_eq!(first, [Told::Act([0.1; 2]), Told::Stop, Told::Stop]);
    assert_eq!(second[..3], [Told::Reset, Told::Act([0.1; 2]), Told::Damp]);
}

#[test]
fn ends_that_do_not_fit_say_why() {
    let refused = |change: fn(&mut sog_runtime::io::RobotSpec)| {
        let (here, there) = Memory::pair();
        let served = serve(there, lock_step());
        let mut other = spec();
        change(&mut other);
        let error = LinkRobot::connect(here, &other, &LinkOptions::default()).err().unwrap();
        served.finish();
        assert!(matches!(error, LinkError::Refused { .. }), "{error}");
        error.to_string()
    };
    assert!(
        refused(|s| s.contract.task = "ant-dir-6".to_string())
            .contains("task of the policy is `ant-dir-6`")
    );
    assert!(refused(|s| s.contract.dt_s = 0.2).contains("control period of the policy is `0.2 s`"));
    assert!(
        refused(|s| s.contract.obs_terms = "a:5,b:5".parse().unwrap())
            .contains("observation terms")
    );
    assert!(refused(|s| s.contract.action_terms = "a:2".parse().unwrap()).contains("action terms"));
    let found = refused(|s| s.contract.action_high[1] = 57.3);
    assert!(found.contains("upper action bound of the policy is `57.3 for"), "{found}");
    assert!(refused(|s| s.contract.action_low.truncate(1)).contains("describes itself badly"));
}

#[test]
fn without_the_key_nobody_answers() {
    let (here, there) = Memory::pair();
    let key = Key::new(b"the robot's own secret");
    let served = serve(there, PlantOptions { key, ..lock_step() });
    let timeout = Duration::from_millis(200);
    let options =
        LinkOptions { key: Key::new(b"another secret altogether"), timeout, ..Default::default() };
    let error = LinkRobot::connect(here, &spec(), &options).err().unwrap();
    assert!(matches!(error, LinkError::Timeout { .. }), "{error}");
    let (point, plant) = served.finish();
    assert!(plant.link.get(Fate::Unauthenticated) > 0);
    assert_eq!((plant.sessions, point.told.len()), (0, 0));
}

#[test]
fn a_stranger_is_not_heard_during_a_session() {
    let (here, there) = udp_pair();
    let robot_address = there.local_addr().unwrap();
    let served = serve(there, lock_step());
    let mut robot = LinkRobot::connect(here, &spec(), &LinkOptions::default()).unwrap();
    let stranger = Udp::connect(robot_address, None).unwrap();
    let error = LinkRobot::connect(stranger, &spec(), &LinkOptions::default()).err().unwrap();
    assert!(matches!(error, LinkError::Refused { .. }), "{error}");
    let text = error.to_string();
    assert!(text.contains("busy: another controller has it since 0."), "{text}");
    assert!(text.contains("free 10.0 s after"), "{text}");
    let mut obs = [0.0; 10];
    robot.read(&mut obs).unwrap();
    robot.write(Command::Act(&[0.1, 0.2])).unwrap();
    robot.read(&mut obs).unwrap();
    drop(robot);
    let (point, plant) = served.join();
    assert_eq!(point.told[0], Told::Act([0.1, 0.2]));
    assert!(plant.link.get(Fate::Foreign) > 0);
}

#[test]
fn a_flood_of_strangers_holds_up_no_period() {
    let (mut here, mut there) = udp_pair();
    let address = there.local_addr().unwrap();
    let mut packet = [0; 8];
    here.send(b"mine").unwrap();
    assert_eq!(there.receive(&mut packet, Duration::from_secs(5)).unwrap(), Some(4));
    there.lock_peer();
    let mut stranger = Udp::connect(address, None).unwrap();
    (0..100).for_each(|_| stranger.send(b"hers").unwrap());
    here.send(b"again").unwrap();
    // However many there are, only so many are looked at in one go.
    assert_eq!(there.receive(&mut packet, Duration::ZERO).unwrap(), None);
    assert_eq!(there.foreign(), 64);
    assert_eq!(there.receive(&mut packet, Duration::ZERO).unwrap(), Some(5));
    assert_eq!(there.foreign(), 100);
}

#[test]
fn a_robot_whose_controller_was_killed_is_free_after_the_time_it_says() {
    let (here, there) = udp_pair();
    let robot_address = there.local_addr().unwrap();
    let served = serve(there, PlantOptions::default());
    let options = LinkOptions { period_ns: 10_000_000, ..Default::default() };
    let killed = LinkRobot::connect(here, &spec(), &options).unwrap();
    // Without a farewell, as by `kill -9`.
    std::mem::forget(killed);
    let begin = std::time::Instant::now();
    let mut refusals = 0;
    let second = loop {
        let here = Udp::connect(robot_address, None).unwrap();
        match LinkRobot::connect(here, &spec(), &options) {
            Ok(second) => break second,
            Err(LinkError::Refused { reason }) => {
                assert!(reason.contains("free 1.0 s after"), "{reason}");
                refusals += 1;
            }
            Err(error) => panic!("{error}"),
        }
        assert!(begin.elapsed() < Duration::from_secs(10));
        thread::sleep(Duration::from_millis(50));
    };
    assert!(refusals > 0 && begin.elapsed() > Duration::from_millis(900));
    drop(second);
    let (point, plant) = served.finish();
    assert_eq!(plant.sessions, 2);
    // Damped at the end of the first session, before the second took it over.
    assert!(point.told.contains(&Told::Damp) && point.told.contains(&Told::Reset));
}

#[test]
fn of_two_who_ask_at_once_one_gets_the_robot_and_the_other_is_told_so() {
    let (here, there) = udp_pair();
    let robot_address = there.local_addr().unwrap();
    let served = serve(there, PlantOptions { lock_step: true, ..Default::default() });
    let connect = |transport: Udp| {
        thread::spawn(move || LinkRobot::connect(transport, &spec(), &LinkOptions::default()))
    };
    let both = [connect(here), connect(Udp::connect(robot_address, None).unwrap())];
    let got = both.map(|thread| thread.join().unwrap());
    let errors: Vec<String> =
        got.iter().filter_map(|robot| robot.as_ref().err().map(ToString::to_string)).collect();
    assert_eq!(errors.len(), 1, "{errors:?}");
    assert!(errors[0].contains("busy: another controller"), "{errors:?}");
    drop(got);
    served.finish();
}

#[test]
fn a_silent_controller_leaves_the_robot_damped() {
    let (here, there) = Memory::pair();
    let served = serve(there, PlantOptions { watchdog_periods: 3, ..Default::default() });
    let options = LinkOptions { period_ns: 2_000_000, ..Default::default() };
    let mut robot = LinkRobot::connect(here, &spec(), &options).unwrap();
    let mut obs = [0.0; 10];
    robot.write(Command::Act(&[0.1, 0.2])).unwrap();
    // It damps itself, and says that it does not follow until a reset.
    let error = loop {
        match robot.read(&mut obs) {
            Ok(_) | Err(IoError::Stale) => {}
            Err(error) => break error,
        }
    };
    assert!(matches!(error, IoError::Robot(_)), "{error}");
    robot.write(Command::Act(&[0.1, 0.2])).unwrap();
    // Until it is seen: on a slow machine the robot may damp itself once more before.
    while !robot.follows() {
        robot.write(Command::Reset).unwrap();
        let _ = robot.read(&mut obs);
    }
    drop(robot);
    let (point, plant) = served.finish();
    let acts = point.told.iter().filter(|t| matches!(t, Told::Act(_))).count();
    assert!(acts <= 3, "{acts} periods of the last action");
    assert!(plant.watchdog >= 1);
    assert!(point.told.contains(&Told::Reset));
    assert_eq!(point.told.last(), Some(&Told::Damp));
}

/// Virtual time for both ends: in each period of the robot the controller has its turn first.
struct Turns<F>(F, LockStep);

impl<F: FnMut()> Ticker for Turns<F> {
    fn wait(&mut self) -> Wake {
        (self.0)();
        self.1.wait()
    }

    fn now_ns(&self) -> u64 {
        self.1.now_ns()
    }
}

/// Serves a point in virtual time, at the slowest rate so that no packet is ever late; `turn` is
/// given the controller's end in each of `periods`.
fn in_virtual_time(
    periods: u64,
    mut turn: impl FnMut(u64, &mut LinkRobot<Memory>),
) -> (Point, PlantReport) {
    let (here, there) = Memory::pair();
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    let mut connecting = Some(thread::spawn(move || {
        let options =
            LinkOptions { period_ns: 1_000_000_000, wait_share: 0.0, ..Default::default() };
        let robot = LinkRobot::connect(here, &spec(), &options);
        // Without a session there are no turns either.
        flag.store(robot.is_err(), Ordering::Relaxed);
        robot
    }));
    let (mut robot, mut period) = (None, 0);
    let turns = || {
        // The robot has sent its first observation, so that this ends.
        let connect = || connecting.take().unwrap().join().unwrap().unwrap();
        turn(period, robot.get_or_insert_with(connect));
        period += 1;
        stop.store(period == periods, Ordering::Relaxed);
    };
    let mut point = Point::new();
    let options = PlantOptions { sessions: Some(1), ..Default::default() };
    let mut server = PlantServer::new(there, &spec(), options);
    let mut turns = Some(turns);
    let pace = |period_ns| Turns(turns.take().unwrap(), LockStep::new(period_ns));
    let report = server.serve_paced(&mut point, &stop, pace).unwrap();
    (point, report)
}

#[test]
fn a_controller_that_idles_keeps_its_session_and_starts_at_any_time() {
    const SLOW_START: u64 = 2;
    const IDLE: u64 = 50;
    const RUN: u64 = 20;
    let mut controller = controller(Config { rate_hz: Some(1.0), ..Config::default() });
    let mut ticker = LockStep::new(controller.period_ns());
    let mut states = vec![];
    let begins = [SLOW_START + IDLE, SLOW_START + 2 * IDLE + RUN];
    let ends = begins.map(|at| at + RUN);
    let (point, plant) = in_virtual_time(ends[1], |period, robot| {
        // A program takes its time between the handshake and its first tick.
        if period < SLOW_START {
            return;
        }
        if begins.contains(&period) {
            controller.request(Request::Arm);
            controller.request(Request::Start);
        } else if period == ends[0] {
            controller.request(Request::Damp);
        } else if period == ends[0] + 1 {
            controller.request(Request::Reset);
        }
        states.push(controller.tick(robot, &ticker.wait()).state);
        assert!(robot.follows(), "period {period}");
    });
    let count = |state| states.iter().filter(|s| **s == state).count() as u64;
    assert_eq!(count(State::Policy), 2 * RUN, "{states:?}");
    assert_eq!(count(State::Damping), 1);
    assert_eq!(count(State::Idle), 2 * IDLE - 1);
    assert_eq!((plant.sessions, plant.watchdog), (1, 0));
    let acts = point.told.iter().filter(|t| matches!(t, Told::Act(_))).count();
    assert_eq!(acts as u64, 2 * RUN);
}

#[test]
fn an_action_does_not_outlive_its_controller_by_more_than_the_watchdog() {
    // The first controller reads on but commands no more, the second does not even read.
    for reads in [true, false] {
        let (point, plant) = in_virtual_time(40, |period, robot| {
            let mut obs = [0.0; 10];
            match period {
                2 => robot.write(Command::Act(&[0.1, 0.2])).unwrap(),
                // Too late, and without a reset.
                20 if reads => robot.write(Command::Act(&[0.1, 0.2])).unwrap(),
                _ if reads => drop(robot.read(&mut obs)),
                _ => {}
            }
        });
        let acts = point.told.iter().filter(|t| matches!(t, Told::Act(_))).count();
        assert_eq!((acts, plant.watchdog), (3, 1), "{:?}", point.told);
        // Whoever still reads keeps the session; the other is gone after a while.
        assert_eq!(point.told.len() > 30, reads);
    }
}

#[test]
fn a_robot_that_goes_away_ends_in_damping() {
    let (here, there) = udp_pair();
    let served = serve(there, lock_step());
    let mut robot = LinkRobot::connect(here, &spec(), &LinkOptions::default()).unwrap();
    let mut controller = started(Config::default());
    let mut ticker = LockStep::new(controller.period_ns());
    let plan = Plan { policy_ticks: Some(3), ..Plan::default() };
    run(&mut controller, &mut robot, &mut ticker, &plan, &mut ());
    served.finish();
    // The farewell has come; the next tick finds the link closed.
    let controller = &mut started(Config::default());
    let report = run(controller, &mut robot, &mut ticker, &Plan::default(), &mut ());
    assert_eq!(report.state, State::Damping);
    assert!(report.faults.get(sog_runtime::control::Faults::LINK_CLOSED) > 0);
}
