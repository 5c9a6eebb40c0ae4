//! Part `errors`: what the program says when the device cannot do what is asked.

use std::process::Command;

use anyhow::{Context, Result};
use serde_json::json;

use super::{
    device::DeviceArg,
    memory::Holder,
    part::{Place, Training, checkpoints},
};

const DEMOS: &str = "two-a-mode.safetensors";

/// MiB that another program leaves.
const LEFT_MIB: u64 = 2048;

/// 20 updates without a search, then one whose search does not fit into what another program leaves:
/// 512 rows × 3000 samples × 512 units × 4 bytes are 3.1 GB. (The processor's search over as many at each
/// checkpoint does not wait for long.)
const TOO_MUCH: [&str; 8] = [
    "latent=gaussian:2",
    "network.hidden=512",
    "cloning.updates=40",
    "cloning.assignment_share=0.5",
    "cloning.checkpoint_interval=10",
    "cloning.search_samples=3000",
    "cloning.search_rounds=1",
    "cloning.attempts=1",
];

pub(super) fn run(place: &Place) -> Result<()> {
    place.demonstrations(DEMOS, 2)?;
    let other = Training {
        name: "other-device",
        algorithm: "sog-bc",
        demos: DEMOS,
        device: DeviceArg::Cuda(7),
        settings: &[],
    };
    // A machine of eight has it.
    let needed: &[&str] = if place.is_cuda() { &["device 7"] } else { &["CUDA"] };
    tell(place, "--device cuda:7", refused(&mut place.train(&other), needed)?)?;

    if !place.is_cuda() {
        return Ok(());
    }
    let (holder, _) = Holder::start(place, LEFT_MIB)?;
    let large = Training { name: "too-much", device: place.device(), settings: &TOO_MUCH, ..other };
    tell(
        place,
        "more than the memory",
        refused(&mut place.train(&large), &["memory", "--resume"])?,
    )?;
    let left = checkpoints(&place.path(large.name)).len();
    let said = json!(format!("{left} checkpoints"));
    place.tell("what it leaves", left == 2, &[("said", said)])?;
    let again = refused(place.train(&large).arg("--resume"), &["memory", "--resume"])?;
    drop(holder);
    tell(place, "more than the memory, resumed", again)
}

fn tell(place: &Place, what: &str, (good, code, said): (bool, i32, String)) -> Result<()> {
    place.tell(what, good, &[("exit code", json!(code)), ("said", json!(said))])
}

/// Runs a command that must end with an error and say these words: whether it did, its exit code (−1
/// for a signal), and what it said.
pub(super) fn refused(command: &mut Command, words: &[&str]) -> Result<(bool, i32, String)> {
    let output = command.output().with_context(|| format!("could not start {command:?}"))?;
    let said = String::from_utf8_lossy(&output.stderr).trim().to_string();
    let code = output.status.code().unwrap_or(-1);
    let clear = said.starts_with("error: ") && words.iter().all(|word| said.contains(word));
    Ok((code == 2 && clear && said.lines().count() == 1, code, said))
}
