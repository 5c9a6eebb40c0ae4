//! What can be wrong with a foreign file, and where: file, episode, column.

use std::{
    fmt,
    path::{Path, PathBuf},
};

/// Where something is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file or folder.
    pub file: PathBuf,
    /// The episode, by the name that the file gives it, or its number.
    pub episode: Option<String>,
    /// The column.
    pub column: Option<String>,
}

impl Place {
    /// A whole file.
    pub fn file(path: &Path) -> Self {
        Self { file: path.to_path_buf(), episode: None, column: None }
    }

    /// An episode of this place.
    #[must_use]
    pub fn episode(&self, episode: impl Into<String>) -> Self {
        Self { episode: Some(episode.into()), ..self.clone() }
    }

    /// A column of this place.
    #[must_use]
    pub fn column(&self, column: impl Into<String>) -> Self {
        Self { column: Some(column.into()), ..self.clone() }
    }

    /// The error of this place.
    pub fn error(&self, problem: Problem) -> FormatError {
        FormatError { place: Box::new(self.clone()), problem }
    }

    /// The error of what cannot be written, with the reason that its writer gave.
    pub(crate) fn unwritten(&self, reason: impl fmt::Display) -> FormatError {
        self.error(Problem::Unwritten { reason: reason.to_string() })
    }

    /// The error of a part that cannot be read, with the reason that its reader gave.
    pub(crate) fn unreadable(&self, reason: impl fmt::Display) -> FormatError {
        self.error(Problem::Unreadable { reason: reason.to_string() })
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if let Some(episode) = &self.episode {
            write!(f, ", episode `{episode}`")?;
        }
        if let Some(column) = &self.column {
            write!(f, ", column `{column}`")?;
        }
        Ok(())
    }
}

/// A few names for a message.
pub(crate) fn listed(names: &[&str]) -> String {
    match names.len() {
        0 => "nothing".to_string(),
        1..=12 => format!("`{}`", names.join("`, `")),
        n => format!("`{}` and {} more", names[..12].join("`, `"), n - 12),
    }
}

/// Why a foreign file is refused, and where.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {problem}")]
pub struct FormatError {
    /// File, episode and column, as far as they are known.
    pub place: Box<Place>,
    /// What is wrong there.
    pub problem: Problem,
}

/// What is wrong.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Problem {
    /// The system refused to read or write.
    #[error("{0}")]
    Io(#[from] std::io::Error),
    /// No reader recognises the file.
    #[error(
        "{found}: no format that is known; need one of {}, by its content",
        crate::Format::names()
    )]
    Unknown {
        /// What was seen instead.
        found: String,
    },
    /// The reader was left out of this build.
    #[error("this build reads no {format} files: build with `--features {feature}`")]
    NotBuilt {
        /// The format.
        format: &'static str,
        /// The feature that brings its reader.
        feature: &'static str,
    },
    /// The content is not what its format says.
    #[error("{reason}; the file may be damaged or cut short")]
    Unreadable {
        /// What the parser said.
        reason: String,
    },
    /// It can be read in two ways, and nothing says in which.
    #[error("{what}: {advice}")]
    Ambiguous {
        /// What can be read so, and how.
        what: String,
        /// What settles it.
        advice: &'static str,
    },
    /// It cannot be written.
    #[error("it cannot be written: {reason}")]
    Unwritten {
        /// What the writer said.
        reason: String,
    },
    /// There is something of this name.
    #[error("it exists: choose another name")]
    Exists,
    /// Something that the format needs is not there.
    #[error("{what} is missing; found {found}")]
    Missing {
        /// What was looked for.
        what: String,
        /// What is there instead.
        found: String,
    },
    /// Two columns have one name.
    #[error("it stands there twice: rename one, or leave it out")]
    Twice,
    /// A column's rows do not fit its episode.
    #[error("{found} rows, need {needed}")]
    Rows {
        /// Rows of the column.
        found: usize,
        /// Rows that the episode needs, in words.
        needed: String,
    },
    /// A column is wider or narrower than in the first episode.
    #[error("{found} components a step, but {needed} in the episodes before")]
    Width {
        /// Components here.
        found: usize,
        /// Components there.
        needed: usize,
    },
    /// A size that the file cannot hold: nothing is allocated for it.
    #[error("{declared} bytes are declared, more than a file of {held} bytes can hold")]
    TooLarge {
        /// Bytes that the file says are there.
        declared: u128,
        /// Bytes of the file.
        held: u64,
    },
    /// Nothing in it is a step, and what was left out says why.
    #[error("there is no episode with at least one step: {left}")]
    AllLeft {
        /// What was left out, and why.
        left: String,
    },
    /// There is no episode with a step in it.
    #[error("there is no episode with at least one step")]
    Empty,
    /// A cell is not a number.
    #[error("row {row} holds {found}, need a number")]
    NotANumber {
        /// Row, from 1 as an editor counts.
        row: u64,
        /// The text there.
        found: String,
    },
}
