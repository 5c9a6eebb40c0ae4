//! The contract: what policies, demonstrations, tasks and robots must agree on.

use core::fmt;

use crate::{Numbers, kinds::TermsView};

/// Two control periods are the same if they differ by no more than this, relative.
const PERIOD_TOLERANCE: f64 = 1e-9;
/// Two action bounds are the same if they differ by no more than this, relative to max(1, |bound|).
const BOUND_TOLERANCE: f32 = 1e-6;

/// A contract that borrows what has a length.
#[derive(Clone, Copy, Debug)]
pub struct ContractView<'a> {
    /// Task name.
    pub task: &'a str,
    /// Observation terms, in order; their widths add to S.
    pub obs_terms: TermsView<'a>,
    /// Action terms, in order; their widths add to A.
    pub action_terms: TermsView<'a>,
    /// Control period in seconds.
    pub dt_s: f64,
    /// Lower action bounds, `[A]`.
    pub action_low: Numbers<'a>,
    /// Upper action bounds, `[A]`.
    pub action_high: Numbers<'a>,
}

impl<'a> ContractView<'a> {
    /// Whether two contracts are the same.
    ///
    /// # Errors
    /// [`Mismatch`]: the first thing in which they differ, with both sides.
    pub fn check_fits(&self, other: &Self) -> Result<(), Mismatch<'a>> {
        let differ = |what, ours, theirs| Err(Mismatch { what, ours, theirs });
        if self.task != other.task {
            return differ("task", Side::Text(self.task), Side::Text(other.task));
        }
        for (what, ours, theirs) in [
            ("observation terms", self.obs_terms, other.obs_terms),
            ("action terms", self.action_terms, other.action_terms),
        ] {
            if ours != theirs {
                return differ(what, Side::Text(ours.as_str()), Side::Text(theirs.as_str()));
            }
        }
        // Written so that NaN differs.
        let same = (self.dt_s - other.dt_s).abs() <= PERIOD_TOLERANCE * self.dt_s.abs();
        if !same {
            return differ("control period", Side::Period(self.dt_s), Side::Period(other.dt_s));
        }
        for (what, ours, theirs) in [
            ("lower action bound", self.action_low, other.action_low),
            ("upper action bound", self.action_high, other.action_high),
        ] {
            if ours.len() != theirs.len() {
                return differ(what, Side::Count(ours.len()), Side::Count(theirs.len()));
            }
            let same = |a: f32, b: f32| (a - b).abs() <= BOUND_TOLERANCE * a.abs().max(1.0);
            let mut pairs = ours.iter().zip(theirs.iter()).enumerate();
            if let Some((index, (a, b))) = pairs.find(|(_, (a, b))| !same(*a, *b)) {
                let component = Component { terms: self.action_terms, index };
                let bound = |value| Side::Bound { value, component };
                return differ(what, bound(a), bound(b));
            }
        }
        Ok(())
    }
}

/// Two contracts differ; both sides are displayed as they are.
#[derive(Clone, Copy, Debug)]
pub struct Mismatch<'a> {
    /// What differs.
    pub what: &'static str,
    /// Ours.
    pub ours: Side<'a>,
    /// Theirs.
    pub theirs: Side<'a>,
}

impl fmt::Display for Mismatch<'_> {
    /// As a robot tells a policy.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, ours, theirs } = self;
        write!(f, "{what} of the policy is `{ours}`, of the robot it is `{theirs}`")
    }
}

/// One side of a [`Mismatch`].
#[derive(Clone, Copy, Debug)]
pub enum Side<'a> {
    /// A name, or terms.
    Text(&'a str),
    /// A control period, s.
    Period(f64),
    /// How many numbers there are.
    Count(usize),
    /// A bound of an action component.
    Bound {
        /// The bound.
        value: f32,
        /// The component.
        component: Component<'a>,
    },
}

impl fmt::Display for Side<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => f.write_str(text),
            Self::Period(dt_s) => write!(f, "{dt_s} s"),
            Self::Count(n) => write!(f, "{n} numbers"),
            Self::Bound { value, component } => write!(f, "{value} for {component}"),
        }
    }
}

/// One number of some terms, displayed as the name of its term, with a count where that is wider.
#[derive(Clone, Copy, Debug)]
pub struct Component<'a> {
    /// The terms.
    pub terms: TermsView<'a>,
    /// Which of their numbers.
    pub index: usize,
}

impl fmt::Display for Component<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.index;
        for (name, width) in self.terms.iter() {
            if left < width {
                return if width == 1 { f.write_str(name) } else { write!(f, "{name}.{left}") };
            }
            left -= width;
        }
        write!(f, "component {}", self.index)
    }
}
