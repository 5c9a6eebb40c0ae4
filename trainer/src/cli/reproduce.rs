//! `sog reproduce`: a table of the paper, ours beside it; or which codes are found.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::Arc,
};

use anyhow::{Result, bail};
use clap::Args;
use sog_sim::{
    rollout::Episode,
    tasks::{self, TaskFolder},
};

use super::{Outcome, progress::Progress};
use crate::{
    config::Algorithm,
    figures::robustness::{Path2d, SweepRow, draw_sweep, draw_switching},
    reproduce::{
        Reproduction, Status,
        codes::find_codes,
        paper::Table,
        reproduce,
        robustness::{LAMBDA_S, RobustnessReport, RobustnessRow, Switched, robustness},
    },
};

/// Progress is shown in thousandths.
const PARTS: u64 = 1000;

/// What is reproduced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum What {
    /// A table of the paper.
    Table(Table),
    /// Which modes get codes of their own.
    Codes,
    /// Random actions and switched codes over λ_S.
    Robustness,
}

impl FromStr for What {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "codes" => Ok(Self::Codes),
            "robustness" => Ok(Self::Robustness),
            _ => text.parse().map(Self::Table),
        }
    }
}

impl What {
    fn name(self) -> &'static str {
        match self {
            Self::Table(table) => table.name(),
            Self::Codes => "codes",
            Self::Robustness => "robustness",
        }
    }

    /// The tasks it can be asked of, and those it is of by default.
    fn tasks(self) -> (&'static [&'static str], &'static [&'static str]) {
        const CIRCLES: [&str; 2] = ["circles", "circles-6"];
        const DISCRETE: [&str; 8] = [
            "circles",
            "circles-6",
            "ant-fwd-back",
            "ant-dir-6",
            "halfcheetah-fwd-back",
            "humanoid-dir-6",
            "walker2d-vel-6",
            "hopper-vel-6",
        ];
        const ROBUST: [&str; 3] = ["ant-dir-6", "ant-fwd-back", "halfcheetah-fwd-back"];
        match self {
            Self::Table(table) => (table.tasks(), table.tasks()),
            Self::Codes => (&DISCRETE, &CIRCLES),
            Self::Robustness => (&DISCRETE, &ROBUST),
        }
    }

    fn algorithms(self) -> &'static [Algorithm] {
        use Algorithm::{InfoGail, SogBc, SogGail, VaeGail};
        match self {
            Self::Table(_) => &[SogBc, SogGail, InfoGail, VaeGail],
            Self::Codes => &[SogBc],
            Self::Robustness => &[SogBc, SogGail],
        }
    }

    fn seeds(self) -> u64 {
        match self {
            Self::Table(_) => 4,
            Self::Codes => 20,
            Self::Robustness => 1,
        }
    }
}

#[derive(Args)]
pub(super) struct ReproduceArgs {
    /// table1 (mean rewards), table2 (fetchreach), table3 (halfcheetah-vel), codes (which modes get
    /// codes of their own), or robustness (random actions and switched codes, over λ_S)
    #[arg(value_parser = |s: &str| s.parse::<What>())]
    what: What,
    /// Tasks, separated by commas [default: all of the table; circles and circles-6 for codes;
    /// ant-dir-6, ant-fwd-back and halfcheetah-fwd-back for robustness]
    #[arg(long, value_delimiter = ',')]
    tasks: Vec<String>,
    /// Algorithms, separated by commas [default: sog-bc,sog-gail,infogail,vae-gail; sog-bc for
    /// codes]
    #[arg(
        long,
        value_delimiter = ',',
        value_parser = |s: &str| s.parse::<Algorithm>()
    )]
    algos: Vec<Algorithm>,
    /// Runs of each, with seeds 0, 1, … [default: 4; 20 for codes, 1 for robustness]
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1000))]
    seeds: Option<u64>,
    /// Factor on the length of training; 1 is what the figures are meant for
    #[arg(long, default_value_t = 1.0)]
    budget: f64,
    /// Assign codes by the smallest loss from the first update on, as in the paper, rather than
    /// begin with a clustering
    #[arg(long)]
    plain: bool,
    /// λ_S of SOG-GAIL for robustness, separated by commas [default: the paper's grid, 0.01 to 1]
    #[arg(long, value_delimiter = ',', value_parser = parse_lambda)]
    lambda_s: Vec<f32>,
    /// Where demonstrations, runs and tables go; what is there already is not made again
    #[arg(long, value_name = "DIR", default_value = "runs/reproduce")]
    out: PathBuf,
    /// Print JSON instead of Markdown
    #[arg(long)]
    json: bool,
}

fn parse_lambda(text: &str) -> Result<f32, String> {
    let lambda = text.parse().ok().filter(|l: &f32| (0.0..=1000.0).contains(l));
    lambda.ok_or_else(|| format!("{text}: a number from 0 to 1000 is needed"))
}

pub(super) fn run(args: &ReproduceArgs) -> Result<Outcome> {
    if !(args.budget > 0.0 && args.budget <= 1000.0) {
        bail!("--budget {}: need a factor above 0, at most 1000", args.budget);
    }
    let what = args.what;
    let (known, usual) = what.tasks();
    let asked: Vec<&str> = args.tasks.iter().map(String::as_str).collect();
    let asked = if asked.is_empty() { usual.to_vec() } else { asked };
    if let Some(other) = asked.iter().find(|t| !known.contains(t)) {
        bail!("{other} is not in {}, whose tasks are {}", what.name(), known.join(", "));
    }
    let tasks: Vec<Arc<TaskFolder>> = asked.iter().map(tasks::open).collect::<Result<_, _>>()?;
    if what == What::Robustness && !args.algos.is_empty() {
        bail!("--algos: robustness is of sog-bc and sog-gail; leave it out");
    }
    if what != What::Robustness && !args.lambda_s.is_empty() {
        bail!("--lambda-s: only robustness varies it; leave it out for {}", what.name());
    }
    let algorithms =
        if args.algos.is_empty() { what.algorithms().to_vec() } else { args.algos.clone() };
    let plan = Reproduction {
        tasks,
        algorithms,
        seeds: args.seeds.unwrap_or(what.seeds()),
        budget: args.budget,
        plain: args.plain,
        lambda_s: None,
        dir: args.out.clone(),
    };
    let lambdas = if args.lambda_s.is_empty() { LAMBDA_S.to_vec() } else { args.lambda_s.clone() };
    let progress = Progress::new(what.name(), PARTS);
    let status = |status: &Status<'_>| {
        let share = (status.done / status.total.max(1.0)).min(1.0);
        progress.set_of((share * PARTS as f64) as u64, PARTS, status.message);
    };
    let (json, markdown) = match what {
        What::Table(table) => {
            let report = reproduce(table, &plan, &status)?;
            (report.json(), report.markdown())
        }
        What::Codes => {
            let report = find_codes(&plan, &status)?;
            (report.json(), report.markdown())
        }
        What::Robustness => {
            let (report, switched) = robustness(&plan, &lambdas, &status)?;
            draw(&report, &switched, &plan.dir)?;
            (report.json(), report.markdown())
        }
    };
    progress.finish();
    println!("{}", if args.json { json } else { markdown });
    Ok(Outcome::Good)
}

/// The task whose switched paths are drawn, as in the paper (Fig. 6).
const SWITCHED: &str = "ant-dir-6";

/// `DIR/robustness.png` and, where its task is among them, `DIR/switching.png`.
fn draw(report: &RobustnessReport, switched: &[Switched], dir: &Path) -> Result<()> {
    let row = |r: &RobustnessRow| SweepRow {
        task: r.task.clone(),
        lambda_s: r.lambda_s.map(f64::from),
        returns: [r.mean(|x| x.mean), r.mean(|x| x.perturbed_mean)],
    };
    let rows: Vec<SweepRow> = report.rows.iter().map(row).collect();
    draw_sweep(&rows, &report.random, report.perturb, dir)?;
    for of_task in switched.iter().filter(|s| s.task == SWITCHED) {
        let path = |e: &Episode| Path2d {
            points: e.trace.probes.iter().map(|p| (p.position_m[0], p.position_m[1])).collect(),
            failed: e.failed,
        };
        let paths: Vec<(String, Vec<Path2d>)> = of_task
            .paths
            .iter()
            .map(|(name, episodes)| (name.clone(), episodes.iter().map(path).collect()))
            .collect();
        draw_switching(&paths, dir)?;
    }
    Ok(())
}
