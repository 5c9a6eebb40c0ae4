//! Replay: the ticks of a log once more, compared bit for bit.

use super::{Header, Log, Record};
use crate::{
    control::{ControlError, Controller, Request},
    io::{Command, IoError, Reading, RobotIo, RobotSpec},
    policy::{PolicyError, PolicyFile},
};

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The policy in the log is refused.
    #[error("the policy in the log is refused: {0}")]
    Policy(#[from] PolicyError),
    /// Policy, robot and settings in the log do not fit.
    #[error(transparent)]
    Control(#[from] ControlError),
}

/// The first difference between a log and its replay.
#[derive(Clone, Debug, PartialEq)]
pub struct Mismatch {
    /// Number of the tick.
    pub tick: u64,
    /// What differs.
    pub what: &'static str,
    /// In the log.
    pub logged: String,
    /// In the replay.
    pub replayed: String,
}

/// What a replay found.
#[derive(Clone, Debug, PartialEq)]
pub struct ReplayReport {
    /// Ticks replayed.
    pub ticks: u64,
    /// The first difference, where the replay ended.
    pub mismatch: Option<Mismatch>,
    /// The tick before which records are lost, where the replay ended too.
    pub gap_before: Option<u64>,
}

/// A robot that gives what a log says it gave.
pub struct ReplayRobot<'a> {
    spec: RobotSpec,
    record: Option<&'a Record>,
}

impl<'a> ReplayRobot<'a> {
    /// A robot of this description, without a reading.
    pub fn new(spec: RobotSpec) -> Self {
        Self { spec, record: None }
    }

    /// What to give next.
    pub fn load(&mut self, record: &'a Record) {
        self.record = Some(record);
    }
}

impl RobotIo for ReplayRobot<'_> {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        let record = self.record.ok_or(IoError::Stale)?;
        obs.copy_from_slice(&record.obs);
        record.tick.read
    }

    fn write(&mut self, _: Command<'_>) -> Result<(), IoError> {
        self.record.map_or(Ok(()), |record| record.tick.written)
    }
}

/// Replays a log with the policy and settings it holds, up to the first difference or gap.
///
/// # Errors
/// [`ReplayError`] if the log cannot be replayed at all.
pub fn replay(log: &Log) -> Result<ReplayReport, ReplayError> {
    let file = PolicyFile::parse(&log.header.policy)?;
    let Header { spec, config, .. } = &log.header;
    let mut controller = Controller::new(&file, spec, config.clone())?;
    let mut robot = ReplayRobot::new(spec.clone());
    let mut report = ReplayReport { ticks: 0, mismatch: None, gap_before: None };
    for record in &log.records {
        if record.tick.tick != report.ticks {
            report.gap_before = Some(record.tick.tick);
            break;
        }
        robot.load(record);
        post(&controller, record);
        let tick = controller.tick(&mut robot, &record.wake);
        report.mismatch = difference(&controller, &tick, record);
        if report.mismatch.is_some() {
            break;
        }
        report.ticks += 1;
    }
    Ok(report)
}

fn post(controller: &Controller, record: &Record) {
    let requests = record.tick.requests;
    if requests.contains(Request::Code) {
        // A code that does not fit shows as the first difference.
        let _ = controller.mailbox().post_code(&record.latent);
    }
    let all =
        [Request::Arm, Request::Start, Request::Damp, Request::Stop, Request::Reset, Request::Quit];
    for request in all.into_iter().filter(|request| requests.contains(*request)) {
        controller.request(request);
    }
    if let Some(code) = requests.mode() {
        controller.request(Request::Mode(code));
    }
}

fn difference(
    controller: &Controller,
    tick: &crate::control::TickReport,
    record: &Record,
) -> Option<Mismatch> {
    let bits = |values: &[f32]| -> Vec<u32> { values.iter().map(|v| v.to_bits()).collect() };
    let same_bits = |a: &[f32], b: &[f32]| bits(a) == bits(b);
    let logged = &record.tick;
    let found = |what, logged: String, replayed: String| {
        Some(Mismatch { tick: record.tick.tick, what, logged, replayed })
    };
    if tick.state != logged.state {
        return found("state", logged.state.to_string(), tick.state.to_string());
    }
    if tick.command != logged.command {
        return found("command", logged.command.name().into(), tick.command.name().into());
    }
    if tick.code != logged.code {
        return found("code", logged.code.to_string(), tick.code.to_string());
    }
    if !same_bits(controller.latent(), &record.latent) {
        let (logged, replayed) = (&record.latent, controller.latent());
        return found("numbers of the code", format!("{logged:?}"), format!("{replayed:?}"));
    }
    if tick.faults != logged.faults {
        return found("faults", logged.faults.to_string(), tick.faults.to_string());
    }
    if !same_bits(controller.raw_action(), &record.raw_action) {
        let (logged, replayed) = (&record.raw_action, controller.raw_action());
        return found("raw action", format!("{logged:?}"), format!("{replayed:?}"));
    }
    if !same_bits(controller.action(), &record.action) {
        let (logged, replayed) = (&record.action, controller.action());
        return found("action", format!("{logged:?}"), format!("{replayed:?}"));
    }
    None
}
