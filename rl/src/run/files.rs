//! Files that are replaced atomically, checkpoint names, and the lock of a run directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    path::{Path, PathBuf},
};

use sog_runtime::os::files;

use super::RunError;

/// Replaces a file so that every reader, also after a crash, finds either the old or the new content
/// ([`files::write_atomic`]).
///
/// # Errors
/// [`RunError::Io`] naming the file; what was there before is untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    files::write_atomic(path, bytes).map_err(RunError::io("write", path))
}

/// Files that runs write beside their checkpoints.
const WRITTEN: [&str; 4] =
    ["config.toml", "policy.safetensors", "best.safetensors", "codes.safetensors"];

/// The name of the file that a temporary one was to replace: that of `.NAME.0123456789abcdef.tmp`, as
/// [`files::write_atomic`] calls them.
fn replaced_by(temporary: &str) -> Option<&str> {
    let (name, random) = temporary.strip_prefix('.')?.strip_suffix(".tmp")?.rsplit_once('.')?;
    let random = random.len() == 16 && random.bytes().all(|b| b.is_ascii_hexdigit());
    random.then_some(name)
}

/// Removes what an interrupted [`write_atomic`] left behind of a run's own files.
pub(super) fn remove_temporary(dir: &Path) -> Result<(), RunError> {
    for path in list(dir)? {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let Some(name) = replaced_by(name) else { continue };
        if WRITTEN.contains(&name) || step_of(Path::new(name)).is_some() {
            fs::remove_file(&path).map_err(RunError::io("remove", &path))?;
        }
    }
    Ok(())
}

/// Digits of the step in the name of a checkpoint.
const STEP_DIGITS: usize = 12;

/// Name of the checkpoint after `step` steps.
pub(super) fn checkpoint_name(step: u64) -> String {
    format!("{step:0STEP_DIGITS$}.safetensors")
}

/// The step in a name that [`checkpoint_name`] gives; any other file is somebody else's.
fn step_of(path: &Path) -> Option<u64> {
    let step = path.file_stem()?.to_str()?.parse().ok()?;
    (path.file_name()?.to_str()? == checkpoint_name(step)).then_some(step)
}

/// Checkpoint files, oldest first.
pub(super) fn checkpoints(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut paths = list(dir)?;
    paths.retain(|p| step_of(p).is_some());
    paths.sort_by_key(|p| step_of(p));
    Ok(paths)
}

/// Removes all checkpoints but the newest, and the one after `best` steps.
pub(super) fn keep_newest(dir: &Path, kept: usize, best: Option<u64>) -> Result<(), RunError> {
    let checkpoints = checkpoints(dir)?;
    let surplus = checkpoints.len().saturating_sub(kept);
    for old in checkpoints[..surplus].iter().filter(|p| best.is_none() || step_of(p) != best) {
        fs::remove_file(old).map_err(RunError::io("remove", old))?;
    }
    Ok(())
}

fn list(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let entries =
        || fs::read_dir(dir)?.map(|entry| Ok(entry?.path())).collect::<Result<_, std::io::Error>>();
    entries().map_err(RunError::io("list", dir))
}

/// The exclusive lock of a run directory; it ends with the value or the process.
///
/// It is given back by name, not by closing the file: a child process that another thread is
/// starting shares the open file until it runs its own program, and would keep the lock till then.
#[derive(Debug)]
pub(super) struct Lock(File);

impl Lock {
    /// # Errors
    /// [`RunError::Locked`] if another process, or this one, holds it; [`RunError::Io`].
    pub(super) fn take(dir: &Path) -> Result<Self, RunError> {
        let path = dir.join("lock");
        let open = OpenOptions::new().create(true).write(true).truncate(false).open(&path);
        let file = open.map_err(RunError::io("create", &path))?;
        match file.try_lock() {
            Ok(()) => Ok(Self(file)),
            Err(TryLockError::WouldBlock) => Err(RunError::Locked { dir: dir.to_path_buf() }),
            Err(TryLockError::Error(source)) => Err(RunError::Io { action: "lock", path, source }),
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        // Closing the file gives it back too, once no child shares it.
        let _ = self.0.unlock();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A shared descriptor is what a child process has between its fork and its program.
    #[test]
    fn a_lock_ends_though_a_child_shares_its_file() {
        let temp = tempfile::tempdir().unwrap();
        let lock = Lock::take(temp.path()).unwrap();
        let _shared = lock.0.try_clone().unwrap();
        assert!(matches!(Lock::take(temp.path()), Err(RunError::Locked { .. })));
        drop(lock);
        Lock::take(temp.path()).unwrap();
    }
}
