//! Sizes that a file states, held against the bytes that it has.

use crate::{FormatError, Place, Problem};

/// The most that deflate can unpack one byte to.
const MOST_A_BYTE: u128 = 1032;

/// What small files may ask for in any case (values that were never written take no room).
const ALWAYS: u128 = 1 << 24;

/// Bytes of an array of `shape`, if a file of `held` bytes can hold it, compressed or not.
///
/// # Errors
/// [`Problem::TooLarge`] at `place`.
pub(crate) fn bytes(
    shape: &[usize],
    element: usize,
    held: u64,
    place: &Place,
) -> Result<usize, FormatError> {
    let declared = shape
        .iter()
        .try_fold(element as u128, |all, &size| all.checked_mul(size as u128))
        .unwrap_or(u128::MAX);
    let most = (u128::from(held) * MOST_A_BYTE).max(ALWAYS);
    match usize::try_from(declared) {
        Ok(bytes) if declared <= most => Ok(bytes),
        _ => Err(place.error(Problem::TooLarge { declared, held })),
    }
}
