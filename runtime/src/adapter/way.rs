//! The way from the pose that the robot is found in to the one that the policy starts from.

use alloc::{format, vec, vec::Vec};

use super::{
    command::ToldHolds,
    file::RobotFile,
    homing::{Home, HomingTable},
    joint::{Part, pd_torque},
};
use crate::{
    definition::{DefinitionError, Read},
    io::Homing,
};

/// On the way to the start pose: all joints at once, along a straight line, smoothly.
///
/// With Δ the way of each joint, T = 3/2 · max |Δ| / speed and u = t/T, the joints are told to be at
/// q₀ + Δ · (3u² − 2u³): at rest at both ends, and nowhere faster than their speeds.
#[derive(Clone, Debug)]
pub(super) struct Way {
    joints: Vec<Step>,
    outs: Vec<HomeOut>,
    dt_s: f64,
    settle_s: f64,
    /// Time on the way, s; `None` before it is begun.
    time_s: Option<f64>,
    /// T, s.
    planned_s: f64,
    failed: Option<Homing>,
}

#[derive(Clone, Debug)]
struct Step {
    home: Home,
    /// Signal of its position.
    position: usize,
    from: f64,
    /// Where it is told to be now.
    target: f64,
}

/// A component of the command on the way, before its bounds.
#[derive(Clone, Copy, Debug)]
enum HomeOut {
    /// The same always.
    Constant(f64),
    /// target / gain + offset, of this joint.
    Position { joint: usize, offset: f64, gain: f64 },
    /// (kp · (target − position) − kd · velocity, within ± limit) / gain, of this joint.
    Pd { joint: usize, velocity: usize, kp: f64, kd: f64, limit: f64, gain: f64 },
}

impl Way {
    /// `number` says what component of a plain command is told on the way.
    pub(super) fn new(
        file: &RobotFile,
        table: &HomingTable,
        number: impl Fn(usize, usize) -> f64,
    ) -> Result<Self, DefinitionError> {
        let mut joints = vec![];
        for home in &table.joints {
            let position = file.has.signal_of(home.joint, Part::Position).ok_or_else(|| {
                let name = &file.has.joints[home.joint].name;
                table.at.error(format!(
                    "joint `{name}` cannot be moved to its pose without a [[channel]] with its position"
                ))
            })?;
            joints.push(Step { home: home.clone(), position, from: 0.0, target: 0.0 });
        }
        let mut outs = vec![];
        for (c, told) in file.told.iter().enumerate() {
            for i in 0..told.holds.width() {
                outs.push(match &told.holds {
                    ToldHolds::Numbers { .. } => HomeOut::Constant(number(c, i)),
                    ToldHolds::Joints { part, of } => out(file, table, *part, of[i])?,
                });
            }
        }
        let (dt_s, settle_s) = (file.dt_s, table.settle_s);
        Ok(Self { joints, outs, dt_s, settle_s, time_s: None, planned_s: 0.0, failed: None })
    }

    /// The way is given up, or over.
    pub(super) fn rest(&mut self) {
        (self.time_s, self.failed) = (None, None);
    }

    /// One period of the robot's further: what it is told, before bounds. Without a reading since the
    /// last call (`fresh`) the targets stand still.
    pub(super) fn step<'a>(
        &'a mut self,
        signals: &'a [f64],
        fresh: bool,
    ) -> impl Iterator<Item = f64> + 'a {
        let time_s = match self.time_s {
            None => {
                self.plan(signals);
                0.0
            }
            Some(time_s) if fresh => time_s + self.dt_s,
            Some(time_s) => time_s,
        };
        self.time_s = Some(time_s);
        let u = if time_s < self.planned_s { time_s / self.planned_s } else { 1.0 };
        let share = u * u * (3.0 - 2.0 * u);
        for Step { home, position, from, target } in &mut self.joints {
            *target = *from + (home.pose - *from) * share;
            let behind = (signals[*position] - *target).abs();
            // A position that is no number is not followed either.
            if behind.is_nan() || behind > home.lag {
                self.failed = self.failed.or(Some(Homing::Blocked));
            }
        }
        if time_s > self.planned_s + self.settle_s && !self.is_near(signals) {
            self.failed = self.failed.or(Some(Homing::Late));
        }
        let joints = &self.joints;
        self.outs.iter().map(move |out| match *out {
            HomeOut::Constant(value) => value,
            HomeOut::Position { joint, offset, gain } => joints[joint].target / gain + offset,
            HomeOut::Pd { joint, velocity, kp, kd, limit, gain } => {
                let Step { position, target, .. } = &joints[joint];
                let error = target - signals[*position];
                pd_torque([kp, kd], error, signals[velocity], limit) / gain
            }
        })
    }

    /// How far it is.
    pub(super) fn status(&self, signals: &[f64]) -> Homing {
        let planned = self.time_s.is_none_or(|time_s| time_s >= self.planned_s);
        match self.failed {
            Some(failed) => failed,
            None if planned && self.is_near(signals) => Homing::There,
            None => Homing::Away,
        }
    }

    fn plan(&mut self, signals: &[f64]) {
        self.planned_s = 0.0;
        for Step { home, position, from, .. } in &mut self.joints {
            *from = signals[*position];
            self.planned_s = self.planned_s.max(1.5 * (home.pose - *from).abs() / home.speed);
        }
    }

    fn is_near(&self, signals: &[f64]) -> bool {
        let near =
            |step: &Step| (signals[step.position] - step.home.pose).abs() <= step.home.tolerance;
        self.joints.iter().all(near)
    }
}

/// What is told of a part of a joint on the way.
fn out(file: &RobotFile, table: &HomingTable, part: Part, joint: usize) -> Read<HomeOut> {
    let described = &file.has.joints[joint];
    let (offset, gain) = described.affine(part);
    let fault = |what: &str| {
        let name = &described.name;
        table.at.error(format!("joint `{name}` cannot be moved to its pose: {what}"))
    };
    let index = table.joints.iter().position(|home| home.joint == joint);
    let index = index.ok_or_else(|| fault("it has none"))?;
    let told_position = file.told.iter().any(|told| told.tells(Part::Position, joint));
    let need = |value: Option<f64>, what: &str| {
        value.ok_or_else(|| fault(&format!("its torque is computed here, which needs {what}")))
    };
    Ok(match part {
        Part::Position => HomeOut::Position { joint: index, offset, gain },
        Part::Kp => HomeOut::Constant(need(described.kp, "kp")? / gain),
        Part::Kd => HomeOut::Constant(need(described.kd, "kd")? / gain),
        // Beside a target position nothing is fed forward.
        Part::Velocity | Part::Torque if told_position => HomeOut::Constant(0.0),
        Part::Velocity => {
            return Err(fault("it is told a velocity alone; need a position or a torque"));
        }
        Part::Torque => HomeOut::Pd {
            joint: index,
            velocity: file
                .has
                .signal_of(joint, Part::Velocity)
                .ok_or_else(|| fault("need a [[channel]] or a [[velocity]] with its velocity"))?,
            kp: need(described.kp, "kp")?,
            kd: need(described.kd, "kd")?,
            limit: described.torque_limit,
            gain,
        },
    })
}
