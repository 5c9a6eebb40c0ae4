//! Part `resume`: a run that is killed, refused the device's memory, and resumed.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use candle_core::{DType, Device, Tensor};
use serde_json::json;

use super::{
    device::DeviceArg,
    errors::refused,
    part::{Place, Training, checkpoints, succeed},
};

/// Not a part, but the process that takes the device's memory.
pub(super) const HOLD: &str = "hold";

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
        let (mut holder, held) = take_memory(place)?;
        let outcome = refused(&mut resumed(), &["memory"]);
        holder.kill()?;
        holder.wait()?;
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

/// Starts a process that takes all memory of the device; with the MiB that it got.
fn take_memory(place: &Place) -> Result<(Child, u64)> {
    let mut command = place.sog();
    command.args(["cuda", "part", HOLD, "--out", "none", "--seconds", "60"]);
    command.args(["--device", &place.device().to_string()]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut line = String::new();
    BufReader::new(child.stdout.take().context("piped")?).read_line(&mut line)?;
    let held = line.trim().parse();
    Ok((child, held.with_context(|| format!("the device's memory was not taken: {line:?}"))?))
}

/// Takes all memory of the device, tells how many MiB that is, and holds it until standard input ends.
pub(super) fn hold(device: DeviceArg) -> Result<()> {
    let device = device.open()?.device();
    let (mut held, mut total) = (vec![], 0);
    for mib in [4096, 512, 64, 8, 1] {
        while let Ok(block) = block(&device, mib) {
            held.push(block);
            total += mib;
        }
    }
    println!("{total}");
    std::io::stdin().read_to_end(&mut vec![])?;
    drop(held);
    Ok(())
}

fn block(device: &Device, mib: usize) -> candle_core::Result<Tensor> {
    if device.is_cpu() {
        candle_core::bail!("the processor's memory is not for holding");
    }
    let block = Tensor::zeros(mib << 20, DType::U8, device)?;
    device.synchronize()?;
    Ok(block)
}
