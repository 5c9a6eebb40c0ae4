//! A task as data: what `task.toml` says, read and checked.
//!
//! * [`Definition`]: the whole file; [`Definition::parse`] refuses whatever it does not know;
//! * [`ObservationTerm`], [`ActionTerm`]: what a policy sees and does;
//! * [`SimDefinition`]: what simulates the task, how an episode starts and when it fails;
//! * [`ModeDefinition`], [`GoalDefinition`]: the ways of doing it, for evaluation alone;
//! * [`DefinitionError`]: a fault, with file, line and key.
//!
//! What needs the robot's model (whether a joint is there, how wide a sensor is) is checked when
//! the task is built, and a fault then is told in the same way.

mod action;
mod expression;
mod modes;
mod observation;
mod simulator;
#[cfg(test)]
mod tests;

use std::{collections::BTreeSet, path::PathBuf, sync::Arc};

pub use action::ActionTerm;
pub use expression::Formula;
pub use modes::{GoalDefinition, ModeDefinition, Reward, Success};
pub use observation::{ObservationTerm, Origin, Pick, What};
pub use simulator::{Engine, Noise, NoiseKind, Registered, SimDefinition, Terminate};
pub(crate) use sog_runtime::definition::hint;
pub use sog_runtime::definition::{At, DefinitionError, Named};
use sog_runtime::{
    definition::{Read, Source, Table, Value},
    policy::{Term, Terms},
};

/// Schema of the file.
pub const SCHEMA: &str = "sog.task/1";

/// Name of the file in a task's folder.
pub const FILE: &str = "task.toml";

/// Longest episode, in control steps.
const LONGEST: usize = 10_000_000;

/// What a task's file says.
#[derive(Clone, Debug, PartialEq)]
pub struct Definition {
    /// Name: what files and the handshake say.
    pub name: String,
    /// Control period, s.
    pub dt_s: f64,
    /// Control steps to the time limit.
    pub horizon: usize,
    /// Terms of the observation, in order.
    pub observation: Vec<ObservationTerm>,
    /// Terms of the action, in order.
    pub action: Vec<ActionTerm>,
    /// What simulates the task; `None` where nothing does.
    pub sim: Option<SimDefinition>,
    /// Ways of doing the task.
    pub modes: Vec<ModeDefinition>,
    /// Goals, in place of modes.
    pub goal: Option<GoalDefinition>,
    /// What figures draw.
    pub plot: Plot,
    /// How demonstrations are recorded unless something else is asked for.
    pub demos: DemosDefinition,
    /// How it is evaluated unless something else is asked for.
    pub evaluate: EvaluateDefinition,
    /// Defaults of training: any keys of a run's configuration, dotted ones as they are written.
    pub train: toml::Table,
    /// What the importer of demonstrations reads.
    pub import: toml::Table,
    /// The place of the file as a whole.
    pub at: At,
    /// The place of `dt`.
    pub dt_at: At,
}

/// What figures draw.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plot {
    /// Two words whose path is drawn in the plane.
    pub path: Vec<Formula>,
    /// Words that are drawn over time.
    pub series: Vec<Formula>,
    /// Their units.
    pub units: Vec<String>,
    /// Trajectories of a mode that are drawn, and demonstrations; `None` for what figures do by
    /// themselves.
    pub count: Option<usize>,
}

/// How demonstrations are recorded unless something else is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct DemosDefinition {
    /// Episodes of each mode, or goals.
    pub episodes: Option<usize>,
    /// Noise of the expert's actions, in units of half their range.
    pub action_noise: f64,
    /// The expert that is written in Rust, by its registered name.
    pub scripted: Option<Named>,
}

/// How the task is evaluated unless something else is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EvaluateDefinition {
    /// Rollouts.
    pub rollouts: Option<usize>,
}

impl Definition {
    /// Reads a file's text; `file` is what faults call it.
    ///
    /// # Errors
    /// [`DefinitionError`] for the first fault.
    pub fn parse(file: &str, text: &str) -> Result<Self, DefinitionError> {
        let source = Source { file: Arc::from(file), text: Arc::from(text) };
        let document = source.parse()?;
        read(Table::root(&source, &document))
    }

    /// Names and widths of the observation's terms, where the file says them without a model.
    pub fn obs_terms(&self) -> Option<Terms> {
        let term =
            |t: &ObservationTerm| Some(Term { name: t.name.clone(), width: self.width_of(t)? });
        self.observation.iter().map(term).collect::<Option<_>>().map(Terms)
    }

    /// Names and widths of the action's terms.
    pub fn action_terms(&self) -> Terms {
        let term = |t: &ActionTerm| Term { name: t.name.clone(), width: t.width };
        Terms(self.action.iter().map(term).collect())
    }

    /// Action width A.
    pub fn action_dim(&self) -> usize {
        self.action.iter().map(|t| t.width).sum()
    }

    /// Lower action bounds, `[A]`.
    pub fn action_low(&self) -> Vec<f64> {
        self.action.iter().flat_map(|t| t.low.iter().copied()).collect()
    }

    /// Upper action bounds, `[A]`.
    pub fn action_high(&self) -> Vec<f64> {
        self.action.iter().flat_map(|t| t.high.iter().copied()).collect()
    }

    /// Width of a term as the file says it, or as its source does without a model.
    fn width_of(&self, term: &ObservationTerm) -> Option<usize> {
        let of_source = || {
            let what = &term.source.as_ref()?.what;
            Some(what.fixed_width(Some(self.action_dim()))? * term.history)
        };
        term.width.or_else(of_source)
    }
}

fn read(mut table: Table<'_>) -> Read<Definition> {
    let at = table.at();
    let schema = table.need("schema", &format!("schema = \"{SCHEMA}\""))?;
    if schema.text() != Some(SCHEMA) {
        return Err(schema.error(format!("need \"{SCHEMA}\", which this program reads")));
    }
    let name = name(&mut table)?;
    let dt = table.need("dt", "the control period in seconds")?;
    let (dt_s, dt_at) = (dt.positive()?, dt.at());
    let horizon = table.need("horizon", "the number of control steps of an episode")?;
    let horizon = horizon.count(LONGEST)?;
    let observation = table.need("observation", "at least one [[observation]] table")?;
    let observation =
        observation.tables()?.into_iter().map(observation::read).collect::<Read<Vec<_>>>()?;
    let action = table.need("action", "at least one [[action]] table")?;
    let action = action.tables()?.into_iter().map(action::read).collect::<Read<Vec<_>>>()?;
    let sim = table.read("sim", |v| simulator::read(v.table()?))?;
    let modes = table.read("mode", |v| {
        let modes = v.tables()?.into_iter().enumerate();
        modes.map(|(i, table)| modes::read_mode(i, table)).collect::<Read<Vec<_>>>()
    })?;
    let definition = Definition {
        name,
        dt_s,
        horizon,
        observation,
        action,
        sim,
        modes: modes.unwrap_or_default(),
        goal: table.read("goal", |v| modes::read_goal(v.table()?))?,
        plot: table.read("plot", |v| plot(v.table()?))?.unwrap_or_default(),
        demos: table.read("demos", |v| demos(v.table()?))?.unwrap_or_default(),
        evaluate: table.read("evaluate", |v| evaluate(v.table()?))?.unwrap_or_default(),
        train: table.read("train", free_table)?.unwrap_or_default(),
        import: table.read("import", free_table)?.unwrap_or_default(),
        at,
        dt_at,
    };
    table.finish()?;
    check(&definition)?;
    Ok(definition)
}

fn name(table: &mut Table<'_>) -> Read<String> {
    let value = table.need("name", "a name of a-z, 0-9 and -")?;
    let name = value.string()?;
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    match name.len() <= 100 && name.chars().all(good) {
        true => Ok(name),
        false => Err(value.error(format!("`{name}` is no name for a task; need a-z, 0-9 and -"))),
    }
}

fn free_table(value: &Value<'_>) -> Read<toml::Table> {
    value.table()?;
    match value.plain() {
        toml::Value::Table(table) => Ok(table),
        _ => Ok(toml::Table::new()),
    }
}

fn plot(mut table: Table<'_>) -> Read<Plot> {
    let formulas = |v: &Value<'_>| v.items()?.iter().map(Formula::read).collect::<Read<Vec<_>>>();
    let path = table.get("path");
    let series = table.read("series", formulas)?.unwrap_or_default();
    let strings = |v: &Value<'_>| Ok(v.names()?.into_iter().map(|n| n.name).collect());
    let units = table.read("units", strings)?.unwrap_or_default();
    let count = table.read("count", |v| v.count(100_000))?;
    let path = match path {
        None => Vec::new(),
        Some(value) => {
            let path = formulas(&value)?;
            if path.len() != 2 {
                return Err(value.error(format!("{} words, need two: x and y", path.len())));
            }
            path
        }
    };
    table.finish()?;
    Ok(Plot { path, series, units, count })
}

fn demos(mut table: Table<'_>) -> Read<DemosDefinition> {
    let noise = table.get("action_noise");
    let demos = DemosDefinition {
        episodes: table.read("episodes", |v| v.count(10_000_000))?,
        action_noise: noise.as_ref().map(Value::number).transpose()?.unwrap_or(0.0),
        scripted: table.read("scripted", Value::named)?,
    };
    if let Some(noise) = noise.filter(|_| !(0.0..=10.0).contains(&demos.action_noise)) {
        return Err(noise.error(format!("found {}, need 0 to 10", demos.action_noise)));
    }
    table.finish()?;
    Ok(demos)
}

fn evaluate(mut table: Table<'_>) -> Read<EvaluateDefinition> {
    let rollouts = table.read("rollouts", |v| v.count(10_000_000))?;
    table.finish()?;
    Ok(EvaluateDefinition { rollouts })
}

/// What no single table can see.
fn check(definition: &Definition) -> Read<()> {
    let mut seen = BTreeSet::new();
    for term in &definition.observation {
        if !seen.insert(&term.name) {
            return Err(term.at.error(format!("two terms are called `{}`", term.name)));
        }
    }
    seen.clear();
    for term in &definition.action {
        if !seen.insert(&term.name) {
            return Err(term.at.error(format!("two terms are called `{}`", term.name)));
        }
    }
    seen.clear();
    for mode in &definition.modes {
        if !seen.insert(&mode.name) {
            return Err(mode.at.error(format!("two modes are called `{}`", mode.name)));
        }
    }
    if let Some(goal) = definition.goal.as_ref().filter(|_| !definition.modes.is_empty()) {
        return Err(goal.at.error("a task has modes or goals; leave [[mode]] or [goal] out"));
    }
    let engine = definition.sim.as_ref().map(|sim| &sim.engine);
    for term in &definition.observation {
        let simulated = matches!(engine, Some(Engine::Mujoco { .. }));
        match (&term.source, definition.width_of(term)) {
            (None, _) if simulated => {
                return Err(term.at.error(format!(
                    "`{}` has no source; need one of `qpos`, `qvel`, `sensor`, `body_pos`, …",
                    term.name
                )));
            }
            (_, None) if !simulated => {
                let problem = format!("`{}` needs a width: no model says it", term.name);
                return Err(term.at.error(problem));
            }
            _ => {}
        }
        check_width(definition, term)?;
    }
    if let Some(Engine::Mujoco { drive: None, .. }) = engine
        && let Some(term) = definition.action.iter().find(|t| t.actuators.is_empty())
    {
        let problem = format!("`{}` moves nothing; need `actuator`, its actuators", term.name);
        return Err(term.at.error(problem));
    }
    Ok(())
}

/// The width that the file says is the source's, where that is known without a model.
fn check_width(definition: &Definition, term: &ObservationTerm) -> Read<()> {
    let Some((width, source)) = term.width.zip(term.source.as_ref()) else { return Ok(()) };
    let Some(found) = source.what.fixed_width(Some(definition.action_dim())) else { return Ok(()) };
    match width == found * term.history {
        true => Ok(()),
        false => Err(term.at.error(width_problem(&term.name, width, found, term.history))),
    }
}

/// That a term is not as wide as the file says.
pub(crate) fn width_problem(name: &str, width: usize, found: usize, history: usize) -> String {
    let of = if history > 1 { format!(" ({found} × history {history})") } else { String::new() };
    format!("`{name}` has width {width}, but its source gives {}{of}", found * history)
}

impl SimDefinition {
    /// The path of the model file as it is written, where MuJoCo simulates.
    pub fn model(&self) -> Option<PathBuf> {
        match &self.engine {
            Engine::Mujoco { model, .. } => Some(PathBuf::from(&model.name)),
            _ => None,
        }
    }
}
