//! The assignment of largest total (Hungarian method).

/// For each row the column assigned to it, such that the sum of the chosen entries of `value`
/// `[rows, columns]` is largest; every column is used at most once. With more rows than columns
/// the rows left over get `None`.
///
/// Shortest augmenting paths with potentials (Kuhn 1955; Jonker and Volgenant 1987), O(n³).
/// An entry that is not finite is worse than any choice of finite ones, +∞ better.
pub fn best_assignment(value: &[f64], rows: usize, columns: usize) -> Vec<Option<usize>> {
    debug_assert_eq!(value.len(), rows * columns);
    if value.iter().any(|v| !v.is_finite()) {
        return best_assignment(&bounded(value, rows.min(columns)), rows, columns);
    }
    if rows > columns {
        let transposed: Vec<f64> =
            (0..columns).flat_map(|j| (0..rows).map(move |i| value[i * columns + j])).collect();
        let mut of_row = vec![None; rows];
        for (j, i) in best_assignment(&transposed, columns, rows).into_iter().enumerate() {
            if let Some(i) = i {
                of_row[i] = Some(j);
            }
        }
        return of_row;
    }

    // Row and column 0 stand for "none"; minimises the negated values.
    let cost = |i: usize, j: usize| -value[(i - 1) * columns + (j - 1)];
    let (mut row_potential, mut column_potential) = (vec![0.0; rows + 1], vec![0.0; columns + 1]);
    let mut row_of = vec![0; columns + 1];
    for row in 1..=rows {
        row_of[0] = row;
        let mut at = 0;
        let mut slack = vec![f64::INFINITY; columns + 1];
        let mut before = vec![0; columns + 1];
        let mut done = vec![false; columns + 1];
        loop {
            done[at] = true;
            let i = row_of[at];
            let (mut step, mut next) = (f64::INFINITY, 0);
            for j in (1..=columns).filter(|&j| !done[j]) {
                let reduced = cost(i, j) - row_potential[i] - column_potential[j];
                if reduced < slack[j] {
                    (slack[j], before[j]) = (reduced, at);
                }
                if slack[j] < step {
                    (step, next) = (slack[j], j);
                }
            }
            for j in 0..=columns {
                if done[j] {
                    row_potential[row_of[j]] += step;
                    column_potential[j] -= step;
                } else {
                    slack[j] -= step;
                }
            }
            at = next;
            if row_of[at] == 0 {
                break;
            }
        }
        while at != 0 {
            row_of[at] = row_of[before[at]];
            at = before[at];
        }
    }
    let mut of_row = vec![None; rows];
    for (j, &i) in row_of.iter().enumerate().skip(1) {
        if i > 0 {
            of_row[i - 1] = Some(j - 1);
        }
    }
    of_row
}

/// The same with finite numbers instead of NaN and infinite ones, so far from the others that none
/// of `chosen` entries makes up for one.
fn bounded(value: &[f64], chosen: usize) -> Vec<f64> {
    let finite = || value.iter().copied().filter(|v| v.is_finite());
    let (low, high) = (finite().fold(0.0, f64::min), finite().fold(0.0, f64::max));
    let far = (chosen as f64 + 1.0) * (high - low).max(1.0);
    let of = |&v: &f64| match v {
        v if v.is_finite() => v,
        f64::INFINITY => high + far,
        _ => low - far,
    };
    value.iter().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The largest total by trying every assignment.
    fn exhaustive(value: &[f64], columns: usize, row: usize, used: u32) -> f64 {
        let rows = value.len() / columns;
        if row == rows || used.count_ones() as usize == columns {
            return 0.0;
        }
        let skip = if rows - row > columns - used.count_ones() as usize {
            exhaustive(value, columns, row + 1, used)
        } else {
            f64::NEG_INFINITY
        };
        (0..columns)
            .filter(|j| used >> j & 1 == 0)
            .map(|j| value[row * columns + j] + exhaustive(value, columns, row + 1, used | 1 << j))
            .fold(skip, f64::max)
    }

    proptest! {
        #[test]
        fn the_total_is_the_largest_and_no_column_is_used_twice(
            (rows, columns, value) in (1usize..6, 1usize..6).prop_flat_map(|(r, c)| {
                (Just(r), Just(c), proptest::collection::vec(-1e3..1e3, r * c))
            })
        ) {
            let chosen = best_assignment(&value, rows, columns);
            let mut used = vec![false; columns];
            let mut total = 0.0;
            for (i, j) in chosen.iter().enumerate() {
                if let Some(j) = *j {
                    prop_assert!(!std::mem::replace(&mut used[j], true));
                    total += value[i * columns + j];
                }
            }
            prop_assert_eq!(chosen.iter().flatten().count(), rows.min(columns));
            let best = exhaustive(&value, columns, 0, 0);
            prop_assert!((total - best).abs() < 1e-6, "{} of {}", total, best);
        }
    }

    #[test]
    fn what_is_not_a_number_is_chosen_last() {
        let (nan, inf) = (f64::NAN, f64::INFINITY);
        assert_eq!(best_assignment(&[1.0, 2.0, nan, nan], 2, 2), [Some(1), Some(0)]);
        assert_eq!(best_assignment(&[1.0, nan, 2.0, nan], 2, 2), [Some(1), Some(0)]);
        // Finite ones elsewhere, though their sum is smaller.
        assert_eq!(best_assignment(&[9.0, 1.0, 1.0, -inf], 2, 2), [Some(1), Some(0)]);
        assert_eq!(best_assignment(&[9.0, inf, 1.0, 9.0], 2, 2), [Some(1), Some(0)]);
        assert_eq!(best_assignment(&[nan], 1, 1), [Some(0)]);
    }

    #[test]
    fn a_greedy_choice_would_be_wrong_here() {
        assert_eq!(best_assignment(&[10.0, 9.0, 9.0, 1.0], 2, 2), [Some(1), Some(0)]);
    }
}
