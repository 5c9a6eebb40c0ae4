//! `[homing]`: the pose that the policy starts from, and how the robot may get there.

use alloc::{format, vec, vec::Vec};

use super::{
    command::{ActionTerm, Sets, Told, ToldHolds},
    has::Has,
    joint::{Joint, Part},
};
use crate::definition::{At, Read, Table, Value, hint};

/// How near the pose a joint is there, rad or m.
const TOLERANCE: f64 = 0.05;
/// How far a joint may be from where it was told to be, rad or m.
const LAG: f64 = 0.3;
/// How long after the planned arrival the joints may take, s.
const SETTLE_S: f64 = 2.0;

/// What `[homing]` says.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct HomingTable {
    /// Every joint that the robot is told something of.
    pub(super) joints: Vec<Home>,
    pub(super) settle_s: f64,
    pub(super) at: At,
}

/// Where a joint is to go, and how; rad or m.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Home {
    pub(super) joint: usize,
    pub(super) pose: f64,
    /// Most of it a second.
    pub(super) speed: f64,
    pub(super) tolerance: f64,
    pub(super) lag: f64,
}

/// Reads `[homing]`.
pub(super) fn read(
    mut table: Table<'_>,
    has: &Has,
    told: &[Told],
    action: &[ActionTerm],
) -> Read<HomingTable> {
    let at = table.at();
    let needed = "the most a joint moves in a second, rad or m; a number, or { joint = number, … }";
    let speed = table.need("speed", needed)?;
    let of_each = |value: &Value<'_>| each(value, &has.joints, true);
    let (tolerance, lag) = (table.read("tolerance", of_each)?, table.read("lag", of_each)?);
    let given = table.read("pose", |value| each(value, &has.joints, false))?;
    let settle_s = table.read("settle", Value::positive)?.unwrap_or(SETTLE_S);
    table.finish()?;
    let speeds = of_each(&speed)?;
    let moved = (0..has.joints.len()).filter(|joint| {
        let of =
            |told: &Told| matches!(&told.holds, ToldHolds::Joints { of, .. } if of.contains(joint));
        told.iter().any(of)
    });
    let mut joints = vec![];
    for joint in moved {
        let name = &has.joints[joint].name;
        let given = given.as_ref().and_then(|given| given[joint]);
        let pose = given.or_else(|| default_of(joint, action)).ok_or_else(|| {
            at.error(format!(
                "joint `{name}` has no pose; need pose = {{ {name} = … }} in rad or m"
            ))
        })?;
        let speed = speeds[joint].ok_or_else(|| {
            speed
                .error(format!("joint `{name}` has no speed; need one for each joint that is told"))
        })?;
        let or = |of: &Option<Vec<Option<f64>>>, otherwise| {
            of.as_ref().and_then(|of| of[joint]).unwrap_or(otherwise)
        };
        within_bounds(&has.joints[joint], joint, pose, told, &at)?;
        let (tolerance, lag) = (or(&tolerance, TOLERANCE), or(&lag, LAG));
        joints.push(Home { joint, pose, speed, tolerance, lag });
    }
    match joints.is_empty() {
        true => {
            Err(at.error("no [[command]] tells the robot anything of a joint: nothing can move"))
        }
        false => Ok(HomingTable { joints, settle_s, at }),
    }
}

/// A number for all joints, or a table of numbers by joint.
fn each(value: &Value<'_>, joints: &[Joint], positive: bool) -> Read<Vec<Option<f64>>> {
    let number = |value: &Value<'_>| if positive { value.positive() } else { value.number() };
    if !value.is_table() {
        return Ok(vec![Some(number(value)?); joints.len()]);
    }
    let mut numbers = vec![None; joints.len()];
    for (name, value) in value.table()?.entries() {
        let joint = joints.iter().position(|joint| joint.name == name).ok_or_else(|| {
            let hint = hint(&name, joints.iter().map(|joint| joint.name.as_str()));
            value.error(format!("there is no [[joint]] `{name}`{hint}"))
        })?;
        numbers[joint] = Some(number(&value)?);
    }
    Ok(numbers)
}

/// The default pose of an action that sets the position of a joint.
fn default_of(joint: usize, action: &[ActionTerm]) -> Option<f64> {
    action.iter().find_map(|term| match &term.sets {
        Sets::Joints { part: Part::Position, of } => {
            of.iter().position(|&of| of == joint).map(|i| term.default[i])
        }
        _ => None,
    })
}

/// A pose that the robot would never be told to take is a mistake.
fn within_bounds(joint: &Joint, index: usize, pose: f64, told: &[Told], at: &At) -> Read<()> {
    let (offset, gain) = joint.affine(Part::Position);
    let command = pose / gain + offset;
    for told in told {
        if let ToldHolds::Joints { part: Part::Position, of } = &told.holds
            && let Some(i) = of.iter().position(|&of| of == index)
            && !(told.low[i]..=told.high[i]).contains(&command)
        {
            return Err(at.error(format!(
                "the pose of joint `{}`, {pose}, is {command} to the robot, and command `{}` goes from \
                 {} to {}",
                joint.name, told.name, told.low[i], told.high[i]
            )));
        }
    }
    Ok(())
}
