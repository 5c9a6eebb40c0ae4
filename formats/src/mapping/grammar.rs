//! How a mapping is written: `TERM=SOURCE`.

use std::{fmt, ops::Range, str::FromStr};

use super::MapError;
use crate::resample::Kind;

/// `TERM=SOURCE`.
#[derive(Clone, Debug, PartialEq)]
pub struct Mapping {
    /// The task's term.
    pub term: String,
    /// What fills it, in order.
    pub parts: Vec<Part>,
}

/// A stretch of a column and what is done to it.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// Name of the column.
    pub column: String,
    /// Components of it; all where absent.
    pub range: Option<Range<usize>>,
    /// Which step's value.
    pub step: Step,
    /// How values between samples are found; as the column's type suggests where absent.
    pub kind: Option<Kind>,
    /// What every number is multiplied by.
    pub scale: f64,
    /// What becomes of it then.
    pub wave: Wave,
}

/// What becomes of a number in the end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wave {
    /// Nothing.
    #[default]
    None,
    /// Its sine.
    Sine,
    /// Its cosine.
    Cosine,
}

impl Wave {
    pub(super) fn of(self, x: f64) -> f64 {
        match self {
            Self::None => x,
            Self::Sine => x.sin(),
            Self::Cosine => x.cos(),
        }
    }
}

/// Which step a part is taken from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// The same.
    Here,
    /// So many steps on.
    Next(usize),
    /// The difference between the next and this one, per second.
    Rate,
}

impl FromStr for Mapping {
    type Err = MapError;

    fn from_str(text: &str) -> Result<Self, MapError> {
        let wrong = |why: &str| MapError::Grammar { text: text.to_string(), why: why.to_string() };
        let (term, source) = text.split_once('=').ok_or_else(|| wrong("no `=`"))?;
        let (term, source) = (term.trim(), source.trim());
        if term.is_empty() || source.is_empty() {
            return Err(wrong("nothing on one side of `=`"));
        }
        let parts = split(source).map(|part| part_of(part.trim()).map_err(|why| wrong(&why)));
        Ok(Self { term: term.to_string(), parts: parts.collect::<Result<_, _>>()? })
    }
}

/// Parts between commas; one in `next(q, 5)` is none between parts.
fn split(source: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0_usize;
    source.split(move |c| {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => {}
        }
        c == ',' && depth == 0
    })
}

/// `q` and `q, 5`: the column and how many steps on.
fn next_of(text: &str) -> Result<(Step, &str), String> {
    let Some((column, steps)) = text.rsplit_once(',') else { return Ok((Step::Next(1), text)) };
    match steps.trim().parse() {
        Ok(steps @ 1..) => Ok((Step::Next(steps), column)),
        _ => Err(format!("`{}` steps on: need a whole number from 1 on", steps.trim())),
    }
}

impl FromStr for Part {
    type Err = MapError;

    fn from_str(text: &str) -> Result<Self, MapError> {
        part_of(text.trim()).map_err(|why| MapError::Grammar { text: text.to_string(), why })
    }
}

fn part_of(text: &str) -> Result<Part, String> {
    let mut pieces = text.split(':');
    let source = pieces.next().unwrap_or_default().trim();
    let (step, source) = match source.strip_suffix(')') {
        None => (Step::Here, source),
        Some(call) => match call.split_once('(') {
            Some(("next", call)) => next_of(call)?,
            Some(("rate", column)) => (Step::Rate, column.trim()),
            // A name with brackets in it.
            _ => (Step::Here, source),
        },
    };
    let source = source.trim();
    let (column, range) = match source.strip_suffix(']').and_then(|s| s.rsplit_once('[')) {
        Some((column, range)) => match range_of(range) {
            Some(range) if range.is_empty() => return Err(format!("nothing is in [{range:?}]")),
            Some(range) => (column, Some(range)),
            None => return Err(format!("`[{range}]` is no stretch such as [0..3]")),
        },
        None => (source, None),
    };
    if column.is_empty() {
        return Err("a column without a name".to_string());
    }
    let (column, scale) = (column.to_string(), 1.0);
    let mut part = Part { column, range, step, kind: None, scale, wave: Wave::None };
    for piece in pieces {
        match piece.trim() {
            "deg" => part.scale *= std::f64::consts::PI / 180.0,
            "quat" => part.kind = Some(Kind::Quaternion { scalar_last: false }),
            "xyzw" => part.kind = Some(Kind::Quaternion { scalar_last: true }),
            "angle" => part.kind = Some(Kind::Angle),
            "hold" => part.kind = Some(Kind::Hold),
            "sin" => part.wave = Wave::Sine,
            "cos" => part.wave = Wave::Cosine,
            other => match other.strip_prefix('*').and_then(|n| n.trim().parse::<f64>().ok()) {
                Some(scale) if scale.is_finite() => part.scale *= scale,
                _ => {
                    return Err(format!(
                        "`:{other}` is none of :deg, :quat, :xyzw, :angle, :hold, :sin, :cos, :*NUMBER"
                    ));
                }
            },
        }
    }
    Ok(part)
}

/// `0..3`, `3` (one component).
fn range_of(text: &str) -> Option<Range<usize>> {
    match text.split_once("..") {
        Some((from, to)) => Some(from.trim().parse().ok()?..to.trim().parse().ok()?),
        None => {
            let at: usize = text.trim().parse().ok()?;
            Some(at..at.checked_add(1)?)
        }
    }
}

impl fmt::Display for Mapping {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}=", self.term)?;
        for (i, part) in self.parts.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            write!(f, "{comma}{}", part.column)?;
            if let Some(range) = &part.range {
                write!(f, "[{}..{}]", range.start, range.end)?;
            }
        }
        Ok(())
    }
}
