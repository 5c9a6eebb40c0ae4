//! What can go wrong in the engine: input of the wrong size or out of range.

/// An argument that the engine cannot work with.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum EngineError {
    /// A slice does not have the length that the shapes call for.
    #[error("{what}: got {got} values, need {need}")]
    Length {
        /// Which argument.
        what: &'static str,
        /// Its length.
        got: usize,
        /// The length that the shapes call for.
        need: usize,
    },
    /// A dimension or count that must not be zero, or lies outside its range.
    #[error("{what}: got {got}, need {need}")]
    Range {
        /// Which argument.
        what: &'static str,
        /// Its value.
        got: String,
        /// What is accepted.
        need: &'static str,
    },
    /// A tensor is asked for that the layout does not have.
    #[error("no tensor named '{name}'; the network has: {known}")]
    UnknownTensor {
        /// The name asked for.
        name: String,
        /// The names there are.
        known: String,
    },
}

/// Fails unless `got == need`.
pub(crate) fn check_len(what: &'static str, got: usize, need: usize) -> Result<(), EngineError> {
    if got == need { Ok(()) } else { Err(EngineError::Length { what, got, need }) }
}
