//! `sog-run POLICY --robot …`: the deployed controller.

use std::{fs::File, time::Duration};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use sog_runtime::{
    control::{Config, Controller, FreeRun, Plan, RateLimit, Request, RunReport, SwitchCodes, run},
    io::{
        FaultPlan, FaultyRobot, RobotIo, RobotSpec,
        link::{LinkOptions, LinkRobot, Transport, open_key},
    },
    os::{self, Obtained, RealTime, RealTimeConfig},
    policy::PolicyFile,
    telemetry::{self, Board, Recorder, Writer},
};

use super::{
    args::{RealTimeArgs, RunArgs},
    info,
    operator::{ControlSocket, KEYS, Keys},
    status::StatusLine,
};

type Robot = FaultyRobot<LinkRobot<Box<dyn Transport + Send>>>;

pub(super) fn main(args: &RunArgs) -> Result<bool> {
    let path = args.policy.as_deref().context("no policy file given")?;
    let (bytes, file) = info::load(path)?;
    let config = config(args);
    // Checked against the policy's own robot first: what is wrong here is no fault of the link.
    let expected = expected_robot(&file);
    let period_ns = Controller::new(&file, &expected, config.clone())?.period_ns();

    let switch = args.switch_every.map(|every_s| switch_codes(every_s, period_ns)).transpose()?;
    let faults = fault_plan(args)?;
    let faulty = args.faults.is_some();
    let link = connect(args, &expected, period_ns)?;
    let lock_step = link.lock_step();
    let mut robot = FaultyRobot::new(link, faults);
    let mut controller = Controller::new(&file, &robot.spec().clone(), config)?;
    if args.safety.rate_limit.0 == RateLimit::Robot && !controller.limits_rate() && !args.quiet {
        eprintln!(
            "the robot states no largest change of action, so that changes are not limited; \
             --rate-limit 0.2, say, allows a fifth of the range in a step"
        );
    }
    let mailbox = controller.mailbox();
    if !args.wait {
        controller.request(Request::Arm);
        controller.request(Request::Start);
    }

    // All helpers start before the real-time set-up, so that they stay ordinary threads.
    let board = Board::new();
    let log = args.log.as_ref().map(|path| open_log(path, &controller, &bytes)).transpose()?;
    let (recorder, writer) = log.unzip();
    let control = args.control.as_ref().map(|path| {
        ControlSocket::listen(path, &mailbox, &board)
            .with_context(|| format!("control socket {}", path.display()))
    });
    let control = control.transpose()?;
    let keys = if args.no_keys { None } else { Keys::listen(&mailbox)? };
    let attended = keys.is_some() || control.is_some();
    ensure!(attended || !args.wait, "--wait needs an operator: a terminal, or --control SOCKET");
    os::quit_on_signals(&mailbox).context("signal handlers")?;
    if keys.is_some() && !args.quiet {
        eprintln!("{KEYS}");
    }
    let status = if args.quiet { None } else { Some(StatusLine::show(&board)?) };
    let obtained = os::set_up(&real_time(&args.real_time))?;
    if !args.quiet {
        eprintln!("{obtained}{}", if lock_step { "; in lock step with the robot" } else { "" });
    }

    let plan = plan(args, period_ns, lock_step, attended)?;
    let mut observer = (recorder, (board, switch));
    let report = if lock_step {
        run(&mut controller, &mut robot, &mut FreeRun::new(), &plan, &mut observer)
    } else {
        let mut ticker = RealTime::new(period_ns, args.real_time.spin_us * 1000);
        run(&mut controller, &mut robot, &mut ticker, &plan, &mut observer)
    };
    drop((status, keys, control));
    let lost = finish_log(observer.0, writer)?;
    let mut summary = summary(&report, &robot, &obtained, lost, faulty);
    summary["rate_limited"] = controller.limits_rate().into();
    show(args, &report, &summary);
    Ok(report.end.is_good())
}

fn config(args: &RunArgs) -> Config {
    let safety = &args.safety;
    Config {
        rate_hz: args.rate,
        codes: args.codes.as_ref().map(|codes| codes.0.clone()).unwrap_or_default(),
        code: args.mode,
        on_miss: safety.on_miss.into(),
        damp_after_misses: safety.damp_after.0,
        stale_limit: safety.stale_limit,
        frozen_limit: safety.frozen_limit.0,
        limit_range: !safety.no_range_limit,
        limit_rate: safety.rate_limit.0,
    }
}

pub(super) fn real_time(args: &RealTimeArgs) -> RealTimeConfig {
    RealTimeConfig { strictness: args.rt.into(), priority: args.priority, cpu: args.cpu }
}

/// The robot that a policy was made for, as far as the policy knows it.
pub(super) fn expected_robot(file: &PolicyFile) -> RobotSpec {
    RobotSpec::new(&file.task, file.obs_terms.clone(), file.action_terms.clone(), file.dt_s)
}

fn switch_codes(every_s: f64, period_ns: u64) -> Result<SwitchCodes> {
    let ticks = (every_s * 1e9 / period_ns as f64).round();
    ensure!(
        ticks >= 1.0 && ticks.is_finite(),
        "--switch-every {every_s}: need at least one period"
    );
    Ok(SwitchCodes::every(ticks as u64))
}

fn fault_plan(args: &RunArgs) -> Result<FaultPlan> {
    let Some(path) = &args.faults else { return Ok(FaultPlan::default()) };
    let context = || format!("fault script {}", path.display());
    std::fs::read_to_string(path).with_context(context)?.parse().with_context(context)
}

fn connect(
    args: &RunArgs,
    expected: &RobotSpec,
    period_ns: u64,
) -> Result<LinkRobot<Box<dyn Transport + Send>>> {
    let address = args.robot.as_ref().context("no robot given")?;
    ensure!(args.timeout > 0.0 && args.timeout < 1e6, "--timeout {}: need seconds", args.timeout);
    let key = args
        .key
        .as_ref()
        .map(|path| open_key(path).with_context(|| format!("key file {}", path.display())));
    let options = LinkOptions {
        key: key.transpose()?,
        timeout: Duration::from_secs_f64(args.timeout),
        period_ns,
        ..LinkOptions::default()
    };
    let transport = address.connect(args.bind).with_context(|| address.to_string())?;
    LinkRobot::connect(transport, expected, &options).with_context(|| address.to_string())
}

fn plan(args: &RunArgs, period_ns: u64, lock_step: bool, attended: bool) -> Result<Plan> {
    let ticks = |seconds: f64| (seconds * 1e9 / period_ns as f64).round() as u64;
    if let Some(duration) = args.duration
        && !(duration > 0.0 && ticks(duration) > 0)
    {
        bail!("--duration {duration}: need at least one period");
    }
    // In lock step nothing moves by itself, so one tick of damping says it all.
    let damping = if lock_step { 1 } else { ticks(args.damping.max(0.0)) };
    Ok(Plan {
        policy_ticks: args.duration.map(ticks),
        damping_ticks: u32::try_from(damping).unwrap_or(u32::MAX).max(1),
        attended,
    })
}

pub(super) fn open_log(
    path: &std::path::Path,
    controller: &Controller,
    policy: &[u8],
) -> Result<(Recorder, Writer<File>)> {
    let context = || format!("log {}", path.display());
    let file = File::create(path).with_context(context)?;
    telemetry::start(controller, policy, file).with_context(context)
}

/// Waits for the log to be written; how many records were lost, if there is a log.
pub(super) fn finish_log(
    recorder: Option<Recorder>,
    writer: Option<Writer<File>>,
) -> Result<Option<u64>> {
    if let Some(writer) = writer {
        writer.finish().context("the log is not complete")?;
    }
    Ok(recorder.map(|recorder| recorder.lost()))
}

fn summary(
    report: &RunReport,
    robot: &Robot,
    obtained: &Obtained,
    lost: Option<u64>,
    faulty: bool,
) -> Value {
    let link = robot.inner();
    let mut json = report.to_json();
    json["round_trip_ns"] = link.round_trip().summary().to_json();
    json["link"] = link.counts().to_json();
    json["scheduler"] = obtained.to_json();
    if let Some(lost) = lost {
        json["log_records_lost"] = lost.into();
    }
    if faulty {
        let injected = sog_runtime::io::FaultKind::ALL
            .map(|kind| (kind.name().to_string(), Value::from(robot.injected(kind))));
        json["injected"] = Value::Object(injected.into_iter().collect());
    }
    json
}

fn show(args: &RunArgs, report: &RunReport, json: &Value) {
    if args.json {
        println!("{json}");
        return;
    }
    println!(
        "{} after {} ticks ({} of the policy's, code {}), in state {}",
        report.end.name(),
        report.ticks,
        report.policy_ticks,
        report.code,
        report.state
    );
    println!("misses        {}", report.misses);
    for (what, s) in [
        ("wake-up", report.wake_latency_ns),
        ("execution", report.exec_ns),
        ("period", report.period_ns),
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
    let round_trip = &json["round_trip_ns"];
    println!("round trip    p50 {} ns, p99 {} ns", round_trip["p50"], round_trip["p99"]);
    for (fault, n) in report.faults.iter().filter(|(_, n)| *n > 0) {
        println!("fault         {} in {n} ticks", fault.name());
    }
    if let Some(sum) = report.episode_return {
        println!("return        {sum:.3}");
    }
    if let Some(lost) = json.get("log_records_lost") {
        println!("log           {lost} records lost");
    }
}
