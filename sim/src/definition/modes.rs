//! `[[mode]]` and `[goal]`: the ways of doing a task, as evaluation knows them.

use sog_runtime::definition::{At, Read, Table, Value};

use super::{
    expression::Formula,
    simulator::{Registered, bounds},
};

/// One way of doing the task.
#[derive(Clone, Debug, PartialEq)]
pub struct ModeDefinition {
    /// Name, for people.
    pub name: String,
    /// Number that says which one: a direction in radians, a speed, a radius.
    pub value: f64,
    /// Reward of each step.
    pub reward: Option<Reward>,
    /// What holds at the end of an episode that has succeeded.
    pub success: Option<Success>,
    /// Where it stands.
    pub at: At,
}

/// Goals of a box, in place of modes.
#[derive(Clone, Debug, PartialEq)]
pub struct GoalDefinition {
    /// What a goal is, with its unit.
    pub what: String,
    /// Lower bounds, one a dimension.
    pub low: Vec<f64>,
    /// Upper bounds, one a dimension.
    pub high: Vec<f64>,
    /// Goals `[M, dims]` that a new environment rewards.
    pub default: Vec<f64>,
    /// Reward of each step.
    pub reward: Option<Reward>,
    /// What holds at the end of an episode that has succeeded.
    pub success: Option<Success>,
    /// Where it stands.
    pub at: At,
}

/// The reward of a step.
#[derive(Clone, Debug, PartialEq)]
pub enum Reward {
    /// An expression.
    Formula(Formula),
    /// A function registered in Rust.
    Rust(Registered),
}

/// What holds at the end of an episode that has succeeded.
#[derive(Clone, Debug, PartialEq)]
pub struct Success {
    /// What is looked at.
    pub of: Formula,
    /// Not below this.
    pub low: Option<f64>,
    /// Not above this.
    pub high: Option<f64>,
}

impl Success {
    /// `below`, `above` and `outside` say here where it has succeeded.
    fn read(value: &Value<'_>) -> Read<Self> {
        let mut table = value.table()?;
        let of = Formula::read(&table.need("of", "what is looked at, as in \"distance(a, b)\"")?)?;
        let inside = table.read("inside", Value::interval)?;
        let (low, high) = match inside {
            Some([low, high]) => (Some(low), Some(high)),
            None => match bounds(&mut table)? {
                (Some(below), None) => (None, Some(below)),
                (None, Some(above)) => (Some(above), None),
                _ => return Err(table.error("need one of `below`, `above` and `inside`")),
            },
        };
        table.finish()?;
        Ok(Self { of, low, high })
    }
}

impl Reward {
    fn read(value: &Value<'_>) -> Read<Self> {
        match value.is_table() {
            true => Registered::read(value).map(Self::Rust),
            false => Formula::read(value).map(Self::Formula),
        }
    }
}

pub(super) fn read_mode(index: usize, mut table: Table<'_>) -> Read<ModeDefinition> {
    let at = table.at();
    let mode = ModeDefinition {
        name: table.need("name", "a name for the mode")?.string()?,
        value: table.read("value", Value::number)?.unwrap_or(index as f64),
        reward: table.read("reward", Reward::read)?,
        success: table.read("success", Success::read)?,
        at,
    };
    table.finish()?;
    Ok(mode)
}

pub(super) fn read_goal(mut table: Table<'_>) -> Read<GoalDefinition> {
    let at = table.at();
    let what = table.need("what", "what a goal is, with its unit")?.string()?;
    let low_value = table.need("low", "the lower bounds of goals")?;
    let (low, high) = (low_value.numbers()?, table.need("high", "the upper bounds")?.numbers()?);
    let dims = low.len();
    if high.len() != dims || low.iter().zip(&high).any(|(low, high)| low >= high) {
        return Err(low_value.error("need as many numbers as `high`, each below its own"));
    }
    let middle = || low.iter().zip(&high).map(|(l, h)| 0.5 * (l + h)).collect();
    let default = match table.get("default") {
        None => middle(),
        Some(value) => {
            let default = value.numbers()?;
            if !default.len().is_multiple_of(dims) {
                return Err(
                    value.error(format!("need goals of {dims} numbers, one after the other"))
                );
            }
            default
        }
    };
    let goal = GoalDefinition {
        what,
        low,
        high,
        default,
        reward: table.read("reward", Reward::read)?,
        success: table.read("success", Success::read)?,
        at,
    };
    table.finish()?;
    Ok(goal)
}
