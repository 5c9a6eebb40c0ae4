//! The robot and the link to it, as every command that needs one is told of it.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use sog_runtime::link::{Address, LinkOptions, Transport, open_key};

use super::seconds::positive_seconds;

#[derive(clap::Args)]
pub(super) struct LinkArgs {
    /// Where the robot is: `udp://HOST:PORT` or `serial:///dev/DEVICE?baud=N`
    #[arg(long, required = true, value_name = "ADDRESS")]
    robot: Option<Address>,
    /// What lies between this robot and the task: joints, units, frames, filters (`robot.toml`)
    #[arg(long, value_name = "FILE")]
    pub(super) adapter: Option<PathBuf>,
    /// Local address of a UDP link; without it any port, on loopback if the robot is there
    #[arg(long, value_name = "HOST:PORT")]
    bind: Option<SocketAddr>,
    /// File with a secret shared with the robot: every packet is authenticated
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// How long to wait for the robot's answer, s
    #[arg(long, default_value_t = 5.0, value_name = "S", value_parser = positive_seconds)]
    timeout: f64,
    /// Control rate, 1 to 2000 Hz; without it the policy's own, or the task's
    #[arg(long, value_name = "HZ")]
    pub(super) rate: Option<f64>,
}

impl LinkArgs {
    /// Where the robot is.
    pub(super) fn robot(&self) -> Result<&Address> {
        // Beside a command of its own it may be absent.
        self.robot.as_ref().context("no robot given")
    }

    /// Files that are read, and the device of a serial line.
    pub(super) fn reads(&self) -> impl Iterator<Item = &Path> {
        let device = match &self.robot {
            Some(Address::Serial { device, .. }) => Some(device.as_path()),
            Some(Address::Udp(_)) | None => None,
        };
        [self.adapter.as_deref(), self.key.as_deref(), device].into_iter().flatten()
    }

    /// Opens the line; with what a handshake at this period (0: the robot's own) needs to know.
    pub(super) fn open(&self, period_ns: u64) -> Result<(Box<dyn Transport + Send>, LinkOptions)> {
        let read =
            |path: &PathBuf| open_key(path).with_context(|| format!("key file {}", path.display()));
        let key = self.key.as_ref().map(read).transpose()?;
        let timeout = Duration::from_secs_f64(self.timeout);
        let options = LinkOptions { key, timeout, period_ns, ..LinkOptions::default() };
        let robot = self.robot()?;
        let transport = robot.connect(self.bind).with_context(|| robot.to_string())?;
        Ok((transport, options))
    }
}
