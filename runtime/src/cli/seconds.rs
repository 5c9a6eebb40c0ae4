//! Times as options give them.

/// Longest time that can be asked for, s: 31 years.
const MOST_SECONDS: f64 = 1e9;

/// A time in seconds, from 0.
pub(super) fn seconds(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(time_s) if (0.0..=MOST_SECONDS).contains(&time_s) => Ok(time_s),
        _ => Err(format!("need a number of seconds from 0 to {MOST_SECONDS}")),
    }
}

/// A time in seconds, above 0.
pub(super) fn positive_seconds(text: &str) -> Result<f64, String> {
    seconds(text)
        .ok()
        .filter(|&time_s| time_s > 0.0)
        .ok_or_else(|| format!("need a number of seconds above 0 and up to {MOST_SECONDS}"))
}
