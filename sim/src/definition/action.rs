//! `[[action]]`: what each number of an action is.

use sog_runtime::definition::{At, Named, Read, Table, Value};

use super::observation::term_name;

/// One term of the action.
#[derive(Clone, Debug, PartialEq)]
pub struct ActionTerm {
    /// Name, as policies and demonstrations have it.
    pub name: String,
    /// Components.
    pub width: usize,
    /// Lower bounds, `[width]`.
    pub low: Vec<f64>,
    /// Upper bounds, `[width]`.
    pub high: Vec<f64>,
    /// Unit, for people; empty where none is given.
    pub unit: String,
    /// Actuators of the model, `[width]`; empty where none are given. One without a name goes by
    /// its joint's.
    pub actuators: Vec<Named>,
    /// Where it stands.
    pub at: At,
}

pub(super) fn read(mut table: Table<'_>) -> Read<ActionTerm> {
    let at = table.at();
    let name = term_name(&mut table)?;
    let width = table.get("width");
    let low = table.need("low", "the lower bound, a number or one a component")?;
    let high = table.need("high", "the upper bound, a number or one a component")?;
    let actuator = table.get("actuator");
    let unit = table.read("unit", Value::string)?.unwrap_or_default();
    table.finish()?;

    let actuators = actuator.as_ref().map(Value::names).transpose()?.unwrap_or_default();
    let (lows, highs) = (low.numbers()?, high.numbers()?);
    let count = match &width {
        Some(width) => width.count(65_536)?,
        None => actuators.len().max(lows.len()).max(highs.len()),
    };
    if let Some(actuator) = actuator.filter(|_| actuators.len() != count) {
        let found = actuators.len();
        return Err(actuator.error(format!("names {found} actuators, the term is {count} wide")));
    }
    let one_each = |value: &Value<'_>, mut numbers: Vec<f64>| match numbers.len() {
        n if n == count => Ok(numbers),
        1 => {
            numbers.resize(count, numbers[0]);
            Ok(numbers)
        }
        n => Err(value.error(format!("{n} numbers, need one, or one a component: {count}"))),
    };
    let (lows, highs) = (one_each(&low, lows)?, one_each(&high, highs)?);
    if let Some(i) = (0..count).find(|&i| lows[i] >= highs[i]) {
        let problem = format!("component {i}: low {} is not below high {}", lows[i], highs[i]);
        return Err(low.error(problem));
    }
    Ok(ActionTerm { name, width: count, low: lows, high: highs, unit, actuators, at })
}
