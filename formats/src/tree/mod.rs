//! Named arrays in no agreed layout (NumPy archives, MATLAB's files, plain HDF5, safetensors) cut
//! into episodes.
//!
//! These layouts are told apart, in this order:
//!
//! * a list (MATLAB's cell or structure array), one entry an episode;
//! * groups that are numbered or hold the same names, one group an episode;
//! * numbered matrices (`pos_0`, `vel_0`, `pos_1`, …), one number an episode;
//! * long arrays of all episodes' rows with their ends: `indices`, `episode_ends`, `lengths`,
//!   `episode_index`, or flags such as `terminals` and `timeouts`;
//! * `[N, T, width]` stacks, padded behind `lengths` or with NaN;
//! * one episode.

mod axes;
mod ends;

use std::{collections::BTreeMap, path::Path};

use crate::{
    Format, FormatError, Place, Problem, Recording,
    names::{self, Role},
    recording::{Array, Part, assemble},
};

use axes::{longer_second, squeeze, time_axis};
pub(crate) use ends::{EPISODE_INDEX, by_index, is_index};
use ends::{Ends, LENGTHS, cut, flagged_ends, misstated, stated_ends, usual_rows};

/// What a file holds under a name.
pub(crate) enum Node {
    /// Numbers.
    Array(Array),
    /// Named parts.
    Group(Vec<(String, Node)>),
    /// Parts in order.
    List(Vec<Node>),
    /// A text.
    Text(String),
    /// Something that is no column, and why.
    Left(String),
}

/// Which axis of a matrix is taken for time where its neighbours do not tell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TimeAxis {
    /// The first: NumPy, HDF5.
    First,
    /// The longer one: MATLAB, where both are in use.
    Longer,
}

/// Cuts the parts of a file into episodes.
pub(crate) fn recording(
    source: &Path,
    format: Format,
    root: Vec<(String, Node)>,
    axis: TimeAxis,
) -> Result<Recording, FormatError> {
    let mut found = Found { matlab: axis == TimeAxis::Longer, ..Found::default() };
    let root = unwrapped(root);
    let mut parts = found.parts(root);
    if axis == TimeAxis::Longer {
        parts.iter_mut().flat_map(|p| &mut p.arrays).for_each(|(_, a)| squeeze(a));
    }
    if let Some(reason) = found.refused {
        return Err(Place::file(source).unreadable(reason));
    }
    if found.one_by_one {
        found.turn(&mut parts, axis);
    }
    found.drop_misfits(&mut parts);
    let scalar = |part: &Part| {
        let named = part.arrays.iter().filter(|(_, a)| a.data.len() == 1);
        let dt_s = named.filter_map(|(name, a)| step_of(name, a.data[0])).next();
        Some((part.name.clone(), dt_s?))
    };
    let each: BTreeMap<String, f64> = parts.iter().filter_map(scalar).collect();
    let first = parts.first().and_then(|part| each.get(&part.name).copied());
    let mut recording = assemble(source, format, parts).map_err(|e| match e.problem {
        Problem::Empty if !found.notes.is_empty() => {
            Place::file(source).error(Problem::AllLeft { left: found.notes.join("; ") })
        }
        _ => e,
    })?;
    recording.dt_s = found.dt_s.or(first);
    if each.values().any(|dt_s| recording.dt_s.is_some_and(|one| (dt_s / one - 1.0).abs() > 0.01)) {
        for episode in &mut recording.episodes {
            if let Some(&dt_s) = each.get(&episode.name) {
                episode.timed(dt_s);
            }
        }
    }
    recording.metadata = found.metadata;
    found.notes.append(&mut recording.notes);
    recording.notes = found.notes;
    Ok(recording)
}

/// The control period that a number of this name states, in seconds.
pub(crate) fn step_of(name: &str, value: f64) -> Option<f64> {
    let dt_s = match name.rsplit(['/', '.']).next()?.to_ascii_lowercase().as_str() {
        "dt" | "dt_s" | "ts" | "timestep" | "time_step" | "sampling_time" => value,
        "dt_ms" => value * 1e-3,
        "fps" | "hz" | "rate" | "rate_hz" | "frequency" | "control_freq" => 1.0 / value,
        _ => return None,
    };
    (dt_s.is_finite() && dt_s > 0.0).then_some(dt_s)
}

#[derive(Default)]
struct Found {
    metadata: BTreeMap<String, String>,
    notes: Vec<String>,
    dt_s: Option<f64>,
    /// Whether the file is MATLAB's, whose users put axes in any order.
    matlab: bool,
    /// Each episode has matrices of its own, so that their shapes can tell where time runs.
    one_by_one: bool,
    /// Why what the file states of its episodes cannot be.
    refused: Option<String>,
}

/// A file that holds nothing but one group is that group.
fn unwrapped(mut root: Vec<(String, Node)>) -> Vec<(String, Node)> {
    // Deeper nests are no layout of demonstrations.
    for _ in 0..8 {
        match root.as_mut_slice() {
            [(_, Node::Group(inner))] => root = std::mem::take(inner),
            _ => break,
        }
    }
    root
}

impl Found {
    fn parts(&mut self, root: Vec<(String, Node)>) -> Vec<Part> {
        let mut lists = vec![];
        let mut groups = vec![];
        let mut arrays = vec![];
        for (name, node) in root {
            match node {
                Node::List(items) => lists.push((name, items)),
                // A structure array of MATLAB's in HDF5: a list for each of its fields.
                Node::Group(items) if self.matlab && are_lists(&items) => {
                    let fields = items.into_iter().filter_map(|(name, node)| match node {
                        Node::List(items) => Some((name, items)),
                        _ => None,
                    });
                    lists.extend(fields);
                }
                Node::Group(items) => groups.push((name, items)),
                Node::Array(array) => arrays.push((name, array)),
                other => self.say(&name, other),
            }
        }
        let lengths: Vec<usize> = lists.iter().map(|(_, items)| items.len()).collect();
        if let Some(count) = lengths.into_iter().max().filter(|&n| n > 0) {
            self.one_by_one = true;
            self.scalars(&mut arrays);
            for (name, _) in arrays {
                self.notes.push(format!("`{name}` is left out: it is beside the episodes' list"));
            }
            return self.lists(lists, count);
        }
        if are_episodes(&groups) {
            self.one_by_one = true;
            self.scalars(&mut arrays);
            for (name, _) in arrays {
                self.notes.push(format!("`{name}` is left out: it is beside the episodes' groups"));
            }
            groups.sort_by(|a, b| names::natural_order(&a.0, &b.0));
            return groups.into_iter().map(|(name, g)| Part::new(name, self.flat("", g))).collect();
        }
        for (name, group) in groups {
            arrays.extend(self.flat(&name, group));
        }
        self.flat_parts(arrays)
    }

    fn say(&mut self, name: &str, node: Node) {
        match node {
            Node::Text(text) => {
                self.metadata.insert(name.to_string(), text);
            }
            Node::Left(why) => self.notes.push(format!("`{name}` is left out: {why}")),
            _ => {}
        }
    }

    /// Single numbers beside arrays are about the file, not a step.
    fn scalars(&mut self, arrays: &mut Vec<(String, Array)>) {
        arrays.retain(|(name, array)| {
            let [value] = array.data[..] else { return true };
            self.dt_s = self.dt_s.or(step_of(name, value));
            self.metadata.insert(name.clone(), value.to_string());
            false
        });
    }

    /// The arrays of a group and of the groups in it, by path.
    fn flat(&mut self, prefix: &str, group: Vec<(String, Node)>) -> Vec<(String, Array)> {
        let mut arrays = vec![];
        let mut waiting: Vec<(String, Node)> = vec![];
        let path = |prefix: &str, name: &str| match prefix {
            "" => name.to_string(),
            _ => format!("{prefix}/{name}"),
        };
        waiting.extend(group.into_iter().rev().map(|(name, node)| (path(prefix, &name), node)));
        while let Some((name, node)) = waiting.pop() {
            match node {
                Node::Array(array) => arrays.push((name, array)),
                Node::Group(group) => {
                    waiting.extend(group.into_iter().rev().map(|(n, node)| (path(&name, &n), node)))
                }
                // A list in an episode has no step to belong to.
                Node::List(_) => self.notes.push(format!("`{name}` is left out: a nested list")),
                other => self.say(&name, other),
            }
        }
        arrays
    }

    fn lists(&mut self, lists: Vec<(String, Vec<Node>)>, count: usize) -> Vec<Part> {
        let (lists, short): (Vec<_>, Vec<_>) =
            lists.into_iter().partition(|(_, items)| items.len() == count);
        for (name, items) in short {
            let n = items.len();
            self.notes.push(format!("`{name}` is left out: {n} entries, others have {count}"));
        }
        let alone = lists.len() == 1;
        let mut parts: Vec<Part> = (0..count).map(|i| Part::new(i.to_string(), vec![])).collect();
        for (name, items) in lists {
            for (part, item) in parts.iter_mut().zip(items) {
                match item {
                    Node::Array(array) => part.arrays.push((name.clone(), array)),
                    Node::Group(group) => {
                        let prefix = if alone { "" } else { &name };
                        let arrays = self.flat(prefix, group);
                        part.arrays.extend(arrays);
                    }
                    // MATLAB wraps a structure in a cell of one at times.
                    Node::List(mut one) if one.len() == 1 => match one.remove(0) {
                        Node::Array(array) => part.arrays.push((name.clone(), array)),
                        Node::Group(group) => part.arrays.extend(self.flat("", group)),
                        _ => {}
                    },
                    _ => {}
                }
            }
        }
        parts
    }

    fn flat_parts(&mut self, mut arrays: Vec<(String, Array)>) -> Vec<Part> {
        if let Some(parts) = numbered_parts(&mut arrays) {
            self.one_by_one = true;
            self.scalars(&mut arrays);
            for (name, _) in arrays {
                self.notes.push(format!(
                    "`{name}` is left out: it is beside matrices whose numbers are taken for the episodes'"
                ));
            }
            return parts;
        }
        let many = arrays.iter().any(|(_, a)| a.data.len() > 1);
        if many {
            self.scalars(&mut arrays);
        }
        self.refused = misstated(&arrays).err();
        if let Some(ends) = stated_ends(&arrays) {
            return self.cut(arrays, &ends);
        }
        if let Some(parts) = self.stacks(&arrays) {
            return parts;
        }
        if let Some(ends) = flagged_ends(&arrays) {
            return self.cut(arrays, &ends);
        }
        self.one_by_one = true;
        vec![Part::new("0", arrays)]
    }

    /// Long arrays cut at the ends; says what does not fit them.
    fn cut(&mut self, arrays: Vec<(String, Array)>, ends: &Ends) -> Vec<Part> {
        let (parts, left) = cut(arrays, ends);
        self.notes.extend(left);
        parts
    }

    /// `[N, T, …]` arrays, with lengths or padded with NaN.
    fn stacks(&mut self, arrays: &[(String, Array)]) -> Option<Vec<Part>> {
        let stacks = arrays.iter().filter(|(_, a)| a.shape.len() >= 3);
        let count = stacks.clone().next()?.1.shape[0];
        if stacks.clone().any(|(_, a)| a.shape[0] != count) {
            return None;
        }
        let action = stacks.clone().find(|(name, _)| names::role(name) == Role::Action);
        let room = action.or(stacks.clone().min_by_key(|(_, a)| a.shape[1]))?.1.shape[1];
        let is_lengths = |name: &str| LENGTHS.contains(&name.to_ascii_lowercase().as_str());
        let lengths = arrays.iter().find(|(name, a)| is_lengths(name) && a.data.len() == count);
        for (name, array) in arrays {
            if !is_lengths(name) && array.shape.first() != Some(&count) {
                let shape = &array.shape;
                self.notes.push(format!("`{name}` is left out: {shape:?} beside {count} episodes"));
            }
        }
        let mut parts = vec![];
        let mut trimmed = 0;
        for n in 0..count {
            let rows = match lengths {
                // One out of range has been refused.
                Some((_, lengths)) => (lengths.data[n].max(0.0) as usize).min(room),
                None => {
                    let full = |(_, a): &(String, Array)| a.dtype.is_continuous();
                    let rows = stacks.clone().filter(|s| full(s)).map(|(_, a)| {
                        let episode = row_of(a, n);
                        let width = episode.width().max(1);
                        let empty = |row: &[f64]| row.iter().all(|x| x.is_nan());
                        let pad = episode.data.chunks(width).rev().take_while(|r| empty(r)).count();
                        // Beside T + 1 observations, T actions.
                        (a.shape[1] - pad).min(room)
                    });
                    rows.min().unwrap_or(room)
                }
            };
            trimmed += usize::from(lengths.is_none() && rows < room);
            let mut part = Part::new(n.to_string(), vec![]);
            for (name, array) in arrays {
                if is_lengths(name) || array.shape.first() != Some(&count) {
                    continue;
                }
                let mut episode = match array.shape.len() {
                    1 => array.slice(n..n + 1),
                    _ => row_of(array, n),
                };
                if array.shape.len() > 1 {
                    let extra = usize::from(array.shape[1] == room + 1);
                    episode = episode.slice(0..(rows + extra).min(episode.rows()));
                }
                part.arrays.push((name.clone(), episode));
            }
            parts.push(part);
        }
        if trimmed > 0 {
            self.notes.push(format!("{trimmed} episodes end before their padding of NaN"));
        }
        if let (true, Some((name, array))) = (self.matlab, stacks.clone().next()) {
            let (steps, width) = (array.shape[1], array.shape[2..].iter().product::<usize>());
            self.notes.push(format!(
                "`{name}` is taken for {count} episodes of {steps} steps with {width} components; if they lie in \
                 another order, permute the axes, or save a cell with one matrix an episode"
            ));
        }
        Some(parts)
    }

    /// Puts time on the first axis of every matrix.
    fn turn(&mut self, parts: &mut [Part], axis: TimeAxis) {
        let turns = match time_axis(parts) {
            Some(axis) => axis == 1,
            None => axis == TimeAxis::Longer && parts.iter().all(longer_second),
        };
        if !turns {
            return;
        }
        let mut turned: Vec<String> = vec![];
        for (name, array) in parts.iter_mut().flat_map(|part| &mut part.arrays) {
            if array.shape.len() == 2 {
                *array = array.transposed();
                if !turned.contains(name) {
                    turned.push(name.clone());
                }
            }
        }
        if !turned.is_empty() {
            let names = turned.join("`, `");
            self.notes.push(format!("time runs along the second axis of `{names}`"));
        }
    }

    /// Leaves out what has no row for each step: such files hold all kinds of things.
    fn drop_misfits(&mut self, parts: &mut [Part]) {
        let mut said: Vec<String> = vec![];
        for part in parts {
            let action = part.arrays.iter().find(|(name, _)| names::role(name) == Role::Action);
            let length = action.map_or_else(|| usual_rows(&part.arrays), |(_, a)| a.rows());
            part.arrays.retain(|(name, array)| {
                let rows = array.rows();
                let fits = rows == 1 || rows == length || rows == length + 1;
                if !fits && !said.contains(name) {
                    said.push(name.clone());
                    self.notes.push(format!(
                        "column `{name}` is left out: {rows} rows where episode `{}` has {length}",
                        part.name
                    ));
                }
                fits
            });
        }
    }
}

fn are_lists(group: &[(String, Node)]) -> bool {
    !group.is_empty() && group.iter().all(|(_, node)| matches!(node, Node::List(_)))
}

/// Whether groups are episodes: several that are numbered alike or hold the same names, or one
/// that is numbered. Those of observations and actions may hold the same names too, and are none.
fn are_episodes(groups: &[(String, Vec<(String, Node)>)]) -> bool {
    let stems: Vec<_> = groups.iter().map(|(name, _)| names::numbered(name)).collect();
    let Some(first) = stems.first() else { return false };
    let alike = |stem: &Option<(&str, u64)>| matches!((stem, first), (Some((a, _)), Some((b, _))) if a == b);
    if stems.iter().all(alike) {
        return true;
    }
    let within = |group: &[(String, Node)]| {
        let mut names: Vec<String> = group.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        names
    };
    let expected = within(&groups[0].1);
    let side = |role| matches!(role, Role::Observation | Role::NextObservation | Role::Action);
    let sides = groups.iter().any(|(name, _)| side(names::role(name)));
    groups.len() > 1 && !sides && groups.iter().all(|(_, group)| within(group) == expected)
}

/// Matrices that are numbered: those of one number are an episode.
fn numbered_parts(arrays: &mut Vec<(String, Array)>) -> Option<Vec<Part>> {
    let mut by_stem: BTreeMap<String, Vec<(u64, usize)>> = BTreeMap::new();
    for (at, (name, array)) in arrays.iter().enumerate() {
        if array.shape.len() >= 2
            && let Some((stem, number)) = names::numbered(name)
        {
            by_stem.entry(stem.to_string()).or_default().push((number, at));
        }
    }
    let most = by_stem.values().map(Vec::len).max().filter(|&n| n >= 2)?;
    by_stem.retain(|_, found| found.len() == most);
    let mut parts: BTreeMap<u64, Part> = BTreeMap::new();
    let mut taken = vec![];
    for (stem, found) in &by_stem {
        let column = stem.trim_end_matches(['_', '-', '.', '/']);
        for &(number, at) in found {
            let part = parts.entry(number).or_insert_with(|| Part::new(number.to_string(), vec![]));
            part.arrays.push((column.to_string(), arrays[at].1.clone()));
            taken.push(at);
        }
    }
    let mut at = 0;
    arrays.retain(|_| {
        at += 1;
        !taken.contains(&(at - 1))
    });
    Some(parts.into_values().collect())
}

/// Row `n` of a stack as an array of its own.
fn row_of(array: &Array, n: usize) -> Array {
    let one = array.slice(n..n + 1);
    Array { shape: array.shape[1..].to_vec(), ..one }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::recording::Dtype;

    fn array(name: &str, shape: &[usize], data: &[f64]) -> (String, Node) {
        let (shape, dtype) = (shape.to_vec(), Dtype::Float(64));
        (name.to_string(), Node::Array(Array { shape, dtype, data: data.to_vec() }))
    }

    fn read(arrays: Vec<(String, Node)>) -> Result<Recording, String> {
        let read = recording(Path::new("x.npz"), Format::Npz, arrays, TimeAxis::First);
        read.map_err(|e| e.to_string())
    }

    fn numbers(n: usize) -> Vec<f64> {
        (0..n).map(|i| (i as f64).sin()).collect()
    }

    /// Three episodes in arrays with room for four steps, and what else there is.
    fn stacked(more: (String, Node)) -> Result<Recording, String> {
        let (obs, act) = (numbers(3 * 4 * 2), numbers(3 * 4));
        read(vec![
            array("observations", &[3, 4, 2], &obs),
            array("actions", &[3, 4, 1], &act),
            more,
        ])
    }

    /// Twelve rows, and what else there is.
    fn flat(more: (String, Node)) -> Result<Recording, String> {
        let (obs, act) = (numbers(12 * 2), numbers(12));
        read(vec![array("observations", &[12, 2], &obs), array("actions", &[12, 1], &act), more])
    }

    #[test]
    fn lengths_that_cannot_be_are_refused_with_what_there_is() {
        let rows = |recording: Recording| -> Vec<usize> {
            recording.episodes.iter().map(|e| e.length).collect()
        };
        assert_eq!(rows(stacked(array("lengths", &[3], &[4.0, 2.0, 3.0])).unwrap()), [4, 2, 3]);
        for (name, lengths, needed) in [
            ("lengths", &[4.0, 2.0][..], "2 numbers for 3 episodes"),
            ("lengths", &[4.0, 5.0, 1.0], "says 5 for episode 1, its arrays have 4 steps"),
            ("lengths", &[4.0, 2.5, 1.0], "holds 2.5"),
            ("lengths", &[4.0, -2.0, 1.0], "holds -2"),
            ("lenghts", &[4.0, 2.0, 1.0], "call it `lengths`"),
            ("lens", &[4.0, 2.0, 1.0], "call it `lengths`"),
            ("ep_len", &[4.0, 2.0, 1.0], "call it `lengths`"),
            ("n_steps", &[4.0, 2.0, 1.0], "call it `lengths`"),
        ] {
            let error = stacked(array(name, &[lengths.len()], lengths)).unwrap_err();
            assert!(error.contains(needed) && error.contains(name), "{error}");
        }
        assert_eq!(rows(flat(array("lengths", &[3], &[4.0, 2.0, 6.0])).unwrap()), [4, 2, 6]);
        assert_eq!(rows(flat(array("episode_ends", &[3], &[4.0, 6.0, 12.0])).unwrap()), [4, 2, 6]);
        for (name, stated, needed) in [
            ("lengths", [4.0, 2.0, 3.0], "adds up to 9 steps, the arrays have 12"),
            ("episode_ends", [6.0, 4.0, 12.0], "must grow"),
            ("episode_ends", [4.0, 6.0, 15.0], "end at most at 12"),
            ("episode_ends", [-4.0, 6.0, 12.0], "holds -4"),
        ] {
            let error = flat(array(name, &[3], &stated)).unwrap_err();
            assert!(error.contains(needed) && error.contains(name), "{error}");
        }
        // A column of that name for each step is one.
        let muscle = flat(array("length", &[12], &numbers(12))).unwrap();
        assert!(muscle.columns.iter().any(|c| c.name == "length"));
    }

    #[test]
    fn episodes_that_state_their_own_period_have_their_own_time() {
        let episode = |dt_s: f64| {
            Node::Group(vec![array("q", &[3, 1], &numbers(3)), array("dt", &[1], &[dt_s])])
        };
        let times = |a: f64, b: f64| {
            let episodes =
                [("demo_0", a), ("demo_1", b)].map(|(n, dt)| (n.to_string(), episode(dt)));
            let recording = read(episodes.into()).unwrap();
            assert_eq!(recording.dt_s, Some(a));
            recording.episodes.into_iter().map(|e| e.times_s).collect::<Vec<_>>()
        };
        assert_eq!(times(0.5, 0.5), [None, None]);
        assert_eq!(times(0.5, 0.25), [Some(vec![0.0, 0.5, 1.0]), Some(vec![0.0, 0.25, 0.5])]);
    }

    #[test]
    fn what_does_not_fit_the_episodes_is_said() {
        let said = |recording: Recording, name: &str| {
            let left = format!("`{name}` is left out");
            recording.notes.iter().any(|n| n.contains(&left)).then_some(recording)
        };
        let arms = ["arm_0", "arm_1", "actions"].map(|name| array(name, &[4, 2], &numbers(8)));
        assert_eq!(said(read(arms.into()).unwrap(), "actions").unwrap().episodes.len(), 2);
        assert!(said(stacked(array("t", &[4], &numbers(4))).unwrap(), "t").is_some());
        let (obs, act) = (numbers(9 * 2), numbers(12));
        let recording = read(vec![
            array("obs", &[9, 2], &obs),
            array("actions", &[12, 1], &act),
            array("lengths", &[2], &[4.0, 8.0]),
        ])
        .unwrap();
        assert!(said(recording.clone(), "obs").is_some() && said(recording, "lengths").is_none());
    }

    #[test]
    fn what_is_said_once_an_episode_is_kept_as_a_column() {
        let (obs, act) = (numbers(12 * 2), numbers(12));
        let recording = read(vec![
            array("observations", &[12, 2], &obs),
            array("actions", &[12, 1], &act),
            array("episode_ends", &[3], &[4.0, 6.0, 12.0]),
            array("way", &[3], &[0.0, 2.0, 1.0]),
        ])
        .unwrap();
        let at = recording.columns.iter().position(|c| c.name == "way").unwrap();
        let ways: Vec<f64> = recording.episodes.iter().map(|e| e.data[at][0]).collect();
        assert_eq!(ways, [0.0, 2.0, 1.0]);
    }
}
