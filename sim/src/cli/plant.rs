//! `sog-sim plant`: a simulated robot behind a link, for hardware-in-the-loop tests.

use std::{
    net::SocketAddr,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, ensure};
use clap::Args;
use serde_json::json;
use sog_runtime::{
    adapter::{AdapterPlant, RobotFile},
    io::RobotIo,
    link::{Address, PlantOptions, PlantReport, PlantServer, Transport, Udp, open_key},
    os::{
        self,
        pipe::{Flight, note},
    },
};

use super::{Outcome, RobotArgs, labels, print_json, task_parser};
use crate::{
    demonstrator::{DemonstrateOptions, Demonstrator},
    expert::Guide,
    robot::SimRobot,
    tasks::{TaskFolder, TaskMaker},
};

#[derive(Args)]
#[command(
    after_help = "To the controller this is a robot: `sog-run POLICY --robot udp://ADDR` on the \
    other side knows nothing of a simulation. In real time the plant steps at the controller's rate \
    whether commands come or not, and damps itself when none come; in lock step it waits for each \
    command, so that runs repeat to the bit.\n\nThe first session finds the robot at the start of \
    the first episode of the seed; every later session, and every reset, begins another. Ends with \
    SIGINT or SIGTERM, or after --sessions; then prints what happened."
)]
pub(super) struct PlantArgs {
    /// The task: a name (see `sog-sim tasks`) or a folder
    #[arg(long, value_name = "TASK", value_parser = task_parser())]
    task: Arc<TaskFolder>,
    /// UDP address to listen on; loopback unless another is given
    #[arg(long, value_name = "[HOST:]PORT", value_parser = parse_listen, required_unless_present = "serial", conflicts_with = "serial")]
    listen: Option<SocketAddr>,
    /// Serial device to listen on, with its rate as in /dev/ttyUSB0?baud=921600
    #[arg(long, value_name = "DEV", value_parser = parse_serial)]
    serial: Option<Address>,
    /// The only controller to hear, HOST:PORT (UDP)
    #[arg(long, value_name = "ADDR", requires = "listen")]
    peer: Option<SocketAddr>,
    /// File with a secret shared with the controller; without it nobody is authenticated
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Wait for the controller at every step instead of keeping real time
    #[arg(long)]
    lock_step: bool,
    /// End after this many sessions
    #[arg(long, value_name = "N")]
    sessions: Option<u64>,
    /// In real time, damp after this many periods without a command
    #[arg(long, value_name = "N", default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..))]
    watchdog: u32,
    /// Report the reward of this mode (or goal) to the controller
    #[arg(long, value_name = "M")]
    reward: Option<usize>,
    /// Goal to reward, numbers with commas (halfcheetah-vel: m/s; fetchreach: x,y,z in m)
    #[arg(long, value_name = "G", value_delimiter = ',', allow_hyphen_values = true)]
    goal: Vec<f64>,
    /// Seed of the robot's starts and noise
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    robots: RobotArgs,
    /// Speak as the robot of this file (`robot.toml`) does, to test `sog-run --adapter` with it
    #[arg(long, value_name = "FILE")]
    adapter: Option<PathBuf>,
    /// Demonstrate: the task's expert leads the robot through episodes of every mode, whatever is
    /// commanded, and presses button 0 at their beginnings and ends, for `sog-run record`
    #[arg(long, conflicts_with_all = ["reward", "goal", "adapter"])]
    demonstrate: bool,
    #[command(flatten)]
    shows: ShowArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What is demonstrated.
#[derive(Args)]
#[command(next_help_heading = "Demonstrations")]
pub(super) struct ShowArgs {
    /// Episodes of each mode, or number of goals [default: what the task's folder says, else 100]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    episodes_per_mode: Option<u32>,
    /// Steps of an episode [default: to the task's horizon]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(8..))]
    episode_steps: Option<u32>,
    /// Standard deviation of noise added to the expert's actions, in units of half their range
    /// [default: the task's own]
    #[arg(long, value_name = "STD")]
    action_noise: Option<f64>,
    /// Expert file [default: the one that comes with the program]
    #[arg(long, value_name = "FILE")]
    expert: Option<PathBuf>,
}

/// Episodes a mode that are shown where a task's folder does not say.
const EPISODES: usize = 100;

impl ShowArgs {
    /// A robot that is led by the task's expert.
    pub(super) fn demonstrator(
        &self,
        task: &TaskFolder,
        maker: &TaskMaker,
        seed: u64,
    ) -> Result<Demonstrator> {
        let demos = &task.definition().demos;
        let action_noise = self.action_noise.unwrap_or(demos.action_noise);
        ensure!(
            (0.0..=1.0).contains(&action_noise),
            "--action-noise {action_noise}: need a number from 0 to 1"
        );
        let options = DemonstrateOptions {
            episodes_per_mode: self
                .episodes_per_mode
                .map_or(demos.episodes.unwrap_or(EPISODES), |n| n as usize),
            seed,
            action_noise,
            steps: self.episode_steps.map(|steps| steps as usize),
        };
        let guide = Guide::of(task, self.expert.as_deref())?;
        Ok(Demonstrator::new(maker.make()?, guide, options)?)
    }
}

pub(super) fn run(args: &PlantArgs) -> Result<Outcome> {
    if args.demonstrate {
        return demonstrate(args);
    }
    let mut task = TaskMaker::of(&args.task, &args.robots.options())?.make()?;
    if !args.goal.is_empty() {
        task.set_goals(&args.goal)?;
    }
    let mut robot = SimRobot::new(task, args.seed)?;
    if let Some(mode) = args.reward {
        robot.report_reward(mode)?;
    }
    let options = options(args)?;
    let file = args.adapter.as_deref().map(RobotFile::read).transpose()?;
    let (transport, place) = listen(args)?;
    let flight = Flight::begin();
    // Before the line that others wait for.
    let stop = stop_on_signals()?;
    let pace = if args.lock_step { "in lock step" } else { "in real time" };
    note(format_args!("{} listens on {place}, {pace}", args.task.info().name));
    if !args.lock_step {
        let obtained = os::set_up(&os::RealTimeConfig::default())?;
        note(format_args!("scheduling: {obtained}"));
    }
    let report = match file {
        None => {
            let spec = robot.spec().clone();
            PlantServer::new(transport, &spec, options).serve(&mut robot, &stop)?
        }
        Some(file) => {
            let mut plant = AdapterPlant::new(robot, &file)?;
            for channel in plant.unknown() {
                note(format_args!("channel `{channel}` is 0 where no term of the task says it"));
            }
            let spec = plant.spec().clone();
            let served = PlantServer::new(transport, &spec, options).serve(&mut plant, &stop)?;
            robot = plant.into_inner();
            served
        }
    };
    drop(flight);
    if args.json {
        print_json(&to_json(args, &robot, &report));
    } else {
        print(args, &robot, &report);
    }
    Ok(Outcome::Good)
}

fn options(args: &PlantArgs) -> Result<PlantOptions> {
    Ok(PlantOptions {
        key: args.key.as_deref().map(open_key).transpose().context("cannot use the key file")?,
        lock_step: args.lock_step,
        watchdog_periods: args.watchdog,
        sessions: args.sessions,
        ..PlantOptions::default()
    })
}

/// Serves a robot that its expert leads.
fn demonstrate(args: &PlantArgs) -> Result<Outcome> {
    let maker = TaskMaker::of(&args.task, &args.robots.options())?;
    let mut robot = args.shows.demonstrator(&args.task, &maker, args.seed)?;
    let (transport, place) = listen(args)?;
    let flight = Flight::begin();
    // Before the line that others wait for.
    let stop = stop_on_signals()?;
    let pace = if args.lock_step { "in lock step" } else { "in real time" };
    note(format_args!("{} demonstrates on {place}, {pace}", args.task.info().name));
    let spec = robot.spec().clone();
    let report = PlantServer::new(transport, &spec, options(args)?).serve(&mut robot, &stop)?;
    drop(flight);
    let shown = robot.shown().len();
    if args.json {
        let mut object = report.to_json();
        object["task"] = json!(args.task.info().name);
        object["seed"] = json!(args.seed);
        object["shown"] = json!(shown);
        print_json(&object);
    } else {
        println!(
            "{}: {shown} episodes shown in {} sessions, {} steps",
            args.task.info().name,
            report.sessions,
            report.steps
        );
    }
    Ok(Outcome::Good)
}

/// Opens the link; says where it is.
fn listen(args: &PlantArgs) -> Result<(Box<dyn Transport + Send>, String)> {
    match (&args.serial, args.listen) {
        (Some(address), _) => {
            let link = address.listen(None).with_context(|| format!("cannot open {address}"))?;
            Ok((link, address.to_string()))
        }
        (None, address) => {
            let address = address.context("need --listen or --serial")?;
            let udp = Udp::listen(address, args.peer)
                .with_context(|| format!("cannot listen on udp://{address}"))?;
            let place = format!("udp://{}", udp.local_addr()?);
            Ok((Box::new(udp), place))
        }
    }
}

/// A flag that SIGINT and SIGTERM set.
fn stop_on_signals() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&stop);
    os::on_signals(move || flag.store(true, Ordering::Relaxed))?;
    Ok(stop)
}

fn to_json(args: &PlantArgs, robot: &SimRobot, report: &PlantReport) -> serde_json::Value {
    let mut object = report.to_json();
    object["task"] = json!(args.task.info().name);
    object["seed"] = json!(args.seed);
    object["lock_step"] = json!(args.lock_step);
    object["episodes"] = json!(robot.episodes());
    object["labels"] = json!(labels(&robot.task().info().modes, &args.goal));
    object["returns"] = json!(robot.returns());
    object
}

fn print(args: &PlantArgs, robot: &SimRobot, report: &PlantReport) {
    let [act, damp, stop, reset] = report.commands;
    println!(
        "{}: {} sessions, {} steps, {} episodes, {} periods missed, {} times damped for silence",
        args.task.info().name,
        report.sessions,
        report.steps,
        robot.episodes(),
        report.misses,
        report.watchdog
    );
    println!("  commands: {act} actions, {damp} damping, {stop} stops, {reset} resets");
    let trip = &report.round_trip_ns;
    println!(
        "  round trip p50 {} µs, p99 {} µs, max {} µs; {} packets dropped",
        trip.p50 / 1000,
        trip.p99 / 1000,
        trip.max / 1000,
        report.link.dropped()
    );
    let labels = labels(&robot.task().info().modes, &args.goal);
    for (label, value) in labels.iter().zip(robot.returns()) {
        println!("  return of the last episode for {label:<12} {value:>10.1}");
    }
}

/// `PORT`, `HOST:PORT` or `udp://HOST:PORT`.
fn parse_listen(text: &str) -> Result<SocketAddr, String> {
    let text = text.strip_prefix("udp://").unwrap_or(text);
    let full = if text.contains(':') { text.to_string() } else { format!("127.0.0.1:{text}") };
    match format!("udp://{full}").parse::<Address>() {
        Ok(Address::Udp(address)) => Ok(address),
        Ok(_) => Err("not a UDP address".to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// `DEV`, `DEV?baud=N` or `serial://DEV?baud=N`.
fn parse_serial(text: &str) -> Result<Address, String> {
    let text = text.strip_prefix("serial://").unwrap_or(text);
    format!("serial://{text}").parse::<Address>().map_err(|e| e.to_string())
}
