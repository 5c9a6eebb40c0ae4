//! The `sog` program as a shell sees it.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

fn sog(dir: &Path, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sog")).args(args).current_dir(dir).output().unwrap()
}

#[test]
fn output_that_nobody_reads_ends_the_program_quietly() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_sog"));
    let child = command.arg("tasks").stdout(writer).stderr(Stdio::piped()).spawn().unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8(output.stderr).unwrap(), "");
}

#[test]
fn several_seeds_are_the_runs_that_each_alone_would_be() {
    let dir = tempfile::tempdir().unwrap();
    let good = |args: &[&str]| {
        let output = sog(dir.path(), args);
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
    };
    let record = ["demos", "record", "--task", "circles", "--episodes-per-mode", "2", "--out", "d"];
    good(&record);
    let train = ["train", "--task", "circles", "--algo", "sog-bc", "--demos", "d"];
    let short = ["--set", "cloning.updates=40", "--set", "cloning.attempts=1"];
    good(&[&train[..], &short, &["--seeds", "1..2", "--out", "both"]].concat());
    good(&[&train[..], &short, &["--seed", "2", "--out", "alone"]].concat());
    let policy =
        |run: &str| std::fs::read(dir.path().join(run).join("policy.safetensors")).unwrap();
    assert_eq!(policy("both/seed-2"), policy("alone"));
    assert_ne!(policy("both/seed-1"), policy("both/seed-2"));
    // Those that are done stay, and the others are added.
    good(&[&train[..], &short, &["--seeds", "2,3", "--out", "both", "--resume"]].concat());
    assert_eq!(policy("both/seed-2"), policy("alone"));
    assert!(dir.path().join("both/seed-3/policy.safetensors").is_file());

    for (seeds, said) in [
        ("3..1", "3 is after 1"),
        ("1,x", "found `x`, need seeds as `0..31` or `0,3,5`"),
        ("2,1,2", "seed 2 stands there twice"),
        ("0..99999999999", "more than 10000 runs"),
    ] {
        let output = sog(dir.path(), &[&train[..], &["--seeds", seeds, "--out", "none"]].concat());
        let error = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.code() == Some(2) && error.contains(said), "{seeds}: {error}");
    }
}

#[test]
fn on_a_device_several_seeds_run_at_once_or_it_says_why_not() {
    let dir = tempfile::tempdir().unwrap();
    let said = |args: &[&str], code: i32| {
        let output = sog(dir.path(), args);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(code), "{args:?}: {said}");
        said
    };
    let record = ["demos", "record", "--task", "circles", "--episodes-per-mode", "2", "--out", "d"];
    said(&record, 0);
    let train = |more: &[&str], code| {
        let train = ["train", "--task", "circles", "--algo", "sog-bc", "--demos", "d"];
        let short = ["--device", "candle", "--seeds", "0..1", "--set", "cloning.updates=4"];
        said(&[&train[..], &short, more].concat(), code)
    };
    let written = |run: &str| dir.path().join(run).join("seed-1/policy.safetensors").is_file();
    let text = train(&["--out", "at-once"], 0);
    assert!(text.contains("2 runs at once") && written("at-once"), "{text}");
    let text = train(&["--out", "in-turns", "--set", "cloning.attempts=2"], 0);
    let reason = "note: one run after the other: cloning.attempts = 2, need 1";
    assert!(text.contains(reason) && text.contains("run 2 of 2"), "{text}");
    assert!(written("in-turns") && text.matches("note:").count() == 1, "{text}");
    // One that is there is not begun again, and nothing is begun beside it.
    std::fs::remove_dir_all(dir.path().join("at-once/seed-0")).unwrap();
    let text = train(&["--out", "at-once"], 2);
    assert!(text.contains("the run with seed 1") && text.contains("already holds a run"), "{text}");
    assert!(!dir.path().join("at-once/seed-0").exists());
}

#[test]
fn everything_is_reproduced_in_one_report() {
    let dir = tempfile::tempdir().unwrap();
    let little = ["--seeds", "1", "--budget", "0.005", "--lambda-s", "0.1", "--algos", "sog-bc"];
    let all = ["reproduce", "all", "--tasks", "circles", "--out", "r"];
    let output = sog(dir.path(), &[&all[..], &little].concat());
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let read = |name: &str| std::fs::read_to_string(dir.path().join("r").join(name)).unwrap();
    let report = read("all.md");
    assert_eq!(String::from_utf8(output.stdout).unwrap().trim_end(), report.trim_end());
    let parts: serde_json::Value = serde_json::from_str(&read("all.json")).unwrap();
    for part in ["table1", "codes", "robustness"] {
        assert!(report.contains(read(&format!("{part}.md")).trim_end()), "{part}: {report}");
        let alone: serde_json::Value =
            serde_json::from_str(&read(&format!("{part}.json"))).unwrap();
        assert_eq!(parts[part], alone);
    }
    // Circles are in neither of the others.
    assert_eq!(parts.as_object().unwrap().len(), 3);
    let none = sog(dir.path(), &["reproduce", "all", "--tasks", "squares", "--out", "r"]);
    let error = String::from_utf8(none.stderr).unwrap();
    assert!(error.contains("squares is in no table of the paper's"), "{error}");
}
