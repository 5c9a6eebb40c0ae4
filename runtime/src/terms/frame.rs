//! Frames of bodies: between world axes and a body's axes.
//!
//! A quaternion w x y z turns vectors of the body into vectors of the world: v_world = R(q)·v_body.

use nalgebra::{Quaternion, UnitQuaternion, Vector3};

/// The rotation R(q) of a quaternion w x y z, brought to length one; NaN for one of length zero.
pub fn rotation(quaternion: [f64; 4]) -> UnitQuaternion<f64> {
    let [w, x, y, z] = quaternion;
    UnitQuaternion::new_normalize(Quaternion::new(w, x, y, z))
}

/// A vector of the world in the body's axes: R(q)ᵀ·v.
pub fn in_body(quaternion: [f64; 4], vector: [f64; 3]) -> [f64; 3] {
    rotation(quaternion).inverse_transform_vector(&Vector3::from(vector)).into()
}

/// A vector of the body in world axes: R(q)·v.
pub fn in_world(quaternion: [f64; 4], vector: [f64; 3]) -> [f64; 3] {
    rotation(quaternion).transform_vector(&Vector3::from(vector)).into()
}

/// Where "down" is to the body: R(q)ᵀ·(0, 0, −1), as IsaacGym's locomotion tasks have it
/// (`quat_rotate_inverse(base_quat, (0, 0, −1))`).
pub fn projected_gravity(quaternion: [f64; 4]) -> [f64; 3] {
    in_body(quaternion, [0.0, 0.0, -1.0])
}
