//! Experts as far as a simulator needs them: the networks of an expert file, and who demonstrates.
//!
//! How experts are trained, and the rest of what their files say, is another crate's.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use sog_runtime::{
    policy::{Policy, PolicyError, PolicyFile, Workspace},
    tensors::{Tensor, TensorError, TensorFile, serialize},
};

use crate::{
    registry::circles,
    task::{GoalSpace, Modes, TaskInfo},
    tasks::TaskFolder,
};

/// Why there is no expert.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ExpertError {
    /// No file comes with the program.
    #[error(
        "there is no expert for `{task}`: models/experts/{task}.safetensors is neither here nor above \
         this program; give its file with --expert, train one with `sog expert train` where the task has an \
         expert.toml, or bring in demonstrations made elsewhere with `sog demos import`"
    )]
    None {
        /// The task.
        task: String,
    },
    /// The file cannot be read.
    #[error("{}: {source}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// It is damaged, or no expert file.
    #[error("{} is refused: {source}", path.display())]
    Networks {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        source: NetworksError,
    },
    /// It is of another task, or has another number of networks than the task has modes.
    #[error("{}: found {found}, need {needed}", path.display())]
    Task {
        /// The file.
        path: PathBuf,
        /// What it is of.
        found: String,
        /// What is needed.
        needed: String,
    },
    /// No scripted expert has this name.
    #[error("no scripted expert is called `{found}`; there is `circles`")]
    Scripted {
        /// The name.
        found: String,
    },
}

/// What is wrong with the networks of an expert file.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum NetworksError {
    /// It is no readable set of tensors.
    #[error(transparent)]
    Tensors(#[from] TensorError),
    /// One of the networks is not a good policy.
    #[error("network {network}: {source}")]
    Network {
        /// Which, from 0.
        network: usize,
        /// What is wrong.
        source: PolicyError,
    },
}

/// The networks of an expert file: network k is a whole policy file whose tensors and metadata carry
/// the prefix `mode.{k}.`.
///
/// # Errors
/// [`NetworksError`].
pub fn networks(file: &TensorFile<'_>) -> Result<Vec<PolicyFile>, NetworksError> {
    let mut networks = Vec::new();
    while file.metadata().contains_key(&format!("mode.{}.schema", networks.len())) {
        let network = networks.len();
        let parsed = PolicyFile::parse(&part(file, &format!("mode.{network}."))?);
        networks.push(parsed.map_err(|source| NetworksError::Network { network, source })?);
    }
    Ok(networks)
}

/// The policy file under a prefix, with a checksum of its own.
fn part(file: &TensorFile<'_>, prefix: &str) -> Result<Vec<u8>, TensorError> {
    let mut tensors = BTreeMap::new();
    for name in file.names() {
        if let Some(own) = name.strip_prefix(prefix) {
            tensors.insert(own.to_string(), Tensor::f32(&file.shape(name)?, &file.f32(name)?));
        }
    }
    let own = |(k, v): (&String, &String)| Some((k.strip_prefix(prefix)?.to_string(), v.clone()));
    Ok(serialize(&tensors, &file.metadata().iter().filter_map(own).collect()))
}

/// The expert file of a task that comes with the program: `models/experts/TASK.safetensors` below the
/// working directory or one above it, else below a directory above the program's own: asked anew at
/// each call, so that a source tree may be moved.
pub fn find(task: &str) -> Option<PathBuf> {
    let file = format!("models/experts/{task}.safetensors");
    let places = [std::env::current_dir(), std::env::current_exe()];
    let mut above =
        places.iter().flatten().flat_map(|place| place.ancestors()).map(|place| place.join(&file));
    above.find(|path| path.is_file())
}

/// The code of a goal: each dimension scaled to [−1, 1] over the task's range of goals.
pub fn goal_code(space: &GoalSpace, goal: &[f64], code: &mut [f32]) {
    for (((c, &g), &low), &high) in code.iter_mut().zip(goal).zip(&space.low).zip(&space.high) {
        *c = ((2.0 * g - low - high) / (high - low)) as f32;
    }
}

/// Someone who knows how to do a task in each of its ways.
pub struct Guide {
    kind: Kind,
    obs: Vec<f32>,
    code: Vec<f32>,
    action: Vec<f32>,
}

enum Kind {
    Circles,
    Networks { policies: Vec<(Policy, Workspace)>, goals: Option<GoalSpace> },
}

impl Guide {
    /// The expert of a task: the one in `file`, or where none is given the scripted one that its
    /// folder names, else the one that comes with the program.
    ///
    /// # Errors
    /// [`ExpertError`].
    pub fn of(task: &TaskFolder, file: Option<&Path>) -> Result<Self, ExpertError> {
        let info = task.info();
        let kind = match (file, &task.definition().demos.scripted) {
            (None, Some(scripted)) if scripted.name == "circles" => Kind::Circles,
            (None, Some(scripted)) => {
                return Err(ExpertError::Scripted { found: scripted.name.clone() });
            }
            (file, _) => {
                let none = || ExpertError::None { task: info.name.clone() };
                let path = file.map(Path::to_path_buf).or_else(|| find(&info.name));
                read(&path.ok_or_else(none)?, info)?
            }
        };
        let (obs, action) = (vec![0.0; info.obs_dim()], vec![0.0; info.action_dim()]);
        Ok(Self { kind, obs, code: vec![], action })
    }

    /// The action `[A]` for an observation `[S]` on the way to a goal; where a task has modes, of
    /// the mode of this number and value.
    pub fn act(&mut self, mode: usize, goal: &[f64], obs: &[f64], action: &mut [f64]) {
        let (policies, goals) = match &mut self.kind {
            Kind::Circles => {
                // The newest position comes last.
                let position = [obs[obs.len() - 2], obs[obs.len() - 1]];
                action.copy_from_slice(&circles::expert_action(goal[0], position));
                return;
            }
            Kind::Networks { policies, goals } => (policies, goals),
        };
        self.obs.iter_mut().zip(obs).for_each(|(to, &from)| *to = from as f32);
        let network = match goals {
            Some(space) => {
                self.code.resize(space.dims(), 0.0);
                goal_code(space, goal, &mut self.code);
                0
            }
            None => mode,
        };
        let (policy, workspace) = &mut policies[network];
        policy.mean_actions(workspace, &self.obs, &self.code, &mut self.action);
        action.iter_mut().zip(&self.action).for_each(|(to, &from)| *to = f64::from(from));
    }
}

fn read(path: &Path, info: &TaskInfo) -> Result<Kind, ExpertError> {
    let path = path.to_path_buf();
    let bytes = match std::fs::read(&path) {
        Ok(bytes) => bytes,
        Err(source) => return Err(ExpertError::Io { path, source }),
    };
    let found = TensorFile::parse(&bytes).map_err(NetworksError::from).and_then(|f| networks(&f));
    let found = match found {
        Ok(found) => found,
        Err(source) => return Err(ExpertError::Networks { path, source }),
    };
    let goals = match &info.modes {
        Modes::Discrete(_) => None,
        Modes::Continuous(space) => Some(space.clone()),
    };
    let needed = info.modes.count().unwrap_or(1);
    let width = goals.as_ref().map_or(0, GoalSpace::dims);
    let fits = |network: &PolicyFile| {
        network.contract.check_fits(&info.contract()).is_ok() && network.latent_dim() == width
    };
    if found.len() != needed || !found.iter().all(fits) {
        let of = found.first().map_or("nothing", |network| &network.contract.task);
        return Err(ExpertError::Task {
            path,
            found: format!("{} networks for `{of}`", found.len()),
            needed: format!("{needed} for `{}`, with its terms", info.name),
        });
    }
    let pack = |network: &PolicyFile| {
        let policy = Policy::new(network);
        let workspace = policy.workspace(1);
        (policy, workspace)
    };
    Ok(Kind::Networks { policies: found.iter().map(pack).collect(), goals })
}
