//! `[[command]]` and `[[action]]`: what the robot is told, and how an action says it.

use super::{
    channel::{self, low_pass},
    filter::LowPass,
    joint::{self, Joint, Part},
};
use crate::{
    definition::{At, Read, Table, Value, hint, quoted},
    terms::MOST_NUMBERS,
};

/// A group of numbers that the robot is told.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Told {
    pub(super) name: String,
    pub(super) holds: ToldHolds,
    /// Bounds in the robot's units, `[width]`.
    pub(super) low: Vec<f64>,
    pub(super) high: Vec<f64>,
    pub(super) at: At,
}

impl Told {
    /// Whether it tells this part of a joint.
    pub(super) fn tells(&self, part: Part, joint: usize) -> bool {
        matches!(&self.holds, ToldHolds::Joints { part: told, of } if *told == part && of.contains(&joint))
    }
}

/// What a group of numbers that the robot is told holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum ToldHolds {
    /// A part of these joints.
    Joints { part: Part, of: Vec<usize> },
    /// Plain numbers.
    Numbers { width: usize },
}

impl ToldHolds {
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Joints { of, .. } => of.len(),
            Self::Numbers { width } => *width,
        }
    }
}

/// A term of the policy's action, and what it sets: default + scale · action.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct ActionTerm {
    pub(super) name: String,
    pub(super) sets: Sets,
    /// `[width]`.
    pub(super) default: Vec<f64>,
    /// `[width]`.
    pub(super) scale: Vec<f64>,
    pub(super) clip: Option<[f64; 2]>,
    pub(super) low_pass: Option<LowPass>,
    pub(super) at: At,
}

/// What an action sets.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Sets {
    /// A part of these joints, in the policy's units.
    Joints { part: Part, of: Vec<usize> },
    /// The plain numbers of this command.
    Numbers { command: usize, width: usize },
}

impl ActionTerm {
    pub(super) fn width(&self) -> usize {
        match &self.sets {
            Sets::Joints { of, .. } => of.len(),
            Sets::Numbers { width, .. } => *width,
        }
    }
}

impl ActionTerm {
    /// What component `i` sets where the action is 0.
    pub(super) fn at_rest(&self, i: usize) -> f64 {
        self.clip.map_or(self.default[i], |[low, high]| self.default[i].clamp(low, high))
    }
}

pub(super) fn read_told(mut table: Table<'_>, joints: &[Joint]) -> Read<Told> {
    let at = table.at();
    let name = channel::name(&mut table)?;
    let (part, width) = (table.get("joints"), table.get("width"));
    let order = table.get("order");
    let low = table.need("low", "the least the robot takes, a number or one a component")?;
    let high = table.need("high", "the most the robot takes, a number or one a component")?;
    table.finish()?;
    let holds = match (part, width) {
        (Some(part), None) => {
            let of = joint::pick(joints, order.as_ref())?;
            if of.is_empty() {
                return Err(part.error("there is no [[joint]] that it could hold"));
            }
            ToldHolds::Joints { part: Part::read(&part, Part::TOLD)?, of }
        }
        (None, Some(width)) => {
            if let Some(order) = order {
                return Err(order.error("only a command to joints has an order"));
            }
            ToldHolds::Numbers { width: width.count(MOST_NUMBERS)? }
        }
        _ => return Err(at.error(format!("command `{name}` needs one of `joints` and `width`"))),
    };
    let width = holds.width();
    let (lows, highs) = (spread(&low, width)?, spread(&high, width)?);
    if let Some(i) = (0..width).find(|&i| lows[i] >= highs[i]) {
        let problem = format!("component {i}: low {} is not below high {}", lows[i], highs[i]);
        return Err(low.error(problem));
    }
    Ok(Told { name, holds, low: lows, high: highs, at })
}

/// Reads a table: one term, or one a joint where the name holds a `*`.
pub(super) fn read_action(
    mut table: Table<'_>,
    joints: &[Joint],
    told: &[Told],
    dt_s: f64,
) -> Read<Vec<ActionTerm>> {
    let at = table.at();
    let name_value = table.need("name", "the name of the policy's term")?;
    let name = name_value.string()?;
    let (joint, command) = (table.get("joint"), table.get("command"));
    let part = table.get("sets");
    let (default, scale) = (table.get("default"), table.get("scale"));
    let clip = table.read("clip", Value::interval)?;
    let low_pass = table.read("low_pass", |v| low_pass(v, 1.0 / dt_s))?;
    table.finish()?;
    let sets = match (joint, command) {
        (Some(joint), None) => {
            let of = joint::pick(joints, Some(&joint))?;
            let Some(part) = part else {
                let needed: Vec<&str> = Part::MEASURED.iter().map(|part| part.name()).collect();
                let problem = format!("`{name}` needs `sets`, one of {}", quoted(&needed));
                return Err(at.error(problem));
            };
            Sets::Joints { part: Part::read(&part, Part::MEASURED)?, of }
        }
        (None, Some(command)) => {
            if let Some(part) = part {
                return Err(part.error("only an action on joints sets a part of them"));
            }
            let found = command.string()?;
            let index = told.iter().position(|told| told.name == found);
            let Some(index) = index else {
                let hint = hint(&found, told.iter().map(|told| told.name.as_str()));
                return Err(command.error(format!("there is no [[command]] `{found}`{hint}")));
            };
            match told[index].holds {
                ToldHolds::Numbers { width } => Sets::Numbers { command: index, width },
                ToldHolds::Joints { .. } => {
                    let problem = format!("`{found}` is told to joints; need `joint` here");
                    return Err(command.error(problem));
                }
            }
        }
        _ => return Err(at.error(format!("`{name}` needs one of `joint` and `command`"))),
    };
    let all = ActionTerm { name, sets, default: vec![], scale: vec![], clip, low_pass, at };
    let width = all.width();
    let numbers = |value: Option<Value<'_>>, otherwise: f64| match value {
        Some(value) => spread(&value, width),
        None => Ok(vec![otherwise; width]),
    };
    if let Some(value) = &scale
        && value.numbers()?.contains(&0.0)
    {
        return Err(value.error("a scale of 0 would leave the action without effect"));
    }
    let all = ActionTerm { default: numbers(default, 0.0)?, scale: numbers(scale, 1.0)?, ..all };
    if !all.name.contains('*') {
        return Ok(vec![all]);
    }
    let Sets::Joints { part, of } = &all.sets else {
        return Err(name_value.error("`*` stands for joints, and this action has none"));
    };
    let one = |(i, &joint): (usize, &usize)| ActionTerm {
        name: all.name.replace('*', &joints[joint].name),
        sets: Sets::Joints { part: *part, of: vec![joint] },
        default: vec![all.default[i]],
        scale: vec![all.scale[i]],
        ..all.clone()
    };
    Ok(of.iter().enumerate().map(one).collect())
}

/// A number for all components, or one each.
fn spread(value: &Value<'_>, width: usize) -> Read<Vec<f64>> {
    let numbers = value.numbers()?;
    match numbers.len() {
        n if n == width => Ok(numbers),
        1 => Ok(vec![numbers[0]; width]),
        n => Err(value.error(format!("{n} numbers, need one, or one a component: {width}"))),
    }
}
