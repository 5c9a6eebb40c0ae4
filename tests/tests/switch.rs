//! An ant walks one episode while its code is switched live six times, and no tick is missed.
#![allow(clippy::unwrap_used)]

#[path = "../../sim/tests/common/mod.rs"]
mod common;

use common::policy_for;
use sog_runtime::{
    control::{
        Config, Controller, End, Observer, Plan, Request, RunReport, State, SwitchCodes,
        TickReport, run,
    },
    os::{self, RealTimeConfig},
    policy::MeanScale,
    time::RealTime,
    time::{LockStep, Ticker, Wake},
};
use sog_sim::{
    robot::{SimRobot, spec},
    tasks::{self, TaskOptions, make},
};

const TASK: &str = "ant-dir-6";
const SWITCHES: u64 = 6;

/// What each tick did: code, whether under the policy, the robot's step, periods missed before it.
#[derive(Default)]
struct Seen(Vec<(u16, bool, Option<u64>, u32)>);

impl Observer for Seen {
    fn observe(&mut self, _: &Controller, wake: &Wake, tick: &TickReport, _: u64) {
        let step = tick.read.ok().map(|reading| reading.step);
        self.0.push((tick.code, tick.state == State::Policy, step, wake.missed));
    }
}

/// One episode; the number of its steps, how many of them lie between two switches, and what was
/// seen.
fn episode(ticker: impl FnOnce(u64) -> Box<dyn Ticker>) -> (u64, u64, Seen, RunReport, Vec<f32>) {
    let info = tasks::open(TASK).unwrap().info().clone();
    let steps = info.horizon as u64;
    let every = steps / (SWITCHES + 1) + 1;
    let mut file = policy_for(TASK, 6);
    // Gentle enough to stay on its feet for the whole episode.
    file.mean_scale = MeanScale::Tanh(0.2);
    file.seal(4);
    let mut robot = SimRobot::new(make(TASK, &TaskOptions::default()).unwrap(), 4).unwrap();
    robot.record(steps as usize);
    let mut controller = Controller::new(&file, &spec(&info), Config::default()).unwrap();
    controller.request(Request::Arm);
    controller.request(Request::Start);
    let mut observer = (SwitchCodes::every(every), Seen::default());
    let mut ticker = ticker(controller.period_ns());
    let plan = Plan::ticks(steps);
    let report = run(&mut controller, &mut robot, &mut *ticker, &plan, &mut observer);
    assert_eq!(observer.0.switches(), SWITCHES);
    (steps, every, observer.1, report, robot.take_recording().unwrap().actions)
}

fn assert_switched_without_a_miss(steps: u64, every: u64, seen: &Seen, report: &RunReport) {
    assert_eq!((report.end, report.policy_ticks, report.misses), (End::Completed, steps, 0));
    for (i, &(code, commands, step, missed)) in seen.0[..steps as usize].iter().enumerate() {
        let i = i as u64;
        // One step of the robot a tick, under the policy throughout, in the code of its turn.
        assert_eq!((commands, step, missed), (true, Some(i), 0), "tick {i}");
        assert_eq!(u64::from(code), i / every % 6, "tick {i}");
    }
}

#[test]
fn an_ant_switches_six_times_without_a_missed_tick() {
    let (steps, every, seen, report, actions) = episode(|period| Box::new(LockStep::new(period)));
    assert_switched_without_a_miss(steps, every, &seen, &report);
    // The codes are heard: at each switch the action jumps further than it does on its way.
    let width = actions.len() / steps as usize;
    let jump = |t: usize| -> f32 {
        let (a, b) = (&actions[(t - 1) * width..][..width], &actions[t * width..][..width]);
        a.iter().zip(b).map(|(a, b)| (a - b).abs()).sum()
    };
    for switch in 1..=SWITCHES as usize {
        let at = switch * every as usize;
        assert!(jump(at) > 2.0 * jump(at - 1), "switch at {at}: {} {}", jump(at), jump(at - 1));
    }
}

/// The same by the clock. Ignored because it takes the episode's ten seconds and a machine that
/// keeps 20 Hz.
#[test]
#[ignore = "takes ten seconds of real time"]
fn an_ant_switches_six_times_without_a_missed_tick_in_real_time() {
    println!("{}", os::set_up(&RealTimeConfig::default()).unwrap());
    let (steps, every, seen, report, _) = episode(|period| Box::new(RealTime::new(period, 0)));
    println!("{}", report.to_json());
    assert_switched_without_a_miss(steps, every, &seen, &report);
}
