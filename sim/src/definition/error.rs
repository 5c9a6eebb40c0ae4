//! What is wrong with a `task.toml`: file, line, key.

use std::{fmt, sync::Arc};

/// A fault of a task's definition.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{at}{problem}")]
pub struct DefinitionError {
    /// Where it is.
    pub at: At,
    /// What was found and what is needed.
    pub problem: String,
}

/// A place in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct At {
    /// The file, as it was named.
    pub file: Arc<str>,
    /// Line, from 1.
    pub line: usize,
    /// Key, as in `observation[0].qpos`; empty where the file as a whole is meant.
    pub key: String,
}

impl At {
    /// The fault that is here.
    pub(crate) fn error(&self, problem: impl Into<String>) -> DefinitionError {
        DefinitionError { at: self.clone(), problem: problem.into() }
    }
}

impl fmt::Display for At {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: ", self.file, self.line)?;
        if self.key.is_empty() { Ok(()) } else { write!(f, "`{}`: ", self.key) }
    }
}

/// `; did you mean …?` where one of `known` is near `found`, else a list of them, else nothing.
pub(crate) fn hint<'a>(found: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    let known: Vec<&str> = known.into_iter().collect();
    let near = |name: &&&str| strsim::damerau_levenshtein(found, name);
    match known.iter().min_by_key(near) {
        None => String::new(),
        Some(name) if near(&name) <= 2.max(found.len() / 3) => format!("; did you mean `{name}`?"),
        Some(_) if known.len() <= 40 => format!("; there is {}", quoted(&known)),
        Some(_) => String::new(),
    }
}

/// `` `a`, `b` and `c` ``.
pub(crate) fn quoted(names: &[&str]) -> String {
    match names {
        [] => "nothing".to_string(),
        [one] => format!("`{one}`"),
        [rest @ .., last] => format!("`{}` and `{last}`", rest.join("`, `")),
    }
}
