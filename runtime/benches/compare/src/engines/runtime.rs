//! The runtime of this repository.

use anyhow::Result;
use sog_runtime::policy::{Policy, PolicyFile, Workspace};

use super::Engine;

pub(super) struct Runtime {
    policy: Policy,
    workspace: Workspace,
}

impl Runtime {
    pub(super) fn new(file: &PolicyFile) -> Self {
        let policy = Policy::new(file);
        Self { workspace: policy.workspace(1), policy }
    }
}

impl Engine for Runtime {
    fn name(&self) -> String {
        "sog-runtime".to_string()
    }

    fn infer(&mut self, obs: &[f32], code: &[f32], action: &mut [f32]) -> Result<()> {
        self.policy.mean_actions(&mut self.workspace, obs, code, action);
        Ok(())
    }
}
