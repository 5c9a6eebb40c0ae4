//! `check`: does a task's folder hold together, and what does it show in a hundred steps.

use std::sync::Arc;

use serde_json::json;

use super::{Simulator, TaskFolder, TaskMaker, TaskOptions};
use crate::{
    error::SimError,
    folder::Folder,
    seed,
    task::{Modes, Task, TaskInfo, unit},
};

/// Random steps that a check takes.
const STEPS: usize = 100;
/// Seed of starts and actions.
const SEED: u64 = 1;
/// Numbers beyond this train badly as they are.
const LARGE: f64 = 1e3;

/// What a check found; whatever is wrong is an error instead.
#[derive(Clone, Debug, PartialEq)]
pub struct Checked {
    /// What is known about the task.
    pub info: TaskInfo,
    /// Who simulates it.
    pub simulator: Simulator,
    /// Names of the modes.
    pub modes: Vec<String>,
    /// Random steps taken; 0 without a simulator.
    pub steps: usize,
    /// Episodes begun.
    pub episodes: usize,
    /// What each number of the observation ran through; empty without a simulator.
    pub observations: Vec<Range>,
    /// What each reward ran through.
    pub rewards: Vec<Range>,
    /// What deserves a look.
    pub warnings: Vec<String>,
}

/// What a number ran through.
#[derive(Clone, Debug, PartialEq)]
pub struct Range {
    /// Term and component, or the mode.
    pub name: String,
    /// Smallest value.
    pub low: f64,
    /// Largest value.
    pub high: f64,
}

impl Range {
    fn new(name: String) -> Self {
        Self { name, low: f64::INFINITY, high: f64::NEG_INFINITY }
    }

    fn see(&mut self, value: f64) {
        // `min` and `max` would pass over what is none.
        self.low = if value.is_nan() { value } else { self.low.min(value) };
        self.high = if value.is_nan() { value } else { self.high.max(value) };
    }

    fn to_json(&self) -> serde_json::Value {
        json!({ "name": self.name, "low": self.low, "high": self.high })
    }
}

/// Builds a task and takes a hundred random steps.
///
/// # Errors
/// As [`TaskMaker::of`] and [`Task::step`](crate::task::Task::step).
pub fn check(task: &Arc<TaskFolder>, options: &TaskOptions) -> Result<Checked, SimError> {
    let info = task.info().clone();
    let modes = match &info.modes {
        Modes::Discrete(modes) => modes.iter().map(|mode| mode.label.clone()).collect(),
        Modes::Continuous(_) => Vec::new(),
    };
    let mut checked = Checked {
        simulator: task.simulator(),
        modes,
        steps: 0,
        episodes: 0,
        observations: vec![],
        rewards: vec![],
        warnings: vec![],
        info,
    };
    let name = checked.info.name();
    if super::names().contains(&name) && matches!(task.folder(), Folder::Disk(_)) {
        checked.warnings.push(format!(
            "`{name}` is a built-in task's name: commands that are not given this folder with --task take \
             that one"
        ));
    }
    match checked.simulator {
        Simulator::None => {}
        Simulator::Mujoco | Simulator::Rust | Simulator::External => {
            let mut environment = TaskMaker::of(task, options)?.make()?;
            checked.step(&mut *environment)?;
            checked.look_at_bounds(&*environment, task);
            checked.look_at_ranges();
        }
    }
    Ok(checked)
}

impl Checked {
    /// Takes the random steps.
    fn step(&mut self, task: &mut dyn Task) -> Result<(), SimError> {
        let component = |term: &sog_runtime::policy::Term, i: usize| match term.width {
            1 => term.name.clone(),
            _ => format!("{}[{i}]", term.name),
        };
        let terms = self.info.obs_terms.0.iter();
        let names = terms.flat_map(|term| (0..term.width).map(move |i| component(term, i)));
        self.observations = names.map(Range::new).collect();
        let reward = |i: usize| match self.modes.get(i) {
            Some(mode) => mode.clone(),
            None => format!("goal {i}"),
        };
        self.rewards = (0..task.reward_count()).map(reward).map(Range::new).collect();
        let mut obs = vec![0.0; self.info.obs_dim()];
        let mut action = vec![0.0; self.info.action_dim()];
        let mut rewards = vec![0.0; self.rewards.len()];
        let mut rng = seed::rng(SEED);
        let (mut shortest, mut length) = (usize::MAX, 0);
        for _ in 0..STEPS {
            if length == 0 {
                task.reset(seed::derive(SEED, self.episodes as u64))?;
                self.episodes += 1;
            }
            task.observe(&mut obs);
            self.observations.iter_mut().zip(&obs).for_each(|(range, &x)| range.see(x));
            let bounds = self.info.action_low.iter().zip(&self.info.action_high);
            for (a, (low, high)) in action.iter_mut().zip(bounds) {
                *a = low + (high - low) * unit(&mut rng);
            }
            let step = task.step(&action, &mut rewards)?;
            self.rewards.iter_mut().zip(&rewards).for_each(|(range, &r)| range.see(r));
            (self.steps, length) = (self.steps + 1, length + 1);
            if step.terminated || length >= self.info.horizon {
                if step.terminated {
                    shortest = shortest.min(length);
                }
                length = 0;
            }
        }
        if shortest == 1 {
            let warning =
                "an episode failed in its first step: look at [[sim.terminate]] and the start";
            self.warnings.push(warning.to_string());
        }
        Ok(())
    }

    /// Bounds of actions against those of the actuators.
    fn look_at_bounds(&mut self, environment: &dyn Task, task: &TaskFolder) {
        let Some(physics) = environment.physics() else { return };
        let model = physics.model();
        let names = crate::compiled::names::Names(model);
        let mut at = 0;
        for term in &task.definition().action {
            for (i, named) in term.actuators.iter().enumerate() {
                let Ok(id) = names.actuator(named) else { continue };
                let [low, high] = model.actuator_ctrlrange()[id];
                if !model.actuator_ctrllimited()[id] {
                    continue;
                }
                let (asked_low, asked_high) = (term.low[i], term.high[i]);
                if asked_low < low || asked_high > high {
                    self.warnings.push(format!(
                        "{}action {} goes from {asked_low} to {asked_high}, its actuator `{}` \
                         from {low} to {high}: what lies beyond does nothing",
                        term.at,
                        at + i,
                        named.name
                    ));
                }
            }
            at += term.width;
        }
    }

    /// Numbers that never move, are large, or are none.
    fn look_at_ranges(&mut self) {
        let names = |wanted: &dyn Fn(&Range) -> bool| -> Vec<String> {
            let found = self.observations.iter().filter(|range| wanted(range));
            found.map(|range| range.name.clone()).collect()
        };
        let rewards =
            self.rewards.iter().filter(|range| !(range.low.is_finite() && range.high.is_finite()));
        let rewards: Vec<String> = rewards.map(|range| range.name.clone()).collect();
        let warnings = [
            (names(&|r| !r.low.is_finite() || !r.high.is_finite()), "is no finite number at times"),
            (names(&|r| r.low == r.high), "never changes: it tells a policy nothing"),
            (names(&|r| r.low.min(-r.high) < -LARGE), "is large: give it a `scale`"),
            (rewards, "has a reward that is no finite number at times"),
        ];
        for (names, problem) in warnings {
            let shown = names.len().min(5);
            if shown > 0 {
                let more = if names.len() > shown { ", …" } else { "" };
                self.warnings.push(format!("{}{more} {problem}", names[..shown].join(", ")));
            }
        }
    }

    /// What others read: `{name, dt, horizon, obs_dim, action_dim, obs_terms, action_terms,
    /// simulator, modes, steps, warnings}`, and the ranges seen.
    pub fn to_json(&self) -> serde_json::Value {
        let terms = |terms: &sog_runtime::policy::Terms| -> serde_json::Value {
            terms.0.iter().map(|t| json!({ "name": t.name, "width": t.width })).collect()
        };
        let ranges =
            |ranges: &[Range]| -> serde_json::Value { ranges.iter().map(Range::to_json).collect() };
        json!({
            "name": self.info.name,
            "dt": self.info.dt_s,
            "horizon": self.info.horizon,
            "obs_dim": self.info.obs_dim(),
            "action_dim": self.info.action_dim(),
            "obs_terms": terms(&self.info.obs_terms),
            "action_terms": terms(&self.info.action_terms),
            "action_low": self.info.action_low,
            "action_high": self.info.action_high,
            "simulator": self.simulator.to_string(),
            "modes": self.modes,
            "steps": self.steps,
            "episodes": self.episodes,
            "observed": ranges(&self.observations),
            "rewards": ranges(&self.rewards),
            "warnings": self.warnings,
        })
    }
}
