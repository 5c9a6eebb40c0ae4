//! What a log says before its records: enough to replay it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::record::Widths;
use crate::{
    control::{Config, Controller},
    io::RobotSpec,
    policy::Policy,
};

/// Everything that the ticks of a run depend on beside their records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Header {
    /// Beginning of the run, ns since 1970.
    pub started_unix_ns: u64,
    /// Instruction set that inference ran on.
    pub instruction_set: String,
    /// The policy file, whole.
    pub policy: Vec<u8>,
    /// The robot of the run.
    pub spec: RobotSpec,
    /// The controller's settings in the run.
    pub config: Config,
    /// The adapter between them, if there was one.
    pub adapter: Option<AdapterHeader>,
    latent_dim: u32,
}

/// An adapter, enough to make it again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AdapterHeader {
    /// The file's text.
    pub text: String,
    /// The robot on its other side.
    pub robot: RobotSpec,
    /// The robot's periods in one of the policy's.
    pub steps: u32,
}

impl Header {
    pub(super) fn new(
        controller: &Controller,
        policy: &[u8],
        adapter: Option<AdapterHeader>,
    ) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_unix_ns: now.as_nanos() as u64,
            instruction_set: Policy::instruction_set_here().to_string(),
            policy: policy.to_vec(),
            spec: controller.spec().clone(),
            config: controller.config().clone(),
            adapter,
            latent_dim: controller.latent().len() as u32,
        }
    }

    /// Widths of a record of this robot.
    pub(super) fn widths(&self) -> Widths {
        let robot = self.adapter.as_ref().map(|adapter| &adapter.robot);
        Widths {
            readings: robot.map_or(0, RobotSpec::obs_dim),
            command: robot.map_or(0, RobotSpec::action_dim),
            obs: self.spec.obs_dim(),
            action: self.spec.action_dim(),
            latent: self.latent_dim as usize,
            guided: true,
        }
    }
}
