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
//! Terms without a mapping take the column of their name (`arm`, `observations/arm`), one that the
//! file counts to their side (observations or actions) before others and never one of another side;
//! or, where a side has none at all, the file's only column of that side if its width fits.

mod columns;
mod error;
mod grammar;
mod rows;

pub use error::MapError;
pub use grammar::{Mapping, Part, Step, Wave};

pub(crate) use columns::{Source, resolve};
use columns::{column, known, plain};
use rows::{episode, label_of};

use crate::{Column, Episode, Place, Recording, Role, tree};

/// A named part of an observation or action and its components.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Name in the task.
    pub name: String,
    /// Components.
    pub width: usize,
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
            || tree::is_index(&column.name)
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
    if options.resample {
        return Ok(found_s);
    }
    let other = |place: Place, found_s: f64| {
        Err(MapError::Period { place: Box::new(place), found_s, needed_s: options.dt_s })
    };
    if (found_s / options.dt_s - 1.0).abs() > 0.01 {
        return other(Place::file(&file), found_s);
    }
    // Where no stamps are of that rate, the file states it, and they may count steps.
    let timed = |e: &&Episode| e.times_s.as_ref().is_some_and(|times| times.len() > 1);
    let timed: Vec<&Episode> = recording.episodes.iter().filter(timed).collect();
    let rates: Vec<Option<f64>> = timed.iter().map(|e| e.other_rate(options.dt_s)).collect();
    if rates.contains(&None)
        && let Some((episode, found_s)) =
            timed.iter().zip(rates).find_map(|(e, rate)| Some((e, rate?)))
    {
        return other(Place::file(&file).episode(episode.name.clone()), found_s);
    }
    Ok(found_s)
}

/// The columns that a term's name and width mean: those of its side before others, and of these
/// the one of the whole name before those that end in it. Never one of another side.
fn named(recording: &Recording, role: Role, term: &Term) -> Vec<usize> {
    let sides = [Role::Observation, Role::NextObservation, Role::Action];
    let last = |name: &str| name.rsplit(['/', '.']).next() == Some(term.name.as_str());
    let mut best = (false, false);
    let mut found = vec![];
    for (at, column) in recording.columns.iter().enumerate() {
        let (own, whole) = (column.role() == role, column.name == term.name);
        let fits = (whole || last(&column.name)) && column.width == term.width;
        if !fits || (!own && sides.contains(&column.role())) || (own, whole) < best {
            continue;
        }
        if (own, whole) > best {
            best = (own, whole);
            found.clear();
        }
        found.push(at);
    }
    found
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
    let whole: usize = terms.iter().map(|t| t.width).sum();
    let open = |term: &Term| mapping(term).is_none() && named(recording, role, term).is_empty();
    if terms.iter().all(open) {
        let mut of_role = recording.columns.iter().enumerate().filter(|(_, c)| c.role() == role);
        if let (Some((at, column)), None) = (of_role.next(), of_role.next())
            && column.width == whole
        {
            return Ok(vec![plain(recording, at)]);
        }
    }
    let mut sources = vec![];
    for term in terms {
        let found = match (mapping(term), named(recording, role, term).as_slice()) {
            (Some(mapping), _) => {
                let mut found = vec![];
                for part in &mapping.parts {
                    found.extend(resolve(recording, part)?);
                }
                found
            }
            (None, &[at]) => vec![plain(recording, at)],
            (None, []) => {
                return Err(MapError::Unmapped {
                    file: recording.source.clone(),
                    side,
                    term: term.name.clone(),
                    width: term.width,
                    known: known(recording),
                });
            }
            (None, several) => {
                let name = |&at: &usize| format!("`{}`", recording.columns[at].name);
                return Err(MapError::Ambiguous {
                    file: recording.source.clone(),
                    side,
                    term: term.name.clone(),
                    columns: several.iter().map(name).collect::<Vec<_>>().join(", "),
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
