//! The check for a machine with a GPU, tried here from its script to its tables.
#![allow(clippy::unwrap_used)] // a test may panic

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_path_buf()
}

fn executable(path: &Path, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
}

/// The bundle's folder as `cargo xtask cuda --bundle` packs it, with this build's program, and beside
/// it an `nvidia-smi` and a Python with something like PyTorch.
fn unpacked(at: &Path) {
    let root = repository();
    for dir in ["bin", "lib", "path"] {
        fs::create_dir_all(at.join(dir)).unwrap();
    }
    symlink(env!("CARGO_BIN_EXE_sog"), at.join("bin/sog")).unwrap();
    fs::copy(root.join("xtask/src/cuda/run.sh"), at.join("run.sh")).unwrap();
    fs::copy(root.join("engine/benches/pytorch.py"), at.join("pytorch.py")).unwrap();
    executable(
        &at.join("path/nvidia-smi"),
        "#!/bin/sh\ncase $1 in *memory.used*) while echo 321; do sleep 0.05; done ;; esac\necho \"${1#*=} here\"\n",
    );
    executable(
        &at.join("path/python3"),
        "#!/bin/sh\n[ \"$1\" != -c ] && [ \"$1\" != - ] && echo '{\"what\": \"PyTorch\", \"good\": null, \
         \"update\": \"PPO\", \"H\": 128, \"batch\": 64, \"device\": \"none\", \"µs\": 1.5}'\nexit 0\n",
    );
}

fn run(at: &Path, out: &str, arguments: &[&str]) -> Output {
    let path = std::env::var("PATH").unwrap();
    let mut command = Command::new("sh");
    command.arg(at.join("run.sh")).arg(at.join(out)).args(arguments);
    command.env("PATH", format!("{}:{path}", at.join("path").display()));
    command.output().unwrap()
}

fn results(dir: &Path) -> Value {
    serde_json::from_slice(&fs::read(dir.join("results.json")).unwrap()).unwrap()
}

#[test]
fn the_whole_script_runs_without_a_gpu() {
    let temp = tempfile::tempdir().unwrap();
    unpacked(temp.path());
    let output = run(temp.path(), "out", &["--device", "candle", "--quick", "--minutes", "30"]);
    let said = String::from_utf8_lossy(&output.stderr);
    let log = fs::read_to_string(temp.path().join("out/log.txt")).unwrap_or_default();
    assert_eq!(output.status.code(), Some(0), "{said}\n{log}");
    let report = results(&temp.path().join("out"));
    let parts = report["parts"].as_array().unwrap();
    assert_eq!(parts.len(), 11);
    let part = |name: &str| parts.iter().find(|part| part["name"] == name).unwrap();
    for part in parts {
        assert_eq!(part["status"], "good", "{part}");
        assert!(!part["rows"].as_array().unwrap().is_empty(), "{part}");
    }
    assert_eq!(part("agreement")["rows"].as_array().unwrap().len(), 10);
    assert_eq!(part("times")["rows"].as_array().unwrap().len(), 1 + 2 * 3);
    assert_eq!(part("seeds")["rows"].as_array().unwrap().len(), 1 + 3);
    assert_eq!(part("images")["rows"].as_array().unwrap().len(), 4);
    assert_eq!(part("pytorch")["rows"][0]["µs"], 1.5);
    assert_eq!(part("agreement")["peak_memory_mib"], 321);
    let tables = fs::read_to_string(temp.path().join("out/results.md")).unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout).trim(), tables.trim());
    for shown in ["| driver | driver_version", "| infogail, latent=gaussian:2 |", "321 MiB"] {
        assert!(tables.contains(shown), "{shown}: {tables}");
    }
    let lines = fs::read_to_string(temp.path().join("out/results.jsonl")).unwrap();
    let lines: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.iter().filter(|line| line["status"] == "good").count(), 11);
}

#[test]
fn a_part_that_fails_or_is_late_does_not_stop_the_others() {
    let temp = tempfile::tempdir().unwrap();
    unpacked(temp.path());
    // Without its demonstrations the last part fails; the first comes to its end.
    fs::create_dir_all(temp.path().join("out/runs/circles.safetensors")).unwrap();
    let only = ["--device", "candle", "--quick", "--only", "machine,sog-bc,errors"];
    let output = run(temp.path(), "out", &only);
    assert_eq!(output.status.code(), Some(1));
    let report = results(&temp.path().join("out"));
    let of = |report: &Value| -> Vec<String> {
        let parts = report["parts"].as_array().unwrap().iter();
        parts.map(|part| part["status"].as_str().unwrap().to_string()).collect()
    };
    assert_eq!(of(&report), ["good", "good", "failed"], "{report}");
    let message = report["parts"][2]["message"].as_str().unwrap();
    assert!(message.contains("circles.safetensors"), "{message}");

    // Ended in the middle: what was found before is there, and the rest is named.
    let late = ["--device", "candle", "--minutes", "0.05", "--only", "machine,agreement,errors"];
    assert_eq!(run(temp.path(), "late", &late).status.code(), Some(1));
    let report = results(&temp.path().join("late"));
    assert_eq!(of(&report), ["good", "timed_out", "left_out"], "{report}");
}

#[test]
fn what_cannot_be_checked_is_said_at_once() {
    let temp = tempfile::tempdir().unwrap();
    unpacked(temp.path());
    let said = |arguments: &[&str], out: &str| {
        let output = run(temp.path(), out, arguments);
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        String::from_utf8(output.stderr).unwrap()
    };
    assert!(said(&["--device", "candle", "--only", "nothing"], "a").contains("no part `nothing`"));
    assert!(said(&["--device", "gpu"], "b").contains("cuda:N"));
    if !cfg!(feature = "cuda") {
        let text = said(&[], "c");
        assert!(text.contains("built without CUDA") && text.contains("cargo xtask cuda"), "{text}");
    }
    fs::create_dir(temp.path().join("d")).unwrap();
    fs::write(temp.path().join("d/results.jsonl"), "").unwrap();
    assert!(said(&["--device", "candle"], "d").contains("another check"));
}
