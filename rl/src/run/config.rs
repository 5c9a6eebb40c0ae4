//! Configurations: TOML in and out, with errors that name key, value and what is accepted.

use std::{fmt::Display, ops::RangeInclusive, path::Path};

use serde::{Serialize, de::DeserializeOwned};
use toml::{Table, Value};

use super::RunError;

/// Why a configuration is not acceptable.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ConfigError {
    /// The text is not TOML.
    #[error("not TOML: {reason}")]
    Syntax {
        /// What the parser said, with line and column.
        reason: String,
    },
    /// A key is unknown or missing, or its value has the wrong type.
    #[error("key `{key}`{}: {reason}", found.as_ref().map(|v| format!(", found {v}")).unwrap_or_default())]
    Key {
        /// Path of the key, with dots; `.` is the whole table.
        key: String,
        /// Its value, if it is there.
        found: Option<String>,
        /// What is wrong and what would be accepted.
        reason: String,
    },
    /// A value is out of its range.
    #[error("key `{key}`: found {found}, need {needed}")]
    Range {
        /// Path of the key, with dots.
        key: String,
        /// Its value.
        found: String,
        /// What would be accepted.
        needed: String,
    },
    /// The configuration cannot be written as TOML.
    #[error("cannot be written as TOML: {reason}")]
    Write {
        /// What the serialiser said.
        reason: String,
    },
}

/// A complete configuration: every choice of a run, defaults resolved.
///
/// Derive `Serialize` and `Deserialize` with `#[serde(deny_unknown_fields)]`, so that a misspelt
/// key is an error.
pub trait Config: Clone + Serialize + DeserializeOwned {
    /// Checks ranges; [`within`] does one key.
    ///
    /// # Errors
    /// [`ConfigError::Range`] for the first value that is not acceptable.
    fn check(&self) -> Result<(), ConfigError>;
}

/// Checks that a value lies in a closed range; NaN does not.
///
/// # Errors
/// [`ConfigError::Range`] with the key, the value and the range.
pub fn within<T: PartialOrd + Display>(
    key: &str,
    value: T,
    range: RangeInclusive<T>,
) -> Result<(), ConfigError> {
    if range.contains(&value) {
        return Ok(());
    }
    let needed = format!("a number from {} to {}", range.start(), range.end());
    Err(ConfigError::Range { key: key.to_string(), found: value.to_string(), needed })
}

/// Parses and checks a configuration in TOML.
///
/// # Errors
/// [`ConfigError`].
pub fn parse_config<C: Config>(text: &str) -> Result<C, ConfigError> {
    let table: Table = toml::from_str(text)
        .map_err(|e: toml::de::Error| ConfigError::Syntax { reason: e.to_string() })?;
    let config: C = serde_path_to_error::deserialize(table.clone()).map_err(|e| {
        let reason = e.inner().message().to_string();
        // An unknown key stops the parser at its table; the message names the key in quotes.
        let unknown = reason.strip_prefix("unknown field `").and_then(|r| r.split('`').next());
        let mut keys: Vec<String> = e.path().to_string().split('.').map(str::to_string).collect();
        keys.retain(|k| !k.is_empty() && k != "?");
        if let Some(unknown) = unknown
            && keys.last().is_none_or(|last| last != unknown)
        {
            keys.push(unknown.to_string());
        }
        let found = look_up(&table, &keys).map(|v| v.to_string().trim().to_string());
        let key = if keys.is_empty() { ".".to_string() } else { keys.join(".") };
        ConfigError::Key { key, found, reason }
    })?;
    config.check()?;
    Ok(config)
}

/// Reads, parses and checks a configuration file.
///
/// # Errors
/// [`RunError::Io`], [`RunError::Config`].
pub fn read_config<C: Config>(path: &Path) -> Result<C, RunError> {
    let text = std::fs::read_to_string(path).map_err(RunError::io("read", path))?;
    parse_config(&text).map_err(|source| RunError::Config { path: path.to_path_buf(), source })
}

/// The configuration as TOML, checked.
pub(super) fn to_toml<C: Config>(config: &C) -> Result<String, ConfigError> {
    config.check()?;
    toml::to_string(config).map_err(|e| ConfigError::Write { reason: e.to_string() })
}

/// A key whose value differs between two configurations.
pub(super) struct Difference {
    /// Path of the key, with dots.
    pub(super) key: String,
    /// The value of the run.
    pub(super) stored: String,
    /// The value asked for.
    pub(super) given: String,
}

/// The keys whose values differ.
pub(super) fn differences<C: Config>(stored: &C, given: &C) -> Vec<Difference> {
    let table = |c: &C| Table::try_from(c).unwrap_or_default();
    let mut found = vec![];
    table_differences("", &table(stored), &table(given), &mut found);
    found
}

fn table_differences(prefix: &str, a: &Table, b: &Table, found: &mut Vec<Difference>) {
    let show = |v: Option<&Value>| v.map_or("nothing".to_string(), |v| v.to_string());
    for key in a.keys().chain(b.keys().filter(|k| !a.contains_key(*k))) {
        let path = if prefix.is_empty() { key.clone() } else { format!("{prefix}.{key}") };
        match (a.get(key), b.get(key)) {
            (Some(Value::Table(a)), Some(Value::Table(b))) => table_differences(&path, a, b, found),
            (x, y) if x != y => {
                found.push(Difference { key: path, stored: show(x), given: show(y) });
            }
            _ => {}
        }
    }
}

fn look_up<'a>(table: &'a Table, keys: &[String]) -> Option<&'a Value> {
    let (first, rest) = keys.split_first()?;
    rest.iter().try_fold(table.get(first)?, |value, key| value.as_table()?.get(key))
}
