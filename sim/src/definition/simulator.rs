//! `[sim]`: what simulates the task, how an episode starts and when it fails.

use sog_runtime::definition::{At, Named, Read, Table, Value, hint};

use super::expression::Formula;

/// What simulates a task.
#[derive(Clone, Debug, PartialEq)]
pub struct SimDefinition {
    /// Who simulates.
    pub engine: Engine,
    /// Physics steps of a control step.
    pub frame_skip: usize,
    /// Where `frame_skip` is said.
    pub frame_skip_at: At,
    /// Keyframe that episodes start from.
    pub keyframe: Option<Named>,
    /// Whether positions of bodies, sensors and the like are computed anew after the physics steps
    /// (default: where anything reads them). Without, they are those of one physics step before.
    pub forward: Option<bool>,
    /// Where the robot is, for rewards and figures: three expressions for x, y and z.
    pub track: Option<[Formula; 3]>,
    /// Noise about the start, positions.
    pub reset_qpos: Vec<Noise>,
    /// Noise about the start, velocities.
    pub reset_qvel: Vec<Noise>,
    /// What ends an episode as failed.
    pub terminate: Vec<Terminate>,
    /// Where the table stands.
    pub at: At,
}

/// Who simulates.
#[derive(Clone, Debug, PartialEq)]
pub enum Engine {
    /// MuJoCo, with a model file; `rust` names the way that actions move it where actuators do not.
    Mujoco {
        /// The model, relative to the task's folder.
        model: Named,
        /// Registered in Rust.
        drive: Option<Registered>,
    },
    /// A simulation registered in Rust.
    Rust(Registered),
    /// Another program that speaks the link's lock-step protocol, already running.
    External(Named),
    /// Another program, started for each environment.
    Command(Vec<Named>),
}

/// A function that is registered in Rust, with its parameters.
#[derive(Clone, Debug, PartialEq)]
pub struct Registered {
    /// Its name.
    pub name: String,
    /// Parameters, by name.
    pub parameters: Vec<(String, f64)>,
    /// Where it stands.
    pub at: At,
}

impl Registered {
    /// `{ rust = "NAME", parameter = 1.0, … }`.
    pub(super) fn read(value: &Value<'_>) -> Read<Self> {
        let mut table = value.table()?;
        let name = table.need("rust", "the name of a function registered in Rust")?.string()?;
        let parameters = table.entries().into_iter().filter(|(key, _)| key != "rust");
        let parameters = parameters
            .map(|(key, value)| value.number().map(|x| (key, x)))
            .collect::<Read<Vec<_>>>()?;
        Ok(Self { name, parameters, at: value.at() })
    }

    /// A parameter that must be there.
    ///
    /// # Errors
    /// The place of the function, if it is not.
    pub fn parameter(&self, name: &str) -> Read<f64> {
        let found = self.parameters.iter().find(|(key, _)| key == name);
        found
            .map(|(_, x)| *x)
            .ok_or_else(|| self.at.error(format!("`{}` needs the parameter `{name}`", self.name)))
    }

    /// Refuses parameters that are none of `known`.
    pub(crate) fn only(&self, known: &[&str]) -> Read<()> {
        match self.parameters.iter().find(|(key, _)| !known.contains(&key.as_str())) {
            None => Ok(()),
            Some((key, _)) => {
                let hint = hint(key, known.iter().copied());
                Err(self.at.error(format!("`{}` has no parameter `{key}`{hint}", self.name)))
            }
        }
    }
}

/// Noise of a start.
#[derive(Clone, Debug, PartialEq)]
pub struct Noise {
    /// Joints that it is for; empty for all.
    pub joints: Vec<Named>,
    /// Its kind.
    pub kind: NoiseKind,
}

/// How noise is drawn.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum NoiseKind {
    /// Uniform within ± this.
    Uniform(f64),
    /// Normal with this standard deviation.
    Normal(f64),
}

/// What ends an episode as failed.
#[derive(Clone, Debug, PartialEq)]
pub struct Terminate {
    /// What is looked at.
    pub of: Formula,
    /// Ends below this.
    pub low: Option<f64>,
    /// Ends above this.
    pub high: Option<f64>,
}

/// The `below`, `above` or `outside` of a table: what lies beyond.
pub(super) fn bounds(table: &mut Table<'_>) -> Read<(Option<f64>, Option<f64>)> {
    let below = table.read("below", Value::number)?;
    let above = table.read("above", Value::number)?;
    let outside = table.read("outside", Value::interval)?;
    match (below, above, outside) {
        (Some(low), None, None) => Ok((Some(low), None)),
        (None, Some(high), None) => Ok((None, Some(high))),
        (None, None, Some([low, high])) => Ok((Some(low), Some(high))),
        _ => Err(table.error("need one of `below`, `above` and `outside = [low, high]`")),
    }
}

pub(super) fn read(mut table: Table<'_>) -> Read<SimDefinition> {
    let at = table.at();
    let engine = engine(&mut table)?;
    let skip = table.get("frame_skip");
    let frame_skip_at = skip.as_ref().map_or_else(|| at.clone(), Value::at);
    let (mut reset_qpos, mut reset_qvel) = (Vec::new(), Vec::new());
    if let Some(reset) = table.get("reset") {
        let mut reset = reset.table()?;
        reset_qpos = reset.read("qpos", noise)?.unwrap_or_default();
        reset_qvel = reset.read("qvel", noise)?.unwrap_or_default();
        reset.finish()?;
    }
    let sim = SimDefinition {
        engine,
        frame_skip: skip.map_or(Ok(1), |v| v.count(100_000))?,
        frame_skip_at,
        keyframe: table.read("keyframe", Value::named)?,
        forward: table.read("forward", Value::boolean)?,
        track: table.read("track", track)?,
        reset_qpos,
        reset_qvel,
        terminate: table.read("terminate", terminate)?.unwrap_or_default(),
        at,
    };
    table.finish()?;
    if !matches!(sim.engine, Engine::Mujoco { .. }) {
        let of_model = [
            ("keyframe", sim.keyframe.is_some()),
            ("reset", !(sim.reset_qpos.is_empty() && sim.reset_qvel.is_empty())),
            ("terminate", !sim.terminate.is_empty()),
            ("track", sim.track.is_some()),
        ];
        if let Some((key, _)) = of_model.into_iter().find(|(_, given)| *given) {
            return Err(sim.at.error(format!("`{key}` goes with `model` only; leave it out")));
        }
    }
    Ok(sim)
}

fn engine(table: &mut Table<'_>) -> Read<Engine> {
    let model = table.read("model", Value::named)?;
    let external = table.read("external", Value::named)?;
    let command = table.read("command", Value::names)?;
    let rust = match table.get("rust") {
        Some(value) if value.is_table() => return Err(value.error("need a name in quotes")),
        Some(value) => {
            let name = value.string()?;
            Some(Registered { name, parameters: Vec::new(), at: value.at() })
        }
        None => None,
    };
    match (model, external, command, rust) {
        (Some(model), None, None, drive) => Ok(Engine::Mujoco { model, drive }),
        (None, Some(address), None, None) => Ok(Engine::External(address)),
        (None, None, Some(command), None) => Ok(Engine::Command(command)),
        (None, None, None, Some(rust)) => Ok(Engine::Rust(rust)),
        _ => Err(table.error("need one of `model`, `external` and `command`")),
    }
}

fn noise(value: &Value<'_>) -> Read<Vec<Noise>> {
    let one = |mut table: Table<'_>| {
        let joints = table.read("joint", Value::names)?.unwrap_or_default();
        let uniform = table.read("uniform", Value::positive)?;
        let normal = table.read("normal", Value::positive)?;
        let kind = match (uniform, normal) {
            (Some(half), None) => NoiseKind::Uniform(half),
            (None, Some(std)) => NoiseKind::Normal(std),
            _ => return Err(table.error("need one of `uniform` and `normal`")),
        };
        table.finish()?;
        Ok(Noise { joints, kind })
    };
    value.tables()?.into_iter().map(one).collect()
}

fn track(value: &Value<'_>) -> Read<[Formula; 3]> {
    let items = value.items()?;
    let formulas = items.iter().map(Formula::read).collect::<Read<Vec<_>>>()?;
    <[Formula; 3]>::try_from(formulas)
        .map_err(|found| value.error(format!("{} expressions, need x, y and z", found.len())))
}

fn terminate(value: &Value<'_>) -> Read<Vec<Terminate>> {
    let one = |mut table: Table<'_>| {
        let of = Formula::read(&table.need("of", "what is looked at, as in \"torso.z\"")?)?;
        let (low, high) = bounds(&mut table)?;
        table.finish()?;
        Ok(Terminate { of, low, high })
    };
    value.tables()?.into_iter().map(one).collect()
}
