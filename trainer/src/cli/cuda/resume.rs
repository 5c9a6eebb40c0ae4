//! Part `resume`: a run that is killed, refused the device's memory, and resumed.

use std::{
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{
    errors::refused,
    memory::Holder,
    part::{Place, Training, checkpoints, succeed},
};

const DEMOS: &str = "two-a-mode.safetensors";

pub(super) fn run(place: &Place) -> Result<()> {
    place.demonstrations(DEMOS, 2)?;
    let updates = place.sized(1000, 200);
    let settings = [
        format!("cloning.updates={updates}"),
        format!("cloning.checkpoint_interval={}", updates / 10),
        "cloning.attempts=1".to_string(),
    ];
    let settings = settings.each_ref().map(String::as_str);
    let training = |name| Training {
        name,
        algorithm: "sog-bc",
        demos: DEMOS,
        device: place.device(),
        settings: &settings,
    };
    succeed(&mut place.train(&training("whole")))?;
    let whole = place.policy("whole")?;

    let steps = killed(place, place.train(&training("killed")), "killed")?;
    place.tell("killed", None, &[("found", json!(format!("{steps} checkpoints")))])?;
    let resumed = || {
        let mut command = place.train(&training("killed"));
        command.arg("--resume");
        command
    };
    if place.is_cuda() {
        let (holder, held) = Holder::start(place, 0)?;
        let outcome = refused(&mut resumed(), &["memory"]);
        drop(holder);
        let (good, _, said) = outcome?;
        let found = format!("with {held} MiB taken by another program: {said}");
        place.tell("resumed without memory", good, &[("found", json!(found))])?;
    }
    succeed(&mut resumed())?;
    let same = place.policy("killed")? == whole;
    let found = if same { "the same bytes as the whole run's" } else { "another policy" };
    place.tell("resumed", same, &[("found", json!(found))])
}

/// Starts a run and kills it after its first checkpoint; how many checkpoints it left. One that was
/// faster loses the last and its policy.
fn killed(place: &Place, mut command: Command, name: &str) -> Result<usize> {
    let dir = place.path(name);
    let mut child = command.stdout(Stdio::null()).spawn()?;
    while checkpoints(&dir).is_empty() {
        if child.try_wait()?.is_some() || Instant::now() > place.until {
            break;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let status = child.wait()?;
    if status.success() {
        let last = checkpoints(&dir).pop().context("a whole run left no checkpoint")?;
        std::fs::remove_file(last)?;
    }
    let left = checkpoints(&dir).len();
    if left == 0 {
        bail!("the run ended with {status} and left no checkpoint");
    }
    Ok(left)
}
