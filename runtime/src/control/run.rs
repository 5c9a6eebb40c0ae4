//! The loop: ticks until the run is over, and always damping at its end.

use super::{CommandKind, Controller, End, Event, Request, Requests, RunReport, State, TickReport};
use crate::io::RobotIo;
use crate::time::{Ticker, Wake};

/// How long a run lasts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The run is over after this many ticks in which the policy commanded.
    pub policy_ticks: Option<u64>,
    /// Ticks of damping (or e-stop) at the end of the run; at least one is done.
    pub damping_ticks: u32,
    /// Whether an operator is there to start, reset and quit. If not, the run is over as soon as
    /// the policy no longer commands.
    pub attended: bool,
}

impl Default for Plan {
    fn default() -> Self {
        Self { policy_ticks: None, damping_ticks: 1, attended: false }
    }
}

impl Plan {
    /// An unattended run of this many policy ticks.
    pub fn ticks(policy_ticks: u64) -> Self {
        Self { policy_ticks: Some(policy_ticks), ..Self::default() }
    }
}

/// Sees every tick when it is done: telemetry, a status line, a test.
pub trait Observer {
    /// Called after each tick; must not allocate, lock or block.
    fn observe(&mut self, controller: &Controller, wake: &Wake, tick: &TickReport, end_ns: u64);
}

impl Observer for () {
    fn observe(&mut self, _: &Controller, _: &Wake, _: &TickReport, _: u64) {}
}

impl<A: Observer, B: Observer> Observer for (A, B) {
    fn observe(&mut self, controller: &Controller, wake: &Wake, tick: &TickReport, end_ns: u64) {
        self.0.observe(controller, wake, tick, end_ns);
        self.1.observe(controller, wake, tick, end_ns);
    }
}

impl<O: Observer> Observer for Option<O> {
    fn observe(&mut self, controller: &Controller, wake: &Wake, tick: &TickReport, end_ns: u64) {
        if let Some(observer) = self {
            observer.observe(controller, wake, tick, end_ns);
        }
    }
}

/// Runs a controller on a robot until the plan is done, [`Request::Quit`] is posted, or (where
/// nobody attends) the policy no longer commands. The last ticks are in damping or e-stop.
///
/// What is in the mailbox when the run begins is obeyed in its first tick: post
/// [`Request::Arm`] and [`Request::Start`] to have the policy command from the first observation.
pub fn run<R: RobotIo + ?Sized, T: Ticker + ?Sized, O: Observer + ?Sized>(
    controller: &mut Controller,
    robot: &mut R,
    ticker: &mut T,
    plan: &Plan,
    observer: &mut O,
) -> RunReport {
    let first_policy_tick = controller.stats().policy_ticks;
    let mut end = None;
    let mut safe_ticks = 0;
    loop {
        let wake = ticker.wait();
        let tick = controller.tick(robot, &wake);
        let end_ns = ticker.now_ns();
        controller.record_timing(&wake, end_ns);
        observer.observe(controller, &wake, &tick, end_ns);

        if tick.requests.contains(Requests::QUIT) {
            end = Some(End::Quit);
        } else if end.is_none() && !plan.attended {
            end = unattended_end(controller, &tick);
        }
        let done = controller.stats().policy_ticks - first_policy_tick;
        if end.is_none() && tick.command == CommandKind::Act && Some(done) == plan.policy_ticks {
            end = Some(End::Completed);
        }
        if let Some(end) = end {
            let safe = matches!(tick.state, State::Damping | State::EStop);
            safe_ticks += u32::from(safe);
            if safe_ticks >= plan.damping_ticks.max(1) || end == End::Idle {
                return report(controller, end);
            }
            // Nothing that the operator still says begins anything again: damping wins over it.
            controller.request(Request::Damp);
        }
    }
}

/// Where nobody attends, a run ends with the policy's command.
fn unattended_end(controller: &Controller, tick: &TickReport) -> Option<End> {
    match tick.state {
        State::Damping | State::EStop => {
            Some(End::Stopped(controller.left_policy().unwrap_or(Event::Damp)))
        }
        State::Idle if tick.command == CommandKind::None => Some(End::Idle),
        _ => None,
    }
}

fn report(controller: &Controller, end: End) -> RunReport {
    let (stats, timings) = (controller.stats(), controller.timings());
    RunReport {
        end,
        state: controller.state(),
        code: controller.code(),
        ticks: stats.ticks,
        policy_ticks: stats.policy_ticks,
        misses: stats.misses,
        faults: stats.faults,
        limited: stats.limited,
        wake_latency_ns: timings.wake_latency.summary(),
        exec_ns: timings.exec.summary(),
        period_ns: timings.period.summary(),
        episode_return: stats.episode_return,
    }
}
