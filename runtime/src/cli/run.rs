//! `sog-run POLICY --robot …`: the deployed controller.

use std::{
    cell::RefCell,
    fmt,
    fs::File,
    io, iter,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use sog_runtime::{
    adapter::{Adapter, AdapterProgram, Between, PacedRobot, PacedTicker, RobotFile},
    control::{
        Config, Controller, Follow, Observer, Plan, RateLimit, Request, RunReport, SwitchCodes,
        TickReport, run,
    },
    io::{Command, FaultPlan, FaultyRobot, Guidance, Homing, IoError, Reading, RobotIo, RobotSpec},
    link::{CountsToJson, LinkRobot, Transport},
    os::{
        self, Obtained, RealTimeConfig,
        files::{Output, Outputs},
        pipe::{Flight, note},
    },
    policy::PolicyFile,
    telemetry::{self, AdapterHeader, AdapterRecorder, Board, LogReport, Recorder, Writer},
    time::RealTime,
    time::{FreeRun, Summary, SummaryToJson, Wake},
};

use super::{
    args::{RealTimeArgs, RunArgs},
    info,
    names::Names,
    operator::{ControlSocket, KEYS, Keys, Pilot},
    status::StatusLine,
};

type Link = LinkRobot<Box<dyn Transport + Send>>;

/// The robot as the controller sees it: at the other end of the link, or behind an adapter.
enum Side<'a> {
    Plain(Box<Link>),
    Adapted(Box<PacedRobot<'a, Link>>, &'a RefCell<Adapter<Link>>),
}

impl Side<'_> {
    fn link<T>(&self, look: impl FnOnce(&Link) -> T) -> T {
        match self {
            Self::Plain(link) => look(link),
            Self::Adapted(_, adapter) => look(adapter.borrow().inner()),
        }
    }
}

impl RobotIo for Side<'_> {
    fn spec(&self) -> &RobotSpec {
        match self {
            Self::Plain(link) => link.spec(),
            Self::Adapted(robot, _) => robot.spec(),
        }
    }

    fn read(&mut self, obs: &mut [f32]) -> Result<Reading, IoError> {
        match self {
            Self::Plain(link) => link.read(obs),
            Self::Adapted(robot, _) => robot.read(obs),
        }
    }

    fn guidance(&self) -> Guidance<'_> {
        match self {
            Self::Plain(link) => link.guidance(),
            Self::Adapted(robot, _) => robot.guidance(),
        }
    }

    fn homing(&self) -> Homing {
        match self {
            Self::Plain(link) => link.homing(),
            Self::Adapted(robot, _) => robot.homing(),
        }
    }

    fn home_action(&self) -> Option<&[f32]> {
        match self {
            Self::Plain(link) => link.home_action(),
            Self::Adapted(robot, _) => robot.home_action(),
        }
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        match self {
            Self::Plain(link) => link.write(command),
            Self::Adapted(robot, _) => robot.write(command),
        }
    }
}

/// A recorder of either side, or none.
enum Log<'a> {
    None,
    Plain(Recorder),
    Adapted(AdapterRecorder<'a, Link>),
}

impl Log<'_> {
    fn recorder(&self) -> Option<&Recorder> {
        match self {
            Self::None => None,
            Self::Plain(recorder) => Some(recorder),
            Self::Adapted(log) => Some(&log.recorder),
        }
    }
}

impl Observer for Log<'_> {
    fn observe(&mut self, controller: &Controller, wake: &Wake, tick: &TickReport, end_ns: u64) {
        match self {
            Self::None => {}
            Self::Plain(recorder) => recorder.observe(controller, wake, tick, end_ns),
            Self::Adapted(log) => log.observe(controller, wake, tick, end_ns),
        }
    }
}

pub(super) fn main(args: &RunArgs) -> Result<bool> {
    let path = args.policy.as_deref().context("no policy file given")?;
    let (bytes, file) = info::load(path)?;
    let names = Names::of_run(args, &bytes, &file)?;
    let config = config(args, &names)?;
    let program = args.link.adapter.as_deref().map(|path| adapter(path, &file)).transpose()?;
    let reads = iter::once(path).chain(args.faults.as_deref()).chain(args.link.reads());
    let log = claim_log(args.log.as_deref(), args.force, reads)?;
    // Checked against the policy's own robot first: what is wrong here is no fault of the link.
    let expected = expected_robot(&file);
    let period_ns = Controller::new(&file, &expected, config.clone())?.period_ns();

    let switch = args.switch_every.map(|every_s| switch_codes(every_s, period_ns)).transpose()?;
    let faults = fault_plan(args, file.contract.obs_dim())?;
    let faulty = args.faults.is_some();
    // From here on a robot depends on this program.
    let flight = Flight::begin();
    let (expected, steps) = match &program {
        Some(program) => (RobotSpec::new(program.robot_contract().clone()), program.steps()),
        None => (expected, 1),
    };
    let robot_period_ns = period_ns / u64::from(steps);
    let link = connect(args, &expected, robot_period_ns)?;
    let lock_step = link.lock_step();
    if program.is_some() && !lock_step {
        check_adapter_rate(file.contract.dt_s, period_ns)?;
    }
    let unbounded = (link.version() < 2).then(|| {
        "the robot speaks version 1 of the wire format, which says nothing of the action's bounds: \
         they were not compared with the policy's"
            .to_string()
    });
    let robot_spec = link.spec().clone();
    let between = if lock_step { Between::Write } else { Between::Ticker };
    let rate_limit = args.safety.rate_limit.0;
    let (link, adapter) = match &program {
        Some(program) => {
            let mut adapter = Adapter::new(link, program, between)?;
            adapter.set_stale_limit(config.stale_limit);
            if rate_limit == RateLimit::Off {
                adapter.lift_rate_limit();
            }
            (None, Some(RefCell::new(adapter)))
        }
        None => (Some(link), None),
    };
    let side = match (link, &adapter) {
        (_, Some(adapter)) => Side::Adapted(Box::new(PacedRobot::new(adapter)), adapter),
        (Some(link), None) => Side::Plain(Box::new(link)),
        (None, None) => bail!("no robot"),
    };
    let mut robot = FaultyRobot::new(side, faults);
    let mut controller = Controller::new(&file, &robot.spec().clone(), config)?;
    let limits_rate =
        controller.limits_rate() || adapter.as_ref().is_some_and(|a| a.borrow().limits_rate());
    if rate_limit == RateLimit::Robot && !limits_rate && !args.quiet {
        note(format_args!(
            "the robot states no largest change of action, so that changes are not limited; \
             --rate-limit 0.2, say, allows a fifth of the range in a step"
        ));
    }
    let warnings: Vec<String> = rate_warning(file.contract.dt_s, period_ns, lock_step)
        .into_iter()
        .chain(unbounded)
        .collect();
    warnings.iter().for_each(|warning| note(format_args!("warning: {warning}")));
    let mailbox = controller.mailbox();
    if !args.wait {
        controller.request(Request::Arm);
    }
    // What is to be followed starts the policy itself.
    if !args.wait && args.follow.is_none() {
        controller.request(Request::Start);
    }
    let follow = args.follow.map(|time_s| follow(&file, &controller, time_s)).transpose()?;

    // All helpers start before the real-time set-up, so that they stay ordinary threads.
    let board = Board::new();
    let header = program.as_ref().map(|program| AdapterHeader {
        text: program.file().text().to_string(),
        robot: robot_spec,
        steps,
    });
    let log = log.map(|output| open_log(&output, &controller, &bytes, header)).transpose()?;
    let (recorder, log) = log.unzip();
    let recorder = match (recorder, &adapter) {
        (None, _) => Log::None,
        (Some(recorder), None) => Log::Plain(recorder),
        (Some(recorder), Some(adapter)) => Log::Adapted(AdapterRecorder { recorder, adapter }),
    };
    let control = args.control.as_ref().map(|path| {
        let pilot = Pilot::new(&mailbox, &board, &names);
        ControlSocket::listen(path, move |line| pilot.answer(line))
            .with_context(|| format!("control socket {}", path.display()))
    });
    let control = control.transpose()?;
    let pilot = Pilot::new(&mailbox, &board, &names);
    let keys = if args.no_keys { None } else { Keys::listen(move |key| pilot.press(key))? };
    let attended = keys.is_some() || control.is_some();
    ensure!(attended || !args.wait, "--wait needs an operator: a terminal, or --control SOCKET");
    let quit = controller.mailbox();
    os::on_signals(move || quit.post(Request::Quit)).context("signal handlers")?;
    if keys.is_some() && !args.quiet {
        note(format_args!("{KEYS}"));
    }
    let status = if args.quiet { None } else { Some(StatusLine::show(&board, &names)?) };
    let obtained = os::set_up(&real_time(&args.real_time))?;
    if !args.quiet {
        let pace = if lock_step { "; in lock step with the robot" } else { "" };
        note(format_args!("{obtained}{pace}"));
    }

    let plan = plan(args, period_ns, lock_step, attended)?;
    let mut observer = (recorder, (board, (switch, follow)));
    let report = if lock_step {
        run(&mut controller, &mut robot, &mut FreeRun::new(), &plan, &mut observer)
    } else {
        let ticker = RealTime::new(robot_period_ns, args.real_time.spin_us * 1000);
        match &adapter {
            Some(adapter) => {
                let mut ticker = PacedTicker::new(adapter, ticker);
                run(&mut controller, &mut robot, &mut ticker, &plan, &mut observer)
            }
            None => run(&mut controller, &mut robot, &mut { ticker }, &plan, &mut observer),
        }
    };
    drop((status, keys, control));
    let log =
        log.zip(observer.0.recorder()).map(|(log, recorder)| log.finish(recorder)).transpose()?;
    let round_trip = robot.inner().link(|link| link.round_trip().summary());
    let mut summary = summary(&report, &robot, &obtained, log.as_ref(), faulty);
    summary["rate_limited"] = limits_rate.into();
    summary["rate_hz"] = (1e9 / period_ns as f64).into();
    summary["policy_rate_hz"] = (1.0 / file.contract.dt_s).into();
    summary["code_name"] = names.name(report.code).into();
    if let Some(follow) = &observer.1.1.1 {
        summary["follow"] = followed(follow, &names);
    }
    summary["warnings"] = warnings.into_iter().collect();
    // The robot hears the farewell before anything that may end the program is printed.
    drop(robot);
    drop(observer);
    drop(adapter);
    drop(flight);
    show(args, &report, &names.call(report.code), &round_trip, &summary, log.as_ref());
    Ok(report.end.is_good() && log.is_none_or(|log| log.is_good()))
}

/// The adapter between a robot and a policy.
fn adapter(path: &Path, file: &PolicyFile) -> Result<AdapterProgram> {
    Ok(AdapterProgram::new(&RobotFile::read(path)?, &file.contract)?)
}

fn config(args: &RunArgs, names: &Names) -> Result<Config> {
    let safety = &args.safety;
    Ok(Config {
        rate_hz: args.link.rate,
        codes: args.codes.as_ref().map_or_else(|| names.codes(), |codes| codes.0.clone()),
        code: names.number(&args.code).context("--code")?,
        on_miss: safety.on_miss.into(),
        damp_after_misses: safety.damp_after.0,
        stale_limit: safety.stale_limit,
        frozen_limit: safety.frozen_limit.0,
        limit_range: !safety.no_range_limit,
        limit_rate: safety.rate_limit.0,
    })
}

pub(super) fn real_time(args: &RealTimeArgs) -> RealTimeConfig {
    RealTimeConfig { strictness: args.rt.into(), priority: args.priority, cpu: args.cpu }
}

/// A rate to the micro-hertz.
fn rounded(rate_hz: f64) -> f64 {
    (rate_hz * 1e6).round() / 1e6
}

/// The rate of a period over the one that a policy was trained at; 1 but for rounding.
fn rate_ratio(dt_s: f64, period_ns: u64) -> f64 {
    let ratio = 1e9 * dt_s / period_ns as f64;
    if (ratio - 1.0).abs() <= 1e-3 { 1.0 } else { ratio }
}

/// Whether an adapter, all of whose times are those of its file, can run a robot in real time so.
pub(super) fn check_adapter_rate(dt_s: f64, period_ns: u64) -> Result<()> {
    ensure!(
        rate_ratio(dt_s, period_ns) == 1.0,
        "--rate asks for {} Hz, the policy's rate is {} Hz; with --adapter a robot in real time keeps \
         the policy's, which the adapter's filters, velocities and speeds of homing are made for: \
         leave --rate out",
        rounded(1e9 / period_ns as f64),
        rounded(1.0 / dt_s)
    );
    Ok(())
}

/// What follows from a control rate that the policy was not trained at.
fn rate_warning(dt_s: f64, period_ns: u64, lock_step: bool) -> Option<String> {
    let (trained_hz, asked_hz) = (1.0 / dt_s, 1e9 / period_ns as f64);
    let ratio = rate_ratio(dt_s, period_ns);
    if ratio == 1.0 {
        return None;
    }
    let rates = format!(
        "the policy was trained at {} Hz and is run at {} Hz",
        rounded(trained_hz),
        rounded(asked_hz)
    );
    Some(if lock_step {
        format!(
            "{rates}; in lock step the robot takes its own steps, so that only time limits change"
        )
    } else {
        format!(
            "{rates}: an action now lasts {} s instead of {dt_s} s, the robot answers to it \
             {} times as often, and what the policy learned of speeds, histories and phases \
             no longer holds; leave --rate out to run it as trained",
            rounded(1.0 / asked_hz),
            rounded(ratio),
        )
    })
}

/// The robot that a policy was made for, as far as the policy knows it.
pub(super) fn expected_robot(file: &PolicyFile) -> RobotSpec {
    RobotSpec::new(file.contract.clone())
}

/// Who watches a demonstration of so many seconds.
fn follow(file: &PolicyFile, controller: &Controller, time_s: f64) -> Result<Follow> {
    ensure!(
        controller.code_count() > 1,
        "--follow: the policy has one code, and nothing to choose; a policy with continuous codes needs \
         a book of them (`sog name POLICY --demos FILE`), or --codes"
    );
    let steps = (time_s * 1e9 / controller.period_ns() as f64).round();
    Ok(Follow::new(file, controller.codes(), steps as u64))
}

/// What came of following, as JSON.
fn followed(follow: &Follow, names: &Names) -> Value {
    let code = follow.found();
    json!({
        "code": code, "name": code.and_then(|code| names.name(code)), "steps": follow.watched(),
        "losses": follow.mean_losses().collect::<Vec<f64>>(),
    })
}

fn switch_codes(every_s: f64, period_ns: u64) -> Result<SwitchCodes> {
    let ticks = (every_s * 1e9 / period_ns as f64).round();
    ensure!(ticks >= 1.0, "--switch-every {every_s}: need at least one period");
    Ok(SwitchCodes::every(ticks as u64))
}

fn fault_plan(args: &RunArgs, channels: usize) -> Result<FaultPlan> {
    let Some(path) = &args.faults else { return Ok(FaultPlan::default()) };
    let context = || format!("fault script {}", path.display());
    let text = std::fs::read_to_string(path).with_context(context)?;
    let plan: FaultPlan = text.parse().with_context(context)?;
    if let Some(channel) = plan.channel_beyond(channels) {
        let last = channels.saturating_sub(1);
        bail!("{}: channel {channel}, the observation has 0 to {last}", context());
    }
    Ok(plan)
}

fn connect(
    args: &RunArgs,
    expected: &RobotSpec,
    period_ns: u64,
) -> Result<LinkRobot<Box<dyn Transport + Send>>> {
    let (transport, options) = args.link.open(period_ns)?;
    let address = args.link.robot()?;
    LinkRobot::connect(transport, expected, &options).with_context(|| address.to_string())
}

fn plan(args: &RunArgs, period_ns: u64, lock_step: bool, attended: bool) -> Result<Plan> {
    let ticks = |seconds: f64| (seconds * 1e9 / period_ns as f64).round() as u64;
    if let Some(duration) = args.duration
        && ticks(duration) == 0
    {
        bail!("--duration {duration}: need at least one period");
    }
    // In lock step nothing moves by itself, so one tick of damping says it all.
    let damping = if lock_step { 1 } else { ticks(args.damping) };
    Ok(Plan {
        policy_ticks: args.duration.map(ticks),
        damping_ticks: u32::try_from(damping).unwrap_or(u32::MAX).max(1),
        attended,
    })
}

/// A log being written.
pub(super) struct OpenLog {
    writer: Writer<File>,
    path: PathBuf,
}

/// A place for the log that is none of the files read.
pub(super) fn claim_log<'a>(
    log: Option<&Path>,
    force: bool,
    reads: impl IntoIterator<Item = &'a Path>,
) -> Result<Option<Output>> {
    let mut outputs = Outputs::new(force).reads_all(reads);
    Ok(log.map(|path| outputs.claim(path)).transpose()?)
}

pub(super) fn open_log(
    output: &Output,
    controller: &Controller,
    policy: &[u8],
    adapter: Option<AdapterHeader>,
) -> Result<(Recorder, OpenLog)> {
    let path = output.path();
    let begun = telemetry::start_in(output, controller, policy, adapter);
    let (recorder, writer) = begun.with_context(|| format!("log {}", path.display()))?;
    Ok((recorder, OpenLog { writer, path: path.to_path_buf() }))
}

impl OpenLog {
    /// Waits for the log to be written; what became of it.
    pub(super) fn finish(self, recorder: &Recorder) -> Result<LogSummary> {
        let (file, report) = self.writer.finish(recorder)?;
        // What a device or a pipe says to this does not matter.
        let synced = file.sync_all();
        let error = report.error.as_ref().or(synced.as_ref().err().filter(|e| is_loss(e)));
        Ok(LogSummary { error: error.map(ToString::to_string), path: self.path, report })
    }
}

/// Whether a failed fsync means that something is lost.
fn is_loss(error: &io::Error) -> bool {
    !matches!(error.kind(), io::ErrorKind::InvalidInput | io::ErrorKind::Unsupported)
}

/// What became of a log.
pub(super) struct LogSummary {
    path: PathBuf,
    report: LogReport,
    error: Option<String>,
}

impl LogSummary {
    /// Whether the disk took all it was given.
    pub(super) fn is_good(&self) -> bool {
        self.error.is_none()
    }

    pub(super) fn to_json(&self) -> Value {
        let since = self
            .report
            .missing_since
            .map(|(tick, time)| json!({ "tick": tick, "s": time.as_secs_f64() }));
        json!({
            "path": self.path.display().to_string(),
            "records": self.report.written,
            "missing": self.report.missing,
            "missing_since": since,
            "error": self.error,
        })
    }
}

impl fmt::Display for LogSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LogReport { written, missing, missing_since, .. } = &self.report;
        write!(f, "{written} records in {}", self.path.display())?;
        if let Some((tick, time)) = missing_since {
            let time_s = time.as_secs_f64();
            write!(f, "; {missing} are missing, since tick {tick} ({time_s:.3} s)")?;
        }
        self.error.iter().try_for_each(|error| write!(f, "; not complete: {error}"))
    }
}

fn summary(
    report: &RunReport,
    robot: &FaultyRobot<Side<'_>>,
    obtained: &Obtained,
    log: Option<&LogSummary>,
    faulty: bool,
) -> Value {
    let mut json = report.to_json();
    let side = robot.inner();
    json["round_trip_ns"] = side.link(|link| link.round_trip().summary()).to_json();
    json["link"] = side.link(|link| link.counts()).to_json();
    if let Side::Adapted(_, adapter) = side
        && let Some((channel, length)) = adapter.borrow().bad_quaternion()
    {
        json["bad_quaternion"] = json!({ "channel": channel, "length": length });
    }
    if let Side::Adapted(_, adapter) = side
        && let Some((command, number)) = adapter.borrow().bad_command()
    {
        json["bad_command"] = json!({ "command": command, "number": number });
    }
    json["scheduler"] = obtained.to_json();
    if let Some(log) = log {
        json["log"] = log.to_json();
    }
    if faulty {
        let injected = sog_runtime::io::FaultKind::ALL
            .map(|kind| (kind.name().to_string(), Value::from(robot.injected(kind))));
        json["injected"] = Value::Object(injected.into_iter().collect());
    }
    json
}

fn show(
    args: &RunArgs,
    report: &RunReport,
    code: &str,
    round_trip: &Summary,
    json: &Value,
    log: Option<&LogSummary>,
) {
    if args.json {
        println!("{json}");
        return;
    }
    println!(
        "{} after {} ticks ({} of the policy's, code {}), in state {}",
        report.end.name(),
        report.ticks,
        report.policy_ticks,
        code,
        report.state
    );
    println!("misses        {}", report.misses);
    for (what, s) in [
        ("wake-up", &report.wake_latency_ns),
        ("execution", &report.exec_ns),
        ("period", &report.period_ns),
        ("round trip", round_trip),
    ] {
        let us = |ns: u64| ns as f64 / 1e3;
        println!(
            "{what:<13} p50 {:.1} µs, p99 {:.1} µs, p99.9 {:.1} µs, max {:.1} µs",
            us(s.p50),
            us(s.p99),
            us(s.p999),
            us(s.max)
        );
    }
    for (fault, n) in report.faults.iter().filter(|(_, n)| *n > 0) {
        println!("fault         {fault} in {n} ticks");
    }
    if let Some(bad) = json.get("bad_command") {
        println!(
            "not sent      number {} of command {}: not finite; a reading that the adapter computes \
             it from is not either",
            bad["number"], bad["command"]
        );
    }
    for (limit, n) in report.limited.iter().filter(|(_, n)| *n > 0) {
        println!("limited       {limit} in {n} ticks");
    }
    if let Some(follow) = json.get("follow") {
        let found = &follow["code"];
        let name = follow["name"].as_str().map_or(found.to_string(), str::to_string);
        match found {
            Value::Null => println!("followed      nobody: {} steps were shown", follow["steps"]),
            _ => println!("followed      code {name} after {} steps", follow["steps"]),
        }
    }
    if let Some(sum) = report.episode_return {
        println!("return        {sum:.3}");
    }
    if let Some(log) = log {
        println!("log           {log}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rate_that_is_not_the_trained_one_is_warned_of_with_both() {
        let warning = rate_warning(0.05, 5_000_000, false).unwrap();
        assert!(
            warning.contains("trained at 20 Hz") && warning.contains("run at 200 Hz"),
            "{warning}"
        );
        assert!(warning.contains("0.005 s instead of 0.05 s"), "{warning}");
        assert!(rate_warning(0.05, 5_000_000, true).unwrap().contains("lock step"));
        assert_eq!(rate_warning(0.05, 50_000_000, false), None);
        // Rounding of the period is no difference.
        assert_eq!(rate_warning(1.0 / 3.0, 333_333_333, false), None);
    }
}
