//! The parts of the check, in their order.

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{
    PartArgs, agreement, errors, images, learned, machine, memory, part::Place, resume, seeds,
    times, torch,
};

/// A part: something to try that says something by itself.
pub(super) struct Part {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    /// Seconds it may take.
    pub(super) limit_s: f64,
    /// What its rows tell, in this order.
    pub(super) columns: &'static [&'static str],
    run: fn(&Place) -> Result<()>,
}

/// In the order in which they run: what others stand on, and what is told soonest, comes first.
pub(super) const PARTS: [Part; 11] = [
    Part {
        name: "machine",
        title: "Device and driver",
        limit_s: 60.0,
        columns: &["value"],
        run: machine::run,
    },
    Part {
        name: "demonstrations",
        title: "Demonstrations of circles",
        limit_s: 30.0,
        columns: &["trajectories"],
        run: learned::demonstrations,
    },
    Part {
        name: "agreement",
        title: "100 updates of every loss against the processor's engine, from the same seed",
        limit_s: 90.0,
        columns: &[
            "parameters",
            "parameters, piecewise linear (rms)",
            "losses",
            "other metrics",
            "engine s",
            "device s",
        ],
        run: agreement::run,
    },
    Part {
        name: "resume",
        title: "A run that is killed, refused memory, and resumed",
        limit_s: 60.0,
        columns: &["found"],
        run: resume::run,
    },
    Part {
        name: "errors",
        title: "Errors asked for",
        limit_s: 40.0,
        columns: &["exit code", "said"],
        run: errors::run,
    },
    Part {
        name: "times",
        title: "Times of an update in µs",
        limit_s: 130.0,
        columns: &times::COLUMNS,
        run: times::run,
    },
    Part {
        name: "seeds",
        title: "Runs of SOG-BC at once, against the same runs alone",
        limit_s: 40.0,
        columns: &seeds::COLUMNS,
        run: seeds::run,
    },
    Part {
        name: "pytorch",
        title: "PyTorch's times in µs",
        limit_s: 60.0,
        columns: &torch::COLUMNS,
        run: torch::run,
    },
    Part {
        name: "images",
        title: "SOG and the VAE on pictures against the processor's engine, from the same seed",
        limit_s: 60.0,
        columns: &images::COLUMNS,
        run: images::run,
    },
    Part {
        name: "sog-bc",
        title: "SOG-BC on circles to its returns",
        limit_s: 80.0,
        columns: &learned::COLUMNS,
        run: learned::sog_bc,
    },
    Part {
        name: "sog-gail",
        title: "50 k steps of SOG-GAIL on circles",
        limit_s: 80.0,
        columns: &learned::COLUMNS,
        run: learned::sog_gail,
    },
];

/// Runs one part in this process.
pub(super) fn run(args: &PartArgs) -> Result<()> {
    if let Some(left) = args.name.strip_prefix(memory::HOLD) {
        return memory::hold(args.how.device, left.parse().context("MiB to leave")?);
    }
    let part = PARTS.iter().find(|part| part.name == args.name);
    let part = part.with_context(|| format!("there is no part `{}`", args.name))?;
    let place = Place {
        program: std::env::current_exe().context("this program has no path")?,
        out: args.out.clone(),
        how: args.how.clone(),
        until: Instant::now() + Duration::from_secs_f64(args.seconds),
    };
    (part.run)(&place)
}
