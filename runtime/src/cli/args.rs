//! The arguments of `sog-run`.

use std::{ffi::OsString, num::NonZeroU32, path::PathBuf, str::FromStr};

use clap::{CommandFactory, FromArgMatches, Parser, Subcommand, ValueEnum};
use sog_runtime::{
    control::{OnMiss, RateLimit},
    os::Strictness,
};

use super::{
    link::LinkArgs,
    seconds::{positive_seconds, seconds},
};

/// Runs a policy on a robot: read → check → infer → limit → write, at a fixed rate.
///
/// Ends in damping, whatever ends it. Exit codes: 0 good, 1 a fault ended the run or a check
/// failed, 2 bad usage or input.
#[derive(Parser)]
#[command(name = "sog-run", version, args_conflicts_with_subcommands = true)]
pub(super) struct Args {
    #[command(subcommand)]
    pub(super) command: Option<Command>,
    #[command(flatten)]
    pub(super) run: RunArgs,
}

impl Args {
    /// The arguments of a command line, its program first.
    pub(super) fn from<T: Into<OsString> + Clone>(
        line: impl IntoIterator<Item = T>,
    ) -> Result<Self, clap::Error> {
        let mut command = numbers(Self::command());
        let mut matches = command.try_get_matches_from_mut(line)?;
        Self::from_arg_matches_mut(&mut matches).map_err(|error| error.format(&mut command))
    }
}

/// A number below 0 is the value of the option before it, so that the option says what it needs.
fn numbers(command: clap::Command) -> clap::Command {
    let number = |arg: clap::Arg| {
        let takes = arg.get_action().takes_values();
        arg.allow_negative_numbers(takes)
    };
    command.mut_args(number).mut_subcommands(numbers)
}

#[derive(Subcommand)]
pub(super) enum Command {
    /// Says how fit this machine is for real time, and what to do about it
    Doctor(DoctorArgs),
    /// Measures inference and wake-up latency on this machine
    Bench(BenchArgs),
    /// Runs the ticks of a log once more and compares every action bit for bit
    Replay(ReplayArgs),
    /// Writes a log as CSV or MCAP
    Export(ExportArgs),
    /// Verifies a policy file and says what it is
    Info(InfoArgs),
    /// Records demonstrations that a person gives with a robot; commands nothing
    #[command(after_help = RECORD_HELP)]
    Record(RecordArgs),
}

/// What `sog-run record --help` says behind the options.
const RECORD_HELP: &str = "\
The robot streams observations, each with the action that it applied (docs/protocol.md, version 2). \
Keys: s start, e end, k keep, x discard, q quit. Lines on the control socket: start, end, keep, \
discard, status, quit. Of the robot's buttons, 0 starts and ends an episode and 1 discards it. Each \
episode is on the disk when its end is announced; discarding takes it out again until the next one \
begins or it is kept.\n\n\
Exit codes: 0 good, 1 the robot or the disk ended it, 2 bad usage or input.";

#[derive(clap::Args)]
pub(super) struct RecordArgs {
    #[command(flatten)]
    pub(super) link: LinkArgs,
    /// Demonstration file to write
    #[arg(long, value_name = "FILE")]
    pub(super) out: PathBuf,
    /// Adds to the file if it is there
    #[arg(long, conflicts_with = "force")]
    pub(super) append: bool,
    /// Replaces the file if it is there
    #[arg(long)]
    pub(super) force: bool,
    /// Policy or demonstration file of the same task (with an adapter it is needed); without it the
    /// robot says what it is
    #[arg(long, value_name = "FILE")]
    pub(super) like: Option<PathBuf>,
    /// Ends after this many episodes
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    pub(super) episodes: Option<u64>,
    /// Local socket on which an operator's commands are taken
    #[arg(long, value_name = "SOCKET")]
    pub(super) control: Option<PathBuf>,
    /// Does not take the operator's keys from the terminal
    #[arg(long)]
    pub(super) no_keys: bool,
    /// Ends with one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// Says nothing of single episodes
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(clap::Args)]
pub(super) struct RunArgs {
    /// Policy file
    #[arg(required = true)]
    pub(super) policy: Option<PathBuf>,
    #[command(flatten)]
    pub(super) link: LinkArgs,

    /// Number or name of the code to begin with
    #[arg(long, alias = "mode", default_value = "0", value_name = "K")]
    pub(super) code: String,
    /// Watches a person who leads the robot for S seconds (2 where nothing is said), finds the code
    /// of what is shown, and takes over in that way as soon as the robot is let go
    #[arg(
        long, value_name = "S", num_args = 0..=1, default_missing_value = "2", require_equals = true,
        value_parser = positive_seconds, conflicts_with_all = ["wait", "switch_every"],
    )]
    pub(super) follow: Option<f64>,
    /// Codes to choose from, for a policy with a Gaussian latent: numbers with commas, codes with
    /// semicolons; without them those of the policy's book
    #[arg(long, value_name = "CODES", allow_hyphen_values = true)]
    pub(super) codes: Option<Codes>,
    /// Selects the next code after every so many seconds of the policy's command
    #[arg(long, value_name = "S", value_parser = positive_seconds)]
    pub(super) switch_every: Option<f64>,
    /// Ends the run after this many seconds of the policy's command
    #[arg(long, value_name = "S", value_parser = positive_seconds)]
    pub(super) duration: Option<f64>,
    /// Does not start by itself: waits for the operator to arm and start
    #[arg(long)]
    pub(super) wait: bool,
    /// Seconds of damping at the end (one tick at least)
    #[arg(long, default_value_t = 0.2, value_name = "S", value_parser = seconds)]
    pub(super) damping: f64,

    #[command(flatten)]
    pub(super) safety: SafetyArgs,
    #[command(flatten)]
    pub(super) real_time: RealTimeArgs,

    /// Log file: one record a tick
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Replaces a log file that is there
    #[arg(long)]
    pub(super) force: bool,
    /// Local socket on which an operator's commands are taken
    #[arg(long, value_name = "SOCKET")]
    pub(super) control: Option<PathBuf>,
    /// Does not take the operator's keys from the terminal
    #[arg(long)]
    pub(super) no_keys: bool,
    /// Script of faults to inject into the robot's readings
    #[arg(long, value_name = "FILE")]
    pub(super) faults: Option<PathBuf>,
    /// Ends with one JSON object
    #[arg(long)]
    pub(super) json: bool,
    /// No status line
    #[arg(long, short)]
    pub(super) quiet: bool,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Safety")]
pub(super) struct SafetyArgs {
    /// What the tick after a missed deadline does: infer as always, or repeat the last action
    #[arg(long, value_enum, default_value_t = MissArg::Skip)]
    pub(super) on_miss: MissArg,
    /// Damping after this many missed deadlines in a row, or `off`
    #[arg(long, default_value = "5", value_name = "N")]
    pub(super) damp_after: Limit,
    /// Damping in the n-th period in a row without a new observation; under an adapter that runs the robot
    /// faster than the policy, for as long, in the n-th of the robot's too (at least 2)
    #[arg(long, default_value = "2", value_name = "N")]
    pub(super) stale_limit: NonZeroU32,
    /// Damping when n observations in a row repeat the one before to the last bit, or `off`
    #[arg(long, default_value = "50", value_name = "N")]
    pub(super) frozen_limit: Limit,
    /// Largest change of action in a step: `robot` (what it states), a share of the action range
    /// beside that, or `off`
    #[arg(long, default_value = "robot", value_name = "LIMIT")]
    pub(super) rate_limit: RateArg,
    /// Does not cut actions to the policy's range
    #[arg(long)]
    pub(super) no_range_limit: bool,
}

#[derive(clap::Args)]
#[command(next_help_heading = "Real time")]
pub(super) struct RealTimeArgs {
    /// Whether to ask for SCHED_FIFO, locked memory and a processor, and what if refused
    #[arg(long, value_enum, default_value_t = RtArg::Warn)]
    pub(super) rt: RtArg,
    /// SCHED_FIFO priority
    #[arg(long, default_value_t = 80, value_parser = clap::value_parser!(u8).range(1..=99))]
    pub(super) priority: u8,
    /// Processor to stay on
    #[arg(long, value_name = "N")]
    pub(super) cpu: Option<usize>,
    /// Spins through the last microseconds before each deadline
    #[arg(long, default_value_t = 0, value_name = "US", value_parser = clap::value_parser!(u64).range(..=1_000_000))]
    pub(super) spin_us: u64,
}

#[derive(clap::Args)]
pub(super) struct DoctorArgs {
    /// Prints JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(clap::Args)]
pub(super) struct BenchArgs {
    /// Policy file
    pub(super) policy: PathBuf,
    /// Control rate, 1 to 2000 Hz; without it the policy's own
    #[arg(long, value_name = "HZ")]
    pub(super) rate: Option<f64>,
    /// Seconds to run the loop for
    #[arg(long, default_value_t = 5.0, value_name = "S", value_parser = positive_seconds)]
    pub(super) duration: f64,
    /// Log file: one record a tick
    #[arg(long, value_name = "FILE")]
    pub(super) log: Option<PathBuf>,
    /// Replaces a log file that is there
    #[arg(long)]
    pub(super) force: bool,
    #[command(flatten)]
    pub(super) real_time: RealTimeArgs,
    /// Prints JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(clap::Args)]
pub(super) struct ReplayArgs {
    /// Log file
    pub(super) log: PathBuf,
    /// Prints JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(clap::Args)]
pub(super) struct ExportArgs {
    /// Log file
    pub(super) log: PathBuf,
    /// CSV file to write
    #[arg(long, value_name = "FILE", required_unless_present = "mcap")]
    pub(super) csv: Option<PathBuf>,
    /// MCAP file to write, for Foxglove
    #[arg(long, value_name = "FILE")]
    pub(super) mcap: Option<PathBuf>,
    /// Replaces files that are there
    #[arg(long)]
    pub(super) force: bool,
}

#[derive(clap::Args)]
pub(super) struct InfoArgs {
    /// Policy file
    pub(super) policy: PathBuf,
    /// Prints JSON
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum MissArg {
    Skip,
    Hold,
}

impl From<MissArg> for OnMiss {
    fn from(arg: MissArg) -> Self {
        match arg {
            MissArg::Skip => Self::Skip,
            MissArg::Hold => Self::Hold,
        }
    }
}

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum RtArg {
    Off,
    Warn,
    Strict,
}

impl From<RtArg> for Strictness {
    fn from(arg: RtArg) -> Self {
        match arg {
            RtArg::Off => Self::Off,
            RtArg::Warn => Self::Warn,
            RtArg::Strict => Self::Strict,
        }
    }
}

/// A number of periods, or `off`.
#[derive(Clone, Copy)]
pub(super) struct Limit(pub(super) Option<NonZeroU32>);

impl FromStr for Limit {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text == "off" {
            return Ok(Self(None));
        }
        text.parse().map(|n| Self(Some(n))).map_err(|_| "need a number from 1, or `off`")
    }
}

/// A [`RateLimit`].
#[derive(Clone, Copy)]
pub(super) struct RateArg(pub(super) RateLimit);

impl FromStr for RateArg {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Ok(Self(match text {
            "robot" => RateLimit::Robot,
            "off" => RateLimit::Off,
            share => match share.parse::<f32>() {
                Ok(share) if share.is_finite() && share > 0.0 => RateLimit::Share(share),
                _ => return Err("need `robot`, `off` or a positive share of the action range"),
            },
        }))
    }
}

/// Latent codes, one after the other.
#[derive(Clone)]
pub(super) struct Codes(pub(super) Vec<f32>);

impl FromStr for Codes {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let numbers = text.split([';', ',']).map(|number| number.trim().parse::<f32>());
        match numbers.collect::<Result<Vec<f32>, _>>() {
            Ok(codes) if codes.iter().all(|v| v.is_finite()) => Ok(Self(codes)),
            _ => Err("need finite numbers with commas, codes with semicolons"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(args: &[&str]) -> Result<Args, clap::Error> {
        let run = ["sog-run", "p", "--robot", "udp://127.0.0.1:1"];
        Args::from(run.iter().chain(args))
    }

    #[test]
    fn numbers_that_are_none_are_refused() {
        for flag in ["--damping", "--timeout", "--duration", "--switch-every"] {
            for bad in ["nan", "NaN", "inf", "-inf", "-1", "1e300", "x", ""] {
                assert!(parse(&[&format!("{flag}={bad}")]).is_err(), "{flag} {bad}");
            }
            assert!(parse(&[flag, "0.5"]).is_ok(), "{flag}");
        }
        assert!(parse(&["--damping", "0"]).is_ok() && parse(&["--duration", "0"]).is_err());
        for bad in ["nan", "inf", "0", "-0.1"] {
            assert!(parse(&[&format!("--rate-limit={bad}")]).is_err(), "{bad}");
        }
        assert!(
            parse(&["--codes", "0.5,nan"]).is_err() && parse(&["--codes", "-1,0.5;2,3"]).is_ok()
        );
        assert!(parse(&["--spin-us", "18446744073709551615"]).is_err());
        for bad in ["nan", "inf", "0"] {
            assert!(Args::from(["sog-run", "bench", "p", "--duration", bad]).is_err());
        }
        // A number below 0 is none of another option, nor a name.
        for line in [
            &["sog-run", "p", "--robot", "udp://127.0.0.1:1", "--damping", "-0.5"][..],
            &["sog-run", "p", "--robot", "udp://127.0.0.1:1", "--rate-limit", "-1"],
            &["sog-run", "p", "--robot", "udp://127.0.0.1:1", "--spin-us", "-7"],
            &["sog-run", "bench", "p", "--duration", "-1e3"],
        ] {
            let error = Args::from(line).err().unwrap().to_string();
            let value =
                format!("invalid value '{}' for '{}", line[line.len() - 1], line[line.len() - 2]);
            assert!(error.contains(&value), "{error}");
        }
    }

    #[test]
    fn following_takes_two_seconds_unless_said_otherwise() {
        let follow = |args: &[&str]| parse(args).map(|args| args.run.follow).ok();
        assert_eq!(follow(&[]), Some(None));
        assert_eq!(follow(&["--follow"]), Some(Some(2.0)));
        assert_eq!(follow(&["--follow=0.5"]), Some(Some(0.5)));
        assert_eq!(follow(&["--follow=0"]), None);
        assert_eq!(follow(&["--follow", "--wait"]), None);
    }

    #[test]
    fn the_code_has_two_names() {
        for name in ["--code", "--mode"] {
            assert_eq!(parse(&[name, "back"]).unwrap().run.code, "back");
        }
    }
}
