//! The folder of a task: on disk, or built into the program.

use std::{
    borrow::Cow,
    fmt,
    path::{Component, Path, PathBuf},
};

use include_dir::{Dir, include_dir};

/// What is built into the program: folders of tasks.
static TASKS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../models/tasks");
/// What is built into the program: robots.
static ROBOTS: Dir<'_> = include_dir!("$CARGO_MANIFEST_DIR/../models/robots");

/// A folder whose files are read by relative paths.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Folder {
    /// Built into the program, below `tasks`.
    BuiltIn(String),
    /// On disk.
    Disk(PathBuf),
}

/// Why a file of a folder cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("cannot read {}: {reason}", path.display())]
pub struct FolderError {
    /// The file.
    pub path: PathBuf,
    /// What the system said.
    pub reason: String,
}

impl Folder {
    /// Names of the folders that are built in.
    pub(crate) fn built_in() -> impl Iterator<Item = &'static str> {
        TASKS.dirs().filter_map(|dir| dir.path().to_str())
    }

    /// The path of a file as messages name it.
    pub fn path(&self, file: &str) -> PathBuf {
        match self {
            Self::BuiltIn(name) => Path::new(name).join(file),
            Self::Disk(folder) => folder.join(file),
        }
    }

    /// Whether the folder is on disk, and where.
    pub fn on_disk(&self) -> Option<&Path> {
        match self {
            Self::BuiltIn(_) => None,
            Self::Disk(path) => Some(path),
        }
    }

    /// A file's text; `None` if there is no such file.
    ///
    /// # Errors
    /// [`FolderError`] if it is there and cannot be read.
    pub fn read(&self, file: &str) -> Result<Option<Cow<'static, str>>, FolderError> {
        match self {
            Self::BuiltIn(name) => Ok(embedded(&Path::new(name).join(file)).map(Cow::Borrowed)),
            Self::Disk(folder) => {
                let path = folder.join(file);
                match std::fs::read_to_string(&path) {
                    Ok(text) => Ok(Some(Cow::Owned(text))),
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
                    Err(e) => Err(FolderError { path, reason: e.to_string() }),
                }
            }
        }
    }
}

impl fmt::Display for Folder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::BuiltIn(name) => f.write_str(name),
            Self::Disk(path) => path.display().fmt(f),
        }
    }
}

/// A file that is built in; paths start in the folder of tasks, and `../../robots/…` is a robot.
fn embedded(path: &Path) -> Option<&'static str> {
    let mut parts: Vec<&str> = vec!["tasks"];
    for component in path.components() {
        match component {
            Component::ParentDir => drop(parts.pop()?),
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            Component::RootDir | Component::Prefix(_) => return None,
        }
    }
    let (top, rest) = parts.split_first()?;
    let dir = match *top {
        "tasks" => &TASKS,
        "robots" => &ROBOTS,
        _ => return None,
    };
    dir.get_file(rest.join("/"))?.contents_utf8()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn robots_are_found_from_the_folders_of_tasks() {
        let folder = Folder::BuiltIn("anything".to_string());
        assert!(folder.read("../../robots/ant.xml").unwrap().unwrap().contains("<mujoco"));
        for missing in ["nothing.toml", "../../../secret", "/etc/passwd", "../../robots/none.xml"] {
            assert_eq!(folder.read(missing).unwrap(), None, "{missing}");
        }
    }
}
