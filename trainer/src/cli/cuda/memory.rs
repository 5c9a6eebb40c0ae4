//! Another program that holds the device's memory.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Stdio},
};

use anyhow::{Context, Result};
use candle_core::{DType, Device, Tensor};

use super::{device::DeviceArg, part::Place};

/// Not a part, but the process that takes the device's memory; the MiB that it leaves follow the name.
pub(super) const HOLD: &str = "hold-all-but-";

/// The process; it ends with this.
pub(super) struct Holder(Child);

impl Holder {
    /// Takes the device's memory but for about `left` MiB; with the MiB that it got.
    pub(super) fn start(place: &Place, left: u64) -> Result<(Self, u64)> {
        let mut command = place.sog();
        command.args(["cuda", "part", &format!("{HOLD}{left}"), "--out", "none"]);
        command.args(["--seconds", "60", "--device", &place.device().to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
        let stdout = child.stdout.take().context("piped")?;
        let holder = Self(child);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let held = line.trim().parse();
        Ok((holder, held.with_context(|| format!("the device's memory was not taken: {line:?}"))?))
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Takes all memory of the device but for `left` MiB, tells how many MiB that is, and holds it until standard
/// input ends.
pub(super) fn hold(device: DeviceArg, left: u64) -> Result<()> {
    const BLOCK_MIB: u64 = 512;
    let device = device.open()?.device();
    let (mut held, mut total) = (vec![], 0);
    for mib in [BLOCK_MIB, 64, 8, 1] {
        while let Ok(block) = block(&device, mib) {
            held.push(block);
            total += mib;
        }
    }
    let given_back = left.div_ceil(BLOCK_MIB).min(held.len() as u64);
    held.drain(..given_back as usize);
    device.synchronize()?;
    println!("{}", total - given_back * BLOCK_MIB);
    std::io::stdin().read_to_end(&mut vec![])?;
    Ok(())
}

fn block(device: &Device, mib: u64) -> candle_core::Result<Tensor> {
    if device.is_cpu() {
        candle_core::bail!("the processor's memory is not for holding");
    }
    let block = Tensor::zeros((mib as usize) << 20, DType::U8, device)?;
    device.synchronize()?;
    Ok(block)
}
