//! What is wrong with a term, or with the buffers it is computed from.

use alloc::string::String;

use super::MOST_NUMBERS;

/// A term that cannot be computed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[error("term `{term}`: {problem}")]
pub struct TermError {
    /// Name of the term; empty where the terms as a whole are wrong.
    pub term: String,
    /// What is wrong.
    pub problem: TermProblem,
}

/// What is wrong with a term.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum TermProblem {
    /// The name cannot stand in a policy file.
    #[error("a name must not be empty and must not hold `,` or blanks")]
    Name,
    /// Two terms have one name.
    #[error("the name stands twice; each term needs its own")]
    Twice,
    /// The source has no numbers.
    #[error("the source has no numbers; need at least one")]
    Empty,
    /// A raw reading that is not there.
    #[error("raw reading {found}, but there are {count}")]
    NoSuchReading {
        /// Index given.
        found: usize,
        /// Raw readings.
        count: usize,
    },
    /// A command that is not there.
    #[error("command slot {found}, but there are {count}")]
    NoSuchCommand {
        /// Slot given.
        found: usize,
        /// Command slots.
        count: usize,
    },
    /// `minus` or `scale` has another number of components than the source.
    #[error("{key} has {found} numbers, need one, or one a component: {needed}")]
    Components {
        /// `minus` or `scale`.
        key: &'static str,
        /// Numbers given.
        found: usize,
        /// Components of the source.
        needed: usize,
    },
    /// A number is NaN or infinite.
    #[error("{key} holds {found}, need finite numbers")]
    NotFinite {
        /// Where.
        key: &'static str,
        /// The number.
        found: f64,
    },
    /// Bounds the wrong way round.
    #[error("clip = [{low}, {high}], need the lower bound first")]
    Clip {
        /// Lower bound given.
        low: f64,
        /// Upper bound given.
        high: f64,
    },
    /// A history of no steps.
    #[error("history = 0, need at least 1 control step")]
    History,
    /// More numbers than an observation may have.
    #[error("{found} numbers, no observation may have more than {MOST_NUMBERS}")]
    TooWide {
        /// Numbers asked for.
        found: usize,
    },
    /// A phase that does not advance.
    #[error("phase = {found} Hz, need a positive number")]
    Phase {
        /// Frequency given.
        found: f64,
    },
    /// A control period that is none.
    #[error("a control period of {found} s, need a positive number")]
    Period {
        /// Period given, s.
        found: f64,
    },
}

impl TermProblem {
    /// The key of a term's table that the problem is in; `None` where it is the source's.
    pub fn key(&self) -> Option<&'static str> {
        match self {
            Self::Name | Self::Twice => Some("name"),
            Self::Components { key, .. } | Self::NotFinite { key, .. } => Some(key),
            Self::Clip { .. } => Some("clip"),
            Self::History | Self::TooWide { .. } => Some("history"),
            Self::Phase { .. } => Some("phase"),
            Self::Period { .. } => Some("dt"),
            Self::Empty | Self::NoSuchReading { .. } | Self::NoSuchCommand { .. } => None,
        }
    }
}

/// A buffer that is not as wide as the terms were compiled for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what}: {found} numbers, need {needed}")]
pub struct ObserveError {
    /// Which buffer.
    pub what: &'static str,
    /// Its width.
    pub found: usize,
    /// Width compiled for.
    pub needed: usize,
}
