//! `robot.toml` as a whole: read, and held against itself.

use std::{path::Path, sync::Arc};

use super::{
    channel::{self, Holds},
    command::{self, ActionTerm, Told, ToldHolds},
    has::Has,
    homing::{self, HomingTable},
    joint::{self, Part},
    observation::{self, Wanted},
};
use crate::{
    contract::Contract,
    definition::{At, DefinitionError, Read, Source, Table, Value},
    policy::{Term, Terms},
};

/// Schema of the file.
pub const SCHEMA: &str = "sog.robot/1";

/// What `robot.toml` says: what a robot has, and how that becomes what a policy wants.
#[derive(Clone, Debug, PartialEq)]
pub struct RobotFile {
    pub(super) name: String,
    pub(super) dt_s: f64,
    pub(super) has: Has,
    pub(super) observation: Vec<Wanted>,
    pub(super) told: Vec<Told>,
    pub(super) action: Vec<ActionTerm>,
    pub(super) homing: Option<HomingTable>,
    pub(super) at: At,
    pub(super) dt_at: At,
    /// The text, as it was read.
    text: Arc<str>,
}

impl RobotFile {
    /// Reads a file.
    ///
    /// # Errors
    /// [`DefinitionError`] for a file that cannot be read, and for the first fault in it.
    pub fn read(path: &Path) -> Result<Self, DefinitionError> {
        let name = path.display().to_string();
        let at = At { file: Arc::from(name.as_str()), ..At::default() };
        let text = std::fs::read_to_string(path)
            .map_err(|error| at.error(format!("the file cannot be read: {error}")))?;
        Self::parse(&name, &text)
    }

    /// Reads a file's text; `file` is what faults call it.
    ///
    /// # Errors
    /// [`DefinitionError`] for the first fault.
    pub fn parse(file: &str, text: &str) -> Result<Self, DefinitionError> {
        let source = Source { file: Arc::from(file), text: Arc::from(text) };
        let document = source.parse()?;
        let file = read(Table::root(&source, &document), &source.text)?;
        check(&file)?;
        Ok(file)
    }

    /// What the robot calls itself.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The text, as it was read.
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Names of the numbers that the operator sets, in the order of their slots.
    pub fn operator_commands(&self) -> impl Iterator<Item = &str> {
        self.has.operator.iter().map(|(name, _)| name.as_str())
    }

    /// The robot's side of the link: its name, what it sends and is told, its period and bounds.
    pub fn robot_contract(&self) -> Contract {
        let term = |name: &String, width| Term { name: name.clone(), width };
        let bounds = |of: fn(&Told) -> &Vec<f64>| -> Vec<f32> {
            self.told.iter().flat_map(|told| of(told).iter().map(|&x| x as f32)).collect()
        };
        Contract {
            task: self.name.clone(),
            obs_terms: Terms(
                self.has.channels.iter().map(|c| term(&c.name, c.holds.width())).collect(),
            ),
            action_terms: Terms(
                self.told.iter().map(|told| term(&told.name, told.holds.width())).collect(),
            ),
            dt_s: self.dt_s,
            action_low: bounds(|told| &told.low),
            action_high: bounds(|told| &told.high),
        }
    }
}

fn read(mut table: Table<'_>, text: &Arc<str>) -> Read<RobotFile> {
    let at = table.at();
    let schema = table.need("schema", &format!("schema = \"{SCHEMA}\""))?;
    if schema.text() != Some(SCHEMA) {
        return Err(schema.error(format!("need \"{SCHEMA}\", which this program reads")));
    }
    let name = table.need("name", "what the robot calls itself on the link")?.string()?;
    let dt = table.need("dt", "the robot's control period in seconds")?;
    let (dt_s, dt_at) = (dt.positive()?, dt.at());
    let joints = tables(&mut table, "joint", joint::read)?;
    unique(joints.iter().map(|j| (&j.name, &j.at)), "joints")?;
    let mut from = 0;
    let channels = table.need("channel", "at least one [[channel]] that the robot sends")?;
    let mut all = vec![];
    for table in channels.tables()? {
        let channel = channel::read(table, &joints, dt_s, from)?;
        from += channel.holds.width();
        all.push(channel);
    }
    let channels = all;
    let velocities = tables(&mut table, "velocity", |table| {
        let velocity = channel::read_velocity(table, &channels, dt_s, from)?;
        from += channels[velocity.of].holds.width();
        Ok(velocity)
    })?;
    let operator = table.read("operator", |value| {
        let entries = value.table()?.entries();
        entries.into_iter().map(|(name, value)| Ok((name, value.number()?))).collect()
    })?;
    let has = Has { joints, channels, velocities, operator: operator.unwrap_or_default() };
    let mut file = RobotFile {
        name,
        dt_s,
        has,
        observation: vec![],
        told: vec![],
        action: vec![],
        homing: None,
        at,
        dt_at,
        text: Arc::clone(text),
    };
    let observation =
        table.need("observation", "an [[observation]] for each of the policy's terms")?;
    for table in observation.tables()? {
        file.observation.extend(observation::read(table, &file.has)?);
    }
    let told = table.need("command", "at least one [[command]] that the robot is told")?;
    for table in told.tables()? {
        file.told.push(command::read_told(table, &file.has.joints)?);
    }
    let action = table.need("action", "an [[action]] for each of the policy's terms")?;
    for table in action.tables()? {
        file.action.extend(command::read_action(table, &file.has.joints, &file.told, dt_s)?);
    }
    file.homing = table.read("homing", |value| {
        homing::read(value.table()?, &file.has, &file.told, &file.action)
    })?;
    table.finish()?;
    Ok(file)
}

/// Tables of a key that may be left out.
fn tables<'a, T>(
    table: &mut Table<'a>,
    key: &'static str,
    mut read: impl FnMut(Table<'a>) -> Read<T>,
) -> Read<Vec<T>> {
    let value: Option<Value<'a>> = table.get(key);
    match value {
        Some(value) => value.tables()?.into_iter().map(&mut read).collect(),
        None => Ok(vec![]),
    }
}

fn unique<'a>(names: impl Iterator<Item = (&'a String, &'a At)>, what: &str) -> Read<()> {
    let mut seen: Vec<&String> = vec![];
    for (name, at) in names {
        if seen.contains(&name) {
            return Err(at.error(format!("two {what} are called `{name}`; need each name once")));
        }
        seen.push(name);
    }
    Ok(())
}

/// What no single table can see.
fn check(file: &RobotFile) -> Read<()> {
    let channels = file.has.channels.iter().map(|c| (&c.name, &c.at));
    unique(channels.chain(file.has.velocities.iter().map(|v| (&v.name, &v.at))), "channels")?;
    unique(file.told.iter().map(|told| (&told.name, &told.at)), "commands")?;
    unique(file.observation.iter().map(|w| (&w.spec.name, &w.at)), "observation terms")?;
    unique(file.action.iter().map(|action| (&action.name, &action.at)), "action terms")?;
    // A part of a joint is sent, and told, in one place.
    let sent = file.has.channels.iter().filter_map(|c| match &c.holds {
        Holds::Joints { part, of } => Some((&c.name, *part, of, &c.at)),
        _ => None,
    });
    each_joint_once(file, sent)?;
    let told = file.told.iter().filter_map(|told| match &told.holds {
        ToldHolds::Joints { part, of } => Some((&told.name, *part, of, &told.at)),
        ToldHolds::Numbers { .. } => None,
    });
    each_joint_once(file, told)
}

fn each_joint_once<'a>(
    file: &RobotFile,
    groups: impl Iterator<Item = (&'a String, Part, &'a Vec<usize>, &'a At)>,
) -> Read<()> {
    let mut seen: Vec<(Part, usize, &String)> = vec![];
    for (name, part, of, at) in groups {
        for &joint in of {
            if let Some((.., first)) = seen.iter().find(|(p, j, _)| (*p, *j) == (part, joint)) {
                let (joint, part) = (&file.has.joints[joint].name, part.name());
                return Err(at.error(format!(
                    "the {part} of joint `{joint}` stands in `{first}` and in `{name}`; need it \
                     once"
                )));
            }
            seen.push((part, joint, name));
        }
    }
    Ok(())
}
