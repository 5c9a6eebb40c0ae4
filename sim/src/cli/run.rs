//! `sog-sim run`: closes the control loop of a policy around a simulated robot.

use std::{fmt::Write as _, path::PathBuf, sync::Arc};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde_json::json;
use sog_runtime::{
    control::{self, Config, Controller, Plan, Request, RunReport, SwitchCodes},
    os::{self, files::Output},
    policy::PolicyFile,
    time::{FreeRun, RealTime, Ticker},
};

use super::{Outcome, RobotArgs, labels, print_json, task_parser};
use crate::{
    render::{FilmFiles, Reel, check_size},
    robot::{Recording, SimRobot},
    task::TaskInfo,
    tasks::{self, TaskFolder, TaskMaker},
};

#[derive(Args)]
#[command(
    after_help = "The loop is the one that `sog-run` runs on a robot, with its watchdogs and \
    limits; the robot is simulated in the same process, so that execution times include the physics. \
    Without --realtime it runs as fast as possible.\n\n\
    Exit code: 0 the run was completed (or the robot fell, which is reported), 1 the controller \
    stopped it for another reason, 2 the policy or an option cannot be used."
)]
pub(super) struct RunArgs {
    /// Policy file
    policy: PathBuf,
    /// The task, a name or a folder [default: the one that the policy names]
    #[arg(long, value_name = "TASK", value_parser = task_parser())]
    task: Option<Arc<TaskFolder>>,
    /// Number of the code to run: one of the policy's K codes
    #[arg(long, value_name = "K", default_value_t = 0, conflicts_with = "code")]
    mode: u16,
    /// The code itself, for a policy with a Gaussian latent: d numbers with commas
    #[arg(long, value_name = "Z", value_delimiter = ',', allow_hyphen_values = true)]
    code: Vec<f32>,
    /// Select the next code after every so many seconds of the policy's command
    #[arg(long, value_name = "S")]
    switch_every: Option<f64>,
    /// Control steps to run [default: the task's horizon]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    steps: Option<u64>,
    /// Seed of the robot's start and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Keep to the control period in real time, with real-time scheduling if it can be had
    #[arg(long)]
    realtime: bool,
    /// Write position, velocity, action and rewards of each step to a CSV file
    #[arg(long, value_name = "FILE.csv")]
    trace: Option<PathBuf>,
    /// Goal to reward, numbers with commas (halfcheetah-vel: m/s; fetchreach: x,y,z in m)
    #[arg(long, value_name = "G", value_delimiter = ',', allow_hyphen_values = true)]
    goal: Vec<f64>,
    /// Draw the run to a file: .gif, .png (numbered frames), or .mp4 where ffmpeg is
    #[arg(long, value_name = "FILE")]
    render: Option<PathBuf>,
    /// Size of the picture in pixels
    #[arg(long, value_name = "WxH", default_value = "480x360", value_parser = parse_size)]
    size: (u32, u32),
    /// Replace the files of --trace and --render if they are there
    #[arg(long)]
    force: bool,
    #[command(flatten)]
    robots: RobotArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What a run gave.
struct Run {
    info: TaskInfo,
    steps: u64,
    report: RunReport,
    switches: u64,
    returns: Vec<f64>,
    scheduling: Option<os::Obtained>,
    recording: Recording,
    robot: SimRobot,
}

pub(super) fn run(args: &RunArgs) -> Result<Outcome> {
    let (file, folder) = open(args)?;
    let places = places(args, &folder)?;
    let run = simulate(args, &file, &folder)?;
    if let Some(output) = &places.trace {
        let written = output.write(csv(&run).as_bytes());
        written.with_context(|| format!("cannot write {}", output.path().display()))?;
    }
    if args.json {
        print_json(&to_json(args, &run));
    } else {
        print(args, &run);
    }
    if let Some(files) = &places.film {
        let written = draw(args, &run, files)?;
        if !args.json {
            println!("  drew {written}");
        }
    }
    let fell = run.report.end.name() == "terminated";
    Ok(if run.report.end.is_good() || fell { Outcome::Good } else { Outcome::CheckFailed })
}

/// The policy, and the task that it is run on.
fn open(args: &RunArgs) -> Result<(PolicyFile, Arc<TaskFolder>)> {
    let bytes = std::fs::read(&args.policy)
        .with_context(|| format!("cannot read {}", args.policy.display()))?;
    let (file, warning) = PolicyFile::open(&bytes)
        .with_context(|| format!("{} is refused", args.policy.display()))?;
    if let Some(warning) = warning {
        eprintln!("warning: {}: {warning}", args.policy.display());
    }
    let folder = match &args.task {
        Some(folder) => Arc::clone(folder),
        None => tasks::open(&file.contract.task).with_context(|| {
            format!(
                "the policy's task `{}` is not built in; give its folder with --task",
                file.contract.task
            )
        })?,
    };
    Ok((file, folder))
}

/// Where the run goes.
struct Places {
    trace: Option<Output>,
    film: Option<FilmFiles>,
}

/// Before the run, so that a wrong name costs nothing.
fn places(args: &RunArgs, folder: &TaskFolder) -> Result<Places> {
    let mut outputs = args.robots.outputs(args.force, folder).reads(&args.policy);
    let trace = args.trace.as_deref().map(|path| outputs.claim(path)).transpose()?;
    let info = folder.info();
    let steps = args.steps.map_or(Ok(info.horizon), usize::try_from)?;
    let film = match &args.render {
        Some(path) => {
            check_size(args.size)?;
            Some(FilmFiles::claim(&mut outputs, path, Reel::frames_of(steps, info.dt_s))?)
        }
        None => None,
    };
    Ok(Places { trace, film })
}

fn simulate(args: &RunArgs, file: &PolicyFile, folder: &Arc<TaskFolder>) -> Result<Run> {
    let mut task = TaskMaker::of(folder, &args.robots.options())?.make()?;
    if !args.goal.is_empty() {
        task.set_goals(&args.goal)?;
    }
    let info = task.info().clone();
    let steps = args.steps.unwrap_or(info.horizon as u64);
    let mut robot = SimRobot::new(task, args.seed)?;
    let config = Config { codes: args.code.clone(), code: args.mode, ..Config::default() };
    let mut controller = Controller::new(file, &crate::robot::spec(&info), config)?;
    let mailbox = controller.mailbox();
    os::on_signals(move || mailbox.post(Request::Quit))?;
    robot.record(usize::try_from(steps)?);
    controller.request(Request::Arm);
    controller.request(Request::Start);
    let plan = Plan::ticks(steps);
    let mut switch = match args.switch_every {
        Some(every_s) => Some(switch_codes(every_s, info.dt_s)?),
        None => None,
    };
    let (report, scheduling) = if args.realtime {
        let obtained = os::set_up(&os::RealTimeConfig::default())?;
        let mut ticker = RealTime::new(controller.period_ns(), 0);
        (drive(&mut controller, &mut robot, &mut ticker, &plan, &mut switch), Some(obtained))
    } else {
        (drive(&mut controller, &mut robot, &mut FreeRun::new(), &plan, &mut switch), None)
    };
    let Some(recording) = robot.take_recording() else { bail!("nothing was recorded") };
    let returns = robot.returns().to_vec();
    let switches = switch.map_or(0, |switch| switch.switches());
    Ok(Run { info, steps, report, switches, returns, scheduling, recording, robot })
}

fn drive(
    controller: &mut Controller,
    robot: &mut SimRobot,
    ticker: &mut dyn Ticker,
    plan: &Plan,
    switch: &mut Option<SwitchCodes>,
) -> RunReport {
    control::run(controller, robot, ticker, plan, switch)
}

fn switch_codes(every_s: f64, dt_s: f64) -> Result<SwitchCodes> {
    let ticks = (every_s / dt_s).round();
    ensure!(ticks >= 1.0 && ticks.is_finite(), "--switch-every {every_s}: need at least {dt_s} s");
    Ok(SwitchCodes::every(ticks as u64))
}

/// Draws what was recorded; says what was written.
fn draw(args: &RunArgs, run: &Run, files: &FilmFiles) -> Result<String> {
    let best = best(&run.returns);
    let labels = labels(&run.info.modes, &args.goal);
    let label = labels.get(best).map_or(String::new(), |label| format!(": {label}"));
    let caption = format!("{}\ncode {}{label}", run.info.name(), run.report.code);
    let reel = Reel::of(run.robot.task(), &run.recording, &args.goal);
    let progress = super::progress("drawing", reel.frames() as u64);
    let written = reel.draw(files, args.size, &caption, &mut || progress.inc(1))?;
    progress.finish_and_clear();
    Ok(written)
}

fn parse_size(text: &str) -> Result<(u32, u32), String> {
    let sides = text.split_once('x').and_then(|(w, h)| Some((w.parse().ok()?, h.parse().ok()?)));
    sides.ok_or_else(|| "need width x height in pixels, as in 640x480".to_string())
}

/// The mode with the largest return.
fn best(returns: &[f64]) -> usize {
    (0..returns.len()).fold(0, |b, i| if returns[i] > returns[b] { i } else { b })
}

fn to_json(args: &RunArgs, run: &Run) -> serde_json::Value {
    let best = best(&run.returns);
    let labels = labels(&run.info.modes, &args.goal);
    let mut object = run.report.to_json();
    object["task"] = json!(run.info.name());
    object["seed"] = json!(args.seed);
    object["steps"] = json!(run.steps);
    object["switches"] = json!(run.switches);
    object["dt_s"] = json!(run.info.dt_s);
    object["realtime"] = json!(args.realtime);
    object["scheduling"] = json!(run.scheduling.as_ref().map(os::Obtained::to_json));
    object["returns"] = json!(run.returns);
    object["labels"] = json!(labels);
    // Without modes there is no return, and none is best.
    object["best_mode"] = json!(run.returns.get(best).map(|_| best));
    object["return"] = json!(run.returns.get(best));
    object
}

fn print(args: &RunArgs, run: &Run) {
    let r = &run.report;
    println!(
        "{} under code {} for {} of {} steps: {}",
        run.info.name(),
        r.code,
        r.policy_ticks,
        run.steps,
        r.end.name()
    );
    if run.switches > 0 {
        println!("  {} switches of the code", run.switches);
    }
    let best = best(&run.returns);
    for (i, (label, value)) in
        labels(&run.info.modes, &args.goal).iter().zip(&run.returns).enumerate()
    {
        println!("  return for {label:<12} {value:>10.1}{}", if i == best { "  ←" } else { "" });
    }
    if let Some(obtained) = &run.scheduling {
        println!("  scheduling: {obtained}");
        println!(
            "  wake-up latency p50 {} µs, p99 {} µs, max {} µs; {} deadlines missed",
            r.wake_latency_ns.p50 / 1000,
            r.wake_latency_ns.p99 / 1000,
            r.wake_latency_ns.max / 1000,
            r.misses
        );
    }
    println!(
        "  execution (physics included) p50 {} µs, p99 {} µs, max {} µs",
        r.exec_ns.p50 / 1000,
        r.exec_ns.p99 / 1000,
        r.exec_ns.max / 1000
    );
    for (fault, count) in r.faults.iter().filter(|(_, count)| *count > 0) {
        println!("  {fault}: {count}");
    }
    if let Some(path) = &args.trace {
        println!("  wrote {}", path.display());
    }
}

/// One line a step: time, position, velocity, action, rewards.
fn csv(run: &Run) -> String {
    let (a, m) = (run.info.action_dim(), run.returns.len());
    let mut text = String::from("step,time_s,x_m,y_m,z_m,vx_m_s,vy_m_s");
    for term in &run.info.action_terms.0 {
        match term.width {
            1 => text += &format!(",action.{}", term.name),
            n => (0..n).for_each(|i| text += &format!(",action.{}.{i}", term.name)),
        }
    }
    (0..m).for_each(|i| text += &format!(",reward.{i}"));
    text.push('\n');
    for t in 0..run.recording.steps() {
        let probe = &run.recording.probes[t + 1];
        let [x, y, z] = probe.position_m;
        let [vx, vy] = probe.velocity_m_s;
        let time_s = (t + 1) as f64 * run.info.dt_s;
        let _ = write!(text, "{},{time_s:.6},{x},{y},{z},{vx},{vy}", t + 1);
        let action = run.recording.actions[t * a..][..a].iter();
        action.for_each(|v| text += &format!(",{v}"));
        let rewards = run.recording.rewards[t * m..][..m].iter();
        rewards.for_each(|v| text += &format!(",{v}"));
        text.push('\n');
    }
    text
}
