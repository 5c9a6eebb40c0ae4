//! Typed forms of the strings in a policy file's metadata.

use core::{fmt, str::FromStr};

use crate::text::Excerpt;

/// A metadata string that cannot be understood.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{found}`, need {needed}")]
pub struct ParseKindError {
    /// The string.
    pub found: Excerpt,
    /// What would be accepted.
    pub needed: &'static str,
}

impl ParseKindError {
    /// The error of this string.
    pub fn new(found: &str, needed: &'static str) -> Self {
        Self { found: found.into(), needed }
    }
}

/// Most terms of an observation or an action.
pub const MOST_TERMS: usize = 1024;
/// Largest width of a term or a code.
const MOST_WIDTH: usize = 65_536;

/// The ordered terms of an observation or an action, as they are written:
/// `name:width,name:width,…`.
#[derive(Clone, Copy, Debug, Default)]
pub struct TermsView<'a>(&'a str);

impl<'a> TermsView<'a> {
    /// Reads and checks them.
    ///
    /// # Errors
    /// [`ParseKindError`] where a term has no name or no width from 1 to 65536, or two have one name.
    pub fn parse(text: &'a str) -> Result<Self, ParseKindError> {
        let good = text.split(',').all(|part| term(part).is_some());
        if !good || text.split(',').count() > MOST_TERMS {
            let needed = "`name:width,name:width,…` with widths from 1 to 65536";
            return Err(ParseKindError::new(text, needed));
        }
        let terms = Self(text);
        let earlier = |i| terms.iter().take(i);
        if terms.iter().enumerate().any(|(i, (name, _))| earlier(i).any(|(n, _)| n == name)) {
            let needed = "terms of different names: a name that stands for two says nothing";
            return Err(ParseKindError::new(text, needed));
        }
        Ok(terms)
    }

    /// Terms as they are written, which are not looked at.
    pub fn as_written(text: &'a str) -> Self {
        Self(text)
    }

    /// Name and width of each.
    pub fn iter(self) -> impl Iterator<Item = (&'a str, usize)> + Clone + use<'a> {
        self.0.split(',').filter_map(term)
    }

    /// Total width.
    pub fn width(self) -> usize {
        self.iter().map(|(_, width)| width).sum()
    }

    /// As they are written.
    pub fn as_str(self) -> &'a str {
        self.0
    }
}

/// Two are the same with the same names and widths in the same order.
impl PartialEq for TermsView<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

fn term(part: &str) -> Option<(&str, usize)> {
    let (name, width) = part.rsplit_once(':')?;
    let width = width.parse().ok().filter(|width| (1..=MOST_WIDTH).contains(width))?;
    (!name.is_empty()).then_some((name, width))
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
        let count = |n: &str| n.parse::<usize>().ok().filter(|n| (1..=MOST_WIDTH).contains(n));
        match text.split_once(':') {
            None if text == "none" => Some(Self::None),
            Some(("one-hot", k)) => count(k).map(Self::OneHot),
            Some(("gaussian", d)) => count(d).map(Self::Gaussian),
            _ => None,
        }
        .ok_or_else(|| ParseKindError::new(text, "`none`, `one-hot:K` or `gaussian:d`"))
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
    /// First part of the names of its hidden layers: `actor.state` or `actor.layer`.
    pub fn hidden_layers(self) -> &'static str {
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
            _ => Err(ParseKindError::new(text, "`two-branch` or `mlp`")),
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

    /// Name as in files.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tanh => "tanh",
            Self::Relu => "relu",
            Self::Elu => "elu",
        }
    }
}

impl fmt::Display for Activation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Activation {
    type Err = ParseKindError;

    fn from_str(text: &str) -> Result<Self, ParseKindError> {
        let found = Self::ALL.into_iter().find(|a| a.name() == text);
        found.ok_or_else(|| ParseKindError::new(text, "`tanh`, `relu` or `elu`"))
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
        c.map(Self::Tanh).ok_or_else(|| ParseKindError::new(text, "`none` or a positive number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::{format, string::ToString};

    proptest! {
        #[test]
        fn no_text_panics(text in ".{0,40}") {
            let _ = TermsView::parse(&text);
            let _ = text.parse::<LatentKind>();
            let _ = text.parse::<MeanScale>();
        }
    }

    #[test]
    fn two_terms_of_one_name_are_refused() {
        let refused = TermsView::parse("pos:2,vel:2,pos:3").unwrap_err().to_string();
        assert!(refused.contains("pos:2,vel:2,pos:3") && refused.contains("different names"));
    }

    #[test]
    fn terms_are_what_they_say() {
        let terms = TermsView::parse("a:b:2,c:030").unwrap();
        assert!(terms.iter().eq([("a:b", 2), ("c", 30)]) && terms.width() == 32);
        assert_eq!(terms, TermsView::parse("a:b:2,c:30").unwrap());
        for bad in ["", ",", "a", "a:", ":1", "a:0", "a:65537", "a:1,", "a:-1", "a:1,b"] {
            assert!(TermsView::parse(bad).is_err(), "{bad}");
        }
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
