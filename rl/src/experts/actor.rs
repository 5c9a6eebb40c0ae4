//! An expert as an actor: chooses the network of the mode, or conditions it on the goal.

use std::{path::Path, sync::Arc};

use sog_runtime::policy::{LatentKind, Policy, Workspace};
use sog_sim::rollout::{Actor, ActorWorker};

use super::file::{ExpertFile, ExpertFileError, ExpertProvenance};

/// A trained expert. As an [`Actor`] its code is the mode as a one-hot vector (one network a mode)
/// or the goal scaled to [−1, 1] (one network for all goals).
#[derive(Clone, Debug)]
pub struct Expert {
    task: String,
    networks: Arc<[Policy]>,
    latent: LatentKind,
    provenance: ExpertProvenance,
}

impl Expert {
    /// An expert of verified networks.
    pub fn new(file: &ExpertFile) -> Self {
        let latent = match file.networks[0].latent {
            LatentKind::None => LatentKind::OneHot(file.networks.len()),
            conditioned => conditioned,
        };
        Self {
            task: file.task.clone(),
            networks: file.networks.iter().map(Policy::new).collect(),
            latent,
            provenance: file.provenance.clone(),
        }
    }

    /// Reads and verifies an expert file.
    ///
    /// # Errors
    /// [`ExpertFileError`].
    pub fn read(path: &Path) -> Result<Self, ExpertFileError> {
        Ok(Self::new(&ExpertFile::read(path)?))
    }

    /// Task name.
    pub fn task(&self) -> &str {
        &self.task
    }

    /// What its code is.
    pub fn latent(&self) -> LatentKind {
        self.latent
    }

    /// Where it comes from and how good it is.
    pub fn provenance(&self) -> &ExpertProvenance {
        &self.provenance
    }

    /// An evaluator for one thread.
    pub fn pilot(&self) -> Pilot {
        let workspaces = self.networks.iter().map(|n| n.workspace(1)).collect();
        Pilot { networks: Arc::clone(&self.networks), latent: self.latent, workspaces }
    }

    /// The code of a mode.
    ///
    /// # Panics
    /// If there is no such mode, or the expert takes a goal.
    pub fn mode_code(&self, mode: usize) -> Vec<f32> {
        match self.latent {
            LatentKind::OneHot(k) if mode < k => (0..k).map(|j| f32::from(j == mode)).collect(),
            other => panic!("mode {mode} of an expert that takes {other}"),
        }
    }
}

impl Actor for Expert {
    fn obs_dim(&self) -> usize {
        self.networks[0].obs_dim()
    }

    fn latent_dim(&self) -> usize {
        self.latent.width()
    }

    fn action_dim(&self) -> usize {
        self.networks[0].action_dim()
    }

    fn worker(&self, _max_batch: usize) -> Box<dyn ActorWorker + '_> {
        Box::new(self.pilot())
    }
}

/// One thread's expert.
#[derive(Clone, Debug)]
pub struct Pilot {
    networks: Arc<[Policy]>,
    latent: LatentKind,
    workspaces: Vec<Workspace>,
}

impl Pilot {
    /// The mean action `[A]` of network `network` for a raw observation `[S]`; `code` is read by a
    /// network that takes the goal (see [`goal_code`](sog_sim::expert::goal_code)).
    ///
    /// # Panics
    /// If there is no such network, or the widths are not its own.
    pub fn act(&mut self, network: usize, obs: &[f32], code: &[f32], action: &mut [f32]) {
        self.networks[network].mean_actions(&mut self.workspaces[network], obs, code, action);
    }
}

impl ActorWorker for Pilot {
    fn mean_actions(&mut self, obs: &[f32], latent: &[f32], actions: &mut [f32]) {
        let (s, a) = (self.networks[0].obs_dim(), self.networks[0].action_dim());
        let z = self.latent.width();
        let rows = obs.chunks_exact(s).zip(latent.chunks_exact(z)).zip(actions.chunks_exact_mut(a));
        for ((obs, code), action) in rows {
            // A conditioned network takes the code; one a mode is chosen by it.
            let (k, input) = match self.latent {
                LatentKind::OneHot(_) => (code.iter().position(|&c| c > 0.5).unwrap_or(0), &[][..]),
                _ => (0, code),
            };
            self.act(k, obs, input, action);
        }
    }
}
