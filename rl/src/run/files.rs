//! Files that are replaced atomically, checkpoint names, and the lock of a run directory.

use std::{
    fs::{self, File, OpenOptions, TryLockError},
    io::{BufReader, Read as _},
    path::{Path, PathBuf},
};

use sog_runtime::os::files;

use super::{
    RunError,
    metrics::{EVENTS_FILE, METRICS_FILE},
    snapshot,
};

/// Replaces a file so that every reader, also after a crash, finds either the old or the new content
/// ([`files::write_atomic`]).
///
/// # Errors
/// [`RunError::Io`] naming the file; what was there before is untouched.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<(), RunError> {
    files::write_atomic(path, bytes).map_err(RunError::io("write", path))
}

/// Files that runs write beside their checkpoints.
const WRITTEN: [&str; 5] = [
    "config.toml",
    "policy.safetensors",
    "best.safetensors",
    "codes.safetensors",
    "model.safetensors",
];

/// A file in a directory without a run that a run there would write over.
pub(super) fn in_the_way(dir: &Path) -> Option<PathBuf> {
    let held = |path: &PathBuf| fs::metadata(path).is_ok_and(|found| found.len() > 0);
    // A kill before the configuration is written leaves empty metrics.
    let metrics = [METRICS_FILE, EVENTS_FILE].into_iter();
    let mut files = WRITTEN.into_iter().chain(metrics).map(|name| dir.join(name));
    files.find(held).or_else(|| checkpoints(&dir.join("checkpoints")).ok()?.pop())
}

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
pub(super) fn step_of(path: &Path) -> Option<u64> {
    let step = path.file_stem()?.to_str()?.parse().ok()?;
    (path.file_name()?.to_str()? == checkpoint_name(step)).then_some(step)
}

/// Checkpoint files, oldest first.
pub(super) fn checkpoints(dir: &Path) -> Result<Vec<PathBuf>, RunError> {
    let mut paths = list(dir)?;
    paths.retain(|p| step_of(p).is_some() && p.is_file());
    paths.sort_by_key(|p| step_of(p));
    Ok(paths)
}

/// Removes all checkpoints but the newest, and the one after `best` steps.
pub(super) fn keep_newest(dir: &Path, kept: usize, best: Option<u64>) -> Result<(), RunError> {
    let mut checkpoints = checkpoints(dir)?;
    checkpoints.retain(|path| is_checkpoint(path));
    let surplus = checkpoints.len().saturating_sub(kept);
    for old in checkpoints[..surplus].iter().filter(|p| best.is_none() || step_of(p) != best) {
        fs::remove_file(old).map_err(RunError::io("remove", old))?;
    }
    Ok(())
}

/// Whether a file says that it is a checkpoint; only its header is read.
pub(super) fn is_checkpoint(path: &Path) -> bool {
    let header = || -> std::io::Result<serde_json::Value> {
        let mut file = File::open(path)?;
        let len = file.metadata()?.len();
        let mut size = [0; 8];
        file.read_exact(&mut size)?;
        let size = u64::from_le_bytes(size).min(len);
        Ok(serde_json::from_reader(BufReader::new(file.take(size)))?)
    };
    header().is_ok_and(|header| header["__metadata__"]["schema"] == snapshot::SCHEMA)
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
