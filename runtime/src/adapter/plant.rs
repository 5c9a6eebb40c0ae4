//! The adapter's inverse: a task's robot, seen as the robot that the file describes. For
//! hardware-in-the-loop tests of the adapter itself.

use alloc::{string::String, vec, vec::Vec};

use nalgebra::{Unit, UnitQuaternion, Vector3};

use super::{
    acting::Acting,
    channel::{Channel, Holds},
    file::RobotFile,
    program::AdapterProgram,
    robot::robot_side,
};
use crate::{
    definition::DefinitionError,
    io::{Command, IoError, Reading, RobotIo, RobotSpec},
    terms::{self, Source, TermSpec},
};

/// A robot of the file's channels and commands, made of a task's.
///
/// What the task's terms say is put into the channels; where several say the same, an unclipped
/// one counts. A quaternion of which only the direction of gravity is known stands at yaw 0.
/// Numbers that nothing says are 0 ([`unknown`](Self::unknown)). Filters are not undone.
pub struct AdapterPlant<R> {
    robot: R,
    spec: RobotSpec,
    inverse: Vec<Inverse>,
    channels: Vec<Unsense>,
    acting: Acting,
    unknown: Vec<String>,
    /// `[S]`
    obs: Vec<f32>,
    signals: Vec<f64>,
    /// `[A]`
    action: Vec<f32>,
}

/// How signals follow from a term's newest components.
#[derive(Clone, Debug)]
struct Inverse {
    source: Source,
    /// Where the newest components begin in the observation.
    from: usize,
    /// term = (x − minus) · scale, a component.
    affine: Vec<(f64, f64)>,
}

/// How a channel follows from its signals.
#[derive(Clone, Debug)]
struct Unsense {
    from: usize,
    holds: Holds,
    affine: Vec<(f64, f64)>,
}

impl<R: RobotIo> AdapterPlant<R> {
    /// Makes a task's robot the one that a file describes.
    ///
    /// # Errors
    /// [`DefinitionError`] as [`AdapterProgram::new`] has it; and if the robot is read faster than
    /// the task steps, or told torques of a PD loop, which no task's action can be made of.
    pub fn new(robot: R, file: &RobotFile) -> Result<Self, DefinitionError> {
        let program = AdapterProgram::new(file, &robot.spec().contract)?;
        if program.steps != 1 {
            return Err(file.dt_at.error(alloc::format!(
                "a period of {} s, {} in one of the task's; a plant needs the task's own",
                file.dt_s,
                program.steps
            )));
        }
        if program.has_pd() {
            return Err(file.at.error(
                "torque is computed by a PD loop; a plant needs an action that the robot is told",
            ));
        }
        let inverse = inverses(&program.specs, robot.spec().action_dim());
        let known = known(&inverse, program.sensing.signals().len());
        let unknown = file.has.channels.iter().filter(|channel| {
            let mut range = channel.from..channel.from + channel.holds.width();
            range.any(|i| !known[i])
        });
        let mut signals = vec![0.0; known.len()];
        for channel in &file.has.channels {
            if matches!(channel.holds, Holds::Orientation { .. }) {
                signals[channel.from] = 1.0;
            }
        }
        Ok(Self {
            spec: robot_side(&program.robot, &program, robot.spec()),
            inverse,
            channels: file.has.channels.iter().map(|channel| Unsense::new(file, channel)).collect(),
            unknown: unknown.map(|channel| channel.name.clone()).collect(),
            obs: vec![0.0; robot.spec().obs_dim()],
            action: vec![0.0; robot.spec().action_dim()],
            signals,
            acting: program.acting,
            robot,
        })
    }

    /// Channels of which the task's terms do not say everything.
    pub fn unknown(&self) -> &[String] {
        &self.unknown
    }

    /// The task's robot.
    pub fn inner(&self) -> &R {
        &self.robot
    }

    /// The task's robot.
    pub fn into_inner(self) -> R {
        self.robot
    }
}

impl<R: RobotIo> RobotIo for AdapterPlant<R> {
    fn spec(&self) -> &RobotSpec {
        &self.spec
    }

    fn read(&mut self, readings: &mut [f32]) -> Result<Reading, IoError> {
        let (found, needed) = (readings.len(), self.spec.obs_dim());
        if found != needed {
            return Err(IoError::Width { found, needed });
        }
        let reading = self.robot.read(&mut self.obs)?;
        for inverse in &self.inverse {
            inverse.apply(&self.obs, &mut self.signals);
        }
        for channel in &self.channels {
            channel.apply(&self.signals, readings);
        }
        Ok(reading)
    }

    fn write(&mut self, command: Command<'_>) -> Result<(), IoError> {
        match command {
            Command::Act(told) => {
                let (found, needed) = (told.len(), self.spec.action_dim());
                if found != needed {
                    return Err(IoError::Width { found, needed });
                }
                self.acting.action_of(told, &mut self.action);
                self.robot.write(Command::Act(&self.action))
            }
            other => self.robot.write(other),
        }
    }
}

/// Inverses in an order in which each finds what it needs: quaternions first, then gravity where
/// it says more, then vectors that are turned; clipped ones before those that are not.
fn inverses(specs: &[TermSpec], actions: usize) -> Vec<Inverse> {
    let mut from = 0;
    let mut ranked = vec![];
    for spec in specs {
        let width = spec.source.width(actions);
        let one = |numbers: &[f64], i: usize, otherwise: f64| match numbers {
            [] => otherwise,
            [all] => *all,
            each => each.get(i).copied().unwrap_or(otherwise),
        };
        let affine: Vec<_> =
            (0..width).map(|i| (one(&spec.minus, i, 0.0), one(&spec.scale, i, 1.0))).collect();
        let newest = from + width * (spec.history - 1);
        from += width * spec.history;
        let rank = match spec.source {
            Source::ProjectedGravity { .. } => 0,
            Source::Raw(_) => 1,
            Source::InBody { .. } | Source::InWorld { .. } => 2,
            _ => continue,
        };
        // What is scaled by 0 says nothing.
        if affine.iter().all(|(_, scale)| *scale != 0.0) {
            let inverse = Inverse { source: spec.source.clone(), from: newest, affine };
            ranked.push(((rank, spec.clip.is_none()), inverse));
        }
    }
    ranked.sort_by_key(|(rank, _)| *rank);
    ranked.into_iter().map(|(_, inverse)| inverse).collect()
}

/// Which signals something says.
fn known(inverses: &[Inverse], signals: usize) -> Vec<bool> {
    let mut known = vec![false; signals];
    for inverse in inverses {
        match &inverse.source {
            Source::Raw(indices) => indices.iter().for_each(|&i| known[i] = true),
            Source::ProjectedGravity { quaternion } => {
                quaternion.iter().for_each(|&i| known[i] = true)
            }
            Source::InBody { vector, .. } | Source::InWorld { vector, .. } => {
                vector.iter().for_each(|&i| known[i] = true);
            }
            _ => {}
        }
    }
    known
}

impl Inverse {
    fn apply(&self, obs: &[f32], signals: &mut [f64]) {
        let x = |i: usize| {
            let (minus, scale) = self.affine[i];
            f64::from(obs[self.from + i]) / scale + minus
        };
        match &self.source {
            Source::Raw(indices) => {
                indices.iter().enumerate().for_each(|(i, &signal)| signals[signal] = x(i));
            }
            Source::ProjectedGravity { quaternion } => {
                let q = upright(Vector3::new(x(0), x(1), x(2)));
                let q = [q.w, q.i, q.j, q.k];
                quaternion.iter().zip(q).for_each(|(&signal, q)| signals[signal] = q);
            }
            Source::InBody { vector, quaternion } => {
                let q = quaternion.map(|i| signals[i]);
                let v = terms::in_world(q, [x(0), x(1), x(2)]);
                vector.iter().zip(v).for_each(|(&signal, v)| signals[signal] = v);
            }
            Source::InWorld { vector, quaternion } => {
                let q = quaternion.map(|i| signals[i]);
                let v = terms::in_body(q, [x(0), x(1), x(2)]);
                vector.iter().zip(v).for_each(|(&signal, v)| signals[signal] = v);
            }
            _ => {}
        }
    }
}

/// The shortest rotation of a body to which gravity points there.
fn upright(gravity: Vector3<f64>) -> UnitQuaternion<f64> {
    let down = -Vector3::z_axis();
    Unit::try_new(gravity, 1e-9)
        .and_then(|gravity| UnitQuaternion::rotation_between_axis(&gravity, &down))
        // Upside down, any axis in the plane will do.
        .unwrap_or_else(|| {
            UnitQuaternion::from_axis_angle(&Vector3::x_axis(), core::f64::consts::PI)
        })
}

impl Unsense {
    fn new(file: &RobotFile, channel: &Channel) -> Self {
        let affine = match &channel.holds {
            Holds::Joints { part, of } => {
                of.iter().map(|&joint| file.has.joints[joint].affine(*part)).collect()
            }
            Holds::Numbers { width, si } => vec![(0.0, *si); *width],
            Holds::Orientation { .. } | Holds::Vector { .. } => vec![],
        };
        Self { from: channel.from, holds: channel.holds.clone(), affine }
    }

    fn apply(&self, signals: &[f64], readings: &mut [f32]) {
        let range = self.from..self.from + self.holds.width();
        let (signals, readings) = (&signals[range.clone()], &mut readings[range]);
        match &self.holds {
            Holds::Joints { .. } | Holds::Numbers { .. } => {
                let all = readings.iter_mut().zip(signals).zip(&self.affine);
                for ((reading, signal), (offset, gain)) in all {
                    *reading = (signal / gain + offset) as f32;
                }
            }
            Holds::Orientation { xyzw, mounting } => {
                let q = nalgebra::Quaternion::new(signals[0], signals[1], signals[2], signals[3])
                    * mounting.into_inner();
                let q = if *xyzw { [q.i, q.j, q.k, q.w] } else { [q.w, q.i, q.j, q.k] };
                readings.iter_mut().zip(q).for_each(|(reading, q)| *reading = q as f32);
            }
            Holds::Vector { si, mounting, .. } => {
                let v = Vector3::new(signals[0], signals[1], signals[2]);
                let v = mounting.inverse_transform_vector(&v) / *si;
                readings.iter_mut().zip(v.iter()).for_each(|(reading, v)| *reading = *v as f32);
            }
        }
    }
}
