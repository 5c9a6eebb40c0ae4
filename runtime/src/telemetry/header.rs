//! What a log says before its records: enough to replay it.

use std::time::{SystemTime, UNIX_EPOCH};

use serde::{Deserialize, Serialize};

use super::record::Widths;
use crate::{
    control::{Config, Controller, OnMiss, RateLimit},
    io::RobotSpec,
    policy::{ParseKindError, Policy},
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
    task: String,
    obs_terms: String,
    action_terms: String,
    dt_s: f64,
    damping_action: Vec<f32>,
    stop_action: Vec<f32>,
    max_action_step: Vec<f32>,
    rate_hz: Option<f64>,
    codes: Vec<f32>,
    code: u16,
    latent_dim: u32,
    hold_on_miss: bool,
    damp_after_misses: Option<std::num::NonZeroU32>,
    stale_limit: std::num::NonZeroU32,
    frozen_limit: Option<std::num::NonZeroU32>,
    limit_range: bool,
    limit_rate: WireRateLimit,
}

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
enum WireRateLimit {
    Robot,
    Share(f32),
    Off,
}

impl Header {
    pub(super) fn new(controller: &Controller, policy: &[u8]) -> Self {
        let (spec, config) = (controller.spec(), controller.config());
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        Self {
            started_unix_ns: now.as_nanos() as u64,
            instruction_set: Policy::instruction_set_here().to_string(),
            policy: policy.to_vec(),
            task: spec.task.clone(),
            obs_terms: spec.obs_terms.to_string(),
            action_terms: spec.action_terms.to_string(),
            dt_s: spec.dt_s,
            damping_action: spec.damping_action.clone(),
            stop_action: spec.stop_action.clone(),
            max_action_step: spec.max_action_step.clone(),
            rate_hz: config.rate_hz,
            codes: config.codes.clone(),
            code: config.code,
            latent_dim: controller.latent().len() as u32,
            hold_on_miss: config.on_miss == OnMiss::Hold,
            damp_after_misses: config.damp_after_misses,
            stale_limit: config.stale_limit,
            frozen_limit: config.frozen_limit,
            limit_range: config.limit_range,
            limit_rate: match config.limit_rate {
                RateLimit::Robot => WireRateLimit::Robot,
                RateLimit::Share(share) => WireRateLimit::Share(share),
                RateLimit::Off => WireRateLimit::Off,
            },
        }
    }

    /// The robot of the run.
    ///
    /// # Errors
    /// If its terms cannot be read.
    pub fn spec(&self) -> Result<RobotSpec, ParseKindError> {
        Ok(RobotSpec {
            task: self.task.clone(),
            obs_terms: self.obs_terms.parse()?,
            action_terms: self.action_terms.parse()?,
            dt_s: self.dt_s,
            damping_action: self.damping_action.clone(),
            stop_action: self.stop_action.clone(),
            max_action_step: self.max_action_step.clone(),
        })
    }

    /// Widths of a record of this robot.
    pub(super) fn widths(&self, spec: &RobotSpec) -> Widths {
        let latent = self.latent_dim as usize;
        Widths { obs: spec.obs_dim(), action: spec.action_dim(), latent }
    }

    /// The controller's settings in the run.
    pub fn config(&self) -> Config {
        Config {
            rate_hz: self.rate_hz,
            codes: self.codes.clone(),
            code: self.code,
            on_miss: if self.hold_on_miss { OnMiss::Hold } else { OnMiss::Skip },
            damp_after_misses: self.damp_after_misses,
            stale_limit: self.stale_limit,
            frozen_limit: self.frozen_limit,
            limit_range: self.limit_range,
            limit_rate: match self.limit_rate {
                WireRateLimit::Robot => RateLimit::Robot,
                WireRateLimit::Share(share) => RateLimit::Share(share),
                WireRateLimit::Off => RateLimit::Off,
            },
        }
    }
}
