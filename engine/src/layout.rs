//! Named tensors in one flat `f32` vector: names, shapes and offsets of a network's parameters.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::error::EngineError;

/// One tensor of a [`Layout`], stored row-major (last index fastest).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct TensorSpec {
    /// Name, as in a policy file.
    pub name: String,
    /// Shape; a weight is `[outputs, inputs]`, a bias `[outputs]`.
    pub shape: Vec<usize>,
    /// Index of the first element in the flat vector.
    pub offset: usize,
}

impl TensorSpec {
    /// Number of elements.
    pub fn len(&self) -> usize {
        self.shape.iter().product()
    }

    /// Whether the tensor has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Where the tensor lies in the flat vector.
    pub fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.len()
    }
}

/// The parameters of one network: its tensors, one after the other, without gaps.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    /// The tensors by increasing offset.
    pub tensors: Vec<TensorSpec>,
}

impl Layout {
    /// Appends a tensor behind the others and returns where it lies.
    pub fn push(&mut self, name: impl Into<String>, shape: &[usize]) -> Range<usize> {
        let spec = TensorSpec { name: name.into(), shape: shape.to_vec(), offset: self.len() };
        let range = spec.range();
        self.tensors.push(spec);
        range
    }

    /// Number of elements of the flat vector.
    pub fn len(&self) -> usize {
        self.tensors.last().map_or(0, |t| t.range().end)
    }

    /// Whether there are no parameters.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The tensor of that name.
    ///
    /// # Errors
    /// [`EngineError::UnknownTensor`] with the names there are.
    pub fn tensor(&self, name: &str) -> Result<&TensorSpec, EngineError> {
        self.tensors.iter().find(|t| t.name == name).ok_or_else(|| EngineError::UnknownTensor {
            name: name.to_owned(),
            known: self.tensors.iter().map(|t| t.name.as_str()).collect::<Vec<_>>().join(", "),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tensors_follow_each_other_without_gaps() {
        let mut layout = Layout::default();
        assert_eq!(layout.push("w", &[3, 4]), 0..12);
        assert_eq!(layout.push("b", &[3]), 12..15);
        assert_eq!(layout.len(), 15);
        assert_eq!(layout.tensor("b").map(TensorSpec::range), Ok(12..15));
        let error = layout.tensor("c").expect_err("there is no c").to_string();
        assert_eq!(error, "no tensor named 'c'; the network has: w, b");
    }
}
