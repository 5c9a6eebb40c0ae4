//! Typed forms of the strings in a policy file's metadata.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str::FromStr};

use sog_core::kinds::TermsView;
pub use sog_core::kinds::{Activation, Architecture, LatentKind, MeanScale, ParseKindError};

/// One named group of numbers in an observation or an action.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Name, without `:` and `,`.
    pub name: String,
    /// How many numbers.
    pub width: usize,
}

/// The ordered terms of an observation or an action; written `name:width,name:width,…`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Terms(pub Vec<Term>);

impl Terms {
    /// Terms from names and widths.
    pub fn new(terms: &[(&str, usize)]) -> Self {
        Self(terms.iter().map(|&(name, width)| Term { name: name.to_string(), width }).collect())
    }

    /// Total width.
    pub fn width(&self) -> usize {
        self.0.iter().map(|t| t.width).sum()
    }
}

impl fmt::Display for Terms {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, term) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{}:{}", term.name, term.width)?;
        }
        Ok(())
    }
}

impl FromStr for Terms {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        TermsView::parse(text).map(super::reader::terms)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn terms_survive_a_round_trip(terms in proptest::collection::vec(("[a-z][a-z0-9_.:-]{0,8}", 1usize..400), 1..8)) {
            let terms: Vec<Term> = terms.into_iter().map(|(name, width)| Term { name, width }).collect();
            let mut names: Vec<&str> = terms.iter().map(|t| t.name.as_str()).collect();
            names.sort_unstable();
            prop_assume!(names.windows(2).all(|pair| pair[0] != pair[1]));
            let terms = Terms(terms);
            prop_assert_eq!(terms.to_string().parse::<Terms>().unwrap(), terms);
        }
    }
}
