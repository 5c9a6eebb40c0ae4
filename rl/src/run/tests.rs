//! A toy algorithm is run, killed, damaged and resumed.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64Mcg;

use super::*;

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    steps: u64,
    optimiser: Optimiser,
}

#[derive(Clone, Debug, PartialEq, serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Optimiser {
    rate: f32,
}

impl Config for Settings {
    fn check(&self) -> Result<(), ConfigError> {
        within("steps", self.steps, 1..=1_000_000)?;
        within("optimiser.rate", self.optimiser.rate, 0.0..=1.0)
    }
}

fn settings() -> Settings {
    Settings { steps: 60, optimiser: Optimiser { rate: 3e-4 } }
}

/// A random walk whose end depends on every step.
#[derive(Clone, Debug, PartialEq)]
struct Toy {
    weights: Vec<f32>,
    moments: Vec<f64>,
    rng: Pcg64Mcg,
    step: u64,
}

impl Toy {
    fn new() -> Self {
        let rng = Pcg64Mcg::seed_from_u64(7);
        Self { weights: vec![0.0; 2000], moments: vec![0.0; 500], rng, step: 0 }
    }

    fn advance(&mut self) {
        for w in &mut self.weights {
            *w = 0.9 * *w + self.rng.random_range(-1.0_f32..1.0);
        }
        for m in &mut self.moments {
            *m += (self.rng.next_u64() as f64).sqrt();
        }
        self.step += 1;
    }
}

impl Checkpoint for Toy {
    fn save(&self, to: &mut Snapshot) {
        to.f32s("weights", &[2, 1000], &self.weights);
        to.f64s("moments", &[500], &self.moments);
        to.state("rng", &self.rng);
        to.state("step", &self.step);
    }

    fn load(&mut self, from: &Snapshot) -> Result<(), SnapshotError> {
        from.read_f32s("weights", &mut self.weights)?;
        from.read_f64s("moments", &mut self.moments)?;
        self.rng = from.read_state("rng")?;
        self.step = from.read_state("step")?;
        Ok(())
    }
}

/// Runs or resumes the toy to its end, calling `tell` after each step.
fn train(dir: &Path, mut tell: impl FnMut(u64)) -> Result<Toy, RunError> {
    let (mut run, settings) = Run::create_or_resume(dir, &settings())?;
    let mut toy = Toy::new();
    run.restore(&mut toy)?;
    tell(toy.step);
    while toy.step < settings.steps {
        toy.advance();
        run.log(toy.step, &[("weight", f64::from(toy.weights[0]))])?;
        tell(toy.step);
        if toy.step.is_multiple_of(3) {
            run.checkpoint(toy.step, &toy)?;
        }
    }
    Ok(toy)
}

/// The metrics without the wall time, which no two runs share.
fn metrics(dir: &Path) -> Vec<(u64, f64)> {
    let text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    assert!(text.ends_with('\n'));
    let line = |l: &str| {
        let v: serde_json::Value = serde_json::from_str(l).unwrap();
        (v["step"].as_u64().unwrap(), v["weight"].as_f64().unwrap())
    };
    text.lines().map(line).collect()
}

fn newest(dir: &Path) -> PathBuf {
    files::checkpoints(&dir.join("checkpoints")).unwrap().pop().unwrap()
}

const CHILD_DIR: &str = "SOG_RL_TOY_RUN";

#[test]
#[ignore = "what the tests below start as a child process"]
fn child() {
    let dir = std::env::var_os(CHILD_DIR).expect("the test that starts it names a directory");
    match train(Path::new(&dir), |step| println!("step {step}")) {
        Ok(_) => println!("done"),
        Err(e) => println!("error {e}"),
    }
}

fn child_command(dir: &Path) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "run::tests::child", "--ignored", "--nocapture", "--test-threads=1"]);
    command.env(CHILD_DIR, dir).stdout(Stdio::piped()).stderr(Stdio::null());
    command
}

/// Starts the child and kills it a random moment after `steps` reported steps; true if it ended
/// by itself.
fn run_and_kill(dir: &Path, steps: usize, spins: u32) -> bool {
    let mut child = child_command(dir).spawn().unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines().map(Result::unwrap);
    let mut seen = 0;
    let ended = loop {
        match lines.next() {
            None => break true,
            Some(line) if line.starts_with("error") => panic!("{line}"),
            Some(line) if line.starts_with("step") => seen += 1,
            Some(_) => {}
        }
        if seen > steps {
            (0..spins).for_each(|_| std::hint::spin_loop());
            break false;
        }
    };
    let _ = child.kill();
    child.wait().unwrap();
    ended
}

#[test]
fn a_run_killed_at_random_moments_ends_like_one_that_was_not() {
    let temp = tempfile::tempdir().unwrap();
    let (whole, killed) = (temp.path().join("whole"), temp.path().join("killed"));
    let toy = train(&whole, |_| ()).unwrap();

    let mut rng = Pcg64Mcg::seed_from_u64(1);
    for _ in 0..25 {
        // Up to two checkpoints in each sitting, so that there is progress and much is lost.
        if run_and_kill(&killed, rng.random_range(0..7), rng.random_range(0..200_000)) {
            break;
        }
    }
    let resumed = train(&killed, |_| ()).unwrap();
    assert_eq!(toy, resumed);
    let state = |dir| {
        let snapshot = Snapshot::parse(&fs::read(newest(dir)).unwrap()).unwrap();
        snapshot.nested("state").to_bytes()
    };
    assert_eq!(state(&whole), state(&killed));
    assert_eq!(metrics(&whole), metrics(&killed));
    assert_eq!(metrics(&whole).len(), 60);
    let events = |dir: &Path| fs::metadata(dir.join("events.out.tfevents.0.sog")).unwrap().len();
    assert_eq!(events(&whole), events(&killed));
    assert_eq!(fs::read_dir(killed.join("checkpoints")).unwrap().count(), KEPT);
}

#[test]
fn what_a_kill_can_leave_behind_does_no_harm() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let toy = train(dir, |_| ()).unwrap();
    fs::copy(newest(dir), dir.join("checkpoints/000000000054.safetensors")).unwrap();
    fs::write(
        dir.join("checkpoints/.000000000099.safetensors.0123456789abcdef.tmp"),
        b"half a checkp",
    )
    .unwrap();
    fs::write(dir.join(".config.toml.0123456789abcdef.tmp"), b"step").unwrap();
    let mut text = fs::read_to_string(dir.join("metrics.jsonl")).unwrap();
    text.push_str("{\"step\":61,\"wall_s\":0.0,\"wei");
    fs::write(dir.join("metrics.jsonl"), text).unwrap();
    assert_eq!(train(dir, |_| ()).unwrap(), toy);
    assert_eq!(metrics(dir).len(), 60);
    let left = files::checkpoints(&dir.join("checkpoints")).unwrap();
    assert_eq!(
        left,
        ["000000000057", "000000000060"]
            .map(|step| dir.join(format!("checkpoints/{step}.safetensors")))
    );
    assert!(!dir.join(".config.toml.0123456789abcdef.tmp").exists());
}

/// Tracker finding: pruning went by the suffix, and took a user's copy with it.
#[test]
fn pruning_leaves_files_that_the_run_did_not_write() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let (mut run, _) = Run::create_or_resume(dir, &settings()).unwrap();
    let theirs = [
        "checkpoints/000000000001-keep-me.safetensors",
        "checkpoints/1.safetensors",
        // As a checkpoint is called.
        "checkpoints/000000000002.safetensors",
        "checkpoints/0000000000001.safetensors",
        "checkpoints/best.safetensors",
        "checkpoints/notes.tmp",
        ".notes.0123456789abcdef.tmp",
        "notes.tmp",
    ]
    .map(|name| dir.join(name));
    theirs.iter().for_each(|path| fs::write(path, b"mine").unwrap());
    fs::create_dir(dir.join("checkpoints/000000000001.safetensors")).unwrap();
    (3..=9).for_each(|step| run.checkpoint(step, &Toy::new()).unwrap());
    let over = run.checkpoint(2, &Toy::new());
    assert!(matches!(over, Err(RunError::InTheWay { .. })), "{over:?}");
    drop(run);
    let (mut run, _) = Run::create_or_resume(dir, &settings()).unwrap();
    assert_eq!(run.restore(&mut Toy::new()).unwrap(), Some(9));
    for path in &theirs {
        assert_eq!(fs::read(path).unwrap(), b"mine", "{}", path.display());
    }
}

#[test]
fn a_run_does_not_begin_over_what_is_no_run() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let theirs = ["policy.safetensors", "best.safetensors", "metrics.jsonl", EVENTS_FILE];
    for name in theirs {
        fs::write(dir.join(name), b"mine").unwrap();
        for begun in [Run::create(dir, &settings()), train(dir, |_| ()).map(|_| unreachable!())] {
            let error = begun.unwrap_err().to_string();
            assert!(error.contains(name) && error.contains("another directory"), "{error}");
        }
        assert_eq!(fs::read(dir.join(name)).unwrap(), b"mine");
        // What a kill before the configuration leaves is no more than an empty file.
        fs::write(dir.join(name), b"").unwrap();
    }
    train(dir, |_| ()).unwrap();
    assert_eq!(Run::steps_done(dir).unwrap(), 60);
    // Its own checkpoints without its configuration.
    fs::remove_file(dir.join("config.toml")).unwrap();
    assert!(matches!(train(dir, |_| ()), Err(RunError::InTheWay { .. })));
    assert!(fs::metadata(dir.join("metrics.jsonl")).unwrap().len() > 0);
}

#[test]
fn the_best_checkpoint_is_kept_beside_the_last_ones() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let kept = || -> Vec<String> {
        let paths = files::checkpoints(&dir.join("checkpoints")).unwrap();
        paths.iter().map(|p| p.file_stem().unwrap().to_str().unwrap()[9..].to_string()).collect()
    };
    let (mut run, _) = Run::create_or_resume(dir, &settings()).unwrap();
    for (step, score) in [(3, 1.0), (6, 5.0), (9, f64::NAN), (12, 4.0), (15, 2.0)] {
        run.checkpoint_scored(step, &Toy::new(), score).unwrap();
    }
    assert_eq!(run.best(), Some(Best { step: 6, score: 5.0 }));
    assert_eq!(kept(), ["006", "012", "015"]);
    drop(run);
    let (mut run, _) = Run::create_or_resume(dir, &settings()).unwrap();
    run.restore(&mut Toy::new()).unwrap();
    assert_eq!(run.best(), Some(Best { step: 6, score: 5.0 }));
    run.checkpoint_scored(18, &Toy::new(), 6.0).unwrap();
    run.checkpoint_scored(21, &Toy::new(), 0.0).unwrap();
    assert_eq!(kept(), ["018", "021"]);
}

#[test]
fn a_damaged_checkpoint_is_named_and_the_older_one_is_good() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    let toy = train(dir, |_| ()).unwrap();
    let path = newest(dir);
    let good = fs::read(&path).unwrap();
    let metrics_before = fs::read(dir.join("metrics.jsonl")).unwrap();
    let mut bad = good.clone();
    bad[good.len() / 2] ^= 1;
    for bytes in [bad, good[..good.len() / 2].to_vec(), vec![]] {
        fs::write(&path, &bytes).unwrap();
        let error = train(dir, |_| ()).unwrap_err().to_string();
        assert!(error.contains("000000000060.safetensors cannot be used"), "{error}");
        assert!(error.contains("delete it to resume from"), "{error}");
        assert!(error.contains("000000000057.safetensors"), "{error}");
        assert_eq!(fs::read(dir.join("metrics.jsonl")).unwrap(), metrics_before);
    }
    fs::remove_file(&path).unwrap();
    assert_eq!(train(dir, |_| ()).unwrap(), toy);
}

#[test]
fn a_checkpoint_of_another_shape_is_refused() {
    let temp = tempfile::tempdir().unwrap();
    train(temp.path(), |_| ()).unwrap();
    let (mut run, _) = Run::resume::<Settings>(temp.path()).unwrap();
    let mut other = Toy::new();
    other.weights.push(0.0);
    let error = run.restore(&mut other).unwrap_err().to_string();
    assert!(error.contains("tensor `weights` has shape [2, 1000], need 2001 elements"), "{error}");
}

#[test]
fn cut_metrics_are_noticed() {
    let temp = tempfile::tempdir().unwrap();
    train(temp.path(), |_| ()).unwrap();
    fs::write(temp.path().join("metrics.jsonl"), b"").unwrap();
    let error = train(temp.path(), |_| ()).unwrap_err().to_string();
    assert!(error.contains("metrics.jsonl has 0 bytes, at the checkpoint it had"), "{error}");
}

/// The file size limit stands for the full disk: writes beyond it fail half-way.
#[test]
fn a_full_disk_is_an_error_and_the_last_checkpoint_stays() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path();
    assert!(!run_and_kill(dir, 10, 0));
    let before = newest(dir);
    let bytes = fs::read(&before).unwrap();
    let mut limited = Command::new("sh");
    limited.args(["-c", "trap '' XFSZ; ulimit -f 4; exec \"$@\"", "sh"]);
    limited.arg(std::env::current_exe().unwrap());
    limited.args(["--exact", "run::tests::child", "--ignored", "--nocapture", "--test-threads=1"]);
    let output = limited.env(CHILD_DIR, dir).output().unwrap();
    let output = String::from_utf8_lossy(&output.stdout).into_owned();
    let error =
        output.lines().find(|l| l.starts_with("error")).unwrap_or_else(|| panic!("{output}"));
    assert!(error.contains("cannot write"), "{error}");
    assert!(error.contains(".safetensors"), "{error}");
    assert_eq!(newest(dir), before);
    assert_eq!(fs::read(&before).unwrap(), bytes);
    let left = fs::read_dir(dir.join("checkpoints")).unwrap().map(|e| e.unwrap().path());
    assert!(left.into_iter().all(|p| p.extension().is_some_and(|e| e == "safetensors")));
    assert_eq!(train(dir, |_| ()).unwrap().step, 60);
}

#[test]
fn a_directory_that_cannot_be_written_is_named() {
    let temp = tempfile::tempdir().unwrap();
    // A file where the directory should be: refused to every user, root included.
    let dir = temp.path().join("file/run");
    fs::write(temp.path().join("file"), b"").unwrap();
    let error = Run::create(&dir, &settings()).unwrap_err().to_string();
    assert!(error.contains("cannot create"), "{error}");
    assert!(error.contains("file/run"), "{error}");
}

#[test]
fn one_process_at_a_time() {
    let temp = tempfile::tempdir().unwrap();
    let run = Run::create(temp.path(), &settings()).unwrap();
    let resume = || Run::resume::<Settings>(temp.path()).map(|_| ());
    assert!(matches!(resume(), Err(RunError::Locked { .. })));
    drop(run);
    resume().unwrap();
    assert!(matches!(Run::create(temp.path(), &settings()), Err(RunError::Exists { .. })));
    let empty = tempfile::tempdir().unwrap();
    let nothing = Run::resume::<Settings>(empty.path());
    assert!(matches!(nothing, Err(RunError::NotARun { .. })));
}

#[test]
fn a_configuration_error_names_key_value_and_what_is_accepted() {
    let message = |text: &str| parse_config::<Settings>(text).unwrap_err().to_string();
    let good = "steps = 5\n[optimiser]\nrate = 0.1\n";
    assert_eq!(parse_config::<Settings>(good).unwrap().steps, 5);

    let unknown = message("steps = 5\n[optimiser]\nrate = 0.1\nrat = 0.3\n");
    assert!(unknown.contains("key `optimiser.rat`, found 0.3"), "{unknown}");
    assert!(unknown.contains("expected `rate`"), "{unknown}");
    let unknown = message("step = 5\n[optimiser]\nrate = 0.1\n");
    assert!(unknown.contains("key `step`, found 5"), "{unknown}");
    assert!(unknown.contains("`steps` or `optimiser`"), "{unknown}");
    let mistyped = message("steps = \"many\"\n[optimiser]\nrate = 0.1\n");
    assert!(mistyped.contains("key `steps`, found \"many\""), "{mistyped}");
    let missing = message("steps = 5\n[optimiser]\n");
    assert!(missing.contains("key `optimiser`") && missing.contains("`rate`"), "{missing}");
    let range = message("steps = 0\n[optimiser]\nrate = 0.1\n");
    assert_eq!(range, "key `steps`: found 0, need a number from 1 to 1000000");
    let nan = message("steps = 1\n[optimiser]\nrate = nan\n");
    assert!(nan.contains("key `optimiser.rate`: found NaN"), "{nan}");
    assert!(message("steps = = 1").contains("not TOML"));
}

#[test]
fn another_configuration_is_not_resumed_silently() {
    let temp = tempfile::tempdir().unwrap();
    drop(Run::create(temp.path(), &settings()).unwrap());
    let (_, stored) = Run::create_or_resume(temp.path(), &settings()).unwrap();
    assert_eq!(stored, settings());
    let other = Settings { optimiser: Optimiser { rate: 0.5 }, ..settings() };
    let error = Run::create_or_resume(temp.path(), &other).unwrap_err().to_string();
    assert!(error.contains("`optimiser.rate`") && error.contains("0.5"), "{error}");

    // Other steps are allowed where the caller says so, and are the run's from then on.
    let longer = Settings { steps: 70, ..settings() };
    let refused = Run::resume_with(temp.path(), &longer, &[]).unwrap_err().to_string();
    assert!(refused.contains("`steps`") && refused.contains("70"), "{refused}");
    let (run, config) = Run::resume_with(temp.path(), &longer, &["steps"]).unwrap();
    assert_eq!(config, longer);
    drop(run);
    let other = Settings { optimiser: Optimiser { rate: 0.5 }, ..longer };
    let error = Run::resume_with(temp.path(), &other, &["steps"]).unwrap_err().to_string();
    assert!(error.contains("`optimiser.rate`"), "{error}");

    let (run, _) = Run::resume::<Settings>(temp.path()).unwrap();
    run.reconfigure(&Settings { steps: 90, ..settings() }).unwrap();
    let bad = Settings { steps: 0, ..settings() };
    assert!(matches!(run.reconfigure(&bad), Err(RunError::Config { .. })));
    drop(run);
    assert_eq!(Run::resume::<Settings>(temp.path()).unwrap().1.steps, 90);
}
