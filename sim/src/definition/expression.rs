//! An expression as it stands in the file.

use sog_runtime::definition::{At, Read, Value};

/// Longest expression, in bytes.
const LONGEST: usize = 4000;

/// An expression and where it stands; what its words mean, the model says.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula {
    /// The expression.
    pub text: String,
    /// Where it stands.
    pub at: At,
}

impl Formula {
    /// A text, or a number.
    pub(super) fn read(value: &Value<'_>) -> Read<Self> {
        let text = match value.text() {
            Some(_) => value.string()?,
            None => value.number()?.to_string(),
        };
        if text.len() > LONGEST {
            return Err(value.error(format!("{} characters, need at most {LONGEST}", text.len())));
        }
        Ok(Self { text, at: value.at() })
    }
}
