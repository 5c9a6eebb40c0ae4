//! `[[channel]]` and `[[velocity]]`: what the robot sends, and what is made of it.

use nalgebra::{Quaternion, UnitQuaternion};

use super::{
    filter::LowPass,
    joint::{self, Joint, Part},
    unit,
};
use crate::{
    definition::{At, Read, Table, Value, quoted},
    terms::MOST_NUMBERS,
};

/// How far the length of a mounting's quaternion may be from 1.
const UNIT_TOLERANCE: f64 = 1e-3;

/// A group of numbers that the robot sends.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Channel {
    pub(super) name: String,
    pub(super) holds: Holds,
    pub(super) low_pass: Option<LowPass>,
    /// Where it begins in what the robot sends, and in the signals.
    pub(super) from: usize,
    pub(super) at: At,
}

/// What a channel holds.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Holds {
    /// A part of these joints.
    Joints { part: Part, of: Vec<usize> },
    /// The orientation of a sensor in the world.
    Orientation {
        /// Whether w comes last.
        xyzw: bool,
        /// Turns vectors of the sensor into vectors of the body.
        mounting: UnitQuaternion<f64>,
    },
    /// A vector in the sensor's axes, or in the world's.
    Vector { world: bool, si: f64, mounting: UnitQuaternion<f64> },
    /// Plain numbers.
    Numbers { width: usize, si: f64 },
}

impl Holds {
    pub(super) fn width(&self) -> usize {
        match self {
            Self::Joints { of, .. } => of.len(),
            Self::Orientation { .. } => 4,
            Self::Vector { .. } => 3,
            Self::Numbers { width, .. } => *width,
        }
    }
}

/// A velocity made of a channel's positions.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Velocity {
    pub(super) name: String,
    /// Which channel.
    pub(super) of: usize,
    pub(super) low_pass: Option<LowPass>,
    /// Where it begins in the signals.
    pub(super) from: usize,
    pub(super) at: At,
}

/// Reads a channel that begins at this number of what the robot sends.
pub(super) fn read(
    mut table: Table<'_>,
    joints: &[Joint],
    dt_s: f64,
    from: usize,
) -> Read<Channel> {
    let at = table.at();
    let name = name(&mut table)?;
    let joints_value = table.get("joints");
    let orientation = table.get("quaternion");
    let vector = table.get("vector");
    let width = table.get("width");
    let order = table.get("order");
    let unit = table.get("unit");
    let mounting = table.get("mounting");
    let low_pass = table.read("low_pass", |v| low_pass(v, 1.0 / dt_s))?;
    table.finish()?;

    let given = [&joints_value, &orientation, &vector, &width];
    let kinds = ["joints", "quaternion", "vector", "width"];
    if given.into_iter().flatten().count() != 1 {
        return Err(at.error(format!("channel `{name}` needs exactly one of {}", quoted(&kinds))));
    }
    let refuse = |value: &Option<Value<'_>>, why: &str| match value {
        Some(value) => Err(value.error(why.to_string())),
        None => Ok(()),
    };
    let si = |value: &Option<Value<'_>>| match value {
        None => Ok(1.0),
        Some(value) => {
            let all = [unit::POSITIONS, unit::VELOCITIES, unit::OTHERS];
            let found = value.string()?;
            unit::find(&found, &all).ok_or_else(|| {
                let known = unit::names(&all);
                value.error(format!("`{found}` is no unit known here; need {}", quoted(&known)))
            })
        }
    };
    if joints_value.is_none() {
        refuse(&order, "only a channel of joints has an order")?;
    }
    if orientation.is_none() && vector.is_none() {
        refuse(&mounting, "only a quaternion or a vector has a mounting")?;
    }
    let holds = if let Some(value) = joints_value {
        refuse(&unit, "units of joints stand in [[joint]]")?;
        let part = Part::read(&value, Part::MEASURED)?;
        let of = joint::pick(joints, order.as_ref())?;
        if of.is_empty() {
            return Err(value.error("there is no [[joint]] that it could hold"));
        }
        Holds::Joints { part, of }
    } else if let Some(value) = orientation {
        refuse(&unit, "a quaternion has no unit")?;
        if low_pass.is_some() {
            return Err(at.error(format!("channel `{name}`: a quaternion has no low_pass")));
        }
        let xyzw = match value.string()?.as_str() {
            "wxyz" => false,
            "xyzw" => true,
            other => {
                let problem = format!("`{other}` is no order; need \"wxyz\" or \"xyzw\"");
                return Err(value.error(problem));
            }
        };
        Holds::Orientation { xyzw, mounting: read_mounting(mounting.as_ref())? }
    } else if let Some(value) = vector {
        let world = match value.string()?.as_str() {
            "sensor" => false,
            "world" => true,
            other => {
                let problem = format!("`{other}` are no axes; need \"sensor\" or \"world\"");
                return Err(value.error(problem));
            }
        };
        if world {
            refuse(&mounting, "a vector in world axes has no mounting")?;
        }
        Holds::Vector { world, si: si(&unit)?, mounting: read_mounting(mounting.as_ref())? }
    } else {
        let width = width.map_or(Ok(0), |v| v.count(MOST_NUMBERS))?;
        Holds::Numbers { width, si: si(&unit)? }
    };
    Ok(Channel { name, holds, low_pass, from, at })
}

/// Reads a velocity that begins at this number of the signals.
pub(super) fn read_velocity(
    mut table: Table<'_>,
    channels: &[Channel],
    dt_s: f64,
    from: usize,
) -> Read<Velocity> {
    let at = table.at();
    let name = name(&mut table)?;
    let of = table.need("of", "the channel whose numbers are the positions")?;
    let low_pass = table.read("low_pass", |v| low_pass(v, 1.0 / dt_s))?;
    table.finish()?;
    let found = of.string()?;
    let Some(channel) = channels.iter().position(|channel| channel.name == found) else {
        return Err(of.error(not_sent(&found, channels)));
    };
    match &channels[channel].holds {
        Holds::Orientation { .. } => Err(of.error(
            "no velocity is made of a quaternion; need \
             a channel of angular velocity",
        )),
        Holds::Joints { part: Part::Velocity | Part::Torque, .. } => {
            Err(of.error(format!("channel `{found}` holds no positions")))
        }
        _ => Ok(Velocity { name, of: channel, low_pass, from, at }),
    }
}

/// That a channel is not among those that the robot sends.
pub(super) fn not_sent(name: &str, channels: &[Channel]) -> String {
    let hint = crate::definition::hint(name, channels.iter().map(|c| c.name.as_str()));
    format!("the robot sends no [[channel]] `{name}`{hint}")
}

/// A name that can stand among terms.
pub(super) fn name(table: &mut Table<'_>) -> Read<String> {
    let value = table.need("name", "a name")?;
    let name = value.string()?;
    let bad = |c: char| matches!(c, ',' | '[' | ']') || c.is_whitespace() || c.is_control();
    match name.contains(bad) {
        true => Err(value.error(format!("`{name}` holds a comma, a bracket or a blank"))),
        false => Ok(name),
    }
}

/// `low_pass = { hz = 20.0, order = 2 }`, or the cut-off alone.
pub(super) fn low_pass(value: &Value<'_>, rate_hz: f64) -> Read<LowPass> {
    let (cut, order) = if value.is_table() {
        let mut table = value.table()?;
        let cut = table.need("hz", "the cut-off frequency in Hz")?;
        let order = table.read("order", |v| v.count(2))?.unwrap_or(1);
        table.finish()?;
        (cut, order)
    } else {
        (value.clone(), 1)
    };
    let hz = cut.positive()?;
    let nyquist = rate_hz / 2.0;
    if hz >= nyquist {
        return Err(cut.error(format!(
            "a cut-off of {hz} Hz, need less than half the rate of {rate_hz} Hz: {nyquist} Hz"
        )));
    }
    Ok(LowPass { hz, order: order as u8 })
}

/// `mounting = { wxyz = […] }`, `{ xyzw = […] }` or `{ rpy = […] }` with degrees: turns vectors of
/// the sensor into vectors of the body.
fn read_mounting(value: Option<&Value<'_>>) -> Read<UnitQuaternion<f64>> {
    let Some(value) = value else { return Ok(UnitQuaternion::identity()) };
    let mut table = value.table()?;
    let (wxyz, xyzw, rpy) = (table.get("wxyz"), table.get("xyzw"), table.get("rpy"));
    table.finish()?;
    let exactly = |value: &Value<'_>, n: usize| {
        let numbers = value.numbers()?;
        let found = numbers.len();
        if found == n {
            Ok(numbers)
        } else {
            Err(value.error(format!("{found} numbers, need {n}")))
        }
    };
    match (wxyz, xyzw, rpy) {
        (Some(value), None, None) => {
            let q = exactly(&value, 4)?;
            unit_quaternion(&value, Quaternion::new(q[0], q[1], q[2], q[3]))
        }
        (None, Some(value), None) => {
            let q = exactly(&value, 4)?;
            unit_quaternion(&value, Quaternion::new(q[3], q[0], q[1], q[2]))
        }
        (None, None, Some(value)) => {
            let a = exactly(&value, 3)?;
            let rad = |i: usize| a[i].to_radians();
            Ok(UnitQuaternion::from_euler_angles(rad(0), rad(1), rad(2)))
        }
        _ => Err(value.error("need exactly one of `wxyz`, `xyzw` and `rpy` (degrees)")),
    }
}

fn unit_quaternion(value: &Value<'_>, q: Quaternion<f64>) -> Read<UnitQuaternion<f64>> {
    let length = q.norm();
    if (length - 1.0).abs() > UNIT_TOLERANCE {
        return Err(
            value.error(format!("a quaternion of length {length:.4}, need one of length 1"))
        );
    }
    Ok(UnitQuaternion::new_normalize(q))
}
