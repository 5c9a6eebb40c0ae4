//! `sog reproduce`: a table of the paper, ours beside it; or which codes are found.

use std::{
    path::{Path, PathBuf},
    str::FromStr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use anyhow::{Context, Result, bail};
use clap::Args;
use sog_sim::{
    rollout::Episode,
    tasks::{self, TaskFolder},
};

use super::{Outcome, interrupt::stop_on_signals, progress::Progress};
use crate::{
    config::Algorithm,
    error::TrainError,
    figures::robustness::{Path2d, SweepRow, draw_sweep, draw_switching},
    reproduce::{
        Reproduction, Status, What,
        codes::find_codes,
        pieces::{Piece, is_finished, make, stages},
        reproduce,
        robustness::{LAMBDA_S, RobustnessReport, RobustnessRow, Switched, robustness},
        slurm::{self, Request, Resources, State},
    },
};

/// Progress is shown in thousandths.
const PARTS: u64 = 1000;

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// To reproduce something.
    What(What),
    /// To reproduce everything, in one report.
    All,
    /// How far a cluster is.
    Status,
}

impl FromStr for Asked {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "status" => Ok(Self::Status),
            "all" => Ok(Self::All),
            _ => text.parse().map(Self::What),
        }
    }
}

#[derive(Args)]
pub(super) struct ReproduceArgs {
    /// table1 (mean rewards), table2 (fetchreach), table3 (halfcheetah-vel), codes (which modes get
    /// codes of their own), robustness (random actions and switched codes, over λ_S), all (these, in one
    /// report), or status (how far what was submitted with --slurm and this --out is)
    #[arg(value_parser = |s: &str| s.parse::<Asked>())]
    what: Asked,
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
    /// Submit to Slurm instead: an array job of independent pieces a stage, and the report behind all.
    /// Again after a failure, it submits what is neither finished nor in the queue
    #[arg(long)]
    slurm: bool,
    /// Slurm's partition [default: the cluster's]
    #[arg(long, requires = "slurm")]
    partition: Option<String>,
    /// Slurm's time limit of a piece, such as 12:00:00 [default: the partition's]
    #[arg(long, requires = "slurm")]
    time: Option<String>,
    /// Cores of a piece
    #[arg(long, requires = "slurm", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=1024))]
    cpus: u32,
    /// Make one piece (what a task of Slurm's does)
    #[arg(long, hide = true, conflicts_with = "slurm")]
    piece: Option<Piece>,
    /// The report alone; a piece that is missing is an error (what Slurm's last job does)
    #[arg(long, hide = true, conflicts_with_all = ["slurm", "piece"])]
    report: bool,
}

fn parse_lambda(text: &str) -> Result<f32, String> {
    let lambda = text.parse().ok().filter(|l: &f32| (0.0..=1000.0).contains(l));
    lambda.ok_or_else(|| format!("{text}: a number from 0 to 1000 is needed"))
}

pub(super) fn run(args: &ReproduceArgs) -> Result<Outcome> {
    let stop = stop_on_signals()?;
    match answer(args, &stop) {
        Err(error)
            if stop.load(Ordering::Relaxed)
                && matches!(error.downcast_ref(), Some(TrainError::Interrupted { .. })) =>
        {
            eprintln!("stopped; what is done is saved: the same command goes on from there");
            Ok(Outcome::Interrupted)
        }
        answered => answered,
    }
}

fn answer(args: &ReproduceArgs, stop: &Arc<AtomicBool>) -> Result<Outcome> {
    if !(args.budget > 0.0 && args.budget <= 1000.0) {
        bail!("--budget {}: need a factor above 0, at most 1000", args.budget);
    }
    match args.what {
        Asked::Status => status(args),
        Asked::All => all(args, stop),
        Asked::What(what) => {
            if let Some(report) = one(args, what, &args.tasks, stop)? {
                println!("{}", if args.json { &report.json } else { &report.markdown });
            }
            Ok(Outcome::Good)
        }
    }
}

/// Reproduces everything that the tasks and algorithms asked for are in; the reports one below the other are
/// `DIR/all.md`, and `DIR/all.json` by their names.
fn all(args: &ReproduceArgs, stop: &Arc<AtomicBool>) -> Result<Outcome> {
    if args.piece.is_some() || args.report {
        bail!("all: a piece, or a report alone, is of one of its parts; name that");
    }
    let of = |what: What| -> Vec<String> {
        let (known, _) = what.tasks();
        args.tasks.iter().filter(|task| known.contains(&task.as_str())).cloned().collect()
    };
    if let Some(other) = args
        .tasks
        .iter()
        .find(|task| What::ALL.iter().all(|what| !what.tasks().0.contains(&task.as_str())))
    {
        bail!("{other} is in no table of the paper's; see `sog tasks`");
    }
    let (mut markdown, mut json) = (String::from("# The paper, reproduced\n"), vec![]);
    for what in What::ALL {
        let tasks = of(what);
        if !args.tasks.is_empty() && tasks.is_empty() {
            continue;
        }
        let Some(report) = one(args, what, &tasks, stop)? else { continue };
        markdown += &format!("\n## {}\n\n{}\n", what.title(), report.markdown.trim_end());
        json.push(format!("{:?}: {}", what.name(), report.json.trim_end()));
    }
    if args.slurm {
        return Ok(Outcome::Good);
    }
    let json = format!("{{{}}}", json.join(", "));
    for (name, text) in [("all.md", &markdown), ("all.json", &json)] {
        let path = args.out.join(name);
        std::fs::write(&path, text).with_context(|| format!("{}", path.display()))?;
    }
    println!("{}", if args.json { json } else { markdown });
    Ok(Outcome::Good)
}

/// A report in both its forms.
struct Report {
    json: String,
    markdown: String,
}

/// Reproduces one thing of these tasks (of the usual ones, where there are none); no report where pieces
/// were submitted or one was made.
fn one(
    args: &ReproduceArgs,
    what: What,
    tasks: &[String],
    stop: &Arc<AtomicBool>,
) -> Result<Option<Report>> {
    let (known, usual) = what.tasks();
    let asked: Vec<&str> = tasks.iter().map(String::as_str).collect();
    let asked = if asked.is_empty() { usual.to_vec() } else { asked };
    if let Some(other) = asked.iter().find(|t| !known.contains(t)) {
        bail!("{other} is not in {}, whose tasks are {}", what.name(), known.join(", "));
    }
    let tasks: Vec<Arc<TaskFolder>> = asked.iter().map(tasks::open).collect::<Result<_, _>>()?;
    let alone = args.what != Asked::All;
    if alone && what == What::Robustness && !args.algos.is_empty() {
        bail!("--algos: robustness is of sog-bc and sog-gail; leave it out");
    }
    if alone && what != What::Robustness && !args.lambda_s.is_empty() {
        bail!("--lambda-s: only robustness varies it; leave it out for {}", what.name());
    }
    // Codes and robustness have their own algorithms, whatever the tables are of.
    let own = !alone && !matches!(what, What::Table(_));
    let algorithms =
        if args.algos.is_empty() || own { what.algorithms().to_vec() } else { args.algos.clone() };
    let plan = Reproduction {
        tasks,
        algorithms,
        seeds: args.seeds.unwrap_or(what.seeds()),
        budget: args.budget,
        plain: args.plain,
        lambda_s: None,
        dir: args.out.clone(),
        stop: Arc::clone(stop),
    };
    let lambdas = if args.lambda_s.is_empty() { LAMBDA_S.to_vec() } else { args.lambda_s.clone() };
    if args.slurm {
        return submit(args, what, &plan, &lambdas).map(|()| None);
    }
    if args.report {
        complete(what, &plan, &lambdas)?;
    }
    let progress = Progress::new(what.name(), PARTS);
    let status = |status: &Status<'_>| {
        let share = (status.done / status.total.max(1.0)).min(1.0);
        progress.set_of((share * PARTS as f64) as u64, PARTS, status.message);
    };
    if let Some(piece) = &args.piece {
        make(what, &plan, piece, &status)?;
        progress.finish();
        return Ok(None);
    }
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
    Ok(Some(Report { json, markdown }))
}

/// Refuses a report of pieces that are not there.
fn complete(what: What, plan: &Reproduction, lambdas: &[f32]) -> Result<()> {
    let mut missing = vec![];
    for piece in stages(what, plan, lambdas).iter().flat_map(|stage| &stage.pieces) {
        if !is_finished(what, plan, piece)? {
            missing.push(piece.to_string());
        }
    }
    if !missing.is_empty() {
        bail!("no report: {} pieces are missing: {}", missing.len(), missing.join(", "));
    }
    Ok(())
}

fn submit(args: &ReproduceArgs, what: What, plan: &Reproduction, lambdas: &[f32]) -> Result<()> {
    let request = Request {
        what: what.name().to_string(),
        tasks: plan.tasks.iter().map(|task| task.info().name().to_string()).collect(),
        algorithms: plan.algorithms.clone(),
        seeds: plan.seeds,
        budget: plan.budget,
        plain: plan.plain,
        lambda_s: if what == What::Robustness { lambdas.to_vec() } else { vec![] },
    };
    std::fs::create_dir_all(&plan.dir).with_context(|| format!("{}", plan.dir.display()))?;
    let dir = std::fs::canonicalize(&plan.dir)?;
    let resources =
        Resources { partition: args.partition.clone(), time: args.time.clone(), cpus: args.cpus };
    let program = std::env::current_exe().context("this program has no path")?;
    let jobs = slurm::submit(&request, &dir, &resources, &program)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&jobs)?);
    } else if jobs.is_empty() {
        println!("nothing to submit: all is finished, or in the queue");
    } else {
        for job in &jobs {
            let pieces = match job.pieces.len() {
                0 => String::new(),
                1 => ", 1 piece".to_string(),
                n => format!(", {n} pieces"),
            };
            println!("job {}: {}{pieces}", job.id, job.stage);
        }
        println!("`sog reproduce status --out {}` shows how far they are", args.out.display());
    }
    Ok(())
}

/// How far a cluster is: exit code 1 where a piece has failed.
fn status(args: &ReproduceArgs) -> Result<Outcome> {
    let dir = std::fs::canonicalize(&args.out)
        .with_context(|| format!("nothing was submitted for {}", args.out.display()))?;
    let all = slurm::status(&dir)?;
    let failed = all.iter().flat_map(|(_, pieces)| pieces).any(|p| p.state.name() == "failed");
    if args.json {
        let named: serde_json::Map<String, serde_json::Value> = all
            .iter()
            .map(|(request, pieces)| Ok((request.what.clone(), serde_json::to_value(pieces)?)))
            .collect::<Result<_>>()?;
        println!("{}", serde_json::to_string_pretty(&named)?);
    } else {
        for (request, pieces) in &all {
            for piece in pieces {
                let why = match &piece.state {
                    State::Waiting(why) | State::Failed(why) => format!("  {why}"),
                    _ => String::new(),
                };
                let what = format!("{} {}", request.what, piece.piece);
                println!("{what:<48} {}{why}", piece.state.name());
            }
            let count = |name: &str| pieces.iter().filter(|p| p.state.name() == name).count();
            let counts: Vec<String> = ["finished", "running", "waiting", "failed", "not submitted"]
                .iter()
                .map(|name| (count(name), name))
                .filter(|(n, _)| *n > 0)
                .map(|(n, name)| format!("{n} {name}"))
                .collect();
            println!("{}: {}", request.what, counts.join(", "));
        }
        if failed {
            println!("the same command with --slurm submits again what has failed, and only that");
        }
    }
    Ok(if failed { Outcome::CheckFailed } else { Outcome::Good })
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
