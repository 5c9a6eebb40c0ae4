//! Which format a file has, and reading it.

use std::{
    fmt,
    io::Read,
    path::{Path, PathBuf},
    str::FromStr,
};

use crate::{FormatError, Place, Problem, Recording, csv, mat, minari, names, npz, safetensors};

/// A format of demonstrations.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Farama's Minari, stored as HDF5 or Arrow.
    Minari,
    /// Hugging Face's LeRobot, version 2.1 or 3.0.
    LeRobot,
    /// robomimic's HDF5.
    Robomimic,
    /// D4RL's HDF5.
    D4rl,
    /// The data sets of the package `imitation`.
    Imitation,
    /// HDF5 of any other layout.
    Hdf5,
    /// NumPy's `.npz` and `.npy`.
    Npz,
    /// Tables of text.
    Csv,
    /// Safetensors of any names.
    Safetensors,
    /// MATLAB's `.mat`.
    Mat,
}

impl Format {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Minari,
        Self::LeRobot,
        Self::Robomimic,
        Self::D4rl,
        Self::Imitation,
        Self::Hdf5,
        Self::Npz,
        Self::Csv,
        Self::Safetensors,
        Self::Mat,
    ];

    /// Name on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Self::Minari => "minari",
            Self::LeRobot => "lerobot",
            Self::Robomimic => "robomimic",
            Self::D4rl => "d4rl",
            Self::Imitation => "imitation",
            Self::Hdf5 => "hdf5",
            Self::Npz => "npz",
            Self::Csv => "csv",
            Self::Safetensors => "safetensors",
            Self::Mat => "mat",
        }
    }

    /// All names, for messages.
    pub fn names() -> String {
        Self::ALL.map(Self::name).join(", ")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl FromStr for Format {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|format| format.name() == name);
        found.ok_or_else(|| format!("no format `{name}`, need one of {}", Self::names()))
    }
}

/// How a format is stored, as the first bytes or the folder's content tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Storage {
    MinariHdf5,
    MinariArrow,
    LeRobot,
    ImitationArrow,
    Hdf5,
    Npz,
    Npy,
    Csv,
    Safetensors,
    Mat,
    /// A folder of single files.
    Folder,
}

/// The format of a file or folder, by its content.
///
/// # Errors
/// [`Problem::Io`], [`Problem::Unknown`], or [`Problem::Unreadable`] for a damaged HDF5 file.
pub fn detect(path: &Path) -> Result<Format, FormatError> {
    Ok(match storage(path)? {
        Storage::MinariHdf5 | Storage::MinariArrow => Format::Minari,
        Storage::LeRobot => Format::LeRobot,
        Storage::ImitationArrow => Format::Imitation,
        Storage::Hdf5 => hdf5_layout(path)?,
        Storage::Npz | Storage::Npy => Format::Npz,
        Storage::Csv => Format::Csv,
        Storage::Safetensors => Format::Safetensors,
        Storage::Mat => Format::Mat,
        Storage::Folder => match files_of(path)?.first() {
            Some(file) => detect(file)?,
            None => return Err(unknown(path, "an empty folder")),
        },
    })
}

/// Reads a file or folder; without a `format`, of the one that [`detect`] finds.
///
/// # Errors
/// [`FormatError`] naming file, episode and column.
pub fn read(path: &Path, format: Option<Format>) -> Result<Recording, FormatError> {
    let storage = storage(path)?;
    if storage == Storage::Folder {
        return read_folder(path, format);
    }
    let format = match format {
        Some(format) => format,
        None => detect(path)?,
    };
    let other = || {
        let found = match detect(path) {
            Ok(found) => format!("a file of the format {found}, read as {format}"),
            Err(_) => "another file".to_string(),
        };
        Place::file(path).unreadable(found)
    };
    match (format, storage) {
        (Format::Minari, Storage::MinariArrow) => minari_arrow(path),
        (Format::Minari | Format::Robomimic | Format::D4rl | Format::Hdf5, storage) => {
            let file = match storage {
                Storage::MinariHdf5 => minari_file(path).ok_or_else(other)?,
                Storage::Hdf5 => path.to_path_buf(),
                _ => return Err(other()),
            };
            read_hdf5(&file, format)
        }
        (Format::LeRobot, Storage::LeRobot) => lerobot(path),
        (Format::Imitation, Storage::ImitationArrow) => imitation(path),
        // Older versions of `imitation` saved these.
        (Format::Npz | Format::Imitation, Storage::Npz) => npz::read_npz(path),
        (Format::Npz, Storage::Npy) => npz::read_npy(path),
        (Format::Csv, Storage::Csv) => csv::read(path),
        (Format::Safetensors, Storage::Safetensors) => safetensors::read(path),
        (Format::Mat, Storage::Mat) => mat::read(path),
        (Format::Mat, Storage::Hdf5) => read_hdf5(path, Format::Hdf5),
        _ => Err(other()),
    }
}

fn unknown(path: &Path, found: &str) -> FormatError {
    Place::file(path).error(Problem::Unknown { found: found.to_string() })
}

fn storage(path: &Path) -> Result<Storage, FormatError> {
    if path.is_dir() {
        return folder(path);
    }
    let place = Place::file(path);
    let mut file = std::fs::File::open(path).map_err(|e| place.error(e.into()))?;
    let length = file.metadata().map_err(|e| place.error(e.into()))?.len();
    let mut head = Vec::with_capacity(1024);
    (&mut file).take(1024).read_to_end(&mut head).map_err(|e| place.error(e.into()))?;
    let hdf5 = b"\x89HDF\r\n\x1a\n";
    if head.starts_with(hdf5) || [512, 1024].iter().any(|&at| reads_at(&mut file, at) == *hdf5) {
        return Ok(Storage::Hdf5);
    }
    let header = head.first_chunk().map(|&b| u64::from_le_bytes(b));
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or("").to_ascii_lowercase();
    Ok(match head.as_slice() {
        [] => return Err(unknown(path, "an empty file")),
        h if h.starts_with(b"PK\x03\x04") => Storage::Npz,
        h if h.starts_with(b"\x93NUMPY") => Storage::Npy,
        h if mat::is_mat(h) => Storage::Mat,
        h if h.starts_with(b"ARROW1") => Storage::MinariArrow,
        h if h.starts_with(b"PAR1") => {
            return Err(unknown(path, "one Parquet file (give the data set's folder)"));
        }
        h if h.starts_with(&[0xff; 4]) => Storage::ImitationArrow,
        h if header.is_some_and(|n| n < length) && h.get(8) == Some(&b'{') => Storage::Safetensors,
        h if h.starts_with(b"\x80") && matches!(h.get(1), Some(2..=5)) => {
            return Err(unknown(
                path,
                "a pickle of Python, which runs code when it is read (save arrays by numpy.savez)",
            ));
        }
        h if csv::EXTENSIONS.contains(&extension.as_str()) || is_text(h) => Storage::Csv,
        _ => return Err(unknown(path, "its first bytes are none of a known kind")),
    })
}

fn reads_at(file: &mut std::fs::File, at: u64) -> [u8; 8] {
    use std::io::Seek;
    let mut bytes = [0; 8];
    let read = file.seek(std::io::SeekFrom::Start(at)).and_then(|_| file.read_exact(&mut bytes));
    if read.is_ok() { bytes } else { [0; 8] }
}

fn is_text(head: &[u8]) -> bool {
    // A character may be cut at the end of what was read.
    let valid = match std::str::from_utf8(head) {
        Ok(_) => true,
        Err(e) => e.error_len().is_none(),
    };
    valid && !head.contains(&0)
}

fn folder(path: &Path) -> Result<Storage, FormatError> {
    let has = |name: &str| path.join(name).exists();
    if has("meta/info.json") {
        Ok(Storage::LeRobot)
    } else if minari_file(path).is_some() {
        Ok(Storage::MinariHdf5)
    } else if minari::data_folder(path).is_some() {
        Ok(Storage::MinariArrow)
    } else if has("state.json") && has("dataset_info.json") {
        Ok(Storage::ImitationArrow)
    } else {
        let tables = csv::tables(path).map_err(|e| Place::file(path).error(e.into()))?;
        Ok(if tables.is_empty() { Storage::Folder } else { Storage::Csv })
    }
}

/// Minari's `main_data.hdf5` of a folder.
fn minari_file(path: &Path) -> Option<PathBuf> {
    let names = ["main_data.hdf5", "data/main_data.hdf5"];
    names.into_iter().map(|name| path.join(name)).find(|file| file.is_file())
}

/// Data files of a folder in natural order.
fn files_of(folder: &Path) -> Result<Vec<PathBuf>, FormatError> {
    const KNOWN: [&str; 9] =
        ["npz", "npy", "mat", "h5", "hdf5", "safetensors", "csv", "tsv", "txt"];
    let place = Place::file(folder);
    let mut files = vec![];
    for entry in std::fs::read_dir(folder).map_err(|e| place.error(e.into()))? {
        let file = entry.map_err(|e| place.error(e.into()))?.path();
        let extension = file.extension().and_then(|e| e.to_str()).map(str::to_ascii_lowercase);
        if extension.is_some_and(|e| KNOWN.contains(&e.as_str())) && file.is_file() {
            files.push(file);
        }
    }
    let stem = |path: &PathBuf| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    files.sort_by(|a, b| names::natural_order(&stem(a), &stem(b)));
    Ok(files)
}

/// Reads a folder of single files, all of one kind, one after the other.
fn read_folder(path: &Path, format: Option<Format>) -> Result<Recording, FormatError> {
    let files = files_of(path)?;
    let mut all: Option<Recording> = None;
    for file in &files {
        let one = read(file, format)?;
        match &mut all {
            None => all = Some(one),
            Some(all) => all.append(one)?,
        }
    }
    all.ok_or_else(|| unknown(path, "a folder without data files"))
}

#[cfg(feature = "hdf5")]
fn hdf5_layout(path: &Path) -> Result<Format, FormatError> {
    crate::hdf5::layout(path)
}

#[cfg(feature = "hdf5")]
fn read_hdf5(path: &Path, format: Format) -> Result<Recording, FormatError> {
    use crate::hdf5;
    match format {
        Format::Minari => hdf5::minari(path),
        Format::Robomimic => hdf5::robomimic(path),
        Format::D4rl => hdf5::d4rl(path),
        _ => hdf5::plain(path),
    }
}

#[cfg(not(feature = "hdf5"))]
fn hdf5_layout(_: &Path) -> Result<Format, FormatError> {
    Ok(Format::Hdf5)
}

#[cfg(not(feature = "hdf5"))]
fn read_hdf5(path: &Path, _: Format) -> Result<Recording, FormatError> {
    Err(Place::file(path).error(Problem::NotBuilt { format: "HDF5", feature: "hdf5" }))
}

#[cfg(feature = "arrow")]
fn minari_arrow(path: &Path) -> Result<Recording, FormatError> {
    crate::arrow::guarded(path, crate::arrow::minari)
}

#[cfg(feature = "arrow")]
fn imitation(path: &Path) -> Result<Recording, FormatError> {
    crate::arrow::guarded(path, crate::arrow::imitation)
}

#[cfg(not(feature = "arrow"))]
fn minari_arrow(path: &Path) -> Result<Recording, FormatError> {
    Err(Place::file(path).error(Problem::NotBuilt { format: "Arrow", feature: "arrow" }))
}

#[cfg(not(feature = "arrow"))]
fn imitation(path: &Path) -> Result<Recording, FormatError> {
    Err(Place::file(path).error(Problem::NotBuilt { format: "Arrow", feature: "arrow" }))
}

#[cfg(feature = "lerobot")]
fn lerobot(path: &Path) -> Result<Recording, FormatError> {
    crate::arrow::guarded(path, crate::lerobot::read)
}

#[cfg(not(feature = "lerobot"))]
fn lerobot(path: &Path) -> Result<Recording, FormatError> {
    Err(Place::file(path).error(Problem::NotBuilt { format: "Parquet", feature: "lerobot" }))
}
