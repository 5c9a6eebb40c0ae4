//! Everything that a policy file is measured by, whatever its codes and its task.

use serde::Serialize;
use sog_runtime::policy::{LatentKind, Policy, PolicyFile};
use sog_sim::{
    task::{Mode, Modes, TaskInfo},
    tasks::{TaskFolder, TaskMaker},
};

use super::{
    goals::{GoalReport, evaluate_goals},
    held_out::{HeldOut, evaluate_held_out},
    modes::{ModeOptions, ModeReport, evaluate_codes, evaluate_embedded, evaluate_modes},
    switching::{SwitchReport, evaluate_switching},
};
use crate::{data::DemoFile, error::TrainError};

/// What `sog eval --json` prints.
#[derive(Clone, Debug, Serialize)]
pub struct Measures {
    /// Task.
    pub task: String,
    /// Algorithm that made the policy.
    pub algorithm: String,
    /// Discrete modes.
    #[serde(flatten)]
    pub modes: Option<ModeReport>,
    /// Goals.
    #[serde(flatten)]
    pub goals: Option<GoalReport>,
    /// Switching between codes, where asked for.
    #[serde(flatten)]
    pub switching: Option<SwitchReport>,
    /// What demonstrations alone say, where there are some.
    #[serde(flatten)]
    pub held_out: Option<HeldOut>,
}

impl Measures {
    /// What demonstrations alone say.
    ///
    /// # Errors
    /// As [`evaluate_held_out`].
    pub fn of_demonstrations(
        file: &PolicyFile,
        demos: &DemoFile,
        seed: u64,
    ) -> Result<Self, TrainError> {
        Ok(Self {
            task: file.contract.task.clone(),
            algorithm: file.provenance.algorithm.clone(),
            modes: None,
            goals: None,
            switching: None,
            held_out: Some(evaluate_held_out(file, demos, seed)?),
        })
    }

    /// What the representative codes `[n, Z]` of a continuous policy's book do on a task with discrete
    /// modes: each mode is matched with one of them.
    ///
    /// # Errors
    /// As [`evaluate_codes`].
    pub fn of_codes(
        maker: &TaskMaker,
        file: &PolicyFile,
        codes: &[f32],
        known: &[Mode],
        options: &ModeOptions,
        progress: Option<&(dyn Fn(usize) + Sync)>,
    ) -> Result<Self, TrainError> {
        let labels: Vec<String> = known.iter().map(|m| m.label.clone()).collect();
        let codes: Vec<Vec<f32>> =
            codes.chunks_exact(file.latent_dim()).map(<[f32]>::to_vec).collect();
        let policy = Policy::new(file);
        let modes = evaluate_codes(maker, &policy, &codes, &labels, options, progress)?;
        Ok(Self {
            task: file.contract.task.clone(),
            algorithm: file.provenance.algorithm.clone(),
            modes: Some(modes),
            goals: None,
            switching: None,
            held_out: None,
        })
    }

    /// Mean return over the matched rollouts and its standard deviation.
    pub fn task_return(&self) -> Option<(f64, f64)> {
        match (&self.modes, &self.goals) {
            (Some(modes), _) => Some((modes.return_mean, modes.return_std)),
            (None, Some(goals)) => goals.return_mean.zip(goals.return_std),
            (None, None) => None,
        }
    }
}

/// Demonstrations that a measure looks at.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a> {
    /// Trajectories with their labels.
    pub demos: &'a DemoFile,
    /// Their codes `[N, Z]` where an encoder has given them (VAE-GAIL): used on discrete modes, where
    /// they are searched otherwise.
    pub codes: Option<&'a [f32]>,
}

impl<'a> From<&'a DemoFile> for Shown<'a> {
    fn from(demos: &'a DemoFile) -> Self {
        Self { demos, codes: None }
    }
}

/// Rollouts of an evaluation where a task's folder does not say.
const ROLLOUTS: usize = 100;

/// Rollouts of an evaluation that a task's folder says (`[evaluate]`).
pub fn default_rollouts(task: &TaskFolder) -> usize {
    task.definition().evaluate.rollouts.unwrap_or(ROLLOUTS)
}

/// Measures a policy by what fits its codes and its task:
///
/// * discrete modes with one-hot codes or none: [`evaluate_modes`];
/// * goals: [`evaluate_goals`], with demonstrations for returns and hit rate;
/// * discrete modes with Gaussian codes: [`evaluate_embedded`], which needs demonstrations.
///
/// `switch` adds [`evaluate_switching`]. `progress` is told of finished rollouts.
///
/// # Errors
/// [`TrainError::Unmeasurable`] where demonstrations or one-hot codes are missing; as the parts.
pub fn measure(
    maker: &TaskMaker,
    file: &PolicyFile,
    shown: Option<Shown<'_>>,
    options: &ModeOptions,
    switch: bool,
    progress: Option<&(dyn Fn(usize) + Sync)>,
) -> Result<Measures, TrainError> {
    let (task, policy) = (maker.info(), Policy::new(file));
    let (mut modes, mut goals) = (None, None);
    match (mode_labels(task, file.latent), &task.modes, shown) {
        (Some(labels), ..) => {
            modes = Some(evaluate_modes(maker, &policy, file.latent, &labels, options, progress)?);
        }
        (None, Modes::Continuous(space), _) => {
            goals = Some(evaluate_goals(maker, file, space, shown.map(|s| s.demos), options)?);
        }
        // Nobody says what is good: demonstrations alone can tell.
        (None, Modes::Discrete(known), shown) if known.is_empty() && shown.is_some() => {}
        (None, Modes::Discrete(known), Some(Shown { demos, codes })) => {
            let labels: Vec<String> = known.iter().map(|m| m.label.clone()).collect();
            modes = Some(evaluate_embedded(maker, file, &labels, demos, codes, options)?);
        }
        (None, Modes::Discrete(known), None) if known.is_empty() => {
            return Err(TrainError::Unmeasurable {
                found: "no mode of the task to be judged in".to_string(),
                needed: "demonstrations to compare with (give --demos), or a [[mode]] with a reward in its \
                         task.toml",
            });
        }
        (None, Modes::Discrete(_), None) => {
            return Err(TrainError::Unmeasurable {
                found: format!("codes `{}`", file.latent),
                needed: "demonstrations to embed (give --demos), or a book of codes in the file (`sog name \
                         POLICY --demos FILE`)",
            });
        }
    }
    let switching = match file.latent {
        _ if !switch => None,
        LatentKind::OneHot(_) => Some(evaluate_switching(maker, &policy, file.latent, options)?),
        latent => {
            return Err(TrainError::Unmeasurable {
                found: format!("codes `{latent}` to switch between"),
                needed: "a policy with one-hot codes",
            });
        }
    };
    let algorithm = file.provenance.algorithm.clone();
    let held_out = shown.map(|s| evaluate_held_out(file, s.demos, options.seed)).transpose()?;
    Ok(Measures { task: task.name().to_string(), algorithm, modes, goals, switching, held_out })
}

/// The names of a task's modes, where a policy with codes of this kind can be matched with them.
pub fn mode_labels(task: &TaskInfo, latent: LatentKind) -> Option<Vec<String>> {
    match (&task.modes, latent) {
        (Modes::Discrete(modes), _) if modes.is_empty() => None,
        (Modes::Discrete(modes), LatentKind::OneHot(_) | LatentKind::None) => {
            Some(modes.iter().map(|m| m.label.clone()).collect())
        }
        _ => None,
    }
}
