//! The rows of an episode: what its columns hold at the task's steps, and its label.

use super::{MapError, MapOptions, MappedEpisode, Step, columns::Source};
use crate::{
    Place, Recording,
    resample::{self, Kind, Track},
};

pub(super) fn episode(
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
        let grid = resample::grid(&times, options.dt_s).ok_or_else(|| MapError::Span {
            place: Box::new(place.clone()),
            rows: times.len(),
            span_s: times.last().zip(times.first()).map_or(0.0, |(last, first)| last - first),
            needed_s: options.dt_s,
        })?;
        Some((grid, times))
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

pub(super) fn label_of(recording: &Recording, n: usize, column: usize) -> Result<u32, MapError> {
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
