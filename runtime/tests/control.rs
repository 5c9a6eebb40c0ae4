//! The controller against a robot that checks what it is told, and against faults of every kind.
#![allow(clippy::unwrap_used, missing_docs)]

mod common;

use std::num::NonZeroU32;

use common::{Guided, MAX_STEP, Point, Told, controller, policy, reference, spec, started};
use sog_runtime::{
    control::{
        CommandKind, Config, ControlError, Controller, End, Faults, Limited, Observer, OnMiss,
        Plan, RateLimit, Request, Requests, State, TickReport, run,
    },
    io::{FaultKind, FaultPlan, FaultyRobot, IoError, RobotIo},
    policy::LatentKind,
    time::{LockStep, Ticker, Wake},
};

const ON_TIME: Wake = Wake { deadline_ns: 0, woke_ns: 0, missed: 0 };

/// Ticks once and says in which state the tick commanded.
fn tick<R: RobotIo>(controller: &mut Controller, robot: &mut R) -> State {
    controller.tick(robot, &ON_TIME).state
}

fn with_faults(script: &str) -> FaultyRobot<Point> {
    FaultyRobot::new(Point::new(), script.parse().unwrap())
}

#[test]
fn a_run_commands_from_the_first_observation_to_the_last_and_ends_damped() {
    let (report, told) = reference(100);
    assert_eq!((report.end, report.state), (End::Completed, State::Damping));
    assert_eq!((report.ticks, report.policy_ticks, report.misses), (101, 100, 0));
    assert!(told[..100].iter().all(|t| matches!(t, Told::Act(_))));
    assert_eq!(told[100..], [Told::Damp]);

    // The rewards of all hundred actions: those of the first hundred readings but the first.
    let (mut point, mut sum) = (Point::new(), 0.0);
    for action in &told[..100] {
        point.read(&mut [0.0; 10]).unwrap();
        let Told::Act(action) = action else { unreachable!() };
        point.write(sog_runtime::io::Command::Act(action)).unwrap();
        sum += point.clone().read(&mut [0.0; 10]).unwrap().reward.unwrap();
    }
    assert_eq!(report.episode_return, Some(sum));
    let json = report.to_json();
    for key in ["ticks", "misses", "state", "faults", "wake_latency_ns", "exec_ns", "return"] {
        assert!(json.get(key).is_some(), "{key}");
    }
    assert_eq!(json["state"], "damping");
}

#[test]
fn one_lost_reading_is_held_and_the_second_damps() {
    let mut robot = with_faults("at 5 drop\nat 10 drop\nat 11 drop");
    let mut controller = started(Config::default());
    let states: Vec<State> = (0..14).map(|_| tick(&mut controller, &mut robot)).collect();
    assert!(states[..11].iter().all(|s| *s == State::Policy), "{states:?}");
    assert!(states[11..].iter().all(|s| *s == State::Damping), "{states:?}");
    let told = &robot.inner().told;
    assert_eq!(told[5], told[4], "held");
    let faults = controller.stats().faults;
    assert_eq!((faults.get(Faults::STALE), faults.get(Faults::SENSORS_LOST)), (3, 1));
}

#[test]
fn bad_numbers_damp_at_once_and_only_the_operator_starts_again() {
    let mut robot = with_faults("at 3 nan channel 2");
    let mut controller = started(Config::default());
    for _ in 0..3 {
        assert_eq!(tick(&mut controller, &mut robot), State::Policy);
    }
    for _ in 0..20 {
        assert_eq!(tick(&mut controller, &mut robot), State::Damping);
    }
    assert_eq!(controller.stats().faults.get(Faults::NON_FINITE_SENSORS), 1);
    // A start alone does nothing; reset, arm and start do.
    controller.request(Request::Start);
    assert_eq!(tick(&mut controller, &mut robot), State::Damping);
    for request in [Request::Reset, Request::Arm, Request::Start] {
        controller.request(request);
    }
    let report = controller.tick(&mut robot, &ON_TIME);
    assert_eq!((report.state, report.command), (State::Ready, CommandKind::Reset));
    assert_eq!(tick(&mut controller, &mut robot), State::Policy);
}

#[test]
fn frozen_sensors_damp_after_the_limit() {
    let mut robot = with_faults("at 3 freeze for 100");
    let limit = NonZeroU32::new(7);
    let mut controller = started(Config { frozen_limit: limit, ..Config::default() });
    let states: Vec<State> = (0..12).map(|_| tick(&mut controller, &mut robot)).collect();
    assert!(states[..9].iter().all(|s| *s == State::Policy), "{states:?}");
    assert!(states[9..].iter().all(|s| *s == State::Damping), "{states:?}");
    assert_eq!(controller.stats().faults.get(Faults::SENSORS_FROZEN), 1);
    let mut robot = with_faults("at 3 freeze for 100");
    let mut controller = started(Config { frozen_limit: None, ..Config::default() });
    assert!((0..90).all(|_| tick(&mut controller, &mut robot) == State::Policy));
}

#[test]
fn an_emergency_stop_stays_until_reset() {
    let mut robot = Point::new();
    let mut controller = started(Config::default());
    tick(&mut controller, &mut robot);
    controller.request(Request::Stop);
    controller.request(Request::Start);
    for request in [Request::Start, Request::Arm, Request::Damp, Request::Code(1)] {
        assert_eq!(tick(&mut controller, &mut robot), State::EStop);
        controller.request(request);
    }
    assert_eq!(tick(&mut controller, &mut robot), State::EStop);
    controller.request(Request::Reset);
    controller.request(Request::Damp);
    // Damping is the safer request of the two, and leads nowhere from here.
    assert_eq!(tick(&mut controller, &mut robot), State::EStop);
    controller.request(Request::Reset);
    assert_eq!(tick(&mut controller, &mut robot), State::Idle);
    assert_eq!(robot.told[1..], [[Told::Stop; 6].as_slice(), &[Told::Reset]].concat());
}

#[test]
fn codes_switch_live_and_wrong_ones_are_ignored() {
    let mut robot = Point::new();
    let mut controller = started(Config::default());
    assert_eq!(controller.code_count(), 3);
    let mut seen = vec![];
    for code in [0, 1, 2, 0, 2, 1, 0] {
        controller.request(Request::Code(code));
        let report = controller.tick(&mut robot, &ON_TIME);
        assert_eq!((report.state, report.code), (State::Policy, code));
        let mut one_hot = [0.0; 3];
        one_hot[usize::from(code)] = 1.0;
        assert_eq!(controller.latent(), one_hot);
        seen.push(controller.raw_action().to_vec());
    }
    assert_ne!(seen[0], seen[1]);
    controller.request(Request::Code(3));
    assert_eq!(controller.tick(&mut robot, &ON_TIME).code, 0);
}

#[test]
fn the_safest_request_wins() {
    let mut robot = Point::new();
    let mut controller = started(Config::default());
    controller.request(Request::Damp);
    assert_eq!(tick(&mut controller, &mut robot), State::Damping);
    controller.request(Request::Reset);
    controller.request(Request::Quit);
    assert_eq!(tick(&mut controller, &mut robot), State::Damping);
}

#[test]
fn missed_deadlines_hold_or_damp_as_configured() {
    let late = Wake { missed: 2, ..ON_TIME };
    let config = Config {
        on_miss: OnMiss::Hold,
        damp_after_misses: NonZeroU32::new(4),
        ..Config::default()
    };
    let mut robot = Point::new();
    let mut controller = started(config.clone());
    tick(&mut controller, &mut robot);
    controller.tick(&mut robot, &late);
    assert_eq!(robot.told[1], robot.told[0], "held");
    tick(&mut controller, &mut robot);
    assert_ne!(robot.told[2], robot.told[1], "on time again");
    controller.tick(&mut robot, &late);
    let report = controller.tick(&mut robot, &late);
    assert_eq!(report.state, State::Damping);
    assert!(report.faults.contains(Faults::DEADLINES_MISSED));
    assert_eq!(controller.stats().misses, 6);

    let mut controller = started(Config { on_miss: OnMiss::Skip, ..config });
    let mut robot = Point::new();
    tick(&mut controller, &mut robot);
    controller.tick(&mut robot, &late);
    assert_ne!(robot.told[1], robot.told[0], "skip infers");
    let mut controller = started(Config { damp_after_misses: None, ..Config::default() });
    let mut robot = Point::new();
    assert!((0..50).all(|_| controller.tick(&mut robot, &late).state == State::Policy));
}

#[test]
fn the_end_of_an_episode_ends_the_run() {
    let mut robot = Point::new();
    robot.terminate_at = Some(5);
    let mut controller = started(Config::default());
    let mut ticker = LockStep::new(controller.period_ns());
    let plan = Plan { damping_ticks: 3, ..Plan::ticks(100) };
    let report = run(&mut controller, &mut robot, &mut ticker, &plan, &mut ());
    assert_eq!(report.end.name(), "terminated");
    assert!(!report.end.is_good());
    assert_eq!((report.policy_ticks, report.ticks), (5, 8));
    assert_eq!(robot.told[5..], [Told::Damp; 3]);
}

#[test]
fn changes_count_from_what_the_robot_applied_where_somebody_else_chose_it() {
    let near = |controller: &Controller, from: [f32; 2]| {
        let changed = controller.action().iter().zip(from).map(|(a, from)| (a - from).abs());
        changed.fold(0.0, f32::max) <= MAX_STEP * 1.000_001
    };
    let mut robot = Guided::new([1.2, -1.2]);
    let mut controller = started(Config::default());
    assert_eq!(tick(&mut controller, &mut robot), State::Policy);
    assert!(near(&controller, [1.2, -1.2]), "{:?}", controller.action());
    // From then on its own actions count, ...
    robot.applied = [-1.2, 1.2];
    let own = [controller.action()[0], controller.action()[1]];
    tick(&mut controller, &mut robot);
    assert!(near(&controller, own) && !near(&controller, [-1.2, 1.2]));
    // ... until a person leads the robot.
    robot.taken_over = true;
    tick(&mut controller, &mut robot);
    assert!(near(&controller, [-1.2, 1.2]), "{:?}", controller.action());
    // In damping what is commanded is what is said.
    controller.request(Request::Damp);
    assert_eq!(tick(&mut controller, &mut robot), State::Damping);
    assert_eq!(controller.action(), [0.0; 2]);

    // What is no action is not counted from.
    let mut robot = Guided::new([f32::NAN, 1.2]);
    let mut controller = started(Config::default());
    tick(&mut controller, &mut robot);
    assert!(near(&controller, [0.0; 2]), "{:?}", controller.action());
}

#[test]
fn a_run_that_is_ending_ends_whatever_the_operator_says() {
    /// Resets, arms and starts after every tick from some tick on.
    struct Restless(u64);
    impl Observer for Restless {
        fn observe(&mut self, controller: &Controller, _: &Wake, tick: &TickReport, _: u64) {
            assert!(tick.tick < 50, "it goes on");
            if tick.tick >= self.0 {
                for request in [Request::Reset, Request::Arm, Request::Start] {
                    controller.request(request);
                }
            }
            if tick.tick == 9 && self.0 > 9 {
                controller.request(Request::Quit);
            }
        }
    }
    for (plan, from, end) in [
        (Plan::ticks(10), 9, End::Completed),
        (Plan { policy_ticks: None, ..Plan::default() }, 10, End::Quit),
    ] {
        let (mut robot, mut controller) = (Point::new(), started(Config::default()));
        let mut ticker = LockStep::new(controller.period_ns());
        let plan = Plan { damping_ticks: 5, attended: true, ..plan };
        let report = run(&mut controller, &mut robot, &mut ticker, &plan, &mut Restless(from));
        assert_eq!((report.end, report.state), (end, State::Damping));
        assert_eq!((report.policy_ticks, report.ticks), (10, 15));
        assert_eq!(robot.told[10..], [Told::Damp; 5]);
    }
}

#[test]
fn a_robot_that_fails_is_damped() {
    struct Failing(Point, IoError);
    impl RobotIo for Failing {
        fn spec(&self) -> &sog_runtime::io::RobotSpec {
            self.0.spec()
        }
        fn read(&mut self, obs: &mut [f32]) -> Result<sog_runtime::io::Reading, IoError> {
            let reading = self.0.read(obs)?;
            if reading.step == 3 { Err(self.1) } else { Ok(reading) }
        }
        fn write(&mut self, command: sog_runtime::io::Command<'_>) -> Result<(), IoError> {
            self.0.write(command)
        }
    }
    for (error, fault) in [
        (IoError::Closed, Faults::LINK_CLOSED),
        (IoError::Robot("motor 3 is hot"), Faults::ROBOT_FAILED),
    ] {
        let mut robot = Failing(Point::new(), error);
        let mut controller = started(Config::default());
        let states: Vec<State> = (0..5).map(|_| tick(&mut controller, &mut robot)).collect();
        assert_eq!(states[2..], [State::Policy, State::Damping, State::Damping]);
        assert_eq!(controller.stats().faults.get(fault), 1);
    }
}

#[test]
fn nobody_attending_an_idle_run_ends_it() {
    let mut controller = controller(Config::default());
    let mut ticker = LockStep::new(controller.period_ns());
    let report = run(&mut controller, &mut Point::new(), &mut ticker, &Plan::default(), &mut ());
    assert_eq!((report.end, report.state, report.ticks), (End::Idle, State::Idle, 1));
}

#[test]
fn a_controller_that_does_not_fit_is_refused_with_the_reason() {
    let refused = |spec, config| Controller::new(&policy(), &spec, config).err().unwrap();
    let message = |spec, config| refused(spec, config).to_string();
    let plain = Config::default;

    let mut other = spec();
    other.contract.task = "ant-dir-6".to_string();
    assert!(matches!(refused(other, plain()), ControlError::Contract(_)));
    let mut other = spec();
    other.contract.dt_s = 0.05;
    let found = message(other, plain());
    assert!(found.contains("the policy is `0.1 s`, of the robot it is `0.05 s`"), "{found}");
    let mut other = spec();
    other.damping_action = vec![f32::NAN; 2];
    assert!(message(other, plain()).contains("damping action"));
    let mut other = spec();
    other.max_action_step = vec![0.0; 2];
    assert!(message(other, plain()).contains("largest action step"));

    let rate = |hz| Config { rate_hz: Some(hz), ..plain() };
    for hz in [0.5, 2500.0, f64::NAN, -1.0] {
        assert!(message(spec(), rate(hz)).contains("1 to 2000 Hz"), "{hz}");
    }
    assert!(Controller::new(&policy(), &spec(), rate(1000.0)).is_ok());
    assert!(message(spec(), Config { code: 3, ..plain() }).contains("3, numbered from 0"));
    assert!(message(spec(), Config { codes: vec![0.5; 4], ..plain() }).contains("of 3 each"));
    let limit = Config { limit_rate: RateLimit::Share(f32::NAN), ..plain() };
    assert!(message(spec(), limit).contains("NaN of the action range"));
}

#[test]
fn a_gaussian_code_is_chosen_from_a_list() {
    let mut file = policy();
    file.latent = LatentKind::Gaussian(3);
    file.seal(2);
    let codes = vec![0.1, 0.2, 0.3, -1.0, -2.0, -3.0];
    let config = Config { codes, code: 1, ..Config::default() };
    let controller = Controller::new(&file, &spec(), config).unwrap();
    assert_eq!((controller.code_count(), controller.latent()), (2, [-1.0, -2.0, -3.0].as_slice()));
}

/// Ten thousand faults of every kind, with an operator who always starts again: nothing unsafe is
/// ever commanded, and nothing starts without the operator.
#[test]
fn ten_thousand_faults_and_no_unsafe_command() {
    let plan = FaultKind::ALL
        .into_iter()
        .fold(FaultPlan::new(11), |plan, kind| plan.with_rate(kind, 0.02));
    let mut robot = FaultyRobot::new(Point::new(), plan);
    let mut controller = started(Config::default());
    let mut ticker = LockStep::new(controller.period_ns());
    let injected = |robot: &FaultyRobot<Point>| -> u64 {
        FaultKind::ALL.into_iter().map(|kind| robot.injected(kind)).sum()
    };
    let (mut damped, mut last) = (0u64, State::Policy);
    while injected(&robot) < 10_000 {
        let report = controller.tick(&mut robot, &ticker.wait());
        if report.state == State::Policy {
            assert!(
                last == State::Policy
                    || report.requests.contains(Requests::START)
                    || last == State::Ready
            );
        }
        last = report.state;
        if report.state == State::Damping {
            damped += 1;
            if damped.is_multiple_of(4) {
                for request in [Request::Reset, Request::Arm, Request::Start] {
                    controller.request(request);
                }
            }
        } else if report.state == State::Idle {
            panic!("idle without being asked");
        }
    }
    for kind in FaultKind::ALL {
        assert!(robot.injected(kind) > 500, "{kind:?}: {}", robot.injected(kind));
    }
    let faults = controller.stats().faults;
    for fault in [Faults::NON_FINITE_SENSORS, Faults::STALE, Faults::SENSORS_LOST] {
        assert!(faults.get(fault) > 0, "{fault:?}");
    }
    assert!(controller.stats().limited.get(Limited::ACTION_RATE) > 0);
    assert!(controller.stats().policy_ticks > 10_000);
    assert_eq!(robot.inner().unsafe_commands, 0);
}
