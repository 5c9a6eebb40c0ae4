//! Hardware in the loop: a simulated robot behind UDP and behind a serial line.
//!
//! In lock step the link changes not a bit of the trajectory. In real time, under faults of every
//! kind, nothing unsafe reaches the actuators; when either end loses the other, both damp within
//! three periods, and only the operator starts again.
#![allow(clippy::unwrap_used)]

#[path = "../../sim/tests/common/mod.rs"]
mod common;

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::SeqCst},
    },
    thread,
    time::Duration,
};

use common::policy_for;
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
use sog_runtime::{
    control::{Config, Controller, Plan, Request, State, run},
    io::{Command, FaultKind, FaultPlan, FaultyRobot, IoError, Reading, RobotIo, RobotSpec},
    link::{
        Address, Faulty, LinkOptions, LinkRobot, PacketFaults, PlantOptions, PlantReport,
        PlantServer, Serial, Transport, Udp,
    },
    time::RealTime,
    time::{LockStep, Ticker, Wake},
};
use sog_sim::{
    robot::{SimRobot, spec},
    tasks::{self, TaskOptions, make},
};

const TASKS: [&str; 2] = ["halfcheetah-fwd-back", "circles"];
const LINES: [Line; 2] = [Line::Udp, Line::Serial];
/// Controllers and robots damp within so many periods of losing the other end.
const DAMPED_WITHIN: u64 = 3;

#[derive(Clone, Copy, Debug, PartialEq)]
enum Line {
    Udp,
    Serial,
}

type Boxed = Box<dyn Transport + Send>;

impl Line {
    /// The controller's end and the robot's.
    fn pair(self) -> (Boxed, Boxed) {
        match self {
            Self::Udp => {
                let any: SocketAddr = "127.0.0.1:0".parse().unwrap();
                let there = Udp::listen(any, None).unwrap();
                let here = Udp::connect(there.local_addr().unwrap(), None).unwrap();
                (Box::new(here), Box::new(there))
            }
            Self::Serial => {
                let here = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
                grantpt(&here).unwrap();
                unlockpt(&here).unwrap();
                rustix::io::ioctl_fionbio(&here, true).unwrap();
                let path = ptsname(&here, vec![]).unwrap().into_string().unwrap();
                let there: Address = format!("serial://{path}?baud=4000000").parse().unwrap();
                let there = there.listen(None).unwrap();
                (Box::new(Serial::from_line(here, 4_000_000).unwrap()), there)
            }
        }
    }
}

fn robot(task: &str) -> SimRobot {
    SimRobot::new(make(task, &TaskOptions::default()).unwrap(), 9).unwrap()
}

fn controller(task: &str, config: Config) -> Controller {
    Controller::new(&policy_for(task, 2), &spec(tasks::open(task).unwrap().info()), config).unwrap()
}

fn start(controller: &Controller) {
    for request in [Request::Reset, Request::Arm, Request::Start] {
        controller.request(request);
    }
}

#[test]
fn in_lock_step_the_trajectory_is_that_of_one_process() {
    const STEPS: u64 = 150;
    for task in TASKS {
        let drive = |robot: &mut dyn RobotIo| {
            let mut controller = controller(task, Config::default());
            start(&controller);
            let mut ticker = LockStep::new(controller.period_ns());
            run(&mut controller, robot, &mut ticker, &Plan::ticks(STEPS), &mut ())
        };
        let mut alone = robot(task);
        alone.record(STEPS as usize);
        let report = drive(&mut alone);
        // The policy is a random one: it may leave the circles early.
        assert!(report.policy_ticks > 30, "{}", report.to_json());
        let expected = alone.take_recording().unwrap();

        for line in LINES {
            let (here, there) = line.pair();
            let served = thread::spawn(move || {
                let mut robot = robot(task);
                robot.record(STEPS as usize);
                let options =
                    PlantOptions { lock_step: true, sessions: Some(1), ..Default::default() };
                let mut server =
                    PlantServer::new(there, &spec(tasks::open(task).unwrap().info()), options);
                server.serve(&mut robot, &AtomicBool::new(false)).unwrap();
                robot.take_recording().unwrap()
            });
            let options = LinkOptions::default();
            let mut link =
                LinkRobot::connect(here, &spec(tasks::open(task).unwrap().info()), &options)
                    .unwrap();
            drive(&mut link);
            drop(link);
            let found = served.join().unwrap();
            assert_eq!(found.steps() as u64, report.policy_ticks);
            assert!(found == expected, "{task} over {line:?} differs");
        }
    }
}

/// What the controller lets the watch at the actuators know.
#[derive(Default)]
struct Watch {
    /// Whether the policy commands.
    policy: AtomicBool,
}

/// A robot that looks at what its actuators are told.
struct Guard {
    robot: SimRobot,
    watch: Arc<Watch>,
    /// How long an action may be followed after the policy last commanded.
    grace: u64,
    /// Actions followed since the policy last commanded.
    late: u64,
    stopped: bool,
    acts: u64,
    worst_late: u64,
    unsafe_commands: BTreeMap<&'static str, u64>,
}

impl Guard {
    fn new(task: &str, watch: Arc<Watch>, grace: u64) -> Self {
        Self {
            robot: robot(task),
            watch,
            grace,
            late: 0,
            stopped: false,
            acts: 0,
            worst_late: 0,
            unsafe_commands: BTreeMap::new(),
        }
    }

    fn judge(&mut self, action: &[f32]) {
        self.acts += 1;
        self.late = if self.watch.policy.load(SeqCst) { 0 } else { self.late + 1 };
        self.worst_late = self.worst_late.max(self.late);
        for (what, holds) in [
            ("not finite", action.iter().any(|a| !a.is_finite())),
            ("out of range", action.iter().any(|a| a.abs() > 1.0)),
            ("after a stop", self.stopped),
            ("without the policy", self.late > self.grace),
        ] {
            *self.unsafe_commands.entry(what).or_default() += u64::from(holds);
        }
    }

    fn unsafe_commands(&self) -> u64 {
        self.unsafe_commands.values().sum()
    }
}

impl RobotIo for Guard {
    fn spec(&self) -> &RobotSpec {
        self.robot.spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        self.robot.read(obs)
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        match command {
            Command::Act(action) => self.judge(action),
            Command::Stop => self.stopped = true,
            Command::Reset => self.stopped = false,
            Command::Damp | Command::Home => self.late = 0,
        }
        self.robot.write(command)
    }
}

/// One end of a line whose packets arrive before they are asked for, so that virtual time need
/// not wait for them; until the line is cut.
struct Prompt {
    line: Boxed,
    sent: Arc<AtomicU64>,
    due: Arc<AtomicU64>,
    received: u64,
    cut: Arc<AtomicBool>,
}

impl Prompt {
    fn pair(line: Line, cut: &Arc<AtomicBool>) -> (Self, Self) {
        let (here, there) = line.pair();
        let (up, down) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let end = |line, sent: &Arc<AtomicU64>, due: &Arc<AtomicU64>| Self {
            line,
            sent: Arc::clone(sent),
            due: Arc::clone(due),
            received: 0,
            cut: Arc::clone(cut),
        };
        (end(here, &up, &down), end(there, &down, &up))
    }
}

impl Transport for Prompt {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        if !self.cut.load(SeqCst) {
            self.line.send(packet)?;
            self.sent.fetch_add(1, SeqCst);
        }
        Ok(())
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        let is_due = self.due.load(SeqCst) > self.received;
        let got =
            self.line.receive(packet, if is_due { Duration::from_secs(5) } else { timeout })?;
        self.received += u64::from(got.is_some());
        Ok(got)
    }

    fn lock_peer(&mut self) {
        self.line.lock_peer();
    }

    fn unlock_peer(&mut self) {
        self.line.unlock_peer();
    }
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

#[test]
fn whoever_loses_the_other_end_damps_within_three_periods_until_the_operator_starts_again() {
    const RUN: u64 = 20;
    const CUT: u64 = 8;
    const AFTER: u64 = 15;
    let task = "halfcheetah-fwd-back";
    for line in LINES {
        let cut = Arc::new(AtomicBool::new(false));
        let (here, there) = Prompt::pair(line, &cut);
        // Virtual time is faster than the clock that lateness is measured by.
        let late_periods = 1e6;
        let stop = Arc::new(AtomicBool::new(false));
        let failed = Arc::clone(&stop);
        let connecting = thread::spawn(move || {
            let options = LinkOptions { late_periods, wait_share: 0.0, ..Default::default() };
            let link = LinkRobot::connect(here, &spec(tasks::open(task).unwrap().info()), &options);
            failed.store(link.is_err(), SeqCst);
            link.unwrap()
        });

        let mut controller = controller(task, Config::default());
        let mut ticker = LockStep::new(controller.period_ns());
        start(&controller);
        let watch = Arc::new(Watch::default());
        let (mut connecting, mut link, mut period) = (Some(connecting), None, 0);
        let mut states = vec![];
        let (turn_watch, turn_stop) = (Arc::clone(&watch), Arc::clone(&stop));
        let turns = || {
            let link = link.get_or_insert_with(|| connecting.take().unwrap().join().unwrap());
            cut.store((RUN..RUN + CUT).contains(&period), SeqCst);
            if period == RUN + CUT + AFTER {
                start(&controller);
            }
            let state = controller.tick(link, &ticker.wait()).state;
            turn_watch.policy.store(state == State::Policy, SeqCst);
            states.push(state);
            period += 1;
            turn_stop.store(period == 2 * RUN + CUT + AFTER, SeqCst);
        };
        let mut turns = Some(turns);
        // The policy left, an action may still be followed until the watchdog acts.
        let mut guard = Guard::new(task, watch, DAMPED_WITHIN - 2);
        let options = PlantOptions { sessions: Some(1), late_periods, ..Default::default() };
        let mut server = PlantServer::new(there, &spec(tasks::open(task).unwrap().info()), options);
        let pace = |period_ns| Turns(turns.take().unwrap(), LockStep::new(period_ns));
        let report = server.serve_paced(&mut guard, &stop, pace).unwrap();
        drop((turns, server));

        let of = |from: u64, to: u64| &states[from as usize..to as usize];
        let all = |states: &[State], state| states.iter().all(|s| *s == state);
        let damped = RUN + DAMPED_WITHIN - 1;
        assert!(all(of(0, RUN), State::Policy), "{line:?}: {states:?}");
        assert!(all(of(damped, RUN + CUT + AFTER), State::Damping), "{line:?}: {states:?}");
        // A reset takes the tick in which it is asked for.
        assert!(all(of(RUN + CUT + AFTER + 2, states.len() as u64), State::Policy), "{states:?}");
        assert_eq!((report.watchdog, report.sessions), (1, 1), "{line:?}");
        // The robot followed as many actions as were sent to it, and for two periods the last one.
        let started_again = RUN - 1;
        assert_eq!(guard.acts, RUN + (DAMPED_WITHIN - 1) + started_again, "{line:?}");
        assert_eq!(guard.unsafe_commands(), 0, "{line:?}: {:?}", guard.unsafe_commands);
    }
}

/// What a run under faults gave.
struct Stormy {
    injected: u64,
    kinds: [u64; FaultKind::ALL.len()],
    sessions: u64,
    policy_ticks: u64,
    dampings: u64,
    guard: Guard,
    plant: PlantReport,
}

/// Faults of every kind, in packets of both directions and in readings, at 1 kHz by the clock, with
/// an operator who always starts again, until `faults` were injected.
fn storm(task: &'static str, line: Line, faults: u64) -> Stormy {
    const PERIOD_NS: u64 = 1_000_000;
    let packets = |seed| PacketFaults {
        seed,
        drop: 0.02,
        duplicate: 0.02,
        reorder: 0.02,
        bit_flip: 0.02,
        truncate: 0.02,
    };
    let (here, there) = line.pair();
    let watch = Arc::new(Watch::default());
    let stop = Arc::new(AtomicBool::new(false));
    let (plant_watch, plant_stop) = (Arc::clone(&watch), Arc::clone(&stop));
    let options = PlantOptions::default();
    // An action may come so late, and is then followed until the watchdog acts.
    let grace = options.late_periods as u64 + u64::from(options.watchdog_periods);
    let plant_injected = Arc::new(AtomicU64::new(0));
    let served = {
        let injected = Arc::clone(&plant_injected);
        thread::spawn(move || {
            let mut guard = Guard::new(task, plant_watch, grace);
            let there = Counted(Faulty::new(there, packets(1)), injected);
            let mut server =
                PlantServer::new(there, &spec(tasks::open(task).unwrap().info()), options);
            let report = server.serve(&mut guard, &plant_stop).unwrap();
            (guard, report)
        })
    };
    let own_injected = Arc::new(AtomicU64::new(0));
    let mut here = Some(Counted(Faulty::new(here, packets(2)), Arc::clone(&own_injected)));
    let plan =
        FaultKind::ALL.into_iter().fold(FaultPlan::new(3), |plan, kind| plan.with_rate(kind, 0.02));
    let options = LinkOptions { period_ns: PERIOD_NS, ..Default::default() };
    let link = LinkRobot::connect(
        here.take().unwrap(),
        &spec(tasks::open(task).unwrap().info()),
        &options,
    );
    let link = link.inspect_err(|_| stop.store(true, SeqCst)).unwrap();
    let mut robot = FaultyRobot::new(link, plan);
    let config = Config { rate_hz: Some(1e9 / PERIOD_NS as f64), ..Config::default() };
    let mut controller = controller(task, config);
    let mut ticker = RealTime::new(PERIOD_NS, 0);
    start(&controller);
    let (mut dampings, mut in_damping, mut asked, mut last) = (0, 0u64, true, State::Idle);
    let injected = |robot: &FaultyRobot<_>| -> u64 {
        let readings: u64 = FaultKind::ALL.into_iter().map(|kind| robot.injected(kind)).sum();
        readings + own_injected.load(SeqCst) + plant_injected.load(SeqCst)
    };
    let mut result = Ok(());
    while injected(&robot) < faults {
        let tick = controller.tick(&mut robot, &ticker.wait());
        watch.policy.store(tick.state == State::Policy, SeqCst);
        if tick.state == State::Policy && last != State::Policy && !asked {
            result = Err("started without the operator");
        }
        if tick.read == Err(IoError::Closed) {
            result = Err("the session ended");
        }
        if result.is_err() {
            break;
        }
        if tick.state == State::Policy {
            asked = false;
        }
        in_damping = if tick.state == State::Damping { in_damping + 1 } else { 0 };
        dampings += u64::from(in_damping == 1);
        if in_damping > 0 && in_damping.is_multiple_of(4) {
            start(&controller);
            asked = true;
        }
        last = tick.state;
    }
    let (total, policy_ticks) = (injected(&robot), controller.stats().policy_ticks);
    let kinds = FaultKind::ALL.map(|kind| robot.injected(kind));
    stop.store(true, SeqCst);
    drop(robot);
    let (guard, plant) = served.join().unwrap();
    assert_eq!(result, Ok(()), "{task} over {line:?}");
    Stormy {
        injected: total,
        kinds,
        sessions: plant.sessions,
        policy_ticks,
        dampings,
        guard,
        plant,
    }
}

/// A transport that tells how many faults it injected.
struct Counted(Faulty<Boxed>, Arc<AtomicU64>);

impl Transport for Counted {
    fn send(&mut self, packet: &[u8]) -> Result<(), IoError> {
        self.0.send(packet)
    }

    fn receive(&mut self, packet: &mut [u8], timeout: Duration) -> Result<Option<usize>, IoError> {
        let got = self.0.receive(packet, timeout);
        self.1.store(self.0.injected(), SeqCst);
        got
    }

    fn lock_peer(&mut self) {
        self.0.lock_peer();
    }

    fn unlock_peer(&mut self) {
        self.0.unlock_peer();
    }
}

fn assert_nothing_unsafe(faults: u64) {
    for (task, line) in TASKS.into_iter().flat_map(|task| LINES.map(|line| (task, line))) {
        let storm = storm(task, line, faults);
        println!(
            "{task} over {line:?}: {} faults (readings: {:?}), {} sessions, {} policy ticks, {} \
             dampings, {} times the robot damped itself; {} actions followed, at most {} after the \
             policy's last, unsafe: {:?}",
            storm.injected,
            FaultKind::ALL.map(FaultKind::name).into_iter().zip(storm.kinds).collect::<Vec<_>>(),
            storm.sessions,
            storm.policy_ticks,
            storm.dampings,
            storm.plant.watchdog,
            storm.guard.acts,
            storm.guard.worst_late,
            storm.guard.unsafe_commands
        );
        assert!(storm.kinds.iter().all(|n| *n > 0), "{:?}", storm.kinds);
        assert!(storm.guard.acts > 0 && storm.dampings > 0);
        assert_eq!(storm.guard.unsafe_commands(), 0, "{:?}", storm.guard.unsafe_commands);
    }
}

#[test]
fn faults_of_every_kind_and_no_unsafe_command() {
    assert_nothing_unsafe(400);
}

/// Ignored because it takes minutes.
#[test]
#[ignore = "takes minutes of real time"]
fn ten_thousand_faults_of_every_kind_and_no_unsafe_command() {
    assert_nothing_unsafe(10_000);
}
