//! A task opened from its folder.

use std::{
    borrow::Cow,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    definition::{Definition, Engine, FILE, hint},
    error::SimError,
    folder::{Folder, FolderError},
    task::{GoalSpace, Mode, Modes, TaskInfo},
};

/// A task: what its file says, and what lies beside the file.
///
/// ```
/// # fn main() -> Result<(), sog_sim::error::SimError> {
/// let task = sog_sim::tasks::open("hopper-vel-6")?;        // or a path to a folder of one's own
/// assert_eq!(task.info().obs_dim(), 11);                   // known without a simulator
/// assert_eq!(task.simulator().to_string(), "mujoco");
/// let tuned = task.read("sog-bc.toml")?;                   // a file beside `task.toml`, if there is one
/// assert!(task.read("no-such-file.toml")?.is_none());
/// # let _ = tuned;
/// # Ok(())
/// # }
/// ```
#[derive(Clone, Debug, PartialEq)]
pub struct TaskFolder {
    folder: Folder,
    definition: Definition,
    info: TaskInfo,
}

/// Who simulates a task.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Simulator {
    /// MuJoCo, in this process.
    Mujoco,
    /// A simulation written in Rust, in this process.
    Rust,
    /// Another program, by the link's lock-step protocol.
    External,
    /// Nobody: there are no rollouts.
    None,
}

impl fmt::Display for Simulator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Mujoco => "mujoco",
            Self::Rust => "rust",
            Self::External => "external",
            Self::None => "none",
        })
    }
}

/// Names of the tasks that are built in, in alphabetical order.
pub fn names() -> Vec<&'static str> {
    let mut names: Vec<&str> = Folder::built_in().collect();
    names.sort_unstable();
    names
}

/// Opens a task by its name, if it is built in, or by a path to its folder (or to the `task.toml`
/// in it). A built-in name comes first; write `./NAME` for a folder of that name.
///
/// # Errors
/// [`SimError::UnknownTask`] if there is neither, [`SimError::Folder`] if the file cannot be read,
/// [`SimError::Definition`] if it is faulty; as [`TaskMaker`](super::TaskMaker) where the model has
/// to say how wide a term is.
pub fn open(name_or_path: impl AsRef<OsStr>) -> Result<Arc<TaskFolder>, SimError> {
    let name_or_path = name_or_path.as_ref();
    let folder = match Folder::built_in().find(|name| name_or_path == *name) {
        Some(name) => Folder::BuiltIn(name.to_string()),
        None => on_disk(name_or_path)?,
    };
    let text = folder.read(FILE)?.ok_or_else(|| {
        SimError::Folder(FolderError {
            path: folder.path(FILE),
            reason: "no such file".to_string(),
        })
    })?;
    let file = folder.path(FILE).display().to_string();
    let definition = Definition::parse(&file, &text)?;
    let info = info(&folder, &definition)?;
    Ok(Arc::new(TaskFolder { folder, definition, info }))
}

/// The folder of a path.
fn on_disk(path: &OsStr) -> Result<Folder, SimError> {
    let given = Path::new(path);
    match std::fs::metadata(given) {
        Ok(meta) if meta.is_dir() => Ok(Folder::Disk(given.to_path_buf())),
        Ok(_) if given.file_name().is_some_and(|name| name == FILE) => {
            let parent = given.parent().filter(|p| !p.as_os_str().is_empty());
            Ok(Folder::Disk(parent.unwrap_or(Path::new(".")).to_path_buf()))
        }
        Ok(_) => {
            let reason = format!("it is neither a folder nor a {FILE}");
            Err(SimError::Folder(FolderError { path: given.to_path_buf(), reason }))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            let found = given.display().to_string();
            let hint = hint(&found, names());
            Err(SimError::UnknownTask { found, hint })
        }
        Err(e) => {
            let reason = e.to_string();
            Err(SimError::Folder(FolderError { path: given.to_path_buf(), reason }))
        }
    }
}

/// What is known before anything is built; the model is asked only for widths that nothing else
/// says.
fn info(folder: &Folder, definition: &Definition) -> Result<TaskInfo, SimError> {
    let obs_terms = match definition.obs_terms() {
        Some(terms) => terms,
        None => super::model_terms(folder, definition)?,
    };
    Ok(TaskInfo {
        name: definition.name.clone(),
        obs_terms,
        action_terms: definition.action_terms(),
        action_low: definition.action_low(),
        action_high: definition.action_high(),
        dt_s: definition.dt_s,
        horizon: definition.horizon,
        modes: modes(definition),
    })
}

fn modes(definition: &Definition) -> Modes {
    match &definition.goal {
        Some(goal) => Modes::Continuous(GoalSpace {
            what: goal.what.clone(),
            low: goal.low.clone(),
            high: goal.high.clone(),
            default: goal.default.clone(),
        }),
        None => {
            let mode = |m: &crate::definition::ModeDefinition| Mode {
                label: m.name.clone(),
                value: m.value,
            };
            Modes::Discrete(definition.modes.iter().map(mode).collect())
        }
    }
}

impl TaskFolder {
    /// What is known about the task.
    pub fn info(&self) -> &TaskInfo {
        &self.info
    }

    /// What its file says.
    pub fn definition(&self) -> &Definition {
        &self.definition
    }

    /// Where it lies.
    pub fn folder(&self) -> &Folder {
        &self.folder
    }

    /// What it is made of on disk, files and folders: nothing of it may be written over.
    pub fn made_of(&self) -> Vec<PathBuf> {
        let Some(folder) = self.folder.on_disk() else { return Vec::new() };
        let model = match self.definition.sim.as_ref().map(|sim| &sim.engine) {
            Some(Engine::Mujoco { model, .. }) => Some(folder.join(&model.name)),
            _ => None,
        };
        [folder.to_path_buf()].into_iter().chain(model).collect()
    }

    /// Text of a file beside `task.toml`; `None` if there is no such file.
    ///
    /// # Errors
    /// [`SimError::Folder`] if it is there and cannot be read.
    pub fn read(&self, file: &str) -> Result<Option<Cow<'static, str>>, SimError> {
        Ok(self.folder.read(file)?)
    }

    /// Who simulates it.
    pub fn simulator(&self) -> Simulator {
        match self.definition.sim.as_ref().map(|sim| &sim.engine) {
            Some(Engine::Mujoco { .. }) => Simulator::Mujoco,
            Some(Engine::Rust(_)) => Simulator::Rust,
            Some(Engine::External(_) | Engine::Command(_)) => Simulator::External,
            None => Simulator::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_built_in_folder_is_good_and_named_as_its_task() {
        assert!(names().len() >= 10);
        for name in names() {
            assert_eq!(open(name).unwrap().info().name, name);
        }
    }

    #[test]
    fn what_cannot_be_opened_says_why() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name).display().to_string();
        std::fs::create_dir(at("empty")).unwrap();
        std::fs::write(at("file.txt"), "").unwrap();
        std::os::unix::fs::symlink("loop", folder.path().join("loop")).unwrap();
        let refusal = |name: &str| open(name).unwrap_err().to_string();
        assert!(refusal("hopper-vel-7").contains("did you mean `hopper-vel-6`?"));
        assert!(refusal(&at("none")).contains("no task and no folder is called"));
        assert!(refusal(&at("empty")).contains("task.toml: no such file"));
        assert!(refusal(&at("file.txt")).contains("neither a folder nor a task.toml"));
        assert!(refusal(&at("loop")).contains("cannot read"), "{}", refusal(&at("loop")));
    }
}
