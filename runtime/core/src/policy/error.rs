//! Why a policy file is refused.

use core::fmt;

use super::SCHEMA;
use crate::{
    kinds::ParseKindError,
    tensors::{ChecksumError, FormatError},
    text::Excerpt,
};

/// Why a policy file is refused.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyError {
    /// The bytes are not a safetensors file.
    #[error(transparent)]
    Format(#[from] FormatError),
    /// A tensor that is needed is not there.
    #[error("tensor `{name}` is missing")]
    Missing {
        /// The tensor.
        name: Excerpt,
    },
    /// A tensor has another element type.
    #[error("tensor `{name}` has type {found}, need F32")]
    Dtype {
        /// The tensor.
        name: Excerpt,
        /// The type in the file.
        found: &'static str,
    },
    /// A tensor has another shape.
    #[error("tensor `{name}` has shape {found}, need {needed}")]
    Shape {
        /// The tensor.
        name: Excerpt,
        /// The shape in the file.
        found: Dimensions,
        /// The shape that is needed.
        needed: NeededShape,
    },
    /// More hidden layers than are read.
    #[error("the network has more than {most} hidden layers")]
    Layers {
        /// How many are read.
        most: usize,
    },
    /// A metadata entry is missing.
    #[error("metadata `{key}` is missing")]
    MissingMetadata {
        /// The entry.
        key: &'static str,
    },
    /// Another schema, perhaps a later one.
    #[error(
        "schema is `{found}`, need `{SCHEMA}`; {}",
        if found.as_str().starts_with("sog.policy/") {
            "use the runtime of that version"
        } else {
            "this is no policy"
        }
    )]
    Schema {
        /// Schema in the file.
        found: Excerpt,
    },
    /// A metadata entry cannot be understood.
    #[error("metadata `{key}`: found `{found}`, need {needed}")]
    Metadata {
        /// The entry.
        key: &'static str,
        /// Its value.
        found: Excerpt,
        /// What would be accepted.
        needed: &'static str,
    },
    /// A metadata entry that this schema does not have.
    #[error(
        "metadata `{key}` is not part of `{SCHEMA}`: the file is damaged or of another version"
    )]
    UnknownMetadata {
        /// The entry.
        key: Excerpt,
    },
    /// A tensor that this schema does not have.
    #[error("tensor `{name}` is not part of `{SCHEMA}`: the file is damaged or of another version")]
    UnknownTensor {
        /// The tensor.
        name: Excerpt,
    },
    /// A metadata entry or a tensor stands twice in the file.
    #[error("`{name}` stands twice in the file: which one counts is nowhere said")]
    Twice {
        /// The entry or the tensor.
        name: Excerpt,
    },
    /// A number is NaN or infinite.
    #[error("tensor `{name}` holds {value} at index {index}; every number must be finite")]
    NonFinite {
        /// The tensor.
        name: Excerpt,
        /// Flat index.
        index: usize,
        /// The number.
        value: f32,
    },
    /// A number is out of its range.
    #[error("tensor `{name}` holds {value} at index {index}, need {needed}")]
    Range {
        /// The tensor.
        name: Excerpt,
        /// Flat index.
        index: usize,
        /// The number.
        value: f32,
        /// What would be accepted.
        needed: &'static str,
    },
    /// Inference does not give the golden actions.
    #[error(
        "golden vector {row}: action {component} is {computed}, the file says {golden}; \
         the weights or the golden vectors are damaged"
    )]
    Golden {
        /// Which golden vector.
        row: usize,
        /// Which action component.
        component: usize,
        /// What this runtime computes.
        computed: f32,
        /// What the file says.
        golden: f32,
    },
    /// The content does not add up to the checksum in the file.
    #[error(transparent)]
    Checksum(#[from] ChecksumError),
    /// What the caller lent is too small or of another width.
    #[error(transparent)]
    Widths(#[from] WidthError),
}

impl PolicyError {
    /// The error of a metadata entry that cannot be understood.
    pub(super) fn of_kind(key: &'static str) -> impl FnOnce(ParseKindError) -> Self {
        move |ParseKindError { found, needed }| Self::Metadata { key, found, needed }
    }
}

/// The first dimensions of a shape, for a message.
#[derive(Clone, PartialEq, Eq)]
pub struct Dimensions {
    first: heapless::Vec<u32, 4, u8>,
    more: bool,
}

impl Dimensions {
    /// Those of a shape.
    pub fn of(shape: impl Iterator<Item = usize>) -> Self {
        let mut dimensions = Self { first: heapless::Vec::new(), more: false };
        for n in shape {
            let n = u32::try_from(n).unwrap_or(u32::MAX);
            dimensions.more |= dimensions.first.push(n).is_err();
        }
        dimensions
    }
}

impl fmt::Display for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut list = f.debug_list();
        list.entries(&self.first);
        if self.more { list.finish_non_exhaustive() } else { list.finish() }
    }
}

impl fmt::Debug for Dimensions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A shape that is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NeededShape {
    /// This one.
    Exactly(Dimensions),
    /// Rows of this one, at least one of them.
    Rows(Dimensions),
}

impl fmt::Display for NeededShape {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Exactly(shape) => write!(f, "{shape}"),
            Self::Rows(shape) => write!(f, "[n ≥ 1] followed by {shape}"),
        }
    }
}

/// A slice that was lent for inference has another length than is needed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{what} of {found} numbers, need {needed}")]
pub struct WidthError {
    /// Which slice.
    pub what: &'static str,
    /// Its length.
    pub found: usize,
    /// The length that is needed; of scratch memory at least.
    pub needed: usize,
}

/// What the user of a policy file that was accepted should be told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PolicyWarning {
    /// There is no checksum in the file.
    #[error(
        "the policy has no checksum (metadata `checksum`), so that damage too small for the golden \
         vectors would not be noticed; files that `sog train` writes have one"
    )]
    NoChecksum,
}
