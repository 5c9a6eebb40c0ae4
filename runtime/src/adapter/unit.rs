//! Units that a robot may speak, and what one of them is in the policy's (SI).

use core::f64::consts::PI;

const TURN: f64 = 2.0 * PI;

/// Units of positions of joints: name, and rad or m in one.
pub(super) const POSITIONS: &[(&str, f64)] =
    &[("rad", 1.0), ("deg", PI / 180.0), ("turn", TURN), ("m", 1.0), ("mm", 1e-3)];

/// Units of their velocities: name, and rad/s or m/s in one.
pub(super) const VELOCITIES: &[(&str, f64)] = &[
    ("rad/s", 1.0),
    ("deg/s", PI / 180.0),
    ("turn/s", TURN),
    ("rpm", TURN / 60.0),
    ("m/s", 1.0),
    ("mm/s", 1e-3),
];

/// Standard gravity, m/s².
const G: f64 = 9.806_65;

/// Units of other numbers, beside those above: name, and the SI unit in one.
pub(super) const OTHERS: &[(&str, f64)] =
    &[("1", 1.0), ("m/s^2", 1.0), ("g", G), ("N", 1.0), ("N m", 1.0), ("T", 1.0), ("uT", 1e-6)];

/// What one of a unit is in SI, if it is one of these.
pub(super) fn find(name: &str, tables: &[&[(&'static str, f64)]]) -> Option<f64> {
    tables.iter().copied().flatten().find(|(known, _)| *known == name).map(|(_, si)| *si)
}

/// The names of all units in these tables.
pub(super) fn names(tables: &[&[(&'static str, f64)]]) -> Vec<&'static str> {
    tables.iter().copied().flatten().map(|(name, _)| *name).collect()
}

/// The unit of velocities of joints whose positions have this unit.
pub(super) fn of_velocity(position: &str) -> f64 {
    find(position, &[POSITIONS]).unwrap_or(1.0)
}
