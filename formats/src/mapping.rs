//! From a recording's columns to a task's terms.
//!
//! A [`Mapping`] is written `TERM=SOURCE`, the source being one or more parts, separated by commas,
//! that lie one after the other in the term:
//!
//! ```text
//! joint_pos=q                 a column, or all of `q0`, `q1`, … / `q[0]`, `q[1]`, …
//! joint_pos=state[0..7]       components 0 to 6 of a column
//! ee_pos=x,y,z                three columns
//! joint_pos=state[0..7]:deg   degrees to radians
//! ee_pos=pose[0..3]:*0.001    times a number, here millimetres to metres
//! ee_quat=pose[3..7]:quat     a quaternion w x y z, so that it is resampled on the sphere
//! ee_quat=pose[3..7]:xyzw     a quaternion x y z w, stored as w x y z
//! phase=t:*0.785:sin,t:*0.785:cos   sine and cosine of what the number then is
//! yaw=heading:angle           an angle in radians that may wrap
//! gripper=closed:hold         kept until its next sample when resampled
//! joint_vel_des=rate(q)       change of `q` to the next step, per second
//! joint_pos_des=next(q)       `q` one step on; next(q, 5) five steps
//! ```
//!
//! Terms without a mapping take the column of their name, or, where a side (observations or
//! actions) has none at all, the file's only column of that side if its width fits.

use std::{fmt, ops::Range, path::PathBuf, str::FromStr};

use crate::{
    Column, Place, Recording, Role, names,
    resample::{self, Kind, Track},
    tree,
};

/// A named part of an observation or action and its components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Name in the task.
    pub name: String,
    /// Components.
    pub width: usize,
}

/// `TERM=SOURCE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// The task's term.
    pub term: String,
    /// What fills it, in order.
    pub parts: Vec<Part>,
}

/// A stretch of a column and what is done to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Name of the column.
    pub column: String,
    /// Components of it; all where absent.
    pub range: Option<Range<usize>>,
    /// Which step's value.
    pub step: Step,
    /// How values between samples are found; as the column's type suggests where absent.
    pub kind: Option<Kind>,
    /// What every number is multiplied by.
    pub scale: f64,
    /// What becomes of it then.
    pub wave: Wave,
}

/// What becomes of a number in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wave {
    /// Nothing.
    #[default]
    None,
    /// Its sine.
    Sine,
    /// Its cosine.
    Cosine,
}

impl Wave {
    fn of(self, x: f64) -> f64 {
        match self {
            Self::None => x,
            Self::Sine => x.sin(),
            Self::Cosine => x.cos(),
        }
    }
}

/// Which step a part is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The same.
    Here,
    /// So many steps on.
    Next(usize),
    /// The difference between the next and this one, per second.
    Rate,
}

/// What a mapping is done with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct MapOptions<'a> {
    /// The task's control period in seconds.
    pub dt_s: f64,
    /// Whether to resample to it.
    pub resample: bool,
    /// Column of labels, the same in all steps of an episode.
    pub labels: Option<&'a str>,
}

/// Episodes of a task's observations and actions.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Mapped {
    /// One for each episode of the recording.
    pub episodes: Vec<MappedEpisode>,
    /// What was assumed or done, for people.
    pub notes: Vec<String>,
}

/// One of them.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MappedEpisode {
    /// Name in the file.
    pub name: String,
    /// Steps.
    pub length: usize,
    /// `[length, obs]`.
    pub observations: Vec<f32>,
    /// `[length, action]`.
    pub actions: Vec<f32>,
    /// Its label, where a column of labels was named.
    pub label: Option<u32>,
}

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
    /// The recording has another rate.
    #[error(
        "{}: a step takes {found_s} s, in the task {needed_s} s; --resample interpolates between \
         its steps",
        file.display()
    )]
    Period {
        /// The file.
        file: PathBuf,
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

impl FromStr for Mapping {
    type Err = MapError;

    fn from_str(text: &str) -> Result<Self, MapError> {
        let wrong = |why: &str| MapError::Grammar { text: text.to_string(), why: why.to_string() };
        let (term, source) = text.split_once('=').ok_or_else(|| wrong("no `=`"))?;
        let (term, source) = (term.trim(), source.trim());
        if term.is_empty() || source.is_empty() {
            return Err(wrong("nothing on one side of `=`"));
        }
        let parts = split(source).map(|part| part_of(part.trim()).map_err(|why| wrong(&why)));
        Ok(Self { term: term.to_string(), parts: parts.collect::<Result<_, _>>()? })
    }
}

/// Parts between commas; one in `next(q, 5)` is none between parts.
fn split(source: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    source.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// `q` and `q, 5`: the column and how many steps on.
fn next_of(text: &str) -> Result<(Step, &str), String> {
    let Some((column, steps)) = text.rsplit_once(',') else { return Ok((Step::Next(1), text)) };
    match steps.trim().parse() {
        Ok(steps @ 1..) => Ok((Step::Next(steps), column)),
        _ => Err(format!("`{}` steps on: need a whole number from 1 on", steps.trim())),
    }
}

impl FromStr for Part {
    type Err = MapError;

    fn from_str(text: &str) -> Result<Self, MapError> {
        part_of(text.trim()).map_err(|why| MapError::Grammar { text: text.to_string(), why })
    }
}

fn part_of(text: &str) -> Result<Part, String> {
    let mut pieces = text.split(':');
    let source = pieces.next().unwrap_or_default().trim();
    let (step, source) = match source.strip_suffix(')') {
        None => (Step::Here, source),
        Some(call) => match call.split_once('(') {
            Some(("next", call)) => next_of(call)?,
            Some(("rate", column)) => (Step::Rate, column.trim()),
            // A name with brackets in it.
            _ => (Step::Here, source),
        },
    };
    let source = source.trim();
    let (column, range) = match source.strip_suffix(']').and_then(|s| s.rsplit_once('[')) {
        Some((column, range)) => match range_of(range) {
            Some(range) if range.is_empty() => return Err(format!("nothing is in [{range:?}]")),
            Some(range) => (column, Some(range)),
            None => return Err(format!("`[{range}]` is no stretch such as [0..3]")),
        },
        None => (source, None),
    };
    if column.is_empty() {
        return Err("a column without a name".to_string());
    }
    let (column, scale) = (column.to_string(), 1.0);
    let mut part = Part { column, range, step, kind: None, scale, wave: Wave::None };
    for piece in pieces {
        match piece.trim() {
            "deg" => part.scale *= std::f64::consts::PI / 180.0,
            "quat" => part.kind = Some(Kind::Quaternion { scalar_last: false }),
            "xyzw" => part.kind = Some(Kind::Quaternion { scalar_last: true }),
            "angle" => part.kind = Some(Kind::Angle),
            "hold" => part.kind = Some(Kind::Hold),
            "sin" => part.wave = Wave::Sine,
            "cos" => part.wave = Wave::Cosine,
            other => match other.strip_prefix('*').and_then(|n| n.trim().parse::<f64>().ok()) {
                Some(scale) if scale.is_finite() => part.scale *= scale,
                _ => {
                    return Err(format!(
                        "`:{other}` is none of :deg, :quat, :xyzw, :angle, :hold, :sin, :cos, :*NUMBER"
                    ));
                }
            },
        }
    }
    Ok(part)
}

/// `0..3`, `3` (one component).
fn range_of(text: &str) -> Option<Range<usize>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.trim().parse().ok()?..to.trim().parse().ok()?),
        None => {
            let at: usize = text.trim().parse().ok()?;
            Some(at..at.checked_add(1)?)
        }
    }
}

/// A part with its column found.
pub(crate) struct Source {
    pub(crate) column: usize,
    pub(crate) range: Range<usize>,
    step: Step,
    kind: Kind,
    pub(crate) scale: f64,
    wave: Wave,
}

/// Maps a recording to a task's terms.
///
/// # Errors
/// [`MapError`] naming term, column, file, episode and step as far as they are known.
pub fn map(
    recording: &Recording,
    observations: &[Term],
    actions: &[Term],
    mappings: &[Mapping],
    options: &MapOptions<'_>,
) -> Result<Mapped, MapError> {
    check_terms(observations, actions, mappings)?;
    let mut notes = vec![];
    let period_s = period(recording, options, &mut notes)?;
    let sides = [
        side(recording, "observation", Role::Observation, observations, mappings)?,
        side(recording, "action", Role::Action, actions, mappings)?,
    ];
    let label = match options.labels {
        Some(name) => Some(column(recording, name).ok_or_else(|| MapError::NoColumn {
            file: recording.source.clone(),
            column: name.to_string(),
            known: known(recording),
        })?),
        None => None,
    };
    let mut mapped = Mapped::default();
    for n in 0..recording.episodes.len() {
        let mut episode = episode(recording, n, &sides, period_s, options, &mut notes)?;
        if let Some(column) = label {
            episode.label = Some(label_of(recording, n, column)?);
        }
        mapped.episodes.push(episode);
    }
    let extra = recording.episodes.iter().filter(|e| e.last.iter().any(Option::is_some)).count();
    if extra > 0 {
        notes.push(format!(
            "{extra} episodes have an observation after their last action: it goes with no action \
             and is left out"
        ));
    }
    notes.extend(unused(recording, &sides, label));
    mapped.notes = notes;
    Ok(mapped)
}

/// Columns that nothing was made of and that no role explains.
fn unused(recording: &Recording, sides: &[Vec<Source>; 2], label: Option<usize>) -> Option<String> {
    let used =
        |at: usize| label == Some(at) || sides.iter().flatten().any(|source| source.column == at);
    // What its role explains, or the cut into episodes.
    let explained = |column: &Column| {
        !matches!(column.role(), Role::Other | Role::Observation | Role::Action)
            || tree::INDICES.contains(&column.name.to_ascii_lowercase().as_str())
    };
    let left = recording.columns.iter().enumerate();
    let left = left.filter(|(at, column)| !used(*at) && !explained(column));
    let left: Vec<String> = left.map(|(_, column)| format!("`{}`", column.name)).collect();
    (!left.is_empty()).then(|| {
        format!(
            "not used: {}; --map TERM=COLUMN takes one into a term, --labels COLUMN as the modes",
            left.join(", ")
        )
    })
}

fn check_terms(
    observations: &[Term],
    actions: &[Term],
    mappings: &[Mapping],
) -> Result<(), MapError> {
    let mut seen: Vec<&str> = vec![];
    for mapping in mappings {
        let term = mapping.term.clone();
        if !observations.iter().chain(actions).any(|known| known.name == term) {
            let known: Vec<String> =
                observations.iter().chain(actions).map(|t| format!("`{}`", t.name)).collect();
            return Err(MapError::NoTerm { term, known: known.join(", ") });
        }
        if seen.contains(&mapping.term.as_str()) {
            return Err(MapError::Twice { term });
        }
        seen.push(&mapping.term);
    }
    Ok(())
}

/// The recording's own period in seconds, checked against the task's.
fn period(
    recording: &Recording,
    options: &MapOptions<'_>,
    notes: &mut Vec<String>,
) -> Result<f64, MapError> {
    let file = recording.source.clone();
    let Some(found_s) = recording.dt() else {
        if options.resample {
            return Err(MapError::NoTimes { file });
        }
        notes.push(format!(
            "the file does not say its rate; taken for {} s a step (--dt SECONDS says another)",
            options.dt_s
        ));
        return Ok(options.dt_s);
    };
    if !options.resample && (found_s / options.dt_s - 1.0).abs() > 0.01 {
        return Err(MapError::Period { file, found_s, needed_s: options.dt_s });
    }
    Ok(found_s)
}

/// Columns and widths, for messages.
fn known(recording: &Recording) -> String {
    let columns: Vec<String> =
        recording.columns.iter().map(|c| format!("`{}` {}", c.name, c.width)).collect();
    let left: Vec<&str> =
        recording.notes.iter().filter(|n| n.contains("left out")).map(String::as_str).collect();
    match left.len() {
        0 => columns.join(", "),
        _ => format!("{} ({})", columns.join(", "), left.join("; ")),
    }
}

fn column(recording: &Recording, name: &str) -> Option<usize> {
    recording.columns.iter().position(|c| c.name == name)
}

/// The sources of all terms of a side, in order.
fn side(
    recording: &Recording,
    side: &'static str,
    role: Role,
    terms: &[Term],
    mappings: &[Mapping],
) -> Result<Vec<Source>, MapError> {
    let mapping = |term: &Term| mappings.iter().find(|m| m.term == term.name);
    let named = |term: &Term| {
        let last = |name: &str| name.rsplit(['/', '.']).next().unwrap_or(name).to_string();
        recording.columns.iter().position(|c| {
            (c.name == term.name || last(&c.name) == term.name) && c.width == term.width
        })
    };
    let whole: usize = terms.iter().map(|t| t.width).sum();
    if terms.iter().all(|term| mapping(term).is_none() && named(term).is_none()) {
        let mut of_role = recording.columns.iter().enumerate().filter(|(_, c)| c.role() == role);
        if let (Some((at, column)), None) = (of_role.next(), of_role.next())
            && column.width == whole
        {
            return Ok(vec![plain(recording, at)]);
        }
    }
    let mut sources = vec![];
    for term in terms {
        let found = match (mapping(term), named(term)) {
            (Some(mapping), _) => {
                let mut found = vec![];
                for part in &mapping.parts {
                    found.extend(resolve(recording, part)?);
                }
                found
            }
            (None, Some(at)) => vec![plain(recording, at)],
            (None, None) => {
                return Err(MapError::Unmapped {
                    file: recording.source.clone(),
                    side,
                    term: term.name.clone(),
                    width: term.width,
                    known: known(recording),
                });
            }
        };
        let width: usize = found.iter().map(|source| source.range.len()).sum();
        if width != term.width {
            return Err(MapError::Width {
                file: recording.source.clone(),
                term: term.name.clone(),
                needed: term.width,
                found: width,
            });
        }
        sources.extend(found);
    }
    Ok(sources)
}

/// A whole column as it stands.
fn plain(recording: &Recording, at: usize) -> Source {
    let width = recording.columns[at].width;
    let kind = usual_kind(recording, at);
    Source { column: at, range: 0..width, step: Step::Here, kind, scale: 1.0, wave: Wave::None }
}

/// Truth values are kept, other numbers change evenly.
fn usual_kind(recording: &Recording, at: usize) -> Kind {
    let truth = |x: &f64| *x == 0.0 || *x == 1.0;
    let all = || recording.episodes.iter().all(|e| e.data[at].iter().all(truth));
    if !recording.columns[at].dtype.is_continuous() && all() { Kind::Hold } else { Kind::Linear }
}

pub(crate) fn resolve(recording: &Recording, part: &Part) -> Result<Vec<Source>, MapError> {
    let file = || recording.source.clone();
    let source = |at: usize, range: Range<usize>| Source {
        column: at,
        range,
        step: part.step,
        kind: part.kind.unwrap_or_else(|| usual_kind(recording, at)),
        scale: part.scale,
        wave: part.wave,
    };
    // A name may itself end in brackets, as columns of tables do.
    let bracketed = part
        .range
        .as_ref()
        .and_then(|r| (r.len() == 1).then(|| format!("{}[{}]", part.column, r.start)));
    if let Some(at) = bracketed.and_then(|name| column(recording, &name)) {
        return Ok(vec![source(at, 0..recording.columns[at].width)]);
    }
    let found = match column(recording, &part.column) {
        Some(at) => vec![at],
        None => numbered(recording, &part.column),
    };
    let quaternion = matches!(part.kind, Some(Kind::Quaternion { .. }));
    let width: usize = found.iter().map(|&at| recording.columns[at].width).sum();
    let range = part.range.clone().unwrap_or(0..width);
    if found.is_empty() {
        return Err(MapError::NoColumn {
            file: file(),
            column: part.column.clone(),
            known: known(recording),
        });
    }
    if range.end > width || (quaternion && range.len() != 4) {
        let column = part.column.clone();
        if range.end <= width {
            let term = format!("{column}:quat");
            return Err(MapError::Width { file: file(), term, needed: 4, found: range.len() });
        }
        return Err(MapError::Range { file: file(), column, width, range });
    }
    let mut start = 0;
    let mut sources = vec![];
    for at in found {
        let end = start + recording.columns[at].width;
        let (from, to) = (range.start.max(start), range.end.min(end));
        if from < to {
            sources.push(source(at, from - start..to - start));
        }
        start = end;
    }
    Ok(sources)
}

/// Columns `name0`, `name_1`, `name[2]`, `name.3` in the order of their numbers.
fn numbered(recording: &Recording, name: &str) -> Vec<usize> {
    let mut found: Vec<(u64, usize)> = vec![];
    for (at, column) in recording.columns.iter().enumerate() {
        let Some(rest) = column.name.strip_prefix(name) else { continue };
        let rest = rest.trim_start_matches(['_', '.', '[', '-']).trim_end_matches(']');
        if let Some(("", number)) = names::numbered(rest) {
            found.push((number, at));
        }
    }
    found.sort_unstable();
    found.into_iter().map(|(_, at)| at).collect()
}

fn episode(
    recording: &Recording,
    n: usize,
    sides: &[Vec<Source>; 2],
    period_s: f64,
    options: &MapOptions<'_>,
    notes: &mut Vec<String>,
) -> Result<MappedEpisode, MapError> {
    let recorded = &recording.episodes[n];
    let place = Place::file(&recording.source).episode(recorded.name.clone());
    let grid = if options.resample {
        let even = || (0..recorded.length).map(|t| t as f64 * period_s).collect();
        let times = recorded.times_s.clone().unwrap_or_else(even);
        resample::check_times(&times).map_err(|row| MapError::Times {
            place: Box::new(place.clone()),
            row,
            earlier: times[row.saturating_sub(1)],
            later: times[row],
        })?;
        if let Some((row, gap)) = resample::gap(&times) {
            notes.push(format!("{place}: {gap:.3} s pass after row {row}; interpolated over"));
        }
        Some((resample::grid(&times, options.dt_s), times))
    } else {
        None
    };
    // Rows of every source, with the one after the last step where the file has it.
    let mut length = grid.as_ref().map_or(recorded.length, |(grid, _)| grid.len());
    let mut tracks: [Vec<Vec<f64>>; 2] = [vec![], vec![]];
    for (tracks, sources) in tracks.iter_mut().zip(sides) {
        for source in sources {
            let place = recording.place(n, source.column);
            let track = Track::of(recording, n, source.column, source.range.clone(), source.kind);
            let track = track.map_err(|(step, norm)| MapError::Quaternion {
                place: Box::new(place),
                step,
                norm,
            })?;
            let track = match &grid {
                Some((grid, times)) => track.resampled(times, period_s, grid, options.dt_s),
                None => track,
            };
            let track = stepped(track, source.step, options.dt_s);
            length = length.min(track.len() / source.range.len());
            tracks.push(track);
        }
    }
    let mut mapped = MappedEpisode { name: recorded.name.clone(), length, ..Default::default() };
    for t in 0..length {
        let sides = sides.iter().zip(&tracks);
        for ((sources, tracks), out) in sides.zip([&mut mapped.observations, &mut mapped.actions]) {
            for (source, track) in sources.iter().zip(tracks) {
                let width = source.range.len();
                for (component, x) in track[t * width..][..width].iter().enumerate() {
                    let value = source.wave.of(x * source.scale);
                    let narrow = value as f32;
                    if !narrow.is_finite() {
                        let place = Box::new(recording.place(n, source.column));
                        return Err(MapError::NonFinite { place, step: t, component, value });
                    }
                    out.push(narrow);
                }
            }
        }
    }
    Ok(mapped)
}

/// Rows of the step that is asked for; fewer where one further on is needed and not there.
fn stepped(track: Track, step: Step, dt_s: f64) -> Vec<f64> {
    let Track { mut rows, width, last, kind } = track;
    if step != Step::Here {
        rows.extend(last.into_iter().flatten());
    }
    match step {
        Step::Here => rows,
        Step::Next(steps) => rows.split_off(steps.saturating_mul(width).min(rows.len())),
        Step::Rate => {
            let change = |i: usize| {
                let change = rows[i + width] - rows[i];
                let turn = std::f64::consts::TAU;
                let wrapped = (change / turn).round() * turn;
                let change = if kind == Kind::Angle { change - wrapped } else { change };
                change / dt_s
            };
            (0..rows.len().saturating_sub(width)).map(change).collect()
        }
    }
}

fn label_of(recording: &Recording, n: usize, column: usize) -> Result<u32, MapError> {
    let width = recording.columns[column].width;
    let data = &recording.episodes[n].data[column];
    let first = data.first().copied().unwrap_or(f64::NAN);
    let whole = first.fract() == 0.0 && (0.0..4294967296.0).contains(&first);
    let wrong = if whole && width == 1 { data.iter().position(|&x| x != first) } else { Some(0) };
    match wrong {
        None => Ok(first as u32),
        Some(step) => Err(MapError::Label {
            place: Box::new(recording.place(n, column)),
            step,
            found: data.get(step).copied().unwrap_or(f64::NAN),
        }),
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.term)?;
        for (i, part) in self.parts.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}", part.column)?;
            if let Some(range) = &part.range {
                write!(f, "[{}..{}]", range.start, range.end)?;
            }
        }
        Ok(())
    }
}
