//! Which axis of an episode's matrices is time.

use std::collections::BTreeMap;

use crate::recording::{Array, Part};

/// MATLAB knows no vectors: `1 × n` is one.
pub(super) fn squeeze(array: &mut Array) {
    match array.shape[..] {
        [1, n] | [n, 1] => array.shape = vec![n],
        _ => {}
    }
}

/// The axis along which the matrices of each episode agree and episodes differ, if only one does.
pub(super) fn time_axis(parts: &[Part]) -> Option<usize> {
    let matrices = |part: &'_ Part| part.arrays.iter().filter(|(_, a)| a.shape.len() == 2).count();
    let agrees = |axis: usize| {
        parts.iter().all(|part| {
            let sizes = part.arrays.iter().filter(|(_, a)| a.shape.len() == 2);
            let sizes = sizes.map(|(_, a)| a.shape[axis]);
            let (min, max) = (sizes.clone().min(), sizes.max());
            min.zip(max).is_none_or(|(min, max)| max - min <= 1)
        })
    };
    let varies = |axis: usize| {
        let mut first: BTreeMap<&str, usize> = BTreeMap::new();
        parts.iter().flat_map(|part| &part.arrays).filter(|(_, a)| a.shape.len() == 2).any(
            |(name, a)| {
                let size = a.shape[axis];
                *first.entry(name).or_insert(size) != size
            },
        )
    };
    match (varies(0), varies(1)) {
        (true, false) => return Some(0),
        (false, true) if agrees(1) => return Some(1),
        _ => {}
    }
    match (agrees(0), agrees(1)) {
        (true, false) => Some(0),
        (false, true) => Some(1),
        _ if parts.iter().all(|part| matrices(part) < 2) => vector_axis(parts),
        _ => None,
    }
}

/// The axis of the only matrix that is as long as the vectors beside it.
fn vector_axis(parts: &[Part]) -> Option<usize> {
    let part = parts.first()?;
    let matrix = &part.arrays.iter().find(|(_, a)| a.shape.len() == 2)?.1;
    let vectors: Vec<usize> = part
        .arrays
        .iter()
        .filter(|(_, a)| a.shape.len() == 1 && a.data.len() > 1)
        .map(|(_, a)| a.rows())
        .collect();
    let fits = |axis: usize| vectors.contains(&matrix.shape[axis]);
    match (fits(0), fits(1)) {
        (true, false) => Some(0),
        (false, true) => Some(1),
        _ => None,
    }
}

pub(super) fn longer_second(part: &Part) -> bool {
    let mut matrices = part.arrays.iter().filter(|(_, a)| a.shape.len() == 2).peekable();
    matrices.peek().is_some() && matrices.all(|(_, a)| a.shape[1] > a.shape[0])
}
