//! Long arrays of all episodes' rows: where episodes end in them, as other arrays state or flag it.

use std::collections::BTreeMap;

use crate::{
    names::{self, Role},
    recording::{Array, Part},
};

pub(super) const LENGTHS: [&str; 5] =
    ["lengths", "length", "episode_lengths", "traj_lengths", "ep_lengths"];
const INDICES: [&str; 16] = [
    EPISODE_INDEX,
    "episode_id",
    "episode_ids",
    "episode",
    "traj_id",
    "traj_index",
    "traj",
    "trajectory_id",
    "trajectory",
    "demo",
    "demo_id",
    "demo_index",
    "demonstration",
    "demonstration_id",
    "trial",
    "trial_id",
];
/// What readers call the number of an episode that they have found themselves.
pub(crate) const EPISODE_INDEX: &str = "episode_index";

const ENDS: [&str; 3] = ["episode_ends", "indices", "ends"];

/// Whether lengths or ends of episodes that a file states can be those of its arrays.
///
/// # Errors
/// What is stated and what there is.
pub(super) fn misstated(arrays: &[(String, Array)]) -> Result<(), String> {
    let stacks: Vec<&Array> =
        arrays.iter().map(|(_, a)| a).filter(|a| a.shape.len() >= 3).collect();
    let rows = usual_rows(arrays);
    for (name, array) in arrays {
        let lower = name.to_ascii_lowercase();
        let count = array.data.len();
        let fraction = array.data.iter().find(|x| x.fract() != 0.0 || **x < 0.0);
        let whole = || match fraction {
            Some(x) => Err(format!("`{name}` holds {x}, need whole numbers from 0 on")),
            None => Ok(()),
        };
        let known = LENGTHS.contains(&lower.as_str());
        if let Some(stack) = stacks.first() {
            let (episodes, room) = (stack.shape[0], stack.shape[1]);
            let vector = array.shape.iter().filter(|&&n| n != 1).count() <= 1;
            let alike = ["len", "step"].iter().any(|part| lower.contains(part));
            if !known && alike && vector && count == episodes && episodes > 1 {
                return Err(format!(
                    "`{name}` looks like the episodes' lengths: call it `lengths`, or leave it out"
                ));
            }
            // A column of numbers for each step may have the name as well.
            if !known || !vector {
                continue;
            }
            if count != episodes {
                return Err(format!("`{name}` has {count} numbers for {episodes} episodes"));
            }
            whole()?;
            if let Some(n) = array.data.iter().position(|&x| x > room as f64) {
                let found = array.data[n];
                return Err(format!(
                    "`{name}` says {found} for episode {n}, its arrays have {room} steps"
                ));
            }
        } else if (known || ENDS.contains(&lower.as_str())) && count != rows {
            whole()?;
            let sum: f64 = array.data.iter().sum();
            let last = array.data.last().copied().unwrap_or(0.0);
            if known && sum != rows as f64 {
                return Err(format!("`{name}` adds up to {sum} steps, the arrays have {rows}"));
            }
            if !known && (!array.data.is_sorted() || last > rows as f64) {
                return Err(format!(
                    "`{name}` must grow and end at most at {rows}, the steps that there are; it \
                     holds {:?}",
                    &array.data[..count.min(8)]
                ));
            }
        }
    }
    Ok(())
}

/// First and last row (exclusive) of each episode, separately for arrays with a row more.
pub(super) struct Ends {
    /// Ends of episodes among the actions' rows.
    ends: Vec<usize>,
}

/// Ends that an array states, if they fit the number of rows.
pub(super) fn stated_ends(arrays: &[(String, Array)]) -> Option<Ends> {
    let rows = usual_rows(arrays);
    let named = |names: &[&str]| {
        let mut found = arrays.iter();
        found.find(|(name, _)| names.contains(&name.to_ascii_lowercase().as_str()))
    };
    let whole = |x: f64| (x >= 0.0 && x.fract() == 0.0 && x < 9e15).then_some(x as usize);
    if let Some((_, lengths)) = named(&LENGTHS) {
        let mut end = 0_usize;
        let ends: Option<Vec<usize>> = lengths
            .data
            .iter()
            .map(|&x| {
                end = end.checked_add(whole(x)?)?;
                Some(end)
            })
            .collect();
        if let Some(ends) = ends.filter(|_| end == rows) {
            return Some(Ends { ends });
        }
    }
    if let Some((_, stated)) = named(&ENDS) {
        let mut ends: Vec<usize> = stated.data.iter().map(|&x| whole(x)).collect::<Option<_>>()?;
        // `imitation` leaves the last end out.
        if ends.last().is_none_or(|&last| last < rows) {
            ends.push(rows);
        }
        if ends.is_sorted() && ends.last() == Some(&rows) {
            return Some(Ends { ends });
        }
    }
    let (_, index) = arrays.iter().find(|(name, _)| is_index(name))?;
    (index.data.len() == rows).then(|| changes(index))
}

/// Ends where the number of the episode changes.
fn changes(index: &Array) -> Ends {
    let rows = index.data.len();
    let mut ends: Vec<usize> = (1..rows).filter(|&i| index.data[i] != index.data[i - 1]).collect();
    ends.push(rows);
    Ends { ends }
}

/// Whether a column of this name numbers episodes.
pub(crate) fn is_index(name: &str) -> bool {
    INDICES.contains(&name.to_ascii_lowercase().as_str())
}

/// The rows of a table, cut where a column of it numbers episodes, else where `stretches` do.
pub(crate) fn by_index(
    name: String,
    arrays: Vec<(String, Array)>,
    stretches: Option<&Array>,
) -> Vec<Part> {
    let index = arrays.iter().find(|(name, _)| is_index(name)).map(|(_, index)| index);
    match index.or(stretches).map(changes) {
        Some(ends) if ends.ends.len() > 1 => {
            let (mut parts, _) = cut(arrays, &ends);
            parts.iter_mut().for_each(|part| part.name = format!("{name}/{}", part.name));
            parts
        }
        _ => vec![Part::new(name, arrays)],
    }
}

/// Ends where a flag is up: `terminals`, `timeouts`, `dones` and the like.
pub(super) fn flagged_ends(arrays: &[(String, Array)]) -> Option<Ends> {
    let rows = usual_rows(arrays);
    let flags: Vec<&Array> = arrays
        .iter()
        .filter(|(name, a)| {
            matches!(names::role(name), Role::Terminated | Role::Truncated) && a.data.len() == rows
        })
        .map(|(_, a)| a)
        .collect();
    if flags.is_empty() || rows < 2 {
        return None;
    }
    let up = |i: &usize| flags.iter().any(|f| f.data[*i] != 0.0);
    let mut ends: Vec<usize> = (0..rows).filter(up).map(|i| i + 1).collect();
    if ends.last() != Some(&rows) {
        ends.push(rows);
    }
    Some(Ends { ends })
}

/// Rows of the actions, else the commonest number of rows.
pub(super) fn usual_rows(arrays: &[(String, Array)]) -> usize {
    if let Some((_, a)) = arrays.iter().find(|(name, _)| names::role(name) == Role::Action) {
        return a.rows();
    }
    let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
    for (_, array) in arrays {
        if array.rows() != 1 {
            *counts.entry(array.rows()).or_default() += 1;
        }
    }
    // T and T + 1 rows: T steps.
    let most = counts.iter().max_by_key(|&(&rows, &n)| (n, std::cmp::Reverse(rows)));
    let rows = most.map_or(1, |(&rows, _)| rows);
    if counts.contains_key(&rows.saturating_sub(1)) { rows - 1 } else { rows }
}

/// Cuts long arrays at the ends; one that has a row more an episode is cut with it. Also says which
/// arrays have another number of rows and are left out.
pub(super) fn cut(arrays: Vec<(String, Array)>, ends: &Ends) -> (Vec<Part>, Vec<String>) {
    let rows = ends.ends.last().copied().unwrap_or(0);
    let count = ends.ends.len();
    let mut parts: Vec<Part> = (0..count).map(|i| Part::new(i.to_string(), vec![])).collect();
    let mut left = vec![];
    for (name, array) in arrays {
        let lower = name.to_ascii_lowercase();
        let of_episodes = LENGTHS.contains(&lower.as_str()) || ENDS.contains(&lower.as_str());
        let extra = match array.rows() {
            n if n == rows => 0,
            n if n == rows + count => 1,
            // One an episode, as labels are.
            n if n == count && !of_episodes => {
                for (n, part) in parts.iter_mut().enumerate() {
                    part.arrays.push((name.clone(), array.slice(n..n + 1)));
                }
                continue;
            }
            found => {
                if !of_episodes {
                    left.push(format!(
                        "`{name}` is left out: {found} rows, the {count} episodes have {rows}"
                    ));
                }
                continue;
            }
        };
        let mut start = 0;
        for (n, (part, &end)) in parts.iter_mut().zip(&ends.ends).enumerate() {
            let stop = end + extra * (n + 1);
            part.arrays.push((name.clone(), array.slice(start..stop)));
            start = stop;
        }
    }
    (parts, left)
}
