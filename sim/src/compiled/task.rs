//! A task on MuJoCo, driven by its definition.

use std::sync::Arc;

use mujoco_rs::prelude::MjModel;
use sog_runtime::terms::{TermInputs, TermState};

use super::{
    expression::{Compiled, Machine},
    names::Names,
    observation::Observer,
    start::Start,
};
use crate::{
    checks::{check_action, check_numbers, check_width},
    definition::{Definition, DefinitionError, Engine, Reward, SimDefinition, Success, Terminate},
    error::SimError,
    physics::Physics,
    registry::{self, Drive, StepReward, StepView},
    seed,
    task::{Probe, Step, Task, TaskInfo},
};

/// Everything about a task that its environments share.
pub(crate) struct Blueprint {
    info: TaskInfo,
    model: Arc<MjModel>,
    observer: Observer,
    /// Controls that the numbers of an action set.
    controls: Vec<usize>,
    /// What moves the robot in place of its controls.
    drive: Option<Arc<dyn Drive>>,
    start: Start,
    frame_skip: usize,
    /// Whether contact forces on bodies are computed after the physics steps.
    contact_forces: bool,
    /// Whether a forward pass follows the physics steps.
    forward: bool,
    machine: Machine,
    track: [Compiled; 3],
    /// Expression and what lies beyond: (below, above).
    terminate: Vec<(Compiled, Option<f64>, Option<f64>)>,
    rewards: Vec<Rewarded>,
    /// One a mode, or one for all goals.
    success: Vec<Judged>,
}

/// What pays the modes, or all goals.
enum Rewarded {
    /// A function registered in Rust, for these modes.
    Rust { function: Box<dyn StepReward>, modes: std::ops::Range<usize> },
    /// An expression, for this mode or for all goals.
    Formula { expression: Compiled, mode: usize },
}

impl Blueprint {
    /// Compiles a definition against its model.
    ///
    /// # Errors
    /// [`SimError::Definition`] for whatever the model does not bear out, [`SimError::Robot`].
    pub(crate) fn new(
        definition: &Definition,
        info: &TaskInfo,
        model: Arc<MjModel>,
    ) -> Result<Self, SimError> {
        let Some(sim) = &definition.sim else {
            return Err(definition.at.error("the task has no [sim]").into());
        };
        let names = Names(&model);
        check_period(definition, sim, &model)?;
        let drive = match &sim.engine {
            Engine::Mujoco { drive: Some(drive), .. } => Some(registry::drive(drive, names)?),
            _ => None,
        };
        let mut controls = Vec::new();
        for named in definition.action.iter().flat_map(|term| &term.actuators) {
            let actuator = names.actuator(named)?;
            if controls.contains(&actuator) {
                let problem = format!("`{}` is driven by another component already", named.name);
                return Err(named.at.error(problem).into());
            }
            controls.push(actuator);
        }
        let observer = Observer::new(definition, &model)?;
        let dims = definition.goal.as_ref().map_or(0, |goal| goal.low.len());
        let mut machine = Machine::new(definition.action_dim(), dims);
        let track = track(definition, sim, &mut machine, names)?;
        let terminate = sim
            .terminate
            .iter()
            .map(|Terminate { of, low, high }| Ok((machine.compile(of, names)?, *low, *high)));
        let terminate = terminate.collect::<Result<_, DefinitionError>>()?;
        let rewards = rewards(definition, &mut machine, names)?;
        let success = successes(definition, &mut machine, names)?;
        let words = definition.plot.path.iter().chain(&definition.plot.series);
        for word in words.filter(|word| !word.text.starts_with("track.")) {
            machine.compile(word, names)?;
        }
        let readings = || observer.readings.iter().chain(machine.readings());
        let contact_forces = readings().any(|r| r.needs_contact_forces())
            || rewards.iter().any(|rewarded| match rewarded {
                Rewarded::Rust { function, .. } => function.reads_contact_forces(),
                Rewarded::Formula { .. } => false,
            });
        let derived = readings().any(|r| r.is_derived());
        let blueprint = Self {
            info: info.clone(),
            start: Start::new(sim, names)?,
            frame_skip: sim.frame_skip,
            contact_forces,
            forward: sim.forward.unwrap_or(derived) && drive.is_none(),
            observer,
            controls,
            drive,
            machine,
            track,
            terminate,
            rewards,
            success,
            model: Arc::clone(&model),
        };
        Ok(blueprint)
    }

    /// What MuJoCo does in a control step.
    pub(crate) fn control_step(&self) -> ControlStep {
        ControlStep {
            frame_skip: self.frame_skip,
            contact_forces: self.contact_forces,
            forward_after: self.forward || self.drive.as_ref().is_some_and(|d| d.ends_forward()),
            mocap: self.drive.is_some(),
            controls: self.controls.clone(),
        }
    }
}

/// What MuJoCo does in a control step of a task.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ControlStep {
    /// Physics steps.
    pub(crate) frame_skip: usize,
    /// Whether contact forces are computed after them.
    pub(crate) contact_forces: bool,
    /// Whether a forward pass follows.
    pub(crate) forward_after: bool,
    /// Whether a mocap body is moved instead of controls set.
    pub(crate) mocap: bool,
    /// Controls that the numbers of an action set.
    pub(crate) controls: Vec<usize>,
}

/// Refuses a control period that is not what the physics steps take.
fn check_period(
    definition: &Definition,
    sim: &SimDefinition,
    model: &MjModel,
) -> Result<(), DefinitionError> {
    let timestep = model.opt().timestep;
    let found = timestep * sim.frame_skip as f64;
    if (found - definition.dt_s).abs() <= 1e-9 {
        return Ok(());
    }
    Err(sim.frame_skip_at.error(format!(
        "{} physics steps of {timestep} s take {found} s, but dt is {} s",
        sim.frame_skip, definition.dt_s
    )))
}

/// Where the robot is: as the file says, else what figures draw, else the first body.
fn track(
    definition: &Definition,
    sim: &SimDefinition,
    machine: &mut Machine,
    names: Names<'_>,
) -> Result<[Compiled; 3], DefinitionError> {
    if let Some([x, y, z]) = &sim.track {
        return Ok([
            machine.compile(x, names)?,
            machine.compile(y, names)?,
            machine.compile(z, names)?,
        ]);
    }
    if let [x, y] = &definition.plot.path[..] {
        let (x, y) = (machine.compile(x, names)?, machine.compile(y, names)?);
        return Ok([x, y, machine.constant(0.0)]);
    }
    Ok(machine.position_of_body(1.min(names.0.nbody() as usize - 1)))
}

fn rewards(
    definition: &Definition,
    machine: &mut Machine,
    names: Names<'_>,
) -> Result<Vec<Rewarded>, DefinitionError> {
    let of_modes: Vec<Option<&Reward>> = match &definition.goal {
        Some(goal) => vec![goal.reward.as_ref()],
        None => definition.modes.iter().map(|mode| mode.reward.as_ref()).collect(),
    };
    let mut rewards = Vec::new();
    let mut at = 0;
    while at < of_modes.len() {
        match of_modes[at] {
            None => at += 1,
            Some(Reward::Formula(formula)) => {
                let expression = machine.compile(formula, names)?;
                rewards.push(Rewarded::Formula { expression, mode: at });
                at += 1;
            }
            Some(Reward::Rust(first)) => {
                // Neighbours with the same function share what they have in common.
                let same = of_modes[at..].iter().map_while(|reward| match reward {
                    Some(Reward::Rust(other)) if other.name == first.name => Some(other),
                    _ => None,
                });
                let same: Vec<_> = same.collect();
                let modes = at..at + same.len();
                at = modes.end;
                let function = registry::reward(&same, definition.goal.is_some())?;
                rewards.push(Rewarded::Rust { function, modes });
            }
        }
    }
    Ok(rewards)
}

/// An expression and the bounds of success.
type Judged = Option<(Compiled, Option<f64>, Option<f64>)>;

fn successes(
    definition: &Definition,
    machine: &mut Machine,
    names: Names<'_>,
) -> Result<Vec<Judged>, DefinitionError> {
    let of_modes: Vec<Option<&Success>> = match &definition.goal {
        Some(goal) => vec![goal.success.as_ref()],
        None => definition.modes.iter().map(|mode| mode.success.as_ref()).collect(),
    };
    let compile = |success: Option<&Success>| match success {
        None => Ok(None),
        Some(Success { of, low, high }) => Ok(Some((machine.compile(of, names)?, *low, *high))),
    };
    of_modes.into_iter().map(compile).collect()
}

/// One environment.
pub(crate) struct MujocoTask {
    blueprint: Arc<Blueprint>,
    physics: Physics,
    /// Numbers of the machine.
    values: Vec<f64>,
    terms: TermState,
    raw: Vec<f64>,
    previous_action: Vec<f64>,
    commands: Vec<f64>,
    observation: Vec<f64>,
    /// `[M, dims]`; empty for discrete modes.
    goals: Vec<f64>,
    success: Vec<bool>,
    step: u64,
    probe: Probe,
    qpos: Vec<f64>,
    qvel: Vec<f64>,
    warmstart: Vec<f64>,
}

impl MujocoTask {
    /// A new environment, reset with seed 0.
    ///
    /// # Errors
    /// [`SimError::Robot`] if the simulator cannot allocate it.
    pub(crate) fn new(blueprint: &Arc<Blueprint>) -> Result<Self, SimError> {
        let physics = Physics::new(&blueprint.info.name, Arc::clone(&blueprint.model))?;
        let goals = match &blueprint.info.modes {
            crate::task::Modes::Continuous(space) => space.default.clone(),
            crate::task::Modes::Discrete(_) => Vec::new(),
        };
        let (nq, nv) = (physics.data().qpos().len(), physics.data().qvel().len());
        let mut task = Self {
            values: blueprint.machine.values(),
            terms: blueprint.observer.program.state(),
            raw: vec![0.0; blueprint.observer.readings.width()],
            previous_action: vec![0.0; blueprint.info.action_dim()],
            commands: vec![0.0; blueprint.observer.commands.len()],
            observation: vec![0.0; blueprint.info.obs_dim()],
            goals,
            success: Vec::new(),
            step: 0,
            probe: Probe::default(),
            qpos: vec![0.0; nq],
            qvel: vec![0.0; nv],
            warmstart: vec![0.0; nv],
            physics,
            blueprint: Arc::clone(blueprint),
        };
        task.success = vec![false; task.reward_count()];
        task.reset(0)?;
        Ok(task)
    }

    /// Starts from a state and a pose of the mocap body.
    ///
    /// # Errors
    /// [`SimError::Width`], [`SimError::NotFinite`], [`SimError::Robot`] without a mocap body.
    pub(crate) fn start_with_mocap(
        &mut self,
        qpos: &[f64],
        qvel: &[f64],
        (position, quaternion): ([f64; 3], [f64; 4]),
    ) -> Result<(), SimError> {
        let name = &self.blueprint.info.name;
        check_numbers(name, "mocap position", &position, 3)?;
        check_numbers(name, "mocap quaternion", &quaternion, 4)?;
        self.physics.need_mocap()?;
        self.physics.start_from_with(qpos, qvel, |data| {
            data.mocap_pos_mut()[0] = position;
            data.mocap_quat_mut()[0] = quaternion;
        })?;
        self.begin();
        Ok(())
    }

    /// What follows once the state of a start is set.
    fn begin(&mut self) {
        self.step = 0;
        self.previous_action.fill(0.0);
        self.success.fill(false);
        self.terms.reset();
        if self.blueprint.forward && self.blueprint.contact_forces {
            self.physics.data_mut().rne_post_constraint();
        }
        self.judge();
        self.probe = Probe { position_m: self.position(), velocity_m_s: [0.0; 2] };
        self.refresh();
    }

    /// Writes the observation of the present state.
    fn refresh(&mut self) {
        let observer = &self.blueprint.observer;
        observer.readings.write(&self.physics, &mut self.raw);
        let inputs = TermInputs {
            raw: &self.raw,
            previous_action: &self.previous_action,
            commands: &self.commands,
            step: self.step,
        };
        let written = observer.program.observe(&mut self.terms, &inputs, &mut self.observation);
        debug_assert!(written.is_ok(), "all buffers were made for the program");
    }

    /// Computes all expressions on the present state, for the first goal.
    fn judge(&mut self) {
        let machine = &self.blueprint.machine;
        machine.observe(&mut self.values, &self.physics, &self.previous_action, self.step);
        let dims = machine.goal_dims();
        machine.run(&mut self.values, self.goals.get(..dims).unwrap_or_default());
    }

    fn position(&self) -> [f64; 3] {
        self.blueprint.track.map(|axis| self.blueprint.machine.value(&self.values, axis))
    }

    /// Whether a value lies beyond its bounds, or is none.
    fn beyond(value: f64, low: Option<f64>, high: Option<f64>) -> bool {
        !value.is_finite() || low.is_some_and(|l| value < l) || high.is_some_and(|h| value > h)
    }

    /// Physics of one control step.
    fn simulate(&mut self, action: &[f64]) {
        let blueprint = &*self.blueprint;
        match &blueprint.drive {
            Some(drive) => drive.step(&mut self.physics, action, blueprint.frame_skip),
            None => {
                let data = self.physics.data_mut();
                let bounds = blueprint.info.action_low.iter().zip(&blueprint.info.action_high);
                for ((&index, &a), (&low, &high)) in
                    blueprint.controls.iter().zip(action).zip(bounds)
                {
                    data.ctrl_mut()[index] = a.clamp(low, high);
                }
                for _ in 0..blueprint.frame_skip {
                    data.step();
                }
            }
        }
        let data = self.physics.data_mut();
        if blueprint.forward {
            // The next physics step starts its solver where the last one ended, as without this.
            self.warmstart.copy_from_slice(data.qacc_warmstart());
            data.forward();
            data.qacc_warmstart_mut().copy_from_slice(&self.warmstart);
        }
        if blueprint.contact_forces {
            data.rne_post_constraint();
        }
    }

    /// Writes the rewards of the step just taken.
    fn reward(&mut self, action: &[f64], rewards: &mut [f64]) {
        let blueprint = Arc::clone(&self.blueprint);
        let machine = &blueprint.machine;
        rewards.fill(0.0);
        let view = StepView {
            data: self.physics.data(),
            action,
            position_m: self.probe.position_m,
            velocity_m_s: self.probe.velocity_m_s,
            goals: &self.goals,
        };
        for rewarded in &blueprint.rewards {
            if let Rewarded::Rust { function, modes } = rewarded {
                let out =
                    if self.goals.is_empty() { &mut rewards[modes.clone()] } else { &mut *rewards };
                function.rewards(&view, out);
            }
        }
        let mut formulas = blueprint.rewards.iter().filter_map(|rewarded| match rewarded {
            Rewarded::Formula { expression, mode } => Some((*expression, *mode)),
            Rewarded::Rust { .. } => None,
        });
        if self.goals.is_empty() {
            for (expression, mode) in formulas {
                rewards[mode] = machine.value(&self.values, expression);
            }
            for (mode, judged) in blueprint.success.iter().enumerate() {
                self.success[mode] = judged.is_some_and(|(expression, low, high)| {
                    !Self::beyond(machine.value(&self.values, expression), low, high)
                });
            }
            return;
        }
        // One goal after the other; nothing to compute where a function has paid them all.
        let judged = blueprint.success.first().copied().flatten();
        let formula = formulas.next_back();
        if judged.is_none() && formula.is_none() {
            return;
        }
        for (i, goal) in self.goals.chunks_exact(machine.goal_dims()).enumerate() {
            machine.run(&mut self.values, goal);
            if let Some((expression, _)) = formula {
                rewards[i] = machine.value(&self.values, expression);
            }
            if let Some((expression, low, high)) = judged {
                let value = machine.value(&self.values, expression);
                self.success[i] = !Self::beyond(value, low, high);
            }
        }
    }
}

impl Task for MujocoTask {
    fn info(&self) -> &TaskInfo {
        &self.blueprint.info
    }

    fn reset(&mut self, seed: u64) -> Result<(), SimError> {
        let blueprint = Arc::clone(&self.blueprint);
        if let Some(drive) = &blueprint.drive {
            drive.home(&mut self.physics, &mut self.qpos, &mut self.qvel)?;
        } else {
            blueprint.start.rest(&mut self.qpos, &mut self.qvel);
        }
        blueprint.start.disturb(&mut seed::rng(seed), &mut self.qpos, &mut self.qvel);
        self.physics.start_from_with(&self.qpos, &self.qvel, |data| {
            blueprint.start.set_rest_of(data);
            if let Some(drive) = &blueprint.drive {
                drive.start(data);
            }
        })?;
        self.begin();
        Ok(())
    }

    fn start_from(&mut self, qpos: &[f64], qvel: &[f64]) -> Result<(), SimError> {
        let blueprint = Arc::clone(&self.blueprint);
        self.physics.start_from_with(qpos, qvel, |data| {
            blueprint.start.set_rest_of(data);
            if let Some(drive) = &blueprint.drive {
                drive.start(data);
            }
        })?;
        self.begin();
        Ok(())
    }

    fn observe(&self, obs: &mut [f64]) {
        obs.copy_from_slice(&self.observation);
    }

    fn step(&mut self, action: &[f64], rewards: &mut [f64]) -> Result<Step, SimError> {
        let name = &self.blueprint.info.name;
        check_action(name, action, self.previous_action.len())?;
        check_width(name, "rewards", rewards.len(), self.reward_count())?;
        self.simulate(action);
        self.step += 1;
        self.previous_action.copy_from_slice(action);
        if self.physics.diverged() {
            // MuJoCo has put the robot back to its default pose; nothing of this step counts.
            let paid = self.blueprint.rewards.iter().map(|rewarded| match rewarded {
                Rewarded::Rust { function, .. } => function.when_diverged(),
                Rewarded::Formula { .. } => 0.0,
            });
            rewards.fill(paid.fold(0.0, f64::min));
            self.success.fill(false);
            self.probe.velocity_m_s = [0.0; 2];
            self.judge();
            self.probe.position_m = self.position();
            self.refresh();
            return Ok(Step { terminated: true });
        }
        self.judge();
        let (before, after) = (self.probe.position_m, self.position());
        let dt_s = self.blueprint.info.dt_s;
        self.probe = Probe {
            position_m: after,
            velocity_m_s: [0, 1].map(|i| (after[i] - before[i]) / dt_s),
        };
        let data = self.physics.data();
        let finite = data.qpos().iter().chain(data.qvel()).all(|x| x.is_finite());
        let machine = &self.blueprint.machine;
        let terminated = !finite
            || self.blueprint.terminate.iter().any(|&(expression, low, high)| {
                Self::beyond(machine.value(&self.values, expression), low, high)
            });
        self.reward(action, rewards);
        self.refresh();
        Ok(Step { terminated })
    }

    fn reward_count(&self) -> usize {
        match &self.blueprint.info.modes {
            crate::task::Modes::Discrete(modes) => modes.len(),
            crate::task::Modes::Continuous(space) => self.goals.len() / space.dims(),
        }
    }

    fn set_goals(&mut self, goals: &[f64]) -> Result<(), SimError> {
        let info = &self.blueprint.info;
        let crate::task::Modes::Continuous(space) = &info.modes else {
            return Err(SimError::NoGoals { task: info.name.clone() });
        };
        let dims = space.dims();
        check_numbers(&info.name, "goals", goals, goals.len().next_multiple_of(dims).max(dims))?;
        self.goals.clear();
        self.goals.extend_from_slice(goals);
        self.success.clear();
        self.success.resize(goals.len() / dims, false);
        Ok(())
    }

    fn succeeded(&self, reward: usize) -> Option<bool> {
        let judged = match self.goals.is_empty() {
            true => self.blueprint.success.get(reward)?,
            false => self.blueprint.success.first()?,
        };
        judged.as_ref().and_then(|_| self.success.get(reward).copied())
    }

    fn commands(&self) -> &[String] {
        &self.blueprint.observer.commands
    }

    fn set_command(&mut self, slot: usize, value: f64) {
        if let Some(command) = self.commands.get_mut(slot) {
            *command = value;
            self.refresh();
        }
    }

    fn probe(&self) -> Probe {
        self.probe
    }

    fn physics(&self) -> Option<&Physics> {
        Some(&self.physics)
    }
}
