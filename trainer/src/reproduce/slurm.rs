//! The pieces of a reproduction as array jobs of Slurm: one job a stage, its tasks independent of each
//! other, each stage behind the one before, the report behind all. Slurm alone schedules.
//!
//! ```text
//! DIR/slurm/WHAT/request.json     what was asked for last
//! DIR/slurm/WHAT/STAGE-N.pieces   pieces of the N-th job, one a line: task i makes line i + 1
//! DIR/slurm/WHAT/STAGE-N.sh       its script
//! DIR/slurm/WHAT/STAGE-N-i.log    what its task i said
//! DIR/slurm/WHAT/jobs.json        every job submitted
//! ```
//!
//! A piece that was killed or requeued goes on from its last checkpoint. Submitting again takes what is
//! neither finished nor in the queue.

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

use serde::{Deserialize, Serialize};
use sog_rl::run::write_atomic;
use sog_sim::tasks;

use super::{
    Reproduction, What,
    pieces::{is_finished, stages},
};
use crate::{config::Algorithm, error::TrainError};

/// Most tasks of one array: what Slurm allows if its configuration says nothing (`MaxArraySize`).
const MAX_ARRAY: usize = 1000;

/// Names of the files with every job submitted, and with what was asked for.
const JOBS_FILE: &str = "jobs.json";
const REQUEST_FILE: &str = "request.json";

/// The report's job among the stages.
pub const REPORT: &str = "report";

/// Why a cluster was not asked, or what it answered.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SlurmError {
    /// A program of Slurm's could not be started.
    #[error("`{program}` could not be started ({source}); is Slurm installed here, and in PATH?")]
    Start {
        /// Which.
        program: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// A program of Slurm's refuses.
    #[error("`{command}` says: {said}")]
    Refused {
        /// The whole command.
        command: String,
        /// What it said.
        said: String,
    },
    /// A file in `DIR/slurm` cannot be read or written.
    #[error("{path}: {reason}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// Nothing was submitted for this directory.
    #[error(
        "nothing was submitted for {path}; `sog reproduce WHAT --slurm --out {path}` does",
        path = dir.display()
    )]
    NothingSubmitted {
        /// The directory.
        dir: PathBuf,
    },
    /// A piece cannot be looked at.
    #[error(transparent)]
    Train(#[from] TrainError),
}

/// A reproduction as it was asked for, so that its tasks and its status can be asked for again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Request {
    /// What, by its name.
    pub what: String,
    /// Tasks.
    pub tasks: Vec<String>,
    /// Algorithms.
    pub algorithms: Vec<Algorithm>,
    /// Seeds 0, 1, …
    pub seeds: u64,
    /// Factor on the length of training.
    pub budget: f64,
    /// As [`Reproduction::plain`].
    pub plain: bool,
    /// λ_S of robustness; empty for all else.
    pub lambda_s: Vec<f32>,
}

impl Request {
    /// The command line of `sog` that asks for it, `DIR` absolute.
    fn arguments(&self, dir: &Path) -> Vec<String> {
        let mut all = vec!["reproduce".to_string(), self.what.clone()];
        let mut add = |name: &str, value: String| all.extend([name.to_string(), value]);
        add("--out", dir.display().to_string());
        add("--tasks", self.tasks.join(","));
        add("--seeds", self.seeds.to_string());
        add("--budget", self.budget.to_string());
        if self.lambda_s.is_empty() {
            let names: Vec<&str> = self.algorithms.iter().map(|a| a.name()).collect();
            add("--algos", names.join(","));
        } else {
            let lambdas: Vec<String> = self.lambda_s.iter().map(f32::to_string).collect();
            add("--lambda-s", lambdas.join(","));
        }
        if self.plain {
            all.push("--plain".to_string());
        }
        all
    }

    /// What is asked for, in `dir`.
    ///
    /// # Errors
    /// [`TrainError::Sim`] for a task that is none; [`SlurmError::File`] for a name that is none.
    fn plan(&self, dir: &Path) -> Result<(What, Reproduction), SlurmError> {
        let what =
            self.what.parse().map_err(|e: String| file_error(&dir.join(REQUEST_FILE), &e))?;
        let open = |name: &String| tasks::open(name).map_err(TrainError::from);
        let plan = Reproduction {
            tasks: self.tasks.iter().map(open).collect::<Result<_, _>>()?,
            algorithms: self.algorithms.clone(),
            seeds: self.seeds,
            budget: self.budget,
            plain: self.plain,
            lambda_s: None,
            dir: dir.to_path_buf(),
            stop: std::sync::Arc::default(),
        };
        Ok((what, plan))
    }
}

/// What a job asks of the cluster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resources {
    /// Partition; the cluster's default where none.
    pub partition: Option<String>,
    /// Time limit of a piece, as Slurm writes it (`D-HH:MM:SS`); the partition's where none.
    pub time: Option<String>,
    /// Cores of a piece.
    pub cpus: u32,
}

/// A job that was submitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Job {
    /// Slurm's number.
    pub id: u64,
    /// Stage, or [`REPORT`].
    pub stage: String,
    /// Its name before `.pieces` and `-i.log`.
    pub name: String,
    /// Pieces, by array index; none for the report.
    pub pieces: Vec<String>,
}

/// Where a piece is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case", tag = "state", content = "why")]
pub enum State {
    /// All that it makes is there.
    Finished,
    /// On a node.
    Running,
    /// In the queue; Slurm's reason.
    Waiting(String),
    /// It left the queue and what it makes is not there; what it said last.
    Failed(String),
    /// It was never submitted.
    NotSubmitted,
}

impl State {
    /// One word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Running => "running",
            Self::Waiting(_) => "waiting",
            Self::Failed(_) => "failed",
            Self::NotSubmitted => "not submitted",
        }
    }
}

/// A piece and where it is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PieceState {
    /// The piece as text, or `report`.
    pub piece: String,
    /// Where it is.
    #[serde(flatten)]
    pub state: State,
}

/// Array job and index → state and reason, as `squeue` tells them.
type Queue = BTreeMap<(u64, Option<usize>), (String, String)>;

/// Submits what is neither finished nor in the queue, stage by stage, and the report behind it, in the
/// absolute directory `dir`. The tasks start `program` with [`Request`]'s command line and
/// `--piece PIECE`, or `--report`. Returns the new jobs; none where all is finished or under way.
///
/// # Errors
/// [`SlurmError`]; what was submitted before the error stays submitted and recorded.
pub fn submit(
    request: &Request,
    dir: &Path,
    resources: &Resources,
    program: &Path,
) -> Result<Vec<Job>, SlurmError> {
    let (what, plan) = request.plan(dir)?;
    let of_cluster = dir.join("slurm").join(what.name());
    std::fs::create_dir_all(&of_cluster).map_err(|e| file_error(&of_cluster, &e))?;
    let mut jobs = recorded(&of_cluster)?;
    let queue = queue(&jobs)?;
    let queued = in_queue(&jobs, &queue);
    let waits = |job: &Job| queue.keys().any(|(id, _)| *id == job.id);
    let before = jobs.len();
    let report_waits = jobs.iter().any(|job| job.stage == REPORT && waits(job));
    let report_there = report_is_there(&of_cluster, dir, what, &jobs);
    // What still runs must end before what builds on it begins.
    let mut behind: Vec<u64> =
        jobs.iter().filter(|job| job.stage != REPORT && waits(job)).map(|job| job.id).collect();
    let arguments = request.arguments(dir);
    let to = Submission { dir: &of_cluster, what, resources, program, arguments: &arguments };
    let text = serde_json::to_string_pretty(request).unwrap_or_default();
    write(&of_cluster.join(REQUEST_FILE), &text)?;
    for stage in stages(what, &plan, &request.lambda_s) {
        let mut missing = vec![];
        for piece in &stage.pieces {
            let text = piece.to_string();
            if !queued.contains_key(&text) && !is_finished(what, &plan, piece)? {
                missing.push(text);
            }
        }
        let first = jobs.len();
        for pieces in missing.chunks(MAX_ARRAY) {
            let name = format!("{}-{}", stage.name, jobs.len() + 1);
            let id = to.array(&name, pieces, &behind)?;
            let (stage, pieces) = (stage.name.to_string(), pieces.to_vec());
            jobs.push(Job { id, stage, name, pieces });
            record(&of_cluster, &jobs)?;
        }
        behind.extend(jobs[first..].iter().map(|job| job.id));
    }
    if jobs.len() > before || !(report_there || report_waits) {
        let name = format!("{REPORT}-{}", jobs.len() + 1);
        let id = to.report(&name, &behind)?;
        jobs.push(Job { id, stage: REPORT.to_string(), name, pieces: vec![] });
        record(&of_cluster, &jobs)?;
    }
    Ok(jobs.split_off(before))
}

/// Whether the report was made after the last one was asked for.
fn report_is_there(of_cluster: &Path, dir: &Path, what: What, jobs: &[Job]) -> bool {
    let Some(job) = jobs.iter().rev().find(|job| job.stage == REPORT) else { return false };
    let written = |path: PathBuf| std::fs::metadata(path).and_then(|m| m.modified()).ok();
    let asked = written(of_cluster.join(format!("{}.sh", job.name)));
    written(dir.join(format!("{}.json", what.name()))).is_some_and(|made| Some(made) >= asked)
}

/// Every piece of all that was submitted for `dir` and where it is, stage by stage, the report last.
///
/// # Errors
/// [`SlurmError::NothingSubmitted`]; [`SlurmError`] if `squeue` does not answer.
pub fn status(dir: &Path) -> Result<Vec<(Request, Vec<PieceState>)>, SlurmError> {
    let of_cluster = dir.join("slurm");
    let nothing = || SlurmError::NothingSubmitted { dir: dir.to_path_buf() };
    let entries = std::fs::read_dir(&of_cluster).map_err(|_| nothing())?;
    let mut folders: Vec<PathBuf> = entries.filter_map(|e| Some(e.ok()?.path())).collect();
    folders.sort();
    folders.retain(|folder| folder.join(REQUEST_FILE).is_file());
    if folders.is_empty() {
        return Err(nothing());
    }
    folders.iter().map(|folder| status_of(folder, dir)).collect()
}

fn status_of(of_cluster: &Path, dir: &Path) -> Result<(Request, Vec<PieceState>), SlurmError> {
    let path = of_cluster.join(REQUEST_FILE);
    let bytes = std::fs::read(&path).map_err(|e| file_error(&path, &e))?;
    let request: Request = serde_json::from_slice(&bytes).map_err(|e| file_error(&path, &e))?;
    let (what, plan) = request.plan(dir)?;
    let jobs = recorded(of_cluster)?;
    let queue = queue(&jobs)?;
    let queued = in_queue(&jobs, &queue);
    let mut all = vec![];
    for piece in stages(what, &plan, &request.lambda_s).iter().flat_map(|stage| &stage.pieces) {
        let text = piece.to_string();
        // The last submission is the one that counts.
        let last = jobs.iter().rev().find_map(|job| {
            job.pieces.iter().position(|p| *p == text).map(|index| (job, Some(index)))
        });
        let state = match (is_finished(what, &plan, piece)?, queued.get(&text), last) {
            (true, ..) => State::Finished,
            (false, Some(state), _) => state.clone(),
            (false, None, Some((job, index))) => State::Failed(last_words(of_cluster, job, index)),
            (false, None, None) => State::NotSubmitted,
        };
        all.push(PieceState { piece: text, state });
    }
    let report = jobs.iter().rev().find(|job| job.stage == REPORT);
    let state = match report.map(|job| (job, queue.get(&(job.id, None)))) {
        Some((_, Some(found))) => state_of(found),
        Some(_) if report_is_there(of_cluster, dir, what, &jobs) => State::Finished,
        Some((job, None)) => State::Failed(last_words(of_cluster, job, None)),
        None => State::NotSubmitted,
    };
    all.push(PieceState { piece: REPORT.to_string(), state });
    Ok((request, all))
}

/// The pieces that are in the queue.
fn in_queue(jobs: &[Job], queue: &Queue) -> BTreeMap<String, State> {
    let mut found = BTreeMap::new();
    for job in jobs {
        for (index, piece) in job.pieces.iter().enumerate() {
            if let Some(state) = queue.get(&(job.id, Some(index))) {
                found.insert(piece.clone(), state_of(state));
            }
        }
    }
    found
}

fn state_of((state, reason): &(String, String)) -> State {
    match state.as_str() {
        "RUNNING" | "COMPLETING" | "STAGE_OUT" => State::Running,
        _ => State::Waiting(reason.clone()),
    }
}

/// The end of what a task said.
fn last_words(dir: &Path, job: &Job, index: Option<usize>) -> String {
    let name = index.map_or_else(|| job.name.clone(), |i| format!("{}-{i}", job.name));
    let path = dir.join(format!("{name}.log"));
    let text = std::fs::read(&path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text).into_owned();
    // A line that is told of progress is written over itself.
    let mut lines = text.split(['\n', '\r']).map(str::trim).filter(|line| !line.is_empty());
    match lines.next_back() {
        Some(line) => format!("{line} ({})", path.display()),
        None => format!("ended without a word ({})", path.display()),
    }
}

/// What a job is made of.
struct Submission<'a> {
    dir: &'a Path,
    what: What,
    resources: &'a Resources,
    program: &'a Path,
    arguments: &'a [String],
}

impl Submission<'_> {
    fn array(&self, name: &str, pieces: &[String], behind: &[u64]) -> Result<u64, SlurmError> {
        let list = self.dir.join(format!("{name}.pieces"));
        write(&list, &(pieces.join("\n") + "\n"))?;
        let pick = format!(
            "piece=$(sed -n \"$((SLURM_ARRAY_TASK_ID + 1))p\" {})\n",
            quoted(&list.to_string_lossy())
        );
        let options =
            [format!("--array=0-{}", pieces.len() - 1), self.output(&format!("{name}-%a"))];
        self.submit(name, (&pick, "--piece \"$piece\""), &options, behind)
    }

    fn report(&self, name: &str, behind: &[u64]) -> Result<u64, SlurmError> {
        self.submit(name, ("", "--report"), &[self.output(name)], behind)
    }

    fn output(&self, name: &str) -> String {
        format!("--output={}", self.dir.join(format!("{name}.log")).display())
    }

    fn submit(
        &self,
        name: &str,
        (before, last): (&str, &str),
        options: &[String],
        behind: &[u64],
    ) -> Result<u64, SlurmError> {
        let script = self.dir.join(format!("{name}.sh"));
        write(&script, &script_text(self.program, self.arguments, before, last))?;
        let mut command = Command::new("sbatch");
        command.args(["--parsable", "--requeue", "--open-mode=append"]);
        command.arg(format!("--job-name=sog-{}-{name}", self.what.name()));
        command.arg(format!("--cpus-per-task={}", self.resources.cpus.max(1)));
        command.args(options);
        if let Some(partition) = &self.resources.partition {
            command.arg(format!("--partition={partition}"));
        }
        if let Some(time) = &self.resources.time {
            command.arg(format!("--time={time}"));
        }
        if !behind.is_empty() {
            // Whatever became of them: a piece whose start is missing makes it itself.
            let ids: Vec<String> = behind.iter().map(u64::to_string).collect();
            command.arg(format!("--dependency=afterany:{}", ids.join(":")));
        }
        command.arg(&script);
        let said = output("sbatch", &mut command)?;
        // `ID` or `ID;CLUSTER`.
        let id = said.trim().split(';').next().and_then(|id| id.parse().ok());
        id.ok_or_else(|| SlurmError::Refused { command: format!("{command:?}"), said })
    }
}

fn script_text(program: &Path, arguments: &[String], before: &str, last: &str) -> String {
    let mut text = String::from("#!/bin/sh\n# Written by `sog reproduce --slurm`.\n");
    text.push_str("export RAYON_NUM_THREADS=\"${SLURM_CPUS_PER_TASK:-1}\"\n");
    text.push_str(before);
    // Writing to a string does not fail.
    let _ = write!(text, "exec {}", quoted(&program.to_string_lossy()));
    for argument in arguments {
        let _ = write!(text, " {}", quoted(argument));
    }
    let _ = writeln!(text, " {last}");
    text
}

/// A word of a shell's.
fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=,:+".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_string();
    }
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// What is in the queue of these jobs.
fn queue(jobs: &[Job]) -> Result<Queue, SlurmError> {
    if jobs.is_empty() {
        return Ok(Queue::new());
    }
    // All of this user's, not `--jobs`: that refuses jobs that were forgotten already.
    let mut command = Command::new("squeue");
    command.args(["--me", "--array", "--noheader", "--format=%F|%K|%T|%r"]);
    let mut found = parse_queue(&output("squeue", &mut command)?);
    found.retain(|(id, _), _| jobs.iter().any(|job| job.id == *id));
    Ok(found)
}

fn parse_queue(text: &str) -> Queue {
    let line = |line: &str| {
        let mut fields = line.trim().split('|');
        let (id, index) = (fields.next()?.parse().ok()?, fields.next()?);
        let (state, reason) = (fields.next()?, fields.next()?);
        Some(((id, index.parse().ok()), (state.to_string(), reason.to_string())))
    };
    text.lines().filter_map(line).collect()
}

fn output(program: &'static str, command: &mut Command) -> Result<String, SlurmError> {
    let out = command.output().map_err(|source| SlurmError::Start { program, source })?;
    if !out.status.success() {
        let said = String::from_utf8_lossy(&out.stderr).trim().to_string();
        return Err(SlurmError::Refused { command: format!("{command:?}"), said });
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

fn recorded(dir: &Path) -> Result<Vec<Job>, SlurmError> {
    let path = dir.join(JOBS_FILE);
    match std::fs::read(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|e| file_error(&path, &e)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(vec![]),
        Err(error) => Err(file_error(&path, &error)),
    }
}

fn record(dir: &Path, jobs: &[Job]) -> Result<(), SlurmError> {
    write(&dir.join(JOBS_FILE), &serde_json::to_string_pretty(jobs).unwrap_or_default())
}

fn write(path: &Path, text: &str) -> Result<(), SlurmError> {
    write_atomic(path, text.as_bytes()).map_err(|e| file_error(path, &e))
}

fn file_error(path: &Path, reason: &dyn std::fmt::Display) -> SlurmError {
    SlurmError::File { path: path.to_path_buf(), reason: reason.to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_is_read_task_by_task() {
        let found = parse_queue(
            "12|0|RUNNING|None\n12|1|PENDING|Resources\n 13|N/A|PENDING|Dependency\nnoise\n",
        );
        let jobs = [Job {
            id: 12,
            stage: "runs".to_string(),
            name: "runs-1".to_string(),
            pieces: ["a/bc/0", "a/bc/1", "a/bc/2"].map(String::from).to_vec(),
        }];
        let states = in_queue(&jobs, &found);
        assert_eq!(states["a/bc/0"], State::Running);
        assert_eq!(states["a/bc/1"], State::Waiting("Resources".to_string()));
        assert!(!states.contains_key("a/bc/2"), "left the queue");
        assert_eq!(found[&(13, None)].1, "Dependency");
    }

    #[test]
    fn a_task_starts_the_program_with_its_piece_whatever_the_names() {
        let arguments = ["reproduce", "table1", "--out", "/a b/it's"].map(String::from);
        let text = script_text(Path::new("/bin/sog"), &arguments, "", "--report");
        assert!(
            text.ends_with("exec /bin/sog reproduce table1 --out '/a b/it'\\''s' --report\n"),
            "{text}"
        );
    }
}
