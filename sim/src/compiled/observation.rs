//! Terms of the observation, their sources resolved against a model.

use mujoco_rs::prelude::MjModel;
use sog_runtime::terms::{MOST_NUMBERS, Source, TermProgram, TermSpec, TermWidths};

use super::{
    names::{Names, Point},
    readings::{Reading, Readings},
};
use crate::definition::{Definition, DefinitionError, Origin, What, width_problem};

/// What fills an observation.
#[derive(Clone, Debug)]
pub(crate) struct Observer {
    pub(crate) readings: Readings,
    pub(crate) program: TermProgram,
    /// Names of the numbers that the operator sets, by slot.
    pub(crate) commands: Vec<String>,
}

/// What is resolved so far.
struct Resolver<'a> {
    names: Names<'a>,
    readings: Readings,
    commands: Vec<String>,
}

impl Observer {
    /// Resolves all terms of a definition.
    ///
    /// # Errors
    /// [`DefinitionError`] for a part that the model has not, or a width that does not fit.
    pub(crate) fn new(definition: &Definition, model: &MjModel) -> Result<Self, DefinitionError> {
        let mut resolver =
            Resolver { names: Names(model), readings: Readings::default(), commands: vec![] };
        let actions = definition.action_dim();
        let mut specs = Vec::new();
        for term in &definition.observation {
            let Some(origin) = &term.source else {
                return Err(term.at.error(format!("`{}` has no source", term.name)));
            };
            let spec = TermSpec {
                name: term.name.clone(),
                source: resolver.source(origin)?,
                minus: term.minus.clone(),
                scale: term.scale.clone(),
                clip: term.clip,
                history: term.history,
            };
            let found = spec.source.width(actions);
            if found.saturating_mul(term.history) > MOST_NUMBERS {
                let problem = format!("`{}` is too wide: {found} × {}", term.name, term.history);
                return Err(term.at.error(problem));
            }
            if let Some(width) = term.width.filter(|&width| width != found * term.history) {
                let problem = width_problem(&term.name, width, found, term.history);
                return Err(term.at.error(problem));
            }
            specs.push(spec);
        }
        let widths = TermWidths {
            raw: resolver.readings.width(),
            action: actions,
            commands: resolver.commands.len(),
        };
        let program = TermProgram::compile(&specs, widths, definition.dt_s).map_err(|error| {
            let term = definition.observation.iter().find(|t| t.name == error.term);
            let mut at = term.map_or_else(|| definition.at.clone(), |t| t.at.clone());
            if let Some(key) = error.problem.key() {
                at.key = format!("{}.{key}", at.key);
            }
            at.error(error.to_string())
        })?;
        let Resolver { readings, commands, .. } = resolver;
        Ok(Self { readings, program, commands })
    }
}

impl Resolver<'_> {
    fn source(&mut self, origin: &Origin) -> Result<Source, DefinitionError> {
        let (names, at) = (self.names, &origin.at);
        let model = names.0;
        let readings = match &origin.what {
            What::Qpos(pick) => names
                .pick_joints(pick, at, model.nq() as usize, |joint| joint.qpos)?
                .into_iter()
                .map(Reading::Qpos)
                .collect(),
            What::Qvel(pick) => names
                .pick_joints(pick, at, model.nv() as usize, |joint| joint.qvel)?
                .into_iter()
                .map(Reading::Qvel)
                .collect(),
            What::QfrcActuator(pick) => names
                .pick_joints(pick, at, model.nv() as usize, |joint| joint.qvel)?
                .into_iter()
                .map(Reading::QfrcActuator)
                .collect(),
            What::Cinert(pick) => {
                names.pick_bodies(pick, at)?.into_iter().map(Reading::Cinert).collect()
            }
            What::Cvel(pick) => {
                names.pick_bodies(pick, at)?.into_iter().map(Reading::Cvel).collect()
            }
            What::CfrcExt(pick) => {
                names.pick_bodies(pick, at)?.into_iter().map(Reading::CfrcExt).collect()
            }
            What::Sensor(named) => vec![Reading::Sensor(names.sensor(named)?)],
            What::BodyQuat(named) => vec![Reading::Quaternion(names.body(named)?)],
            What::BodyPos(named) => {
                let body = names.body(named)?;
                return Ok(self.vector(Reading::Position(Point::Body(body)), body, origin));
            }
            What::BodyLinvel(named) => {
                let body = names.body(named)?;
                return Ok(self.vector(Reading::Linear(Point::Body(body)), body, origin));
            }
            What::BodyAngvel(named) => {
                let body = names.body(named)?;
                return Ok(self.vector(Reading::Angular(Point::Body(body)), body, origin));
            }
            What::SitePos(named) => {
                let site = names.site(named)?;
                let body = model.site_bodyid()[site] as usize;
                return Ok(self.vector(Reading::Position(Point::Site(site)), body, origin));
            }
            What::SiteLinvel(named) => {
                let site = names.site(named)?;
                let body = model.site_bodyid()[site] as usize;
                return Ok(self.vector(Reading::SiteVelocity(site), body, origin));
            }
            What::ProjectedGravity(named) => {
                let body = names.body(named)?;
                return Ok(Source::ProjectedGravity { quaternion: self.quaternion(body) });
            }
            What::PreviousAction => return Ok(Source::PreviousAction),
            What::Phase(hz) => return Ok(Source::Phase { hz: *hz }),
            What::Command(named) => {
                let found = self.commands.iter().position(|name| *name == named.name);
                let slot = found.unwrap_or_else(|| {
                    self.commands.push(named.name.clone());
                    self.commands.len() - 1
                });
                return Ok(Source::Command(vec![slot]));
            }
        };
        let readings: Vec<Reading> = readings;
        Ok(Source::Raw(readings.into_iter().flat_map(|r| self.readings.add(r)).collect()))
    }

    /// A vector in world axes, or in its body's.
    fn vector(&mut self, reading: Reading, body: usize, origin: &Origin) -> Source {
        let range = self.readings.add(reading);
        if !origin.in_body {
            return Source::raw(range);
        }
        let vector = [0, 1, 2].map(|i| range.start + i);
        Source::InBody { vector, quaternion: self.quaternion(body) }
    }

    fn quaternion(&mut self, body: usize) -> [usize; 4] {
        let range = self.readings.add(Reading::Quaternion(body));
        [0, 1, 2, 3].map(|i| range.start + i)
    }
}
