//! `kill -9` at random moments over a whole SOG-GAIL run of the program: it always resumes, and
//! ends in the same policy, byte for byte.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::process::ExitStatusExt,
    path::Path,
    process::{Child, ChildStderr, Command, Stdio},
    time::{Duration, Instant},
};

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

const KILLS: usize = 20;

const SIGKILL: i32 = 9;

/// A run of a few seconds with everything in it: attempts, cloning, adversarial iterations,
/// checkpoints that are several steps apart, evaluations.
const SETTINGS: [&str; 14] = [
    "cloning.updates=300",
    "cloning.attempts=2",
    "cloning.attempt_updates=40",
    "cloning.log_interval=10",
    "cloning.checkpoint_interval=30",
    "adversarial.total_steps=16384",
    "adversarial.eval_interval=8",
    "adversarial.checkpoint_interval=3",
    "ppo.envs=4",
    "ppo.steps=128",
    "ppo.epochs=4",
    "discriminator.passes=2",
    "discriminator.warmup_passes=8",
    "discriminator.warmup_iterations=3",
];

fn sog() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sog"))
}

/// Starts or resumes the run in `out`; it tells each thing it does on standard error.
fn start(demos: &Path, out: &Path) -> (Child, Events) {
    let mut command = sog();
    command.args(["train", "--task", "circles", "--algo", "sog-gail", "--seed", "5", "--resume"]);
    command.arg("--demos").arg(demos).arg("--out").arg(out);
    SETTINGS.iter().for_each(|setting| {
        command.args(["--set", setting]);
    });
    command.env("RUST_LOG", "warn,sog_rl::run=debug").stdout(Stdio::null()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let events = Events { lines: BufReader::new(child.stderr.take().unwrap()), other: vec![] };
    (child, events)
}

/// What a run says: `opened`, `step N`, `saving step N`, `saved step N`, each behind the directory,
/// which is `.` or `./pretrain` here.
struct Events {
    lines: BufReader<ChildStderr>,
    /// Lines that are none of these: an error's.
    other: Vec<String>,
}

impl Events {
    /// Waits for the next event under `out`; none when the program has ended.
    fn next(&mut self, out: &Path) -> Option<String> {
        loop {
            let mut line = String::new();
            if self.lines.read_line(&mut line).unwrap() == 0 {
                return None;
            }
            match line.split_once(&out.display().to_string()) {
                Some((before, event)) if before.contains("sog_rl::run") => {
                    return Some(format!(".{}", event.trim_end()));
                }
                // The first sitting has nothing to resume, and says so.
                _ if line.contains("held no run to resume") => {}
                _ => self.other.push(line),
            }
        }
    }
}

/// The steps in the lines of a metrics file.
fn steps(path: &Path) -> Vec<u64> {
    let line = |line: &str| -> u64 {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        value["step"].as_u64().unwrap()
    };
    fs::read_to_string(path).unwrap().lines().map(line).collect()
}

/// Whether steps were done that no checkpoint holds, so that the kill destroyed work.
fn lost_work(events: &[String]) -> bool {
    let last = |what: &str| events.iter().rposition(|e| e.contains(what));
    match (last(": step "), last(": saved ")) {
        (Some(step), Some(saved)) => step > saved,
        (step, _) => step.is_some(),
    }
}

#[test]
fn twenty_kills_leave_the_same_policy() {
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name);
    let (demos, whole, killed) = (at("demos.safetensors"), at("whole"), at("killed"));
    let mut record = sog();
    record.args([
        "demos",
        "record",
        "--task",
        "circles",
        "--episodes-per-mode",
        "2",
        "--seed",
        "1",
    ]);
    assert!(record.arg("--out").arg(&demos).output().unwrap().status.success());

    let (mut child, mut said) = start(&demos, &whole);
    let begin = Instant::now();
    let events: Vec<String> = std::iter::from_fn(|| said.next(&whole)).collect();
    let pace = begin.elapsed() / events.len() as u32;
    assert!(child.wait().unwrap().success(), "{:?}", said.other);

    // Moments all over the run: at these of its events, and then a part of the mean time between
    // two events later. The last few events are left out, so that the program still runs then.
    let mut rng = Pcg64Mcg::seed_from_u64(20);
    let mut moments: Vec<usize> =
        (0..KILLS).map(|_| rng.random_range(0..events.len() - 8)).collect();
    moments.sort_unstable();
    assert!(moments[0] < events.len() / 4 && moments[KILLS - 1] > events.len() / 4 * 3);
    let (mut at_work, mut half_done, mut while_saving) = (0, 0, 0);
    for &moment in &moments {
        let (mut child, mut said) = start(&demos, &killed);
        let (mut seen, mut reached) = (vec![], 0);
        while seen.is_empty() || reached < moment {
            let Some(event) = said.next(&killed) else {
                panic!("ended before `{}`: {seen:?} {:?}", events[moment], said.other);
            };
            reached = events.iter().position(|e| *e == event).unwrap();
            seen.push(event);
        }
        wait(pace.mul_f64(rng.random()));
        child.kill().unwrap();
        at_work += usize::from(child.wait().unwrap().signal() == Some(SIGKILL));
        seen.extend(std::iter::from_fn(|| said.next(&killed)));
        assert!(said.other.is_empty(), "{:?}", said.other);
        half_done += usize::from(lost_work(&seen));
        while_saving += usize::from(seen.last().unwrap().contains("saving"));
    }
    println!(
        "{KILLS} kills: {at_work} at work, {half_done} with steps done since the checkpoint, \
         {while_saving} between the beginning and the end of a checkpoint"
    );
    assert_eq!(at_work, KILLS, "kills that hit the running program");
    assert!(half_done >= KILLS / 4, "kills that destroyed work: {half_done}");

    let (mut child, mut said) = start(&demos, &killed);
    while said.next(&killed).is_some() {}
    assert!(child.wait().unwrap().success(), "{:?}", said.other);
    for file in ["metrics.jsonl", "pretrain/metrics.jsonl"] {
        assert_eq!(steps(&whole.join(file)), steps(&killed.join(file)), "{file}");
    }
    for file in ["pretrain/policy.safetensors", "policy.safetensors"] {
        let bytes = |dir: &Path| fs::read(dir.join(file)).unwrap();
        assert!(bytes(&whole) == bytes(&killed), "{file} differs from the uninterrupted run's");
    }
}

/// Lets a short time pass.
fn wait(duration: Duration) {
    let begin = Instant::now();
    while begin.elapsed() < duration {
        std::hint::spin_loop();
    }
}
