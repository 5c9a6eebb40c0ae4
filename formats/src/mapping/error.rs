//! Why a recording does not become a task's demonstrations.

use std::{ops::Range, path::PathBuf};

use crate::Place;

/// Why a recording does not become a task's demonstrations.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MapError {
    /// A mapping is not written as it must be.
    #[error("`{text}`: {why}; need TERM=COLUMN, TERM=COLUMN[0..3] or several columns with commas")]
    Grammar {
        /// What was written.
        text: String,
        /// What is wrong with it.
        why: String,
    },
    /// The task has no such term.
    #[error("the task has no term `{term}`, it has {known}")]
    NoTerm {
        /// The name.
        term: String,
        /// Names there are.
        known: String,
    },
    /// A term is mapped twice.
    #[error("term `{term}` is mapped twice")]
    Twice {
        /// The name.
        term: String,
    },
    /// The recording has no such column.
    #[error("{}: no column `{column}`; columns and widths: {known}", file.display())]
    NoColumn {
        /// The file.
        file: PathBuf,
        /// The name.
        column: String,
        /// Names there are, with what was left out.
        known: String,
    },
    /// A stretch goes beyond its column.
    #[error("{}: column `{column}` has {width} components, {range:?} goes beyond", file.display())]
    Range {
        /// The file.
        file: PathBuf,
        /// The column.
        column: String,
        /// Components there are.
        width: usize,
        /// The stretch.
        range: Range<usize>,
    },
    /// A source is wider or narrower than its term.
    #[error("{}: term `{term}` has {needed} components, its source {found}", file.display())]
    Width {
        /// The file.
        file: PathBuf,
        /// The term.
        term: String,
        /// Components of the term.
        needed: usize,
        /// Components of the source.
        found: usize,
    },
    /// Nothing fills a term.
    #[error(
        "{}: nothing fills the {side} term `{term}` of {width} components; say which column does \
         by --map {term}=COLUMN; columns and widths: {known}",
        file.display()
    )]
    Unmapped {
        /// The file.
        file: PathBuf,
        /// Observation or action.
        side: &'static str,
        /// The term.
        term: String,
        /// Its components.
        width: usize,
        /// Columns there are.
        known: String,
    },
    /// Several columns could fill a term.
    #[error(
        "{}: the {side} term `{term}` may be any of the columns {columns}; say which it is by --map {term}=COLUMN",
        file.display()
    )]
    Ambiguous {
        /// The file.
        file: PathBuf,
        /// Observation or action.
        side: &'static str,
        /// The term.
        term: String,
        /// Columns of its name and width.
        columns: String,
    },
    /// The recording, or one of its episodes, has another rate.
    #[error(
        "{place}: a step takes {found_s} s, in the task {needed_s} s; --resample interpolates between \
         its steps"
    )]
    Period {
        /// The file, and the episode if others have another rate.
        place: Box<Place>,
        /// Its period in seconds.
        found_s: f64,
        /// The task's.
        needed_s: f64,
    },
    /// There is nothing to resample by.
    #[error(
        "{}: neither time stamps nor a rate are in the file, so that it cannot be resampled; say which column \
         has the time by --time COLUMN, or the time between its steps by --dt SECONDS",
        file.display()
    )]
    NoTimes {
        /// The file.
        file: PathBuf,
    },
    /// Another period is said than the file's own.
    #[error(
        "{}: --dt says {said_s} s a step, the file {found_s} s; leave --dt out, --resample changes the rate",
        file.display()
    )]
    OtherPeriod {
        /// The file.
        file: PathBuf,
        /// Its period in seconds.
        found_s: f64,
        /// What is said.
        said_s: f64,
    },
    /// There are too few samples for the time that they are said to span.
    #[error(
        "{place}: {rows} rows span {span_s} s, more than a hundred steps of {needed_s} s for each: if the stamps are in \
         another unit than seconds, say so by --time 'COLUMN:*0.001' (here milliseconds); cut the episode where \
         the recording rested"
    )]
    Span {
        /// File and episode.
        place: Box<Place>,
        /// Samples.
        rows: usize,
        /// Seconds from the first to the last.
        span_s: f64,
        /// The task's period in seconds.
        needed_s: f64,
    },
    /// Time stamps do not grow.
    #[error(
        "{place}: time {later} s in row {row} follows {earlier} s; time stamps must grow: drop the \
         episode or mend its clock"
    )]
    Times {
        /// File and episode.
        place: Box<Place>,
        /// Row, from 0.
        row: usize,
        /// Stamp of the row before.
        earlier: f64,
        /// Its stamp.
        later: f64,
    },
    /// A number is not finite in single precision.
    #[error("{place}: {value} in step {step}, component {component}; every number must be finite")]
    NonFinite {
        /// File, episode and column.
        place: Box<Place>,
        /// Step, from 0.
        step: usize,
        /// Component of the part.
        component: usize,
        /// The number.
        value: f64,
    },
    /// A quaternion is none.
    #[error("{place}: step {step} has a quaternion of length {norm}, need 1")]
    Quaternion {
        /// File, episode and column.
        place: Box<Place>,
        /// Step, from 0.
        step: usize,
        /// Its length.
        norm: f64,
    },
    /// A label is no whole number or changes.
    #[error("{place}: label {found} in step {step}, need one whole number for the whole episode")]
    Label {
        /// File, episode and column.
        place: Box<Place>,
        /// Step, from 0.
        step: usize,
        /// What stands there.
        found: f64,
    },
}
