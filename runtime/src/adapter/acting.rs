//! Outwards: from the policy's action to what the robot is told.

use alloc::{format, vec, vec::Vec};

use super::{
    command::{ActionTerm, Sets, ToldHolds},
    file::RobotFile,
    filter::{Coefficients, Memory},
    joint::{Part, pd_torque},
    way::Way,
};
use crate::{
    definition::{At, DefinitionError},
    io::Homing,
};

/// From an action to targets, and from targets to a command. Its state is a function of the
/// actions since the policy began to act.
#[derive(Clone, Debug)]
pub(super) struct Acting {
    /// One an action component, in the policy's order.
    targets: Vec<Target>,
    /// One a component of the command, in the robot's order.
    outs: Vec<Out>,
    /// The action as it was given last; zeros while the policy does not act. `[A]`
    action: Vec<f64>,
    command: Vec<f32>,
    way: Option<Way>,
}

/// What an action component sets: default + scale · action, within bounds, smoothed.
#[derive(Clone, Debug)]
struct Target {
    default: f64,
    scale: f64,
    clip: Option<[f64; 2]>,
    filter: Option<Coefficients>,
    memory: Memory,
    value: f64,
}

/// A component of the command.
#[derive(Clone, Debug)]
struct Out {
    what: What,
    low: f64,
    high: f64,
    /// Whether it goes on from what the actuators get in damping, as torques and velocities do.
    goes_on: bool,
    /// Largest change from one of the robot's periods to the next.
    most_step: f64,
    /// What the actuators get in damping.
    damping: f64,
    /// What a change is counted from, where that is known.
    before: Option<f64>,
}

impl Out {
    /// A value within the bounds, and where it is computed here within what the robot bears after
    /// what it was told before.
    fn tell(&mut self, value: f64, is_computed: bool) -> f32 {
        let mut told = value.clamp(self.low, self.high);
        if let Some(before) = self.before.filter(|_| is_computed) {
            // Written so that NaN stays NaN, for the adapter to see.
            if told > before + self.most_step {
                told = (before + self.most_step).clamp(self.low, self.high);
            } else if told < before - self.most_step {
                told = (before - self.most_step).clamp(self.low, self.high);
            }
        }
        self.before = Some(f64::from(told as f32));
        told as f32
    }
}

#[derive(Clone, Copy, Debug)]
enum What {
    /// The same always.
    Constant(f64),
    /// target / gain + offset.
    Target { target: usize, offset: f64, gain: f64 },
    /// (kp · (target − position) − kd · velocity, within ± limit) / gain.
    Pd { target: usize, position: usize, velocity: usize, kp: f64, kd: f64, limit: f64, gain: f64 },
}

impl Acting {
    /// `terms` are the file's action terms in the policy's order.
    pub(super) fn new(file: &RobotFile, terms: &[&ActionTerm]) -> Result<Self, DefinitionError> {
        let mut targets = vec![];
        for term in terms {
            targets.extend((0..term.width()).map(|i| Target {
                default: term.default[i],
                scale: term.scale[i],
                clip: term.clip,
                filter: term.low_pass.map(|low_pass| low_pass.at_rate(1.0 / file.dt_s)),
                memory: Memory::default(),
                value: 0.0,
            }));
        }
        let outs = Wiring::new(file, terms)?.outs()?;
        let way = file.homing.as_ref().map(|table| {
            let number = |command: usize, i: usize| {
                let mut all = terms.iter();
                let sets = |term: &&&ActionTerm| {
                    matches!(term.sets, Sets::Numbers { command: c, .. } if c == command)
                };
                all.find(sets).map_or(0.0, |term| term.at_rest(i))
            };
            Way::new(file, table, number)
        });
        let (actions, commands) = (targets.len(), outs.len());
        let (action, command) = (vec![0.0; actions], vec![0.0; commands]);
        Ok(Self { targets, outs, action, command, way: way.transpose()? })
    }

    /// Holds what is computed here to the changes of a command that a robot bears, `[commands]`; in
    /// damping its actuators get `damping`, `[commands]`.
    pub(super) fn limit_steps(&mut self, most_step: &[f32], damping: &[f32]) {
        for (out, (&most_step, &damping)) in self.outs.iter_mut().zip(most_step.iter().zip(damping))
        {
            (out.most_step, out.damping) = (f64::from(most_step), f64::from(damping));
        }
        self.damp();
    }

    /// Any change of what is computed here may be told.
    pub(super) fn lift_step_limits(&mut self) {
        self.outs.iter_mut().for_each(|out| out.most_step = f64::INFINITY);
    }

    /// Whether any change of what is computed here is limited.
    pub(super) fn limits_steps(&self) -> bool {
        let is_limited =
            |out: &Out| matches!(out.what, What::Pd { .. }) && out.most_step.is_finite();
        self.outs.iter().any(is_limited)
    }

    /// The robot damps: what it is told next goes on from there.
    pub(super) fn damp(&mut self) {
        for out in &mut self.outs {
            out.before = out.goes_on.then_some(out.damping);
        }
    }

    /// Whether torque is computed here.
    pub(super) fn has_pd(&self) -> bool {
        self.outs.iter().any(|out| matches!(out.what, What::Pd { .. }))
    }

    /// The last action; zeros while the policy does not act.
    pub(super) fn action(&self) -> &[f64] {
        &self.action
    }

    /// The last command.
    pub(super) fn last_command(&self) -> &[f32] {
        &self.command
    }

    /// The policy's action, `[A]`.
    pub(super) fn set(&mut self, action: &[f32]) {
        self.action.iter_mut().zip(action).for_each(|(kept, &given)| *kept = f64::from(given));
    }

    /// The policy does not act: smoothing begins anew with its next action.
    pub(super) fn rest(&mut self) {
        self.rest_actions();
        self.damp();
        if let Some(way) = &mut self.way {
            way.rest();
        }
    }

    fn rest_actions(&mut self) {
        self.action.fill(0.0);
        self.targets.iter_mut().for_each(|target| target.memory = Memory::default());
    }

    /// Whether the robot stands where its policy starts from.
    pub(super) fn homing(&self, signals: &[f64]) -> Homing {
        self.way.as_ref().map_or(Homing::Unable, |way| way.status(signals))
    }

    /// Sets what the robot is told on the way to its start pose, one period of its own further; false
    /// where the file says nothing of it.
    pub(super) fn home(&mut self, signals: &[f64], fresh: bool) -> bool {
        self.rest_actions();
        let Some(way) = &mut self.way else { return false };
        let told = way.step(signals, fresh);
        for ((command, out), told) in self.command.iter_mut().zip(&mut self.outs).zip(told) {
            *command = out.tell(told, true);
        }
        true
    }

    /// What the robot is told now, one period of its own further.
    pub(super) fn command(&mut self, signals: &[f64]) -> &[f32] {
        for (target, &action) in self.targets.iter_mut().zip(&self.action) {
            let mut value = target.default + target.scale * action;
            if let Some([low, high]) = target.clip {
                value = value.clamp(low, high);
            }
            target.value = match &target.filter {
                Some(filter) => filter.step(&mut target.memory, value),
                None => value,
            };
        }
        for (command, out) in self.command.iter_mut().zip(&mut self.outs) {
            let value = match out.what {
                What::Constant(value) => value,
                What::Target { target, offset, gain } => self.targets[target].value / gain + offset,
                What::Pd { target, position, velocity, kp, kd, limit, gain } => {
                    let error = self.targets[target].value - signals[position];
                    pd_torque([kp, kd], error, signals[velocity], limit) / gain
                }
            };
            // Changes of an action are the controller's to limit.
            *command = out.tell(value, matches!(out.what, What::Pd { .. }));
        }
        &self.command
    }

    /// The action that gives this command of the robot's, as far as one component gives another:
    /// 0 for those that only a PD loop follows.
    pub(super) fn action_of(&self, command: &[f32], action: &mut [f32]) {
        action.fill(0.0);
        for (out, &command) in self.outs.iter().zip(command) {
            if let What::Target { target, offset, gain } = out.what {
                let Target { default, scale, .. } = self.targets[target];
                action[target] = (((f64::from(command) - offset) * gain - default) / scale) as f32;
            }
        }
    }

    /// The largest change of an action that changes no component of the command by more than
    /// these, as far as one component gives another; 0 where one of these is no positive number.
    pub(super) fn action_steps_of(&self, steps: &[f32], action: &mut [f32]) {
        action.fill(f32::INFINITY);
        for (out, &step) in self.outs.iter().zip(steps) {
            if let What::Target { target, gain, .. } = out.what {
                let most = (f64::from(step) * gain / self.targets[target].scale).abs() as f32;
                action[target] = action[target].min(most);
            }
            if let What::Target { target, .. } | What::Pd { target, .. } = out.what
                && (step.is_nan() || step <= 0.0)
            {
                action[target] = 0.0;
            }
        }
    }

    /// The largest change of a command that a change of the action by these makes.
    pub(super) fn steps_of_action(&self, action: &[f32], steps: &mut [f32]) {
        for (out, step) in self.outs.iter().zip(steps) {
            *step = match out.what {
                What::Constant(_) | What::Pd { .. } => f32::INFINITY,
                What::Target { target, gain, .. } => {
                    (f64::from(action[target]) * self.targets[target].scale / gain).abs() as f32
                }
            };
        }
    }
}

/// Which action component sets what.
struct Wiring<'a> {
    file: &'a RobotFile,
    /// Part of a joint, and the action component that sets it.
    joints: Vec<(Part, usize, usize, &'a ActionTerm)>,
    /// First action component that sets the plain numbers of a command.
    numbers: Vec<(usize, usize, &'a ActionTerm)>,
}

impl<'a> Wiring<'a> {
    fn new(file: &'a RobotFile, terms: &[&'a ActionTerm]) -> Result<Self, DefinitionError> {
        let mut wiring = Self { file, joints: vec![], numbers: vec![] };
        let mut component = 0;
        for term in terms {
            match &term.sets {
                Sets::Joints { part, of } => {
                    for (i, &joint) in of.iter().enumerate() {
                        if let Some((.., first)) =
                            wiring.joints.iter().find(|(_, j, ..)| *j == joint)
                        {
                            let joint = &file.has.joints[joint].name;
                            let (first, second) = (&first.name, &term.name);
                            return Err(term.at.error(format!(
                                "joint `{joint}` is set by `{first}` and by `{second}`; need one"
                            )));
                        }
                        wiring.joints.push((*part, joint, component + i, term));
                    }
                }
                Sets::Numbers { command, .. } => {
                    if let Some((.., first)) = wiring.numbers.iter().find(|(c, ..)| c == command) {
                        return Err(term.at.error(format!(
                            "command `{}` is set by `{}` and by `{}`; need one",
                            file.told[*command].name, first.name, term.name
                        )));
                    }
                    wiring.numbers.push((*command, component, term));
                }
            }
            component += term.width();
        }
        Ok(wiring)
    }

    fn outs(&self) -> Result<Vec<Out>, DefinitionError> {
        let mut outs = vec![];
        for (c, told) in self.file.told.iter().enumerate() {
            for i in 0..told.holds.width() {
                let what = match &told.holds {
                    ToldHolds::Numbers { .. } => self.number(c, i, &told.at)?,
                    ToldHolds::Joints { part, of } => self.joint(*part, of[i], &told.at)?,
                };
                let (low, high) = (told.low[i], told.high[i]);
                let goes_on = matches!(
                    told.holds,
                    ToldHolds::Joints { part: Part::Torque | Part::Velocity, .. }
                );
                let (most_step, damping, before) = (f64::INFINITY, 0.0, None);
                outs.push(Out { what, low, high, goes_on, most_step, damping, before });
            }
        }
        let used = |component: usize| {
            outs.iter().any(|out| match out.what {
                What::Constant(_) => false,
                What::Target { target, .. } | What::Pd { target, .. } => target == component,
            })
        };
        for (part, joint, component, term) in &self.joints {
            if !used(*component) {
                let (joint, part) = (&self.file.has.joints[*joint].name, part.name());
                return Err(term.at.error(format!(
                    "`{}` sets the {part} of joint `{joint}`, which no [[command]] tells the robot",
                    term.name
                )));
            }
        }
        Ok(outs)
    }

    fn number(&self, command: usize, i: usize, at: &At) -> Result<What, DefinitionError> {
        let first = self.numbers.iter().find(|(c, ..)| *c == command).map(|(_, first, _)| *first);
        let Some(first) = first else {
            let name = &self.file.told[command].name;
            return Err(at.error(format!("no [[action]] sets command `{name}`")));
        };
        Ok(What::Target { target: first + i, offset: 0.0, gain: 1.0 })
    }

    /// What the robot is told of a part of a joint.
    fn joint(&self, part: Part, joint: usize, at: &At) -> Result<What, DefinitionError> {
        let described = &self.file.has.joints[joint];
        let (offset, gain) = described.affine(part);
        let name = &described.name;
        let gains = |value: Option<f64>| {
            value.map(|value| What::Constant(value / gain)).ok_or_else(|| {
                let part = part.name();
                described.at.error(format!("joint `{name}` has no {part}, which the robot is told"))
            })
        };
        match part {
            Part::Kp => return gains(described.kp),
            Part::Kd => return gains(described.kd),
            _ => {}
        }
        let set = self.joints.iter().find(|(_, j, ..)| *j == joint);
        let told_position = self.file.told.iter().any(|told| told.tells(Part::Position, joint));
        match set {
            Some((sets, _, target, _)) if *sets == part => {
                Ok(What::Target { target: *target, offset, gain })
            }
            // Beside a target position the others are fed forward, and there is nothing to feed.
            Some((Part::Position, ..)) if told_position && part != Part::Position => {
                Ok(What::Constant(0.0))
            }
            Some((Part::Position, _, target, _)) if part == Part::Torque => {
                self.pd(joint, *target, gain)
            }
            Some((sets, .., term)) => Err(at.error(format!(
                "the robot is told the {} of joint `{name}`, but `{}` sets its {}",
                part.name(),
                term.name,
                sets.name()
            ))),
            None => Err(at.error(format!("no [[action]] sets joint `{name}`"))),
        }
    }

    fn pd(&self, joint: usize, target: usize, gain: f64) -> Result<What, DefinitionError> {
        let described = &self.file.has.joints[joint];
        let missing = |what: &str| {
            described.at.error(format!(
                "joint `{}`: its torque is computed here from its target position, which needs \
                 {what}",
                described.name
            ))
        };
        Ok(What::Pd {
            target,
            position: self
                .file
                .has
                .signal_of(joint, Part::Position)
                .ok_or_else(|| missing("a [[channel]] with its position"))?,
            velocity: self
                .file
                .has
                .signal_of(joint, Part::Velocity)
                .ok_or_else(|| missing("a [[channel]] or a [[velocity]] with its velocity"))?,
            kp: described.kp.ok_or_else(|| missing("kp"))?,
            kd: described.kd.ok_or_else(|| missing("kd"))?,
            limit: described.torque_limit,
            gain,
        })
    }
}
