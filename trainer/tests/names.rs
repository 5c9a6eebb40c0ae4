//! What the codes of a policy are called: from training to the control computer's own file.
#![allow(clippy::unwrap_used)]

use std::{path::Path, process::Command};

use serde_json::Value;
use sog_runtime::policy::{PolicyFile, book::Book};

fn sog(arguments: &[&str]) -> (Option<i32>, String, String) {
    let run = Command::new(env!("CARGO_BIN_EXE_sog")).args(arguments).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (run.status.code(), text(run.stdout), text(run.stderr))
}

fn run(arguments: &[&str]) -> String {
    let (code, out, error) = sog(arguments);
    assert_eq!(code, Some(0), "{arguments:?}: {error}");
    out
}

fn ways(policy: &Path, more: &[&str]) -> Vec<Value> {
    let all = [&["name", policy.to_str().unwrap(), "--json"], more].concat();
    serde_json::from_str(&run(&all)).unwrap()
}

#[test]
fn training_counts_the_ways_and_names_are_kept() {
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let text = |name: &str| path(name).to_str().unwrap().to_string();
    run(&[
        "demos",
        "record",
        "--task",
        "circles",
        "--out",
        &text("demos"),
        "--episodes-per-mode",
        "6",
    ]);
    for (latent, out) in [("3", "one-hot"), ("gaussian:2", "gaussian")] {
        run(&[
            "train",
            "--task",
            "circles",
            "--algo",
            "sog-bc",
            "--demos",
            &text("demos"),
            "--out",
            &text(out),
            "--codes",
            latent,
            "--set",
            "cloning.updates=60",
            "--set",
            "cloning.attempts=1",
        ]);
        let policy = path(out).join("policy.safetensors");
        let before = PolicyFile::parse(&std::fs::read(&policy).unwrap()).unwrap();
        let found = ways(&policy, &[]);
        let share: f64 = found.iter().map(|way| way["share"].as_f64().unwrap()).sum();
        assert!((share - 1.0).abs() < 1e-5, "{found:?}");
        for way in &found {
            let (share, typical) = (way["share"].as_f64().unwrap(), &way["typical"]);
            assert_eq!(share > 0.0, typical.is_u64(), "{way}");
            assert!(typical.as_u64().is_none_or(|n| n < 18));
            assert_eq!(way["latent"].is_array(), out == "gaussian");
        }
        let named = ways(&policy, &["0=inner", "1=outer"]);
        assert_eq!((&named[0]["name"], &named[1]["name"]), (&"inner".into(), &"outer".into()));
        let named = ways(&policy, &["inner=small", "1="]);
        assert_eq!((&named[0]["name"], &named[1]["name"]), (&"small".into(), &Value::Null));
        // The policy is what it was; both readers take it.
        let bytes = std::fs::read(&policy).unwrap();
        assert_eq!(PolicyFile::parse(&bytes).unwrap(), before);
        let book = Book::read(&bytes, before.latent).unwrap().unwrap();
        assert_eq!(book.number("small").unwrap(), 0);
        if out == "gaussian" {
            // Judged by the codes in its own file: no demonstrations are given.
            let text = policy.to_str().unwrap();
            let report = run(&["eval", "--policy", text, "--rollouts", "10", "--json"]);
            let report: Value = serde_json::from_str(&report).unwrap();
            assert_eq!(report["matrix"].as_array().unwrap().len(), found.len());
            assert!(report["per_mode"].as_array().unwrap().iter().all(|m| m["code"].is_u64()));
        }
        // Counted once more, a one-hot code keeps its name.
        let again = ways(&policy, &["--demos", &text("demos")]);
        assert_eq!(again[0]["name"].is_null(), out == "gaussian");
        let policy = policy.to_str().unwrap();
        for (bad, says) in
            [("9=far", "no code `9`"), ("0=7", "cannot be the name"), ("x", "CODE=NAME")]
        {
            let (code, _, error) = sog(&["name", policy, bad]);
            assert!(code == Some(2) && error.contains(says), "{bad}: {error}");
        }
    }
}
