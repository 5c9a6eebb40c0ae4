//! The worked example of `docs/your-own-robot.md`, command by command, with its results checked:
//! a robot that no program of ours has heard of, from its folder to `sog-run` against the plant.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, Command, Stdio},
};

use anyhow::{Context, bail};
use serde_json::Value;

use crate::shell::{cargo, output, root, step, target_dir};

/// Its folder.
const TASK: &str = "examples/detour";

/// The share of demonstrations whose code is that of their way: both ways are told apart, or the
/// example fails.
const PURITY_NEEDED: f64 = 0.95;

/// A policy reaches the goal if it ends a flight with a return above this (a step costs its distance
/// from the goal; the demonstrations cost 0.49 a step in the mean, standing still 1.0).
const RETURN_NEEDED: f64 = -110.0;

pub(crate) fn run() -> anyhow::Result<()> {
    step("build", &mut cargo(&["build", "--release", "--workspace", "--bins"]))?;
    let dir = root().join("runs/example");
    if dir.exists() {
        fs::remove_dir_all(&dir).with_context(|| format!("cannot empty {}", dir.display()))?;
    }
    fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;

    let check = json(&mut program("sog", &["task", "check", TASK, "--json"]))?;
    expect(&check["name"], &"detour".into(), "name")?;
    expect(&check["obs_dim"], &4.into(), "obs_dim")?;
    expect(&check["simulator"], &"mujoco".into(), "simulator")?;
    expect(&check["warnings"], &Value::Array(vec![]), "warnings")?;

    let (demos, held_out) = (path(&dir, "demos.safetensors"), path(&dir, "held_out.safetensors"));
    for (from, to) in [("demonstrations", &demos), ("held_out", &held_out)] {
        let from = format!("examples/detour/{from}.safetensors");
        step(
            "import demonstrations",
            program("sog", &["demos", "import", "--task", TASK, "--from", &from])
                .args(["--out", to]),
        )?;
    }
    let run_dir = path(&dir, "run");
    step(
        "learn one policy with SOG-BC; no simulator takes part",
        program("sog", &["train", "--task", TASK, "--algo", "sog-bc"])
            .args(["--demos", &demos, "--out", &run_dir]),
    )?;
    let policy = format!("{run_dir}/policy.safetensors");

    let eval = json(
        program("sog", &["eval", "--json", "--policy", &policy]).args(["--demos", &held_out]),
    )?;
    println!("\n== held-out demonstrations: {eval}");
    let purity = eval["purity"].as_f64().context("`sog eval` gave no purity")?;
    if purity < PURITY_NEEDED {
        bail!("purity {purity} on held-out demonstrations, need {PURITY_NEEDED}");
    }

    let of_modes =
        json(&mut program("sog", &["eval", "--task", TASK, "--policy", &policy, "--json"]))?;
    println!("\n== every code in the simulator: {of_modes}");
    for matched in of_modes["per_mode"].as_array().context("`sog eval` reported no modes")? {
        fly(&policy, &matched["code"].to_string(), &matched["mode"].to_string())?;
    }
    println!("\n== example: good");
    Ok(())
}

/// `sog-run` against `sog-sim plant` in lock step over UDP, for one episode.
fn fly(policy: &str, code: &str, mode: &str) -> anyhow::Result<()> {
    let mut plant = Plant::start(mode)?;
    let mut controller = program("sog-run", &[policy, "--robot", &plant.address, "--code", code]);
    let result = json(controller.args(["--duration", "3", "--json"]))?;
    plant.child.wait().context("the plant did not end")?;
    let reached = result["return"].as_f64().context("`sog-run` reported no return")?;
    println!("== sog-run against sog-sim plant, code {code}: return {reached:.1} in mode {mode}");
    if reached < RETURN_NEEDED {
        bail!("code {code} returned {reached} in mode {mode}, need {RETURN_NEEDED}");
    }
    Ok(())
}

/// A simulated robot behind UDP, for one session.
struct Plant {
    child: Child,
    address: String,
}

impl Plant {
    fn start(mode: &str) -> anyhow::Result<Self> {
        let mut command = program("sog-sim", &["plant", "--task", TASK, "--listen", "0"]);
        command.args(["--lock-step", "--sessions", "1", "--reward", mode]);
        let mut child = command
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .context("cannot start the plant")?;
        // It says where it listens: `detour listens on udp://127.0.0.1:40001, in lock step`.
        let mut lines = BufReader::new(child.stderr.take().context("no standard error")?).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| {
                let words = line.split_whitespace().find(|w| w.starts_with("udp://"))?;
                Some(words.trim_end_matches(',').to_string())
            })
            .context("the plant did not say where it listens")?;
        // What it says later must not fill the pipe.
        std::thread::spawn(move || lines.for_each(drop));
        Ok(Self { child, address })
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A program that the build has left in the target directory.
fn program(name: &str, args: &[&str]) -> Command {
    let mut command = Command::new(target_dir().join("release").join(name));
    command.args(args).current_dir(root());
    command
}

fn path(dir: &Path, name: &str) -> String {
    dir.join(name).to_string_lossy().into_owned()
}

fn json(command: &mut Command) -> anyhow::Result<Value> {
    let out = output(command)?;
    serde_json::from_str(&out).with_context(|| format!("not JSON: {}", out.trim()))
}

fn expect(found: &Value, needed: &Value, what: &str) -> anyhow::Result<()> {
    if found != needed {
        bail!("`sog task check` says {what} = {found}, need {needed}");
    }
    Ok(())
}
