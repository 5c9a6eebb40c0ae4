//! Typed forms of the strings in a policy file's metadata.

use alloc::{
    string::{String, ToString},
    vec::Vec,
};
use core::{fmt, str::FromStr};

/// A metadata string that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{found}`, need {needed}")]
pub struct ParseKindError {
    /// The string.
    pub found: String,
    /// What would be accepted.
    pub needed: &'static str,
}

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
        let error = || ParseKindError {
            found: text.to_string(),
            needed: "`name:width,name:width,…` with widths from 1 to 65536",
        };
        let term = |part: &str| {
            let (name, width) = part.rsplit_once(':')?;
            let width: usize = width.parse().ok()?;
            let good = !name.is_empty() && (1..=65_536).contains(&width);
            good.then(|| Term { name: name.to_string(), width })
        };
        let terms: Vec<Term> =
            text.split(',').map(term).collect::<Option<_>>().ok_or_else(error)?;
        let twice = (1..terms.len()).any(|i| terms[..i].iter().any(|t| t.name == terms[i].name));
        if twice {
            return Err(ParseKindError {
                found: text.to_string(),
                needed: "terms of different names: a name that stands for two says nothing",
            });
        }
        Ok(Self(terms))
    }
}

/// What the latent code z is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LatentKind {
    /// The policy takes no code; written `none`.
    None,
    /// One of K one-hot codes; written `one-hot:K`.
    OneHot(usize),
    /// A standard Gaussian vector of d numbers; written `gaussian:d`.
    Gaussian(usize),
}

impl LatentKind {
    /// Width Z of the code vector.
    pub fn width(self) -> usize {
        match self {
            Self::None => 0,
            Self::OneHot(n) | Self::Gaussian(n) => n,
        }
    }
}

impl fmt::Display for LatentKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::OneHot(k) => write!(f, "one-hot:{k}"),
            Self::Gaussian(d) => write!(f, "gaussian:{d}"),
        }
    }
}

impl FromStr for LatentKind {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        let count = |n: &str| n.parse::<usize>().ok().filter(|n| (1..=65_536).contains(n));
        match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            Some(("one-hot", k)) => count(k).map(Self::OneHot),
            Some(("gaussian", d)) => count(d).map(Self::Gaussian),
            _ => None,
        }
        .ok_or_else(|| ParseKindError {
            found: text.to_string(),
            needed: "`none`, `one-hot:K` or `gaussian:d`",
        })
    }
}

/// How the layers of a policy network hang together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Architecture {
    /// A state branch and a latent branch, summed; written `two-branch`. The paper's.
    #[default]
    TwoBranch,
    /// A plain stack over observation and code side by side; written `mlp`.
    Mlp,
}

impl Architecture {
    /// First part of the names of its hidden layers.
    pub(crate) fn hidden_layers(self) -> &'static str {
        match self {
            Self::TwoBranch => "actor.state",
            Self::Mlp => "actor.layer",
        }
    }
}

impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::TwoBranch => "two-branch",
            Self::Mlp => "mlp",
        })
    }
}

impl FromStr for Architecture {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        match text {
            "two-branch" => Ok(Self::TwoBranch),
            "mlp" => Ok(Self::Mlp),
            _ => Err(ParseKindError { found: text.to_string(), needed: "`two-branch` or `mlp`" }),
        }
    }
}

/// What follows the layers of a policy network but the last, element by element.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Activation {
    /// tanh x; written `tanh`. The paper's.
    #[default]
    Tanh,
    /// max(x, 0); written `relu`.
    Relu,
    /// x where x > 0, eˣ − 1 elsewhere; written `elu`.
    Elu,
}

impl Activation {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Tanh, Self::Relu, Self::Elu];
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Tanh => "tanh",
            Self::Relu => "relu",
            Self::Elu => "elu",
        })
    }
}

impl FromStr for Activation {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        let found = Self::ALL.into_iter().find(|a| a.to_string() == text);
        found.ok_or_else(|| ParseKindError {
            found: text.to_string(),
            needed: "`tanh`, `relu` or `elu`",
        })
    }
}

/// How the last layer becomes the action mean.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum MeanScale {
    /// The last layer is the mean; written `none`.
    None,
    /// mean = c·tanh(last layer), c > 0; written as the number c.
    Tanh(f32),
}

impl fmt::Display for MeanScale {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::None => write!(f, "none"),
            Self::Tanh(c) => write!(f, "{c}"),
        }
    }
}

impl FromStr for MeanScale {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        if text == "none" {
            return Ok(Self::None);
        }
        let c = text.parse::<f32>().ok().filter(|c| c.is_finite() && *c > 0.0);
        c.map(Self::Tanh).ok_or_else(|| ParseKindError {
            found: text.to_string(),
            needed: "`none` or a positive number",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use alloc::format;
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

        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = text.parse::<Terms>();
            let _ = text.parse::<LatentKind>();
            let _ = text.parse::<MeanScale>();
        }
    }

    #[test]
    fn two_terms_of_one_name_are_refused() {
        let refused = "pos:2,vel:2,pos:3".parse::<Terms>().unwrap_err().to_string();
        assert!(refused.contains("pos:2,vel:2,pos:3") && refused.contains("different names"));
    }

    #[test]
    fn kinds_survive_a_round_trip() {
        for kind in [LatentKind::None, LatentKind::OneHot(6), LatentKind::Gaussian(3)] {
            assert_eq!(kind.to_string().parse::<LatentKind>().unwrap(), kind);
        }
        for scale in [MeanScale::None, MeanScale::Tanh(1.5), MeanScale::Tanh(0.1)] {
            assert_eq!(format!("{scale}").parse::<MeanScale>().unwrap(), scale);
        }
        for activation in Activation::ALL {
            assert_eq!(activation.to_string().parse::<Activation>().unwrap(), activation);
        }
        for architecture in [Architecture::TwoBranch, Architecture::Mlp] {
            assert_eq!(architecture.to_string().parse::<Architecture>().unwrap(), architecture);
        }
        assert!("Tanh".parse::<Activation>().is_err() && "".parse::<Architecture>().is_err());
        for bad in ["", "one-hot", "one-hot:0", "one-hot:-1", "gaussian:x", "two:3"] {
            assert!(bad.parse::<LatentKind>().is_err(), "{bad}");
        }
        for bad in ["", "-1", "0", "inf", "nan", "None"] {
            assert!(bad.parse::<MeanScale>().is_err(), "{bad}");
        }
    }
}
