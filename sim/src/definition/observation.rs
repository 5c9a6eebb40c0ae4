//! `[[observation]]`: where each term comes from.

use sog_runtime::definition::{At, Named, Read, Table, Value};

/// Most numbers of a term.
const MOST_NUMBERS: usize = 65_536;

/// Most control steps that a term shows.
const MOST_HISTORY: usize = 10_000;

/// One term of the observation.
#[derive(Clone, Debug, PartialEq)]
pub struct ObservationTerm {
    /// Name, as policies and demonstrations have it.
    pub name: String,
    /// Components, history included, where the file says how many.
    pub width: Option<usize>,
    /// Where the numbers come from in `[sim]`.
    pub source: Option<Origin>,
    /// Taken off: nothing, one number, or one a component.
    pub minus: Vec<f64>,
    /// Multiplied by after that: nothing, one number, or one a component.
    pub scale: Vec<f64>,
    /// Bounds after that.
    pub clip: Option<[f64; 2]>,
    /// Control steps that it shows.
    pub history: usize,
    /// Where it stands.
    pub at: At,
}

/// Where a term's numbers come from, and where that is said.
#[derive(Clone, Debug, PartialEq)]
pub struct Origin {
    /// What is read.
    pub what: What,
    /// Whether a vector is rotated into the axes of its body.
    pub in_body: bool,
    /// Where it is said.
    pub at: At,
}

/// What a term reads.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// Joint positions.
    Qpos(Pick),
    /// Joint velocities.
    Qvel(Pick),
    /// A sensor of the model.
    Sensor(Named),
    /// Position of a body, m.
    BodyPos(Named),
    /// Orientation of a body, w x y z.
    BodyQuat(Named),
    /// Velocity of a body's origin, m/s.
    BodyLinvel(Named),
    /// Angular velocity of a body, rad/s.
    BodyAngvel(Named),
    /// Position of a site, m.
    SitePos(Named),
    /// Velocity of a site, m/s.
    SiteLinvel(Named),
    /// Where down is to a body.
    ProjectedGravity(Named),
    /// MuJoCo's `cinert`, 10 numbers a body.
    Cinert(Pick),
    /// MuJoCo's `cvel`, 6 numbers a body.
    Cvel(Pick),
    /// MuJoCo's `cfrc_ext`, 6 numbers a body.
    CfrcExt(Pick),
    /// MuJoCo's `qfrc_actuator`, one number a degree of freedom.
    QfrcActuator(Pick),
    /// The action of the control step before.
    PreviousAction,
    /// A number that the operator sets.
    Command(Named),
    /// sin and cos of a clock, Hz.
    Phase(f64),
}

/// Which of an array.
#[derive(Clone, Debug, PartialEq)]
pub enum Pick {
    /// All of it.
    All,
    /// From an index to another; the end may be open.
    Slice(usize, Option<usize>),
    /// By names of joints or bodies, in this order.
    Names(Vec<Named>),
}

impl Pick {
    fn read(value: &Value<'_>) -> Read<Self> {
        let Some(text) = value.text() else { return Ok(Self::Names(value.names()?)) };
        if text == "all" {
            return Ok(Self::All);
        }
        let Some((low, high)) = text.split_once("..") else {
            return Ok(Self::Names(value.names()?));
        };
        let index = |text: &str, open: Option<usize>| match text.trim() {
            "" => Ok(open),
            digits => digits.parse().map(Some).map_err(|_| {
                value.error(format!("`{text}` is no index; need a slice as in \"2..\" or \"0..3\""))
            }),
        };
        let (low, high) = (index(low, Some(0))?.unwrap_or(0), index(high, None)?);
        match high {
            Some(high) if high <= low => {
                Err(value.error(format!("the slice {low}..{high} is empty")))
            }
            _ => Ok(Self::Slice(low, high)),
        }
    }
}

impl What {
    /// Components without history, where the model need not be asked.
    pub(crate) fn fixed_width(&self, actions: Option<usize>) -> Option<usize> {
        match self {
            Self::BodyPos(_)
            | Self::BodyLinvel(_)
            | Self::BodyAngvel(_)
            | Self::SitePos(_)
            | Self::SiteLinvel(_)
            | Self::ProjectedGravity(_) => Some(3),
            Self::BodyQuat(_) => Some(4),
            Self::Phase(_) => Some(2),
            Self::Command(_) => Some(1),
            Self::PreviousAction => actions,
            Self::Qpos(pick) | Self::Qvel(pick) | Self::QfrcActuator(pick) => pick.fixed(1),
            Self::Cinert(pick) => pick.fixed(10),
            Self::Cvel(pick) | Self::CfrcExt(pick) => pick.fixed(6),
            Self::Sensor(_) => None,
        }
    }

    fn turns_into_body(&self) -> bool {
        matches!(
            self,
            Self::BodyPos(_)
                | Self::BodyLinvel(_)
                | Self::BodyAngvel(_)
                | Self::SitePos(_)
                | Self::SiteLinvel(_)
        )
    }
}

impl Pick {
    fn fixed(&self, each: usize) -> Option<usize> {
        match self {
            Self::Slice(low, Some(high)) => Some(each * (high - low)),
            _ => None,
        }
    }
}

/// Reads a name and refuses those that a policy file could not hold.
pub(super) fn term_name(table: &mut Table<'_>) -> Read<String> {
    let value = table.need("name", "a name for the term")?;
    let name = value.string()?;
    let bad = |c: char| matches!(c, ',' | '"' | '\\') || c.is_whitespace() || c.is_control();
    match name.contains(bad) {
        true => {
            let problem =
                "holds a comma, a blank, a quotation mark or a backslash; need a name without";
            Err(value.error(format!("`{name}` {problem}")))
        }
        false => Ok(name),
    }
}

pub(super) fn read(mut table: Table<'_>) -> Read<ObservationTerm> {
    let at = table.at();
    let name = term_name(&mut table)?;
    let width = table.read("width", |v| v.count(MOST_NUMBERS))?;
    let source = origin(&mut table)?;
    let term = ObservationTerm {
        name,
        width,
        source,
        minus: table.read("minus", Value::numbers)?.unwrap_or_default(),
        scale: table.read("scale", Value::numbers)?.unwrap_or_default(),
        clip: table.read("clip", clip)?,
        history: table.read("history", |v| v.count(MOST_HISTORY))?.unwrap_or(1),
        at,
    };
    table.finish()?;
    Ok(term)
}

/// `clip = 10` is [−10, 10].
fn clip(value: &Value<'_>) -> Read<[f64; 2]> {
    if value.is_array() {
        return value.interval();
    }
    value.positive().map(|bound| [-bound, bound])
}

/// The one source of a term, if it has one.
fn origin(table: &mut Table<'_>) -> Read<Option<Origin>> {
    type Reader = fn(&Value<'_>) -> Read<What>;
    let readers: [(&'static str, Reader); 17] = [
        ("qpos", |v| Pick::read(v).map(What::Qpos)),
        ("qvel", |v| Pick::read(v).map(What::Qvel)),
        ("sensor", |v| v.named().map(What::Sensor)),
        ("body_pos", |v| v.named().map(What::BodyPos)),
        ("body_quat", |v| v.named().map(What::BodyQuat)),
        ("body_linvel", |v| v.named().map(What::BodyLinvel)),
        ("body_angvel", |v| v.named().map(What::BodyAngvel)),
        ("site_pos", |v| v.named().map(What::SitePos)),
        ("site_linvel", |v| v.named().map(What::SiteLinvel)),
        ("projected_gravity", |v| v.named().map(What::ProjectedGravity)),
        ("cinert", |v| Pick::read(v).map(What::Cinert)),
        ("cvel", |v| Pick::read(v).map(What::Cvel)),
        ("cfrc_ext", |v| Pick::read(v).map(What::CfrcExt)),
        ("qfrc_actuator", |v| Pick::read(v).map(What::QfrcActuator)),
        ("previous_action", |v| match v.boolean()? {
            true => Ok(What::PreviousAction),
            false => Err(v.error("found false, need true, or leave the key out")),
        }),
        ("command", |v| v.named().map(What::Command)),
        ("phase", |v| v.positive().map(What::Phase)),
    ];
    let mut found: Option<(&'static str, Origin)> = None;
    for (key, reader) in readers {
        let Some(value) = table.get(key) else { continue };
        if let Some((other, _)) = found {
            return Err(value.error(format!("the term already has the source `{other}`; need one")));
        }
        found = Some((key, Origin { what: reader(&value)?, in_body: false, at: value.at() }));
    }
    let frame = table.get("frame");
    let Some((_, mut origin)) = found else {
        return match frame {
            Some(frame) => Err(frame.error("the term has no source that has a frame")),
            None => Ok(None),
        };
    };
    if let Some(frame) = frame {
        origin.in_body = match frame.string()?.as_str() {
            "world" => false,
            "body" if origin.what.turns_into_body() => true,
            "body" => return Err(frame.error("this source is no vector that could be rotated")),
            other => {
                return Err(
                    frame.error(format!("`{other}` is no frame; need \"world\" or \"body\""))
                );
            }
        };
    }
    Ok(Some(origin))
}
