//! The parts one after the other, each in a process of its own with a time limit.

use std::{
    fs::{self, File, OpenOptions},
    io::{BufRead, BufReader, Write},
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use super::{
    CheckArgs,
    device::DeviceArg,
    part::Row,
    parts::{PARTS, Part},
    report::{PartReport, Report, Status},
};
use crate::{cli::Outcome, device};

/// What has been found so far, a line of JSON each.
const LINES: &str = "results.jsonl";
/// Everything that was found.
const REPORT: &str = "results.json";
const TABLES: &str = "results.md";
/// What the parts and the runs in them said on standard error.
const LOG: &str = "log.txt";

/// Runs the check; it failed if a part did.
pub(super) fn run(args: &CheckArgs) -> Result<Outcome> {
    let known = PARTS.map(|part| part.name);
    if let Some(other) = args.only.iter().find(|name| !known.contains(&name.as_str())) {
        bail!("there is no part `{other}`; the parts are {}", known.join(", "));
    }
    if let DeviceArg::Cuda(index) = args.how.device {
        // Here and now, or every part would say it.
        device::cuda(index)?;
    }
    if args.out.join(LINES).exists() {
        bail!("{} holds the results of another check; name a new directory", args.out.display());
    }
    fs::create_dir_all(args.out.join("runs"))
        .with_context(|| format!("cannot create {}", args.out.display()))?;
    let begin = Instant::now();
    let memory = Memory::watch();
    let mut report = Report::new(args.how.device, args.how.quick);
    for part in &PARTS {
        if !(args.only.is_empty() || args.only.iter().any(|name| name == part.name)) {
            continue;
        }
        let left = (args.minutes * 60.0 - begin.elapsed().as_secs_f64()).max(0.0);
        // On the processor nobody waits, and other programs may run beside it.
        let patience = if matches!(args.how.device, DeviceArg::Cuda(_)) { 1.0 } else { 10.0 };
        let seconds = left.min(patience * part.limit_s);
        eprintln!("== {} ({seconds:.0} s at most)", part.title);
        memory.restart();
        let mut found = if left < 1.0 {
            PartReport::new(part, Status::LeftOut, "no time was left".to_string())
        } else {
            one(args, part, seconds)?
        };
        found.peak_memory_mib = memory.peak_mib();
        eprintln!("   {}", found.outcome());
        report.parts.push(found);
        report.seconds = begin.elapsed().as_secs_f64();
        // Whole after each part: whoever is cut off has what there is.
        fs::write(args.out.join(REPORT), serde_json::to_string_pretty(&report)?)?;
        fs::write(args.out.join(TABLES), report.tables())?;
    }
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report)?);
    } else {
        println!("{}", report.tables());
    }
    eprintln!("wrote {} and {TABLES} beside it", args.out.join(REPORT).display());
    Ok(if report.is_good() { Outcome::Good } else { Outcome::CheckFailed })
}

/// Runs one part; its failure is part of what was found.
fn one(args: &CheckArgs, part: &Part, seconds: f64) -> Result<PartReport> {
    let begin = Instant::now();
    let mut lines = append(&args.out.join(LINES))?;
    let mut child = start(args, part, seconds)?;
    let (send, rows) = mpsc::channel();
    let stdout = child.stdout.take().context("standard output is piped")?;
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(stdout).lines().map_while(Result::ok) {
            if send.send(line).is_err() {
                break;
            }
        }
    });
    let mut found = PartReport::new(part, Status::Good, String::new());
    loop {
        let left = seconds - begin.elapsed().as_secs_f64();
        match rows.recv_timeout(Duration::from_secs_f64(left.max(0.0))) {
            Ok(line) => match serde_json::from_str::<Row>(&line) {
                Ok(row) => {
                    writeln!(lines, "{}", serde_json::json!({ "part": part.name, "row": row }))?;
                    found.rows.push(row);
                }
                Err(_) => log::warn!("{}: not a row: {line}", part.name),
            },
            Err(mpsc::RecvTimeoutError::Timeout) => {
                found.end(Status::TimedOut, format!("it was ended after {seconds:.0} s"));
                break;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
    }
    if found.status == Status::TimedOut {
        end(&mut child);
    }
    let status = child.wait().context("a part was lost")?;
    // What it left running holds the device and the pipe.
    end(&mut child);
    let _ = reader.join();
    if found.status == Status::Good {
        if !status.success() {
            let said = said(&args.out.join(part_log(part)));
            found.end(Status::Failed, format!("it ended with {status}: {said}"));
        } else if let Some(bad) = found.rows.iter().find(|row| row.good == Some(false)) {
            let what = bad.what.clone();
            found.end(Status::Failed, format!("{what} is not as it should be"));
        }
    }
    found.seconds = begin.elapsed().as_secs_f64();
    let summary = serde_json::json!({
        "part": part.name, "status": found.status, "seconds": found.seconds,
        "message": found.message,
    });
    writeln!(lines, "{summary}")?;
    gather_log(&args.out, part);
    Ok(found)
}

/// Starts a part as the leader of a process group, so that what it starts ends with it.
fn start(args: &CheckArgs, part: &Part, seconds: f64) -> Result<Child> {
    let program = std::env::current_exe().context("this program has no path")?;
    let mut command = Command::new(program);
    command.args(["cuda", "part", part.name, "--device", &args.how.device.to_string()]);
    command.arg("--out").arg(&args.out).args(["--seconds", &seconds.to_string()]);
    if args.how.quick {
        command.arg("--quick");
    }
    for (option, path) in
        [("--python", &args.how.python), ("--torch-script", &args.how.torch_script)]
    {
        if let Some(path) = path {
            command.arg(option).arg(path);
        }
    }
    // Each process would compile candle's kernels anew where the home directory cannot be written.
    if std::env::var_os("CUDA_CACHE_PATH").is_none() {
        command.env("CUDA_CACHE_PATH", absolute(&args.out)?.join("kernels"));
    }
    let log = File::create(args.out.join(part_log(part)))?;
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log).process_group(0);
    command.spawn().with_context(|| format!("could not start {command:?}"))
}

fn absolute(path: &Path) -> Result<PathBuf> {
    path.canonicalize().with_context(|| path.display().to_string())
}

/// Ends a part and everything it started; nothing if that has ended.
fn end(child: &mut Child) {
    if let Some(group) = Pid::from_raw(i32::try_from(child.id()).unwrap_or(0)) {
        let _ = kill_process_group(group, Signal::KILL);
    }
}

fn append(path: &Path) -> Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    file.with_context(|| format!("cannot write {}", path.display()))
}

fn part_log(part: &Part) -> String {
    format!("runs/{}.log", part.name)
}

/// The last line of a log that says something, without its colour.
fn said(path: &Path) -> String {
    let text = fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let last = text.lines().rev().find(|line| !line.trim().is_empty());
    last.unwrap_or("it said nothing").trim().to_string()
}

/// Adds what a part said to the one log.
fn gather_log(out: &Path, part: &Part) {
    let text = fs::read(out.join(part_log(part))).unwrap_or_default();
    if let (false, Ok(mut log)) = (text.is_empty(), append(&out.join(LOG))) {
        let _ = writeln!(log, "== {}", part.name);
        let _ = log.write_all(&text);
    }
}

/// The device's memory in use as `nvidia-smi` tells it, all programs together.
struct Memory {
    smi: Option<Child>,
    peak_mib: Arc<AtomicU64>,
}

impl Memory {
    /// Looks ten times a second, where there is an `nvidia-smi`.
    fn watch() -> Self {
        let peak_mib = Arc::new(AtomicU64::new(0));
        let mut command = Command::new("nvidia-smi");
        command.args(["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "100"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut smi = command.spawn().ok();
        if let Some(stdout) = smi.as_mut().and_then(|smi| smi.stdout.take()) {
            let peak = Arc::clone(&peak_mib);
            std::thread::spawn(move || {
                for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                    if let Ok(mib) = line.trim().parse() {
                        peak.fetch_max(mib, Ordering::Relaxed);
                    }
                }
            });
        }
        Self { smi, peak_mib }
    }

    fn restart(&self) {
        self.peak_mib.store(0, Ordering::Relaxed);
    }

    /// Most since the last [`restart`](Self::restart), where it was told.
    fn peak_mib(&self) -> Option<u64> {
        Some(self.peak_mib.load(Ordering::Relaxed)).filter(|&mib| mib > 0)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        if let Some(smi) = &mut self.smi {
            let _ = smi.kill();
            let _ = smi.wait();
        }
    }
}
