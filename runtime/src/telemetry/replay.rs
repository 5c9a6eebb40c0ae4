//! Replay: the ticks of a log once more, compared bit for bit.

use super::{Header, Log, Record};
use crate::{
    adapter::{Adapter, AdapterProgram, Between, RobotFile},
    control::{ControlError, Controller, RateLimit, Request, Requests},
    definition::DefinitionError,
    io::{Command, Guidance, Homing, IoError, Reading, RobotIo, RobotSpec},
    policy::{PolicyError, PolicyFile},
};

/// Why a log cannot be replayed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ReplayError {
    /// The policy in the log is refused.
    #[error("the policy in the log is refused: {0}")]
    Policy(#[from] PolicyError),
    /// The adapter in the log is refused.
    #[error("the adapter in the log is refused: {0}")]
    Adapter(#[from] DefinitionError),
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
    /// Whether it gives the readings that an adapter got, instead of the policy's observation.
    behind_adapter: bool,
}

impl<'a> ReplayRobot<'a> {
    /// A robot of this description, without a reading.
    pub fn new(spec: RobotSpec) -> Self {
        Self { spec, record: None, behind_adapter: false }
    }

    /// A robot of the description on the other side of an adapter.
    pub fn behind_adapter(spec: RobotSpec) -> Self {
        Self { behind_adapter: true, ..Self::new(spec) }
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
        let sent = if self.behind_adapter { &record.readings } else { &record.obs };
        let (found, needed) = (obs.len(), sent.len());
        if found != needed {
            return Err(IoError::Width { found, needed });
        }
        obs.copy_from_slice(sent);
        record.tick.read
    }

    fn homing(&self) -> Homing {
        self.record.map_or(Homing::Unable, |record| record.tick.homing)
    }

    fn home_action(&self) -> Option<&[f32]> {
        self.record.map(|record| &*record.action)
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
    match &log.header.adapter {
        // What it read between the policy's periods is not in the log.
        Some(adapter) if adapter.steps == 1 => {
            let robot_file = RobotFile::parse("the adapter in the log", &adapter.text)?;
            let program = AdapterProgram::new(&robot_file, &spec.contract)?;
            let inner = ReplayRobot::behind_adapter(adapter.robot.clone());
            let robot = Adapter::new(inner, &program, Between::Write);
            let mut robot = robot.map_err(|error| ReplayError::Control(error.into()))?;
            robot.set_stale_limit(config.stale_limit);
            if config.limit_rate == RateLimit::Off || !log.counts_from_applied() {
                robot.lift_rate_limit();
            }
            Ok(replay_on(&mut controller, robot, log))
        }
        _ => Ok(replay_on(&mut controller, ReplayRobot::new(spec.clone()), log)),
    }
}

/// A robot, and what a log says that a person did with it.
struct Guided<'a, R> {
    robot: R,
    record: Option<&'a Record>,
}

impl<R: RobotIo> RobotIo for Guided<'_, R> {
    fn spec(&self) -> &RobotSpec {
        self.robot.spec()
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        self.robot.read(obs)
    }

    fn guidance(&self) -> Guidance<'_> {
        let Some(Record { applied, buttons, taken_over, .. }) = self.record else {
            return Guidance::default();
        };
        let told = (!applied.is_empty()).then_some(&**applied);
        Guidance { applied: told, buttons: *buttons, taken_over: *taken_over }
    }

    fn homing(&self) -> Homing {
        self.robot.homing()
    }

    fn home_action(&self) -> Option<&[f32]> {
        self.robot.home_action()
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        self.robot.write(command)
    }
}

/// A robot that gives what records say.
trait Replayed<'a>: RobotIo {
    fn load(&mut self, record: &'a Record);

    /// What an adapter made of the last action differently from the record.
    fn told_otherwise(&self, _record: &Record) -> Option<&[f32]> {
        None
    }
}

impl<'a> Replayed<'a> for ReplayRobot<'a> {
    fn load(&mut self, record: &'a Record) {
        self.load(record);
    }
}

impl<'a> Replayed<'a> for Adapter<ReplayRobot<'a>> {
    fn load(&mut self, record: &'a Record) {
        self.inner_mut().load(record);
    }

    fn told_otherwise(&self, record: &Record) -> Option<&[f32]> {
        (!same_bits(self.command(), &record.command)).then(|| self.command())
    }
}

fn replay_on<'a, R: Replayed<'a>>(
    controller: &mut Controller,
    robot: R,
    log: &'a Log,
) -> ReplayReport {
    let mut report = ReplayReport { ticks: 0, mismatch: None, gap_before: None };
    let mut guided = Guided { robot, record: None };
    for record in &log.records {
        if record.tick.tick != report.ticks {
            report.gap_before = Some(record.tick.tick);
            break;
        }
        guided.robot.load(record);
        guided.record = log.counts_from_applied().then_some(record);
        post(controller, record);
        let tick = controller.tick(&mut guided, &record.wake);
        report.mismatch = difference(controller, &tick, record).or_else(|| {
            guided.robot.told_otherwise(record).map(|replayed| Mismatch {
                tick: record.tick.tick,
                what: "the adapter's command",
                logged: format!("{:?}", record.command),
                replayed: format!("{replayed:?}"),
            })
        });
        if report.mismatch.is_some() {
            break;
        }
        report.ticks += 1;
    }
    report
}

fn same_bits(a: &[f32], b: &[f32]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
}

fn post(controller: &Controller, record: &Record) {
    let requests = record.tick.requests;
    if requests.contains(Requests::FREE_CODE) {
        // A code that does not fit shows as the first difference.
        let _ = controller.mailbox().post_code(&record.latent);
    }
    for (flag, request) in [
        (Requests::ARM, Request::Arm),
        (Requests::START, Request::Start),
        (Requests::HOME, Request::Home),
        (Requests::DAMP, Request::Damp),
        (Requests::STOP, Request::Stop),
        (Requests::RESET, Request::Reset),
        (Requests::QUIT, Request::Quit),
    ] {
        if requests.contains(flag) {
            controller.request(request);
        }
    }
    if let Some(code) = requests.code() {
        controller.request(Request::Code(code));
    }
}

fn difference(
    controller: &Controller,
    tick: &crate::control::TickReport,
    record: &Record,
) -> Option<Mismatch> {
    let logged = &record.tick;
    let found = |what, logged: String, replayed: String| {
        Some(Mismatch { tick: record.tick.tick, what, logged, replayed })
    };
    if tick.read.is_ok() && !same_bits(controller.observation(), &record.obs) {
        let (logged, replayed) = (&record.obs, controller.observation());
        return found("observation", format!("{logged:?}"), format!("{replayed:?}"));
    }
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
    if tick.limited != logged.limited {
        return found("limits", logged.limited.to_string(), tick.limited.to_string());
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
