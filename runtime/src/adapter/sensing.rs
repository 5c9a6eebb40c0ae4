//! Inwards: from what the robot sends to what the policy sees.

use alloc::{vec, vec::Vec};

use nalgebra::{Quaternion, UnitQuaternion, Vector3};

use super::{
    channel::{Channel, Holds},
    file::RobotFile,
    filter::{Coefficients, LowPass, Memory},
};
use crate::terms::{ObserveError, TermInputs, TermProgram, TermState};

/// How far the length of a quaternion that the robot sends may be from 1. What is no orientation
/// at all is farther; simulated robots that start with noise on every position are not.
const UNIT_TOLERANCE: f64 = 0.25;

/// From readings to signals, and from signals to an observation. Its state is a function of the
/// readings since the last reset.
#[derive(Clone, Debug)]
pub(super) struct Sensing {
    channels: Vec<Sense>,
    velocities: Vec<Differentiate>,
    signals: Vec<f64>,
    /// Step of the last reading.
    last_step: Option<u64>,
    program: TermProgram,
    terms: TermState,
    observation: Vec<f64>,
}

/// What becomes of a channel.
#[derive(Clone, Debug)]
struct Sense {
    from: usize,
    convert: Convert,
    filter: Option<Filter>,
}

#[derive(Clone, Debug)]
enum Convert {
    /// (reading − offset) · gain, a component.
    Affine(Vec<(f64, f64)>),
    /// To w x y z, and from the sensor's axes to the body's.
    Orientation { xyzw: bool, unmount: Option<UnitQuaternion<f64>> },
    /// From the sensor's axes to the body's.
    Vector { si: f64, mounting: Option<UnitQuaternion<f64>> },
    /// To SI.
    Numbers { width: usize, si: f64 },
}

/// Difference quotients of signals.
#[derive(Clone, Debug)]
struct Differentiate {
    positions: usize,
    from: usize,
    before: Vec<f64>,
    dt_s: f64,
    filter: Option<Filter>,
}

/// A filter over some signals.
#[derive(Clone, Debug)]
struct Filter {
    coefficients: Coefficients,
    memories: Vec<Memory>,
}

impl Filter {
    fn new(low_pass: Option<LowPass>, dt_s: f64, width: usize) -> Option<Self> {
        let coefficients = low_pass?.at_rate(1.0 / dt_s);
        Some(Self { coefficients, memories: vec![Memory::default(); width] })
    }

    fn apply(&mut self, signals: &mut [f64]) {
        for (memory, signal) in self.memories.iter_mut().zip(signals) {
            *signal = self.coefficients.step(memory, *signal);
        }
    }

    fn reset(&mut self) {
        self.memories.fill(Memory::default());
    }
}

/// What is the matter with a reading.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct BadQuaternion {
    /// Number of the channel.
    pub(super) channel: usize,
    /// Length of the quaternion.
    pub(super) length: f64,
}

impl Sensing {
    pub(super) fn new(file: &RobotFile, program: TermProgram) -> Self {
        let sense = |channel: &Channel| Sense {
            from: channel.from,
            convert: Convert::new(file, &channel.holds),
            filter: Filter::new(channel.low_pass, file.dt_s, channel.holds.width()),
        };
        let velocities = file.has.velocities.iter().map(|velocity| {
            let positions = &file.has.channels[velocity.of];
            let width = positions.holds.width();
            Differentiate {
                positions: positions.from,
                from: velocity.from,
                before: vec![0.0; width],
                dt_s: file.dt_s,
                filter: Filter::new(velocity.low_pass, file.dt_s, width),
            }
        });
        Self {
            channels: file.has.channels.iter().map(sense).collect(),
            velocities: velocities.collect(),
            signals: vec![0.0; program.widths().raw],
            last_step: None,
            terms: program.state(),
            observation: vec![0.0; program.width()],
            program,
        }
    }

    /// The signals of the last reading.
    pub(super) fn signals(&self) -> &[f64] {
        &self.signals
    }

    /// Forgets everything: an episode begins.
    pub(super) fn reset(&mut self) {
        self.last_step = None;
        self.terms.reset();
        for filter in self.channels.iter_mut().filter_map(|c| c.filter.as_mut()) {
            filter.reset();
        }
        for filter in self.velocities.iter_mut().filter_map(|v| v.filter.as_mut()) {
            filter.reset();
        }
    }

    /// Forgets what the observation's terms remember: a policy begins.
    pub(super) fn reset_terms(&mut self) {
        self.terms.reset();
    }

    /// Takes a reading of the robot's, as wide as the channels. One whose step has not grown is
    /// none.
    pub(super) fn take(&mut self, reading: &[f32], step: u64) -> Result<(), BadQuaternion> {
        let steps = match self.last_step {
            Some(last) if step <= last => return Ok(()),
            Some(last) => Some(step - last),
            None => None,
        };
        for (i, channel) in self.channels.iter().enumerate() {
            if let Convert::Orientation { .. } = channel.convert {
                let q = &reading[channel.from..channel.from + 4];
                let length = libm::sqrt(q.iter().map(|&v| f64::from(v) * f64::from(v)).sum());
                // Written so that NaN passes: it is the controller's to see.
                if (length - 1.0).abs() > UNIT_TOLERANCE {
                    return Err(BadQuaternion { channel: i, length });
                }
            }
        }
        self.last_step = Some(step);
        for channel in &mut self.channels {
            let range = channel.from..channel.from + channel.convert.width();
            let signals = &mut self.signals[range.clone()];
            channel.convert.apply(&reading[range], signals);
            if let Some(filter) = &mut channel.filter {
                filter.apply(signals);
            }
        }
        for velocity in &mut self.velocities {
            velocity.apply(&mut self.signals, steps);
        }
        Ok(())
    }

    /// Writes the observation of the last reading, `[S]`.
    pub(super) fn observe(
        &mut self,
        previous_action: &[f64],
        commands: &[f64],
        step: u64,
        obs: &mut [f32],
    ) -> Result<(), ObserveError> {
        let inputs = TermInputs { raw: &self.signals, previous_action, commands, step };
        self.program.observe(&mut self.terms, &inputs, &mut self.observation)?;
        obs.iter_mut().zip(&self.observation).for_each(|(o, &x)| *o = x as f32);
        Ok(())
    }
}

impl Convert {
    fn new(file: &RobotFile, holds: &Holds) -> Self {
        let turning = |q: &UnitQuaternion<f64>| (q.angle() != 0.0).then_some(*q);
        match holds {
            Holds::Joints { part, of } => {
                Self::Affine(of.iter().map(|&joint| file.has.joints[joint].affine(*part)).collect())
            }
            Holds::Orientation { xyzw, mounting } => {
                Self::Orientation { xyzw: *xyzw, unmount: turning(mounting).map(|q| q.inverse()) }
            }
            Holds::Vector { si, mounting, .. } => {
                Self::Vector { si: *si, mounting: turning(mounting) }
            }
            Holds::Numbers { width, si } => Self::Numbers { width: *width, si: *si },
        }
    }

    fn width(&self) -> usize {
        match self {
            Self::Affine(components) => components.len(),
            Self::Orientation { .. } => 4,
            Self::Vector { .. } => 3,
            Self::Numbers { width, .. } => *width,
        }
    }

    fn apply(&self, reading: &[f32], signals: &mut [f64]) {
        let read = |i: usize| f64::from(reading[i]);
        match self {
            Self::Affine(components) => {
                for (i, (signal, (offset, gain))) in signals.iter_mut().zip(components).enumerate()
                {
                    *signal = (read(i) - offset) * gain;
                }
            }
            Self::Orientation { xyzw, unmount } => {
                // The sensor's orientation in the world, and from there to the body's:
                // q(world ← body) = q(world ← sensor) · q(body ← sensor)⁻¹.
                let [w, x, y, z] = if *xyzw { [3, 0, 1, 2] } else { [0, 1, 2, 3] }.map(read);
                let mut q = Quaternion::new(w, x, y, z);
                if let Some(unmount) = unmount {
                    q *= unmount.into_inner();
                }
                signals.copy_from_slice(&[q.w, q.i, q.j, q.k]);
            }
            Self::Vector { si, mounting } => {
                let v = Vector3::new(read(0), read(1), read(2)) * *si;
                let v = mounting.map_or(v, |q| q.transform_vector(&v));
                signals.copy_from_slice(v.as_slice());
            }
            Self::Numbers { si, .. } => {
                signals.iter_mut().enumerate().for_each(|(i, signal)| *signal = read(i) * si);
            }
        }
    }
}

impl Differentiate {
    /// Velocities over the steps since the reading before; 0 at the first.
    fn apply(&mut self, signals: &mut [f64], steps: Option<u64>) {
        let (sent, made) = signals.split_at_mut(self.from);
        let positions = &sent[self.positions..self.positions + self.before.len()];
        let velocities = &mut made[..self.before.len()];
        for ((velocity, before), &position) in
            velocities.iter_mut().zip(&mut self.before).zip(positions)
        {
            *velocity = match steps {
                Some(steps) => (position - *before) / (self.dt_s * steps as f64),
                None => 0.0,
            };
            // Once a position was no number, the velocity after it is none either.
            *before = position;
        }
        if let Some(filter) = &mut self.filter {
            filter.apply(velocities);
        }
    }
}
