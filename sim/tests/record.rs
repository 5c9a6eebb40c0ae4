//! Recording end to end: a simulated robot that its expert leads, the link with its faults, the
//! recorder, the file on the disk.
#![allow(clippy::unwrap_used)]

use std::{
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
};

use serde_json::Value;
use sog_runtime::tensors::TensorFile;

fn record(out: &Path, arguments: &[&str]) -> (Option<i32>, Value) {
    let run = Command::new(env!("CARGO_BIN_EXE_sog-sim"))
        .args(["record", "--json", "--out"])
        .arg(out)
        .args(arguments)
        .stderr(Stdio::null())
        .output()
        .unwrap();
    (run.status.code(), serde_json::from_slice(&run.stdout).unwrap_or(Value::Null))
}

/// Records short episodes over a bad line; all of them must come as they were shown.
fn recorded(dir: &Path, name: &str, per_mode: &str, more: &[&str]) -> Vec<u8> {
    let out = dir.join(name);
    let common = ["--task", "circles", "--faults", "0.02", "--episode-steps", "12"];
    let episodes = ["--episodes-per-mode", per_mode];
    let (code, report) = record(&out, &[&common, &episodes[..], more].concat());
    assert_eq!(code, Some(0), "{name}: {report}");
    let all = 3 * per_mode.parse::<u64>().unwrap();
    assert_eq!((&report["episodes"], &report["same"]), (&all.into(), &true.into()), "{name}");
    assert_eq!(report["lost_steps"], 0, "{name}");
    let damaged = report["link"]["corrupt"].as_u64().unwrap();
    assert!(damaged > 0, "{name}: nothing befell the line: {report}");
    std::fs::read(&out).unwrap()
}

#[test]
fn a_hundred_episodes_come_whole_and_in_order_over_a_bad_line() {
    let dir = tempfile::tempdir().unwrap();
    let dir = dir.path();
    // They wait for the disk most of the time.
    let [udp, serial] = std::thread::scope(|scope| {
        ["udp", "serial"]
            .map(|over| scope.spawn(move || recorded(dir, over, "34", &["--over", over])))
            .map(|run| run.join().unwrap())
    });
    assert!(udp == serial, "the same was shown");
    let file = TensorFile::parse(&udp).unwrap();
    assert!(file.verify_checksum().unwrap());
    assert_eq!(file.shape("observations").unwrap(), [102, 12, 10]);
    assert_eq!(file.u32("lengths").unwrap(), [12; 102]);
    let modes = file.u32("modes").unwrap();
    assert!((0..3).all(|mode| modes.iter().filter(|&&m| m == mode).count() == 34));
}

#[test]
fn what_is_lost_in_real_time_is_sent_for_again() {
    let dir = tempfile::tempdir().unwrap();
    // A robot at 50 Hz over memory, which loses nothing however busy the machine is.
    recorded(dir.path(), "memory", "2", &["--over", "memory", "--real-time", "50"]);
}

#[test]
#[ignore = "real time: needs a machine that is not busy"]
fn a_hundred_episodes_come_whole_in_real_time() {
    let dir = tempfile::tempdir().unwrap();
    for over in ["udp", "serial"] {
        recorded(dir.path(), over, "34", &["--over", over, "--real-time", "500"]);
    }
}

#[test]
fn a_plant_that_demonstrates_says_what_it_showed() {
    let mut plant = Command::new(env!("CARGO_BIN_EXE_sog-sim"))
        .args(["plant", "--demonstrate", "--task", "circles", "--listen", "0", "--lock-step"])
        .args(["--episodes-per-mode", "1", "--episode-steps", "8", "--json"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(plant.stderr.as_mut().unwrap()).read_line(&mut line).unwrap();
    assert!(line.contains("demonstrates on udp://127.0.0.1:"), "{line}");
    let pid = plant.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    let done = plant.wait_with_output().unwrap();
    let report: Value = serde_json::from_slice(&done.stdout).unwrap();
    assert_eq!((&report["shown"], &report["sessions"]), (&0.into(), &0.into()));
    // What is not understood is refused before anything starts.
    let bad = Command::new(env!("CARGO_BIN_EXE_sog-sim"))
        .args(["plant", "--demonstrate", "--task", "circles", "--listen", "0"])
        .args(["--action-noise", "7"])
        .output()
        .unwrap();
    assert_eq!(bad.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&bad.stderr).contains("--action-noise 7"));
}
