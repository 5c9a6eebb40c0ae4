//! Raw readings: what is taken from MuJoCo after a control step, into one flat slice.

use std::ops::Range;

use mujoco_rs::prelude::MjtObjBase;
use sog_runtime::terms::rotation;

use super::names::Point;
use crate::physics::{Data, Physics};

/// One thing that is read.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Reading {
    Qpos(Range<usize>),
    Qvel(Range<usize>),
    Sensor(Range<usize>),
    /// Position, world axes, m.
    Position(Point),
    /// Orientation of a body, w x y z.
    Quaternion(usize),
    /// Roll, pitch and yaw, rad.
    Angles(Point),
    /// Velocity of the origin, world axes, m/s.
    Linear(Point),
    /// Angular velocity, world axes, rad/s.
    Angular(Point),
    /// Velocity of a site by its Jacobian, world axes, m/s.
    SiteVelocity(usize),
    /// Centre of mass of a body with all that hangs on it, m.
    SubtreeCom(usize),
    /// Bodies of an array of MuJoCo's.
    Cinert(Range<usize>),
    Cvel(Range<usize>),
    CfrcExt(Range<usize>),
    QfrcActuator(Range<usize>),
}

impl Reading {
    /// Numbers that it gives.
    pub(crate) fn width(&self) -> usize {
        match self {
            Self::Qpos(r) | Self::Qvel(r) | Self::Sensor(r) | Self::QfrcActuator(r) => r.len(),
            Self::Position(_)
            | Self::Angles(_)
            | Self::Linear(_)
            | Self::Angular(_)
            | Self::SiteVelocity(_)
            | Self::SubtreeCom(_) => 3,
            Self::Quaternion(_) => 4,
            Self::Cinert(r) => 10 * r.len(),
            Self::Cvel(r) | Self::CfrcExt(r) => 6 * r.len(),
        }
    }

    /// Whether MuJoCo computes it from positions and velocities.
    pub(crate) fn is_derived(&self) -> bool {
        !matches!(self, Self::Qpos(_) | Self::Qvel(_))
    }

    /// Whether it needs the contact forces on bodies.
    pub(crate) fn needs_contact_forces(&self) -> bool {
        matches!(self, Self::CfrcExt(_))
    }

    /// Writes its numbers to `out`, `[width]`.
    pub(crate) fn write(&self, physics: &Physics, out: &mut [f64]) {
        let data = physics.data();
        match self {
            Self::Qpos(r) => out.copy_from_slice(&data.qpos()[r.clone()]),
            Self::Qvel(r) => out.copy_from_slice(&data.qvel()[r.clone()]),
            Self::Sensor(r) => out.copy_from_slice(&data.sensordata()[r.clone()]),
            Self::QfrcActuator(r) => out.copy_from_slice(&data.qfrc_actuator()[r.clone()]),
            Self::Cinert(r) => out.copy_from_slice(data.cinert()[r.clone()].as_flattened()),
            Self::Cvel(r) => out.copy_from_slice(data.cvel()[r.clone()].as_flattened()),
            Self::CfrcExt(r) => out.copy_from_slice(data.cfrc_ext()[r.clone()].as_flattened()),
            Self::Position(point) => out.copy_from_slice(&match *point {
                Point::Body(id) => data.xpos()[id],
                Point::Site(id) => data.site_xpos()[id],
                Point::Geom(id) => data.geom_xpos()[id],
            }),
            Self::Quaternion(id) => out.copy_from_slice(&data.xquat()[*id]),
            Self::SubtreeCom(id) => out.copy_from_slice(&data.subtree_com()[*id]),
            Self::SiteVelocity(id) => out.copy_from_slice(&physics.site_velocity(*id)),
            Self::Linear(point) => out.copy_from_slice(&velocity(data, *point)[3..]),
            Self::Angular(point) => out.copy_from_slice(&velocity(data, *point)[..3]),
            Self::Angles(point) => {
                let (roll, pitch, yaw) = angles(data, *point);
                out.copy_from_slice(&[roll, pitch, yaw]);
            }
        }
    }
}

/// Angular and linear velocity of a point's origin in world axes.
fn velocity(data: &Data, point: Point) -> [f64; 6] {
    let (kind, id) = match point {
        // Of the body's own frame, not of its centre of mass.
        Point::Body(id) => (MjtObjBase::mjOBJ_XBODY, id),
        Point::Site(id) => (MjtObjBase::mjOBJ_SITE, id),
        Point::Geom(id) => (MjtObjBase::mjOBJ_GEOM, id),
    };
    data.object_velocity(kind, id, false)
}

/// Roll, pitch and yaw: turns about x, then y, then z of the world.
fn angles(data: &Data, point: Point) -> (f64, f64, f64) {
    let matrix = match point {
        Point::Body(id) => return rotation(data.xquat()[id]).euler_angles(),
        Point::Site(id) => data.site_xmat()[id],
        Point::Geom(id) => data.geom_xmat()[id],
    };
    let matrix = nalgebra::Matrix3::from_row_slice(&matrix);
    nalgebra::Rotation3::from_matrix_unchecked(matrix).euler_angles()
}

/// Readings, each once, one after the other in a flat slice.
#[derive(Clone, Debug, Default)]
pub(crate) struct Readings {
    list: Vec<(Reading, Range<usize>)>,
    width: usize,
}

impl Readings {
    /// Where a reading's numbers lie; it is taken in if it is not there yet, or lengthens the last
    /// one where it goes on from there.
    pub(crate) fn add(&mut self, reading: Reading) -> Range<usize> {
        if let Some(range) = self.lengthen(&reading) {
            return range;
        }
        if let Some((_, range)) = self.list.iter().find(|(other, _)| *other == reading) {
            return range.clone();
        }
        let range = self.width..self.width + reading.width();
        self.width = range.end;
        self.list.push((reading, range.clone()));
        range
    }

    /// Joints one after the other are one copy.
    fn lengthen(&mut self, reading: &Reading) -> Option<Range<usize>> {
        let (last, place) = self.list.last_mut()?;
        let (had, more) = match (last, reading) {
            (Reading::Qpos(had), Reading::Qpos(more))
            | (Reading::Qvel(had), Reading::Qvel(more))
            | (Reading::QfrcActuator(had), Reading::QfrcActuator(more)) => (had, more),
            _ => return None,
        };
        if had.end != more.start {
            return None;
        }
        had.end = more.end;
        let range = place.end..place.end + more.len();
        place.end = range.end;
        self.width = range.end;
        Some(range)
    }

    /// Numbers in all.
    pub(crate) fn width(&self) -> usize {
        self.width
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Reading> {
        self.list.iter().map(|(reading, _)| reading)
    }

    /// Takes all readings, `raw` is `[width]`.
    pub(crate) fn write(&self, physics: &Physics, raw: &mut [f64]) {
        for (reading, range) in &self.list {
            reading.write(physics, &mut raw[range.clone()]);
        }
    }
}
