//! What a person says of a recording where the file does not: which column numbers the episodes, which has
//! the time, how long a step takes. And what time stamps say themselves: where they start anew, so does an
//! episode.

use crate::{
    Episode, Recording,
    mapping::{MapError, Part, Source, resolve},
};

/// What is said of a recording.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Layout {
    /// Number that changes from episode to episode.
    pub episodes: Option<Part>,
    /// Time of each step, in seconds when multiplied as its part says.
    pub time: Option<Part>,
    /// Time between steps in seconds.
    pub dt_s: Option<f64>,
}

/// Lays out a recording as it is said and as its time stamps say.
///
/// # Errors
/// [`MapError`] naming the column that is not there or has not one component, or a period other than the
/// file's own.
pub fn lay_out(recording: &mut Recording, layout: &Layout) -> Result<(), MapError> {
    if let Some(part) = &layout.time {
        let source = number(recording, "--time", part)?;
        for episode in &mut recording.episodes {
            let times = values(recording.columns[source.column].width, episode, &source);
            episode.times_s = Some(times.collect());
        }
    }
    if let Some(part) = &layout.episodes {
        let source = number(recording, "--episodes", part)?;
        let width = recording.columns[source.column].width;
        let mut changes = |episode: &Episode| {
            let all: Vec<f64> = values(width, episode, &source).collect();
            (1..all.len()).filter(|&i| all[i] != all[i - 1]).collect()
        };
        cut(recording, &mut changes);
    }
    if let Some(median_s) = recording.median_dt() {
        let found = cut(recording, &mut |episode| restarts(episode, median_s));
        if found > 0 {
            let count = recording.episodes.len();
            let what = format!("time starts anew in {found} rows: cut there into {count} episodes");
            recording.notes.push(what);
        }
    }
    if let Some(said_s) = layout.dt_s {
        if let Some(found_s) = recording.dt().filter(|found| (said_s / found - 1.0).abs() > 0.01) {
            let file = recording.source.clone();
            return Err(MapError::OtherPeriod { file, found_s, said_s });
        }
        recording.dt_s.get_or_insert(said_s);
    }
    Ok(())
}

/// Finds the column of a part that is one number a step.
fn number(recording: &Recording, option: &str, part: &Part) -> Result<Source, MapError> {
    let mut found = resolve(recording, part)?;
    match (found.len(), found.pop()) {
        (1, Some(source)) if source.range.len() == 1 => Ok(source),
        (_, last) => Err(MapError::Width {
            file: recording.source.clone(),
            term: option.to_string(),
            needed: 1,
            found: found.iter().chain(&last).map(|source| source.range.len()).sum(),
        }),
    }
}

fn values<'a>(
    width: usize,
    episode: &'a Episode,
    source: &Source,
) -> impl Iterator<Item = f64> + use<'a> {
    let scale = source.scale;
    let numbers = episode.data[source.column].iter().skip(source.range.start).step_by(width);
    numbers.map(move |x| x * scale)
}

/// Rows in which time is back at the start and goes on from there. A clock that runs back anywhere else, or for a
/// single row, is a fault and no new episode.
fn restarts(episode: &Episode, median_s: f64) -> Vec<usize> {
    let Some(times) = &episode.times_s else { return vec![] };
    let goes_on = |i: usize| {
        times.get(i + 1).is_some_and(|next| {
            let step = next - times[i];
            step > 0.0 && step < 3.0 * median_s
        })
    };
    let back = |&i: &usize| times[i] < times[i - 1] && times[i] < times[0] + 1.5 * median_s;
    (1..times.len()).filter(|i| back(i) && goes_on(*i)).collect()
}

/// Cuts each episode before the rows that `starts` names, and says how many those are.
fn cut(recording: &mut Recording, starts: &mut dyn FnMut(&Episode) -> Vec<usize>) -> usize {
    let widths: Vec<usize> = recording.columns.iter().map(|c| c.width).collect();
    let mut count = 0;
    let mut pieces = vec![];
    for mut episode in std::mem::take(&mut recording.episodes) {
        let starts = starts(&episode);
        count += starts.len();
        // From the last to the first, each taken off the end.
        let mut behind = vec![];
        for (n, &start) in starts.iter().enumerate().rev() {
            let tail = |(rows, width): (&mut Vec<f64>, &usize)| rows.split_off(start * width);
            behind.push(Episode {
                name: format!("{}/{}", episode.name, n + 1),
                length: episode.length - start,
                data: episode.data.iter_mut().zip(&widths).map(tail).collect(),
                last: std::mem::replace(&mut episode.last, vec![None; widths.len()]),
                times_s: episode.times_s.as_mut().map(|times| times.split_off(start)),
                end: std::mem::take(&mut episode.end),
            });
            episode.length = start;
        }
        if !starts.is_empty() {
            episode.name.push_str("/0");
        }
        pieces.push(episode);
        pieces.extend(behind.into_iter().rev());
    }
    recording.episodes = pieces;
    count
}
