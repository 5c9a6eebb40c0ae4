//! The `sog-sim` command: what it prints, and its exit codes.
#![allow(clippy::unwrap_used)]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

use serde_json::Value;
use sog_runtime::policy::{PolicyFile, example};
use sog_sim::tasks;

fn sog_sim(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_sog-sim")).args(arguments).output().unwrap()
}

fn rollout(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/rollouts").join(name);
    path.display().to_string()
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap()
}

fn error(output: &Output) -> String {
    String::from_utf8(output.stderr.clone()).unwrap()
}

/// A policy for circles in a file of `directory`.
fn policy(directory: &Path, change: impl FnOnce(&mut PolicyFile)) -> PathBuf {
    let info = tasks::open("circles").unwrap().info().clone();
    let mut file = example(7);
    (file.contract.obs_terms, file.contract.action_terms, file.contract.dt_s) =
        (info.obs_terms, info.action_terms, info.dt_s);
    change(&mut file);
    file.seal(4);
    let path = directory.join("policy.safetensors");
    std::fs::write(&path, file.to_bytes()).unwrap();
    path
}

#[test]
fn check_reports_each_file_and_tells_off_from_unreadable() {
    let (ant, humanoid) =
        (rollout("ant-dir-6.2.safetensors"), rollout("humanoid-dir-6.1.safetensors"));
    let good = sog_sim(&["check", "--json", &ant, &humanoid]);
    assert_eq!(good.status.code(), Some(0), "{}", error(&good));
    let rows = json(&good);
    assert_eq!(rows.as_array().unwrap().len(), 2);
    assert_eq!((&rows[0]["file"], &rows[1]["ok"]), (&ant.clone().into(), &true.into()));
    assert!(rows[1]["max_abs_obs"].as_f64().unwrap() < 1e-9);
    assert!(rows[1]["max_abs_reward"].as_f64().unwrap() < 1e-9);

    // A robot that is a little heavier is off, and that is a failed check.
    let directory = tempfile::tempdir().unwrap();
    let robots = Path::new(env!("CARGO_MANIFEST_DIR")).join("../models/robots");
    let text = std::fs::read_to_string(robots.join("ant.xml")).unwrap();
    let heavier = text.replace("density=\"5\"", "density=\"5.001\"");
    assert_ne!(heavier, text);
    std::fs::write(directory.path().join("ant.xml"), heavier).unwrap();
    let robots = directory.path().display().to_string();
    let off = sog_sim(&["check", "--json", "--robots", &robots, &ant]);
    assert_eq!(off.status.code(), Some(1), "{}", error(&off));
    assert_eq!(json(&off)[0]["ok"], false);

    let unreadable = sog_sim(&["check", "/nowhere.safetensors", &ant]);
    assert_eq!(unreadable.status.code(), Some(2));
    assert!(error(&unreadable).contains("/nowhere.safetensors: cannot read it"));
    assert!(
        String::from_utf8(unreadable.stdout).unwrap().starts_with("ok"),
        "the others are checked"
    );

    assert_eq!(sog_sim(&["check"]).status.code(), Some(2));
}

#[test]
fn run_closes_the_loop_and_reports_every_return() {
    let directory = tempfile::tempdir().unwrap();
    let policy = policy(directory.path(), |_| ()).display().to_string();
    let trace = directory.path().join("trace.csv").display().to_string();
    let output = sog_sim(&[
        "run", &policy, "--mode", "1", "--steps", "60", "--seed", "4", "--trace", &trace, "--json",
    ]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let run = json(&output);
    assert_eq!((&run["task"], &run["code"]), (&"circles".into(), &1.into()));
    assert_eq!((&run["policy_ticks"], &run["misses"]), (&60.into(), &0.into()));
    for key in ["ticks", "state", "faults", "wake_latency_ns", "exec_ns", "labels", "end"] {
        assert!(!run[key].is_null(), "{key}");
    }
    let trace = std::fs::read_to_string(&trace).unwrap();
    let lines: Vec<&str> = trace.lines().collect();
    assert_eq!(lines.len(), 61);
    for (mode, returned) in run["returns"].as_array().unwrap().iter().enumerate() {
        let column = lines[0].split(',').position(|c| c == format!("reward.{mode}")).unwrap();
        let sum: f64 = lines[1..]
            .iter()
            .map(|l| l.split(',').nth(column).unwrap().parse::<f64>().unwrap())
            .sum();
        assert!((sum - returned.as_f64().unwrap()).abs() < 1e-9);
    }
    let again = sog_sim(&["run", &policy, "--mode", "1", "--steps", "60", "--seed", "4", "--json"]);
    assert_eq!(json(&again)["returns"], run["returns"]);
}

#[test]
fn run_refuses_what_it_cannot_run() {
    let directory = tempfile::tempdir().unwrap();
    let path = policy(directory.path(), |_| ()).display().to_string();
    for (arguments, needed) in [
        (vec!["run", "/nowhere.safetensors"], "cannot read /nowhere.safetensors"),
        (vec!["run", &path, "--mode", "3"], "code 3 asked for, the policy has 3"),
        (vec!["run", &path, "--mode", "x"], "--mode"),
        (vec!["run", &path, "--steps", "0"], "--steps"),
        (vec!["run", &path, "--code", "0.5"], "latent codes"),
        (vec!["bench", "--task", "hopper"], "no task and no folder is called `hopper`"),
        (vec!["bench", "--task", "hopper-vel-6", "--robots", "/nowhere"], "/nowhere/hopper.xml"),
        (vec!["bench", "--seconds", "0"], "positive number of seconds"),
    ] {
        let output = sog_sim(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(error(&output).contains(needed), "{arguments:?}: {}", error(&output));
    }
    for (change, needed) in [
        (
            &(|f: &mut PolicyFile| f.contract.task = "juggling".into()) as &dyn Fn(&mut PolicyFile),
            "the policy's task `juggling` is not built in",
        ),
        (
            &|f: &mut PolicyFile| f.contract.task = "ant-dir-6".into(),
            "observation terms of the policy",
        ),
        (&|f: &mut PolicyFile| f.contract.dt_s = 0.02, "control period of the policy is `0.02 s`"),
    ] {
        let path = policy(directory.path(), change).display().to_string();
        let output = sog_sim(&["run", &path]);
        assert_eq!(output.status.code(), Some(2));
        assert!(error(&output).contains(needed), "{needed}: {}", error(&output));
    }
}

#[test]
fn run_writes_over_nothing_that_matters() {
    let directory = tempfile::tempdir().unwrap();
    let at = |name: &str| directory.path().join(name).display().to_string();
    let path = policy(directory.path(), |_| ()).display().to_string();
    std::os::unix::fs::symlink(&path, at("soft.csv")).unwrap();
    std::fs::hard_link(&path, at("hard.gif")).unwrap();
    std::os::unix::fs::symlink("both.gif", at("same")).unwrap();
    std::fs::create_dir(at("robots")).unwrap();
    for name in ["op.log", "fr-0000.png", "robots/ant.xml"] {
        std::fs::write(at(name), "mine").unwrap();
    }
    let (gif, same, robot) = (at("both.gif"), at("same"), at("robots/ant.xml"));
    let (soft, hard, robots) = (at("soft.csv"), at("hard.gif"), at("robots"));
    let (log, frames) = (at("op.log"), at("fr.png"));
    let run = |arguments: &[&str]| sog_sim(&[&["run", &path, "--steps", "3"], arguments].concat());
    for (arguments, needed) in [
        (vec!["--trace", &path, "--force"], "is the input"),
        (vec!["--trace", &soft, "--force"], "is the input"),
        (vec!["--render", &hard, "--force"], "is the input"),
        (vec!["--robots", &robots, "--trace", &robot, "--force"], "is the input"),
        (vec!["--render", &gif, "--trace", &same, "--force"], "are one file"),
        (vec!["--trace", &log], "op.log exists"),
        (vec!["--render", &frames], "fr-0000.png exists"),
        // Before the run rather than after it.
        (vec!["--render", &gif, "--size", "9x9"], "need 16 to"),
        (vec!["--render", "/nowhere/x.gif"], "/nowhere/x.gif"),
        (vec!["--render", "x.avi"], "names no format"),
    ] {
        let output = run(&arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(error(&output).contains(needed), "{}", error(&output));
        assert!(output.stdout.is_empty(), "{arguments:?}");
    }
    for name in ["op.log", "fr-0000.png", "robots/ant.xml"] {
        assert_eq!(std::fs::read_to_string(at(name)).unwrap(), "mine");
    }
    assert!(run(&["--trace", &log, "--force"]).status.success());
    assert!(std::fs::read_to_string(&log).unwrap().starts_with("step,"));
}

#[test]
fn bench_has_the_keys_that_others_read() {
    let output = sog_sim(&["bench", "--task", "hopper-vel-6", "--seconds", "0.1", "--json"]);
    assert_eq!(output.status.code(), Some(0), "{}", error(&output));
    let report = json(&output);
    for key in [
        "control_steps_per_s_1",
        "control_steps_per_s_all",
        "physics_steps_per_s_1",
        "raw_physics_steps_per_s_1",
        "cores",
    ] {
        assert!(report[key].as_f64().unwrap() > 0.0, "{key}");
    }
}

#[test]
fn tasks_lists_all() {
    let tasks = json(&sog_sim(&["tasks", "--json"]));
    let names: Vec<_> =
        tasks.as_array().unwrap().iter().map(|t| t["task"].as_str().unwrap()).collect();
    assert_eq!(names, tasks::names());
    let text = String::from_utf8(sog_sim(&["tasks"]).stdout).unwrap();
    assert!(text.contains("halfcheetah-vel") && text.contains("[1.5, 3]"), "{text}");
}
