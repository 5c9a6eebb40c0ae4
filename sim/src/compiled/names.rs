//! Names of a model's parts: looked up once, and refused with the nearest that there is.

use std::ops::Range;

use mujoco_rs::prelude::{MjModel, MjtJoint, MjtObjBase, MjtTrn};

use crate::definition::{DefinitionError, Named, Pick, hint};

/// A joint's place in positions and velocities.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Joint {
    pub(crate) qpos: Range<usize>,
    pub(crate) qvel: Range<usize>,
}

/// Something with a place in space.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Point {
    Body(usize),
    Site(usize),
    Geom(usize),
}

/// The parts of one model.
#[derive(Clone, Copy)]
pub(crate) struct Names<'a>(pub(crate) &'a MjModel);

impl<'a> Names<'a> {
    /// Index of a named part, if there is one.
    pub(crate) fn find(self, kind: MjtObjBase, name: &str) -> Option<usize> {
        // The bindings take no name with a zero in it.
        if name.contains('\0') { None } else { self.0.name_to_id(kind, name) }
    }

    /// All names of a kind.
    fn all(self, kind: MjtObjBase) -> impl Iterator<Item = &'a str> {
        let model = self.0;
        let count = match kind {
            MjtObjBase::mjOBJ_BODY => model.nbody(),
            MjtObjBase::mjOBJ_JOINT => model.njnt(),
            MjtObjBase::mjOBJ_SITE => model.nsite(),
            MjtObjBase::mjOBJ_GEOM => model.ngeom(),
            MjtObjBase::mjOBJ_SENSOR => model.nsensor(),
            MjtObjBase::mjOBJ_ACTUATOR => model.nu(),
            MjtObjBase::mjOBJ_KEY => model.nkey(),
            _ => 0,
        };
        (0..count as usize).filter_map(move |id| model.id_to_name(kind, id))
    }

    fn need(self, kind: MjtObjBase, what: &str, named: &Named) -> Result<usize, DefinitionError> {
        self.find(kind, &named.name).ok_or_else(|| {
            let hint = hint(&named.name, self.all(kind));
            named.at.error(format!("the model has no {what} `{}`{hint}", named.name))
        })
    }

    pub(crate) fn body(self, named: &Named) -> Result<usize, DefinitionError> {
        self.need(MjtObjBase::mjOBJ_BODY, "body", named)
    }

    pub(crate) fn site(self, named: &Named) -> Result<usize, DefinitionError> {
        self.need(MjtObjBase::mjOBJ_SITE, "site", named)
    }

    pub(crate) fn keyframe(self, named: &Named) -> Result<usize, DefinitionError> {
        self.need(MjtObjBase::mjOBJ_KEY, "keyframe", named)
    }

    pub(crate) fn joint(self, named: &Named) -> Result<Joint, DefinitionError> {
        self.need(MjtObjBase::mjOBJ_JOINT, "joint", named).map(|id| self.joint_of(id))
    }

    pub(crate) fn joint_of(self, id: usize) -> Joint {
        let (q, v) = (self.0.jnt_qposadr()[id] as usize, self.0.jnt_dofadr()[id] as usize);
        let (nq, nv) = match self.0.jnt_type()[id] {
            MjtJoint::mjJNT_FREE => (7, 6),
            MjtJoint::mjJNT_BALL => (4, 3),
            _ => (1, 1),
        };
        Joint { qpos: q..q + nq, qvel: v..v + nv }
    }

    /// Where a sensor's numbers lie.
    pub(crate) fn sensor(self, named: &Named) -> Result<Range<usize>, DefinitionError> {
        self.need(MjtObjBase::mjOBJ_SENSOR, "sensor", named).map(|id| self.sensor_of(id))
    }

    pub(crate) fn sensor_of(self, id: usize) -> Range<usize> {
        let start = self.0.sensor_adr()[id] as usize;
        start..start + self.0.sensor_dim()[id] as usize
    }

    /// An actuator by its name, or one without a name by its joint's.
    pub(crate) fn actuator(self, named: &Named) -> Result<usize, DefinitionError> {
        if let Some(id) = self.find(MjtObjBase::mjOBJ_ACTUATOR, &named.name) {
            return Ok(id);
        }
        (0..self.0.nu() as usize)
            .find(|&id| self.actuator_name(id) == Some(&*named.name))
            .ok_or_else(|| {
                let names = (0..self.0.nu() as usize).filter_map(|id| self.actuator_name(id));
                let hint = hint(&named.name, names);
                named.at.error(format!("the model has no actuator `{}`{hint}", named.name))
            })
    }

    /// What an actuator goes by: its name, or else its joint's.
    pub(crate) fn actuator_name(self, id: usize) -> Option<&'a str> {
        if let Some(name) = self.0.id_to_name(MjtObjBase::mjOBJ_ACTUATOR, id) {
            return Some(name);
        }
        let joint = matches!(
            self.0.actuator_trntype()[id],
            MjtTrn::mjTRN_JOINT | MjtTrn::mjTRN_JOINTINPARENT
        );
        let joint = joint.then(|| self.0.actuator_trnid()[id][0] as usize)?;
        self.0.id_to_name(MjtObjBase::mjOBJ_JOINT, joint)
    }

    /// A body, site or geom of this name.
    pub(crate) fn point(self, name: &str) -> Option<Point> {
        self.find(MjtObjBase::mjOBJ_BODY, name)
            .map(Point::Body)
            .or_else(|| self.find(MjtObjBase::mjOBJ_SITE, name).map(Point::Site))
            .or_else(|| self.find(MjtObjBase::mjOBJ_GEOM, name).map(Point::Geom))
    }

    /// Names that stand for something with a place in space.
    pub(crate) fn points(self) -> impl Iterator<Item = &'a str> {
        [MjtObjBase::mjOBJ_BODY, MjtObjBase::mjOBJ_SITE, MjtObjBase::mjOBJ_GEOM]
            .into_iter()
            .flat_map(move |kind| self.all(kind))
    }

    /// Names of sensors.
    pub(crate) fn sensors(self) -> impl Iterator<Item = &'a str> {
        self.all(MjtObjBase::mjOBJ_SENSOR)
    }

    /// Names of joints.
    pub(crate) fn joints(self) -> impl Iterator<Item = &'a str> {
        self.all(MjtObjBase::mjOBJ_JOINT)
    }

    /// Ranges of an array of `count` entries that is picked by names of joints.
    pub(crate) fn pick_joints(
        self,
        pick: &Pick,
        at: &crate::definition::At,
        count: usize,
        range: impl Fn(Joint) -> Range<usize>,
    ) -> Result<Vec<Range<usize>>, DefinitionError> {
        match pick {
            Pick::Names(names) => names.iter().map(|named| self.joint(named).map(&range)).collect(),
            other => slice(other, at, count).map(|range| vec![range]),
        }
    }

    /// Bodies that are picked.
    pub(crate) fn pick_bodies(
        self,
        pick: &Pick,
        at: &crate::definition::At,
    ) -> Result<Vec<Range<usize>>, DefinitionError> {
        match pick {
            Pick::Names(names) => {
                names.iter().map(|named| self.body(named).map(|id| id..id + 1)).collect()
            }
            other => slice(other, at, self.0.nbody() as usize).map(|range| vec![range]),
        }
    }
}

/// The range of a slice of an array of `count` entries.
fn slice(
    pick: &Pick,
    at: &crate::definition::At,
    count: usize,
) -> Result<Range<usize>, DefinitionError> {
    let (low, high) = match pick {
        Pick::Slice(low, high) => (*low, high.unwrap_or(count)),
        _ => (0, count),
    };
    if low < high && high <= count {
        return Ok(low..high);
    }
    Err(at.error(format!("the slice {low}..{high} does not lie within the model's {count}")))
}
