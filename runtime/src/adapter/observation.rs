//! `[[observation]]`: what the policy sees, out of what the robot sends.

use super::{
    channel::{Channel, Holds, not_sent},
    has::Has,
    joint::{self, Part},
};
use crate::{
    definition::{At, DefinitionError, Read, Table, Value, hint, quoted},
    terms::{Source, TermSpec},
};

/// A term of the policy's, and where it is said.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wanted {
    pub(super) spec: TermSpec,
    pub(super) at: At,
}

const SOURCES: [&str; 8] = [
    "qpos",
    "qvel",
    "torque",
    "sensor",
    "projected_gravity",
    "previous_action",
    "command",
    "phase",
];

/// Reads a table: one term, or one a joint where the name holds a `*`.
pub(super) fn read(mut table: Table<'_>, has: &Has) -> Read<Vec<Wanted>> {
    let at = table.at();
    let name_value = table.need("name", "the name of the policy's term")?;
    let name = name_value.string()?;
    let mut sources = vec![];
    for key in SOURCES {
        sources.extend(table.get(key).map(|value| (key, value)));
    }
    let [(key, value)] = &sources[..] else {
        let found: Vec<&str> = sources.iter().map(|(key, _)| *key).collect();
        let needed = quoted(&SOURCES);
        return Err(at.error(format!(
            "`{name}` has {} sources ({}), need exactly one of {needed}",
            found.len(),
            quoted(&found)
        )));
    };
    let frame = table.get("frame");
    let orientation = table.get("orientation");
    let like = TermSpec {
        name: String::new(),
        source: Source::PreviousAction,
        minus: table.read("minus", Value::numbers)?.unwrap_or_default(),
        scale: table.read("scale", Value::numbers)?.unwrap_or_default(),
        clip: table.read("clip", clip)?,
        history: table.read("history", |v| v.count(10_000))?.unwrap_or(1),
    };
    table.finish()?;
    let framed = matches!(*key, "sensor" | "projected_gravity");
    if let Some(value) = [&frame, &orientation].into_iter().flatten().find(|_| !framed) {
        return Err(value.error(format!("`{key}` has no frame")));
    }

    let part = match *key {
        "qpos" => Some(Part::Position),
        "qvel" => Some(Part::Velocity),
        "torque" => Some(Part::Torque),
        _ => None,
    };
    if let Some(part) = part {
        let joints = joint::pick(&has.joints, Some(value))?;
        let signal = |&joint: &usize| {
            has.signal_of(joint, part).ok_or_else(|| {
                let name = &has.joints[joint].name;
                let part = part.name();
                value.error(format!(
                    "joint `{name}`: the robot sends no {part} of it; need a [[channel]] with \
                     joints = \"{part}\"{}",
                    if part == "velocity" { ", or a [[velocity]] of its position" } else { "" }
                ))
            })
        };
        let signals = joints.iter().map(signal).collect::<Read<Vec<_>>>()?;
        if !name.contains('*') {
            let spec = TermSpec { name, source: Source::Raw(signals), ..like };
            return Ok(vec![Wanted { spec, at }]);
        }
        let one = |(&joint, signal): (&usize, usize)| Wanted {
            spec: TermSpec {
                name: name.replace('*', &has.joints[joint].name),
                source: Source::Raw(vec![signal]),
                ..like.clone()
            },
            at: at.clone(),
        };
        return Ok(joints.iter().zip(signals).map(one).collect());
    }
    if name.contains('*') {
        return Err(name_value.error("`*` stands for joints, and this source has none"));
    }
    let source = match *key {
        "sensor" => sensor(value, frame.as_ref(), orientation.as_ref(), has)?,
        "projected_gravity" => {
            if let Some(frame) = frame {
                return Err(frame.error("projected gravity is in the body's frame already"));
            }
            Source::ProjectedGravity { quaternion: quaternion(has, value)? }
        }
        "previous_action" => match value.boolean()? {
            true => Source::PreviousAction,
            false => return Err(value.error("found false, need true, or leave the key out")),
        },
        "command" => {
            let name = value.string()?;
            let slot = has.operator.iter().position(|(known, _)| *known == name);
            let slot = slot.ok_or_else(|| {
                let hint = hint(&name, has.operator.iter().map(|(known, _)| known.as_str()));
                value.error(format!("[operator] has no `{name}`{hint}"))
            })?;
            Source::Command(vec![slot])
        }
        _ => Source::Phase { hz: value.positive()? },
    };
    Ok(vec![Wanted { spec: TermSpec { name, source, ..like }, at }])
}

/// `clip = 10` is [−10, 10].
fn clip(value: &Value<'_>) -> Read<[f64; 2]> {
    if value.is_array() { value.interval() } else { value.positive().map(|c| [-c, c]) }
}

/// A channel, or some of its numbers, in the frame that is asked for.
fn sensor(
    value: &Value<'_>,
    frame: Option<&Value<'_>>,
    orientation: Option<&Value<'_>>,
    has: &Has,
) -> Read<Source> {
    let text = value.string()?;
    let (name, range) = match text.split_once('[') {
        None => (text.as_str(), None),
        Some((name, rest)) => {
            let inside = rest.strip_suffix(']').and_then(indices);
            let inside = inside.ok_or_else(|| {
                value.error(format!("`{text}`: need `NAME`, `NAME[2]` or `NAME[0..2]`"))
            })?;
            (name, Some(inside))
        }
    };
    let Some((from, width, channel)) = has.signals(name) else {
        return Err(value.error(not_sent(name, &has.channels)));
    };
    if let Some((_, end)) = range.filter(|(start, end)| start >= end || *end > width) {
        let problem = format!("`{text}`: `{name}` has {width} numbers, found an end at {end}");
        return Err(value.error(problem));
    }
    let plain = || {
        let (start, end) = range.unwrap_or((0, width));
        Source::raw(from + start..from + end)
    };
    let Some(frame) = frame else {
        return match orientation {
            Some(value) => Err(value.error("need a `frame` too: \"body\" or \"world\"")),
            None => Ok(plain()),
        };
    };
    let world = match channel.map(|channel| &channel.holds) {
        Some(Holds::Vector { world, .. }) if range.is_none() => *world,
        _ => return Err(frame.error(format!("`{text}` is no vector that could be rotated"))),
    };
    let vector = [from, from + 1, from + 2];
    let turned = |has| match orientation {
        Some(value) => quaternion(has, value),
        None => only_quaternion(has, frame),
    };
    match frame.string()?.as_str() {
        "body" if !world => Ok(plain()),
        "world" if world => Ok(plain()),
        "body" => Ok(Source::InBody { vector, quaternion: turned(has)? }),
        "world" => Ok(Source::InWorld { vector, quaternion: turned(has)? }),
        other => Err(frame.error(format!("`{other}` is no frame; need \"body\" or \"world\""))),
    }
}

/// `2` or `0..2`.
fn indices(text: &str) -> Option<(usize, usize)> {
    match text.split_once("..") {
        Some((start, end)) => Some((start.trim().parse().ok()?, end.trim().parse().ok()?)),
        None => text.trim().parse().ok().map(|i: usize| (i, i + 1)),
    }
}

/// The signals of an orientation by the name of its channel.
fn quaternion(has: &Has, value: &Value<'_>) -> Read<[usize; 4]> {
    let name = value.string()?;
    match has.signals(&name) {
        Some((from, _, Some(Channel { holds: Holds::Orientation { .. }, .. }))) => {
            Ok([0, 1, 2, 3].map(|i| from + i))
        }
        Some(_) => Err(value.error(format!("`{name}` is no quaternion; need a channel with one"))),
        None => Err(value.error(not_sent(&name, &has.channels))),
    }
}

/// The signals of the one orientation that there is.
fn only_quaternion(has: &Has, frame: &Value<'_>) -> Result<[usize; 4], DefinitionError> {
    let all: Vec<&Channel> = has
        .channels
        .iter()
        .filter(|channel| matches!(channel.holds, Holds::Orientation { .. }))
        .collect();
    match all[..] {
        [one] => Ok([0, 1, 2, 3].map(|i| one.from + i)),
        [] => Err(frame.error("the robot sends no quaternion to rotate by")),
        _ => Err(frame.error("there are several quaternions; say which: `orientation`")),
    }
}
