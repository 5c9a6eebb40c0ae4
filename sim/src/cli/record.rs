//! `sog-sim record`: the whole way from a robot that is led to a demonstration file, in one process:
//! the simulated robot behind a link, and the recorder at the other end of it.

use std::{
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use serde_json::json;
use sog_runtime::{
    io::{Command, IoError, RobotIo},
    link::{
        Address, CountsToJson, Faulty, LinkOptions, LinkRobot, Memory, ObservationStream,
        PacketFaults, PlantOptions, PlantReport, PlantServer, Serial, Transport, Udp,
    },
    os::files::Output,
    recording::{Happened, Recorder, Saver, Store},
};

use super::{Outcome, RobotArgs, plant::ShowArgs, print_json, task_parser};
use crate::{
    demonstrator::Demonstrator,
    task::Modes,
    tasks::{TaskFolder, TaskMaker},
};

/// How long the recorder looks for the next observation.
const WAIT: Duration = Duration::from_millis(20);
/// Such looks in vain after which the robot counts as gone.
const MOST_IN_VAIN: u32 = 500;
/// Observations of a robot that has shown everything after which no more is waited for.
const MOST_RESTING: u32 = 10_000;
const NOT_WRITTEN: &str = "the demonstration file cannot be written";
/// Rate of the pseudo-terminal, which has none.
const BAUD: u32 = 921_600;

#[derive(Args)]
#[command(
    after_help = "The task's expert leads the simulated robot, which tells over the link what it \
    sees and what it applies, and presses its button at the beginning and the end of each episode; \
    what is recorded at the other end is compared with what was shown, number by number. With \
    --faults packets are lost, doubled, reordered and damaged in both directions.\n\n\
    Exit code: 0 all was recorded as it was shown, 1 it was not, 2 bad usage or input."
)]
pub(super) struct RecordArgs {
    /// The task: a name (see `sog-sim tasks`) or a folder
    #[arg(long, value_name = "TASK", value_parser = task_parser())]
    task: Arc<TaskFolder>,
    /// Demonstration file to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    #[command(flatten)]
    shows: ShowArgs,
    /// The link between robot and recorder
    #[arg(long, value_enum, default_value_t = Over::Udp)]
    over: Over,
    /// The robot keeps real time at this rate instead of waiting for the recorder
    #[arg(long, value_name = "HZ")]
    real_time: Option<f64>,
    /// Probability of each kind of fault for each packet
    #[arg(long, value_name = "P", default_value_t = 0.0)]
    faults: f64,
    /// Seed of the episodes and the faults
    #[arg(long, default_value_t = 0)]
    seed: u64,
    #[command(flatten)]
    robots: RobotArgs,
    /// Replace the file if it is there
    #[arg(long)]
    force: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// What carries the packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Over {
    /// UDP on loopback
    Udp,
    /// A pseudo-terminal, as a serial line
    Serial,
    /// Memory
    Memory,
}

type Line = Box<dyn Transport + Send>;

/// The robot's end and the recorder's.
fn line(over: Over) -> Result<(Line, Line)> {
    Ok(match over {
        Over::Memory => {
            let (here, there) = Memory::pair();
            (Box::new(there), Box::new(here))
        }
        Over::Udp => {
            let robot = Udp::listen("127.0.0.1:0".parse()?, None)?;
            let address = Address::Udp(robot.local_addr()?);
            (Box::new(robot), address.connect(None)?)
        }
        Over::Serial => {
            use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};
            let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY)?;
            grantpt(&master)?;
            unlockpt(&master)?;
            rustix::io::ioctl_fionbio(&master, true)?;
            let device = PathBuf::from(ptsname(&master, vec![])?.into_string()?);
            let recorder = Address::Serial { device, baud: BAUD }.connect(None)?;
            (Box::new(Serial::from_line(master, BAUD)?), recorder)
        }
    })
}

fn faulty(line: Line, probability: f64, seed: u64) -> Faulty<Line> {
    let p = probability;
    let faults = PacketFaults { seed, drop: p, duplicate: p, reorder: p, bit_flip: p, truncate: p };
    Faulty::new(line, faults)
}

pub(super) fn run(args: &RecordArgs) -> Result<Outcome> {
    ensure!((0.0..0.5).contains(&args.faults), "--faults {}: need 0 to 0.5", args.faults);
    let period_ns = match args.real_time {
        Some(rate) if (1.0..=2000.0).contains(&rate) => Some((1e9 / rate).round() as u64),
        Some(rate) => bail!("--real-time {rate}: need 1 to 2000 Hz"),
        None => None,
    };
    let output = args.robots.outputs(args.force, &args.task).claim(&args.out)?;
    let maker = TaskMaker::of(&args.task, &args.robots.options())?;
    let mut robot = args.shows.demonstrator(&args.task, &maker, args.seed)?;
    let (modes, done) = (robot.modes(), robot.done_flag());
    let (robots_end, recorders_end) = line(args.over).context("cannot open the link")?;
    let robots_end = faulty(robots_end, args.faults, args.seed.wrapping_add(1));
    let recorders_end = faulty(recorders_end, args.faults, args.seed.wrapping_add(2));
    let options = PlantOptions {
        lock_step: period_ns.is_none(),
        sessions: Some(1),
        ..PlantOptions::default()
    };
    let stop = Arc::new(AtomicBool::new(false));
    let spec = robot.spec().clone();
    let served = thread::spawn(move || -> Result<(PlantReport, Demonstrator), IoError> {
        let report = PlantServer::new(robots_end, &spec, options).serve(&mut robot, &stop)?;
        Ok((report, robot))
    });
    let progress = super::progress("episodes", modes.len() as u64);
    // Goals are no labels by number.
    let labelled = matches!(args.task.info().modes, Modes::Discrete(_));
    let mode = |n: usize| modes.get(n).copied().filter(|_| labelled);
    let shows = Shows {
        count: modes.len(),
        mode: &mode,
        tick: &|| progress.inc(1),
        is_done: &|| done.load(Ordering::Relaxed),
    };
    let recorded = record(recorders_end, period_ns, output, &shows);
    progress.finish_and_clear();
    let (store, lost) = recorded?;
    let served = served.join().map_err(|_| anyhow::anyhow!("the robot's side panicked"))?;
    let (report, robot) = served.context("the robot's side failed")?;
    let (found, shown) = (store.episodes(), robot.shown());
    let differs = found.iter().zip(shown).position(|(found, shown)| {
        found.observations != shown.observations || found.actions != shown.actions
    });
    let same = differs.is_none() && found.len() == shown.len();
    let steps: usize = found.iter().map(|e| e.actions.len() / robot.spec().action_dim()).sum();
    if args.json {
        print_json(&json!({
            "task": args.task.info().name, "path": args.out.display().to_string(),
            "shown": shown.len(), "episodes": found.len(), "steps": steps, "same": same,
            "first_difference": differs, "lost_steps": lost, "seed": args.seed,
            "link": report.link.to_json(), "lock_step": period_ns.is_none(),
        }));
    } else {
        println!(
            "{}: {} of {} episodes, {steps} steps; {} packets dropped, {lost} steps lost for good",
            args.out.display(),
            found.len(),
            shown.len(),
            report.link.dropped(),
        );
        match differs {
            Some(episode) => println!("episode {episode} is not what was shown"),
            None => println!("every number is what was shown"),
        }
    }
    Ok(if same { Outcome::Good } else { Outcome::CheckFailed })
}

/// What is to come.
struct Shows<'a> {
    count: usize,
    /// Mode of an episode, where it has one.
    mode: &'a dyn Fn(usize) -> Option<u32>,
    /// Told of each episode.
    tick: &'a dyn Fn(),
    /// Whether all have been shown.
    is_done: &'a dyn Fn() -> bool,
}

/// Records as many episodes as are shown; the file, and the steps that were lost for good.
fn record(
    line: Faulty<Line>,
    period_ns: Option<u64>,
    output: Output,
    shows: &Shows<'_>,
) -> Result<(Store, u64)> {
    let options = LinkOptions {
        period_ns: period_ns.unwrap_or(0),
        late_periods: 0.0,
        timeout: Duration::from_secs(10),
        ..LinkOptions::default()
    };
    let mut stream = ObservationStream::new(LinkRobot::watch(line, None, &options)?, WAIT);
    let contract = stream.spec().contract.clone();
    let mut recorder = Recorder::new(contract.obs_dim(), contract.action_dim());
    let mut obs = vec![0.0; contract.obs_dim()];
    let generator = concat!("sog-sim ", env!("CARGO_PKG_VERSION")).to_string();
    let provenance = vec![("expert", "recorded".to_string()), ("generator", generator)];
    let mut saver = Saver::start(Store::new(output, contract, provenance))?;
    let mut in_vain = 0;
    // A robot that has nothing more to show rests.
    let mut resting = 0;
    while saver.episodes() < shows.count && resting < MOST_RESTING {
        let reading = match stream.read(&mut obs) {
            Ok(reading) => reading,
            Err(IoError::Stale) if in_vain < MOST_IN_VAIN => {
                in_vain += 1;
                continue;
            }
            Err(error) => return Err(error.into()),
        };
        in_vain = 0;
        resting = if (shows.is_done)() { resting + 1 } else { 0 };
        if let Some(Happened::Ended(episode)) = recorder.see(reading, &obs, stream.guidance()) {
            let mode = (shows.mode)(saver.episodes());
            saver.add(episode, mode).context(NOT_WRITTEN)?;
            (shows.tick)();
        }
        if period_ns.is_none() {
            // It makes the step; the expert leads all the same.
            stream.write(Command::Damp)?;
        }
    }
    Ok((saver.finish().context(NOT_WRITTEN)?, stream.lost()))
}
