//! What a column's name says: which part of a step it is, and which order numbered names have.

use std::cmp::Ordering;

/// Which part of a step a column is, by its name.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Role {
    /// What the robot sees.
    Observation,
    /// The observation one step on.
    NextObservation,
    /// What the robot does.
    Action,
    /// A reward.
    Reward,
    /// A time stamp, in units of so many seconds.
    Time {
        /// One unit in seconds.
        unit_s: f64,
    },
    /// The task ended in this step.
    Terminated,
    /// The recording or its time limit ended in this step.
    Truncated,
    /// The task is done well.
    Success,
    /// Anything else.
    Other,
}

/// Columns of time and their units in seconds.
const TIMES: [(&str, f64); 18] = [
    ("t", 1.0),
    ("time", 1.0),
    ("times", 1.0),
    ("timestamp", 1.0),
    ("timestamps", 1.0),
    ("stamp", 1.0),
    ("time_s", 1.0),
    ("t_s", 1.0),
    ("seconds", 1.0),
    ("time_ms", 1e-3),
    ("t_ms", 1e-3),
    ("timestamp_ms", 1e-3),
    ("time_us", 1e-6),
    ("timestamp_us", 1e-6),
    ("time_ns", 1e-9),
    ("timestamp_ns", 1e-9),
    ("stamp_ns", 1e-9),
    ("t_ns", 1e-9),
];

/// The role that a name stands for in the formats of this crate.
pub(crate) fn role(name: &str) -> Role {
    let lower = name.to_ascii_lowercase();
    let whole = lower.trim_matches('/');
    let root = whole.split(['/', '.']).next().unwrap_or(whole);
    if let Some((_, unit_s)) = TIMES.iter().find(|(time, _)| *time == whole) {
        return Role::Time { unit_s: *unit_s };
    }
    match root {
        "observations" | "observation" | "obs" => Role::Observation,
        "next_observations" | "next_observation" | "next_obs" => Role::NextObservation,
        "actions" | "action" | "acts" | "act" => Role::Action,
        "next" => match whole {
            "next.reward" => Role::Reward,
            "next.done" => Role::Terminated,
            "next.truncated" => Role::Truncated,
            "next.success" => Role::Success,
            _ => Role::Other,
        },
        "rewards" | "reward" | "rews" => Role::Reward,
        "terminals" | "terminal" | "terminations" | "terminated" | "dones" | "done" => {
            Role::Terminated
        }
        "timeouts" | "truncations" | "truncated" | "truncateds" => Role::Truncated,
        "success" | "successes" | "is_success" => Role::Success,
        _ => Role::Other,
    }
}

/// A name without the number in it that is last, and that number: `demo_12/x` is not numbered,
/// `demo_12` is (`demo_`, 12).
pub(crate) fn numbered(name: &str) -> Option<(&str, u64)> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name[stem.len()..].parse().ok()?;
    Some((stem, number))
}

/// Names in the order that people count: `demo_2` before `demo_2_again` before `demo_10`.
pub(crate) fn natural_order(a: &str, b: &str) -> Ordering {
    // Names that differ in leading zeros alone are not the same.
    tokens(a).cmp(tokens(b)).then_with(|| a.cmp(b))
}

/// A name as numbers, by their length and digits without leading zeros, and other bytes: numbers of
/// any length have the place among the bytes that digits have.
fn tokens(name: &str) -> impl Iterator<Item = (u8, usize, &[u8])> {
    let mut rest = name.as_bytes();
    std::iter::from_fn(move || {
        let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
        let (token, after) = rest.split_at_checked(digits.max(1))?;
        rest = after;
        if digits == 0 {
            return Some((token[0], 0, &[][..]));
        }
        let zeros = token.iter().take_while(|&&b| b == b'0').count();
        Some((b'0', digits - zeros, &token[zeros..]))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_the_usual_packages_have_their_roles() {
        for name in ["observations", "obs/robot0_eef_pos", "observation.state", "OBS"] {
            assert_eq!(role(name), Role::Observation, "{name}");
        }
        for name in ["actions", "action", "acts", "action.joint"] {
            assert_eq!(role(name), Role::Action, "{name}");
        }
        assert_eq!(role("time_ms"), Role::Time { unit_s: 1e-3 });
        assert_eq!(role("terminals"), Role::Terminated);
        assert_eq!(role("timeouts"), Role::Truncated);
        assert_eq!(role("next.success"), Role::Success);
        assert_eq!(role("joint.t"), Role::Other);
    }

    #[test]
    fn numbers_count_as_numbers() {
        let mut names = vec!["demo_10", "demo_2", "a", "demo_1"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["a", "demo_1", "demo_2", "demo_10"]);
        let ordered = [
            "2024-9-30",
            "2024-10-1",
            "a",
            "a0",
            "a00",
            "a01",
            "a1",
            "a1b",
            "a2",
            "a18446744073709551616",
            "a18446744073709551617",
            "episode_1",
            "episode_1_retry",
            "episode_2",
            "episode_2_retry",
            "episode_10",
            "episodes",
        ];
        let mut names: Vec<&str> = ordered.iter().rev().copied().collect();
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ordered);
    }

    proptest::proptest! {
        #[test]
        fn names_have_one_order(names in proptest::collection::vec("[a019_.-]{0,6}", 1..60)) {
            let mut sorted = names.clone();
            sorted.sort_by(|a, b| natural_order(a, b));
            for (i, a) in sorted.iter().enumerate() {
                for (j, b) in sorted.iter().enumerate() {
                    let order = natural_order(a, b);
                    let want = if a == b { Ordering::Equal } else { i.cmp(&j) };
                    proptest::prop_assert_eq!(order, want, "`{}` and `{}`", a, b);
                }
            }
        }
    }
}
