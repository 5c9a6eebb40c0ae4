//! What a term is made of.

use alloc::{string::String, vec, vec::Vec};
use core::ops::Range;

/// Most numbers of a term and of an observation, as in policy files.
pub const MOST_NUMBERS: usize = 65_536;

/// One term of an observation, its source resolved to indices.
#[derive(Clone, Debug, PartialEq)]
pub struct TermSpec {
    /// Name, as in the policy file.
    pub name: String,
    /// Where the numbers come from.
    pub source: Source,
    /// Taken off: nothing, one number, or one a component.
    pub minus: Vec<f64>,
    /// Multiplied by, after `minus`: nothing, one number, or one a component.
    pub scale: Vec<f64>,
    /// Lower and upper bound, after `scale`.
    pub clip: Option<[f64; 2]>,
    /// How many control steps the term shows, the present one among them; 1 for that alone.
    /// Older ones are as they were shown, after `clip`; at the start the first stands for them.
    pub history: usize,
}

impl TermSpec {
    /// The plain numbers of a source.
    pub fn new(name: impl Into<String>, source: Source) -> Self {
        Self { name: name.into(), source, minus: vec![], scale: vec![], clip: None, history: 1 }
    }
}

/// Where the numbers of a term come from.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub enum Source {
    /// Raw readings, as they are, in this order.
    Raw(Vec<usize>),
    /// A vector in world axes, rotated into the axes of the body whose quaternion (w x y z) this
    /// is: R(q)ᵀ·v.
    InBody {
        /// Raw readings of the vector, x y z.
        vector: [usize; 3],
        /// Raw readings of the body's quaternion, w x y z.
        quaternion: [usize; 4],
    },
    /// A vector in a body's axes, turned into world axes: R(q)·v.
    InWorld {
        /// Raw readings of the vector, x y z.
        vector: [usize; 3],
        /// Raw readings of the body's quaternion, w x y z.
        quaternion: [usize; 4],
    },
    /// The unit vector of gravity in a body's axes: R(q)ᵀ·(0, 0, −1).
    ProjectedGravity {
        /// Raw readings of the body's quaternion, w x y z.
        quaternion: [usize; 4],
    },
    /// The action of the control step before, `[A]`; zero in the first.
    PreviousAction,
    /// Numbers that the operator sets, by slot.
    Command(Vec<usize>),
    /// sin 2πft and cos 2πft with t = step · dt.
    Phase {
        /// Frequency f.
        hz: f64,
    },
}

impl Source {
    /// A range of raw readings.
    pub fn raw(range: Range<usize>) -> Self {
        Self::Raw(range.collect())
    }

    /// Components, of a robot with this many actions.
    pub fn width(&self, actions: usize) -> usize {
        match self {
            Self::Raw(indices) | Self::Command(indices) => indices.len(),
            Self::InBody { .. } | Self::InWorld { .. } | Self::ProjectedGravity { .. } => 3,
            Self::PreviousAction => actions,
            Self::Phase { .. } => 2,
        }
    }
}
