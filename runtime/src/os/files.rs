//! Files that are written whole or not at all, and never over something that matters.
//!
//! * [`Outputs`]: refuses an output that is an input, another output, a file that another program
//!   is writing, or (without force) a file that is there; through symbolic and hard links;
//! * [`Output`]: a place that was found good, with the ways to write there;
//! * [`Unfinished`]: a file that is written bit by bit and appears when it is finished;
//! * [`write_atomic`], [`write_atomic_with`]: temporary file beside, fsync, rename, fsync of the
//!   folder.
//!
//! ```
//! use sog_runtime::os::files::Outputs;
//! # let dir = tempfile::tempdir().expect("a folder");
//! # let (policy, log) = (dir.path().join("policy"), dir.path().join("log"));
//! # std::fs::write(&policy, "weights").expect("space");
//! let mut outputs = Outputs::new(false).reads(&policy);
//! assert!(outputs.claim(&policy).is_err());                     // the input
//! let log = outputs.claim(&log).expect("a new file");
//! assert!(outputs.claim(log.path()).is_err());                  // another output
//! log.write(b"ticks").expect("space");
//! assert!(Outputs::new(false).claim(log.path()).is_err());      // it is there, and no force
//! ```

use std::{
    collections::{HashMap, HashSet},
    ffi::OsString,
    fs::{self, File, OpenOptions, TryLockError},
    io::{self, BufWriter, Write},
    os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags, CWD, RenameFlags, accessat, renameat_with};

use super::random_u64;

/// Symbolic links that are followed to a file that is not there yet, as the kernel does.
const MOST_LINKS: usize = 40;

/// Why a place must not be written to.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OutputError {
    /// The file is read by the same command.
    #[error("output {} is the input {}: writing would destroy it; choose another name", path.display(), input.display())]
    IsInput {
        /// The output.
        path: PathBuf,
        /// The input that it is.
        input: PathBuf,
    },
    /// The file is written by the same command.
    #[error("outputs {} and {} are one file: choose different names", path.display(), other.display())]
    IsOutput {
        /// The output.
        path: PathBuf,
        /// The other output.
        other: PathBuf,
    },
    /// There is a file, and no leave to replace it.
    #[error("output {} exists: choose another name, or replace it with --force", path.display())]
    Exists {
        /// The output.
        path: PathBuf,
    },
    /// There is a folder.
    #[error("output {} is a folder: give the name of a file", path.display())]
    IsFolder {
        /// The output.
        path: PathBuf,
    },
    /// There is what no file can be written to.
    #[error(
        "output {} is a {kind}: nobody may be at its other end; give the name of a file (or \
         /dev/stdout and a pipe of the shell's)",
        path.display()
    )]
    NoFile {
        /// The output.
        path: PathBuf,
        /// What it is.
        kind: &'static str,
    },
    /// Another program has begun the file and goes on writing it.
    #[error("output {} is being written by another program: end that first, or choose another name", path.display())]
    InUse {
        /// The output.
        path: PathBuf,
    },
    /// The place cannot be looked at or written to.
    #[error("cannot write output {}: {source}", path.display())]
    Io {
        /// The output.
        path: PathBuf,
        /// What the system says.
        source: io::Error,
    },
}

/// What makes two names the same file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
enum Identity {
    /// A file that is there: device and inode.
    There(u64, u64),
    /// One that is not: device and inode of its folder, and its name.
    ToCome(u64, u64, OsString),
}

/// The files that one command reads and writes.
#[derive(Clone, Debug, Default)]
pub struct Outputs {
    force: bool,
    inputs: HashMap<Identity, PathBuf>,
    outputs: HashMap<Identity, PathBuf>,
}

impl Outputs {
    /// Nothing read or written yet; `force` gives leave to replace files that are there.
    pub fn new(force: bool) -> Self {
        Self { force, ..Self::default() }
    }

    /// Adds a file that is read; one that is not there is no concern of this.
    #[must_use]
    pub fn reads(mut self, path: &Path) -> Self {
        if let Ok(found) = fs::metadata(path) {
            self.inputs.insert(there(&found), path.to_path_buf());
        }
        self
    }

    /// Adds files that are read.
    #[must_use]
    pub fn reads_all<P: AsRef<Path>>(self, paths: impl IntoIterator<Item = P>) -> Self {
        paths.into_iter().fold(self, |outputs, path| outputs.reads(path.as_ref()))
    }

    /// Adds a file that is read, or all files of a folder and of the folders in it.
    #[must_use]
    pub fn reads_within(mut self, path: &Path) -> Self {
        let mut open = vec![path.to_path_buf()];
        // Links may go in circles.
        let mut seen = HashSet::new();
        while let Some(path) = open.pop() {
            match fs::read_dir(&path) {
                Ok(entries) => {
                    if fs::metadata(&path).is_ok_and(|found| seen.insert(there(&found))) {
                        open.extend(entries.flatten().map(|entry| entry.path()));
                    }
                }
                Err(_) => self = self.reads(&path),
            }
        }
        self
    }

    /// A place to write to.
    ///
    /// Terminals, the null device and what the shell opened (`/dev/stdout`, `/dev/fd/3`) may always be
    /// written to, unless they are read. A named pipe or socket may not: opening it can wait forever.
    ///
    /// # Errors
    /// [`OutputError`], naming both files where there are two.
    pub fn claim(&mut self, path: &Path) -> Result<Output, OutputError> {
        let io = |source| OutputError::Io { path: path.to_path_buf(), source };
        let place = follow_links(path).map_err(io)?;
        let found = match fs::metadata(&place) {
            Ok(found) => Some(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(io(error)),
        };
        let kind = found.as_ref().map(fs::Metadata::file_type);
        if kind.is_some_and(|kind| kind.is_dir()) {
            return Err(OutputError::IsFolder { path: path.to_path_buf() });
        }
        if let Some(kind) = kind.filter(|_| !is_descriptor(&place)).and_then(no_file) {
            return Err(OutputError::NoFile { path: path.to_path_buf(), kind });
        }
        let identity = match &found {
            Some(found) => there(found),
            None => to_come(&place).map_err(io)?,
        };
        // What goes to the null device is lost anyway.
        let is_null = kind.is_some_and(|kind| kind.is_char_device())
            && found.as_ref().map(MetadataExt::rdev)
                == fs::metadata("/dev/null").ok().as_ref().map(MetadataExt::rdev);
        if !is_null {
            if let Some(input) = self.inputs.get(&identity) {
                let (path, input) = (path.to_path_buf(), input.clone());
                return Err(OutputError::IsInput { path, input });
            }
            if let Some(other) = self.outputs.get(&identity) {
                let (path, other) = (path.to_path_buf(), other.clone());
                return Err(OutputError::IsOutput { path, other });
            }
        }
        if kind.is_some_and(|kind| kind.is_file()) && !self.force && !is_descriptor(&place) {
            return Err(OutputError::Exists { path: path.to_path_buf() });
        }
        // Now rather than after hours of work.
        if kind.is_none_or(|kind| kind.is_file()) && !is_descriptor(&place) {
            let may = Access::WRITE_OK | Access::EXEC_OK;
            accessat(CWD, folder_of(&place), may, AtFlags::EACCESS).map_err(|e| io(e.into()))?;
            if is_locked(&place) {
                return Err(OutputError::InUse { path: path.to_path_buf() });
            }
        }
        self.outputs.insert(identity, path.to_path_buf());
        Ok(Output { path: path.to_path_buf(), place, replaces: self.force })
    }
}

/// A place to write to that was found good.
#[derive(Clone, Debug)]
pub struct Output {
    path: PathBuf,
    /// The same with links followed.
    place: PathBuf,
    replaces: bool,
}

impl Output {
    /// The name as it was given.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Writes the whole file: it is there in full, or not at all.
    ///
    /// # Errors
    /// What the system says; a file that has come to be there meanwhile counts as an error.
    pub fn write(&self, bytes: &[u8]) -> io::Result<()> {
        self.write_with(|file| file.write_all(bytes))
    }

    /// As [`write`](Self::write), by whatever `write` writes.
    ///
    /// # Errors
    /// As [`write`](Self::write), and what `write` returns.
    pub fn write_with(
        &self,
        write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
    ) -> io::Result<()> {
        write_whole(&self.place, self.replaces, write).map(drop)
    }

    /// Begins a file that goes on growing: it appears under its name with `head` in it, and what
    /// is written to the file returned follows. It is locked until it is closed: no other program
    /// takes its name meanwhile.
    ///
    /// # Errors
    /// As [`write`](Self::write).
    pub fn begin(&self, head: &[u8]) -> io::Result<File> {
        write_whole(&self.place, self.replaces, |file| {
            // Where there are no locks there is nobody to heed them.
            let _ = file.get_ref().try_lock();
            file.write_all(head)
        })
    }

    /// Creates a file that is written bit by bit, also by other programs.
    ///
    /// # Errors
    /// What the system says.
    pub fn create(&self) -> io::Result<Unfinished> {
        Unfinished::create(&self.place, self.replaces)
    }
}

/// A file on its way: it stands under its name once it is finished, and goes if it never is.
#[derive(Debug)]
pub struct Unfinished {
    /// Until it is finished.
    file: Option<File>,
    /// The temporary name; none where the place itself is written to, as a pipe is.
    beside: Option<PathBuf>,
    place: PathBuf,
    replaces: bool,
}

impl Unfinished {
    fn create(place: &Path, replaces: bool) -> io::Result<Self> {
        let begun = |file, beside| {
            let file = Some(file);
            Self { file, beside, place: place.to_path_buf(), replaces }
        };
        let before = fs::metadata(place).ok();
        // A pipe or a terminal cannot be renamed onto.
        if before.as_ref().is_some_and(|found| !found.is_file()) || is_descriptor(place) {
            return Ok(begun(OpenOptions::new().write(true).open(place)?, None));
        }
        let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
        let mut beside = OsString::from(".");
        beside.push(name);
        beside.push(format!(".{:016x}.tmp", random_u64()));
        let beside = folder_of(place).join(beside);
        let mode = before.as_ref().map_or(0o666, |found| found.mode() & 0o777);
        let file = OpenOptions::new().write(true).create_new(true).mode(mode).open(&beside)?;
        let begun = begun(file, Some(beside));
        if let (Some(before), Some(file)) = (before, &begun.file) {
            // The mask of the process may have taken some away.
            file.set_permissions(before.permissions())?;
        }
        Ok(begun)
    }

    /// Where another program may write it meanwhile.
    pub fn path(&self) -> &Path {
        self.beside.as_deref().unwrap_or(&self.place)
    }

    /// Gives it its name; the open file, its position behind what was written.
    ///
    /// # Errors
    /// What the system says; a file that has come to be there meanwhile counts as an error, where
    /// none may be replaced, and so does one that another program is writing.
    pub fn finish(mut self) -> io::Result<File> {
        let file = self.file.take().ok_or(io::ErrorKind::InvalidInput)?;
        let Some(beside) = &self.beside else { return Ok(file) };
        file.sync_all()?;
        if is_locked(&self.place) {
            let busy = "it is being written by another program";
            return Err(io::Error::new(io::ErrorKind::ResourceBusy, busy));
        }
        rename(beside, &self.place, self.replaces)?;
        self.beside = None;
        // Some file systems know no fsync of a folder; the file itself is safe.
        let _ = File::open(folder_of(&self.place)).and_then(|folder| folder.sync_all());
        Ok(file)
    }
}

impl Write for Unfinished {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.file.as_mut().ok_or(io::ErrorKind::InvalidInput)?.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if let Some(beside) = &self.beside {
            // If it cannot be removed there is nothing better to do with it.
            let _ = fs::remove_file(beside);
        }
    }
}

/// Writes a file whole or not at all, replacing what is there: a temporary file beside it, fsync,
/// rename, fsync of the folder. Links are followed, permissions stay.
///
/// # Errors
/// What the system says; what was there before is then as it was.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> io::Result<()> {
    write_atomic_with(path, |file| file.write_all(bytes))
}

/// As [`write_atomic`], by whatever `write` writes.
///
/// # Errors
/// As [`write_atomic`], and what `write` returns.
pub fn write_atomic_with(
    path: &Path,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<()> {
    write_whole(&follow_links(path)?, true, write).map(drop)
}

/// Writes beside and renames; the open file, its position behind what was written.
fn write_whole(
    place: &Path,
    replaces: bool,
    write: impl FnOnce(&mut BufWriter<File>) -> io::Result<()>,
) -> io::Result<File> {
    let mut whole = Unfinished::create(place, replaces)?;
    let file = whole.file.take().ok_or(io::ErrorKind::InvalidInput)?;
    let mut file = BufWriter::with_capacity(64 * 1024, file);
    write(&mut file)?;
    whole.file = Some(file.into_inner().map_err(io::IntoInnerError::into_error)?);
    whole.finish()
}

/// Whether another program holds the lock of a file that grows.
fn is_locked(place: &Path) -> bool {
    if !fs::metadata(place).is_ok_and(|found| found.is_file()) {
        return false;
    }
    let Ok(file) = File::open(place) else { return false };
    matches!(file.try_lock_shared(), Err(TryLockError::WouldBlock))
}

fn rename(from: &Path, to: &Path, replaces: bool) -> io::Result<()> {
    if replaces {
        return fs::rename(from, to);
    }
    match renameat_with(CWD, from, CWD, to, RenameFlags::NOREPLACE) {
        // A file system that knows no such rename.
        Err(rustix::io::Errno::INVAL | rustix::io::Errno::NOSYS) if !to.exists() => {
            fs::rename(from, to)
        }
        renamed => Ok(renamed?),
    }
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// Whether a name is one of an open descriptor, as `/dev/stdout` is: written to as it is.
fn is_descriptor(path: &Path) -> bool {
    ["/dev/fd", "/dev/stdout", "/dev/stderr", "/proc"].iter().any(|name| path.starts_with(name))
}

/// Where a name leads, whether there is a file or not.
fn follow_links(path: &Path) -> io::Result<PathBuf> {
    let mut place = path.to_path_buf();
    if is_descriptor(path) {
        return Ok(place);
    }
    for _ in 0..MOST_LINKS {
        match fs::read_link(&place) {
            Ok(target) => place = folder_of(&place).join(target),
            // No link, or nothing there.
            Err(_) => return Ok(place),
        }
    }
    Err(io::Error::other("too many symbolic links"))
}

/// What cannot be written as a file is.
fn no_file(kind: fs::FileType) -> Option<&'static str> {
    let kinds = [
        (kind.is_fifo(), "named pipe"),
        (kind.is_socket(), "socket"),
        (kind.is_block_device(), "disk"),
    ];
    kinds.into_iter().find(|(is, _)| *is).map(|(_, name)| name)
}

fn there(found: &fs::Metadata) -> Identity {
    Identity::There(found.dev(), found.ino())
}

fn to_come(place: &Path) -> io::Result<Identity> {
    let folder = fs::metadata(folder_of(place))?;
    let name = place.file_name().ok_or(io::ErrorKind::InvalidInput)?;
    Ok(Identity::ToCome(folder.dev(), folder.ino(), name.to_os_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::fs::{Mode, mkfifoat};
    use std::os::unix::fs::{PermissionsExt, symlink};

    struct Folder(tempfile::TempDir);

    impl Folder {
        fn new() -> Self {
            Self(tempfile::tempdir().unwrap())
        }

        fn path(&self, name: &str) -> PathBuf {
            self.0.path().join(name)
        }

        fn file(&self, name: &str) -> PathBuf {
            fs::write(self.path(name), name).unwrap();
            self.path(name)
        }

        fn names(&self) -> Vec<String> {
            let entries = fs::read_dir(self.0.path()).unwrap();
            let name = |e: io::Result<fs::DirEntry>| e.unwrap().file_name().into_string().unwrap();
            let mut names: Vec<_> = entries.map(name).collect();
            names.sort();
            names
        }
    }

    #[test]
    fn an_input_is_never_an_output_by_whatever_name() {
        let dir = Folder::new();
        let input = dir.file("policy");
        symlink(&input, dir.path("soft")).unwrap();
        fs::hard_link(&input, dir.path("hard")).unwrap();
        symlink("soft", dir.path("softer")).unwrap();
        fs::create_dir(dir.path("sub")).unwrap();
        for force in [false, true] {
            for name in ["policy", "soft", "hard", "softer", "sub/../policy", "./policy"] {
                let error = Outputs::new(force).reads(&input).claim(&dir.path(name)).unwrap_err();
                assert!(matches!(error, OutputError::IsInput { .. }), "{name}: {error}");
                // The same with the input under the other name.
                let reads = Outputs::new(force).reads(&dir.path(name)).claim(&input);
                assert!(matches!(reads, Err(OutputError::IsInput { .. })), "{name}");
            }
        }
        assert!(Outputs::new(false).reads(&dir.path("nothing")).claim(&dir.path("new")).is_ok());
    }

    #[test]
    fn two_outputs_are_two_files_also_before_they_are_there() {
        let dir = Folder::new();
        symlink("new", dir.path("to-come")).unwrap();
        for name in ["new", "./new", "to-come"] {
            let mut outputs = Outputs::new(true);
            outputs.claim(&dir.path("new")).unwrap();
            let error = outputs.claim(&dir.path(name)).unwrap_err();
            assert!(matches!(error, OutputError::IsOutput { .. }), "{name}: {error}");
        }
        let mut outputs = Outputs::new(false);
        assert!(outputs.claim(&dir.path("a")).is_ok() && outputs.claim(&dir.path("b")).is_ok());
        let null = Path::new("/dev/null");
        assert!(outputs.claim(null).is_ok() && outputs.claim(null).is_ok());
    }

    #[test]
    fn a_file_that_is_there_needs_force() {
        let dir = Folder::new();
        let path = dir.file("old");
        let error = Outputs::new(false).claim(&path).unwrap_err().to_string();
        assert!(error.contains("old") && error.contains("--force"), "{error}");
        Outputs::new(true).claim(&path).unwrap().write(b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        let folder = Outputs::new(true).claim(dir.0.path()).unwrap_err();
        assert!(matches!(folder, OutputError::IsFolder { .. }));
        // Opening it for writing would wait for a reader.
        let pipe = dir.path("pipe");
        mkfifoat(CWD, &pipe, Mode::RUSR | Mode::WUSR).unwrap();
        let error = Outputs::new(true).claim(&pipe).unwrap_err().to_string();
        assert!(error.contains("named pipe") && error.contains("name of a file"), "{error}");
        let _socket = std::os::unix::net::UnixListener::bind(dir.path("socket")).unwrap();
        let error = Outputs::new(true).claim(&dir.path("socket")).unwrap_err();
        assert!(matches!(error, OutputError::NoFile { kind: "socket", .. }), "{error}");
        fs::remove_file(pipe).unwrap();
        fs::remove_file(dir.path("socket")).unwrap();
        let nowhere = Outputs::new(true).claim(&dir.path("no/such/file")).unwrap_err();
        assert!(matches!(nowhere, OutputError::Io { .. }));

        // One that comes to be there after it was looked for stays as well.
        let output = Outputs::new(false).claim(&dir.path("late")).unwrap();
        dir.file("late");
        assert_eq!(output.write(b"x").unwrap_err().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(output.begin(b"x").err().unwrap().kind(), io::ErrorKind::AlreadyExists);
        assert_eq!(fs::read(output.path()).unwrap(), b"late");
        assert_eq!(dir.names(), ["late", "old"]);
    }

    #[test]
    fn a_file_is_written_whole_or_stays_as_it_was() {
        let dir = Folder::new();
        let path = dir.file("kept");
        let full = write_atomic_with(&path, |file| {
            file.write_all(b"half")?;
            Err(io::Error::other("no space left"))
        });
        assert!(full.is_err());
        assert_eq!(fs::read(&path).unwrap(), b"kept");
        assert_eq!(dir.names(), ["kept"], "nothing is left lying about");

        fs::set_permissions(&path, fs::Permissions::from_mode(0o606)).unwrap();
        symlink("kept", dir.path("link")).unwrap();
        write_atomic(&dir.path("link"), b"new").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert!(dir.path("link").is_symlink(), "the link stays, its file is replaced");
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, 0o606);
        write_atomic(Path::new("/dev/null"), b"gone").unwrap();
        // Where a shell sends the output is its own affair.
        assert!(Outputs::new(false).claim(Path::new("/dev/stdout")).is_ok());
        assert!(!fs::metadata("/dev/null").unwrap().is_file());
    }

    #[test]
    fn a_growing_file_appears_with_its_head() {
        let dir = Folder::new();
        let output = Outputs::new(false).claim(&dir.path("log")).unwrap();
        let mut file = output.begin(b"head").unwrap();
        assert_eq!(fs::read(output.path()).unwrap(), b"head");
        file.write_all(b" and body").unwrap();
        assert_eq!(fs::read(output.path()).unwrap(), b"head and body");
    }

    #[test]
    fn files_of_a_folder_that_is_read_are_inputs_too() {
        let dir = Folder::new();
        fs::create_dir_all(dir.path("in/deep")).unwrap();
        let inner = dir.file("in/deep/data");
        fs::hard_link(&inner, dir.path("hard")).unwrap();
        symlink("..", dir.path("in/deep/up")).unwrap();
        let mut outputs = Outputs::new(true).reads_within(&dir.path("in"));
        for name in ["in/deep/data", "hard"] {
            let error = outputs.claim(&dir.path(name)).unwrap_err();
            assert!(matches!(error, OutputError::IsInput { .. }), "{name}: {error}");
        }
        assert!(outputs.claim(&dir.path("in/new")).is_ok());
        let error = Outputs::new(true).reads_within(&inner).claim(&inner).unwrap_err();
        assert!(matches!(error, OutputError::IsInput { .. }), "{error}");
    }

    #[test]
    fn a_file_that_still_grows_is_nobody_elses() {
        let dir = Folder::new();
        let late = Outputs::new(true).claim(&dir.path("log")).unwrap();
        let file = Outputs::new(true).claim(&dir.path("log")).unwrap().begin(b"head").unwrap();
        let error = Outputs::new(true).claim(&dir.path("log")).unwrap_err();
        assert!(matches!(error, OutputError::InUse { .. }), "{error}");
        assert_eq!(late.write(b"x").unwrap_err().kind(), io::ErrorKind::ResourceBusy);
        assert_eq!(fs::read(dir.path("log")).unwrap(), b"head");
        drop(file);
        late.write(b"x").unwrap();
        assert_eq!(dir.names(), ["log"]);
    }

    #[test]
    fn an_unfinished_file_appears_when_it_is_finished_or_never() {
        let dir = Folder::new();
        let output = Outputs::new(true).claim(&dir.file("kept")).unwrap();
        let mut unfinished = output.create().unwrap();
        unfinished.write_all(b"half").unwrap();
        assert_eq!(fs::read(unfinished.path()).unwrap(), b"half");
        drop(unfinished);
        assert_eq!(fs::read(output.path()).unwrap(), b"kept");
        let unfinished = output.create().unwrap();
        // Another program's doing.
        fs::write(unfinished.path(), b"new").unwrap();
        unfinished.finish().unwrap();
        assert_eq!(fs::read(output.path()).unwrap(), b"new");
        assert_eq!(dir.names(), ["kept"]);
    }
}
