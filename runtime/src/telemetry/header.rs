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
    latent_dim: u32,
}

impl Header {
    pub(super) fn new(controller: &Controller, policy: &[u8]) -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_unix_ns: now.as_nanos() as u64,
            instruction_set: Policy::instruction_set_here().to_string(),
            policy: policy.to_vec(),
            spec: controller.spec().clone(),
            config: controller.config().clone(),
            latent_dim: controller.latent().len() as u32,
        }
    }

    /// Widths of a record of this robot.
    pub(super) fn widths(&self) -> Widths {
        Widths {
            obs: self.spec.obs_dim(),
            action: self.spec.action_dim(),
            latent: self.latent_dim as usize,
        }
    }
}
