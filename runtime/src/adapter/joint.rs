//! `[[joint]]`: how the robot counts a joint, and how the policy does.

use super::unit;
use crate::definition::{At, Named, Read, Table, Value, hint, quoted};

/// A joint. With the robot's reading r, in its unit, the policy has
///
/// ```text
/// position = sign · scale · unit · (r − offset)       rad or m
/// velocity = sign · scale · velocity_unit · r         rad/s or m/s
/// torque   = sign · r / torque_scale                  N m or N
/// ```
///
/// and what the robot is told follows by the inverse.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Joint {
    pub(super) name: String,
    pub(super) sign: f64,
    /// What the robot reads where the policy reads 0.
    pub(super) offset: f64,
    /// scale · unit.
    pub(super) position: f64,
    /// scale · velocity_unit.
    pub(super) velocity: f64,
    pub(super) torque_scale: f64,
    /// Stiffness, N m/rad.
    pub(super) kp: Option<f64>,
    /// Damping, N m s/rad.
    pub(super) kd: Option<f64>,
    /// Largest torque of a PD loop, N m.
    pub(super) torque_limit: f64,
    pub(super) at: At,
}

/// What of a joint a channel holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    Position,
    Velocity,
    Torque,
    Kp,
    Kd,
}

impl Part {
    const ALL: [Self; 5] = [Self::Position, Self::Velocity, Self::Torque, Self::Kp, Self::Kd];
    /// What a robot can measure.
    pub(super) const MEASURED: &'static [Self] = Self::ALL.split_at(3).0;
    /// What a robot can be told.
    pub(super) const TOLD: &'static [Self] = &Self::ALL;

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Position => "position",
            Self::Velocity => "velocity",
            Self::Torque => "torque",
            Self::Kp => "kp",
            Self::Kd => "kd",
        }
    }

    pub(super) fn read(value: &Value<'_>, among: &[Self]) -> Read<Self> {
        let found = value.string()?;
        let names: Vec<&str> = among.iter().map(|part| part.name()).collect();
        among.iter().copied().find(|part| part.name() == found).ok_or_else(|| {
            value.error(format!("`{found}` is nothing of a joint here; need {}", quoted(&names)))
        })
    }
}

impl Joint {
    /// Offset and gain of a reading: policy's = (robot's − offset) · gain.
    pub(super) fn affine(&self, part: Part) -> (f64, f64) {
        match part {
            Part::Position => (self.offset, self.sign * self.position),
            Part::Velocity => (0.0, self.sign * self.velocity),
            Part::Torque => (0.0, self.sign / self.torque_scale),
            // τ = kp·(q* − q) in the policy's units is torque_scale · kp · position in the robot's:
            // the signs of torque and position cancel.
            Part::Kp => (0.0, 1.0 / (self.torque_scale * self.position)),
            Part::Kd => (0.0, 1.0 / (self.torque_scale * self.velocity)),
        }
    }
}

/// kp · error − kd · velocity, within ± `limit`: the torque of a PD loop, in the policy's units.
pub(super) fn pd_torque([kp, kd]: [f64; 2], error: f64, velocity: f64, limit: f64) -> f64 {
    (kp * error - kd * velocity).clamp(-limit, limit)
}

pub(super) fn read(mut table: Table<'_>) -> Read<Joint> {
    let at = table.at();
    let name = table.need("name", "a name for the joint")?.string()?;
    let sign = table.read("sign", |v| match v.number()? {
        sign if sign.abs() == 1.0 => Ok(sign),
        other => Err(v.error(format!("found {other}, need 1 or -1; a factor goes in `scale`"))),
    })?;
    let scale = table.read("scale", Value::positive)?.unwrap_or(1.0);
    let position = table.read("unit", |v| si(v, unit::POSITIONS).map(|si| (v.string(), si)))?;
    let (name_of_unit, position) = match position {
        Some((name, si)) => (name?, si),
        None => ("rad".to_string(), 1.0),
    };
    let velocity = table.read("velocity_unit", |v| si(v, unit::VELOCITIES))?;
    let not_negative = |v: &Value<'_>| match v.number()? {
        found if found >= 0.0 => Ok(found),
        found => Err(v.error(format!("found {found}, need 0 or more"))),
    };
    let joint = Joint {
        name,
        sign: sign.unwrap_or(1.0),
        offset: table.read("offset", Value::number)?.unwrap_or(0.0),
        position: scale * position,
        velocity: scale * velocity.unwrap_or_else(|| unit::of_velocity(&name_of_unit)),
        torque_scale: table.read("torque_scale", Value::positive)?.unwrap_or(1.0),
        kp: table.read("kp", not_negative)?,
        kd: table.read("kd", not_negative)?,
        torque_limit: table.read("torque_limit", Value::positive)?.unwrap_or(f64::INFINITY),
        at,
    };
    table.finish()?;
    Ok(joint)
}

/// The SI value of one of a unit.
pub(super) fn si(value: &Value<'_>, units: &[(&'static str, f64)]) -> Read<f64> {
    let found = value.string()?;
    unit::find(&found, &[units]).ok_or_else(|| {
        let known = unit::names(&[units]);
        value.error(format!("`{found}` is no unit known here; need {}", quoted(&known)))
    })
}

/// Which joints a list of names means, in its order; all of them for none or `"all"`.
pub(super) fn pick(joints: &[Joint], value: Option<&Value<'_>>) -> Read<Vec<usize>> {
    let all = || (0..joints.len()).collect();
    let Some(value) = value else { return Ok(all()) };
    if value.text() == Some("all") {
        return Ok(all());
    }
    let mut picked: Vec<usize> = vec![];
    for Named { name, at } in value.names()? {
        let Some(joint) = joints.iter().position(|joint| joint.name == name) else {
            let hint = hint(&name, joints.iter().map(|joint| joint.name.as_str()));
            return Err(at.error(format!("there is no [[joint]] `{name}`{hint}")));
        };
        if picked.contains(&joint) {
            return Err(at.error(format!("joint `{name}` stands twice; need each once")));
        }
        picked.push(joint);
    }
    Ok(picked)
}
