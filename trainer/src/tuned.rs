//! Tuned defaults: the keys that differ from [`TrainConfig::general`] for one task and algorithm.
//!
//! They lie in `trainer/tasks/TASK/ALGORITHM.toml`, each key with a line saying why it differs,
//! and are built into the program: `sog train` and `sog reproduce` start from the same numbers.

use toml::{Table, Value};

use crate::config::{Algorithm, TrainConfig};

/// The files: task, algorithm, text.
const FILES: &[(&str, Algorithm, &str)] = &[
    ("circles", Algorithm::SogGail, include_str!("../tasks/circles/sog-gail.toml")),
    ("circles", Algorithm::InfoGail, include_str!("../tasks/circles/infogail.toml")),
    ("circles", Algorithm::VaeGail, include_str!("../tasks/circles/vae-gail.toml")),
    ("hopper-vel-6", Algorithm::SogBc, include_str!("../tasks/hopper-vel-6/sog-bc.toml")),
    ("fetchreach", Algorithm::SogBc, include_str!("../tasks/fetchreach/sog-bc.toml")),
    ("fetchreach", Algorithm::SogGail, include_str!("../tasks/fetchreach/sog-gail.toml")),
    ("fetchreach", Algorithm::InfoGail, include_str!("../tasks/fetchreach/infogail.toml")),
    ("fetchreach", Algorithm::VaeGail, include_str!("../tasks/fetchreach/vae-gail.toml")),
];

/// The tuned keys of an algorithm on a task, as TOML; empty where the general defaults serve.
pub fn text(task: &str, algorithm: Algorithm) -> &'static str {
    let file = FILES.iter().find(|(t, a, _)| *t == task && *a == algorithm);
    file.map_or("", |(_, _, text)| text)
}

/// The algorithm whose cloning another one starts with, unchanged.
pub fn start_of(algorithm: Algorithm) -> Option<Algorithm> {
    match algorithm {
        Algorithm::SogGail => Some(Algorithm::SogBc),
        Algorithm::Gail => Some(Algorithm::Bc),
        _ => None,
    }
}

/// `config` with the tuned keys of its task and algorithm; what is tuned for the cloning that it
/// starts with comes first.
pub(crate) fn apply(config: TrainConfig) -> TrainConfig {
    let texts = start_of(config.algorithm).into_iter().chain([config.algorithm]);
    let mut tuned = Table::new();
    for text in texts.map(|algorithm| text(&config.task, algorithm)) {
        overlay(&mut tuned, text.parse().expect("a test reads them all"));
    }
    if tuned.is_empty() {
        return config;
    }
    let mut table = Table::try_from(config).expect("a configuration is a table");
    overlay(&mut table, tuned);
    table.try_into().expect("a test reads them all")
}

/// Replaces the keys of `base` that `over` has, table by table.
pub(crate) fn overlay(base: &mut Table, over: Table) {
    for (key, value) in over {
        match (base.get_mut(&key), value) {
            (Some(Value::Table(base)), Value::Table(over)) => overlay(base, over),
            (_, value) => {
                base.insert(key, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use sog_rl::run::Config;
    use sog_sim::{task::TaskId, tasks};

    use super::*;

    #[test]
    fn every_file_is_readable_says_why_and_changes_something() {
        for (task, algorithm, text) in FILES {
            let info = tasks::info(task.parse::<TaskId>().unwrap());
            let tuned = TrainConfig::defaults(&info, *algorithm);
            tuned.check().unwrap();
            assert_ne!(tuned, TrainConfig::general(&info, *algorithm), "{task} {algorithm}");
            if let Some(start) = start_of(*algorithm) {
                let cloned = TrainConfig::defaults(&info, start);
                assert_eq!(tuned.cloning, cloned.cloning, "{task}: {algorithm} and {start}");
            }
            let mut previous = "";
            for line in text.lines() {
                assert!(
                    !line.contains(" = ") || previous.starts_with('#'),
                    "{task}/{algorithm}.toml: `{line}` needs a line before it that says why"
                );
                previous = line;
            }
        }
    }
}
