//! Buffers of the right length, and numbers in them.

use crate::error::SimError;

/// Refuses an action of the wrong length or with a number that is not finite.
pub(crate) fn check_action(task: &str, action: &[f64], action_dim: usize) -> Result<(), SimError> {
    check_numbers(task, "action", action, action_dim)
}

/// Refuses `values` that are not `needed` finite numbers.
pub(crate) fn check_numbers(
    task: &str,
    what: &'static str,
    values: &[f64],
    needed: usize,
) -> Result<(), SimError> {
    check_width(task, what, values.len(), needed)?;
    match values.iter().position(|v| !v.is_finite()) {
        None => Ok(()),
        Some(index) => {
            Err(SimError::NotFinite { task: task.to_string(), what, index, value: values[index] })
        }
    }
}

/// Refuses a buffer of the wrong length.
pub(crate) fn check_width(
    task: &str,
    what: &'static str,
    found: usize,
    needed: usize,
) -> Result<(), SimError> {
    if found == needed {
        Ok(())
    } else {
        Err(SimError::Width { task: task.to_string(), what, found, needed })
    }
}
