//! A task of one's own without a simulator, from somebody's recordings to a policy file, by the
//! program: import, training, held-out evaluation.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use rand::{RngExt, SeedableRng};
use rand_distr::StandardNormal;
use rand_pcg::Pcg64Mcg;
use serde_json::Value;
use sog_runtime::{
    policy::{Policy, PolicyFile},
    tensors::{Metadata, Tensor, serialize},
};

/// Terms alone: no `[sim]`, no modes.
const TASK: &str = r#"
schema  = "sog.task/1"
name    = "detour-2d"
dt      = 0.05
horizon = 90

[[observation]]
name  = "position"
width = 2
[[observation]]
name  = "velocity"
width = 2

[[action]]
name  = "force"
width = 2
low   = -1.0
high  = 1.0
unit  = "N"
"#;

fn sog(args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sog")).args(args).output().unwrap()
}

fn good(args: &[&str]) -> String {
    let output = sog(args);
    let (said, wrong) = (&output.stdout, &output.stderr);
    let wrong = String::from_utf8_lossy(wrong);
    assert!(output.status.success(), "sog {args:?}: {wrong}");
    String::from_utf8(said.clone()).unwrap()
}

fn refused(args: &[&str]) -> String {
    let output = sog(args);
    assert_eq!(output.status.code(), Some(2), "sog {args:?}");
    String::from_utf8(output.stderr).unwrap()
}

/// A point that goes from about (−1, 0) to about (1, 0) past obstacles, one of `ways` ways round
/// them: the lateral offset where it passes the first third and the second.
fn recordings(ways: &[[f32; 2]], each: usize, seed: u64) -> BTreeMap<String, Tensor> {
    let mut rng = Pcg64Mcg::seed_from_u64(seed);
    let (steps, count) = (80, ways.len() * each);
    let (mut obs, mut actions, mut modes) = (vec![], vec![], vec![]);
    for n in 0..count {
        // In no telling order.
        let way = n * 7 % ways.len();
        modes.push(way as u32);
        let mut normal = |scale: f32| scale * rng.sample::<f32, _>(StandardNormal);
        let start = [-1.0 + normal(0.05), normal(0.05)];
        let goal = [1.0 + normal(0.05), normal(0.05)];
        let (mut p, mut v) = (start, [0.0_f32; 2]);
        for _ in 0..steps {
            obs.extend([p[0], p[1], v[0], v[1]]);
            let ahead = ((p[0] - start[0]) / (goal[0] - start[0]) + 0.08).min(1.0);
            let bump = |at: f32| (-((ahead - at) / 0.17).powi(2)).exp();
            let lateral = 0.5 * (ways[way][0] * bump(0.33) + ways[way][1] * bump(0.67));
            for i in 0..2 {
                let along = start[i] + (goal[i] - start[i]) * ahead;
                let target = along + if i == 1 { lateral } else { 0.0 };
                let force = 4.0 * (target - p[i]) - 0.3 * v[i] + normal(0.05);
                let force = force.clamp(-1.0, 1.0);
                actions.push(force);
                v[i] += 0.1 * (4.0 * force - 1.5 * v[i]);
            }
            p = [p[0] + 0.05 * v[0], p[1] + 0.05 * v[1]];
        }
    }
    [
        ("observations".to_string(), Tensor::f32(&[count, steps, 4], &obs)),
        ("actions".to_string(), Tensor::f32(&[count, steps, 2], &actions)),
        ("modes".to_string(), Tensor::u32(&[count], &modes)),
    ]
    .into()
}

/// A folder with the task, and recordings in it, imported: the task's path and the files'.
fn prepared(dir: &Path, ways: &[[f32; 2]]) -> (String, String, String) {
    let task = dir.join("detour");
    std::fs::create_dir_all(&task).unwrap();
    std::fs::write(task.join("task.toml"), TASK).unwrap();
    let text = |path: PathBuf| path.to_str().unwrap().to_string();
    let imported = |name: &str, each: usize, seed: u64| {
        let (plain, out) = (dir.join(format!("{name}-plain")), dir.join(name));
        let bytes = serialize(&recordings(ways, each, seed), &Metadata::new());
        std::fs::write(&plain, bytes).unwrap();
        let (plain, out) = (text(plain), text(out));
        good(&[
            "demos",
            "import",
            "--task",
            task.to_str().unwrap(),
            "--from",
            &plain,
            "--out",
            &out,
        ]);
        out
    };
    let (demos, held_out) = (imported("demos", 12, 1), imported("held-out", 10, 2));
    (text(task), demos, held_out)
}

const SHORT: [&str; 4] =
    ["--set", "cloning.updates=3000", "--set", "cloning.checkpoint_interval=1000"];

#[test]
fn ways_are_counted_and_told_apart_with_five_seeds_of_five() {
    let cases: [&[[f32; 2]]; 3] = [
        &[[1.0, 1.0], [-1.0, -1.0]],
        &[[1.0, 1.0], [0.0, 0.0], [-1.0, -1.0]],
        &[[1.0, 1.0], [1.0, -1.0], [-1.0, 1.0], [-1.0, -1.0]],
    ];
    for ways in cases {
        let temp = tempfile::tempdir().unwrap();
        let (task, demos, held_out) = prepared(temp.path(), ways);
        for seed in 0..5 {
            let (out, seed) = (temp.path().join(format!("run-{seed}")), seed.to_string());
            let (out, policy) = (out.to_str().unwrap(), out.join("policy.safetensors"));
            let base = ["train", "--task", &task, "--algo", "sog-bc", "--demos", &demos];
            let rest = ["--out", out, "--seed", &seed];
            let said = good(&[&base[..], &rest[..], &SHORT[..]].concat());
            let counted = format!("ways in the demonstrations: {}", ways.len());
            assert!(said.contains(&counted) && said.contains("held-out loss"), "{said}");
            assert!(Path::new(out).join("codes.png").is_file());
            assert!(Path::new(out).join("best.safetensors").is_file());
            // The policy alone says enough: no folder is named.
            let policy = policy.to_str().unwrap();
            let json = good(&["eval", "--policy", policy, "--demos", &held_out, "--json"]);
            let report: Value = serde_json::from_str(&json).unwrap();
            assert!(report["purity"].as_f64().unwrap() >= 0.95, "{} ways: {json}", ways.len());
            // Half of a demonstration says less: of four ways two begin alike.
            assert!(report["stability"].as_f64().unwrap() > 0.6, "{json}");
            assert!(report["held_out_loss"].as_f64().unwrap() < 0.05, "{json}");
            assert_eq!(report["action_rmse"].as_array().unwrap().len(), 2);
            assert_eq!(report["codes"].as_array().unwrap().len(), ways.len());
            // What training writes, the runtime runs.
            let file = PolicyFile::parse(&std::fs::read(policy).unwrap()).unwrap();
            assert_eq!((file.contract.task.as_str(), file.contract.dt_s), ("detour-2d", 0.05));
            let _ = Policy::new(&file);
        }
    }
}

#[test]
fn what_needs_a_simulator_says_so_in_one_sentence() {
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    for algorithm in ["gail", "sog-gail", "infogail", "vae-gail"] {
        let out = temp.path().join(algorithm);
        let out = out.to_str().unwrap();
        let args = ["train", "--task", &task, "--algo", algorithm, "--demos", &demos, "--out", out];
        let said = refused(&args);
        assert!(said.contains("has no simulator") && said.contains("bc and sog-bc"), "{said}");
    }
    let info = good(&["demos", "info", &demos, "--json"]);
    let info: Value = serde_json::from_str(&info).unwrap();
    assert_eq!((&info["task"], &info["trajectories"]), (&"detour-2d".into(), &24.into()));
    assert_eq!(info["per_mode"], serde_json::json!([12, 12]));
}

/// Findings: a run goes on with what it has, may be longer, and keeps the best.
#[test]
fn finding_a_run_resumes_without_its_settings_and_may_be_longer() {
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    let run = |out: &str, resume: bool, more: &[&str]| {
        let out = temp.path().join(out);
        let out = out.to_str().unwrap();
        let base = ["train", "--task", &task, "--algo", "sog-bc", "--demos", &demos, "--out", out];
        let resume: &[&str] = if resume { &["--resume"] } else { &[] };
        sog(&[&base[..], resume, more].concat())
    };
    let hidden = ["--set", "network.hidden=16", "--seed", "3"];
    assert!(run("a", false, &[&hidden[..], &SHORT[..]].concat()).status.success());
    assert!(run("a", true, &[]).status.success(), "without repeating the settings");
    let other = run("a", true, &["--set", "network.hidden=32"]);
    assert!(String::from_utf8_lossy(&other.stderr).contains("`network.hidden` = 16"));
    // Extended.
    assert!(run("a", true, &["--set", "cloning.updates=5000"]).status.success());
    let config = std::fs::read_to_string(temp.path().join("a/config.toml")).unwrap();
    assert!(config.contains("updates = 5000") && config.contains("hidden = 16"), "{config}");
    let checkpoints = temp.path().join("a/checkpoints");
    assert!(checkpoints.join("000000005000.safetensors").is_file());
    // Never over the policy that it starts from.
    let policy = temp.path().join("a/policy.safetensors");
    let start = ["--start", policy.to_str().unwrap()];
    let over = run("a", true, &start);
    assert_eq!(over.status.code(), Some(2));
}

#[test]
fn a_seed_that_was_never_begun_has_the_settings_of_the_others() {
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    let out = temp.path().join("runs");
    let run = |more: &[&str]| {
        let args = ["train", "--task", &task, "--algo", "sog-bc", "--demos", &demos];
        good(&[&args[..], &["--out", out.to_str().unwrap()], more].concat())
    };
    run(&["--seeds", "3,4", "--codes", "5", "--set", "cloning.updates=20"]);
    run(&["--seeds", "3..5", "--resume"]);
    let config = |seed: u64| {
        let path = out.join(format!("seed-{seed}/config.toml"));
        std::fs::read_to_string(path).unwrap()
    };
    assert_eq!(config(5), config(3).replace("seed = 3", "seed = 5"));
    assert!(config(5).contains("updates = 20\n") && config(5).contains("one-hot:5"));
}

#[test]
fn what_was_not_imported_is_said_to_be() {
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    let plain = format!("{}-plain", Path::new(&demos).display());
    let out = temp.path().join("run");
    let train = ["train", "--task", &task, "--algo", "sog-bc", "--demos", &plain];
    let said = refused(&[&train[..], &["--out", out.to_str().unwrap()]].concat());
    assert!(said.contains("no schema is said") && said.contains("sog demos import"), "{said}");
}

#[test]
fn a_run_that_cannot_be_leaves_nothing_behind_and_what_is_there_is_called_a_run() {
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    let out = temp.path().join("run");
    let run = |algo| {
        [
            "train",
            "--task",
            &task,
            "--algo",
            algo,
            "--demos",
            &demos,
            "--out",
            out.to_str().unwrap(),
        ]
    };
    let said = refused(&run("sog-gail"));
    assert!(said.contains("has no simulator"), "{said}");
    assert!(!out.exists());
    good(&[&run("sog-bc")[..], &["--codes", "auto", "--set", "cloning.updates=20"]].concat());
    let said = refused(&run("sog-bc"));
    assert!(said.contains("already holds a run"), "{said}");
}

/// Finding: Ctrl-C ended a run without a word and without a checkpoint.
#[test]
fn finding_an_interrupted_run_saves_and_says_how_to_go_on() {
    use std::{io::Read as _, process::Stdio, time::Duration};
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    let out = temp.path().join("run");
    let args = ["train", "--task", &task, "--algo", "sog-bc", "--demos", &demos];
    let args = [&args[..], &["--out", out.to_str().unwrap(), "--codes", "2"]].concat();
    let mut child = Command::new(env!("CARGO_BIN_EXE_sog"))
        .args(&args)
        .args(["--set", "cloning.updates=1000000", "--set", "cloning.log_interval=10"])
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let begun = || std::fs::metadata(out.join("metrics.jsonl")).is_ok_and(|m| m.len() > 0);
    while !begun() {
        std::thread::sleep(Duration::from_millis(20));
    }
    let id = child.id().to_string();
    assert!(Command::new("kill").args(["-INT", &id]).status().unwrap().success());
    assert_eq!(child.wait().unwrap().code(), Some(130));
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert!(
        said.contains("saved; go on with --resume") && !said.contains("with step 0 "),
        "{said}"
    );
    assert_eq!(std::fs::read_dir(out.join("checkpoints")).unwrap().count(), 1);
}

/// Finding: the autoencoder of VAE-GAIL heard no signal, and experts and tables died of it in silence.
#[test]
fn finding_every_long_training_ends_with_a_word_when_it_is_told_to() {
    use std::{io::Read as _, process::Stdio, time::Duration};
    let temp = tempfile::tempdir().unwrap();
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_string();
    let (demos, vae, experts, out, table) =
        (at("demos"), at("vae"), at("experts"), at("expert"), at("table"));
    good(&["demos", "record", "--task", "circles", "--episodes-per-mode", "2", "--out", &demos]);
    let train = ["train", "--task", "circles", "--algo", "vae-gail", "--demos", &demos];
    let long = ["--set", "vae_gail.updates=10000000", "--out", &vae];
    let expert = ["expert", "train", "--task", "halfcheetah-fwd-back", "--runs", &experts];
    let reproduce =
        ["reproduce", "codes", "--tasks", "circles", "--seeds", "1", "--budget", "1000"];
    // What is there once it trains, what it is told, and what it says then.
    let cases = [
        ([&train[..], &long].concat(), "vae/config.toml", "-INT", "go on with --resume"),
        (
            [&expert[..], &["--out", &out]].concat(),
            "experts",
            "-HUP",
            "steps saved; go on with --resume",
        ),
        // As a cluster ends a job.
        (
            [&reproduce[..], &["--out", &table]].concat(),
            "table/circles",
            "-TERM",
            "goes on from there",
        ),
    ];
    for (arguments, begun, signal, needed) in cases {
        let mut child = Command::new(env!("CARGO_BIN_EXE_sog"))
            .args(&arguments)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        while !temp.path().join(begun).exists() {
            assert!(child.try_wait().unwrap().is_none(), "{arguments:?} ended by itself");
            std::thread::sleep(Duration::from_millis(20));
        }
        // Into the work.
        std::thread::sleep(Duration::from_millis(700));
        let id = child.id().to_string();
        assert!(Command::new("kill").args([signal, &id]).status().unwrap().success());
        let code = match signal {
            "-HUP" => 129,
            "-INT" => 130,
            _ => 143,
        };
        assert_eq!(child.wait().unwrap().code(), Some(code), "{arguments:?}");
        let mut said = String::new();
        child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
        assert!(said.contains(needed), "{said}");
    }
}

/// Finding: outputs were written over inputs.
#[test]
fn finding_demonstrations_are_never_written_over_what_is_there() {
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    let before = std::fs::read(&demos).unwrap();
    let link = temp.path().join("link");
    std::os::unix::fs::symlink(&demos, &link).unwrap();
    let hard = temp.path().join("hard");
    std::fs::hard_link(&demos, &hard).unwrap();
    for out in [Path::new(&demos), &link, &hard] {
        let out = out.to_str().unwrap();
        for force in [&[][..], &["--force"]] {
            let import = ["demos", "import", "--task", &task, "--from", &demos, "--out", out];
            let said = refused(&[&import[..], force].concat());
            assert!(said.contains("is the input"), "{said}");
        }
        let record = ["demos", "record", "--task", "circles", "--out", out];
        assert!(refused(&record).contains("exists"), "{out}");
    }
    assert_eq!(std::fs::read(&demos).unwrap(), before);
}

/// Finding: pictures, experts and runs were written over what was there, and over what was read.
#[test]
fn finding_no_output_is_written_over_an_input_or_somebodys_file() {
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    let at = |name: &str| temp.path().join(name).to_str().unwrap().to_string();
    std::fs::hard_link(temp.path().join("detour/task.toml"), at("hard.png")).unwrap();
    for name in ["old.png", "old.safetensors", "circles.png", "demos.svg"] {
        std::fs::write(at(name), "mine").unwrap();
    }
    std::fs::create_dir_all(at("experts/network-0/checkpoints")).unwrap();
    let checkpoint = at("experts/network-0/checkpoints/000000000001.safetensors");
    std::fs::write(&checkpoint, "mine").unwrap();
    std::fs::create_dir(at("logs")).unwrap();
    std::fs::write(at("logs/data.npz"), "mine").unwrap();
    let (toml, hard, old) = (at("detour/task.toml"), at("hard.png"), at("old.png"));
    let (expert, runs, logs, data) =
        (at("old.safetensors"), at("experts"), at("logs"), at("logs/data.npz"));
    let assemble = ["expert", "assemble", "--task", "circles", "--runs", &runs, "--out"];
    let import = ["demos", "import", "--task", &task, "--force", "--from"];
    for (arguments, needed) in [
        (vec!["task", "check", &task, "--picture", &toml, "--force"], "is the input"),
        (vec!["task", "check", &task, "--picture", &hard, "--force"], "is the input"),
        (vec!["task", "check", "hopper-vel-6", "--picture", &old], "old.png exists"),
        ([&assemble[..], &[&expert]].concat(), "old.safetensors exists"),
        ([&assemble[..], &[&checkpoint, "--force"]].concat(), "is the input"),
        ([&import[..], &[&logs, "--out", &data]].concat(), "is the input"),
        ([&import[..], &[&demos, "--out", &toml]].concat(), "is the input"),
        (vec!["figures", &demos, "--task", &task], "demos.svg exists"),
        (vec!["figures", &demos, &demos, "--task", &task, "--force"], "are one file"),
    ] {
        let said = refused(&arguments);
        assert!(said.contains(needed), "{arguments:?}: {said}");
    }
    for name in ["old.png", "old.safetensors", "demos.svg", "logs/data.npz"] {
        assert_eq!(std::fs::read_to_string(at(name)).unwrap(), "mine", "{name}");
    }
    assert_eq!(std::fs::read_to_string(toml).unwrap(), TASK);
    let beside = at("demos.png");
    std::fs::rename(&demos, &beside).unwrap();
    let said = refused(&["figures", &beside, "--task", &task, "--force"]);
    assert!(said.contains("is the input"), "{said}");

    // A run begins in a directory of its own, and keeps its hands off what is linked into it.
    std::fs::rename(&beside, &demos).unwrap();
    let train = ["train", "--task", &task, "--algo", "sog-bc", "--codes", "2", "--demos", &demos];
    let run = |out: &str, more: &[&str]| [&train[..], &["--out", out], more].concat().join("\n");
    let refuse = |arguments: String, needed: &str| {
        let said = refused(&arguments.split('\n').collect::<Vec<_>>());
        assert!(said.contains(needed), "{arguments:?}: {said}");
    };
    let theirs = at("theirs");
    std::fs::create_dir(&theirs).unwrap();
    std::fs::write(at("theirs/policy.safetensors"), "mine").unwrap();
    refuse(run(&theirs, &[]), "theirs/policy.safetensors is there");
    let (linked, before) = (at("linked"), std::fs::read(&demos).unwrap());
    std::fs::create_dir(&linked).unwrap();
    for name in ["metrics.jsonl", "events.out.tfevents.0.sog"] {
        let link = temp.path().join("linked").join(name);
        std::os::unix::fs::symlink(&demos, &link).unwrap();
        refuse(run(&linked, &["--resume"]), "is the input");
        std::fs::remove_file(&link).unwrap();
    }
    assert_eq!(std::fs::read(&demos).unwrap(), before);
}

/// Finding: a run was shortened, or given other codes, in words alone; another was begun in silence.
#[test]
fn finding_a_resumed_run_keeps_what_it_has_done() {
    let temp = tempfile::tempdir().unwrap();
    let (task, demos, _) = prepared(temp.path(), &[[1.0, 1.0], [-1.0, -1.0]]);
    let out = temp.path().join("run");
    let train = |more: &[&str]| {
        let base = ["train", "--task", &task, "--algo", "sog-bc", "--demos", &demos, "--resume"];
        sog(&[&base[..], &["--out", out.to_str().unwrap()], more].concat())
    };
    let short = ["--set", "cloning.updates=40", "--set", "cloning.checkpoint_interval=20"];
    let begun = train(&[&["--codes", "2"], &short[..]].concat());
    let said = String::from_utf8_lossy(&begun.stderr);
    assert!(begun.status.success() && said.contains("held no run to resume"), "{said}");
    let config = || std::fs::read_to_string(out.join("config.toml")).unwrap();
    let before = config();
    for (more, needed) in [
        (["--set", "cloning.updates=30"], "has done 40 already"),
        (["--codes", "4"], "codes cannot change"),
        (["--codes", "none"], "codes cannot change"),
        (["--codes", "auto"], "codes cannot change"),
    ] {
        let output = train(&more);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{more:?}");
        assert!(said.contains(needed), "{more:?}: {said}");
        assert_eq!(config(), before);
    }
    assert!(train(&["--codes", "2"]).status.success());
    std::fs::remove_file(out.join("config.toml")).unwrap();
    let output = train(&["--codes", "2"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2));
    assert!(said.contains("is of no run that could be taken up"), "{said}");
}
