//! The plain form that every reader gives: columns of numbers, episode by episode.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    path::{Path, PathBuf},
};

use crate::{
    Format, FormatError, Place, Problem,
    error::listed,
    names::{self, Role},
};

/// What a file holds, before it is mapped to a task.
#[derive(Clone, Debug, PartialEq)]
pub struct Recording {
    /// The file or folder.
    pub source: PathBuf,
    /// Its format.
    pub format: Format,
    /// Columns, the same in every episode.
    pub columns: Vec<Column>,
    /// Episodes in the file's order.
    pub episodes: Vec<Episode>,
    /// Time between steps in seconds, where the file says it.
    pub dt_s: Option<f64>,
    /// What else the file says of itself.
    pub metadata: BTreeMap<String, String>,
    /// What the reader had to decide or leave out, for people.
    pub notes: Vec<String>,
}

/// One named quantity of every step.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    /// Name in the file; parts of groups are joined by `/`.
    pub name: String,
    /// Components a step.
    pub width: usize,
    /// Type of its numbers in the file.
    pub dtype: Dtype,
}

impl Column {
    /// What the name says that the column is.
    pub fn role(&self) -> Role {
        names::role(&self.name)
    }
}

/// Type of numbers in a file. Each is read into `f64`, which holds all but integers beyond 2⁵³
/// exactly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dtype {
    /// A floating-point number of this many bits.
    Float(u8),
    /// A signed integer of this many bits.
    Int(u8),
    /// An unsigned integer of this many bits.
    UInt(u8),
    /// True or false, as 1 or 0.
    Bool,
}

impl Dtype {
    /// Whether numbers between two values make sense.
    pub fn is_continuous(self) -> bool {
        matches!(self, Self::Float(_))
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Float(bits) => write!(f, "f{bits}"),
            Self::Int(bits) => write!(f, "i{bits}"),
            Self::UInt(bits) => write!(f, "u{bits}"),
            Self::Bool => f.write_str("bool"),
        }
    }
}

/// One demonstration.
#[derive(Clone, Debug, PartialEq)]
pub struct Episode {
    /// Name in the file, or its number.
    pub name: String,
    /// Steps.
    pub length: usize,
    /// For each column of the recording, `[length, width]`.
    pub data: Vec<Vec<f64>>,
    /// For each column, its row after the last step (`[width]`) where the file has one: an
    /// observation more than there are actions.
    pub last: Vec<Option<Vec<f64>>>,
    /// Time of each step in seconds, where the file has it.
    pub times_s: Option<Vec<f64>>,
    /// How it ended, as far as the file says.
    pub end: End,
}

/// How an episode ended; `None` where the file says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// In a state that ends the task.
    pub terminated: Option<bool>,
    /// At a time limit or by the recording's end.
    pub truncated: Option<bool>,
    /// With success.
    pub success: Option<bool>,
}

impl Episode {
    /// Gives an episode without time stamps even ones.
    pub(crate) fn timed(&mut self, dt_s: f64) {
        let even = || (0..self.length).map(|t| t as f64 * dt_s).collect();
        self.times_s.get_or_insert_with(even);
    }

    /// Whether median and mean of the time between its steps both are others than `dt_s`: neither
    /// jitter nor a gap makes that.
    pub(crate) fn other_rate(&self, dt_s: f64) -> Option<f64> {
        let times = self.times_s.as_deref()?;
        let (first, last) = (times.first()?, times.last()?);
        let mean_s = (last - first) / (times.len() as f64 - 1.0);
        let other = |found: &f64| (found / dt_s - 1.0).abs() > 0.1;
        median_step([times].into_iter()).filter(|median_s| other(median_s) && other(&mean_s))
    }
}

/// The median difference between time stamps in seconds.
fn median_step<'a>(times: impl Iterator<Item = &'a [f64]>) -> Option<f64> {
    let mut steps: Vec<f64> = times.flat_map(|t| t.windows(2).map(|w| w[1] - w[0])).collect();
    if steps.is_empty() {
        return None;
    }
    let middle = steps.len() / 2;
    let (_, &mut median, _) = steps.select_nth_unstable_by(middle, f64::total_cmp);
    (median.is_finite() && median > 0.0).then_some(median)
}

impl Recording {
    /// Steps of all episodes.
    pub fn steps(&self) -> usize {
        self.episodes.iter().map(|e| e.length).sum()
    }

    /// Puts the episodes of another file behind these. Their names then start with their file's; if
    /// the file says another rate, episodes have time stamps by it.
    ///
    /// # Errors
    /// [`Problem::Missing`] if the other lacks a column, [`Problem::Width`] if one differs.
    pub fn append(&mut self, mut other: Self) -> Result<(), FormatError> {
        let place = Place::file(&other.source);
        let mut order = vec![];
        for column in &self.columns {
            let Some(at) = other.columns.iter().position(|c| c.name == column.name) else {
                let found: Vec<&str> = other.columns.iter().map(|c| c.name.as_str()).collect();
                let what = format!("column `{}`, which the files before have,", column.name);
                return Err(place.error(Problem::Missing { what, found: listed(&found) }));
            };
            let (found, needed) = (other.columns[at].width, column.width);
            if found != needed {
                let place = place.column(column.name.clone());
                return Err(place.error(Problem::Width { found, needed }));
            }
            order.push(at);
        }
        for (at, column) in other.columns.iter().enumerate() {
            if !order.contains(&at) {
                let (name, file) = (&column.name, self.source.display());
                self.notes.push(format!("column `{name}` is left out: {file} does not have it"));
            }
        }
        // Where all have time stamps, these say it.
        if self.dt_s.or(other.dt_s).is_some() {
            match (self.dt(), other.dt()) {
                (Some(here), Some(there)) if (there / here - 1.0).abs() > 0.01 => {
                    self.episodes.iter_mut().for_each(|episode| episode.timed(here));
                    other.episodes.iter_mut().for_each(|episode| episode.timed(there));
                }
                (None, Some(there)) => {
                    let (file, other) = (self.source.display(), other.source.display());
                    self.notes.push(format!(
                        "{file} does not say its rate; taken for {there} s a step, as {other} says"
                    ));
                    self.dt_s = Some(there);
                }
                _ => {}
            }
        }
        let stem =
            |path: &Path| path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        let prefix = stem(&other.source);
        for mut episode in other.episodes.drain(..) {
            episode.data = order.iter().map(|&at| std::mem::take(&mut episode.data[at])).collect();
            episode.last = order.iter().map(|&at| episode.last[at].take()).collect();
            episode.name = format!("{prefix}/{}", episode.name);
            self.episodes.push(episode);
        }
        self.notes.append(&mut other.notes);
        Ok(())
    }

    /// Takes out the columns of a group whose numbers stand for episodes as a whole: without the
    /// group's name, one row an episode.
    pub fn take_whole(&mut self, group: &str) -> BTreeMap<String, Vec<Vec<f64>>> {
        let mut taken = BTreeMap::new();
        for at in (0..self.columns.len()).rev() {
            let prefix =
                |name: &str| Some(name.strip_prefix(group)?.strip_prefix('/')?.to_string());
            let Some(name) = prefix(&self.columns[at].name) else { continue };
            let width = self.columns.remove(at).width;
            let row = |episode: &mut Episode| {
                episode.last.remove(at);
                let mut data = episode.data.remove(at);
                data.truncate(width);
                data
            };
            taken.insert(name, self.episodes.iter_mut().map(row).collect());
        }
        taken
    }

    /// Place of a column of an episode, for messages.
    pub fn place(&self, episode: usize, column: usize) -> Place {
        Place::file(&self.source)
            .episode(self.episodes[episode].name.clone())
            .column(self.columns[column].name.clone())
    }

    /// Time between steps in seconds: what the file says, else the median of its time stamps'
    /// differences.
    pub fn dt(&self) -> Option<f64> {
        self.dt_s.or_else(|| self.median_dt())
    }

    /// The median of the time stamps' differences in seconds.
    pub(crate) fn median_dt(&self) -> Option<f64> {
        median_step(self.episodes.iter().filter_map(|e| e.times_s.as_deref()))
    }
}

/// Numbers of one quantity as a file holds them, row-major.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Array {
    /// Rows first, as far as the format says.
    pub shape: Vec<usize>,
    /// Type in the file.
    pub dtype: Dtype,
    /// Row-major numbers.
    pub data: Vec<f64>,
}

impl Array {
    /// Size of the first axis; 1 for a scalar.
    pub(crate) fn rows(&self) -> usize {
        self.shape.first().copied().unwrap_or(1)
    }

    /// Numbers a row.
    pub(crate) fn width(&self) -> usize {
        self.shape.iter().skip(1).product()
    }

    /// Rows `range` of the first axis.
    pub(crate) fn slice(&self, range: std::ops::Range<usize>) -> Self {
        let width = self.width();
        let mut shape = self.shape.clone();
        match shape.first_mut() {
            Some(rows) => *rows = range.len(),
            None => shape.push(range.len()),
        }
        let data = self.data[range.start * width..range.end * width].to_vec();
        Self { shape, dtype: self.dtype, data }
    }

    /// The first two axes exchanged.
    pub(crate) fn transposed(&self) -> Self {
        let (rows, columns) = (self.shape[0], self.shape[1]);
        let inner: usize = self.shape[2..].iter().product();
        let mut shape = self.shape.clone();
        shape.swap(0, 1);
        let mut data = Vec::with_capacity(self.data.len());
        for column in 0..columns {
            for row in 0..rows {
                let at = (row * columns + column) * inner;
                data.extend_from_slice(&self.data[at..at + inner]);
            }
        }
        Self { shape, dtype: self.dtype, data }
    }
}

/// The arrays of one episode, not yet checked against each other.
pub(crate) struct Part {
    /// Name of the episode.
    pub name: String,
    /// Quantities by name, rows first.
    pub arrays: Vec<(String, Array)>,
    /// The row after the last step where it is kept apart (`next_observations`).
    pub last: BTreeMap<String, Vec<f64>>,
    /// How it ended, beyond what columns say.
    pub end: End,
}

impl Part {
    pub(crate) fn new(name: impl Into<String>, arrays: Vec<(String, Array)>) -> Self {
        Self { name: name.into(), arrays, last: BTreeMap::new(), end: End::default() }
    }
}

/// Puts episodes together into a recording: one set of columns, lengths that fit, the row after
/// the last step set apart, time stamps and ends taken from the columns that hold them.
pub(crate) fn assemble(
    source: &Path,
    format: Format,
    parts: Vec<Part>,
) -> Result<Recording, FormatError> {
    let place = Place::file(source);
    let mut recording = Recording {
        source: source.to_path_buf(),
        format,
        columns: vec![],
        episodes: vec![],
        dt_s: None,
        metadata: BTreeMap::new(),
        notes: vec![],
    };
    let names = common_names(&parts, &mut recording.notes);
    for part in parts {
        let place = place.episode(part.name.clone());
        let Some(episode) = episode(&mut recording, &names, part, &place)? else { continue };
        recording.episodes.push(episode);
    }
    if recording.episodes.is_empty() {
        return Err(place.error(Problem::Empty));
    }
    Ok(recording)
}

/// Names that every episode has, in the first one's order; says what is left out.
fn common_names(parts: &[Part], notes: &mut Vec<String>) -> Vec<String> {
    let Some(first) = parts.first() else { return vec![] };
    let mut common: BTreeSet<&str> = first.arrays.iter().map(|(name, _)| name.as_str()).collect();
    let mut all = common.clone();
    for part in &parts[1..] {
        let here: BTreeSet<&str> = part.arrays.iter().map(|(name, _)| name.as_str()).collect();
        all.extend(&here);
        common.retain(|name| here.contains(name));
    }
    for name in all.difference(&common) {
        notes.push(format!("column `{name}` is left out: some episodes do not have it"));
    }
    let names = first.arrays.iter().map(|(name, _)| name.clone());
    names.filter(|name| common.contains(name.as_str())).collect()
}

fn episode(
    recording: &mut Recording,
    names: &[String],
    part: Part,
    place: &Place,
) -> Result<Option<Episode>, FormatError> {
    let Part { name: title, mut arrays, mut last, mut end } = part;
    arrays.retain(|(name, _)| names.contains(name));
    let length = length_of(&arrays);
    if length == 0 {
        recording.notes.push(format!("episode `{title}` is left out: it has no step"));
        return Ok(None);
    }
    let first = recording.episodes.is_empty();
    let mut episode = Episode {
        name: title,
        length,
        data: vec![],
        last: vec![],
        times_s: None,
        end: End::default(),
    };
    arrays.sort_by_key(|(name, _)| names.iter().position(|n| n == name));
    if let Some(pair) = arrays.windows(2).find(|pair| pair[0].0 == pair[1].0) {
        return Err(place.column(pair[0].0.clone()).error(Problem::Twice));
    }
    for (name, array) in arrays {
        let place = place.column(name.clone());
        let (rows, width) = (array.rows(), array.width());
        let Array { dtype, mut data, .. } = array;
        let role = names::role(&name);
        let extra = match rows {
            n if n == length => last.remove(&name),
            n if n == length + 1 => Some(data.split_off(length * width)),
            // One number for the whole episode.
            1 => {
                data = data.repeat(length);
                None
            }
            found => {
                let needed = format!("{length} as there are actions, or one more");
                return Err(place.error(Problem::Rows { found, needed }));
            }
        };
        let true_at_end = data.last().map(|&x| x != 0.0);
        match role {
            Role::Time { unit_s } if width == 1 => {
                episode.times_s = Some(data.iter().map(|t| t * unit_s).collect());
            }
            Role::Terminated => end.terminated = end.terminated.or(true_at_end),
            Role::Truncated => end.truncated = end.truncated.or(true_at_end),
            Role::Success => {
                end.success = end.success.or(Some(data.iter().any(|&x| x != 0.0)));
            }
            _ => {}
        }
        if first {
            recording.columns.push(Column { name, width, dtype });
        } else {
            let column = &mut recording.columns[episode.data.len()];
            if column.width != width {
                let needed = column.width;
                return Err(place.error(Problem::Width { found: width, needed }));
            }
            // A whole number in the first episode need not be one in the others (CSV).
            if dtype.is_continuous() && !column.dtype.is_continuous() {
                column.dtype = dtype;
            }
        }
        episode.data.push(data);
        episode.last.push(extra);
    }
    episode.end = end;
    Ok(Some(episode))
}

/// Steps of an episode: rows of its actions, else the fewest rows of a quantity that changes.
fn length_of(arrays: &[(String, Array)]) -> usize {
    let action = arrays.iter().find(|(name, _)| names::role(name) == Role::Action);
    if let Some((_, action)) = action {
        return action.rows();
    }
    let rows = arrays.iter().map(|(_, array)| array.rows());
    rows.clone().filter(|&n| n != 1).min().or(rows.max()).unwrap_or(0)
}
