//! Which columns of a recording fill a term.

use std::ops::Range;

use super::{MapError, Part, Step, Wave};
use crate::{Recording, names, resample::Kind};

/// A part with its column found.
pub(crate) struct Source {
    pub(crate) column: usize,
    pub(crate) range: Range<usize>,
    pub(super) step: Step,
    pub(super) kind: Kind,
    pub(crate) scale: f64,
    pub(super) wave: Wave,
}

/// Columns and widths, for messages.
pub(super) fn known(recording: &Recording) -> String {
    let columns: Vec<String> =
        recording.columns.iter().map(|c| format!("`{}` {}", c.name, c.width)).collect();
    let left: Vec<&str> =
        recording.notes.iter().filter(|n| n.contains("left out")).map(String::as_str).collect();
    match left.len() {
        0 => columns.join(", "),
        _ => format!("{} ({})", columns.join(", "), left.join("; ")),
    }
}

pub(super) fn column(recording: &Recording, name: &str) -> Option<usize> {
    recording.columns.iter().position(|c| c.name == name)
}

/// A whole column as it stands.
pub(super) fn plain(recording: &Recording, at: usize) -> Source {
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
